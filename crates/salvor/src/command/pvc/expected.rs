//! The claims that a backup has, and the volumes that they had.

use std::collections::{BTreeMap, BTreeSet};

use salvor_api::filter::{Choice, RestoreFilter};
use salvor_api::meta::StringMap;
use salvor_api::resource::GroupResource;
use salvor_api::velero::{Restore, RestoreSpec};
use salvor_archive::archive::Archive;
use salvor_archive::files::VolumeOutcome;
use salvor_location::Location;
use salvor_objects::restore::Source;
use salvor_volume::claims::check::{ComesBack, Expected, ExpectedVolume};
use salvor_volume::claims::objects::Claim;
use salvor_volume::claims::volume::Volume;
use serde::de::DeserializeOwned;

use crate::args::DamageArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// All claims of a backup, where they were.
pub(super) async fn of_backup(backup: &str, session: &Session) -> Result<Vec<Expected>, Failure> {
    selected(backup, &RestoreSpec::default(), session).await
}

/// The claims that a restore brings back, where it puts them.
pub(super) async fn of_restore(restore: &str, session: &Session) -> Result<Vec<Expected>, Failure> {
    let found: Restore = match session.served().await? {
        Some(served) => served.named(restore).await?,
        None => {
            let location = session.location(None)?;
            let name = read::restore_name(restore)?;
            location.restore(&name).await?.restore
        }
    };
    if found.spec.backup_name.is_empty() {
        let text = format!("restore `{restore}` names no backup yet");
        return Err(Failure::new(Exit::NotFound, text).hint("wait until it has begun"));
    }
    selected(&found.spec.backup_name, &found.spec, session).await
}

async fn selected(
    backup: &str,
    spec: &RestoreSpec,
    session: &Session,
) -> Result<Vec<Expected>, Failure> {
    let filter =
        RestoreFilter::compile(spec).map_err(|errors| Failure::usage(errors.join("; ")))?;
    let location = session.location_of(Some(backup)).await?;
    let name = read::backup_name(backup)?;
    let source = read::source(
        &location,
        &name,
        DamageArgs {
            skip_damaged: false,
        },
        session,
    )
    .await?;
    let with_data = with_data(&location, &source).await?;
    let mapping = spec.namespace_mapping.clone();
    let archive = source.archive.clone();
    // The archive is read where waiting is allowed.
    let read =
        tokio::task::spawn_blocking(move || claims_of(&archive, &filter, &mapping, &with_data));
    match read.await {
        Ok(claims) => claims,
        Err(error) => Err(Failure::caused(
            Exit::Internal,
            "read the claims of the backup",
            error,
        )),
    }
}

/// Names of the volumes whose data a backup has.
async fn with_data(location: &Location, source: &Source) -> Result<BTreeSet<String>, Failure> {
    let infos = source.volumes.iter();
    let mut names: BTreeSet<String> = infos
        .filter(|info| !info.skipped && !info.backup_method.is_empty())
        .map(|info| info.pv_name.clone())
        .collect();
    let ours = read::own_volumes(location, &source.name).await?;
    let ours = ours.unwrap_or_default().volumes.into_iter();
    names.extend(
        ours.filter(|volume| volume.outcome == VolumeOutcome::Protected)
            .map(|volume| volume.persistent_volume),
    );
    Ok(names)
}

fn claims_of(
    archive: &Archive,
    filter: &RestoreFilter,
    mapping: &StringMap,
    with_data: &BTreeSet<String>,
) -> Result<Vec<Expected>, Failure> {
    let claims = "persistentvolumeclaims";
    if filter.resources.choose(true, &[claims, "pvc"]) == Choice::Leave {
        return Ok(Vec::new());
    }
    let volumes: Vec<Volume> = all(archive, "persistentvolumes")?;
    let volumes: BTreeMap<&str, &Volume> = volumes
        .iter()
        .map(|volume| (volume.metadata.name.as_str(), volume))
        .collect();
    let claims: Vec<Claim> = all(archive, claims)?;
    let chosen = claims.into_iter().filter(|claim| {
        filter.namespaces.should_include(&claim.metadata.namespace)
            && filter.labels.matches(&claim.metadata.labels)
    });
    let expected = chosen.map(|claim| Expected {
        namespace: mapping
            .get(&claim.metadata.namespace)
            .unwrap_or(&claim.metadata.namespace)
            .clone(),
        name: claim.metadata.name.clone(),
        volume: volumes
            .get(claim.spec.volume_name.as_str())
            .map(|volume| volume_of(volume, with_data)),
    });
    Ok(expected.collect())
}

fn volume_of(volume: &Volume, with_data: &BTreeSet<String>) -> ExpectedVolume {
    let name = &volume.metadata.name;
    ExpectedVolume {
        name: name.clone(),
        place: volume.place(),
        capacity: volume.capacity().to_owned(),
        comes_back: if with_data.contains(name) {
            ComesBack::Filled
        } else if volume.spec.persistent_volume_reclaim_policy == "Delete" {
            ComesBack::Lost
        } else {
            ComesBack::Same
        },
    }
}

/// All objects of a resource of the core group, each in one version.
fn all<T: DeserializeOwned>(archive: &Archive, resource: &str) -> Result<Vec<T>, Failure> {
    let resource = GroupResource::new(resource, "");
    let mut found = BTreeMap::new();
    for entry in archive.index().range(&resource, None) {
        let what = || format!("`{}` of the backup", entry.key());
        let bytes = archive
            .get(&entry)
            .map_err(|error| read::damaged(&what(), error))?;
        let object = serde_json::from_slice(&bytes).map_err(|error| {
            Failure::caused(
                Exit::VerificationFailed,
                format!("understand {}", what()),
                error,
            )
        })?;
        found.insert(entry.key(), object);
    }
    Ok(found.into_values().collect())
}
