//! Which pods are between their pre and post hooks: kept where the next leader finds it, because a frozen file
//! system stays frozen when the program that froze it is killed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Keep = dyn Fn(Vec<OpenPod>) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync;

/// A pod whose pre hooks may have run and whose post hooks have not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpenPod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID: another pod of the name is not meant.
    pub uid: String,
}

impl fmt::Display for OpenPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Keeps the pods that are open, all of them each time. A pod's hooks begin when its record was kept.
#[derive(Clone)]
pub struct OpenHooks(Arc<Keep>);

impl OpenHooks {
    /// Calls `keep` with the open pods whenever they change, one call at a time.
    pub fn new<F>(keep: impl Fn(Vec<OpenPod>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        Self(Arc::new(move |open| Box::pin(keep(open))))
    }

    /// Keeps nothing: whoever is killed leaves no trace of its hooks.
    #[must_use]
    pub fn forget() -> Self {
        Self::new(|_| std::future::ready(Ok(())))
    }
}

impl fmt::Debug for OpenHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenHooks")
    }
}

/// The open pods of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    keep: OpenHooks,
    open: Mutex<BTreeSet<OpenPod>>,
}

impl Ledger {
    pub(crate) fn new(keep: OpenHooks) -> Self {
        Self {
            keep,
            open: Mutex::default(),
        }
    }

    /// Records a pod before its first hook.
    ///
    /// # Errors
    /// The record could not be kept; nothing may be run then.
    pub(crate) async fn open(&self, pod: &OpenPod) -> Result<(), BoxError> {
        // Held over the call: a later set must not be overtaken by an earlier one.
        let mut open = self.open.lock().await;
        open.insert(pod.clone());
        let kept = (self.keep.0)(open.iter().cloned().collect()).await;
        if kept.is_err() {
            open.remove(pod);
        }
        kept
    }

    /// Takes a pod off the record after its last hook.
    ///
    /// # Errors
    /// The record could not be kept; its post hooks would be run once more after a kill.
    pub(crate) async fn close(&self, pod: &OpenPod) -> Result<(), BoxError> {
        let mut open = self.open.lock().await;
        open.remove(pod);
        (self.keep.0)(open.iter().cloned().collect()).await
    }
}
