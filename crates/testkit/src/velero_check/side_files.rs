//! The JSON files beside the archive.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::archive::Item;
use super::{Report, is_texts, keys_of};

/// Keys of volume infos; a backup's and a restore's together.
const VOLUME_KEYS: [&str; 18] = [
    "pvcName",
    "pvcNamespace",
    "pvName",
    "backupMethod",
    "restoreMethod",
    "snapshotDataMoved",
    "preserveLocalSnapshot",
    "skipped",
    "skippedReason",
    "startTimestamp",
    "completionTimestamp",
    "result",
    "csiSnapshotInfo",
    "snapshotDataMovementInfo",
    "nativeSnapshotInfo",
    "pvbInfo",
    "pvrInfo",
    "pvInfo",
];

/// Keys of the structures inside a volume info.
const VOLUME_PARTS: [(&str, &[&str]); 6] = [
    (
        "csiSnapshotInfo",
        &[
            "snapshotHandle",
            "size",
            "driver",
            "vscName",
            "operationID",
            "ReadyToUse",
            "volumeGroupSnapshotHandle",
        ],
    ),
    (
        "snapshotDataMovementInfo",
        &[
            "dataMover",
            "uploaderType",
            "retainedSnapshot",
            "snapshotHandle",
            "operationID",
            "size",
            "incrementalSize",
            "Phase",
        ],
    ),
    (
        "nativeSnapshotInfo",
        &["snapshotHandle", "volumeType", "volumeAZ", "iops", "Phase"],
    ),
    ("pvbInfo", &POD_VOLUME_KEYS),
    ("pvrInfo", &POD_VOLUME_KEYS),
    ("pvInfo", &["reclaimPolicy", "labels"]),
];
const POD_VOLUME_KEYS: [&str; 9] = [
    "snapshotHandle",
    "size",
    "incrementalSize",
    "uploaderType",
    "volumeName",
    "podName",
    "podNamespace",
    "nodeName",
    "Phase",
];

impl Report {
    /// Warnings and errors: lists of texts in three places.
    pub(super) fn results(&mut self, folder: &Path, file: &str) {
        let Some(results) = self.json(folder, file) else {
            return;
        };
        let keys: BTreeSet<&str> = keys_of(&results).collect();
        self.demand(keys == BTreeSet::from(["errors", "warnings"]), || {
            format!("{file}: its keys are not errors and warnings")
        });
        for set in keys.iter().map(|key| &results[key]) {
            for (key, value) in set.as_object().unwrap_or(&Map::new()) {
                let right = match key.as_str() {
                    "velero" | "cluster" => is_texts(value),
                    "namespaces" => value.as_object().is_some_and(|m| m.values().all(is_texts)),
                    _ => false,
                };
                self.demand(right, || format!("{file}: `{key}` is not as it should be"));
            }
            self.demand(set.is_object(), || {
                format!("{file}: a set is not an object")
            });
        }
    }

    /// The list as pairs of kind and name; with actions, names must end in one.
    pub(super) fn resource_list(
        &mut self,
        folder: &Path,
        file: &str,
        actions: Option<&[&str]>,
    ) -> BTreeSet<(String, String)> {
        let mut listed = BTreeSet::new();
        let Some(list) = self.json(folder, file) else {
            return listed;
        };
        self.demand(list.is_object(), || format!("{file} is not a map"));
        for (kind, names) in list.as_object().unwrap_or(&Map::new()) {
            let segments: Vec<&str> = kind.split('/').collect();
            let shape = matches!(segments.len(), 2 | 3) && !segments.contains(&"");
            self.demand(shape, || {
                format!("{file}: `{kind}` is not group/version/Kind")
            });
            self.demand(is_texts(names), || {
                format!("{file}: {kind} is not a list of texts")
            });
            let names = names
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            let names: Vec<&str> = names.collect();
            self.demand(names.is_sorted_by(|a, b| a < b), || {
                format!("{file}: {kind} is not sorted or repeats names")
            });
            for name in names {
                if let Some(actions) = actions {
                    let action = name
                        .rsplit_once('(')
                        .and_then(|(_, action)| action.strip_suffix(')'));
                    let known = action.is_some_and(|action| actions.contains(&action));
                    self.demand(known, || format!("{file}: `{name}` has no action"));
                }
                listed.insert((kind.clone(), name.to_owned()));
            }
        }
        listed
    }

    /// The resource list names what the archive holds, and nothing else.
    pub(super) fn same_items(&mut self, items: &[Item], listed: &BTreeSet<(String, String)>) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let held: BTreeSet<(String, String)> = items
            .iter()
            .map(|item| {
                let kind = format!(
                    "{}/{}",
                    text(&item.body["apiVersion"]),
                    text(&item.body["kind"])
                );
                (kind, item.name.clone())
            })
            .collect();
        for (kind, name) in held.difference(listed) {
            self.violation(format!(
                "{kind} {name} is in the archive but not in the resource list"
            ));
        }
        for (kind, name) in listed.difference(&held) {
            self.violation(format!(
                "{kind} {name} is in the resource list but not in the archive"
            ));
        }
    }

    pub(super) fn volume_infos(&mut self, folder: &Path, file: &str, method: &str) {
        let other = if method == "backupMethod" {
            "restoreMethod"
        } else {
            "backupMethod"
        };
        let methods = [
            "NativeSnapshot",
            "PodVolumeBackup",
            "PodVolumeRestore",
            "CSISnapshot",
        ];
        for volume in self.array(folder, file) {
            for key in keys_of(&volume) {
                let known = VOLUME_KEYS.contains(&key) && key != other;
                self.demand(known, || format!("{file}: key `{key}` is unknown"));
            }
            for (part, keys) in VOLUME_PARTS {
                for key in keys_of(&volume[part]) {
                    let known = keys.contains(&key);
                    self.demand(known, || format!("{file}: key `{part}.{key}` is unknown"));
                }
            }
            let skipped = volume["skipped"] == true;
            let value = volume[method].as_str().unwrap_or_default();
            let right = methods.contains(&value) || (value.is_empty() && skipped);
            self.demand(right, || format!("{file}: {method} `{value}` is unknown"));
            self.demand(volume["snapshotDataMoved"].is_boolean(), || {
                format!("{file}: snapshotDataMoved is missing")
            });
            if let Some(iops) = volume["nativeSnapshotInfo"].get("iops") {
                self.demand(iops.is_string(), || format!("{file}: iops is not a text"));
            }
        }
    }

    pub(super) fn operations(&mut self, folder: &Path, file: &str, of: &str) {
        let phases = ["New", "InProgress", "Completed", "Failed"];
        for operation in self.array(folder, file) {
            let (spec, status) = (&operation["spec"], &operation["status"]);
            for key in [
                format!("{of}Name"),
                format!("{of}UID"),
                format!("{of}ItemAction"),
            ] {
                self.demand(spec[&key].is_string(), || {
                    format!("{file}: {key} is missing")
                });
            }
            let identifier = |name: &str| {
                let found = keys_of(spec).find(|key| key.eq_ignore_ascii_case(name));
                found.map_or(&Value::Null, |key| &spec[key])
            };
            let keys: BTreeSet<&str> = keys_of(identifier("resourceIdentifier")).collect();
            let right = keys == BTreeSet::from(["Group", "Name", "Namespace", "Resource"]);
            self.demand(right, || {
                format!("{file}: resourceIdentifier is not as it should be")
            });
            let id = identifier("operationID").is_string();
            self.demand(id, || format!("{file}: operationID is missing"));
            let known = phases.iter().any(|phase| status["phase"] == *phase);
            self.demand(known, || format!("{file}: a phase is unknown"));
        }
    }
}
