//! Built-in versions that newer servers have removed, and how an object moves to the one that is left.
//!
//! Only mechanical changes stand here: nothing is guessed that the old object did not say. What is not
//! in the table is blocked with a reason (for example `PodSecurityPolicy`, which has no successor).
//! Sources: the deprecation guide of Kubernetes and its own conversion functions.

use salvor_api::resource::{GroupResource, GroupVersion};
use serde_json::{Map, Value, json};

use crate::restore::body;

/// One removed version and its successor: (group, version, plural).
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    from: (&'static str, &'static [&'static str], &'static str),
    pub(super) to: (&'static str, &'static str),
    convert: fn(&mut Value, &str) -> Result<(), String>,
}

impl Conversion {
    /// True for objects of this resource in a removed version of this row.
    #[must_use]
    pub fn accepts(&self, resource: &GroupResource, version: &GroupVersion) -> bool {
        let (group, versions, plural) = self.from;
        group == version.group
            && group == resource.group
            && plural == resource.resource
            && versions.contains(&version.version.as_str())
    }

    /// The resource after the conversion; the plural stays, the group may change.
    #[must_use]
    pub fn target_resource(&self) -> GroupResource {
        GroupResource::new(self.from.2, self.to.0)
    }

    /// The `apiVersion` after the conversion.
    #[must_use]
    pub fn target_version(&self) -> GroupVersion {
        GroupVersion::new(self.to.0, self.to.1)
    }

    /// Converts a body in place.
    ///
    /// # Errors
    /// The old object says something that the new version cannot say.
    pub fn convert(&self, object: &mut Value) -> Result<(), String> {
        let old = GroupVersion::parse(body::text_at(object, &["apiVersion"])).version;
        (self.convert)(object, &old)?;
        body::set_at(
            object,
            &["apiVersion"],
            json!(self.target_version().to_string()),
        );
        Ok(())
    }
}

const fn row(
    from: (&'static str, &'static [&'static str], &'static str),
    to: (&'static str, &'static str),
    convert: fn(&mut Value, &str) -> Result<(), String>,
) -> Conversion {
    Conversion { from, to, convert }
}

const OLD_RBAC: &[&str] = &["v1beta1", "v1alpha1"];
const OLD_STORAGE: &[&str] = &["v1beta1", "v1alpha1"];
const OLD_FLOW: &[&str] = &["v1beta3", "v1beta2", "v1beta1", "v1alpha1"];
const RBAC: &str = "rbac.authorization.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";

/// Every conversion that is known.
#[must_use]
pub fn table() -> &'static [Conversion] {
    const TABLE: &[Conversion] = &[
        row(
            ("extensions", &["v1beta1"], "ingresses"),
            ("networking.k8s.io", "v1"),
            ingress,
        ),
        row(
            ("networking.k8s.io", &["v1beta1"], "ingresses"),
            ("networking.k8s.io", "v1"),
            ingress,
        ),
        row(
            ("networking.k8s.io", &["v1beta1"], "ingressclasses"),
            ("networking.k8s.io", "v1"),
            same,
        ),
        row(
            ("extensions", &["v1beta1"], "networkpolicies"),
            ("networking.k8s.io", "v1"),
            same,
        ),
        row(
            ("extensions", &["v1beta1"], "deployments"),
            ("apps", "v1"),
            workload,
        ),
        row(
            ("extensions", &["v1beta1"], "daemonsets"),
            ("apps", "v1"),
            workload,
        ),
        row(
            ("extensions", &["v1beta1"], "replicasets"),
            ("apps", "v1"),
            workload,
        ),
        row(
            ("apps", &["v1beta2", "v1beta1"], "deployments"),
            ("apps", "v1"),
            workload,
        ),
        row(
            ("apps", &["v1beta2"], "daemonsets"),
            ("apps", "v1"),
            workload,
        ),
        row(
            ("apps", &["v1beta2"], "replicasets"),
            ("apps", "v1"),
            workload,
        ),
        row(
            ("apps", &["v1beta2", "v1beta1"], "statefulsets"),
            ("apps", "v1"),
            workload,
        ),
        row(
            ("apps", &["v1beta2", "v1beta1"], "controllerrevisions"),
            ("apps", "v1"),
            same,
        ),
        row(
            ("policy", &["v1beta1"], "poddisruptionbudgets"),
            ("policy", "v1"),
            disruption_budget,
        ),
        row(
            ("batch", &["v1beta1", "v2alpha1"], "cronjobs"),
            ("batch", "v1"),
            same,
        ),
        row(
            ("autoscaling", &["v2beta2"], "horizontalpodautoscalers"),
            ("autoscaling", "v2"),
            same,
        ),
        row(
            ("autoscaling", &["v2beta1"], "horizontalpodautoscalers"),
            ("autoscaling", "v2"),
            autoscaler,
        ),
        row(
            (
                "apiextensions.k8s.io",
                &["v1beta1"],
                "customresourcedefinitions",
            ),
            ("apiextensions.k8s.io", "v1"),
            definition,
        ),
        row((RBAC, OLD_RBAC, "roles"), (RBAC, "v1"), same),
        row((RBAC, OLD_RBAC, "clusterroles"), (RBAC, "v1"), same),
        row((RBAC, OLD_RBAC, "rolebindings"), (RBAC, "v1"), binding),
        row(
            (RBAC, OLD_RBAC, "clusterrolebindings"),
            (RBAC, "v1"),
            binding,
        ),
        row(
            ("storage.k8s.io", OLD_STORAGE, "storageclasses"),
            ("storage.k8s.io", "v1"),
            same,
        ),
        row(
            ("storage.k8s.io", OLD_STORAGE, "csidrivers"),
            ("storage.k8s.io", "v1"),
            same,
        ),
        row(
            ("storage.k8s.io", OLD_STORAGE, "csistoragecapacities"),
            ("storage.k8s.io", "v1"),
            same,
        ),
        row(
            ("scheduling.k8s.io", OLD_RBAC, "priorityclasses"),
            ("scheduling.k8s.io", "v1"),
            same,
        ),
        row(
            ("coordination.k8s.io", &["v1beta1"], "leases"),
            ("coordination.k8s.io", "v1"),
            same,
        ),
        row(
            ("node.k8s.io", &["v1beta1"], "runtimeclasses"),
            ("node.k8s.io", "v1"),
            same,
        ),
        row(
            ("node.k8s.io", &["v1alpha1"], "runtimeclasses"),
            ("node.k8s.io", "v1"),
            runtime_class,
        ),
        row(
            (ADMISSION, &["v1beta1"], "mutatingwebhookconfigurations"),
            (ADMISSION, "v1"),
            webhooks,
        ),
        row(
            (ADMISSION, &["v1beta1"], "validatingwebhookconfigurations"),
            (ADMISSION, "v1"),
            webhooks,
        ),
        row(
            ("apiregistration.k8s.io", &["v1beta1"], "apiservices"),
            ("apiregistration.k8s.io", "v1"),
            same,
        ),
        row(
            ("discovery.k8s.io", &["v1beta1"], "endpointslices"),
            ("discovery.k8s.io", "v1"),
            endpoint_slice,
        ),
        row((FLOW, OLD_FLOW, "flowschemas"), (FLOW, "v1"), same),
        row(
            (FLOW, OLD_FLOW, "prioritylevelconfigurations"),
            (FLOW, "v1"),
            priority_level,
        ),
    ];
    TABLE
}

/// The conversion from one version to another.
#[must_use]
pub fn find(
    resource: &GroupResource,
    from: &GroupVersion,
    to: &GroupVersion,
) -> Option<&'static Conversion> {
    table()
        .iter()
        .find(|row| row.accepts(resource, from) && row.target_version() == *to)
}

/// Only the version changes.
fn same(_object: &mut Value, _old: &str) -> Result<(), String> {
    Ok(())
}

/// `serviceName`/`servicePort` become `service.{name, port}`; `pathType` becomes required; the default
/// backend changes its name.
fn ingress(ingress: &mut Value, _old: &str) -> Result<(), String> {
    if let Some(mut backend) = body::remove_at(ingress, &["spec", "backend"]) {
        ingress_backend(&mut backend);
        body::set_at(ingress, &["spec", "defaultBackend"], backend);
    }
    for rule in body::list_at_mut(ingress, &["spec", "rules"])
        .into_iter()
        .flatten()
    {
        for path in body::list_at_mut(rule, &["http", "paths"])
            .into_iter()
            .flatten()
        {
            if let Some(backend) = path.get_mut("backend") {
                ingress_backend(backend);
            }
            if body::text_at(path, &["pathType"]).is_empty() {
                body::set_at(path, &["pathType"], json!("ImplementationSpecific"));
            }
        }
    }
    Ok(())
}

fn ingress_backend(backend: &mut Value) {
    let Some(name) = body::remove_at(backend, &["serviceName"]) else {
        return;
    };
    let port = match body::remove_at(backend, &["servicePort"]) {
        Some(Value::String(text)) => match text.parse::<u16>() {
            Ok(number) => json!({"number": number}),
            Err(_) => json!({"name": text}),
        },
        Some(number @ Value::Number(_)) => json!({"number": number}),
        _ => Value::Null,
    };
    let mut service = json!({"name": name});
    if !port.is_null() {
        body::set_at(&mut service, &["port"], port);
    }
    body::set_at(backend, &["service"], service);
}

/// `apps/v1` wants the selector that older versions took from the template.
fn workload(workload: &mut Value, _old: &str) -> Result<(), String> {
    body::remove_at(workload, &["spec", "rollbackTo"]);
    body::remove_at(workload, &["spec", "templateGeneration"]);
    if body::at(workload, &["spec", "selector"]).is_none_or(Value::is_null) {
        let labels = body::at(workload, &["spec", "template", "metadata", "labels"])
            .filter(|labels| labels.as_object().is_some_and(|map| !map.is_empty()))
            .cloned()
            .ok_or("it has neither a selector nor template labels to make one from")?;
        body::set_at(
            workload,
            &["spec", "selector"],
            json!({"matchLabels": labels}),
        );
    }
    Ok(())
}

/// An empty selector selected nothing in `v1beta1` and selects everything in `v1`. Kubernetes itself
/// writes this requirement when it converts.
fn disruption_budget(budget: &mut Value, _old: &str) -> Result<(), String> {
    let empty = body::at(budget, &["spec", "selector"])
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty);
    if empty {
        body::set_at(
            budget,
            &["spec", "selector"],
            json!({"matchExpressions": [{
                "key": "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match",
                "operator": "Exists",
            }]}),
        );
    }
    Ok(())
}

/// Metric targets move into a `target` object with a type.
fn autoscaler(autoscaler: &mut Value, _old: &str) -> Result<(), String> {
    for metric in body::list_at_mut(autoscaler, &["spec", "metrics"])
        .into_iter()
        .flatten()
    {
        match body::text_at(metric, &["type"]) {
            "Resource" => metric_target(metric, "resource"),
            "ContainerResource" => metric_target(metric, "containerResource"),
            "Pods" => {
                metric_target(metric, "pods");
                metric_name(metric, "pods", "selector");
            }
            "Object" => {
                metric_target(metric, "object");
                metric_name(metric, "object", "selector");
                if let Some(described) = body::remove_at(metric, &["object", "target"])
                    && described.get("kind").is_some()
                {
                    body::set_at(metric, &["object", "describedObject"], described);
                }
                let target = object_target(metric);
                body::set_at(metric, &["object", "target"], target);
            }
            "External" => {
                metric_target(metric, "external");
                metric_name(metric, "external", "metricSelector");
            }
            other => return Err(format!("metric type `{other}` is not known")),
        }
    }
    Ok(())
}

/// `target*` fields of one metric become `target`. An object metric is handled by [`object_target`],
/// because there `target` meant the described object.
fn metric_target(metric: &mut Value, field: &str) {
    if field == "object" {
        return;
    }
    let mut take = |name: &str| body::remove_at(metric, &[field, name]);
    let target = if let Some(percent) = take("targetAverageUtilization") {
        json!({"type": "Utilization", "averageUtilization": percent})
    } else if let Some(average) = take("targetAverageValue") {
        json!({"type": "AverageValue", "averageValue": average})
    } else if let Some(value) = take("targetValue") {
        json!({"type": "Value", "value": value})
    } else {
        return;
    };
    body::set_at(metric, &[field, "target"], target);
}

fn object_target(metric: &mut Value) -> Value {
    let value = body::remove_at(metric, &["object", "targetValue"]);
    match body::remove_at(metric, &["object", "averageValue"]) {
        Some(average) => json!({"type": "AverageValue", "averageValue": average}),
        None => json!({"type": "Value", "value": value}),
    }
}

fn metric_name(metric: &mut Value, field: &str, selector: &str) {
    let mut identifier = Map::new();
    if let Some(name) = body::remove_at(metric, &[field, "metricName"]) {
        identifier.insert("name".into(), name);
    }
    if let Some(selector) = body::remove_at(metric, &[field, selector]) {
        identifier.insert("selector".into(), selector);
    }
    if !identifier.is_empty() {
        body::set_at(metric, &[field, "metric"], Value::Object(identifier));
    }
}

/// Schema, columns and subresources move from the definition into each version.
fn definition(crd: &mut Value, _old: &str) -> Result<(), String> {
    let single = body::remove_at(crd, &["spec", "version"]);
    if body::list_at(crd, &["spec", "versions"]).is_empty() {
        let name = single.ok_or("it names no version")?;
        let only = json!([{"name": name, "served": true, "storage": true}]);
        body::set_at(crd, &["spec", "versions"], only);
    }
    let schema = body::remove_at(crd, &["spec", "validation"]);
    let subresources = body::remove_at(crd, &["spec", "subresources"]);
    let columns = body::remove_at(crd, &["spec", "additionalPrinterColumns"]);
    // Absent meant true in v1beta1.
    let preserve =
        body::remove_at(crd, &["spec", "preserveUnknownFields"]) != Some(Value::Bool(false));
    for version in body::list_at_mut(crd, &["spec", "versions"])
        .into_iter()
        .flatten()
    {
        let mut inherit = |field: &str, value: &Option<Value>| {
            if version.get(field).is_none()
                && let Some(value) = value
            {
                body::set_at(version, &[field], value.clone());
            }
        };
        inherit("schema", &schema);
        inherit("subresources", &subresources);
        inherit("additionalPrinterColumns", &columns);
        for column in body::list_at_mut(version, &["additionalPrinterColumns"])
            .into_iter()
            .flatten()
        {
            if let Some(path) = body::remove_at(column, &["JSONPath"]) {
                body::set_at(column, &["jsonPath"], path);
            }
        }
        let root = ["schema", "openAPIV3Schema"];
        if body::at(version, &root).is_none() {
            body::set_at(version, &root, json!({"type": "object"}));
        }
        if body::text_at(version, &["schema", "openAPIV3Schema", "type"]).is_empty() {
            body::set_at(
                version,
                &["schema", "openAPIV3Schema", "type"],
                json!("object"),
            );
        }
        if preserve {
            body::set_at(
                version,
                &[
                    "schema",
                    "openAPIV3Schema",
                    "x-kubernetes-preserve-unknown-fields",
                ],
                json!(true),
            );
        }
    }
    let client = body::remove_at(crd, &["spec", "conversion", "webhookClientConfig"]);
    let reviews = body::remove_at(crd, &["spec", "conversion", "conversionReviewVersions"]);
    if body::text_at(crd, &["spec", "conversion", "strategy"]) == "Webhook" {
        let reviews = reviews.unwrap_or_else(|| json!(["v1beta1"]));
        let webhook = json!({"clientConfig": client, "conversionReviewVersions": reviews});
        body::set_at(crd, &["spec", "conversion", "webhook"], webhook);
    }
    Ok(())
}

/// `v1alpha1` told the group of a subject by a whole `apiVersion`.
fn binding(binding: &mut Value, _old: &str) -> Result<(), String> {
    for subject in body::list_at_mut(binding, &["subjects"])
        .into_iter()
        .flatten()
    {
        if let Some(version) = body::remove_at(subject, &["apiVersion"]) {
            let group = GroupVersion::parse(version.as_str().unwrap_or_default()).group;
            let is_account = body::text_at(subject, &["kind"]) == "ServiceAccount";
            let group = if is_account || !group.is_empty() {
                group
            } else {
                RBAC.to_owned()
            };
            body::set_at(subject, &["apiGroup"], json!(group));
        }
    }
    Ok(())
}

/// `v1alpha1` kept the handler inside a spec.
fn runtime_class(class: &mut Value, _old: &str) -> Result<(), String> {
    let handler = body::remove_at(class, &["spec", "runtimeHandler"]).ok_or("it has no handler")?;
    body::set_at(class, &["handler"], handler);
    for field in ["overhead", "scheduling"] {
        if let Some(value) = body::remove_at(class, &["spec", field]) {
            body::set_at(class, &[field], value);
        }
    }
    body::remove_at(class, &["spec"]);
    Ok(())
}

/// `v1` wants side effects to be declared and review versions to be named; both had defaults.
fn webhooks(config: &mut Value, _old: &str) -> Result<(), String> {
    for webhook in body::list_at_mut(config, &["webhooks"])
        .into_iter()
        .flatten()
    {
        let side_effects = body::text_at(webhook, &["sideEffects"]);
        if side_effects != "None" && side_effects != "NoneOnDryRun" {
            body::set_at(webhook, &["sideEffects"], json!("None"));
        }
        for (field, default) in [
            ("admissionReviewVersions", json!(["v1beta1"])),
            ("failurePolicy", json!("Ignore")),
            ("matchPolicy", json!("Exact")),
            ("timeoutSeconds", json!(30)),
        ] {
            if webhook.get(field).is_none() {
                body::set_at(webhook, &[field], default);
            }
        }
    }
    Ok(())
}

/// Node and zone leave the topology map.
fn endpoint_slice(slice: &mut Value, _old: &str) -> Result<(), String> {
    for endpoint in body::list_at_mut(slice, &["endpoints"])
        .into_iter()
        .flatten()
    {
        let Some(Value::Object(mut topology)) = body::remove_at(endpoint, &["topology"]) else {
            continue;
        };
        for (key, field) in [
            ("kubernetes.io/hostname", "nodeName"),
            ("topology.kubernetes.io/zone", "zone"),
        ] {
            if let Some(value) = topology.shift_remove(key)
                && endpoint.get(field).is_none()
            {
                body::set_at(endpoint, &[field], value);
            }
        }
        if !topology.is_empty() {
            body::set_at(endpoint, &["deprecatedTopology"], Value::Object(topology));
        }
    }
    Ok(())
}

/// The share of a limited level changed its name in `v1beta3`.
fn priority_level(level: &mut Value, _old: &str) -> Result<(), String> {
    if let Some(shares) = body::remove_at(level, &["spec", "limited", "assuredConcurrencyShares"]) {
        body::set_at(
            level,
            &["spec", "limited", "nominalConcurrencyShares"],
            shares,
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
