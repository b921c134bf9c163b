//! Blobs of some packs copied into new ones, as they are sealed.

use crate::backup::Failed;
use crate::backup::claimed::Claimed;
use crate::backup::packer::{Packer, Uploader};
use crate::backup::seal::SealedBlob;
use crate::error::Result;
use crate::files::Kind;
use crate::format::index_file::IndexedBlob;
use crate::id::FileId;
use crate::index::Index;
use crate::progress::Progress;
use crate::repository::Repository;

/// Copies blobs, each with the pack that it stands in, and writes index files that name the new packs. What stands in two
/// packs is copied once. Returns how many bytes.
///
/// # Errors
/// A blob is damaged, the store fails, or it was cancelled. What was copied until then is found by the next repair.
pub(crate) fn copy(
    repository: &Repository,
    index: &Index,
    blobs: impl Iterator<Item = Result<(FileId, IndexedBlob)>>,
    progress: &Progress,
) -> Result<u64> {
    let (packer, packs) = Packer::new(repository, index);
    let uploader = Uploader::new(repository, packs);
    let failure = Failed::default();
    let copied = std::thread::scope(|scope| {
        scope.spawn(|| uploader.run(&failure));
        let copied = copy_each(repository, &packer, blobs, progress)
            .and_then(|bytes| packer.finish().map(|_| bytes));
        packer.close();
        copied
    });
    failure.take()?;
    let bytes = copied?;
    uploader.finish()?;
    Ok(bytes)
}

fn copy_each(
    repository: &Repository,
    packer: &Packer<'_>,
    blobs: impl Iterator<Item = Result<(FileId, IndexedBlob)>>,
    progress: &Progress,
) -> Result<u64> {
    let scratch = repository.scratch();
    let mut copied = Claimed::new(scratch.clone());
    let mut bytes = 0;
    for blob in blobs {
        let (pack, blob) = blob?;
        progress.check()?;
        if !copied
            .insert(blob.kind, &blob.id)
            .map_err(|e| scratch.failed("note which blobs are stored in", e))?
        {
            continue;
        }
        let place = blob.place(0);
        let (from, length) = (u64::from(place.offset), u64::from(place.length));
        let sealed = repository
            .files()
            .read_range(Kind::Pack, &pack, from, length)?;
        // What is copied must be whole: the original goes.
        let plain = repository.open_blob(&pack, &place, &blob.id, &sealed)?;
        let sealed = SealedBlob {
            bytes: &sealed,
            uncompressed: place.uncompressed,
        };
        packer.add(blob.kind, blob.id, &sealed, plain.len())?;
        bytes += length;
    }
    Ok(bytes)
}
