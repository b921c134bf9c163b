//! What every controller works with.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_api::velero::{
    Backup, BackupStorageLocation, LocationPhase, Restore, VolumeSnapshotLocation,
};
use salvor_cluster::Cluster;
use salvor_location::Location;

use crate::events::Recorder;
use crate::informer::Informer;
use crate::kinds::Kinds;
use crate::locations::{LocationError, Locations};
use crate::runs::Runs;

/// How a server works. The defaults are those of Velero's server.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Namespace of the kinds that are served.
    pub namespace: String,
    /// Who this process is among those that want to lead: the pod's name, or the host's and a random part.
    pub identity: String,
    /// Location of backups that name none, when no location says that it is the default.
    pub default_location: String,
    /// How long a backup is kept that does not say it.
    pub default_ttl: Duration,
    /// How often a location is looked at that does not say it; zero for never.
    pub validate_every: Duration,
    /// Backups that are made at once.
    pub concurrent_backups: usize,
    /// Restores that are carried out at once.
    pub concurrent_restores: usize,
    /// How long a restore waits for one thing: a definition, a namespace.
    pub resource_timeout: Duration,
    /// How schedules are read.
    pub schedules: salvor_api::schedule::Server,
    /// Pause before an interrupted restore is gone on with. The claim of a run that died is respected for
    /// three minutes, so several pauses may pass.
    pub resume_pause: Duration,
}

impl ServerOptions {
    /// The defaults, for a namespace and an identity.
    #[must_use]
    pub fn new(namespace: &str, identity: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            identity: identity.to_owned(),
            default_location: "default".to_owned(),
            default_ttl: salvor_api::velero::DEFAULT_TTL.0,
            validate_every: Duration::from_secs(60),
            concurrent_backups: 1,
            concurrent_restores: 1,
            resource_timeout: Duration::from_secs(600),
            schedules: salvor_api::schedule::Server::default(),
            resume_pause: Duration::from_secs(20),
        }
    }
}

/// Where the time comes from; a test may have its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What the controllers share while this process leads.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) cluster: Cluster,
    pub(crate) options: Arc<ServerOptions>,
    pub(crate) locations: Locations,
    pub(crate) events: Recorder,
    pub(crate) clock: Clock,
    pub(crate) backups: Informer<Backup>,
    pub(crate) restores: Informer<Restore>,
    pub(crate) storage_locations: Informer<BackupStorageLocation>,
    pub(crate) snapshot_locations: Informer<VolumeSnapshotLocation>,
    pub(crate) backup_runs: Runs,
    pub(crate) restore_runs: Runs,
}

/// Why a location cannot be used for what was asked: a text for `validationErrors`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("backup storage location `{0}` does not exist")]
    Missing(String),
    #[error("backup storage location `{name}` is unavailable: {message}")]
    Unavailable { name: String, message: String },
    #[error("backup storage location `{name}` cannot be opened: {reason}")]
    Open { name: String, reason: String },
}

impl Context {
    pub(crate) fn now(&self) -> Time {
        Time::new((self.clock)())
    }

    pub(crate) fn kinds<K: salvor_api::velero::Kind>(&self) -> Kinds<K> {
        Kinds::new(&self.cluster, &self.options.namespace)
    }

    /// Opens a location.
    pub(crate) async fn location(&self, name: &str) -> Result<Location, Unusable> {
        let missing = || Unusable::Missing(name.to_owned());
        let object = self.storage_locations.get(name).ok_or_else(missing)?;
        if object.status.phase == LocationPhase::Unavailable {
            return Err(Unusable::Unavailable {
                name: name.to_owned(),
                message: object.status.message.clone(),
            });
        }
        let opened = self.locations.open(&object).await;
        opened.map_err(|error| Unusable::Open {
            name: name.to_owned(),
            reason: chain(&error),
        })
    }
}

/// The objects of an informer, as checks want them.
pub(crate) fn owned<K: salvor_api::velero::Kind>(informer: &Informer<K>) -> Vec<K> {
    let objects = informer.list();
    objects.iter().map(|object| (**object).clone()).collect()
}

/// An error with its causes, for people: `a: b: c`. A cause that the text before it ends with is left out.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let more = current.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = current.source();
    }
    text
}

impl LocationError {
    /// The error with its causes, as a status shows it.
    #[must_use]
    pub fn message(&self) -> String {
        chain(self)
    }
}
