//! What is done with one volume. Pure.
//!
//! Velero's order: a volume policy that matches decides alone; otherwise files are copied where an annotation of the
//! pod or the backup's default asks for it, and whatever is left is snapshotted unless the backup declines that. What
//! Velero leaves out without a word has a reason here.

use salvor_api::labels;
use salvor_api::velero::BackupSpec;

use super::policy::Decision;

/// How bad it is that a volume's data is not in the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// As its user wants it, or there is no data: it is in the record.
    Silent,
    /// Worth a word for all volumes of the namespace together.
    Summed,
    /// A warning.
    Warning,
    /// It was asked for.
    Error,
}

/// What the backup says about volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// Files are copied unless a pod's annotation excludes the volume; otherwise only where one names it.
    pub(crate) files_by_default: bool,
    /// Snapshots.
    pub(crate) snapshots: Snapshots,
    /// Somebody is there who copies files.
    pub(crate) agent: bool,
    /// The data of snapshots is moved: none of them stays.
    pub(crate) moves: bool,
    /// The label whose value makes claims of a namespace a group.
    pub(crate) group_label: String,
}

/// What the backup says about snapshots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Snapshots {
    /// It asks for them, by this field.
    Asked(&'static str),
    /// It leaves it open.
    #[default]
    Open,
    /// It does not want them.
    Declined,
}

impl Wishes {
    pub(crate) fn of(spec: &BackupSpec, agent: bool) -> Self {
        let snapshots = match (spec.snapshot_move_data, spec.snapshot_volumes) {
            (_, Some(false)) => Snapshots::Declined,
            (Some(true), _) => Snapshots::Asked("snapshotMoveData"),
            (_, Some(true)) => Snapshots::Asked("snapshotVolumes"),
            _ => Snapshots::Open,
        };
        Self {
            files_by_default: spec.default_volumes_to_fs_backup == Some(true)
                || spec.default_volumes_to_restic == Some(true),
            snapshots,
            agent,
            moves: spec.snapshot_move_data == Some(true),
            group_label: match spec.volume_group_snapshot_label_key.as_str() {
                "" => labels::VOLUME_GROUP.to_owned(),
                key => key.to_owned(),
            },
        }
    }
}

/// What a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A claim's, with a file system.
    Files,
    /// A claim's, without one.
    Block,
    /// A claim's that has no volume yet.
    Pending,
    /// A claim's whose volume is gone.
    Lost,
    /// A claim's that the backup leaves out, or that does not exist.
    Absent,
    /// A claim's that its user keeps out of backups by a label.
    KeptOut,
    /// A persistent volume whose claim is not in the backup, or that has none.
    Unclaimed,
    /// One that comes and goes with its pod.
    OfPod,
    /// A folder of a node that a pod mounts.
    HostPath,
}

/// How a volume can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Through a running pod that mounts it.
    Pod,
    /// No running pod mounts it.
    Unmounted,
    /// No running pod mounts it, and its pod has ended.
    Ended,
}

/// All that the decision looks at.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    pub(crate) reach: Reach,
    /// The policy that matches.
    pub(crate) policy: Option<Decision>,
    /// The pod whose annotation names it.
    pub(crate) named_by: Option<String>,
    /// Every pod that mounts it excludes it by an annotation.
    pub(crate) excluded: bool,
    /// Its claim is left out of the backup: only its files can be asked for, by its pods.
    pub(crate) claim_left: bool,
}

impl Case {
    /// The VolumeSnapshotClass that the policy names.
    pub(crate) fn snapshot_class(&self) -> Option<String> {
        match &self.policy {
            Some(Decision::Snapshot { class, .. }) => class.clone(),
            _ => None,
        }
    }
}

/// What is done with a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Its files are copied through a running pod that mounts it.
    CopyThroughPod(Asked),
    /// Its files are copied through its claim, which no running pod mounts.
    CopyThroughClaim(Asked),
    /// A snapshot is taken; by what it is asked for, if that is more than the default.
    Snapshot(Option<String>),
    /// Nothing.
    Skip(Skip),
}

/// By what files are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) by: String,
    /// True when just this volume is meant, by a policy or an annotation, not whatever there is.
    pub(crate) just_this: bool,
}

impl Asked {
    /// How bad it is that its files cannot be copied at all.
    pub(crate) fn weight_of_unfit(&self) -> Weight {
        match self.just_this {
            true => Weight::Error,
            false => Weight::Warning,
        }
    }
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) weight: Weight,
    /// By what its data was asked for.
    pub(crate) asked: Option<String>,
    pub(crate) reason: String,
}

/// Nothing is done although files were asked for.
fn refused(asked: Asked, weight: Weight, reason: &str) -> Choice {
    Choice::Skip(Skip {
        weight,
        asked: Some(asked.by),
        reason: reason.to_owned(),
    })
}

/// Nothing is done, and nothing was asked for.
fn skipped(weight: Weight, reason: impl Into<String>) -> Choice {
    Choice::Skip(Skip {
        weight,
        asked: None,
        reason: reason.into(),
    })
}

pub(crate) const NO_AGENT: &str =
    "no node agent is installed that could copy its files: see `salvor install --use-node-agent`";
const PENDING: &str = "its claim is not bound to a volume: there is no data yet";
const LOST: &str = "its persistent volume is gone";
const ABSENT: &str = "its claim is not in the backup";
const KEPT_OUT: &str = "its claim has the label velero.io/exclude-from-backup=true";
const BLOCK: &str = "it is a block device, which is not copied file by file: it needs a snapshot";
const HOST_PATH: &str = "it is a hostPath, a folder of the node, which belongs to no volume";
const UNCLAIMED: &str = "no claim of the backup uses it, so no pod can read it";

/// Decides.
pub(crate) fn decide(case: &Case, wishes: &Wishes) -> Choice {
    let asked = match &case.policy {
        Some(Decision::Skip(reason)) => return skipped(Weight::Silent, reason),
        Some(Decision::Elsewhere(reason)) => return skipped(Weight::Warning, reason),
        Some(Decision::Files(by)) => Some(Asked {
            by: by.clone(),
            just_this: true,
        }),
        Some(Decision::Snapshot { .. }) => None,
        None => by_wish(case, wishes),
    };
    match asked {
        Some(asked) => copy(case, wishes, asked),
        None => snapshot(case, wishes),
    }
}

/// By what files are asked for when no policy matches: as Velero, the default or the annotation that names, never both.
fn by_wish(case: &Case, wishes: &Wishes) -> Option<Asked> {
    if wishes.files_by_default {
        // Of a volume without a claim there is nothing to mount.
        return (!case.excluded && case.kind != Kind::Unclaimed).then(|| Asked {
            by: "defaultVolumesToFsBackup".to_owned(),
            just_this: false,
        });
    }
    case.named_by.as_ref().map(|pod| Asked {
        by: format!("an annotation of pod {pod}"),
        just_this: true,
    })
}

fn copy(case: &Case, wishes: &Wishes, asked: Asked) -> Choice {
    let unfit = asked.weight_of_unfit();
    match (case.kind, case.reach) {
        (Kind::Pending, _) => refused(asked, Weight::Silent, PENDING),
        (Kind::Lost, _) => refused(asked, Weight::Error, LOST),
        (Kind::Absent, _) => refused(asked, unfit, "its claim does not exist"),
        (Kind::KeptOut, _) if asked.just_this => refused(asked, Weight::Warning, KEPT_OUT),
        (Kind::KeptOut, _) => refused(asked, Weight::Silent, KEPT_OUT),
        (Kind::HostPath, _) if asked.just_this => refused(asked, Weight::Warning, HOST_PATH),
        (Kind::HostPath, _) => refused(asked, Weight::Summed, HOST_PATH),
        (Kind::Unclaimed, _) => refused(asked, Weight::Warning, UNCLAIMED),
        (Kind::OfPod, Reach::Ended) => refused(asked, Weight::Silent, "its pod has ended"),
        (Kind::OfPod, Reach::Unmounted) => refused(asked, Weight::Warning, "its pod does not run"),
        // Files by default say nothing of a volume that has none: its driver may take a snapshot of it.
        (Kind::Block, _) if !asked.just_this && wishes.snapshots != Snapshots::Declined => {
            snapshot(case, wishes)
        }
        (Kind::Block, _) => refused(asked, unfit, BLOCK),
        _ if !wishes.agent => refused(asked, Weight::Error, NO_AGENT),
        (_, Reach::Pod) => Choice::CopyThroughPod(asked),
        (_, Reach::Unmounted | Reach::Ended) => Choice::CopyThroughClaim(asked),
    }
}

fn snapshot(case: &Case, wishes: &Wishes) -> Choice {
    match case.kind {
        Kind::OfPod | Kind::HostPath if case.excluded && wishes.files_by_default => {
            skipped(Weight::Silent, "an annotation of its pod excludes it")
        }
        Kind::OfPod => skipped(Weight::Silent, "nothing asks for its files"),
        Kind::HostPath => skipped(Weight::Silent, HOST_PATH),
        Kind::Pending => skipped(Weight::Silent, PENDING),
        Kind::Lost => skipped(Weight::Warning, LOST),
        Kind::KeptOut => skipped(Weight::Silent, KEPT_OUT),
        Kind::Absent => skipped(Weight::Silent, ABSENT),
        Kind::Files | Kind::Block if case.claim_left => skipped(Weight::Silent, ABSENT),
        Kind::Files | Kind::Block | Kind::Unclaimed => match (&case.policy, wishes.snapshots) {
            (Some(Decision::Snapshot { by, .. }), _) => Choice::Snapshot(Some(by.clone())),
            (_, Snapshots::Asked(field)) => Choice::Snapshot(Some(field.to_owned())),
            (_, Snapshots::Open) => Choice::Snapshot(None),
            (_, Snapshots::Declined) if case.excluded => skipped(
                Weight::Silent,
                "snapshotVolumes is false, and an annotation of its pod excludes it",
            ),
            (_, Snapshots::Declined) => skipped(Weight::Silent, "snapshotVolumes is false"),
        },
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn case(kind: Kind, reach: Reach) -> Case {
        Case {
            kind,
            reach,
            policy: None,
            named_by: None,
            excluded: false,
            claim_left: false,
        }
    }

    fn wishes(text: &str) -> Wishes {
        let mut spec = BackupSpec::default();
        for word in text.split_whitespace() {
            match word {
                "files" => spec.default_volumes_to_fs_backup = Some(true),
                "restic" => spec.default_volumes_to_restic = Some(true),
                "snapshots" => spec.snapshot_volumes = Some(true),
                "none" => spec.snapshot_volumes = Some(false),
                "move" => spec.snapshot_move_data = Some(true),
                "alone" => {}
                other => panic!("{other}"),
            }
        }
        Wishes::of(&spec, !text.contains("alone"))
    }

    fn said(choice: &Choice) -> String {
        match choice {
            Choice::CopyThroughPod(asked) => format!("copy through a pod: {}", asked.by),
            Choice::CopyThroughClaim(asked) => format!("copy through the claim: {}", asked.by),
            Choice::Snapshot(by) => format!("snapshot: {}", by.as_deref().unwrap_or("default")),
            Choice::Skip(skip) => {
                let asked = skip.asked.as_deref();
                let asked = asked.map_or_else(String::new, |by| format!(" though {by}"));
                format!("{:?}{asked}: {}", skip.weight, skip.reason)
            }
        }
    }

    #[test]
    fn every_kind_of_volume_has_one_choice_under_each_wish() {
        let mut table = String::new();
        for wish in ["", "none", "move", "files", "files alone", "restic none"] {
            table.push_str(&format!("[{wish}]\n"));
            let wishes = wishes(wish);
            for (kind, reach) in [
                (Kind::Files, Reach::Pod),
                (Kind::Files, Reach::Unmounted),
                (Kind::Files, Reach::Ended),
                (Kind::Block, Reach::Pod),
                (Kind::Pending, Reach::Unmounted),
                (Kind::Lost, Reach::Unmounted),
                (Kind::KeptOut, Reach::Pod),
                (Kind::Absent, Reach::Pod),
                (Kind::Unclaimed, Reach::Unmounted),
                (Kind::OfPod, Reach::Pod),
                (Kind::OfPod, Reach::Unmounted),
                (Kind::OfPod, Reach::Ended),
                (Kind::HostPath, Reach::Pod),
            ] {
                let choice = said(&decide(&case(kind, reach), &wishes));
                table.push_str(&format!("{kind:?}/{reach:?} -> {choice}\n"));
            }
        }
        expect![[r#"
            []
            Files/Pod -> snapshot: default
            Files/Unmounted -> snapshot: default
            Files/Ended -> snapshot: default
            Block/Pod -> snapshot: default
            Pending/Unmounted -> Silent: its claim is not bound to a volume: there is no data yet
            Lost/Unmounted -> Warning: its persistent volume is gone
            KeptOut/Pod -> Silent: its claim has the label velero.io/exclude-from-backup=true
            Absent/Pod -> Silent: its claim is not in the backup
            Unclaimed/Unmounted -> snapshot: default
            OfPod/Pod -> Silent: nothing asks for its files
            OfPod/Unmounted -> Silent: nothing asks for its files
            OfPod/Ended -> Silent: nothing asks for its files
            HostPath/Pod -> Silent: it is a hostPath, a folder of the node, which belongs to no volume
            [none]
            Files/Pod -> Silent: snapshotVolumes is false
            Files/Unmounted -> Silent: snapshotVolumes is false
            Files/Ended -> Silent: snapshotVolumes is false
            Block/Pod -> Silent: snapshotVolumes is false
            Pending/Unmounted -> Silent: its claim is not bound to a volume: there is no data yet
            Lost/Unmounted -> Warning: its persistent volume is gone
            KeptOut/Pod -> Silent: its claim has the label velero.io/exclude-from-backup=true
            Absent/Pod -> Silent: its claim is not in the backup
            Unclaimed/Unmounted -> Silent: snapshotVolumes is false
            OfPod/Pod -> Silent: nothing asks for its files
            OfPod/Unmounted -> Silent: nothing asks for its files
            OfPod/Ended -> Silent: nothing asks for its files
            HostPath/Pod -> Silent: it is a hostPath, a folder of the node, which belongs to no volume
            [move]
            Files/Pod -> snapshot: snapshotMoveData
            Files/Unmounted -> snapshot: snapshotMoveData
            Files/Ended -> snapshot: snapshotMoveData
            Block/Pod -> snapshot: snapshotMoveData
            Pending/Unmounted -> Silent: its claim is not bound to a volume: there is no data yet
            Lost/Unmounted -> Warning: its persistent volume is gone
            KeptOut/Pod -> Silent: its claim has the label velero.io/exclude-from-backup=true
            Absent/Pod -> Silent: its claim is not in the backup
            Unclaimed/Unmounted -> snapshot: snapshotMoveData
            OfPod/Pod -> Silent: nothing asks for its files
            OfPod/Unmounted -> Silent: nothing asks for its files
            OfPod/Ended -> Silent: nothing asks for its files
            HostPath/Pod -> Silent: it is a hostPath, a folder of the node, which belongs to no volume
            [files]
            Files/Pod -> copy through a pod: defaultVolumesToFsBackup
            Files/Unmounted -> copy through the claim: defaultVolumesToFsBackup
            Files/Ended -> copy through the claim: defaultVolumesToFsBackup
            Block/Pod -> snapshot: default
            Pending/Unmounted -> Silent though defaultVolumesToFsBackup: its claim is not bound to a volume: there is no data yet
            Lost/Unmounted -> Error though defaultVolumesToFsBackup: its persistent volume is gone
            KeptOut/Pod -> Silent though defaultVolumesToFsBackup: its claim has the label velero.io/exclude-from-backup=true
            Absent/Pod -> Warning though defaultVolumesToFsBackup: its claim does not exist
            Unclaimed/Unmounted -> snapshot: default
            OfPod/Pod -> copy through a pod: defaultVolumesToFsBackup
            OfPod/Unmounted -> Warning though defaultVolumesToFsBackup: its pod does not run
            OfPod/Ended -> Silent though defaultVolumesToFsBackup: its pod has ended
            HostPath/Pod -> Summed though defaultVolumesToFsBackup: it is a hostPath, a folder of the node, which belongs to no volume
            [files alone]
            Files/Pod -> Error though defaultVolumesToFsBackup: no node agent is installed that could copy its files: see `salvor install --use-node-agent`
            Files/Unmounted -> Error though defaultVolumesToFsBackup: no node agent is installed that could copy its files: see `salvor install --use-node-agent`
            Files/Ended -> Error though defaultVolumesToFsBackup: no node agent is installed that could copy its files: see `salvor install --use-node-agent`
            Block/Pod -> snapshot: default
            Pending/Unmounted -> Silent though defaultVolumesToFsBackup: its claim is not bound to a volume: there is no data yet
            Lost/Unmounted -> Error though defaultVolumesToFsBackup: its persistent volume is gone
            KeptOut/Pod -> Silent though defaultVolumesToFsBackup: its claim has the label velero.io/exclude-from-backup=true
            Absent/Pod -> Warning though defaultVolumesToFsBackup: its claim does not exist
            Unclaimed/Unmounted -> snapshot: default
            OfPod/Pod -> Error though defaultVolumesToFsBackup: no node agent is installed that could copy its files: see `salvor install --use-node-agent`
            OfPod/Unmounted -> Warning though defaultVolumesToFsBackup: its pod does not run
            OfPod/Ended -> Silent though defaultVolumesToFsBackup: its pod has ended
            HostPath/Pod -> Summed though defaultVolumesToFsBackup: it is a hostPath, a folder of the node, which belongs to no volume
            [restic none]
            Files/Pod -> copy through a pod: defaultVolumesToFsBackup
            Files/Unmounted -> copy through the claim: defaultVolumesToFsBackup
            Files/Ended -> copy through the claim: defaultVolumesToFsBackup
            Block/Pod -> Warning though defaultVolumesToFsBackup: it is a block device, which is not copied file by file: it needs a snapshot
            Pending/Unmounted -> Silent though defaultVolumesToFsBackup: its claim is not bound to a volume: there is no data yet
            Lost/Unmounted -> Error though defaultVolumesToFsBackup: its persistent volume is gone
            KeptOut/Pod -> Silent though defaultVolumesToFsBackup: its claim has the label velero.io/exclude-from-backup=true
            Absent/Pod -> Warning though defaultVolumesToFsBackup: its claim does not exist
            Unclaimed/Unmounted -> Silent: snapshotVolumes is false
            OfPod/Pod -> copy through a pod: defaultVolumesToFsBackup
            OfPod/Unmounted -> Warning though defaultVolumesToFsBackup: its pod does not run
            OfPod/Ended -> Silent though defaultVolumesToFsBackup: its pod has ended
            HostPath/Pod -> Summed though defaultVolumesToFsBackup: it is a hostPath, a folder of the node, which belongs to no volume
        "#]].assert_eq(&table);
    }

    #[test]
    fn the_volume_of_a_claim_that_is_left_out_is_copied_for_its_pod_but_not_snapshotted() {
        for (wish, expected) in [
            ("", "Silent: its claim is not in the backup"),
            ("snapshots", "Silent: its claim is not in the backup"),
            ("files", "copy through a pod: defaultVolumesToFsBackup"),
        ] {
            let case = Case {
                claim_left: true,
                ..case(Kind::Files, Reach::Pod)
            };
            assert_eq!(said(&decide(&case, &wishes(wish))), expected, "{wish}");
        }
    }

    #[test]
    fn policies_come_before_annotations_and_annotations_before_the_default() {
        let skip = || Some(Decision::Skip("policy says skip".into()));
        let custom = || Some(Decision::Elsewhere("policy says custom".into()));
        let files = || Some(Decision::Files("policy files".into()));
        let snapshot = || {
            Some(Decision::Snapshot {
                by: "policy snapshot".into(),
                class: None,
            })
        };
        let mut table = String::new();
        for (wish, policy, named, excluded) in [
            ("", None, true, false),
            ("", None, false, true),
            ("none", None, true, false),
            ("files", None, false, true),
            ("files none", None, false, true),
            ("files", None, true, true),
            ("files", skip(), true, false),
            ("files", custom(), true, false),
            ("files", snapshot(), true, false),
            ("none", snapshot(), false, false),
            ("none", files(), false, true),
            ("alone", files(), false, false),
            ("alone", None, true, false),
        ] {
            for kind in [Kind::Files, Kind::Block, Kind::OfPod, Kind::HostPath] {
                let case = Case {
                    policy: policy.clone(),
                    named_by: named.then(|| "a/p".to_owned()),
                    excluded,
                    ..case(kind, Reach::Pod)
                };
                let policy = policy.as_ref().map_or("-", |decision| match decision {
                    Decision::Skip(_) => "skip",
                    Decision::Elsewhere(_) => "custom",
                    Decision::Files(_) => "fs-backup",
                    Decision::Snapshot { .. } => "snapshot",
                });
                let marks = match (named, excluded) {
                    (true, true) => "named, excluded",
                    (true, false) => "named",
                    (false, true) => "excluded",
                    (false, false) => "-",
                };
                let choice = said(&decide(&case, &wishes(wish)));
                table.push_str(&format!(
                    "[{wish}] {policy}, {marks}, {kind:?} -> {choice}\n"
                ));
            }
        }
        expect![[r#"
            [] -, named, Files -> copy through a pod: an annotation of pod a/p
            [] -, named, Block -> Error though an annotation of pod a/p: it is a block device, which is not copied file by file: it needs a snapshot
            [] -, named, OfPod -> copy through a pod: an annotation of pod a/p
            [] -, named, HostPath -> Warning though an annotation of pod a/p: it is a hostPath, a folder of the node, which belongs to no volume
            [] -, excluded, Files -> snapshot: default
            [] -, excluded, Block -> snapshot: default
            [] -, excluded, OfPod -> Silent: nothing asks for its files
            [] -, excluded, HostPath -> Silent: it is a hostPath, a folder of the node, which belongs to no volume
            [none] -, named, Files -> copy through a pod: an annotation of pod a/p
            [none] -, named, Block -> Error though an annotation of pod a/p: it is a block device, which is not copied file by file: it needs a snapshot
            [none] -, named, OfPod -> copy through a pod: an annotation of pod a/p
            [none] -, named, HostPath -> Warning though an annotation of pod a/p: it is a hostPath, a folder of the node, which belongs to no volume
            [files] -, excluded, Files -> snapshot: default
            [files] -, excluded, Block -> snapshot: default
            [files] -, excluded, OfPod -> Silent: an annotation of its pod excludes it
            [files] -, excluded, HostPath -> Silent: an annotation of its pod excludes it
            [files none] -, excluded, Files -> Silent: snapshotVolumes is false, and an annotation of its pod excludes it
            [files none] -, excluded, Block -> Silent: snapshotVolumes is false, and an annotation of its pod excludes it
            [files none] -, excluded, OfPod -> Silent: an annotation of its pod excludes it
            [files none] -, excluded, HostPath -> Silent: an annotation of its pod excludes it
            [files] -, named, excluded, Files -> snapshot: default
            [files] -, named, excluded, Block -> snapshot: default
            [files] -, named, excluded, OfPod -> Silent: an annotation of its pod excludes it
            [files] -, named, excluded, HostPath -> Silent: an annotation of its pod excludes it
            [files] skip, named, Files -> Silent: policy says skip
            [files] skip, named, Block -> Silent: policy says skip
            [files] skip, named, OfPod -> Silent: policy says skip
            [files] skip, named, HostPath -> Silent: policy says skip
            [files] custom, named, Files -> Warning: policy says custom
            [files] custom, named, Block -> Warning: policy says custom
            [files] custom, named, OfPod -> Warning: policy says custom
            [files] custom, named, HostPath -> Warning: policy says custom
            [files] snapshot, named, Files -> snapshot: policy snapshot
            [files] snapshot, named, Block -> snapshot: policy snapshot
            [files] snapshot, named, OfPod -> Silent: nothing asks for its files
            [files] snapshot, named, HostPath -> Silent: it is a hostPath, a folder of the node, which belongs to no volume
            [none] snapshot, -, Files -> snapshot: policy snapshot
            [none] snapshot, -, Block -> snapshot: policy snapshot
            [none] snapshot, -, OfPod -> Silent: nothing asks for its files
            [none] snapshot, -, HostPath -> Silent: it is a hostPath, a folder of the node, which belongs to no volume
            [none] fs-backup, excluded, Files -> copy through a pod: policy files
            [none] fs-backup, excluded, Block -> Error though policy files: it is a block device, which is not copied file by file: it needs a snapshot
            [none] fs-backup, excluded, OfPod -> copy through a pod: policy files
            [none] fs-backup, excluded, HostPath -> Warning though policy files: it is a hostPath, a folder of the node, which belongs to no volume
            [alone] fs-backup, -, Files -> Error though policy files: no node agent is installed that could copy its files: see `salvor install --use-node-agent`
            [alone] fs-backup, -, Block -> Error though policy files: it is a block device, which is not copied file by file: it needs a snapshot
            [alone] fs-backup, -, OfPod -> Error though policy files: no node agent is installed that could copy its files: see `salvor install --use-node-agent`
            [alone] fs-backup, -, HostPath -> Warning though policy files: it is a hostPath, a folder of the node, which belongs to no volume
            [alone] -, named, Files -> Error though an annotation of pod a/p: no node agent is installed that could copy its files: see `salvor install --use-node-agent`
            [alone] -, named, Block -> Error though an annotation of pod a/p: it is a block device, which is not copied file by file: it needs a snapshot
            [alone] -, named, OfPod -> Error though an annotation of pod a/p: no node agent is installed that could copy its files: see `salvor install --use-node-agent`
            [alone] -, named, HostPath -> Warning though an annotation of pod a/p: it is a hostPath, a folder of the node, which belongs to no volume
        "#]].assert_eq(&table);
    }
}
