//! Objects read straight from a snapshot of etcd, beside what the real API server makes of the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_cluster::{ApiResource, DeleteOptions, WriteOptions};
use salvor_etcd::history::{self, Past};
use salvor_etcd::kubernetes::{Place, Stored, object, table};
use salvor_etcd::snapshot::Snapshot;
use serde_json::{Value, json};

use crate::clusters::{FIRST, Real, patience};
use crate::comparison::{contents, differences};

const SHOP: &str = "etcd-export";

/// A snapshot of the etcd below a test bed; `None`, said aloud, where it is not known.
fn saved(real: &Real, folder: &tempfile::TempDir, name: &str) -> Option<PathBuf> {
    let port = real.kubeconfig.with_file_name("etcd.port");
    let Ok(port) = std::fs::read_to_string(&port) else {
        eprintln!("skipped: {} does not say where etcd is", port.display());
        return None;
    };
    let path = folder.path().join(name);
    let line = format!(
        "etcd snapshot save {} --endpoints 127.0.0.1:{}",
        path.display(),
        port.trim()
    );
    real.run("", &line).expect(0);
    Some(path)
}

/// Without what is nothing: releases differ in which nulls, zeros and empty lists they write out.
fn bare(value: &Value) -> Value {
    let is_nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) => false,
    };
    match value {
        Value::Object(map) => {
            let bare = map.iter().map(|(key, value)| (key.clone(), bare(value)));
            Value::Object(bare.filter(|(_, value)| !is_nothing(value)).collect())
        }
        Value::Array(items) => items.iter().map(bare).collect(),
        other => other.clone(),
    }
}

/// Takes away what the server sets while it reads: defaults of a volume that admission put in, the kind of claims in a
/// stateful set.
const WHILE_READING: [&str; 3] = ["defaultMode", "kind", "apiVersion"];

fn without_defaults(live: &mut Value, ours: &Value) {
    match (live, ours) {
        (Value::Object(live), Value::Object(ours)) => {
            live.retain(|key, _| !WHILE_READING.contains(&key.as_str()) || ours.contains_key(key));
            for (key, value) in live {
                without_defaults(value, ours.get(key).unwrap_or(&Value::Null));
            }
        }
        (Value::Array(live), Value::Array(ours)) if live.len() == ours.len() => {
            let pairs = live.iter_mut().zip(ours);
            pairs.for_each(|(live, ours)| without_defaults(live, ours));
        }
        _ => {}
    }
}

/// Every object of the snapshot is what the server gives in the same version, where it has not changed since.
pub(crate) async fn are_what_the_server_gives(real: &Real) {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(path) = saved(real, &folder, "full.db") else {
        return;
    };
    let mut past = Past::from(Snapshot::open(&path).expect("a snapshot"));
    let stop = AtomicBool::new(false);
    let state = history::state(&mut past, None, |_| true, &stop).expect("readable");
    let mut read = Vec::new();
    history::values(&mut past, &state, &stop, |version| {
        let Some(place) = Place::of(version.entry.key, &Stored::of(version.entry.value)) else {
            return;
        };
        let decoded = object(version.entry.value, version.entry.mod_revision);
        let decoded = decoded.unwrap_or_else(|error| panic!("{place:?}: {error}"));
        read.push((place, decoded));
    })
    .expect("readable");

    let (mut same, mut kinds) = (0, BTreeSet::new());
    let (mut stored, mut given) = (BTreeMap::new(), BTreeMap::new());
    for (place, decoded) in &read {
        let namespaced = !place.namespace.is_empty();
        let resource = ApiResource::known(
            &place.group,
            place.version(),
            &place.kind,
            &place.resource,
            namespaced,
        );
        let namespace = namespaced.then_some(place.namespace.as_str());
        let live = real.cluster.get(&resource, namespace, &place.name).await;
        // What changed or went in between says nothing.
        let Some(live) = live.unwrap_or_else(|error| panic!("{place:?}: {error}")) else {
            continue;
        };
        let live: Value = serde_json::from_slice(&live).expect("JSON");
        let ours = bare(&Value::Object(decoded.object.clone()));
        if live["metadata"]["resourceVersion"] != ours["metadata"]["resourceVersion"] {
            continue;
        }
        let mut live = bare(&live);
        // Made up on reading, from the path.
        if let Some(metadata) = live["metadata"].as_object_mut() {
            metadata.remove("selfLink");
        }
        without_defaults(&mut live, &ours);
        let key = ObjectKey {
            resource: GroupResource::new(&place.resource, &place.group),
            namespace: namespace.map(str::to_owned),
            name: place.name.clone(),
        };
        stored.insert(key.clone(), ours);
        given.insert(key, live);
        assert_eq!(decoded.unknown_fields, 0, "{place:?}");
        same += 1;
        kinds.insert(place.collection());
    }
    assert_eq!(differences(&stored, &given), Vec::<String>::new());
    let all = read.len();
    assert!(same * 10 > all * 9, "{same} of {all} were compared");
    assert!(kinds.len() > 40, "{kinds:?}");
    let built_in = kinds
        .iter()
        .filter(|kind| table().called(kind).next().is_some());
    assert!(built_in.count() > 35, "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_namespace_comes_back_from_a_snapshot_of_etcd_with_everything_else_untouched() {
    let Some(real) = Real::connect(FIRST).await else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let namespaces = ApiResource::known("", "v1", "Namespace", "namespaces", false);
    let core = |kind: &str, plural: &str| ApiResource::known("", "v1", kind, plural, true);
    let apps = ApiResource::known("apps", "v1", "Deployment", "deployments", true);
    let (maps, secrets) = (core("ConfigMap", "configmaps"), core("Secret", "secrets"));
    let write = async |resource: &ApiResource, namespace: Option<&str>, object: Value| {
        let options = WriteOptions::default();
        let body = object.to_string();
        let made = real
            .cluster
            .create(resource, namespace, body.as_bytes(), &options);
        made.await.expect("created");
    };
    let named = |name: &str| json!({"metadata": {"name": name}});
    write(&namespaces, None, named(SHOP)).await;
    let pod = json!({"metadata": {"labels": {"app": "web"}, "annotations": {
                         // Not run: there is no pod in a snapshot.
                         "pre.hook.backup.velero.io/command": "[\"/bin/false\"]"}},
                     "spec": {"containers": [{"name": "web", "image": "web & <sons>"}]}});
    let spec = json!({"selector": {"matchLabels": {"app": "web"}}, "replicas": 2, "template": pod});
    write(
        &apps,
        Some(SHOP),
        json!({"metadata": {"name": "web"}, "spec": spec}),
    )
    .await;
    let mut map = named("settings");
    map["data"] = json!({"mode": "old"});
    write(&maps, Some(SHOP), map).await;
    let mut secret = named("db");
    secret["data"] = json!({"password": "AP8="});
    write(&secrets, Some(SHOP), secret).await;
    write(&maps, Some("default"), named("etcd-export-elsewhere")).await;
    let before = real.settled().await;
    let Some(path) = saved(&real, &folder, "before.db") else {
        return;
    };
    let from = path.display();

    // What the snapshot says of itself, without the cluster.
    let counted = real.run("", &format!("etcd inspect {from} --by-namespace -o json"));
    let counted: Value = serde_json::from_str(counted.expect(0)).expect("JSON");
    let kinds = counted["kinds"].as_array().expect("a list");
    let pods = kinds
        .iter()
        .find(|row| row["resource"] == "pods" && row["namespace"] == SHOP);
    assert_eq!(pods.expect("counted")["objects"], 2, "{counted}");
    let shown = real.run("", &format!("-n {SHOP} etcd get cm settings --from {from}"));
    assert!(shown.expect(0).contains("mode: old"), "{}", shown.out);
    let missing = real.run("", &format!("-n {SHOP} etcd get cm nothing --from {from}"));
    assert_eq!(missing.code, 3, "{}", missing.err);
    let same = real.run(
        "",
        &format!("etcd diff {from} live --include-namespaces {SHOP}"),
    );
    assert_eq!(same.code, 0, "{}{}", same.out, same.err);

    let options = DeleteOptions::default();
    let deleted = real.cluster.delete(&namespaces, None, SHOP, &options);
    deleted.await.expect("deleted");
    let gone = patience();
    let gone = real.cluster.wait_gone(&namespaces, None, SHOP, &gone);
    gone.await.expect("gone");
    let diff = format!("etcd diff {from} live --include-namespaces {SHOP} -o name");
    let differs = real.run("", &diff);
    assert_eq!(differs.code, 1, "{}", differs.err);
    assert!(
        differs.out.contains(&format!("configmaps {SHOP}/settings")),
        "{}",
        differs.out
    );

    let location = format!("file://{}", folder.path().join("store").display());
    std::fs::create_dir(folder.path().join("store")).expect("a folder");
    let export = format!("etcd export lost --from {from} --include-namespaces {SHOP}");
    real.run(&location, &export).expect(0);
    let restored = real.run(&location, "restore create back --from-backup lost --direct");
    assert_eq!(restored.code, 0, "{}{}", restored.out, restored.err);
    let after = real.settled().await;
    let changed = differences(&contents(&before, ""), &contents(&after, ""));
    assert_eq!(changed, Vec::<String>::new());

    // Later than the snapshot, the past is in the next one.
    let next = saved(&real, &folder, "after.db").expect("as before");
    let blame = format!(
        "-n {SHOP} etcd blame cm settings --from {} -o json",
        next.display()
    );
    let changes = real.run("", &blame);
    let changes: Value = serde_json::from_str(changes.expect(0)).expect("JSON");
    let what: Vec<&str> = changes
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["change"].as_str())
        .collect();
    assert_eq!(what, ["created", "deleted", "created"], "{changes}");
    let revision = changes[0]["revision"].as_u64().expect("a number");
    let then = format!(
        "-n {SHOP} etcd get cm settings --from {}@{revision}",
        next.display()
    );
    assert!(real.run("", &then).expect(0).contains("mode: old"));

    real.cluster
        .delete(&namespaces, None, SHOP, &options)
        .await
        .expect("deleted");
    let elsewhere = real
        .cluster
        .delete(&maps, Some("default"), "etcd-export-elsewhere", &options);
    elsewhere.await.expect("deleted");
    // Other tests back up all that is there.
    let gone = patience();
    let gone = real.cluster.wait_gone(&namespaces, None, SHOP, &gone);
    gone.await.expect("gone");
}
