//! The end of writing a backup: manifest, a second look at the contents, commit record, a last look at the claim.
//! A backup that is copied ends in the same way as one that is made.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::velero::Backup;
use salvor_storage::{Key, ObjectInfo, PutMode};
use tracing::warn;

use crate::backup::PARALLELISM;
use crate::claim::{Claim, Standing};
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;
use crate::manifest::ManifestEntry;
use crate::record;

/// What a backup consists of when everything but manifest and commit record is written.
pub(crate) struct Sealed {
    /// Its contents, with the tags that this store gave them.
    pub(crate) contents: Vec<ManifestEntry>,
    /// The manifest, of which a backup of Velero's has none.
    pub(crate) manifest: Option<Bytes>,
    /// The commit record.
    pub(crate) record: Bytes,
}

/// Commits a backup under a claim that we hold.
///
/// # Errors
/// [`Error::ClaimLost`], [`Error::ContentsChanged`] or [`Error::CommitInDoubt`], or the store fails.
pub(crate) async fn commit(
    location: &Location,
    name: &BackupName,
    claim: Claim,
    sealed: &Sealed,
) -> Result<ObjectInfo> {
    let key_of = |file: &str| {
        layout::backup_file(name, file).map_err(Error::store(format!("write `{file}`")))
    };
    let ready = async {
        if let Some(manifest) = &sealed.manifest {
            let key = key_of(layout::MANIFEST)?;
            let put = location
                .store
                .put(&key, manifest.clone(), PutMode::Create)
                .await;
            match put {
                Ok(_) => {}
                // Whose bytes they are, the second look tells.
                Err(error) if error.is_already_exists() => {}
                Err(error) => {
                    let doing = format!("write the manifest of backup `{name}`");
                    return Err(Error::store(doing)(error));
                }
            }
        }
        look_again(location, name, sealed).await?;
        claim.assert_held().await
    };
    if let Err(error) = ready.await {
        // There is no record and none will come, so the next writer need not wait for our lease.
        if !error.may_have_happened() && !matches!(error, Error::ClaimLost { .. }) {
            claim.close().await;
        }
        return Err(error);
    }
    let key = key_of(layout::BACKUP_RECORD)?;
    let committed = create_record(location, &key, sealed.record.clone(), name, &claim).await?;
    assert_not_taken_over(location, name, &claim, sealed).await?;
    claim.close().await;
    Ok(committed)
}

/// Every content must still be what was written: a store that answered success for a write that is gone, or
/// another writer under our name, must not be committed.
async fn look_again(location: &Location, name: &BackupName, sealed: &Sealed) -> Result<()> {
    stream::iter(sealed.contents.clone())
        .map(|expected| {
            let (location, name) = (location.clone(), name.clone());
            async move { look_at(&location, &name, &expected).await }
        })
        .buffer_unordered(PARALLELISM)
        .try_collect::<Vec<()>>()
        .await?;
    let Some(manifest) = &sealed.manifest else {
        return Ok(());
    };
    let key = layout::backup_file(name, layout::MANIFEST)
        .map_err(Error::store("look at the manifest again"))?;
    let stored = crate::claim::read_small(&location.store, &key, record::RECORD_LIMIT).await;
    match stored {
        Ok(stored) if stored == *manifest => Ok(()),
        Ok(_) => Err(Error::ContentsChanged {
            key: key.to_string(),
            reason: "it has other bytes".to_owned(),
        }),
        Err(error) if error.is_not_found() => Err(Error::ContentsChanged {
            key: key.to_string(),
            reason: "it is gone".to_owned(),
        }),
        Err(error) => Err(Error::store("look at the manifest again")(error)),
    }
}

async fn look_at(location: &Location, name: &BackupName, expected: &ManifestEntry) -> Result<()> {
    let key = layout::backup_file(name, &expected.name)
        .map_err(Error::store(format!("look at `{}`", expected.name)))?;
    let changed = |reason: String| Error::ContentsChanged {
        key: key.to_string(),
        reason,
    };
    let info = match location.store.head(&key).await {
        Ok(info) => info,
        Err(error) if error.is_not_found() => return Err(changed("it is gone".to_owned())),
        Err(error) => return Err(Error::store(format!("look at `{key}` again"))(error)),
    };
    if info.size != expected.size {
        return Err(changed(format!(
            "{} bytes instead of {}",
            info.size, expected.size
        )));
    }
    if info.etag.is_some() && expected.etag.is_some() && info.etag != expected.etag {
        return Err(changed("its tag has changed".to_owned()));
    }
    Ok(())
}

/// The commit point. A record that is there already is looked at: ours, written before an answer was lost,
/// is success. One of a run whose claim we took over was committed after that run was declared dead and its
/// contents were removed: it describes nothing and gives way.
async fn create_record(
    location: &Location,
    key: &Key,
    record: Bytes,
    name: &BackupName,
    claim: &Claim,
) -> Result<ObjectInfo> {
    let doing = || format!("commit backup `{name}`");
    let mut replaced = false;
    loop {
        let error = match location
            .store
            .put(key, record.clone(), PutMode::Create)
            .await
        {
            Ok(info) => return confirm(location, key, &record, info).await,
            Err(error) => error,
        };
        if !error.is_already_exists() && !error.may_have_happened() {
            return Err(Error::store(doing())(error));
        }
        let found = match crate::claim::read_small(&location.store, key, record::RECORD_LIMIT).await
        {
            Ok(found) => found,
            Err(look) if look.is_not_found() => return Err(Error::store(doing())(error)),
            Err(_) => return Err(Error::store(doing())(error.maybe_happened())),
        };
        if found == record {
            return location
                .store
                .head(key)
                .await
                .map_err(Error::store(doing()));
        }
        let run_of = serde_json::from_slice::<Backup>(&found)
            .ok()
            .and_then(|backup| backup.metadata.annotations.get(labels::RUN_ID).cloned());
        claim.assert_held().await?;
        let gives_way = match &run_of {
            Some(run) if !replaced => claim.follows(run).await?,
            _ => false,
        };
        if !gives_way {
            return Err(Error::BackupExists {
                name: name.to_string(),
                location: location.name().to_owned(),
            });
        }
        warn!(backup = %name, run = ?run_of, "removing the record of a run that lost its claim");
        location
            .store
            .delete(key)
            .await
            .map_err(Error::store(doing()))?;
        replaced = true;
    }
}

/// Whoever takes a claim over looks for a commit record and, finding none, removes the contents. If that
/// happened between our last look at the claim and our record, the record may describe nothing. Either he
/// has seen our record or we see his claim, so a success after this look is one.
async fn assert_not_taken_over(
    location: &Location,
    name: &BackupName,
    claim: &Claim,
    sealed: &Sealed,
) -> Result<()> {
    let in_doubt = || Error::CommitInDoubt {
        name: name.to_string(),
        location: location.name().to_owned(),
    };
    let standing = claim.standing().await.map_err(|error| match error {
        Error::Store { doing, source } => Error::store(doing)(source.maybe_happened()),
        other => other,
    })?;
    match standing {
        Standing::Held => Ok(()),
        // He may still be removing.
        Standing::Followed { closed: false } => Err(in_doubt()),
        // He is done: what is there now stays.
        Standing::Followed { closed: true } => {
            let stored = location
                .read_file(name, layout::BACKUP_RECORD, record::RECORD_LIMIT)
                .await?;
            if stored.as_ref() != Some(&sealed.record) {
                return Err(in_doubt());
            }
            look_again(location, name, sealed)
                .await
                .map_err(|_| in_doubt())
        }
    }
}

/// A store whose create-only does not exclude may have kept another's record, and a lying one none.
async fn confirm(
    location: &Location,
    key: &Key,
    record: &Bytes,
    info: ObjectInfo,
) -> Result<ObjectInfo> {
    let changed = |reason: &str| Error::ContentsChanged {
        key: key.to_string(),
        reason: reason.to_owned(),
    };
    match crate::claim::read_small(&location.store, key, record::RECORD_LIMIT).await {
        Ok(found) if found == *record => Ok(info),
        Ok(_) => Err(changed("another run's record is there")),
        Err(error) if error.is_not_found() => Err(changed("it is gone")),
        Err(error) => Err(Error::store("read the commit record back")(
            error.maybe_happened(),
        )),
    }
}
