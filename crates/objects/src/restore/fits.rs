//! Does the restore fit into the target? What the objects need against what the target has.
//!
//! Two values meet here: [`Demands`], collected while the plan is folded, and [`Facts`], read from the
//! target. [`judge`] compares them and returns findings; nothing here stops a restore.

mod facts;

use salvor_api::quantity::approximate;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::body;
use super::transform::Transformed;

pub use facts::Facts;

/// Code of the finding that claims come back without what was in their volumes.
pub(crate) const VOLUME_DATA: &str = "volume-data";
/// Code of volumes that are made in another zone than they were in.
pub(crate) const VOLUME_ZONE: &str = "volume-zone";
/// Code of the finding that the filters name what the backup does not hold.
pub(crate) const SELECTION: &str = "selection";

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Objects will not be created, or will not work.
    Problem,
    /// It may matter.
    Warning,
    /// Good to know.
    Info,
}

/// One thing that does not fit, or might not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What kind of finding, for programs: `storage-class`, `quota`, ...
    pub code: String,
    /// What it is, what it concerns and what to do.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(severity: Severity, code: &str, message: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// True when the results of a restore must name it: something is not as whoever asked for the restore
    /// expects, and no object's own line says so.
    pub(crate) fn is_told_in_results(&self) -> bool {
        matches!(self.code.as_str(), VOLUME_DATA | VOLUME_ZONE | SELECTION)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.severity {
            Severity::Problem => "problem",
            Severity::Warning => "warning",
            Severity::Info => "note",
        };
        write!(f, "{word}: {} ({})", self.message, self.code)
    }
}

/// Who needs something: how many objects, and one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users {
    count: u64,
    first: String,
}

impl Users {
    fn add(&mut self, object: &Transformed) {
        if self.count == 0 {
            self.first = object.key.to_string();
        }
        self.count += 1;
    }
}

impl fmt::Display for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => f.write_str(&self.first),
            n => write!(f, "{} and {} more", self.first, n - 1),
        }
    }
}

type Needs = BTreeMap<String, Users>;

/// What the objects that a restore creates need.
#[derive(Clone, Debug, Default)]
pub struct Demands {
    storage_classes: Needs,
    claims_without_class: Users,
    ingress_classes: Needs,
    priority_classes: Needs,
    runtime_classes: Needs,
    ip_families: Needs,
    node_selectors: BTreeMap<BTreeMap<String, String>, Users>,
    volume_affinities: BTreeMap<String, Users>,
    usage: BTreeMap<String, BTreeMap<String, f64>>,
    provided: BTreeSet<(&'static str, String)>,
    claims_without_data: Users,
}

impl Demands {
    /// Adds an object that will be created.
    pub fn observe(&mut self, object: &Transformed) {
        let sent = &object.body;
        let resource = object.key.resource.to_string();
        let mut need = |needs: fn(&mut Self) -> &mut Needs, name: &str| {
            if !name.is_empty() {
                needs(self).entry(name.to_owned()).or_default().add(object);
            }
        };
        match resource.as_str() {
            "persistentvolumeclaims" => {
                match body::at(sent, &["spec", "storageClassName"]) {
                    None | Some(Value::Null) => self.claims_without_class.add(object),
                    Some(class) => need(|d| &mut d.storage_classes, class.as_str().unwrap_or("")),
                }
                let size = body::text_at(sent, &["spec", "resources", "requests", "storage"]);
                self.use_quantity(object, "requests.storage", size);
            }
            "ingresses.networking.k8s.io" => need(
                |d| &mut d.ingress_classes,
                body::text_at(sent, &["spec", "ingressClassName"]),
            ),
            "services" => {
                for family in body::list_at(sent, &["spec", "ipFamilies"]) {
                    need(|d| &mut d.ip_families, family.as_str().unwrap_or(""));
                }
            }
            "pods" => {
                need(
                    |d| &mut d.priority_classes,
                    body::text_at(sent, &["spec", "priorityClassName"]),
                );
                need(
                    |d| &mut d.runtime_classes,
                    body::text_at(sent, &["spec", "runtimeClassName"]),
                );
                self.observe_pod(object);
            }
            "persistentvolumes" => {
                let path = ["spec", "nodeAffinity", "required", "nodeSelectorTerms"];
                if let Some(terms) = body::at(sent, &path) {
                    self.volume_affinities
                        .entry(terms.to_string())
                        .or_default()
                        .add(object);
                }
            }
            "storageclasses.storage.k8s.io" => self.provide("storage class", object),
            "ingressclasses.networking.k8s.io" => self.provide("ingress class", object),
            "priorityclasses.scheduling.k8s.io" => self.provide("priority class", object),
            "runtimeclasses.node.k8s.io" => self.provide("runtime class", object),
            _ => {}
        }
        self.use_amount(object, &resource, 1.0);
        self.use_amount(object, &format!("count/{resource}"), 1.0);
    }

    fn observe_pod(&mut self, object: &Transformed) {
        let selector: BTreeMap<String, String> = body::at(&object.body, &["spec", "nodeSelector"])
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        if !selector.is_empty() {
            self.node_selectors.entry(selector).or_default().add(object);
        }
        for container in body::list_at(&object.body, &["spec", "containers"]) {
            for (list, prefix) in [("requests", "requests."), ("limits", "limits.")] {
                for unit in ["cpu", "memory"] {
                    let amount = match body::at(container, &["resources", list, unit]) {
                        Some(Value::String(text)) => text.clone(),
                        Some(Value::Number(number)) => number.to_string(),
                        _ => continue,
                    };
                    self.use_quantity(object, &format!("{prefix}{unit}"), &amount);
                    if list == "requests" {
                        self.use_quantity(object, unit, &amount);
                    }
                }
            }
        }
    }

    /// Adds a claim that will be created and whose volume does not come back with its data.
    pub fn loses_data(&mut self, claim: &Transformed) {
        self.claims_without_data.add(claim);
    }

    fn provide(&mut self, what: &'static str, object: &Transformed) {
        self.provided.insert((what, object.key.name.clone()));
    }

    fn use_quantity(&mut self, object: &Transformed, unit: &str, text: &str) {
        if let Some(amount) = approximate(text) {
            self.use_amount(object, unit, amount);
        }
    }

    fn use_amount(&mut self, object: &Transformed, unit: &str, amount: f64) {
        if let Some(namespace) = &object.key.namespace {
            let used = self.usage.entry(namespace.clone()).or_default();
            *used.entry(unit.to_owned()).or_default() += amount;
        }
    }

    /// Namespaces that objects will be created in.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.usage.keys().map(String::as_str)
    }
}

/// Compares what is needed with what the target has.
#[must_use]
pub fn judge(demands: &Demands, facts: &Facts) -> Vec<Finding> {
    let mut findings = facts.gaps();
    for (what, code, needs, has) in [
        (
            "storage class",
            "storage-class",
            &demands.storage_classes,
            &facts.storage_classes,
        ),
        (
            "ingress class",
            "ingress-class",
            &demands.ingress_classes,
            &facts.ingress_classes,
        ),
        (
            "priority class",
            "priority-class",
            &demands.priority_classes,
            &facts.priority_classes,
        ),
        (
            "runtime class",
            "runtime-class",
            &demands.runtime_classes,
            &facts.runtime_classes,
        ),
    ] {
        let Some(has) = has else { continue };
        for (name, users) in needs {
            if !has.contains(name) && !demands.provided.contains(&(what, name.clone())) {
                findings.push(Finding::new(
                    Severity::Problem,
                    code,
                    format!("the target has no {what} {name}, which {users} needs"),
                ));
            }
        }
    }
    if demands.claims_without_class.count > 0 && facts.has_default_storage_class == Some(false) {
        findings.push(Finding::new(
            Severity::Warning,
            "storage-class",
            format!(
                "the target has no default storage class, and {} names none",
                demands.claims_without_class
            ),
        ));
    }
    if let Some(families) = &facts.ip_families {
        for (family, users) in &demands.ip_families {
            if !families.is_empty() && !families.contains(family) {
                findings.push(Finding::new(
                    Severity::Problem,
                    "ip-family",
                    format!("the target seems to have no {family}, which {users} asks for"),
                ));
            }
        }
    }
    if demands.claims_without_data.count > 0 {
        findings.push(Finding::new(
            Severity::Warning,
            VOLUME_DATA,
            format!(
                "{} comes back empty: the volume it had is not restored, and a new one has no data",
                demands.claims_without_data
            ),
        ));
    }
    judge_nodes(demands, facts, &mut findings);
    judge_quotas(demands, facts, &mut findings);
    for webhook in &facts.unready_webhooks {
        findings.push(Finding::new(
            Severity::Warning,
            "webhook",
            format!(
                "admission webhook {webhook} refuses everything while its service has no ready endpoint; \
                 what it refuses is tried again until nothing moves"
            ),
        ));
    }
    for namespace in demands.namespaces() {
        if facts.terminating_namespaces.contains(namespace) {
            findings.push(Finding::new(
                Severity::Warning,
                "namespace",
                format!(
                    "namespace {namespace} is being deleted; the restore waits until it is gone"
                ),
            ));
        }
    }
    findings.sort();
    findings
}

fn judge_nodes(demands: &Demands, facts: &Facts, findings: &mut Vec<Finding>) {
    let Some(nodes) = &facts.node_labels else {
        return;
    };
    if nodes.is_empty() {
        return;
    }
    for (selector, users) in &demands.node_selectors {
        let fits = |node: &BTreeMap<String, String>| {
            selector
                .iter()
                .all(|(key, value)| node.get(key) == Some(value))
        };
        if !nodes.iter().any(fits) {
            let text: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
            findings.push(Finding::new(
                Severity::Problem,
                "node-labels",
                format!(
                    "no node has the labels {}, which {users} selects",
                    text.join(",")
                ),
            ));
        }
    }
    for (terms, users) in &demands.volume_affinities {
        let terms: Value = serde_json::from_str(terms).unwrap_or_default();
        let terms = terms.as_array().map_or(&[][..], Vec::as_slice);
        if !nodes
            .iter()
            .any(|node| terms.iter().any(|term| term_matches(term, node)))
        {
            findings.push(Finding::new(
                Severity::Problem,
                "node-labels",
                format!("no node fits the node affinity of {users}"),
            ));
        }
    }
}

/// One node selector term: all of its label expressions. Terms over fields are taken as matching.
fn term_matches(term: &Value, node: &BTreeMap<String, String>) -> bool {
    body::list_at(term, &["matchExpressions"])
        .iter()
        .all(|expression| {
            let key = body::text_at(expression, &["key"]);
            let values = body::list_at(expression, &["values"]);
            let has = |label: &String| values.iter().any(|value| value.as_str() == Some(label));
            match body::text_at(expression, &["operator"]) {
                "In" => node.get(key).is_some_and(has),
                "NotIn" => !node.get(key).is_some_and(has),
                "Exists" => node.contains_key(key),
                "DoesNotExist" => !node.contains_key(key),
                _ => true,
            }
        })
}

fn judge_quotas(demands: &Demands, facts: &Facts, findings: &mut Vec<Finding>) {
    for (namespace, quota, unit, free) in &facts.quotas {
        let wanted = demands
            .usage
            .get(namespace)
            .and_then(|usage| usage.get(unit))
            .copied()
            .unwrap_or(0.0);
        if wanted > *free {
            findings.push(Finding::new(
                Severity::Problem,
                "quota",
                format!(
                    "quota {namespace}/{quota} has {free} of {unit} left, the restore needs {wanted}"
                ),
            ));
        }
    }
}

#[cfg(test)]
mod tests;
