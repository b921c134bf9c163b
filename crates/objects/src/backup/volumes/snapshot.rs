//! Snapshots of volumes: the one place where they are taken.

use super::super::gather::Run;
use super::Place;
use super::decide::Weight;
use super::tell::Ended;

const NO_SNAPSHOTS: &str = "snapshots of volumes are not taken by this version";
const HOW_TO_COPY: &str = "to have its files copied, ask for it by defaultVolumesToFsBackup, a volume policy, or the \
                           annotation backup.velero.io/backup-volumes of its pod";

impl Run {
    /// Takes a snapshot of a volume. `asked` is by what it is asked for, if that is more than the default.
    pub(super) fn take_snapshot(&self, place: &Place, asked: Option<&str>) -> Ended {
        let excluded = self.volumes(|volumes| volumes.case(place, None).excluded);
        if excluded && asked.is_none() {
            return Ended::Skipped {
                weight: Weight::Silent,
                asked: None,
                reason: format!("an annotation of its pod excludes it, and {NO_SNAPSHOTS}"),
            };
        }
        let reason = match (place, self.mover().is_some()) {
            (Place::Claim(_), true) => format!("{NO_SNAPSHOTS}; {HOW_TO_COPY}"),
            (Place::Claim(_), false) => format!("{NO_SNAPSHOTS}, and {}", super::decide::NO_AGENT),
            _ => NO_SNAPSHOTS.to_owned(),
        };
        Ended::Skipped {
            weight: match asked {
                Some(_) => Weight::Error,
                None => Weight::Warning,
            },
            asked: asked.map(str::to_owned),
            reason,
        }
    }
}
