//! The contents of a batch of files, pack by pack.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, OFlags};
use rustix::io::Errno;

use super::clear::clear;
use super::place::Target;
use super::{RestoreOptions, Tally, is_hopeless, local, metadata};
use crate::error::{Error, Result};
use crate::files::Kind;
use crate::format::index_file::BlobKind;
use crate::format::node::Node;
use crate::id::BlobId;
use crate::index::{Index, Place};
use crate::opener::Opener;
use crate::progress::Progress;
use crate::repository::Repository;

/// Pieces of a batch: 72 bytes each.
const MOST_PIECES: usize = 200_000;
/// Files of a batch: each holds its node.
const MOST_FILES: usize = 50_000;
/// Bytes that are read in one request at most.
const READ: u64 = 16 << 20;
/// Bytes between two pieces that are read along rather than asked for again.
const GAP: u64 = 256 << 10;
/// Open files that a worker keeps.
const OPEN: usize = 64;
/// Threads that read packs, when nothing else is said.
const WORKERS: usize = 4;

/// Said of what stands in the target and was not touched.
const KEPT: &str = "what stands there is as it was: ";
/// Said of a file that was rewritten in part, which what is read once before it is written prevents unless the store changes
/// meanwhile.
const MIXED: &str = "what stands there holds pieces of before and of the snapshot: ";

/// What stands where a file is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// A file whose pieces are rewritten where they differ. It is never removed, and zeros are written.
    File,
    /// Something that goes when the file can be read: a link, a directory, a file with several names.
    InTheWay,
}

/// A file whose content is being written.
struct Job {
    path: PathBuf,
    node: Node,
    before: Before,
    /// Pieces that are wanted.
    pieces: usize,
    /// Pieces that are not written yet.
    pending: AtomicUsize,
    /// Whether something was written.
    written: AtomicBool,
    /// It is given up.
    failed: AtomicBool,
    /// Why.
    why: Mutex<String>,
}

impl Job {
    /// Whether what stands there could be lost to a piece that cannot be read.
    fn is_guarded(&self) -> bool {
        match self.before {
            Before::Nothing => false,
            // One piece is opened before anything is written.
            Before::File => self.pieces > 1,
            Before::InTheWay => true,
        }
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Gives it up. Of several reasons the first is told.
    fn give_up(&self, why: &dyn std::fmt::Display) {
        if !self.failed.swap(true, Ordering::Relaxed) {
            *lock(&self.why) = why.to_string();
        }
    }

    /// What became of what stood there.
    fn fate(&self) -> &'static str {
        match self.before {
            Before::File if self.written.load(Ordering::Relaxed) => MIXED,
            Before::File => KEPT,
            Before::InTheWay | Before::Nothing => "",
        }
    }
}

/// What is done with pieces that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// It is seen whether they can be read.
    Look,
    Write,
}

/// A piece that a file wants.
#[derive(Clone, Copy)]
struct Want {
    place: Place,
    id: BlobId,
    file: u32,
    at: u64,
}

/// Files whose content is wanted.
#[derive(Default)]
pub(super) struct Batch {
    jobs: Vec<Job>,
    wants: Vec<Want>,
}

/// What a batch works with.
#[derive(Clone, Copy)]
pub(super) struct Site<'r> {
    pub(super) repository: &'r Repository,
    pub(super) index: &'r Index,
    pub(super) target: &'r Target,
    pub(super) options: &'r RestoreOptions,
    pub(super) progress: &'r Progress,
    pub(super) tally: &'r Tally,
}

impl Batch {
    /// Takes a file and the pieces of it that have to be written: id, place, offset in the file.
    pub(super) fn add(
        &mut self,
        path: PathBuf,
        node: Node,
        before: Before,
        pieces: &[(BlobId, Place, u64)],
    ) -> Result<()> {
        let file = u32::try_from(self.jobs.len())
            .map_err(|_| Error::Invalid("a batch has too many files".to_owned()))?;
        self.wants.extend(pieces.iter().map(|(id, place, at)| Want {
            place: *place,
            id: *id,
            file,
            at: *at,
        }));
        self.jobs.push(Job {
            path,
            node,
            before,
            pieces: pieces.len(),
            pending: AtomicUsize::new(pieces.len()),
            written: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            why: Mutex::default(),
        });
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.wants.len() >= MOST_PIECES || self.jobs.len() >= MOST_FILES
    }

    /// Writes everything; the files with several names that do not have their content.
    pub(super) fn write(&mut self, site: Site<'_>) -> Result<Vec<PathBuf>> {
        self.wants
            .sort_unstable_by_key(|want| (want.place.pack, want.place.offset));
        self.look(site)?;
        each(site, &self.jobs, &self.wants, Aim::Write)?;
        self.wants.clear();
        let jobs = self.jobs.drain(..);
        let broken = jobs.filter(|job| job.node.links > 1 && job.has_failed());
        Ok(broken.map(|job| job.path).collect())
    }

    /// Gives up every file whose pieces cannot all be read and that would cost what stands there, then makes room for the
    /// others. Nothing but ranges of packs is held: they are read again to be written.
    fn look(&mut self, site: Site<'_>) -> Result<()> {
        let jobs = &self.jobs;
        let job = |want: &Want| &jobs[want.file as usize];
        let guarded: Vec<Want> = self
            .wants
            .iter()
            .filter(|want| job(want).is_guarded())
            .copied()
            .collect();
        if guarded.is_empty() {
            return Ok(());
        }
        each(site, jobs, &guarded, Aim::Look)?;
        for job in jobs.iter().filter(|job| job.is_guarded()) {
            if job.has_failed() {
                site.fail(&job.path, &format!("{KEPT}{}", lock(&job.why)));
            } else if job.before == Before::InTheWay && !clear(site, &job.path)? {
                job.failed.store(true, Ordering::Relaxed);
            }
        }
        self.wants.retain(|want| !job(want).has_failed());
        Ok(())
    }
}

/// Reads pieces, ordered by where they are, by several workers.
fn each(site: Site<'_>, jobs: &[Job], wants: &[Want], aim: Aim) -> Result<()> {
    let reads = Mutex::new(reads(wants).into_iter());
    let failure = Mutex::new(None);
    let workers = match site.options.workers {
        0 => WORKERS,
        several => several,
    };
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut writer = Writer {
                    site,
                    aim,
                    jobs,
                    open: HashMap::new(),
                };
                let mut buffers = Buffers::default();
                loop {
                    if lock(&failure).is_some() {
                        return;
                    }
                    let Some(read) = lock(&reads).next() else {
                        return;
                    };
                    if let Err(error) = writer.read(read, &mut buffers) {
                        lock(&failure).get_or_insert(error);
                    }
                }
            });
        }
    });
    lock(&failure).take().map_or(Ok(()), Err)
}

impl Site<'_> {
    /// Notes an entry that does not have its content.
    pub(super) fn fail(self, path: &Path, why: &dyn std::fmt::Display) {
        self.tally.fail(&self.target.show(path), why);
    }

    /// The same, of one where what stands there was not touched.
    pub(super) fn fail_and_keep(self, path: &Path, why: &dyn std::fmt::Display) {
        let stands = !self.target.is_fresh && self.target.open_at(path, OFlags::PATH).is_ok();
        let fate = if stands { KEPT } else { "" };
        self.fail(path, &format!("{fate}{why}"));
    }

    /// Notes an entry that has its content and not its metadata.
    pub(super) fn refuse(self, path: &Path, why: &dyn std::fmt::Display) {
        self.tally.refuse(&self.target.show(path), why);
    }

    /// An error of the target: the end when it hits everything, else a failure of this entry.
    pub(super) fn trouble(self, path: &Path, error: Errno) -> Result<()> {
        if is_hopeless(error) {
            return Err(local("write", &self.target.show(path), error));
        }
        self.fail(path, &error);
        Ok(())
    }
}

/// Pieces that are read in one request.
fn reads(wants: &[Want]) -> Vec<&[Want]> {
    let mut reads = Vec::new();
    let mut rest = wants;
    while let Some(first) = rest.first() {
        let begin = u64::from(first.place.offset);
        let mut end = begin;
        let count = rest
            .iter()
            .take_while(|want| {
                let from = u64::from(want.place.offset);
                let to = from + u64::from(want.place.length);
                let fits = want.place.pack == first.place.pack
                    && from <= end + GAP
                    && (to <= begin + READ || from == begin);
                if fits {
                    end = end.max(to);
                }
                fits
            })
            .count();
        let (read, after) = rest.split_at(count.max(1));
        reads.push(read);
        rest = after;
    }
    reads
}

/// The same piece wanted in several places: runs of at least one.
fn same_pieces(wants: &[Want]) -> impl Iterator<Item = &[Want]> {
    wants.chunk_by(|one, other| one.id == other.id && one.place == other.place)
}

struct Writer<'b> {
    site: Site<'b>,
    aim: Aim,
    jobs: &'b [Job],
    open: HashMap<u32, File>,
}

/// What a worker uses again and again.
#[derive(Default)]
struct Buffers {
    /// What was read of a pack.
    sealed: Vec<u8>,
    opener: Opener,
}

impl Writer<'_> {
    /// Reads some pieces of a pack and puts each where it is wanted.
    fn read(&mut self, wants: &[Want], buffers: &mut Buffers) -> Result<()> {
        self.site.progress.check()?;
        let Some(first) = wants.first() else {
            return Ok(());
        };
        let pack = self.site.index.pack(first.place.pack);
        let begin = u64::from(first.place.offset);
        let end = wants
            .iter()
            .map(|want| u64::from(want.place.offset) + u64::from(want.place.length))
            .max()
            .unwrap_or(begin);
        let repository = self.site.repository;
        let files = repository.files();
        match files.read_range_into(Kind::Pack, &pack, begin..end, &mut buffers.sealed) {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                for targets in same_pieces(wants) {
                    self.elsewhere(targets, &error)?;
                }
                return Ok(());
            }
            Err(error) => return Err(error),
        }

        for targets in same_pieces(wants) {
            let want = &targets[0];
            let from = (u64::from(want.place.offset) - begin) as usize;
            let sealed = &buffers.sealed[from..from + want.place.length as usize];
            match buffers
                .opener
                .open(repository.key(), want.place.uncompressed, &want.id, sealed)
            {
                Ok(_) if self.aim == Aim::Look => {}
                Ok(plain) => {
                    for target in targets {
                        self.put(target, plain)?;
                    }
                }
                Err(what) => {
                    let error = repository.damaged_blob(&pack, &want.id, what);
                    self.elsewhere(targets, &error)?;
                }
            }
        }
        Ok(())
    }

    /// Puts a piece that is damaged or gone where it is wanted, from another pack that has it.
    fn elsewhere(&mut self, targets: &[Want], error: &Error) -> Result<()> {
        let want = &targets[0];
        let Site {
            repository, index, ..
        } = self.site;
        match repository.read_elsewhere(index, BlobKind::Data, &want.id, &want.place)? {
            Some(_) if self.aim == Aim::Look => {}
            Some(plain) => {
                for target in targets {
                    self.put(target, &plain)?;
                }
            }
            None => self.fail(targets, error),
        }
        Ok(())
    }

    fn fail(&mut self, wants: &[Want], error: &Error) {
        for want in wants {
            self.jobs[want.file as usize].give_up(&Chain(error));
            if self.aim == Aim::Write {
                self.done(want);
            }
        }
    }

    /// Writes a piece. An error that hits only this file is a failure of it.
    fn put(&mut self, want: &Want, plain: &[u8]) -> Result<()> {
        let job = &self.jobs[want.file as usize];
        if job.has_failed() {
            self.done(want);
            return Ok(());
        }
        let hole = self.site.options.sparse && job.before != Before::File && is_zero(plain);
        let written = self.file(want.file).and_then(|file| {
            if hole {
                return Ok(());
            }
            job.written.store(true, Ordering::Relaxed);
            file.write_all_at(plain, want.at)
                .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
        });
        match written {
            Ok(()) => {
                let bytes = plain.len() as u64;
                self.site.tally.count(|restored| restored.bytes += bytes);
                self.site.progress.bytes_done(bytes);
            }
            Err(error) if is_hopeless(error) => {
                return Err(local("write", &self.site.target.show(&job.path), error));
            }
            Err(error) => job.give_up(&error),
        }
        self.done(want);
        Ok(())
    }

    fn file(&mut self, number: u32) -> std::result::Result<&File, Errno> {
        if !self.open.contains_key(&number) {
            let job = &self.jobs[number as usize];
            let file = self.site.target.file(&job.path)?;
            file.set_len(job.node.size)
                .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
            if self.open.len() >= OPEN {
                self.open.clear();
            }
            self.open.insert(number, file);
        }
        Ok(&self.open[&number])
    }

    /// A piece is written or given up; the last one completes the file.
    fn done(&mut self, want: &Want) {
        let job = &self.jobs[want.file as usize];
        if job.pending.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        let open = self.open.remove(&want.file);
        if job.has_failed() {
            drop(open);
            let why = format!("{}{}", job.fate(), lock(&job.why));
            self.site.fail(&job.path, &why);
            if job.before != Before::File {
                remove(self.site, &job.path);
            }
        } else if complete(self.site, &job.path, &job.node, open) {
            self.site.tally.count(|restored| restored.files += 1);
        }
    }
}

/// Removes a file of ours that is not whole.
fn remove(site: Site<'_>, path: &Path) {
    let removed = site
        .target
        .parent(path)
        .and_then(|(parent, name)| rustix::fs::unlinkat(parent, name, AtFlags::empty()));
    match removed {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => {
            let path = site.target.show(path);
            tracing::warn!(path = %path.display(), %error, "a file that is not whole could not be removed");
        }
    }
}

/// Gives a file its metadata. False when some could not be set, which is then noted.
pub(super) fn complete(site: Site<'_>, path: &Path, node: &Node, open: Option<File>) -> bool {
    let refused = match open {
        Some(file) => metadata::apply_to(&file.into(), node, site.options),
        None => metadata::apply(site.target, path, node, site.options),
    };
    site.progress.file_done();
    if refused.is_empty() {
        return true;
    }
    site.refuse(path, &refused.join("; "));
    false
}

/// An error with its causes.
pub(super) struct Chain<'e>(pub(super) &'e Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = std::error::Error::source(self.0);
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    // Most data shows at once that it is not.
    bytes.first() == Some(&0)
        && bytes
            .chunks(4096)
            .all(|chunk| chunk.iter().fold(0, |all, byte| all | byte) == 0)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
