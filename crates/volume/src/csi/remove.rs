//! Removing the objects of a snapshot, with or without the snapshot that the storage has.

use serde_json::{Value, json};

use super::api::{Snapshots, text};
use super::error::CsiError;
use super::mark::{Role, run_of};
use super::take::CsiTaken;
use crate::OnBehalfOf;

/// What becomes of the storage's snapshot when its objects go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// It stays: a backup names it.
    Kept,
    /// It goes too.
    Deleted,
}

impl Storage {
    fn policy(self) -> &'static str {
        match self {
            Self::Kept => "Retain",
            Self::Deleted => "Delete",
        }
    }
}

impl Snapshots {
    /// Removes the objects of a snapshot that was taken: with [`Storage::Kept`] once the backup that names it exists,
    /// with [`Storage::Deleted`] when it will not. May be repeated.
    ///
    /// # Errors
    /// The cluster refuses; what is left is found by [`Snapshots::leftovers`].
    pub async fn release(&self, taken: &CsiTaken, storage: Storage) -> Result<(), CsiError> {
        self.remove_pair(&taken.claim.namespace, &taken.snapshot, storage)
            .await
    }

    /// Removes a VolumeSnapshot and its content. The content's policy is right before anything is deleted.
    pub(super) async fn remove_pair(
        &self,
        namespace: &str,
        name: &str,
        storage: Storage,
    ) -> Result<(), CsiError> {
        match self.read(&self.snapshots, Some(namespace), name).await? {
            Some(snapshot) => self.remove_with(&snapshot, storage).await,
            None => Ok(()),
        }
    }

    /// Removes this snapshot and its content, also when the snapshot is gone by now.
    pub(super) async fn remove_with(
        &self,
        snapshot: &Value,
        storage: Storage,
    ) -> Result<(), CsiError> {
        let content = match self.content_of(snapshot).await? {
            Some(content) => Some(self.set_policy(content, snapshot, storage).await?),
            None => None,
        };
        self.remove(&self.snapshots, snapshot).await?;
        self.gone(&self.snapshots, snapshot).await?;
        // A controller may have made the content while the snapshot went.
        let content = match content {
            Some(content) => Some(content),
            None => self.content_of(snapshot).await?,
        };
        let Some(content) = content else {
            return Ok(());
        };
        let content = self.set_policy(content, snapshot, storage).await?;
        self.remove_content(&content).await
    }

    pub(super) async fn remove_content(&self, content: &Value) -> Result<(), CsiError> {
        self.remove(&self.contents, content).await?;
        self.gone(&self.contents, content).await
    }

    /// The content of a snapshot, also when the snapshot does not name it yet; never one of another snapshot.
    async fn content_of(&self, snapshot: &Value) -> Result<Option<Value>, CsiError> {
        let uid = text(snapshot, "/metadata/uid");
        let dynamic = format!("snapcontent-{uid}");
        let names = [
            text(snapshot, "/status/boundVolumeSnapshotContentName"),
            text(snapshot, "/spec/source/volumeSnapshotContentName"),
            &dynamic,
        ];
        for name in names.into_iter().filter(|name| !name.is_empty()) {
            let content = self.read(&self.contents, None, name).await?;
            let belongs = |content: &Value| {
                let of = &content["spec"]["volumeSnapshotRef"];
                let named = |field: &str| of[field] == snapshot["metadata"][field];
                match text(of, "/uid") {
                    "" => named("namespace") && named("name"),
                    of => of == uid,
                }
            };
            if let Some(content) = content.filter(belongs) {
                return Ok(Some(content));
            }
        }
        Ok(None)
    }

    /// Sets the deletion policy, and marks the content, which was made by a controller, as one of ours: without its
    /// snapshot nothing else would tell.
    async fn set_policy(
        &self,
        content: Value,
        snapshot: &Value,
        storage: Storage,
    ) -> Result<Value, CsiError> {
        let policy = storage.policy();
        if content["spec"]["deletionPolicy"] == policy && !run_of(&content).is_empty() {
            return Ok(content);
        }
        let (labels, annotations) = marks_of(snapshot);
        let patch = json!({"metadata": {"labels": labels, "annotations": annotations},
            "spec": {"deletionPolicy": policy}});
        let name = text(&content, "/metadata/name");
        let patched = self.merge(&self.contents, None, name, &patch).await?;
        Ok(patched.unwrap_or(content))
    }
}

/// The marks that a snapshot carries; none for one of somebody else.
fn marks_of(snapshot: &Value) -> (Value, Value) {
    let Some(role) = super::mark::role_of(snapshot) else {
        return (json!({}), json!({}));
    };
    let of = OnBehalfOf {
        name: super::mark::name_of(snapshot).to_owned(),
        uid: uid_of(snapshot, role),
        run: run_of(snapshot).to_owned(),
        location: String::new(),
    };
    let metadata = super::mark::metadata(role, &of, None, "");
    (metadata["labels"].clone(), metadata["annotations"].clone())
}

fn uid_of(snapshot: &Value, role: Role) -> String {
    use salvor_api::labels::{BACKUP_UID, RESTORE_UID};
    let key = match role {
        Role::Restore => RESTORE_UID,
        Role::Backup | Role::Move | Role::Delete => BACKUP_UID,
    };
    let uid = snapshot["metadata"]["labels"][key].as_str();
    uid.unwrap_or_default().to_owned()
}
