//! A worked example of an object store: objects are files of a folder.
//!
//! ```text
//! object-store-example /srv/objects                            # one question on standard input
//! object-store-example /srv/objects --listen 127.0.0.1:8080    # an endpoint
//! ```
//!
//! A key is no file name: keys are longer, and one may be a folder of another. So each object is a file named by the
//! SHA-256 of its key, whose first line is the key. A file gets its name when it is whole: by a link, which fails
//! when the name is taken, or by a renaming, which replaces it.

#[path = "../provider/mod.rs"]
mod provider;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use provider::{Answer, Question, Refusal, hex};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (root, address) = match arguments.as_slice() {
        [root] => (PathBuf::from(root), None),
        [root, flag, address] if flag == "--listen" => (PathBuf::from(root), Some(address.clone())),
        _ => {
            return Err(io::Error::other(
                "usage: object-store-example FOLDER [--listen IP:PORT]",
            ));
        }
    };
    provider::serve(address.as_deref(), move |question| handle(&root, question))
}

fn handle(root: &Path, question: &mut Question<'_>) -> Result<Answer, Refusal> {
    if question.head["method"] == "describe" {
        return Ok(
            json!({"name": "folder 1.0", "versions": ["v1"], "kinds": ["ObjectStore"],
            "features": ["createOnly"]})
            .into(),
        );
    }
    let bucket = question.head["config"]["bucket"]
        .as_str()
        .unwrap_or("bucket");
    if bucket.contains(['/', '\0']) || bucket.starts_with('.') || bucket.is_empty() {
        return Err(Refusal("Invalid", "no name of a bucket".to_owned()));
    }
    let bucket = root.join(bucket);
    fs::create_dir_all(&bucket)?;
    let method = question.head["method"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if !["put", "stat", "get", "delete", "list"].contains(&method.as_str()) {
        return Err(Refusal("Unsupported", format!("method `{method}`")));
    }
    if method == "list" {
        return list(&bucket, question).map(Answer::from);
    }
    let key = question.text("key");
    if key.is_empty()
        || key.contains('\n')
        || key.split('/').any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(Refusal("Invalid", format!("no key: {key:?}")));
    }
    let path = bucket.join(hex(&Sha256::digest(&key)));
    match method.as_str() {
        "put" => put(&bucket, &path, &key, question).map(Answer::from),
        "stat" => Ok(open(&path)?.describe().into()),
        "get" => get(&path, &question.head["arguments"]["range"]),
        _ => match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(json!({}).into()),
        },
    }
}

/// An object that was found.
struct Found {
    key: String,
    file: File,
    /// Where its content begins.
    start: u64,
    size: u64,
    modified: Option<String>,
}

impl Found {
    fn describe(&self) -> Value {
        json!({"key": self.key, "size": self.size, "modified": self.modified})
    }
}

fn open(path: &Path) -> io::Result<Found> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut key = String::new();
    BufReader::new(&file).take(4096).read_line(&mut key)?;
    let start = key.len() as u64;
    let modified = metadata.modified().ok().and_then(|time| {
        let time = jiff::Timestamp::try_from(time).ok()?;
        Some(time.to_string())
    });
    Ok(Found {
        key: key.trim_end_matches('\n').to_owned(),
        start,
        size: metadata.len() - start,
        modified,
        file,
    })
}

/// Many may write at once, also in processes of their own.
fn temporary(bucket: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    bucket.join(format!(".{}-{count}", std::process::id()))
}

/// Removes what was not finished.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After a renaming it is not there any more.
        let _ = fs::remove_file(&self.0);
    }
}

fn put(
    bucket: &Path,
    path: &Path,
    key: &str,
    question: &mut Question<'_>,
) -> Result<Value, Refusal> {
    let unfinished = Unfinished(temporary(bucket));
    let mut file = File::create(&unfinished.0)?;
    writeln!(file, "{key}")?;
    question.copy_body(&mut file)?;
    file.sync_all()?;
    match question.head["arguments"]["createOnly"] == json!(true) {
        true => fs::hard_link(&unfinished.0, path)?,
        false => fs::rename(&unfinished.0, path)?,
    }
    File::open(bucket)?.sync_all()?;
    Ok(open(path)?.describe())
}

fn get(path: &Path, range: &Value) -> Result<Answer, Refusal> {
    let mut found = open(path)?;
    let ends = |index: usize| range[index].as_u64();
    let (from, to) = match (ends(0), ends(1)) {
        (Some(from), Some(to)) => (from, to),
        _ => (0, found.size),
    };
    if from > to || to > found.size {
        let outside = format!("range {from}-{to} of {} bytes", found.size);
        return Err(Refusal("Invalid", outside));
    }
    found.file.seek(SeekFrom::Start(found.start + from))?;
    Ok(Answer {
        result: found.describe(),
        body: Some(Box::new(found.file.take(to - from))),
    })
}

fn list(bucket: &Path, question: &Question<'_>) -> Result<Value, Refusal> {
    let arguments = &question.head["arguments"];
    let (prefix, after) = (question.text("prefix"), question.text("after"));
    let limit = arguments["limit"].as_u64().unwrap_or(1000) as usize;
    let mut entries = std::collections::BTreeMap::new();
    for file in fs::read_dir(bucket)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        let found = match open(&file.path()) {
            // Deleted since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        let Some(rest) = found.key.strip_prefix(&prefix) else {
            continue;
        };
        match rest.split_once('/') {
            Some((name, _)) if arguments["folder"] == json!(true) => {
                let folder = format!("{prefix}{name}/");
                entries.insert(folder.clone(), json!({"folder": folder}));
            }
            _ => {
                entries.insert(found.key.clone(), found.describe());
            }
        }
    }
    let mut rest = entries
        .into_iter()
        .filter(|(position, _)| *position > after);
    let page: Vec<Value> = rest.by_ref().take(limit).map(|(_, entry)| entry).collect();
    Ok(json!({"entries": page, "more": rest.next().is_some()}))
}
