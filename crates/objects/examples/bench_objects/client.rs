//! A plain HTTP client: a kubeconfig, kept connections, bytes. It sets the limit that the product is measured
//! against, so nothing of the product's own client is in it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

use crate::Outcome;

/// Failed connects of one request after which it fails.
const CONNECTS: u32 = 20;

/// One API server over kept HTTP/1.1 connections.
#[derive(Clone)]
pub(crate) struct Plain {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    token: Option<HeaderValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: ClusterEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ClusterEntry {
    server: String,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: ContextEntry,
}

#[derive(Deserialize)]
struct ContextEntry {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: UserEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct UserEntry {
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Plain {
    /// The cluster of the kubeconfig's current context.
    pub(crate) fn from_kubeconfig(path: &Path) -> Outcome<Self> {
        let shown = path.display();
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("read {shown}: {error}"))?;
        let file: Kubeconfig =
            serde_saphyr::from_str(&text).map_err(|error| format!("read {shown}: {error}"))?;
        let missing = |what: &str| format!("{shown}: its current context names no {what}");
        let context = file
            .contexts
            .iter()
            .find(|context| context.name == file.current_context)
            .map(|context| &context.context)
            .ok_or_else(|| missing("context of the file"))?;
        let cluster = file
            .clusters
            .iter()
            .find(|cluster| cluster.name == context.cluster)
            .map(|cluster| &cluster.cluster)
            .ok_or_else(|| missing("cluster of the file"))?;
        let user = file
            .users
            .iter()
            .find(|user| user.name == context.user)
            .map(|user| &user.user)
            .ok_or_else(|| missing("user of the file"))?;
        Self::new(cluster, user).map_err(|error| format!("{shown}: {error}"))
    }

    fn new(cluster: &ClusterEntry, user: &UserEntry) -> Outcome<Self> {
        let mut roots = rustls::RootCertStore::empty();
        let authority = cluster
            .certificate_authority_data
            .as_deref()
            .ok_or("no certificate-authority-data: embed the certificates in the file")?;
        for certificate in CertificateDer::pem_slice_iter(&decode(authority)?) {
            let certificate =
                certificate.map_err(|error| format!("certificate-authority-data: {error}"))?;
            roots
                .add(certificate)
                .map_err(|error| format!("certificate-authority-data: {error}"))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .with_root_certificates(roots);
        let tls = match (&user.client_certificate_data, &user.client_key_data) {
            (Some(chain), Some(key)) => {
                let chain = CertificateDer::pem_slice_iter(&decode(chain)?)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| format!("client-certificate-data: {error}"))?;
                let key = PrivateKeyDer::from_pem_slice(&decode(key)?)
                    .map_err(|error| format!("client-key-data: {error}"))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("client certificate: {error}"))?
            }
            _ if user.token.is_some() => builder.with_no_client_auth(),
            _ => {
                return Err(
                    "its user has neither a token nor client-certificate-data and client-key-data"
                        .to_owned(),
                );
            }
        };
        let token = user
            .token
            .as_deref()
            .map(|token| HeaderValue::try_from(format!("Bearer {token}")))
            .transpose()
            .map_err(|error| format!("token: {error}"))?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            base: cluster.server.trim_end_matches('/').to_owned(),
            token,
        })
    }

    /// Sends a request; the body of the answer is still on its way.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Outcome<Response<hyper::body::Incoming>> {
        let mut request = Request::builder()
            .method(method.clone())
            .uri(format!("{}{path}", self.base))
            .header(ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        let request = request
            .body(Full::new(body))
            .map_err(|error| format!("{method} {path}: {error}"))?;
        let mut failures = 0;
        loop {
            match self.client.request(request.clone()).await {
                Ok(response) => return Ok(response),
                // A busy server resets connections before it accepts them; nothing was sent yet.
                Err(error) if error.is_connect() && failures < CONNECTS => {
                    failures += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(format!("{method} {path}: {}", chain(&error))),
            }
        }
    }

    /// Sends a request and reads its whole answer.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Outcome<(StatusCode, Bytes)> {
        let response = self.send(method.clone(), path, body).await?;
        let status = response.status();
        let answer = response
            .into_body()
            .collect()
            .await
            .map_err(|error| format!("{method} {path}: {}", chain(&error)))?;
        Ok((status, answer.to_bytes()))
    }

    /// The answer to a GET, which must be a success.
    pub(crate) async fn get(&self, path: &str) -> Outcome<Bytes> {
        let (status, answer) = self.call(Method::GET, path, Bytes::new()).await?;
        if status.is_success() {
            Ok(answer)
        } else {
            Err(format!("GET {path}: {}", refusal(status, &answer)))
        }
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, path: &str) -> Outcome<()> {
        let (status, answer) = self.call(Method::DELETE, path, Bytes::new()).await?;
        if status.is_success() {
            Ok(())
        } else {
            Err(format!("DELETE {path}: {}", refusal(status, &answer)))
        }
    }

    /// True when there is no object at the path.
    pub(crate) async fn is_missing(&self, path: &str) -> Outcome<bool> {
        let (status, _) = self.call(Method::GET, path, Bytes::new()).await?;
        Ok(status == StatusCode::NOT_FOUND)
    }

    /// How many objects a collection holds, by the server's own count, without those that `except` selects
    /// by field; there may be only a few of these.
    pub(crate) async fn count(&self, collection: &str, except: Option<&str>) -> Outcome<u64> {
        let all = self.count_list(&format!("{collection}?limit=1")).await?;
        let excepted = match except {
            Some(selector) => {
                let path = format!("{collection}?fieldSelector={selector}");
                self.count_list(&path).await?
            }
            None => 0,
        };
        all.checked_sub(excepted)
            .ok_or_else(|| format!("count {collection}: it changes meanwhile"))
    }

    async fn count_list(&self, path: &str) -> Outcome<u64> {
        #[derive(Deserialize)]
        struct List {
            metadata: Metadata,
            items: Vec<serde::de::IgnoredAny>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            #[serde(default)]
            remaining_item_count: u64,
        }
        let answer = self.get(path).await?;
        let list: List =
            serde_json::from_slice(&answer).map_err(|error| format!("count {path}: {error}"))?;
        Ok(list.metadata.remaining_item_count + list.items.len() as u64)
    }
}

/// `409 Conflict: configmaps "x" already exists`.
pub(crate) fn refusal(status: StatusCode, answer: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Status {
        message: String,
    }
    let message = serde_json::from_slice::<Status>(answer).map_or_else(
        |_| {
            String::from_utf8_lossy(&answer[..answer.len().min(300)])
                .trim()
                .to_owned()
        },
        |status| status.message,
    );
    format!("{status}: {message}")
}

fn decode(text: &str) -> Outcome<Vec<u8>> {
    STANDARD
        .decode(text.trim())
        .map_err(|error| format!("base64: {error}"))
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        text.push_str(": ");
        text.push_str(&current.to_string());
        cause = current.source();
    }
    text
}
