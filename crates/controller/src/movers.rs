//! Who moves the data of volumes for backups and restores: the node agents.

use std::sync::Arc;

use salvor_volume::{AgentMover, DataMover, MadeBy};

use crate::context::{Context, chain};

impl Context {
    /// Who moves data; `None` when no node agent is installed. Where that cannot be found out, it is tried, and every
    /// volume says what stands in the way.
    pub(crate) async fn data_mover(&self) -> Option<Arc<dyn DataMover>> {
        let agents = AgentMover::new(&self.cluster, &self.options.namespace, MadeBy::Server);
        match agents.is_installed().await {
            Ok(false) => None,
            Ok(true) => Some(Arc::new(agents)),
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(error, "whether node agents are installed is not known");
                Some(Arc::new(agents))
            }
        }
    }
}
