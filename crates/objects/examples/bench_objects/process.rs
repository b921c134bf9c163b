//! A child process and what it used: wall time, processor time, peak memory, as the kernel counts them.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitIdOptions, waitid};

use crate::Outcome;

/// Between two looks at the peak memory. The kernel's figure never falls, so only what a process takes in
/// its last moments can be missed.
const LOOK: Duration = Duration::from_millis(10);
/// `/proc` counts processor time in hundredths of a second on every platform that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a finished process used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    /// User and system seconds of all its threads.
    pub(crate) cpu_seconds: f64,
    pub(crate) peak_rss_bytes: u64,
}

/// Runs a command to its end, which must be a success. Its output goes to `log`.
pub(crate) async fn run(command: &mut Command, log: &Path) -> Outcome<Used> {
    let line = line(command);
    eprintln!("+ {line}");
    let start = Instant::now();
    let mut child = start_child(command, log)?;
    let pid = pid(&child)?;
    let mut peak = 0;
    // Not reaped yet: the counters of processor time stay readable until then.
    let seen = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let mut looks = tokio::time::interval(LOOK);
    loop {
        looks.tick().await;
        if let Some(bytes) = peak_rss(pid) {
            peak = peak.max(bytes);
        }
        let ended = waitid(rustix::process::WaitId::Pid(pid), seen)
            .map_err(|error| format!("wait for `{line}`: {error}"))?;
        if ended.is_some() {
            break;
        }
    }
    let wall = start.elapsed();
    let cpu_seconds = cpu_seconds(pid)?;
    let status = child
        .wait()
        .map_err(|error| format!("wait for `{line}`: {error}"))?;
    if !status.success() {
        return Err(format!(
            "`{line}` ended with {status}:\n{}",
            tail(log).trim_end()
        ));
    }
    Ok(Used {
        wall,
        cpu_seconds,
        peak_rss_bytes: peak,
    })
}

/// Starts a command whose output goes to `log`.
pub(crate) fn start_child(command: &mut Command, log: &Path) -> Outcome<Child> {
    let file = || File::create(log).map_err(|error| format!("create {}: {error}", log.display()));
    let stdout = file()?;
    let stderr = stdout
        .try_clone()
        .map_err(|error| format!("open {}: {error}", log.display()))?;
    command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .map_err(|error| format!("start `{}`: {error}", line(command)))
}

/// The process id, as rustix has it.
pub(crate) fn pid(child: &Child) -> Outcome<Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| format!("{} is not a process id", child.id()))
}

/// The most memory that a running process ever had resident, in bytes.
pub(crate) fn peak_rss(pid: Pid) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// User and system seconds of a process that was not reaped yet.
fn cpu_seconds(pid: Pid) -> Outcome<f64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).map_err(|error| format!("read {path}: {error}"))?;
    // The second field is the program's name in parentheses, which may hold blanks.
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .map_or(stat.as_str(), |(_, rest)| rest)
        .split_whitespace()
        .collect();
    let ticks = |index: usize| -> Outcome<f64> {
        fields
            .get(index)
            .and_then(|field| field.parse().ok())
            .ok_or_else(|| format!("{path} has no processor time"))
    };
    // Fields 14 and 15 of proc(5), counted from the third.
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// The end of a log, for messages.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

fn line(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
