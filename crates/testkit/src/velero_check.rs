//! Checks that folders and files are laid out as Velero lays them out.
//!
//! Written from the description of the layout alone, and sharing no code with what writes it, so that a
//! misunderstanding in the writer is not repeated here. It is stricter than Velero's own readers: whatever
//! Velero itself would not have written is a violation. Everything is read into memory; it is meant for
//! tests.

mod archive;
mod side_files;

use std::fs;
use std::io::Read as _;
use std::path::Path;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

const TOP_LEVEL: [&str; 6] = [
    "backups", "restores", "restic", "kopia", "metadata", "plugins",
];
const FINAL_PHASES: [&str; 3] = ["Completed", "PartiallyFailed", "Failed"];

/// Checks a whole location below its prefix; every violation in words, empty when there is none.
#[must_use]
pub fn check_location(root: &Path) -> Vec<String> {
    let mut report = Report::default();
    for (name, is_folder) in report.list(root) {
        let allowed = is_folder && TOP_LEVEL.contains(&name.as_str());
        report.demand(allowed, || {
            format!("`{name}` is no top-level directory of Velero")
        });
    }
    for (folder, check) in [
        ("backups", check_backup as fn(&Path) -> Vec<String>),
        ("restores", check_restore),
    ] {
        let folder = root.join(folder);
        if folder.is_dir() {
            for (name, _) in report.list(&folder) {
                report.violations.extend(check(&folder.join(name)));
            }
        }
    }
    report.violations
}

/// Checks a folder `backups/<b>`. A folder without `velero-backup.json` is no backup and has no violations.
#[must_use]
pub fn check_backup(folder: &Path) -> Vec<String> {
    let mut report = Report::of(folder);
    let name = report.name.clone();
    if !folder.join("velero-backup.json").exists() {
        return Vec::new();
    }
    let spec = report.metadata(folder);
    let archive_name = format!("{name}.tar.gz");
    let archive = report.gunzip(folder, &archive_name);
    report.demand(archive.is_some(), || format!("{archive_name} is missing"));
    let items = archive.map(|tar| report.archive(&tar)).unwrap_or_default();
    report.crds(&items, &spec);
    for (file, _) in report.list(folder) {
        let Some(kind) = file.strip_prefix(&format!("{name}-")) else {
            let known =
                file == archive_name || file == "velero-backup.json" || file.starts_with("salvor-");
            report.demand(known, || format!("{file} is no file of a backup"));
            continue;
        };
        match kind {
            "logs.gz" => {
                report.gunzip(folder, &file);
            }
            "results.gz" => report.results(folder, &file),
            "resource-list.json.gz" => {
                let listed = report.resource_list(folder, &file, None);
                report.same_items(&items, &listed);
            }
            "volumeinfo.json.gz" => report.volume_infos(folder, &file, "backupMethod"),
            "itemoperations.json.gz" => report.operations(folder, &file, "backup"),
            "volumesnapshots.json.gz" => {
                for snapshot in report.array(folder, &file) {
                    let both = snapshot["spec"].is_object() && snapshot["status"].is_object();
                    report.demand(both, || format!("{file}: a snapshot lacks spec or status"));
                }
            }
            "podvolumebackups.json.gz" => {
                for volume in report.array(folder, &file) {
                    let right = volume["kind"] == "PodVolumeBackup" || volume["spec"].is_object();
                    report.demand(right, || format!("{file}: not a PodVolumeBackup"));
                }
            }
            "csi-volumesnapshots.json.gz"
            | "csi-volumesnapshotcontents.json.gz"
            | "csi-volumesnapshotclasses.json.gz" => {
                report.array(folder, &file);
            }
            _ => report.violation(format!("{file} is no file of a backup")),
        }
    }
    report.violations
}

/// Checks a folder `restores/<r>`.
#[must_use]
pub fn check_restore(folder: &Path) -> Vec<String> {
    let mut report = Report::of(folder);
    let name = report.name.clone();
    for (file, _) in report.list(folder) {
        if file == format!("{name}-volumeinfo.json.gz") {
            report.volume_infos(folder, &file, "restoreMethod");
            continue;
        }
        match file.strip_prefix(&format!("restore-{name}-")) {
            Some("logs.gz") => {
                report.gunzip(folder, &file);
            }
            Some("results.gz") => report.results(folder, &file),
            Some("itemoperations.json.gz") => report.operations(folder, &file, "restore"),
            Some("resource-list.json.gz") => {
                let actions = ["created", "updated", "skipped", "failed"];
                report.resource_list(folder, &file, Some(&actions));
            }
            _ => report.demand(file.starts_with("salvor-"), || {
                format!("{file} is no file of a restore")
            }),
        }
    }
    report.violations
}

#[derive(Default)]
struct Report {
    /// Of the backup or restore.
    name: String,
    violations: Vec<String>,
}

impl Report {
    fn of(folder: &Path) -> Self {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        Self {
            name,
            violations: Vec::new(),
        }
    }

    fn violation(&mut self, text: String) {
        self.violations.push(format!("{}: {text}", self.name));
    }

    fn demand(&mut self, holds: bool, text: impl FnOnce() -> String) {
        if !holds {
            self.violation(text());
        }
    }

    /// Names in a folder, sorted, and whether they are folders.
    fn list(&mut self, folder: &Path) -> Vec<(String, bool)> {
        let mut names = Vec::new();
        match fs::read_dir(folder) {
            Ok(entries) => {
                for entry in entries.flatten() {
                    let name = entry.file_name().to_string_lossy().into_owned();
                    names.push((name, entry.path().is_dir()));
                }
            }
            Err(error) => self.violation(format!("list {}: {error}", folder.display())),
        }
        names.sort();
        names
    }

    /// The decompressed contents of a file; `None`, with a violation, when it is damaged, and without one
    /// when it does not exist.
    fn gunzip(&mut self, folder: &Path, file: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(folder.join(file)).ok()?;
        let mut out = Vec::new();
        let read = MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut out);
        match read {
            Ok(_) if !bytes.is_empty() => Some(out),
            Ok(_) => {
                self.violation(format!("{file} is empty"));
                None
            }
            Err(error) => {
                self.violation(format!("{file} is not gzip: {error}"));
                None
            }
        }
    }

    fn json(&mut self, folder: &Path, file: &str) -> Option<Value> {
        let bytes = self.gunzip(folder, file)?;
        let value = serde_json::from_slice(&bytes);
        value
            .map_err(|error| self.violation(format!("{file} is not JSON: {error}")))
            .ok()
    }

    fn array(&mut self, folder: &Path, file: &str) -> Vec<Value> {
        match self.json(folder, file) {
            Some(Value::Array(values)) => {
                let objects = values.iter().all(Value::is_object);
                self.demand(objects, || {
                    format!("{file} holds something that is no object")
                });
                values
            }
            // An empty Go slice may be written so.
            Some(Value::Null) | None => Vec::new(),
            Some(_) => {
                self.violation(format!("{file} is not an array"));
                Vec::new()
            }
        }
    }

    /// Checks the Backup object; gives its spec.
    fn metadata(&mut self, folder: &Path) -> Value {
        let bytes = fs::read(folder.join("velero-backup.json")).unwrap_or_default();
        let Ok(backup) = serde_json::from_slice::<Value>(&bytes) else {
            self.violation("velero-backup.json is not JSON".to_owned());
            return Value::Null;
        };
        let (spec, status) = (&backup["spec"], &backup["status"]);
        let name = self.name.clone();
        for (holds, what) in [
            (
                backup["apiVersion"] == "velero.io/v1",
                "apiVersion is not velero.io/v1",
            ),
            (backup["kind"] == "Backup", "kind is not Backup"),
            (
                backup["metadata"]["name"] == *name,
                "name is not the folder's",
            ),
            (
                backup["metadata"]["namespace"].is_string(),
                "namespace is missing",
            ),
            (spec.is_object(), "spec is missing"),
            (
                status["formatVersion"] == "1.1.0",
                "formatVersion is not 1.1.0",
            ),
            (status["version"] == 1, "status.version is not 1"),
            (
                FINAL_PHASES.iter().any(|phase| status["phase"] == *phase),
                "phase is not final",
            ),
            (
                status["startTimestamp"].is_string(),
                "startTimestamp is missing",
            ),
        ] {
            self.demand(holds, || format!("velero-backup.json: {what}"));
        }
        for (part, key) in [
            (&backup["metadata"], "creationTimestamp"),
            (status, "startTimestamp"),
            (status, "completionTimestamp"),
            (status, "expiration"),
        ] {
            let text = part[key].as_str();
            let right = part[key].is_null() || text.is_some_and(is_go_time);
            self.demand(right, || {
                format!("velero-backup.json: {key} is not a time such as 2026-11-20T02:00:00Z")
            });
        }
        for key in ["ttl", "csiSnapshotTimeout", "itemOperationTimeout"] {
            let right = spec[key].is_null() || spec[key].as_str().is_some_and(is_go_duration);
            self.demand(right, || {
                format!("velero-backup.json: {key} is not a duration such as 720h0m0s")
            });
        }
        backup["spec"].clone()
    }
}

fn keys_of(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_object()
        .into_iter()
        .flat_map(|map| map.keys().map(String::as_str))
}

fn is_texts(value: &Value) -> bool {
    value
        .as_array()
        .is_some_and(|list| list.iter().all(Value::is_string))
}

/// `2026-11-20T02:00:00Z`.
fn is_go_time(text: &str) -> bool {
    let shape = "0000-00-00T00:00:00Z";
    text.len() == shape.len()
        && text.chars().zip(shape.chars()).all(|(c, s)| match s {
            '0' => c.is_ascii_digit(),
            _ => c == s,
        })
}

/// `720h0m0s`, `10m0s`, `30s`: every unit below the first one is written.
fn is_go_duration(text: &str) -> bool {
    let units: String = text.chars().filter(char::is_ascii_alphabetic).collect();
    let numbers = text.split(|c: char| c.is_ascii_alphabetic());
    let numbers: Vec<&str> = numbers.collect();
    let (last, numbers) = numbers.split_last().unwrap_or((&"x", &[]));
    matches!(units.as_str(), "hms" | "ms" | "s" | "ns")
        && last.is_empty()
        && numbers.iter().all(|number| number.parse::<f64>().is_ok())
}
