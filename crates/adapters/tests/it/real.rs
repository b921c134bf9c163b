//! Three etcd processes of this machine under a supervisor of commands.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use salvor_adapters::control_plane::Plane;
use salvor_adapters::control_plane::members::{Etcd, Setting};
use salvor_etcd::client::{Access, Hash};
use salvor_testkit::required_path;
use tempfile::TempDir;

pub(crate) const NAMES: [&str; 3] = ["m1", "m2", "m3"];

/// Starts a member in the background, with someone beside it who ends it when the test has.
const START: &str = r#"cd "$1"; . "./$2.env"
export ETCD_UNSUPPORTED_ARCH=arm64
setsid "$PROGRAM" --name "$2" --data-dir "$1/$2" --listen-client-urls "$CLIENT" --advertise-client-urls "$CLIENT" \
  --listen-peer-urls "$PEER" --initial-advertise-peer-urls "$PEER" --initial-cluster "$ALL" --heartbeat-interval 50 \
  --election-timeout 500 </dev/null >>"$1/$2.log" 2>&1 &
pid=$!
echo $pid > "$2.pid"
setsid sh -c 'while kill -0 "$0" && kill -0 "$1"; do sleep 1; done; kill -9 "$1"' "$TEST" $pid </dev/null >/dev/null 2>&1 &"#;
/// A process that nobody has reaped yet has no command line.
const RUNS: &str = r#"grep -q . "/proc/$(cat "$1/$2.pid")/cmdline" 2>/dev/null"#;
const STOP: &str = r#"kill "$(cat "$1/$2.pid")" 2>/dev/null
while sh "$1/runs" "$1" "$2"; do sleep 0.05; done"#;

pub(crate) struct Real {
    folder: TempDir,
    ctl: PathBuf,
    clients: [String; 3],
    plane: Arc<Plane>,
}

impl Real {
    pub(crate) fn start(version: &str) -> Option<Self> {
        let etcd = required_path(&format!("SALVOR_ETCD_{version}"))?;
        let ctl = required_path(&format!("SALVOR_ETCDCTL_{version}"))?;
        let folder = tempfile::tempdir().unwrap();
        let listeners = [(); 6].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let urls = listeners.map(|one| format!("http://{}", one.local_addr().unwrap()));
        let (clients, peers) = urls.split_at(3);
        let pairs = NAMES.iter().zip(peers);
        let all: Vec<_> = pairs.map(|(name, peer)| format!("{name}={peer}")).collect();
        let mut members = String::new();
        for (index, name) in NAMES.iter().enumerate() {
            let (client, peer) = (&clients[index], &peers[index]);
            let text = format!(
                "PROGRAM='{}'\nCLIENT={client}\nPEER={peer}\nALL={}\nTEST={}\n",
                etcd.display(),
                all.join(","),
                std::process::id()
            );
            let path = folder.path();
            fs::write(path.join(format!("{name}.env")), text).unwrap();
            let data = path.join(name);
            members.push_str(&format!(
                "- {{name: {name}, reach: {{local: {{}}}}, peerUrls: ['{peer}'], clientUrls: ['{client}'], dataDirectory: '{}'}}\n",
                data.display()
            ));
        }
        let command = |name: &str, script: &str| {
            fs::write(folder.path().join(name), script).unwrap();
            let path = folder.path().display();
            format!("[sh, '{path}/{name}', '{path}', '{{member}}']")
        };
        let text = format!(
            "cluster: test\nflavour:\n  commands:\n    components:\n      etcd: {{start: {}, stop: {}, isRunning: {}}}\nmembers:\n{members}",
            command("start", START),
            command("stop", STOP),
            command("runs", RUNS),
        );
        let plane = Arc::new(Plane::from_yaml(&text).unwrap());
        let clients = <[String; 3]>::try_from(clients.to_vec()).unwrap();
        let real = Self {
            folder,
            ctl,
            clients,
            plane,
        };
        for name in NAMES {
            real.script("start", name);
        }
        // All three know each other: a put through each of them.
        for name in NAMES {
            real.until(name, &["put", "first", name]);
        }
        real.until("m1", &["del", "first"]);
        Some(real)
    }

    pub(crate) fn access(&self) -> Access {
        Access {
            authorities: None,
            identity: None,
            user: None,
            patience: Duration::from_secs(5),
        }
    }

    pub(crate) fn setting(&self) -> Setting {
        let access = self.access();
        Setting {
            plane: self.plane.clone(),
            etcd: Arc::new(Etcd { access }),
        }
    }

    /// A member has noticed that the others are gone.
    pub(crate) async fn until_without_leader(&self, name: &str) {
        let setting = self.setting();
        let mut members = setting.plane.members.iter();
        let member = members.find(|member| member.name == name).unwrap();
        let began = Instant::now();
        while setting.etcd.status(member).await.unwrap().leader != 0 {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it still has a leader"
            );
        }
    }

    /// The hashes of all members at the revision of the first.
    pub(crate) async fn hashes(&self) -> Vec<Hash> {
        let setting = self.setting();
        let members = &setting.plane.members;
        let revision = setting.etcd.majority(&members[0]).await.unwrap();
        let mut hashes = Vec::new();
        for member in members {
            hashes.push(setting.etcd.hash(member, revision).await.unwrap());
        }
        hashes
    }

    /// What a watch from a revision on is told first.
    pub(crate) fn watch(&self, name: &str, revision: u64) -> String {
        let index = NAMES.iter().position(|one| *one == name).unwrap();
        let revision = revision.to_string();
        let output = Command::new("timeout")
            .arg("10")
            .arg(&self.ctl)
            .args([
                "--endpoints",
                &self.clients[index],
                "watch",
                "/registry/",
                "--prefix",
                "--rev",
                &revision,
            ])
            .env("ETCDCTL_API", "3")
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn script(&self, script: &str, name: &str) {
        let status = Command::new("sh")
            .arg(self.path().join(script))
            .arg(self.path())
            .arg(name)
            .status();
        assert!(status.unwrap().success(), "{script} {name}");
    }

    /// The number of its process.
    pub(crate) fn process(&self, name: &str) -> u32 {
        let text = fs::read_to_string(self.path().join(format!("{name}.pid")));
        text.unwrap().trim().parse().unwrap()
    }

    pub(crate) fn stop(&self, name: &str) {
        self.script("stop", name);
    }

    /// Its process is killed, and all that it had is gone.
    pub(crate) fn lose(&self, name: &str) {
        let pid = fs::read_to_string(self.path().join(format!("{name}.pid"))).unwrap();
        Command::new("kill")
            .args(["-9", pid.trim()])
            .status()
            .unwrap();
        self.stop(name);
        fs::remove_dir_all(self.path().join(name)).unwrap();
    }

    fn ctl(&self, name: &str, arguments: &[&str]) -> Result<String, String> {
        let index = NAMES.iter().position(|one| *one == name).unwrap();
        let output = Command::new(&self.ctl)
            .args([
                "--endpoints",
                &self.clients[index],
                "--command-timeout",
                "5s",
            ])
            .args(arguments)
            .env("ETCDCTL_API", "3")
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Asks again until it is answered.
    fn until(&self, name: &str, arguments: &[&str]) -> String {
        let began = Instant::now();
        loop {
            match self.ctl(name, arguments) {
                Ok(said) => return said,
                Err(error) => {
                    let late = began.elapsed() > Duration::from_secs(60);
                    let log = || fs::read_to_string(self.path().join(format!("{name}.log")));
                    assert!(!late, "{name}: {error}\n{:?}", log());
                }
            }
        }
    }

    /// Writes so many keys through a member that runs.
    pub(crate) fn put(&self, prefix: &str, count: u64) {
        let running = NAMES
            .iter()
            .find(|name| self.ctl(name, &["get", "x"]).is_ok());
        let name = running.expect("a member with a majority");
        for first in (0..count).step_by(50) {
            let last = count.min(first + 50);
            let puts = (first..last).map(|n| format!("put {prefix}/{n:05} value\n"));
            let text = format!("\n{}\n\n", puts.collect::<String>());
            let file = self.path().join("txn");
            fs::write(&file, text).unwrap();
            let index = NAMES.iter().position(|one| one == name).unwrap();
            let output = Command::new(&self.ctl)
                .args(["--endpoints", &self.clients[index], "txn"])
                .env("ETCDCTL_API", "3")
                .stdin(fs::File::open(file).unwrap())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
        }
    }

    /// Keys, as a majority sees them through a member.
    pub(crate) fn count_at(&self, name: &str) -> u64 {
        let said = self.until(name, &["get", "", "--prefix", "--keys-only"]);
        said.lines().filter(|line| !line.is_empty()).count() as u64
    }

    /// Members with a vote that have started.
    pub(crate) fn members(&self) -> usize {
        let running = NAMES
            .iter()
            .find_map(|name| self.ctl(name, &["member", "list"]).ok());
        let listed = running.expect("a member that answers");
        let votes = listed
            .lines()
            .filter(|line| line.contains("started") && line.ends_with("false"));
        votes.count()
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        for name in NAMES {
            if let Ok(pid) = fs::read_to_string(self.path().join(format!("{name}.pid"))) {
                // It may be gone already.
                let _ = Command::new("kill").args(["-9", pid.trim()]).status();
            }
        }
    }
}
