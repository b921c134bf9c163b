//! Pods as they come up: one watch for all pods of a restore.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use salvor_cluster::{Cluster, Error, ListOptions, WatchEvent, WatchOptions};
use tokio::sync::watch;

use super::Pod;

/// Pause before a watch that broke is begun anew.
const AGAIN: Duration = Duration::from_secs(1);

/// The pods seen so far, by namespace and name.
pub(crate) type Pods = HashMap<(String, String), Arc<Pod>>;

/// What is known of the pods that are followed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) pods: Pods,
    /// False until all pods were listed once.
    pub(crate) complete: bool,
    /// Why pods cannot be seen now.
    pub(crate) trouble: Option<String>,
}

/// Follows the pods with these labels. Never ends; drop it when nobody looks any more.
pub(crate) async fn follow(cluster: &Cluster, selector: &str, seen: &watch::Sender<Seen>) {
    loop {
        if let Err(error) = follow_once(cluster, selector, seen).await {
            tracing::debug!(%error, "the pods of the restore are looked at anew");
            seen.send_modify(|seen| seen.trouble = Some(error.to_string()));
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn follow_once(
    cluster: &Cluster,
    selector: &str,
    seen: &watch::Sender<Seen>,
) -> Result<(), Error> {
    let pods = Pod::resource();
    let options = ListOptions {
        label_selector: Some(selector.to_owned()),
        ..ListOptions::default()
    };
    let mut pager = cluster.pager(&pods, None, options);
    let mut listed = Pods::new();
    while let Some(page) = pager.next_page().await? {
        listed.extend(page.items().filter_map(Pod::read).map(keyed));
    }
    let resource_version = pager.resource_version().unwrap_or_default().to_owned();
    seen.send_modify(|seen| {
        seen.pods = listed;
        seen.complete = true;
        seen.trouble = None;
    });
    let options = WatchOptions {
        label_selector: Some(selector.to_owned()),
        resource_version,
        ..WatchOptions::default()
    };
    let mut events = cluster.watch(&pods, None, &options).await?;
    while let Some(event) = events.next().await? {
        match event {
            WatchEvent::Added(body) | WatchEvent::Modified(body) => {
                if let Some((key, pod)) = Pod::read(&body).map(keyed) {
                    seen.send_modify(|seen| drop(seen.pods.insert(key, pod)));
                }
            }
            WatchEvent::Deleted(body) => {
                if let Some((key, _)) = Pod::read(&body).map(keyed) {
                    seen.send_modify(|seen| drop(seen.pods.remove(&key)));
                }
            }
            WatchEvent::Bookmark(_) => {}
        }
    }
    Ok(())
}

fn keyed(pod: Pod) -> ((String, String), Arc<Pod>) {
    let key = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
    (key, Arc::new(pod))
}
