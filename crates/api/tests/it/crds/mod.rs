//! The definitions of Velero's kinds: written from one description, compared with what Velero publishes.
//!
//! `UPDATE=1` writes `crates/api/crds/*.yaml` anew. With `SALVOR_VELERO_CRDS` set to a folder that holds
//! `v1/`, `v2alpha1/` and `next-main/` as Velero publishes them, the tables of facts in `facts/` are
//! checked against it, and `UPDATE=1` writes those anew as well. Facts are paths, types and words; no
//! sentence of Velero's is kept.

mod accepts;
mod backup;
mod data;
mod definition;
mod facts;
mod restore;
mod schema;
mod server;

use std::path::{Path, PathBuf};

use salvor_api::velero::{
    Backup, BackupRepository, BackupStorageLocation, DataDownload, DataUpload, DeleteBackupRequest,
    DownloadRequest, PodVolumeBackup, PodVolumeRestore, Restore, Schedule, ServerStatusRequest,
    VolumeSnapshotLocation,
};
use serde_json::Value;

use definition::Definition;

const HEADER: &str = "# Written by crates/api/tests/it/crds from the description there: change that, then run\n\
                      #   UPDATE=1 cargo test --release -p salvor-api --test it crds\n";

fn definitions() -> Vec<Definition> {
    vec![
        Definition::of::<Backup>(backup::backup()),
        Definition::of::<BackupRepository>(data::backup_repository()),
        Definition::of::<BackupStorageLocation>(server::backup_storage_location()),
        Definition::of::<DataDownload>(data::data_download()),
        Definition::of::<DataUpload>(data::data_upload()),
        Definition::of::<DeleteBackupRequest>(server::delete_backup_request()),
        Definition::of::<DownloadRequest>(server::download_request()),
        Definition::of::<PodVolumeBackup>(data::pod_volume_backup()),
        Definition::of::<PodVolumeRestore>(data::pod_volume_restore()),
        Definition::of::<Restore>(restore::restore()),
        Definition::of::<Schedule>(backup::schedule()),
        Definition::of::<ServerStatusRequest>(server::server_status_request()),
        Definition::of::<VolumeSnapshotLocation>(server::volume_snapshot_location()),
    ]
}

fn crate_folder(path: &str) -> PathBuf {
    // At run time: a target folder may be shared by working trees at several paths.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
    Path::new(&package).join(path)
}

/// Compares a committed file with what it should be, or writes it when asked to.
fn check_file(path: &Path, wanted: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, wanted).expect("the source tree is writable");
        return;
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is out of date: run UPDATE=1 cargo test --release -p salvor-api --test it crds",
        path.display()
    );
}

#[test]
fn the_committed_definitions_are_those_of_the_description() {
    for definition in definitions() {
        let yaml = serde_saphyr::to_string(&definition.to_json()).expect("plain data");
        let path = crate_folder("crds").join(format!("velero.io_{}.yaml", definition.plural));
        check_file(&path, &format!("{HEADER}{yaml}"));
    }
}

#[test]
fn the_library_hands_out_all_of_them() {
    let all = salvor_api::crds::all();
    let wanted = definitions();
    assert_eq!(all.len(), wanted.len());
    for (embedded, wanted) in all.iter().zip(&wanted) {
        let read: Value = serde_saphyr::from_str(embedded.yaml).expect("our own YAML");
        assert_eq!(read["metadata"]["name"], embedded.name);
        assert_eq!(read, wanted.to_json(), "{}", embedded.name);
    }
}

/// The schema of one of our definitions.
fn schema_of(definition: &Definition) -> Value {
    definition.to_json()["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn every_field_says_what_it_is() {
    fn walk(path: &str, schema: &Value, silent: &mut Vec<String>) {
        if schema["description"].as_str().is_none_or(|d| d.len() < 8) {
            silent.push(path.to_owned());
        }
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, inner) in properties.filter(|(name, _)| *name != "metadata" || path.len() > 30) {
            walk(&format!("{path}.{name}"), inner, silent);
        }
    }
    let mut silent = Vec::new();
    for definition in definitions() {
        walk(definition.plural, &schema_of(&definition), &mut silent);
    }
    assert_eq!(silent, Vec::<String>::new());
}
