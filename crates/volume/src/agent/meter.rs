//! What an agent measures: Velero's metrics of its node agent under their names, and what was moved.
//!
//! Everything is read off the objects as they change, so nothing is counted that did not happen. What had ended when the
//! agent began is not counted again.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use salvor_api::velero::DataPhase;

use crate::objects::{Direction, Movement, OF_SNAPSHOT};

/// Velero's bounds, in seconds: 1, 5, 10, 15 and 30 minutes, 1 to 4 hours.
const BOUNDS: [i64; 9] = [60, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400];
/// Objects whose own latency is shown: each is a series of its own.
const SHOWN: usize = 128;

/// Counters of one agent. Clones share them.
#[derive(Clone, Debug)]
pub struct Meter {
    node: String,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Whether the objects that there were at the beginning were seen.
    began: bool,
    /// Phases as they were seen last, by direction and UID.
    seen: BTreeMap<(Direction, String), DataPhase>,
    enqueued: u64,
    dequeued: u64,
    moved: BTreeMap<(Direction, &'static str), Moved>,
    /// Snapshots whose data was copied, and volumes that were filled, by how it ended.
    data: BTreeMap<(Direction, &'static str), u64>,
    latest: VecDeque<Latency>,
}

/// All movements of a direction that ended in the same way.
#[derive(Debug, Default)]
struct Moved {
    count: u64,
    bytes: u64,
    new_bytes: u64,
    seconds: u64,
}

#[derive(Debug)]
struct Latency {
    operation: &'static str,
    backup: String,
    name: String,
    seconds: i64,
}

impl Meter {
    pub(super) fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            kept: Arc::default(),
        }
    }

    /// Takes in how the objects of the node stand.
    pub(super) fn see(&self, movements: &[Movement]) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let began = std::mem::replace(&mut kept.began, true);
        let mut seen = BTreeMap::new();
        for movement in movements {
            let key = (movement.direction, movement.uid.clone());
            let before = kept.seen.remove(&key);
            let was_begun = before.as_ref().is_some_and(is_begun);
            let had_ended = match &before {
                Some(phase) => phase.is_final(),
                None => !began && movement.phase.is_final(),
            };
            if !had_ended {
                let begun = is_begun(&movement.phase) || movement.phase.is_final();
                let is_backup = movement.direction == Direction::Backup;
                if begun && !was_begun && is_backup {
                    kept.enqueued += 1;
                }
                if movement.phase.is_final() {
                    kept.dequeued += u64::from(is_backup);
                    kept.end(movement);
                }
            }
            seen.insert(key, movement.phase.clone());
        }
        kept.seen = seen;
    }

    /// All of it as Prometheus reads it.
    #[must_use]
    pub fn text(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let node = escaped(&self.node);
        let mut text = String::new();
        for (name, help, value) in [
            (
                "podVolume_pod_volume_backup_enqueue_count",
                "PodVolumeBackups of this node that were accepted",
                kept.enqueued,
            ),
            (
                "podVolume_pod_volume_backup_dequeue_count",
                "PodVolumeBackups of this node that ended",
                kept.dequeued,
            ),
        ] {
            head(&mut text, name, help, "counter");
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}{{node=\"{node}\"}} {value}");
        }
        kept.data_moves(&mut text, &node);
        kept.latencies(&mut text, &node);
        type Of = fn(&Moved) -> u64;
        let families: [(&str, &str, Of); 4] = [
            (
                "salvor_volume_moves_total",
                "Volumes that were moved, by how it ended",
                |moved| moved.count,
            ),
            (
                "salvor_volume_moved_bytes_total",
                "Bytes of the volumes that were moved",
                |moved| moved.bytes,
            ),
            (
                "salvor_volume_moved_new_bytes_total",
                "Bytes of them that their repository did not have",
                |moved| moved.new_bytes,
            ),
            (
                "salvor_volume_move_seconds_total",
                "Seconds that moving them took",
                |moved| moved.seconds,
            ),
        ];
        for (name, help, value) in families {
            head(&mut text, name, help, "counter");
            for ((direction, result), moved) in &kept.moved {
                let (direction, value) = (direction.word(), value(moved));
                let _ = writeln!(
                    text,
                    "{name}{{node=\"{node}\",direction=\"{direction}\",result=\"{result}\"}} {value}"
                );
            }
        }
        text
    }
}

impl Kept {
    fn end(&mut self, movement: &Movement) {
        let seconds = match (movement.started, movement.completed) {
            (Some(started), Some(completed)) => completed.seconds_since(started).max(0),
            _ => 0,
        };
        let result = match movement.phase {
            DataPhase::Completed => "completed",
            DataPhase::Canceled => "cancelled",
            _ => "failed",
        };
        // Velero tells data of snapshots from copied files also in restores; here both come back in the same way.
        if movement.direction == Direction::Restore || movement.annotations[OF_SNAPSHOT] == "true" {
            *self.data.entry((movement.direction, result)).or_default() += 1;
        }
        let outcome = movement.outcome().unwrap_or_default();
        let moved = self.moved.entry((movement.direction, result)).or_default();
        moved.count += 1;
        moved.bytes += outcome.bytes;
        moved.new_bytes += outcome.new_bytes;
        moved.seconds += seconds.unsigned_abs();
        if result == "completed" {
            if self.latest.len() == SHOWN {
                self.latest.pop_front();
            }
            let tags = movement.tags.iter();
            let backup = tags.filter_map(|tag| tag.strip_prefix("backup=")).next();
            self.latest.push_back(Latency {
                operation: match movement.direction {
                    Direction::Backup => "PodVolumeBackup",
                    Direction::Restore => "PodVolumeRestore",
                },
                backup: backup.unwrap_or_default().to_owned(),
                name: movement.name.clone(),
                seconds,
            });
        }
    }

    /// Velero's counters of DataUploads and DataDownloads. They are there from the beginning, so that a rise from nothing
    /// is seen.
    fn data_moves(&self, text: &mut String, node: &str) {
        for (direction, what, help) in [
            (
                Direction::Backup,
                "data_upload",
                "Snapshots whose data was to be copied",
            ),
            (
                Direction::Restore,
                "data_download",
                "Volumes that were to be filled",
            ),
        ] {
            for (word, result) in [
                ("success", "completed"),
                ("failure", "failed"),
                ("cancel", "cancelled"),
            ] {
                let name = format!("podVolume_{what}_{word}_total");
                let count = self.data.get(&(direction, result)).copied().unwrap_or(0);
                head(text, &name, &format!("{help}: {result}"), "counter");
                let _ = writeln!(text, "{name}{{node=\"{node}\"}} {count}");
            }
        }
    }

    fn latencies(&self, text: &mut String, node: &str) {
        const NAME: &str = "podVolume_pod_volume_operation_latency_seconds";
        let labels = |latency: &Latency| {
            format!(
                "node=\"{node}\",operation=\"{}\",backupName=\"{}\",pod_volume_backup=\"{}\"",
                latency.operation,
                escaped(&latency.backup),
                escaped(&latency.name)
            )
        };
        head(
            text,
            NAME,
            "Seconds that moving one volume took",
            "histogram",
        );
        for latency in &self.latest {
            let labels = labels(latency);
            for bound in BOUNDS {
                let within = u8::from(latency.seconds <= bound);
                let _ = writeln!(text, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {within}");
            }
            let _ = writeln!(text, "{NAME}_bucket{{{labels},le=\"+Inf\"}} 1");
            let _ = writeln!(text, "{NAME}_sum{{{labels}}} {}", latency.seconds);
            let _ = writeln!(text, "{NAME}_count{{{labels}}} 1");
        }
        let gauge = format!("{NAME}_gauge");
        head(text, &gauge, "The same as one figure", "gauge");
        for latency in &self.latest {
            let _ = writeln!(text, "{gauge}{{{}}} {}", labels(latency), latency.seconds);
        }
    }
}

fn head(text: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

/// The agent has accepted it, and it has not ended.
fn is_begun(phase: &DataPhase) -> bool {
    matches!(
        phase,
        DataPhase::Accepted | DataPhase::Prepared | DataPhase::InProgress | DataPhase::Canceling
    )
}

/// A label's value, as the text format wants it.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(phase: &str) -> Movement {
        let object = json!({"apiVersion": "velero.io/v1", "kind": "PodVolumeBackup",
            "metadata": {"name": "b-1", "uid": "u1", "annotations": {"salvor.dev/result": "{\"bytes\": 7, \"newBytes\": 3}"}},
            "spec": {"node": "n", "pod": {"name": "p", "namespace": "a"}, "volume": "v",
                "backupStorageLocation": "default", "repoIdentifier": "", "tags": {"backup": "nightly"}},
            "status": {"phase": phase, "startTimestamp": "2026-01-01T00:00:00Z",
                "completionTimestamp": "2026-01-01T00:02:00Z"}});
        Movement::read(Direction::Backup, &object).expect("one")
    }

    fn figures(meter: &Meter) -> Vec<String> {
        let text = meter.text();
        let is_nothing = |line: &str| line.starts_with("podVolume_data_") && line.ends_with(" 0");
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !is_nothing(line));
        let told = lines.filter(|line| !line.contains("_bucket"));
        told.map(str::to_owned).collect()
    }

    #[test]
    fn a_movement_is_counted_once_when_it_begins_and_once_when_it_ends() {
        let meter = Meter::new("n");
        meter.see(&[]);
        for phase in ["New", "Accepted", "InProgress", "Completed", "Completed"] {
            meter.see(&[at(phase)]);
        }
        meter.see(&[]);
        let labels = "node=\"n\",operation=\"PodVolumeBackup\",backupName=\"nightly\",pod_volume_backup=\"b-1\"";
        let ended = "node=\"n\",direction=\"backup\",result=\"completed\"";
        assert_eq!(
            figures(&meter),
            [
                "podVolume_pod_volume_backup_enqueue_count{node=\"n\"} 1".to_owned(),
                "podVolume_pod_volume_backup_dequeue_count{node=\"n\"} 1".to_owned(),
                format!("podVolume_pod_volume_operation_latency_seconds_sum{{{labels}}} 120"),
                format!("podVolume_pod_volume_operation_latency_seconds_count{{{labels}}} 1"),
                format!("podVolume_pod_volume_operation_latency_seconds_gauge{{{labels}}} 120"),
                format!("salvor_volume_moves_total{{{ended}}} 1"),
                format!("salvor_volume_moved_bytes_total{{{ended}}} 7"),
                format!("salvor_volume_moved_new_bytes_total{{{ended}}} 3"),
                format!("salvor_volume_move_seconds_total{{{ended}}} 120"),
            ]
        );
        assert!(meter.text().contains("le=\"60\"} 0\n"));
        assert!(meter.text().contains("le=\"300\"} 1\n"));
    }

    #[test]
    fn what_had_ended_before_the_agent_began_is_not_counted_and_a_failure_is_told_apart() {
        let meter = Meter::new("n\"1\"");
        meter.see(&[at("Completed")]);
        assert_eq!(figures(&meter).len(), 2, "{:?}", figures(&meter));
        meter.see(&[]);
        meter.see(&[at("Failed")]);
        let shown = figures(&meter).join("\n");
        assert!(
            shown.contains("dequeue_count{node=\"n\\\"1\\\"\"} 1"),
            "{shown}"
        );
        assert!(shown.contains("result=\"failed\"} 1"), "{shown}");
    }

    #[test]
    fn data_of_snapshots_and_volumes_that_were_filled_are_counted_as_velero_counts_them() {
        let meter = Meter::new("n");
        let nothing = meter.text();
        for what in ["data_upload", "data_download"] {
            for word in ["success", "failure", "cancel"] {
                let line = format!("podVolume_{what}_{word}_total{{node=\"n\"}} 0\n");
                assert!(nothing.contains(&line), "{nothing}");
            }
        }
        let of = |direction: Direction, name: &str, phase: &str, of_snapshot: bool| {
            let mut movement = at(phase);
            movement.direction = direction;
            movement.uid = name.to_owned();
            if of_snapshot {
                movement.annotations[OF_SNAPSHOT] = "true".into();
            }
            movement
        };
        meter.see(&[]);
        meter.see(&[
            of(Direction::Backup, "a", "Completed", true),
            of(Direction::Backup, "b", "Failed", true),
            of(Direction::Backup, "c", "Completed", false),
            of(Direction::Restore, "d", "Completed", false),
            of(Direction::Restore, "e", "Canceled", false),
        ]);
        let shown = figures(&meter);
        let shown: Vec<&str> = shown
            .iter()
            .filter(|line| line.contains("_data_"))
            .map(String::as_str)
            .collect();
        assert_eq!(
            shown,
            [
                "podVolume_data_upload_success_total{node=\"n\"} 1",
                "podVolume_data_upload_failure_total{node=\"n\"} 1",
                "podVolume_data_download_success_total{node=\"n\"} 1",
                "podVolume_data_download_cancel_total{node=\"n\"} 1",
            ]
        );
    }
}
