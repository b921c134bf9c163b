//! Carries out what was decided about volumes.
//!
//! Three times: for a pod between its hooks, at once; for the other running pods, beside the gathering; at the end for
//! whatever is left, when all pods and claims are known. A volume is dealt with once, by whoever begins with it first.
//!
//! Nothing half done is left by a kill: a snapshot that no committed backup names is collected with the repository, and
//! who moves the data has objects of its own in the cluster that end by themselves. The next run does it all again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{StreamExt as _, stream};
use salvor_api::resource::ObjectKey;
use salvor_archive::files::Consistency;
use salvor_volume::{BackUpVolume, DataMover, MoveError, VolumePlace};

use super::super::error::BackupError;
use super::super::gather::Run;
use super::super::references::Pod;
use super::decide::{Asked, Choice, Weight};
use super::reach::Begun;
use super::tell::Ended;
use super::{Name, Place, Volumes};
use crate::restore::error::chain;

/// Copies that are asked for at once. The mover bounds how many a node carries out; this bounds what waits there.
pub(super) const COPIES: usize = 32;
/// Claims that are looked at at once.
const LOOKS: usize = 8;

/// A copy that is to be made.
struct Copy {
    place: Place,
    at: Box<VolumePlace>,
    asked: Asked,
}

impl Run {
    pub(super) fn mover(&self) -> Option<&Arc<dyn DataMover>> {
        self.options.data_mover.as_ref()
    }

    pub(super) fn volumes<T>(&self, act: impl FnOnce(&mut Volumes) -> T) -> T {
        self.collector.volumes(act)
    }

    /// Takes the volumes of pods that were captured between their hooks, all of them at once, as they stand still for
    /// them.
    ///
    /// # Errors
    /// What ends the run, when all copies of the pods have ended.
    pub(in crate::backup) async fn take_volumes_of(
        &self,
        pods: &[&ObjectKey],
        consistency: Consistency,
    ) -> Result<(), BackupError> {
        let (mut copies, mut snapshots) = (Vec::new(), Vec::new());
        for pod in pods {
            let pod = &(pod.namespace.clone().unwrap_or_default(), pod.name.clone());
            for place in self.volumes(|volumes| volumes.places_of(pod)) {
                if self.study(&place).await?.is_err() {
                    // Said at the end, when it is looked at once more.
                    continue;
                }
                match self.volumes(|volumes| volumes.begin_through(&place, pod)) {
                    Some(Begun::Copy(asked, at)) => copies.push(Copy { place, at, asked }),
                    Some(Begun::Snapshot(asked)) => snapshots.push((place, asked)),
                    None => {}
                }
            }
        }
        // Both to their end.
        let (copied, taken) = tokio::join!(
            self.all(copies, usize::MAX, |copy| self.copy(copy, consistency)),
            self.snapshots_of(snapshots, usize::MAX, consistency),
        );
        copied.and(taken)
    }

    /// Settles the volumes of a pod that is not captured because a pre hook failed: they are not copied either, as
    /// nobody knows in which state they are.
    pub(in crate::backup) async fn leave_volumes_of(
        &self,
        pod: &ObjectKey,
        body: &[u8],
    ) -> Result<(), BackupError> {
        if let Some(pod) = Pod::read(body) {
            self.volumes(|volumes| volumes.pod(&pod, body));
        }
        let pod = (pod.namespace.clone().unwrap_or_default(), pod.name.clone());
        for place in self.volumes(|volumes| volumes.places_of(&pod)) {
            if self.study(&place).await?.is_err() {
                continue;
            }
            let begun = self.volumes(|volumes| match volumes.choose(&place, Some(&pod)) {
                Choice::CopyThroughPod(_) => volumes.begin_through(&place, &pod),
                _ => None,
            });
            if let Some(Begun::Copy(asked, _)) = begun {
                let ended = Ended::Skipped {
                    weight: Weight::Error,
                    asked: Some(asked.by),
                    reason: format!("a pre hook of pod {}/{} failed", pod.0, pod.1),
                };
                self.settle(&place, ended);
            }
        }
        Ok(())
    }

    /// Copies the files of volumes that running pods of the backup mount.
    ///
    /// # Errors
    /// What ends the run.
    pub(in crate::backup) async fn copy_running(&self) -> Result<(), BackupError> {
        if self.mover().is_none() {
            return Ok(());
        }
        let wanted = self.volumes(|volumes| volumes.wanted_of_running());
        self.all(wanted, COPIES, |(pod, uid, place)| async move {
            // What cannot be looked at, or does not run any more, is left for the end.
            if self.study(&place).await?.is_err() || self.runs_on(&pod, &uid).await?.is_none() {
                return Ok(());
            }
            let begun = self.volumes(|volumes| match volumes.choose(&place, Some(&pod)) {
                Choice::CopyThroughPod(_) => volumes.begin_through(&place, &pod),
                _ => None,
            });
            if let Some(Begun::Copy(asked, at)) = begun {
                let copy = Copy { place, at, asked };
                self.copy(copy, Consistency::Files).await?;
            }
            Ok(())
        })
        .await
    }

    /// Deals with all volumes that nobody has dealt with: claims that no pod of the backup reaches, and those that are
    /// left out for a reason.
    ///
    /// # Errors
    /// What ends the run.
    pub(in crate::backup) async fn take_left(&self) -> Result<(), BackupError> {
        loop {
            let left = self.volumes(|volumes| volumes.left());
            if left.is_empty() {
                self.settle_native().await?;
                self.settle_snapshots().await?;
                self.write_held_claims().await?;
                self.tell_summed();
                return Ok(());
            }
            self.take_places(left).await?;
        }
    }

    async fn take_places(&self, left: Vec<Place>) -> Result<(), BackupError> {
        let failed = Mutex::new(BTreeMap::new());
        let note = &failed;
        self.all(left.clone(), LOOKS, |place| async move {
            if let Err(reason) = self.study(&place).await? {
                let mut failed = note.lock().unwrap_or_else(PoisonError::into_inner);
                failed.insert(place, reason);
            }
            Ok(())
        })
        .await?;
        let mut failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut copies: BTreeMap<String, Vec<(Name, Asked)>> = BTreeMap::new();
        let (mut of_pods, mut snapshots) = (Vec::new(), Vec::new());
        for place in left {
            let (begun, choice) =
                self.volumes(|volumes| (volumes.begin(&place), volumes.choose(&place, None)));
            if !begun {
                continue;
            }
            if let Some(reason) = failed.remove(&place) {
                self.settle(&place, unseen(choice, reason));
                continue;
            }
            match (choice, &place) {
                (
                    Choice::CopyThroughPod(asked) | Choice::CopyThroughClaim(asked),
                    Place::Claim(name),
                ) => {
                    let claims = copies.entry(name.0.clone()).or_default();
                    claims.push((name.clone(), asked));
                }
                (Choice::CopyThroughPod(asked), Place::OfPod(pod, _)) => {
                    of_pods.push((pod.clone(), place, asked));
                }
                (Choice::Snapshot(asked), _) => snapshots.push((place, asked)),
                (Choice::Skip(skip), _) => self.settle(&place, skip.into()),
                // Whatever has no claim is reached through its pod or not at all.
                (Choice::CopyThroughPod(_) | Choice::CopyThroughClaim(_), _) => {}
            }
        }
        self.snapshots_of(snapshots, LOOKS, Consistency::Crash)
            .await?;
        self.copy_of_pods(of_pods).await?;
        self.copy_claims(copies).await
    }

    async fn copy_of_pods(&self, wanted: Vec<(Name, Place, Asked)>) -> Result<(), BackupError> {
        self.all(wanted, COPIES, |(pod, place, asked)| async move {
            let at = self.volumes(|volumes| volumes.place_in(&place, &pod));
            if let Some(at) = at.map(Box::new)
                && let VolumePlace::Pod { uid, .. } = &*at
                && self.runs_on(&pod, uid).await?.is_some()
            {
                let copy = Copy { place, at, asked };
                return self.copy(copy, Consistency::Files).await;
            }
            let ended = Ended::Skipped {
                weight: Weight::Warning,
                asked: Some(asked.by),
                reason: "its pod does not run any more".to_owned(),
            };
            self.settle(&place, ended);
            Ok(())
        })
        .await
    }

    /// Copies claims through whatever running pod mounts them, in the backup or not, and otherwise through themselves.
    async fn copy_claims(
        &self,
        wanted: BTreeMap<String, Vec<(Name, Asked)>>,
    ) -> Result<(), BackupError> {
        let mut jobs = Vec::new();
        for (namespace, claims) in wanted {
            let mounts = self.running_mounts(&namespace).await?;
            for (name, asked) in claims {
                let place = Place::Claim(name.clone());
                match &mounts {
                    Ok(mounts) => {
                        let mount = mounts.get(&name);
                        let at = self.volumes(|volumes| volumes.place_now(&name, mount));
                        let at = Box::new(at);
                        jobs.push(Copy { place, at, asked });
                    }
                    Err(reason) => {
                        let ended = Ended::Skipped {
                            weight: Weight::Error,
                            asked: Some(asked.by),
                            reason: reason.clone(),
                        };
                        self.settle(&place, ended);
                    }
                }
            }
        }
        self.all(jobs, COPIES, |copy| async move {
            self.copy(copy, Consistency::Files).await
        })
        .await
    }

    pub(super) async fn snapshot(
        &self,
        place: &Place,
        asked: Option<&str>,
        consistency: Consistency,
    ) -> Result<(), BackupError> {
        if self.take_native(place, asked, consistency).await? {
            return Ok(());
        }
        if let Some(ended) = self.take_snapshot(place, asked, consistency).await? {
            self.settle(place, ended);
        }
        Ok(())
    }

    async fn copy(&self, copy: Copy, consistency: Consistency) -> Result<(), BackupError> {
        let Copy { place, at, asked } = copy;
        let Some(mover) = self.mover() else {
            return Ok(());
        };
        self.check_cancelled()?;
        self.progress.tick(&self.collector, &place.to_string());
        let job = BackUpVolume {
            of: self.of.clone(),
            place: *at,
            data_of: None,
            timeout: self.volume_timeout,
        };
        let moved = mover.back_up(&job, &self.movers).await;
        self.progress.tick(&self.collector, &place.to_string());
        let at = job.place;
        let error = match moved {
            Ok(stored) => {
                let ended = Ended::Stored {
                    stored: Box::new(stored),
                    at: Box::new(at),
                    consistency,
                    moved: None,
                };
                self.settle(&place, ended);
                return Ok(());
            }
            Err(error) => error,
        };
        if self.movers.is_cancelled() {
            self.check_cancelled()?;
            return Err(self.cancelled());
        }
        if self.has_lost_its_pod(&place, &at).await? {
            self.volumes(|volumes| volumes.give_back(&place));
            return Ok(());
        }
        let ended = Ended::Skipped {
            weight: match error {
                MoveError::Unfit { .. } => asked.weight_of_unfit(),
                _ => Weight::Error,
            },
            asked: Some(asked.by),
            reason: match error {
                MoveError::Cancelled => "the copy was cancelled, not by this backup".to_owned(),
                error => chain(&error),
            },
        };
        self.settle(&place, ended);
        Ok(())
    }

    /// True when a claim was not copied because its pod went away in the middle: it is looked at again at the end,
    /// through the pod that took over or by itself. Only once, as it is dealt with then for good.
    async fn has_lost_its_pod(&self, place: &Place, at: &VolumePlace) -> Result<bool, BackupError> {
        let (
            Place::Claim(_),
            VolumePlace::Pod {
                namespace,
                name,
                uid,
                ..
            },
        ) = (place, at)
        else {
            return Ok(false);
        };
        let first = self.volumes(|volumes| volumes.tried_again.insert(place.clone()));
        let pod = (namespace.clone(), name.clone());
        Ok(first && self.runs_on(&pod, uid).await?.is_none())
    }

    /// Does something with each of these, all of them to their end, and tells the first error.
    pub(super) async fn all<T, F>(
        &self,
        each: Vec<T>,
        at_once: usize,
        act: impl Fn(T) -> F,
    ) -> Result<(), BackupError>
    where
        F: Future<Output = Result<(), BackupError>>,
    {
        let first = Mutex::new(None);
        let note = |error| {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(error);
        };
        stream::iter(each)
            .for_each_concurrent(at_once, |one| {
                let (doing, note) = (act(one), &note);
                async move {
                    if let Err(error) = doing.await {
                        note(error);
                    }
                }
            })
            .await;
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), Err)
    }
}

/// What becomes of a volume whose claim cannot be looked at.
fn unseen(choice: Choice, reason: String) -> Ended {
    let (weight, asked) = match choice {
        Choice::CopyThroughPod(asked) | Choice::CopyThroughClaim(asked) => {
            (Weight::Error, Some(asked.by))
        }
        Choice::Snapshot(asked) => (Weight::Warning, asked),
        Choice::Skip(skip) => (Weight::Warning, skip.asked),
    };
    Ended::Skipped {
        weight,
        asked,
        reason,
    }
}
