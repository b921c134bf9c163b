//! A server process that outlives this program: started in its own process group, found again
//! through a pid file, stopped by signal.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::{command, paths};

/// The environment variable that holds the test bed's folder.
const MARK: &str = "SALVOR_TESTBED";

/// Where the servers of a test bed listen; the second is what a node's addresses are taken from.
pub(super) const LOCAL: &str = "127.0.0.1,10.0.0.0/8";

/// One server of a test bed; its pid file and log are `<folder>/<name>.pid` and `.log`.
pub(super) struct Process<'a> {
    pub(super) folder: &'a Path,
    pub(super) name: &'static str,
}

impl Process<'_> {
    /// Starts the command with a mark in its environment, by which the process is told from
    /// another one that gets the same number later.
    pub(super) fn start(&self, command: &mut Command) -> Result<(), String> {
        let open = |result: std::io::Result<File>| {
            result.map_err(|error| format!("create {}: {error}", self.log().display()))
        };
        let log = open(File::create(self.log()))?;
        let mut child = command
            .current_dir(self.folder)
            .env(MARK, self.folder)
            // Proxies are for other hosts.
            .env("NO_PROXY", LOCAL)
            .env("no_proxy", LOCAL)
            .stdin(Stdio::null())
            .stdout(open(log.try_clone())?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|error| format!("start {}: {error}", self.name))?;
        paths::write(&self.pid_file(), &child.id().to_string())?;
        // The kernel shows the environment a moment after the program was started; until then the
        // process would be taken for gone.
        let what = format!("{} appears among the processes", self.name);
        command::wait_until(&what, Duration::from_secs(10), || {
            let ended = child.try_wait().is_ok_and(|status| status.is_some());
            Ok(ended || self.is_running())
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.pid().is_some()
    }

    /// Asks the process to end, and after ten seconds kills it; one that is gone is fine.
    pub(super) fn stop(&self) -> Result<(), String> {
        for signal in ["TERM", "KILL"] {
            let Some(pid) = self.pid() else { break };
            signal_process(signal, pid);
            let gone = || Ok(self.pid().is_none());
            let waited = command::wait_until(self.name, Duration::from_secs(10), gone);
            if signal == "KILL" {
                waited?;
            }
        }
        // The file may never have been written.
        let _ = std::fs::remove_file(self.pid_file());
        Ok(())
    }

    /// Waits until the process does its work; one that ended instead is an error with its log.
    pub(super) fn wait_for(&self, ready: impl Fn() -> bool) -> Result<(), String> {
        let limit = Duration::from_secs(120);
        command::wait_until(self.name, limit, || {
            let running = self.is_running();
            if ready() {
                return Ok(true);
            }
            if running {
                Ok(false)
            } else {
                Err(format!("{} ended", self.name))
            }
        })
        .map_err(|error| self.with_log(&error))
    }

    /// An error with the end of the log.
    pub(super) fn with_log(&self, error: &str) -> String {
        format!(
            "{error}; end of {}:\n{}",
            self.log().display(),
            self.log_tail()
        )
    }

    /// The last lines of the log, for error messages.
    fn log_tail(&self) -> String {
        let bytes = std::fs::read(self.log()).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }

    /// The process number while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        let pid: u32 = std::fs::read_to_string(self.pid_file())
            .ok()?
            .trim()
            .parse()
            .ok()?;
        is_of(self.folder, pid).then_some(pid)
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join(format!("{}.pid", self.name))
    }

    pub(super) fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }
}

/// True for a living process that a test bed's server is, or was started by.
pub(super) fn is_of(folder: &Path, pid: u32) -> bool {
    // A zombie has no environment, so one that ended under its parent counts as gone.
    let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else {
        return false;
    };
    let mark = format!("{MARK}={}", folder.display());
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == mark.as_bytes())
}

/// Sends a signal by the shell's own `kill`; a process that just ended is no error.
pub(super) fn signal_process(signal: &str, pid: u32) {
    let script = format!("kill -{signal} {pid} 2>/dev/null");
    let _ = Command::new("sh").arg("-c").arg(script).status();
}
