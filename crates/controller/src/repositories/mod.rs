//! BackupRepositories: one for each namespace and location whose volumes are backed up. Whoever needs one asks for it
//! ([`ensure`]); the connector opens or creates what it stands for, and maintenance gives back space, removes snapshots
//! of backups that are gone, and reads a share of the data each day.
//!
//! Objects that Velero made for repositories of its own are left alone: ours carry the annotation [`DOMAIN`].

mod connect;
mod ensure;
mod maintain;
mod notes;
mod orphans;
mod scrub;
mod work;

use std::sync::Arc;
use std::time::Duration;

use salvor_api::velero::{BackupRepository, BackupStorageLocation, DataPhase, PodVolumeBackup};
use salvor_location::Location;
use salvor_repository::Files;
use salvor_storage::PrefixStore;
use salvor_volume::Domain;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::ensure::{RepositoryError, ensure, ready, repository_name};
use crate::context::Context;
use crate::control;
use crate::informer::Informer;
use crate::queue::Queue;

/// Annotation of a BackupRepository that is ours: the trust domain.
pub const DOMAIN: &str = "salvor.dev/domain";
/// Annotation: snapshots that checks found damaged, how many.
pub const DAMAGED: &str = "salvor.dev/damaged-snapshots";

/// How repositories are looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// How often, where the object does not say it; zero for never.
    pub every: Duration,
    /// How long a backup must be gone before its snapshots go. Longer than any backup runs: the snapshots of one that
    /// is being made are there before it.
    pub orphan_grace: Duration,
    /// How often packs are marked that nobody needs.
    pub prune_every: Duration,
    /// How long after it was marked a pack goes.
    pub prune_grace: Duration,
    /// How often a share of the data is read; zero for never.
    pub scrub_every: Duration,
    /// After how many of these all data was read.
    pub scrub_parts: u8,
}

impl Default for Upkeep {
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self {
            every: Duration::from_secs(3600),
            orphan_grace: Duration::from_secs(7 * DAY),
            prune_every: Duration::from_secs(DAY),
            prune_grace: Duration::from_secs(7 * DAY),
            scrub_every: Duration::from_secs(DAY),
            scrub_parts: 7,
        }
    }
}

/// Begins to connect and to maintain.
pub(crate) fn start(
    context: &Context,
    volumes: &Informer<PodVolumeBackup>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    follow_volumes(context, volumes, tasks, cancel);
    let queue = Arc::new(Queue::default());
    control::feed(&context.repositories, &queue, tasks, cancel);
    follow_locations(context, &queue, tasks, cancel);
    let connector = connect::Connector {
        context: context.clone(),
        tasks: tasks.clone(),
    };
    control::work(Arc::new(connector), &queue, 2, tasks, cancel);
    let maintenance = maintain::Maintenance {
        context: context.clone(),
        tasks: tasks.clone(),
    };
    // One at a time: what one needs of memory is bounded, and so is all of it.
    control::run(maintenance, &context.repositories, 1, tasks, cancel);
}

/// A location that changes makes its repositories due.
fn follow_locations(
    context: &Context,
    queue: &Arc<Queue>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let mut changes = context.storage_locations.changes();
    let repositories = context.repositories.clone();
    let (queue, cancel) = (Arc::clone(queue), cancel.clone());
    tasks.spawn(async move {
        while let Some(Some(location)) = cancel.run_until_cancelled(changes.recv()).await {
            for object in repositories.list() {
                if object.spec.backup_storage_location == location {
                    queue.add(&object.metadata.name);
                }
            }
        }
    });
}

/// The domain of an object that is ours.
fn domain_of(object: &BackupRepository) -> Option<Domain> {
    let name = object.metadata.annotations.get(DOMAIN)?;
    Domain::named(name)
}

/// The files of a domain's repository.
fn files_of(location: &Location, domain: &Domain) -> Files {
    let store = PrefixStore::wrap(Arc::clone(location.store()), &domain.folder());
    Files::new(store, tokio::runtime::Handle::current())
}

/// The first volume that was backed up to a repository makes its object, whoever backed it up: a node agent of this
/// cluster, or of the one that a backup was imported from.
fn follow_volumes(
    context: &Context,
    volumes: &Informer<PodVolumeBackup>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) {
    let mut changes = volumes.changes();
    let (context, volumes, cancel) = (context.clone(), volumes.clone(), cancel.clone());
    tasks.spawn(async move {
        while let Some(Some(name)) = cancel.run_until_cancelled(changes.recv()).await {
            let volume = volumes.get(&name);
            let Some((namespace, location)) = volume.as_deref().and_then(repository_of) else {
                continue;
            };
            let is_it = |object: &Arc<BackupRepository>| {
                object.spec.volume_namespace == namespace
                    && object.spec.backup_storage_location == location
                    && domain_of(object).is_some()
            };
            if context.repositories.list().iter().any(is_it) {
                continue;
            }
            let options = &context.options;
            let every = options.upkeep.every;
            let server = &options.namespace;
            let made = ensure(&context.cluster, server, &namespace, &location, every);
            if let Some(Err(error)) = cancel.run_until_cancelled(made).await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, volume = name, "its BackupRepository was not made");
            }
        }
    });
}

/// Namespace and location of the repository that a volume was backed up to; `None` for those of Velero's, and while it
/// is under way: the repository is there when the first volume is.
fn repository_of(volume: &PodVolumeBackup) -> Option<(String, String)> {
    let is_done = volume.status.phase == DataPhase::Completed;
    let domain = volume.spec.repo_identifier.rsplit('/').next()?;
    let namespace = domain.strip_prefix("ns-")?;
    let is_ours = Domain::of_namespace(namespace).folder() == volume.spec.repo_identifier;
    let location = volume.spec.backup_storage_location.clone();
    (is_done && is_ours).then(|| (namespace.to_owned(), location))
}

/// What of a location decides which store it is. Secrets are not in it.
fn fingerprint(location: &BackupStorageLocation) -> String {
    let spec = &location.spec;
    let storage = &spec.object_storage;
    let text = format!(
        "{:?}",
        (
            &spec.provider,
            &storage.bucket,
            storage.prefix.trim_matches('/'),
            &storage.ca_cert,
            &storage.ca_cert_ref,
            &spec.config,
            &spec.credential,
        )
    );
    let mut digest = salvor_seal::Digest::of(text.as_bytes()).to_string();
    digest.truncate(16);
    digest
}
