//! A mirror: everything that is committed in one location, brought to another. What it would do is a value, made by
//! looking at both and changing neither.
//!
//! Backups go as [`Location::copy_backup`] takes them, each committed by itself, so a mirror that is interrupted has
//! done what it has done; the next one finds the rest. What is deleted at the source stays at the target, unless its
//! removal was asked for, planned and looked at once more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use salvor_api::name::{BackupName, RestoreName};
use salvor_api::retention::Guard;
use tokio::time::Instant;

use crate::copy::place::Place;
use crate::copy::{CopyOptions, copy_holds, identity, points, repositories, restores};
use crate::error::{Error, Result, with_causes};
use crate::layout;
use crate::location::{BackupRecord, Location};
use crate::run::RunId;

/// Backups that are copied at once. Each streams one object at a time, so this bounds the memory as well.
const AT_ONCE: usize = 4;
/// Folders that are looked at at once while a plan is made.
const LOOKS: usize = 16;
/// Pause before what somebody else is writing is tried again.
const WAIT: Duration = Duration::from_secs(10);
/// How soon a stop is noticed meanwhile.
const LOOK: Duration = Duration::from_millis(200);
/// Top-level folders that a mirror knows; `metadata` has nothing but Velero's revision marks.
const KNOWN: [&str; 4] = [layout::BACKUPS, layout::RESTORES, "plugins", "metadata"];

/// What happens to one backup or restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is copied: this many bytes, as far as the listing tells.
    Copy(u64),
    /// It is there, and lacks holds or releases of the original.
    Holds,
    /// It is there.
    Present,
    /// It is left out, for this reason.
    Leave(String),
    /// It was copied from here, is gone here, and goes there as well.
    Remove,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy(bytes) => write!(f, "copy {bytes} bytes"),
            Self::Holds => f.write_str("holds"),
            Self::Present => f.write_str("present"),
            Self::Leave(why) => write!(f, "leave: {why}"),
            Self::Remove => f.write_str("remove"),
        }
    }
}

/// What a mirror would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirrorPlan {
    /// The backups, by name.
    pub backups: BTreeMap<String, Action>,
    /// The records of restores, by name.
    pub restores: BTreeMap<String, Action>,
    /// Repositories, by folder.
    pub repositories: BTreeMap<String, Action>,
    /// Recovery points and captured changes, by source.
    pub points: BTreeMap<String, Action>,
    /// Folders of the source that are no part of a mirror, such as those of kopia's repositories.
    pub left: Vec<String>,
    /// Whether so much would be removed that nothing is.
    pub stopped: bool,
}

impl MirrorPlan {
    /// Bytes to be sent.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.all()
            .map(|(_, action)| action)
            .map(|action| match action {
                Action::Copy(bytes) => *bytes,
                _ => 0,
            })
            .sum()
    }

    /// Names of the backups that would be removed.
    pub fn removals(&self) -> impl Iterator<Item = &str> {
        let removed = self
            .backups
            .iter()
            .filter(|(_, action)| **action == Action::Remove);
        removed.map(|(name, _)| name.as_str())
    }

    /// Backups, restores and repositories that something is done about.
    #[must_use]
    pub fn steps(&self) -> u64 {
        let acted = |(_, action): &(&String, &Action)| {
            matches!(action, Action::Copy(_) | Action::Holds | Action::Remove)
        };
        self.all().filter(acted).count() as u64
    }

    fn all(&self) -> impl Iterator<Item = (&String, &Action)> {
        self.backups
            .iter()
            .chain(&self.restores)
            .chain(&self.repositories)
            .chain(&self.points)
    }

    /// Backups, restores and repositories that are left out, with the reason.
    pub fn left_out(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all().filter_map(|(name, action)| match action {
            Action::Leave(why) => Some((name.as_str(), why.as_str())),
            _ => None,
        })
    }
}

impl fmt::Display for MirrorPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("backup", &self.backups),
            ("restore", &self.restores),
            ("repository", &self.repositories),
            ("points", &self.points),
        ];
        for (kind, all) in kinds {
            for (name, action) in all {
                writeln!(f, "{kind} {name}: {action}")?;
            }
        }
        for folder in &self.left {
            writeln!(f, "folder {folder}/: not part of a mirror")?;
        }
        Ok(())
    }
}

/// What a mirror came to.
#[derive(Debug, Default)]
pub struct Mirrored {
    /// Names of what was copied or brought up to date.
    pub done: Vec<String>,
    /// Names of backups that were removed.
    pub removed: Vec<String>,
    /// What failed, by name; everything else was done all the same.
    pub failed: Vec<(String, Error)>,
}

/// Looks at both locations, and changes neither.
///
/// # Errors
/// [`Error::SamePlace`], or one of the locations cannot be listed.
pub async fn plan(source: &Location, target: &Location, prune: bool) -> Result<MirrorPlan> {
    if source.url() == target.url() && source.store.describe() == target.store.describe() {
        return Err(Error::SamePlace {
            location: target.name().to_owned(),
            url: target.url().to_string(),
        });
    }
    let ours = source.backups().await?;
    let theirs = target.backups().await?;
    let holds = (hold_keys(source).await?, hold_keys(target).await?);
    let mut backups: BTreeMap<String, Action> = stream::iter(&ours.entries)
        .map(|record| async {
            let there = theirs
                .entries
                .iter()
                .find(|other| other.name == record.name);
            let mut action = action_for(source, record, there, &holds).await?;
            if let (Some(there), Action::Present | Action::Holds) = (there, &action)
                && target.known_damage(there).await?.is_some()
            {
                // What is wrong with it is not known yet; the whole is the most that it can be.
                action = Action::Copy(size_of(source, record).await?);
            }
            Ok::<_, Error>((record.name.to_string(), action))
        })
        .buffer_unordered(LOOKS)
        .try_collect()
        .await?;
    for damaged in ours.damaged {
        let why = format!("its record cannot be read: {}", damaged.reason);
        backups.insert(damaged.name, Action::Leave(why));
    }
    for damaged in theirs.damaged {
        let why = format!(
            "the record at the target cannot be read: {}",
            damaged.reason
        );
        backups.insert(damaged.name, Action::Leave(why));
    }
    let mut stopped = false;
    if prune {
        stopped = plan_removals(source, target, &theirs.entries, &mut backups).await?;
    }
    let top = source.store.list_folder("").await;
    let top = top.map_err(Error::store(format!("list location `{}`", source.name())))?;
    let repositories = repositories::plan(source, target).await?;
    let mut left = Vec::new();
    for folder in top.folders {
        let known = KNOWN.contains(&folder.as_str());
        if !known && !repositories::covers(source, &folder, &repositories).await? {
            left.push(folder);
        }
    }
    Ok(MirrorPlan {
        backups,
        restores: plan_restores(source, target).await?,
        repositories,
        points: points::plan(source, target).await?,
        left,
        stopped,
    })
}

async fn size_of(source: &Location, record: &BackupRecord) -> Result<u64> {
    let folder = layout::backup_folder(&record.name);
    let listed = source.store.list_folder(&folder).await;
    let listed = listed.map_err(Error::store(format!("list `{folder}/`")))?;
    Ok(listed.objects.iter().map(|info| info.size).sum())
}

async fn hold_keys(location: &Location) -> Result<BTreeSet<String>> {
    let keys = location.keys_below(layout::HOLDS).await?;
    Ok(keys.into_iter().map(|key| key.to_string()).collect())
}

async fn action_for(
    source: &Location,
    record: &BackupRecord,
    there: Option<&BackupRecord>,
    (ours, theirs): &(BTreeSet<String>, BTreeSet<String>),
) -> Result<Action> {
    let backup = &record.backup;
    let Some(there) = there else {
        if !backup.status.phase.is_final() {
            let phase = &backup.status.phase;
            return Ok(Action::Leave(format!("its phase is {phase}")));
        }
        return size_of(source, record).await.map(Action::Copy);
    };
    let (us, them) = (identity(backup), identity(&there.backup));
    if us != them {
        return Ok(Action::Leave(format!(
            "the target has another backup of this name: {them}, here it is {us}"
        )));
    }
    let held = format!("{}/", layout::hold_folder(&record.name));
    let lacks = ours
        .iter()
        .any(|key| key.starts_with(&held) && !theirs.contains(key));
    Ok(if lacks {
        Action::Holds
    } else {
        Action::Present
    })
}

/// Plans what goes from the target: what was copied from this source, and is not there any more. True when that is so
/// much that nothing may go.
async fn plan_removals(
    source: &Location,
    target: &Location,
    there: &[BackupRecord],
    backups: &mut BTreeMap<String, Action>,
) -> Result<bool> {
    let us = Place::of(source).await;
    // A folder counts although its record cannot be read, or is not there yet.
    let folders: BTreeSet<String> = source.backup_folders().await?.into_iter().collect();
    let mut copied = 0;
    let mut removed = Vec::new();
    for record in there {
        let from = target.copied_from(&record.name).await?;
        let is_ours = |from: &crate::copy::state::CopiedFrom| {
            from.identity == identity(&record.backup)
                && (!us.id.is_empty() && from.from.id == us.id && from.from.url == us.url)
        };
        if !from.as_ref().is_some_and(is_ours) {
            continue;
        }
        copied += 1;
        let name = record.name.to_string();
        if folders.contains(&name) || backups.contains_key(&name) {
            continue;
        }
        let held = target.holds_of(&record.name).await?;
        if held.active.is_empty() {
            removed.push(name);
        } else {
            let reasons: Vec<&str> = held.reasons().collect();
            backups.insert(name, Action::Leave(format!("held: {}", reasons.join("; "))));
        }
    }
    let stopped = Guard::default().trips(removed.len(), copied);
    for name in removed {
        let action = if stopped {
            Action::Leave("gone at the source; too much would go at once".to_owned())
        } else {
            Action::Remove
        };
        backups.insert(name, action);
    }
    Ok(stopped)
}

async fn plan_restores(source: &Location, target: &Location) -> Result<BTreeMap<String, Action>> {
    let folders = |location: &Location| {
        let (store, doing) = (
            location.store.clone(),
            format!("list restores in location `{}`", location.name()),
        );
        async move {
            let listed = store.list_folder(layout::RESTORES).await;
            listed
                .map(|listed| listed.folders)
                .map_err(Error::store(doing))
        }
    };
    let there: BTreeSet<String> = folders(target).await?.into_iter().collect();
    stream::iter(folders(source).await?)
        .map(|folder| {
            let is_there = there.contains(&folder);
            async move {
                let Ok(name) = RestoreName::new(folder.clone()) else {
                    return Ok((folder, Action::Leave("its name is none".to_owned())));
                };
                let ours = restores::files_of(source, &name).await?;
                let action = if !restores::is_finished(&ours) {
                    Action::Leave("it is not finished".to_owned())
                } else if is_there && restores::files_of(target, &name).await? == ours {
                    Action::Present
                } else {
                    Action::Copy(ours.iter().map(|(_, size)| size).sum())
                };
                Ok((folder, action))
            }
        })
        .buffer_unordered(LOOKS)
        .try_collect()
        .await
}

/// Carries a plan out. What fails is told at the end; a target that refuses writes for good, and a stop, end it early.
///
/// # Errors
/// [`Error::Stopped`], or the target refuses to be written.
pub async fn apply(
    source: &Location,
    target: &Location,
    plan: &MirrorPlan,
    options: &CopyOptions,
) -> Result<Mirrored> {
    target.prepare().await?;
    let work = |all: &BTreeMap<String, Action>| -> Vec<(String, Action)> {
        let chosen = all.iter().filter(|(_, action)| {
            matches!(action, Action::Copy(_) | Action::Holds | Action::Remove)
        });
        chosen
            .map(|(name, action)| (name.clone(), action.clone()))
            .collect()
    };
    let mut result = Mirrored::default();
    let steps = work(&plan.backups)
        .into_iter()
        .map(|(name, action)| async move {
            let did = backup(source, target, &name, &action, options).await;
            (name, action, did)
        });
    run(steps, options, &mut result).await?;
    wait_for_others(source, target, plan, options, &mut result).await?;
    let steps = work(&plan.restores)
        .into_iter()
        .map(|(name, action)| async move {
            let did = restore(source, target, &name, options).await;
            (name, action, did)
        });
    run(steps, options, &mut result).await?;
    let steps = work(&plan.repositories)
        .into_iter()
        .map(|(folder, action)| async move {
            let did = repositories::copy(source, target, &folder, &options.transfer).await;
            (folder, action, did)
        });
    run(steps, options, &mut result).await?;
    let steps = work(&plan.points)
        .into_iter()
        .map(|(name, action)| async move {
            let did = points::copy(source, target, &name, &options.transfer).await;
            (name, action, did)
        });
    run(steps, options, &mut result).await?;
    result.done.sort();
    result.failed.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(result)
}

/// Backups that somebody else is writing at the target are tried again, until that must be over: a mirror that was
/// killed a minute ago seems alive for the time of a lease, and whoever repeats it wants it done.
async fn wait_for_others(
    source: &Location,
    target: &Location,
    plan: &MirrorPlan,
    options: &CopyOptions,
    result: &mut Mirrored,
) -> Result<()> {
    let patience = target.claims.lease + target.claims.heartbeat;
    let began = Instant::now();
    loop {
        let failed = std::mem::take(&mut result.failed);
        let is_busy = |(_, error): &(String, Error)| matches!(error, Error::Busy { .. });
        let (busy, failed): (Vec<_>, Vec<_>) = failed.into_iter().partition(is_busy);
        result.failed = failed;
        if busy.is_empty() || began.elapsed() >= patience {
            result.failed.extend(busy);
            return Ok(());
        }
        tracing::info!(backups = busy.len(), "waiting for whoever writes them");
        options.transfer.wait_for(busy.len());
        let until = Instant::now() + WAIT;
        while Instant::now() < until {
            options.transfer.go_on(|| "mirror".to_owned())?;
            tokio::time::sleep(LOOK).await;
        }
        options.transfer.wait_for(0);
        let again = busy.into_iter().filter_map(|(name, _)| {
            let action = plan.backups.get(&name)?.clone();
            Some((name, action))
        });
        let steps = again.map(|(name, action)| async move {
            let did = backup(source, target, &name, &action, options).await;
            (name, action, did)
        });
        run(steps, options, result).await?;
    }
}

async fn run<F>(
    steps: impl Iterator<Item = F>,
    options: &CopyOptions,
    result: &mut Mirrored,
) -> Result<()>
where
    F: Future<Output = (String, Action, Result<()>)>,
{
    let mut steps = stream::iter(steps).buffer_unordered(AT_ONCE);
    while let Some((name, action, did)) = steps.next().await {
        match did {
            Ok(()) => {
                options.transfer.add_done();
                match action {
                    Action::Remove => result.removed.push(name),
                    _ => result.done.push(name),
                }
            }
            Err(error) if error.is_cancelled() || error.is_write_refused() => return Err(error),
            Err(error) => {
                tracing::warn!(name, error = with_causes(&error), "it was not mirrored");
                result.failed.push((name, error));
            }
        }
        options.transfer.go_on(|| "mirror".to_owned())?;
    }
    Ok(())
}

async fn backup(
    source: &Location,
    target: &Location,
    name: &str,
    action: &Action,
    options: &CopyOptions,
) -> Result<()> {
    let name = BackupName::new(name).map_err(|error| Error::BadRecord {
        key: format!("{}/{name}", layout::BACKUPS),
        reason: error.to_string(),
    })?;
    match action {
        Action::Holds => copy_holds(source, target, &name, Some(&RunId::generate())).await,
        Action::Remove => match source.backup(&name).await {
            // The second look: it is gone, and no error only says so.
            Err(Error::BackupNotFound { .. }) => target
                .delete_backup(&name, &RunId::generate())
                .await
                .map(drop),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        },
        _ => source.copy_backup(&name, target, options).await.map(drop),
    }
}

async fn restore(
    source: &Location,
    target: &Location,
    name: &str,
    options: &CopyOptions,
) -> Result<()> {
    let name = RestoreName::new(name).map_err(|error| Error::BadRecord {
        key: format!("{}/{name}", layout::RESTORES),
        reason: error.to_string(),
    })?;
    restores::copy(source, target, &name, &options.transfer).await
}
