//! TLS: a certificate of one's own is trusted when its definition says so, and no other is.

use std::io::BufReader;
use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use salvor_api::resource::ObjectKey;
use salvor_extension::{ActionKind, Actions, Occasion, Origin, Subject};
use salvor_testkit::webhook::{Reply, exchange};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const CERTIFICATE: &str = include_str!("tls/certificate.pem");
const KEY: &str = include_str!("tls/key.pem");

/// Answers `{"version": "v1"}` under the certificate, for ever.
fn serve() -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).expect("PEM");
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("defaults")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("a pair");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            std::thread::spawn(move || {
                let mut stream = BufReader::new(StreamOwned::new(connection, stream));
                let mut answer = Vec::new();
                let good = |_: &Value| Reply::Json(json!({"version": "v1"}));
                // A client that does not trust us hangs up.
                if exchange(&mut stream, &mut answer, good).is_ok() {
                    use std::io::Write as _;
                    let _ = stream.get_mut().write_all(&answer);
                    let _ = stream.get_mut().flush();
                }
            });
        }
    });
    format!("https://localhost:{port}/")
}

async fn ask(url: &str, ca_bundle: &str) -> Result<(), String> {
    let document = json!({"version": "v1", "actions": [{"name": "e.com/a", "kind": "BackupItemAction",
        "webhook": {"url": url, "caBundle": ca_bundle}}]});
    let actions = Actions::parse(&document.to_string(), Origin::Cluster).expect("valid");
    let subject = Subject {
        kind: ActionKind::BackupItemAction,
        occasion: &Occasion::default(),
        key: &ObjectKey::cluster("nodes".parse().expect("a resource"), "n"),
    };
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    let cancel = CancellationToken::new();
    let asked = actions.ask(&subject, object, None, &cancel);
    asked.await.map(drop).map_err(|failed| failed.chain())
}

#[tokio::test]
async fn only_a_certificate_that_the_definition_names_is_trusted() {
    let url = serve();
    ask(&url, CERTIFICATE).await.expect("trusted");
    let error = ask(&url, "").await.expect_err("unknown");
    assert!(error.contains("certificate"), "{error}");
}
