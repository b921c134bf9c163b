//! Asking an endpoint by HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Collected, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::definition::Webhook;
use super::error::{CallError, excerpt};

/// Bytes of an answer with another status that are read for its excerpt.
const COMPLAINT: usize = 64 << 10;
/// How long a connection is kept for the next question.
const IDLE: Duration = Duration::from_secs(30);

/// An endpoint that is asked; connections are kept.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Endpoint {
    /// Prepares to ask; nothing is connected yet.
    ///
    /// # Errors
    /// Why TLS cannot be set up, for people.
    pub(crate) fn new(webhook: &Webhook) -> Result<Self, String> {
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(trust(&webhook.ca_bundle)?)
            .https_or_http()
            .enable_http1()
            .build();
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE);
        // A question is not repeated behind our back: who answers may count.
        builder.retry_canceled_requests(false);
        Ok(Self {
            url: webhook.url.clone(),
            client: builder.build(https),
        })
    }

    pub(crate) async fn ask(&self, question: Bytes, limit: usize) -> Result<Vec<u8>, CallError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(question))
            .map_err(|source| CallError::Request { source })?;
        let response = self.client.request(request).await;
        let response = response.map_err(|source| CallError::Reach {
            url: self.url.clone(),
            source,
        })?;
        let (head, body) = response.into_parts();
        // Redirects are not followed: objects go where the definition says, nowhere else.
        if head.status != StatusCode::OK {
            let said = Limited::new(body, COMPLAINT).collect().await;
            let said = said.map_or_else(|_| Bytes::new(), Collected::to_bytes);
            return Err(CallError::Status {
                code: head.status.as_u16(),
                excerpt: excerpt(&said),
            });
        }
        match Limited::new(body, limit).collect().await {
            Ok(answer) => Ok(answer.to_bytes().to_vec()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                Err(CallError::TooLarge(limit))
            }
            Err(error) => Err(CallError::Read {
                reason: error.to_string(),
            }),
        }
    }
}

/// The client's side of TLS: the system's roots, and those of the definition.
fn trust(ca_bundle: &str) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let own: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(ca_bundle.as_bytes()).collect();
    let own = own.map_err(|error| format!("caBundle is not PEM: {error}"))?;
    if own.is_empty() && !ca_bundle.trim().is_empty() {
        return Err("caBundle holds no certificate".to_owned());
    }
    for certificate in own {
        roots
            .add(certificate)
            .map_err(|error| format!("a certificate of caBundle cannot be used: {error}"))?;
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
