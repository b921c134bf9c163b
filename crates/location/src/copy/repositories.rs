//! Repositories of restic's format, ours and those of Velero's old uploader, which a mirror takes along: file by file,
//! because every file but `config` is written once and named by the SHA-256 of its bytes.
//!
//! Backups may run meanwhile. Which snapshots are taken is decided first; keys, packs and index files, listed after
//! that, have everything that those snapshots reach; the snapshots go last. Locks and what a prune marked stay where
//! they are. Nothing is removed at the target: what a prune removed at the source is garbage there, not damage.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use salvor_seal::Digest;
use salvor_storage::{GetOptions, Key, ObjectInfo, PutMode};

use crate::copy::Transfer;
use crate::copy::mirror::Action;
use crate::copy::origin::Expected;
use crate::copy::send;
use crate::error::{Error, Result};
use crate::location::Location;

/// Folders whose folders may be repositories.
const PARENTS: [&str; 2] = ["plugins/salvor/repository", "restic"];
/// What makes a folder a repository, and tells repositories apart.
const CONFIG: &str = "config";
/// Most bytes of a `config`.
const LONGEST_CONFIG: u64 = 1 << 20;
/// What snapshots need, in the order in which it is copied.
const NEEDED: [&str; 3] = ["keys", "data", "index"];
const SNAPSHOTS: &str = "snapshots";
/// Files that are sent at once.
const AT_ONCE: usize = 4;

/// What a mirror does about each repository, by its folder.
pub(super) async fn plan(source: &Location, target: &Location) -> Result<BTreeMap<String, Action>> {
    let mut found = BTreeMap::new();
    for parent in PARENTS {
        let listed = source.store.list_folder(parent).await;
        let listed = listed.map_err(Error::store(format!("list `{parent}/`")))?;
        for name in listed.folders {
            let folder = format!("{parent}/{name}");
            let Some(ours) = config(source, &folder).await? else {
                if has_content(source, &folder).await? {
                    let why = "it has lost its file `config`: `salvor repo repair --from` brings it from a copy";
                    found.insert(folder, Action::Leave(why.to_owned()));
                }
                continue;
            };
            let action = match config(target, &folder).await? {
                Some(theirs) if theirs != ours => {
                    Action::Leave("the target has another repository there".to_owned())
                }
                _ => missing(source, target, &folder).await?,
            };
            found.insert(folder, action);
        }
    }
    Ok(found)
}

/// Whether everything in a top-level folder is in some repository that is mirrored.
pub(super) async fn covers(
    source: &Location,
    folder: &str,
    found: &BTreeMap<String, Action>,
) -> Result<bool> {
    if !PARENTS.contains(&folder) {
        return Ok(false);
    }
    let listed = source.store.list_folder(folder).await;
    let listed = listed.map_err(Error::store(format!("list `{folder}/`")))?;
    let is_known = |name: &String| found.contains_key(&format!("{folder}/{name}"));
    Ok(listed.objects.is_empty() && listed.folders.iter().all(is_known))
}

/// Copies what is missing of a repository.
///
/// # Errors
/// [`Error::SourceDamaged`] for a file whose bytes its name does not say: everything else of its kind is copied, and
/// no snapshot; [`Error::Stopped`]; or a store fails.
pub(super) async fn copy(
    source: &Location,
    target: &Location,
    folder: &str,
    transfer: &Transfer,
) -> Result<()> {
    let snapshots = files(source, folder, SNAPSHOTS).await?;
    for part in NEEDED {
        send_missing(
            source,
            target,
            &format!("{folder}/{part}"),
            files(source, folder, part).await?,
            transfer,
        )
        .await?;
    }
    send_missing(
        source,
        target,
        &format!("{folder}/{SNAPSHOTS}"),
        snapshots,
        transfer,
    )
    .await?;
    // Last: what has no config is no repository.
    let key = key(&format!("{folder}/{CONFIG}"))?;
    if config(target, folder).await?.is_none() {
        let info = source.store.head(&key).await;
        let info = info.map_err(Error::store(format!("read `{key}`")))?;
        let expected = Expected {
            name: CONFIG.to_owned(),
            size: info.size,
            sha256: None,
        };
        send::object(source, target, &key, &expected, PutMode::Create, transfer).await?;
    }
    Ok(())
}

/// Sends those of `ours` that the target does not have in full length.
async fn send_missing(
    source: &Location,
    target: &Location,
    folder: &str,
    ours: Vec<ObjectInfo>,
    transfer: &Transfer,
) -> Result<()> {
    let there = sizes(target, folder).await?;
    let mut damaged = None;
    let missing = ours
        .into_iter()
        .filter(|info| !there.contains(&(info.key.to_string(), info.size)));
    let mut sent = stream::iter(missing)
        .map(|info| async move {
            let name = info.key.file_name().to_owned();
            let expected = Expected {
                size: info.size,
                // The name is the digest: `files` lets nothing else through.
                sha256: name.parse::<Digest>().ok(),
                name,
            };
            send::object(
                source,
                target,
                &info.key,
                &expected,
                PutMode::Create,
                transfer,
            )
            .await
        })
        .buffer_unordered(AT_ONCE);
    while let Some(one) = sent.next().await {
        match one {
            Ok(_) => {}
            Err(error @ Error::SourceDamaged { .. }) => damaged = Some(error),
            Err(error) => return Err(error),
        }
        transfer.go_on(|| format!("copy `{folder}/`"))?;
    }
    damaged.map_or(Ok(()), Err)
}

/// What is missing at the target.
async fn missing(source: &Location, target: &Location, folder: &str) -> Result<Action> {
    let mut bytes = 0;
    let mut count = 0;
    for part in NEEDED.into_iter().chain([SNAPSHOTS]) {
        let there = sizes(target, &format!("{folder}/{part}")).await?;
        for info in files(source, folder, part).await? {
            if !there.contains(&(info.key.to_string(), info.size)) {
                bytes += info.size;
                count += 1;
            }
        }
    }
    let lacks_config = config(target, folder).await?.is_none();
    Ok(if count > 0 || lacks_config {
        Action::Copy(bytes)
    } else {
        Action::Present
    })
}

/// Files of a part of a repository: those that are named by a digest, as every reader of the format does.
async fn files(location: &Location, folder: &str, part: &str) -> Result<Vec<ObjectInfo>> {
    let all = listed(location, &format!("{folder}/{part}")).await?;
    let is_file = |info: &ObjectInfo| info.key.file_name().parse::<Digest>().is_ok();
    Ok(all.into_iter().filter(is_file).collect())
}

/// Whether a folder has what only a repository has.
async fn has_content(location: &Location, folder: &str) -> Result<bool> {
    for part in [SNAPSHOTS, "index"] {
        if !files(location, folder, part).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn sizes(location: &Location, folder: &str) -> Result<BTreeSet<(String, u64)>> {
    let all = listed(location, folder).await?;
    Ok(all
        .into_iter()
        .map(|info| (info.key.to_string(), info.size))
        .collect())
}

async fn listed(location: &Location, folder: &str) -> Result<Vec<ObjectInfo>> {
    let all = async {
        let listed = location.store.list(folder).await?;
        listed.try_collect::<Vec<ObjectInfo>>().await
    };
    all.await.map_err(Error::store(format!("list `{folder}/`")))
}

/// The bytes that tell a repository from others; nothing where there is none.
async fn config(location: &Location, folder: &str) -> Result<Option<bytes::Bytes>> {
    let key = key(&format!("{folder}/{CONFIG}"))?;
    let read = async {
        let object = location.store.get(&key, GetOptions::default()).await?;
        object.bytes(LONGEST_CONFIG).await
    };
    match read.await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(Error::store(format!("read `{key}`"))(error)),
    }
}

fn key(text: &str) -> Result<Key> {
    Key::new(text).map_err(|error| Error::store(format!("name `{text}`"))(error.into()))
}
