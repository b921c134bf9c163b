//! What a restore leaves to read: its log, its results, its resource list, in Velero's files.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use salvor_api::name::RestoreName;
use salvor_api::resource::{GroupResource, GroupVersionKind, ObjectKey};
use salvor_api::velero::Restore;
use salvor_archive::files::{
    self, ResourceListBuilder, RestoreVolumeInfo, Results, restored_entry,
};
use salvor_archive::names::RestoreFile;
use salvor_location::{RestoreWriter, RunId};

use super::item::{Hands, conflict_warning};
use super::journal::{Done, FillEnd, FillLine, Line};
use crate::backup::runlog::{About, RunLog, Subject};
use crate::restore::body;
use crate::restore::error::{Doing as _, RestoreError};
use crate::restore::plan::{Action, PlanEntry, PlanHeader};
use crate::restore::planner::{blocking, parse};
use crate::restore::rules::VolumeFate;
use crate::restore::skip::Skip;
use crate::restore::source::Source;
use crate::restore::volume_data::{DataAction, VolumeData};

/// The log and the results, while they grow.
pub(super) struct Record {
    log: RunLog,
    header: Arc<PlanHeader>,
}

/// What the files came to.
pub(super) struct Finished {
    pub(super) warnings: u64,
    pub(super) errors: u64,
    pub(super) listed: u64,
    pub(super) results: Results,
}

impl Record {
    pub(super) fn begin(
        restore: &Restore,
        header: &Arc<PlanHeader>,
        source: &Source,
        run: &RunId,
    ) -> std::io::Result<Self> {
        let name = format!("{}/{}", restore.metadata.namespace, restore.metadata.name);
        let log = RunLog::new(Subject::Restore(name), run.to_string())?;
        log.info(
            About::Run,
            &format!(
                "restoring backup {} into cluster {} ({}, {}), existing resources: {}",
                source.name,
                header.cluster.name,
                header.cluster.uid,
                header.cluster.git_version,
                header.policy
            ),
        );
        Ok(Self {
            log,
            header: header.clone(),
        })
    }

    pub(super) fn say(&self, text: &str) {
        self.log.info(About::Run, text);
    }

    pub(super) fn note(&self, key: &ObjectKey, text: &str) {
        self.log.info(About::Object(key), text);
    }

    pub(super) fn warn(&self, key: &ObjectKey, text: &str) {
        self.log.warn(About::Object(key), text);
    }

    /// Errors so far.
    pub(super) fn errors(&self) -> u64 {
        self.log.errors()
    }

    pub(super) fn error(&self, key: &ObjectKey, text: &str) {
        self.log.error(About::Object(key), text);
    }

    /// What the plan decided without touching the target: every object with its reason.
    pub(super) fn log_plan(&self, entries: &[PlanEntry], source: &Source) {
        for oddity in &source.oddities {
            self.log.warn(About::Run, oddity);
        }
        match &source.damage {
            // What can be read is what was written, and each lost object has its own line.
            Some(damage) if damage.is_exact => self.log.warn(About::Run, &damage.to_string()),
            Some(damage) => self.log.error(About::Run, &damage.to_string()),
            None => {}
        }
        if source.archive.index().is_empty() {
            self.log.warn(
                About::Run,
                "the backup holds no objects; there is nothing to restore",
            );
        }
        for (resource, count) in &self.header.not_selected {
            let text = format!("{count} objects are not selected by the restore's filters");
            self.log.info(About::Resource(resource, None), &text);
        }
        for finding in &self.header.findings {
            if finding.is_told_in_results() {
                self.log.warn(About::Run, &finding.message);
            } else {
                self.log.info(About::Run, &finding.to_string());
            }
        }
        for entry in entries.iter().filter(|entry| !entry.action.changes()) {
            self.log_decision(entry);
        }
        self.log_data(entries);
    }

    fn log_decision(&self, entry: &PlanEntry) {
        let key = entry.target(&self.header.rules);
        let about = About::Object(&key);
        let reason = entry.reason.as_deref().unwrap_or_default();
        match entry.action {
            Action::Unchanged if reason.is_empty() => {
                self.log
                    .info(about, "skipped: the target has it, nothing differs");
            }
            Action::Skip if is_loss(reason) => self.log.warn(about, &format!("skipped: {reason}")),
            Action::Unchanged | Action::Skip => self.log.info(about, &format!("skipped: {reason}")),
            Action::Conflict => {
                let text = conflict_warning(&key, self.header.policy, reason);
                self.log.warn(about, &text);
            }
            Action::Blocked => self.log.error(about, &format!("not restored: {reason}")),
            Action::Create | Action::Update | Action::Recreate => {}
        }
    }

    /// What becomes of the data of volumes, as far as it is decided.
    fn log_data(&self, entries: &[PlanEntry]) {
        let rules = &self.header.rules;
        for data in &self.header.data {
            let Some(entry) = data.entry.and_then(|at| entries.get(at as usize)) else {
                continue;
            };
            let key = entry.target(rules);
            let about = About::Object(&key);
            let what = of_pod(data);
            // What is not wanted is no loss, nor is what stays in its volume, what never had one, and what ends with
            // every pod and was not asked for.
            let had_none = data.persistent_volume.is_empty() && !data.has_data() && !data.missed;
            let is_kept = rules.restore_volumes == Some(false)
                || had_none
                || (!data.is_of_pod()
                    && rules.volume_fate(&data.persistent_volume) == VolumeFate::AsItIs);
            let reason = &data.reason;
            match data.action {
                DataAction::Blocked => self
                    .log
                    .error(about, &format!("{what}not filled: {reason}")),
                DataAction::FillInPlace => self
                    .log
                    .warn(about, &format!("{what}filled in place: {reason}")),
                DataAction::Leave if entry.action.changes() && !is_kept => {
                    self.log
                        .warn(about, &format!("{what}comes back empty: {reason}"));
                }
                // The backup has data for it, and the target keeps what it has.
                DataAction::Leave if data.has_data() => {
                    self.log.warn(about, &format!("{what}not filled: {reason}"));
                }
                DataAction::Leave => self.log.info(about, &format!("{what}not filled: {reason}")),
                DataAction::FromSnapshot => self.log.info(about, &format!("{what}{reason}")),
                DataAction::Fill if reason.is_empty() => {}
                DataAction::Fill => self.log.info(about, &format!("{what}is filled: {reason}")),
            }
        }
    }

    /// What became of the data of one volume.
    pub(super) fn volume(&self, data: &VolumeData, line: &FillLine, earlier: bool) {
        let rules = &self.header.rules;
        let (resource, name) = match data.is_of_pod() {
            true => ("pods", &data.pod),
            false => ("persistentvolumeclaims", &data.claim),
        };
        let namespace = data.target_namespace(&rules.namespaces);
        let key = ObjectKey::namespaced(GroupResource::new(resource, ""), namespace, &**name);
        let about = About::Object(&key);
        let when = if earlier { " (by an earlier run)" } else { "" };
        let FillLine {
            bytes,
            entries,
            failed,
            message,
            ..
        } = line;
        let what = of_pod(data);
        match line.end {
            FillEnd::Failed => self
                .log
                .error(about, &format!("{what}not filled: {message}")),
            FillEnd::Left => self
                .log
                .warn(about, &format!("{what}not filled{when}: {message}")),
            FillEnd::Filled => {
                let how = match &data.csi {
                    Some(csi) => format!("its volume is made of snapshot {}", csi.handle),
                    None => format!("{bytes} bytes in {entries} entries"),
                };
                self.log.info(about, &format!("{what}filled{when}: {how}"));
                if *failed > 0 {
                    let text = format!(
                        "{what}{failed} entries are missing or not as they were: {message}"
                    );
                    self.log.error(about, &text);
                } else if !message.is_empty() {
                    self.log.warn(about, &format!("{what}{message}"));
                }
            }
        }
    }

    /// What became of one object. `earlier` is what a run before this one did.
    pub(super) fn object(&self, entry: &PlanEntry, line: &Line, earlier: bool) {
        let key = entry.target(&self.header.rules);
        let about = About::Object(&key);
        let when = if earlier { " (by an earlier run)" } else { "" };
        for warning in &line.warnings {
            self.log.warn(about, warning);
        }
        match line.done {
            Done::Failed => self.log.error(about, &line.message),
            Done::Skipped if line.warnings.is_empty() => {
                self.log.info(
                    about,
                    &format!("skipped: the target has it, nothing differs{when}"),
                );
            }
            done => {
                if done != Done::Skipped && !line.message.is_empty() {
                    self.log.error(about, &line.message);
                }
                self.log.info(about, &format!("{}{when}", done.as_str()));
            }
        }
    }

    /// Writes the files. All of them repeat what plan and journal say, so they may be written again.
    pub(super) async fn finish(
        self,
        writer: &mut RestoreWriter,
        hands: &Arc<Hands>,
        entries: &Arc<Vec<PlanEntry>>,
        done: &BTreeMap<u32, Done>,
        volumes: &[RestoreVolumeInfo],
        cancelled: bool,
    ) -> Result<Finished, RestoreError> {
        let doing = || "write the records of the restore".to_owned();
        let (list, listed) = self.resource_list(hands, entries, done).await?;
        if cancelled {
            let left = entries.iter().filter(|e| e.action.changes()).count() - done.len();
            let text = format!(
                "cancelled: {} objects done, {left} left; resume to go on",
                done.len()
            );
            self.log.info(About::Run, &text);
        } else {
            let text = format!("done: {listed} objects, {} errors", self.log.errors());
            self.log.info(About::Run, &text);
        }
        let mut finished = self.log.finish().doing(doing)?;
        let mut log = Vec::new();
        finished.file.read_to_end(&mut log).doing(doing)?;
        let name = writer.name().clone();
        for (file, bytes) in [
            (RestoreFile::ResourceList, list),
            (
                RestoreFile::VolumeInfo,
                files::write_json_gz(volumes).doing(doing)?,
            ),
            (
                RestoreFile::Results,
                files::write_json_gz(&finished.results).doing(doing)?,
            ),
            (RestoreFile::Logs, log),
        ] {
            let file: String = file_name(file, &name);
            writer.put_derived(&file, bytes.into()).await.doing(doing)?;
        }
        Ok(Finished {
            warnings: finished.warnings,
            errors: finished.errors,
            listed,
            results: finished.results,
        })
    }

    async fn resource_list(
        &self,
        hands: &Arc<Hands>,
        entries: &Arc<Vec<PlanEntry>>,
        done: &BTreeMap<u32, Done>,
    ) -> Result<(Vec<u8>, u64), RestoreError> {
        let (hands, entries, done) = (hands.clone(), entries.clone(), done.clone());
        blocking(move || {
            let doing = || "write the list of resources".to_owned();
            let mut list = ResourceListBuilder::new();
            let mut listed = 0;
            for (at, entry) in (0u32..).zip(entries.iter()) {
                let done = match (done.get(&at), entry.action) {
                    (Some(done), _) => *done,
                    (None, Action::Unchanged | Action::Conflict) => Done::Skipped,
                    (None, Action::Blocked) => Done::Failed,
                    (None, _) => continue,
                };
                let key = entry.target(&hands.header.rules);
                let kind = kind_of(&hands, entry).doing(doing)?;
                list.add(&kind, &restored_entry(&key, done.as_str()))
                    .doing(doing)?;
                listed += 1;
            }
            Ok((list.finish().doing(doing)?, listed))
        })
        .await
    }
}

/// Which volume of a pod a line about the pod means.
fn of_pod(data: &VolumeData) -> String {
    match data.is_of_pod() {
        true => format!("volume {}: ", data.pod_volume),
        false => String::new(),
    }
}

fn file_name(file: RestoreFile, restore: &RestoreName) -> String {
    file.name(restore)
}

/// True for skips that lose something that the backup holds.
fn is_loss(reason: &str) -> bool {
    [Skip::VolumeDataNotRestored, Skip::SnapshotNotRestored]
        .iter()
        .any(|skip| skip.is_warning() && skip.to_string() == reason)
}

/// Version and kind: from the target where it serves the resource, otherwise from the body.
fn kind_of(
    hands: &Hands,
    entry: &PlanEntry,
) -> Result<GroupVersionKind, salvor_archive::ArchiveError> {
    let to = entry.destination();
    let group_version = to.group_version.clone();
    if let Some(api) = hands
        .discovery()
        .find_version(&to.resource, &group_version.version)
    {
        return Ok(GroupVersionKind {
            group_version,
            kind: api.kind.clone(),
        });
    }
    let kind = match hands
        .archive
        .index()
        .get(&entry.source(), Some(&entry.version))
    {
        Some(found) => body::text_at(&parse(&hands.archive.get(&found)?), &["kind"]).to_owned(),
        None => String::new(),
    };
    Ok(GroupVersionKind {
        group_version,
        kind,
    })
}
