//! `backup describe`: Velero's layout, line by line, and a block of Salvor's own at the end.

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::meta::LabelSelector;
use salvor_api::velero::{Backup, BackupPhase, BackupSpec, BackupStatus};
use salvor_archive::files::{
    BackupOperation, BackupVolumeInfo, ResourceList, ResultSet, Results, SalvorVolumes,
};
use salvor_location::copy::state::{CopyRecord, CopyState};
use salvor_text::DescribeWriter;
use serde_json::{Map, Value, json};

use super::{choice, describe_volumes, list_or, phase};

/// A backup with the files beside it. A file that is absent, which is normal for old or failed backups,
/// is `None`.
#[derive(Clone, Debug, Default)]
pub(crate) struct BackupView {
    /// The backup.
    pub(crate) backup: Backup,
    /// Warnings and errors.
    pub(crate) results: Option<Results>,
    /// What is in it; read only for `--details`.
    pub(crate) resource_list: Option<ResourceList>,
    /// How volumes were treated.
    pub(crate) volumes: Vec<BackupVolumeInfo>,
    /// Our own record of them; `None` when another program wrote the backup.
    pub(crate) own_volumes: Option<SalvorVolumes>,
    /// Asynchronous operations.
    pub(crate) operations: Vec<BackupOperation>,
    /// Where it is kept.
    pub(crate) origin: Origin,
}

/// Where a backup is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// URL of the location, without options.
    pub(crate) url: String,
    /// The endpoint of its store, where it is not the provider's own.
    pub(crate) endpoint: Option<String>,
    /// The location does not survive the loss of what it protects.
    pub(crate) temporary: bool,
    /// How that is called.
    pub(crate) durability: String,
    /// Bytes of the archive.
    pub(crate) archive_bytes: Option<u64>,
    /// How its copies elsewhere stand.
    pub(crate) copies: Vec<CopyRecord>,
    /// Name of the location that it was copied from.
    pub(crate) copied_from: Option<String>,
    /// What its newest verification found, and when; empty when it was never verified.
    pub(crate) verified: Option<String>,
}

/// The description as text.
pub(crate) fn text(view: &BackupView, details: bool, color: bool) -> String {
    let BackupView {
        backup,
        results,
        resource_list,
        volumes,
        own_volumes,
        operations,
        origin,
    } = view;
    let mut d = DescribeWriter::new();
    metadata(&mut d, backup);
    d.blank();
    status_head(&mut d, backup, color);
    if let Some(policy) = &backup.spec.resource_policy {
        d.blank();
        d.line("Resource policies:");
        d.nested(1, "Type", &policy.kind);
        d.nested(1, "Name", &policy.name);
    }
    if let Some(parallel) = parallel_files_upload(&backup.spec) {
        d.blank();
        d.line("Uploader config:");
        d.nested(1, "Parallel files upload", parallel);
    }
    if !backup.status.validation_errors.is_empty() {
        d.blank();
        d.list(0, "Validation errors", &backup.status.validation_errors);
    }
    d.blank();
    result_blocks(
        &mut d,
        results.as_ref(),
        backup.status.warnings,
        backup.status.errors,
    );
    d.blank();
    spec(&mut d, &backup.spec);
    d.blank();
    status(&mut d, &backup.status, operations, details);
    if details {
        resources(&mut d, resource_list.as_ref());
        d.blank();
    }
    describe_volumes::block(&mut d, volumes, own_volumes.as_ref(), details);
    if let Some(hooks) = backup.status.hook_status {
        d.blank();
        d.field("HooksAttempted", hooks.hooks_attempted);
        d.field("HooksFailed", hooks.hooks_failed);
    }
    d.blank();
    own(&mut d, backup, origin);
    match own_volumes {
        Some(record) => describe_volumes::own(&mut d, record, details),
        None => describe_volumes::without_data(&mut d, volumes),
    }
    d.finish()
}

fn metadata(d: &mut DescribeWriter, backup: &Backup) {
    d.field("Name", &backup.metadata.name);
    d.field("Namespace", &backup.metadata.namespace);
    d.map("Labels", &backup.metadata.labels);
    d.map("Annotations", &backup.metadata.annotations);
}

fn status_head(d: &mut DescribeWriter, backup: &Backup, color: bool) {
    let hint = match backup.status.phase {
        BackupPhase::FailedValidation | BackupPhase::PartiallyFailed | BackupPhase::Failed => {
            format!(
                " (run `salvor backup logs {}` for more information)",
                backup.metadata.name
            )
        }
        _ => String::new(),
    };
    let shown = phase(backup.status.phase.as_str(), color);
    d.field("Phase", format_args!("{shown}{hint}"));
    if backup.status.queue_position > 0 {
        d.field("Queue position", backup.status.queue_position);
    }
    if !backup.status.failure_reason.is_empty() {
        d.field("Failure reason", &backup.status.failure_reason);
    }
}

/// Warnings and errors, by where they happened; mere counts when the file is not there.
pub(super) fn result_blocks(
    d: &mut DescribeWriter,
    results: Option<&Results>,
    warnings: i64,
    errors: i64,
) {
    if warnings == 0 && errors == 0 {
        return;
    }
    let Some(results) = results else {
        d.field("Errors", errors);
        d.field("Warnings", warnings);
        return;
    };
    if warnings > 0 {
        d.blank();
        result_block(d, "Warnings", &results.warnings);
    }
    if errors > 0 {
        d.blank();
        result_block(d, "Errors", &results.errors);
    }
}

fn result_block(d: &mut DescribeWriter, title: &str, set: &ResultSet) {
    d.line(format_args!("{title}:"));
    d.list(1, "Velero", &set.velero);
    d.list(1, "Cluster", &set.cluster);
    if set.namespaces.is_empty() {
        d.line("\tNamespaces: <none>");
    } else {
        d.line("\tNamespaces:");
        for (namespace, messages) in &set.namespaces {
            d.list(2, namespace, messages);
        }
    }
}

pub(crate) fn selector(selector: Option<&LabelSelector>) -> String {
    selector.map_or_else(|| "<none>".to_owned(), LabelSelector::display)
}

pub(super) fn or_selectors(selectors: &[LabelSelector]) -> String {
    if selectors.is_empty() {
        return "<none>".to_owned();
    }
    let all: Vec<String> = selectors.iter().map(LabelSelector::display).collect();
    all.join(" or ")
}

pub(crate) fn spec(d: &mut DescribeWriter, spec: &BackupSpec) {
    d.line("Namespaces:");
    d.nested(1, "Included", list_or(&spec.included_namespaces, "*"));
    d.nested(1, "Excluded", list_or(&spec.excluded_namespaces, "<none>"));
    d.blank();
    d.line("Resources:");
    if spec.uses_scoped_filters() {
        for (key, list) in [
            (
                "Included cluster-scoped",
                &spec.included_cluster_scoped_resources,
            ),
            (
                "Excluded cluster-scoped",
                &spec.excluded_cluster_scoped_resources,
            ),
        ] {
            d.nested(1, key, list_or(list, "<none>"));
        }
        let included = &spec.included_namespace_scoped_resources;
        d.nested(1, "Included namespace-scoped", list_or(included, "*"));
        let excluded = &spec.excluded_namespace_scoped_resources;
        d.nested(1, "Excluded namespace-scoped", list_or(excluded, "<none>"));
    } else {
        d.nested(1, "Included", list_or(&spec.included_resources, "*"));
        d.nested(1, "Excluded", list_or(&spec.excluded_resources, "<none>"));
        let cluster = choice(spec.include_cluster_resources, "excluded", "included");
        d.nested(1, "Cluster-scoped", cluster);
    }
    d.blank();
    d.field("Label selector", selector(spec.label_selector.as_ref()));
    d.blank();
    d.field("Or label selector", or_selectors(&spec.or_label_selectors));
    d.blank();
    d.field("Storage Location", &spec.storage_location);
    d.blank();
    d.field(
        "Velero-Native Snapshot PVs",
        choice(spec.snapshot_volumes, "false", "true"),
    );
    if let Some(by_file) = spec.default_volumes_to_fs_backup {
        d.field("File System Backup (Default)", by_file);
    }
    d.field(
        "Snapshot Move Data",
        choice(spec.snapshot_move_data, "false", "true"),
    );
    d.field("Data Mover", data_mover(spec));
    d.blank();
    d.field("TTL", spec.ttl);
    d.blank();
    d.field("CSISnapshotTimeout", spec.csi_snapshot_timeout);
    d.field("ItemOperationTimeout", spec.item_operation_timeout);
    d.blank();
    hooks(d, &spec.hooks.resources);
    if !spec.ordered_resources.is_empty() {
        d.blank();
        d.line("OrderedResources:");
        for (resource, objects) in &spec.ordered_resources {
            d.line(format_args!("\t{resource}: {objects}"));
        }
    }
}

fn data_mover(spec: &BackupSpec) -> &str {
    if spec.datamover.is_empty() {
        "velero"
    } else {
        &spec.datamover
    }
}

fn parallel_files_upload(spec: &BackupSpec) -> Option<i64> {
    let config = spec.uploader_config.as_ref()?;
    config
        .get("parallelFilesUpload")
        .and_then(Value::as_i64)
        .filter(|n| *n > 0)
}

fn hooks(d: &mut DescribeWriter, resources: &[Value]) {
    if resources.is_empty() {
        d.field("Hooks", "<none>");
        return;
    }
    let strings = |value: Option<&Value>, empty: &str| {
        let list: Vec<String> = value
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        list_or(&list, empty)
    };
    d.line("Hooks:");
    d.line("\tResources:");
    for hook in resources {
        let name = hook.get("name").and_then(Value::as_str).unwrap_or_default();
        d.line(format_args!("\t\t{name}:"));
        d.line("\t\t\tNamespaces:");
        d.nested(4, "Included", strings(hook.get("includedNamespaces"), "*"));
        d.nested(
            4,
            "Excluded",
            strings(hook.get("excludedNamespaces"), "<none>"),
        );
        d.blank();
        d.line("\t\t\tResources:");
        d.nested(4, "Included", strings(hook.get("includedResources"), "*"));
        d.nested(
            4,
            "Excluded",
            strings(hook.get("excludedResources"), "<none>"),
        );
        for (key, title) in [("pre", "Pre Exec Hook"), ("post", "Post Exec Hook")] {
            let hooks = hook.get(key).and_then(Value::as_array);
            for exec in hooks.into_iter().flatten().filter_map(|h| h.get("exec")) {
                let text = |key: &str| {
                    exec.get(key)
                        .and_then(Value::as_str)
                        .unwrap_or("<none>")
                        .to_owned()
                };
                d.blank();
                d.line(format_args!("\t\t\t{title}:"));
                d.nested(4, "Container", text("container"));
                let command = strings(exec.get("command"), "<none>");
                d.nested(4, "Command", command.replace(", ", " "));
                d.nested(4, "On Error", text("onError"));
                d.nested(4, "Timeout", text("timeout"));
            }
        }
    }
}

pub(super) fn moment(time: Option<Time>) -> String {
    time.map_or_else(|| "<n/a>".to_owned(), Time::go_display)
}

fn status(
    d: &mut DescribeWriter,
    status: &BackupStatus,
    operations: &[BackupOperation],
    details: bool,
) {
    d.field("Backup Format Version", &status.format_version);
    d.blank();
    d.field("Started", moment(status.start_timestamp));
    d.field("Completed", moment(status.completion_timestamp));
    d.blank();
    let expiration = status
        .expiration
        .map_or_else(|| "<nil>".to_owned(), Time::go_display);
    d.field("Expiration", expiration);
    d.blank();
    if let Some(progress) = status.progress {
        if status.phase == BackupPhase::InProgress {
            d.field(
                "Estimated total items to be backed up",
                progress.total_items,
            );
            d.field("Items backed up so far", progress.items_backed_up);
        } else {
            d.field("Total items to be backed up", progress.total_items);
            d.field("Items backed up", progress.items_backed_up);
        }
        d.blank();
    }
    if status.backup_item_operations_attempted == 0 {
        return;
    }
    if details {
        d.line("Backup Item Operations:");
        for operation in operations {
            let id = &operation.spec.resource_identifier;
            let item = [&id.namespace, &id.name];
            let item: Vec<&str> = item
                .into_iter()
                .map(String::as_str)
                .filter(|part| !part.is_empty())
                .collect();
            d.line(format_args!(
                "\tOperation for {} {}:",
                id.resource,
                item.join("/")
            ));
            d.nested(
                2,
                "Backup Item Action Plugin",
                &operation.spec.backup_item_action,
            );
            d.nested(2, "Operation ID", &operation.spec.operation_id);
            d.nested(2, "Phase", &operation.status.phase);
            if !operation.status.error.is_empty() {
                d.nested(2, "Operation Error", &operation.status.error);
            }
        }
    } else {
        d.field(
            "Backup Item Operations",
            format_args!(
                "{} of {} completed successfully, {} failed (specify --details for more information)",
                status.backup_item_operations_completed,
                status.backup_item_operations_attempted,
                status.backup_item_operations_failed
            ),
        );
    }
    d.blank();
}

pub(super) fn resources(d: &mut DescribeWriter, list: Option<&ResourceList>) {
    let Some(list) = list else {
        d.field("Resource List", "<backup resource list not found>");
        return;
    };
    d.line("Resource List:");
    for (kind, objects) in list {
        d.line(format_args!("\t{kind}:"));
        for object in objects {
            d.line(format_args!("\t\t- {object}"));
        }
    }
}

/// What Velero does not know: where the backup is from, how it is kept.
fn own(d: &mut DescribeWriter, backup: &Backup, origin: &Origin) {
    let annotation = |key: &str| backup.metadata.annotations.get(key).map(String::as_str);
    d.line("Salvor:");
    let cluster = match (
        annotation(labels::CLUSTER_NAME),
        annotation(labels::CLUSTER_UID),
    ) {
        (Some(name), Some(uid)) => format!("{name} ({uid})"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => "<unknown>".to_owned(),
    };
    d.nested(1, "Cluster", cluster);
    let version = annotation(labels::SOURCE_GIT_VERSION).unwrap_or("<unknown>");
    d.nested(1, "Kubernetes", version);
    if let Some(tool) = annotation(labels::TOOL_VERSION) {
        let run = annotation(labels::RUN_ID).unwrap_or("<unknown>");
        d.nested(1, "Written by", format_args!("{tool}, run {run}"));
    }
    d.nested(1, "Location", &origin.url);
    if let Some(endpoint) = &origin.endpoint {
        d.nested(1, "Endpoint", endpoint);
    }
    d.nested(1, "Kept", &origin.durability);
    if let Some(mark) = annotation(labels::ARCHIVED) {
        d.nested(1, "Archived", mark);
    }
    if let Some(bytes) = origin.archive_bytes {
        d.nested(1, "Archive size", salvor_text::ByteCount(bytes));
    }
    if let Some(from) = &origin.copied_from {
        d.nested(1, "Copied from", from);
    }
    if let Some(verified) = &origin.verified {
        d.nested(1, "Verified", verified);
    }
    if !origin.copies.is_empty() {
        let copies: Vec<String> = origin.copies.iter().map(copy_line).collect();
        d.list(1, "Copies", &copies);
    }
}

/// `offsite: done 2026-01-02 03:04:05 UTC`, or why it is not there.
fn copy_line(copy: &CopyRecord) -> String {
    let name = &copy.target.name;
    match (copy.state, copy.finished) {
        (CopyState::Done, Some(at)) => {
            format!("{name}: done {}", at.strftime("%Y-%m-%d %H:%M:%S UTC"))
        }
        (CopyState::Done, None) => format!("{name}: done"),
        (CopyState::Running, _) => {
            format!(
                "{name}: begun {}",
                copy.started.strftime("%Y-%m-%d %H:%M:%S UTC")
            )
        }
        (CopyState::Failed, _) => {
            format!(
                "{name}: failed after {} attempts: {}",
                copy.attempts, copy.message
            )
        }
    }
}

/// The description as a value, with the keys of Velero's structured describe.
pub(crate) fn value(view: &BackupView, details: bool) -> Value {
    let BackupView {
        backup,
        results,
        resource_list,
        volumes,
        own_volumes,
        operations,
        origin,
    } = view;
    let (spec, status) = (&backup.spec, &backup.status);
    let mut out = Map::new();
    out.insert(
        "metadata".into(),
        json!({
            "name": backup.metadata.name,
            "namespace": backup.metadata.namespace,
            "labels": backup.metadata.labels,
            "annotations": backup.metadata.annotations,
        }),
    );
    out.insert("phase".into(), json!(status.phase.as_str()));
    if !status.validation_errors.is_empty() {
        out.insert("validationErrors".into(), json!(status.validation_errors));
    }
    if status.warnings > 0 || status.errors > 0 {
        let mut counts = Map::new();
        match results {
            Some(results) => {
                counts.insert("warnings".into(), json!(results.warnings));
                counts.insert("errors".into(), json!(results.errors));
            }
            None => {
                counts.insert("warnings".into(), json!(status.warnings));
                counts.insert("errors".into(), json!(status.errors));
            }
        }
        out.insert("backupResults".into(), Value::Object(counts));
    }
    out.insert("spec".into(), json!(spec));
    let mut shown = Map::new();
    shown.insert("backupFormatVersion".into(), json!(status.format_version));
    shown.insert("started".into(), json!(moment(status.start_timestamp)));
    shown.insert(
        "completed".into(),
        json!(moment(status.completion_timestamp)),
    );
    shown.insert("expiration".into(), json!(status.expiration));
    if let Some(progress) = status.progress {
        shown.insert("totalItemsToBeBackedUp".into(), json!(progress.total_items));
        shown.insert("itemsBackedUp".into(), json!(progress.items_backed_up));
    }
    if details {
        shown.insert("resourceList".into(), json!(resource_list));
        shown.insert("backupItemOperations".into(), json!(operations));
    }
    shown.insert("backupVolumes".into(), json!(volumes));
    shown.insert("hookStatus".into(), json!(status.hook_status));
    out.insert("status".into(), Value::Object(shown));
    out.insert(
        "salvor".into(),
        json!({
            "location": origin.url,
            "endpoint": origin.endpoint,
            "temporary": origin.temporary,
            "archiveBytes": origin.archive_bytes,
            "copies": origin.copies,
            "copiedFrom": origin.copied_from,
            "verified": origin.verified,
            "volumes": own_volumes.as_ref().map(|record| &record.volumes),
        }),
    );
    Value::Object(out)
}

#[cfg(test)]
#[path = "describe_backup_tests.rs"]
mod tests;
