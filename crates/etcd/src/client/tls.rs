//! TLS towards a member.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::{Access, Error};

fn unusable(what: &'static str) -> impl Fn(String) -> Error {
    move |why| Error::Credentials { what, why }
}

/// What both sides of a connection are checked with.
pub(super) fn config(access: &Access) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("TLS library")(error.to_string()))?
        .with_root_certificates(roots(access)?);
    let mut config = match &access.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate, "client certificate")?;
            let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes())
                .map_err(|error| unusable("key of the client certificate")(error.to_string()))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| unusable("client certificate with its key")(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn roots(access: &Access) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    match &access.authorities {
        Some(pem) => {
            let what = "certificates of the authorities";
            for certificate in certificates(pem, what)? {
                roots
                    .add(certificate)
                    .map_err(|error| unusable(what)(error.to_string()))?;
            }
        }
        None => {
            // Machines carry certificates that nobody can read any more; one of the others may be the right one.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let read = read.map_err(|error| unusable(what)(error.to_string()))?;
    if read.is_empty() {
        return Err(unusable(what)(
            "there is no certificate in the file".to_owned(),
        ));
    }
    Ok(read)
}
