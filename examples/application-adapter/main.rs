//! A worked example of an application adapter: ledgers, files of lines `name=value` in FOLDER/<namespace>/<name>.
//!
//! `application-adapter-example FOLDER [--listen IP:PORT]`. A StatefulSet with the label `example.com/engine=ledger` is
//! one. A dump is the lines, and a last line that counts them.

#[allow(dead_code, reason = "no digests are made here")]
#[path = "../provider/mod.rs"]
mod provider;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use provider::{Answer, Question, Refusal};
use serde_json::{Value, json};

const FORMAT: &str = "ledger-1";
/// Longest time that writes are held back: an adapter must not rely on being told to release.
const LONGEST_HOLD: u64 = 30;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (root, address) = match arguments.as_slice() {
        [root] => (PathBuf::from(root), None),
        [root, flag, address] if flag == "--listen" => (PathBuf::from(root), Some(address.clone())),
        _ => {
            return Err(io::Error::other(
                "usage: application-adapter-example FOLDER [--listen IP:PORT]",
            ));
        }
    };
    provider::serve(address.as_deref(), move |question| handle(&root, question))
}

fn handle(root: &Path, question: &mut Question<'_>) -> Result<Answer, Refusal> {
    let arguments = question.head["arguments"].clone();
    match question.head["method"].as_str().unwrap_or_default() {
        "describe" => Ok(
            json!({"name": "ledger 1.0", "versions": ["v1"], "kinds": ["ApplicationAdapter"]})
                .into(),
        ),
        "discover" => {
            let objects = arguments["objects"].as_array().cloned().unwrap_or_default();
            let found: Vec<Value> = objects.iter().filter_map(ledger).collect();
            Ok(json!({"applications": found}).into())
        }
        "quiesce" => {
            let seconds = arguments["seconds"].as_u64().unwrap_or(0).min(LONGEST_HOLD);
            let until = SystemTime::now() + Duration::from_secs(seconds);
            let until = until
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let file = file(root, &arguments)?;
            fs::metadata(&file)?;
            // Whoever writes the ledger waits while this time has not come.
            fs::write(file.with_extension("held"), until.as_secs().to_string())?;
            Ok(json!({"token": "held", "seconds": seconds}).into())
        }
        "release" => match fs::remove_file(file(root, &arguments)?.with_extension("held")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(json!({}).into()),
        },
        "dump" => {
            let lines = fs::read_to_string(file(root, &arguments)?)?;
            let dump = format!("{lines}end {}\n", lines.lines().count());
            Ok(Answer {
                result: json!({"format": FORMAT, "version": "1.0"}),
                body: Some(Box::new(io::Cursor::new(dump))),
            })
        }
        "verify" => {
            let mut dump = Vec::new();
            question.copy_body(&mut dump)?;
            let findings: Vec<String> = lines_of(&arguments, &dump).err().into_iter().collect();
            Ok(json!({"sound": findings.is_empty(), "findings": findings}).into())
        }
        "restore" => {
            let mut dump = Vec::new();
            question.copy_body(&mut dump)?;
            let lines = lines_of(&arguments, &dump).map_err(|wrong| Refusal("Corrupt", wrong))?;
            let file = file(root, &arguments)?;
            if arguments["mode"] != "Replace" && file.exists() {
                return Err(Refusal(
                    "AlreadyExists",
                    "the ledger has entries".to_owned(),
                ));
            }
            let temporary = file.with_extension(format!("new-{}", std::process::id()));
            fs::create_dir_all(file.parent().unwrap_or(root))?;
            fs::write(&temporary, lines)?;
            // Here it happens, all of it.
            fs::rename(temporary, file)?;
            Ok(json!({"warnings": []}).into())
        }
        other => Err(Refusal("Unsupported", format!("method `{other}`"))),
    }
}

fn ledger(object: &Value) -> Option<Value> {
    let metadata = &object["metadata"];
    if object["kind"] != "StatefulSet" || metadata["labels"]["example.com/engine"] != "ledger" {
        return None;
    }
    let (namespace, name) = (metadata["namespace"].as_str()?, metadata["name"].as_str()?);
    Some(
        json!({"id": format!("{namespace}/{name}"), "namespace": namespace, "name": name,
        "engine": "ledger", "version": "1.0"}),
    )
}

fn file(root: &Path, arguments: &Value) -> Result<PathBuf, Refusal> {
    let id = arguments["application"]["id"].as_str().unwrap_or_default();
    let unusable =
        |part: &str| part.is_empty() || part.starts_with('.') || part.contains(['/', '\0']);
    match id.split_once('/') {
        Some((namespace, name)) if !unusable(namespace) && !unusable(name) => {
            Ok(root.join(namespace).join(format!("{name}.ledger")))
        }
        _ => Err(Refusal("NotFound", format!("application {id:?}"))),
    }
}

/// The lines of a dump that is sound.
fn lines_of(arguments: &Value, dump: &[u8]) -> Result<String, String> {
    if arguments["dump"]["format"] != FORMAT {
        return Err(format!(
            "format {} is not known",
            arguments["dump"]["format"]
        ));
    }
    let text = std::str::from_utf8(dump).map_err(|error| error.to_string())?;
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.pop().unwrap_or_default();
    if last != format!("end {}", lines.len()) {
        return Err(format!(
            "it does not end as a dump of {} entries does",
            lines.len()
        ));
    }
    if let Some(line) = lines.iter().find(|line| !line.contains('=')) {
        return Err(format!("`{line}` is no entry"));
    }
    Ok(lines.iter().map(|line| format!("{line}\n")).collect())
}
