//! One restore, from the moment when its turn comes, or comes again.

use std::collections::BTreeSet;
use std::time::Duration;

use salvor_api::labels;
use salvor_api::limits::TransferLimits;
use salvor_api::name::{BackupName, RestoreName};
use salvor_api::resource_policy::Use;
use salvor_api::validate::{self, ConfigMapFound, RestoreFacts};
use salvor_api::velero::{Restore, RestorePhase};
use salvor_location::{Location, RunId};
use salvor_objects::policy;
use salvor_objects::restore::error::Cause;
use salvor_objects::restore::request::newest_of_schedule;
use salvor_objects::restore::settings::find_modifiers;
use salvor_objects::restore::{
    self, Observer, Progress, RestoreError, RestoreOptions, RestoreOutcome, RestoreRequest, Source,
};
use salvor_storage::ErrorKind;
use tokio::sync::watch;

use super::{CANCELLED, finalize};
use crate::authorize::{Warrant, resealed};
use crate::backup::modify;
use crate::context::{Context, chain, owned};
use crate::copy::damaged_of;
use crate::events::EventType;
use crate::kinds::KindError;
use crate::runs::{Handle, Stop};

/// How a turn of a restore ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is done, one way or the other.
    Done,
    /// Something does not answer, or another run still has its claim: go on later.
    Interrupted,
}

/// Carries the restore out and writes what came of it. `last` counts an interruption and tells whether it was
/// the last that is waited out.
pub(super) async fn run(
    context: &Context,
    name: &str,
    handle: &Handle,
    last: impl Fn(&str) -> bool,
) -> Ended {
    let end = match attempt(context, name, handle).await {
        Ok(end) => end,
        Err(error) => End::Interrupted(chain(&error)),
    };
    let end = match end {
        End::Nothing => return Ended::Done,
        End::Interrupted(reason) if last(name) => End::Failed(format!(
            "{reason}; given up after many attempts: `salvor restore create {name} --resume` goes on with it"
        )),
        End::Interrupted(reason) => {
            tracing::warn!(restore = name, %reason, "the restore is interrupted");
            if let Some(restore) = context.restores.get(name) {
                context.metrics.counts().restore_interrupted(&restore);
                let message = format!("{reason}; it goes on by itself");
                context
                    .events
                    .record(&*restore, EventType::Warning, "Interrupted", message);
            }
            return Ended::Interrupted;
        }
        end => end,
    };
    match write_end(context, name, end).await {
        Ok(()) => Ended::Done,
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, restore = name, "the result was not written");
            Ended::Interrupted
        }
    }
}

enum End {
    /// It was carried out; with its result, as the location has it too.
    Restored(Box<Restore>),
    Refused(Vec<String>),
    Failed(String),
    Interrupted(String),
    /// There is nothing to write: it is gone or settled, or left to whoever leads next.
    Nothing,
}

async fn attempt(context: &Context, name: &str, handle: &Handle) -> Result<End, KindError> {
    let kinds = context.kinds::<Restore>();
    let Some(restore) = kinds.get(name).await? else {
        return Ok(End::Nothing);
    };
    if restore.metadata.deletion_timestamp.is_some() {
        return Ok(End::Nothing);
    }
    let resume = match restore.status.phase {
        ref phase if phase.is_under_way() => true,
        RestorePhase::Unset | RestorePhase::New => false,
        _ => return Ok(End::Nothing),
    };
    let warrant = match context.authorizer.warrant(&restore).await {
        Ok(warrant) => warrant,
        Err(unknown) => return Ok(End::Refused(vec![unknown])),
    };
    let named = match find_named(context, &restore, resume).await {
        Ok(named) => named,
        Err(error) => return Ok(End::Interrupted(chain(&error))),
    };
    let damaged = match restore.spec.backup_name.as_str() {
        "" => damaged_of(context, &restore.spec.schedule_name).await,
        _ => BTreeSet::new(),
    };
    let (backup, storage) = match choose(context, &restore, named, &damaged, resume) {
        Ok(chosen) => chosen,
        Err(errors) if resume => return Ok(End::Failed(errors.join("; "))),
        Err(errors) => return Ok(End::Refused(errors)),
    };
    // What a restore that has begun is told later, and cannot be read, does not stop it.
    let limits = TransferLimits::of(&restore.metadata.annotations).unwrap_or_default();
    let location = match context.location(&storage).await {
        Ok(location) => location.limited(&limits),
        Err(error) if resume => return Ok(End::Interrupted(chain(&error))),
        Err(error) => return Ok(End::Refused(vec![chain(&error)])),
    };
    if resume && let Some(done) = finished(&location, &restore).await {
        return Ok(End::Restored(Box::new(done)));
    }
    let run = RunId::generate();
    let key = context.authorizer.key().await;
    let begun = modify(&kinds, name, |restore: &mut Restore| {
        let begun = restore.status.phase.is_under_way();
        let open =
            (begun || super::is_new(restore)) && restore.metadata.deletion_timestamp.is_none();
        resealed(key.as_ref(), restore, |restore| {
            restore.spec.backup_name = backup.to_string();
        });
        finalize::keep_until_deleted(restore);
        restore
            .metadata
            .annotations
            .insert(labels::RUN_ID.to_owned(), run.to_string());
        // One that was gone on with may have been at its hooks.
        if !begun {
            restore.status.phase = RestorePhase::InProgress;
        }
        restore
            .status
            .start_timestamp
            .get_or_insert_with(|| context.now());
        open
    })
    .await?;
    let Some(restore) = begun else {
        return Ok(End::Nothing);
    };
    tracing::info!(restore = name, %run, resume, "restore begins");
    if !resume {
        tell(context, &restore);
    }
    let mut chosen = restore;
    // The engine is told one backup; the object keeps saying which schedule it was chosen of.
    chosen.spec.schedule_name.clear();
    let job = Job {
        context: context.clone(),
        location,
        restore: chosen,
        backup,
        run,
        resume,
        warrant,
    };
    Ok(match carry_out(job, handle).await {
        Ok(outcome) => match (outcome.phase(), handle.stopped()) {
            // Stopped because the server ends: the next leader goes on.
            (RestorePhase::Cancelled | RestorePhase::InProgress, Some(Stop::Leaving)) => {
                End::Nothing
            }
            (RestorePhase::InProgress, _) => End::Interrupted("it is not finished".to_owned()),
            _ => End::Restored(Box::new(outcome.restore)),
        },
        Err(error) => ended_by(&error, handle),
    })
}

/// The restore with its result, when a server ended after it was stored and before its object said so. A
/// location that cannot be read now says so when the restore is gone on with.
async fn finished(location: &Location, restore: &Restore) -> Option<Restore> {
    let name = RestoreName::new(restore.metadata.name.as_str()).ok()?;
    let record = location.restore(&name).await.ok()?;
    let ours = record.restore.metadata.uid == restore.metadata.uid;
    (record.finished && ours).then_some(record.restore)
}

/// What became of the ConfigMaps that a restore names. One that has begun has them in its plan.
async fn find_named(
    context: &Context,
    restore: &Restore,
    begun: bool,
) -> Result<Named, salvor_cluster::Error> {
    if begun {
        return Ok(Named::default());
    }
    let (modifiers, _) = find_modifiers(&context.cluster, restore).await?;
    let policies = policy::find(
        &context.cluster,
        &context.options.namespace,
        restore.spec.resource_policy.as_ref(),
        Use::Restore,
    );
    Ok(Named {
        modifiers,
        policies: policies.await?.state,
    })
}

/// What became of the ConfigMaps that a restore names.
#[derive(Default)]
struct Named {
    modifiers: ConfigMapFound,
    policies: ConfigMapFound,
}

/// The backup that is restored, and the location that holds it; or everything that is wrong with the restore. The
/// latest of a schedule is the latest that is not `damaged`.
/// One that has begun was found good before.
fn choose(
    context: &Context,
    restore: &Restore,
    named: Named,
    damaged: &BTreeSet<String>,
    begun: bool,
) -> Result<(BackupName, String), Vec<String>> {
    let spec = &restore.spec;
    let backups = context.backups.list();
    let all = || backups.iter().map(|backup| &**backup);
    let chosen = match spec.backup_name.as_str() {
        "" => {
            let trusted = all().filter(|backup| !damaged.contains(&backup.metadata.name));
            newest_of_schedule(trusted, &spec.schedule_name, false)
        }
        name => all().find(|backup| backup.metadata.name == name),
    };
    let facts = RestoreFacts {
        backup: chosen,
        locations: &owned(&context.storage_locations),
        resource_modifier: named.modifiers,
        resource_policy: named.policies,
    };
    let errors = match begun {
        true => Vec::new(),
        false => validate::restore(restore, &facts),
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    let missing = || vec![format!("backup {} does not exist", spec.backup_name)];
    let chosen = chosen.ok_or_else(missing)?;
    let name =
        BackupName::new(chosen.metadata.name.as_str()).map_err(|error| vec![error.to_string()])?;
    Ok((name, chosen.spec.storage_location.clone()))
}

struct Job {
    context: Context,
    location: Location,
    restore: Restore,
    backup: BackupName,
    run: RunId,
    resume: bool,
    warrant: Warrant,
}

async fn carry_out(job: Job, handle: &Handle) -> Result<RestoreOutcome, RestoreError> {
    let (sender, mut receiver) = watch::channel(Progress::default());
    let observer = Observer::new(move |progress| {
        sender.send_replace(progress);
    });
    let (context, name) = (job.context.clone(), job.restore.metadata.name.clone());
    let cancel = handle.cancel.clone();
    let mut work = tokio::spawn(async move { restore(job, &observer, &cancel).await });
    let mut shown = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                return done.unwrap_or_else(|error| Err(RestoreError::task(error)));
            }
            _ = shown.tick() => {
                let progress = match receiver.has_changed() {
                    Ok(true) => *receiver.borrow_and_update(),
                    _ => continue,
                };
                show(&context, &name, &progress).await;
            }
        }
    }
}

async fn restore(
    job: Job,
    observer: &Observer,
    cancel: &tokio_util::sync::CancellationToken,
) -> Result<RestoreOutcome, RestoreError> {
    let Job {
        context,
        location,
        restore,
        backup,
        run,
        resume,
        warrant,
    } = job;
    let options = RestoreOptions {
        resource_timeout: context.options.resource_timeout,
        actions: context.options.actions.clone(),
        approval: warrant.approval(),
        data_mover: context.data_mover().await,
        snapshotters: context.snapshotters().await,
        data_location: location.name().to_owned(),
        data_timeout: context.options.volume_timeout,
        ..RestoreOptions::default()
    };
    if resume && let Ok(name) = RestoreName::new(restore.metadata.name.as_str()) {
        let resumed = restore::resume(
            &context.cluster,
            &location,
            &name,
            options.clone(),
            &run,
            observer,
            cancel,
        );
        match Box::pin(resumed).await {
            // It was interrupted before it had changed anything.
            Err(error) if is_unknown(&error) => {}
            ended => return ended,
        }
    }
    let request = RestoreRequest {
        cluster: context.cluster.clone(),
        source: Source::open(&location, &backup).await?,
        restore,
        options,
    };
    let plan = Box::pin(restore::plan(&request, cancel)).await?;
    let applied = restore::apply(&request, &location, plan, &run, observer, cancel);
    Box::pin(applied).await
}

/// True when the location has nothing of the restore.
fn is_unknown(error: &RestoreError) -> bool {
    use salvor_location::Error::RestoreNotFound;
    matches!(error.cause(), Cause::Location(RestoreNotFound { .. }))
}

async fn show(context: &Context, name: &str, progress: &Progress) {
    let kinds = context.kinds();
    let written = modify(&kinds, name, |restore: &mut Restore| {
        let shown = restore.status.progress.get_or_insert_default();
        shown.items_restored = i64::try_from(progress.done).unwrap_or(i64::MAX);
        shown.total_items = i64::try_from(progress.total).unwrap_or(i64::MAX);
        let open = restore.status.phase.is_under_way();
        if open && progress.finalizing {
            restore.status.phase = match progress.errors {
                0 => RestorePhase::Finalizing,
                _ => RestorePhase::FinalizingPartiallyFailed,
            };
        }
        open
    });
    if let Err(error) = written.await {
        let error = &error as &dyn std::error::Error;
        tracing::debug!(error, restore = name, "the progress was not written");
    }
}

fn ended_by(error: &RestoreError, handle: &Handle) -> End {
    if !error.validation_errors().is_empty() {
        return End::Refused(error.validation_errors().to_vec());
    }
    let frozen = |error: &salvor_storage::Error| error.kind == ErrorKind::Frozen;
    match handle.stopped() {
        Some(Stop::Leaving) => End::Nothing,
        // It takes hours, and somebody must ask for it.
        _ if salvor_storage::Error::among(error).is_some_and(frozen) => {
            End::Failed(with_advice(error))
        }
        Some(Stop::Asked) if error.is_cancelled() => End::Failed(CANCELLED.to_owned()),
        _ if error.is_retryable() => End::Interrupted(chain(error)),
        _ => End::Failed(with_advice(error)),
    }
}

/// The error with what to do about it, where a store says that.
fn with_advice(error: &RestoreError) -> String {
    match salvor_storage::Error::among(error).map(salvor_storage::Error::advice) {
        Some(advice) if !advice.is_empty() => format!("{}; {advice}", chain(error)),
        _ => chain(error),
    }
}

async fn write_end(context: &Context, name: &str, end: End) -> Result<(), KindError> {
    let written = modify(&context.kinds(), name, |restore: &mut Restore| {
        let open = restore.status.phase.is_under_way() || super::is_new(restore);
        match &end {
            End::Restored(done) => {
                let started = restore.status.start_timestamp;
                restore.status = done.status.clone();
                restore.status.start_timestamp = started.or(restore.status.start_timestamp);
                if restore.status.phase == RestorePhase::Cancelled {
                    CANCELLED.clone_into(&mut restore.status.failure_reason);
                }
                let phase = std::mem::take(&mut restore.status.phase);
                restore.status.phase = phase.in_cluster();
            }
            End::Refused(errors) => {
                restore.status.phase = RestorePhase::FailedValidation;
                restore.status.validation_errors.clone_from(errors);
            }
            End::Failed(reason) => fail(restore, reason.clone(), context),
            End::Interrupted(_) | End::Nothing => return false,
        }
        open
    })
    .await?;
    if let Some(restore) = written {
        tracing::info!(restore = name, phase = %restore.status.phase, "restore ends");
        tell(context, &restore);
    }
    Ok(())
}

/// Marks a restore as failed.
pub(super) fn fail(restore: &mut Restore, reason: String, context: &Context) {
    let status = &mut restore.status;
    status.phase = RestorePhase::Failed;
    status.failure_reason = reason;
    status.completion_timestamp = Some(context.now());
}

/// Tells of a new phase by an event, and counts it.
pub(super) fn tell(context: &Context, restore: &Restore) {
    context.metrics.counts().restore(restore);
    let status = &restore.status;
    let counts = || {
        let items = status.progress.as_ref().map_or(0, |p| p.items_restored);
        format!(
            "{items} objects, {} errors, {} warnings",
            status.errors, status.warnings
        )
    };
    let (kind, reason, message) = match status.phase {
        RestorePhase::InProgress => (
            EventType::Normal,
            "Started",
            format!("restoring backup `{}`", restore.spec.backup_name),
        ),
        RestorePhase::Completed => (EventType::Normal, "Completed", counts()),
        RestorePhase::PartiallyFailed => (EventType::Warning, "PartiallyFailed", counts()),
        RestorePhase::FailedValidation => (
            EventType::Warning,
            "FailedValidation",
            status.validation_errors.join("; "),
        ),
        _ => (EventType::Warning, "Failed", status.failure_reason.clone()),
    };
    context.events.record(restore, kind, reason, message);
}
