//! The records of restores, which a mirror takes along: request, plan, journal, logs, result. Small files that are
//! written once.

use futures::TryStreamExt as _;
use salvor_api::name::RestoreName;
use salvor_storage::{ObjectInfo, PutMode};

use crate::backup::digest_of;
use crate::copy::Transfer;
use crate::copy::origin::Expected;
use crate::copy::send;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::Location;

/// Files of a restore: name and size, by name.
pub(crate) type Files = Vec<(String, u64)>;

/// What stands under the name of a restore.
pub(crate) async fn files_of(location: &Location, name: &RestoreName) -> Result<Files> {
    let folder = layout::restore_folder(name);
    let list = async {
        let listed = location.store.list(&folder).await?;
        listed.try_collect::<Vec<ObjectInfo>>().await
    };
    let listed = list
        .await
        .map_err(Error::store(format!("list `{folder}/`")))?;
    let file = |info: ObjectInfo| (info.key.as_str()[folder.len() + 1..].to_owned(), info.size);
    Ok(listed.into_iter().map(file).collect())
}

/// Whether nothing more is written to a restore: its result is there, or it is one of Velero's, which leave logs and
/// results only.
pub(crate) fn is_finished(files: &Files) -> bool {
    let has = |wanted: &str| files.iter().any(|(file, _)| file == wanted);
    has(layout::RESTORE_RECORD) || !has(layout::RESTORE_REQUEST)
}

/// Copies the records of a finished restore. What makes it a restore goes last, so that an interrupted copy leaves
/// none that could be taken for unfinished.
///
/// # Errors
/// The target has another restore of this name ([`Error::ContentsChanged`]), [`Error::Stopped`], or a store fails.
pub(crate) async fn copy(
    source: &Location,
    target: &Location,
    name: &RestoreName,
    transfer: &Transfer,
) -> Result<()> {
    let mut files = files_of(source, name).await?;
    let rank = |file: &str| match file {
        layout::RESTORE_RECORD => 1,
        layout::RESTORE_REQUEST => 2,
        _ => 0,
    };
    files.sort_by(|a, b| (rank(&a.0), &a.0).cmp(&(rank(&b.0), &b.0)));
    let there = files_of(target, name).await?;
    for (file, size) in files {
        let key = layout::restore_file(name, &file)
            .map_err(Error::store(format!("copy `{file}` of restore `{name}`")))?;
        let Some((_, found)) = there.iter().find(|(other, _)| *other == file) else {
            let expected = Expected {
                name: file,
                size,
                sha256: None,
            };
            send::object(source, target, &key, &expected, PutMode::Create, transfer).await?;
            continue;
        };
        let read = |error| Error::store(format!("read `{key}`"))(error);
        let same = *found == size && {
            let ours = digest_of(source, &key).await.map_err(read)?.1;
            digest_of(target, &key).await.map_err(read)?.1 == ours
        };
        if !same {
            return Err(Error::ContentsChanged {
                key: key.to_string(),
                reason: format!(
                    "location `{}` has another restore `{name}`, which stays as it is",
                    target.name()
                ),
            });
        }
        transfer.add_kept(size);
    }
    Ok(())
}
