//! What this engine does in a process of its own, so that its memory is its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use salvor_repository::backup::{self, BackupOptions};
use salvor_repository::check::{self, Depth};
use salvor_repository::lock::{Holder, Lock};
use salvor_repository::restore::{self, RestoreOptions};
use salvor_repository::source::Source;
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::{Files, InitOptions, Progress, Repository, Work};
use salvor_seal::Secret;
use salvor_storage::{
    Folder, FsStore, GetOptions, Key, MemoryStore, MetaStream, Object, ObjectInfo, ObjectStore,
    PutMode, Upload,
};
use tokio::runtime::{Handle, Runtime};

use crate::synthetic::{Discard, LargeFile, TinyFiles};
use crate::{Outcome, PASSWORD};

/// Runs a step: `STEP REPOSITORY PATH VERIFY`, `synthetic KIND:NUMBER`, or `latency TREE MILLISECONDS`.
pub(crate) fn run(arguments: &[String]) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    match arguments {
        [step, what] if step == "synthetic" => synthetic(&runtime, what),
        [step, tree, milliseconds] if step == "latency" => {
            let latency = Duration::from_millis(milliseconds.parse()?);
            distant(&runtime, Path::new(tree), latency)
        }
        [step, repository, path, verify] => {
            let files = files(Arc::new(FsStore::new(repository)), runtime.handle());
            step_of(step, files, Path::new(path), verify == "true")
        }
        _ => Err("ours STEP REPOSITORY PATH VERIFY".into()),
    }
}

fn files(store: Arc<dyn ObjectStore>, runtime: &Handle) -> Files {
    Files::new(store, runtime.clone())
}

fn step_of(step: &str, files: Files, path: &Path, verify: bool) -> Outcome<()> {
    if step == "init" {
        return made(files).map(drop);
    }
    let repository = Arc::new(Repository::open(files, &secret())?);
    match step {
        "backup" => {
            let mut source = TreeSource::open(path, TreeOptions::default())?;
            back_up(&repository, &mut source, verify)
        }
        "restore" => bring_back(&repository, path),
        "check" => look(&repository),
        other => Err(format!("no step `{other}`").into()),
    }
}

fn secret() -> Secret {
    Secret::new(PASSWORD.to_owned())
}

fn made(files: Files) -> Outcome<Arc<Repository>> {
    let options = InitOptions {
        work: Work::Machine,
        who: ("bench".to_owned(), "bench".to_owned()),
        restic_boundaries: false,
    };
    Ok(Arc::new(Repository::init(files, &secret(), &options)?))
}

fn back_up(repository: &Arc<Repository>, source: &mut dyn Source, verify: bool) -> Outcome<()> {
    let holder = Holder {
        hostname: "bench".to_owned(),
        username: "bench".to_owned(),
    };
    let lock = Lock::take(repository, false, &holder)?;
    let options = BackupOptions {
        parent: repository.snapshots()?.pop().map(|(id, _)| id),
        verify,
        ..BackupOptions::default()
    };
    let written = backup::run(repository, &lock, source, &options, &Progress::new())?;
    if written.missing() > 0 {
        return Err(format!("{:?}", written.failures).into());
    }
    Ok(())
}

fn bring_back(repository: &Repository, target: &Path) -> Outcome<()> {
    let index = repository.load_index()?;
    let (_, snapshot) = repository.snapshot("latest")?;
    let options = RestoreOptions::default();
    let progress = Progress::new();
    let restored = restore::run(
        repository,
        &index,
        &snapshot.tree,
        target,
        &options,
        &progress,
    )?;
    if restored.failed > 0 {
        return Err(format!("{:?}", restored.failures).into());
    }
    Ok(())
}

fn look(repository: &Repository) -> Outcome<()> {
    let checked = check::run(repository, Depth::Data, &Progress::new())?;
    if !checked.is_whole() {
        return Err(format!("{:?}", checked.findings).into());
    }
    Ok(())
}

/// `files:5000000` or `bytes:20000000000` into a store that keeps nothing.
fn synthetic(runtime: &Runtime, what: &str) -> Outcome<()> {
    let mut source: Box<dyn Source> = match what.split_once(':') {
        Some(("files", count)) => Box::new(TinyFiles::new(count.parse()?, 10_000)),
        Some(("bytes", count)) => Box::new(LargeFile::new(count.parse()?)),
        _ => return Err(format!("--synthetic {what}: files:NUMBER or bytes:NUMBER").into()),
    };
    let repository = made(files(Arc::new(Discard::default()), runtime.handle()))?;
    back_up(&repository, source.as_mut(), true)
}

/// All steps over a store in memory whose every call takes a while.
fn distant(runtime: &Runtime, tree: &Path, latency: Duration) -> Outcome<()> {
    let store = Arc::new(Distant {
        store: MemoryStore::new(),
        latency,
    });
    let repository = made(files(store, runtime.handle()))?;
    let target = tempfile::tempdir_in(tree.parent().unwrap_or(tree))?;
    for step in ["first backup", "unchanged", "restore", "check, all data"] {
        let begin = Instant::now();
        match step {
            "restore" => bring_back(&repository, &target.path().join("back"))?,
            "check, all data" => look(&repository)?,
            _ => {
                let mut source = TreeSource::open(tree, TreeOptions::default())?;
                back_up(&repository, &mut source, true)?;
            }
        }
        println!("| {step} | {:.2} |", begin.elapsed().as_secs_f64());
    }
    Ok(())
}

/// A store in memory, far away.
#[derive(Debug)]
struct Distant {
    store: MemoryStore,
    latency: Duration,
}

impl Distant {
    async fn travel(&self) {
        tokio::time::sleep(self.latency).await;
    }
}

#[async_trait]
impl ObjectStore for Distant {
    fn describe(&self) -> String {
        "a store that is far away".to_owned()
    }

    fn excludes(&self) -> bool {
        self.store.excludes()
    }

    async fn put(
        &self,
        key: &Key,
        body: Bytes,
        mode: PutMode,
    ) -> salvor_storage::Result<ObjectInfo> {
        self.travel().await;
        self.store.put(key, body, mode).await
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> salvor_storage::Result<Box<dyn Upload>> {
        self.travel().await;
        self.store.upload(key, mode).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> salvor_storage::Result<Object> {
        self.travel().await;
        self.store.get(key, options).await
    }

    async fn head(&self, key: &Key) -> salvor_storage::Result<ObjectInfo> {
        self.travel().await;
        self.store.head(key).await
    }

    async fn list(&self, prefix: &str) -> salvor_storage::Result<MetaStream> {
        self.travel().await;
        self.store.list(prefix).await
    }

    async fn list_folder(&self, folder: &str) -> salvor_storage::Result<Folder> {
        self.travel().await;
        self.store.list_folder(folder).await
    }

    async fn delete(&self, key: &Key) -> salvor_storage::Result<()> {
        self.travel().await;
        self.store.delete(key).await
    }
}
