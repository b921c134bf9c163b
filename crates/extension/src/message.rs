//! What is asked and what is answered, version v1.

use salvor_api::resource::{GroupResource, ObjectKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// When an action is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ActionKind {
    /// Before an object is written into a backup.
    BackupItemAction,
    /// Before an object is restored.
    RestoreItemAction,
    /// Before the files of a backup are deleted.
    DeleteItemAction,
}

impl ActionKind {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BackupItemAction => "BackupItemAction",
            Self::RestoreItemAction => "RestoreItemAction",
            Self::DeleteItemAction => "DeleteItemAction",
        }
    }
}

/// What the object is looked at for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occasion {
    /// Name of the backup that is made, restored or deleted.
    pub backup: String,
    /// Name of the restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<String>,
}

/// The place of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// `pods`, `deployments.apps`.
    pub resource: String,
    /// Its namespace; absent for cluster-scoped objects. In a restore, the one in the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl From<&ObjectKey> for Item {
    fn from(key: &ObjectKey) -> Self {
        Self {
            resource: key.resource.to_string(),
            namespace: key.namespace.clone(),
            name: key.name.clone(),
        }
    }
}

/// A question. Who answers ignores fields that it does not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ask {
    /// `v1`.
    pub version: String,
    /// Name of the action, as defined.
    pub action: String,
    /// When.
    pub kind: ActionKind,
    /// What for.
    pub run: Occasion,
    /// Which object.
    pub item: Item,
    /// The object as it is now: as it will be archived, as it will be restored, or as it stands in the backup.
    pub object: Value,
    /// In a restore: the object as it stands in the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backed_up: Option<Value>,
}

/// An answer. Unknown fields are refused: a mistyped one would silently do nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Answer {
    /// `v1`.
    pub version: String,
    /// The object that takes its place; absent when it stays as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<Value>,
    /// It is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<Skip>,
    /// Objects that belong with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub additional_items: Vec<AdditionalItem>,
    /// What the user should know about the object.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why the object cannot be dealt with; the action has failed for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why an object is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// For the log.
    pub reason: String,
}

/// An object that belongs with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdditionalItem {
    /// `secrets`, `deployments.apps`.
    pub resource: String,
    /// Its namespace; absent for cluster-scoped objects.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl AdditionalItem {
    /// Its key, when the resource can be read and the name is not empty.
    pub(crate) fn key(self) -> Option<ObjectKey> {
        let resource: GroupResource = self.resource.parse().ok()?;
        let namespace = self.namespace.filter(|namespace| !namespace.is_empty());
        (!self.name.is_empty()).then(|| match namespace {
            Some(namespace) => ObjectKey::namespaced(resource, namespace, self.name),
            None => ObjectKey::cluster(resource, self.name),
        })
    }
}
