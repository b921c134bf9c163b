//! Deleting the storage's snapshot with the backup that named it.

use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::api::{Judged, Limit, Snapshots, text};
use super::error::CsiError;
use super::mark::{Role, generated, role_of};
use super::remove::Storage;
use super::restore::Window;
use crate::OnBehalfOf;

/// How long a controller may take to take up an object.
const TAKEN_UP: Duration = Duration::from_secs(60);

/// A snapshot that the storage has, as a record names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotRef {
    /// The driver.
    pub driver: String,
    /// The storage's name for it.
    pub handle: String,
    /// The VolumeSnapshotClass it was taken with.
    pub class: String,
}

impl SnapshotRef {
    /// Whether both name the same snapshot of a storage.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.driver == other.driver && self.handle == other.handle
    }
}

/// The first of the others' records that names a snapshot; its owner.
#[must_use]
pub fn dependent_on<'a>(
    snapshot: &SnapshotRef,
    others: impl IntoIterator<Item = (&'a str, &'a SnapshotRef)>,
) -> Option<&'a str> {
    let mut others = others.into_iter();
    let needs = others.find(|(_, other)| other.is_same(snapshot));
    needs.map(|(name, _)| name)
}

impl Snapshots {
    /// Deletes a snapshot of the storage, through a content with that policy that lives only for this. May be repeated.
    /// `needed_by` is a backup, or a copy of one, whose record names the same snapshot ([`dependent_on`]).
    ///
    /// # Errors
    /// [`CsiError::Needed`]; nobody takes the content up; the driver cannot delete it. With the last one the content
    /// stays, and the driver goes on trying.
    pub async fn delete(
        &self,
        snapshot: &SnapshotRef,
        of: &OnBehalfOf,
        namespace: &str,
        needed_by: Option<&str>,
    ) -> Result<(), CsiError> {
        if let Some(by) = needed_by {
            return Err(CsiError::Needed {
                handle: snapshot.handle.clone(),
                by: by.to_owned(),
            });
        }
        let name = generated("salvor-delete-", &[&snapshot.driver, &snapshot.handle]);
        let window = Window {
            role: Role::Delete,
            of,
            namespace,
            name: &name,
            for_claim: "",
            snapshot,
            volume_mode: "",
        };
        let class = self.class_for(snapshot).await?;
        let version = self.contents.api_version();
        let content = window.content(&version, class.as_ref(), Storage::Deleted);
        let same = |there: &Value| {
            let source = text(there, "/spec/source/snapshotHandle");
            role_of(there) == Some(Role::Delete)
                && source == snapshot.handle
                && there["spec"]["driver"] == snapshot.driver
        };
        let content = self.ensure(&self.contents, &content, same).await?;
        // Without a finalizer the object would be gone before the driver sees it, and the snapshot would stay.
        let taken_up = |object: Option<&Value>| match object {
            Some(object) if held(object) => Judged::Done,
            Some(_) => Judged::NotYet("no snapshot controller takes it up".to_owned()),
            None => Judged::Failed(format!("{} is gone", window.what(self))),
        };
        let limit = Limit::new(TAKEN_UP.min(self.removal), &CancellationToken::new());
        let name = text(&content, "/metadata/name");
        let waited = self
            .wait(&self.contents, None, name, &limit, taken_up)
            .await;
        self.remove(&self.contents, &content).await?;
        waited?;
        self.gone(&self.contents, &content).await
    }
}

fn held(object: &Value) -> bool {
    let finalizers = object["metadata"]["finalizers"].as_array();
    finalizers.is_some_and(|list| !list.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_that_another_record_names_is_needed() {
        let snapshot = |driver: &str, handle: &str| SnapshotRef {
            driver: driver.to_owned(),
            handle: handle.to_owned(),
            class: String::new(),
        };
        let (a, b) = (snapshot("d", "1"), snapshot("e", "1"));
        let mut classed = a.clone();
        classed.class = "other".to_owned();
        let others = [("monday", &b), ("copy in vault", &classed)];
        assert_eq!(dependent_on(&a, others), Some("copy in vault"));
        assert_eq!(dependent_on(&snapshot("d", "2"), others), None);
    }
}
