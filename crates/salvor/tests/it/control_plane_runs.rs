//! What machines have, and lists of runs, as a user meets them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use salvor_etcd::bolt::Writer;
use serde_json::Value;

use crate::support::{Run, command};

/// Runs the binary with words separated by spaces, and programs of this machine.
pub(crate) fn run(home: &Path, line: &str) -> Run {
    let mut salvor = command(home);
    salvor.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    salvor.args(line.split_whitespace());
    salvor.output().expect("the binary runs").into()
}

#[test]
fn a_run_whose_program_was_killed_is_told_from_one_that_runs() {
    let home = tempfile::tempdir().expect("a folder");
    let root = home.path();
    // A supervisor that waits until it is let go.
    fs::write(
        root.join("wait"),
        "test \"$2\" = runs && exit 0\ncd \"$(dirname \"$0\")\" || exit 1\ntouch waits\nwhile test -e waits && ! test -e go; do sleep 0.1; done\n",
    )
    .expect("a file");
    let at = root.display();
    let verb = |verb: &str| format!("[sh, '{at}/wait', '{{member}}', {verb}]");
    let plane = format!(
        "cluster: shop\nflavour: {{commands: {{components: {{kube-apiserver: {{start: {}, stop: {}, isRunning: {}}}}}}}}}\n\
         members: [{{name: m1, reach: {{local: {{}}}}, peerUrls: ['http://127.0.0.1:1'], clientUrls: ['http://127.0.0.1:1'], \
         dataDirectory: '{at}/m1'}}]\n",
        verb("start"),
        verb("stop"),
        verb("runs")
    );
    fs::write(root.join("plane.yaml"), plane).expect("a file");
    fs::create_dir_all(root.join("m1/member/wal")).expect("a folder");
    let tail = salvor_etcd::wal::joining(7, 1);
    fs::write(
        root.join("m1/member/wal")
            .join(salvor_etcd::wal::FIRST_FILE),
        tail,
    )
    .expect("a file");
    fs::create_dir(root.join("m1/member/snap")).expect("a folder");
    let mut options = fs::File::options();
    options.read(true).write(true).create_new(true);
    let file = options
        .open(root.join("m1/member/snap/db"))
        .expect("a file");
    let mut writer = Writer::create(file, 4096).expect("a database");
    writer.bucket(b"members").finish().expect("written");
    writer.finish().expect("written");
    let mut salvor = command(root);
    salvor.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    salvor.args(
        "etcd recover-quorum --survivor m1 --plane plane.yaml --journal here --timeout 1 --yes"
            .split(' '),
    );
    salvor.stderr(std::process::Stdio::piped());
    let mut child = salvor.spawn().expect("the binary runs");
    let begun = Instant::now();
    let mut ended = None;
    while !root.join("waits").exists() && ended.is_none() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "it never stops anything"
        );
        ended = child.try_wait().expect("asked");
    }
    if ended.is_some() {
        let output = child.wait_with_output().expect("it ended");
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    }
    let state = || {
        let listed = run(root, "control-plane runs --journal here -o json");
        let listed: Value = serde_json::from_str(listed.expect(0)).expect("JSON");
        assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
        listed[0].clone()
    };
    let running = state();
    assert_eq!(
        (&running["state"], &running["goOn"]),
        (&"running".into(), &Value::Null)
    );
    assert_eq!(running["step"], "stop-kube-apiserver/m1");
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    let killed = state();
    assert_eq!(killed["state"], "interrupted");
    let id = killed["run"].as_str().expect("an id");
    let go_on = format!("salvor etcd recover-quorum --journal here --run {id}");
    assert_eq!(killed["goOn"], go_on);
    // A record that somebody cut is told, and hides no other run.
    fs::write(root.join("here").join(id).join("00000001.json"), "{").expect("written");
    let damaged = state();
    assert_eq!(damaged["state"], "unreadable");
    assert!(
        damaged["error"]
            .as_str()
            .is_some_and(|why| why.contains("record 1")),
        "{damaged}"
    );
    fs::write(root.join("go"), "").expect("written");
}

#[test]
fn what_a_machine_has_is_printed_and_where_there_is_nothing_that_is_code_3() {
    let home = tempfile::tempdir().expect("a folder");
    let root = home.path();
    let run = |line: &str| run(root, line);
    fs::create_dir_all(root.join("m/etc/kubernetes/manifests")).expect("a folder");
    fs::write(root.join("m/etc/hostname"), "master-1\n").expect("a file");
    let nothing = run("control-plane detect --root m");
    nothing.expect(3);
    assert!(
        nothing.err.contains("master-1") && nothing.err.contains("/etc/kubernetes/manifests"),
        "{}",
        nothing.err
    );

    let manifest = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: etcd\n    image: registry.k8s.io/etcd:3.5.12-0\n    \
                    command: [etcd, --name=master-1, --data-dir=/var/lib/etcd, '--advertise-client-urls=https://10.0.0.1:2379', \
                    '--initial-advertise-peer-urls=https://10.0.0.1:2380', '--initial-cluster=master-1=https://10.0.0.1:2380']\n";
    fs::write(root.join("m/etc/kubernetes/manifests/etcd.yaml"), manifest).expect("a file");
    let table = run("control-plane detect --root m");
    for part in [
        "kubeadm",
        "master-1",
        "/var/lib/etcd",
        "3.5.12",
        "https://10.0.0.1:2380",
    ] {
        assert!(table.expect(0).contains(part), "{part}: {}", table.out);
    }
    let json = run("control-plane detect --root m -o json");
    let json: Value = serde_json::from_str(json.expect(0)).expect("JSON");
    assert_eq!(json["machines"][0]["etcd"]["version"], "3.5.12");
    assert_eq!(
        json["description"]["members"][0]["dataDirectory"],
        "/var/lib/etcd"
    );
    let yaml = run("control-plane detect --root m -o yaml");
    assert!(yaml.expect(0).contains("flavour:"), "{}", yaml.out);
    // What is printed is what --plane takes.
    let description = run("control-plane detect --root m -o description");
    fs::write(root.join("plane.yaml"), description.expect(0)).expect("a file");
    let listed = run("etcd member replace other --plane plane.yaml");
    listed.expect(3);
    assert!(listed.err.contains("it has master-1"), "{}", listed.err);

    fs::remove_dir_all(root.join("m/etc/kubernetes")).expect("removed");
    fs::create_dir_all(root.join("m/etc/systemd/system")).expect("a folder");
    fs::write(
        root.join("m/etc/systemd/system/k3s.service"),
        "[Service]\nExecStart=/k3s\n",
    )
    .expect("a file");
    let k3s = run("control-plane detect --root m");
    assert!(k3s.expect(0).contains("not supported"), "{}", k3s.out);
    assert!(k3s.err.contains("cluster-reset"), "{}", k3s.err);
    let refused = run("control-plane detect --root m -o description");
    refused.expect(4);
    assert!(refused.err.contains("k3s"), "{}", refused.err);
}
