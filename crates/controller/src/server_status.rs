//! ServerStatusRequests: which server this is, and what is built into it.

use std::time::Duration;

use salvor_api::velero::{PluginInfo, ServerStatusRequest, ServerStatusRequestPhase};

use crate::context::Context;
use crate::control::{Next, Reconcile};
use crate::informer::Informer;
use crate::kinds::KindError;
use crate::locations::PROVIDERS;

pub(crate) struct StatusRequests {
    pub(crate) context: Context,
    pub(crate) requests: Informer<ServerStatusRequest>,
}

impl Reconcile for StatusRequests {
    const NAME: &'static str = "server-status-request";
    type Error = KindError;

    async fn reconcile(&self, name: &str) -> Result<Next, KindError> {
        let Some(request) = self.requests.get(name) else {
            return Ok(Next::Wait);
        };
        let kinds = self.context.kinds::<ServerStatusRequest>();
        let now = self.context.now();
        match request.status.phase {
            ServerStatusRequestPhase::Processed => {
                let since = request.status.processed_timestamp;
                let age = since.map_or(u64::MAX, |at| now.seconds_since(at).max(0).unsigned_abs());
                let lasts = self.context.options.status_lasts;
                let left = lasts.saturating_sub(Duration::from_secs(age));
                if !left.is_zero() {
                    return Ok(Next::After(left));
                }
                kinds.delete(&request).await?;
            }
            ServerStatusRequestPhase::Unset | ServerStatusRequestPhase::New => {
                let mut after = (*request).clone();
                after.status.phase = ServerStatusRequestPhase::Processed;
                after.status.processed_timestamp = Some(now);
                after.status.server_version = format!("salvor v{}", env!("CARGO_PKG_VERSION"));
                after.status.plugins = PROVIDERS.iter().map(|name| object_store(name)).collect();
                let mode = self.context.options.authorize_requests;
                after.status.plugins.push(PluginInfo {
                    name: format!("salvor.dev/authorize-requests-{mode}"),
                    kind: "Setting".to_owned(),
                });
                kinds.update(&request, &after).await?;
            }
            // Of a release that knows more.
            ServerStatusRequestPhase::Other(_) => {}
        }
        Ok(Next::Wait)
    }

    fn is_ordinary(error: &KindError) -> bool {
        error.is_stale()
    }
}

fn object_store(name: &str) -> PluginInfo {
    PluginInfo {
        name: name.to_owned(),
        kind: "ObjectStore".to_owned(),
    }
}
