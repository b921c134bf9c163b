//! TLS for remote stores: one provider (ring), the system's roots, a CA of one's own.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// How far a server's certificate is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    /// Further certificates to trust: a PEM file, or the PEM text itself.
    pub(super) ca: Option<String>,
    /// Accept any certificate.
    pub(super) skip_verification: bool,
}

/// The client's side of TLS. The provider is named here, so that nothing depends on one that some other
/// part of the program may or may not have installed.
///
/// # Errors
/// Why the CA cannot be used, for people.
pub(super) fn client_config(trust: &Trust) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    if trust.skip_verification {
        let verifier = AnyCertificate::new(&provider);
        return Ok(builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    // A machine without roots can still use plain HTTP or a CA of its own; a certificate that cannot be
    // verified is refused at the handshake.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(ca) = &trust.ca {
        for certificate in own_certificates(ca)? {
            roots
                .add(certificate)
                .map_err(|error| format!("a certificate of the CA cannot be used: {error}"))?;
        }
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn own_certificates(ca: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let parsed: Result<Vec<_>, _> = if ca.contains("-----BEGIN") {
        CertificateDer::pem_slice_iter(ca.as_bytes()).collect()
    } else {
        CertificateDer::pem_file_iter(ca)
            .map_err(|error| format!("the CA file `{ca}` cannot be read: {error}"))?
            .collect()
    };
    let certificates = parsed.map_err(|error| format!("the CA is not valid PEM: {error}"))?;
    if certificates.is_empty() {
        return Err("the CA holds no certificate in PEM form".to_owned());
    }
    Ok(certificates)
}

/// Accepts every certificate, for `insecureSkipTLSVerify`; the signatures of the handshake still count.
#[derive(Debug)]
struct AnyCertificate {
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyCertificate {
    fn new(provider: &CryptoProvider) -> Self {
        Self {
            algorithms: provider.signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(ca: &str) -> String {
        let trust = Trust {
            ca: Some(ca.to_owned()),
            skip_verification: false,
        };
        client_config(&trust).expect_err("unusable CA")
    }

    #[test]
    fn a_ca_that_cannot_be_used_says_why() {
        assert!(refusal("/no/such/ca.pem").contains("/no/such/ca.pem"));
        let folder = tempfile::tempdir().expect("temporary folder");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "nothing here").expect("written");
        assert!(refusal(&empty.to_string_lossy()).contains("no certificate"));
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(refusal(damaged).contains("cannot be used"));
    }

    #[test]
    fn the_defaults_need_no_ca() {
        client_config(&Trust::default()).expect("usable");
    }
}
