//! Asking an endpoint by HTTP.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Method, Request, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyDataStream, BodyExt as _, Collected, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::mpsc;
use tokio_util::io::StreamReader;

use super::credentials::Authorization;
use super::definition::Webhook;
use super::error::{CallError, excerpt};
use super::wire::Source;

/// Bytes of an answer with another status that are read for its excerpt.
const COMPLAINT: usize = 64 << 10;
/// Media type of questions to providers.
const CONVERSATION: &str = "application/vnd.salvor.v1";
/// How long a connection is kept for the next question.
const IDLE: Duration = Duration::from_secs(30);

/// An endpoint that is asked; connections are kept.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    url: String,
    client: Client<HttpsConnector<HttpConnector>, BoxBody<Bytes, Infallible>>,
    pub(crate) authorization: Authorization,
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
            authorization: Authorization::new(webhook.credentials.as_ref()),
            client: builder.build(https),
        })
    }

    pub(crate) async fn ask(&self, question: Bytes, limit: usize) -> Result<Vec<u8>, CallError> {
        let body = self
            .post("application/json", Full::new(question).boxed())
            .await?;
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

    /// Posts a question without a body; what is answered, to be read as it comes.
    pub(crate) async fn ask_once(&self, line: Bytes) -> Result<Source, CallError> {
        self.post(CONVERSATION, Full::new(line).boxed())
            .await
            .map(source)
    }

    /// Posts a question as its body is made; what is answered, to be read as it comes.
    pub(crate) async fn converse(
        &self,
        line: Bytes,
        body: mpsc::Receiver<Bytes>,
    ) -> Result<Source, CallError> {
        let first = futures::stream::iter([Ok(Frame::data(line))]);
        let pieces = futures::stream::unfold(body, |mut body: mpsc::Receiver<Bytes>| async move {
            let piece = body.recv().await?;
            Some((Ok(Frame::data(piece)), body))
        });
        let body = BoxBody::new(StreamBody::new(first.chain(pieces)));
        self.post(CONVERSATION, body).await.map(source)
    }

    async fn post(
        &self,
        content_type: &'static str,
        body: BoxBody<Bytes, Infallible>,
    ) -> Result<Incoming, CallError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header(CONTENT_TYPE, content_type);
        if let Some(header) = self.authorization.header().await? {
            request = request.header(AUTHORIZATION, header);
        }
        let request = request
            .body(body)
            .map_err(|source| CallError::Request { source })?;
        let response = self.client.request(request).await;
        let response = response.map_err(|source| CallError::Reach {
            url: self.url.clone(),
            source,
        })?;
        let (head, body) = response.into_parts();
        // Redirects are not followed: objects and credentials go where the definition says, nowhere else.
        if head.status == StatusCode::OK {
            return Ok(body);
        }
        let said = Limited::new(body, COMPLAINT).collect().await;
        let said = said.map_or_else(|_| Bytes::new(), Collected::to_bytes);
        Err(CallError::Status {
            code: head.status.as_u16(),
            excerpt: excerpt(&said),
        })
    }
}

fn source(answer: Incoming) -> Source {
    let answer = BodyDataStream::new(answer).map_err(std::io::Error::other);
    Box::pin(StreamReader::new(answer))
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
