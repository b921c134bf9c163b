//! One object of the backup becomes what is sent to the target.
//!
//! Pure and deterministic: the same body under the same [`Rules`] gives the same object and the same
//! digest. A plan keeps the digest; apply runs this function again and stops an object whose digest
//! differs, so that what was shown is what is done. Item actions of users are the one exception: they are
//! asked each time, and must answer the same question in the same way.

use salvor_api::resource::{GroupVersion, ObjectKey};
use salvor_extension::{ActionKind, Occasion, Outcome, Subject};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::item_action::{self, Item};
use super::normalise::{self, Digest};
use super::rules::Rules;
use super::skip::{self, Skip};
use super::version::Route;
use super::{body, mapping, strip};
use crate::extension::ask_blocking;

/// An object ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Transformed {
    /// Where it goes: target namespace, and the resource after a conversion.
    pub key: ObjectKey,
    /// The version it is sent in.
    pub group_version: GroupVersion,
    /// What is sent.
    pub body: Value,
    /// Digest of `body`.
    pub digest: Digest,
    /// Digest of the form in which it is compared with the target.
    pub normal: Digest,
    /// The status that was taken off.
    pub status: Option<Value>,
    /// The owner references that were taken off.
    pub owners: Vec<Value>,
    /// Warnings about the object.
    pub notes: Vec<String>,
    /// Errors that do not keep it from being restored: modifiers that could not be applied.
    pub problems: Vec<String>,
    /// Objects of the backup that an item action wants with it.
    pub additional: Vec<ObjectKey>,
}

/// Why an object cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not meant to be restored.
    Skip(Skip),
    /// It is not what its place in the backup says, or cannot be converted.
    Unusable(String),
}

/// Transforms one object. `source` is its key in the backup.
///
/// # Errors
/// The object is left out, or is not usable.
pub fn transform(
    source: &ObjectKey,
    object: &Value,
    route: Route,
    rules: &Rules,
) -> Result<Transformed, Refusal> {
    check_identity(source, object).map_err(Refusal::Unusable)?;
    if let Some(skip) = skip::inherent(source, object) {
        return Err(Refusal::Skip(skip));
    }
    let mut sent = object.clone();
    let mut key = source.clone();
    if let Route::Convert(conversion) = route {
        conversion.convert(&mut sent).map_err(|reason| {
            Refusal::Unusable(format!(
                "convert to {}: {reason}",
                conversion.target_version()
            ))
        })?;
        key.resource = conversion.target_resource();
    }
    let owners = body::list_at(&sent, &["metadata", "ownerReferences"]).to_vec();
    let status = strip::strip(&mut sent);
    let mut notes = Vec::new();
    let mut item = Item {
        key: &key,
        backed_up: object,
        body: &mut sent,
        notes: &mut notes,
    };
    item_action::run(&mut item, rules).map_err(Refusal::Skip)?;
    let mut additional = Vec::new();
    if let Some(outcome) = by_users(source, object, &mut sent, rules)? {
        notes.extend(outcome.warnings);
        additional = outcome.additional;
    }
    let mut problems = Vec::new();
    rules.modifiers.apply(source, &mut sent, &mut problems);
    let key = rules.target_key(&key);
    mapping::map_body(&mut sent, &key);
    strip::add_labels(&mut sent, &rules.backup, &rules.restore);
    let normal = normalise::digest(&key.resource, sent.clone(), rules.preserve_node_ports);
    Ok(Transformed {
        group_version: GroupVersion::parse(body::text_at(&sent, &["apiVersion"])),
        digest: Digest::of(&sent),
        key,
        body: sent,
        normal,
        status,
        owners,
        notes,
        problems,
        additional,
    })
}

/// Asks the item actions of users about an object. Blocks until they have answered: only threads that may
/// block transform objects.
fn by_users(
    source: &ObjectKey,
    backed_up: &Value,
    sent: &mut Value,
    rules: &Rules,
) -> Result<Option<Outcome>, Refusal> {
    if rules.actions.is_empty() {
        return Ok(None);
    }
    let occasion = Occasion {
        backup: rules.backup.clone(),
        restore: Some(rules.restore.clone()),
    };
    let subject = Subject {
        kind: ActionKind::RestoreItemAction,
        occasion: &occasion,
        key: source,
    };
    if !rules.actions.may_apply(&subject) {
        return Ok(None);
    }
    // Cancelling a restore waits for the answer, which has a time limit of its own.
    let cancel = CancellationToken::new();
    let asked = ask_blocking(
        &rules.actions,
        &subject,
        sent.clone(),
        Some(backed_up),
        &cancel,
    );
    let mut outcome = asked.map_err(|failed| Refusal::Unusable(failed.chain()))?;
    if let Some(reason) = outcome.skip {
        return Err(Refusal::Skip(Skip::ByAction(reason)));
    }
    *sent = outcome.object.take();
    Ok(Some(outcome))
}

/// The body must be the object that its path names: otherwise another object would be written.
fn check_identity(source: &ObjectKey, object: &Value) -> Result<(), String> {
    if !object.is_object() {
        return Err("its body is not a JSON object".into());
    }
    for field in ["apiVersion", "kind"] {
        if body::text_at(object, &[field]).is_empty() {
            return Err(format!("its body has no {field}"));
        }
    }
    let name = body::text_at(object, &["metadata", "name"]);
    if name != source.name {
        return Err(format!("its body is of an object named `{name}`"));
    }
    let namespace = body::text_at(object, &["metadata", "namespace"]);
    if namespace != source.namespace.as_deref().unwrap_or_default() {
        return Err(format!(
            "its body is of an object in namespace `{namespace}`"
        ));
    }
    let group = GroupVersion::parse(body::text_at(object, &["apiVersion"])).group;
    if group != source.resource.group {
        return Err(format!("its body is of API group `{group}`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn source() -> ObjectKey {
        ObjectKey::namespaced("configmaps".parse().expect("a resource"), "prod", "a")
    }

    fn rules() -> Rules {
        Rules {
            backup: "b".into(),
            restore: "r".into(),
            namespaces: [("prod".to_owned(), "copy".to_owned())].into(),
            ..Rules::default()
        }
    }

    #[test]
    fn an_object_moves_to_its_namespace_with_two_labels() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "prod", "uid": "u"}, "data": {"k": "v"}});
        let sent = transform(&source(), &object, Route::Direct, &rules()).expect("restorable");
        assert_eq!(sent.key.scoped_name(), "copy/a");
        assert_eq!(
            sent.body,
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "a", "namespace": "copy",
                    "labels": {"velero.io/backup-name": "b", "velero.io/restore-name": "r"}},
                "data": {"k": "v"}})
        );
        let again = transform(&source(), &object, Route::Direct, &rules()).expect("restorable");
        assert_eq!(again, sent);
    }

    #[test]
    fn bodies_that_are_not_what_their_path_says_are_refused() {
        let good = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "a", "namespace": "prod"}});
        for (path, value) in [
            ("/apiVersion", json!("apps/v1")),
            ("/apiVersion", json!("")),
            ("/kind", json!(7)),
            ("/metadata/name", json!("b")),
            ("/metadata/namespace", json!("kube-system")),
            ("/metadata", json!([])),
        ] {
            let mut object = good.clone();
            *object.pointer_mut(path).expect("a field") = value;
            let refusal = transform(&source(), &object, Route::Direct, &rules()).expect_err(path);
            assert!(
                matches!(refusal, Refusal::Unusable(_)),
                "{path}: {refusal:?}"
            );
        }
        let refusal = transform(&source(), &json!("text"), Route::Direct, &rules());
        assert_eq!(
            refusal,
            Err(Refusal::Unusable("its body is not a JSON object".into()))
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z]{0,6}".prop_map(Value::from),
        ];
        let field = prop_oneof![
            Just("spec".to_owned()),
            Just("metadata".to_owned()),
            Just("labels".to_owned()),
            Just("annotations".to_owned()),
            Just("ports".to_owned()),
            Just("containers".to_owned()),
            Just("volumes".to_owned()),
            Just("template".to_owned()),
            Just("subjects".to_owned()),
            Just("secrets".to_owned()),
            Just("claimRef".to_owned()),
            Just("selector".to_owned()),
            Just("webhooks".to_owned()),
            Just("versions".to_owned()),
            "[a-z]{1,4}",
        ];
        leaf.prop_recursive(5, 48, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((field.clone(), inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever shape a body has, every action and conversion ends with an object or a refusal, and
        /// comparing an object with its own normal form finds no difference.
        #[test]
        fn hostile_bodies_never_panic(noise in any_json(), status in any_json()) {
            for (resource, version) in [
                ("pods", "v1"), ("services", "v1"), ("secrets", "v1"), ("serviceaccounts", "v1"),
                ("persistentvolumes", "v1"), ("persistentvolumeclaims", "v1"), ("jobs.batch", "batch/v1"),
                ("customresourcedefinitions.apiextensions.k8s.io", "apiextensions.k8s.io/v1beta1"),
                ("ingresses.networking.k8s.io", "networking.k8s.io/v1beta1"),
                ("horizontalpodautoscalers.autoscaling", "autoscaling/v2beta1"),
                ("endpointslices.discovery.k8s.io", "discovery.k8s.io/v1beta1"),
                ("rolebindings.rbac.authorization.k8s.io", "rbac.authorization.k8s.io/v1alpha1"),
                ("validatingwebhookconfigurations.admissionregistration.k8s.io", "admissionregistration.k8s.io/v1beta1"),
                ("deployments.apps", "apps/v1beta1"),
            ] {
                let resource: salvor_api::resource::GroupResource = resource.parse().expect("a resource");
                let key = ObjectKey::cluster(resource.clone(), "x");
                let mut object = json!({"apiVersion": version, "kind": "K", "spec": noise, "status": status,
                    "data": noise, "secrets": noise, "subjects": noise, "webhooks": noise, "type": "kubernetes.io/service-account-token",
                    "endpoints": noise});
                object["metadata"] = json!({"name": "x", "labels": status, "annotations": noise});
                let gv = GroupVersion::parse(version);
                let route = crate::restore::version::convert::table()
                    .iter()
                    .find(|c| c.accepts(&resource, &gv))
                    .map_or(Route::Direct, Route::Convert);
                if let Ok(sent) = transform(&key, &object, route, &rules()) {
                    let mut normal = sent.body.clone();
                    normalise::normalise(&sent.key.resource, &mut normal, false);
                    prop_assert_eq!(
                        normalise::digest(&sent.key.resource, normal, false),
                        sent.normal
                    );
                }
            }
        }
    }
}
