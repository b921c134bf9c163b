//! What became of a volume: into the record, and into the log where a user should know.

use salvor_api::go::Time;
use salvor_archive::files::{
    BackupVolumeInfo, Consistency, CsiSnapshot, NativeSnapshotInfo, RepositorySnapshot,
    SalvorVolume, VolumeMethod, VolumeOutcome,
};
use salvor_volume::csi::CsiTaken;
use salvor_volume::{Stored, VolumePlace};

use super::super::gather::Run;
use super::super::runlog::About;
use super::Place;
use super::decide::{Skip, Weight};
use super::native::Kept;

/// Problems of one volume that a message quotes.
const QUOTED: usize = 3;

/// How it ended with a volume.
#[derive(Debug)]
pub(super) enum Ended {
    /// Its files are in a repository.
    Stored {
        stored: Box<Stored>,
        at: Box<VolumePlace>,
        consistency: Consistency,
        /// The snapshot that they were copied from, where it was none of the volume itself.
        moved: Option<CsiSnapshot>,
    },
    /// A snapshot of it stays in the storage.
    Kept {
        taken: Box<CsiTaken>,
        consistency: Consistency,
        /// When it was asked for.
        started: Time,
    },
    /// Its storage keeps a snapshot, by its own interface.
    Native(Box<Kept>),
    /// Its data is not in the backup.
    Skipped {
        weight: Weight,
        /// By what it was asked for.
        asked: Option<String>,
        reason: String,
    },
}

impl Ended {
    /// Its snapshot was not taken, or did not come to be used; an error where something asked for it.
    pub(super) fn untaken(asked: Option<String>, reason: String) -> Self {
        Self::Skipped {
            weight: match asked {
                Some(_) => Weight::Error,
                None => Weight::Warning,
            },
            asked,
            reason,
        }
    }
}

impl From<Skip> for Ended {
    fn from(skip: Skip) -> Self {
        let Skip {
            weight,
            asked,
            reason,
        } = skip;
        Self::Skipped {
            weight,
            asked,
            reason,
        }
    }
}

impl Run {
    /// Keeps what became of a volume.
    pub(super) fn settle(&self, place: &Place, ended: Ended) {
        let mut record = self.volumes(|volumes| volumes.record_of(place));
        let (weight, text) = match ended {
            Ended::Stored {
                stored,
                at,
                consistency,
                moved,
            } => {
                let said = [unread(&stored), stored.left_out().unwrap_or_default()];
                let said = said.into_iter().filter(|text| !text.is_empty());
                let lacks = said.collect::<Vec<_>>().join("; ");
                fill(&mut record, *stored, *at, consistency);
                if moved.is_some() {
                    record.method = Some(VolumeMethod::CsiMoved);
                    record.csi = moved;
                }
                record.reason.clone_from(&lacks);
                match lacks.is_empty() {
                    true => (Weight::Silent, stored_text(&record)),
                    false => (Weight::Warning, lacks),
                }
            }
            Ended::Kept {
                taken,
                consistency,
                started,
            } => {
                record.outcome = VolumeOutcome::Protected;
                record.method = Some(VolumeMethod::CsiSnapshot);
                record.consistency = Some(consistency);
                record.started = taken.taken.or(Some(started));
                record.ended = Some(Time::new(jiff::Timestamp::now()));
                record.csi = Some(csi_record(&taken));
                let text = format!(
                    "snapshot {} was taken by driver {}, which keeps it",
                    taken.handle, taken.driver
                );
                (Weight::Silent, text)
            }
            Ended::Native(kept) => keep_native(&mut record, *kept),
            Ended::Skipped {
                weight,
                asked,
                reason,
            } => skip(&mut record, weight, asked, &reason),
        };
        let text = format!("{}: {text}", what(place, &record));
        let about = match record.namespace.as_str() {
            "" => About::Run,
            namespace => About::Namespace(namespace),
        };
        match weight {
            // Nearly every pod has some: the record is enough.
            Weight::Silent if matches!(place, Place::OfPod(..)) && record.snapshot.is_none() => {}
            Weight::Silent | Weight::Summed => self.log().info(about, &text),
            Weight::Warning => self.log().warn(about, &text),
            Weight::Error => self.log().error(about, &text),
        }
        self.volumes(|volumes| {
            if weight == Weight::Summed {
                *volumes.summed.entry(record.namespace.clone()).or_default() += 1;
            }
            volumes.keep(record);
        });
    }

    /// Says once for a namespace what would be too much for each volume.
    pub(super) fn tell_summed(&self) {
        for (namespace, count) in self.volumes(|volumes| std::mem::take(&mut volumes.summed)) {
            let what = match count {
                1 => "1 hostPath volume of a pod was".to_owned(),
                some => format!("{some} hostPath volumes of pods were"),
            };
            let text = format!(
                "{what} not backed up: a hostPath is a folder of its node, which belongs to no volume; the details of \
                 the backup have the names"
            );
            self.log().warn(About::Namespace(&namespace), &text);
        }
    }
}

fn skip(
    record: &mut SalvorVolume,
    weight: Weight,
    asked: Option<String>,
    reason: &str,
) -> (Weight, String) {
    record.outcome = match weight {
        Weight::Error => VolumeOutcome::Failed,
        Weight::Silent | Weight::Summed | Weight::Warning => VolumeOutcome::Skipped,
    };
    match (weight, asked) {
        (Weight::Error, Some(by)) => {
            record.reason = format!("{by} asks for it, but {reason}");
            let text = format!("its data was not backed up although {by} asks for it: {reason}");
            (weight, text)
        }
        (_, _) => {
            reason.clone_into(&mut record.reason);
            (weight, format!("its data was not backed up: {reason}"))
        }
    }
}

fn keep_native(record: &mut SalvorVolume, kept: Kept) -> (Weight, String) {
    let native = &kept.record;
    let text = format!(
        "its storage took snapshot {} (location {})",
        native.handle, native.location
    );
    record.outcome = VolumeOutcome::Protected;
    record.method = Some(VolumeMethod::NativeSnapshot);
    record.consistency = Some(kept.consistency);
    record.started = Some(kept.started);
    record.ended = Some(kept.ended);
    record.native = Some(kept.record);
    record.reason.clone_from(&kept.note);
    match kept.note.is_empty() {
        true => (Weight::Silent, text),
        false => (Weight::Warning, format!("{text}: {}", kept.note)),
    }
}

/// Writes into Velero's file that a volume's storage keeps a snapshot, which Velero restores as its own.
pub(super) fn native_info(info: &mut BackupVolumeInfo, record: &SalvorVolume) {
    let Some(native) = &record.native else { return };
    "NativeSnapshot".clone_into(&mut info.backup_method);
    "succeeded".clone_into(&mut info.result);
    info.start_timestamp = record.started;
    info.completion_timestamp = record.ended;
    info.native_snapshot_info = Some(NativeSnapshotInfo {
        snapshot_handle: native.handle.clone(),
        volume_type: native.volume_type.clone(),
        volume_az: native.zone.clone(),
        iops: native.iops.map(|iops| iops.to_string()).unwrap_or_default(),
        phase: "Completed".to_owned(),
    });
}

fn fill(record: &mut SalvorVolume, stored: Stored, at: VolumePlace, consistency: Consistency) {
    if let VolumePlace::Pod { name, volume, .. } = at {
        record.pod = name;
        record.pod_volume = volume;
    }
    record.node = stored.node;
    record.outcome = VolumeOutcome::Protected;
    record.method = Some(VolumeMethod::Files);
    record.consistency = Some(consistency);
    record.started = stored.started;
    record.ended = stored.ended;
    record.snapshot = Some(RepositorySnapshot {
        domain: stored.domain,
        id: stored.snapshot,
        bytes: stored.bytes,
        new_bytes: stored.new_bytes,
        entries: stored.entries,
        unread: stored.unread,
    });
}

/// Which entries are missing; empty when none is.
fn unread(stored: &Stored) -> String {
    if stored.unread == 0 {
        return String::new();
    }
    let entries = match stored.unread {
        1 => "1 entry could not be read and is".to_owned(),
        some => format!("{some} entries could not be read and are"),
    };
    let first: Vec<&str> = stored
        .problems
        .iter()
        .take(QUOTED)
        .map(String::as_str)
        .collect();
    let mut text = format!("{entries} not in the backup");
    if !first.is_empty() {
        text.push_str(": ");
        text.push_str(&first.join("; "));
    }
    if stored.unread > first.len() as u64 && !first.is_empty() {
        text.push_str("; ...");
    }
    text
}

fn stored_text(record: &SalvorVolume) -> String {
    let snapshot = record.snapshot.as_ref();
    snapshot.map_or_else(String::new, |snapshot| {
        format!(
            "{} bytes in {} entries were copied, {} bytes of them new: snapshot {} of repository {}",
            snapshot.bytes, snapshot.entries, snapshot.new_bytes, snapshot.id, snapshot.domain
        )
    })
}

/// What the record says of a snapshot that was taken.
pub(super) fn csi_record(taken: &CsiTaken) -> CsiSnapshot {
    CsiSnapshot {
        driver: taken.driver.clone(),
        handle: taken.handle.clone(),
        class: taken.class.clone(),
        snapshot: taken.snapshot.clone(),
        content: taken.content.clone(),
        restore_size: taken.restore_size,
        group: taken.group_handle.clone(),
    }
}

/// `volume pv-1 of claim shop/data`.
fn what(place: &Place, record: &SalvorVolume) -> String {
    let SalvorVolume {
        namespace,
        claim,
        persistent_volume,
        ..
    } = record;
    match (place, persistent_volume.as_str(), claim.as_str()) {
        (Place::OfPod(..), _, _) | (_, "", _) | (_, _, "") => place.to_string(),
        (_, volume, claim) => format!("volume {volume} of claim {namespace}/{claim}"),
    }
}
