//! `etcd stream`, `etcd timeline` and `etcd restore` with a real etcd.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use salvor_testkit::process::Server;
use salvor_testkit::required_path;
use serde_json::Value;

use crate::support::{Place, Run};

const PATIENCE: Duration = Duration::from_secs(60);

/// A member, and who writes to it.
struct Etcd {
    _server: Server,
    endpoint: String,
    etcdctl: PathBuf,
}

impl Etcd {
    fn start(data: &Path) -> Option<Self> {
        let etcd = required_path("SALVOR_ETCD_3_5_16")?;
        let etcdctl = required_path("SALVOR_ETCDCTL_3_5_16")?;
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let [client, peer] = listeners.map(|listener| {
            let port = listener.local_addr().expect("bound").port();
            format!("http://127.0.0.1:{port}")
        });
        let mut arguments: Vec<OsString> = vec!["--data-dir".into(), data.into()];
        let rest = [
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("default={peer}"),
        ];
        arguments.extend(rest.iter().map(OsString::from));
        let program = etcd.display().to_string();
        let ready = |line: &str| {
            line.contains("ready to serve client requests")
                .then_some(())
        };
        let started = Server::start(&program, &arguments, &[], PATIENCE, ready);
        let (server, ()) = started.unwrap_or_else(|error| panic!("{error}"));
        Some(Self {
            _server: server,
            endpoint: client,
            etcdctl,
        })
    }

    fn put(&self, key: &str) -> u64 {
        let output = Command::new(&self.etcdctl)
            .args([
                "--endpoints",
                &self.endpoint,
                "put",
                key,
                "value",
                "-w",
                "json",
            ])
            .output()
            .expect("it runs");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        answer["header"]["revision"].as_u64().expect("a revision")
    }
}

struct Bench {
    place: Place,
    etcd: Etcd,
}

impl Bench {
    fn new() -> Option<Self> {
        let place = Place::new();
        let etcd = Etcd::start(&place.home.path().join("source"))?;
        let home = place.home.path();
        let config = format!(
            "version: 1\nlocations:\n  off:\n    url: file://{}\n",
            home.join("off").display()
        );
        std::fs::create_dir(home.join("off")).expect("a folder");
        std::fs::write(home.join("config.yaml"), config).expect("a file");
        let bench = Self { place, etcd };
        bench
            .run("backup-location init off --new-identity id.txt")
            .expect(0);
        Some(bench)
    }

    fn words(line: &str) -> Vec<&str> {
        let mut words = vec!["--config-file", "config.yaml", "--location", "off"];
        words.extend(line.split_whitespace());
        words
    }

    fn run(&self, line: &str) -> Run {
        self.place.salvor(&Self::words(line))
    }

    fn stream(&self) -> Child {
        let line = format!(
            "etcd stream --endpoints {} --rpo 1 --idle 1 --lease 2 --metrics-file etcd.prom",
            self.etcd.endpoint
        );
        self.place
            .command(&Self::words(&line))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs")
    }

    /// Waits until so much can be reached.
    fn wait_for(&self, revision: u64) -> Value {
        let begun = Instant::now();
        loop {
            let listed = self.run("etcd timeline -o json");
            let listed: Value = serde_json::from_str(listed.expect(0)).expect("JSON");
            let reach = &listed[0]["histories"][0]["reachable"][0]["to"];
            if reach.as_u64().is_some_and(|reach| reach >= revision) {
                return listed;
            }
            assert!(begun.elapsed() < PATIENCE, "{listed}");
        }
    }
}

#[test]
fn what_a_killed_stream_captured_is_listed_and_restored() {
    let Some(bench) = Bench::new() else {
        return;
    };
    bench.etcd.put("/registry/pods/a/one");
    let mut stream = bench.stream();
    bench.wait_for(2);
    let before = bench.etcd.put("/registry/pods/a/two");
    bench.wait_for(before);
    stream.kill().expect("it is ours");
    stream.wait().expect("it ends");
    let last = bench.etcd.put("/registry/pods/a/three");
    let mut stream = bench.stream();
    let listed = bench.wait_for(last);
    assert_eq!(listed[0]["histories"][0]["gaps"], serde_json::json!([]));
    let sent = Command::new("kill")
        .args(["-TERM", &stream.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    assert_eq!(stream.wait().expect("it ends").code(), Some(0));
    let home = bench.place.home.path();
    let metrics = std::fs::read_to_string(home.join("etcd.prom")).expect("metrics");
    assert!(metrics.contains(&format!("\"}} {last}\n")), "{metrics}");
    let table = bench.run("etcd timeline");
    assert!(table.expect(0).contains("000001-"), "{}", table.out);

    let restored = bench.run("etcd restore --latest --identity id.txt --data-dir data -o json");
    let restored: Value = serde_json::from_str(restored.expect(0)).expect("JSON");
    assert_eq!(restored["revision"].as_u64(), Some(last));
    assert_eq!(restored["raisedTo"].as_u64(), Some(last + 1_000_000_000));
    let line =
        format!("etcd restore --to-revision {before} --identity id.txt --data-dir two --exact");
    let told = bench.run(&line);
    assert!(
        told.expect(0).contains(&format!("revision {before}")),
        "{}",
        told.out
    );
    for (line, code) in [
        ("--to-revision 99999 --identity id.txt", 3),
        ("--to-time 2000-01-01T00:00:00Z --identity id.txt", 3),
        ("--to-time 2999-01-01T00:00:00Z --identity id.txt", 3),
        ("--latest", 2),
        ("--identity id.txt", 2),
        ("--latest --to-revision 3 --identity id.txt", 2),
        ("--latest --identity id.txt --quota-backend-bytes 10", 4),
        ("--latest --identity id.txt --data-dir data", 4),
        ("--latest --identity id.txt --cluster xyz", 2),
    ] {
        let line = format!("etcd restore {line}");
        bench.run(&line).expect(code);
    }
    assert!(!home.join("default.etcd").exists());
}
