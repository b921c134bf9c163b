//! Why a command did not end well.

use std::time::Duration;

use super::{ProcessEnd, Tail};
use crate::error::{Error, ErrorKind};

/// Characters of a command's own errors that a message quotes: databases print whole rows there.
const QUOTED: usize = 300;

/// A command that did not end with exit code 0, as far as is known.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {failure}")]
pub struct ExecError {
    operation: String,
    failure: ExecFailure,
}

/// What happened to a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecFailure {
    /// The caller may not run commands in this pod.
    #[error("not allowed: {reason}; the verbs get and create on pods/exec are needed")]
    Forbidden {
        /// What the server says.
        reason: String,
    },
    /// There is no such pod.
    #[error("there is no such pod")]
    NoPod,
    /// The pod has no such container.
    #[error("the pod has no such container: {reason}")]
    NoContainer {
        /// What the server says.
        reason: String,
    },
    /// The pod or the container does not run.
    #[error("the container does not run: {reason}")]
    NotRunning {
        /// What the server says.
        reason: String,
    },
    /// The server refused, or could not be reached, for another reason.
    #[error("{}", .0.reason())]
    Refused(Box<Error>),
    /// The server cannot end an input, and the command has one.
    #[error(
        "the server speaks only the older exec protocol, which cannot end a command's input; the input was \
         not sent"
    )]
    NoEndOfInput,
    /// The node could not start the command.
    #[error("it could not be started: {reason}")]
    NotStarted {
        /// What the node says.
        reason: String,
    },
    /// The command ended with another exit code than 0.
    #[error("it ended with exit code {code}{}", quote(.stderr))]
    Exit {
        /// The exit code.
        code: i32,
        /// The end of its errors.
        stderr: Tail,
    },
    /// The time was up.
    #[error("it did not end within {} s; {process}", .limit.as_secs_f32())]
    Timeout {
        /// How long it was given.
        limit: Duration,
        /// What became of its process.
        process: ProcessEnd,
    },
    /// The caller gave up.
    #[error("cancelled; {process}")]
    Cancelled {
        /// What became of its process.
        process: ProcessEnd,
    },
    /// The connection ended before the status came.
    #[error("it is not known whether the command ended: {detail}")]
    Lost {
        /// How it ended.
        detail: String,
    },
    /// The server sent what the protocol does not have.
    #[error("it is not known whether the command ended: the server sent {detail}")]
    Malformed {
        /// What it sent.
        detail: String,
    },
}

impl ExecError {
    pub(super) fn new(operation: String, failure: ExecFailure) -> Self {
        Self { operation, failure }
    }

    /// What happened.
    #[must_use]
    pub fn failure(&self) -> &ExecFailure {
        &self.failure
    }

    /// True unless the command was certainly not started.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        match &self.failure {
            ExecFailure::Forbidden { .. }
            | ExecFailure::NoPod
            | ExecFailure::NoContainer { .. }
            | ExecFailure::NotRunning { .. }
            | ExecFailure::NotStarted { .. } => false,
            ExecFailure::Refused(error) => error.may_have_happened(),
            ExecFailure::NoEndOfInput
            | ExecFailure::Exit { .. }
            | ExecFailure::Timeout { .. }
            | ExecFailure::Cancelled { .. }
            | ExecFailure::Lost { .. }
            | ExecFailure::Malformed { .. } => true,
        }
    }

    /// True when the caller gave up.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(self.failure, ExecFailure::Cancelled { .. })
    }
}

impl ExecFailure {
    /// Sorts a refusal by what it means for the command.
    pub(super) fn refused(error: Error) -> Self {
        let reason = error.reason().to_owned();
        // Kubelets say the former of containers that do not run, API servers the latter of pods without a
        // node.
        let not_running = ["container not found", "does not have a host assigned"];
        match error.kind() {
            ErrorKind::Forbidden => Self::Forbidden { reason },
            // A pod whose node is gone is answered with the node's name.
            ErrorKind::NotFound if is_about(&error, "nodes") => Self::NotRunning { reason },
            ErrorKind::NotFound => Self::NoPod,
            _ if reason.contains("is not valid for pod") => Self::NoContainer { reason },
            _ if not_running.iter().any(|text| reason.contains(text)) => {
                Self::NotRunning { reason }
            }
            _ => Self::Refused(Box::new(error)),
        }
    }
}

fn is_about(error: &Error, resource: &str) -> bool {
    let details = error.status().and_then(|status| status.details.as_ref());
    details.is_some_and(|details| details.kind == resource)
}

fn quote(stderr: &Tail) -> String {
    match stderr.line(QUOTED) {
        line if line.is_empty() => String::new(),
        line => format!(": {line}"),
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn refusals_of_a_real_server_have_names() {
        for (code, body, expected) in [
            (
                404,
                r#"{"message":"pods \"a\" not found","reason":"NotFound","code":404,"details":{"name":"a","kind":"pods"}}"#,
                "there is no such pod",
            ),
            (
                404,
                r#"{"message":"nodes \"n\" not found","reason":"NotFound","code":404,"details":{"name":"n","kind":"nodes"}}"#,
                "the container does not run: nodes \"n\" not found",
            ),
            (
                400,
                r#"{"message":"pod a does not have a host assigned","reason":"BadRequest","code":400}"#,
                "the container does not run: pod a does not have a host assigned",
            ),
            (
                400,
                r#"{"message":"container x is not valid for pod a","reason":"BadRequest","code":400}"#,
                "the pod has no such container: container x is not valid for pod a",
            ),
            (
                403,
                r#"{"message":"pods \"a\" is forbidden: no","reason":"Forbidden","code":403}"#,
                "not allowed: pods \"a\" is forbidden: no; the verbs get and create on pods/exec are needed",
            ),
        ] {
            let code = StatusCode::from_u16(code).expect("a code");
            let error = Error::from_answer("run", code, body.as_bytes(), None, true);
            assert_eq!(ExecFailure::refused(error).to_string(), expected);
        }
    }
}
