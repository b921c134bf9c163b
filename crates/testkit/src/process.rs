//! Servers as child processes: started, waited for, and gone with the test.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

/// For what an ended server said and has not come through its pipes yet.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The server runs beside a watcher that ends it when our end of the watcher's input closes. That happens
/// when the test drops the server, and also when the test process dies without dropping anything.
const WATCHED: &str = r#"
exec 3<&0
"$0" "$@" </dev/null 3<&- &
server=$!
{ cat <&3 >/dev/null; kill "$server" 2>/dev/null; } >/dev/null 2>&1 &
exec 3<&-
wait "$server"
echo "server ended with status $?"
"#;

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is not installed.
    #[error("{name} is not installed: set {variable} or put it at {}", .expected.display())]
    Missing {
        /// What is missing.
        name: &'static str,
        /// The environment variable that may name the program.
        variable: &'static str,
        /// Where the test runner installs it.
        expected: PathBuf,
    },
    /// It could not be started, or did not say that it is ready.
    #[error("{program} did not start: {reason}; it said:\n{output}")]
    Failed {
        /// The program.
        program: String,
        /// What went wrong.
        reason: String,
        /// What it printed so far.
        output: String,
    },
}

/// A running child process. Dropping it ends the process and waits for that.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Closing it ends the server.
    watch: Option<ChildStdin>,
}

impl Server {
    /// Starts a program and reads what it prints until `ready` makes something of a line.
    ///
    /// # Errors
    /// The program cannot be started, ends, or says nothing of the kind within `patience`.
    pub fn start<T>(
        program: &str,
        arguments: &[OsString],
        environment: &[(&str, &str)],
        patience: Duration,
        ready: impl Fn(&str) -> Option<T>,
    ) -> Result<(Self, T), StartError> {
        let failed = |reason: &str, output: String| StartError::Failed {
            program: program.to_owned(),
            reason: reason.to_owned(),
            output,
        };
        let mut child = Command::new("/bin/sh")
            .args(["-c", WATCHED, program])
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error.to_string(), String::new()))?;
        let watch = child.stdin.take();
        let (sender, lines) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, sender);
        }
        let server = Self { child, watch };
        match wait(&lines, patience, ready) {
            Ok(found) => Ok((server, found)),
            Err((reason, output)) => Err(failed(reason, output)),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watch.take());
        // The shell ends after its server. A failure here has nobody to go to.
        let _ = self.child.wait();
    }
}

/// Passes lines on for as long as the server prints, so that it never blocks on a full pipe.
fn forward(stream: impl Read + Send + 'static, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            // After the start nobody listens any more.
            let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
}

fn wait<T>(
    lines: &Receiver<String>,
    patience: Duration,
    ready: impl Fn(&str) -> Option<T>,
) -> Result<T, (&'static str, String)> {
    let deadline = Instant::now() + patience;
    let mut output = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(line) = lines.recv_timeout(left) else {
            return Err(("it is not ready in time", output));
        };
        if let Some(found) = ready(&line) {
            return Ok(found);
        }
        output.push_str(&line);
        output.push('\n');
        if line.starts_with("server ended with status") {
            // What it said before may come by the other pipe a moment later. Both end with it, unless a child of its
            // own holds them.
            let until = Instant::now() + LAST_WORDS;
            let left = || until.saturating_duration_since(Instant::now());
            while let Ok(line) = lines.recv_timeout(left()) {
                output.push_str(&line);
                output.push('\n');
            }
            return Err(("it ended", output));
        }
    }
}

/// A program that tests need: what the environment variable names, else what the test runner put into the
/// cache folder.
///
/// # Errors
/// [`StartError::Missing`] when there is neither.
pub fn find_program(
    name: &'static str,
    variable: &'static str,
    in_cache: &str,
) -> Result<PathBuf, StartError> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    if let Some(program) = set(variable) {
        return Ok(program);
    }
    let cache = set("SALVOR_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("salvor")))
        .or_else(|| set("HOME").map(|folder| folder.join(".cache/salvor")))
        .unwrap_or_default();
    let expected = cache.join(in_cache);
    if expected.is_file() {
        Ok(expected)
    } else {
        Err(StartError::Missing {
            name,
            variable,
            expected,
        })
    }
}

/// What a test does about a server that may be missing: `None`, said aloud, when it is; but where everything
/// is required, a missing server fails the test.
///
/// # Panics
/// The server is there and does not start, or is missing and required.
pub fn or_skip<T>(started: Result<T, StartError>) -> Option<T> {
    match started {
        Ok(server) => Some(server),
        Err(error @ StartError::Missing { .. }) => {
            crate::skip::skipped(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Result<(Server, u32), StartError> {
        let arguments = ["-c".into(), script.into()];
        Server::start("/bin/sh", &arguments, &[], PATIENCE, |line| {
            line.strip_prefix("ready ")?.parse().ok()
        })
    }

    #[test]
    fn a_dropped_server_is_gone() {
        let (server, pid) = shell("echo starting; echo ready $$; exec sleep 1000").expect("starts");
        let entry = PathBuf::from(format!("/proc/{pid}"));
        assert!(entry.exists(), "the server runs");
        drop(server);
        assert!(!entry.exists(), "the server is gone");
    }

    #[test]
    fn a_server_that_ends_at_once_says_what_it_said() {
        let error = shell("echo no such option >&2; exit 3").expect_err("it ends");
        let text = error.to_string();
        assert!(
            text.contains("no such option") && text.contains("status 3"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_program_is_named_with_its_variable() {
        let error = find_program("thing", "SALVOR_NO_SUCH_VARIABLE", "tools/none/thing");
        let text = error.expect_err("missing").to_string();
        assert!(text.contains("SALVOR_NO_SUCH_VARIABLE") && text.contains("tools/none/thing"));
    }
}
