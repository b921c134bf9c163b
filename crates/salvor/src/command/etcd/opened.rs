//! A snapshot of etcd opened as a backup is: everything that works on backups works on it.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::velero::{Backup, BackupPhase};
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use salvor_archive::assemble::Assembler;
use salvor_archive::item::ItemRef;
use salvor_archive::segment::SegmentBuilder;
use salvor_etcd::history::{self, Past, Version};
use salvor_etcd::kubernetes::{Keys, Place as ObjectPlace};
use salvor_objects::restore::Source;
use salvor_objects::source::SpooledItems;

use super::recover::Versions;
use super::{source, stoppable};
use crate::args::etcd_objects::{Moment, Place, ReadArgs};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Objects that are named when they cannot be read; the others are counted.
const MOST_NAMED: usize = 20;

/// The archive of the objects could not be written.
fn not_kept(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    let doing = "keep the objects of the snapshot in a temporary file";
    Failure::caused(Exit::Internal, doing, error)
}

impl From<history::Error> for Failure {
    fn from(error: history::Error) -> Self {
        match error {
            history::Error::Snapshot(error) => error.into(),
            error @ history::Error::OutOfReach { .. } => Self::caused(Exit::NotFound, "", error),
            error => Self::caused(Exit::VerificationFailed, "", error).hint(super::TAKE_ANOTHER),
        }
    }
}

/// A snapshot, open.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its objects.
    pub(super) source: Source,
    /// Its revision.
    pub(super) revision: u64,
    /// What could not be read, with the reason.
    pub(super) unreadable: Unreadable,
}

/// Objects that are not in the source.
#[derive(Clone, Debug, Default)]
pub(super) struct Unreadable {
    /// The first of them, by name.
    pub(super) named: Vec<String>,
    /// All of them.
    pub(super) count: u64,
}

/// Opens a snapshot, and says what of it cannot be read.
pub(super) async fn open(
    moment: &Moment,
    read: &ReadArgs,
    session: &Session,
) -> Result<Opened, Failure> {
    let keys = source::keys(read)?;
    let mut past = source::open_moment(moment, Versions::Needed, &read.place, session).await?;
    let (asked, now) = (moment.clone(), Time::new(session.now()));
    let opened = stoppable(session, move |stop| {
        Building::new(keys)?.read(&mut past, &asked, now, stop)
    });
    let opened = opened.await?;
    for text in &opened.unreadable.named {
        session.printer.warning(text);
    }
    let more = opened.unreadable.count - opened.unreadable.named.len() as u64;
    if more > 0 {
        let text = session.messages.etcd_more_unreadable(more);
        session.printer.warning(&text);
    }
    Ok(opened)
}

/// An archive that grows.
struct Building {
    keys: Keys,
    assembler: Assembler,
    segment: SegmentBuilder,
    items: SpooledItems,
    unreadable: Unreadable,
    objects: u64,
    /// The first failure; what comes after it is passed over.
    failed: Option<Failure>,
}

impl Building {
    fn new(keys: Keys) -> Result<Self, Failure> {
        let (assembler, head) = Assembler::new();
        let mut items = SpooledItems::new().map_err(not_kept)?;
        items.write_all(&head).map_err(not_kept)?;
        Ok(Self {
            keys,
            assembler,
            segment: SegmentBuilder::new(),
            items,
            unreadable: Unreadable::default(),
            objects: 0,
            failed: None,
        })
    }

    fn read(
        mut self,
        past: &mut Past,
        moment: &Moment,
        now: Time,
        stop: &AtomicBool,
    ) -> Result<Opened, Failure> {
        let state = history::state(past, moment.revision, |_| true, stop)?;
        history::values(past, &state, stop, |version| {
            if self.failed.is_none() {
                self.failed = self.take(&version).err();
            }
        })?;
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        self.flush()?;
        let (tail, index) = self.assembler.finish();
        self.items.write_all(&tail).map_err(not_kept)?;
        let name = name_of(&moment.place, state.revision);
        let mut backup = Backup::named("velero", name.as_str());
        backup.metadata.creation_timestamp = Some(now);
        let revision = state.revision.to_string();
        let annotations = &mut backup.metadata.annotations;
        annotations.insert(labels::ETCD_REVISION.to_owned(), revision);
        backup.status.phase = match self.unreadable.count {
            0 => BackupPhase::Completed,
            _ => BackupPhase::PartiallyFailed,
        };
        Ok(Opened {
            source: Source {
                backup,
                name,
                archive: Archive::open(index, Arc::new(self.items)),
                volumes: Vec::new(),
                record: None,
                snapshots: Vec::new(),
                oddities: self.unreadable.named.clone(),
                damage: None,
            },
            revision: state.revision,
            unreadable: self.unreadable,
        })
    }

    fn take(&mut self, version: &Version<'_>) -> Result<(), Failure> {
        let opened = self.keys.open(version.entry.key, version.entry.value);
        let Some(place) = ObjectPlace::of(version.entry.key, &opened.stored()) else {
            return Ok(());
        };
        let decoded = match opened.object(version.entry.mod_revision) {
            Ok(decoded) => decoded,
            Err(problem) => {
                self.tell(&place, &problem.to_string());
                return Ok(());
            }
        };
        let resource = GroupResource::new(&place.resource, &place.group);
        let key = match place.namespace.as_str() {
            "" => ObjectKey::cluster(resource, &place.name),
            namespace => ObjectKey::namespaced(resource, namespace, &place.name),
        };
        let body = serde_json::to_vec(&decoded.object).map_err(not_kept)?;
        let item = ItemRef {
            key: &key,
            version: place.version(),
            preferred: true,
            body: &body,
        };
        if !self.segment.fits(&item) {
            self.flush()?;
        }
        match self.segment.push(&item, 0) {
            Ok(()) => self.objects += 1,
            // A name that makes no path of an archive.
            Err(problem @ ArchiveError::BadItem { .. }) => self.tell(&place, &problem.to_string()),
            Err(error) => return Err(not_kept(error)),
        }
        Ok(())
    }

    fn tell(&mut self, place: &ObjectPlace, problem: &str) {
        self.unreadable.count += 1;
        if self.unreadable.named.len() < MOST_NAMED {
            let name = super::objects::shown(place);
            self.unreadable.named.push(format!("{name}: {problem}"));
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        if self.segment.is_empty() {
            return Ok(());
        }
        let member = std::mem::take(&mut self.segment)
            .finish()
            .compress()
            .map_err(not_kept)?;
        let bytes = self.assembler.add(member).map_err(not_kept)?;
        self.items.write_all(&bytes).map_err(not_kept)
    }
}

/// A name for what is shown of a snapshot; any file has one.
fn name_of(place: &Place, revision: u64) -> BackupName {
    let stem = match place {
        Place::File(file) => file.file_stem().unwrap_or_default().to_string_lossy(),
        Place::Point(id) => id.as_str().into(),
        Place::Chain(_) => "chain".into(),
    };
    let plain: String = stem
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(100)
        .collect();
    let plain = plain.trim_matches('-');
    BackupName::new(format!("{plain}-r{revision}"))
        .or_else(|_| BackupName::new(format!("etcd-r{revision}")))
        .expect("letters, digits and single dashes are a name")
}
