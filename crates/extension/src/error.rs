//! What goes wrong with a call.

use std::io;
use std::time::Duration;

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
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
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
    /// Its caller stopped it.
    #[error("cancelled")]
    Cancelled,
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
