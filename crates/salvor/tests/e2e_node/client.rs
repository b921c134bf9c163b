//! What the `velero` command asks for, played back. **This is not the client**: the requests, paths and bodies are
//! those that `velero` v1.18.3 sent when it was tried by hand against this server (`docs/compatibility.md`), with
//! its log level 8. Its waiting is kubectl's here, and what it prints is not made.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::http;
use crate::world::Installed;

const SERVER: &str = "node-client";
const SHOP: &str = "node-client-shop";

struct Client {
    world: Installed,
    /// Of the requests for downloads, whose names the client makes up.
    requests: u32,
}

impl Client {
    fn path(rest: &str) -> String {
        format!("/apis/velero.io/v1/namespaces/{SERVER}/{rest}")
    }

    fn get(&self, rest: &str) -> Value {
        let answer = self
            .world
            .kubectl_with(&["get", "--raw", &Self::path(rest)]);
        serde_json::from_str(answer.expect(0)).expect("JSON")
    }

    /// The client names version and kind first, and sends an empty status and time.
    fn post(&self, plural: &str, kind: &str, metadata: Value, spec: Value) -> Value {
        let mut object = json!({"kind": kind, "apiVersion": "velero.io/v1", "metadata": metadata,
            "spec": spec, "status": {}});
        object["metadata"]["namespace"] = json!(SERVER);
        object["metadata"]["creationTimestamp"] = Value::Null;
        let answer = self.world.raw("create", &Self::path(plural), &object);
        serde_json::from_str(answer.expect(0)).expect("JSON")
    }

    /// Lists as the client's informer does, and watches from there until the object has ended.
    fn create_and_wait(&self, plural: &str, create: impl Fn() -> Value) -> Value {
        let list = self.get(&format!("{plural}?resourceVersion=0"));
        let version = list["metadata"]["resourceVersion"]
            .as_str()
            .expect("a version");
        let created = create();
        let watch = format!(
            "{plural}?allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds=60&watch=true"
        );
        let mut kubectl: Command = self.world.kubectl_command();
        kubectl
            .args(["get", "--raw", &Self::path(&watch)])
            .stdout(Stdio::piped());
        let mut child = kubectl.spawn().expect("kubectl runs");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ends = ["Completed", "PartiallyFailed", "Failed", "FailedValidation"];
        let ended = lines.map_while(Result::ok).find_map(|line| {
            let event: Value = serde_json::from_str(&line).expect("JSON");
            let object = event["object"].clone();
            let is_it = object["metadata"]["uid"] == created["metadata"]["uid"];
            let phase = object["status"]["phase"].as_str().unwrap_or_default();
            (is_it && ends.contains(&phase)).then_some(object)
        });
        // It would go on for a minute.
        let _ = child.kill();
        child.wait().expect("ended");
        ended.unwrap_or_else(|| panic!("not ended in a minute: {created}\n{}", self.world.log()))
    }

    /// Asks for a file and fetches it from where the server says, unpacked as the client does.
    fn download(&mut self, kind: &str, name: &str) -> String {
        self.get("backupstoragelocations/default");
        self.requests += 1;
        let request = format!("{name}-{}", self.requests);
        let target = json!({"target": {"kind": kind, "name": name}});
        self.post(
            "downloadrequests",
            "DownloadRequest",
            json!({"name": request}),
            target,
        );
        let object = format!("downloadrequest/{request}");
        self.world.wait(&object, "{.status.phase}=Processed");
        let answered = self.get(&format!("downloadrequests/{request}"));
        let url = answered["status"]["downloadURL"]
            .as_str()
            .expect("a URL")
            .to_owned();
        let answer = http::get(&url);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
        unpack(&answer.body)
    }
}

fn unpack(bytes: &[u8]) -> String {
    let mut gzip = Command::new("gzip");
    gzip.arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = gzip.spawn().expect("gzip runs");
    let mut input = child.stdin.take().expect("a pipe");
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes).expect("it reads"));
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("written");
    assert!(output.status.success(), "it is not gzip");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_recorded_requests_of_veleros_client_are_answered_as_it_needs() {
    let Some(mut world) = Installed::new(SERVER) else {
        return;
    };
    world.namespace(SHOP);
    world
        .kubectl(&format!(
            "create configmap settings --from-literal=k=v -n {SHOP}"
        ))
        .expect(0);
    let mut client = Client { world, requests: 0 };

    // velero version
    let metadata = json!({"generateName": "velero-cli-", "resourceVersion": "0"});
    let request = client.post(
        "serverstatusrequests",
        "ServerStatusRequest",
        metadata,
        json!({}),
    );
    let name = request["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    client.world.wait(
        &format!("serverstatusrequest/{name}"),
        "{.status.phase}=Processed",
    );
    let status = client.get(&format!("serverstatusrequests/{name}"))["status"].clone();
    assert!(
        status["serverVersion"]
            .as_str()
            .is_some_and(|v| v.contains("salvor")),
        "{status}"
    );

    // velero backup create b1 --include-namespaces SHOP --wait
    let spec = json!({"metadata": {}, "includedNamespaces": [SHOP], "ttl": "0s", "hooks": {},
        "csiSnapshotTimeout": "0s", "itemOperationTimeout": "0s"});
    let backup = client.create_and_wait("backups", || {
        client.post("backups", "Backup", json!({"name": "b1"}), spec.clone())
    });
    assert_eq!(backup["status"]["phase"], "Completed", "{backup}");

    // velero backup describe b1 --details; velero backup logs b1; velero backup download b1
    let uid = backup["metadata"]["uid"].as_str().expect("a UID");
    for list in [
        format!(
            "deletebackuprequests?labelSelector=velero.io%2Fbackup-name%3Db1%2Cvelero.io%2Fbackup-uid%3D{uid}"
        ),
        "podvolumebackups?labelSelector=velero.io%2Fbackup-name%3Db1".to_owned(),
    ] {
        assert_eq!(client.get(&list)["items"], json!([]), "{list}");
    }
    let resources: Value =
        serde_json::from_str(&client.download("BackupResourceList", "b1")).expect("JSON");
    let listed = resources["v1/ConfigMap"].as_array().expect("a list");
    assert!(
        listed.contains(&json!(format!("{SHOP}/settings"))),
        "{resources}"
    );
    let volumes: Value =
        serde_json::from_str(&client.download("BackupVolumeInfos", "b1")).expect("JSON");
    assert!(volumes.as_array().is_some_and(Vec::is_empty), "{volumes}");
    let results: Value =
        serde_json::from_str(&client.download("BackupResults", "b1")).expect("JSON");
    assert_eq!(results["errors"], json!({}), "{results}");
    assert!(
        client.download("BackupLog", "b1").contains("backed up"),
        "a log"
    );
    let archive = client.download("BackupContents", "b1");
    assert!(archive.contains("metadata/version"), "a tarball");

    // velero restore create r1 --from-backup b1 --wait; velero restore describe r1; velero restore logs r1
    client.world.lose(SHOP);
    let spec = json!({"backupName": "b1", "includedNamespaces": ["*"], "hooks": {},
        "itemOperationTimeout": "0s", "uploaderConfig": {}});
    let restore = client.create_and_wait("restores", || {
        client.post("restores", "Restore", json!({"name": "r1"}), spec.clone())
    });
    assert_eq!(restore["status"]["phase"], "Completed", "{restore}");
    let list = "podvolumerestores?labelSelector=velero.io%2Frestore-name%3Dr1";
    assert_eq!(client.get(list)["items"], json!([]));
    let resources: Value =
        serde_json::from_str(&client.download("RestoreResourceList", "r1")).expect("JSON");
    let listed = resources["v1/ConfigMap"].as_array().expect("a list");
    assert!(
        listed.contains(&json!(format!("{SHOP}/settings(created)"))),
        "{resources}"
    );
    assert!(
        client.download("RestoreLog", "r1").contains("created"),
        "a log"
    );
    client.download("RestoreResults", "r1");

    schedules(&client);

    // velero backup-location get; velero backup delete b1 --confirm
    let locations = client.get("backupstoragelocations");
    assert_eq!(
        locations["items"][0]["status"]["phase"], "Available",
        "{locations}"
    );
    let labels = json!({"velero.io/backup-name": "b1", "velero.io/backup-uid": uid});
    let metadata = json!({"generateName": "b1-", "labels": labels});
    client.post(
        "deletebackuprequests",
        "DeleteBackupRequest",
        metadata,
        json!({"backupName": "b1"}),
    );
    for object in ["backup/b1", "restore/r1"] {
        let gone = client
            .world
            .kubectl(&format!("wait {object} --for=delete --timeout=60s"));
        gone.expect(0);
    }
}

/// `velero schedule create s1 --schedule "0 2 * * *"`, `get`, `pause`, `delete`.
fn schedules(client: &Client) {
    let spec = json!({"schedule": "0 2 * * *", "useOwnerReferencesInBackup": false,
        "template": {"metadata": {}, "includedNamespaces": ["*"], "ttl": "0s", "hooks": {},
            "csiSnapshotTimeout": "0s", "itemOperationTimeout": "0s"}});
    client.post("schedules", "Schedule", json!({"name": "s1"}), spec);
    client.world.wait("schedule/s1", "{.status.phase}=Enabled");
    // The client lists those of all namespaces.
    let all = client
        .world
        .kubectl("get --raw /apis/velero.io/v1/schedules");
    assert!(all.expect(0).contains("\"s1\""), "{}", all.out);
    let path = Client::path("schedules/s1");
    let mut schedule = client.get("schedules/s1");
    schedule["spec"]["paused"] = json!(true);
    client.world.raw("replace", &path, &schedule).expect(0);
    let schedule = client.get("schedules/s1");
    assert_eq!(schedule["spec"]["paused"], true, "{schedule}");
    client
        .world
        .kubectl(&format!("delete --raw {path}"))
        .expect(0);
}
