//! The chart: its templates are what `install --dry-run` prints with some values replaced, and rendering them gives
//! what `install --dry-run` prints for the same wishes. helm is no part of the tests: the renderer below knows the few
//! expressions that the templates use, and fails on any other (what helm itself made of them: docs/compatibility.md).
//!
//! `UPDATE=1` writes the templates anew.

mod render;
mod templates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use salvor_testkit::package_folder;
use serde_json::{Value, json};

use crate::support::{Run, command};

fn chart() -> PathBuf {
    package_folder().join("../../charts/salvor")
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What `install` prints, without the definitions.
fn install(namespace: &str, flags: &[&str]) -> Vec<String> {
    let home = tempfile::tempdir().expect("a folder");
    let secret = home.path().join("credentials");
    std::fs::write(&secret, "chart-credentials").expect("written");
    let secret = secret.display().to_string();
    let flags = flags.iter().map(|flag| match *flag {
        "SECRET" => secret.as_str(),
        flag => flag,
    });
    let output = command(home.path())
        .args(["-n", namespace, "install", "--dry-run", "-o", "yaml"])
        .args(flags)
        .output()
        .expect("the binary runs");
    let run: Run = output.into();
    let documents = run.expect(0).trim_end().split("\n---\n").map(str::to_owned);
    documents
        .filter(|text| yaml(text)["kind"] != "CustomResourceDefinition")
        .collect()
}

/// By kind and name, without what is empty: an empty map or text says as much as none.
fn by_name(documents: impl IntoIterator<Item = Value>) -> BTreeMap<String, Value> {
    let name = |document: &Value| format!("{} {}", document["kind"], document["metadata"]["name"]);
    documents
        .into_iter()
        .map(|document| (name(&document), without_empty(document)))
        .collect()
}

fn without_empty(value: Value) -> Value {
    let keeps = |(key, value): (String, Value)| {
        let value = without_empty(value);
        let optional = ["annotations", "config", "prefix"].contains(&key.as_str());
        let empty = value == json!({}) || value == json!("");
        (!(optional && empty)).then_some((key, value))
    };
    match value {
        Value::Object(map) => Value::Object(map.into_iter().filter_map(keeps).collect()),
        Value::Array(list) => Value::Array(list.into_iter().map(without_empty).collect()),
        other => other,
    }
}

fn merge(base: &mut Value, change: &Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                assert!(
                    base.contains_key(key) || base.is_empty(),
                    "no value `{key}`"
                );
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, change) => *base = change.clone(),
    }
}

#[test]
fn the_templates_are_what_install_prints() {
    let folder = chart().join("templates");
    let files = templates::all();
    if std::env::var_os("UPDATE").is_some() {
        for (name, text) in &files {
            std::fs::write(folder.join(name), text).expect("written");
        }
    }
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
    for (name, text) in &files {
        assert_eq!(
            read(name),
            *text,
            "{name} is out of date: run the test with UPDATE=1"
        );
    }
    let there = std::fs::read_dir(&folder).expect("templates").count();
    assert_eq!(there, files.len());
}

#[test]
fn rendering_gives_what_install_prints_for_the_same_wishes() {
    let defaults = yaml(&std::fs::read_to_string(chart().join("values.yaml")).expect("values"));
    for (namespace, values, flags) in [
        ("velero", json!({}), vec![]),
        (
            "backup",
            json!({"role": "backup-only", "hooks": false, "replicas": 2, "image": "registry/salvor:1",
                   "podAnnotations": {"a": "b"}, "downloadUrl": "https://backups",
                   "tls": "secret:web", "metricsTls": true, "authorizeRequests": "strict",
                   "serviceAccount": {"annotations": {"c": "d"}}, "prometheusRule": true,
                   "deployNodeAgent": true,
                   "extraArgs": ["--concurrent-backups=2", "--default-backup-ttl=24h"],
                   "resources": {"requests": {"cpu": "1", "memory": "1Gi"},
                                 "limits": {"cpu": "2", "memory": "4Gi"}}}),
            vec![
                "--role",
                "backup-only",
                "--no-hooks",
                "--replicas",
                "2",
                "--image",
                "registry/salvor:1",
                "--pod-annotations",
                "a=b",
                "--sa-annotations",
                "c=d",
                "--download-url",
                "https://backups",
                "--tls",
                "secret:web",
                "--metrics-tls",
                "--authorize-requests",
                "strict",
                "--prometheus-rule",
                "--use-node-agent",
                "--server-arg",
                "--concurrent-backups=2",
                "--server-arg",
                "--default-backup-ttl=24h",
                "--velero-pod-cpu-request",
                "1",
                "--velero-pod-mem-request",
                "1Gi",
                "--velero-pod-cpu-limit",
                "2",
                "--velero-pod-mem-limit",
                "4Gi",
            ],
        ),
        (
            "velero",
            json!({"role": "restore", "tls": "off", "configuration": {
                "backupStorageLocation": [
                    {"name": "default", "provider": "gcp", "bucket": "b", "default": true}],
                "volumeSnapshotLocation": [{"name": "default", "provider": "gcp"}]}}),
            vec![
                "--role",
                "restore",
                "--tls",
                "off",
                "--provider",
                "gcp",
                "--bucket",
                "b",
                "--no-secret",
            ],
        ),
    ] {
        let mut merged = defaults.clone();
        // helm adds a key of the user's to the map of the defaults.
        if let Some(added) = values["podAnnotations"].as_object() {
            for key in added.keys() {
                merged["podAnnotations"][key] = Value::Null;
            }
        }
        for change in [&values] {
            // Maps of the user's own keys are taken whole.
            let mut change = change.clone();
            for path in ["/serviceAccount/annotations", "/resources"] {
                if let (Some(from), Some(to)) = (change.pointer_mut(path), merged.pointer_mut(path))
                {
                    *to = from.clone();
                    if from.as_object().is_some_and(serde_json::Map::is_empty) {
                        *from = to.clone();
                    }
                }
            }
            merge(&mut merged, &change);
        }
        let release = render::Release {
            namespace,
            values: merged,
        };
        let rendered = by_name(release.documents());
        let printed = install(namespace, &flags)
            .into_iter()
            .map(|text| yaml(&text));
        let printed = by_name(printed.filter(|document| document["kind"] != "Namespace"));
        let names = |map: &BTreeMap<String, Value>| map.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&rendered), names(&printed), "{values}");
        for (name, document) in &printed {
            assert_eq!(rendered[name], *document, "{name} with {values}");
        }
    }
}

/// Values of Velero's chart, as people have them.
const VELEROS: &str = r#"
configuration:
  backupStorageLocation:
    - name: default
      provider: aws
      bucket: b
      prefix: p
      default: true
      config: {region: r, s3ForcePathStyle: true}
    - name: second
      provider: velero.io/azure
      bucket: c
      accessMode: ReadOnly
      credential: {name: other, key: azure}
  volumeSnapshotLocation:
    - name: default
      provider: aws
      config: {region: r}
credentials:
  secretContents: {cloud: chart-credentials}
initContainers:
  - {name: velero-plugin-for-aws, image: "velero/velero-plugin-for-aws:v1.9.0"}
deployNodeAgent: true
"#;

#[test]
fn values_of_veleros_chart_make_its_locations_and_secret() {
    let mut values = yaml(&std::fs::read_to_string(chart().join("values.yaml")).expect("values"));
    for (key, value) in yaml(VELEROS).as_object().expect("a map") {
        values[key] = value.clone();
    }
    values["credentials"]["existingSecret"] = json!("");
    let documents = |values: &Value| {
        let release = render::Release {
            namespace: "velero",
            values: values.clone(),
        };
        by_name(release.documents())
    };
    let rendered = documents(&values);
    let flags = [
        "--provider",
        "aws",
        "--bucket",
        "b",
        "--prefix",
        "p",
        "--backup-location-config",
        "region=r,s3ForcePathStyle=true",
        "--snapshot-location-config",
        "region=r",
        "--secret-file",
        "SECRET",
    ];
    let printed = by_name(install("velero", &flags).iter().map(|text| yaml(text)));
    for name in [
        "\"Secret\" \"cloud-credentials\"",
        "\"BackupStorageLocation\" \"default\"",
        "\"VolumeSnapshotLocation\" \"default\"",
    ] {
        assert_eq!(rendered[name], printed[name], "{name}");
    }
    let second = &rendered["\"BackupStorageLocation\" \"second\""]["spec"];
    assert_eq!(
        *second,
        json!({"provider": "velero.io/azure", "accessMode": "ReadOnly",
               "credential": {"name": "other", "key": "azure"}, "objectStorage": {"bucket": "c"}})
    );
    values["credentials"] = json!({"existingSecret": "mine", "secretContents": {"cloud": ""}});
    let rendered = documents(&values);
    let first = &rendered["\"BackupStorageLocation\" \"default\""]["spec"];
    assert_eq!(first["credential"], json!({"name": "mine", "key": "cloud"}));
    assert!(!rendered.contains_key("\"Secret\" \"cloud-credentials\""));
}

#[test]
fn definitions_and_version_are_those_of_the_binary() {
    let count = |folder: &Path| std::fs::read_dir(folder).expect("a folder").count();
    assert_eq!(count(&chart().join("crds")), salvor_api::crds::all().len());
    let about = yaml(&std::fs::read_to_string(chart().join("Chart.yaml")).expect("Chart.yaml"));
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(about["appVersion"], concat!("v", env!("CARGO_PKG_VERSION")));
}
