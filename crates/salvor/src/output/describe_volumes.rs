//! The volumes of `backup describe`: in Velero's three groups, and as our own record has them.

use std::collections::BTreeMap;

use salvor_archive::files::{
    BackupVolumeInfo, Consistency, SalvorVolume, SalvorVolumes, VolumeMethod, VolumeOutcome,
};
use salvor_text::{ByteCount, DescribeWriter};

/// Digits of a snapshot's id that are shown, as restic shows it.
const SHORT_ID: usize = 8;

/// The volumes of our own record: each with `details`; otherwise how many there are, and those whose data should be there
/// and is not.
pub(super) fn own(d: &mut DescribeWriter, record: &SalvorVolumes, details: bool) {
    if record.volumes.is_empty() {
        d.nested(1, "Volumes", "<none>");
        return;
    }
    if details {
        let lines: Vec<String> = record.volumes.iter().map(line).collect();
        d.list(1, "Volumes", &lines);
        return;
    }
    let of = |outcome| record.volumes.iter().filter(move |v| v.outcome == outcome);
    let count = |outcome| of(outcome).count();
    d.nested(
        1,
        "Volumes",
        format_args!(
            "{} protected, {} failed, {} left out (specify --details for more information)",
            count(VolumeOutcome::Protected),
            count(VolumeOutcome::Failed),
            count(VolumeOutcome::Skipped),
        ),
    );
    let failed: Vec<String> = of(VolumeOutcome::Failed).map(line).collect();
    if !failed.is_empty() {
        d.list(1, "Volumes that failed", &failed);
    }
}

/// The volumes without data of a backup that has no record of ours.
pub(super) fn without_data(d: &mut DescribeWriter, volumes: &[BackupVolumeInfo]) {
    let mut skipped: Vec<String> = volumes
        .iter()
        .filter(|volume| volume.skipped)
        .map(|volume| {
            let name = match (volume.pvc_namespace.as_str(), volume.pvc_name.as_str()) {
                (_, "") => volume.pv_name.clone(),
                (namespace, name) => format!("{namespace}/{name}"),
            };
            format!("{name}: {}", volume.skipped_reason)
        })
        .collect();
    skipped.sort();
    d.list(1, "Volumes without data", &skipped);
}

/// `shop/data (pv-1): protected by copied files, application-consistent, ...`.
fn line(volume: &SalvorVolume) -> String {
    let SalvorVolume {
        namespace,
        claim,
        persistent_volume,
        pod,
        pod_volume,
        ..
    } = volume;
    let name = match (claim.as_str(), pod.as_str(), persistent_volume.as_str()) {
        ("", "", volume) => volume.to_owned(),
        ("", pod, _) => format!("volume {pod_volume} of pod {namespace}/{pod}"),
        (claim, _, "") => format!("{namespace}/{claim}"),
        (claim, _, volume) => format!("{namespace}/{claim} ({volume})"),
    };
    let mut parts = vec![outcome(volume)];
    parts.extend(
        volume
            .consistency
            .map(|level| consistency(level).to_owned()),
    );
    if let Some(snapshot) = &volume.snapshot {
        parts.push(format!(
            "{} in {} entries, {} new",
            ByteCount(snapshot.bytes),
            snapshot.entries,
            ByteCount(snapshot.new_bytes)
        ));
        let id: String = snapshot.id.chars().take(SHORT_ID).collect();
        parts.push(format!("snapshot {id} of {}", snapshot.domain));
    }
    if let Some(csi) = &volume.csi {
        parts.push(format!("by driver {}, handle {}", csi.driver, csi.handle));
    }
    if let Some(native) = &volume.native {
        parts.push(format!("in {}, handle {}", native.location, native.handle));
    }
    if !claim.is_empty() && !pod.is_empty() {
        parts.push(format!("through pod {pod}"));
    }
    if !volume.node.is_empty() {
        parts.push(format!("on node {}", volume.node));
    }
    let text = format!("{name}: {}", parts.join(", "));
    match volume.reason.as_str() {
        "" => text,
        reason => format!("{text}: {reason}"),
    }
}

fn outcome(volume: &SalvorVolume) -> String {
    let how = volume.method.map(|method| match method {
        VolumeMethod::Files => "copied files",
        VolumeMethod::CsiSnapshot => "a CSI snapshot",
        VolumeMethod::CsiMoved => "a CSI snapshot that was moved",
        VolumeMethod::NativeSnapshot => "a snapshot of its provider",
    });
    match (volume.outcome, how) {
        (VolumeOutcome::Protected, Some(how)) => format!("protected by {how}"),
        (VolumeOutcome::Protected, None) => "protected".to_owned(),
        (VolumeOutcome::Skipped, _) => "left out".to_owned(),
        (VolumeOutcome::Failed, _) => "failed".to_owned(),
    }
}

fn consistency(level: Consistency) -> &'static str {
    match level {
        Consistency::Application => "application-consistent",
        Consistency::Crash => "crash-consistent",
        Consistency::Files => "read while it could be written",
    }
}

/// Volumes whose files are in a repository of ours.
fn copied(record: &SalvorVolumes) -> usize {
    let volumes = record.volumes.iter();
    volumes
        .filter(|volume| volume.snapshot.is_some() && volume.outcome == VolumeOutcome::Protected)
        .count()
}

/// `Backup Volumes:` with one group per method.
pub(super) fn block(
    d: &mut DescribeWriter,
    volumes: &[BackupVolumeInfo],
    own: Option<&SalvorVolumes>,
    details: bool,
) {
    const MORE: &str = "specify --details for more information";
    let by = |method: &str| -> Vec<&BackupVolumeInfo> {
        volumes
            .iter()
            .filter(|volume| !volume.skipped && volume.backup_method == method)
            .collect()
    };
    d.line("Backup Volumes:");
    let native = by("NativeSnapshot");
    if native.is_empty() {
        d.line("\tVelero-Native Snapshots: <none included>");
    } else {
        d.line("\tVelero-Native Snapshots:");
    }
    for volume in native {
        if !details {
            d.line(format_args!("\t\t{}: {MORE}", volume.pv_name));
            continue;
        }
        d.line(format_args!("\t\t{}:", volume.pv_name));
        if let Some(info) = &volume.native_snapshot_info {
            d.nested(3, "Snapshot ID", &info.snapshot_handle);
            d.nested(3, "Type", &info.volume_type);
            d.nested(3, "Availability Zone", &info.volume_az);
            d.nested(3, "IOPS", &info.iops);
        }
        d.nested(3, "Result", &volume.result);
    }
    d.blank();
    let csi = by("CSISnapshot");
    if csi.is_empty() {
        d.line("\tCSI Snapshots: <none included>");
    } else {
        d.line("\tCSI Snapshots:");
    }
    for volume in csi {
        d.line(format_args!(
            "\t\t{}/{}:",
            volume.pvc_namespace, volume.pvc_name
        ));
        csi_volume(d, volume, details, MORE);
    }
    d.blank();
    let files = by("PodVolumeBackup");
    let uploader = files
        .iter()
        .find_map(|volume| volume.pvb_info.as_ref())
        .map_or("kopia", |info| info.uploader_type.as_str());
    let copied = own.map_or(0, copied);
    if files.is_empty() && copied > 0 {
        // To Velero they are skipped, since it cannot read them.
        d.line(format_args!(
            "\tPod Volume Backups: {copied} in a repository of Salvor's, see Salvor: Volumes"
        ));
    } else if files.is_empty() {
        d.line("\tPod Volume Backups: <none included>");
    } else if details {
        d.line(format_args!("\tPod Volume Backups - {uploader}:"));
    } else {
        d.line(format_args!("\tPod Volume Backups - {uploader} ({MORE}):"));
    }
    let mut phases: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for info in files.iter().filter_map(|volume| volume.pvb_info.as_ref()) {
        let place = format!(
            "{}/{}: {}",
            info.pod_namespace, info.pod_name, info.volume_name
        );
        phases.entry(info.phase.as_str()).or_default().push(place);
    }
    for (phase, places) in phases {
        if details {
            d.line(format_args!("\t\t{phase}:"));
            for place in places {
                d.line(format_args!("\t\t\t{place}"));
            }
        } else {
            d.nested(2, phase, places.len());
        }
    }
}

fn csi_volume(d: &mut DescribeWriter, volume: &BackupVolumeInfo, details: bool, more: &str) {
    if volume.snapshot_data_moved {
        if !details {
            d.line(format_args!("\t\t\tData Movement: included, {more}"));
            return;
        }
        d.line("\t\t\tData Movement:");
        if let Some(info) = &volume.snapshot_data_movement_info {
            let mover = if info.data_mover.is_empty() {
                "velero"
            } else {
                &info.data_mover
            };
            d.line(format_args!("\t\t\t\tOperation ID: {}", info.operation_id));
            d.line(format_args!("\t\t\t\tData Mover: {mover}"));
            d.line(format_args!(
                "\t\t\t\tUploader Type: {}",
                info.uploader_type
            ));
            d.line(format_args!(
                "\t\t\t\tMoved data Size (bytes): {}",
                info.size
            ));
        }
    } else {
        if !details {
            d.line(format_args!("\t\t\tSnapshot: included, {more}"));
            return;
        }
        d.line("\t\t\tSnapshot:");
        if let Some(info) = &volume.csi_snapshot_info {
            d.line(format_args!("\t\t\t\tOperation ID: {}", info.operation_id));
            d.line(format_args!(
                "\t\t\t\tSnapshot Content Name: {}",
                info.vsc_name
            ));
            d.line(format_args!(
                "\t\t\t\tStorage Snapshot ID: {}",
                info.snapshot_handle
            ));
            d.line(format_args!("\t\t\t\tSnapshot Size (bytes): {}", info.size));
            d.line(format_args!("\t\t\t\tCSI Driver: {}", info.driver));
        }
    }
    d.line(format_args!("\t\t\t\tResult: {}", volume.result));
}
