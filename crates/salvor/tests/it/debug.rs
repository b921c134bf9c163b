//! The bundle for a report: whole or not there, and without a secret.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::Place;

/// All files of a bundle in one text, unpacked by tar itself.
fn unpacked(place: &Place, bundle: &Path) -> (Vec<String>, String) {
    let folder = place.home.path().join("unpacked");
    std::fs::create_dir(&folder).expect("created");
    let status = Command::new("tar")
        .args(["xzf", &bundle.display().to_string(), "-C"])
        .arg(&folder)
        .status();
    assert!(status.expect("tar runs").success());
    let (mut names, mut all) = (Vec::new(), String::new());
    let mut open = vec![folder.clone()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let mut file = std::fs::File::open(&path).expect("readable");
            file.read_to_string(&mut all).expect("UTF-8");
            let name = path.strip_prefix(&folder).expect("below");
            names.push(name.display().to_string());
        }
    }
    (names, all)
}

#[test]
fn a_bundle_holds_what_helps_and_no_secret_wherever_it_stood() {
    let place = Place::with_cluster();
    place.run("install --crds-only").expect(0);
    let secret = "hunter2-in-every-place";
    let text = format!("refused: password={secret}");
    let meta = |name: &str| {
        json!({"name": name, "namespace": "velero", "annotations": {"team.example/note": secret},
            "labels": {"team.example/note": "hunter2"}})
    };
    place.apply(&[
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}}),
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cloud", "namespace": "velero"},
            "stringData": {"cloud": format!("[default]\naws_secret_access_key={secret}\n")}}),
        json!({"apiVersion": "velero.io/v1", "kind": "BackupStorageLocation", "metadata": meta("l"),
            "spec": {"provider": "aws", "config": {"region": "moon", "odd": secret},
                "objectStorage": {"bucket": "b", "caCert": secret}}}),
        json!({"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": meta("b"),
            "spec": {"hooks": {"resources": [{"name": "h", "pre": [
                {"exec": {"command": ["sh", "-c", format!("mysql {secret}")]}}]}]}},
            "status": {"phase": "Failed", "failureReason": text}}),
        json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "velero"},
            "involvedObject": {"name": "b"}, "reason": "Failed", "message": text}),
    ]);
    let bundle = place.home.path().join("bundle.tar.gz");
    let path = bundle.display().to_string();
    let mut command = place.command(&["debug", "--output", &path]);
    command
        .env("SOME_TOKEN", secret)
        .env("AWS_SECRET_ACCESS_KEY", secret);
    let run: crate::support::Run = command.output().expect("the binary runs").into();
    assert!(matches!(run.code, 0 | 5), "{}{}", run.out, run.err);
    assert!(!run.err.contains(secret) && !run.out.contains(secret));

    let (names, all) = unpacked(&place, &bundle);
    assert!(
        !all.contains("hunter2"),
        "{}",
        all.replace("hunter2", ">>>hunter2<<<")
    );
    for part in [
        "program.json",
        "cluster.json",
        "events.json",
        "kinds/backups.json",
        "kinds/backupstoragelocations.json",
        "locations/0.json",
        "missing.txt",
    ] {
        let name = format!("salvor-debug/{part}");
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    for kept in ["\"moon\"", "AWS_SECRET_ACCESS_KEY", "Failed", "[redacted]"] {
        assert!(all.contains(kept), "{kept}: {all}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(&bundle).expect("there").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    let again = place.run(&format!("debug --output {path}"));
    assert_eq!(again.code, 4, "{}", again.err);
}

#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let place = Place::with_cluster();
    // A disk of which every write says that it is full.
    let full = place.run("debug --output /dev/full/x.tar.gz");
    assert_ne!(full.code, 0);
    let folder = place.home.path().join("closed");
    std::fs::create_dir(&folder).expect("created");
    let nowhere = place.run(&format!("debug --output {}/no/x.tar.gz", folder.display()));
    assert_ne!(nowhere.code, 0);
    let left = std::fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(left, 0);
    // A file that cannot grow: the write stops in the middle.
    let path = folder.join("x.tar.gz");
    let mut limited = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_salvor");
    let script = format!(
        "trap '' XFSZ; ulimit -f 0; exec {program} debug --output {} --location {}",
        path.display(),
        place.location().display()
    );
    limited.args(["-c", &script]).env_clear();
    limited
        .env("HOME", place.home.path())
        .env("KUBECONFIG", place.kubeconfig());
    let run: crate::support::Run = limited.output().expect("sh runs").into();
    assert_ne!(run.code, 0, "{}", run.out);
    assert!(!path.exists());
    let left = std::fs::read_dir(&folder).expect("a folder").count();
    assert_eq!(left, 0, "{}", run.err);
}
