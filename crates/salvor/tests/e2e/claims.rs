//! Volumes that outlived their claim, given to a claim again while others try to get them: the binder of a real cluster
//! decides who wins.

use std::path::PathBuf;

use salvor_cluster::{ApiResource, DeleteOptions, Look, WriteOptions};
use serde_json::{Value, json};

use crate::clusters::{FIRST, Real, patience};
use crate::counted::{self, Counted, Measure, Point};
use crate::support::{Run, read};

fn claims() -> ApiResource {
    ApiResource::known(
        "",
        "v1",
        "PersistentVolumeClaim",
        "persistentvolumeclaims",
        true,
    )
}

fn volumes() -> ApiResource {
    ApiResource::known("", "v1", "PersistentVolume", "persistentvolumes", false)
}

/// A namespace and a storage class of a test, with volumes that are made by hand.
struct Stage {
    real: Real,
    name: String,
}

impl Stage {
    async fn set(what: &str) -> Option<Self> {
        let real = Real::connect(FIRST).await?;
        let name = format!("claims-{what}-{}", std::process::id());
        let stage = Self { real, name };
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": stage.name}});
        stage
            .create(&ApiResource::namespaces(), None, &namespace)
            .await;
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": stage.name},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "Immediate"});
        let classes = ApiResource::known(
            "storage.k8s.io",
            "v1",
            "StorageClass",
            "storageclasses",
            false,
        );
        stage.create(&classes, None, &class).await;
        Some(stage)
    }

    async fn create(&self, resource: &ApiResource, namespace: Option<&str>, object: &Value) {
        let options = WriteOptions::default();
        let body = object.to_string();
        let made = self
            .real
            .cluster
            .create(resource, namespace, body.as_bytes(), &options)
            .await;
        made.expect("created");
    }

    /// Name of a volume of this test.
    fn volume(&self, name: &str) -> String {
        format!("{}-{name}", self.name)
    }

    /// Makes a volume that nobody has.
    async fn make_volume(&self, name: &str, policy: &str) {
        let name = self.volume(name);
        // Outside of what the cluster may delete by itself.
        let path = format!("/nowhere/{name}");
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": self.name,
                "persistentVolumeReclaimPolicy": policy, "hostPath": {"path": path}}});
        self.create(&volumes(), None, &volume).await;
    }

    /// Makes a claim that fits every volume of this test; with a name it asks for that one.
    async fn make_claim(&self, name: &str, volume: Option<&str>) {
        let volume = volume.map(|volume| self.volume(volume));
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"namespace": self.name, "name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": self.name, "volumeName": volume,
                "resources": {"requests": {"storage": "1Gi"}}}});
        self.create(&claims(), Some(&self.name), &claim).await;
    }

    /// Waits until a claim is bound to a volume.
    async fn bound(&self, claim: &str, volume: &str) {
        let volume = self.volume(volume);
        let look = |object: Option<&Value>| match object {
            Some(object)
                if object["status"]["phase"] == "Bound"
                    && object["spec"]["volumeName"] == *volume =>
            {
                Look::Done
            }
            other => Look::NotYet(format!("{other:?}")),
        };
        let (claims, wait) = (claims(), patience());
        let waited = self
            .real
            .cluster
            .wait_until(&claims, Some(&self.name), claim, &wait, look);
        waited.await.expect("bound");
    }

    /// Waits until a volume is in this phase.
    async fn phase(&self, volume: &str, phase: &str) {
        let look = |object: Option<&Value>| match object {
            Some(object) if object["status"]["phase"] == *phase => Look::Done,
            other => Look::NotYet(format!("{other:?}")),
        };
        let (name, volumes, wait) = (self.volume(volume), volumes(), patience());
        let waited = self
            .real
            .cluster
            .wait_until(&volumes, None, &name, &wait, look);
        waited.await.expect("that phase");
    }

    /// Deletes a claim and waits until it is gone.
    async fn lose(&self, claim: &str) {
        let (claims, options, wait) = (claims(), DeleteOptions::default(), patience());
        let deleted = self
            .real
            .cluster
            .delete(&claims, Some(&self.name), claim, &options)
            .await;
        deleted.expect("deleted");
        let gone = self
            .real
            .cluster
            .wait_gone(&claims, Some(&self.name), claim, &wait)
            .await;
        gone.expect("gone");
    }

    async fn patch_volume(&self, volume: &str, spec: Value) {
        let (name, volumes, options) = (self.volume(volume), volumes(), WriteOptions::default());
        let body = json!({ "spec": spec }).to_string();
        let patched =
            self.real
                .cluster
                .merge_patch(&volumes, None, &name, None, body.as_bytes(), &options);
        patched.await.expect("patched");
    }

    async fn seen(&self, kind: &str, name: &str) -> Value {
        let namespace = (kind == "persistentvolumeclaim").then_some(self.name.as_str());
        read(&self.real.cluster, kind, namespace, name)
            .await
            .expect("it is there")
    }

    async fn seen_volume(&self, volume: &str) -> Value {
        self.seen("persistentvolume", &self.volume(volume)).await
    }

    async fn claim_phase(&self, claim: &str) -> Value {
        self.seen("persistentvolumeclaim", claim).await["status"]["phase"].clone()
    }

    fn run(&self, line: &str) -> Run {
        self.real.run("", line)
    }

    /// `pv rebind` of a volume to claim `data`.
    fn rebind(&self, volume: &str, rest: &str) -> String {
        format!(
            "pv rebind {} --claim {}/data {rest}",
            self.volume(volume),
            self.name
        )
    }

    /// The findings of `pvc check`, as `claim code`.
    fn findings(&self, location: &str, line: &str, code: i32) -> Vec<String> {
        let line = format!("pvc check -n {} {line} -o json", self.name);
        let run = self.real.run(location, &line);
        let report: Value = serde_json::from_str(run.expect(code)).expect("JSON");
        let mut found = Vec::new();
        for claim in report["claims"].as_array().expect("claims") {
            for finding in claim["findings"].as_array().expect("findings") {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                found.push(format!(
                    "{} {}",
                    text(&claim["name"]),
                    text(&finding["code"])
                ));
            }
        }
        found
    }

    /// Removes what is in no namespace, and asks for the end of the namespace.
    async fn strike(self, volume_names: &[&str]) {
        let options = DeleteOptions::default();
        let namespaces = ApiResource::namespaces();
        let deleted = self
            .real
            .cluster
            .delete(&namespaces, None, &self.name, &options)
            .await;
        deleted.expect("deleted");
        let classes = ApiResource::known(
            "storage.k8s.io",
            "v1",
            "StorageClass",
            "storageclasses",
            false,
        );
        let deleted = self
            .real
            .cluster
            .delete(&classes, None, &self.name, &options)
            .await;
        deleted.expect("deleted");
        for name in volume_names {
            let deleted = self
                .real
                .cluster
                .delete(&volumes(), None, &self.volume(name), &options)
                .await;
            deleted.expect("deleted");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_released_volume_comes_to_its_claim_while_others_try_to_take_it() {
    let Some(stage) = Stage::set("decoys").await else {
        return;
    };
    stage.make_volume("old", "Delete").await;
    stage.make_claim("data", None).await;
    stage.bound("data", "old").await;
    stage.lose("data").await;
    // The cluster cannot delete it, and would try for ever.
    stage.phase("old", "Failed").await;
    // Two that want it: one that waits for any volume of its class and size, one that names this very volume.
    stage.make_claim("thief", None).await;
    stage.make_claim("named", Some("old")).await;

    let listed = stage.run("pv released -o json");
    let listed: Value = serde_json::from_str(listed.expect(0)).expect("JSON");
    let listed = listed.as_array().expect("a list").iter();
    let ours: Vec<&Value> = listed
        .filter(|one| one["name"] == *stage.volume("old"))
        .collect();
    assert_eq!(ours.len(), 1, "{ours:?}");
    assert_eq!(ours[0]["claim"]["name"], "data");
    assert_eq!(ours[0]["place"]["kind"], "hostPath");
    assert_eq!(ours[0]["reclaimPolicy"], "Delete");
    assert!(ours[0]["since"].is_string(), "{ours:?}");
    let table = stage.run("pv released");
    assert!(
        table
            .expect(0)
            .contains(&format!("hostPath /nowhere/{}", stage.volume("old")))
    );
    assert!(table.err.contains("may go at any time"), "{}", table.err);

    // Nothing is changed without being asked for.
    let refused = stage.run(&stage.rebind("old", "--yes"));
    refused.expect(3);
    assert!(refused.err.contains("--create-claim"), "{}", refused.err);
    stage.run(&stage.rebind("old", "--create-claim")).expect(4);
    let planned = stage.run(&stage.rebind("old", "--create-claim --dry-run"));
    assert!(
        planned.expect(0).contains("it was Delete"),
        "{}",
        planned.out
    );
    assert!(planned.out.contains("kubectl patch pv"), "{}", planned.out);
    let policy = &stage.seen_volume("old").await["spec"]["persistentVolumeReclaimPolicy"];
    assert_eq!(policy, "Delete");

    let done = stage.run(&stage.rebind("old", "--create-claim --yes"));
    assert!(
        done.expect(0).contains("is bound to volume"),
        "{}",
        done.out
    );
    assert!(
        done.err.contains("look whether the bytes are still there"),
        "{}",
        done.err
    );
    let (volume, claim) = (
        stage.seen_volume("old").await,
        stage.seen("persistentvolumeclaim", "data").await,
    );
    assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
    assert_eq!(volume["status"]["phase"], "Bound");
    assert_eq!(volume["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(claim["spec"]["volumeName"], *stage.volume("old"));
    assert_eq!(stage.claim_phase("thief").await, "Pending");
    assert_eq!(stage.claim_phase("named").await, "Pending");

    // Once more is nothing; to another claim is refused.
    let again = stage.run(&stage.rebind("old", "--yes"));
    assert!(
        again.expect(0).contains("is bound to volume"),
        "{}",
        again.out
    );
    let other = format!(
        "pv rebind {} --claim {}/thief --yes",
        stage.volume("old"),
        stage.name
    );
    stage.run(&other).expect(4);

    let found = stage.findings("", "", 1);
    assert_eq!(found, ["named volumeOfAnother", "thief pending"]);
    let korean = stage.run(&format!("--lang ko pvc check -n {}", stage.name));
    korean.expect(1);
    assert!(korean.err.contains("볼륨을 기다립니다"), "{}", korean.err);

    // With the recipe that circulates the thief wins: it is a real one.
    stage.make_volume("other", "Retain").await;
    stage.bound("thief", "other").await;
    stage.lose("data").await;
    stage.phase("old", "Released").await;
    stage.lose("named").await;
    stage.make_claim("second-thief", None).await;
    stage.patch_volume("old", json!({"claimRef": null})).await;
    stage.bound("second-thief", "old").await;
    stage.strike(&["old", "other"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_waits_gets_the_volume_and_a_misfit_is_refused() {
    let Some(stage) = Stage::set("waiting").await else {
        return;
    };
    stage.make_volume("old", "Retain").await;
    stage.make_claim("before", None).await;
    stage.bound("before", "old").await;
    stage.lose("before").await;
    stage.phase("old", "Released").await;
    stage.make_claim("thief", None).await;
    stage.make_claim("data", None).await;
    stage.run(&stage.rebind("old", "--yes")).expect(0);
    stage.bound("data", "old").await;
    assert_eq!(stage.claim_phase("thief").await, "Pending");

    let large = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": stage.name, "name": "large"},
        "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": stage.name,
            "resources": {"requests": {"storage": "2Gi"}}}});
    stage.create(&claims(), Some(&stage.name), &large).await;
    stage.lose("data").await;
    stage.phase("old", "Released").await;
    let refused = stage.run(&format!(
        "pv rebind {} --claim {}/large --yes",
        stage.volume("old"),
        stage.name
    ));
    refused.expect(4);
    for part in ["2Gi", "ReadWriteMany"] {
        assert!(refused.err.contains(part), "{}", refused.err);
    }
    stage.strike(&["old"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_rebind_is_gone_on_from_whatever_it_left() {
    let Some(stage) = Stage::set("killed").await else {
        return;
    };
    let Some(counted) = Counted::api_server(&stage.real.kubeconfig).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let through: PathBuf = counted.write_kubeconfig(folder.path());
    stage.make_volume("old", "Retain").await;
    stage.make_claim("data", None).await;
    stage.bound("data", "old").await;
    // Policy, volume, claim.
    let points = (1..=3).flat_map(|number| [false, true].map(|arrives| Point { number, arrives }));
    for point in points {
        stage
            .patch_volume("old", json!({"persistentVolumeReclaimPolicy": "Delete"}))
            .await;
        stage.lose("data").await;
        stage.phase("old", "Failed").await;
        if point
            == (Point {
                number: 1,
                arrives: false,
            })
        {
            stage.make_claim("thief", None).await;
        }
        let mut command = stage
            .real
            .command("", &stage.rebind("old", "--create-claim --yes"));
        command.env("KUBECONFIG", &through);
        let ended = counted::run(command, Measure::Writes(&counted), Some(point));
        assert!(
            ended.killed,
            "{point:?}: {}{}",
            ended.run.out, ended.run.err
        );
        let done = stage.run(&stage.rebind("old", "--create-claim --yes"));
        assert!(
            done.expect(0).contains("is bound to volume"),
            "{point:?} {}",
            done.out
        );
        stage.bound("data", "old").await;
        assert_eq!(
            stage.claim_phase("thief").await,
            "Pending",
            "{point:?} {}",
            ended.at
        );
    }
    stage.strike(&["old"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_are_compared_with_the_volumes_that_a_backup_has() {
    let Some(stage) = Stage::set("compared").await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let location = format!("file://{}", folder.path().display());
    stage.make_volume("old", "Retain").await;
    stage.make_claim("data", None).await;
    stage.bound("data", "old").await;
    let backup = format!(
        "backup create all --snapshot-volumes=false --include-namespaces {} --include-cluster-resources=true",
        stage.name
    );
    stage.real.run(&location, &backup).expect(0);
    assert_eq!(
        stage.findings(&location, "--backup all", 0),
        Vec::<String>::new()
    );

    stage.lose("data").await;
    stage.phase("old", "Released").await;
    assert_eq!(
        stage.findings(&location, "--backup all", 1),
        ["data missing", "data leftBehind"]
    );
    // Another volume came to the claim: it is bound, and wrong.
    stage.make_volume("new", "Retain").await;
    stage.make_claim("data", Some("new")).await;
    stage.bound("data", "new").await;
    let found = stage.findings(&location, "--backup all", 1);
    assert_eq!(found, ["data leftBehind", "data otherVolume"]);
    let only_now = stage.findings(&location, "", 0);
    assert_eq!(only_now, ["data leftBehind"]);
    // A restore into another namespace is looked for there.
    let line = format!(
        "restore create r --from-backup all --namespace-mappings {0}:{0}-b --include-resources configmaps --yes",
        stage.name
    );
    stage.real.run(&location, &line).expect(0);
    let run = stage.real.run(&location, "pvc check --restore r -o json");
    let report: Value = serde_json::from_str(run.expect(0)).expect("JSON");
    assert_eq!(report["claims"], json!([]), "it does not bring claims back");
    let namespaces = ApiResource::namespaces();
    let mapped = format!("{}-b", stage.name);
    let deleted = stage
        .real
        .cluster
        .delete(&namespaces, None, &mapped, &DeleteOptions::default())
        .await;
    deleted.expect("deleted");
    stage.strike(&["old", "new"]).await;
}
