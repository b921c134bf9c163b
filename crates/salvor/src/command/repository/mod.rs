//! `repo` and `volume`: repositories of a location, opened from here.

mod claim;
mod export;
mod keys;
mod mend;
pub(crate) mod password;
mod point;
mod points;
mod show;
mod upkeep;
mod volume;
mod wanted;

use std::future::Future;
use std::sync::Arc;

use salvor_repository::cache::{CacheOptions, USUAL_LIMIT};
use salvor_repository::lock::{Holder, Lock};
use salvor_repository::{Error, Files, Progress, Repository, Work};
use salvor_seal::Secret;
use salvor_storage::{ObjectStore, PrefixStore};
use salvor_volume::Domain;
use tokio::runtime::Handle;

use self::password::Asked;
use crate::args::repository::{
    KeyCommand, RepositoryArgs, RepositoryCommand, VolumeCommand, WorkArg,
};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Runs a command of `repo`.
pub(crate) async fn run(command: RepositoryCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        RepositoryCommand::Init(args) => keys::init(&args, session).await,
        RepositoryCommand::Get(args) => show::get(args.output, session).await,
        RepositoryCommand::Check(args) => upkeep::check(&args, session).await,
        RepositoryCommand::Snapshots(args) => show::snapshots(&args, session).await,
        RepositoryCommand::Forget(args) => upkeep::forget(&args, session).await,
        RepositoryCommand::Prune(args) => upkeep::prune(&args, session).await,
        RepositoryCommand::Password(args) => keys::show_password(&args, session).await,
        RepositoryCommand::Key(KeyCommand::Generate(args)) => keys::generate(&args, session),
        RepositoryCommand::Key(KeyCommand::List(args)) => keys::list(&args, session).await,
        RepositoryCommand::Key(KeyCommand::Add(args)) => keys::add(&args, session).await,
        RepositoryCommand::Key(KeyCommand::Rotate(args)) => keys::rotate(&args, session).await,
        RepositoryCommand::Key(KeyCommand::Remove(args)) => keys::remove(&args, session).await,
        RepositoryCommand::Unlock(args) => upkeep::unlock(&args, session).await,
        RepositoryCommand::Repair(args) => upkeep::repair(&args, session).await,
    }
}

/// Runs a command of `volume`.
pub(crate) async fn run_volume(command: VolumeCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        VolumeCommand::Backup(args) => volume::backup(&args, session).await,
        VolumeCommand::Ls(args) => volume::ls(&args, session).await,
        VolumeCommand::Cat(args) => volume::cat(&args, session).await,
        VolumeCommand::Restore(args) => match &args.claim.point {
            Some(point) => Box::pin(claim::restore(&args, point, session)).await,
            None => volume::restore(&args, session).await,
        },
        VolumeCommand::Export(args) => export::run(&args, session).await,
        VolumeCommand::Points(args) => points::run(&args, session).await,
    }
}

/// The files of the repository that is meant.
async fn files(args: &RepositoryArgs, session: &Session) -> Result<Files, Failure> {
    let store: Arc<dyn ObjectStore> = match (&args.repository, &args.domain) {
        (Some(address), _) => Arc::clone(session.location_called(address)?.store()),
        (None, Some(domain)) => {
            let location = session.location_of(None).await?;
            let folder = domain_of(domain)?.folder();
            PrefixStore::wrap(Arc::clone(location.store()), &folder)
        }
        (None, None) => {
            return Err(Failure::usage(
                "name a repository: --domain or --repository",
            ));
        }
    };
    Ok(Files::new(store, Handle::current()))
}

/// A domain is a folder: one segment of letters, digits, `-`, `_` and `.`.
fn domain_of(name: &str) -> Result<Domain, Failure> {
    Domain::named(name).ok_or_else(|| {
        Failure::usage(format!(
            "--domain {name:?}: a domain has letters, digits, `-`, `_` and `.`, and begins with none of the last"
        ))
    })
}

/// The repository that is meant, opened.
async fn open(args: &RepositoryArgs, session: &Session) -> Result<Arc<Repository>, Failure> {
    let files = files(args, session).await?;
    let given = password::of(args, session, Asked::Once).await?;
    let cache = cache(args, &files);
    blocking(move || opened(files, &given.password, cache)).await
}

fn opened(
    files: Files,
    password: &Secret,
    cache: Option<CacheOptions>,
) -> salvor_repository::Result<Arc<Repository>> {
    let repository = Repository::open(files, password)?;
    Ok(Arc::new(match cache {
        Some(cache) => repository.with_cache(&cache),
        None => repository,
    }))
}

/// The cache that is meant. A repository in a folder of this machine needs none.
fn cache(args: &RepositoryArgs, files: &Files) -> Option<CacheOptions> {
    match &args.cache_dir {
        _ if args.no_cache => None,
        Some(folder) => Some(CacheOptions {
            folder: folder.clone(),
            limit: USUAL_LIMIT,
        }),
        None if files.is_local() => None,
        None => CacheOptions::of_this_user(),
    }
}

fn work(kind: WorkArg) -> Work {
    match kind {
        WorkArg::Passphrase => Work::Passphrase,
        WorkArg::Machine => Work::Machine,
    }
}

/// This machine and user, for locks and keys.
fn holder() -> Holder {
    let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    Holder {
        hostname: hostname(),
        username: user.unwrap_or_else(|_| "unknown".to_owned()),
    }
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname");
    name.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())
}

/// A lock on a repository, taken on a thread that may wait.
async fn lock(repository: &Arc<Repository>, exclusive: bool) -> Result<Lock, Failure> {
    let repository = Arc::clone(repository);
    blocking(move || Lock::take(&repository, exclusive, &holder())).await
}

/// Runs work of the engine, which waits, beside the runtime.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> salvor_repository::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Failure::from),
        Err(error) => Err(Failure::caused(
            Exit::Internal,
            "work on the repository",
            error,
        )),
    }
}

/// The same for work that can be stopped: Ctrl-C stops it at the next safe point, and it is waited for. `show` is
/// called now and then.
async fn stoppable<T: Send + 'static>(
    session: &Session,
    progress: &Arc<Progress>,
    mut show: impl FnMut(&Progress),
    work: impl FnOnce() -> salvor_repository::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let work = blocking(work);
    tokio::pin!(work);
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(250));
    let cancelled = session.cancel.cancelled();
    tokio::pin!(cancelled);
    let mut asked = false;
    loop {
        tokio::select! {
            result = wait(&mut work) => return result,
            () = &mut cancelled, if !asked => {
                asked = true;
                progress.stop();
            }
            _ = ticks.tick() => show(progress),
        }
    }
}

async fn wait<T>(work: impl Future<Output = T>) -> T {
    work.await
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (exit, hint) = match &error {
            Error::Cancelled => (Exit::Cancelled, ""),
            Error::NoRepository { .. } | Error::NoSnapshot { .. } => (Exit::NotFound, ""),
            Error::Exists { .. }
            | Error::Locked { .. }
            | Error::LockLost { .. }
            | Error::LockRemoved { .. } => (Exit::Refused, ""),
            Error::ConfigLost { .. } => (Exit::VerificationFailed, ""),
            Error::WrongPassword { .. } => (
                Exit::Refused,
                "check --password-file, and that it is the right repository",
            ),
            Error::Invalid(_) | Error::Version { .. } => (Exit::Usage, ""),
            Error::Store { source, .. } => {
                let location =
                    match source.kind {
                        salvor_storage::ErrorKind::Denied | salvor_storage::ErrorKind::Locked => {
                            Exit::Refused
                        }
                        salvor_storage::ErrorKind::Full => Exit::NoRoom,
                        salvor_storage::ErrorKind::NoBucket => Exit::NotFound,
                        // A file that the repository should have.
                        salvor_storage::ErrorKind::NotFound
                        | salvor_storage::ErrorKind::Corrupt => Exit::VerificationFailed,
                        salvor_storage::ErrorKind::Throttled
                        | salvor_storage::ErrorKind::Transient => Exit::Unavailable,
                        _ => Exit::Internal,
                    };
                (location, source.advice())
            }
            error if error.is_damage() => (
                Exit::VerificationFailed,
                "`salvor repo check --depth data` says how much is hit, and `salvor repo repair` mends what can be mended",
            ),
            _ => (Exit::Internal, ""),
        };
        Self::caused(exit, "", error).hint(hint)
    }
}
