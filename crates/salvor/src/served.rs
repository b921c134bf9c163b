//! The server in the cluster, as a client sees it: objects of Velero's kinds, and files by way of download
//! requests. Nothing here opens a store, except where the user's own rights reach it.

use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;
use salvor_api::labels;
use salvor_api::meta::LabelSelector;
use salvor_api::selector::Selector;
use salvor_api::velero::{
    BackupStorageLocation, DownloadRequest, DownloadRequestPhase, DownloadTarget,
    DownloadTargetKind, Kind,
};
use salvor_archive::files::{BackupVolumeInfo, SalvorVolumes, read_json_gz};
use salvor_archive::names::SALVOR_VOLUMES;
use salvor_cluster::{ApiResource, Cluster, ErrorKind, Wait};
use salvor_controller::tls::{AUTHORITY, CA_CERTIFICATES};
use salvor_controller::{KindError, Kinds, Locations, Presence, find_server};
use salvor_location::{Location, RunId};
use salvor_storage::ByteStream;
use salvor_storage::remote::read_signed;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::command::read::{LARGEST_FILE, damaged};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// A cluster that does not answer in this time is not asked for a server, unless the user says so.
const LOOK: Duration = Duration::from_secs(5);
/// How often a change is tried that others are faster than.
const CHANGES: u32 = 5;
/// How long a server may take to answer a download request.
const ANSWER: Duration = Duration::from_secs(60);

/// The kinds that a server works on.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    /// Where they are.
    pub(crate) cluster: Cluster,
    /// Their namespace.
    pub(crate) namespace: String,
    /// Its temporary files, which hold credentials, go when the session ends.
    locations: Locations,
    cancel: CancellationToken,
}

impl Served {
    /// The server that the session is to ask: the one that `--server` demands, or one that is at work where
    /// neither `--direct` nor a location says otherwise.
    pub(crate) async fn find(session: &Session) -> Result<Option<Self>, Failure> {
        let global = &session.global;
        let has_location = global.location.as_deref().is_some_and(|l| !l.is_empty());
        if global.direct || (has_location && !global.server) {
            return Ok(None);
        }
        let served = async {
            let cluster = session.cluster(None).await?;
            let namespace = session.namespace();
            let found = find_server(&cluster, namespace).await;
            let served = Self {
                locations: Locations::new(&cluster, namespace),
                cluster,
                namespace: namespace.to_owned(),
                cancel: session.cancel.clone(),
            };
            Ok::<_, Failure>((served, found))
        };
        if global.server {
            let (served, found) = served.await?;
            served.assert_installed().await?;
            match found {
                Ok(Some(_)) => {}
                Ok(None) => {
                    let text = session.messages.nobody_serves(&served.namespace);
                    session.printer.warning(&text);
                }
                // Whoever may not see the server's lease may still ask it.
                Err(error) if error.kind() == ErrorKind::Forbidden => {}
                Err(error) => return Err(error.into()),
            }
            return Ok(Some(served));
        }
        let looked = async {
            let (served, found) = served.await?;
            Ok::<_, Failure>((served, found?))
        };
        match tokio::time::timeout(LOOK, looked).await {
            Ok(Ok((served, Some(presence)))) => {
                let who = match &presence {
                    Presence::Salvor(name) | Presence::Velero(name) => name,
                };
                debug!(server = %who, "a server is at work");
                Ok(Some(served))
            }
            Ok(Ok((_, None))) => Ok(None),
            Ok(Err(failure)) => {
                debug!(reason = failure.chain(), "no server is looked for");
                if failure.exit == Exit::Refused {
                    session.server_is_not_seen(failure.chain());
                }
                Ok(None)
            }
            Err(_) => Ok(None),
        }
    }

    async fn assert_installed(&self) -> Result<(), Failure> {
        let asked = self.kinds::<BackupStorageLocation>().list(None).await;
        match asked {
            Err(KindError::Cluster { source, .. }) if source.kind() == ErrorKind::NoSuchKind => {
                let text = "the cluster does not know Velero's kinds";
                let hint = "install them with `salvor install`, or work without a server: --direct";
                Err(Failure::new(Exit::NotFound, text).hint(hint))
            }
            // Whoever may not list locations may still make backups.
            Err(KindError::Cluster { source, .. }) if source.kind() == ErrorKind::Forbidden => {
                Ok(())
            }
            other => Ok(other.map(drop)?),
        }
    }

    /// Objects of a kind.
    pub(crate) fn kinds<K: Kind>(&self) -> Kinds<K> {
        Kinds::new(&self.cluster, &self.namespace)
    }

    /// The objects that a command is about: those named, which must be there, or those selected.
    pub(crate) async fn chosen<K: Kind>(
        &self,
        names: &[String],
        selector: Option<&LabelSelector>,
    ) -> Result<Vec<K>, Failure> {
        if names.is_empty() {
            let query = selector.map(query).transpose()?;
            return Ok(self.kinds().list(query.as_deref()).await?);
        }
        let mut objects = Vec::with_capacity(names.len());
        for name in names {
            objects.push(self.named(name).await?);
        }
        Ok(objects)
    }

    /// One object, which must be there.
    pub(crate) async fn named<K: Kind>(&self, name: &str) -> Result<K, Failure> {
        let found = self.kinds::<K>().get(name).await?;
        found.ok_or_else(|| {
            let (kind, namespace) = (K::SINGULAR, &self.namespace);
            let text = format!("{kind} `{name}` is not in namespace `{namespace}`");
            Failure::new(Exit::NotFound, text)
        })
    }

    /// Changes an object, anew when somebody else was faster; true when that made a difference.
    pub(crate) async fn change<K: Kind>(
        &self,
        name: &str,
        change: impl Fn(&mut K) -> Result<(), Failure>,
    ) -> Result<bool, Failure> {
        let mut attempt = 1;
        loop {
            let before: K = self.named(name).await?;
            let mut after = before.clone();
            change(&mut after)?;
            if after == before {
                return Ok(false);
            }
            match self.kinds().update(&before, &after).await {
                Ok(_) => return Ok(true),
                // The server writes what it sees of an object about once a minute.
                Err(error) if error.is_stale() && attempt < CHANGES => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for an object to be as `done` wants it. Ctrl-C ends the waiting, not what is waited for.
    pub(crate) async fn wait<K: Kind>(
        &self,
        name: &str,
        timeout: Duration,
        done: impl Fn(&K) -> bool,
    ) -> Result<K, Failure> {
        let wait = Wait {
            timeout,
            cancel: self.cancel.clone(),
        };
        let found = self.kinds::<K>().wait(name, &wait, done).await?;
        let gone = || format!("{} `{name}` was deleted meanwhile", K::SINGULAR);
        found.ok_or_else(|| Failure::new(Exit::NotFound, gone()))
    }

    /// A file of a backup or restore: asked for by a request, read at the address that the server gives.
    /// `None` when there is no such file.
    pub(crate) async fn file(
        &self,
        kind: DownloadTargetKind,
        name: &str,
    ) -> Result<Option<(Option<u64>, ByteStream)>, Failure> {
        self.requested(kind, name, None).await
    }

    /// The same; with `own`, the file of ours of this name instead of the one that the kind means.
    async fn requested(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        own: Option<&str>,
    ) -> Result<Option<(Option<u64>, ByteStream)>, Failure> {
        let kinds = self.kinds::<DownloadRequest>();
        let unique = RunId::generate();
        let unique = unique.as_str().to_ascii_lowercase();
        let mut request = DownloadRequest::named(&self.namespace, &format!("{name}-{unique}"));
        request.spec.target = DownloadTarget {
            kind,
            name: name.to_owned(),
        };
        if let Some(own) = own {
            let annotations = &mut request.metadata.annotations;
            annotations.insert(labels::OWN_FILE.to_owned(), own.to_owned());
        }
        let request = kinds.create(&request).await?;
        let answer = self.answered(&request.metadata.name).await;
        let read = match &answer {
            Ok(answer) => self.read(answer).await,
            Err(_) => Ok(None),
        };
        // It would go by itself after ten minutes; its address is of no more use.
        if let Err(error) = kinds.delete(&request).await {
            debug!(%error, "a download request stays until it expires");
        }
        answer?;
        read
    }

    async fn answered(&self, name: &str) -> Result<DownloadRequest, Failure> {
        let done = |request: &DownloadRequest| {
            !matches!(
                request.status.phase,
                DownloadRequestPhase::Unset | DownloadRequestPhase::New
            )
        };
        let answered = self.wait::<DownloadRequest>(name, ANSWER, done).await?;
        let status = &answered.status;
        if status.phase == DownloadRequestPhase::Processed {
            return Ok(answered);
        }
        let text = format!("the server gives no address: {}", status.message);
        Err(Failure::new(Exit::Refused, text).hint(
            "with credentials of the location, add --direct --location to read the store from here",
        ))
    }

    async fn read(
        &self,
        answered: &DownloadRequest,
    ) -> Result<Option<(Option<u64>, ByteStream)>, Failure> {
        let authority = self.authority().await;
        match read_signed(&answered.status.download_url, authority.as_deref(), false).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => {
                let hint = "the address that the server gave must be reachable from here: see \
                            --download-url of the server, or publicUrl of the location";
                Err(Failure::caused(Exit::Internal, "download", error).hint(hint))
            }
        }
    }

    /// Certificates of the authority that the server shows itself under, as it publishes them; `None` when it has
    /// one that everybody knows, or the user may not read it.
    async fn authority(&self) -> Option<String> {
        let maps = ApiResource::known("", "v1", "ConfigMap", "configmaps", true);
        let found = self
            .cluster
            .get(&maps, Some(&self.namespace), AUTHORITY)
            .await;
        let map: Value = match found {
            Ok(found) => serde_json::from_slice(&found?).ok()?,
            Err(error) => {
                debug!(%error, "the server's authority is not known");
                return None;
            }
        };
        map["data"][CA_CERTIFICATES].as_str().map(str::to_owned)
    }

    /// A file in memory.
    pub(crate) async fn bytes(
        &self,
        kind: DownloadTargetKind,
        name: &str,
    ) -> Result<Option<Vec<u8>>, Failure> {
        let what = format!("download {} of `{name}`", kind.as_str());
        match self.file(kind, name).await? {
            Some((_, stream)) => in_memory(stream, &what).await.map(Some),
            None => Ok(None),
        }
    }

    /// Our own record of a backup's volumes; `None` when it has none, or the server does not know of such records.
    async fn own_volumes(&self, name: &str) -> Result<Option<SalvorVolumes>, Failure> {
        let kind = DownloadTargetKind::BackupVolumeInfos;
        let found = self.requested(kind, name, Some(SALVOR_VOLUMES)).await?;
        let Some((_, stream)) = found else {
            return Ok(None);
        };
        let what = format!("`{SALVOR_VOLUMES}` of `{name}`");
        let bytes = in_memory(stream, &what).await?;
        match SalvorVolumes::decode(&bytes) {
            Ok(volumes) => Ok(Some(volumes)),
            // Another server gave the volume infos, which are a list.
            Err(_) if read_json_gz::<Vec<BackupVolumeInfo>>(&bytes, LARGEST_FILE).is_ok() => {
                Ok(None)
            }
            Err(error) => Err(damaged(&what, error)),
        }
    }

    /// A JSON file; `None` when there is no such file.
    pub(crate) async fn json<T: DeserializeOwned + Default>(
        &self,
        kind: DownloadTargetKind,
        name: &str,
    ) -> Result<Option<T>, Failure> {
        let what = format!("{} of `{name}`", kind.as_str());
        let Some(bytes) = self.bytes(kind, name).await? else {
            return Ok(None);
        };
        let read = read_json_gz(&bytes, LARGEST_FILE);
        read.map(Some).map_err(|error| damaged(&what, error))
    }

    /// The location of backups that name none.
    pub(crate) async fn default_location(&self) -> Result<String, Failure> {
        let locations: Vec<BackupStorageLocation> = self.kinds().list(None).await?;
        let marked = locations.iter().find(|location| location.spec.default);
        let only = locations.first().filter(|_| locations.len() == 1);
        let Some(chosen) = marked.or(only) else {
            let namespace = &self.namespace;
            let text = format!("namespace `{namespace}` has no default backup location");
            let hint = "mark one with `salvor backup-location set NAME --default`";
            return Err(Failure::new(Exit::NotFound, text).hint(hint));
        };
        Ok(chosen.metadata.name.clone())
    }

    /// A location, opened from here with the secrets that it names, which the user must be allowed to read.
    pub(crate) async fn open(&self, name: &str) -> Result<Location, Failure> {
        let object = self.named::<BackupStorageLocation>(name).await?;
        let opened = self.locations.open(&object).await;
        opened.map_err(|error| {
            let doing = format!("open location `{name}` from here");
            let hint = "this command reads the store itself: give it with --location, or get the right to \
                        read the location's secret";
            Failure::caused(Exit::Refused, doing, error).hint(hint)
        })
    }
}

/// All of a file that fits into memory.
async fn in_memory(mut stream: ByteStream, what: &str) -> Result<Vec<u8>, Failure> {
    let mut all = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| Failure::caused(Exit::Internal, what, error))?;
        if (all.len() + chunk.len()) as u64 > LARGEST_FILE {
            let text = format!("{what}: it is larger than {} MiB", LARGEST_FILE >> 20);
            return Err(Failure::new(Exit::VerificationFailed, text));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.to_vec())
}

/// A label selector as the API takes it.
pub(crate) fn query(selector: &LabelSelector) -> Result<String, Failure> {
    let compiled = Selector::compile(selector);
    let compiled = compiled.map_err(|error| Failure::usage(error.to_string()))?;
    Ok(compiled.to_query())
}

/// The files beside one backup or restore of a server. What cannot be had is said.
pub(crate) struct Files<'a> {
    served: &'a Served,
    session: &'a Session,
    name: &'a str,
    /// False when a file could not be had.
    pub(crate) complete: bool,
}

impl<'a> Files<'a> {
    /// None are read yet.
    pub(crate) fn new(served: &'a Served, session: &'a Session, name: &'a str) -> Self {
        Self {
            served,
            session,
            name,
            complete: true,
        }
    }

    /// Reads a file if it is wanted.
    pub(crate) async fn read<T: DeserializeOwned + Default>(
        &mut self,
        wanted: bool,
        kind: DownloadTargetKind,
    ) -> Option<T> {
        if !wanted {
            return None;
        }
        let found = self.served.json(kind, self.name).await;
        self.had(found)
    }

    /// Reads our own record of volumes if it is wanted.
    pub(crate) async fn own_volumes(&mut self, wanted: bool) -> Option<SalvorVolumes> {
        if !wanted {
            return None;
        }
        let found = self.served.own_volumes(self.name).await;
        self.had(found)
    }

    fn had<T>(&mut self, found: Result<Option<T>, Failure>) -> Option<T> {
        match found {
            Ok(found) => found,
            Err(failure) => {
                self.complete = false;
                self.session.printer.warning(&failure.chain());
                None
            }
        }
    }
}

impl From<KindError> for Failure {
    fn from(error: KindError) -> Self {
        let doing = error.to_string();
        let exists = error.already_exists();
        match error {
            KindError::Cluster { source, .. } if exists => {
                Self::caused(Exit::Refused, doing, *source).hint("choose another name")
            }
            KindError::Cluster { source, .. } => Self::from(*source).while_doing(&doing),
            error => Self::caused(Exit::Internal, "", error),
        }
    }
}
