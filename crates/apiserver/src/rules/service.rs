//! Services: cluster IPs and node ports are allocated, kept, and never shared.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use salvor_api::resource::ObjectKey;
use serde_json::{Value, json};

use super::{Context, Object};
use crate::entry::{child_mut, text_at};
use crate::status::FieldError;

/// The range of cluster IPs: kubeadm's default, 10.96.0.0/12.
const FIRST_IP: u32 = u32::from_be_bytes([10, 96, 0, 0]);
const IP_COUNT: u32 = 1 << 20;
/// Addresses that are never picked: the network, `kubernetes`, and the usual DNS address.
const RESERVED_IPS: u32 = 11;
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Cluster IPs and node ports in use.
#[derive(Debug, Default)]
pub(crate) struct Allocations {
    ips: HashMap<Ipv4Addr, ObjectKey>,
    ports: HashMap<u16, ObjectKey>,
    next_ip: u32,
    next_port: u16,
}

impl Allocations {
    pub(crate) fn add(&mut self, key: &ObjectKey, service: &Object) {
        for ip in ips_of(service) {
            self.ips.insert(ip, key.clone());
            self.next_ip = (u32::from(ip).wrapping_sub(FIRST_IP) + 1) % IP_COUNT;
        }
        for port in ports_of(service) {
            self.ports.insert(port, key.clone());
            self.next_port = port.wrapping_add(1);
        }
    }

    pub(crate) fn release(&mut self, service: &Object) {
        for ip in ips_of(service) {
            self.ips.remove(&ip);
        }
        for port in ports_of(service) {
            self.ports.remove(&port);
        }
    }

    fn free_ip(&self) -> Option<Ipv4Addr> {
        let candidates = (0..IP_COUNT).map(|step| (self.next_ip + step) % IP_COUNT);
        candidates
            .filter(|offset| (RESERVED_IPS..IP_COUNT - 1).contains(offset))
            .map(|offset| Ipv4Addr::from(FIRST_IP + offset))
            .find(|ip| !self.ips.contains_key(ip))
    }

    fn free_port(&self, taken: &[u16]) -> Option<u16> {
        let (first, count) = (*NODE_PORTS.start(), u16::try_from(NODE_PORTS.len()).ok()?);
        let start = self.next_port.saturating_sub(first) % count;
        let mut candidates = (0..count).map(|step| first + (start + step) % count);
        candidates.find(|port| !self.ports.contains_key(port) && !taken.contains(port))
    }
}

fn ips_of(service: &Object) -> Vec<Ipv4Addr> {
    text_at(service, &["spec", "clusterIP"])
        .parse()
        .into_iter()
        .collect()
}

fn ports_of(service: &Object) -> Vec<u16> {
    let mut ports: Vec<u16> = service_ports(service)
        .filter_map(|port| u16::try_from(port["nodePort"].as_u64()?).ok())
        .chain(health_port(service))
        .filter(|port| *port != 0)
        .collect();
    ports.dedup();
    ports
}

fn service_ports(service: &Object) -> impl Iterator<Item = &Value> {
    let ports = service
        .get("spec")
        .and_then(|spec| spec["ports"].as_array());
    ports.into_iter().flatten()
}

fn health_port(service: &Object) -> Option<u16> {
    u16::try_from(service.get("spec")?["healthCheckNodePort"].as_u64()?).ok()
}

fn uses_node_ports(service: &Object) -> bool {
    let spec = &service.get("spec").cloned().unwrap_or_default();
    match spec["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec["allocateLoadBalancerNodePorts"] != json!(false),
        _ => false,
    }
}

/// Fills and checks a new Service.
pub(super) fn create(object: &mut Object, context: &Context<'_>) -> Vec<FieldError> {
    set_defaults(object);
    let mut errors = check_ports(object);
    errors.extend(allocate_ip(object, context.allocations));
    errors.extend(allocate_ports(object, &[], context.allocations));
    object.insert("status".into(), json!({"loadBalancer": {}}));
    errors
}

/// Keeps what was allocated, allocates what is new, refuses another cluster IP.
pub(super) fn update(old: &Object, new: &mut Object, context: &Context<'_>) -> Vec<FieldError> {
    set_defaults(new);
    let mut errors = check_ports(new);
    let old_type = text_at(old, &["spec", "type"]).to_owned();
    let new_type = text_at(new, &["spec", "type"]).to_owned();
    let old_ip = text_at(old, &["spec", "clusterIP"]).to_owned();
    if new_type != "ExternalName" && old_type != "ExternalName" {
        let spec = child_mut(new, "spec");
        if spec
            .get("clusterIP")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
        {
            for key in ["clusterIP", "clusterIPs"] {
                if let Some(value) = old.get("spec").and_then(|spec| spec.get(key)) {
                    spec.insert(key.into(), value.clone());
                }
            }
        }
        let ip = spec.get("clusterIP").cloned().unwrap_or_default();
        if !old_ip.is_empty() && ip.as_str() != Some(old_ip.as_str()) {
            let detail = "may not change once set";
            errors.push(FieldError::invalid(
                "spec.clusterIPs[0]",
                &json!([ip]),
                detail,
            ));
            return errors;
        }
    } else if new_type != "ExternalName" {
        errors.extend(allocate_ip(new, context.allocations));
    } else {
        let spec = child_mut(new, "spec");
        for key in ["clusterIP", "clusterIPs"] {
            if spec.get(key) == old.get("spec").and_then(|spec| spec.get(key)) {
                spec.remove(key);
            }
        }
    }
    keep_node_ports(old, new);
    errors.extend(allocate_ports(new, &ports_of(old), context.allocations));
    errors
}

fn set_defaults(object: &mut Object) {
    let spec = child_mut(object, "spec");
    spec.entry("type").or_insert_with(|| "ClusterIP".into());
    spec.entry("sessionAffinity")
        .or_insert_with(|| "None".into());
    let external_name = spec["type"] == "ExternalName";
    if !external_name {
        spec.entry("internalTrafficPolicy")
            .or_insert_with(|| "Cluster".into());
        spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
        spec.entry("ipFamilyPolicy")
            .or_insert_with(|| "SingleStack".into());
        if matches!(spec["type"].as_str(), Some("NodePort" | "LoadBalancer")) {
            spec.entry("externalTrafficPolicy")
                .or_insert_with(|| "Cluster".into());
        }
        if spec["type"] == "LoadBalancer" {
            spec.entry("allocateLoadBalancerNodePorts")
                .or_insert(Value::Bool(true));
        }
    }
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let Some(port) = port.as_object_mut() else {
            continue;
        };
        port.entry("protocol").or_insert_with(|| "TCP".into());
        if let Some(number) = port.get("port").cloned()
            && port
                .get("targetPort")
                .is_none_or(|target| *target == json!(0) || *target == json!(""))
        {
            port.insert("targetPort".into(), number);
        }
    }
}

fn check_ports(object: &Object) -> Vec<FieldError> {
    let spec = object.get("spec").cloned().unwrap_or_default();
    let ports: Vec<&Value> = service_ports(object).collect();
    let mut errors = Vec::new();
    let headless = spec["clusterIP"] == "None";
    if ports.is_empty() && spec["type"] != "ExternalName" && !headless {
        errors.push(FieldError::required("spec.ports", ""));
    }
    for (at, port) in ports.iter().enumerate() {
        match port["port"].as_i64() {
            Some(1..=65_535) => {}
            other => {
                let detail = "must be between 1 and 65535, inclusive";
                let field = format!("spec.ports[{at}].port");
                errors.push(FieldError::invalid(
                    field,
                    &other.unwrap_or(0).into(),
                    detail,
                ));
            }
        }
        if ports.len() > 1 && port["name"].as_str().unwrap_or_default().is_empty() {
            errors.push(FieldError::required(format!("spec.ports[{at}].name"), ""));
        }
    }
    errors
}

fn allocate_ip(object: &mut Object, allocations: &Allocations) -> Vec<FieldError> {
    let spec = child_mut(object, "spec");
    if spec["type"] == "ExternalName" {
        return Vec::new();
    }
    let asked = match spec.get("clusterIP").and_then(Value::as_str) {
        Some(ip) if !ip.is_empty() => Some(ip.to_owned()),
        _ => spec
            .get("clusterIPs")
            .and_then(|ips| ips.get(0)?.as_str())
            .map(str::to_owned),
    };
    let ip = match asked.as_deref() {
        Some("None") => "None".to_owned(),
        Some(text) => {
            let refuse = |detail: String| {
                vec![FieldError::invalid(
                    "spec.clusterIPs",
                    &json!([text]),
                    &detail,
                )]
            };
            let Ok(ip) = text.parse::<Ipv4Addr>() else {
                let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                return vec![FieldError::invalid(
                    "spec.clusterIPs[0]",
                    &text.into(),
                    detail,
                )];
            };
            if !(FIRST_IP..FIRST_IP + IP_COUNT).contains(&u32::from(ip)) {
                return refuse(format!(
                    "failed to allocate IP {ip}: the provided IP ({ip}) is not in the valid range. The range of valid IPs is 10.96.0.0/12"
                ));
            }
            if allocations.ips.contains_key(&ip) {
                return refuse(format!(
                    "failed to allocate IP {ip}: provided IP is already allocated"
                ));
            }
            ip.to_string()
        }
        None => match allocations.free_ip() {
            Some(ip) => ip.to_string(),
            None => {
                let detail = "failed to allocate a serviceIP: range is full";
                return vec![FieldError::invalid("spec.clusterIPs", &Value::Null, detail)];
            }
        },
    };
    spec.insert("clusterIPs".into(), json!([ip]));
    spec.insert("clusterIP".into(), ip.into());
    Vec::new()
}

/// Copies node ports of unchanged ports that the new object leaves out, and drops those of a type that
/// uses none.
fn keep_node_ports(old: &Object, new: &mut Object) {
    let uses = uses_node_ports(new);
    let before: Vec<Value> = service_ports(old).cloned().collect();
    let spec = child_mut(new, "spec");
    for port in spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
    {
        let same = before
            .iter()
            .find(|one| one["port"] == port["port"] && one["protocol"] == port["protocol"]);
        let Some(known) = same
            .map(|one| &one["nodePort"])
            .filter(|known| !known.is_null())
        else {
            continue;
        };
        let Some(port) = port.as_object_mut() else {
            continue;
        };
        if uses && port.get("nodePort").is_none_or(|own| *own == json!(0)) {
            port.insert("nodePort".into(), known.clone());
        } else if !uses && port.get("nodePort") == Some(known) {
            port.remove("nodePort");
        }
    }
}

/// Gives every port its node port; `own` are those that the object has already.
fn allocate_ports(object: &mut Object, own: &[u16], allocations: &Allocations) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut taken: Vec<u16> = ports_of(object);
    let uses = uses_node_ports(object);
    let local = text_at(object, &["spec", "externalTrafficPolicy"]) == "Local";
    let spec = child_mut(object, "spec");
    let mut seen: Vec<(u64, Value)> = Vec::new();
    let ports = spec
        .get_mut("ports")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    for (at, port) in ports.enumerate() {
        let field = format!("spec.ports[{at}].nodePort");
        let wanted = port["nodePort"].as_u64().unwrap_or(0);
        if wanted != 0 && !uses {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(field, detail));
        } else if wanted != 0 {
            let value = Value::from(wanted);
            let refuse = |detail: &str| FieldError::invalid(field.clone(), &value, detail);
            match u16::try_from(wanted).ok().filter(|one| NODE_PORTS.contains(one)) {
                None => errors
                    .push(refuse("provided port is not in the valid range. The range of valid ports is 30000-32767")),
                Some(one) => {
                    let twice = seen.contains(&(wanted, port["protocol"].clone()));
                    if twice || (allocations.ports.contains_key(&one) && !own.contains(&one)) {
                        errors.push(refuse("provided port is already allocated"));
                    }
                }
            }
            seen.push((wanted, port["protocol"].clone()));
        } else if uses {
            match allocations.free_port(&taken) {
                Some(free) => {
                    taken.push(free);
                    port["nodePort"] = free.into();
                }
                None => {
                    let detail = "failed to allocate a nodePort: range is full";
                    errors.push(FieldError::invalid(field, &Value::Null, detail));
                }
            }
        }
    }
    let wants_health = spec["type"] == "LoadBalancer" && local;
    if wants_health
        && spec
            .get("healthCheckNodePort")
            .is_none_or(|port| *port == json!(0))
        && let Some(free) = allocations.free_port(&taken)
    {
        spec.insert("healthCheckNodePort".into(), free.into());
    }
    errors
}
