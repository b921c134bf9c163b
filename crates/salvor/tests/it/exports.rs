//! `volume export`: the tar of this machine stands in for that of a container; connections end as they do in the field.

use std::process::Stdio;

use salvor_apiserver::{
    ApiServer, ExecCommand, ExecEnd, ExecHandler, ExecStreams, Options, ServerHandle,
};
use salvor_cluster::{ApiResource, WriteOptions};
use serde_json::json;

use crate::support::{Place, Run, connect};

/// How connections to a container end, by its name.
async fn act(command: ExecCommand, mut to: ExecStreams) -> (ExecStreams, ExecEnd) {
    if command.container == "bare" {
        let reason = "exec: \"tar\": executable file not found in $PATH".to_owned();
        return (to, ExecEnd::NotStarted(reason));
    }
    let mut program = tokio::process::Command::new(&command.command[0]);
    let ran = program
        .args(&command.command[1..])
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
            let containers: Vec<_> = names.iter().map(|name| json!({"name": name, "image": "localhost/app:1"})).collect();
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "db"}, "spec": {"containers": containers}});
            let (pods, options) = (ApiResource::known("", "v1", "Pod", "pods", true), WriteOptions::default());
            let made = cluster.create(&pods, Some("default"), pod.to_string().as_bytes(), &options).await;
            made.expect("created");
            let running = json!({"status": {"phase": "Running"}}).to_string();
            let patched = cluster.merge_patch(&pods, Some("default"), "db", Some("status"), running.as_bytes(), &options);
            patched.await.expect("patched");
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
        ("/bare", "", 4, "kubectl debug"),
        ("/none", "", 3, "it has main, cut"),
        ("", "/gone", 70, "No such file"),
    ] {
        let run = world.export(container, path, "--output out.tar");
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
