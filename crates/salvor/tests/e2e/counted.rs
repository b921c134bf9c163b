//! A real API server, or a store, behind a proxy that counts requests: the measure of how far a run of the
//! binary is, and what kills it (SIGKILL) at a chosen one.
//!
//! kube-apiserver speaks TLS only; `kubectl proxy` stands between it and the counting proxy.

use std::io::Read;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use salvor_testkit::fault_proxy::{Fault, FaultProxy};
use salvor_testkit::process::{Server, find_program, or_skip};

use crate::support::Run;

/// A counting proxy in front of a plain HTTP server.
pub(crate) struct Counted {
    proxy: FaultProxy,
    _behind: Option<Server>,
}

impl Counted {
    /// In front of the API server of a kubeconfig; `None`, said aloud, without kubectl.
    pub(crate) async fn api_server(kubeconfig: &Path) -> Option<Self> {
        let kubectl = or_skip(find_program(
            "kubectl",
            "SALVOR_KUBECTL_1_20",
            "tools/kubectl-1.20/kubectl",
        ))?;
        let arguments = [
            "proxy".into(),
            "--port=0".into(),
            format!("--kubeconfig={}", kubeconfig.display()).into(),
        ];
        let no_proxy = [("NO_PROXY", "127.0.0.1"), ("no_proxy", "127.0.0.1")];
        let patience = Duration::from_secs(60);
        let started = Server::start(
            &kubectl.to_string_lossy(),
            &arguments,
            &no_proxy,
            patience,
            |line| {
                let (_, address) = line.split_once("serve on ")?;
                Some(address.trim().to_owned())
            },
        );
        let (server, address) = or_skip(started)?;
        let proxy = FaultProxy::start(&address).await.expect("a free port");
        Some(Self {
            proxy,
            _behind: Some(server),
        })
    }

    /// In front of a server at `host:port`.
    pub(crate) async fn server(address: &str) -> Self {
        let proxy = FaultProxy::start(address).await.expect("a free port");
        Self {
            proxy,
            _behind: None,
        }
    }

    /// `host:port` of the proxy.
    pub(crate) fn address(&self) -> String {
        self.proxy.address().to_string()
    }

    /// Writes a kubeconfig that leads through the proxy.
    pub(crate) fn write_kubeconfig(&self, folder: &Path) -> PathBuf {
        let file = folder.join("kubeconfig-counted");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: c\n  cluster: {{server: \"http://{}\"}}\n\
             contexts:\n- name: c\n  context: {{cluster: c, user: u}}\nusers:\n- name: u\n  user: {{}}\n",
            self.address()
        );
        std::fs::write(&file, text).expect("written");
        file
    }
}

/// What is counted.
#[derive(Clone, Copy)]
pub(crate) enum Measure<'a> {
    /// Requests to a server.
    Requests(&'a Counted),
    /// Requests to a server that are not only reads.
    Writes(&'a Counted),
    /// Files below a folder, beyond those that were there.
    Files(&'a Path),
}

/// Where a run is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// At which of the things counted, from 1.
    pub(crate) number: u64,
    /// For requests: whether the server still gets this one.
    pub(crate) arrives: bool,
}

/// How a run ended.
pub(crate) struct Ended {
    pub(crate) run: Run,
    /// Whether it was killed before it ended by itself.
    pub(crate) killed: bool,
    /// What was counted.
    pub(crate) counted: u64,
    /// What it was killed at.
    pub(crate) at: String,
}

/// A run that is watched.
#[derive(Default)]
struct Watched {
    point: Option<Point>,
    counted: AtomicU64,
    child: Mutex<Option<Child>>,
    at: Mutex<String>,
}

impl Watched {
    /// Kills the run where it is to be killed. True from then on.
    fn has_come_to(&self, number: u64, what: &str) -> bool {
        self.counted.fetch_max(number, Ordering::SeqCst);
        if self.point.is_none_or(|point| number < point.number) {
            return false;
        }
        if let Some(child) = self.child.lock().expect("no panic").as_mut() {
            child.kill().expect("it is ours");
        }
        let mut at = self.at.lock().expect("no panic");
        if at.is_empty() {
            what.clone_into(&mut at);
        }
        true
    }

    fn counted(&self) -> u64 {
        self.counted.load(Ordering::SeqCst)
    }
}

/// Runs a command and counts; at `point` it is killed.
pub(crate) fn run(mut command: Command, measure: Measure<'_>, point: Option<Point>) -> Ended {
    let watched = Arc::new(Watched {
        point,
        ..Watched::default()
    });
    let over = Arc::new(AtomicBool::new(false));
    // Held while the process starts, so that its first request already finds whom to kill.
    let mut slot = watched.child.lock().expect("no panic");
    let looking = match measure {
        Measure::Requests(counted) | Measure::Writes(counted) => {
            let all = matches!(measure, Measure::Requests(_));
            let watched = Arc::clone(&watched);
            counted.proxy.plan(move |seen| {
                if !all && seen.method == "GET" {
                    return None;
                }
                let number = watched.counted() + 1;
                let is_point = point.is_some_and(|point| point.number == number);
                let dead = watched.has_come_to(number, &format!("{} {}", seen.method, seen.target));
                let arrives = is_point && point.is_some_and(|point| point.arrives);
                (dead && !arrives).then_some(Fault::CutBefore)
            });
            None
        }
        Measure::Files(folder) => {
            let (folder, watched, over) =
                (folder.to_owned(), Arc::clone(&watched), Arc::clone(&over));
            let before = files(&folder);
            Some(std::thread::spawn(move || {
                let mut ended = false;
                while !ended {
                    // Looked at first, so that the last look is after the end.
                    ended = over.load(Ordering::SeqCst);
                    let number = files(&folder).saturating_sub(before);
                    if watched.has_come_to(number, "a new file") {
                        break;
                    }
                    std::thread::yield_now();
                }
            }))
        }
    };
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let out = reader(child.stdout.take().expect("piped"));
    let err = reader(child.stderr.take().expect("piped"));
    *slot = Some(child);
    drop(slot);
    let (out, err) = (out.join().expect("no panic"), err.join().expect("no panic"));
    let status = {
        let mut slot = watched.child.lock().expect("no panic");
        let child = slot.as_mut().expect("it was started");
        child.wait().expect("it ends")
    };
    if let Measure::Requests(counted) | Measure::Writes(counted) = measure {
        counted.proxy.plan(|_| None);
    }
    over.store(true, Ordering::SeqCst);
    if let Some(looking) = looking {
        looking.join().expect("no panic");
    }
    let at = watched.at.lock().expect("no panic").clone();
    Ended {
        killed: status.signal().is_some(),
        run: Run {
            code: status.code().unwrap_or(-1),
            out,
            err,
        },
        counted: watched.counted(),
        at,
    }
}

/// Reads a stream to its end, beside the others.
fn reader(mut stream: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("readable");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Number of files below a folder. One that vanishes meanwhile was a temporary one.
fn files(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let mut count = 0;
    for entry in entries.filter_map(Result::ok) {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => count += files(&entry.path()),
            _ => count += 1,
        }
    }
    count
}
