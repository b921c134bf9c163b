//! A whole control plane taken back to a snapshot: three etcd, two API servers and a controller manager as processes of this
//! machine, under commands as another supervisor would have them. The run is killed in the middle, gone on with, and undone.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use salvor_testkit::process::{Server, find_program, or_skip};

use crate::support::{Run, command};

const PATIENCE: Duration = Duration::from_secs(60);
const MEMBERS: [&str; 3] = ["m1", "m2", "m3"];

/// Starts and stops processes by their number, which survives whoever started them.
const SUPERVISOR: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 99
pid=run/$2-$3.pid
runs() { test -s "$pid" && test -e /proc/$(cat "$pid") && ! grep -q ') Z ' /proc/$(cat "$pid")/stat; }
case $1 in
runs) runs ;;
start) runs || { setsid sh "$2-$3.sh" > "$2-$3.log" 2>&1 < /dev/null & echo $! > "$pid"; } ;;
stop) kill $(cat "$pid"); while runs; do sleep 0.1; done; rm "$pid" ;;
esac
"#;

/// Ends whatever still runs once the test is over, or has died.
const UNDERTAKER: &str = r#"trap 'for p in "$1"/run/*.pid; do kill -9 $(cat "$p"); done; exit 0' TERM
echo ready
while :; do sleep 1; done"#;

struct Rig {
    home: tempfile::TempDir,
    kubectl: PathBuf,
    clients: Vec<u16>,
    _undertaker: Server,
}

impl Drop for Rig {
    /// They are nobody's children: what starts them ends.
    fn drop(&mut self) {
        let Ok(files) = fs::read_dir(self.path("run")) else {
            return;
        };
        for file in files.flatten() {
            if let Ok(process) = fs::read_to_string(file.path()) {
                let _ = Command::new("kill").args(["-9", process.trim()]).status();
            }
        }
    }
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}

impl Rig {
    fn new() -> Option<Self> {
        let kubernetes = |name: &'static str, path: &str| {
            or_skip(find_program(name, "SALVOR_NOT_SET_ANYWHERE", path))
        };
        let server = kubernetes("kube-apiserver", "kubernetes-1.20.2-2/kube-apiserver")?;
        let manager = kubernetes(
            "kube-controller-manager",
            "kubernetes-1.20.2-2/kube-controller-manager",
        )?;
        let etcd = or_skip(find_program(
            "etcd",
            "SALVOR_ETCD_3_5_16",
            "tools/etcd-3.5.16/etcd",
        ))?;
        let kubectl = or_skip(find_program(
            "kubectl",
            "SALVOR_KUBECTL_1_20",
            "tools/kubectl-1.20/kubectl",
        ))?;
        let home = tempfile::tempdir().expect("a folder");
        let root = home.path();
        fs::create_dir(root.join("run")).expect("a folder");
        fs::write(root.join("ctl"), SUPERVISOR).expect("a file");
        let folder = root.as_os_str().to_owned();
        let arguments = ["-c".into(), UNDERTAKER.into(), "sh".into(), folder];
        let ready = |line: &str| (line == "ready").then_some(());
        let (undertaker, ()) =
            Server::start("/bin/sh", &arguments, &[], PATIENCE, ready).expect("it starts");
        let rig = Self {
            clients: rig_etcd(root, &etcd),
            kubectl,
            _undertaker: undertaker,
            home,
        };
        rig_kubernetes(rig.home.path(), &server, &manager, &rig.clients);
        Some(rig)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn ctl(&self, verb: &str, component: &str, member: &str) {
        let mut sh = Command::new("sh");
        sh.arg(self.path("ctl")).args([verb, component, member]);
        assert!(
            sh.status().expect("it runs").success(),
            "{verb} {component}"
        );
    }

    fn start(&self) {
        for member in MEMBERS {
            self.ctl("start", "etcd", member);
        }
        for member in ["m1", "m2"] {
            self.ctl("start", "kube-apiserver", member);
        }
        let account = "/api/v1/namespaces/kube-system";
        self.wait("the API", || {
            self.kubectl(&["get", "--raw", account]).is_ok()
        });
        self.ctl("start", "kube-controller-manager", "m1");
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        self.wait("the controllers", || {
            self.kubectl(&["get", "--raw", account]).is_ok()
        });
    }

    fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            let logs = || self.path("kube-apiserver-m1.log");
            assert!(
                begun.elapsed() < PATIENCE,
                "{what}: {}",
                fs::read_to_string(logs()).unwrap_or_default()
            );
        }
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl.env("KUBECONFIG", self.path("kubeconfig"));
        kubectl
            .env("NO_PROXY", "127.0.0.1")
            .env("HOME", self.home.path());
        kubectl.arg("--request-timeout=5s").args(arguments);
        let output = kubectl.output().expect("it runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.kubectl(&["get", "configmap", name]).is_ok()
    }

    fn salvor(&self, arguments: &[&str]) -> Command {
        let mut salvor = command(self.home.path());
        salvor.env("KUBECONFIG", self.path("kubeconfig"));
        salvor.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        salvor.args(arguments);
        salvor
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let output = self.salvor(arguments).output();
        output.expect("the binary runs").into()
    }

    /// The journal's run, of which there is one.
    fn the_run(&self) -> String {
        let mut runs = fs::read_dir(self.path("journal")).expect("a folder");
        let names = runs
            .by_ref()
            .map(|entry| entry.expect("an entry").file_name());
        let names: Vec<_> = names
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| !name.ends_with(".db"))
            .collect();
        assert_eq!(names.len(), 1, "{names:?}");
        names.into_iter().next().expect("one")
    }

    /// How many folders of old data each member has.
    fn kept(&self, prefix: &str) -> Vec<usize> {
        let count = |member: &&str| {
            let entries = fs::read_dir(self.path(&format!("data-{member}"))).expect("a folder");
            let names = entries.map(|entry| entry.expect("an entry").file_name());
            names
                .filter(|name| name.to_string_lossy().starts_with(prefix))
                .count()
        };
        MEMBERS.iter().map(count).collect()
    }

    /// Runs the binary and kills it as soon as it says a text.
    fn killed_at(&self, arguments: &[&str], text: &str) {
        use std::io::{BufRead as _, BufReader};
        let mut salvor = self.salvor(arguments);
        salvor.stderr(std::process::Stdio::piped());
        salvor.stdout(std::process::Stdio::null());
        let mut child = salvor.spawn().expect("the binary runs");
        let said = BufReader::new(child.stderr.take().expect("piped"));
        let mut all = String::new();
        let found = said.lines().map_while(Result::ok).any(|line| {
            all += &line;
            all.push('\n');
            line.contains(text)
        });
        // It has ended by itself where it never said that.
        let _ = child.kill();
        child.wait().expect("it ends");
        assert!(found, "it never said {text}:\n{all}");
    }
}

/// Scripts of three members, and the description of the control plane; ports of their clients.
fn rig_etcd(root: &Path, etcd: &Path) -> Vec<u16> {
    let clients = free_ports::<3>();
    let peers = free_ports::<3>();
    let all: Vec<String> = MEMBERS
        .iter()
        .zip(peers)
        .map(|(name, port)| format!("{name}=http://127.0.0.1:{port}"))
        .collect();
    let at = root.display();
    let mut plane = "cluster: shop\nflavour:\n  commands:\n    components:\n".to_owned();
    for component in ["etcd", "kube-apiserver", "kube-controller-manager"] {
        let _ = writeln!(
            plane,
            "      {component}: {{start: [sh, {at}/ctl, start, {component}, '{{member}}'], stop: [sh, {at}/ctl, stop, \
             {component}, '{{member}}'], isRunning: [sh, {at}/ctl, runs, {component}, '{{member}}']}}"
        );
    }
    let _ = writeln!(
        plane,
        "recoveryMode: {{enter: [touch, '{at}/blocked'], leave: [rm, -f, '{at}/blocked']}}\n\
         probes: [{{name: the controllers run, command: [sh, {at}/ctl, runs, kube-controller-manager, m1]}}]\nmembers:"
    );
    for ((name, client), peer) in MEMBERS.iter().zip(clients).zip(peers) {
        let (client, peer) = (
            format!("http://127.0.0.1:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let _ = writeln!(
            plane,
            "- {{name: {name}, reach: {{local: {{}}}}, peerUrls: ['{peer}'], clientUrls: ['{client}'], dataDirectory: \
             {at}/data-{name}}}"
        );
        let script = format!(
            "exec {} --name {name} --data-dir {at}/data-{name} --listen-client-urls {client} --advertise-client-urls {client} \
             --listen-peer-urls {peer} --initial-advertise-peer-urls {peer} --initial-cluster {}\n",
            etcd.display(),
            all.join(",")
        );
        fs::write(root.join(format!("etcd-{name}.sh")), script).expect("a file");
    }
    fs::write(root.join("plane.yaml"), plane).expect("a file");
    clients.to_vec()
}

fn rig_kubernetes(root: &Path, server: &Path, manager: &Path, clients: &[u16]) {
    let at = root.display();
    let mut openssl = Command::new("openssl");
    openssl
        .args(["genrsa", "-out"])
        .arg(root.join("account.key"));
    openssl.arg("2048").stderr(std::process::Stdio::null());
    assert!(openssl.status().expect("openssl").success());
    fs::write(
        root.join("tokens.csv"),
        "secret,admin,admin,\"system:masters\"\n",
    )
    .expect("a file");
    let ports = free_ports::<2>();
    let etcd: Vec<String> = clients
        .iter()
        .map(|port| format!("http://127.0.0.1:{port}"))
        .collect();
    for (member, port) in ["m1", "m2"].iter().zip(ports) {
        let script = format!(
            "exec {} --etcd-servers={} --cert-dir={at}/certificates-{member} --secure-port={port} --bind-address=127.0.0.1 \
             --advertise-address=10.99.0.1 --token-auth-file={at}/tokens.csv --authorization-mode=RBAC \
             --service-account-issuer=https://kubernetes.default.svc --service-account-signing-key-file={at}/account.key \
             --service-account-key-file={at}/account.key --service-cluster-ip-range=10.96.0.0/16\n",
            server.display(),
            etcd.join(",")
        );
        fs::write(root.join(format!("kube-apiserver-{member}.sh")), script).expect("a file");
    }
    // The others have none: their scripts end at once, and the description's command says that they do not run.
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n- name: c\n  cluster: {{server: 'https://127.0.0.1:{}', \
         certificate-authority: '{at}/certificates-m1/apiserver.crt'}}\nusers:\n- name: u\n  user: {{token: secret}}\n\
         contexts:\n- name: a\n  context: {{cluster: c, user: u}}\n",
        ports[0]
    );
    fs::write(root.join("kubeconfig"), kubeconfig).expect("a file");
    let script = format!(
        "exec {} --kubeconfig={at}/kubeconfig --service-account-private-key-file={at}/account.key \
         --controllers=namespace,serviceaccount,serviceaccount-token --leader-elect=false --port=0 --secure-port=0\n",
        manager.display()
    );
    fs::write(root.join("kube-controller-manager-m1.sh"), script).expect("a file");
    for (component, members) in [
        ("kube-apiserver", &MEMBERS[2..]),
        ("kube-controller-manager", &MEMBERS[1..]),
    ] {
        for member in members {
            // One machine of the three has no such process: something that only waits stands for it.
            let path = root.join(format!("{component}-{member}.sh"));
            fs::write(path, "exec sleep 100000\n").expect("a file");
        }
    }
}

#[test]
fn a_control_plane_goes_back_to_a_snapshot_killed_twice_on_the_way_undone_and_goes_back_from_a_location()
 {
    let Some(rig) = Rig::new() else { return };
    rig.start();
    let create = |name: &str, value: &str| {
        let literal = format!("--from-literal=v={value}");
        rig.kubectl(&["create", "configmap", name, &literal])
            .expect("created");
    };
    create("before", "1");
    create("deleted", "1");
    create("changed", "old");
    let endpoint = format!("http://127.0.0.1:{}", rig.clients[0]);
    let file = rig.path("snapshot.db").display().to_string();
    rig.run(&["etcd", "snapshot", "save", &file, "--endpoints", &endpoint])
        .expect(0);
    create("after", "1");
    rig.kubectl(&["delete", "configmap", "deleted"])
        .expect("deleted");
    rig.kubectl(&[
        "patch",
        "configmap",
        "changed",
        "-p",
        r#"{"data":{"v":"new"}}"#,
    ])
    .expect("patched");
    let list = rig.kubectl(&["get", "--raw", "/api/v1/namespaces/default/configmaps"]);
    let list: serde_json::Value = serde_json::from_str(&list.expect("a list")).expect("JSON");
    let revision = list["metadata"]["resourceVersion"]
        .as_str()
        .expect("one")
        .to_owned();

    let plane = rig.path("plane.yaml").display().to_string();
    let journal = rig.path("journal").display().to_string();
    let begin = [
        "control-plane",
        "restore",
        &file,
        "--plane",
        &plane,
        "--journal",
        &journal,
        "--yes",
    ];
    // Looked at, nothing changed.
    let dry = rig.run(&[&begin[..], &["--dry-run"]].concat());
    let told = dry.expect(0);
    assert!(
        told.contains("- configmaps: 1 gone, 1 back, 1 as they were"),
        "{told}"
    );
    let stops = told.lines().find(|line| line.starts_with("stop-etcd "));
    assert!(stops.is_some_and(|line| line.contains("to do")), "{told}");
    assert!(!rig.path("journal").exists());
    // Without a yes, and nobody to ask.
    let refused = rig.run(&begin[..begin.len() - 1]);
    refused.expect(4);
    assert!(rig.has("after"));
    fs::remove_dir_all(&journal).expect("removed");

    rig.killed_at(&begin, "put-aside: ");
    let run = rig.the_run();
    assert!(rig.path("blocked").exists());
    let go_on = [
        "control-plane",
        "restore",
        "--run",
        &run,
        "--journal",
        &journal,
        "--yes",
    ];
    rig.killed_at(&go_on, "start-etcd: ");
    let done = rig.run(&go_on);
    let told = done.expect(0);
    assert!(told.contains("shop"), "{told}");
    assert!(!rig.path("blocked").exists());

    assert!(rig.has("before") && rig.has("deleted") && !rig.has("after"));
    let old = rig.kubectl(&["get", "configmap", "changed", "-o", "jsonpath={.data.v}"]);
    assert_eq!(old.as_deref(), Ok("old"));
    create("written-after", "1");
    let watch = format!(
        "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=3&resourceVersion={revision}"
    );
    let watched = rig.kubectl(&["get", "--raw", &watch]);
    let watched = watched.unwrap_or_else(|error| error);
    assert!(
        watched.contains("too old resource version") || watched.contains("\"code\":410"),
        "{watched}"
    );
    assert_eq!(rig.kept("member.before-"), [1, 1, 1]);
    assert!(
        rig.path(&format!("journal/before-restore-{run}.db"))
            .exists()
    );
    // Done is done.
    rig.run(&go_on).expect(0);

    let undo = [&go_on[..], &["--undo"]].concat();
    rig.run(&undo).expect(0);
    rig.wait("the API", || rig.has("after"));
    assert!(rig.has("before") && !rig.has("deleted") && !rig.has("written-after"));
    assert_eq!(rig.kept("member.before-"), [0, 0, 0]);
    // What was written to the restored cluster is nobody's to throw away.
    assert_eq!(rig.kept("member.undone-"), [1, 1, 1]);
    rig.run(&undo).expect(0);
    assert!(rig.has("after"));
    from_a_location(&rig);
}

/// The same from a recovery point, and from what was captured since, with a copy of the journal in the location.
fn from_a_location(rig: &Rig) {
    let place = rig.path("location");
    fs::create_dir(&place).expect("a folder");
    let config = rig.path("config.yaml").display().to_string();
    let text = format!(
        "version: 1\nlocations:\n  off:\n    url: file://{}\n",
        place.display()
    );
    fs::write(&config, text).expect("a file");
    let identity = rig.path("id.txt").display().to_string();
    let at = |line: &[&str]| {
        let all = [&["--config-file", &config, "--location", "off"], line].concat();
        rig.run(&all)
    };
    at(&[
        "backup-location",
        "init",
        "off",
        "--new-identity",
        &identity,
    ])
    .expect(0);
    let endpoint = format!("http://127.0.0.1:{}", rig.clients[0]);
    let save = ["etcd", "snapshot", "save", "--endpoints", &endpoint];
    at(&save).expect(0);
    let points = at(&["point", "get", "-o", "json"]);
    let points: serde_json::Value = serde_json::from_str(points.expect(0)).expect("JSON");
    let point = format!("point:{}", points[0]["id"].as_str().expect("an id"));
    let create = |name: &str| {
        let created = rig.kubectl(&["create", "configmap", name]);
        created.expect("created");
    };
    create("behind-the-point");
    let line = ["--config-file", &config, "--location", "off"].into_iter();
    let line: Vec<&str> = line
        .chain("etcd stream --rpo 1 --idle 1 --lease 2 --endpoints".split(' '))
        .chain([endpoint.as_str()])
        .collect();
    let mut stream = rig.salvor(&line).spawn().expect("the binary runs");
    let reaches = || {
        let listed = at(&["etcd", "timeline", "-o", "json"]);
        let listed: serde_json::Value = serde_json::from_str(listed.expect(0)).expect("JSON");
        listed[0]["histories"][0]["reachable"][0]["to"].as_u64()
    };
    rig.wait("a base", || reaches().is_some());
    create("captured");
    let made = "jsonpath={.metadata.resourceVersion}";
    let made = rig.kubectl(&["get", "configmap", "captured", "-o", made]);
    let made: u64 = made.expect("it is there").parse().expect("a revision");
    rig.wait("its capture", || reaches() >= Some(made));
    stream.kill().expect("it runs");
    stream.wait().expect("it ends");
    create("lost");

    let plane = rig.path("plane.yaml").display().to_string();
    for (from, folder) in [("--latest", "captured"), (point.as_str(), "point")] {
        let journal = rig.path(folder).display().to_string();
        let line = [
            "control-plane",
            "restore",
            from,
            "--plane",
            &plane,
            "--journal",
            &journal,
            "--identity",
            &identity,
            "--into-other-cluster",
            "--yes",
        ];
        at(&line).expect(0);
        rig.wait("the API", || rig.has("before"));
        assert!(!rig.has("lost"), "{from}");
        for name in ["behind-the-point", "captured"] {
            assert_eq!(rig.has(name), from == "--latest", "{from} {name}");
        }
    }
    let copies = rig.path("location/plugins/salvor/journal");
    let copies = fs::read_dir(copies).expect("a folder");
    assert_eq!(copies.count(), 2);
}
