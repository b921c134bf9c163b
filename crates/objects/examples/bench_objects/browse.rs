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
    /// From the start of the process until it printed its kubeconfig.
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
    let log = folder.join("browse.log");
    let start = Instant::now();
    let mut command = Command::new(salvor);
    command.args([
        "--location",
        location,
        "--lang",
        "en",
        "backup",
        "browse",
        backup,
    ]);
    let mut running = Running(process::start_child(&mut command, &log)?);
    let pid = process::pid(&running.0)?;
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    let kubeconfig = loop {
        looks.tick().await;
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(kubeconfig) = kubeconfig_in(&text) {
            break kubeconfig;
        }
        let ended = running
            .0
            .try_wait()
            .map_err(|error| format!("wait for browse: {error}"))?;
        if ended.is_some() || start.elapsed() > PATIENCE {
            return Err(format!(
                "`backup browse` printed no kubeconfig:\n{}",
                process::tail(&log)
            ));
        }
    };
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

/// The path that the program prints once it serves, in a line such as `export KUBECONFIG=/tmp/x/kubeconfig`.
fn kubeconfig_in(text: &str) -> Option<PathBuf> {
    let (_, rest) = text
        .split_once("KUBECONFIG=")
        .or_else(|| text.split_once("--kubeconfig "))?;
    // Only a line that has ended is whole.
    let (line, _) = rest.split_once('\n')?;
    let path = line.split_whitespace().next()?;
    Some(PathBuf::from(path.trim_matches(['\'', '"'])))
}
