//! CPU time and memory of writing and reading an archive of pod-like objects, on one thread. CPU time, so that
//! a busy machine does not matter.
//!
//! `cargo run --release -p salvor-archive --example measure [OBJECTS]`

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::Archive;
use salvor_archive::assemble::Assembler;
use salvor_archive::index::Index;
use salvor_archive::item::ItemRef;
use salvor_archive::limits::Limits;
use salvor_archive::segment::SegmentBuilder;
use salvor_archive::{Expected, verify};
use sha2::{Digest as _, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    let objects: u64 = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 20_000,
    };
    let mut file = tempfile::tempfile()?;
    let (mut assembler, head) = Assembler::new();
    file.write_all(&head)?;
    let mut builder = SegmentBuilder::new();
    let (mut bodies, mut pushing, mut compressing) = (0, 0.0, 0.0);
    let numbers: Vec<u64> = (0..objects).collect();
    for batch in numbers.chunks(100) {
        let pods: Vec<_> = batch.iter().map(|number| pod(*number)).collect();
        let start = cpu_seconds();
        for (key, body) in &pods {
            bodies += body.len();
            let item = ItemRef {
                key,
                version: "v1",
                preferred: true,
                body: body.as_bytes(),
            };
            builder.push(&item, 1_700_000_000)?;
        }
        pushing += cpu_seconds() - start;
        if builder.is_full() || batch.last() == numbers.last() {
            let start = cpu_seconds();
            let member = std::mem::take(&mut builder).finish().compress()?;
            compressing += cpu_seconds() - start;
            file.write_all(&assembler.add(member)?)?;
        }
    }
    let megabytes = bodies as f64 / 1e6;
    let report = |what: &str, seconds: f64| {
        println!(
            "{what:<28} {seconds:6.2} core-s  {:6.0} MB/s of bodies",
            megabytes / seconds
        );
    };
    let before = resident_kib();
    let start = cpu_seconds();
    let (tail, index) = assembler.finish();
    let sorting = cpu_seconds() - start;
    file.write_all(&tail)?;
    println!(
        "{objects} objects, {megabytes:.0} MB of bodies, archive {:.1} MB, resident {} MiB before the index, {} MiB after",
        index.archive_len() as f64 / 1e6,
        before / 1024,
        resident_kib() / 1024,
    );
    report("push (copy twice, digest)", pushing);
    report("compress, one thread", compressing);
    report("sort the index", sorting);
    let start = cpu_seconds();
    let encoded = index.encode();
    report("encode the index", cpu_seconds() - start);
    let start = cpu_seconds();
    let decoded = Index::decode(&encoded, Limits::default())?;
    report("decode the index", cpu_seconds() - start);
    println!("index file {:.1} MB", encoded.len() as f64 / 1e6);

    let reopened = || -> std::io::Result<std::fs::File> {
        use std::io::Seek as _;
        let mut again = file.try_clone()?;
        again.rewind()?;
        Ok(again)
    };
    let archive = Archive::open(decoded, Arc::new(reopened()?));
    let start = cpu_seconds();
    let read = archive
        .get_all_in_order()
        .try_fold(0, |n, found| found.map(|_| n + 1))?;
    report("read all through the index", cpu_seconds() - start);
    let start = cpu_seconds();
    let findings = verify(
        reopened()?,
        Expected {
            sha256: None,
            index: Some(&index),
        },
        &Limits::default(),
    )?;
    report("verify", cpu_seconds() - start);
    let start = cpu_seconds();
    let (streamed, _) =
        Archive::from_stream(reopened()?, Limits::default(), tempfile::tempfile()?)?;
    report("read as a foreign archive", cpu_seconds() - start);
    println!(
        "{read} read, {} findings, {} streamed, peak {} MiB",
        findings.list.len(),
        streamed.index().len(),
        peak_kib() / 1024
    );
    Ok(())
}

/// About 3.4 KB, of which some is different in every object, as uids and hashes are.
fn pod(number: u64) -> (ObjectKey, String) {
    let random = |what: u64| -> String {
        let digest = Sha256::digest([number.to_le_bytes(), what.to_le_bytes()].concat());
        digest.iter().take(16).map(|b| format!("{b:02x}")).collect()
    };
    let (namespace, app) = (
        format!("team-{}", number % 100),
        format!("app-{}", number % 997),
    );
    let name = format!("{app}-{}-{}", &random(0)[..10], &random(1)[..5]);
    let container = |n: u64| {
        serde_json::json!({
            "name": format!("c{n}"), "image": format!("registry.example.com/team/{app}@sha256:{}{}", random(n + 10), random(n + 20)),
            "env": [{"name": "LOG_LEVEL", "value": "info"}, {"name": "TOKEN", "value": random(n + 30)},
                    {"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}],
            "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "volumeMounts": [{"mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "kube-api-access", "readOnly": true}],
            "livenessProbe": {"failureThreshold": 3, "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10},
            "terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent",
        })
    };
    let body = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "uid": random(2), "resourceVersion": number.to_string(),
            "creationTimestamp": "2026-11-20T02:00:00Z", "labels": {"app": app, "pod-template-hash": random(0)[..10]},
            "managedFields": [{"manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "fieldsType": "FieldsV1", "time": "2026-11-20T02:00:00Z", "fieldsV1": {"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}},
                "f:ownerReferences": {".": {}}}, "f:spec": {"f:containers": {"k:{\"name\":\"c0\"}": {".": {}, "f:env": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:resources": {}}},
                "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {}}}}]},
        "spec": {"containers": [container(0), container(1)], "nodeName": format!("node-{}", number % 50), "serviceAccountName": "default",
            "tolerations": [{"effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}]},
        "status": {"phase": "Running", "podIP": format!("10.1.{}.{}", number / 250 % 250, number % 250),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-20T02:00:00Z"}],
            "containerStatuses": [{"name": "c0", "containerID": format!("containerd://{}{}", random(3), random(4)), "ready": true, "restartCount": 0}]},
    });
    let key = ObjectKey::namespaced(GroupResource::new("pods", ""), namespace, name);
    (key, body.to_string())
}

fn resident_kib() -> u64 {
    status("VmRSS:")
}

fn peak_kib() -> u64 {
    status("VmHWM:")
}

/// What this thread has used of a core so far; Linux only, 0 elsewhere.
fn cpu_seconds() -> f64 {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = times.split(' ').next().and_then(|n| n.parse::<u64>().ok());
    nanoseconds.unwrap_or(0) as f64 / 1e9
}

/// A figure of `/proc/self/status` in KiB; 0 where there is none.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
