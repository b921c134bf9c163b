//! Which backups wait, in what order, and which begin now: a pure decision on what is there.

use std::sync::Arc;

use salvor_api::glob::Glob;
use salvor_api::velero::{Backup, BackupPhase, BackupSpec};

/// What to do next with the backups that are not done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Backups that wait, in order, first at position 1.
    pub(crate) waiting: Vec<String>,
    /// Backups that begin now.
    pub(crate) begin: Vec<String>,
}

/// Decides. `limit` is how many may be made at once; backups whose namespaces may be the same are never made
/// at once, and none overtakes an earlier one that it waits for.
pub(crate) fn decide(backups: &[Arc<Backup>], limit: usize) -> Decision {
    let phase = |backup: &Backup| backup.status.phase.clone();
    let running: Vec<&Backup> = backups
        .iter()
        .map(|backup| &**backup)
        .filter(|backup| {
            matches!(
                phase(backup),
                BackupPhase::ReadyToStart | BackupPhase::InProgress
            )
        })
        .collect();
    let mut waiting: Vec<&Backup> = backups
        .iter()
        .map(|backup| &**backup)
        .filter(|backup| {
            matches!(
                phase(backup),
                BackupPhase::Unset | BackupPhase::New | BackupPhase::Queued
            ) && backup.metadata.deletion_timestamp.is_none()
        })
        .collect();
    // Those with a position keep their order, new ones come after them by age.
    waiting.sort_by_key(|backup| {
        let position = backup.status.queue_position;
        let queued = phase(backup) == BackupPhase::Queued && position > 0;
        (
            if queued { position } else { i64::MAX },
            backup.metadata.creation_timestamp,
            backup.metadata.name.clone(),
        )
    });
    let mut decision = Decision::default();
    let mut busy: Vec<&Backup> = running.clone();
    let mut free = limit.saturating_sub(running.len());
    for backup in waiting {
        let overlaps = busy
            .iter()
            .any(|other| may_overlap(&backup.spec, &other.spec));
        let name = backup.metadata.name.clone();
        if free > 0 && !overlaps {
            free -= 1;
            decision.begin.push(name);
        } else {
            decision.waiting.push(name);
        }
        busy.push(backup);
    }
    decision
}

/// True unless two backups certainly take different namespaces.
fn may_overlap(a: &BackupSpec, b: &BackupSpec) -> bool {
    let Some(names) = literal(a) else {
        return literal(b).is_none_or(|names| names.iter().any(|name| takes(a, name)));
    };
    names.iter().any(|name| takes(b, name))
}

/// The namespaces of a backup, when it names each.
fn literal(spec: &BackupSpec) -> Option<Vec<&str>> {
    let names = &spec.included_namespaces;
    let plain = |name: &String| !name.contains(['*', '?', '[']);
    (!names.is_empty() && names.iter().all(plain)).then(|| {
        names
            .iter()
            .map(String::as_str)
            .filter(|name| !matches(&spec.excluded_namespaces, name))
            .collect()
    })
}

fn takes(spec: &BackupSpec, namespace: &str) -> bool {
    let included = &spec.included_namespaces;
    (included.is_empty() || matches(included, namespace))
        && !matches(&spec.excluded_namespaces, namespace)
}

/// A pattern that cannot be read matches: it is refused when its backup begins, not overtaken.
fn matches(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| Glob::new(pattern).map_or(true, |glob| glob.matches(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup(name: &str, namespaces: &[&str], phase: BackupPhase, position: i64) -> Arc<Backup> {
        let mut backup = Backup::named("velero", name);
        backup.spec.included_namespaces = namespaces.iter().map(|n| (*n).to_owned()).collect();
        backup.status.phase = phase;
        backup.status.queue_position = position;
        Arc::new(backup)
    }

    #[test]
    fn as_many_begin_as_may_and_the_rest_waits_in_order() {
        use BackupPhase::{Completed, InProgress, New, Queued};
        let backups = [
            backup("done", &["a"], Completed, 0),
            backup("new", &["d"], New, 0),
            backup("second", &["b"], Queued, 2),
            backup("first", &["a"], Queued, 1),
            backup("running", &["a"], InProgress, 0),
        ];
        for (limit, begin, waiting) in [
            (1, &[][..], &["first", "second", "new"][..]),
            (2, &["second"][..], &["first", "new"][..]),
            (9, &["second", "new"][..], &["first"][..]),
        ] {
            let decision = decide(&backups, limit);
            assert_eq!(
                (&*decision.begin, &*decision.waiting),
                (
                    &*begin.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
                    &*waiting.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
                ),
                "{limit}"
            );
        }
    }

    #[test]
    fn none_overtakes_one_that_it_must_not_run_beside() {
        use BackupPhase::{InProgress, Queued};
        let backups = [
            backup("running", &["a"], InProgress, 0),
            backup("waits-for-a", &["a", "b"], Queued, 1),
            backup("waits-for-b", &["b"], Queued, 2),
            backup("free", &["c"], Queued, 3),
        ];
        assert_eq!(decide(&backups, 9).begin, ["free"]);
    }

    #[test]
    fn namespaces_overlap_unless_they_certainly_differ() {
        let spec = |included: &[&str], excluded: &[&str]| BackupSpec {
            included_namespaces: included.iter().map(|n| (*n).to_owned()).collect(),
            excluded_namespaces: excluded.iter().map(|n| (*n).to_owned()).collect(),
            ..BackupSpec::default()
        };
        for (a, b, overlap) in [
            (spec(&["a"], &[]), spec(&["b"], &[]), false),
            (spec(&["a", "b"], &[]), spec(&["b"], &[]), true),
            (spec(&["a", "b"], &["b"]), spec(&["b"], &[]), false),
            (spec(&[], &[]), spec(&["b"], &[]), true),
            (spec(&["*"], &["b"]), spec(&["b"], &[]), false),
            (spec(&["prod-*"], &[]), spec(&["stage-1"], &[]), false),
            (spec(&["prod-*"], &[]), spec(&["prod-1"], &[]), true),
            (spec(&["prod-*"], &[]), spec(&["stage-*"], &[]), true),
        ] {
            assert_eq!(may_overlap(&a, &b), overlap, "{a:?} {b:?}");
            assert_eq!(may_overlap(&b, &a), overlap, "{b:?} {a:?}");
        }
    }
}
