//! Pods with hooks: each is captured, with its claims, their volumes and the files of these, between its pre and its
//! post hooks. Pods whose claims are in one group stand still together ([`super::block`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::velero::HookStatus;
use salvor_archive::files::Consistency;
use salvor_cluster::ApiResource;
use tokio_util::sync::CancellationToken;

use super::collect::Origin;
use super::error::BackupError;
use super::gather::Run;
use super::references::Claim;
use super::runlog::About;
use crate::hooks::of_backup::{Command, PodHooks};
use crate::hooks::{OpenPod, Pod, run};

/// Pods, or blocks of pods, that are between their hooks at once. Each may hold an application still, so they are few.
const AT_ONCE: usize = 4;
const HOOK_FAILED: &str = "a pre hook failed";

/// How many commands were run, and how many of them failed.
#[derive(Debug, Default)]
pub(super) struct HookCounts {
    attempted: AtomicU64,
    failed: AtomicU64,
}

/// A pod whose pre hooks have run, and whose post hooks have not.
struct Opened {
    key: ObjectKey,
    pod: Pod,
    body: Bytes,
    hooks: PodHooks,
    open: OpenPod,
    pre: Pre,
}

/// What the pre hooks of a pod came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pre {
    /// One of them may have run, so what it did has to be undone.
    ran: bool,
    /// The pod is not to be captured.
    failed: bool,
    /// How many ended well.
    good: usize,
    /// One did not, whether or not that matters to the pod.
    any_failed: bool,
}

impl Pre {
    /// What volumes that are copied now can be relied on for.
    fn consistency(self) -> Consistency {
        match self.good > 0 && !self.any_failed {
            true => Consistency::Application,
            false => Consistency::Files,
        }
    }
}

impl HookCounts {
    pub(super) fn status(&self) -> HookStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed).cast_signed();
        HookStatus {
            hooks_attempted: count(&self.attempted),
            hooks_failed: count(&self.failed),
        }
    }
}

impl Run {
    /// Captures the pods with hooks that the lists have shown. One that has begun is brought to its end, post
    /// hooks included, whatever happens to the others.
    ///
    /// # Errors
    /// What ends the run.
    pub(super) async fn take_hooked(&self) -> Result<(), BackupError> {
        let pods = Arc::new(Pod::resource());
        let first = Mutex::new(None);
        let note = |error| {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
        };
        stream::iter(self.blocks(self.collector.hooked()).await?)
            .for_each_concurrent(AT_ONCE, |block| {
                let (pods, note) = (&pods, &note);
                async move {
                    if let Err(error) = self.take_block(pods, &block).await {
                        note(error);
                    }
                }
            })
            .await;
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), Err)
    }

    /// Captures one pod between its hooks.
    ///
    /// # Errors
    /// What ends the run; the post hooks have run by then.
    pub(super) async fn take_pod(
        &self,
        resource: &Arc<ApiResource>,
        key: &ObjectKey,
    ) -> Result<(), BackupError> {
        self.take_block(resource, std::slice::from_ref(key)).await
    }

    /// Captures pods that stand still together: the pre hooks of all of them, then the pods, then the post hooks, as
    /// Velero does with what it takes as one.
    async fn take_block(
        &self,
        resource: &Arc<ApiResource>,
        keys: &[ObjectKey],
    ) -> Result<(), BackupError> {
        let mut pods = Vec::with_capacity(keys.len());
        let mut begun = Ok(());
        for key in keys {
            match self.open_pod(resource, key).await {
                Ok(pod) => pods.extend(pod),
                Err(error) => {
                    begun = Err(error);
                    break;
                }
            }
        }
        let captured = match begun {
            Ok(()) => self.take_opened(resource, &pods).await,
            Err(error) => Err(error),
        };
        for pod in &pods {
            self.close_pod(pod).await;
        }
        captured
    }

    /// Runs the pre hooks of a pod; `None` when there is nothing to run in it, and it is dealt with.
    async fn open_pod(
        &self,
        resource: &Arc<ApiResource>,
        key: &ObjectKey,
    ) -> Result<Option<Opened>, BackupError> {
        self.check_cancelled()?;
        let get = self
            .cluster
            .get(resource, key.namespace.as_deref(), &key.name);
        let body = match self.unless_cancelled(get).await? {
            Ok(Some(body)) => body,
            Ok(None) => {
                self.log().info(
                    About::Object(key),
                    "skipped: it is gone since it was listed",
                );
                return Ok(None);
            }
            Err(error) => {
                self.log().error(About::Object(key), &error.to_string());
                return Ok(None);
            }
        };
        let takes = self.collector.would_take(key, resource, &body);
        let pod = Pod::read(&body).filter(|pod| takes && !pod.has_ended());
        let Some(pod) = pod else {
            // Nothing runs in it, or it is left out: taking it says why.
            self.take_body(body, resource, Origin::Fetched).await?;
            return Ok(None);
        };
        let hooks = self.collector.hooks.of(&pod);
        for problem in &hooks.problems {
            self.log().warn(About::Object(key), problem);
        }
        let open = OpenPod {
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
        };
        if let Err(error) = self.ledger.open(&open).await {
            let text = format!(
                "it was not backed up: its hooks were not begun, as it could not be recorded that they \
                 begin: {error}"
            );
            self.log().error(About::Object(key), &text);
            return Ok(None);
        }
        let pre = self.run_pre(&pod, key, &hooks.pre).await;
        Ok(Some(Opened {
            key: key.clone(),
            pod,
            body,
            hooks,
            open,
            pre,
        }))
    }

    /// Captures pods that stand still, their claims and the volumes of all of them.
    async fn take_opened(
        &self,
        resource: &Arc<ApiResource>,
        pods: &[Opened],
    ) -> Result<(), BackupError> {
        let mut standing = Vec::new();
        for Opened {
            key,
            pod,
            body,
            pre,
            ..
        } in pods
        {
            if pre.failed {
                self.collector.skip(key, HOOK_FAILED);
                self.leave_volumes_of(key, body).await?;
            } else {
                self.capture(resource, key, pod).await?;
                standing.push(key);
            }
        }
        // A group is as good as the worst of its pods.
        let whole = |pod: &Opened| pod.pre.consistency() == Consistency::Application;
        let consistency = match pods.iter().all(whole) {
            true => Consistency::Application,
            false => Consistency::Files,
        };
        self.take_volumes_of(&standing, consistency).await
    }

    /// Runs the post hooks of a pod.
    async fn close_pod(&self, pod: &Opened) {
        if pod.pre.ran || !pod.pre.failed {
            self.run_post(&pod.pod, &pod.key, &pod.hooks.post).await;
        }
        if let Err(error) = self.ledger.close(&pod.open).await {
            let text = format!("the record that its hooks have ended was not kept: {error}");
            self.log().warn(About::Object(&pod.key), &text);
        }
    }

    async fn run_pre(&self, pod: &Pod, key: &ObjectKey, commands: &[Command]) -> Pre {
        let mut pre = Pre::default();
        for command in commands {
            match self
                .run_hook("pre", pod, key, command, &self.options.cancel)
                .await
            {
                Ok(()) => {
                    pre.ran = true;
                    pre.good += 1;
                }
                Err(failed) => {
                    pre.any_failed = true;
                    pre.ran |= failed.may_have_run;
                    pre.failed = command.fails || self.options.cancel.is_cancelled();
                    if pre.failed {
                        return pre;
                    }
                }
            }
        }
        pre
    }

    /// Runs all of them, also when one fails and when the run is cancelled: what was held still is let go.
    async fn run_post(&self, pod: &Pod, key: &ObjectKey, commands: &[Command]) {
        for command in commands {
            // What failed is in the log, and nothing depends on it.
            let _ = self
                .run_hook("post", pod, key, command, &CancellationToken::new())
                .await;
        }
    }

    async fn run_hook(
        &self,
        when: &str,
        pod: &Pod,
        key: &ObjectKey,
        command: &Command,
        cancel: &CancellationToken,
    ) -> Result<(), run::Failed> {
        self.hook_counts.attempted.fetch_add(1, Ordering::Relaxed);
        let hook = &command.hook;
        match run::run(&self.cluster, pod, command, cancel).await {
            Ok(what) => {
                let text = format!("{when} hook `{hook}`: {what}: done");
                self.log().info(About::Object(key), &text);
                Ok(())
            }
            Err(failed) => {
                self.hook_counts.failed.fetch_add(1, Ordering::Relaxed);
                // An error in either mode, as in Velero: Continue decides only about the pod.
                let text = format!("{when} hook `{hook}` failed: {}", failed.text);
                self.log().error(About::Object(key), &text);
                Err(failed)
            }
        }
    }

    /// Takes the pod as it is now, its claims and their volumes.
    async fn capture(
        &self,
        resource: &Arc<ApiResource>,
        key: &ObjectKey,
        pod: &Pod,
    ) -> Result<(), BackupError> {
        self.fetch(resource, key, true).await?;
        for claim in pod.claims() {
            let Some(claims) = self.collector.may_take(&claim) else {
                continue;
            };
            let get = self
                .cluster
                .get(&claims, claim.namespace.as_deref(), &claim.name);
            // What is wrong with it, its list will say.
            let Ok(Some(body)) = self.unless_cancelled(get).await? else {
                continue;
            };
            let volume = Claim::read(&body).and_then(|claim| {
                let volumes = GroupResource::new("persistentvolumes", "");
                Some(ObjectKey::cluster(volumes, claim.volume()?))
            });
            self.take_body(body, &claims, Origin::Fetched).await?;
            if let Some(volume) = volume
                && let Some(volumes) = self.collector.may_take(&volume)
            {
                self.fetch(&volumes, &volume, false).await?;
            }
        }
        Ok(())
    }
}
