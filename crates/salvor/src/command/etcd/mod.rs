//! `etcd`: snapshots and captured changes of etcd without its tools, and the objects in them.

mod as_backup;
mod compact;
pub(crate) mod control_plane;
mod control_plane_detect;
mod control_plane_files;
mod install;
mod look;
mod member;
mod objects;
mod opened;
mod prune;
mod recover;
mod restore;
mod save;
mod scheduled;
mod source;
mod stream;
mod timeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use salvor_etcd::chain::recover as recovering;
use salvor_etcd::{
    capture, client, compact as compacting, points, prune as pruning, restore as restoring,
    save as saving, snapshot,
};

use crate::args::etcd::{EtcdCommand, SnapshotCommand};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// What to do with a damaged snapshot.
const TAKE_ANOTHER: &str =
    "take another snapshot; `salvor etcd snapshot verify` says what is damaged in this one";
/// What captures changes.
const STREAM: &str =
    "`salvor etcd stream` captures changes; a snapshot by itself is a full already";
/// What shows whether the objects of points are whole.
const VERIFY_POINTS: &str =
    "run `salvor point verify --all` to see which points are damaged, and take another one";
/// What to do where another identity is needed.
const OTHER_IDENTITY: &str =
    "give the file with the identity of one of its recipients: --identity FILE";

/// Runs a command of `etcd`.
pub(crate) async fn run(command: EtcdCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        EtcdCommand::Snapshot(command) => match command {
            SnapshotCommand::Save(args) => match &args.schedule {
                Some(schedule) => scheduled::run(&args, schedule, session).await,
                None => save::run(&args, session).await,
            },
            SnapshotCommand::Status(args) => look::status(&args, session).await,
            SnapshotCommand::Verify(args) => look::verify(&args, session).await,
            SnapshotCommand::Restore(args) => restore::run(&args, session).await,
        },
        EtcdCommand::Stream(args) => stream::run(&args, session).await,
        EtcdCommand::Timeline(args) => timeline::run(&args, session).await,
        EtcdCommand::Compact(args) => compact::run(&args, session).await,
        EtcdCommand::Prune(args) => prune::run(&args, session).await,
        EtcdCommand::Restore(args) => recover::run(&args, session).await,
        EtcdCommand::Inspect(args) => objects::inspect(&args, session).await,
        EtcdCommand::Get(args) => objects::get(&args, session).await,
        EtcdCommand::Blame(args) => objects::blame(&args, session).await,
        EtcdCommand::Diff(args) => as_backup::diff(&args, session).await,
        EtcdCommand::Export(args) => as_backup::export(&args, session).await,
        EtcdCommand::Member(command) => member::run(command, session).await,
        EtcdCommand::RecoverQuorum(args) => member::recover(&args, session).await,
        EtcdCommand::Browse(args) => as_backup::browse(&args, session).await,
        EtcdCommand::Install(args) => install::run(&args, session),
    }
}

/// Runs work on files beside the runtime; Ctrl-C stops it at the next safe point, and it is waited for.
async fn stoppable<T, E>(
    session: &Session,
    work: impl FnOnce(&AtomicBool) -> Result<T, E> + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Send + 'static,
    Failure: From<E>,
{
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    let work = tokio::task::spawn_blocking(move || work(&told));
    tokio::pin!(work);
    let done = tokio::select! {
        done = &mut work => done,
        () = session.cancel.cancelled() => {
            stop.store(true, Ordering::Relaxed);
            work.await
        }
    };
    match done {
        Ok(result) => result.map_err(Failure::from),
        Err(error) => Err(Failure::caused(
            Exit::Internal,
            "work on the snapshot",
            error,
        )),
    }
}

impl From<snapshot::Error> for Failure {
    fn from(error: snapshot::Error) -> Self {
        let (exit, hint) = match &error {
            error if error.is_cancelled() => (Exit::Cancelled, ""),
            error if error.is_damage() => (Exit::VerificationFailed, TAKE_ANOTHER),
            snapshot::Error::Open { source, .. }
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                (Exit::NotFound, "")
            }
            _ => (Exit::Internal, ""),
        };
        Self::caused(exit, "", error).hint(hint)
    }
}

impl From<restoring::Error> for Failure {
    fn from(error: restoring::Error) -> Self {
        use restoring::Error as E;
        let exit = match error {
            E::Snapshot(error) => return Self::from(error),
            E::Members { .. } | E::MountPoint { .. } | E::TooHigh { .. } => Exit::Usage,
            E::NoDigest { .. } | E::Exists { .. } | E::InUse { .. } => Exit::Refused,
            E::OverQuota { .. } => Exit::Refused,
            E::NoRoom { .. } => Exit::NoRoom,
            E::ReadsOtherwise { .. } => Exit::VerificationFailed,
            _ => Exit::Internal,
        };
        Self::caused(exit, "", error)
    }
}

impl From<saving::Error> for Failure {
    fn from(error: saving::Error) -> Self {
        use saving::{Error as E, MemberError as M};
        let (exit, hint) = match &error {
            E::Stopped => (Exit::Cancelled, ""),
            E::NoEndpoint | E::OtherCluster { .. } => (Exit::Usage, ""),
            E::NoMember { last, .. } => match &**last {
                M::Client(error) if error.is_usage() => (Exit::Usage, ""),
                M::Client(error) if error.is_denied() => (
                    Exit::Refused,
                    "check --user and its password; a snapshot needs the role root",
                ),
                M::Client(_) => (
                    Exit::Unavailable,
                    "check --endpoints, --cacert, --cert and --key, and that a member is running",
                ),
                _ => (Exit::VerificationFailed, ""),
            },
            _ => (Exit::Internal, ""),
        };
        Self::caused(exit, "", error).hint(hint)
    }
}

/// What is wrong in a location, with what looks at points and not at backups.
fn of_location(error: salvor_location::Error) -> Failure {
    let is_bad = matches!(error, salvor_location::Error::BadRecord { .. });
    match is_bad {
        true => Failure::from(error).hint(VERIFY_POINTS),
        false => Failure::from(error),
    }
}

impl From<points::Error> for Failure {
    fn from(error: points::Error) -> Self {
        use points::Error as E;
        let exit = match error {
            E::Save(error) => return Self::from(error),
            E::Location(error) => return of_location(error),
            E::OtherIdentity { .. } => {
                return Self::caused(Exit::Refused, "", error).hint(OTHER_IDENTITY);
            }
            E::Snapshot(error) => return Self::from(error),
            E::Template { .. } | E::SeveralClusters { .. } | E::OtherKind { .. } => Exit::Usage,
            E::NotFound { .. } => Exit::NotFound,
            E::Details { .. } | E::Objects { .. } => Exit::VerificationFailed,
            _ => Exit::Internal,
        };
        Self::caused(exit, "", error)
    }
}

impl From<recovering::Error> for Failure {
    fn from(error: recovering::Error) -> Self {
        use recovering::Error as E;
        match error {
            E::Point(error) => Self::from(error),
            E::Location(error) => of_location(error),
            E::Broken { reached, .. } => {
                let hint = format!(
                    "take what is whole with --to-revision {reached}, or a newer snapshot that `salvor etcd timeline` \
                     lists; a copy of the location may have what is missing"
                );
                Self::caused(Exit::VerificationFailed, "", error).hint(hint)
            }
            E::Unreachable { .. } => Self::caused(Exit::NotFound, "", error)
                .hint("`salvor etcd timeline` lists what can be reached"),
            _ => Self::caused(Exit::Internal, "", error),
        }
    }
}

impl From<compacting::Error> for Failure {
    fn from(error: compacting::Error) -> Self {
        use compacting::Error as E;
        let exit = match error {
            E::Recover(error) => return Self::from(error),
            E::Point(error) => return Self::from(error),
            E::Location(error) => return of_location(error),
            E::Restore(error) => return Self::from(error),
            E::Snapshot(error) => return Self::from(error),
            E::NothingCaptured { .. } => {
                return Self::caused(Exit::NotFound, "", error).hint(STREAM);
            }
            E::NoChain { .. } => Exit::NotFound,
            E::NothingBehind { .. } => Exit::Refused,
            E::Differs { .. } | E::Unsound(_) => Exit::VerificationFailed,
            _ => Exit::Internal,
        };
        Self::caused(exit, "", error)
    }
}

impl From<pruning::Error> for Failure {
    fn from(error: pruning::Error) -> Self {
        use pruning::Error as E;
        match error {
            E::Location(error) => Self::from(error),
            E::Point(error) => Self::from(error),
            E::Stopped {
                ref digest,
                ref plan,
                ..
            } => {
                let hint =
                    format!("look at the plan, and confirm it with --confirm {digest}:\n{plan}");
                Self::caused(Exit::Refused, "", error).hint(hint)
            }
            _ => Self::caused(Exit::Internal, "", error),
        }
    }
}

impl From<capture::Error> for Failure {
    fn from(error: capture::Error) -> Self {
        use capture::Error as E;
        let exit = match error {
            E::Location(error) => return Self::from(error),
            E::Point(error) => return Self::from(error),
            E::NoEndpoint | E::Metrics { .. } => Exit::Usage,
            E::Client(ref error) => exit_of(error),
            _ => Exit::Internal,
        };
        Self::caused(exit, "", error)
    }
}

fn exit_of(error: &client::Error) -> Exit {
    if error.is_usage() {
        Exit::Usage
    } else if error.is_denied() {
        Exit::Refused
    } else {
        Exit::Unavailable
    }
}
