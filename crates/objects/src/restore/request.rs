//! What a restore is asked to do, checked before anything is read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use salvor_api::resource::ObjectKey;
use salvor_api::validate;
use salvor_api::velero::{Backup, BackupPhase, Restore};
use salvor_cluster::Cluster;
use salvor_extension::Actions;
use salvor_volume::DataMover;
use salvor_volume::native::Snapshotters;
use serde::{Deserialize, Serialize};

use super::error::{Cause, RestoreError};
use super::existing::ExistingPolicy;
use super::modifiers::Modifiers;
use super::selection::Selection;
use super::source::Source;
use super::status::StatusSelection;
use crate::rights::Approval;

/// How long waits for one thing last: a definition, a namespace, the deferred queue. Velero's default.
pub const DEFAULT_RESOURCE_TIMEOUT: Duration = Duration::from_secs(600);

/// How long filling one volume may take. Velero's default for copies of files.
pub const DEFAULT_DATA_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// What a restore may be told besides its spec.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// Only objects of these names; empty means all.
    pub names: Vec<String>,
    /// Exactly these objects of the backup, whatever the filters say.
    pub only: Option<BTreeSet<ObjectKey>>,
    /// Write owner references anew, to the UIDs that the owners have in the target.
    pub relink_owners: bool,
    /// Modifiers that do not stand in a ConfigMap of the target.
    pub modifiers: Option<Modifiers>,
    /// Item actions besides those that the cluster defines. They are not recorded: who resumes gives them again.
    pub actions: Actions,
    /// Who is asked before a plan is carried out, also one that is gone on with; `None` when its user acts with his
    /// own rights. With it, an object's own annotation does not have its status restored.
    pub approval: Option<Approval>,
    /// Who puts the data of volumes back; `None` where no node agent is.
    pub data_mover: Option<Arc<dyn DataMover>>,
    /// Who makes volumes of snapshots by their storage's own interface: all VolumeSnapshotLocations.
    pub snapshotters: Snapshotters,
    /// Name in the cluster of the location that holds the backup: movers look it up.
    pub data_location: String,
    /// How long filling one volume may take.
    pub data_timeout: Duration,
    /// How long waits for one thing last.
    pub resource_timeout: Duration,
    /// The source was opened without what is damaged in it ([`Source::open_readable`]); a restore that is
    /// resumed opens it so again.
    pub skip_damaged: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            only: None,
            relink_owners: false,
            modifiers: None,
            actions: Actions::default(),
            approval: None,
            data_mover: None,
            snapshotters: Snapshotters::default(),
            data_location: String::new(),
            data_timeout: DEFAULT_DATA_TIMEOUT,
            resource_timeout: DEFAULT_RESOURCE_TIMEOUT,
            skip_damaged: false,
        }
    }
}

/// Annotation of a restore's request: the options that its spec has no field for, so that a restore which
/// was killed before its plan was stored is planned again as it was asked for.
const OPTIONS: &str = "salvor.dev/restore-options";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RecordedOptions {
    names: Vec<String>,
    only: Option<BTreeSet<ObjectKey>>,
    relink_owners: bool,
    modifiers: Option<Modifiers>,
    #[serde(default)]
    skip_damaged: bool,
}

impl RestoreOptions {
    /// Writes the options that decide what is restored into the restore.
    pub(crate) fn record(&self, restore: &mut Restore) {
        let recorded = RecordedOptions {
            names: self.names.clone(),
            only: self.only.clone(),
            relink_owners: self.relink_owners,
            modifiers: self.modifiers.clone(),
            skip_damaged: self.skip_damaged,
        };
        let text = serde_json::to_string(&recorded).expect("plain data with string keys");
        restore
            .metadata
            .annotations
            .insert(OPTIONS.to_owned(), text);
    }

    /// Takes the recorded options out of the restore; they beat the ones given.
    ///
    /// # Errors
    /// What is recorded cannot be read.
    pub(crate) fn take_recorded(mut self, restore: &mut Restore) -> Result<Self, String> {
        let Some(text) = restore.metadata.annotations.remove(OPTIONS) else {
            return Ok(self);
        };
        let RecordedOptions {
            names,
            only,
            relink_owners,
            modifiers,
            skip_damaged,
        } = serde_json::from_str(&text).map_err(|error| format!("its options: {error}"))?;
        self.names = names;
        self.only = only;
        self.relink_owners = relink_owners;
        self.modifiers = modifiers;
        self.skip_damaged = skip_damaged;
        Ok(self)
    }
}

/// A restore of one backup into one cluster.
#[derive(Clone, Debug)]
pub struct RestoreRequest {
    /// The target.
    pub cluster: Cluster,
    /// The backup, open.
    pub source: Source,
    /// What is asked for.
    pub restore: Restore,
    /// What else is asked for.
    pub options: RestoreOptions,
}

/// The parts of a request, compiled.
pub(crate) struct Compiled {
    pub(crate) selection: Selection,
    pub(crate) policy: ExistingPolicy,
}

impl RestoreRequest {
    /// Checks the request by itself.
    ///
    /// # Errors
    /// Every rule that it breaks (`FailedValidation`).
    pub(crate) fn compile(&self) -> Result<Compiled, RestoreError> {
        let spec = &self.restore.spec;
        let mut errors = Vec::new();
        if spec.backup_name.is_empty() == spec.schedule_name.is_empty() {
            errors.push("exactly one of backupName and scheduleName is needed".to_owned());
        }
        let phase = &self.source.backup.status.phase;
        if !phase.is_restorable() {
            errors.push(format!(
                "backup {} is in phase {phase}; only Completed and PartiallyFailed backups are restored",
                self.source.name
            ));
        }
        for (from, to) in &spec.namespace_mapping {
            for name in [from, to] {
                if let Err(error) = salvor_api::name::check_dns_subdomain("namespace", name) {
                    errors.push(error.to_string());
                }
            }
        }
        errors.extend(validate::restore_hooks(&spec.hooks));
        let policy = spec
            .existing_resource_policy
            .parse()
            .unwrap_or_else(|error| {
                errors.push(error);
                ExistingPolicy::None
            });
        if let Err(error) = StatusSelection::new(spec.restore_status.as_ref()) {
            errors.push(error.to_string());
        }
        let selection = Selection::compile(spec, &self.options.names, self.options.only.clone());
        match (selection, errors.is_empty()) {
            (Ok(selection), true) => Ok(Compiled { selection, policy }),
            (selection, _) => {
                errors.extend(selection.err().unwrap_or_default());
                Err(RestoreError::new(
                    format!("check restore {}", self.restore.metadata.name),
                    Cause::Invalid(errors),
                ))
            }
        }
    }
}

/// The newest backup of a schedule that may be restored: completed ones, and partially failed ones when
/// the user allows them. "Newest" is the latest start.
#[must_use]
pub fn newest_of_schedule<'a>(
    backups: impl IntoIterator<Item = &'a Backup>,
    schedule: &str,
    allow_partially_failed: bool,
) -> Option<&'a Backup> {
    backups
        .into_iter()
        .filter(|backup| {
            let label = salvor_api::labels::label_value(schedule);
            let of_schedule = backup
                .metadata
                .labels
                .get(salvor_api::labels::SCHEDULE_NAME)
                == Some(&label);
            let phase = &backup.status.phase;
            of_schedule
                && (*phase == BackupPhase::Completed
                    || (allow_partially_failed && *phase == BackupPhase::PartiallyFailed))
        })
        .max_by_key(|backup| backup.status.start_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(name: &str, schedule: &str, phase: BackupPhase, start: &str) -> Backup {
        let mut backup = Backup::named("velero", name);
        backup
            .metadata
            .labels
            .insert(salvor_api::labels::SCHEDULE_NAME.into(), schedule.into());
        backup.status.phase = phase;
        backup.status.start_timestamp = Some(start.parse().expect("a time"));
        backup
    }

    #[test]
    fn options_travel_with_the_request_and_beat_the_ones_given() {
        let key = ObjectKey::namespaced("pods".parse().expect("a resource"), "prod", "web");
        let asked = RestoreOptions {
            names: vec!["web".into()],
            only: Some([key].into()),
            relink_owners: true,
            skip_damaged: true,
            ..RestoreOptions::default()
        };
        let mut restore = Restore::named("velero", "r");
        asked.record(&mut restore);
        let read = RestoreOptions::default().take_recorded(&mut restore);
        let read = read.expect("what was written");
        assert_eq!((&read.names, &read.only), (&asked.names, &asked.only));
        assert!(read.relink_owners && read.skip_damaged);
        assert_eq!(
            restore,
            Restore::named("velero", "r"),
            "nothing stays behind"
        );
    }

    #[test]
    fn restore_from_a_schedule_takes_the_newest_completed_backup() {
        let backups = [
            backup(
                "a",
                "nightly",
                BackupPhase::Completed,
                "2026-11-18T02:00:00Z",
            ),
            backup(
                "b",
                "nightly",
                BackupPhase::Completed,
                "2026-11-19T02:00:00Z",
            ),
            backup(
                "c",
                "nightly",
                BackupPhase::PartiallyFailed,
                "2026-11-20T02:00:00Z",
            ),
            backup(
                "d",
                "hourly",
                BackupPhase::Completed,
                "2026-11-20T03:00:00Z",
            ),
            backup("e", "nightly", BackupPhase::Failed, "2026-11-20T04:00:00Z"),
        ];
        let name = |allow| {
            newest_of_schedule(&backups, "nightly", allow).map(|b| b.metadata.name.as_str())
        };
        assert_eq!(name(false), Some("b"));
        assert_eq!(name(true), Some("c"));
        assert_eq!(newest_of_schedule(&backups, "weekly", true), None);
    }
}
