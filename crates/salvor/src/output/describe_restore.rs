//! `restore describe`: Velero's layout, line by line.

use std::collections::BTreeMap;

use salvor_api::velero::{Restore, RestorePhase, RestoreSpec};
use salvor_archive::files::{ResourceList, RestoreVolumeInfo, Results};
use salvor_text::DescribeWriter;
use serde_json::{Map, Value, json};

use super::describe_backup::{moment, or_selectors, resources, result_blocks, selector};
use super::describe_filling::{self, Filling};
use super::{choice, list_or, phase};

/// A restore with the files beside it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RestoreView {
    /// The restore.
    pub(crate) restore: Restore,
    /// Warnings and errors.
    pub(crate) results: Option<Results>,
    /// What became of the volumes that were to be filled.
    pub(crate) volumes: Vec<RestoreVolumeInfo>,
    /// What is being filled, while it runs.
    pub(crate) filling: Vec<Filling>,
    /// What was done to each object; read only for `--details`.
    pub(crate) resource_list: Option<ResourceList>,
}

/// The description as text.
pub(crate) fn text(view: &RestoreView, details: bool, color: bool) -> String {
    let RestoreView {
        restore,
        results,
        volumes,
        filling,
        resource_list,
    } = view;
    let (spec, status) = (&restore.spec, &restore.status);
    let mut d = DescribeWriter::new();
    d.field("Name", &restore.metadata.name);
    d.field("Namespace", &restore.metadata.namespace);
    d.map("Labels", &restore.metadata.labels);
    d.map("Annotations", &restore.metadata.annotations);
    d.blank();
    let hint = match status.phase {
        RestorePhase::FailedValidation | RestorePhase::PartiallyFailed | RestorePhase::Failed => {
            format!(
                " (run 'salvor restore logs {}' for more information)",
                restore.metadata.name
            )
        }
        RestorePhase::InProgress | RestorePhase::Cancelled => format!(
            " (go on with 'salvor restore create {} --resume')",
            restore.metadata.name
        ),
        _ => String::new(),
    };
    let shown = phase(status.phase.as_str(), color);
    d.field("Phase", format_args!("{shown}{hint}"));
    if !status.failure_reason.is_empty() {
        d.field("Failure reason", &status.failure_reason);
    }
    if let Some(progress) = status.progress {
        if status.phase == RestorePhase::InProgress {
            d.field("Estimated total items to be restored", progress.total_items);
            d.field("Items restored so far", progress.items_restored);
        } else {
            d.field("Total items to be restored", progress.total_items);
            d.field("Items restored", progress.items_restored);
        }
    }
    d.blank();
    d.field("Started", moment(status.start_timestamp));
    d.field("Completed", moment(status.completion_timestamp));
    if !status.validation_errors.is_empty() {
        d.blank();
        d.list(0, "Validation errors", &status.validation_errors);
    }
    result_blocks(&mut d, results.as_ref(), status.warnings, status.errors);
    d.blank();
    d.field("Backup", &spec.backup_name);
    d.blank();
    filters(&mut d, spec);
    d.blank();
    d.map("Namespace mappings", &spec.namespace_mapping);
    d.blank();
    d.field("Label selector", selector(spec.label_selector.as_ref()));
    d.blank();
    d.field("Or label selector", or_selectors(&spec.or_label_selectors));
    d.blank();
    d.field("Restore PVs", choice(spec.restore_pvs, "false", "true"));
    d.blank();
    describe_filling::text(&mut d, filling);
    filled(&mut d, volumes, details);
    made_of_snapshots(&mut d, volumes, details);
    d.blank();
    let policy = match spec.existing_resource_policy.as_str() {
        "" => "<none>",
        policy => policy,
    };
    // The space before the end of the cell is Velero's.
    d.line(format_args!("Existing Resource Policy: \t{policy}"));
    d.field("ItemOperationTimeout", spec.item_operation_timeout);
    d.blank();
    d.field(
        "Preserve Service NodePorts",
        choice(spec.preserve_node_ports, "false", "true"),
    );
    if let Some(config) = &spec.uploader_config {
        d.blank();
        d.line("Uploader config:");
        for (key, title) in [
            ("writeSparseFiles", "Write Sparse Files"),
            ("parallelFilesDownload", "Parallel Restore"),
        ] {
            if let Some(value) = config.get(key) {
                d.nested(1, title, value);
            }
        }
    }
    if let Some(hooks) = status.hook_status {
        d.blank();
        d.field("HooksAttempted", hooks.hooks_attempted);
        d.field("HooksFailed", hooks.hooks_failed);
    }
    if let Some(modifier) = &spec.resource_modifier {
        d.blank();
        d.line("Resource modifier:");
        d.nested(1, "Type", &modifier.kind);
        d.nested(1, "Name", &modifier.name);
    }
    if details {
        d.blank();
        resources(&mut d, resource_list.as_ref());
    }
    d.finish()
}

/// Velero's group of volumes that were filled with files. A claim stands there by its own name, because it is filled
/// before its pod is made.
fn filled(d: &mut DescribeWriter, volumes: &[RestoreVolumeInfo], details: bool) {
    let mut phases: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut uploader = "";
    for volume in volumes {
        let Some(info) = &volume.pvr_info else {
            continue;
        };
        uploader = &info.uploader_type;
        let place = match volume.pvc_name.as_str() {
            "" => format!(
                "{}/{}: {}",
                info.pod_namespace, info.pod_name, info.volume_name
            ),
            claim => format!("{}/{claim}: {} bytes", volume.pvc_namespace, info.size),
        };
        phases.entry(info.phase.as_str()).or_default().push(place);
    }
    if phases.is_empty() {
        return;
    }
    let more = match details {
        true => "",
        false => " (specify --details for more information)",
    };
    d.line(format_args!("{uploader} Restores{more}:"));
    for (phase, places) in phases {
        if details {
            d.line(format_args!("\t{phase}:"));
            for place in places {
                d.line(format_args!("\t\t{place}"));
            }
        } else {
            d.nested(1, phase, places.len());
        }
    }
    d.blank();
}

/// Volumes that were made of snapshots of the storage.
fn made_of_snapshots(d: &mut DescribeWriter, volumes: &[RestoreVolumeInfo], details: bool) {
    let infos = volumes.iter().filter_map(|volume| {
        let info = volume.csi_snapshot_info.as_ref()?;
        Some((volume, info))
    });
    let infos: Vec<_> = infos.collect();
    if infos.is_empty() {
        d.field("CSI Snapshot Restores", "<none included>");
        return;
    }
    d.line("CSI Snapshot Restores:");
    for (volume, info) in infos {
        d.line(format_args!(
            "\t{}/{}:",
            volume.pvc_namespace, volume.pvc_name
        ));
        if !details {
            d.line("\t\tSnapshot: specify --details for more information");
            continue;
        }
        d.line("\t\tSnapshot:");
        d.line(format_args!(
            "\t\t\tSnapshot Content Name: {}",
            info.vsc_name
        ));
        d.line(format_args!(
            "\t\t\tStorage Snapshot ID: {}",
            info.snapshot_handle
        ));
        d.line(format_args!("\t\t\tCSI Driver: {}", info.driver));
    }
}

fn filters(d: &mut DescribeWriter, spec: &RestoreSpec) {
    d.line("Namespaces:");
    let included = match spec.included_namespaces.as_slice() {
        [] => "all namespaces found in the backup".to_owned(),
        [one] if one == "*" => "all namespaces found in the backup".to_owned(),
        list => list.join(", "),
    };
    d.nested(1, "Included", included);
    d.nested(1, "Excluded", list_or(&spec.excluded_namespaces, "<none>"));
    d.blank();
    d.line("Resources:");
    d.nested(1, "Included", list_or(&spec.included_resources, "*"));
    d.nested(1, "Excluded", list_or(&spec.excluded_resources, "<none>"));
    let cluster = choice(spec.include_cluster_resources, "excluded", "included");
    d.nested(1, "Cluster-scoped", cluster);
}

/// The description as a value.
pub(crate) fn value(view: &RestoreView, details: bool) -> Value {
    let RestoreView {
        restore,
        results,
        volumes,
        filling,
        resource_list,
    } = view;
    let mut out = Map::new();
    out.insert(
        "metadata".into(),
        json!({
            "name": restore.metadata.name,
            "namespace": restore.metadata.namespace,
            "labels": restore.metadata.labels,
            "annotations": restore.metadata.annotations,
        }),
    );
    out.insert("phase".into(), json!(restore.status.phase.as_str()));
    out.insert("spec".into(), json!(restore.spec));
    out.insert("status".into(), json!(restore.status));
    if let Some(results) = results {
        out.insert("restoreResults".into(), json!(results));
    }
    if !volumes.is_empty() {
        out.insert("volumes".into(), json!(volumes));
    }
    if !filling.is_empty() {
        out.insert("filling".into(), json!(filling));
    }
    if details {
        out.insert("resourceList".into(), json!(resource_list));
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use salvor_api::velero::{DEFAULT_ITEM_OPERATION_TIMEOUT, RestoreProgress};

    use super::*;

    fn filled(claim: &str, volume: &str, phase: &str) -> RestoreVolumeInfo {
        RestoreVolumeInfo {
            pvc_name: claim.into(),
            pvc_namespace: "rehearsal".into(),
            pvr_info: Some(salvor_archive::files::PodVolumeInfo {
                uploader_type: "restic".into(),
                pod_name: "db-0".into(),
                pod_namespace: "rehearsal".into(),
                volume_name: volume.into(),
                size: 7,
                phase: phase.into(),
                ..Default::default()
            }),
            ..RestoreVolumeInfo::default()
        }
    }

    #[test]
    fn a_restore_reads_as_in_velero() {
        let mut restore = Restore::named("velero", "nightly-20261120030000");
        restore.spec.backup_name = "nightly".into();
        restore.spec.included_namespaces = vec!["*".into()];
        restore
            .spec
            .namespace_mapping
            .insert("production".into(), "rehearsal".into());
        restore.spec.existing_resource_policy = "update".into();
        restore.spec.item_operation_timeout = DEFAULT_ITEM_OPERATION_TIMEOUT;
        restore.status.phase = RestorePhase::PartiallyFailed;
        restore.status.errors = 1;
        restore.status.progress = Some(RestoreProgress {
            total_items: 10,
            items_restored: 9,
        });
        restore.status.start_timestamp = "2026-11-20T03:00:00Z".parse().ok();
        restore.status.completion_timestamp = "2026-11-20T03:00:09Z".parse().ok();
        let mut results = Results::default();
        results.errors.add(Some("rehearsal"), "quota exceeded");
        let view = RestoreView {
            restore,
            results: Some(results),
            volumes: vec![
                filled("data-db-0", "", "Completed"),
                filled("", "cache", "Failed"),
            ],
            filling: Vec::new(),
            resource_list: Some(
                [("v1/Pod".to_owned(), vec!["rehearsal/a(created)".to_owned()])]
                    .into_iter()
                    .collect(),
            ),
        };
        expect![[r#"
            Name:         nightly-20261120030000
            Namespace:    velero
            Labels:       <none>
            Annotations:  <none>

            Phase:                       PartiallyFailed (run 'salvor restore logs nightly-20261120030000' for more information)
            Total items to be restored:  10
            Items restored:              9

            Started:    2026-11-20 03:00:00 +0000 UTC
            Completed:  2026-11-20 03:00:09 +0000 UTC

            Errors:
              Velero:   <none>
              Cluster:  <none>
              Namespaces:
                rehearsal:  quota exceeded

            Backup:  nightly

            Namespaces:
              Included:  all namespaces found in the backup
              Excluded:  <none>

            Resources:
              Included:        *
              Excluded:        <none>
              Cluster-scoped:  auto

            Namespace mappings:  production=rehearsal

            Label selector:  <none>

            Or label selector:  <none>

            Restore PVs:  auto

            restic Restores:
              Completed:
                rehearsal/data-db-0: 7 bytes
              Failed:
                rehearsal/db-0: cache

            CSI Snapshot Restores:  <none included>

            Existing Resource Policy:   update
            ItemOperationTimeout:       4h0m0s

            Preserve Service NodePorts:  auto

            Resource List:
              v1/Pod:
                - rehearsal/a(created)
        "#]]
        .assert_eq(&text(&view, true, false));
        let short = text(&view, false, false);
        assert!(
            short.contains(
                "restic Restores (specify --details for more information):\n  Completed:  1\n"
            ),
            "{short}"
        );
        let value = value(&view, false);
        assert_eq!(value["volumes"][0]["pvcName"], json!("data-db-0"));
        assert_eq!(value["phase"], json!("PartiallyFailed"));
        assert_eq!(value.get("resourceList"), None);
    }
}
