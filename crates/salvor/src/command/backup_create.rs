//! `backup create`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use salvor_api::copies::CopyRequest;
use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::meta::StringMap;
use salvor_api::resource_policy::{ResourcePolicies, Use};
use salvor_api::velero::{Backup, BackupPhase, BackupSpec, BackupType, Hooks, Metadata};
use salvor_cluster::{Cluster, DiscoverOptions};
use salvor_location::{BackupRecord, Location};
use salvor_objects::backup::{self, BackupOptions, BackupOutcome, BackupRequest, ProgressSink};
use salvor_objects::policy;
use salvor_text::ByteCount;
use salvor_text::duration::elapsed;
use serde_json::json;
use tracing::info;

use crate::args::Format;
use crate::args::backup::{CreateArgs, TemplateArgs, VolumeArgs};
use crate::args::values;
use crate::command::{backup_copy, data_mover, read, served, snapshotters, unknown_resources};
use crate::exit::{Exit, Failure};
use crate::output::estimate;
use crate::output::progress::Progress;
use crate::session::{Session, spec_name};

/// Makes a backup, or prints what would be asked for.
pub(crate) async fn run(args: &CreateArgs, session: &Session) -> Result<Exit, Failure> {
    let started = Time::new(session.now());
    let mut backup = requested(args, session, started)?;
    let printing = match args.output {
        Format::Json | Format::Yaml => true,
        Format::Table | Format::Wide | Format::Name => false,
    };
    if printing && args.from_schedule.is_none() {
        return print(&backup, args.output, session);
    }
    if let Some(served) = session.served().await? {
        return served::backup::create(args, backup, session, &served).await;
    }
    for flag in without_effect(&args.template.volumes) {
        let text = session.messages.flag_has_no_effect(flag);
        session.printer.warning(&text);
    }
    let policies = match &args.template.volumes.resource_policies_file {
        Some(path) => Some(policies_in(path)?),
        None => None,
    };
    let cluster = session.cluster(args.concurrency).await?;
    if let Some(schedule) = &args.from_schedule {
        backup = from_schedule(&cluster, schedule, backup, session).await?;
        if printing {
            return print(&backup, args.output, session);
        }
    }
    unknown_resources::refuse(&cluster, &backup.metadata.name, &backup.spec).await?;
    let location = session.location(args.template.storage_location.as_deref())?;
    let location = location.limited(&args.limits.limits()?);
    if backup.spec.storage_location.is_empty() {
        spec_name(&location).clone_into(&mut backup.spec.storage_location);
    }
    let movers = data_mover::find(&cluster, &location, session).await;
    if let Some(movers) = &movers {
        // The same location, under the name by which its snapshots are found again.
        backup.spec.storage_location.clone_from(&movers.location);
    }
    let snapshotters = snapshotters::of_backup(&cluster, &mut backup.spec, session).await?;
    tell_estimate(&location, &backup, args, session).await?;
    let name = backup.metadata.name.clone();
    let outcome = {
        let progress = Progress::begin(&name).with_remaining(session.messages);
        let progress = Arc::new(Mutex::new(progress));
        let options = BackupOptions {
            all_versions: args.all_versions,
            policies,
            actions: read::item_actions(args.item_actions.as_deref())?,
            data_mover: movers.map(|movers| movers.mover),
            snapshotters,
            cancel: session.cancel.clone(),
            ..BackupOptions::default()
        };
        let pagers = args
            .concurrency
            .map_or(options.pagers, |n| n.clamp(1, options.pagers));
        let request = BackupRequest {
            cluster,
            location: location.clone(),
            backup,
            options: BackupOptions { pagers, ..options },
        };
        info!(run = %request.options.run, backup = %name, "backup begins");
        let shown = Arc::clone(&progress);
        let sink = ProgressSink::new(move |now| {
            let mut bar = shown.lock().unwrap_or_else(PoisonError::into_inner);
            bar.update(now.items, now.items_expected, &now.current);
        });
        Box::pin(backup::run(request, sink)).await?
    };
    let exit = conclude(&outcome, session)?;
    let Some(record) = &outcome.record else {
        return Ok(exit);
    };
    session.note_if_temporary(&location);
    let copied = copies(record, &location, session).await?;
    Ok(if exit == Exit::Done { copied } else { exit })
}

/// Makes the copies that the backup asks for. The backup is there in any case.
async fn copies(
    record: &BackupRecord,
    location: &Location,
    session: &Session,
) -> Result<Exit, Failure> {
    let request = CopyRequest::of(&record.backup.metadata.annotations);
    let request = request.map_err(|error| Failure::usage(error.to_string()))?;
    match request {
        None => Ok(Exit::Done),
        Some(request) => backup_copy::copy_to(location, &record.name, &request, session).await,
    }
}

/// Says how long the backup will take, by earlier ones of the location. One that cannot be listed says so when it is
/// written to.
async fn tell_estimate(
    location: &Location,
    backup: &Backup,
    args: &CreateArgs,
    session: &Session,
) -> Result<(), Failure> {
    let name = read::backup_name(&backup.metadata.name)?;
    let limits = [
        args.limits.limits()?,
        session.limits_of(location.profile())?,
    ];
    let limit = limits.iter().filter_map(|limits| limits.upload).min();
    let past = location.past_backups(&name).await.unwrap_or_default();
    let text = estimate::of_backup(&backup.spec, &past, limit, session.messages);
    session.printer.remark(&text);
    Ok(())
}

/// Flags that only say how snapshots would be taken, which this version does not. Those that ask for the data itself
/// make the backup partial where it cannot be had; the engine decides that.
fn without_effect(volumes: &VolumeArgs) -> Vec<&'static str> {
    let VolumeArgs {
        snapshot_volumes: _,
        snapshot_move_data: _,
        data_mover,
        default_volumes_to_fs_backup: _,
        volume_snapshot_locations: _,
        csi_snapshot_timeout: _,
        item_operation_timeout: _,
        resource_policies_configmap: _,
        resource_policies_file: _,
        parallel_files_upload,
        volume_group_snapshot_label_key,
    } = volumes;
    [
        ("--data-mover", data_mover.is_some()),
        ("--parallel-files-upload", parallel_files_upload.is_some()),
        (
            "--volume-group-snapshot-label-key",
            volume_group_snapshot_label_key.is_some(),
        ),
    ]
    .into_iter()
    .filter_map(|(flag, given)| given.then_some(flag))
    .collect()
}

/// The resource policies in a file.
fn policies_in(path: &Path) -> Result<ResourcePolicies, Failure> {
    let doing = format!("read the resource policies in {}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::caused(Exit::Usage, doing.clone(), error))?;
    policy::parse(&text, Use::Backup)
        .map_err(|errors| Failure::usage(format!("{doing}: {}", errors.join("; "))))
}

pub(super) fn print(backup: &Backup, format: Format, session: &Session) -> Result<Exit, Failure> {
    match format {
        Format::Yaml => session.printer.yaml(backup)?,
        Format::Json | Format::Table | Format::Wide | Format::Name => {
            session.printer.json(backup)?;
        }
    }
    Ok(Exit::Done)
}

/// Tells how a backup ended.
pub(super) fn conclude(outcome: &BackupOutcome, session: &Session) -> Result<Exit, Failure> {
    let BackupOutcome {
        backup,
        record: _,
        results: _,
        stats,
    } = outcome;
    let name = &backup.metadata.name;
    let status = &backup.status;
    let (errors, warnings) = (status.errors.unsigned_abs(), status.warnings.unsigned_abs());
    let size = ByteCount(stats.archive_bytes).to_string();
    let describe = format!("salvor backup describe {name}");
    match status.phase {
        BackupPhase::Completed => {
            let line = session.messages.backup_completed(
                name,
                stats.items,
                &size,
                &elapsed(stats.elapsed),
            );
            session.printer.result(&format!("{line}\n"))?;
            if warnings > 0 {
                let note = session.messages.has_warnings(warnings, &describe);
                session.printer.note(&note);
            }
            Ok(Exit::Done)
        }
        BackupPhase::PartiallyFailed => {
            let line = session.messages.backup_partial(name, errors, warnings);
            session.printer.result(&format!("{line}\n"))?;
            session.printer.note(&session.messages.see(&describe));
            Ok(Exit::Partial)
        }
        BackupPhase::FailedValidation => {
            let reasons = status.validation_errors.join("; ");
            Err(Failure::usage(format!(
                "backup `{name}` is not valid: {reasons}"
            )))
        }
        ref other => {
            let reason = if status.failure_reason.is_empty() {
                other.to_string()
            } else {
                status.failure_reason.clone()
            };
            Err(
                Failure::new(Exit::Internal, format!("backup `{name}` failed: {reason}"))
                    .hint(session.messages.see(&describe)),
            )
        }
    }
}

/// The backup that the flags ask for.
fn requested(args: &CreateArgs, session: &Session, started: Time) -> Result<Backup, Failure> {
    let name = match (&args.name, &args.from_schedule) {
        (Some(name), _) => name.clone(),
        (None, Some(schedule)) => format!("{schedule}-{}", started.compact()),
        (None, None) => return Err(Failure::usage("a backup needs a name")),
    };
    salvor_api::name::check_dns_subdomain("backup", &name)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let mut backup = Backup::named(session.namespace(), &name);
    backup.metadata.labels = args.template.filters.label_map().map_err(Failure::usage)?;
    backup.metadata.annotations = args
        .template
        .filters
        .annotation_map()
        .map_err(Failure::usage)?;
    args.limits.annotate(&mut backup.metadata.annotations);
    backup
        .metadata
        .annotations
        .extend(copy_annotations(&args.template)?);
    backup.spec = spec(&args.template)?;
    Ok(backup)
}

/// The annotations for the copies that the flags ask for.
pub(super) fn copy_annotations(args: &TemplateArgs) -> Result<StringMap, Failure> {
    let annotations = args.copies.annotations();
    annotations.map_err(|error| Failure::usage(error.to_string()))
}

/// The specification that the flags ask for.
pub(super) fn spec(args: &TemplateArgs) -> Result<BackupSpec, Failure> {
    let filters = &args.filters;
    let VolumeArgs {
        snapshot_volumes,
        snapshot_move_data,
        data_mover,
        default_volumes_to_fs_backup,
        volume_snapshot_locations,
        csi_snapshot_timeout,
        item_operation_timeout,
        resource_policies_configmap,
        resource_policies_file: _,
        parallel_files_upload,
        volume_group_snapshot_label_key,
    } = &args.volumes;
    let ordered = args.ordered_resources.as_deref().unwrap_or_default();
    Ok(BackupSpec {
        metadata: Metadata::default(),
        included_namespaces: filters.include_namespaces.clone(),
        excluded_namespaces: filters.exclude_namespaces.clone(),
        included_resources: filters.include_resources.clone(),
        excluded_resources: filters.exclude_resources.clone(),
        included_cluster_scoped_resources: args.include_cluster_scoped_resources.clone(),
        excluded_cluster_scoped_resources: args.exclude_cluster_scoped_resources.clone(),
        included_namespace_scoped_resources: args.include_namespace_scoped_resources.clone(),
        excluded_namespace_scoped_resources: args.exclude_namespace_scoped_resources.clone(),
        label_selector: filters.selector.clone(),
        or_label_selectors: filters.or_selectors().map_err(Failure::usage)?,
        snapshot_volumes: *snapshot_volumes,
        ttl: args.ttl.unwrap_or_default(),
        include_cluster_resources: filters.include_cluster_resources,
        hooks: Hooks::default(),
        storage_location: args.storage_location.clone().unwrap_or_default(),
        volume_snapshot_locations: volume_snapshot_locations.clone(),
        default_volumes_to_restic: None,
        default_volumes_to_fs_backup: *default_volumes_to_fs_backup,
        ordered_resources: values::ordered(ordered)
            .map_err(|error| Failure::usage(format!("--ordered-resources: {error}")))?,
        csi_snapshot_timeout: *csi_snapshot_timeout,
        item_operation_timeout: *item_operation_timeout,
        resource_policy: resource_policies_configmap
            .as_deref()
            .map(values::config_map),
        snapshot_move_data: *snapshot_move_data,
        datamover: data_mover.clone().unwrap_or_default(),
        uploader_config: parallel_files_upload.map(|n| json!({"parallelFilesUpload": n})),
        volume_group_snapshot_label_key: volume_group_snapshot_label_key
            .clone()
            .unwrap_or_default(),
        backup_type: BackupType::Unset,
    })
}

/// Takes the specification, and the labels, from a Schedule of the cluster.
pub(super) async fn from_schedule(
    cluster: &Cluster,
    schedule: &str,
    mut backup: Backup,
    session: &Session,
) -> Result<Backup, Failure> {
    let doing = format!("read schedule `{schedule}`");
    let discovery = cluster
        .discover(DiscoverOptions::default())
        .await
        .map_err(|error| Failure::from(error).while_doing(&doing))?;
    let Some(resource) = discovery.resolve("schedules.velero.io") else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{doing}: the cluster has no schedules.velero.io"),
        )
        .hint("install Velero's definitions, or give the filters on the command line"));
    };
    let found = cluster
        .get(resource, Some(session.namespace()), schedule)
        .await
        .map_err(|error| Failure::from(error).while_doing(&doing))?;
    let Some(bytes) = found else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{doing}: it is not in namespace `{}`", session.namespace()),
        ));
    };
    #[derive(serde::Deserialize)]
    struct Schedule {
        #[serde(default)]
        metadata: ScheduleMetadata,
        spec: ScheduleSpec,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(default)]
    struct ScheduleMetadata {
        annotations: StringMap,
    }
    #[derive(serde::Deserialize)]
    struct ScheduleSpec {
        template: BackupSpec,
    }
    let Schedule { metadata, spec } = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::caused(Exit::Internal, doing.clone(), error))?;
    let labels = &mut backup.metadata.labels;
    for (key, value) in &spec.template.metadata.labels {
        labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    let annotations = &mut backup.metadata.annotations;
    if !annotations.contains_key(labels::COPY_TO) {
        for key in [labels::COPY_TO, labels::COPY_RULE, labels::COPY_TTL] {
            let value = metadata.annotations.get(key);
            annotations.extend(value.map(|value| (key.to_owned(), value.clone())));
        }
    }
    let value = labels::label_value(schedule);
    labels.insert(labels::SCHEDULE_NAME.to_owned(), value);
    backup.spec = spec.template;
    Ok(backup)
}
