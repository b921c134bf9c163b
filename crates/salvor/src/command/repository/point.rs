//! The recovery point that a claim is brought back to.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use salvor_archive::files::{RepositorySnapshot, SalvorVolume, VolumeMethod, VolumeOutcome};
use salvor_location::{BackupRecord, Location};
use salvor_objects::restore::source::read_volumes;
use salvor_volume::Domain;

use super::points;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// A backup tells of a rate when it stored at least one byte of so many.
const LEAST_PART: u64 = 10;
/// What `--point` calls the newest point that can be brought back.
const LATEST: &str = "latest";

/// A point whose files are in a repository.
pub(super) struct Point {
    pub(super) backup: String,
    pub(super) domain: Domain,
    pub(super) snapshot: RepositorySnapshot,
    /// When it was read.
    pub(super) time: Option<Timestamp>,
    /// How long all of it takes at the rate at which it was stored; `None` where so little was stored that this says nothing.
    pub(super) whole: Option<Duration>,
}

/// The point of a claim that a backup has, or the newest one.
pub(super) async fn find(
    wanted: &str,
    (namespace, claim): (&str, &str),
    location: &Location,
    session: &Session,
) -> Result<Point, Failure> {
    if wanted != LATEST {
        let record = location.backup(&read::backup_name(wanted)?).await?;
        return of_backup(&record, (namespace, claim), location).await;
    }
    let (mut records, damaged) = read::backups(location, &[], None).await?;
    for entry in &damaged {
        let text = session.messages.points_unread(&entry.name, &entry.reason);
        session.printer.warning(&text);
    }
    records.sort_by_key(|record| Reverse(record.backup.status.start_timestamp));
    for record in &records {
        if session.cancel.is_cancelled() {
            return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
        }
        let found = of_backup(record, (namespace, claim), location).await;
        match found {
            Ok(point) => return Ok(point),
            // It has none, or none that comes back this way: an older one may.
            Err(failure) if matches!(failure.exit, Exit::NotFound | Exit::Refused) => {}
            Err(failure) => return Err(failure),
        }
    }
    let name = format!("{namespace}/{claim}");
    let text = session.messages.no_point_to_restore(&name, location.name());
    Err(Failure::new(Exit::NotFound, text).hint(see_points(&name)))
}

fn see_points(claim: &str) -> String {
    format!("see `salvor volume points {claim}`")
}

async fn of_backup(
    record: &BackupRecord,
    (namespace, claim): (&str, &str),
    location: &Location,
) -> Result<Point, Failure> {
    let (backup, name) = (record.name.as_str(), format!("{namespace}/{claim}"));
    let none = || {
        let text = format!("backup `{backup}` has nothing of claim {name}");
        Failure::new(Exit::NotFound, text).hint(see_points(&name))
    };
    let Some(ours) = read::own_volumes(location, &record.name).await? else {
        let infos = read_volumes(location, &record.name).await?;
        let is_meant = |info: &&salvor_archive::files::BackupVolumeInfo| {
            info.pvc_namespace == namespace && info.pvc_name == claim
        };
        let info = infos.iter().find(is_meant).ok_or_else(none)?;
        let what = points::reason_of_velero(info);
        let text = format!("backup `{backup}` has claim {name} as Velero stored it: {what}");
        return Err(Failure::new(Exit::Refused, text).hint(see_points(&name)));
    };
    let of_claim = |volume: &&SalvorVolume| volume.namespace == namespace && volume.claim == claim;
    let mut volumes: Vec<&SalvorVolume> = ours.volumes.iter().filter(of_claim).collect();
    // Of several records the one with the data.
    volumes.sort_by_key(|volume| volume.snapshot.is_none());
    let volume = volumes.first().ok_or_else(none)?;
    match &volume.snapshot {
        Some(snapshot) if volume.outcome == VolumeOutcome::Protected => {
            of_files(backup, snapshot, volume)
        }
        _ => Err(not_files(backup, &name, volume)),
    }
}

fn of_files(
    backup: &str,
    snapshot: &RepositorySnapshot,
    volume: &SalvorVolume,
) -> Result<Point, Failure> {
    let domain = Domain::named(&snapshot.domain).ok_or_else(|| {
        let text = format!("the record of backup `{backup}` names no repository");
        Failure::new(Exit::VerificationFailed, text)
    })?;
    let times = volume.started.zip(volume.ended);
    let took = times.and_then(|(began, ended)| {
        let took = ended.timestamp().duration_since(began.timestamp());
        Duration::try_from(took).ok()
    });
    Ok(Point {
        backup: backup.to_owned(),
        domain,
        snapshot: snapshot.clone(),
        time: volume.started.map(salvor_api::go::Time::timestamp),
        whole: took.and_then(|took| of_all(took, snapshot.bytes, snapshot.new_bytes)),
    })
}

/// How long all the bytes take when the new ones took so long. What was stored beside much that was known says how fast it was
/// read, not how fast it comes back.
fn of_all(took: Duration, bytes: u64, new_bytes: u64) -> Option<Duration> {
    let tells = new_bytes > 0 && new_bytes >= bytes / LEAST_PART;
    tells.then(|| {
        let millis = took.as_millis() * u128::from(bytes.max(new_bytes)) / u128::from(new_bytes);
        Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    })
}

/// What is to be done with a point whose files are nowhere.
fn not_files(backup: &str, claim: &str, volume: &SalvorVolume) -> Failure {
    if volume.outcome != VolumeOutcome::Protected {
        let text = format!(
            "backup `{backup}` has no data of claim {claim}: {}",
            volume.reason
        );
        return Failure::new(Exit::Refused, text).hint(see_points(claim));
    }
    let what = match volume.method {
        Some(VolumeMethod::NativeSnapshot) => "a snapshot that a volume snapshotter took",
        _ => "a snapshot that stays in the storage of its CSI driver",
    };
    let text = format!(
        "backup `{backup}` has claim {claim} as {what}: it has no files to bring into a volume that stands"
    );
    let namespace = claim.split('/').next().unwrap_or_default();
    Failure::new(Exit::Refused, text).hint(format!(
        "a restore makes a new volume of it: `salvor restore create --from-backup {backup} --include-namespaces \
         {namespace} --include-resources persistentvolumeclaims,persistentvolumes --namespace-mappings \
         {namespace}:OTHER`"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_increment_does_not_say_how_long_all_of_it_takes() {
        let took = Duration::from_secs(10);
        assert_eq!(of_all(took, 1000, 1000), Some(took));
        assert_eq!(of_all(took, 1000, 250), Some(took * 4));
        // What is compressed is no less.
        assert_eq!(of_all(took, 1000, 1100), Some(took));
        assert_eq!(of_all(took, 1000, 99), None);
        assert_eq!(of_all(took, 0, 0), None);
    }
}
