//! Field selectors, for the fields that the real server lets one select by.

use serde_json::Value;

use crate::crd::at_json_path;
use crate::entry::Entry;
use crate::registry::Resource;
use crate::request::Selection;
use crate::status::Failure;

/// Requirements on fields, all of which must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldSelector(Vec<Requirement>);

#[derive(Clone, Debug)]
struct Requirement {
    field: String,
    value: String,
    equal: bool,
}

/// Fields by resource, as the real server registers them; metadata is selectable everywhere.
const FIELDS: &[(&str, &str, &[&str])] = &[
    (
        "",
        "pods",
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    ),
    ("", "events", EVENT_FIELDS),
    ("events.k8s.io", "events", EVENT_FIELDS),
    ("", "namespaces", &["status.phase"]),
    ("", "nodes", &["spec.unschedulable"]),
    ("", "secrets", &["type"]),
    ("", "services", &["spec.clusterIP", "spec.type"]),
    ("", "replicationcontrollers", &["status.replicas"]),
    ("apps", "replicasets", &["status.replicas"]),
    ("batch", "jobs", &["status.successful"]),
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
        &["spec.signerName"],
    ),
];

const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

impl FieldSelector {
    /// Parses `a=b,c!=d`.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        let mut requirements = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once("==").or(part.split_once('=')) {
                (field, value, true)
            } else {
                let why = format!("invalid field selector: '{text}': can't understand '{part}'");
                return Err(Failure::bad_request(why));
            };
            requirements.push(Requirement {
                field: field.trim().to_owned(),
                value: value.trim().to_owned(),
                equal,
            });
        }
        Ok(Self(requirements))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one value that is asked for of a field, when there is one.
    pub(crate) fn exact(&self, field: &str) -> Option<&str> {
        let exact = |one: &&Requirement| one.equal && one.field == field;
        self.0.iter().find(exact).map(|one| one.value.as_str())
    }

    /// Also demands a name.
    pub(crate) fn require_name(&mut self, name: &str) {
        let field = "metadata.name".to_owned();
        self.0.push(Requirement {
            field,
            value: name.to_owned(),
            equal: true,
        });
    }

    /// Refuses fields that are not selectable for a resource.
    pub(crate) fn check(&self, resource: &Resource, version: &str) -> Result<(), Failure> {
        let known = |field: &str| {
            matches!(field, "metadata.name" | "metadata.namespace")
                || FIELDS.iter().any(|(group, plural, fields)| {
                    resource.is(group, plural) && fields.contains(&field)
                })
                || resource
                    .version(version)
                    .and_then(|v| v.schema.as_ref())
                    .is_some_and(|schema| {
                        schema
                            .selectable
                            .iter()
                            .any(|path| path.trim_start_matches('.') == field)
                    })
        };
        match self.0.iter().find(|one| !known(&one.field)) {
            None => Ok(()),
            Some(one) => Err(Failure::bad_request(format!(
                "field label not supported: {}",
                one.field
            ))),
        }
    }

    fn matches(&self, entry: &Entry) -> bool {
        let mut parsed: Option<Value> = None;
        self.0.iter().all(|one| {
            let found = match one.field.as_str() {
                "metadata.name" => entry.meta.name.clone(),
                "metadata.namespace" => entry.meta.namespace.clone(),
                field => {
                    let object = parsed.get_or_insert_with(|| Value::Object(entry.object()));
                    field_text(object, field)
                }
            };
            (found == one.value) == one.equal
        })
    }
}

fn field_text(object: &Value, field: &str) -> String {
    let path = match field {
        "status.successful" => ".status.succeeded".to_owned(),
        "source" => ".source.component".to_owned(),
        field => format!(".{field}"),
    };
    match at_json_path(object, &path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => match field {
            "spec.unschedulable" | "spec.hostNetwork" => "false".to_owned(),
            "status.replicas" | "status.successful" => "0".to_owned(),
            _ => String::new(),
        },
        Some(other) => other.to_string(),
    }
}

impl Selection {
    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        self.labels.matches(&entry.meta.labels) && self.fields.matches(entry)
    }
}
