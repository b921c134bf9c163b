//! After a kill: the post hooks of pods whose backup did not come to run them.

use futures::{StreamExt as _, stream};
use salvor_api::velero::Hooks;
use salvor_cluster::Cluster;
use tokio_util::sync::CancellationToken;

use super::of_backup::BackupHooks;
use super::{OpenPod, Pod, run};

/// Pods that are released at once.
const AT_ONCE: usize = 4;

/// What became of an open pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Released {
    /// The pod.
    pub pod: OpenPod,
    /// Commands that ran well.
    pub ran: usize,
    /// What failed, or why nothing was run; empty when all is well.
    pub problems: Vec<String>,
}

/// Runs the post hooks of pods that a killed backup left open. A pod that is gone needs none.
pub async fn release(cluster: &Cluster, hooks: &Hooks, open: &[OpenPod]) -> Vec<Released> {
    // What the spec says no longer can be read was read when the backup began.
    let hooks = BackupHooks::compile(hooks).unwrap_or_default();
    let all: Vec<_> = open
        .iter()
        .map(|pod| release_one(cluster, &hooks, pod))
        .collect();
    stream::iter(all).buffered(AT_ONCE).collect().await
}

async fn release_one(cluster: &Cluster, hooks: &BackupHooks, open: &OpenPod) -> Released {
    let mut released = Released {
        pod: open.clone(),
        ran: 0,
        problems: Vec::new(),
    };
    let found = cluster
        .get(&Pod::resource(), Some(&open.namespace), &open.name)
        .await;
    let pod = match found {
        Ok(found) => found.as_deref().and_then(Pod::read),
        Err(error) => {
            released.problems.push(error.to_string());
            return released;
        }
    };
    let Some(pod) = pod.filter(|pod| pod.metadata.uid == open.uid) else {
        let text = "the pod is gone: its post hooks were not run";
        released.problems.push(text.to_owned());
        return released;
    };
    for command in &hooks.of(&pod).post {
        match run::run(cluster, &pod, command, &CancellationToken::new()).await {
            Ok(_) => released.ran += 1,
            Err(failed) => released.problems.push(failed.text),
        }
    }
    released
}
