//! `install` and `uninstall` as their users meet them.

use std::process::Stdio;
use std::time::Duration;

use salvor_cluster::{ApiResource, Look, Wait, WriteOptions};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Place, connect};

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

#[test]
fn what_cannot_be_installed_is_wrong_usage_with_a_reason() {
    let place = Place::new();
    for (flags, reason) in [
        ("--provider aws", "needs --bucket"),
        (
            "--provider aws --bucket b",
            "needs --secret-file or --no-secret",
        ),
        (
            "--provider ftp --bucket b --no-secret",
            "`ftp` is not one of",
        ),
        (
            "--provider aws --bucket b --secret-file /no/such/file",
            "/no/such/file",
        ),
        ("--bucket b", "--provider"),
        ("--role admin", "backup-only"),
        ("--replicas 0", "0"),
        ("-o yaml", "--dry-run"),
        ("--iam-policy", "--provider"),
        (
            "--iam-policy --provider file --bucket b",
            "no policies or roles",
        ),
    ] {
        let run = place.run(&format!("install {flags}"));
        assert_eq!(run.code, 2, "{flags}\n{}", run.err);
        assert!(run.err.contains(reason), "{flags}\n{}", run.err);
        assert_eq!(run.out, "", "{flags}");
    }
}

#[test]
fn a_policy_is_printed_without_a_cluster() {
    let place = Place::new();
    let run = place.run("install --iam-policy --provider aws --bucket b --prefix /p/");
    let policy: Value = serde_json::from_str(run.expect(0)).expect("JSON");
    assert_eq!(
        policy["Statement"][1]["Resource"],
        json!(["arn:aws:s3:::b/p/*"])
    );
}

#[test]
fn veleros_command_line_works_and_says_what_it_does_not_need() {
    let place = Place::with_cluster();
    let credentials = place.home.path().join("credentials-velero");
    std::fs::write(&credentials, "[default]\naws_access_key_id=a\n").expect("written");
    let line = format!(
        "install --provider aws --plugins velero/velero-plugin-for-aws:v1.9.0 --bucket my-velero-backups \
         --secret-file {} --backup-location-config region=ap-northeast-2 --features=EnableCSI",
        credentials.display()
    );
    let run = place.run(&line);
    let out = run.expect(0);
    assert!(out.contains("Deployment velero/salvor created"), "{out}");
    assert!(run.err.contains("no plugin is installed"), "{}", run.err);
    let location = place
        .get("backupstoragelocation", Some("velero"), "default")
        .expect("there");
    assert_eq!(
        location["spec"]["config"],
        json!({"region": "ap-northeast-2"})
    );
    assert_eq!(location["spec"]["credential"]["name"], "cloud-credentials");
    let snapshots = place
        .get("volumesnapshotlocation", Some("velero"), "default")
        .expect("there");
    assert_eq!(snapshots["spec"]["provider"], "aws");

    // Another image, nothing else: the location of before stays, also when it is not named.
    let again = place.run("install --image example.com/salvor:2");
    assert!(!again.expect(0).contains("created"), "{}", again.out);
    let deployment = place
        .get("deployment", Some("velero"), "salvor")
        .expect("there");
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "example.com/salvor:2");
    assert!(
        place
            .get("backupstoragelocation", Some("velero"), "default")
            .is_some()
    );
}

#[test]
fn an_older_installation_is_brought_up_to_date_and_no_object_is_converted() {
    let place = Place::with_cluster();
    // Definitions of a release that knew less: what it does not name it cuts off.
    let older = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "backups.velero.io", "labels": {"component": "velero"}},
        "spec": {"group": "velero.io", "scope": "Namespaced",
            "names": {"plural": "backups", "singular": "backup", "kind": "Backup", "listKind": "BackupList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"ttl": {"type": "string"}}},
                    "status": {"type": "object", "properties": {"phase": {"type": "string"}}}}}}}]}});
    place.apply(&[namespace("velero"), older]);
    let backup = |name: &str| {
        json!({"apiVersion": "velero.io/v1", "kind": "Backup", "metadata": {"namespace": "velero", "name": name},
            "spec": {"ttl": "720h0m0s", "storageLocation": "default"}, "status": {"phase": "Completed"}})
    };
    place.apply(&[backup("of-before")]);
    let before = place
        .get("backup", Some("velero"), "of-before")
        .expect("there");
    assert_eq!(before["spec"], json!({"ttl": "720h0m0s"}));

    let run = place
        .run("install --provider aws --bucket b --no-secret --backup-location-config region=x");
    let lines: Vec<&str> = run.expect(0).lines().collect();
    assert!(
        lines.contains(&"definition backups.velero.io is up to date"),
        "{lines:?}"
    );
    let last = lines
        .iter()
        .rposition(|line| line.starts_with("definition "));
    let other = lines
        .iter()
        .position(|line| !line.starts_with("definition "));
    assert!(last < other, "definitions come first: {lines:?}");
    let after = place
        .get("backup", Some("velero"), "of-before")
        .expect("there");
    assert_eq!(after, before, "nothing was written to it");
    place.apply(&[backup("of-after")]);
    let newer = place
        .get("backup", Some("velero"), "of-after")
        .expect("there");
    assert_eq!(newer["spec"]["storageLocation"], "default");

    // Once more: nothing to do, and nothing is done.
    let again = place.run("install --crds-only");
    assert!(!again.expect(0).contains("created"), "{}", again.out);
}

#[test]
fn wait_ends_when_a_pod_of_the_server_is_ready() {
    let place = Place::with_cluster();
    let mut waiting = place.command(&["install", "--wait"]);
    waiting.stdout(Stdio::null()).stderr(Stdio::null());
    let mut waiting = waiting.spawn().expect("the binary runs");
    place.block_on(async {
        let cluster = connect(&place.kubeconfig()).await;
        let (resource, namespace) = (deployments(), Some("velero"));
        let wait = Wait {
            timeout: Duration::from_secs(60),
            cancel: CancellationToken::new(),
        };
        let is_there = |found: Option<&Value>| match found {
            Some(_) => Look::Done,
            None => Look::NotYet("it is not there".to_owned()),
        };
        let there = cluster.wait_until(&resource, namespace, "salvor", &wait, is_there);
        there.await.expect("in time");
        let status = json!({"status": {"replicas": 1, "availableReplicas": 1}}).to_string();
        cluster
            .merge_patch(
                &resource,
                namespace,
                "salvor",
                Some("status"),
                status.as_bytes(),
                &WriteOptions::default(),
            )
            .await
            .expect("written");
    });
    assert_eq!(waiting.wait().expect("it ends").code(), Some(0));
}

fn deployments() -> ApiResource {
    ApiResource::known("apps", "v1", "Deployment", "deployments", true)
}

#[test]
fn the_key_of_a_lost_cluster_is_brought_back_and_never_put_over_another() {
    let place = Place::with_cluster();
    let write = |name: &str, digits: &str| {
        std::fs::write(place.home.path().join(name), digits).expect("written");
    };
    write("kept", "00112233445566778899aabbccddeeff");
    write("other", "ffeeddccbbaa99887766554433221100");
    let install = |file: &str| {
        place.run(&format!(
            "install --use-node-agent --repository-key-file {file}"
        ))
    };
    let secret = "Secret velero/salvor-repository-key";
    let printed = place.run("install --use-node-agent --dry-run");
    assert!(
        printed.expect(0).contains("kind: Deployment") && printed.err.contains(secret),
        "{}",
        printed.err
    );
    let made = install("kept");
    assert!(
        made.expect(0).contains(&format!("{secret} created")),
        "{}",
        made.out
    );
    let again = install("kept");
    assert!(
        again
            .expect(0)
            .contains(&format!("{secret} is there already")),
        "{}",
        again.out
    );
    let refused = install("other");
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(refused.err.contains("another key"), "{}", refused.err);
    let shown = |from: &str| {
        place.run(&format!(
            "repo password --domain ns-shop {from} --yes -n velero"
        ))
    };
    let here = shown("--key-from-cluster");
    assert_eq!(here.expect(0), shown("--key-file kept").expect(0));
}

#[test]
fn what_others_use_is_not_uninstalled() {
    let place = Place::with_cluster();
    place.run("install").expect(0);
    let backup = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {"name": "theirs", "namespace": "other"}, "spec": {}});
    let restore = json!({"apiVersion": "velero.io/v1", "kind": "Restore",
        "metadata": {"name": "r", "namespace": "velero",
                     "finalizers": ["restores.velero.io/external-resources-finalizer"]},
        "spec": {"backupName": "b"}});
    place.apply(&[namespace("other"), backup, restore]);

    let asked = place.run("uninstall");
    assert_eq!(asked.code, 4, "{}", asked.err);
    assert!(
        asked.err.contains("objects of theirs are in other"),
        "{}",
        asked.err
    );
    assert!(place.get("deployment", Some("velero"), "salvor").is_some());

    let removed = place.run("uninstall --force");
    let out = removed.expect(0);
    assert!(out.contains("Namespace velero removed"), "{out}");
    assert!(place.get("namespace", None, "velero").is_none());
    assert!(place.get("clusterrole", None, "salvor-velero").is_none());
    assert!(
        place
            .get("backup.velero.io", Some("other"), "theirs")
            .is_some()
    );

    place.delete("backup.velero.io", Some("other"), "theirs");
    let removed = place.run("uninstall --force");
    assert!(
        removed.expect(0).contains("backups.velero.io removed"),
        "{}",
        removed.out
    );
}
