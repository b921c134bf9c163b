//! Carrying a plan out: stage after stage, many objects at once, and to be resumed after any interruption.
//!
//! Commit points: the plan is stored, create-only, before the first change; each finished object is a line
//! of the journal, written every [`JOURNAL_LINES`] objects or [`JOURNAL_PAUSE`]; the record of the restore is
//! written last. What happened between a change and its journal line is found out by looking: an object
//! with the label of this restore was made by it.
//!
//! An object that fails for a reason that may pass (a missing kind or namespace, an admission webhook, a
//! quota, a busy server) waits in the deferred queue. The queue is tried after every stage for as long as it
//! shrinks, and at the end with growing pauses until the resource timeout.

mod claims;
mod data;
mod deferred;
mod fill;
mod hooks;
mod item;
pub mod journal;
mod native;
mod ports;
mod record;
mod relink;
mod snapshot;
mod stages;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use salvor_api::name::{BackupName, RestoreName};
use salvor_api::velero::{Restore, RestorePhase};
use salvor_cluster::Cluster;
use salvor_location::{Location, RestoreWriter, RunId};
use tokio_util::sync::CancellationToken;

use super::error::{Cause, Doing as _, RestoreError};
use super::order::Stage;
use super::plan::RestorePlan;
use super::planner;
use super::request::{RestoreOptions, RestoreRequest};
use super::settings::find_actions;
use super::source::Source;
use crate::rights::of_restore;

pub use journal::Done;
pub use stages::{JOURNAL_LINES, JOURNAL_PAUSE};

/// Longest stored plan that is read, in compressed bytes.
const PLAN_LIMIT: u64 = 256 << 20;

/// How far a restore is; told after every object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The stage at work.
    pub stage: Option<Stage>,
    /// Objects that the plan changes.
    pub total: u64,
    /// Objects that are done, whatever became of them.
    pub done: u64,
    /// Objects that wait for something.
    pub waiting: u64,
    /// The objects are done, hooks in restored pods run.
    pub finalizing: bool,
    /// Errors so far.
    pub errors: u64,
}

/// Who is told about progress.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(Progress) + Send + Sync>);

impl Observer {
    /// Calls `tell` after every object.
    pub fn new(tell: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells nobody.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    fn tell(&self, progress: Progress) {
        (self.0)(progress);
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

/// What came of a restore.
#[derive(Clone, Debug)]
pub struct RestoreOutcome {
    /// The restore with its status, as it was recorded. A cancelled one is not recorded and can be
    /// resumed.
    pub restore: Restore,
    /// How many objects each result has.
    pub counts: BTreeMap<Done, u64>,
    /// Warnings and errors, as in the results file.
    pub results: salvor_archive::files::Results,
}

impl RestoreOutcome {
    /// Where the restore stands.
    #[must_use]
    pub fn phase(&self) -> &RestorePhase {
        &self.restore.status.phase
    }
}

/// Carries out a plan: takes the restore's name in the location, stores the plan, changes the target,
/// writes the records. The location is that of the records; the backup is read where the request's source was
/// opened, which may be another one.
///
/// # Errors
/// The name is taken, the plan was made for another cluster or restore, the location fails, or the cluster
/// stops answering. The restore can then be resumed, unless its name was taken.
pub async fn apply(
    request: &RestoreRequest,
    location: &Location,
    plan: RestorePlan,
    run: &RunId,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<RestoreOutcome, RestoreError> {
    let name = &request.restore.metadata.name;
    let doing = || format!("begin restore `{name}`");
    if plan.header.rules.restore != *name
        || plan.header.rules.backup != request.source.name.as_str()
    {
        return Err(RestoreError::refused(
            doing(),
            "the plan was made for another restore or backup",
        ));
    }
    assert_same_cluster(&request.cluster, &plan).await?;
    assert_approved(&request.restore, &request.options, &plan).await?;
    let mut recorded = request.restore.clone();
    request.options.record(&mut recorded);
    let mut writer = location.begin_restore(&recorded, run).await.doing(doing)?;
    if let Err(error) = store_plan(&mut writer, &plan).await {
        writer.suspend().await;
        return Err(error);
    }
    Box::pin(stages::run(
        stages::Job {
            cluster: request.cluster.clone(),
            source: request.source.clone(),
            restore: request.restore.clone(),
            options: request.options.clone(),
            plan,
            run: run.clone(),
            observer: observer.clone(),
            cancel: cancel.clone(),
            location: location.clone(),
        },
        writer,
    ))
    .await
}

/// Goes on with a restore that was killed, cancelled or cut off: its plan and journal say what is left.
/// A restore that ended before its plan was stored has changed nothing; it is planned anew.
///
/// # Errors
/// There is no such restore, it is finished, another run works on it, or as for [`apply`].
pub async fn resume(
    cluster: &Cluster,
    location: &Location,
    name: &RestoreName,
    options: RestoreOptions,
    run: &RunId,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<RestoreOutcome, RestoreError> {
    let places = Places {
        backups: location,
        records: location,
    };
    Box::pin(resume_in(
        cluster, places, name, options, run, observer, cancel,
    ))
    .await
}

/// Where a restore reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// The location of the backup.
    pub backups: &'a Location,
    /// The location of the restore's own records; another one where that of the backup may only be read.
    pub records: &'a Location,
}

/// As [`resume`], with the records of the restore in another location than the backup.
///
/// # Errors
/// As for [`resume`].
pub async fn resume_in(
    cluster: &Cluster,
    places: Places<'_>,
    name: &RestoreName,
    options: RestoreOptions,
    run: &RunId,
    observer: &Observer,
    cancel: &CancellationToken,
) -> Result<RestoreOutcome, RestoreError> {
    let Places {
        backups,
        records: location,
    } = places;
    let doing = || format!("resume restore `{name}`");
    let mut restore = location.restore(name).await.doing(doing)?.restore;
    let options = options
        .take_recorded(&mut restore)
        .map_err(|reason| RestoreError::refused(doing(), reason))?;
    let backup = BackupName::new(restore.spec.backup_name.clone())
        .map_err(|error| RestoreError::refused(doing(), error.to_string()))?;
    let source = if options.skip_damaged {
        Source::open_readable(backups, &backup).await?
    } else {
        Source::open(backups, &backup).await?
    };
    let mut writer = location.resume_restore(name, run).await.doing(doing)?;
    let stored = writer
        .read(salvor_archive::names::SALVOR_PLAN, PLAN_LIMIT)
        .await
        .doing(doing)?;
    let plan = match stored {
        Some(bytes) => {
            planner::blocking(move || {
                RestorePlan::decode(&bytes).doing(|| "read the stored plan".to_owned())
            })
            .await
        }
        None => {
            let request = RestoreRequest {
                cluster: cluster.clone(),
                source: source.clone(),
                restore: restore.clone(),
                options: options.clone(),
            };
            match planner::plan(&request, cancel).await {
                Ok(plan) => store_plan(&mut writer, &plan).await.map(|()| plan),
                Err(error) => Err(error),
            }
        }
    };
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => {
            writer.suspend().await;
            return Err(error);
        }
    };
    let ready = match assert_same_cluster(cluster, &plan).await {
        Ok(()) => with_actions(cluster, &restore, &options, plan).await,
        Err(error) => Err(error),
    };
    let ready = match ready {
        Ok(plan) => {
            let approved = assert_approved(&restore, &options, &plan).await;
            approved.map(|()| plan)
        }
        Err(error) => Err(error),
    };
    let plan = match ready {
        Ok(plan) => plan,
        Err(error) => {
            writer.suspend().await;
            return Err(error);
        }
    };
    Box::pin(stages::run(
        stages::Job {
            cluster: cluster.clone(),
            source,
            restore,
            options,
            plan,
            run: run.clone(),
            observer: observer.clone(),
            cancel: cancel.clone(),
            location: location.clone(),
        },
        writer,
    ))
    .await
}

/// Finds the item actions of a stored plan anew: only their fingerprint is in it.
async fn with_actions(
    cluster: &Cluster,
    restore: &Restore,
    options: &RestoreOptions,
    mut plan: RestorePlan,
) -> Result<RestorePlan, RestoreError> {
    let rules = &mut plan.header.rules;
    if rules.actions_fingerprint.is_empty() {
        return Ok(plan);
    }
    let (actions, _) = find_actions(cluster, restore, &options.actions).await?;
    if actions.fingerprint() != rules.actions_fingerprint {
        return Err(RestoreError::refused(
            "go on with the plan",
            "the item actions are not those that it was made with: bring them back, or restore under a new name",
        ));
    }
    rules.actions = actions;
    Ok(plan)
}

async fn store_plan(writer: &mut RestoreWriter, plan: &RestorePlan) -> Result<(), RestoreError> {
    let doing = || "store the plan".to_owned();
    let bytes = plan.encode().doing(doing)?;
    writer
        .put(salvor_archive::names::SALVOR_PLAN, bytes.into())
        .await
        .doing(doing)
}

/// Who asked for a restore must be allowed to do what its plan does.
async fn assert_approved(
    restore: &Restore,
    options: &RestoreOptions,
    plan: &RestorePlan,
) -> Result<(), RestoreError> {
    let Some(approval) = &options.approval else {
        return Ok(());
    };
    let doing = || "ask what the requester may do".to_owned();
    let rights = of_restore(plan, !restore.spec.hooks.resources.is_empty());
    let objections = approval.objections(rights).await.doing(doing)?;
    match objections.is_empty() {
        true => Ok(()),
        false => Err(RestoreError::new(
            "carry out the plan",
            Cause::Invalid(objections),
        )),
    }
}

/// A plan is for one cluster: applied to another, its comparisons would be of something else.
async fn assert_same_cluster(cluster: &Cluster, plan: &RestorePlan) -> Result<(), RestoreError> {
    let doing = || "ask the target who it is".to_owned();
    let identity = cluster.identity().await.doing(doing)?;
    if identity.uid == plan.header.cluster.uid {
        return Ok(());
    }
    Err(RestoreError::refused(
        doing(),
        format!(
            "the plan was made for cluster {} ({}), this is {} ({}): plan again, under a new name",
            plan.header.cluster.name, plan.header.cluster.uid, identity.name, identity.uid
        ),
    ))
}
