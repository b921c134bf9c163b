//! A repository: its keys, its index, its blobs and its snapshots.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Mutex;

use bytes::Bytes;
use salvor_seal::Secret;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cache::{Cache, CacheOptions};
use crate::chunk::Chunker;
use crate::chunk::gear::Gear;
use crate::chunk::polynomial::Polynomial;
use crate::chunk::rabin::Rabin;
use crate::crypto::MasterKey;
use crate::entries::Entries;
use crate::error::{Error, Result};
use crate::files::{Files, Kind};
use crate::format::config::{Config, GEAR, Ours};
use crate::format::index_file::{BlobKind, IndexFile};
use crate::format::key_file::Work;
use crate::format::snapshot::Snapshot;
use crate::format::tree::Tree;
use crate::format::unpacked;
use crate::id::{BlobId, FileId};
use crate::index::{self, Index, IndexBuilder, Place};
use crate::keys::{find_key, write_key};
use crate::opener::Opener;
use crate::scratch::Scratch;

/// Bytes of tree packs that are kept: trees of one directory and its neighbours stand in one pack, and a
/// store is asked once for all of them.
const TREE_PACKS: usize = 48 << 20;
/// Tree packs longer than this are read blob by blob.
const LARGE_PACK: u64 = 20 << 20;

/// Directories with a longer description are read entry by entry.
const WHOLE_TREE: u64 = 8 << 20;

/// How a repository is made.
#[derive(Clone, Debug)]
pub struct InitOptions {
    /// How much work it is to try the password.
    pub work: Work,
    /// Who makes it: user and host, shown in the list of keys.
    pub who: (String, String),
    /// Cut files as restic does, for repositories that restic will extend, too.
    pub restic_boundaries: bool,
}

/// An open repository.
#[derive(Debug)]
pub struct Repository {
    files: Files,
    config: Config,
    key: MasterKey,
    /// The slot that opened it.
    pub(crate) key_id: FileId,
    chunker: Chunker,
    tree_packs: Mutex<VecDeque<(FileId, Bytes)>>,
    scratch: Scratch,
}

impl Repository {
    /// Makes a repository in an empty place. It exists when its `config` does; a key that was written before
    /// a crash is of no use and harmless.
    ///
    /// # Errors
    /// [`Error::Exists`], or the store fails.
    pub fn init(files: Files, password: &Secret, options: &InitOptions) -> Result<Self> {
        if files.config()?.is_some() {
            return Err(Error::Exists {
                place: files.place(),
            });
        }
        let random = |source| Error::Source {
            what: "random bytes of the system".to_owned(),
            source,
        };
        let mut bytes = zeroize::Zeroizing::new([0_u8; 96]);
        getrandom::fill(&mut *bytes).map_err(|e| random(std::io::Error::other(e.to_string())))?;
        let master = MasterKey::from_bytes(bytes[..64].try_into().expect("64 of 96 bytes"));
        let identity: [u8; 32] = bytes[64..].try_into().expect("32 of 96 bytes");
        let config = Config {
            version: 2,
            id: FileId::from(identity).to_string(),
            chunker_polynomial: Polynomial::random().map_err(random)?,
            salvor: (!options.restic_boundaries).then(|| Ours {
                chunker: GEAR.to_owned(),
            }),
        };
        let key_id = write_key(&files, &master, password, options)?;
        let plain = to_json(&config);
        let sealed = master.seal(&plain).map_err(random)?;
        if let Err(error) = files.create_config(Bytes::from(sealed)) {
            // Another made the repository at the same moment: our key opens nothing, and whoever has the same password
            // would try it first.
            if matches!(error, Error::Exists { .. })
                && let Err(error) = files.remove(Kind::Key, &key_id)
            {
                tracing::warn!(%error, key = %key_id, "a key that opens nothing is left behind");
            }
            return Err(error);
        }
        Self::with(files, config, master, key_id)
    }

    /// Opens a repository.
    ///
    /// # Errors
    /// [`Error::NoRepository`], [`Error::WrongPassword`], [`Error::Version`], damage, or the store fails.
    pub fn open(files: Files, password: &Secret) -> Result<Self> {
        let Some(sealed) = files.config()? else {
            return Err(Error::NoRepository {
                place: files.place(),
            });
        };
        let (key_id, master, plain) = find_key(&files, password, &sealed)?;
        let config: Config = serde_json::from_slice(&plain)
            .map_err(|e| files.damaged("config", format!("it is not what it should be: {e}")))?;
        if !(1..=2).contains(&config.version) {
            return Err(Error::Version {
                place: files.place(),
                version: config.version,
            });
        }
        Self::with(files, config, master, key_id)
    }

    fn with(files: Files, config: Config, key: MasterKey, key_id: FileId) -> Result<Self> {
        let chunker = match &config.salvor {
            Some(ours) if ours.chunker == GEAR => Chunker::Gear(Box::new(Gear::new(key.root()))),
            Some(ours) => {
                return Err(Error::Invalid(format!(
                    "the repository at {} cuts files by `{}`, which this program does not know: use a newer one",
                    files.place(),
                    ours.chunker
                )));
            }
            None => Rabin::new(config.chunker_polynomial)
                .map(|rabin| Chunker::Rabin(Box::new(rabin)))
                .ok_or_else(|| files.damaged("config", "its polynomial is not irreducible"))?,
        };
        Ok(Self {
            files,
            config,
            key,
            key_id,
            chunker,
            tree_packs: Mutex::default(),
            scratch: Scratch::default(),
        })
    }

    /// The same with another folder for what is too large for memory (indexes of more than half a million blobs,
    /// directories of more than about 25,000 entries). Its files have no names and are gone with the process. Without
    /// this it is the system's temporary folder.
    #[must_use]
    pub fn with_scratch(mut self, folder: std::path::PathBuf) -> Self {
        self.scratch = Scratch::new(folder);
        self
    }

    /// The same with a local cache of index files, snapshots and packs of directories. Where it cannot be made, everything
    /// is fetched from the store, and a warning says so.
    #[must_use]
    pub fn with_cache(mut self, options: &CacheOptions) -> Self {
        let cache = self
            .config
            .id
            .parse()
            .map_err(std::io::Error::other)
            .and_then(|id| Cache::open(options, &id));
        match cache {
            Ok(cache) => self.files = self.files.with_cache(cache),
            Err(error) => tracing::warn!(
                folder = %options.folder.display(), %error,
                "the cache of repositories cannot be used; everything is fetched from the store"
            ),
        }
        self
    }

    /// The same repository, of which everything is read from the store.
    pub(crate) fn uncached(&self) -> Self {
        Self {
            files: self.files.uncached(),
            config: self.config.clone(),
            key: self.key.clone(),
            key_id: self.key_id,
            chunker: self.chunker.clone(),
            tree_packs: Mutex::default(),
            scratch: self.scratch.clone(),
        }
    }

    pub(crate) fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    pub(crate) fn no_place_for_index(&self, source: std::io::Error) -> Error {
        index::no_place(&self.scratch, source)
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> &Files {
        &self.files
    }

    /// What it is.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// How files are cut.
    #[must_use]
    pub fn chunker(&self) -> &Chunker {
        &self.chunker
    }

    /// Whether it compresses.
    #[must_use]
    pub fn compresses(&self) -> bool {
        self.config.version >= 2
    }

    pub(crate) fn key(&self) -> &MasterKey {
        &self.key
    }

    /// All index files together.
    ///
    /// # Errors
    /// Damage, [`Error::IndexTooLarge`], or the store fails.
    pub fn load_index(&self) -> Result<Index> {
        let listed = self.files.list(Kind::Index)?;
        self.files.keep_cached(Kind::Index, &listed);
        let mut builder = IndexBuilder::new(self.scratch.clone());
        for file in listed {
            let index: IndexFile = self.read_document(Kind::Index, &file.id)?;
            builder
                .add(file.id, &index)
                .map_err(|what| what.error(&file.id, self))?;
        }
        builder.finish().map_err(|e| self.no_place_for_index(e))
    }

    /// All index files together, without blobs whose packs the store has not or not in full length. For writers:
    /// what is lost must be stored again and not be taken for there.
    ///
    /// # Errors
    /// As [`Repository::load_index`].
    pub fn load_index_of_stored(&self) -> Result<Index> {
        let (index, lost) = self.load_index_and_lost()?;
        if !lost.is_empty() {
            tracing::warn!(
                packs = lost.len(),
                "the index names packs that are gone or cut off; what was in them is stored again where it is met"
            );
        }
        index.retain(|id| !lost.contains(id))
    }

    /// All index files together, and of blobs that stand several times only those whose packs are there. For readers:
    /// what was lost and stored again is read where it is, and what is lost is still named with its pack.
    ///
    /// # Errors
    /// As [`Repository::load_index`].
    pub fn load_index_for_reading(&self) -> Result<Index> {
        let (index, lost) = self.load_index_and_lost()?;
        index.prefer(|id| !lost.contains(id))
    }

    /// The index, and packs that it names and the store has not, or not in full length.
    fn load_index_and_lost(&self) -> Result<(Index, HashSet<FileId>)> {
        // Before the index: a pack that is written meanwhile is in neither, and is stored once more at worst.
        let stored: HashMap<FileId, u64> = self
            .files
            .list(Kind::Pack)?
            .into_iter()
            .map(|file| (file.id, file.size))
            .collect();
        let index = self.load_index()?;
        let lost = lost(&index, |id| stored.get(id).copied())?;
        Ok((index, lost))
    }

    /// All snapshots, oldest first.
    ///
    /// # Errors
    /// Damage, or the store fails: a snapshot that cannot be read is never left out in silence.
    pub fn snapshots(&self) -> Result<Vec<(FileId, Snapshot)>> {
        let mut all = Vec::new();
        let listed = self.files.list(Kind::Snapshot)?;
        self.files.keep_cached(Kind::Snapshot, &listed);
        for file in listed {
            all.push((file.id, self.read_document(Kind::Snapshot, &file.id)?));
        }
        all.sort_by_key(|(id, snapshot): &(FileId, Snapshot)| (snapshot.begun(), *id));
        Ok(all)
    }

    /// The snapshot whose id begins with `prefix`, or the newest for `latest`.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], damage, or the store fails.
    pub fn snapshot(&self, prefix: &str) -> Result<(FileId, Snapshot)> {
        let none = |count| Error::NoSnapshot {
            prefix: prefix.to_owned(),
            count,
            place: self.files.place(),
        };
        if prefix == "latest" {
            return self.snapshots()?.pop().ok_or_else(|| none(0));
        }
        let matching: Vec<FileId> = self
            .files
            .list(Kind::Snapshot)?
            .into_iter()
            .map(|file| file.id)
            .filter(|id| id.to_string().starts_with(prefix))
            .collect();
        match matching.as_slice() {
            [id] if !prefix.is_empty() => Ok((*id, self.read_document(Kind::Snapshot, id)?)),
            several => Err(none(several.len())),
        }
    }

    /// Reads a document.
    ///
    /// # Errors
    /// Damage, or the store fails.
    pub(crate) fn read_document<T: DeserializeOwned>(&self, kind: Kind, id: &FileId) -> Result<T> {
        let damaged = |what: String| self.files.damaged(kind.path(id), what);
        let sealed = self.files.read(kind, id)?;
        let plain = self
            .key
            .open(&sealed)
            .map_err(|_| damaged("it is not sealed with the repository's key".to_owned()))?;
        let json = unpacked::decode(plain).map_err(damaged)?;
        serde_json::from_slice(&json)
            .map_err(|e| damaged(format!("it is not what it should be: {e}")))
    }

    /// Writes a document.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) fn write_document<T: Serialize>(&self, kind: Kind, document: &T) -> Result<FileId> {
        let seal = |source| Error::Source {
            what: format!("seal a file of {}", kind.folder()),
            source,
        };
        let plain = unpacked::encode(&to_json(document), self.compresses()).map_err(seal)?;
        let sealed = self.key.seal(&plain).map_err(seal)?;
        if self.key.open(&sealed).as_deref() != Ok(plain.as_slice()) {
            return Err(Error::Unfaithful {
                what: format!("a file of {}", kind.folder()),
            });
        }
        self.files.write(kind, Bytes::from(sealed))
    }

    /// The plaintext of a blob, which is what its id says.
    ///
    /// # Errors
    /// [`Error::NoBlob`], damage, or the store fails.
    pub fn read_blob(&self, index: &Index, kind: BlobKind, id: &BlobId) -> Result<Vec<u8>> {
        let place = self.place(index, kind, id)?;
        let pack = index.pack(place.pack);
        let (from, length) = (u64::from(place.offset), u64::from(place.length));
        let sealed = self.files.read_range(Kind::Pack, &pack, from, length)?;
        self.open_blob(&pack, &place, id, &sealed)
    }

    /// The entries of a directory, one by one: of a large one, little more than its compressed bytes is in memory.
    ///
    /// # Errors
    /// [`Error::NoBlob`], damage, or the store fails. An entry that cannot be is an error where it stands.
    pub fn entries(&self, index: &Index, id: &BlobId) -> Result<Entries> {
        let place = self.place(index, BlobKind::Tree, id)?;
        if place.plain_length() <= WHOLE_TREE {
            return Ok(Entries::whole(self.read_tree(index, id)?));
        }
        let pack = index.pack(place.pack);
        let (from, length) = (u64::from(place.offset), u64::from(place.length));
        let sealed = self.files.read_range(Kind::Pack, &pack, from, length)?;
        let damaged = |what: String| {
            self.files
                .damaged(Kind::Pack.path(&pack), format!("tree {id} in it {what}"))
        };
        let plain = self
            .key
            .open(&sealed)
            .map_err(|_| damaged("is not sealed with the repository's key".to_owned()))?;
        drop(sealed);
        Entries::large(plain, place.uncompressed.is_some(), id, self.files.place()).map_err(damaged)
    }

    /// A directory.
    ///
    /// # Errors
    /// [`Error::NoBlob`], damage, or the store fails.
    pub fn read_tree(&self, index: &Index, id: &BlobId) -> Result<Tree> {
        let place = self.place(index, BlobKind::Tree, id)?;
        let pack = index.pack(place.pack);
        let sealed = self.tree_bytes(&pack, &place)?;
        let json = self.open_blob(&pack, &place, id, &sealed)?;
        Tree::parse(&json).map_err(|what| self.files.damaged(format!("tree {id}"), what))
    }

    fn place(&self, index: &Index, kind: BlobKind, id: &BlobId) -> Result<Place> {
        index.find(kind, id)?.ok_or_else(|| self.no_blob(kind, id))
    }

    pub(crate) fn no_blob(&self, kind: BlobKind, id: &BlobId) -> Error {
        Error::NoBlob {
            kind: kind.noun(),
            id: *id,
            place: self.files.place(),
        }
    }

    /// Sealed bytes of a tree. The whole pack is fetched and kept for a while: its neighbours are wanted next.
    fn tree_bytes(&self, pack: &FileId, place: &Place) -> Result<Bytes> {
        let range = place.offset as usize..(place.offset as usize + place.length as usize);
        {
            let mut kept = self.tree_packs.lock().expect("no holder panics");
            if let Some(at) = kept.iter().position(|(id, _)| id == pack) {
                let found = kept.remove(at).expect("it was found there");
                let bytes = found
                    .1
                    .get(range.clone())
                    .map(|_| found.1.slice(range.clone()));
                kept.push_front(found);
                return bytes.ok_or_else(|| {
                    self.files
                        .damaged(Kind::Pack.path(pack), "it is shorter than the index says")
                });
            }
        }
        // The end of the pack is not known; a tree that lies far behind is read alone.
        if u64::from(place.offset) + u64::from(place.length) > LARGE_PACK {
            return self.files.read_range(
                Kind::Pack,
                pack,
                u64::from(place.offset),
                u64::from(place.length),
            );
        }
        let bytes = self.files.read(Kind::Pack, pack)?;
        let tree = bytes
            .get(range.clone())
            .map(|_| bytes.slice(range))
            .ok_or_else(|| {
                self.files
                    .damaged(Kind::Pack.path(pack), "it is shorter than the index says")
            })?;
        let mut kept = self.tree_packs.lock().expect("no holder panics");
        kept.push_front((*pack, bytes));
        let mut sum = 0;
        kept.retain(|(_, bytes)| {
            sum += bytes.len();
            sum <= TREE_PACKS
        });
        Ok(tree)
    }

    /// The plaintext of sealed bytes that should be a blob. Whoever opens many has an [`Opener`].
    pub(crate) fn open_blob(
        &self,
        pack: &FileId,
        place: &Place,
        id: &BlobId,
        sealed: &[u8],
    ) -> Result<Vec<u8>> {
        let mut opener = Opener::default();
        match opener.open(&self.key, place.uncompressed, id, sealed) {
            Ok(_) => Ok(opener.into_plain(place.uncompressed.is_some())),
            Err(what) => Err(self.damaged_blob(pack, id, what)),
        }
    }

    pub(crate) fn damaged_blob(&self, pack: &FileId, id: &BlobId, what: &str) -> Error {
        let what = format!("blob {id} in it {what}");
        self.files.damaged(Kind::Pack.path(pack), what)
    }
}

/// Packs that an index names and that a store has not, or not in full length.
pub(crate) fn lost<B: FromIterator<FileId>>(
    index: &Index,
    size: impl Fn(&FileId) -> Option<u64>,
) -> Result<B> {
    let mut needed = vec![0_u64; index.packs().len()];
    for blob in index.blobs() {
        let (_, _, place) = blob?;
        let end = u64::from(place.offset) + u64::from(place.length);
        let longest = &mut needed[place.pack as usize];
        *longest = end.max(*longest);
    }
    let lost = index
        .packs()
        .iter()
        .zip(needed)
        .filter(|(_, end)| *end > 0)
        .filter(|(id, end)| size(id).is_none_or(|size| size < *end))
        .map(|(id, _)| *id)
        .collect();
    Ok(lost)
}

pub(crate) fn to_json<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents have string keys only")
}
