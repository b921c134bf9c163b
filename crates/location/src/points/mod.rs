//! Recovery points of sources that are no backups of Velero: what was captured when, and of which objects it consists.
//!
//! ```text
//! plugins/salvor/points/<source>/<yyyy-mm>/<id>/point.json     the commit record; create-only, written last
//! ```
//!
//! What is said of a point later stands beside its record ([`additions`]); which points stay is planned as for backups
//! ([`retention`]).
//!
//! The form is in `docs/formats/points.md`. The objects of a point stand elsewhere, sealed, each created under a name of
//! its own ([`object`]); what no point names does not count. A stream of changes commits itself, object by object
//! ([`segment`]), under the claim of its one writer ([`writer`]).

pub mod additions;
pub mod object;
pub mod retention;
pub mod segment;
pub mod writer;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use salvor_storage::{Key, PutMode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::claim::read_small;
use crate::error::{Error, Result};
use crate::layout;
use crate::listing::{Damaged, Listing};
use crate::location::Location;
use crate::record::{self, RECORD_LIMIT};
use crate::run::RunId;

pub use additions::Additions;
pub use object::PointObject;
pub use segment::SegmentInfo;
pub use writer::Writer;

/// Newest format of a point that we write and read.
const POINT_VERSION: u64 = 1;
/// Name of the commit record.
const POINT_RECORD: &str = "point.json";
/// Records that are read, and objects that are looked at, at once.
const PARALLELISM: usize = 8;

/// The commit record of a recovery point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Format version.
    pub version: u64,
    /// Its id, which is also that of the run that made it.
    pub id: RunId,
    /// What it is a point of: lower-case letters, digits and hyphens.
    pub source: String,
    /// Kind of the source, such as `etcd`.
    pub kind: String,
    /// When it was taken, by the clock of who took it.
    pub created: Timestamp,
    /// Program that wrote it.
    pub tool: String,
    /// Fingerprints of those who can read its objects.
    pub recipients: Vec<String>,
    /// What it consists of.
    pub objects: Vec<PointObject>,
    /// What the source says of itself; its form belongs to the kind.
    #[serde(default)]
    pub details: Value,
}

impl Point {
    /// A point that is not committed yet.
    #[must_use]
    pub fn new(id: RunId, source: &str, kind: &str, created: Timestamp) -> Self {
        Self {
            version: POINT_VERSION,
            id,
            source: source.to_owned(),
            kind: kind.to_owned(),
            created,
            tool: format!("salvor {}", env!("CARGO_PKG_VERSION")),
            recipients: Vec::new(),
            objects: Vec::new(),
            details: Value::Null,
        }
    }

    /// Where it stands. The month is that of its id, so that it is found by its id alone.
    fn key(&self) -> Result<Key> {
        let month = month_of(self.id.as_str()).unwrap_or_else(|| "undated".to_owned());
        let folder = format!("{}/{}", layout::POINTS, self.source);
        let key = Key::new(format!("{folder}/{month}/{}/{POINT_RECORD}", self.id));
        key.map_err(|error| Error::BadRecord {
            key: folder,
            reason: error.to_string(),
        })
    }
}

/// `2026-11` of `20261120t020000-...`.
fn month_of(id: &str) -> Option<String> {
    let digits = id.get(..6)?;
    let is_date = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_date.then(|| format!("{}-{}", &digits[..4], &digits[4..]))
}

impl Location {
    /// Commits a point: its objects are looked at once more, then its record is created. Before this nothing of it
    /// counts.
    ///
    /// # Errors
    /// [`Error::ContentsChanged`] when an object is gone or has another length; the store fails.
    pub async fn commit_point(&self, point: &Point) -> Result<()> {
        self.prepare().await?;
        stream::iter(point.objects.clone())
            .map(|object| async move { self.look_at_object(&object).await })
            .buffer_unordered(PARALLELISM)
            .try_collect::<Vec<()>>()
            .await?;
        let key = point.key()?;
        let body = record::encode("recovery point", point)?;
        let put = self.store.put(&key, body.clone(), PutMode::Create).await;
        let Err(error) = put else {
            return Ok(());
        };
        let doing = format!("commit point `{}` of `{}`", point.id, point.source);
        if !error.is_already_exists() && !error.may_have_happened() {
            return Err(Error::store(doing)(error));
        }
        // Ours may have arrived although the answer did not.
        match read_small(&self.store, &key, RECORD_LIMIT).await {
            Ok(found) if found == body => Ok(()),
            Ok(_) => Err(Error::store(doing)(error)),
            Err(look) if look.is_not_found() => Err(Error::store(doing)(error)),
            Err(_) => Err(Error::store(doing)(error.maybe_happened())),
        }
    }

    /// All committed points of one source, or of all, oldest first.
    ///
    /// # Errors
    /// The listing fails, or the location is newer than this release.
    pub async fn points(&self, source: Option<&str>) -> Result<Listing<Point>> {
        self.assert_readable().await?;
        let folder = match source {
            Some(source) => format!("{}/{source}", layout::POINTS),
            None => layout::POINTS.to_owned(),
        };
        let list = async {
            let listed = self.store.list(&folder).await?;
            let keys = listed.map_ok(|info| info.key);
            keys.try_filter(|key| std::future::ready(key.file_name() == POINT_RECORD))
                .try_collect::<Vec<Key>>()
                .await
        };
        let keys = list
            .await
            .map_err(Error::store(format!("list `{folder}/`")))?;
        let read = stream::iter(keys).map(|key| async move {
            let read = record::read::<Point>(&self.store, &key, POINT_VERSION).await;
            (key, read)
        });
        let read: Vec<(Key, Result<Point>)> = read.buffered(PARALLELISM).collect().await;
        let mut listing = Listing {
            entries: Vec::new(),
            damaged: Vec::new(),
        };
        for (key, read) in read {
            match read.and_then(|point| at_its_place(&key, point)) {
                Ok(point) => listing.entries.push(point),
                // Removed since it was listed.
                Err(error) if error.is_not_found() => {}
                Err(error) => listing
                    .damaged
                    .push(Damaged::of(key.as_str().to_owned(), error)?),
            }
        }
        listing
            .entries
            .sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(listing)
    }
}

/// A record counts where its own words put it, so that a copy under another name is no second point.
fn at_its_place(key: &Key, point: Point) -> Result<Point> {
    if point.key()? == *key {
        return Ok(point);
    }
    Err(Error::BadRecord {
        key: key.to_string(),
        reason: format!(
            "it says that it is point `{}` of `{}`",
            point.id, point.source
        ),
    })
}
