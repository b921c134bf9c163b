//! `restore create`.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use salvor_api::go::Time;
use salvor_api::velero::{Hooks, Restore, RestorePhase, RestoreSpec, RestoreStatusSpec};
use salvor_cluster::Cluster;
use salvor_location::{Location, RunId};
use salvor_objects::restore::fits::Severity;
use salvor_objects::restore::modifiers::Modifiers;
use salvor_objects::restore::plan::{Action, PlanForm};
use salvor_objects::restore::request::newest_of_schedule;
use salvor_objects::restore::{
    self, Observer, Places, RestoreOptions, RestoreOutcome, RestorePlan, RestoreRequest,
};
use salvor_text::duration::elapsed;
use serde_json::json;
use tracing::info;

use crate::args::restore::{CreateArgs, ExistingPolicy, VolumeArgs};
use crate::args::{Format, values};
use crate::command::read::{self, Place};
use crate::command::{data_mover, records, served, snapshotters};
use crate::exit::{Exit, Failure};
use crate::output::estimate::{self, Unit};
use crate::output::progress::Progress;
use crate::session::Session;

/// Objects named before something destructive; the rest is counted.
const NAMED_BEFORE_ASKING: usize = 20;

/// Restores a backup, prints the plan of it, or prints what would be asked for.
pub(crate) async fn run(args: &CreateArgs, session: &Session) -> Result<Exit, Failure> {
    let options = RestoreOptions {
        names: args.names.clone(),
        relink_owners: args.relink_owners,
        actions: read::item_actions(args.item_actions.as_deref())?,
        modifiers: args
            .resource_modifier_file
            .as_deref()
            .map(modifiers_in)
            .transpose()?,
        skip_damaged: args.damage.skip_damaged,
        ..RestoreOptions::default()
    };
    if args.resume {
        return Box::pin(resume(args, options, session)).await;
    }
    let mut restore = requested(args, session)?;
    let printing = matches!(args.output, Format::Json | Format::Yaml) && !args.dry_run;
    if printing {
        match args.output {
            Format::Yaml => session.printer.yaml(&restore)?,
            _ => session.printer.json(&restore)?,
        }
        return Ok(Exit::Done);
    }
    let partial_too = args.allow_partially_failed == Some(true);
    // What the kind cannot say is done from here, with the user's own rights.
    let is_ours = args.dry_run
        || args.relink_owners
        || !args.names.is_empty()
        || args.item_actions.is_some()
        || args.resource_modifier_file.is_some()
        || args.damage.skip_damaged
        || args.record.record_location.is_some();
    if !is_ours && let Some(served) = session.served().await? {
        // The kind has no word for it, so it is chosen here, as Velero's client does.
        if partial_too && !restore.spec.schedule_name.is_empty() {
            let place = Place::of(session).await?;
            choose_of_schedule(&mut restore, true, &place, session).await?;
        }
        return served::restore::create(args, restore, session, &served).await;
    }
    let volumes = &args.volumes;
    for (flag, given) in [
        ("--write-sparse-files", volumes.write_sparse_files.is_some()),
        (
            "--parallel-files-download",
            volumes.parallel_files_download.is_some(),
        ),
    ] {
        if given {
            let text = session.messages.flag_has_no_effect(flag);
            session.printer.warning(&text);
        }
    }
    if !restore.spec.schedule_name.is_empty() {
        let place = Place::of(session).await?;
        choose_of_schedule(&mut restore, partial_too, &place, session).await?;
    }
    let backup = read::backup_name(&restore.spec.backup_name)?;
    let location = session.location_of(Some(backup.as_str())).await?;
    let location = location.limited(&args.limits.limits()?);
    let cluster = session.cluster(args.concurrency).await?;
    let source = read::source(&location, &backup, args.damage, session).await?;
    let request = RestoreRequest {
        options: with_movers(options, &cluster, &location, session).await,
        cluster,
        source,
        restore,
    };
    let plan = Box::pin(restore::plan(&request, &session.cancel)).await?;
    if args.dry_run {
        let form = match args.output {
            Format::Json => PlanForm::Json,
            Format::Yaml => PlanForm::Yaml,
            Format::Table | Format::Wide | Format::Name => PlanForm::Table,
        };
        session.printer.result(&plan.render(form))?;
        session.printer.note(&session.messages.dry_run());
        return Ok(Exit::Done);
    }
    ask_before(&request, &plan, args.confirm.yes, session).await?;
    let name = read::restore_name(&request.restore.metadata.name)?;
    let measured = location.past_restores(&name).await.unwrap_or_default();
    let objects = Some(plan.entries.len() as u64);
    let text = estimate::sentence(objects, &measured, None, Unit::Objects, session.messages);
    session.printer.remark(&text);
    let records = records::of_new(&name, &location, &args.record, session).await?;
    carry_out(&request, &records, plan, session).await
}

/// The options, with the node agents that put data of volumes back and the snapshot locations that volumes are made of,
/// where there are any.
pub(crate) async fn with_movers(
    options: RestoreOptions,
    cluster: &Cluster,
    location: &Location,
    session: &Session,
) -> RestoreOptions {
    let options = RestoreOptions {
        snapshotters: snapshotters::of_restore(cluster, session).await,
        ..options
    };
    match Box::pin(data_mover::find(cluster, location, session)).await {
        None => options,
        Some(movers) => RestoreOptions {
            data_mover: Some(movers.mover),
            data_location: movers.location,
            ..options
        },
    }
}

/// Carries a plan out, with its records in `location`, and tells how it ended. What will not work, or not come back, is said before.
pub(crate) async fn carry_out(
    request: &RestoreRequest,
    location: &Location,
    plan: RestorePlan,
    session: &Session,
) -> Result<Exit, Failure> {
    for finding in &plan.header.findings {
        if finding.severity != Severity::Info {
            session.printer.warning(&finding.message);
        }
    }
    let began = std::time::Instant::now();
    let run = RunId::generate();
    info!(%run, restore = %request.restore.metadata.name, "restore begins");
    let outcome = {
        let observer = observer(&request.restore.metadata.name, session);
        let cancel = &session.cancel;
        Box::pin(restore::apply(
            request, location, plan, &run, &observer, cancel,
        ))
        .await?
    };
    conclude(&outcome, began.elapsed(), session)
}

fn observer(name: &str, session: &Session) -> Observer {
    let progress = Progress::begin(name).with_remaining(session.messages);
    let progress = Arc::new(Mutex::new(progress));
    Observer::new(move |now| {
        let stage = now.stage.map(|stage| stage.to_string()).unwrap_or_default();
        let mut bar = progress.lock().unwrap_or_else(PoisonError::into_inner);
        bar.update(now.done, now.total, &stage);
    })
}

async fn resume(
    args: &CreateArgs,
    options: RestoreOptions,
    session: &Session,
) -> Result<Exit, Failure> {
    let name = read::restore_name(args.name.as_deref().unwrap_or_default())?;
    let served = session.served().await?;
    let location = match &served {
        Some(served) => {
            let restore: Restore = served.named(name.as_str()).await?;
            let backup = restore.spec.backup_name;
            session.location_of(Some(&backup)).await?
        }
        None => session.location(None)?,
    };
    let location = location.limited(&args.limits.limits()?);
    let records = records::of_resumed(&name, &location, &args.record, session).await?;
    let cluster = session.cluster(args.concurrency).await?;
    let options = with_movers(options, &cluster, &location, session).await;
    let began = std::time::Instant::now();
    let run = RunId::generate();
    info!(%run, restore = %name, "restore goes on");
    let outcome = {
        let observer = observer(name.as_str(), session);
        let places = Places {
            backups: &location,
            records: &records,
        };
        Box::pin(restore::resume_in(
            &cluster,
            places,
            &name,
            options,
            &run,
            &observer,
            &session.cancel,
        ))
        .await?
    };
    if let Some(served) = &served
        && let Err(failure) = served::restore::write_result(served, &outcome.restore).await
    {
        let text = session.messages.restore_object_not_told(name.as_str());
        session
            .printer
            .warning(&format!("{text}: {}", failure.chain()));
    }
    conclude(&outcome, began.elapsed(), session)
}

/// Says so when the backup is of another cluster than the target; true then.
pub(crate) fn warn_of_other_cluster(
    request: &RestoreRequest,
    plan: &RestorePlan,
    session: &Session,
) -> bool {
    if plan.is_other_cluster() != Some(true) {
        return false;
    }
    let annotations = &request.source.backup.metadata.annotations;
    let source = annotations
        .get(salvor_api::labels::CLUSTER_NAME)
        .unwrap_or(&plan.header.source_cluster_uid);
    let target = &plan.header.cluster.name;
    let backup = request.source.name.as_str();
    let text = session.messages.other_cluster(backup, source, target);
    session.printer.warning(&text);
    true
}

/// Another cluster's data, and objects that would be deleted and made anew, are asked about first.
async fn ask_before(
    request: &RestoreRequest,
    plan: &RestorePlan,
    yes: bool,
    session: &Session,
) -> Result<(), Failure> {
    let target = &plan.header.cluster;
    if warn_of_other_cluster(request, plan, session) {
        session.printer.remark(&plan.summary());
        session.confirm(yes, &target.name).await?;
    }
    let replaced: Vec<String> = plan
        .entries
        .iter()
        .filter(|entry| entry.action == Action::Recreate)
        .map(|entry| {
            let key = entry.target(&plan.header.rules);
            format!("{} {}", key.resource, key.scoped_name())
        })
        .collect();
    if replaced.is_empty() {
        return Ok(());
    }
    session
        .printer
        .warning(&session.messages.will_be_recreated(replaced.len() as u64));
    for object in replaced.iter().take(NAMED_BEFORE_ASKING) {
        session.printer.remark(&format!("  {object}"));
    }
    if replaced.len() > NAMED_BEFORE_ASKING {
        let more = session
            .messages
            .and_more(replaced.len() - NAMED_BEFORE_ASKING);
        session.printer.remark(&format!("  {more}"));
    }
    session.confirm(yes, &target.name).await
}

/// Tells how a restore ended.
fn conclude(
    outcome: &RestoreOutcome,
    took: std::time::Duration,
    session: &Session,
) -> Result<Exit, Failure> {
    let RestoreOutcome {
        restore,
        counts,
        results: _,
    } = outcome;
    let name = &restore.metadata.name;
    let status = &restore.status;
    let (errors, warnings) = (status.errors.unsigned_abs(), status.warnings.unsigned_abs());
    let describe = format!("salvor restore describe {name}");
    match &status.phase {
        RestorePhase::Completed => {
            let counted: Vec<String> = counts
                .iter()
                .map(|(done, count)| format!("{count} {}", done.as_str()))
                .collect();
            let took = elapsed(took);
            let line = if counted.is_empty() {
                session.messages.restore_changed_nothing(name, &took)
            } else {
                session
                    .messages
                    .restore_completed(name, &counted.join(", "), &took)
            };
            session.printer.result(&format!("{line}\n"))?;
            if warnings > 0 {
                let note = session.messages.has_warnings(warnings, &describe);
                session.printer.note(&note);
            }
            Ok(Exit::Done)
        }
        RestorePhase::PartiallyFailed => {
            let line = session.messages.restore_partial(name, errors, warnings);
            session.printer.result(&format!("{line}\n"))?;
            session.printer.note(&session.messages.see(&describe));
            Ok(Exit::Partial)
        }
        RestorePhase::Cancelled | RestorePhase::InProgress => Err(Failure::new(
            Exit::Cancelled,
            session.messages.restore_cancelled(name),
        )),
        other => {
            let reason = if status.failure_reason.is_empty() {
                other.to_string()
            } else {
                status.failure_reason.clone()
            };
            Err(
                Failure::new(Exit::Internal, format!("restore `{name}` failed: {reason}"))
                    .hint(session.messages.see(&describe)),
            )
        }
    }
}

async fn choose_of_schedule(
    restore: &mut Restore,
    allow_partially_failed: bool,
    place: &Place,
    session: &Session,
) -> Result<(), Failure> {
    let schedule = std::mem::take(&mut restore.spec.schedule_name);
    let backups = place.trusted_backups(&schedule, session).await?;
    let Some(newest) = newest_of_schedule(&backups, &schedule, allow_partially_failed) else {
        return Err(Failure::new(
            Exit::NotFound,
            format!("{place} has no completed backup of schedule `{schedule}`"),
        )
        .hint("--allow-partially-failed also takes partially failed ones"));
    };
    restore.spec.backup_name.clone_from(&newest.metadata.name);
    Ok(())
}

/// The resource modifiers in a file.
fn modifiers_in(path: &Path) -> Result<Modifiers, Failure> {
    let doing = format!("read the resource modifiers in {}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::caused(Exit::Usage, doing.clone(), error))?;
    Modifiers::parse(&text).map_err(|error| Failure::caused(Exit::Usage, doing, error))
}

/// The restore that the flags ask for.
fn requested(args: &CreateArgs, session: &Session) -> Result<Restore, Failure> {
    let source = args
        .from_backup
        .as_ref()
        .or(args.from_schedule.as_ref())
        .ok_or_else(|| Failure::usage("a restore needs --from-backup or --from-schedule"))?;
    let started = Time::new(session.now());
    let name = match &args.name {
        Some(name) => name.clone(),
        None => format!("{source}-{}", started.compact()),
    };
    let name = read::restore_name(&name)?;
    let mut restore = Restore::named(session.namespace(), name.as_str());
    restore.metadata.creation_timestamp = Some(started);
    restore.metadata.labels = args.filters.label_map().map_err(Failure::usage)?;
    restore.metadata.annotations = args.filters.annotation_map().map_err(Failure::usage)?;
    args.limits.annotate(&mut restore.metadata.annotations);
    restore.spec = spec(args)?;
    Ok(restore)
}

fn spec(args: &CreateArgs) -> Result<RestoreSpec, Failure> {
    let filters = &args.filters;
    let VolumeArgs {
        restore_volumes,
        write_sparse_files,
        parallel_files_download,
    } = &args.volumes;
    let mut uploader = serde_json::Map::new();
    if let Some(sparse) = write_sparse_files {
        uploader.insert("writeSparseFiles".into(), json!(sparse));
    }
    if let Some(parallel) = parallel_files_download {
        uploader.insert("parallelFilesDownload".into(), json!(parallel));
    }
    let status = RestoreStatusSpec {
        included_resources: args.status_include_resources.clone(),
        excluded_resources: args.status_exclude_resources.clone(),
    };
    let policy = match args.existing_resource_policy {
        None => "",
        Some(ExistingPolicy::None) => "none",
        Some(ExistingPolicy::Update) => "update",
        Some(ExistingPolicy::Recreate) => "recreate",
    };
    let mappings = args.namespace_mappings.as_deref().unwrap_or_default();
    Ok(RestoreSpec {
        backup_name: args.from_backup.clone().unwrap_or_default(),
        schedule_name: args.from_schedule.clone().unwrap_or_default(),
        included_namespaces: filters.include_namespaces.clone(),
        excluded_namespaces: filters.exclude_namespaces.clone(),
        included_resources: filters.include_resources.clone(),
        excluded_resources: filters.exclude_resources.clone(),
        namespace_mapping: values::mappings(mappings)
            .map_err(|error| Failure::usage(format!("--namespace-mappings: {error}")))?,
        label_selector: filters.selector.clone(),
        or_label_selectors: filters.or_selectors().map_err(Failure::usage)?,
        restore_pvs: *restore_volumes,
        restore_status: (status != RestoreStatusSpec::default()).then_some(status),
        preserve_node_ports: args.preserve_nodeports,
        include_cluster_resources: filters.include_cluster_resources,
        hooks: Hooks::default(),
        existing_resource_policy: policy.to_owned(),
        item_operation_timeout: args.item_operation_timeout,
        resource_modifier: args
            .resource_modifier_configmap
            .as_deref()
            .map(values::config_map),
        uploader_config: (!uploader.is_empty()).then_some(uploader.into()),
        resource_policy: args
            .resource_policies_configmap
            .as_deref()
            .map(values::config_map),
        skip_default_resource_modifier: None,
    })
}
