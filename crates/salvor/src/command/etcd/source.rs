//! Where the snapshot of a command is: a file, or a point of the location.

use std::path::{Path, PathBuf};

use salvor_etcd::history::Past;
use salvor_etcd::kubernetes::{Configuration, Keys};
use salvor_etcd::points;
use salvor_etcd::snapshot::Snapshot;
use salvor_location::{Location, Point};
use salvor_seal::age::Identity;

use super::recover::{Versions, find};
use super::save::secret;
use super::stoppable;
use crate::args::etcd::{PlaceArgs, SourceArgs};
use crate::args::etcd_objects::{Moment, Place, ReadArgs};
use crate::command::read::assert_folder;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// A snapshot that a command reads.
pub(super) enum Source {
    /// One that is open.
    Open(Snapshot),
    /// A point whose object nobody here can open.
    Closed(Box<(Location, Point)>),
}

/// Opens the file, or fetches the point when an identity is given.
pub(super) async fn open(args: &SourceArgs, session: &Session) -> Result<Source, Failure> {
    match &args.point {
        Some(wanted) => open_point(wanted, &args.place, session).await,
        None => {
            let file = args.file.clone().unwrap_or_default();
            let opened = stoppable(session, move |_| Snapshot::open(&file));
            opened.await.map(Source::Open)
        }
    }
}

/// Opens what the objects are read from: a file, or what the location has, which needs an identity.
pub(super) async fn open_moment(
    moment: &Moment,
    versions: Versions,
    place: &PlaceArgs,
    session: &Session,
) -> Result<Past, Failure> {
    match &moment.place {
        Place::File(file) => {
            let file = file.clone();
            let opened = stoppable(session, move |_| Snapshot::open(&file));
            opened.await.map(Past::from)
        }
        Place::Point(wanted) => match open_point(wanted, place, session).await? {
            Source::Open(snapshot) => Ok(snapshot.into()),
            Source::Closed(_) => Err(Failure::usage(format!(
                "{} is encrypted to the location's recipients",
                moment.place
            ))
            .hint("give a file with the identity of one of them: --identity FILE")),
        },
        Place::Chain(target) => {
            let found = find(*target, versions, place, session).await?;
            Ok(found.into())
        }
    }
}

/// The keys of the encryption configurations of the flags.
pub(super) fn keys(args: &ReadArgs) -> Result<Keys, Failure> {
    let mut keys = Keys::default();
    for path in &args.encryption_config {
        let wrong = |why: String| {
            let text = format!("{} is no encryption configuration: {why}", path.display());
            Failure::usage(text)
                .hint("it is the file of the API server's flag --encryption-provider-config")
        };
        let text = secret(path)?;
        // What the parser says may show what it read, which are keys.
        let read = serde_saphyr::from_str::<Configuration>(text.expose());
        let configuration = read.map_err(|error| match error.location() {
            Some(at) => wrong(format!("line {}, column {}", at.line(), at.column())),
            None => wrong("its YAML cannot be read".to_owned()),
        })?;
        keys.add(&configuration)
            .map_err(|error| wrong(error.to_string()))?;
    }
    Ok(keys)
}

async fn open_point(wanted: &str, place: &PlaceArgs, session: &Session) -> Result<Source, Failure> {
    let location = session.location(None)?;
    assert_folder(&location)?;
    let point = points::find(&location, wanted, place.cluster).await?;
    if place.identity.is_empty() {
        return Ok(Source::Closed(Box::new((location, point))));
    }
    let identities = identities(place)?;
    let folder = work_folder(place.work_dir.as_deref());
    tokio::select! {
        fetched = points::fetch(&location, &point, &identities, &folder) => Ok(Source::Open(fetched?)),
        () = session.cancel.cancelled() => {
            Err(Failure::new(Exit::Cancelled, session.messages.etcd_fetch_stopped()))
        }
    }
}

/// The identities of the flags.
pub(super) fn identities(args: &PlaceArgs) -> Result<Vec<Identity>, Failure> {
    identities_of(&args.identity)
}

/// The identities in files.
pub(super) fn identities_of(files: &[PathBuf]) -> Result<Vec<Identity>, Failure> {
    let mut identities = Vec::new();
    for path in files {
        let text = secret(path)?;
        let read = Identity::of_lines(text.expose()).map_err(|error| {
            Failure::caused(Exit::Usage, format!("read {}", path.display()), error)
        })?;
        identities.extend(read);
    }
    Ok(identities)
}

/// Where files without names are made.
pub(super) fn work_folder(given: Option<&Path>) -> PathBuf {
    given.map_or_else(std::env::temp_dir, Path::to_owned)
}
