//! Claims that share the value of a label: their snapshots are taken at one moment, where the cluster can do that.

use std::collections::BTreeMap;

use salvor_api::go::Time;
use salvor_archive::files::Consistency;
use salvor_volume::csi::{Snapshots, TakeGroup};
use serde_json::Value;

use super::super::error::BackupError;
use super::super::gather::Run;
use super::super::runlog::About;
use super::Place;
use super::snapshot::{Taken, is_not_begun};
use super::tell::Ended;
use crate::restore::error::chain;

/// A volume of which a snapshot is to be taken, and by what it is asked for, if that is more than the default.
pub(super) type Wanted = (Place, Option<String>);

/// One of a group, with its claim and persistent volume.
struct Member {
    wanted: Wanted,
    claim: Value,
    volume: Value,
}

impl Run {
    /// The label by whose value claims are in a group; `None` where groups are not snapshotted at one moment.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(in crate::backup) async fn label_of_groups(&self) -> Result<Option<String>, BackupError> {
        if !self.volumes(|volumes| volumes.may_snapshot()) {
            return Ok(None);
        }
        let serves = self
            .snapshots()
            .await?
            .is_ok_and(|snapshots| snapshots.serves_groups());
        Ok(serves.then(|| self.volumes(|volumes| volumes.wishes.group_label.clone())))
    }

    /// Takes snapshots of volumes, groups together, so many at once.
    ///
    /// # Errors
    /// The run was cancelled.
    pub(super) async fn snapshots_of(
        &self,
        wanted: Vec<Wanted>,
        at_once: usize,
        consistency: Consistency,
    ) -> Result<(), BackupError> {
        let sets = self.grouped(wanted);
        self.all(sets, at_once, |set| self.snapshot_set(set, consistency))
            .await
    }

    /// Sets of volumes whose snapshots are taken together; most have one.
    fn grouped(&self, wanted: Vec<Wanted>) -> Vec<Vec<Wanted>> {
        let mut groups: BTreeMap<(String, String), Vec<Wanted>> = BTreeMap::new();
        let mut sets = Vec::new();
        for one in wanted {
            let group = match &one.0 {
                Place::Claim(name) => self.volumes(|volumes| {
                    let group = volumes.claims.get(name).map(|note| note.group.clone());
                    group.filter(|group| !group.is_empty())
                }),
                _ => None,
            };
            match (group, &one.0) {
                (Some(group), Place::Claim((namespace, _))) => {
                    let key = (namespace.clone(), group);
                    groups.entry(key).or_default().push(one);
                }
                _ => sets.push(vec![one]),
            }
        }
        sets.extend(groups.into_values());
        sets
    }

    async fn snapshot_set(
        &self,
        set: Vec<Wanted>,
        consistency: Consistency,
    ) -> Result<(), BackupError> {
        let alone = match set.len() {
            0 | 1 => set,
            _ => match self.snapshots().await? {
                Ok(snapshots) if snapshots.serves_groups() => {
                    self.take_together(&snapshots, set, consistency).await?
                }
                Ok(_) => {
                    self.warn_of_group(&set, "the cluster serves no VolumeGroupSnapshots");
                    set
                }
                Err(_) => set,
            },
        };
        for (place, asked) in alone {
            self.snapshot(&place, asked.as_deref(), consistency).await?;
        }
        Ok(())
    }

    /// Takes snapshots of the claims of a group, those of each driver at one moment. What is left comes back: it has to be
    /// taken by itself.
    async fn take_together(
        &self,
        snapshots: &Snapshots,
        set: Vec<Wanted>,
        consistency: Consistency,
    ) -> Result<Vec<Wanted>, BackupError> {
        let mut alone = Vec::new();
        let mut drivers: BTreeMap<String, Vec<Member>> = BTreeMap::new();
        for wanted in set {
            let Place::Claim(name) = &wanted.0 else {
                alone.push(wanted);
                continue;
            };
            match self.claim_and_volume(name).await? {
                Ok((claim, volume)) if volume["spec"]["csi"]["driver"].is_string() => {
                    let driver = volume["spec"]["csi"]["driver"].as_str().unwrap_or_default();
                    let members = drivers.entry(driver.to_owned()).or_default();
                    members.push(Member {
                        wanted,
                        claim,
                        volume,
                    });
                }
                // What is wrong with it is told where it is taken by itself.
                _ => alone.push(wanted),
            }
        }
        for members in drivers.into_values() {
            match members.len() {
                1 => alone.extend(members.into_iter().map(|member| member.wanted)),
                _ => {
                    let left = self.take_members(snapshots, members, consistency).await?;
                    alone.extend(left);
                }
            }
        }
        Ok(alone)
    }

    async fn take_members(
        &self,
        snapshots: &Snapshots,
        members: Vec<Member>,
        consistency: Consistency,
    ) -> Result<Vec<Wanted>, BackupError> {
        let started = Time::new(jiff::Timestamp::now());
        let snapshotting = &self.snapshotting;
        let label = self.volumes(|volumes| volumes.wishes.group_label.clone());
        let both = |member: &Member| (member.claim.clone(), member.volume.clone());
        let ask = TakeGroup {
            of: self.of.clone(),
            annotations: snapshotting.annotations.clone(),
            label,
            claims: members.iter().map(both).collect(),
            timeout: snapshotting.take,
        };
        let count = i64::try_from(members.len()).unwrap_or(i64::MAX);
        match snapshots.take_group(&ask, &self.movers).await {
            Ok(taken) => {
                snapshotting.attempt(count);
                for (member, snapshot) in members.into_iter().zip(taken) {
                    let (place, asked) = member.wanted;
                    snapshotting.keep(Taken {
                        place,
                        asked,
                        claim: member.claim,
                        snapshot,
                        consistency,
                        started,
                    });
                }
                Ok(Vec::new())
            }
            Err(error) => {
                self.goes_on()?;
                let wanted: Vec<Wanted> = members.into_iter().map(|one| one.wanted).collect();
                let reason = chain(&error);
                if is_not_begun(&error) {
                    self.warn_of_group(&wanted, &reason);
                    return Ok(wanted);
                }
                snapshotting.attempt(count);
                for (place, asked) in wanted {
                    let asked = asked.unwrap_or_else(|| "snapshotVolumes".to_owned());
                    self.settle(&place, Ended::untaken(Some(asked), reason.clone()));
                }
                Ok(Vec::new())
            }
        }
    }

    fn warn_of_group(&self, set: &[Wanted], reason: &str) {
        let Some((Place::Claim((namespace, _)), _)) = set.first() else {
            return;
        };
        let names: Vec<String> = set.iter().map(|(place, _)| place.to_string()).collect();
        let text = format!(
            "snapshots of a group are taken one after the other, not at one moment: {reason}: {}",
            names.join(", ")
        );
        self.log().warn(About::Namespace(namespace), &text);
    }
}
