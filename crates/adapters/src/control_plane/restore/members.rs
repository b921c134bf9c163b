//! etcd started on the restored directories, and compared.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde_json::{Value, json};

use super::Restoration;
use crate::control_plane::poll::until;
use crate::control_plane::services::Component;

/// How long members may take to find a leader: the kubelet looks for manifests every 20 seconds, and a large database is
/// read at the start.
const LEADER: Duration = Duration::from_secs(300);
/// How long members may take to come to the same hash: the compaction of a raised store runs after the start.
const HASHES: Duration = Duration::from_secs(300);

/// Starts the members, one after the other.
pub(super) struct StartEtcd(Arc<Restoration>);

impl StartEtcd {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }

    /// All answer, with a leader, as members of the new cluster.
    async fn assert_new(&self, run: &str) -> Result<u64, StepError> {
        let status = self.0.serves().await?;
        let wanted = self.0.membership(run)?.id();
        if status.cluster == wanted {
            return Ok(status.revision);
        }
        Err(format!(
            "the members are of cluster {:016x}, and the restored one is {wanted:016x}: they do not run on the restored \
             directories",
            status.cluster
        )
        .into())
    }
}

#[async_trait]
impl Step for StartEtcd {
    fn name(&self) -> &str {
        "start-etcd"
    }

    fn title(&self) -> String {
        "start etcd on one member after the other, and wait for a leader".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        for member in &self.0.plane.members {
            self.0.services(member).start(Component::Etcd).await?;
        }
        let run = context.run().await;
        let revision = until(LEADER, || self.assert_new(&run)).await?;
        Ok(
            json!({ "cluster": format!("{:016x}", self.0.membership(&run)?.id()), "revision": revision }),
        )
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        self.assert_new(&context.run().await).await.map(|_| ())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        for member in &self.0.plane.members {
            self.0.services(member).stop(Component::Etcd).await?;
        }
        Ok(Compensation::Undone)
    }
}

/// Compares the hashes of all members.
pub(super) struct Equal(Arc<Restoration>);

impl Equal {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }

    async fn compared(&self) -> Result<(u64, u32), StepError> {
        let revision = self.0.serves().await?.revision;
        let mut first = None;
        for member in &self.0.plane.members {
            let hash = self.0.running.hash(member, revision).await?;
            let (name, first) = first.get_or_insert((&member.name, hash));
            if *first != hash {
                return Err(format!(
                    "{} and {name} differ at revision {revision}: hash {:08x} (compacted at {}) and {:08x} (compacted at {})",
                    member.name, hash.hash, hash.compacted, first.hash, first.compacted
                )
                .into());
            }
        }
        let hash = first.map(|(_, hash)| hash.hash).unwrap_or_default();
        Ok((revision, hash))
    }
}

#[async_trait]
impl Step for Equal {
    fn name(&self) -> &str {
        "compare-members"
    }

    fn title(&self) -> String {
        "compare the members' hashes of all keys".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        let (revision, hash) = until(HASHES, || self.compared()).await?;
        Ok(json!({ "revision": revision, "hash": format!("{hash:08x}") }))
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        self.compared().await.map(|_| ())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}
