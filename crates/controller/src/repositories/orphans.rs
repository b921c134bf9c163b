//! Which snapshots belong to backups that are gone. A pure decision over what was listed.
//!
//! One look never decides: a backup must be missing in two, a grace period apart, and the one that decides is followed
//! by a question for each backup by name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use salvor_repository::{FileId, Snapshot};

/// Backups that are remembered as gone; the others wait for a later run.
const MOST: usize = 500;

/// A snapshot that was made for a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Tagged {
    pub(super) id: FileId,
    pub(super) backup: String,
}

impl Tagged {
    /// `None` for a snapshot that nobody's backup is about: it is never collected.
    pub(super) fn of(id: FileId, snapshot: &Snapshot) -> Option<Self> {
        let tags = snapshot.tags.as_deref().unwrap_or_default();
        let backup = tags.iter().find_map(|tag| tag.strip_prefix("backup="))?;
        (!backup.is_empty()).then(|| Self {
            id,
            backup: backup.to_owned(),
        })
    }
}

/// What was seen of the backups of a location.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    /// Folders of backups in the location, also of those that are being written.
    pub(super) folders: BTreeSet<String>,
    /// Backups of the location in the cluster, whatever their phase.
    pub(super) objects: BTreeSet<String>,
    /// Those of them that are in the location for certain, as far as the cluster knows.
    pub(super) committed: BTreeSet<String>,
}

/// What a look came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Backups that are gone, and since when.
    pub(super) gone: BTreeMap<String, Timestamp>,
    /// Those that have been gone for the grace period, with their snapshots.
    pub(super) due: BTreeMap<String, Vec<FileId>>,
}

/// The listing cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the location does not list backups that this cluster knows to be in it ({}): no snapshot is removed", .0.join(", ")
)]
pub(super) struct Incomplete(pub(super) Vec<String>);

/// Looks whose backups are gone. `before` is what the look before this one found.
pub(super) fn look(
    snapshots: &[Tagged],
    sight: &Sight,
    before: &BTreeMap<String, Timestamp>,
    now: Timestamp,
    grace: Duration,
) -> Result<Look, Incomplete> {
    let missing = sight.committed.difference(&sight.folders);
    let missing: Vec<String> = missing.take(5).cloned().collect();
    if !missing.is_empty() {
        return Err(Incomplete(missing));
    }
    let mut look = Look::default();
    for snapshot in snapshots {
        let name = &snapshot.backup;
        if sight.folders.contains(name) || sight.objects.contains(name) {
            continue;
        }
        if !look.gone.contains_key(name) && look.gone.len() == MOST {
            continue;
        }
        let since = before.get(name).copied().unwrap_or(now);
        look.gone.insert(name.clone(), since);
        let gone_for = now.duration_since(since);
        let is_second = before.contains_key(name);
        if is_second
            && gone_for
                >= jiff::SignedDuration::try_from(grace).unwrap_or(jiff::SignedDuration::MAX)
        {
            look.due.entry(name.clone()).or_default().push(snapshot.id);
        }
    }
    Ok(look)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(100);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a time")
    }

    fn of(byte: u8, backup: &str) -> Tagged {
        Tagged {
            id: FileId::from([byte; 32]),
            backup: backup.to_owned(),
        }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_backup_must_be_gone_in_two_looks_and_for_the_grace_period() {
        let snapshots = [
            of(1, "there"),
            of(2, "gone"),
            of(3, "gone"),
            of(4, "running"),
        ];
        let sight = Sight {
            folders: names(&["there", "other"]),
            objects: names(&["running", "there"]),
            committed: names(&["there"]),
        };
        let look = |before: &BTreeMap<_, _>, second| {
            look(&snapshots, &sight, before, at(second), GRACE).expect("complete")
        };
        let first = look(&BTreeMap::new(), 1000);
        assert_eq!(first.gone, BTreeMap::from([("gone".to_owned(), at(1000))]));
        assert_eq!(first.due, BTreeMap::new());
        let early = look(&first.gone, 1099);
        assert_eq!((early.gone, early.due.len()), (first.gone.clone(), 0));
        let late = look(&first.gone, 1100);
        let due = BTreeMap::from([("gone".to_owned(), vec![snapshots[1].id, snapshots[2].id])]);
        assert_eq!(late.due, due);
        // Even without a grace period one look is not enough.
        let none = super::look(&snapshots, &sight, &BTreeMap::new(), at(1), Duration::ZERO);
        assert_eq!(none.expect("complete").due, BTreeMap::new());
        // A clock that goes back makes nothing due.
        assert_eq!(look(&first.gone, 10).due, BTreeMap::new());
    }

    #[test]
    fn one_that_comes_back_begins_anew() {
        let snapshots = [of(1, "b")];
        let before = BTreeMap::from([("b".to_owned(), at(0))]);
        let back = Sight {
            folders: names(&["b"]),
            ..Sight::default()
        };
        let seen = look(&snapshots, &back, &before, at(500), GRACE).expect("complete");
        assert_eq!(seen, Look::default());
    }

    #[test]
    fn a_listing_that_lacks_what_the_cluster_knows_decides_nothing() {
        let sight = Sight {
            committed: names(&["known"]),
            objects: names(&["known"]),
            ..Sight::default()
        };
        let before = BTreeMap::from([("b".to_owned(), at(0))]);
        let refused = look(&[of(1, "b")], &sight, &before, at(500), GRACE);
        assert_eq!(refused, Err(Incomplete(vec!["known".to_owned()])));
    }

    #[test]
    fn snapshots_that_no_backup_is_about_are_never_looked_at() {
        let text = r#"{"time":"2026-01-01T00:00:00Z","tree":"TREE","paths":["/"],"tags":TAGS}"#;
        let text = text.replace("TREE", &"0".repeat(64));
        let snapshot = |tags: &str| serde_json::from_str::<Snapshot>(&text.replace("TAGS", tags));
        let tagged = |tags: &str| {
            let snapshot = snapshot(tags).expect("a snapshot");
            Tagged::of(FileId::from([1; 32]), &snapshot).map(|tagged| tagged.backup)
        };
        assert_eq!(tagged("null"), None);
        assert_eq!(tagged(r#"["mine","backup","backup="]"#), None);
        assert_eq!(
            tagged(r#"["volume=v","backup=b","backup-uid=u"]"#),
            Some("b".to_owned())
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let snapshots: Vec<Tagged> = (0..MOST + 50).map(|n| of(1, &format!("b{n:04}"))).collect();
        let seen = look(
            &snapshots,
            &Sight::default(),
            &BTreeMap::new(),
            at(1),
            GRACE,
        );
        assert_eq!(seen.expect("complete").gone.len(), MOST);
    }
}
