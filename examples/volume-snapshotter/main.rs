//! A worked example of a volume snapshotter: volumes are files of a folder, snapshots are copies of them.
//!
//! `volume-snapshotter-example FOLDER [--listen IP:PORT]`; volumes are in FOLDER/volumes. A PersistentVolume is one of
//! ours when its CSI driver is `folder.example.com`.

#[allow(dead_code, reason = "nothing here has a body")]
#[path = "../provider/mod.rs"]
mod provider;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use provider::{Answer, Question, Refusal, hex};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const DRIVER: &str = "folder.example.com";

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (root, address) = match arguments.as_slice() {
        [root] => (PathBuf::from(root), None),
        [root, flag, address] if flag == "--listen" => (PathBuf::from(root), Some(address.clone())),
        _ => {
            return Err(io::Error::other(
                "usage: volume-snapshotter-example FOLDER [--listen IP:PORT]",
            ));
        }
    };
    provider::serve(address.as_deref(), move |question| {
        handle(&root, question).map(Answer::from)
    })
}

fn handle(root: &Path, question: &Question<'_>) -> Result<Value, Refusal> {
    let volumes = root.join("volumes");
    let snapshots = root.join("snapshots");
    match question.head["method"].as_str().unwrap_or_default() {
        "describe" => {
            Ok(json!({"name": "folder 1.0", "versions": ["v1"], "kinds": ["VolumeSnapshotter"]}))
        }
        "getVolumeId" => {
            let csi = &question.head["arguments"]["persistentVolume"]["spec"]["csi"];
            let ours = csi["driver"] == DRIVER;
            let id = if ours {
                csi["volumeHandle"].clone()
            } else {
                json!("")
            };
            Ok(json!({"volumeId": id}))
        }
        "getVolumeInfo" => {
            fs::metadata(volumes.join(id(question, "volumeId")?))?;
            Ok(json!({"type": "file"}))
        }
        "createSnapshot" => {
            let snapshot = derived("snap", question)?;
            copy_once(
                &volumes.join(id(question, "volumeId")?),
                &snapshots,
                &snapshot,
            )?;
            let tags = &question.head["arguments"]["tags"];
            fs::write(snapshots.join(format!("{snapshot}.tags")), tags.to_string())?;
            describe(&snapshots, &snapshot)
        }
        "getSnapshot" => describe(&snapshots, &id(question, "snapshotId")?),
        "restoreVolume" => {
            let volume = derived("vol", question)?;
            copy_once(
                &snapshots.join(id(question, "snapshotId")?),
                &volumes,
                &volume,
            )?;
            Ok(json!({"volumeId": volume}))
        }
        "deleteSnapshot" => {
            let snapshot = id(question, "snapshotId")?;
            for file in [format!("{snapshot}.tags"), snapshot] {
                match fs::remove_file(snapshots.join(file)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(error.into());
                    }
                    _ => {}
                }
            }
            Ok(json!({}))
        }
        "setVolumeId" => {
            let mut volume = question.head["arguments"]["persistentVolume"].clone();
            if volume["spec"]["csi"]["driver"] != DRIVER {
                return Err(Refusal("Invalid", "not a volume of this driver".to_owned()));
            }
            volume["spec"]["csi"]["volumeHandle"] = json!(id(question, "volumeId")?);
            Ok(json!({"persistentVolume": volume}))
        }
        other => Err(Refusal("Unsupported", format!("method `{other}`"))),
    }
}

/// An id among the arguments; one that could leave the folder is nobody's.
fn id(question: &Question<'_>, name: &str) -> Result<String, Refusal> {
    let id = question.text(name);
    match id.is_empty() || id.starts_with('.') || id.contains(['/', '\0']) {
        false => Ok(id),
        true => Err(Refusal("NotFound", format!("{name} {id:?}"))),
    }
}

/// The same token always gives the same id, so that a question which is repeated makes nothing twice.
fn derived(what: &str, question: &Question<'_>) -> Result<String, Refusal> {
    let token = question.text("token");
    if token.is_empty() {
        return Err(Refusal("Invalid", "a token is missing".to_owned()));
    }
    Ok(format!("{what}-{}", hex(&Sha256::digest(token)[..8])))
}

/// A copy that is whole or not there.
fn copy_once(from: &Path, folder: &Path, name: &str) -> Result<(), Refusal> {
    fs::create_dir_all(folder)?;
    if folder.join(name).exists() {
        return Ok(());
    }
    let temporary = folder.join(format!(".{name}-{}", std::process::id()));
    fs::copy(from, &temporary)?;
    Ok(fs::rename(temporary, folder.join(name))?)
}

fn describe(snapshots: &Path, snapshot: &str) -> Result<Value, Refusal> {
    let bytes = fs::metadata(snapshots.join(snapshot))?.len();
    Ok(json!({"snapshotId": snapshot, "ready": true, "bytes": bytes}))
}
