//! What a process uses, and one that may not use more than so much memory.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Between two looks at memory and processors, of which the peak never falls.
const LOOK: Duration = Duration::from_millis(5);

/// What one process used.
#[derive(Clone, Copy, Default)]
pub(crate) struct Used {
    pub(crate) wall: Duration,
    /// Processor time, user and system, up to the last look.
    pub(crate) cpu_seconds: f64,
    /// With pages of files that it mapped (`VmHWM`).
    pub(crate) peak_megabytes: u64,
    /// Without them (`RssAnon`), at the looks.
    pub(crate) own_megabytes: u64,
}

/// Runs a process to its good end.
pub(crate) fn measure(command: &mut Command) -> Outcome<Used> {
    let begin = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.stderr(Stdio::piped()).spawn()?;
    let mut stderr = child.stderr.take().ok_or("no pipe")?;
    // Read beside, so that nobody waits for a full pipe.
    let said = std::thread::spawn(move || {
        let mut text = String::new();
        // What is not text is no reason either.
        let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
        text
    });
    let of = |name: &str| format!("/proc/{}/{name}", child.id());
    let (status_file, stat_file) = (of("status"), of("stat"));
    let mut used = Used::default();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let status = std::fs::read_to_string(&status_file).unwrap_or_default();
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
            number.unwrap_or(0) >> 10
        };
        used.peak_megabytes = used.peak_megabytes.max(megabytes("VmHWM:"));
        used.own_megabytes = used.own_megabytes.max(megabytes("RssAnon:"));
        let cpu = std::fs::read_to_string(&stat_file).ok();
        let cpu = cpu.and_then(|stat| processors(&stat)).unwrap_or(0.0);
        used.cpu_seconds = used.cpu_seconds.max(cpu);
        std::thread::park_timeout(LOOK);
    };
    used.wall = begin.elapsed();
    let said = said.join().unwrap_or_default();
    if !status.success() {
        let last = said.lines().last().unwrap_or_default();
        return Err(format!("{status}: {last}").into());
    }
    Ok(used)
}

/// User and system time of `/proc/PID/stat`, whose ticks are hundredths of a second on every Linux that counts.
fn processors(stat: &str) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How memory is kept small.
pub(crate) enum Limit {
    /// A cgroup of its own, page cache included.
    Cgroup { folder: PathBuf, megabytes: u64 },
    /// Where there is none for us: what the process allocates.
    Data { megabytes: u64 },
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cgroup { megabytes, .. } => write!(
                f,
                "{megabytes} MiB of memory, page cache included (a memory cgroup)"
            ),
            Self::Data { megabytes } => write!(
                f,
                "{megabytes} MiB of allocated data (`ulimit -d`; page cache and mapped files do not count, there is no cgroup)"
            ),
        }
    }
}

impl Limit {
    /// The best that can be had.
    pub(crate) fn of(megabytes: u64) -> Self {
        let name = format!("salvor-bench-{}", std::process::id());
        let bytes = (megabytes << 20).to_string();
        for (root, file) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
        ] {
            let folder = Path::new(root).join(&name);
            if std::fs::create_dir(&folder).is_ok() {
                // Elsewhere it is a folder like any other.
                let is_cgroup = folder.join("cgroup.procs").exists();
                if is_cgroup && std::fs::write(folder.join(file), &bytes).is_ok() {
                    return Self::Cgroup { folder, megabytes };
                }
                // Empty, and ours.
                let _ = std::fs::remove_dir(&folder);
            }
        }
        Self::Data { megabytes }
    }

    pub(crate) fn run(&self, program: &Path, arguments: &[OsString]) -> Outcome<Used> {
        let mut command = Command::new("/bin/sh");
        match self {
            Self::Cgroup { folder, .. } => {
                let line = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
                command.args(["-c", line]).arg(folder);
            }
            Self::Data { megabytes } => {
                let kibibytes = (megabytes << 10).to_string();
                let line = "ulimit -d \"$0\" && exec \"$@\"";
                command.args(["-c", line]).arg(kibibytes);
            }
        }
        measure(command.arg(program).args(arguments))
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        if let Self::Cgroup { folder, .. } = self {
            // It is empty once its processes have ended.
            let _ = std::fs::remove_dir(folder);
        }
    }
}
