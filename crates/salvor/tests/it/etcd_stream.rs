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
pub(crate) struct Etcd {
    _server: Server,
    pub(crate) endpoint: String,
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

    pub(crate) fn put(&self, key: &str) -> u64 {
        self.change(&["put", key, "value"])
    }

    /// Runs `etcdctl`; gives what it says.
    fn ctl(&self, line: &[&str]) -> Vec<u8> {
        let output = Command::new(&self.etcdctl)
            .args(["--endpoints", &self.endpoint, "-w", "json"])
            .args(line)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    /// Changes something; gives the revision after it.
    fn change(&self, line: &[&str]) -> u64 {
        let answer: Value = serde_json::from_slice(&self.ctl(line)).expect("JSON");
        answer["header"]["revision"].as_u64().expect("a revision")
    }
}

pub(crate) struct Bench {
    pub(crate) place: Place,
    pub(crate) etcd: Etcd,
}

impl Bench {
    /// Points are listed, verified and held; what may go is told and noted, and nothing goes yet.
    fn is_pruned(&self, last: u64) {
        let points = self.run("point get -o json");
        let points: Value = serde_json::from_str(points.expect(0)).expect("JSON");
        let id = points[0]["id"].as_str().expect("an id").to_owned();
        let sound = self.run(&format!("point verify {id}"));
        assert!(sound.expect(0).contains("is sound"), "{}", sound.out);
        let held = self.run(&format!("point hold {id} --reason audit"));
        assert!(held.expect(0).contains("held"), "{}", held.out);
        let table = self.run("points get");
        assert!(table.expect(0).contains("sound"), "{}", table.out);
        let plan = self.run("etcd prune --keep last=1 --window 1h --dry-run");
        assert!(plan.out.contains("held: audit"), "{}", plan.out);
        let done = self.run("etcd prune --keep last=1 --window 1h -o json");
        let done: Value = serde_json::from_str(done.expect(0)).expect("JSON");
        assert_eq!(done["removed"]["objects"], 0, "{done}");
        self.run("etcd prune --grace 0h").expect(2);
        self.run(&format!("point release {id}")).expect(0);
        self.run(&format!("point release {id}")).expect(3);
        self.run("point get none").expect(3);
        self.wait_for(last);
    }

    pub(crate) fn new() -> Option<Self> {
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

    pub(crate) fn words(line: &str) -> Vec<&str> {
        let mut words = vec!["--config-file", "config.yaml", "--location", "off"];
        words.extend(line.split_whitespace());
        words
    }

    pub(crate) fn run(&self, line: &str) -> Run {
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
    pub(crate) fn wait_for(&self, revision: u64) -> Value {
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
    let made = bench.run("etcd compact --identity id.txt --reason weekly -o json");
    let made: Value = serde_json::from_str(made.expect(0)).expect("JSON");
    assert_eq!(made["details"]["revision"].as_u64(), Some(last), "{made}");
    assert!(made["details"]["merged"]["hashKv"].is_u64(), "{made}");
    bench.run("etcd compact --identity id.txt").expect(4);
    bench.run("etcd compact").expect(2);
    bench
        .run("etcd compact --identity id.txt --chain none")
        .expect(3);
    let told = bench.run(&format!(
        "etcd compact --identity id.txt --to-revision {before}"
    ));
    assert!(told.expect(0).contains("HashKV"), "{}", told.out);
    let table = bench.run("etcd timeline");
    assert!(table.expect(0).contains("every hour"), "{}", table.out);

    bench.is_pruned(last);

    // The members were 3.5.16.
    for (version, code) in [("3.4", 4), ("v3.5.30", 0)] {
        let line = format!(
            "etcd restore --latest --identity id.txt --data-dir {version} --etcd-version {version}"
        );
        bench.run(&line).expect(code);
        assert_eq!(home.join(version).exists(), code == 0);
    }
    for (line, code) in [
        ("--latest --identity id.txt --etcd-version three", 2),
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

/// A custom resource as an API server stores it.
fn thing(name: &str, mode: &str) -> (String, String) {
    let key = format!("/registry/example.io/things/shop/{name}");
    let value = serde_json::json!({
        "apiVersion": "example.io/v1", "kind": "Thing",
        "metadata": {"name": name, "namespace": "shop", "uid": name},
        "spec": {"mode": mode},
    });
    (key, value.to_string())
}

#[test]
fn captured_changes_are_looked_at_without_a_restore() {
    let Some(bench) = Bench::new() else {
        return;
    };
    let put = |name: &str, mode: &str| {
        let (key, value) = thing(name, mode);
        bench.etcd.change(&["put", &key, &value])
    };
    put("settings", "first");
    let mut stream = bench.stream();
    bench.wait_for(2);
    let old = put("settings", "old");
    put("other", "kept");
    // What the base has is not all that the chain has.
    bench.wait_for(old + 1);
    let between = jiff::Timestamp::now();
    let deletion = bench.etcd.change(&["del", &thing("settings", "").0]);
    let last = put("third", "new");
    bench.wait_for(last);
    // From here on API servers would not show it any more.
    bench.etcd.ctl(&["compact", &last.to_string()]);
    stream.kill().expect("it is ours");
    stream.wait().expect("it ends");

    let get = |at: &str| {
        let line = format!("-n shop etcd get things settings --at {at} --identity id.txt");
        bench.run(&line)
    };
    let shown = get(&old.to_string());
    assert!(shown.expect(0).contains("mode: old"), "{}", shown.out);
    assert!(get("2").expect(0).contains("mode: first"));
    assert!(get(&between.to_string()).expect(0).contains("mode: old"));
    let gone = get("latest");
    assert_eq!(gone.code, 3, "{}", gone.err);
    assert!(gone.err.contains("--from at:latest"), "{}", gone.err);
    let count = |at: &str| {
        let line = format!("etcd inspect --at {at} --identity id.txt -o json");
        let counted = bench.run(&line);
        let counted: Value = serde_json::from_str(counted.expect(0)).expect("JSON");
        (
            counted["revision"].as_u64(),
            counted["kinds"][0]["objects"].as_u64(),
        )
    };
    assert_eq!(count(&old.to_string()), (Some(old), Some(1)));
    assert_eq!(count("latest"), (Some(last), Some(2)));

    let line = "-n shop etcd blame things settings --at latest --identity id.txt -o json";
    let changes: Value = serde_json::from_str(bench.run(line).expect(0)).expect("JSON");
    let changes: Vec<_> = changes
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| (one["revision"].as_u64(), one["change"].as_str()))
        .collect();
    let expected = [(2, "created"), (old, "changed"), (deletion, "deleted")];
    assert_eq!(changes, expected.map(|(at, what)| (Some(at), Some(what))));

    let line = format!("etcd diff at:{between} at:latest --identity id.txt -o name");
    let differs = bench.run(&line);
    assert_eq!(differs.code, 1, "{}", differs.err);
    for part in ["shop/settings", "shop/third"] {
        assert!(differs.out.contains(part), "{}", differs.out);
    }
    assert!(!differs.out.contains("shop/other"), "{}", differs.out);
    let line = format!("etcd export lost --at {old} --identity id.txt");
    bench.run(&line).expect(0);
    let made = bench.run("backup describe lost");
    assert!(made.expect(0).contains("Completed"), "{}", made.out);
    for (line, code) in [
        ("inspect --at latest", 2),
        ("inspect --at 0 --identity id.txt", 2),
        ("inspect --at 99999 --identity id.txt", 3),
        ("inspect --at 2000-01-01T00:00:00Z --identity id.txt", 3),
        ("inspect --identity id.txt", 2),
        ("inspect a.db --at latest --identity id.txt", 2),
    ] {
        bench.run(&format!("etcd {line}")).expect(code);
    }
}
