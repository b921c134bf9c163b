use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use salvor_adapters::control_plane::Plane;
use salvor_adapters::control_plane::files::Files;
use salvor_adapters::control_plane::source::{Details, MemberDetails, differences, pack, paths};
use salvor_location::RunId;
use salvor_runbook::testing::{World, prove};
use salvor_runbook::{End, Event, Executor, Granted, Journal, Runbook};
use salvor_storage::MemoryStore;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::members::run;

#[tokio::test]
async fn files_of_a_control_plane_come_back_with_their_modes_and_only_where_they_differ() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let pki = root.join("pki");
    fs::create_dir_all(pki.join("etcd")).unwrap();
    fs::create_dir(root.join("manifests")).unwrap();
    let write = |name: &str, text: &str, mode: u32| {
        fs::write(root.join(name), text).unwrap();
        fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    write("pki/ca.key", "a key", 0o600);
    write("pki/etcd/ca.crt", "a certificate", 0o644);
    write("enc.yaml", "kind: EncryptionConfiguration", 0o600);
    let flag = format!(
        "    - --encryption-provider-config={}/enc.yaml\n",
        root.display()
    );
    write("manifests/kube-apiserver.yaml", &flag, 0o600);
    let text = format!(
        "cluster: c\nflavour: {{kubeadm: {{manifests: {0}/manifests}}}}\nfiles: [{0}/pki, {0}/manifests, {0}/none]\n\
         members: [{{name: m, reach: {{local: {{}}}}, peerUrls: ['http://a:1'], clientUrls: ['http://a:2']}}]\n",
        root.display()
    );
    let plane = Plane::from_yaml(&text).unwrap();
    let member = &plane.members[0];
    let all = paths(&plane, member, None).await.unwrap();
    let ours: Vec<_> = all
        .iter()
        .filter(|path| path.starts_with(root))
        .cloned()
        .collect();
    assert_eq!(
        ours,
        [root.join("enc.yaml"), root.join("manifests"), pki.clone()]
    );

    let mut archive = Vec::new();
    pack(member, &ours, &mut archive).await.unwrap();
    let archive = Bytes::from(archive);
    assert_eq!(differences(member, &archive).await.unwrap(), []);

    fs::remove_dir_all(pki.join("etcd")).unwrap();
    write("pki/ca.key", "b key", 0o600);
    write("enc.yaml", "kind: EncryptionConfiguration", 0o644);
    let told = differences(member, &archive).await.unwrap();
    let told: Vec<String> = told
        .iter()
        .map(|one| format!("{} {}", one.path, one.how))
        .collect();
    assert!(!told.join("\n").contains("key\n"), "{told:?}");
    assert_eq!(told.len(), 4, "{told:?}");
    let aside = root.join("aside");
    let files = Files {
        archives: [("m".to_owned(), archive.clone())].into(),
        aside: aside.clone(),
        plane: plane.clone(),
    };
    let (end, _) = run(&files.runbook(Value::Null)).await;
    assert!(matches!(end, End::Succeeded), "{end:?}");
    assert_eq!(differences(member, &archive).await.unwrap(), []);
    assert_eq!(fs::read_to_string(pki.join("ca.key")).unwrap(), "a key");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&root.join("enc.yaml")), mode(&pki.join("etcd/ca.crt"))),
        (0o600, 0o644)
    );
    let kept = fs::read_dir(&aside)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(mode(&kept), 0o600);
    let before = std::process::Command::new("tar")
        .args(["-tf"])
        .arg(&kept)
        .output()
        .unwrap();
    let before = String::from_utf8(before.stdout).unwrap();
    assert!(
        before.contains("ca.key") && before.contains("enc.yaml"),
        "{before}"
    );

    let error = differences(member, &Bytes::from_static(b"no archive at all, but text")).await;
    assert!(error.is_err());
}

/// Two machines, each with a folder of files of which some are gone and some are others.
struct Machines {
    folder: TempDir,
    plane: Plane,
    archives: BTreeMap<String, Bytes>,
}

impl Machines {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let member = |name: &str| {
            format!(
                "{{name: {name}, reach: {{local: {{}}}}, peerUrls: ['http://{name}:1'], clientUrls: ['http://{name}:2']}}"
            )
        };
        let text = format!(
            "cluster: c\nflavour: {{systemd: {{}}}}\nmembers: [{}, {}]\nfiles: ['{at}/x']\n",
            member("a"),
            member("b")
        );
        let plane = Plane::from_yaml(&text).unwrap();
        let mut archives = BTreeMap::new();
        for member in &plane.members {
            let own = folder.path().join(&member.name);
            fs::create_dir_all(own.join("pki/etcd")).unwrap();
            fs::write(own.join("pki/ca.key"), "a key").unwrap();
            fs::write(own.join("pki/etcd/ca.crt"), "a certificate").unwrap();
            fs::write(own.join("config.yaml"), "mode").unwrap();
            let mut archive = Vec::new();
            pack(member, std::slice::from_ref(&own), &mut archive)
                .await
                .unwrap();
            archives.insert(member.name.clone(), archive.into());
            fs::write(own.join("pki/ca.key"), "another key").unwrap();
            fs::remove_dir_all(own.join("pki/etcd")).unwrap();
            fs::write(own.join("pki/mine"), "no part of the point").unwrap();
        }
        fs::set_permissions(
            folder.path().join("b/config.yaml"),
            fs::Permissions::from_mode(0o400),
        )
        .unwrap();
        Self {
            folder,
            plane,
            archives,
        }
    }
}

#[async_trait]
impl World for Machines {
    fn runbook(&self) -> Runbook {
        let files = Files {
            plane: self.plane.clone(),
            archives: self.archives.clone(),
            aside: self.folder.path().join("aside"),
        };
        files.runbook(json!({"point": "a"}))
    }

    async fn state(&self) -> Value {
        let mut all = Map::new();
        for name in ["a", "b"] {
            for path in [
                "pki/ca.key",
                "pki/etcd",
                "pki/etcd/ca.crt",
                "config.yaml",
                "pki/mine",
            ] {
                let whole = self.folder.path().join(name).join(path);
                let mode = fs::metadata(&whole).map(|one| one.permissions().mode() & 0o777);
                let text = fs::read_to_string(&whole).unwrap_or_default();
                all.insert(format!("{name}/{path}"), json!([mode.ok(), text]));
            }
        }
        all.into()
    }
}

#[tokio::test]
async fn wherever_it_fails_or_is_killed_files_are_put_back_or_as_they_were() {
    let held = prove(Machines::new).await.unwrap();
    // look, keep and write on two machines.
    assert_eq!(held, 5 * 9 + 1);
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_not_overwritten_unkept() {
    let world = Machines::new().await;
    let key = world.folder.path().join("a/pki/ca.key");
    let config = world.folder.path().join("a/config.yaml");
    let journal = Journal::open(Arc::new(MemoryStore::new()), "journal", RunId::generate());
    let journal = journal.await.unwrap();
    let granted = Granted {
        by: "a test".to_owned(),
    };
    let runbook = world.runbook();
    // Somebody edits another file while the run has only kept what it knows.
    let edits = |record: &salvor_runbook::Record| {
        if matches!(&record.event, Event::Verified { step } if step == "keep/b") {
            fs::write(&config, "edited").unwrap();
        }
    };
    let executor = Executor::new(
        &runbook,
        journal,
        &granted,
        &edits,
        CancellationToken::new(),
    );
    let end = executor.run().await.unwrap();
    let End::Failed { step, error, .. } = end else {
        panic!("{end:?}")
    };
    assert!(
        step == "write/a" && error.to_string().contains("config.yaml"),
        "{step}: {error}"
    );
    assert_eq!(fs::read_to_string(&config).unwrap(), "edited");
    assert_eq!(fs::read_to_string(&key).unwrap(), "another key");
}

#[test]
fn a_point_decrypts_what_is_of_its_cluster_and_has_a_configuration() {
    let details = |cluster: Option<&str>, encryption: Option<&str>| Details {
        cluster: "c".to_owned(),
        flavour: "kubeadm".to_owned(),
        members: vec![MemberDetails {
            name: "m".to_owned(),
            paths: Vec::new(),
            etcd_version: None,
            api_version: None,
            encryption: encryption.map(Into::into),
        }],
        etcd_cluster: cluster.map(str::to_owned),
        api_version: None,
        kubeadm_config: false,
    };
    let path = Some("/etc/kubernetes/enc.yaml");
    assert!(details(Some("0a"), path).decrypts("0a"));
    assert!(details(None, path).decrypts("0a"));
    assert!(!details(Some("0b"), path).decrypts("0a"));
    assert!(!details(Some("0a"), None).decrypts("0a"));
    // One of an earlier release knows neither.
    let text = r#"{"cluster":"c","flavour":"kubeadm","members":[{"name":"m","paths":[]}]}"#;
    let old: Details = serde_json::from_str(text).unwrap();
    assert!(!old.decrypts("0a"));
}
