//! What runs that were killed left in the cluster of their snapshots: removed once it is known what became of the run.
//!
//! The location of a run knows: its claims name the run, its record says whether the backup exists. Where no location
//! knows, nothing is done.

use salvor_api::name::{BackupName, RestoreName};
use salvor_cluster::{Cluster, Discovery};
use salvor_location::{Location, RunState};
use salvor_volume::csi::{CsiError, Leftover, LeftoverKind, Settled, Snapshots, Whereabouts};

use crate::restore::error::chain;

/// Settles what these locations know of. `is_alive` names runs that go on whatever their location says.
///
/// # Errors
/// The cluster does not say what there is.
pub async fn settle(
    snapshots: &Snapshots,
    locations: &[Location],
    is_alive: impl Fn(&Leftover) -> bool,
) -> Result<Settled, CsiError> {
    let is_alive = &is_alive;
    let judge = |leftover: &Leftover| {
        let leftover = leftover.clone();
        async move {
            match is_alive(&leftover) {
                true => Whereabouts {
                    alive: true,
                    committed: None,
                },
                false => whereabouts(&leftover, locations).await,
            }
        }
    };
    snapshots.settle_all(judge).await
}

/// The same for a run without a server, in its own location. What goes wrong is no matter of that run.
pub(crate) async fn settle_beside(cluster: &Cluster, discovery: &Discovery, location: &Location) {
    let Some(snapshots) = Snapshots::of(cluster, discovery) else {
        return;
    };
    let locations = std::slice::from_ref(location);
    match settle(&snapshots, locations, |_| false).await {
        Ok(Settled { removed: 0, .. }) => {}
        Ok(Settled { removed, left }) => {
            tracing::info!(removed, left, "objects of ended runs are removed");
        }
        Err(error) => {
            let error = chain(&error);
            tracing::debug!(error, "what ended runs left is not known");
        }
    }
}

async fn whereabouts(leftover: &Leftover, locations: &[Location]) -> Whereabouts {
    let mut ended = false;
    for location in locations {
        let state = match state_in(location, leftover).await {
            Ok(state) => state,
            Err(error) => {
                let (name, error) = (location.name(), chain(&error));
                tracing::debug!(error, location = name, "what became of a run is not known");
                None
            }
        };
        match state {
            Some(RunState::Committed) => {
                return Whereabouts {
                    alive: false,
                    committed: Some(true),
                };
            }
            Some(RunState::Alive) => {
                return Whereabouts {
                    alive: true,
                    committed: None,
                };
            }
            Some(RunState::Ended) => ended = true,
            None => {}
        }
    }
    Whereabouts {
        // Nobody knows it: it may go on elsewhere.
        alive: !ended,
        committed: ended.then_some(false),
    }
}

async fn state_in(
    location: &Location,
    leftover: &Leftover,
) -> Result<Option<RunState>, salvor_location::Error> {
    let (of, run) = (leftover.of.as_str(), leftover.run.as_str());
    match leftover.kind {
        LeftoverKind::Restore => match RestoreName::new(of) {
            Ok(name) => location.restore_run(&name, run).await,
            Err(_) => Ok(None),
        },
        _ => match BackupName::new(of) {
            Ok(name) => location.backup_run(&name, run).await,
            Err(_) => Ok(None),
        },
    }
}
