//! Restores in tests: a backup of a world, or an archive written by hand as Velero writes it, brought into
//! another world.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase, Restore};
use salvor_cluster::Cluster;
use salvor_location::{Location, RunId};
use salvor_objects::diff::comparison::{Comparison, Snapshot, compare};
use salvor_objects::restore::{
    Observer, RestoreError, RestoreOptions, RestoreOutcome, RestorePlan, RestoreRequest, Source,
    apply, plan,
};
use salvor_storage::{Key, PutMode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{World, gunzip};

/// A restore of backup `b`, changed by `change`.
pub(crate) async fn request(
    cluster: &Cluster,
    location: &Location,
    name: &str,
    change: impl FnOnce(&mut Restore, &mut RestoreOptions),
) -> RestoreRequest {
    let backup = BackupName::new("b").expect("valid");
    let mut restore = Restore::named("velero", name);
    restore.spec.backup_name = "b".to_owned();
    let mut options = RestoreOptions {
        resource_timeout: std::time::Duration::from_secs(2),
        ..RestoreOptions::default()
    };
    change(&mut restore, &mut options);
    RestoreRequest {
        cluster: cluster.clone(),
        source: Source::open(location, &backup).await.expect("a backup"),
        restore,
        options,
    }
}

pub(crate) async fn planned(request: &RestoreRequest) -> Result<RestorePlan, RestoreError> {
    plan(request, &CancellationToken::new()).await
}

/// Plans and applies.
pub(crate) async fn carried_out(
    request: &RestoreRequest,
    location: &Location,
) -> Result<RestoreOutcome, RestoreError> {
    let plan = planned(request).await?;
    let (run, cancel) = (RunId::generate(), CancellationToken::new());
    let observer = Observer::none();
    Box::pin(apply(request, location, plan, &run, &observer, &cancel)).await
}

/// Restores everything under this name.
pub(crate) async fn restore_all(world: &World, location: &Location, name: &str) -> RestoreOutcome {
    let request = request(&world.cluster, location, name, |_, _| ()).await;
    carried_out(&request, location).await.expect("a restore")
}

/// All warnings and errors, one a line.
pub(crate) fn complaints(outcome: &RestoreOutcome) -> Vec<String> {
    let mut lines = Vec::new();
    for (word, set) in [
        ("warning", &outcome.results.warnings),
        ("error", &outcome.results.errors),
    ] {
        let all = set
            .velero
            .iter()
            .chain(&set.cluster)
            .chain(set.namespaces.values().flatten());
        lines.extend(all.map(|text| format!("{word}: {text}")));
    }
    lines
}

pub(crate) async fn snapshot(cluster: &Cluster) -> Snapshot {
    Snapshot::read(cluster).await.expect("readable")
}

pub(crate) async fn compared(before: &Snapshot, world: &World) -> Comparison {
    compare(before, &snapshot(&world.cluster).await)
}

/// The live object.
pub(crate) async fn live(
    world: &World,
    resource: &str,
    namespace: Option<&str>,
    name: &str,
) -> Value {
    let bytes = world.get(resource, namespace, name).await;
    let bytes = bytes.unwrap_or_else(|| panic!("{resource} {name} is missing"));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// Stores backup `b` as Velero writes it: one gzip stream, both paths for each object, no index, no side
/// files. Objects come with the resource that they are stored under.
pub(crate) async fn hand_made(location: &Location, objects: &[(&str, Value)]) {
    let mut tar = Vec::new();
    entry(&mut tar, "metadata/version", b"1.1.0\n");
    for (resource, object) in objects {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let place = match text("namespace") {
            "" => format!("cluster/{}.json", text("name")),
            namespace => format!("namespaces/{namespace}/{}.json", text("name")),
        };
        let version = object["apiVersion"].as_str().expect("a version");
        let version = version.rsplit('/').next().expect("at least one part");
        let body = object.to_string();
        for folder in ["".to_owned(), format!("{version}-preferredversion/")] {
            let path = format!("resources/{resource}/{folder}{place}");
            entry(&mut tar, &path, body.as_bytes());
        }
    }
    tar.extend([0; 1024]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar).expect("memory");
    let archive = gzip.finish().expect("memory");
    let mut backup = Backup::named("velero", "b");
    backup.status.phase = BackupPhase::Completed;
    backup.status.format_version = "1.1.0".to_owned();
    for (file, bytes) in [
        ("b.tar.gz", archive),
        (
            "velero-backup.json",
            serde_json::to_vec(&backup).expect("plain data"),
        ),
    ] {
        let key = Key::new(format!("backups/b/{file}")).expect("valid");
        let store = location.store();
        store
            .put(&key, bytes.into(), PutMode::Create)
            .await
            .expect("memory");
    }
}

fn entry(tar: &mut Vec<u8>, path: &str, body: &[u8]) {
    let mut header = [0u8; 512];
    let (prefix, name) = if path.len() <= 100 {
        ("", path)
    } else {
        let cut = path[..155.min(path.len())].rfind('/').expect("a folder");
        (&path[..cut], &path[cut + 1..])
    };
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    header[100..108].copy_from_slice(b"0000755\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", body.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend(header);
    tar.extend(body);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// An object as a server stores it: with the metadata of an incarnation.
pub(crate) fn stored(api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {
        "name": name, "uid": "old-uid", "resourceVersion": "17", "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z"}});
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}

/// `stored` with a spec.
pub(crate) fn with_spec(mut object: Value, spec: Value) -> Value {
    object["spec"] = spec;
    object
}

/// A file of a restore, decompressed.
pub(crate) async fn restore_file(location: &Location, name: &str, file: &str) -> Vec<u8> {
    let restore = salvor_api::name::RestoreName::new(name).expect("valid");
    let bytes = location
        .read_restore_file(&restore, file, 1 << 20)
        .await
        .expect("readable");
    gunzip(&bytes.unwrap_or_else(|| panic!("{file} is missing")))
}
