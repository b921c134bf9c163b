//! The node agents of a cluster, for a command that makes a backup or restore by itself.

use std::sync::Arc;

use salvor_api::velero::BackupStorageLocation;
use salvor_cluster::Cluster;
use salvor_controller::{Kinds, location_url};
use salvor_location::Location;
use salvor_volume::{AgentMover, DataMover, MadeBy};
use tracing::debug;

use crate::session::Session;

/// Who moves data of volumes.
pub(crate) struct Movers {
    /// The node agents.
    pub(crate) mover: Arc<dyn DataMover>,
    /// The name under which they know the location.
    pub(crate) location: String,
}

/// The node agents in the namespace of the session; `None` when there are none, or they cannot reach the location, which
/// is told then. They know the locations of the cluster only, as they open them with the cluster's credentials.
pub(crate) async fn find(
    cluster: &Cluster,
    location: &Location,
    session: &Session,
) -> Option<Movers> {
    let (agents, location) = agents(cluster, location, session).await?;
    Some(Movers {
        mover: Arc::new(agents),
        location,
    })
}

/// The same as they are, with the name under which they know the location.
pub(crate) async fn agents(
    cluster: &Cluster,
    location: &Location,
    session: &Session,
) -> Option<(AgentMover, String)> {
    let namespace = session.namespace();
    let agents = AgentMover::new(cluster, namespace, MadeBy::Command);
    match agents.is_installed().await {
        Ok(true) => {}
        Ok(false) => return None,
        Err(error) => {
            debug!(%error, "whether node agents are installed is not known");
            return None;
        }
    }
    let kinds = Kinds::<BackupStorageLocation>::new(cluster, namespace);
    let known = kinds.list(None).await.unwrap_or_else(|error| {
        debug!(%error, "the locations of the cluster are not known");
        Vec::new()
    });
    let same = known.into_iter().find(|object| {
        location_url(object).is_ok_and(|url| {
            let own = location.url();
            url.to_string() == own.to_string() && url.endpoint() == own.endpoint()
        })
    });
    let Some(same) = same else {
        let text = session
            .messages
            .agents_lack_location(&location.url().to_string(), namespace);
        session.printer.warning(&text);
        return None;
    };
    Some((agents, same.metadata.name))
}
