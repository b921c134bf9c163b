//! How noted volumes are reached, and who begins with one.

use salvor_volume::{Claim, VolumePlace};

use super::decide::{Asked, Choice};
use super::look::RunningMount;
use super::{Mount, Name, Place, Volumes};

/// What a volume of a pod was begun for.
pub(super) enum Begun {
    /// Its files are copied from here.
    Copy(Asked, Box<VolumePlace>),
    /// A snapshot is taken; by what it is asked for, if that is more than the default.
    Snapshot(Option<String>),
}

impl Volumes {
    /// The volumes that a pod mounts.
    pub(super) fn places_of(&self, pod: &Name) -> Vec<Place> {
        let mounts = self.pods.get(pod).map(|note| note.mounts.as_slice());
        let mounts = mounts.unwrap_or_default().iter();
        mounts.map(|mount| mount.place(pod)).collect()
    }

    /// The volumes that running pods mount and whose files may be asked for, with the pod and its UID. Claims are not
    /// known yet.
    pub(super) fn wanted_of_running(&self) -> Vec<(Name, String, Place)> {
        let running = self.pods.iter().filter(|(_, pod)| pod.running);
        running
            .flat_map(|(name, pod)| {
                let mounts = pod.mounts.iter().filter(|mount| self.may_want(mount));
                mounts.map(|mount| (name.clone(), pod.uid.clone(), mount.place(name)))
            })
            .filter(|(_, _, place)| !self.begun.contains(place))
            .collect()
    }

    /// True when it has to be known what a place is: it is in the backup, or its files may be asked for.
    pub(super) fn is_worth_a_look(&self, place: &Place) -> bool {
        let Place::Claim(name) = place else {
            return false;
        };
        let mounts = self.mounts(place, None);
        self.claims.contains_key(name) || mounts.iter().any(|(_, _, mount)| self.may_want(mount))
    }

    /// False when neither a policy nor the backup nor the pod can ask for its files.
    fn may_want(&self, mount: &Mount) -> bool {
        let by_wish = match self.wishes.files_by_default {
            true => !mount.excluded,
            false => mount.named,
        };
        by_wish || self.judge.may_copy()
    }

    /// Begins with a volume on behalf of a running pod that mounts it; `None` when nothing is to be done now, or
    /// somebody else has begun.
    pub(super) fn begin_through(&mut self, place: &Place, pod: &Name) -> Option<Begun> {
        match self.choose(place, Some(pod)) {
            Choice::CopyThroughPod(asked) => {
                let at = Box::new(self.place_in(place, pod)?);
                self.begin(place).then_some(Begun::Copy(asked, at))
            }
            // Where another pod asks for its files, they are copied instead.
            Choice::Snapshot(_) => match self.choose(place, None) {
                Choice::Snapshot(asked) => self.begin(place).then_some(Begun::Snapshot(asked)),
                _ => None,
            },
            Choice::CopyThroughClaim(_) | Choice::Skip(_) => None,
        }
    }

    /// Where a volume is in a pod that mounts it.
    pub(super) fn place_in(&self, place: &Place, pod: &Name) -> Option<VolumePlace> {
        let note = self.pods.get(pod)?;
        let mount = note
            .mounts
            .iter()
            .find(|mount| mount.place(pod) == *place)?;
        Some(VolumePlace::Pod {
            namespace: pod.0.clone(),
            name: pod.1.clone(),
            uid: note.uid.clone(),
            node: note.node.clone(),
            volume: mount.volume.clone(),
            claim: self.mounted_claim(place),
        })
    }

    /// Where a claim is reached: in the running pod that mounts it, or by itself, near where its pod would run.
    pub(super) fn place_now(&self, name: &Name, mount: Option<&RunningMount>) -> VolumePlace {
        let place = Place::Claim(name.clone());
        let claim = self.mounted_claim(&place);
        match mount {
            Some(mount) => VolumePlace::Pod {
                namespace: mount.pod.0.clone(),
                name: mount.pod.1.clone(),
                uid: mount.uid.clone(),
                node: mount.node.clone(),
                volume: mount.volume.clone(),
                claim,
            },
            None => {
                let pods = self.mounts(&place, None);
                let stopped = pods.iter().map(|(_, pod, _)| *pod).find(|pod| !pod.running);
                VolumePlace::Claim {
                    claim: claim.unwrap_or_default(),
                    placement: stopped.map(|pod| pod.placement.clone()).unwrap_or_default(),
                }
            }
        }
    }

    /// The claim of a place, as movers want it.
    fn mounted_claim(&self, place: &Place) -> Option<Claim> {
        let Place::Claim(name) = place else {
            return None;
        };
        let note = self.claims.get(name)?;
        Some(Claim {
            namespace: name.0.clone(),
            name: name.1.clone(),
            uid: note.uid.clone(),
            volume: note.volume.clone(),
        })
    }
}
