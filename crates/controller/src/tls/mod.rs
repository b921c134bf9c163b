//! Keys and certificates: where they come from, how long they last, who has them.
//!
//! Everything secret stands in one Secret, [`SECRET`], which all servers of a namespace share: the key of our own
//! small authority, the certificate that servers show, and the key of seals. What clients need, the authority's
//! certificate, stands in the ConfigMap [`AUTHORITY`] too, which says nothing secret.
//!
//! Invariants:
//! - what is shown is looked up anew for every connection, so a renewed certificate needs no restart;
//! - of servers that renew at once one wins: every write names the version that it was decided from;
//! - a certificate is renewed when a third of its life is left, and an authority's successor is published long
//!   before it signs anything.

mod authority;
mod der;
mod keys;
mod source;

use std::fmt;
use std::str::FromStr;

pub use self::authority::{Authority, AuthorityError, Pair};
pub(crate) use self::keys::{Keeper, Keys};
pub use self::source::TlsError;
pub(crate) use self::source::{Material, Peer};

/// Name of the Secret with everything that servers share.
pub const SECRET: &str = "salvor-keys";
/// Name of the ConfigMap with the certificates of the authority, under `ca.crt`.
pub const AUTHORITY: &str = "salvor-ca";

/// Key of the authority's certificates in the Secret and the ConfigMap.
pub const CA_CERTIFICATES: &str = "ca.crt";

/// Where the certificate comes from that a server shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TlsSource {
    /// There is none: connections are plain.
    #[default]
    Off,
    /// An authority of our own makes it.
    Generated,
    /// A Secret of the server's namespace with `tls.crt`, `tls.key` and perhaps `ca.crt`, as cert-manager writes it.
    Secret(String),
    /// Files, PEM; read again when they change.
    Files {
        /// The certificate and what leads to its authority.
        certificate: std::path::PathBuf,
        /// Its key.
        key: std::path::PathBuf,
        /// Certificates of the authority that clients' certificates must come from; none are accepted without.
        authority: Option<std::path::PathBuf>,
    },
}

/// A text that names no source of certificates.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of off, generated, secret:NAME and files:CERTIFICATE,KEY[,AUTHORITY]")]
pub struct TlsSourceError(String);

impl FromStr for TlsSource {
    type Err = TlsSourceError;

    fn from_str(text: &str) -> Result<Self, TlsSourceError> {
        let refused = || TlsSourceError(text.to_owned());
        match text.split_once(':') {
            None if text == "off" => Ok(Self::Off),
            None if text == "generated" => Ok(Self::Generated),
            Some(("secret", name)) if !name.is_empty() => Ok(Self::Secret(name.to_owned())),
            Some(("files", files)) => {
                let files: Vec<&str> = files.split(',').collect();
                if files.iter().any(|file| file.is_empty()) {
                    return Err(refused());
                }
                match files.as_slice() {
                    [certificate, key] => Ok(Self::Files {
                        certificate: certificate.into(),
                        key: key.into(),
                        authority: None,
                    }),
                    [certificate, key, authority] => Ok(Self::Files {
                        certificate: certificate.into(),
                        key: key.into(),
                        authority: Some(authority.into()),
                    }),
                    _ => Err(refused()),
                }
            }
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for TlsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Generated => f.write_str("generated"),
            Self::Secret(name) => write!(f, "secret:{name}"),
            Self::Files {
                certificate,
                key,
                authority,
            } => {
                write!(f, "files:{},{}", certificate.display(), key.display())?;
                match authority {
                    Some(authority) => write!(f, ",{}", authority.display()),
                    None => Ok(()),
                }
            }
        }
    }
}

impl TlsSource {
    /// True when connections are protected.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self != Self::Off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_written_as_it_is_read() {
        for text in [
            "off",
            "generated",
            "secret:salvor-tls",
            "files:/tls/tls.crt,/tls/tls.key",
            "files:a,b,c",
        ] {
            let source: TlsSource = text.parse().expect("a source");
            assert_eq!(source.to_string(), text);
            assert_eq!(source.is_on(), text != "off");
        }
        for text in [
            "",
            "on",
            "secret:",
            "files:a",
            "files:a,",
            "files:a,b,c,d",
            "off:",
        ] {
            assert!(text.parse::<TlsSource>().is_err(), "{text}");
        }
    }
}
