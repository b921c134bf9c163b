//! The files of a control plane: into a location, and back.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::support::{Place, command};

#[test]
fn files_of_a_control_plane_go_sealed_into_a_location_and_come_back_where_they_differ() {
    let home = tempfile::tempdir().expect("a folder");
    let root = home.path();
    let run = |line: &str| {
        let mut salvor = command(root);
        salvor.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        salvor.args(["--config-file", "config.yaml", "--location", "off"]);
        salvor.args(line.split_whitespace());
        crate::support::Run::from(salvor.output().expect("the binary runs"))
    };
    std::fs::create_dir_all(root.join("pki")).expect("a folder");
    let key = root.join("pki/ca.key");
    std::fs::write(&key, "the secret key of the authority").expect("written");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("set");
    let plane = format!(
        "cluster: prod\nflavour: {{systemd: {{}}}}\nfiles: ['{}/pki']\n\
         members: [{{name: m1, reach: {{local: {{}}}}, peerUrls: ['http://a:1'], clientUrls: ['http://a:2']}}]\n",
        root.display()
    );
    std::fs::write(root.join("plane.yaml"), plane).expect("written");

    std::fs::create_dir(root.join("store")).expect("a folder");
    let store = root.join("store").display().to_string();
    let config = format!("version: 1\nlocations:\n  off:\n    url: file://{store}\n");
    std::fs::write(root.join("config.yaml"), config).expect("written");
    // Nobody could read it back, or everybody.
    assert_ne!(run("control-plane backup --plane plane.yaml").code, 0);
    run("backup-location init off --new-identity id.txt").expect(0);
    let saved = run("control-plane backup --plane plane.yaml");
    assert!(saved.expect(0).contains("1"), "{}", saved.out);
    let files = String::from_utf8(
        std::process::Command::new("grep")
            .args(["-rl", "secret key", "store"])
            .current_dir(root)
            .output()
            .expect("grep runs")
            .stdout,
    );
    assert_eq!(files.as_deref(), Ok(""));

    let back = "control-plane restore-files latest --plane plane.yaml --identity id.txt";
    assert_eq!(run(&format!("{back} --dry-run")).expect(0), "");
    std::fs::write(&key, "another").expect("written");
    let dry = run(&format!("{back} --dry-run"));
    let told = dry.expect(1);
    assert!(
        told.contains("pki/ca.key") && !told.contains("another"),
        "{told}"
    );
    run(back).expect(4);
    assert_eq!(std::fs::read_to_string(&key).expect("read"), "another");
    let aside = root.join("aside");
    run(&format!("{back} --yes --aside {}", aside.display())).expect(0);
    let now = std::fs::read_to_string(&key).expect("read");
    assert_eq!(now, "the secret key of the authority");
    assert_eq!(std::fs::read_dir(&aside).expect("kept").count(), 1);
    // It is a run, and is taken back without an identity.
    let runs = run("control-plane runs -o json");
    let runs: Value = serde_json::from_str(runs.expect(0)).expect("JSON");
    let done = runs
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["state"] == "done");
    let done = done.expect("a run that is done");
    let id = done["run"].as_str().expect("an id");
    run(&format!(
        "control-plane restore-files --run {id} --undo --yes"
    ))
    .expect(0);
    let before = std::fs::read_to_string(&key).expect("read");
    assert_eq!(before, "another");
    run("control-plane restore-files --run none --undo").expect(3);
    run(&format!("{back} --yes --aside {}", aside.display())).expect(0);
    assert_eq!(run(&format!("{back} --dry-run")).expect(0), "");
    run("control-plane restore-files none --plane plane.yaml --identity id.txt").expect(3);
}

#[test]
fn kubeadms_configuration_is_in_the_point_where_it_is_that_of_the_cluster() {
    let place = Place::with_cluster();
    let root = place.home.path();
    let configuration =
        "kind: ClusterConfiguration\nclusterName: prod\nkubernetesVersion: v1.29.3\n";
    place.apply(&[json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kubeadm-config", "namespace": "kube-system"},
        "data": {"ClusterConfiguration": configuration},
    })]);
    std::fs::create_dir_all(root.join("pki")).expect("a folder");
    std::fs::write(root.join("pki/ca.key"), "a key").expect("written");
    std::fs::create_dir(root.join("store")).expect("a folder");
    let config = format!(
        "version: 1\nlocations:\n  off:\n    url: file://{}/store\n",
        root.display()
    );
    std::fs::write(root.join("config.yaml"), config).expect("written");
    let run = |line: &str| {
        let words: Vec<&str> = "--config-file config.yaml --location off"
            .split(' ')
            .chain(line.split(' '))
            .collect();
        let mut salvor = place.command(&words);
        salvor.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        crate::support::Run::from(salvor.output().expect("the binary runs"))
    };
    run("backup-location init off --new-identity id.txt").expect(0);
    for cluster in ["prod", "other"] {
        let plane = format!(
            "cluster: {cluster}\nflavour: {{systemd: {{}}}}\nfiles: ['{}/pki']\n\
             members: [{{name: m1, reach: {{local: {{}}}}, peerUrls: ['http://127.0.0.1:1'], clientUrls: ['http://127.0.0.1:1']}}]\n",
            root.display()
        );
        std::fs::write(root.join("plane.yaml"), plane).expect("written");
        let saved = run("control-plane backup --plane plane.yaml --timeout 2");
        saved.expect(0);
        let is_own = cluster == "prod";
        assert_eq!(
            saved.err.contains("is of cluster prod"),
            !is_own,
            "{}",
            saved.err
        );
        let folder = root.join(format!(
            "store/plugins/salvor/control-plane/control-plane-{cluster}"
        ));
        let run = std::fs::read_dir(folder)
            .expect("a folder")
            .next()
            .expect("a point")
            .expect("an entry");
        let config = run.path().join("kubeadm-config.yaml.zst.age");
        assert_eq!(config.exists(), is_own);
    }
    let points = run("point get -o json");
    assert!(
        points.expect(0).contains("control-plane-prod"),
        "{}",
        points.out
    );
}
