//! A client of etcd: the few calls that a backup needs, over HTTP/2 with TLS, client certificates and passwords.
//!
//! Start with [`Access`] and [`Member::connect`].

mod calls;
mod channel;
mod cluster;
mod hash;
mod tls;
mod watch;

use std::fmt;
use std::io;
use std::time::Duration;

use salvor_seal::Secret;

pub use calls::{Alarm, AlarmKind, Member, Pieces, Range, Status};
pub use hash::Hash;
pub use watch::{Event, Watch, Watched};

use crate::protobuf::Malformed;

/// Port that is meant when none is given.
const PORT: u16 = 2379;

/// Where members are and who asks.
#[derive(Clone, Debug)]
pub struct Access {
    /// Certificates of the authorities that members are checked against, PEM; those of the machine without it.
    pub authorities: Option<Vec<u8>>,
    /// Certificate and key of this client, PEM.
    pub identity: Option<(Vec<u8>, Secret)>,
    /// User and password.
    pub user: Option<(String, Secret)>,
    /// How long a connection or an answer may take. A stream may take as long between two messages.
    pub patience: Duration,
}

impl Access {
    /// Whether an endpoint without a scheme is reached over TLS.
    fn is_secure(&self) -> bool {
        self.authorities.is_some() || self.identity.is_some()
    }
}

/// The address of a member for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    secure: bool,
}

impl Endpoint {
    /// Reads `host:port`, `http://host:port` or `https://host:port`. Without a scheme, TLS is used when `access` names
    /// authorities or an identity, as `etcdctl` does.
    ///
    /// # Errors
    /// It is none of these.
    pub fn new(text: &str, access: &Access) -> Result<Self, Error> {
        let bad = |why| Error::Endpoint {
            endpoint: text.to_owned(),
            why,
        };
        let (secure, rest) = match text.split_once("://") {
            None => (access.is_secure(), text),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(bad("its scheme is neither http nor https")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.is_empty()
            || rest.contains(['/', '?', '#', '@'])
            || rest.contains(char::is_whitespace)
        {
            return Err(bad("it is not HOST:PORT"));
        }
        // A colon before the closing bracket belongs to an IPv6 address.
        let after_host = rest.rfind(']').map_or(0, |bracket| bracket + 1);
        let (host, port) = match rest[after_host..].rfind(':') {
            Some(colon) => {
                let (host, port) = rest.split_at(after_host + colon);
                let port = port[1..].parse();
                (
                    host,
                    port.map_err(|_| bad("its port is no number from 0 to 65535"))?,
                )
            }
            None => (rest, PORT),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if bare.is_empty() || bare.contains(':') != host.starts_with('[') {
            return Err(bad("its host is none; an IPv6 address stands in brackets"));
        }
        Ok(Self {
            host: bare.to_owned(),
            port,
            secure,
        })
    }

    /// `host:port`.
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// Why a member could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address is none.
    #[error("`{endpoint}` is no endpoint: {why}")]
    Endpoint {
        /// What was given.
        endpoint: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Certificates or a key cannot be used.
    #[error("the {what} cannot be used: {why}")]
    Credentials {
        /// Which.
        what: &'static str,
        /// What is wrong with them.
        why: String,
    },
    /// No connection, or none that both sides trust.
    #[error("connect to {endpoint}")]
    Connect {
        /// Whom.
        endpoint: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The connection broke.
    #[error("{call} of {endpoint}")]
    Http {
        /// The call.
        call: &'static str,
        /// Of whom.
        endpoint: String,
        /// What happened.
        #[source]
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{endpoint} did not answer {call} within {} seconds", .patience.as_secs())]
    Timeout {
        /// The call.
        call: &'static str,
        /// Who.
        endpoint: String,
        /// How long it was waited for.
        patience: Duration,
    },
    /// The member said no.
    #[error("{endpoint} refused {call}: {message} (code {code})")]
    Refused {
        /// The call.
        call: &'static str,
        /// Who.
        endpoint: String,
        /// gRPC's code.
        code: u32,
        /// What it said.
        message: String,
    },
    /// What came is no answer of etcd.
    #[error("{endpoint} answered {call} with something else: {why}")]
    Answer {
        /// The call.
        call: &'static str,
        /// Who.
        endpoint: String,
        /// What is wrong with it.
        why: String,
    },
    /// An answer cannot be read.
    #[error("the answer of {endpoint} to {call} cannot be read")]
    Malformed {
        /// The call.
        call: &'static str,
        /// Who.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: Malformed,
    },
}

/// gRPC's code for what has none.
const UNKNOWN: u32 = 2;
/// gRPC's codes for missing rights.
const PERMISSION_DENIED: u32 = 7;
const UNAUTHENTICATED: u32 = 16;
/// etcd's code for a wrong password or a missing user name.
const INVALID_ARGUMENT: u32 = 3;

impl Error {
    /// True when who asks has no right to, or is not who he says.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Refused { code, message, .. } => {
                let denied = [PERMISSION_DENIED, UNAUTHENTICATED, INVALID_ARGUMENT].contains(code);
                // Calls with many answers lose their code on the way out of etcd.
                denied || *code == UNKNOWN && message.starts_with("auth: ")
            }
            _ => false,
        }
    }

    /// True when what was given for the connection is wrong.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Endpoint { .. } | Self::Credentials { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(secure: bool) -> Access {
        Access {
            authorities: secure.then(Vec::new),
            identity: None,
            user: None,
            patience: Duration::from_secs(1),
        }
    }

    #[test]
    fn endpoints_have_the_forms_that_etcdctl_takes() {
        for (text, secure, expected) in [
            ("127.0.0.1:2379", false, "http://127.0.0.1:2379"),
            ("127.0.0.1:2379", true, "https://127.0.0.1:2379"),
            ("http://h:1", true, "http://h:1"),
            ("https://h", false, "https://h:2379"),
            ("https://[::1]:2/", false, "https://[::1]:2"),
            ("[::1]", false, "http://[::1]:2379"),
        ] {
            let endpoint = Endpoint::new(text, &access(secure)).expect(text);
            assert_eq!(endpoint.to_string(), expected);
        }
        for bad in [
            "",
            "ftp://h:1",
            "h:x",
            "h:1/path",
            "::1:2",
            "http://",
            "a b",
            "[]:1",
            "u@h",
        ] {
            let error = Endpoint::new(bad, &access(false)).expect_err(bad);
            assert!(error.is_usage(), "{error}");
        }
    }
}
