//! The snapshots that the storage keeps for a backup which is deleted without a server.

use std::time::Duration;

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_cluster::Cluster;
use salvor_location::copy::state::CopyState;
use salvor_location::{Location, RunId};
use salvor_objects::kept;
use salvor_volume::OnBehalfOf;
use salvor_volume::csi::{SnapshotRef, Snapshots};

use crate::exit::{Exit, Failure};
use crate::session::Session;

/// How long a cluster may take to answer: a lost one must not stand in the way for long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes the snapshots that only this backup names. Where that cannot be done from here they are named, and stay.
///
/// # Errors
/// It is not known which they are or who else needs them, or a driver cannot delete one: the backup must stay then, as
/// nothing else names them.
pub(super) async fn delete(
    location: &Location,
    name: &BackupName,
    run: &RunId,
    session: &Session,
) -> Result<(), Failure> {
    let refused = |reason: String| {
        let text = format!("backup `{name}` is not deleted: {reason}");
        Failure::new(Exit::Refused, text)
    };
    let told = |error: kept::UnknownSnapshots| {
        let source = std::error::Error::source(&error);
        let cause = source.map_or_else(String::new, |cause| format!(": {cause}"));
        refused(format!("{error}{cause}"))
    };
    let snapshots = kept::snapshots_of(location, name).await.map_err(told)?;
    if snapshots.is_empty() {
        return Ok(());
    }
    let reason = match reach(location, name, session).await {
        Ok((cluster, csi)) => {
            let others = kept::named_by_others(location, Some(name)).await;
            let others = others.map_err(told)?;
            let of = OnBehalfOf {
                name: name.to_string(),
                run: run.to_string(),
                ..OnBehalfOf::default()
            };
            let namespace = session.namespace();
            let errors = kept::delete(&csi, &snapshots, &others, &of, namespace).await;
            drop(cluster);
            return match errors.is_empty() {
                true => Ok(()),
                false => Err(refused(errors.join("; "))),
            };
        }
        Err(reason) => reason,
    };
    let all: Vec<String> = snapshots.iter().map(shown).collect();
    let text = session.messages.snapshots_stay(&all.join(", "), &reason);
    session.printer.warning(&text);
    Ok(())
}

/// The cluster whose storage has the snapshots; why it is not at hand.
async fn reach(
    location: &Location,
    name: &BackupName,
    session: &Session,
) -> Result<(Cluster, Snapshots), String> {
    let messages = &session.messages;
    let record = location.backup(name).await;
    let record = record.map_err(|error| error.to_string())?;
    let copies = location.copies_of(&record).await;
    let copies = copies.map_err(|error| error.to_string())?;
    if let Some(copy) = copies.iter().find(|copy| copy.state == CopyState::Done) {
        return Err(messages.snapshots_of_copy(&copy.target.name));
    }
    let asked = async {
        let cluster = session
            .cluster(None)
            .await
            .map_err(|_| messages.no_cluster())?;
        let identity = cluster.identity().await;
        let ours = identity.map_err(|error| error.to_string())?.uid;
        let theirs = record.backup.metadata.annotations.get(labels::CLUSTER_UID);
        if theirs.is_some_and(|theirs| *theirs != ours) {
            return Err(messages.snapshots_of_another_cluster());
        }
        let csi = Snapshots::find(&cluster).await;
        let csi = csi.map_err(|error| error.to_string())?;
        Ok((cluster, csi.ok_or_else(|| messages.no_snapshots_served())?))
    };
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    asked.unwrap_or_else(|_| Err(messages.no_cluster()))
}

fn shown(snapshot: &SnapshotRef) -> String {
    format!("{} ({})", snapshot.handle, snapshot.driver)
}
