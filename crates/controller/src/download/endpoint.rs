//! Serves files to whoever has an address: `GET <public URL>/download/<request>/<seal>`.
//!
//! The seal binds the address to one DownloadRequest: to its object, its file and its end. Only servers of the
//! namespace can write it. So every one of them can answer, whether it leads or not, and a request whose status
//! somebody else wrote is worth nothing. What is not granted, and what is not in the store, answers 404.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use salvor_api::go::Time;
use salvor_api::velero::{
    Backup, BackupStorageLocation, DownloadRequest, DownloadRequestPhase, Restore,
};
use salvor_cluster::Cluster;
use salvor_location::Location;
use salvor_seal::SealKey;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Downloads, File, NOWHERE, file_of};
use crate::context::{Clock, chain};
use crate::informer::Informer;
use crate::kinds::Kinds;
use crate::locations::Locations;
use crate::serve::{Body, Clients, Security, Serving, full, plain};
use crate::tls::Keys;

/// Connections at once; more wait. Each holds little more than a chunk of its file.
const CONNECTIONS: usize = 64;
/// Longest connection: a large archive over a slow line.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
/// Pause before the address is tried again that something else has.
const BIND_AGAIN: Duration = Duration::from_secs(2);
/// How long a request is waited for that the leader has answered and the copy here does not show yet.
const BEHIND: Duration = Duration::from_secs(3);
const PATH: &str = "/download/";
/// What these seals are for.
const PURPOSE: &str = "download";

/// What the endpoint works with.
pub(crate) struct Parts {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: String,
    pub(crate) locations: Locations,
    pub(crate) clock: Clock,
    pub(crate) keys: Keys,
    /// Whether files are served over TLS.
    pub(crate) secure: bool,
}

/// The place where files are served. Clones share it.
#[derive(Clone)]
pub(crate) struct Endpoint {
    /// The public URL, or why there is none; `None` until that is known.
    base: watch::Receiver<Option<Result<String, String>>>,
    keys: Keys,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Begins to serve, until `cancel` is cancelled.
    pub(crate) fn start(
        settings: Option<&Downloads>,
        parts: Parts,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Self {
        let (sender, base) = watch::channel(None);
        let endpoint = Self {
            base,
            keys: parts.keys.clone(),
        };
        let Some(settings) = settings.cloned() else {
            sender.send_replace(Some(Err(NOWHERE.to_owned())));
            return endpoint;
        };
        let requests = Informer::start(&parts.cluster, &parts.namespace, tasks, cancel);
        let (spawner, tasks, cancel) = (tasks, tasks.clone(), cancel.clone());
        let serve = async move {
            let Some(listener) = cancel.run_until_cancelled(bind(&settings, &sender)).await else {
                return;
            };
            let scheme = if parts.secure { "https" } else { "http" };
            let address = listener.local_addr().unwrap_or(settings.listen);
            let base = match settings.public_url.trim_end_matches('/') {
                "" => format!("{scheme}://{address}"),
                url => url.to_owned(),
            };
            tracing::info!(%address, url = %base, "files are served");
            sender.send_replace(Some(Ok(base)));
            let security = match parts.secure {
                true => Security::Tls {
                    keys: parts.keys.clone(),
                    clients: Clients::All,
                },
                false => Security::Plain,
            };
            let serving = Serving {
                name: "downloads",
                listener,
                security,
                connections: CONNECTIONS,
                longest: LONGEST,
                keep_alive: false,
            };
            let desk = Arc::new(Desk { parts, requests });
            let answer = move |request: Request<_>, _| {
                let desk = Arc::clone(&desk);
                async move { desk.answer(&request).await }
            };
            serving.run(answer, tasks, cancel).await;
        };
        spawner.spawn(serve);
        endpoint
    }

    /// The address for a request that ends at `until`; an error says why there is none.
    pub(super) async fn url(
        &self,
        request: &DownloadRequest,
        until: Time,
    ) -> Result<String, String> {
        let base = self.base().await?;
        let name = &request.metadata.name;
        let seal = seal(&self.keys.seal_key().await, request, until);
        Ok(format!("{base}{PATH}{name}/{seal}"))
    }

    async fn base(&self) -> Result<String, String> {
        let mut base = self.base.clone();
        let known = base.wait_for(Option::is_some).await;
        match known.as_deref() {
            Ok(Some(base)) => base.clone(),
            _ => Err("the server is leaving".to_owned()),
        }
    }
}

/// Listens. An address that is taken, as by a server that is about to leave, is tried again.
async fn bind(
    settings: &Downloads,
    told: &watch::Sender<Option<Result<String, String>>>,
) -> TcpListener {
    loop {
        match TcpListener::bind(settings.listen).await {
            Ok(listener) => return listener,
            Err(error) => {
                let why = format!("files cannot be served on {}: {error}", settings.listen);
                let news = Some(Err(why.clone()));
                if *told.borrow() != news {
                    tracing::error!("{why}");
                    told.send_replace(news);
                }
                tokio::time::sleep(BIND_AGAIN).await;
            }
        }
    }
}

/// What makes an address of a request: its object, its file, its end.
fn sealed(request: &DownloadRequest, until: Time) -> [String; 5] {
    let (metadata, target) = (&request.metadata, &request.spec.target);
    [
        metadata.name.clone(),
        metadata.uid.clone(),
        target.kind.as_str().to_owned(),
        target.name.clone(),
        until.to_string(),
    ]
}

fn seal(key: &SealKey, request: &DownloadRequest, until: Time) -> String {
    let [name, uid, kind, target, until] = &sealed(request, until);
    key.seal(&[PURPOSE, name, uid, kind, target, until])
}

fn is_granted(key: &SealKey, request: &DownloadRequest, text: &str, now: Time) -> bool {
    let Some(until) = request.status.expiration else {
        return false;
    };
    let [name, uid, kind, target, end] = &sealed(request, until);
    request.status.phase == DownloadRequestPhase::Processed
        && until > now
        && key.is_seal(&[PURPOSE, name, uid, kind, target, end], text)
}

/// Answers who comes with an address.
struct Desk {
    parts: Parts,
    requests: Informer<DownloadRequest>,
}

impl Desk {
    async fn answer<B>(&self, request: &Request<B>) -> Response<Body> {
        let with_body = match *request.method() {
            Method::GET => true,
            Method::HEAD => false,
            _ => return plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n"),
        };
        let asked = request.uri().path().strip_prefix(PATH);
        let granted = match asked.and_then(|asked| asked.split_once('/')) {
            Some((name, seal)) => self.granted(name, seal).await,
            None => None,
        };
        let Some(granted) = granted else {
            return plain(
                StatusCode::NOT_FOUND,
                "this address is not known, or no longer: make a new request\n",
            );
        };
        let (location, file) = match self.find(&granted).await {
            Ok(found) => found,
            Err(reason) => {
                tracing::warn!(%reason, request = granted.metadata.name, "a file could not be served");
                return plain(StatusCode::BAD_GATEWAY, "the file cannot be looked for\n");
            }
        };
        send(&location, &file, with_body).await
    }

    /// The request that an address is of. One that is not known here is waited for a little: another server may
    /// have answered it just now.
    async fn granted(&self, name: &str, seal: &str) -> Option<Arc<DownloadRequest>> {
        let key = self.parts.keys.seal_key().await;
        let now = || Time::new((self.parts.clock)());
        let look = || {
            let request = self.requests.get(name)?;
            is_granted(&key, &request, seal, now()).then_some(request)
        };
        // Subscribed before the first look, so that no change falls between.
        let mut changes = self.requests.changes();
        if let Some(found) = look() {
            return Some(found);
        }
        // What has been answered here is final: there is nothing to wait for.
        let open = self
            .requests
            .get(name)
            .is_none_or(|request| request.status.phase.is_unset());
        if !open {
            return None;
        }
        let found = async {
            while let Some(changed) = changes.recv().await {
                if changed == name
                    && let Some(found) = look()
                {
                    return Some(found);
                }
            }
            None
        };
        tokio::time::timeout(BEHIND, found).await.ok().flatten()
    }

    async fn find(&self, request: &DownloadRequest) -> Result<(Location, File), String> {
        let parts = &self.parts;
        let file = file_of(request)?;
        let backup = match &file {
            File::Backup(name, _) => name.to_string(),
            File::Restore(name, _) => {
                let restore = self.object::<Restore>(name.as_str()).await?;
                restore.spec.backup_name
            }
        };
        let backup = self.object::<Backup>(&backup).await?;
        let storage = &backup.spec.storage_location;
        let location = self.object::<BackupStorageLocation>(storage).await?;
        let opened = parts.locations.open(&location).await;
        opened
            .map(|location| (location, file))
            .map_err(|error| chain(&error))
    }

    async fn object<K: salvor_api::velero::Kind>(&self, name: &str) -> Result<K, String> {
        let kinds = Kinds::<K>::new(&self.parts.cluster, &self.parts.namespace);
        let found = kinds.get(name).await.map_err(|error| chain(&error))?;
        found.ok_or_else(|| format!("{} `{name}` does not exist", K::KIND))
    }
}

async fn send(location: &Location, file: &File, with_body: bool) -> Response<Body> {
    let opened = match file {
        File::Backup(name, file) => location.open_file(name, file).await,
        File::Restore(name, file) => location.open_restore_file(name, file).await,
    };
    match opened {
        Ok(Some((size, stream))) => {
            let body = match with_body {
                true => {
                    let frames = stream.map_ok(Frame::data).map_err(Into::into);
                    StreamBody::new(frames).boxed_unsync()
                }
                false => full(""),
            };
            let response = Response::builder()
                // Files are gzip as they are, which is what Velero's client expects.
                .header(header::CONTENT_TYPE, "application/octet-stream")
                .header(header::CONTENT_LENGTH, size)
                .header(header::CACHE_CONTROL, "no-store");
            response
                .body(body)
                .unwrap_or_else(|_| plain(StatusCode::INTERNAL_SERVER_ERROR, ""))
        }
        Ok(None) => plain(StatusCode::NOT_FOUND, "there is no such file\n"),
        Err(error) => {
            let reason = chain(&error);
            tracing::warn!(
                reason,
                location = location.name(),
                "a file could not be served"
            );
            plain(
                StatusCode::BAD_GATEWAY,
                "the store does not give the file\n",
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_worth_one_file_of_one_request_until_its_end() {
        let key = SealKey::new(&[1; 32]).expect("a key");
        let time = |text: &str| text.parse::<Time>().expect("a time");
        let (now, until) = (time("2026-11-21T12:00:00Z"), time("2026-11-21T12:10:00Z"));
        let mut request = DownloadRequest::named("velero", "r");
        "u1".clone_into(&mut request.metadata.uid);
        "b1".clone_into(&mut request.spec.target.name);
        request.status.phase = DownloadRequestPhase::Processed;
        request.status.expiration = Some(until);
        let text = seal(&key, &request, until);
        assert!(is_granted(&key, &request, &text, now));
        assert!(!is_granted(&key, &request, &text, until));
        let change = |change: &dyn Fn(&mut DownloadRequest)| {
            let mut other = request.clone();
            change(&mut other);
            is_granted(&key, &other, &text, now)
        };
        // Whoever may write requests may write these, and gains nothing.
        assert!(!change(
            &|r| r.status.expiration = Some(time("2027-11-21T12:10:00Z"))
        ));
        assert!(!change(&|r| "b2".clone_into(&mut r.spec.target.name)));
        assert!(!change(&|r| "u2".clone_into(&mut r.metadata.uid)));
        assert!(!change(&|r| "other".clone_into(&mut r.metadata.name)));
        assert!(!change(&|r| r.status.phase = DownloadRequestPhase::New));
        assert!(!change(&|r| r.status.expiration = None));
    }
}
