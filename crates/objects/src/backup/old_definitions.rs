//! Definitions of custom resources that were made through `apiextensions.k8s.io/v1beta1`, as Velero's
//! `crd-remap-version` has them: the API server shows them as v1 too, but does not accept that form back. They are
//! stored in the version that they were made in, where it is still served.

use std::collections::BTreeMap;
use std::sync::Arc;

use salvor_api::resource::ObjectKey;
use salvor_cluster::{ApiResource, ErrorKind};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::collect::Origin;
use super::error::BackupError;
use super::gather::Run;
use super::plan::Plan;
use super::references::custom_resource_definitions;
use super::runlog::About;

/// The version that is preferred since Kubernetes 1.16.
const CURRENT: &str = "v1";
/// The version that they were made in; not served since 1.22.
const OLD: &str = "v1beta1";

/// Definitions that wait to be fetched in their old version.
#[derive(Debug, Default)]
pub(crate) struct OldDefinitions {
    waiting: BTreeMap<ObjectKey, Origin>,
    /// True when the old version is not to be had: they are taken as they are shown.
    as_they_are: bool,
}

impl OldDefinitions {
    /// For a run; one that lists the old version anyhow takes both as they are.
    pub(crate) fn of(plan: &Plan) -> Self {
        let lists_old = plan.resources.iter().any(|line| {
            line.resource.version == OLD
                && line.resource.group_resource() == custom_resource_definitions()
        });
        Self {
            waiting: BTreeMap::new(),
            as_they_are: lists_old,
        }
    }

    /// True when an object is one, and now waits.
    pub(crate) fn holds_back(
        &mut self,
        key: &ObjectKey,
        resource: &ApiResource,
        body: &[u8],
        origin: Origin,
    ) -> bool {
        let held = !self.as_they_are
            && resource.version == CURRENT
            && key.resource == custom_resource_definitions()
            && is_old(body);
        if held {
            self.waiting.insert(key.clone(), origin);
        }
        held
    }

    pub(crate) fn take(&mut self) -> BTreeMap<ObjectKey, Origin> {
        std::mem::take(&mut self.waiting)
    }

    pub(crate) fn give_up(&mut self) {
        self.as_they_are = true;
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Definition {
    spec: Spec,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    preserve_unknown_fields: bool,
    versions: Vec<Version>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Version {
    schema: Option<Schema>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Schema {
    #[serde(rename = "openAPIV3Schema")]
    schema: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    conditions: Vec<Condition>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Condition {
    #[serde(rename = "type")]
    name: String,
    status: String,
}

/// True for a v1 body that v1 would not accept: without a schema, with one that is not structural, or with unknown
/// fields kept everywhere. What cannot be read is no definition of this sort.
fn is_old(body: &[u8]) -> bool {
    let Ok(Definition { spec, status }) = serde_json::from_slice(body) else {
        return false;
    };
    let without_schema = spec.versions.iter().any(|version| {
        let schema = version.schema.as_ref();
        schema.is_none_or(|schema| schema.schema.is_none())
    });
    let not_structural = status
        .conditions
        .iter()
        .any(|one| one.name == "NonStructuralSchema" && one.status == "True");
    spec.preserve_unknown_fields || without_schema || not_structural
}

impl Run {
    /// Fetches what was held back: in the old version, or as it is where that is not served any more.
    pub(super) async fn take_old_definitions(&self) -> Result<(), BackupError> {
        let Some(line) = self.collector.plan.find(&custom_resource_definitions()) else {
            return Ok(());
        };
        let current = Arc::clone(&line.resource);
        let old = Arc::new(ApiResource {
            version: OLD.to_owned(),
            ..(*current).clone()
        });
        for (key, origin) in self.collector.old_definitions(OldDefinitions::take) {
            self.check_cancelled()?;
            let found = self.cluster.get(&old, None, &key.name);
            let (found, resource) = match self.unless_cancelled(found).await? {
                Err(error) if error.kind() == ErrorKind::NoSuchKind => {
                    self.collector.old_definitions(OldDefinitions::give_up);
                    let found = self.cluster.get(&current, None, &key.name);
                    (self.unless_cancelled(found).await?, &current)
                }
                found => (found, &old),
            };
            match found {
                Ok(Some(body)) => self.take_body(body, resource, origin).await?,
                // It was deleted since.
                Ok(None) => {}
                Err(error) => self.log().error(About::Object(&key), &error.to_string()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_v1_would_not_take_back_is_old() {
        let good = json!({"schema": {"openAPIV3Schema": {"type": "object"}}});
        for (spec, conditions, old) in [
            (json!({"versions": [good]}), json!([]), false),
            (
                json!({"versions": [good], "preserveUnknownFields": true}),
                json!([]),
                true,
            ),
            (json!({"versions": [{"name": "v1"}]}), json!([]), true),
            (json!({"versions": [good, {"schema": {}}]}), json!([]), true),
            (
                json!({"versions": [good]}),
                json!([{"type": "NonStructuralSchema", "status": "True"}]),
                true,
            ),
            (
                json!({"versions": [good]}),
                json!([{"type": "NonStructuralSchema", "status": "False"}]),
                false,
            ),
        ] {
            let body = json!({"spec": spec, "status": {"conditions": conditions}});
            assert_eq!(is_old(body.to_string().as_bytes()), old, "{body}");
        }
        assert!(!is_old(b"nonsense") && !is_old(Value::Null.to_string().as_bytes()));
    }

    #[test]
    fn only_the_current_version_of_a_definition_waits() {
        let key = ObjectKey::cluster(custom_resource_definitions(), "a.example.com".to_owned());
        let resource = |version: &str| {
            ApiResource::known(
                "apiextensions.k8s.io",
                version,
                "CustomResourceDefinition",
                "customresourcedefinitions",
                false,
            )
        };
        let body = br#"{"spec": {"preserveUnknownFields": true}}"#;
        let mut old = OldDefinitions::default();
        assert!(!old.holds_back(&key, &resource("v1beta1"), body, Origin::Listed));
        assert!(old.holds_back(&key, &resource("v1"), body, Origin::Listed));
        assert_eq!(old.take().len(), 1);
        old.give_up();
        assert!(!old.holds_back(&key, &resource("v1"), body, Origin::Listed));
    }
}
