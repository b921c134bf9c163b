//! From PEM to what a connection is protected with, and who is at its other end.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::authority::{AuthorityError, Pair, life};

/// Why there is no certificate to show.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("read `{}`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A Secret or ConfigMap cannot be read or written.
    #[error("{doing}")]
    Cluster {
        /// What we were doing.
        doing: String,
        /// Why.
        #[source]
        source: Box<salvor_cluster::Error>,
    },
    /// A Secret has not what it should have.
    #[error("secret `{name}` has no {key}")]
    Missing {
        /// The Secret.
        name: String,
        /// The key.
        key: &'static str,
    },
    /// A text is no PEM of what it should be.
    #[error("{what} cannot be used: {reason}")]
    Unusable {
        /// The certificate, its key or the authority.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A certificate cannot be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// There are no random numbers.
    #[error("make a key: no random numbers")]
    Random,
}

/// What connections are protected with.
#[derive(Clone, Debug)]
pub(crate) struct Material {
    /// For connections whose client need not say who it is.
    pub(crate) open: Arc<ServerConfig>,
    /// The same, but a client is asked for a certificate; one that shows none is let in as nobody. `None` when
    /// there is no authority that such a certificate could be of.
    pub(crate) asking: Option<Arc<ServerConfig>>,
    /// Certificates of the authority, PEM; empty when they are not known.
    pub(crate) authority: String,
    /// When the certificate ends, in seconds since 1970.
    pub(crate) until: Option<i64>,
}

impl Material {
    pub(super) fn new(pair: &Pair, authority: &str) -> Result<Self, TlsError> {
        let open = config(pair, None)?;
        let asking = match authority.trim() {
            "" => None,
            authority => Some(config(pair, Some(authority))?),
        };
        Ok(Self {
            open,
            asking,
            authority: authority.to_owned(),
            until: life(&pair.certificate).map(|(_, until)| until),
        })
    }
}

fn config(pair: &Pair, clients: Option<&str>) -> Result<Arc<ServerConfig>, TlsError> {
    let unusable = |what, reason: String| TlsError::Unusable { what, reason };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("the certificate", error.to_string()))?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            for root in CertificateDer::pem_slice_iter(authority.as_bytes()) {
                let root = root.map_err(|error| unusable("the authority", error.to_string()))?;
                let added = roots.add(root);
                added.map_err(|error| unusable("the authority", error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| unusable("the authority", error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect();
    let chain = chain.map_err(|error| unusable("the certificate", error.to_string()))?;
    if chain.is_empty() {
        let reason = "it holds none".to_owned();
        return Err(unusable("the certificate", reason));
    }
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
        .map_err(|error| unusable("the key", error.to_string()))?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| unusable("the certificate with this key", error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Who is at the other end of a connection, as far as a certificate tells that our authority signed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl Peer {
    /// True when the certificate is for one of these names.
    pub(crate) fn is_one_of(&self, names: &[String]) -> bool {
        let Some(certificate) = &self.certificate else {
            return false;
        };
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
            return false;
        };
        names.iter().any(|name| {
            ServerName::try_from(name.as_str())
                .is_ok_and(|name| verify_server_name(&parsed, &name).is_ok())
        })
    }
}
