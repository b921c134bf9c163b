//! `volume points`.

use std::cmp::Reverse;

use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_archive::files::{BackupVolumeInfo, SalvorVolume, VolumeMethod, VolumeOutcome};
use salvor_location::copy::state::{CopyRecord, CopyState};
use salvor_location::{BackupRecord, Location};
use salvor_objects::restore::source::read_volumes;
use salvor_text::{ByteCount, Messages, Table, duration};
use serde::Serialize;
use serde_json::Value;

use crate::args::Format;
use crate::args::repository::VolumePointsArgs;
use crate::command::{pvc, read};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// What a backup has of one claim.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Point {
    backup: String,
    /// Phase of the backup.
    phase: String,
    /// When its data was read or its snapshot taken; of Velero's older backups when the backup began.
    time: Option<Time>,
    /// `files`, `csi-snapshot`, `csi-moved`, `native-snapshot`; empty when nothing was stored.
    method: String,
    /// `application`, `crash`, `files`; empty when it was not recorded.
    consistency: String,
    /// Bytes of the volume; 0 when it is not known.
    bytes: u64,
    /// Whether the data can be brought back by us.
    restorable: bool,
    /// Why it cannot, or what should be known.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// The snapshot in a repository, or the storage's name for it.
    #[serde(skip_serializing_if = "String::is_empty")]
    snapshot: String,
    /// The trust domain of that repository.
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    /// The pod through which it was read.
    #[serde(skip_serializing_if = "String::is_empty")]
    pod: String,
    copies: Vec<Copied>,
}

/// How a copy of the backup stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Copied {
    location: String,
    /// `done`, `running` or `failed`.
    state: CopyState,
    /// Seconds from the end of the backup until the copy was whole, or until now.
    lag_seconds: i64,
}

/// Lists every recovery point of a claim, newest first.
pub(super) async fn run(args: &VolumePointsArgs, session: &Session) -> Result<Exit, Failure> {
    let (namespace, claim) = pvc::claim_name(&args.claim)?;
    let location = session.location_of(None).await?;
    let (records, damaged) = read::backups(&location, &[], None).await?;
    let mut left_out: Vec<(String, String)> = damaged
        .into_iter()
        .map(|entry| (entry.name, entry.reason))
        .collect();
    let mut points = Vec::new();
    for record in &records {
        if session.cancel.is_cancelled() {
            return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
        }
        match of_backup(&location, record, &namespace, &claim, session).await {
            Ok(found) => points.extend(found),
            Err(failure) if failure.exit == Exit::VerificationFailed => {
                left_out.push((record.name.to_string(), failure.chain()));
            }
            Err(failure) => return Err(failure),
        }
    }
    points.sort_by_key(|point| (Reverse(point.time), point.backup.clone()));
    for (backup, why) in &left_out {
        session
            .printer
            .warning(&session.messages.points_unread(backup, why));
    }
    show(&points, args, &location, session)?;
    Ok(if left_out.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

fn show(
    points: &[Point],
    args: &VolumePointsArgs,
    location: &Location,
    session: &Session,
) -> Result<(), Failure> {
    match args.format.output {
        Format::Json => session.printer.json(&points),
        Format::Yaml => session.printer.yaml(&points),
        Format::Name => {
            let names: String = points
                .iter()
                .map(|point| format!("{}\n", point.backup))
                .collect();
            session.printer.result(&names)
        }
        Format::Table | Format::Wide => {
            if points.is_empty() {
                let text = session.messages.no_points(&args.claim, location.name());
                session.printer.remark(&text);
                return Ok(());
            }
            session.printer.result(&table(points, session.messages))
        }
    }
}

async fn of_backup(
    location: &Location,
    record: &BackupRecord,
    namespace: &str,
    claim: &str,
    session: &Session,
) -> Result<Vec<Point>, Failure> {
    let ours = read::own_volumes(location, &record.name).await?;
    let mut points: Vec<Point> = match ours {
        Some(ours) => {
            let volumes = ours.volumes.iter();
            let meant = volumes.filter(|v| v.namespace == namespace && v.claim == claim);
            meant.map(of_ours).collect()
        }
        None => {
            let infos = read_volumes(location, &record.name).await?;
            let meant = infos
                .iter()
                .filter(|info| info.pvc_namespace == namespace && info.pvc_name == claim);
            meant.map(of_velero).collect()
        }
    };
    if points.is_empty() {
        return Ok(points);
    }
    let status = &record.backup.status;
    let copies: Vec<Copied> = location
        .copies_of(record)
        .await?
        .iter()
        .map(|copy| copied(copy, status.completion_timestamp, session.now()))
        .collect();
    for point in &mut points {
        point.backup = record.name.to_string();
        point.phase = status.phase.as_str().to_owned();
        point.time = point.time.or(status.start_timestamp);
        point.copies.clone_from(&copies);
    }
    Ok(points)
}

fn copied(copy: &CopyRecord, ended: Option<Time>, now: Timestamp) -> Copied {
    let whole = copy.finished.filter(|_| copy.state == CopyState::Done);
    let since = ended.map_or(copy.first, Time::timestamp);
    Copied {
        location: copy.target.name.clone(),
        state: copy.state,
        lag_seconds: (whole.unwrap_or(now).as_second() - since.as_second()).max(0),
    }
}

fn of_ours(volume: &SalvorVolume) -> Point {
    let (snapshot, csi, native) = (&volume.snapshot, &volume.csi, &volume.native);
    let bytes = snapshot.as_ref().map(|snapshot| snapshot.bytes);
    let handle = snapshot
        .as_ref()
        .map(|snapshot| &snapshot.id)
        .or_else(|| csi.as_ref().map(|csi| &csi.handle))
        .or_else(|| native.as_ref().map(|native| &native.handle));
    Point {
        time: volume.started,
        method: volume.method.map(word).unwrap_or_default(),
        consistency: volume.consistency.map(word).unwrap_or_default(),
        bytes: bytes
            .or_else(|| csi.as_ref().map(|csi| csi.restore_size))
            .unwrap_or(0),
        restorable: volume.outcome == VolumeOutcome::Protected,
        reason: volume.reason.clone(),
        snapshot: handle.cloned().unwrap_or_default(),
        domain: snapshot
            .as_ref()
            .map(|snapshot| snapshot.domain.clone())
            .unwrap_or_default(),
        pod: volume.pod.clone(),
        ..Point::default()
    }
}

/// The word that files have for a value.
fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

/// What Velero says of a volume. Of its data we read what restic's format has; see `repo snapshots --repository`.
fn of_velero(info: &BackupVolumeInfo) -> Point {
    let size = |size: i64| u64::try_from(size).unwrap_or(0);
    let mut point = Point {
        time: info.start_timestamp,
        ..Point::default()
    };
    if info.skipped {
        point.reason.clone_from(&info.skipped_reason);
        return point;
    }
    let data = |uploader: &str, what: &str| match uploader {
        "restic" => format!(
            "{what} in Velero's restic repository: `volume restore --repository .../restic/NAMESPACE`"
        ),
        "" => format!("{what}, written by Velero"),
        uploader => format!("{what} in Velero's {uploader} repository, which only Velero reads"),
    };
    if let Some(files) = &info.pvb_info {
        point.method = word(VolumeMethod::Files);
        point.consistency = "files".to_owned();
        point.bytes = size(files.size);
        point.reason = data(&files.uploader_type, "files");
        point.snapshot.clone_from(&files.snapshot_handle);
        point.pod.clone_from(&files.pod_name);
    } else if let Some(moved) = &info.snapshot_data_movement_info {
        point.method = word(VolumeMethod::CsiMoved);
        point.consistency = "crash".to_owned();
        point.bytes = size(moved.size);
        point.reason = data(&moved.uploader_type, "data of a snapshot");
        point.snapshot.clone_from(&moved.snapshot_handle);
    } else if let Some(csi) = &info.csi_snapshot_info {
        point.method = word(VolumeMethod::CsiSnapshot);
        point.consistency = "crash".to_owned();
        point.bytes = size(csi.size);
        point.reason = format!("a snapshot of CSI driver {}, taken by Velero", csi.driver);
        point.snapshot.clone_from(&csi.snapshot_handle);
    } else if let Some(native) = &info.native_snapshot_info {
        point.method = word(VolumeMethod::NativeSnapshot);
        point.consistency = "crash".to_owned();
        point.reason = "a snapshot by a plugin of Velero".to_owned();
        point.snapshot.clone_from(&native.snapshot_handle);
    }
    point
}

/// What a volume of Velero is, for whoever wanted to bring it back.
pub(super) fn reason_of_velero(info: &BackupVolumeInfo) -> String {
    of_velero(info).reason
}

fn table(points: &[Point], messages: Messages) -> String {
    let mut table = Table::new(&[
        "BACKUP",
        "TIME",
        "METHOD",
        "CONSISTENCY",
        "SIZE",
        "COPIES",
        "NOTE",
    ]);
    for point in points {
        let dash = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        let copies: Vec<String> = point.copies.iter().map(copy_shown).collect();
        let note = match (point.restorable, point.method.is_empty()) {
            (true, _) | (_, true) => point.reason.clone(),
            (false, false) => messages.not_restorable_by_us(&point.reason),
        };
        table.row(&[
            point.backup.clone(),
            point
                .time
                .map_or_else(|| "-".to_owned(), |time| time.to_string()),
            dash(&point.method),
            dash(&point.consistency),
            if point.bytes > 0 {
                ByteCount(point.bytes).to_string()
            } else {
                "-".to_owned()
            },
            dash(&copies.join(", ")),
            note,
        ]);
    }
    table.to_string()
}

/// `offsite +5m`, or how it stands.
fn copy_shown(copy: &Copied) -> String {
    let lag = duration::short(u64::try_from(copy.lag_seconds).unwrap_or(0));
    match copy.state {
        CopyState::Done => format!("{} +{lag}", copy.location),
        CopyState::Running => format!("{} not yet, {lag}", copy.location),
        CopyState::Failed => format!("{} failed, {lag}", copy.location),
    }
}

#[cfg(test)]
#[path = "points_tests.rs"]
mod tests;
