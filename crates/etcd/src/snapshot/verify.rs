//! Verification in levels: digest, pages, revisions, rows.

use std::sync::atomic::AtomicBool;

use super::report::{Level, Outcome, Report};
use super::{Error, Revisions, Snapshot, not_stopped, rows};
use crate::bolt::{self, Bucket, Walk};
use salvor_location::with_causes;

/// Buckets without which there is no store.
const NEEDED: [&str; 2] = ["key", "meta"];

/// Looks at all of a snapshot. What is wrong is in the report.
///
/// # Errors
/// The file cannot be read, or it was asked to stop.
pub fn verify(snapshot: &Snapshot, stop: &AtomicBool) -> Result<Report, Error> {
    let digest = check_digest(snapshot, stop)?;
    let mut levels = Content {
        stop,
        pages: Level::new("pages"),
        revisions: Level::new("revisions"),
        rows: Level::new("rows"),
    };
    levels.read(snapshot)?;
    let Content {
        pages,
        revisions,
        rows,
        ..
    } = levels;
    Ok(Report {
        levels: vec![digest, pages, revisions, rows],
    })
}

fn check_digest(snapshot: &Snapshot, stop: &AtomicBool) -> Result<Level, Error> {
    let mut level = Level::new("digest");
    match snapshot.check_digest(stop) {
        Ok(true) => level.checked = snapshot.length,
        Ok(false) => {
            level.outcome = Outcome::NotDone;
            level.notice("the file has no digest at its end: it is no snapshot but a copy of a member's database");
        }
        Err(Error::Digest {
            expected, found, ..
        }) => {
            level.checked = snapshot.length;
            level.fail(format!(
                "the SHA-256 is {found}, and the end of the file says {expected}"
            ));
        }
        Err(error) => return Err(error),
    }
    Ok(level)
}

struct Content<'a> {
    stop: &'a AtomicBool,
    pages: Level,
    revisions: Level,
    rows: Level,
}

impl Content<'_> {
    fn read(&mut self, snapshot: &Snapshot) -> Result<(), Error> {
        let layout = snapshot.database().layout();
        if layout.valid_metas == 1 {
            self.pages
                .notice("one of the two metas is damaged; the other one was used");
        }
        if snapshot.digest().is_some() && snapshot.unused() > 0 {
            let unused = snapshot.unused();
            self.pages
                .notice(format!("{unused} bytes stand behind the last page"));
        }
        let mut walk = snapshot.database().walk();
        if let Err(error) = walk.freelist() {
            self.pages.fail(with_causes(&error));
        }
        let buckets = match walk.buckets() {
            Ok(buckets) => buckets,
            Err(error) => {
                self.pages.fail(with_causes(&error));
                self.revisions.outcome = Outcome::NotDone;
                self.rows.outcome = Outcome::NotDone;
                return Ok(());
            }
        };
        for needed in NEEDED {
            if !buckets
                .iter()
                .any(|bucket| bucket.name == needed.as_bytes())
            {
                self.rows.fail(format!("there is no bucket `{needed}`"));
            }
        }
        for bucket in &buckets {
            let is_key = bucket.name == b"key";
            let read = if is_key {
                self.read_key(&mut walk, bucket)?
            } else {
                self.read_rows(&mut walk, bucket)?
            };
            if let Err(error) = read {
                let name = bucket.name.escape_ascii();
                self.pages
                    .fail(format!("bucket `{name}`: {}", with_causes(&error)));
                let level = if is_key {
                    &mut self.revisions
                } else {
                    &mut self.rows
                };
                if level.outcome == Outcome::Passed {
                    level.outcome = Outcome::NotDone;
                }
            }
        }
        self.pages.checked = walk.pages().total();
        Ok(())
    }

    fn read_key(
        &mut self,
        walk: &mut Walk<'_>,
        bucket: &Bucket,
    ) -> Result<bolt::Result<()>, Error> {
        let mut revisions = Revisions::default();
        let stop = self.stop;
        let read = each(walk, bucket, stop, |key, value| {
            self.revisions.checked += 1;
            if let Err(finding) = revisions.take(key, value) {
                self.revisions.fail(finding);
            }
        });
        if revisions.raised > 0 {
            self.revisions
                .notice("its revision was raised by a restore");
        }
        read
    }

    fn read_rows(
        &mut self,
        walk: &mut Walk<'_>,
        bucket: &Bucket,
    ) -> Result<bolt::Result<()>, Error> {
        let stop = self.stop;
        each(walk, bucket, stop, |key, value| {
            self.rows.checked += 1;
            if let Err(finding) = rows::check(&bucket.name, key, value, &mut self.rows) {
                self.rows.fail(finding);
            }
        })
    }
}

/// Goes through a bucket. The outer error is a stop, the inner one damage.
fn each(
    walk: &mut Walk<'_>,
    bucket: &Bucket,
    stop: &AtomicBool,
    mut take: impl FnMut(&[u8], &[u8]),
) -> Result<bolt::Result<()>, Error> {
    let mut cursor = match walk.cursor(bucket) {
        Ok(cursor) => cursor,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        not_stopped(stop)?;
        match cursor.advance() {
            Ok(true) => take(cursor.key(), cursor.value()),
            Ok(false) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
    }
}
