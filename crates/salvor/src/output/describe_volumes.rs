//! The volumes of `backup describe`, in Velero's three groups.

use std::collections::BTreeMap;

use salvor_archive::files::BackupVolumeInfo;
use salvor_text::DescribeWriter;

/// `Backup Volumes:` with one group per method.
pub(super) fn block(d: &mut DescribeWriter, volumes: &[BackupVolumeInfo], details: bool) {
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
    if files.is_empty() {
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
