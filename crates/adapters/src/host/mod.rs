//! A place where programs run and files lie.

mod files;
mod local;
mod ssh;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

pub use files::Owner;
pub use local::Local;
pub use ssh::{Ssh, SshAddress};

/// Bytes of output that are kept where nobody takes it; a command that says more is an error.
pub const KEPT: usize = 1 << 20;
/// Bytes of errors that are kept: the last ones.
pub const KEPT_ERRORS: usize = 16 << 10;

/// A machine or a container.
///
/// What callers rely on:
/// - **The exit status is the program's.** A connection that breaks, an input that the program stopped taking before it ended
///   with success, and an output that came in part are errors.
/// - **Complete streams.** All of the input is given and its end told; all of the output is passed on before `run` returns.
/// - **Given up is ended.** A command that took too long, or whose future is dropped, is ended as far as the transport can; where
///   it cannot tell, the error says that it may still run.
#[async_trait]
pub trait Host: fmt::Debug + Send + Sync {
    /// As a person knows it: `master-1`.
    fn name(&self) -> &str;

    /// Runs a program to its end.
    ///
    /// # Errors
    /// It could not be begun, or its end is not known. A status that is not 0 is no error here: see [`Ended::success`].
    async fn run(&self, command: Command<'_>) -> Result<Ended, HostError>;
}

/// A program to run, without a shell unless one is named.
pub struct Command<'a> {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// What it reads.
    pub input: Input<'a>,
    /// Where its output goes; kept in [`Ended::stdout`] where nowhere.
    pub output: Option<&'a mut (dyn AsyncWrite + Send + Unpin)>,
    /// How long it may take.
    pub limit: Duration,
}

/// What a program reads.
pub enum Input<'a> {
    /// Nothing: it sees the end at once.
    Empty,
    /// These bytes.
    Bytes(Bytes),
    /// All of a stream of so many bytes, where that is known: a transport that cannot tell the end needs it.
    Stream {
        /// The stream.
        from: &'a mut (dyn AsyncRead + Send + Unpin),
        /// Its length in bytes.
        length: Option<u64>,
    },
}

impl<'a> Command<'a> {
    /// A program without input, whose output is kept, for a minute at most.
    pub fn new<T: Into<String>>(argv: impl IntoIterator<Item = T>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            input: Input::Empty,
            output: None,
            limit: Duration::from_secs(60),
        }
    }

    /// A script for `sh`, whose parameters `$1` and so on are passed as they are.
    pub fn script<T: Into<String>>(text: &str, parameters: impl IntoIterator<Item = T>) -> Self {
        let head = ["sh", "-c", text, "sh"].map(str::to_owned);
        let parameters = parameters.into_iter().map(Into::into);
        Self::new(head.into_iter().chain(parameters))
    }

    /// With this input.
    #[must_use]
    pub fn with_input(mut self, input: Input<'a>) -> Self {
        self.input = input;
        self
    }

    /// With its output passed on.
    #[must_use]
    pub fn with_output(mut self, output: &'a mut (dyn AsyncWrite + Send + Unpin)) -> Self {
        self.output = Some(output);
        self
    }

    /// With so much time.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// For messages: its program and arguments, without what it reads.
    #[must_use]
    pub fn describe(&self) -> String {
        // A script is told by its beginning: the rest is ours.
        let mut text = self.argv.join(" ").replace('\n', " ");
        if let Some((end, _)) = text.char_indices().nth(200) {
            text.truncate(end);
            text.push_str(" ...");
        }
        text
    }
}

impl fmt::Debug for Command<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Command")
            .field("argv", &self.argv)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// How a program ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What a program left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How it ended.
    pub exit: Exit,
    /// Its output, where it was not passed on.
    pub stdout: Bytes,
    /// The end of its errors, as text.
    pub stderr: String,
}

impl Ended {
    /// Its output, where it ended with code 0.
    ///
    /// # Errors
    /// [`HostError::Failed`].
    pub fn success(self, host: &dyn Host, doing: &str) -> Result<Bytes, HostError> {
        if self.exit == Exit::Code(0) {
            return Ok(self.stdout);
        }
        let said = self.stderr.trim();
        Err(HostError::Failed {
            host: host.name().to_owned(),
            doing: doing.to_owned(),
            exit: self.exit,
            said: match said {
                "" => "it said nothing".to_owned(),
                said => format!("it said: {said}"),
            },
        })
    }
}

/// Why something could not be done on a host.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// A program ended, but not with success.
    #[error("cannot {doing} on {host}: {exit}; {said}")]
    Failed {
        /// The host.
        host: String,
        /// What was to be done: a verb phrase.
        doing: String,
        /// How the program ended.
        exit: Exit,
        /// The end of its errors.
        said: String,
    },
    /// The program is not there, or may not be run.
    #[error("cannot run {command} on {host}")]
    NotRun {
        /// The host.
        host: String,
        /// The program and its arguments.
        command: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The host cannot be reached, or the connection broke: the program may have run.
    #[error("the connection to {host} failed while {command} was run there: {detail}")]
    Connection {
        /// The host.
        host: String,
        /// The program and its arguments.
        command: String,
        /// What the transport said.
        detail: String,
    },
    /// It took too long.
    #[error("{command} on {host} did not end within {limit:?}; {then}")]
    TooLong {
        /// The host.
        host: String,
        /// The program and its arguments.
        command: String,
        /// How long it had.
        limit: Duration,
        /// What was done about it.
        then: String,
    },
    /// Input or output was cut.
    #[error("{what} of {command} on {host} was cut")]
    Cut {
        /// The host.
        host: String,
        /// The program and its arguments.
        command: String,
        /// Which stream.
        what: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It said more than is kept.
    #[error("{command} on {host} wrote more than {KEPT} bytes, which is not expected of it")]
    TooMuch {
        /// The host.
        host: String,
        /// The program and its arguments.
        command: String,
    },
    /// What it said makes no sense.
    #[error("cannot {doing} on {host}: its answer {answer:?} makes no sense")]
    Answer {
        /// The host.
        host: String,
        /// What was to be done.
        doing: String,
        /// What it said.
        answer: String,
    },
}
