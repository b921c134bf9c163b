//! `service`: cluster IPs and node ports are allocated anew, unless a user chose them.
//!
//! A node port counts as chosen when the last-applied annotation or an entry of `managedFields` names it.
//! With `preserveNodePorts` all of them are kept. A headless service keeps its `None`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub(super) fn run(item: &mut Item<'_>, rules: &Rules) -> Result<(), Skip> {
    drop_cluster_ips(item.body);
    if rules.preserve_node_ports {
        return Ok(());
    }
    let explicit = explicit_node_ports(item.backed_up);
    if !explicit.health_check {
        body::remove_at(item.body, &["spec", "healthCheckNodePort"]);
    }
    for port in body::list_at_mut(item.body, &["spec", "ports"])
        .into_iter()
        .flatten()
    {
        let id = PortId::of(port);
        if let Some(port) = port.as_object_mut()
            && !explicit.ports.contains(&id)
        {
            port.shift_remove("nodePort");
        }
    }
    Ok(())
}

/// Removes every address and port that the server may have allocated.
pub(super) fn drop_allocated(service: &mut Value, keep_node_ports: bool) {
    drop_cluster_ips(service);
    if keep_node_ports {
        return;
    }
    body::remove_at(service, &["spec", "healthCheckNodePort"]);
    for port in body::list_at_mut(service, &["spec", "ports"])
        .into_iter()
        .flatten()
    {
        if let Some(port) = port.as_object_mut() {
            port.shift_remove("nodePort");
        }
    }
}

fn drop_cluster_ips(service: &mut Value) {
    if body::text_at(service, &["spec", "clusterIP"]) != "None" {
        body::remove_at(service, &["spec", "clusterIP"]);
        body::remove_at(service, &["spec", "clusterIPs"]);
    }
}

/// A port of a service, as server-side apply tells ports apart: number and protocol.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PortId {
    port: u64,
    protocol: String,
}

impl PortId {
    fn of(port: &Value) -> Self {
        let protocol = match body::text_at(port, &["protocol"]) {
            "" => "TCP",
            given => given,
        };
        Self {
            port: port.get("port").and_then(Value::as_u64).unwrap_or(0),
            protocol: protocol.to_owned(),
        }
    }
}

/// What a user chose by himself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ExplicitPorts {
    ports: BTreeSet<PortId>,
    health_check: bool,
}

/// Reads who chose the node ports of a backed up service.
fn explicit_node_ports(service: &Value) -> ExplicitPorts {
    let mut explicit = ExplicitPorts::default();
    let applied = body::annotation(service, LAST_APPLIED);
    if let Ok(applied) = serde_json::from_str::<Value>(applied) {
        explicit.health_check = is_set(body::at(&applied, &["spec", "healthCheckNodePort"]));
        for port in body::list_at(&applied, &["spec", "ports"]) {
            if is_set(port.get("nodePort")) {
                explicit.ports.insert(PortId::of(port));
            }
        }
    }
    for entry in body::list_at(service, &["metadata", "managedFields"]) {
        let Some(spec) = body::at(entry, &["fieldsV1", "f:spec"]) else {
            continue;
        };
        explicit.health_check |= spec.get("f:healthCheckNodePort").is_some();
        let ports = spec.get("f:ports").and_then(Value::as_object);
        for (key, fields) in ports.into_iter().flatten() {
            if fields.get("f:nodePort").is_some()
                && let Some(id) = key.strip_prefix("k:")
                && let Ok(id) = serde_json::from_str::<Value>(id)
            {
                explicit.ports.insert(PortId::of(&id));
            }
        }
    }
    explicit
}

fn is_set(port: Option<&Value>) -> bool {
    port.and_then(Value::as_u64).is_some_and(|port| port != 0)
}
