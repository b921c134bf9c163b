//! The command line through a server in the cluster.

use std::process::{Child, Stdio};
use std::time::Duration;

use salvor_testkit::package_folder;
use serde_json::{Value, json};

use crate::support::{Place, Run};

/// A server is given this long to do what it was asked for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A cluster in which `salvor server` is at work; killed when dropped.
struct Served {
    place: Place,
    server: Option<Child>,
}

impl Served {
    /// With definitions and a namespace, and without a server.
    fn without_server() -> Self {
        let place = Place::with_cluster();
        place.run("install --crds-only").expect(0);
        place.apply(&[namespace("velero")]);
        Self {
            place,
            server: None,
        }
    }

    /// With a server and locations of these names, the first of which is the default.
    fn with_locations(names: &[&str]) -> Self {
        let mut this = Self::without_server();
        for (at, name) in names.iter().enumerate() {
            let path = this.place.home.path().join("stores").join(name);
            std::fs::create_dir_all(&path).expect("a folder");
            let default = if at == 0 { "--default" } else { "" };
            let line = format!(
                "--server backup-location create {name} --provider file --config path={} {default}",
                path.display()
            );
            let run = this.run(&line);
            run.expect(0);
            assert!(run.err.contains("no server is at work"), "{}", run.err);
        }
        this.start();
        this
    }

    fn start(&mut self) {
        let mut command = self.place.command(&[
            "server",
            "--download-address",
            "127.0.0.1:0",
            "--store-validation-frequency",
            "1s",
        ]);
        command
            .env_remove("SALVOR_LOCATION")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.log()).expect("a log"));
        self.server = Some(command.spawn().expect("the binary runs"));
        self.until("bsl", "default", |object| {
            object["status"]["phase"] == "Available"
        });
    }

    fn log(&self) -> std::path::PathBuf {
        self.place.home.path().join("server.log")
    }

    /// Runs the binary without a location of its own, with words separated by spaces.
    fn run(&self, line: &str) -> Run {
        self.salvor(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn salvor(&self, words: &[&str]) -> Run {
        let mut command = self.place.command(words);
        command.env_remove("SALVOR_LOCATION");
        command.output().expect("the binary runs").into()
    }

    /// Waits until an object of the server's is as wanted.
    fn until(&self, kind: &str, name: &str, done: impl Fn(&Value) -> bool) -> Value {
        let found = self.wait(kind, name, |object| object.is_some_and(&done));
        found.expect("an object")
    }

    /// Waits until an object of the server's is gone.
    fn until_gone(&self, kind: &str, name: &str) {
        self.wait(kind, name, |object| object.is_none());
    }

    fn wait(&self, kind: &str, name: &str, done: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
        self.place.block_on(async {
            let cluster = crate::support::connect(&self.place.kubeconfig()).await;
            let mut last = None;
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            let found = tokio::time::timeout(PATIENCE, async {
                loop {
                    ticks.tick().await;
                    let read = crate::support::read(&cluster, kind, Some("velero"), name).await;
                    if done(read.as_ref()) {
                        return read;
                    }
                    last = read;
                }
            });
            let found = found.await;
            found.unwrap_or_else(|_| {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                panic!("{kind} {name} is {last:?}; the server says:\n{log}")
            })
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            // Of one that has ended already, both fail.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

fn snapshot_location(name: &str, provider: &str) -> Value {
    json!({"apiVersion": "velero.io/v1", "kind": "VolumeSnapshotLocation",
           "metadata": {"name": name, "namespace": "velero"}, "spec": {"provider": provider}})
}

#[test]
fn a_user_with_nothing_but_the_kinds_backs_up_looks_restores_and_deletes() {
    let served = Served::with_locations(&["default"]);
    let made = served.run("backup create first --include-namespaces shop --wait");
    let text = made.expect(0);
    assert!(
        text.contains("Backup request \"first\" submitted successfully."),
        "{text}"
    );
    assert!(
        text.contains("Backup completed with status: Completed."),
        "{text}"
    );
    let table = served.run("backup get");
    let text = table.expect(0).to_owned();
    assert!(
        text.contains("first") && text.contains("Completed"),
        "{text}"
    );
    let again = served.run("backup create first");
    again.expect(4);
    assert!(again.err.contains("choose another name"), "{}", again.err);

    // Files come by way of the server: this user has no credentials of the store.
    let described = served.run("backup describe first --details");
    let text = described.expect(0);
    for part in ["Phase:", "apps/v1/Deployment:", "- shop/web"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let log = served.run("backup logs first");
    assert!(log.expect(0).contains("velero/first"), "{}", log.out);
    served
        .run("backup download first -o first.tar.gz")
        .expect(0);
    let archive = std::fs::read(served.place.home.path().join("first.tar.gz"));
    assert!(archive.expect("written").starts_with(&[0x1f, 0x8b]));

    // What only this program can do reads the store from here.
    served.run("backup verify first").expect(0);
    served.run("backup diff first").expect(0);
    served.place.delete("configmap", Some("shop"), "settings");
    let differs = served.run("backup diff first");
    assert!(differs.expect(1).contains("color"), "{}", differs.out);

    let restored = served.run("restore create back --from-backup first -w");
    let text = restored.expect(0);
    assert!(
        text.contains("Restore completed with status: Completed."),
        "{text}"
    );
    let settings = served.place.get("configmap", Some("shop"), "settings");
    assert_eq!(settings.expect("restored")["data"]["color"], "blue");
    for line in [
        "restore get",
        "restore describe back --details",
        "restore logs back",
    ] {
        assert!(!served.run(line).expect(0).is_empty(), "{line}");
    }
    // What the kind has no word for is done from here, and never left out in silence.
    let here = served.run("restore create here --from-backup first --skip-damaged --yes");
    assert!(!here.expect(0).contains("submitted"), "{}", here.out);
    for line in [
        "backup create x --resource-policies-file p",
        "backup create x --item-actions p",
        "schedule create x --schedule @daily --resource-policies-file p",
    ] {
        served.run(line).expect(2);
    }
    let missing = served.run("restore create --from-backup shop-latest");
    missing.expect(3);
    assert!(
        missing.err.contains("--from-schedule shop"),
        "{}",
        missing.err
    );

    served.run("restore delete back").expect(4);
    served.run("restore delete back --confirm").expect(0);
    served.run("backup delete first").expect(4);
    let deleted = served.run("backup delete first --confirm");
    assert!(
        deleted.expect(0).contains("submitted successfully"),
        "{}",
        deleted.out
    );
    served.until_gone("backups.velero.io", "first");
    let empty = served.run("backup get");
    assert_eq!(empty.expect(0), "");
    assert!(
        empty.err.contains("none in namespace velero"),
        "{}",
        empty.err
    );
}

#[test]
fn schedules_are_made_paused_and_deleted_by_command() {
    let served = Served::with_locations(&["default"]);
    let wrong = served.salvor(&["schedule", "create", "nightly", "--schedule", "0 25 * * *"]);
    wrong.expect(2);
    assert!(wrong.err.contains("nightly"), "{}", wrong.err);
    served
        .salvor(&[
            "schedule",
            "create",
            "nightly",
            "--schedule",
            "CRON_TZ=Asia/Seoul 0 2 * * *",
            "--include-namespaces",
            "shop",
            "--ttl",
            "168h",
            "--skip-immediately",
        ])
        .expect(0);
    served.until("schedule", "nightly", |schedule| {
        schedule["status"]["phase"] == "Enabled"
    });
    let table = served.run("schedule get");
    let text = table.expect(0);
    for part in ["CRON_TZ=Asia/Seoul 0 2 * * *", "168h0m0s", "n/a", "false"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let described = served.run("describe schedule nightly");
    assert!(
        described.expect(0).contains("Last Backup:  <never>"),
        "{}",
        described.out
    );
    served.run("schedule pause nightly").expect(0);
    let paused = served.run("schedule pause --all");
    assert!(paused.expect(0).contains("unchanged"), "{}", paused.out);
    served.run("schedule unpause nightly").expect(0);
    let made = served.run("backup create --from-schedule nightly --wait");
    assert!(made.expect(0).contains("Completed"), "{}", made.out);
    let newest = served.run("restore create --from-schedule nightly --wait");
    assert!(newest.expect(0).contains("Completed"), "{}", newest.out);
    served.run("schedule delete nightly --confirm").expect(0);
    served.run("schedule describe nightly").expect(3);
}

#[test]
fn locations_are_made_and_changed_by_command() {
    let served = Served::with_locations(&["default", "second"]);
    let table = served.run("backup-location get");
    let text = table.expect(0);
    assert!(
        text.contains("second") && text.contains("ReadWrite"),
        "{text}"
    );
    served
        .run("backup-location set second --default --access-mode ReadOnly")
        .expect(0);
    let second = served.place.get("bsl", Some("velero"), "second");
    let second = second.expect("there");
    assert_eq!(second["spec"]["accessMode"], "ReadOnly");
    let first = served.place.get("bsl", Some("velero"), "default");
    assert_ne!(first.expect("there")["spec"]["default"], json!(true));
    let refused = served.run("backup create x --storage-location second --wait");
    refused.expect(2);
    assert!(refused.err.contains("second"), "{}", refused.err);
    served
        .run("backup-location delete second --confirm")
        .expect(0);
    for line in [
        "backup-location create x --provider ftp --bucket b",
        "backup-location create x --provider aws",
        "backup-location create x --provider aws --bucket b --credential secret",
        "backup-location create x",
    ] {
        served.run(line).expect(2);
    }
}

#[test]
fn where_no_server_is_at_work_it_is_said_and_direct_work_goes_on() {
    let served = Served::without_server();
    let none = served.run("schedule get");
    none.expect(2);
    assert!(none.err.contains("need a server"), "{}", none.err);
    // A location on the command line is worked with from here, server or not.
    served.place.run("backup create here").expect(0);
    let empty = Place::with_cluster();
    let unknown = empty.run("--server backup get");
    unknown.expect(3);
    assert!(unknown.err.contains("salvor install"), "{}", unknown.err);
    let both = served.place.run("--server --direct backup get");
    both.expect(2);
}

/// Every command and manifest on Velero in the source documents, with what must come of it.
#[test]
fn the_documents_commands_and_manifests_work_unchanged() {
    let fixture = package_folder().join("tests/it/documents.yaml");
    let text = std::fs::read_to_string(fixture).expect("the list");
    let steps: Vec<Value> = serde_saphyr::from_str(&text).expect("YAML");
    assert_eq!(steps.len(), 30, "a step was lost");
    let served = Served::with_locations(&["default", "aws"]);
    let place = &served.place;
    place.apply(&["production", "staging", "payment", "signoz"].map(namespace));
    place.apply(&production());
    place.apply(&[
        snapshot_location("default", "gcp"),
        snapshot_location("aws", "aws"),
    ]);
    for step in &steps {
        let from = step["from"].as_str().expect("where it is from");
        if let Some(object) = step.get("apply") {
            place.apply(std::slice::from_ref(object));
            let kind = object["kind"].as_str().expect("a kind").to_lowercase();
            let name = object["metadata"]["name"].as_str().expect("a name");
            let phase = &step["phase"];
            let seen = served.until(&kind, name, |seen| {
                let phase = seen["status"]["phase"].as_str().unwrap_or_default();
                !["", "New", "InProgress"].contains(&phase)
            });
            assert_eq!(&seen["status"]["phase"], phase, "{from}: {seen}");
            let status = seen["status"].to_string();
            says(step, &status, from);
            continue;
        }
        if step.get("install").is_some() {
            installed(step, from);
            continue;
        }
        let words = words(&step["run"]);
        let run = served.salvor(&words);
        let code = i32::try_from(step["code"].as_i64().expect("a code")).expect("small");
        assert_eq!(
            run.code, code,
            "{from}: {words:?}\n{}\n{}",
            run.out, run.err
        );
        says(step, &format!("{}\n{}", run.out, run.err), from);
    }
}

fn words(of: &Value) -> Vec<&str> {
    let words = of.as_array().expect("a command").iter();
    words.map(|word| word.as_str().expect("a word")).collect()
}

/// An installation, in a cluster where nothing is installed.
fn installed(step: &Value, from: &str) {
    let place = Place::with_cluster();
    let credentials = "[default]\naws_access_key_id=id\naws_secret_access_key=key\n";
    let path = place.home.path().join("credentials-velero");
    std::fs::write(path, credentials).expect("written");
    let mut command = place.command(&words(&step["install"]));
    let run: Run = command
        .env_remove("SALVOR_LOCATION")
        .output()
        .expect("the binary runs")
        .into();
    run.expect(0);
    let object = &step["object"];
    let text = |field: &str| object[field].as_str().expect("text");
    let made = place.get(text("kind"), Some("velero"), text("name"));
    says(step, &made.expect("made").to_string(), from);
}

fn says(step: &Value, text: &str, from: &str) {
    for part in step["says"].as_array().into_iter().flatten() {
        let part = part.as_str().expect("text");
        assert!(text.contains(part), "{from}: `{part}` is not in:\n{text}");
    }
}

/// What the documents' examples back up: labelled applications, and a volume of the kind that they use.
fn production() -> Vec<Value> {
    let meta = |name: &str| {
        json!({"name": name, "namespace": "production",
               "labels": {"app": "my-app", "backup": "enabled"}})
    };
    vec![
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("settings"),
               "data": {"color": "blue"}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolume",
               "metadata": {"name": "local-1"},
               "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
                        "hostPath": {"path": "/opt/local-path-provisioner/1"},
                        "claimRef": {"namespace": "production", "name": "data"}}}),
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("data"),
               "spec": {"accessModes": ["ReadWriteOnce"], "volumeName": "local-1",
                        "resources": {"requests": {"storage": "1Gi"}}}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta("db"),
               "spec": {"containers": [{"name": "db", "image": "db:1",
                            "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
                        "volumes": [{"name": "data",
                            "persistentVolumeClaim": {"claimName": "data"}}]}}),
    ]
}
