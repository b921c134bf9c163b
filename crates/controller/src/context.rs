//! What every controller works with.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_api::velero::{AccessMode, Backup, BackupStorageLocation, LocationPhase, Restore};
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
    pub(crate) backup_runs: Runs,
    pub(crate) restore_runs: Runs,
}

/// Why a location cannot be used for what was asked: a text for `validationErrors`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("backup storage location `{0}` does not exist")]
    Missing(String),
    #[error(
        "no backup storage location is named, and none is the default: name one in spec.storageLocation"
    )]
    NoDefault,
    #[error("backup storage location `{0}` is read-only: no backup can be made there")]
    ReadOnly(String),
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

    /// The name of the location that a backup goes to: the one that it names, else the default.
    pub(crate) fn location_name(&self, named: &str) -> Result<String, Unusable> {
        if !named.is_empty() {
            return Ok(named.to_owned());
        }
        let all = self.storage_locations.list();
        // Of several defaults the newest counts, as everywhere.
        let default = all
            .iter()
            .filter(|object| object.spec.default)
            .max_by_key(|object| object.metadata.creation_timestamp);
        if let Some(object) = default {
            return Ok(object.metadata.name.clone());
        }
        let fallback = &self.options.default_location;
        if all.iter().any(|object| object.metadata.name == *fallback) {
            return Ok(fallback.clone());
        }
        Err(Unusable::NoDefault)
    }

    /// Opens a location for reading, or for writing.
    pub(crate) async fn location(&self, name: &str, write: bool) -> Result<Location, Unusable> {
        let missing = || Unusable::Missing(name.to_owned());
        let object = self.storage_locations.get(name).ok_or_else(missing)?;
        if write && object.spec.access_mode == AccessMode::ReadOnly {
            return Err(Unusable::ReadOnly(name.to_owned()));
        }
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
