//! From a VolumeSnapshotLocation to who speaks to its storage; and the snapshots that go with a backup, or were left by
//! a run that was killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::validate;
use salvor_api::velero::{Backup, VolumeSnapshotLocation};
use salvor_archive::files::{DEFAULT_SIDE_FILE_LIMIT, VolumeSnapshot, read_json_gz};
use salvor_archive::names::BackupFile;
use salvor_extension::{ProviderKind, Providers};
use salvor_location::Location;
use salvor_objects::snapshotter::ExtensionSnapshotter;
use salvor_volume::native::{Ebs, SnapshotLocation, Snapshotter, Snapshotters};

use crate::context::{Context, chain, owned};
use crate::locations::Locations;

impl Locations {
    /// The VolumeSnapshotLocations, open. One that cannot be used says why when it is wanted.
    pub async fn snapshotters(&self, objects: &[VolumeSnapshotLocation]) -> Snapshotters {
        let is_built_in = |object: &VolumeSnapshotLocation| is_ebs(&object.spec.provider);
        let providers = match objects.iter().all(is_built_in) {
            true => Ok(Providers::default()),
            false => self.providers().await,
        };
        let mut open = Vec::with_capacity(objects.len());
        for object in objects {
            open.push(SnapshotLocation {
                name: object.metadata.name.clone(),
                provider: object.spec.provider.clone(),
                snapshotter: self.snapshotter(object, &providers).await,
            });
        }
        Snapshotters::new(open)
    }

    async fn snapshotter(
        &self,
        object: &VolumeSnapshotLocation,
        providers: &Result<Providers, String>,
    ) -> Result<Arc<dyn Snapshotter>, String> {
        let spec = &object.spec;
        if is_ebs(&spec.provider) {
            let mut options = spec.config.clone();
            if let Some(selector) = &spec.credential {
                let file = self.credentials_file(selector).await;
                let file = file.map_err(|error| chain(&error))?;
                options.insert("credentialsFile".to_owned(), file);
            }
            let ebs = Ebs::new(&options).map_err(|error| error.told())?;
            return Ok(Arc::new(ebs));
        }
        let providers = providers.as_ref().map_err(Clone::clone)?;
        let provider = providers.get(ProviderKind::VolumeSnapshotter, &spec.provider);
        let provider = provider.ok_or_else(|| {
            format!(
                "provider `{}` is not aws (also with a domain, such as velero.io/aws), and no extension of this name is \
                 defined as a volume snapshotter",
                spec.provider
            )
        })?;
        Ok(Arc::new(ExtensionSnapshotter::new(provider, &spec.config)))
    }
}

/// Built in is what Velero's plugin for AWS does.
fn is_ebs(provider: &str) -> bool {
    provider.rsplit('/').next() == Some("aws")
}

/// The snapshot locations of a backup, by name: those that it names, and the only or the default one of each provider.
pub(crate) fn chosen(
    context: &Context,
    backup: &Backup,
    objects: &[VolumeSnapshotLocation],
) -> Result<Vec<String>, Vec<String>> {
    if backup.spec.snapshot_volumes == Some(false) {
        return Ok(Vec::new());
    }
    let names = &backup.spec.volume_snapshot_locations;
    let defaults = &context.options.default_snapshot_locations;
    let chosen = validate::choose_snapshot_locations(names, objects, defaults)?;
    Ok(chosen.into_values().map(str::to_owned).collect())
}

impl Context {
    /// Who takes the snapshots of a backup that begins: its spec names the locations.
    pub(crate) async fn snapshotters_of(&self, backup: &Backup) -> Snapshotters {
        let names = &backup.spec.volume_snapshot_locations;
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let mut objects = owned(&self.snapshot_locations);
        objects.retain(|object| names.contains(object.metadata.name.as_str()));
        self.locations.snapshotters(&objects).await
    }

    /// Who speaks to the storage of each snapshot location.
    pub(crate) async fn snapshotters(&self) -> Snapshotters {
        let objects = owned(&self.snapshot_locations);
        self.locations.snapshotters(&objects).await
    }
}

/// The snapshots that a backup's list names, by location and id.
pub(crate) async fn listed(
    location: &Location,
    name: &BackupName,
) -> Result<BTreeSet<(String, String)>, String> {
    let file = BackupFile::VolumeSnapshots.name(name);
    let bytes = location
        .read_file(name, &file, DEFAULT_SIDE_FILE_LIMIT)
        .await;
    let Some(bytes) = bytes.map_err(|error| chain(&error))? else {
        return Ok(BTreeSet::new());
    };
    let list: Vec<VolumeSnapshot> =
        read_json_gz(&bytes, DEFAULT_SIDE_FILE_LIMIT).map_err(|error| {
            let (location, reason) = (location.name(), chain(&error));
            format!("read which snapshots backup `{name}` in location `{location}` has: {reason}")
        })?;
    let made = list.into_iter().filter(VolumeSnapshot::is_completed);
    Ok(made
        .map(|one| (one.spec.location, one.status.provider_snapshot_id))
        .collect())
}

/// What the backups of a location name, but for this one; each with who names it.
pub(crate) async fn named_by_others(
    location: &Location,
    but: Option<&BackupName>,
) -> Result<Vec<(String, (String, String))>, String> {
    let folders = location.backup_folders().await;
    let folders = folders.map_err(|error| chain(&error))?.into_iter();
    let names = folders.filter_map(|name| BackupName::new(name).ok());
    let mut all = Vec::new();
    for other in names.filter(|other| but != Some(other)) {
        let who = format!("{other} in location {}", location.name());
        let found = listed(location, &other).await?;
        all.extend(found.into_iter().map(|one| (who.clone(), one)));
    }
    Ok(all)
}

/// Deletes the snapshots that only this backup names; why that is not possible, one sentence each. `others` are those
/// that other backups name, with who does.
pub(crate) async fn delete(
    context: &Context,
    backup: &str,
    snapshots: BTreeSet<(String, String)>,
    others: &BTreeMap<(String, String), String>,
) -> Vec<String> {
    let snapshotters = context.snapshotters().await;
    let mut errors = Vec::new();
    for snapshot in snapshots {
        let (location, id) = &snapshot;
        if let Some(by) = others.get(&snapshot) {
            tracing::info!(backup, id, "the snapshot stays: backup {by} depends on it");
            continue;
        }
        let deleted = match snapshotters.named(location) {
            Ok(snapshotter) => snapshotter.delete(id).await.map_err(|error| error.told()),
            Err(reason) => Err(reason),
        };
        match deleted {
            Ok(()) => tracing::info!(backup, id, location, "snapshot is deleted"),
            Err(reason) => errors.push(format!(
                "delete snapshot {id} of volume snapshot location `{location}`: {reason}"
            )),
        }
    }
    errors
}

/// Deletes what a killed run has taken: its backup does not exist. What cannot be deleted carries the run's tag, by which
/// a person finds it.
pub(crate) async fn discard(context: &Context, backup: &Backup) {
    let Some(run) = backup.metadata.annotations.get(labels::RUN_ID) else {
        return;
    };
    let snapshotters = context.snapshotters_of(backup).await;
    for location in snapshotters.iter() {
        let Ok(snapshotter) = &location.snapshotter else {
            continue;
        };
        let name = &location.name;
        let taken = match snapshotter.taken_in(run).await {
            Ok(taken) => taken,
            Err(error) => {
                let error = error.told();
                tracing::warn!(
                    location = name,
                    run,
                    error,
                    "what a killed run has taken is not known"
                );
                continue;
            }
        };
        for id in taken {
            match snapshotter.delete(&id).await {
                Ok(()) => {
                    tracing::info!(
                        location = name,
                        id,
                        run,
                        "a killed run's snapshot is deleted"
                    );
                }
                Err(error) => {
                    let error = error.told();
                    tracing::warn!(location = name, id, run, error, "a snapshot is left behind");
                }
            }
        }
    }
}
