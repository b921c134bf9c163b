//! How long it takes from `salvor backup browse` to kubectl's first answer.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::process;

/// How long browse may take until it serves.
const PATIENCE: Duration = Duration::from_secs(120);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Browsed {
    /// From the start of the process until it said that it serves.
    pub(crate) serving: Duration,
    /// From the start of the process until kubectl had printed its first table.
    pub(crate) first_answer: Duration,
    pub(crate) peak_rss_bytes: u64,
}

/// Ends the process when the measurement is over, however it is over.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing more to do about it here.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves a backup and asks it once with a real kubectl that has no cache.
pub(crate) async fn measure(
    salvor: &Path,
    location: &str,
    backup: &str,
    folder: &Path,
) -> Outcome<Browsed> {
    let kubectl = std::env::var_os("SALVOR_KUBECTL_1_32")
        .map(PathBuf::from)
        .ok_or("SALVOR_KUBECTL_1_32 is not set: `cargo xtask bench` sets it")?;
    // A program that nobody ran lately is read from the disk first, which took 17 s once and is not ours to measure.
    let warm = Command::new(&kubectl)
        .args(["version", "--client"])
        .output()
        .map_err(|error| format!("start kubectl: {error}"))?;
    if !warm.status.success() {
        return Err(format!(
            "kubectl version --client ended with {}",
            warm.status
        ));
    }
    let log = folder.join("browse.log");
    let kubeconfig = folder.join("browse.kubeconfig");
    let mut command = Command::new(salvor);
    command
        .args(["--location", location, "--lang", "en"])
        .args(["backup", "browse", backup, "--write-kubeconfig"])
        .arg(&kubeconfig);
    let start = Instant::now();
    let mut running = Running(process::start_child(&mut command, &log)?);
    let pid = process::pid(&running.0)?;
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    // It prints the line for kubectl once it serves.
    while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("kubectl --kubeconfig")) {
        looks.tick().await;
        let ended = running
            .0
            .try_wait()
            .map_err(|error| format!("wait for browse: {error}"))?;
        if ended.is_some() || start.elapsed() > PATIENCE {
            return Err(format!(
                "`backup browse` does not serve:\n{}",
                process::tail(&log)
            ));
        }
    }
    let serving = start.elapsed();
    let mut kubectl = Command::new(kubectl);
    kubectl
        .env("NO_PROXY", "127.0.0.1")
        .arg("--kubeconfig")
        .arg(&kubeconfig)
        .arg("--cache-dir")
        .arg(folder.join("kubectl-cache"))
        .args(["get", "configmaps", "-n", "bench-00"])
        .stdin(Stdio::null());
    let output = kubectl
        .output()
        .map_err(|error| format!("start kubectl: {error}"))?;
    let first_answer = start.elapsed();
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.contains("config-") {
        return Err(format!(
            "kubectl ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(Browsed {
        serving,
        first_answer,
        peak_rss_bytes: process::peak_rss(pid).unwrap_or_default(),
    })
}
