//! Who asks for something, as an annotation of the object says it under a seal.
//!
//! The seal binds the user to the object's kind, namespace, name and spec. Copied to another object, or left on one
//! whose spec was changed behind admission's back, it is worth nothing.

use std::collections::BTreeMap;

use salvor_api::labels::REQUESTED_BY;
use salvor_api::velero::{Kind, Schedule};
use salvor_seal::SealKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What these seals are for.
const PURPOSE: &str = "request";

/// Who asks, as the API server knows him.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Requester {
    /// True for the server itself; the rest is empty then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) server: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) username: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<String>,
    /// What authentication adds for authorisation to go by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl Requester {
    pub(crate) fn server() -> Self {
        Self {
            server: true,
            ..Self::default()
        }
    }

    /// True for the same person, whatever groups he is in.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.server, &self.username, &self.uid) == (other.server, &other.username, &other.uid)
    }
}

/// The annotation's value.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    requester: Requester,
    seal: String,
}

/// What of a spec decides what is done: whether a schedule rests does not.
pub(crate) fn asked(kind: &str, mut spec: Value) -> Value {
    if kind == Schedule::KIND
        && let Some(spec) = spec.as_object_mut()
    {
        for key in ["paused", "skipImmediately"] {
            spec.remove(key);
        }
    }
    spec
}

/// What is sealed. Fields that this version does not know are not: they have no effect either.
fn parts<K: Kind>(object: &K, requester: &Requester) -> Option<[String; 6]> {
    let metadata = object.metadata();
    // While it is admitted, an object with a generated name has none on API servers before 1.25 or so.
    let name = match metadata.generate_name.as_str() {
        "" => metadata.name.clone(),
        stem => format!("{stem}*"),
    };
    let spec = serde_json::to_value(object)
        .ok()?
        .get("spec")
        .cloned()
        .unwrap_or_default();
    let spec = asked(K::KIND, spec);
    Some([
        PURPOSE.to_owned(),
        K::KIND.to_owned(),
        metadata.namespace.clone(),
        name,
        spec.to_string(),
        serde_json::to_string(requester).ok()?,
    ])
}

/// The annotation that says who asks for an object as it is.
pub(crate) fn sealed_by<K: Kind>(
    key: &SealKey,
    object: &K,
    requester: &Requester,
) -> Option<String> {
    let parts = parts(object, requester)?;
    let record = Record {
        requester: requester.clone(),
        seal: key.seal(&parts.each_ref().map(String::as_str)),
    };
    serde_json::to_string(&record).ok()
}

/// Writes who asks for an object.
pub(crate) fn put<K: Kind>(key: &SealKey, object: &mut K, requester: &Requester) {
    let text = sealed_by(key, object, requester);
    let annotations = &mut object.metadata_mut().annotations;
    match text {
        Some(text) => annotations.insert(REQUESTED_BY.to_owned(), text),
        None => annotations.remove(REQUESTED_BY),
    };
}

/// Who asks for an object; `None` when that cannot be told.
pub(crate) fn take<K: Kind>(key: &SealKey, object: &K) -> Option<Requester> {
    let text = object.metadata().annotations.get(REQUESTED_BY)?;
    let Record { requester, seal } = serde_json::from_str(text).ok()?;
    let parts = parts(object, &requester)?;
    key.is_seal(&parts.each_ref().map(String::as_str), &seal)
        .then_some(requester)
}

/// Changes an object on behalf of who asks for it. Without a key nothing is sealed.
pub(crate) fn resealed<K: Kind>(
    key: Option<&SealKey>,
    object: &mut K,
    change: impl FnOnce(&mut K),
) {
    let requester = key.and_then(|key| take(key, object));
    change(object);
    if let (Some(key), Some(requester)) = (key, requester) {
        put(key, object, &requester);
    }
}

#[cfg(test)]
mod tests {
    use salvor_api::velero::{Backup, Restore, Schedule};

    use super::*;

    fn key() -> SealKey {
        SealKey::new(&[5; 32]).expect("a key")
    }

    fn ann() -> Requester {
        Requester {
            username: "ann".to_owned(),
            groups: vec!["system:authenticated".to_owned()],
            ..Requester::default()
        }
    }

    #[test]
    fn a_requester_is_one_of_one_object_as_it_was_asked_for() {
        let mut restore = Restore::named("velero", "r");
        restore.spec.backup_name = "b".to_owned();
        put(&key(), &mut restore, &ann());
        assert_eq!(take(&key(), &restore), Some(ann()));
        let change = |change: &dyn Fn(&mut Restore)| {
            let mut other = restore.clone();
            change(&mut other);
            take(&key(), &other)
        };
        assert_eq!(
            change(&|r| r.status.errors = 3),
            Some(ann()),
            "the server writes it"
        );
        assert_eq!(change(&|r| r.spec.backup_name = "c".to_owned()), None);
        assert_eq!(change(&|r| r.metadata.name = "s".to_owned()), None);
        assert_eq!(change(&|r| r.metadata.namespace = "n".to_owned()), None);
        let say = |text: &str| {
            change(&|r| {
                r.metadata
                    .annotations
                    .insert(REQUESTED_BY.to_owned(), text.to_owned());
            })
        };
        let text = restore.metadata.annotations[REQUESTED_BY].clone();
        assert_eq!(say(&text), Some(ann()));
        assert_eq!(say(&text.replace("ann", "bob")), None);
        assert_eq!(
            say(&text.replace("\"username\"", "\"server\":true,\"username\"")),
            None
        );
        for text in ["", "null", "{}", "{\"username\":\"ann\",\"seal\":\"\"}"] {
            assert_eq!(say(text), None, "{text}");
        }
        // Another kind of the same name asks for something else.
        let mut backup = Backup::named("velero", "r");
        backup.metadata.annotations = restore.metadata.annotations.clone();
        assert_eq!(take(&key(), &backup), None);
    }

    #[test]
    fn what_the_server_fills_in_leaves_the_requester() {
        let mut backup = Backup::named("velero", "b");
        put(&key(), &mut backup, &ann());
        resealed(Some(&key()), &mut backup, |b| {
            b.spec.storage_location = "l".to_owned();
        });
        assert_eq!(take(&key(), &backup), Some(ann()));
        backup.spec.storage_location = "m".to_owned();
        // What was not his is not made his.
        resealed(Some(&key()), &mut backup, |b| {
            b.spec.ttl = "1h".parse().expect("time");
        });
        assert_eq!(take(&key(), &backup), None);
    }

    #[test]
    fn a_schedule_that_rests_is_still_its_makers() {
        let mut schedule = Schedule::named("velero", "s");
        put(&key(), &mut schedule, &ann());
        schedule.spec.paused = true;
        assert_eq!(take(&key(), &schedule), Some(ann()));
        schedule.spec.schedule = "@hourly".to_owned();
        assert_eq!(take(&key(), &schedule), None);
    }

    #[test]
    fn a_generated_name_is_bound_by_its_stem() {
        let mut backup = Backup::named("velero", "");
        backup.metadata.generate_name = "b-".to_owned();
        put(&key(), &mut backup, &ann());
        backup.metadata.name = "b-x1".to_owned();
        assert_eq!(take(&key(), &backup), Some(ann()));
        backup.metadata.generate_name.clear();
        assert_eq!(take(&key(), &backup), None);
    }
}
