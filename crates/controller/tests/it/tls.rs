//! Downloads and metrics over TLS: who is trusted, who may ask, and renewal under way.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use salvor_api::velero::{Backup, DownloadRequest, DownloadRequestPhase, DownloadTargetKind};
use salvor_cluster::{ApiResource, WriteOptions};
use salvor_controller::tls::{AUTHORITY, Authority, Pair, SECRET, TlsSource};
use salvor_controller::{Downloads, ServerOptions};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::world::{NAMESPACE, World, until};

/// A port that nobody had a moment ago.
pub(crate) fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

pub(crate) async fn connect(
    address: SocketAddr,
    name: &str,
    authority: &str,
    own: Option<&Pair>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(authority.as_bytes()) {
        roots.add(root.expect("PEM")).expect("a certificate");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
            let chain = chain.collect::<Result<_, _>>().expect("PEM");
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
            builder.with_client_auth_cert(chain, key).expect("a pair")
        }
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// Sends one request; status and body.
pub(crate) async fn send(
    stream: &mut TlsStream<TcpStream>,
    head: &str,
    body: &str,
) -> std::io::Result<(u16, Vec<u8>)> {
    let length = body.len();
    let text = format!("{head} HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await?;
    let mut got = Vec::new();
    let end = |got: &[u8]| got.windows(4).position(|four| four == b"\r\n\r\n");
    let mut buffer = [0; 4096];
    loop {
        if let Some(at) = end(&got) {
            let head = String::from_utf8_lossy(&got[..at]).to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("content-length: "));
            let length: usize = length.expect("a length").parse().expect("a number");
            if got.len() >= at + 4 + length {
                let status = head[9..12].parse().expect("a status");
                return Ok((status, got[at + 4..at + 4 + length].to_vec()));
            }
        }
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        got.extend_from_slice(&buffer[..read]);
    }
}

async fn object(world: &World, resource: &ApiResource, name: &str) -> Option<Value> {
    let found = world.cluster.get(resource, Some(NAMESPACE), name).await;
    let bytes = found.expect("read")?;
    serde_json::from_slice(&bytes).ok()
}

/// The certificates that the server publishes, as soon as it does.
pub(crate) async fn published(world: &World) -> String {
    let maps = ApiResource::known("", "v1", "ConfigMap", "configmaps", true);
    let look = async || {
        let map = object(world, &maps, AUTHORITY).await?;
        map["data"]["ca.crt"].as_str().map(str::to_owned)
    };
    until(look).await
}

/// What the servers share.
pub(crate) async fn shared(world: &World) -> BTreeMap<String, String> {
    let secrets = ApiResource::known("", "v1", "Secret", "secrets", true);
    let secret = object(world, &secrets, SECRET).await.expect("there");
    let data = secret["data"].as_object().expect("data").iter();
    data.filter_map(|(key, value)| {
        let bytes = BASE64.decode(value.as_str()?).ok()?;
        Some((key.clone(), String::from_utf8_lossy(&bytes).into_owned()))
    })
    .collect()
}

fn over_tls(options: &mut ServerOptions, listen: SocketAddr) {
    options.tls = TlsSource::Generated;
    options.tls_look = Duration::from_millis(50);
    options.downloads = Some(Downloads {
        listen,
        public_url: "https://salvor.velero.svc:8086".to_owned(),
    });
}

#[tokio::test]
async fn every_server_serves_files_under_a_certificate_that_clients_can_check() {
    let world = World::new().await;
    let (first, second) = (free(), free());
    let server = world.serve_with(|options| over_tls(options, first));
    world.back_up("b1", |_| ()).await;
    world
        .until("b1", |b: &Backup| b.status.phase.is_final())
        .await;
    let mut request = DownloadRequest::named(NAMESPACE, "log");
    request.spec.target.kind = DownloadTargetKind::BackupLog;
    "b1".clone_into(&mut request.spec.target.name);
    world.kinds().create(&request).await.expect("created");
    let done = |r: &DownloadRequest| r.status.phase == DownloadRequestPhase::Processed;
    let url = world.until("log", done).await.status.download_url;
    let path = url
        .strip_prefix("https://salvor.velero.svc:8086")
        .expect("the public URL");
    let authority = published(&world).await;

    // A second server stands by: it serves the same addresses under the same certificate.
    let mut options = ServerOptions::new(NAMESPACE, "second");
    over_tls(&mut options, second);
    let standby = world.server(&world.cluster, "second").with_options(options);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let standby = tokio::spawn(async move { standby.run(&stop).await });
    for address in [first, second] {
        let fetched = async || {
            let stream = connect(address, "salvor.velero.svc", &authority, None).await;
            send(&mut stream.ok()?, &format!("GET {path}"), "")
                .await
                .ok()
        };
        let (status, body) = until(fetched).await;
        assert_eq!(status, 200, "{address}");
        assert_eq!(body, world.read("backups/b1/b1-logs.gz").await);
        let mut stream = connect(address, "localhost", &authority, None)
            .await
            .expect("a name of it");
        let forged = format!("GET {}", &path[..path.len() - 1]);
        assert_eq!(
            send(&mut stream, &forged, "").await.expect("answered").0,
            404
        );
        for (name, authority) in [
            ("other.velero.svc", authority.clone()),
            (
                "localhost",
                Authority::generate(1_700_000_000)
                    .expect("made")
                    .certificate()
                    .to_owned(),
            ),
        ] {
            let refused = connect(address, name, &authority, None).await;
            assert!(refused.is_err(), "{name}");
        }
    }
    cancel.cancel();
    standby.await.expect("no panic").expect("served");
    server.stop().await;
}

#[tokio::test]
async fn servers_that_begin_at_once_share_one_authority_and_fill_an_emptied_secret() {
    let world = World::new().await;
    let addresses = [free(), free()];
    let cancel = CancellationToken::new();
    let servers = addresses.map(|address| {
        let identity = address.to_string();
        let mut options = ServerOptions::new(NAMESPACE, &identity);
        over_tls(&mut options, address);
        let server = world
            .server(&world.cluster, &identity)
            .with_options(options);
        let stop = cancel.clone();
        tokio::spawn(async move { server.run(&stop).await })
    });
    let reached = async |authority: &str| {
        for address in addresses {
            let connected = async || connect(address, "localhost", authority, None).await.ok();
            until(connected).await;
        }
    };
    let first = published(&world).await;
    reached(&first).await;
    let secrets = ApiResource::known("", "v1", "Secret", "secrets", true);
    let (body, options) = (br#"{"data": null}"#, WriteOptions::default());
    let emptied =
        world
            .cluster
            .merge_patch(&secrets, Some(NAMESPACE), SECRET, None, body, &options);
    emptied.await.expect("emptied");
    let another = async || {
        let now = published(&world).await;
        (now != first).then_some(now)
    };
    reached(&until(another).await).await;
    assert!(shared(&world).await.contains_key("seal.key"));
    cancel.cancel();
    for server in servers {
        server.await.expect("no panic").expect("served");
    }
}

#[tokio::test]
async fn a_request_that_somebody_else_answered_is_worth_nothing() {
    let world = World::new().await;
    let address = free();
    let server = world.serve_with(|options| {
        options.downloads = Some(Downloads {
            listen: address,
            public_url: String::new(),
        });
    });
    world.back_up("b1", |_| ()).await;
    world
        .until("b1", |b: &Backup| b.status.phase.is_final())
        .await;
    let mut request = DownloadRequest::named(NAMESPACE, "forged");
    request.spec.target.kind = DownloadTargetKind::BackupContents;
    "b1".clone_into(&mut request.spec.target.name);
    request.status.phase = DownloadRequestPhase::Processed;
    request.status.expiration = "2099-01-01T00:00:00Z".parse().ok();
    request.status.download_url = format!("http://{address}/download/forged/{}", "0".repeat(64));
    world.kinds().create(&request).await.expect("created");
    let fetched = async || {
        let mut stream = TcpStream::connect(address).await.ok()?;
        let path = format!("GET /download/forged/{} HTTP/1.0\r\n\r\n", "0".repeat(64));
        stream.write_all(path.as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        Some(text)
    };
    let text = until(fetched).await;
    assert!(
        text.starts_with("HTTP/1.0 404") || text.starts_with("HTTP/1.1 404"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_supplied_certificate_is_renewed_while_connections_last() {
    let world = World::new().await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let now = jiff::Timestamp::now().as_second();
    let authorities = [(); 2].map(|()| Authority::generate(now).expect("made"));
    let supply = |authority: &Authority| {
        let pair = authority
            .server(&["salvor.example.com".to_owned()], now)
            .expect("made");
        std::fs::write(path("tls.key"), pair.key).expect("written");
        std::fs::write(path("tls.crt"), pair.certificate).expect("written");
    };
    supply(&authorities[0]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = world.serve_with(|options| {
        options.metrics = Some(Arc::new(listener));
        options.metrics_tls = true;
        options.tls_look = Duration::from_millis(20);
        options.tls = TlsSource::Files {
            certificate: path("tls.crt"),
            key: path("tls.key"),
            authority: None,
        };
    });
    let shown_by = async |authority: &Authority| {
        let connected = async || {
            let pem = authority.certificate();
            connect(address, "salvor.example.com", pem, None).await.ok()
        };
        until(connected).await
    };
    let mut early = shown_by(&authorities[0]).await;
    let (status, _) = send(&mut early, "GET /healthz", "")
        .await
        .expect("answered");
    assert_eq!(status, 200);
    supply(&authorities[1]);
    let mut late = shown_by(&authorities[1]).await;
    for stream in [&mut early, &mut late] {
        let (status, body) = send(stream, "GET /metrics", "").await.expect("answered");
        assert_eq!(status, 200);
        let text = String::from_utf8(body).expect("text");
        let ends = text
            .lines()
            .find_map(|l| l.strip_prefix("salvor_certificate_expiry_timestamp_seconds "));
        let ends: f64 = ends.expect("measured").parse().expect("a number");
        assert!(ends > 1.7e9, "{ends}");
    }
    // Half a renewal, a key of another certificate, changes nothing.
    std::fs::write(path("tls.key"), "nothing").expect("written");
    let mut late = shown_by(&authorities[1]).await;
    assert_eq!(
        send(&mut late, "GET /healthz", "")
            .await
            .expect("answered")
            .0,
        200
    );
    server.stop().await;
}

#[tokio::test]
async fn metrics_are_for_named_clients_of_the_same_authority_and_probes_for_all() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let server = world.serve_with(|options| {
        options.metrics = Some(Arc::new(listener));
        options.metrics_tls = true;
        options.metrics_clients = vec!["prometheus.monitoring".to_owned()];
        options.tls_look = Duration::from_millis(20);
        options.tls = TlsSource::Generated;
    });
    let authority = published(&world).await;
    let shared = shared(&world).await;
    let ours = Authority::from_pair(Pair {
        certificate: shared["ca.crt"].clone(),
        key: shared["ca.key"].clone(),
    });
    let now = jiff::Timestamp::now().as_second();
    let named = |name: &str| ours.client(name, now).expect("made");
    let as_server = ours
        .server(&["prometheus.monitoring".to_owned()], now)
        .expect("made");
    for (own, metrics) in [
        (None, Some(403)),
        (Some(named("prometheus.monitoring")), Some(200)),
        (Some(named("grafana.monitoring")), Some(403)),
        // For a server, and of an authority that nobody knows.
        (Some(as_server), None),
        (
            Some(
                Authority::generate(now)
                    .expect("made")
                    .client("prometheus.monitoring", now)
                    .expect("made"),
            ),
            None,
        ),
    ] {
        let asked = async {
            let mut stream = connect(address, "localhost", &authority, own.as_ref()).await?;
            let (probe, _) = send(&mut stream, "GET /healthz", "").await?;
            assert_eq!(probe, 200);
            send(&mut stream, "GET /metrics", "").await
        };
        let status = asked.await.ok().map(|(status, _)| status);
        assert_eq!(status, metrics, "{own:?}");
    }
    server.stop().await;
}
