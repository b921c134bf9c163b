//! What goes wrong with a call.

use std::fmt;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An action failed for an object.
#[derive(Debug, thiserror::Error)]
#[error("item action `{action}`")]
pub struct Failed {
    /// Name of the action.
    pub action: String,
    /// Why.
    #[source]
    pub source: CallError,
}

impl Failed {
    /// The error with its causes, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }

    /// True when it was stopped by its caller.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.source, CallError::Cancelled)
    }
}

/// Why a call did not end with an answer that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Nobody answers, or TLS fails.
    #[error("reach {url}")]
    Reach {
        /// The endpoint.
        url: String,
        /// Why.
        #[source]
        source: hyper_util::client::legacy::Error,
    },
    /// The question cannot be put into a request.
    #[error("put the question into a request")]
    Request {
        /// Why.
        #[source]
        source: http::Error,
    },
    /// There was no answer in time.
    #[error("no answer within {}s", .0.as_secs_f64())]
    Timeout(Duration),
    /// It answered with another status than 200.
    #[error("it answered with status {code}: {excerpt}")]
    Status {
        /// The status.
        code: u16,
        /// The beginning of what it said.
        excerpt: String,
    },
    /// The answer broke off.
    #[error("read the answer: {reason}")]
    Read {
        /// Why.
        reason: String,
    },
    /// The answer is longer than is read.
    #[error("its answer is longer than {0} bytes")]
    TooLarge(usize),
    /// The answer is not of the contract.
    #[error("its answer is not JSON of the contract")]
    Malformed {
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The answer is of another version.
    #[error("its answer has version `{0}`, v1 is needed")]
    Version(String),
    /// It refused the object.
    #[error("it says: {0}")]
    Refused(String),
    /// It changed what an object is.
    #[error("its answer changes {field} from `{from}` to `{to}`")]
    Changed {
        /// The field.
        field: &'static str,
        /// What it was.
        from: String,
        /// What it would be.
        to: String,
    },
    /// It changed what it must leave alone.
    #[error("its answer changes {0}, which is not its to change")]
    Foreign(String),
    /// It answered something that means nothing here.
    #[error("its answer has {0}")]
    Meaningless(&'static str),
    /// The program cannot be started.
    #[error("start `{program}`")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Talking to the program failed.
    #[error("talk to the program")]
    Pipe {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The program failed.
    #[error("the program ended with {status}: {excerpt}")]
    Exit {
        /// How.
        status: std::process::ExitStatus,
        /// The beginning of what it said on standard error.
        excerpt: String,
    },
    /// The credentials that its endpoint is to be shown cannot be had.
    #[error("get its credentials: {0}")]
    Credentials(String),
    /// The answer, or its body, ends before it says that it is whole.
    #[error("its answer breaks off")]
    BrokenOff,
    /// A body is not framed as the contract says.
    #[error("its answer has `{0}` where the length of a chunk belongs")]
    Chunk(String),
    /// The bytes of a body are not those that its end speaks of.
    #[error("the bytes that arrived are not those that it sent")]
    Digest,
    /// It listens no longer.
    #[error("it stopped listening before the question was whole")]
    Unheard,
    /// It says why it cannot.
    #[error("{0}")]
    Told(Complaint),
    /// Its caller stopped it.
    #[error("cancelled")]
    Cancelled,
}

/// Why a provider cannot do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Complaint {
    /// What kind of reason.
    pub code: Code,
    /// For people.
    #[serde(default)]
    pub message: String,
    /// With [`Code::Throttled`]: how many seconds to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// Kinds of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// There is no such thing.
    NotFound,
    /// A thing of this name is there.
    AlreadyExists,
    /// Rights are missing.
    Denied,
    /// There is no room.
    Full,
    /// It can never do this.
    Unsupported,
    /// It asks to come back later.
    Throttled,
    /// It failed and may not the next time; what was to be changed may have been.
    Transient,
    /// A rule of retention forbids it.
    Locked,
    /// The question makes no sense.
    Invalid,
    /// What is stored is damaged.
    Corrupt,
    /// Anything else; what was to be changed may have been.
    Other,
}

impl Complaint {
    /// What is shown of it: foreign text is short and on one line.
    pub(crate) fn shortened(&self) -> String {
        excerpt(self.message.as_bytes())
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it says {:?}: {}", self.code, self.shortened())
    }
}

/// A provider failed.
#[derive(Debug, thiserror::Error)]
#[error("ask provider `{provider}` for `{method}`")]
pub struct ProviderError {
    /// Name of the provider.
    pub provider: String,
    /// What it was asked for.
    pub method: &'static str,
    /// Why it failed.
    #[source]
    pub source: CallError,
}

impl ProviderError {
    /// The kind of reason that it gave, if it gave one.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        match &self.source {
            CallError::Told(complaint) => Some(complaint.code),
            _ => None,
        }
    }

    /// The error with its causes, in one line.
    #[must_use]
    pub fn chain(&self) -> String {
        chain(self)
    }

    /// True when the same question may be answered later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match &self.source {
            CallError::Told(complaint) => {
                matches!(complaint.code, Code::Throttled | Code::Transient)
            }
            CallError::Reach { .. }
            | CallError::Timeout(_)
            | CallError::Read { .. }
            | CallError::BrokenOff
            | CallError::Unheard => true,
            CallError::Status { code, .. } => matches!(code, 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// True when what was to be changed may have been changed all the same.
    #[must_use]
    pub fn may_have_happened(&self) -> bool {
        match &self.source {
            CallError::Told(complaint) => {
                matches!(complaint.code, Code::Transient | Code::Other)
            }
            CallError::Reach { source, .. } => !source.is_connect(),
            CallError::Start { .. } | CallError::Request { .. } => false,
            _ => true,
        }
    }

    /// True when it was stopped by its caller.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.source, CallError::Cancelled)
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Longest part of a foreign text that is repeated, in characters.
const EXCERPT: usize = 200;

/// The beginning of a foreign text, on one line.
pub(crate) fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * EXCERPT)]);
    let one_line = text
        .trim()
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    let short: String = one_line.take(EXCERPT).collect();
    if short.is_empty() {
        "it said nothing".to_owned()
    } else {
        short
    }
}
