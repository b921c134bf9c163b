//! What runs that were killed left in the cluster.

use serde_json::{Value, json};

use super::api::{Snapshots, text};
use super::error::CsiError;
use super::mark::{FOR_CLAIM, Role, annotation, name_of, role_of, run_of, selector};
use super::remove::Storage;
use super::take::claims;

/// What an object was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftoverKind {
    /// The snapshot of a backup: kept in the storage when that backup exists, else deleted.
    Backup,
    /// The snapshot of several claims of a backup, which is taken apart as soon as it is there.
    Group,
    /// A way to a snapshot, through which its data was moved.
    Move,
    /// A claim of the server's that was made of a snapshot, to move its data.
    MovedClaim,
    /// A way to a snapshot, of which a restore made a claim.
    Restore,
    /// A snapshot's deletion, which is asked for again.
    Delete,
}

/// An object of ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Leftover {
    /// What it was made for.
    pub kind: LeftoverKind,
    /// Its namespace; empty for a content whose snapshot is gone.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Name of the Backup or Restore.
    pub of: String,
    /// The run that made it.
    pub run: String,
    /// The storage's name of the snapshot, where it is known.
    pub handle: String,
    object: Value,
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its run goes on, or nobody knows.
    Left,
    /// It goes. What the storage has stays or goes, as said; only for [`LeftoverKind::Backup`] it can go.
    Removed(Storage),
}

/// What is known of the run that made an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// It goes on.
    pub alive: bool,
    /// Whether the backup that it wrote exists; `None` when that is not known.
    pub committed: Option<bool>,
}

/// What came of settling everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Objects that went.
    pub removed: usize,
    /// Objects that stay: their runs go on, or it is not known what became of them, or a claim waits for them.
    pub left: usize,
}

impl Leftover {
    /// What becomes of it, by whether its run is alive and whether the backup that it wrote exists. `None`: that cannot
    /// be known now.
    #[must_use]
    pub fn fate(&self, alive: bool, committed: Option<bool>) -> Fate {
        match (self.kind, alive, committed) {
            (_, true, _) | (LeftoverKind::Delete, ..) => Fate::Left,
            (LeftoverKind::Backup, _, None) => Fate::Left,
            (LeftoverKind::Backup, _, Some(false)) => Fate::Removed(Storage::Deleted),
            _ => Fate::Removed(Storage::Kept),
        }
    }

    fn of(object: Value) -> Option<Self> {
        let is_claim = object["spec"].get("accessModes").is_some();
        let is_group = object["spec"].get("volumeGroupSnapshotClassName").is_some();
        let kind = match role_of(&object)? {
            Role::Backup if is_group => LeftoverKind::Group,
            Role::Backup => LeftoverKind::Backup,
            Role::Move if is_claim => LeftoverKind::MovedClaim,
            Role::Move => LeftoverKind::Move,
            Role::Restore => LeftoverKind::Restore,
            Role::Delete => LeftoverKind::Delete,
        };
        let handle = match text(&object, "/status/snapshotHandle") {
            "" => text(&object, "/spec/source/snapshotHandle"),
            handle => handle,
        };
        Some(Self {
            kind,
            namespace: text(&object, "/metadata/namespace").to_owned(),
            name: text(&object, "/metadata/name").to_owned(),
            of: name_of(&object).to_owned(),
            run: run_of(&object).to_owned(),
            handle: handle.to_owned(),
            object,
        })
    }
}

impl Snapshots {
    /// Everything that carries our marks, whether its run lives or not: claims first, then groups, snapshots, and contents
    /// without a snapshot, which is the order in which they are removed.
    ///
    /// # Errors
    /// The cluster does not answer.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, CsiError> {
        let claims = self.list(&claims(), None, Some(selector())).await?;
        let snapshots = self.list(&self.snapshots, None, Some(selector())).await?;
        let contents = self.list(&self.contents, None, Some(selector())).await?;
        let has_snapshot = |content: &Value| {
            let of = &content["spec"]["volumeSnapshotRef"];
            snapshots.iter().any(|snapshot| {
                let metadata = &snapshot["metadata"];
                metadata["namespace"] == of["namespace"] && metadata["name"] == of["name"]
            })
        };
        let lone: Vec<Value> = contents
            .into_iter()
            .filter(|content| !has_snapshot(content))
            .collect();
        let groups = match &self.groups {
            Some(groups) => {
                let ours = Some(selector());
                self.list(&groups.snapshots, None, ours).await?
            }
            None => Vec::new(),
        };
        let all = claims
            .into_iter()
            .chain(groups)
            .chain(snapshots)
            .chain(lone);
        Ok(all.filter_map(Leftover::of).collect())
    }

    /// Settles everything that carries our marks, by what `judge` knows of its run. What cannot be removed is told in
    /// the log of the program, and counts as left.
    ///
    /// # Errors
    /// The cluster does not say what there is.
    pub async fn settle_all<F>(&self, judge: impl Fn(&Leftover) -> F) -> Result<Settled, CsiError>
    where
        F: Future<Output = Whereabouts>,
    {
        let mut settled = Settled::default();
        for leftover in self.leftovers().await? {
            if leftover.kind == LeftoverKind::Delete {
                // Its own deletion goes on, or is asked for again with that of the backup.
                continue;
            }
            let Whereabouts { alive, committed } = judge(&leftover).await;
            let fate = leftover.fate(alive, committed);
            match self.settle(&leftover, fate).await {
                Ok(true) => {
                    let Leftover { name, of, run, .. } = &leftover;
                    tracing::info!(name, of, run, ?fate, "an object of an ended run is removed");
                    settled.removed += 1;
                }
                Ok(false) => settled.left += 1,
                Err(error) => {
                    let (name, error) = (&leftover.name, &error as &dyn std::error::Error);
                    tracing::warn!(error, name, "an object of an ended run stays");
                    settled.left += 1;
                }
            }
        }
        Ok(settled)
    }

    /// Carries out what becomes of an object. A way to a snapshot of which a restore makes a claim stays while that
    /// claim has no volume. True when it went.
    ///
    /// # Errors
    /// The cluster refuses.
    pub async fn settle(&self, leftover: &Leftover, fate: Fate) -> Result<bool, CsiError> {
        let Fate::Removed(storage) = fate else {
            return Ok(false);
        };
        let Leftover {
            kind,
            namespace,
            name,
            object,
            ..
        } = leftover;
        let storage = match kind {
            LeftoverKind::Backup => storage,
            _ => Storage::Kept,
        };
        match kind {
            LeftoverKind::Delete => return Ok(false),
            LeftoverKind::MovedClaim => self.remove_clone(namespace, name).await?,
            LeftoverKind::Group => self.discard_group(object).await,
            LeftoverKind::Restore if self.is_awaited(leftover).await? => return Ok(false),
            _ if namespace.is_empty() => self.settle_content(object, storage).await?,
            _ => self.remove_with(object, storage).await?,
        }
        Ok(true)
    }

    async fn settle_content(&self, content: &Value, storage: Storage) -> Result<(), CsiError> {
        let policy = match storage {
            Storage::Kept => "Retain",
            Storage::Deleted => "Delete",
        };
        if content["spec"]["deletionPolicy"] != policy {
            let patch = json!({"spec": {"deletionPolicy": policy}});
            let name = text(content, "/metadata/name");
            self.merge(&self.contents, None, name, &patch).await?;
        }
        self.remove_content(content).await
    }

    /// Whether a claim still waits for the volume that is made of a snapshot.
    async fn is_awaited(&self, leftover: &Leftover) -> Result<bool, CsiError> {
        let claim = annotation(&leftover.object, FOR_CLAIM);
        if claim.is_empty() || leftover.namespace.is_empty() {
            return Ok(false);
        }
        let claim = self
            .read(&claims(), Some(&leftover.namespace), claim)
            .await?;
        Ok(claim.is_some_and(|claim| {
            let source = text(&claim, "/spec/dataSource/name");
            source == leftover.name && text(&claim, "/status/phase") != "Bound"
        }))
    }
}
