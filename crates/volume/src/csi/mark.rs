//! How objects of ours are told from those of others, and names that follow from what they are for.

use salvor_api::labels;
use salvor_seal::Digest;
use serde_json::{Map, Value, json};

use crate::OnBehalfOf;

/// Label of everything that is made here.
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const SALVOR: &str = "salvor";
/// Label: what an object is for, one of [`Role`].
const ROLE: &str = "salvor.dev/snapshot-role";
/// Annotation: name of the Backup or Restore.
const OF: &str = "salvor.dev/on-behalf-of";
/// Annotation of a snapshot that a claim is made of: the claim.
pub(super) const FOR_CLAIM: &str = "salvor.dev/for-claim";
/// Letters of generated names, as Kubernetes has them: no vowels, nothing that looks like another.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Longest generated name, so that it fits into a label.
const LONGEST: usize = 63;
const SUFFIX: usize = 5;

/// What an object of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A backup's snapshot.
    Backup,
    /// The window through which a snapshot's data is moved.
    Move,
    /// A claim is made of it.
    Restore,
    /// The storage's snapshot goes with it.
    Delete,
}

impl Role {
    const ALL: [Self; 4] = [Self::Backup, Self::Move, Self::Restore, Self::Delete];

    fn word(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Move => "move",
            Self::Restore => "restore",
            Self::Delete => "delete",
        }
    }
}

/// Selector of everything of ours.
pub(super) fn selector() -> String {
    format!("{MANAGED_BY}={SALVOR},{ROLE}")
}

/// Adds the marks of an object to its labels and annotations.
pub(super) fn mark(
    role: Role,
    of: &OnBehalfOf,
    labels: &mut Map<String, Value>,
    annotations: &mut Map<String, Value>,
) {
    labels.insert(MANAGED_BY.to_owned(), SALVOR.into());
    labels.insert(ROLE.to_owned(), role.word().into());
    let (name, uid) = match role {
        Role::Restore => (labels::RESTORE_NAME, labels::RESTORE_UID),
        _ => (labels::BACKUP_NAME, labels::BACKUP_UID),
    };
    if !of.name.is_empty() {
        labels.insert(name.to_owned(), labels::label_value(&of.name).into());
        annotations.insert(OF.to_owned(), of.name.clone().into());
    }
    if !of.uid.is_empty() {
        labels.insert(uid.to_owned(), of.uid.clone().into());
    }
    annotations.insert(labels::RUN_ID.to_owned(), of.run.clone().into());
}

/// `metadata` of an object of ours.
pub(super) fn metadata(role: Role, of: &OnBehalfOf, namespace: Option<&str>, name: &str) -> Value {
    let (mut labels, mut annotations) = (Map::new(), Map::new());
    mark(role, of, &mut labels, &mut annotations);
    let mut metadata = json!({"name": name, "labels": labels, "annotations": annotations});
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

/// What an object of ours is for; `None` for one of somebody else.
pub(super) fn role_of(object: &Value) -> Option<Role> {
    let labels = &object["metadata"]["labels"];
    let role = labels[ROLE].as_str()?;
    let ours = labels[MANAGED_BY] == SALVOR;
    Role::ALL
        .into_iter()
        .find(|known| ours && known.word() == role)
}

/// The run that made an object.
pub(super) fn run_of(object: &Value) -> &str {
    annotation(object, labels::RUN_ID)
}

/// Name of the Backup or Restore that an object was made for.
pub(super) fn name_of(object: &Value) -> &str {
    annotation(object, OF)
}

pub(super) fn annotation<'a>(object: &'a Value, key: &str) -> &'a str {
    let value = &object["metadata"]["annotations"][key];
    value.as_str().unwrap_or_default()
}

/// Whether an object was made by this run for this.
pub(super) fn is_ours(object: &Value, role: Role, of: &OnBehalfOf) -> bool {
    role_of(object) == Some(role) && run_of(object) == of.run
}

/// A name as Kubernetes would generate it from `prefix`, except that the same seed gives the same name.
pub(super) fn generated(prefix: &str, seed: &[&str]) -> String {
    let digest = Digest::of(seed.join("\0").as_bytes());
    let letters = digest.as_bytes().iter().take(SUFFIX);
    let suffix = letters.map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]));
    let head: String = prefix.chars().take(LONGEST - SUFFIX).collect();
    head + &suffix.collect::<String>()
}

/// Velero's name of what a restore makes of a snapshot: the SHA-256 of the restore's UID and the snapshot's name.
pub(super) fn restored(uid: &str, snapshot: &str) -> String {
    Digest::of(format!("{uid}{snapshot}").as_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_look_generated_and_follow_from_their_seed() {
        let name = generated("velero-data-", &["run", "shop", "data"]);
        assert!(name.starts_with("velero-data-"), "{name}");
        assert_eq!(name.len(), "velero-data-".len() + 5);
        assert_eq!(name, generated("velero-data-", &["run", "shop", "data"]));
        assert_ne!(name, generated("velero-data-", &["run2", "shop", "data"]));
        let long = generated(&format!("velero-{}-", "d".repeat(200)), &["x"]);
        assert_eq!(long.len(), 63);
    }

    #[test]
    fn only_marked_objects_are_ours() {
        let of = OnBehalfOf {
            name: "b".repeat(70),
            uid: "u".to_owned(),
            run: "r1".to_owned(),
            location: "default".to_owned(),
        };
        let object = json!({"metadata": metadata(Role::Backup, &of, Some("shop"), "velero-x")});
        assert!(is_ours(&object, Role::Backup, &of));
        assert!(!is_ours(&object, Role::Move, &of));
        let other = OnBehalfOf {
            run: "r2".to_owned(),
            ..of.clone()
        };
        assert!(!is_ours(&object, Role::Backup, &other));
        assert_eq!(name_of(&object), of.name);
        let label = object["metadata"]["labels"][labels::BACKUP_NAME].as_str();
        assert_eq!(label.map(str::len), Some(63));
        assert_eq!(
            role_of(&json!({"metadata": {"labels": {ROLE: "backup"}}})),
            None
        );
    }
}
