//! Figures of a capture, in the text form of Prometheus.

use std::fmt::Write as _;
use std::path::Path;

use jiff::Timestamp;

use super::Error;

/// Figures of a capture since it began.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Id of the cluster.
    pub cluster: u64,
    /// The last revision in the location.
    pub captured: u64,
    /// The newest revision that is known of the cluster.
    pub known: u64,
    /// When a segment was last written.
    pub last_segment: Option<Timestamp>,
    /// Longest time that a change of the last segment waited, in seconds.
    pub lag: f64,
    /// The same of all segments.
    pub worst_lag: f64,
    /// Segments.
    pub segments: u64,
    /// Changes in them.
    pub changes: u64,
    /// Bytes of them, encrypted.
    pub segment_bytes: u64,
    /// Segments that were put together from others.
    pub roll_ups: u64,
    /// Bytes of them, encrypted.
    pub roll_up_bytes: u64,
    /// Bases.
    pub bases: u64,
    /// Bytes of them, encrypted.
    pub base_bytes: u64,
    /// Chains that were begun.
    pub chains: u64,
    /// Those among them before which changes may be lost.
    pub breaks: u64,
    /// Failures that were tried again.
    pub failures: u64,
    /// Bytes of the newest base, encrypted; 0 while it is not known.
    pub full_bytes: u64,
    /// Segments with changes: states that full snapshots alone would have cost one each.
    pub states: u64,
}

impl Metrics {
    /// Bytes that it would have taken to send a full snapshot for each segment with changes.
    #[must_use]
    pub fn full_only(&self) -> u64 {
        self.base_bytes
            .saturating_add(self.states.saturating_mul(self.full_bytes))
    }

    /// Bytes that were sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.base_bytes + self.segment_bytes + self.roll_up_bytes
    }

    /// As text.
    #[must_use]
    pub fn text(&self) -> String {
        let last = self.last_segment.map_or(0, Timestamp::as_second);
        let lines: [(&str, &str, &str, f64); 16] = [
            (
                "captured_revision",
                "gauge",
                "Last revision in the location.",
                self.captured as f64,
            ),
            (
                "source_revision",
                "gauge",
                "Newest revision known of the cluster.",
                self.known as f64,
            ),
            (
                "last_segment_timestamp_seconds",
                "gauge",
                "When a segment was last written.",
                last as f64,
            ),
            (
                "lag_seconds",
                "gauge",
                "Time that the oldest change of the last segment waited.",
                self.lag,
            ),
            (
                "worst_lag_seconds",
                "gauge",
                "The longest such time.",
                self.worst_lag,
            ),
            (
                "segments_total",
                "counter",
                "Segments written.",
                self.segments as f64,
            ),
            (
                "changes_total",
                "counter",
                "Changes in them.",
                self.changes as f64,
            ),
            (
                "segment_bytes_total",
                "counter",
                "Bytes of segments sent.",
                self.segment_bytes as f64,
            ),
            (
                "roll_ups_total",
                "counter",
                "Segments put together from others.",
                self.roll_ups as f64,
            ),
            (
                "roll_up_bytes_total",
                "counter",
                "Bytes of them sent.",
                self.roll_up_bytes as f64,
            ),
            (
                "full_only_bytes_total",
                "counter",
                "Bytes that full snapshots of the same states would have sent.",
                self.full_only() as f64,
            ),
            (
                "bases_total",
                "counter",
                "Full snapshots sent.",
                self.bases as f64,
            ),
            (
                "base_bytes_total",
                "counter",
                "Bytes of full snapshots sent.",
                self.base_bytes as f64,
            ),
            (
                "chains_total",
                "counter",
                "Chains begun.",
                self.chains as f64,
            ),
            (
                "breaks_total",
                "counter",
                "Chains begun because changes may be lost.",
                self.breaks as f64,
            ),
            (
                "failures_total",
                "counter",
                "Failures that were tried again.",
                self.failures as f64,
            ),
        ];
        let mut text = String::new();
        for (name, kind, help, value) in lines {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# HELP salvor_etcd_stream_{name} {help}");
            let _ = writeln!(text, "# TYPE salvor_etcd_stream_{name} {kind}");
            let _ = writeln!(
                text,
                "salvor_etcd_stream_{name}{{cluster=\"{:016x}\"}} {value}",
                self.cluster
            );
        }
        text
    }

    /// Replaces a file, so that who reads it sees one whole state.
    pub(super) async fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::Metrics {
            path: path.to_owned(),
            source,
        };
        let (text, target) = (self.text(), path.to_owned());
        let write = tokio::task::spawn_blocking(move || {
            let folder = target
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            let mut file = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            // A collector of another user reads it.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            file.as_file().set_permissions(mode)?;
            file.persist(&target).map(drop).map_err(|error| error.error)
        });
        let written = write
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_has_its_kind_and_cluster() {
        let metrics = Metrics {
            cluster: 0xab,
            captured: 7,
            ..Metrics::default()
        };
        let text = metrics.text();
        assert!(
            text.contains(
                "\nsalvor_etcd_stream_captured_revision{cluster=\"00000000000000ab\"} 7\n"
            )
        );
        let lines = text.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(lines, text.matches("# TYPE").count());
    }
}
