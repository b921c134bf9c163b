//! What an endpoint is shown so that it knows who asks. Never logged, never in an error, never in a fingerprint.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;
use salvor_seal::Secret;
use serde::{Deserialize, Serialize};

use super::definition::Origin;
use super::error::CallError;

/// Longest file of credentials that is read, in bytes.
const MAX_FILE: u64 = 64 << 10;

/// Where credentials are, and how they are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Credentials {
    /// How they are shown.
    pub scheme: Scheme,
    /// A Secret of the server's namespace with the label `salvor.dev/extension`; this or `file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretKey>,
    /// A file, read anew for each question. Only in a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// How credentials are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// The value is a token.
    Bearer,
    /// The value is `user:password`.
    Basic,
}

/// One value of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    #[serde(default = "token")]
    pub key: String,
}

fn token() -> String {
    "token".to_owned()
}

impl Credentials {
    pub(crate) fn check(&self, origin: Origin) -> Result<(), String> {
        match (&self.secret, &self.file) {
            (Some(secret), None) if secret.name.is_empty() || secret.key.is_empty() => {
                Err("credentials.secret needs a name and a key".to_owned())
            }
            (Some(_), None) => Ok(()),
            (None, Some(_)) if origin == Origin::Cluster => {
                Err("credentials.file would send a file of the server's: name a secret".to_owned())
            }
            (None, Some(_)) => Ok(()),
            _ => Err("credentials need either secret or file".to_owned()),
        }
    }
}

/// Credentials of an endpoint, as far as they are known.
#[derive(Clone, Debug)]
pub(crate) enum Authorization {
    None,
    /// Named by a Secret that nobody has looked up.
    Unknown(SecretKey),
    Known(Arc<HeaderValue>),
    File(Scheme, PathBuf),
}

impl Authorization {
    pub(crate) fn new(credentials: Option<&Credentials>) -> Self {
        match credentials {
            None => Self::None,
            Some(Credentials {
                scheme,
                file: Some(path),
                ..
            }) => Self::File(*scheme, path.clone()),
            Some(Credentials { secret, .. }) => secret.clone().map_or(Self::None, Self::Unknown),
        }
    }

    /// The header to send, if there is one.
    pub(crate) async fn header(&self) -> Result<Option<HeaderValue>, CallError> {
        match self {
            Self::None => Ok(None),
            Self::Known(header) => Ok(Some((**header).clone())),
            Self::Unknown(secret) => Err(CallError::Credentials(format!(
                "secret `{}` was not looked up: only a run with a cluster can",
                secret.name
            ))),
            Self::File(scheme, path) => {
                let unreadable = |error: std::io::Error| {
                    CallError::Credentials(format!("{}: {error}", path.display()))
                };
                let length = tokio::fs::metadata(path).await.map_err(unreadable)?.len();
                if length > MAX_FILE {
                    let path = path.display();
                    return Err(CallError::Credentials(format!("{path} is over 64 KiB")));
                }
                let text = tokio::fs::read_to_string(path).await.map_err(unreadable)?;
                let header = header(*scheme, &Secret::new(text));
                header
                    .map(Some)
                    .map_err(|reason| CallError::Credentials(reason.to_owned()))
            }
        }
    }
}

/// The header that shows credentials; what is wrong with them, without them.
pub(crate) fn header(scheme: Scheme, value: &Secret) -> Result<HeaderValue, &'static str> {
    let value = value.expose().trim();
    let text = match scheme {
        _ if value.is_empty() => return Err("they are empty"),
        Scheme::Bearer => Secret::new(format!("Bearer {value}")),
        Scheme::Basic if !value.contains(':') => return Err("they are not user:password"),
        Scheme::Basic => Secret::new(format!("Basic {}", BASE64.encode(value))),
    };
    let mut header = HeaderValue::from_str(text.expose())
        .map_err(|_| "they have characters that a header cannot hold")?;
    header.set_sensitive(true);
    Ok(header)
}
