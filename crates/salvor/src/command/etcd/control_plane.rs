//! `control-plane restore`.

use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use salvor_adapters::control_plane::Plane;
use salvor_adapters::control_plane::restore::{Live, Origin, Restoration};
use salvor_cluster::ConnectOptions;
use salvor_etcd::chain::Target;
use salvor_etcd::points::{self, Details};
use salvor_etcd::restore::{self, DEFAULT_RAISE, Revisions, merge};
use salvor_etcd::snapshot::Snapshot;
use salvor_location::Location;
use salvor_runbook::{Journal, Runbook};
use serde::{Deserialize, Serialize};

use super::control_plane_detect as detect;
use super::control_plane_files as files;
use super::recover::{Versions, find};
use super::save::access;
use super::source::{identities, work_folder};
use super::stoppable;
use crate::args::control_plane::{ControlPlaneCommand, RestoreArgs};
use crate::args::etcd_member::RecoverQuorumArgs;
use crate::command::{runs, runs_list};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// What a run was asked to do: all that is needed to go on with it, and no secret.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    plane: Plane,
    from: From,
    into_other_cluster: bool,
    exact: bool,
    skip_digest: bool,
    /// Where a majority is lost, and made of the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quorum: Option<Quorum>,
}

/// What is asked for beside that where a majority is lost.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Quorum {
    left_out: Vec<String>,
    force: bool,
}

/// What is restored.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum From {
    /// A file.
    File { path: PathBuf },
    /// A point of the location.
    Point {
        id: String,
        cluster: u64,
        taken: Timestamp,
        etcd_version: String,
    },
    /// A captured state of the location.
    Captured {
        cluster: u64,
        revision: u64,
        at: Option<Timestamp>,
        etcd_version: String,
    },
}

impl From {
    fn name(&self) -> String {
        match self {
            Self::File { path } => path.display().to_string(),
            Self::Point { id, .. } => format!("point {id}"),
            Self::Captured { revision, .. } => format!("captured revision {revision}"),
        }
    }
}

/// Runs a command of `control-plane`.
pub(crate) async fn run(command: ControlPlaneCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        ControlPlaneCommand::Detect(args) => detect::run(&args, session).await,
        ControlPlaneCommand::Runs(args) => runs_list::run(&args, session).await,
        ControlPlaneCommand::Restore(args) => restore(*args, None, session).await,
        ControlPlaneCommand::Backup(args) => files::backup(&args, session).await,
        ControlPlaneCommand::RestoreFiles(args) => files::restore(&args, session).await,
    }
}

/// `etcd recover-quorum --from`: the same without what only concerns a cluster that is taken back as a whole.
pub(super) async fn recover_quorum(
    args: &RecoverQuorumArgs,
    session: &Session,
) -> Result<Exit, Failure> {
    let quorum = Quorum {
        left_out: args.leave_out.clone(),
        force: args.setting.force,
    };
    let restore = RestoreArgs {
        from: args.from.clone(),
        to_revision: None,
        to_time: None,
        latest: false,
        machines: args.setting.machines.clone(),
        credentials: args.setting.credentials.clone(),
        place: args.place.clone(),
        into_other_cluster: args.into_other_cluster,
        exact: args.exact,
        skip_hash_check: args.skip_hash_check,
        quota_backend_bytes: 2 << 30,
        work: args.setting.work.clone(),
    };
    self::restore(restore, Some(quorum), session).await
}

async fn restore(
    mut args: RestoreArgs,
    quorum: Option<Quorum>,
    session: &Session,
) -> Result<Exit, Failure> {
    let journal = runs::journal(&args.work).await?;
    let begun = journal.history().begun.as_ref();
    let (request, opened) = match begun.map(|begun| begun.parameters.clone()) {
        Some(parameters) => {
            let read = serde_json::from_value(parameters);
            let request: Request = read.map_err(|error| {
                let doing = "read what the run was asked to do";
                Failure::caused(Exit::Usage, doing, error)
            })?;
            if args.machines.plane.is_some() || !args.machines.hosts.is_empty() {
                return Err(Failure::usage(session.messages.run_has_its_plane()));
            }
            detect::credentials(&request.plane, &mut args.credentials).await;
            let opened = match args.work.undo {
                true => None,
                false => Some(open(&request.from, &mut args, session).await?),
            };
            (request, opened)
        }
        None => asked(&mut args, quorum, session).await?,
    };
    let parameters = serde_json::to_value(&request)
        .map_err(|error| Failure::caused(Exit::Internal, "note what is asked for", error))?;
    let location = location(&request, session)?;
    let quorum = request.quorum.clone();
    let restoration = restoration(request, opened, &args, location.clone(), session)?;
    let runbook = match &quorum {
        Some(quorum) => restoration.clone().quorum_runbook(parameters, quorum.force),
        None => restoration.clone().runbook(parameters),
    };
    if args.work.dry_run {
        return look(&restoration, &runbook, journal, session).await;
    }
    let journal = runs::with_copy(journal, location.as_ref())?;
    runs::work(&runbook, journal, &args.work, session).await
}

/// Prints what is found, and the steps.
async fn look(
    restoration: &Restoration,
    runbook: &Runbook,
    journal: Journal,
    session: &Session,
) -> Result<Exit, Failure> {
    let facts = restoration.look().await;
    let facts = facts.map_err(|error| Failure::new(Exit::Unavailable, error.to_string()))?;
    session.printer.result(&facts.question(restoration))?;
    for finding in &facts.against {
        session.printer.error(&finding.0);
    }
    let exit = runs::preview(runbook, journal, session).await?;
    session.printer.note(&session.messages.dry_run());
    Ok(match facts.against.is_empty() {
        true => exit,
        false => Exit::Refused,
    })
}

/// The location, where the snapshot is from there or one was named: the safety point and a copy of the journal go there.
fn location(request: &Request, session: &Session) -> Result<Option<Location>, Failure> {
    let named = session.global.location.is_some();
    match (&request.from, named) {
        (From::File { .. }, false) => Ok(None),
        _ => session.location(None).map(Some),
    }
}

/// What the flags ask for, and the snapshot.
async fn asked(
    args: &mut RestoreArgs,
    quorum: Option<Quorum>,
    session: &Session,
) -> Result<(Request, Option<Snapshot>), Failure> {
    let plane = detect::plane(&args.machines, &mut args.credentials, session).await?;
    let (from, opened) = match &args.from {
        Some(from) => match from.strip_prefix("point:") {
            Some(id) => point(id, args, session).await?,
            None => {
                let reading = |error| Failure::caused(Exit::Usage, format!("read {from}"), error);
                let path = std::path::absolute(from).map_err(reading)?;
                let from = From::File { path };
                let opened = open(&from, args, session).await?;
                (from, opened)
            }
        },
        None => {
            let target = match (args.to_revision, args.to_time) {
                (Some(revision), _) => Target::Revision(revision),
                (None, Some(time)) => Target::Time(time),
                (None, None) => Target::Latest,
            };
            captured(target, args, session).await?
        }
    };
    let skip_digest = args.skip_hash_check || matches!(from, From::Captured { .. });
    let request = Request {
        plane,
        from,
        into_other_cluster: args.into_other_cluster,
        exact: args.exact,
        skip_digest,
        quorum,
    };
    Ok((request, Some(opened)))
}

/// Opens what a run restores.
async fn open(from: &From, args: &mut RestoreArgs, session: &Session) -> Result<Snapshot, Failure> {
    match from {
        From::File { path } => {
            let path = path.clone();
            stoppable(session, move |_| Snapshot::open(&path)).await
        }
        From::Point { id, cluster, .. } => {
            args.place.cluster = Some(*cluster);
            Ok(point(id, args, session).await?.1)
        }
        From::Captured {
            cluster, revision, ..
        } => {
            args.place.cluster = Some(*cluster);
            let target = Target::Revision(*revision);
            Ok(captured(target, args, session).await?.1)
        }
    }
}

async fn point(
    id: &str,
    args: &RestoreArgs,
    session: &Session,
) -> Result<(From, Snapshot), Failure> {
    let identities = identities(&args.place)?;
    if identities.is_empty() {
        return Err(Failure::usage(session.messages.etcd_identity_needed()));
    }
    let location = session.location(None)?;
    let found = points::find(&location, id, args.place.cluster).await?;
    let folder = work_folder(args.place.work_dir.as_deref());
    let snapshot = points::fetch(&location, &found, &identities, &folder).await?;
    let details = Details::of_point(&found)?;
    let from = From::Point {
        id: found.id.to_string(),
        cluster: u64::from_str_radix(&details.cluster, 16).unwrap_or_default(),
        taken: found.created,
        etcd_version: details.etcd_version,
    };
    Ok((from, snapshot))
}

/// A captured state, merged into one snapshot whose file has no name.
async fn captured(
    target: Target,
    args: &RestoreArgs,
    session: &Session,
) -> Result<(From, Snapshot), Failure> {
    let found = find(target, Versions::Needed, &args.place, session).await?;
    let details = Details::of_point(&found.point)?;
    let from = From::Captured {
        cluster: u64::from_str_radix(&details.cluster, 16).unwrap_or_default(),
        revision: found.revision,
        at: found.at,
        etcd_version: details.etcd_version,
    };
    let (snapshot, mut history) = found.into_history(args.exact, args.quota_backend_bytes);
    let folder = work_folder(args.place.work_dir.as_deref());
    let opened = stoppable(session, move |stop| {
        let merged = merge(&snapshot, &mut history, &folder, stop)?;
        Ok::<_, restore::Error>(Snapshot::of_file(merged.file, &folder)?)
    })
    .await?;
    Ok((from, opened))
}

fn restoration(
    request: Request,
    snapshot: Option<Snapshot>,
    args: &RestoreArgs,
    location: Option<Location>,
    session: &Session,
) -> Result<Restoration, Failure> {
    let (cluster, taken, etcd_version) = match &request.from {
        From::File { .. } => (None, None, None),
        From::Point {
            cluster,
            taken,
            etcd_version,
            ..
        } => (Some(*cluster), Some(*taken), Some(etcd_version.clone())),
        From::Captured {
            cluster,
            at,
            etcd_version,
            ..
        } => (Some(*cluster), *at, Some(etcd_version.clone())),
    };
    let work = work_folder(args.place.work_dir.as_deref());
    let api = ConnectOptions {
        kubeconfig: session.global.kubeconfig.clone(),
        context: session.global.context.clone(),
        ..ConnectOptions::default()
    };
    let running = Live {
        access: access(&args.credentials)?,
        // A majority of etcd is made without Kubernetes, too.
        api: request.quorum.is_none().then_some(api),
        location,
        folder: runs::folder(args.work.journal.as_deref()),
        work: work.clone(),
    };
    let mut plane = request.plane;
    let left_out = request.quorum.map(|quorum| quorum.left_out);
    let left_out = left_out.unwrap_or_default();
    leave_out(&mut plane, &left_out)?;
    Ok(Restoration {
        origin: Origin {
            snapshot: snapshot.map(Arc::new),
            name: request.from.name(),
            cluster,
            taken,
            etcd_version,
            skip_digest: request.skip_digest,
        },
        plane,
        left_out,
        revisions: match request.exact {
            true => Revisions::Exact,
            false => Revisions::RaiseForKubernetes(DEFAULT_RAISE),
        },
        into_other_cluster: request.into_other_cluster,
        work,
        running: Arc::new(running),
    })
}

/// Takes members out of a description: they must be there, and some must be left.
fn leave_out(plane: &mut Plane, names: &[String]) -> Result<(), Failure> {
    for name in names {
        if plane.members.iter().all(|member| member.name != *name) {
            let text = format!("the control plane has no member {name:?} that could be left out");
            return Err(Failure::new(Exit::NotFound, text));
        }
    }
    plane.members.retain(|member| !names.contains(&member.name));
    match plane.members.is_empty() {
        true => Err(Failure::usage(
            "all members are left out: nobody is left to recover",
        )),
        false => Ok(()),
    }
}
