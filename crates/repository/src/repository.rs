//! A repository: its keys and its documents. Its index, its blobs and its snapshots are in modules of their own.

use std::collections::{BTreeMap, VecDeque};
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
use crate::error::{Error, Result};
use crate::files::{Files, Kind};
use crate::format::config::{Config, GEAR, Ours};
use crate::format::key_file::Work;
use crate::format::unpacked;
use crate::id::FileId;
use crate::index;
use crate::keys::{find_key, write_key};
use crate::scratch::Scratch;

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
    pub(crate) tree_packs: Mutex<VecDeque<(FileId, Bytes)>>,
    scratch: Scratch,
    /// Files that could not be read and were passed over, by path, with the reason.
    pub(crate) left_out: Mutex<BTreeMap<String, String>>,
}

impl Repository {
    /// Makes a repository in an empty place. It exists when its `config` does; a key that was written before
    /// a crash is of no use and harmless.
    ///
    /// # Errors
    /// [`Error::Exists`], or the store fails.
    pub fn init(files: Files, password: &Secret, options: &InitOptions) -> Result<Self> {
        // Where `config` is lost, another one would leave what is there unreadable for good.
        if config_of(&files)?.is_some() {
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
    /// [`Error::NoRepository`], [`Error::ConfigLost`], [`Error::WrongPassword`], [`Error::Version`], damage, or the store fails.
    pub fn open(files: Files, password: &Secret) -> Result<Self> {
        let Some(sealed) = config_of(&files)? else {
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
            left_out: Mutex::default(),
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
            left_out: Mutex::default(),
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
}

pub(crate) fn to_json<T: Serialize>(document: &T) -> Vec<u8> {
    serde_json::to_vec(document).expect("documents have string keys only")
}

/// `config`; nothing where there is no repository. A place without it that holds what repositories store has lost it: a key
/// alone is what an `init` that was killed leaves.
fn config_of(files: &Files) -> Result<Option<Bytes>> {
    if let Some(config) = files.config()? {
        return Ok(Some(config));
    }
    for kind in [Kind::Snapshot, Kind::Index, Kind::Pack] {
        if !files.list(kind)?.is_empty() {
            // Another may have made the repository since.
            return match files.config()? {
                Some(config) => Ok(Some(config)),
                None => Err(Error::ConfigLost {
                    place: files.place(),
                }),
            };
        }
    }
    Ok(None)
}
