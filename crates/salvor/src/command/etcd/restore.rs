//! `etcd snapshot restore`.

use std::path::PathBuf;

use salvor_etcd::membership::{Cluster, PeerUrls};
use salvor_etcd::restore::{DEFAULT_RAISE, Options, Restored, Revisions, restore_snapshot};
use salvor_etcd::snapshot::{self, Snapshot};
use serde_json::json;

use super::source::{Source, open};
use super::stoppable;
use crate::args::etcd::{ReportFormat, RestoreArgs, TargetArgs};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Makes a data directory.
pub(super) async fn run(args: &RestoreArgs, session: &Session) -> Result<Exit, Failure> {
    let options = options(&args.target, args.skip_hash_check)?;
    let snapshot = match open(&args.source, session).await? {
        Source::Open(snapshot) => snapshot,
        Source::Closed(_) => return Err(Failure::usage(session.messages.etcd_identity_needed())),
    };
    fits(&snapshot, &args.target, session)?;
    let restored = stoppable(session, move |stop| {
        restore_snapshot(&snapshot, &options, stop)
    });
    told(&restored.await?, args.output, session)
}

/// Says what was made.
pub(super) fn told(
    restored: &Restored,
    output: ReportFormat,
    session: &Session,
) -> Result<Exit, Failure> {
    for finding in &restored.findings {
        session.printer.warning(finding);
    }
    let leftovers = restored.leftovers.iter();
    for left in leftovers.map(|left| left.display().to_string()) {
        session.printer.note(&session.messages.etcd_leftover(&left));
    }
    match output {
        ReportFormat::Json => session.printer.json(&value(restored))?,
        ReportFormat::Table => session.printer.result(&text(restored, session))?,
    }
    Ok(Exit::Done)
}

/// Refuses data that is newer than the members that are named; says which ones it takes where none are.
pub(super) fn fits(
    snapshot: &Snapshot,
    args: &TargetArgs,
    session: &Session,
) -> Result<(), Failure> {
    let Some((major, minor)) = snapshot::release(snapshot)? else {
        return Ok(());
    };
    let needed = format!("{major}.{minor}");
    match args.etcd_version {
        Some(own) if own < (major, minor) => {
            let (own_major, own_minor) = own;
            let text = format!(
                "the data is that of etcd {needed}, and a member of {own_major}.{own_minor} would not start with it, or \
                 damage it; nothing was changed"
            );
            Err(Failure::new(Exit::Refused, text)
                .hint("start members of that release, or restore an older snapshot"))
        }
        Some(_) => Ok(()),
        None => {
            let said = session.messages.etcd_release_needed(&needed);
            session.printer.note(&said);
            Ok(())
        }
    }
}

/// What the flags ask for.
pub(super) fn options(args: &TargetArgs, skip_digest: bool) -> Result<Options, Failure> {
    let wrong = |error| Failure::caused(Exit::Usage, "the members of the new cluster", error);
    let default = || format!("{}=http://localhost:2380", args.name);
    let members = args.initial_cluster.clone().unwrap_or_else(default);
    let peer_urls: PeerUrls = args.initial_advertise_peer_urls.parse().map_err(wrong)?;
    let default = || PathBuf::from(format!("{}.etcd", args.name));
    Ok(Options {
        cluster: Cluster::new(&members, &args.initial_cluster_token).map_err(wrong)?,
        name: args.name.clone(),
        peer_urls,
        data_dir: args.data_dir.clone().unwrap_or_else(default),
        wal_dir: args.wal_dir.clone(),
        skip_digest,
        revisions: match (args.exact, args.bump_revision) {
            (true, _) => Revisions::Exact,
            (false, Some(by)) => Revisions::Raise(by),
            (false, None) => Revisions::RaiseForKubernetes(DEFAULT_RAISE),
        },
        replace: args.replace,
        owner: args.owner,
    })
}

fn value(restored: &Restored) -> serde_json::Value {
    json!({
        "dataDir": restored.data_dir,
        "memberId": format!("{:x}", restored.member),
        "clusterId": format!("{:x}", restored.cluster),
        "revision": restored.revision,
        "raisedTo": restored.raised_to,
        "versions": restored.versions,
        "totalSize": restored.size,
        "hash": restored.hash,
        "alarmsLeftOut": restored.alarms,
        "findings": restored.findings,
        "kept": restored.kept,
        "leftovers": restored.leftovers,
    })
}

fn text(restored: &Restored, session: &Session) -> String {
    let messages = session.messages;
    let folder = restored.data_dir.display().to_string();
    let (member, cluster) = (
        format!("{:x}", restored.member),
        format!("{:x}", restored.cluster),
    );
    let mut lines = vec![messages.etcd_restored(&folder, &member, &cluster, restored.revision)];
    lines.extend(restored.raised_to.map(|to| messages.etcd_raised(to)));
    if restored.alarms > 0 {
        lines.push(messages.etcd_alarms_left_out(restored.alarms));
    }
    for kept in &restored.kept {
        lines.push(messages.etcd_kept(&kept.display().to_string()));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}
