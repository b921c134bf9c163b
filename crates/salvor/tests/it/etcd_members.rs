//! Members of etcd and lost majorities as a user meets them: exit codes and messages, with three real members of etcd under a
//! supervisor of commands.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use salvor_testkit::required_path;
use serde_json::Value;

use crate::control_plane_runs::run;
use crate::support::Run;

const NAMES: [&str; 3] = ["m1", "m2", "m3"];

/// `start|stop|runs NAME`. What it starts ends with the test, whatever becomes of that.
const SUPERVISOR: &str = r#"cd "$(dirname "$0")" || exit 99
runs() { grep -q . "/proc/$(cat "$1.pid")/cmdline" 2>/dev/null; }
case $1 in
runs) runs "$2" ;;
start) . "./$2.env"
  export ETCD_UNSUPPORTED_ARCH=arm64
  setsid "$PROGRAM" --name "$2" --data-dir "$PWD/$2" --listen-client-urls "$CLIENT" --advertise-client-urls "$CLIENT" \
    --listen-peer-urls "$PEER" --initial-advertise-peer-urls "$PEER" --initial-cluster "$ALL" --heartbeat-interval 50 \
    --election-timeout 500 </dev/null >>"$2.log" 2>&1 &
  pid=$!
  echo $pid > "$2.pid"
  setsid sh -c 'while kill -0 "$0" && kill -0 "$1"; do sleep 1; done; kill -9 "$1"' "$TEST" $pid </dev/null >/dev/null 2>&1 & ;;
stop) kill "$(cat "$2.pid")" 2>/dev/null; while runs "$2"; do sleep 0.05; done ;;
esac"#;

struct Rig {
    home: tempfile::TempDir,
    ctl: PathBuf,
    clients: Vec<String>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        for name in NAMES {
            if let Ok(pid) = fs::read_to_string(self.path(&format!("{name}.pid"))) {
                // It may be gone already.
                let _ = Command::new("kill").args(["-9", pid.trim()]).status();
            }
        }
    }
}

impl Rig {
    fn start() -> Option<Self> {
        let etcd = required_path("SALVOR_ETCD_3_5_16")?;
        let ctl = required_path("SALVOR_ETCDCTL_3_5_16")?;
        let home = tempfile::tempdir().expect("a folder");
        let listeners = [(); 6].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
        let urls = listeners.map(|one| format!("http://{}", one.local_addr().expect("bound")));
        let (clients, peers) = urls.split_at(3);
        let all: Vec<_> = NAMES
            .iter()
            .zip(peers)
            .map(|(name, peer)| format!("{name}={peer}"))
            .collect();
        let at = home.path().display();
        let ctl_of = |verb: &str| format!("[sh, '{at}/ctl', {verb}, '{{member}}']");
        let mut plane = format!(
            "cluster: shop\nflavour: {{commands: {{components: {{etcd: {{start: {}, stop: {}, isRunning: {}}}}}}}}}\nmembers:\n",
            ctl_of("start"),
            ctl_of("stop"),
            ctl_of("runs")
        );
        for ((name, client), peer) in NAMES.iter().zip(clients).zip(peers) {
            let text = format!(
                "PROGRAM='{}'\nCLIENT={client}\nPEER={peer}\nALL={}\nTEST={}\n",
                etcd.display(),
                all.join(","),
                std::process::id()
            );
            fs::write(home.path().join(format!("{name}.env")), text).expect("a file");
            plane.push_str(&format!(
                "- {{name: {name}, reach: {{local: {{}}}}, peerUrls: ['{peer}'], clientUrls: ['{client}'], dataDirectory: \
                 '{at}/{name}'}}\n"
            ));
        }
        fs::write(home.path().join("plane.yaml"), plane).expect("a file");
        fs::write(home.path().join("ctl"), SUPERVISOR).expect("a file");
        let clients = clients.to_vec();
        let rig = Self { home, ctl, clients };
        for name in NAMES {
            rig.supervise("start", name);
        }
        for index in 0..NAMES.len() {
            rig.until(|| {
                rig.etcdctl(index, &["put", "/registry/pods/a/first", "1"])
                    .is_ok()
            });
        }
        Some(rig)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn supervise(&self, verb: &str, name: &str) {
        let mut sh = Command::new("sh");
        sh.arg(self.path("ctl")).args([verb, name]);
        assert!(sh.status().expect("it runs").success(), "{verb} {name}");
    }

    fn until(&self, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            let log = || fs::read_to_string(self.path("m1.log"));
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", log());
        }
    }

    fn etcdctl(&self, index: usize, arguments: &[&str]) -> Result<String, String> {
        let mut ctl = Command::new(&self.ctl);
        ctl.args([
            "--endpoints",
            &self.clients[index],
            "--command-timeout",
            "5s",
        ]);
        let output = ctl
            .args(arguments)
            .env("ETCDCTL_API", "3")
            .output()
            .expect("it runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Its process is killed, and all that it had is gone.
    fn lose(&self, name: &str) {
        let pid = fs::read_to_string(self.path(&format!("{name}.pid"))).expect("it runs");
        let killed = Command::new("kill").args(["-9", pid.trim()]).status();
        assert!(killed.expect("it runs").success());
        self.supervise("stop", name);
        fs::remove_dir_all(self.path(name)).expect("removed");
    }

    fn run(&self, line: &str) -> Run {
        run(self.home.path(), line)
    }

    fn runs(&self) -> Vec<Value> {
        let listed = self.run("control-plane runs -o json");
        serde_json::from_str(listed.expect(0)).expect("JSON")
    }
}

#[test]
fn members_are_listed_and_replaced_and_every_run_is_told_how_it_goes_on() {
    let Some(rig) = Rig::start() else { return };
    let endpoints = rig.clients.join(",");
    let listed = rig.run(&format!(
        "etcd member list --endpoints http://127.0.0.1:1,{endpoints} --timeout 5"
    ));
    let told = listed.expect(0);
    assert_eq!(told.lines().count(), 4, "{told}");
    assert!(told.contains("m2") && told.contains("yes"), "{told}");
    let none = rig.run("etcd member list --endpoints http://127.0.0.1:1 --timeout 5");
    none.expect(69);
    assert!(none.err.contains("list the members"), "{}", none.err);
    assert!(rig.run("control-plane runs").err.contains("no runs"));
    assert!(rig.runs().is_empty());

    let replace = "etcd member replace m2 --plane plane.yaml";
    // What is wrong is said before anything is done.
    for (line, code, says) in [
        (
            "etcd member replace m4 --plane plane.yaml",
            3,
            "it has m1, m2, m3",
        ),
        ("etcd member replace m2 --plane none.yaml", 2, "none.yaml"),
        ("etcd member replace m2 --plane ctl", 2, "cannot be read"),
        (
            "etcd member replace m2 --plane plane.yaml --host a",
            2,
            "--host",
        ),
        (
            "etcd member replace m2 --plane plane.yaml --undo",
            2,
            "--run",
        ),
        (
            "etcd member replace m2 --plane plane.yaml --run 20260101t000000-0",
            3,
            "there is no run",
        ),
        (
            "etcd member replace m2 --plane plane.yaml --dry-run",
            4,
            "m2 is healthy",
        ),
        (
            "etcd member replace m2 --plane plane.yaml --yes",
            4,
            "m2 is healthy",
        ),
    ] {
        let refused = rig.run(line);
        refused.expect(code);
        assert!(refused.err.contains(says), "{line}: {}", refused.err);
    }
    let healthy = rig.runs();
    assert_eq!(healthy.len(), 1, "{healthy:?}");
    assert_eq!(healthy[0]["state"], "stopped");
    assert!(
        healthy[0]["error"]
            .as_str()
            .is_some_and(|why| why.contains("healthy")),
        "{healthy:?}"
    );

    rig.lose("m2");
    let dry = rig.run(&format!("{replace} --dry-run"));
    assert!(dry.expect(0).contains("remove"), "{}", dry.out);
    assert_eq!(rig.runs().len(), 1);
    // Nobody can be asked here.
    let asked = rig.run(replace);
    asked.expect(4);
    let runs = rig.runs();
    let stopped = runs
        .iter()
        .find(|one| one["number"] == 2)
        .expect("a run that was asked about");
    let id = stopped["run"].as_str().expect("an id");
    assert_eq!(
        (&stopped["kind"], &stopped["target"]),
        (&"etcd member replace".into(), &"shop".into())
    );
    assert_eq!(stopped["steps"], 9, "{stopped}");
    assert_eq!(stopped["step"], "stop/m2");
    // The same sentence as the run's own.
    let go_on = format!("etcd member replace m2 --run {id}");
    assert_eq!(stopped["goOn"], format!("salvor {go_on}"));
    assert!(
        asked.err.contains(&format!("`salvor {go_on}`")),
        "{}",
        asked.err
    );
    let table = rig.run("control-plane runs");
    assert!(
        table
            .expect(0)
            .contains("stopped at step 2 of 9, stop/m2: "),
        "{}",
        table.out
    );
    assert!(
        table.out.contains(&format!("`salvor {go_on} --undo`")),
        "{}",
        table.out
    );

    // The description is that of the beginning, and need not be given again.
    fs::rename(rig.path("plane.yaml"), rig.path("gone.yaml")).expect("moved");
    let done = rig.run(&format!("{go_on} --yes"));
    assert!(done.expect(0).contains("shop"), "{}", done.out);
    rig.until(|| {
        rig.etcdctl(1, &["get", "/registry/pods/a/first"])
            .is_ok_and(|said| said.contains("first"))
    });
    let runs = rig.runs();
    let now = runs.iter().find(|one| one["run"] == id).expect("the run");
    assert_eq!(
        (&now["state"], &now["goOn"]),
        (&"done".into(), &Value::Null)
    );
    // An id that was taken out does not come back.
    let undone = rig.run(&format!("{go_on} --undo --yes"));
    undone.expect(5);
    assert!(
        undone.err.contains("could not be taken back"),
        "{}",
        undone.err
    );
    let yaml = rig.run("control-plane runs -o yaml");
    assert!(yaml.expect(0).contains("state: undone"), "{}", yaml.out);
    let other = rig.run("control-plane runs --journal empty -o json");
    assert_eq!(other.expect(0).trim(), "[]");
}

#[test]
fn a_lost_majority_is_recovered_from_a_file_by_the_command_line() {
    let Some(rig) = Rig::start() else { return };
    rig.run(&format!(
        "etcd snapshot save before.db --endpoints {}",
        rig.clients[0]
    ))
    .expect(0);
    rig.etcdctl(0, &["put", "/registry/pods/a/later", "1"])
        .expect("written");
    let recover = "etcd recover-quorum --from before.db --plane plane.yaml --timeout 5";
    let refused = rig.run(&format!("{recover} --yes"));
    refused.expect(4);
    assert!(refused.err.contains("has a leader"), "{}", refused.err);
    rig.run("etcd recover-quorum --exact --plane plane.yaml")
        .expect(2);
    rig.run(&format!("{recover} --leave-out m4")).expect(3);
    rig.run("etcd recover-quorum --from none.db --plane plane.yaml")
        .expect(3);

    rig.lose("m1");
    rig.lose("m2");
    rig.until(|| {
        let status = rig.etcdctl(2, &["endpoint", "status", "-w", "json"]);
        let status: Option<Value> = status
            .ok()
            .and_then(|said| serde_json::from_str(&said).ok());
        // A leader that is none is left out.
        status.is_some_and(|said| said[0]["Status"]["leader"].as_u64().unwrap_or_default() == 0)
    });
    let dry = rig.run(&format!("{recover} --dry-run"));
    let told = dry.expect(0);
    assert!(
        told.contains("m1") && told.contains("does not answer"),
        "{told}"
    );
    assert!(told.contains("pods: 1 gone"), "{told}");
    let done = rig.run(&format!("{recover} --yes"));
    done.expect(0);
    for index in 0..NAMES.len() {
        let said = rig.etcdctl(index, &["get", "/registry/", "--prefix", "--keys-only"]);
        let said = said.expect("a majority");
        assert!(said.contains("first") && !said.contains("later"), "{said}");
    }
    let status = rig
        .etcdctl(0, &["endpoint", "status", "-w", "json"])
        .expect("an answer");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let revision = status[0]["Status"]["header"]["revision"].as_u64();
    assert!(revision > Some(1_000_000_000), "{status}");
    let listed = rig.runs();
    let done = listed
        .iter()
        .find(|one| one["state"] == "done")
        .expect("a run");
    assert_eq!(done["kind"], "etcd recover-quorum");
    assert!(
        rig.path(&format!(
            ".local/state/salvor/runs/before-restore-{}.db",
            done["run"].as_str().expect("an id")
        ))
        .exists()
    );
}

#[test]
fn values_that_are_encrypted_at_rest_want_their_keys_beside_them() {
    let Some(rig) = Rig::start() else { return };
    fs::create_dir(rig.path("store")).expect("a folder");
    let store = rig.path("store").display().to_string();
    let config = format!("version: 1\nlocations:\n  off:\n    url: file://{store}\n");
    fs::write(rig.path("config.yaml"), config).expect("a file");
    let at = |line: &str| rig.run(&format!("--config-file config.yaml --location off {line}"));
    at("backup-location init off --new-identity id.txt").expect(0);
    let save = format!("etcd snapshot save --endpoints {}", rig.clients[0]);
    let plain = at(&save);
    plain.expect(0);
    assert!(!plain.err.contains("control-plane backup"), "{}", plain.err);
    let value = "k8s:enc:aescbc:v1:key1:0123456789abcdef";
    rig.etcdctl(0, &["put", "/registry/secrets/a/s", value])
        .expect("written");
    let warned = at(&save);
    warned.expect(0);
    assert!(
        warned.err.contains("encrypted at rest") && warned.err.contains("control-plane backup"),
        "{}",
        warned.err
    );
    // A point without the configuration of encryption has no keys.
    fs::create_dir(rig.path("pki")).expect("a folder");
    fs::write(rig.path("pki/ca.key"), "a key").expect("a file");
    let plane = fs::read_to_string(rig.path("plane.yaml")).expect("a file");
    let with_files = format!("{plane}files: ['{}/pki']\n", rig.home.path().display());
    fs::write(rig.path("plane.yaml"), with_files).expect("a file");
    at("control-plane backup --plane plane.yaml").expect(0);
    let points = at("point get -o json");
    let points: Value = serde_json::from_str(points.expect(0)).expect("JSON");
    let all = points.to_string();
    assert!(all.contains("control-plane"), "{all}");
    assert!(at(&save).err.contains("control-plane backup"));
}
