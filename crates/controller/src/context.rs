//! What every controller works with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use salvor_api::go::{SignedGoDuration, Time};
use salvor_api::labels;
use salvor_api::meta::StringMap;
use salvor_api::retention::Guard;
use salvor_api::velero::{
    Backup, BackupRepository, BackupStorageLocation, DeleteBackupRequest, LocationPhase, Restore,
    Schedule, VolumeSnapshotLocation,
};
use salvor_cluster::{ApiResource, Cluster, ErrorKind};
use salvor_extension::{Actions, Providers};
use salvor_location::Location;
use serde_json::Value;

use crate::authorize::{AuthorizeRequests, Authorizer};
use crate::copy::KnownVerdicts;
use crate::download::{Downloads, Endpoint};
use crate::events::Recorder;
use crate::informer::Informer;
use crate::kinds::Kinds;
use crate::locations::{LocationError, Locations};
use crate::metrics::Metrics;
use crate::repositories::Upkeep;
use crate::runs::Runs;
use crate::sync::Stops;
use crate::tls::TlsSource;

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
    /// Backups that are copied to other locations at once.
    pub concurrent_copies: usize,
    /// Pause after a copy that failed; doubles with each further failure, up to ten minutes.
    pub copy_pause: Duration,
    /// Restores that are carried out at once.
    pub concurrent_restores: usize,
    /// How long a restore waits for one thing: a definition, a namespace.
    pub resource_timeout: Duration,
    /// How schedules are read.
    pub schedules: salvor_api::schedule::Server,
    /// Pause before an interrupted restore is gone on with. The claim of a run that died is respected for
    /// three minutes, so several pauses may pass.
    pub resume_pause: Duration,
    /// How often the cluster follows a location that does not say it; zero for never.
    pub sync_every: Duration,
    /// Pause between the two listings that must agree before the object of a backup is removed because its
    /// location no longer has the backup.
    pub sync_confirm: Duration,
    /// How often expired backups and those that a policy does not keep are collected; zero for never.
    pub collect_every: Duration,
    /// How many backups may vanish at once without being confirmed.
    pub guard: Guard,
    /// Where files are served to those who may not see the store; `None` for nowhere.
    pub downloads: Option<Downloads>,
    /// How much a request is worth: what the server may do, or what its requester may do.
    pub authorize_requests: AuthorizeRequests,
    /// Where the API server asks who makes requests; needs a certificate. `None` for nowhere.
    pub admission: Option<SocketAddr>,
    /// Name by which the API server knows this server, as `system:serviceaccount:velero:salvor`: what it writes is
    /// its own. Empty when that is not known.
    pub server_user: String,
    /// Where metrics and probes are served; `None` for nowhere.
    pub metrics: Option<Arc<std::net::TcpListener>>,
    /// Where the certificate of this server comes from. Downloads are served over TLS when there is one.
    pub tls: TlsSource,
    /// Names and addresses of this server beside those of its Service and of the downloads, for a certificate that
    /// is generated.
    pub tls_names: Vec<String>,
    /// How often keys and certificates are looked at: what was renewed elsewhere is in use this long after.
    pub tls_look: Duration,
    /// Whether metrics and probes are served over TLS as well.
    pub metrics_tls: bool,
    /// Names of which a client's certificate must have one to read the metrics; empty when everybody may.
    pub metrics_clients: Vec<String>,
    /// How long the address of a file works.
    pub download_lasts: Duration,
    /// How long the answer to a status request is kept.
    pub status_lasts: Duration,
    /// ConfigMap with volume policies that count for every backup, after its own; empty for none.
    pub global_volume_policy: String,
    /// Item actions besides those that ConfigMaps define.
    pub actions: Actions,
    /// Providers besides those that ConfigMaps define.
    pub providers: Providers,
    /// From a provider to its default snapshot location.
    pub default_snapshot_locations: StringMap,
    /// How long the copy of one volume may take.
    pub volume_timeout: Duration,
    /// Whether backups that do not say it copy the files of all volumes that no annotation excludes.
    pub default_volumes_to_fs_backup: bool,
    /// Pause between two looks whether the server is still paused, while something waits for that.
    pub pause_look: Duration,
    /// Pause before another look for what killed runs left of snapshots, while something of it has to wait.
    pub leftover_look: Duration,
    /// How repositories of volume data are looked after.
    pub upkeep: Upkeep,
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
            concurrent_copies: 2,
            copy_pause: Duration::from_secs(5),
            concurrent_restores: 1,
            resource_timeout: Duration::from_secs(600),
            schedules: salvor_api::schedule::Server::default(),
            resume_pause: Duration::from_secs(20),
            sync_every: Duration::from_secs(60),
            sync_confirm: Duration::from_secs(15),
            collect_every: Duration::from_secs(3600),
            guard: Guard::default(),
            downloads: None,
            authorize_requests: AuthorizeRequests::default(),
            admission: None,
            server_user: String::new(),
            metrics: None,
            tls: TlsSource::Off,
            tls_names: Vec::new(),
            tls_look: Duration::from_secs(30),
            metrics_tls: false,
            metrics_clients: Vec::new(),
            download_lasts: Duration::from_secs(600),
            status_lasts: Duration::from_secs(60),
            global_volume_policy: String::new(),
            actions: Actions::default(),
            providers: Providers::default(),
            default_snapshot_locations: StringMap::new(),
            volume_timeout: salvor_objects::backup::DEFAULT_VOLUME_TIMEOUT,
            default_volumes_to_fs_backup: false,
            pause_look: Duration::from_secs(10),
            leftover_look: Duration::from_secs(60),
            upkeep: Upkeep::default(),
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
    pub(crate) authorizer: Authorizer,
    pub(crate) clock: Clock,
    pub(crate) backups: Informer<Backup>,
    pub(crate) restores: Informer<Restore>,
    pub(crate) storage_locations: Informer<BackupStorageLocation>,
    pub(crate) snapshot_locations: Informer<VolumeSnapshotLocation>,
    pub(crate) repositories: Informer<BackupRepository>,
    pub(crate) backup_runs: Runs,
    pub(crate) restore_runs: Runs,
    pub(crate) schedules: Informer<Schedule>,
    pub(crate) delete_requests: Informer<DeleteBackupRequest>,
    pub(crate) stops: Stops,
    pub(crate) verdicts: KnownVerdicts,
    pub(crate) endpoint: Endpoint,
    pub(crate) metrics: Metrics,
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

    /// How often a location is followed; zero for never.
    pub(crate) fn sync_period(&self, object: &BackupStorageLocation) -> Duration {
        let given = object.spec.backup_sync_period;
        let given = given.and_then(SignedGoDuration::non_negative);
        given.map_or(self.options.sync_every, |given| given.0)
    }

    /// True while nothing may begin: the server's namespace says so, or cannot be asked just now. Asked when
    /// something is about to begin, so it costs nothing while nothing happens.
    pub(crate) async fn paused(&self) -> bool {
        let namespace = &self.options.namespace;
        let resource = ApiResource::namespaces();
        match self.cluster.get(&resource, None, namespace).await {
            Ok(Some(bytes)) => {
                let object: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                object["metadata"]["annotations"][labels::PAUSE] == "true"
            }
            Ok(None) => false,
            // A server that may not read it cannot be paused; it has to work all the same.
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                tracing::warn!(%error, "whether the server is paused cannot be seen: it goes on");
                false
            }
            Err(error) => {
                tracing::warn!(%error, "whether the server is paused is not known: nothing begins");
                true
            }
        }
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

/// UID of the namespace `kube-system`, by which backups say where they come from.
pub(crate) async fn cluster_uid(cluster: &Cluster) -> Result<String, salvor_cluster::Error> {
    let resource = ApiResource::namespaces();
    let found = cluster.get(&resource, None, "kube-system");
    let bytes = found.await?.unwrap_or_default();
    let object: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
    Ok(uid.to_owned())
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
