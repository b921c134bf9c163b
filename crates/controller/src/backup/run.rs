//! One backup, from the moment when its turn comes.

use std::error::Error as _;
use std::time::Duration;

use salvor_api::go::GoDuration;
use salvor_api::labels;
use salvor_api::limits::TransferLimits;
use salvor_api::meta::{ObjectMeta, TypedLocalObjectReference};
use salvor_api::resource_policy::{ResourcePolicies, Use};
use salvor_api::retention::policy_for;
use salvor_api::validate::{self, BackupFacts, ConfigMapFound};
use salvor_api::velero::{self, Backup, BackupPhase, Kind as _, Schedule};
use salvor_location::{Location, RunId};
use salvor_objects::backup::{
    BackupError, BackupOptions, BackupOutcome, BackupProgress, BackupRequest, ProgressSink,
    run as make,
};
use salvor_objects::policy;
use salvor_objects::rights::Right;
use tokio::sync::watch;

use super::{CANCELLED, committed, event_of, hooks, modify};
use crate::authorize::{Warrant, resealed};
use crate::context::{Context, chain, owned};
use crate::kinds::KindError;
use crate::runs::{Handle, Stop};
use crate::snapshotters;

/// Times that the result of a run is written before it is left to whoever looks next.
const WRITES: u32 = 10;
const PAUSE: Duration = Duration::from_secs(3);

/// Makes the backup and writes what came of it. False when it could not even begin: it is tried again.
pub(super) async fn run(context: &Context, backup: Backup, handle: &Handle) -> bool {
    let name = backup.metadata.name.clone();
    let began = match begin(context, backup).await {
        Ok(began) => began,
        Err(error) => {
            // It stays ready to start.
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, backup = %name, "the backup did not begin");
            return false;
        }
    };
    let Some(begun) = began else {
        return true;
    };
    let (backup, run) = (begun.backup.clone(), begun.run.clone());
    tracing::info!(backup = %name, %run, "backup begins");
    let result = engine(context, begun, handle).await;
    let end = match result {
        Ok(outcome) => End::Outcome(Box::new(outcome)),
        Err(error) => match ended_by(context, &backup, &error, handle).await {
            Some(end) => end,
            // Whoever leads next settles it.
            None => return true,
        },
    };
    write_end(context, &name, &run, &end).await;
    true
}

struct Begun {
    backup: Backup,
    location: Location,
    policies: ResourcePolicies,
    warrant: Warrant,
    run: RunId,
}

enum End {
    Outcome(Box<BackupOutcome>),
    /// Committed, as the location's record says.
    Committed(Box<Backup>),
    Failed(String),
}

/// Checks what can be checked before, and writes that the backup is in progress. `None` when it does not
/// begin: it is refused, or no longer ready.
async fn begin(context: &Context, backup: Backup) -> Result<Option<Begun>, KindError> {
    let kinds = context.kinds::<Backup>();
    let opened = check_and_open(context, &backup).await;
    let run = RunId::generate();
    let name = backup.metadata.name.clone();
    let Opened {
        snapshots,
        storage,
        location,
        policies,
        warrant,
    } = match opened {
        Ok(opened) => opened,
        Err(errors) => {
            let refused = modify(&kinds, &name, |backup: &mut Backup| {
                let ready = backup.status.phase == BackupPhase::ReadyToStart;
                backup.status.phase = BackupPhase::FailedValidation;
                backup.status.validation_errors.clone_from(&errors);
                ready
            })
            .await?;
            if let Some(backup) = refused {
                tell(context, &backup);
            }
            return Ok(None);
        }
    };
    let key = context.authorizer.key().await;
    let begun = modify(&kinds, &name, |backup: &mut Backup| {
        let ready = backup.status.phase == BackupPhase::ReadyToStart;
        let now = context.now();
        resealed(key.as_ref(), backup, |backup| {
            backup.spec.storage_location.clone_from(&storage);
            let locations = &mut backup.spec.volume_snapshot_locations;
            locations.clone_from(&snapshots);
            if context.options.default_volumes_to_fs_backup
                && backup.spec.default_volumes_to_restic.is_none()
            {
                backup.spec.default_volumes_to_fs_backup.get_or_insert(true);
            }
            if backup.spec.ttl.is_zero() {
                backup.spec.ttl = GoDuration(context.options.default_ttl);
            }
        });
        let metadata = &mut backup.metadata;
        metadata.labels.insert(
            labels::STORAGE_LOCATION.to_owned(),
            labels::label_value(&storage),
        );
        metadata
            .annotations
            .insert(labels::RUN_ID.to_owned(), run.to_string());
        let global = &context.options.global_volume_policy;
        if !global.is_empty() {
            metadata
                .annotations
                .insert(labels::GLOBAL_VOLUME_POLICY.to_owned(), global.clone());
        }
        let governed = is_governed(&backup.metadata, &storage);
        let expiration = (!governed).then(|| now.plus(backup.spec.ttl.0));
        let status = &mut backup.status;
        status.version = velero::BACKUP_VERSION;
        velero::FORMAT_VERSION.clone_into(&mut status.format_version);
        status.phase = BackupPhase::InProgress;
        status.queue_position = 0;
        status.start_timestamp = Some(now);
        status.expiration = expiration;
        ready
    })
    .await?;
    Ok(begun.map(|backup| {
        tell(context, &backup);
        Begun {
            backup,
            location,
            policies,
            warrant,
            run,
        }
    }))
}

/// What a backup that may begin works with.
struct Opened {
    /// Names of its snapshot locations.
    snapshots: Vec<String>,
    /// Name of its location.
    storage: String,
    location: Location,
    policies: ResourcePolicies,
    warrant: Warrant,
}

/// What the backup works with, or everything that is wrong with it.
async fn check_and_open(context: &Context, backup: &Backup) -> Result<Opened, Vec<String>> {
    let warrant = context.authorizer.warrant(backup).await;
    let warrant = warrant.map_err(|unknown| vec![unknown])?;
    if backup.metadata.labels.contains_key(labels::SCHEDULE_NAME) {
        // What counts among a schedule's decides what is kept of it.
        let namespace = Some(context.options.namespace.as_str());
        let rights = [Right::new("create", &Schedule::group_resource(), namespace)];
        let objections = warrant.objections(rights.into()).await;
        let objections = objections.map_err(|error| vec![chain(&error)])?;
        if !objections.is_empty() {
            return Err(objections);
        }
    }
    let locations = owned(&context.storage_locations);
    let default_location = context.options.default_location.as_str();
    let found = policy::find(
        &context.cluster,
        &context.options.namespace,
        backup.spec.resource_policy.as_ref(),
        Use::Backup,
    );
    let mut found = found.await.map_err(|error| vec![chain(&error)])?;
    add_global_policies(context, &mut found).await?;
    let snapshot_locations = owned(&context.snapshot_locations);
    let facts = BackupFacts {
        locations: &locations,
        default_location,
        snapshot_locations: &snapshot_locations,
        default_snapshot_locations: context.options.default_snapshot_locations.clone(),
        policy_filters_resources: found.policies.filter_resources(),
        resource_policy: found.state,
    };
    let errors = validate::backup(backup, &facts);
    if !errors.is_empty() {
        return Err(errors);
    }
    let limits = TransferLimits::of(&backup.metadata.annotations).map_err(|error| vec![error])?;
    let chosen =
        validate::choose_location(&backup.spec.storage_location, &locations, default_location);
    let storage = chosen.map_err(|error| vec![error])?.metadata.name.clone();
    let snapshots = snapshotters::chosen(context, backup, &snapshot_locations)?;
    match context.location(&storage).await {
        Ok(location) => Ok(Opened {
            snapshots,
            storage,
            location: location.limited(&limits),
            policies: found.policies,
            warrant,
        }),
        Err(error) => Err(vec![chain(&error)]),
    }
}

/// Adds the server's own volume policies behind those of a backup. Where they cannot be had, the backup is refused: it
/// would treat volumes otherwise than the server was told to.
async fn add_global_policies(
    context: &Context,
    found: &mut policy::Found,
) -> Result<(), Vec<String>> {
    let name = context.options.global_volume_policy.as_str();
    if name.is_empty() {
        return Ok(());
    }
    let wrong = |reason: String| {
        vec![format!(
            "the server's volume policies, ConfigMap {name}: {reason}"
        )]
    };
    let reference = TypedLocalObjectReference {
        api_group: None,
        kind: "configmap".to_owned(),
        name: name.to_owned(),
    };
    let namespace = &context.options.namespace;
    let global = policy::find(&context.cluster, namespace, Some(&reference), Use::Backup).await;
    let global = global.map_err(|error| wrong(chain(&error)))?;
    match global.state {
        ConfigMapFound::Missing => return Err(wrong("it does not exist".to_owned())),
        ConfigMapFound::Broken { reason } => return Err(wrong(reason)),
        _ => {}
    }
    if global.policies.filter_resources() {
        let reason = "it may hold volumePolicies only: which resources are taken, each backup says";
        return Err(wrong(reason.to_owned()));
    }
    found
        .policies
        .volume_policies
        .extend(global.policies.volume_policies);
    Ok(())
}

/// True when a policy of its schedule decides how long a backup is kept: it carries no expiration, which a Velero
/// on the same bucket would follow. A policy that cannot be read removes nothing either.
fn is_governed(metadata: &ObjectMeta, storage: &str) -> bool {
    metadata.labels.contains_key(labels::SCHEDULE_NAME)
        && !matches!(policy_for(&metadata.annotations, storage), Ok(None))
}

async fn engine(
    context: &Context,
    begun: Begun,
    handle: &Handle,
) -> Result<BackupOutcome, BackupError> {
    let Begun {
        backup,
        location,
        policies,
        warrant,
        run,
    } = begun;
    let name = backup.metadata.name.clone();
    let snapshotters = context.snapshotters_of(&backup).await;
    let (sender, mut receiver) = watch::channel(BackupProgress::default());
    let sink = ProgressSink::new(move |progress| {
        sender.send_replace(progress);
    });
    let request = BackupRequest {
        cluster: context.cluster.clone(),
        location,
        backup,
        options: BackupOptions {
            open_hooks: hooks::keep(context, &name, &run),
            run,
            // As they were checked.
            policies: Some(policies),
            approval: warrant.approval(),
            actions: context.options.actions.clone(),
            data_mover: context.data_mover().await,
            snapshotters,
            volume_timeout: context.options.volume_timeout,
            cancel: handle.cancel.clone(),
            ..BackupOptions::default()
        },
    };
    let mut making = tokio::spawn(make(request, sink));
    loop {
        tokio::select! {
            biased;
            made = &mut making => {
                return match made {
                    Ok(made) => made,
                    Err(source) => Err(BackupError::Task { source }),
                };
            }
            Ok(()) = receiver.changed() => {
                let progress = receiver.borrow_and_update().clone();
                show(context, &name, &progress).await;
            }
        }
    }
}

/// Writes how far it is. That this fails does no harm: the next one comes in a second.
async fn show(context: &Context, name: &str, progress: &BackupProgress) {
    let kinds = context.kinds();
    let written = modify(&kinds, name, |backup: &mut Backup| {
        let shown = backup.status.progress.get_or_insert_default();
        shown.items_backed_up = i64::try_from(progress.items).unwrap_or(i64::MAX);
        let expected = progress.items_expected.max(progress.items);
        shown.total_items = i64::try_from(expected).unwrap_or(i64::MAX);
        backup.status.phase == BackupPhase::InProgress
    });
    if let Err(error) = written.await {
        let error = &error as &dyn std::error::Error;
        tracing::debug!(error, backup = name, "the progress was not written");
    }
}

/// What an error of the engine means for the backup; `None` when that cannot be said now.
async fn ended_by(
    context: &Context,
    backup: &Backup,
    error: &BackupError,
    handle: &Handle,
) -> Option<End> {
    if error.may_have_happened() {
        match committed(context, backup).await {
            Ok(Some(record)) => return Some(End::Committed(Box::new(record))),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    if error.is_cancelled() {
        let reason = match handle.stopped() {
            Some(Stop::Asked) => CANCELLED,
            _ => {
                "the server was stopped while the backup was made; nothing was committed, make it again"
            }
        };
        return Some(End::Failed(reason.to_owned()));
    }
    let advice = error
        .source()
        .and_then(|source| source.downcast_ref::<salvor_location::Error>())
        .map_or("", salvor_location::Error::advice);
    let mut reason = chain(error);
    if !advice.is_empty() {
        reason.push_str("; ");
        reason.push_str(advice);
    }
    Some(End::Failed(reason))
}

async fn write_end(context: &Context, name: &str, run: &RunId, end: &End) {
    let kinds = context.kinds::<Backup>();
    for _ in 0..WRITES {
        let written = modify(&kinds, name, |backup: &mut Backup| {
            let by = backup.metadata.annotations.get(labels::RUN_ID);
            // Another leader may have settled it, or it was deleted and made anew under the name.
            let ours = backup.status.phase == BackupPhase::InProgress
                && by.is_some_and(|by| by == run.as_str());
            backup.metadata.annotations.remove(labels::OPEN_HOOKS);
            match end {
                End::Outcome(outcome) => adopt(backup, &outcome.backup),
                End::Committed(record) => adopt(backup, record),
                End::Failed(reason) => fail(backup, reason.clone(), context),
            }
            ours
        })
        .await;
        match written {
            Ok(Some(backup)) => {
                tracing::info!(backup = name, %run, phase = %backup.status.phase, "backup ends");
                if let End::Outcome(outcome) = end {
                    let bytes = outcome.stats.archive_bytes;
                    context.metrics.counts().archive(&backup, bytes);
                }
                tell(context, &backup);
                return;
            }
            Ok(None) => return,
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, backup = name, %run, "the result was not written");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Takes over what a run made of the backup: spec with its defaults, stamps, status.
pub(super) fn adopt(backup: &mut Backup, made: &Backup) {
    backup.spec = made.spec.clone();
    let (ours, theirs) = (&mut backup.metadata, &made.metadata);
    for (key, value) in &theirs.labels {
        ours.labels.insert(key.clone(), value.clone());
    }
    for (key, value) in &theirs.annotations {
        ours.annotations.insert(key.clone(), value.clone());
    }
    backup.status = made.status.clone();
}

/// Marks a backup as failed.
pub(super) fn fail(backup: &mut Backup, reason: String, context: &Context) {
    let status = &mut backup.status;
    status.phase = BackupPhase::Failed;
    status.failure_reason = reason;
    status.queue_position = 0;
    status.completion_timestamp = Some(context.now());
}

/// Tells of a new phase by an event, and counts it.
pub(super) fn tell(context: &Context, backup: &Backup) {
    context.metrics.counts().backup(backup);
    let status = &backup.status;
    let (kind, reason) = event_of(&status.phase);
    let message = match status.phase {
        BackupPhase::InProgress => {
            format!("backing up to location `{}`", backup.spec.storage_location)
        }
        BackupPhase::FailedValidation => status.validation_errors.join("; "),
        BackupPhase::Failed => status.failure_reason.clone(),
        _ => {
            let items = status.progress.as_ref().map_or(0, |p| p.items_backed_up);
            format!(
                "{items} objects, {} errors, {} warnings",
                status.errors, status.warnings
            )
        }
    };
    context.events.record(backup, kind, reason, message);
}
