//! Snapshots of etcd as recovery points of a location: one sealed object each, and a record that commits it.
//!
//! The object is the snapshot file in the envelope of `docs/formats/sealed-objects.md`: `age -d`, `zstd -d` and `etcdutl`
//! restore it without us. It is verified before it is sent, and nothing counts before its record is created.
//!
//! Start with [`save`] and [`fetch`].

mod details;

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _, stream};
use jiff::Timestamp;
use salvor_location::{Location, Point, PointObject, RunId, layout};
use salvor_seal::age::{AgeError, Identity};
use tokio_util::sync::CancellationToken;

use crate::Clock;
use crate::client::Access;
use crate::save::{self, Saved};
use crate::snapshot::{self, Snapshot};

pub use details::{Details, MergedFrom};

/// Kind of the points of etcd.
pub const KIND: &str = "etcd";
/// Where objects under names of a template stand. Velero takes no top-level folder that it does not know.
pub const OBJECTS: &str = "plugins/salvor/objects";
/// The template when none is given.
pub const TEMPLATE: &str = "%Y/%m/%d/etcd-snapshot-%Y%m%d_%H%M%S.db.zst.age";
/// Ending of the objects of snapshots.
const ENDING: &str = ".db.zst.age";
/// Bytes of a piece of a file that is sent.
const PIECE: usize = 1 << 20;
/// Names that are tried when the one of the template is taken.
const MOST_NAMES: u32 = 100;

/// Source of the points of a cluster.
#[must_use]
pub fn source_of(cluster: u64) -> String {
    format!("etcd-{cluster:016x}")
}

/// What is to be saved.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Members to ask.
    pub endpoints: &'a [String],
    /// Who asks.
    pub access: &'a Access,
    /// Folder of the local file, which has no name and holds the snapshot unencrypted until it was sent.
    pub folder: &'a Path,
    /// Why it is taken.
    pub reason: Option<&'a str>,
    /// Under which name the object stands.
    pub placement: Placement<'a>,
    /// Tells when.
    pub clock: &'a Clock,
}

/// Names of objects.
#[derive(Clone, Copy, Debug)]
pub enum Placement<'a> {
    /// In the folder of this chain, or of one of its own: `full-<revision>.db.zst.age`.
    Chain(Option<&'a str>),
    /// By a template for the time, below [`OBJECTS`].
    Template(&'a str),
}

/// Why there is no point, or it cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No snapshot was taken.
    #[error(transparent)]
    Save(#[from] save::Error),
    /// The location refused.
    #[error(transparent)]
    Location(#[from] salvor_location::Error),
    /// The local file.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What we were doing, a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What came out of the location is no good snapshot.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// A template for names is none.
    #[error("`{template}` is no template for names: {why}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong with it.
        why: String,
    },
    /// A point is of something else.
    #[error("point `{id}` is one of `{kind}`, not of etcd")]
    OtherKind {
        /// Which.
        id: String,
        /// Of what it is.
        kind: String,
    },
    /// The record of a point cannot be understood.
    #[error("read what point `{id}` says of its snapshot")]
    Details {
        /// Which.
        id: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Who gave identities is no recipient.
    #[error(
        "point `{id}` is encrypted to {recipients}, and the identities that were given are of {given}: none of them opens it"
    )]
    OtherIdentity {
        /// Which.
        id: String,
        /// Fingerprints of those who can read it.
        recipients: String,
        /// Fingerprints of those who were given.
        given: String,
    },
    /// A point has not the one object that it should.
    #[error("point `{id}` has {objects} objects, and a snapshot is one")]
    Objects {
        /// Which.
        id: String,
        /// How many it has.
        objects: usize,
    },
    /// No such point.
    #[error("there is no point {wanted} of etcd in location `{location}`")]
    NotFound {
        /// What was looked for.
        wanted: String,
        /// Where.
        location: String,
    },
    /// Several clusters have points.
    #[error("location `{location}` has points of several clusters of etcd ({clusters}): name one")]
    SeveralClusters {
        /// Where.
        location: String,
        /// Their ids.
        clusters: String,
    },
}

/// Takes a snapshot, verifies it, and commits it as a point. After an error nothing of it counts, and no file is left.
///
/// # Errors
/// No member gives a good snapshot, or the location cannot be written.
pub async fn save(
    location: &Location,
    request: &Request<'_>,
    stop: &CancellationToken,
) -> Result<(Saved, Point), Error> {
    // What would be refused at the end is refused before a member is asked for a gigabyte.
    location.recipients().await?;
    if let Placement::Template(template) = request.placement {
        named(template, request.clock.now(), 1)?;
    }
    let taken = save::save_unnamed(request.endpoints, request.access, request.folder, stop);
    let (saved, file) = taken.await?;
    tokio::select! {
        point = commit(location, request, &saved, file) => Ok((saved.clone(), point?)),
        () = stop.cancelled() => Err(save::Error::Stopped.into()),
    }
}

async fn commit(
    location: &Location,
    request: &Request<'_>,
    saved: &Saved,
    file: File,
) -> Result<Point, Error> {
    let id = RunId::generate();
    let now = request.clock.now();
    let chain = match request.placement {
        Placement::Chain(chain) => chain,
        Placement::Template(_) => None,
    };
    let object = send(location, request, saved, &id, now, &file).await?;
    let mut point = Point::new(id, &source_of(saved.member.cluster), KIND, now);
    point.recipients = location.trust().fingerprints();
    point.objects = vec![object];
    let details = Details::of(saved, chain, request.reason);
    point.details = serde_json::to_value(details).map_err(|source| Error::Details {
        id: point.id.to_string(),
        source,
    })?;
    location.commit_point(&point).await?;
    Ok(point)
}

async fn send(
    location: &Location,
    request: &Request<'_>,
    saved: &Saved,
    id: &RunId,
    now: Timestamp,
    file: &File,
) -> Result<PointObject, Error> {
    match request.placement {
        Placement::Chain(chain) => {
            let folder = chain_folder(saved.member.cluster, chain.unwrap_or(id.as_str()));
            let revision = saved.status.store_revision();
            let full = full(&folder, revision);
            send_as(location, file, request.folder, &full).await
        }
        Placement::Template(template) => {
            let name = |number| named(template, now, number);
            send_as(location, file, request.folder, &name).await
        }
    }
}

/// Keys of a full in the folder of a chain. A run that was killed may have left an object under the first of them.
pub(crate) fn full(folder: &str, revision: u64) -> impl Fn(u32) -> Result<String, Error> + use<> {
    let stem = format!("{folder}/full-{revision}");
    move |number| {
        Ok(match number {
            1 => format!("{stem}{ENDING}"),
            _ => format!("{stem}-{number}{ENDING}"),
        })
    }
}

/// Seals a file into an object under the first key that is free.
pub(crate) async fn send_as(
    location: &Location,
    file: &File,
    folder: &Path,
    key: &(dyn Fn(u32) -> Result<String, Error> + Sync),
) -> Result<PointObject, Error> {
    let mut number = 1;
    loop {
        let name = key(number)?;
        let written = location.write_point_object(&name, pieces(file, folder)?);
        match written.await {
            Ok(object) => return Ok(object),
            Err(error) if is_taken(&error) && number < MOST_NAMES => number += 1,
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_taken(error: &salvor_location::Error) -> bool {
    matches!(error, salvor_location::Error::Store { source, .. } if source.is_already_exists())
}

/// Folder of a chain of a cluster.
#[must_use]
pub fn chain_folder(cluster: u64, chain: &str) -> String {
    format!("{}/{cluster:016x}/{chain}", layout::ETCD)
}

/// The key that a template gives at a time; further ones of a second are numbered.
fn named(template: &str, now: Timestamp, number: u32) -> Result<String, Error> {
    let bad = |why: String| Error::Template {
        template: template.to_owned(),
        why,
    };
    let stem = template
        .strip_suffix(ENDING)
        .filter(|stem| !stem.is_empty())
        .ok_or_else(|| bad(format!("it does not end with `{ENDING}`")))?;
    let zoned = now.to_zoned(jiff::tz::TimeZone::UTC);
    let formatted = jiff::fmt::strtime::format(stem, &zoned);
    let stem = formatted.map_err(|error| bad(error.to_string()))?;
    let parts = stem.split('/');
    if parts
        .into_iter()
        .any(|part| part.is_empty() || part == "." || part == "..")
    {
        return Err(bad("a part of the path is empty, `.` or `..`".to_owned()));
    }
    Ok(match number {
        1 => format!("{OBJECTS}/{stem}{ENDING}"),
        _ => format!("{OBJECTS}/{stem}-{number}{ENDING}"),
    })
}

/// The bytes of a file from its beginning, as they are asked for.
fn pieces(
    file: &File,
    folder: &Path,
) -> Result<impl Stream<Item = Result<Bytes, io::Error>> + Send + use<>, Error> {
    let begin = || {
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(0)).map(|_| file)
    };
    let file = begin().map_err(|source| Error::Io {
        doing: "read the local file in",
        path: folder.to_owned(),
        source,
    })?;
    Ok(stream::try_unfold(file, |mut file| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = Vec::with_capacity(PIECE);
            let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece);
            read.map(|_| (piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        Ok((!piece.is_empty()).then(|| (Bytes::from(piece), file)))
    }))
}

/// The snapshot of a point in a file of `folder` that has no name. Length and digests of the object and of its content
/// were compared before this returns; nothing of it was used.
///
/// # Errors
/// The object is not what the point says, none of the identities opens it, or the local disk refuses.
pub async fn fetch(
    location: &Location,
    point: &Point,
    identities: &[Identity],
    folder: &Path,
) -> Result<Snapshot, Error> {
    let object = object_of(point)?;
    let failed = |source| Error::Io {
        doing: "write a file in",
        path: folder.to_owned(),
        source,
    };
    let mut file = tempfile::tempfile_in(folder).map_err(failed)?;
    let closed = |error| unopened(error, point, identities);
    let content = location.read_point_object(object, identities).await;
    let mut content = content.map_err(closed)?;
    while let Some(bytes) = content.try_next().await.map_err(closed)? {
        let written = tokio::task::spawn_blocking(move || file.write_all(&bytes).map(|()| file));
        file = written
            .await
            .map_err(io::Error::other)
            .and_then(|written| written)
            .map_err(failed)?;
    }
    Ok(Snapshot::of_file(file, Path::new(&object.key))?)
}

/// An error of opening a point: where nobody given may read it, who may is said.
fn unopened(error: salvor_location::Error, point: &Point, identities: &[Identity]) -> Error {
    let salvor_location::Error::Sealed { source, .. } = &error else {
        return error.into();
    };
    if !matches!(**source, AgeError::NotForUs { .. }) {
        return error.into();
    }
    let given = identities.iter().map(|own| own.recipient().fingerprint());
    Error::OtherIdentity {
        id: point.id.to_string(),
        recipients: point.recipients.join(", "),
        given: given.collect::<Vec<_>>().join(", "),
    }
}

/// The one object of a point.
///
/// # Errors
/// It has none, or several.
pub fn object_of(point: &Point) -> Result<&PointObject, Error> {
    match point.objects.as_slice() {
        [object] => Ok(object),
        objects => Err(Error::Objects {
            id: point.id.to_string(),
            objects: objects.len(),
        }),
    }
}

/// The point with this id, or the newest one (`latest`); of one cluster where it is named by its id in hexadecimal.
///
/// # Errors
/// There is none, or `latest` could be one of several clusters.
pub async fn find(location: &Location, wanted: &str, cluster: Option<u64>) -> Result<Point, Error> {
    let source = cluster.map(source_of);
    let listing = location.points(source.as_deref()).await?;
    let of_etcd = listing
        .entries
        .into_iter()
        .filter(|point| point.kind == KIND);
    let mut points: Vec<Point> = of_etcd.collect();
    let not_found = || Error::NotFound {
        wanted: format!("`{wanted}`"),
        location: location.name().to_owned(),
    };
    if wanted != "latest" {
        let mut found = points
            .into_iter()
            .filter(|point| point.id.as_str() == wanted);
        return found.next().ok_or_else(not_found);
    }
    let mut sources: Vec<&str> = points.iter().map(|point| point.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    if sources.len() > 1 {
        return Err(Error::SeveralClusters {
            location: location.name().to_owned(),
            clusters: sources.join(", ").replace("etcd-", ""),
        });
    }
    points.pop().ok_or_else(not_found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_template_and_stay_below_their_folder() {
        let now: Timestamp = "2026-11-22T03:04:05Z".parse().expect("a time");
        assert_eq!(
            named(TEMPLATE, now, 1).expect("a name"),
            "plugins/salvor/objects/2026/11/22/etcd-snapshot-20261122_030405.db.zst.age"
        );
        assert_eq!(
            named("a%H.db.zst.age", now, 2).expect("a name"),
            "plugins/salvor/objects/a03-2.db.zst.age"
        );
        for bad in [
            "x.db",
            ".db.zst.age",
            "../x.db.zst.age",
            "/x.db.zst.age",
            "a//b.db.zst.age",
        ] {
            let error = named(bad, now, 1).expect_err(bad);
            assert!(matches!(error, Error::Template { .. }), "{error}");
        }
    }
}
