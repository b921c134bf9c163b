//! `volume export`: the tar of this machine stands in for that of a container; connections end as they do in the field.

use std::process::Stdio;

use salvor_apiserver::{
    ApiServer, ExecCommand, ExecEnd, ExecHandler, ExecStreams, Options, ServerHandle,
};
use salvor_cluster::{ApiResource, Cluster, Look, Wait, WriteOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Place, Run, connect};

/// Where the volumes of a container are for one that reads them, and in these tests everything.
const VOLUMES: &str = "/salvor-reader";

/// How connections to a container end, by its name.
async fn act(command: ExecCommand, mut to: ExecStreams) -> (ExecStreams, ExecEnd) {
    if command.container == "bare" {
        let reason = "exec: \"tar\": executable file not found in $PATH".to_owned();
        return (to, ExecEnd::NotStarted(reason));
    }
    let words = command.command.iter().skip(1);
    let mut program = match command.command[0].as_str() {
        "/salvor" => tokio::process::Command::new(env!("CARGO_BIN_EXE_salvor")),
        program => tokio::process::Command::new(program),
    };
    let ran = program
        .args(words.map(|word| if word == VOLUMES { "/" } else { word }))
        .stdin(Stdio::null())
        .output()
        .await
        .expect("it runs");
    let mut archive = ran.stdout.as_slice();
    // The end of an archive and what fills its last record is ten kilobytes at most.
    if command.container == "cut" && !archive.is_empty() {
        archive = &archive[..archive.len() / 2];
    }
    for piece in archive.chunks(30_000) {
        to.stdout(piece).await;
    }
    to.stderr(&ran.stderr).await;
    let code = ran.status.code().unwrap_or(-1);
    let end = match command.container.as_str() {
        "lost" => ExecEnd::NoStatus,
        "broken" => ExecEnd::Cut,
        "restless" => {
            to.stderr(b"tar: ./one: file changed as we read it\n").await;
            ExecEnd::Exit(1)
        }
        "failing" => {
            to.stderr(b"tar: ./one: Cannot open: Permission denied\n")
                .await;
            ExecEnd::Exit(2)
        }
        _ => ExecEnd::Exit(code),
    };
    (to, end)
}

fn pods() -> ApiResource {
    ApiResource::known("", "v1", "Pod", "pods", true)
}

fn list(of: Option<&Value>) -> Vec<Value> {
    of.and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Reads the pod until it is as it should be.
async fn seen(cluster: &Cluster, is: impl Fn(&Value) -> bool) -> Value {
    let wait = Wait {
        timeout: std::time::Duration::from_secs(60),
        cancel: CancellationToken::new(),
    };
    let look = |pod: Option<&Value>| match pod {
        Some(pod) if is(pod) => Look::Done,
        _ => Look::NotYet("not yet".to_owned()),
    };
    let pods = pods();
    let pod = cluster.wait_until(&pods, Some("default"), "db", &wait, look);
    let pod = pod.await.expect("as it should be").expect("a pod");
    serde_json::from_slice(&pod).expect("JSON")
}

async fn say(cluster: &Cluster, statuses: &[Value]) {
    let status = json!({"status": {"ephemeralContainerStatuses": statuses}}).to_string();
    let (pods, options) = (pods(), WriteOptions::default());
    let said = cluster.merge_patch(
        &pods,
        Some("default"),
        "db",
        Some("status"),
        status.as_bytes(),
        &options,
    );
    said.await.expect("said");
}

/// What a kubelet does for ephemeral containers: their program runs, one after the other, or their image is missing.
async fn run_what_is_added(cluster: Cluster) {
    let added = |pod: &Value| list(pod.pointer("/spec/ephemeralContainers"));
    let mut statuses: Vec<Value> = Vec::new();
    loop {
        let pod = seen(&cluster, |pod| added(pod).len() > statuses.len()).await;
        let container = added(&pod)[statuses.len()].clone();
        let with = |state: Value| json!({"name": container["name"], "state": state});
        if container["image"] == "gone" {
            statuses.push(with(json!({"waiting": {"reason": "ErrImageNeverPull"}})));
            say(&cluster, &statuses).await;
            continue;
        }
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_salvor"));
        for word in list(Some(&container["args"])) {
            program.arg(word.as_str().expect("a word"));
        }
        let mut child = program.stdin(Stdio::null()).spawn().expect("it runs");
        let at = statuses.len();
        statuses.push(with(json!({"running": {}})));
        say(&cluster, &statuses).await;
        let code = child.wait().await.expect("it ends").code();
        statuses[at] = with(json!({"terminated": {"exitCode": code}}));
        say(&cluster, &statuses).await;
    }
}

struct World {
    place: Place,
    _server: ServerHandle,
}

impl World {
    fn new() -> Self {
        let place = Place::new();
        let home = place.home.path().to_owned();
        std::fs::create_dir_all(home.join("data/sub")).expect("a tree");
        let noise: Vec<u8> = (0..300_000u32)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        std::fs::write(home.join("data/one"), noise).expect("a file");
        std::fs::write(home.join("data/sub/two"), "two").expect("a file");
        std::fs::write(home.join("password"), "0123456789abcdef0123456789abcdef")
            .expect("a password");
        std::fs::create_dir(place.location()).expect("a location");
        let server = place.block_on(async {
            let server = ApiServer::memory(Options {
                seed: Some(1),
                exec: Some(ExecHandler::new(act)),
                ..Options::default()
            });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port");
            server.serve(listener).expect("served")
        });
        std::fs::write(place.kubeconfig(), server.kubeconfig("test")).expect("written");
        place.block_on(async {
            let cluster = connect(&place.kubeconfig()).await;
            let names = ["main", "cut", "lost", "broken", "restless", "failing", "bare"];
            let mount = json!([{"name": "data", "mountPath": home}]);
            let container = |name| json!({"name": name, "image": "localhost/app:1", "volumeMounts": mount});
            let containers: Vec<_> = names.iter().map(container).collect();
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db"}, "spec": {"volumes": [{"name": "data", "emptyDir": {}}], "containers": containers}});
            let (pods, options) = (ApiResource::known("", "v1", "Pod", "pods", true), WriteOptions::default());
            let made = cluster.create(&pods, Some("default"), pod.to_string().as_bytes(), &options).await;
            made.expect("created");
            let running = json!({"status": {"phase": "Running"}}).to_string();
            let patched = cluster.merge_patch(&pods, Some("default"), "db", Some("status"), running.as_bytes(), &options);
            patched.await.expect("patched");
            tokio::spawn(run_what_is_added(cluster));
        });
        Self {
            place,
            _server: server,
        }
    }

    /// Exports the tree, or a part of it, from a container.
    fn export(&self, container: &str, path: &str, rest: &str) -> Run {
        let home = self.place.home.path().display();
        let from = format!("default/db{container}:{home}/data{path}");
        let mut words = vec!["volume", "export", &from];
        words.extend(rest.split_whitespace());
        self.place.salvor(&words)
    }

    fn unpacked(&self, archive: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let mut tar = std::process::Command::new("tar");
        tar.arg("-xf")
            .arg(self.place.home.path().join(archive))
            .arg("-C")
            .arg(folder.path());
        assert!(tar.status().expect("tar runs").success());
        folder
    }

    fn has(&self, name: &str) -> bool {
        self.place.home.path().join(name).exists()
    }
}

#[test]
fn a_path_in_a_pod_becomes_a_file_that_is_whole() {
    let world = World::new();
    let run = world.export("", "", "--output out.tar");
    run.expect(0);
    assert!(run.err.contains("the archive is whole"), "{}", run.err);
    let folder = world.unpacked("out.tar");
    let same = |name: &str| {
        let read = |path: std::path::PathBuf| std::fs::read(path).expect("readable");
        read(folder.path().join(name)) == read(world.place.home.path().join("data").join(name))
    };
    assert!(same("one") && same("sub/two"));
    assert!(!world.has("out.tar.part"));
    world.export("", "", "--output out.tar").expect(4);
    // One file, and standard output.
    world
        .export("/main", "/sub/two", "--output two.tar")
        .expect(0);
    let folder = world.unpacked("two.tar");
    assert_eq!(
        std::fs::read_to_string(folder.path().join("two")).expect("a file"),
        "two"
    );
    let home = world.place.home.path().display().to_string();
    let from = format!("default/db:{home}/data");
    let piped = world
        .place
        .command(&["volume", "export", &from, "--output", "-"])
        .output()
        .expect("runs");
    assert!(piped.status.success());
    assert_eq!(
        piped.stdout,
        std::fs::read(world.place.home.path().join("out.tar")).expect("a file")
    );
}

#[test]
fn nothing_but_a_whole_archive_becomes_a_file() {
    let world = World::new();
    // What a killed run left is written over.
    std::fs::write(world.place.home.path().join("out.tar.part"), "old").expect("written");
    for (container, path, code, part) in [
        ("/cut", "", 7, "the archive was cut on its way"),
        ("/lost", "", 69, "it is not known whether the command ended"),
        (
            "/broken",
            "",
            69,
            "it is not known whether the command ended",
        ),
        ("/failing", "", 70, "Permission denied"),
        ("/restless", "", 4, "--allow-changes"),
        ("/bare", "", 4, "has no tar"),
        ("/none", "", 3, "it has main, cut"),
        ("", "/gone", 3, "container main of pod default/db has no "),
    ] {
        let run = world.export(container, path, "--output out.tar --no-debug-container");
        assert_eq!(run.code, code, "{container}: {}", run.err);
        assert!(run.err.contains(part), "{container}: {}", run.err);
        assert!(
            !world.has("out.tar") && !world.has("out.tar.part"),
            "{container}"
        );
    }
    let run = world.export("/restless", "", "--output out.tar --allow-changes");
    run.expect(0);
    assert!(run.err.contains("./one: file changed"), "{}", run.err);
    assert!(world.has("out.tar"));
    world
        .place
        .run("volume export nonsense --output x")
        .expect(2);
    world
        .place
        .run("volume export default/gone:/x --output x")
        .expect(3);
}

#[test]
fn a_path_in_a_pod_becomes_a_snapshot_and_half_of_one_none() {
    let world = World::new();
    let to = "--domain ns-default --password-file password";
    world
        .place
        .run(&format!("repo init --password-kind machine {to}"))
        .expect(0);
    let into = format!("--to-repository {to}");
    for container in ["/cut", "/lost", "/failing"] {
        let run = world.export(container, "", &into);
        assert_ne!(run.code, 0, "{container}");
    }
    let none = world.place.run(&format!("repo snapshots -o name {to}"));
    assert_eq!(none.expect(0), "");
    world.export("", "", &into).expect(0);
    world.export("", "", "--output out.tar").expect(0);
    let words = format!("volume cat latest data.tar {to}");
    let words: Vec<&str> = words.split_whitespace().collect();
    let stored = world.place.command(&words).output().expect("runs");
    assert!(stored.status.success());
    let whole = std::fs::read(world.place.home.path().join("out.tar")).expect("a file");
    assert!(
        stored.stdout == whole,
        "{} bytes instead of {}",
        stored.stdout.len(),
        whole.len()
    );
    let listed = world.place.run(&format!("repo snapshots {to}"));
    assert!(listed.expect(0).contains("default/db"), "{}", listed.out);
}

#[test]
fn where_there_is_no_tar_a_container_beside_it_reads_and_ends() {
    let world = World::new();
    world.export("/main", "", "--output tar.tar").expect(0);
    let run = world.export(
        "/bare",
        "",
        "--output out.tar --debug-image localhost/salvor:1",
    );
    run.expect(0);
    assert!(run.err.contains("salvor-reader-"), "{}", run.err);
    let (one, other) = (world.unpacked("tar.tar"), world.unpacked("out.tar"));
    let same = std::process::Command::new("diff")
        .arg("-r")
        .args([one.path(), other.path()])
        .output()
        .expect("diff runs");
    assert!(same.status.success(), "{same:?}");
    let cluster = world.place.block_on(connect(&world.place.kubeconfig()));
    let ended = |pod: &Value| {
        let statuses = list(pod.pointer("/status/ephemeralContainerStatuses"));
        statuses
            .iter()
            .any(|status| status["state"]["terminated"]["exitCode"] == 0)
    };
    let pod = world.place.block_on(seen(&cluster, ended));
    let added = &pod["spec"]["ephemeralContainers"][0];
    assert_eq!(added["image"], "localhost/salvor:1", "{added}");
    assert_eq!(added["volumeMounts"][0]["readOnly"], true, "{added}");
    // What is not there, and what cannot run. A container with tar gets none beside it.
    let run = world.export("/bare", "/gone", "--output gone.tar");
    assert!(
        run.code == 3 && run.err.contains("/data/gone"),
        "{}",
        run.err
    );
    let run = world.export("/bare", "", "--output gone.tar --debug-image gone");
    run.expect(4);
    assert!(
        run.err.contains("ErrImageNeverPull") && run.err.contains("--debug-image"),
        "{}",
        run.err
    );
    assert!(!world.has("gone.tar") && !world.has("gone.tar.part"));
    world.export("/failing", "", "--output gone.tar").expect(70);
    let pod = world.place.block_on(seen(&cluster, |_| true));
    assert_eq!(list(pod.pointer("/spec/ephemeralContainers")).len(), 3);
}
