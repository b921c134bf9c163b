//! Whether every directory of every snapshot reads, and every piece of every file is there.

use std::collections::{BTreeSet, HashSet};

use super::{Damaged, Finding};
use crate::bits::Bits;
use crate::error::Result;
use crate::files::Kind;
use crate::format::index_file::BlobKind;
use crate::format::node::NodeKind;
use crate::format::snapshot::Snapshot;
use crate::id::{BlobId, FileId};
use crate::index::{Index, Place};
use crate::progress::Progress;
use crate::repository::Repository;

/// What the walk found.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) snapshots: BTreeSet<FileId>,
    pub(super) unreachable_blobs: usize,
    /// Numbers of damaged packs of which a snapshot needs what it cannot have whole from another one.
    pub(super) needed_packs: HashSet<u32>,
    pub(super) damaged_snapshots: Vec<FileId>,
    /// Those of them that cannot be read themselves.
    pub(super) unreadable_snapshots: Vec<FileId>,
    pub(super) findings: Vec<Finding>,
}

struct Walk<'r> {
    repository: &'r Repository,
    index: &'r Index,
    progress: &'r Progress,
    /// Packs, and blobs in them, that are known to be damaged.
    damaged: &'r Damaged,
    /// By the blob's ordinal.
    reached: Bits,
    /// Trees, by the same, that read and whose own files are all there.
    whole: Bits,
    walked: Walked,
}

/// Walks every snapshot.
pub(super) fn run(
    repository: &Repository,
    index: &Index,
    damaged: &Damaged,
    progress: &Progress,
) -> Result<Walked> {
    let mut walk = Walk {
        repository,
        index,
        progress,
        damaged,
        reached: Bits::new(index.len()),
        whole: Bits::new(index.len()),
        walked: Walked::default(),
    };
    walk.snapshots()?;
    walk.walked.unreachable_blobs = index.len() - walk.reached.count();
    walk.needed_packs()?;
    Ok(walk.walked)
}

impl Walk<'_> {
    fn find(&mut self, file: String, what: String) {
        self.walked.findings.push(Finding {
            is_damage: true,
            file,
            what,
        });
    }

    fn snapshots(&mut self) -> Result<()> {
        let listed = self.repository.files().list(Kind::Snapshot)?;
        for file in listed {
            self.walked.snapshots.insert(file.id);
            let snapshot = match self
                .repository
                .read_document::<Snapshot>(Kind::Snapshot, &file.id)
            {
                Ok(snapshot) => snapshot,
                Err(error) if error.is_damage() => {
                    self.walked.damaged_snapshots.push(file.id);
                    self.walked.unreadable_snapshots.push(file.id);
                    let what = format!(
                        "it cannot be read ({}): `salvor repo repair --from` brings it from a copy, `--set-aside-snapshots` gives it up",
                        error.reason()
                    );
                    self.find(Kind::Snapshot.path(&file.id), what);
                    continue;
                }
                Err(error) => return Err(error),
            };
            if !self.tree(&file.id, snapshot.tree)? {
                self.walked.damaged_snapshots.push(file.id);
            }
        }
        Ok(())
    }

    /// Walks everything below a tree, without recursion: a hostile depth costs heap, not stack. Trees that snapshots share
    /// are walked once, and every snapshot that has one that is not whole is damaged.
    fn tree(&mut self, snapshot: &FileId, root: BlobId) -> Result<bool> {
        let mut open: Vec<Open> = Vec::new();
        let mut next = Some(root);
        loop {
            self.progress.check()?;
            let done = match next.take() {
                Some(id) => self.directory(snapshot, &id, &mut open)?,
                None => open.pop().map(|open| {
                    if open.whole {
                        self.whole.set(open.ordinal);
                    }
                    open.whole
                }),
            };
            match (done, open.last_mut()) {
                (Some(whole), None) => return Ok(whole),
                (Some(whole), Some(above)) => above.whole &= whole,
                (None, _) => {}
            }
            next = open.last_mut().and_then(|open| open.children.pop());
        }
    }

    /// Looks at a directory and opens it for what is below. Answers whether it is whole where that is known at once.
    fn directory(
        &mut self,
        snapshot: &FileId,
        id: &BlobId,
        open: &mut Vec<Open>,
    ) -> Result<Option<bool>> {
        let name = Kind::Snapshot.path(snapshot);
        let ordinals = self.index.ordinals(BlobKind::Tree, id)?;
        if !ordinals.is_empty() && self.reached.get(ordinals.start) {
            return Ok(Some(self.whole.get(ordinals.start)));
        }
        if !self.reach(BlobKind::Tree, id)? {
            let what = format!("its tree {id} is in no index or damaged");
            self.find(name, what);
            return Ok(Some(false));
        }
        let mut here = Open {
            ordinal: ordinals.start,
            children: Vec::new(),
            whole: true,
        };
        match self.entries(snapshot, id, &mut here) {
            Ok(()) => {}
            Err(error) if error.is_damage() => {
                self.find(name, format!("its tree {id}: {error}"));
                here.whole = false;
            }
            Err(error) => return Err(error),
        }
        open.push(here);
        Ok(None)
    }

    fn entries(&mut self, snapshot: &FileId, id: &BlobId, here: &mut Open) -> Result<()> {
        for node in self.repository.entries(self.index, id)? {
            let node = node?;
            here.children.extend(node.subtree);
            if node.kind != NodeKind::File {
                continue;
            }
            let mut lost = 0;
            for piece in &node.content {
                lost += usize::from(!self.reach(BlobKind::Data, piece)?);
            }
            if lost > 0 {
                here.whole = false;
                self.find(
                    Kind::Snapshot.path(snapshot),
                    format!(
                        "of its file {:?} {lost} of {} pieces are in no index or damaged",
                        String::from_utf8_lossy(&node.name),
                        node.content.len()
                    ),
                );
            }
        }
        Ok(())
    }

    /// Notes that a blob is needed; false when it is not there.
    fn reach(&mut self, kind: BlobKind, id: &BlobId) -> Result<bool> {
        for ordinal in self.index.ordinals(kind, id)? {
            self.reached.set(ordinal);
        }
        let Some(place) = self.index.find(kind, id)? else {
            return Ok(false);
        };
        let is_whole = |place: &Place| {
            let damage = self.damaged.get(&place.pack);
            !damage.is_some_and(|damage| damage.hits(id))
        };
        Ok(is_whole(&place) || self.index.places(kind, id)?.iter().any(is_whole))
    }

    /// Finds out of which damaged packs something is needed that stands nowhere else.
    fn needed_packs(&mut self) -> Result<()> {
        if self.damaged.is_empty() {
            return Ok(());
        }
        let is_safe = |place: &Place, id: &BlobId| {
            let damage = self.damaged.get(&place.pack);
            !damage.is_some_and(|damage| damage.endangers(id))
        };
        for (ordinal, blob) in self.index.blobs().enumerate() {
            let (kind, id, place) = blob?;
            if is_safe(&place, &id) || !self.reached.get(ordinal) {
                continue;
            }
            let places = self.index.places(kind, &id)?;
            if !places.iter().any(|place| is_safe(place, &id)) {
                self.walked.needed_packs.insert(place.pack);
            }
        }
        Ok(())
    }
}

/// A directory whose subdirectories are being looked at.
struct Open {
    /// Of its tree.
    ordinal: usize,
    /// Those that are not looked at yet.
    children: Vec<BlobId>,
    whole: bool,
}
