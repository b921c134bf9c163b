//! Volumes that are being filled while a restore runs: how far each is, and how long it still takes.

use std::time::Duration;

use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_api::velero::{DataPhase, PodVolumeRestore};
use salvor_text::duration::about;
use salvor_text::{ByteCount, DescribeWriter};
use salvor_volume::PVC_NAME;
use serde::Serialize;

/// A volume that is being filled, or was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Filling {
    /// `<namespace>/<claim>`, or `<namespace>/<pod>: <volume>` of one that lives with its pod.
    volume: String,
    phase: String,
    bytes_done: u64,
    /// 0 while it is not known.
    total_bytes: u64,
    /// Seconds that it still takes at the speed so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
}

impl Filling {
    /// From the object that its mover writes.
    pub(crate) fn of(object: &PodVolumeRestore, now: Timestamp) -> Self {
        let (spec, status) = (&object.spec, &object.status);
        let pod = &spec.pod;
        let claim = object.metadata.annotations.get(PVC_NAME);
        let count = |bytes| u64::try_from(bytes).unwrap_or(0);
        let done = count(status.progress.bytes_done);
        let total = count(status.progress.total_bytes).max(match status.phase {
            // What is unchanged is not written, so that less than was expected is all of it.
            DataPhase::Completed => 0,
            _ => count(spec.snapshot_size),
        });
        let runs = status
            .start_timestamp
            .filter(|_| status.phase == DataPhase::InProgress);
        Self {
            volume: match claim {
                Some(claim) => format!("{}/{claim}", pod.namespace),
                None => format!("{}/{}: {}", pod.namespace, pod.name, spec.volume),
            },
            phase: match status.phase.as_str() {
                "" => "New".to_owned(),
                phase => phase.to_owned(),
            },
            bytes_done: done,
            total_bytes: total,
            seconds_left: runs.and_then(|since| left(since, now, done, total)),
        }
    }

    fn shown(&self) -> String {
        let mut text = self.volume.clone();
        if self.phase == DataPhase::InProgress.as_str() && self.total_bytes > 0 {
            let of = |bytes| ByteCount(bytes).to_string();
            let percent = self.bytes_done.saturating_mul(100) / self.total_bytes;
            let (done, total) = (of(self.bytes_done), of(self.total_bytes));
            text.push_str(&format!(": {done} of {total} ({}%)", percent.min(100)));
        }
        if let Some(seconds) = self.seconds_left {
            text.push_str(&format!(
                ", about {} left",
                about(Duration::from_secs(seconds))
            ));
        }
        text
    }
}

/// Seconds that are left at the speed since it began.
fn left(since: Time, now: Timestamp, done: u64, total: u64) -> Option<u64> {
    let took = u64::try_from(now.as_second() - since.timestamp().as_second()).ok()?;
    let rest = total.checked_sub(done).filter(|rest| *rest > 0)?;
    let left = u128::from(took.max(1)) * u128::from(rest) / u128::from(done.max(1));
    (done > 0).then(|| u64::try_from(left).unwrap_or(u64::MAX))
}

/// The volumes by phase, as Velero shows them.
pub(super) fn text(d: &mut DescribeWriter, filling: &[Filling]) {
    if filling.is_empty() {
        return;
    }
    d.line("restic Restores:");
    let mut phases: Vec<&str> = filling.iter().map(|one| one.phase.as_str()).collect();
    phases.sort_unstable();
    phases.dedup();
    for phase in phases {
        d.line(format_args!("\t{phase}:"));
        for one in filling.iter().filter(|one| one.phase == phase) {
            d.line(format_args!("\t\t{}", one.shown()));
        }
    }
    d.blank();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_says_how_far_it_is_and_for_how_long() {
        let mut object = PodVolumeRestore::named("velero", "r-1");
        object.spec.pod.namespace = "shop".into();
        object.spec.pod.name = "salvor-hold-1".into();
        object.spec.snapshot_size = 4 << 30;
        let annotations = &mut object.metadata.annotations;
        annotations.insert(PVC_NAME.to_owned(), "data".to_owned());
        let now: Timestamp = "2026-11-20T03:01:00Z".parse().expect("a time");
        assert_eq!(Filling::of(&object, now).shown(), "shop/data");
        object.status.phase = DataPhase::InProgress;
        object.status.start_timestamp = "2026-11-20T03:00:00Z".parse().ok();
        assert_eq!(
            Filling::of(&object, now).shown(),
            "shop/data: 0 B of 4 GiB (0%)"
        );
        object.status.progress.bytes_done = 1 << 30;
        let filling = Filling::of(&object, now);
        assert_eq!(
            filling.shown(),
            "shop/data: 1 GiB of 4 GiB (25%), about 3 m 0 s left"
        );
        let mut d = DescribeWriter::new();
        text(&mut d, &[filling]);
        assert!(
            d.finish()
                .starts_with("restic Restores:\n  InProgress:\n    shop/data: 1 GiB")
        );
        // Most of it was there already.
        object.status.phase = DataPhase::Completed;
        object.status.progress.total_bytes = 1 << 30;
        assert_eq!(Filling::of(&object, now).total_bytes, 1 << 30);
    }
}
