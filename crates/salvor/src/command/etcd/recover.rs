//! `etcd restore`: a state from captured changes.

use salvor_etcd::chain::{Found, Target, Timeline, clusters, recover};
use salvor_etcd::points::Error;
use salvor_etcd::restore::{Revisions, restore_history};
use salvor_location::Location;

use super::restore::{fits, options, told};
use super::source::{identities, work_folder};
use super::stoppable;
use crate::args::etcd::{PlaceArgs, RecoverArgs};
use crate::command::read::assert_folder;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Makes a data directory.
pub(super) async fn run(args: &RecoverArgs, session: &Session) -> Result<Exit, Failure> {
    let options = options(&args.target, false)?;
    let target = match (args.to_revision, args.to_time) {
        (Some(revision), _) => Target::Revision(revision),
        (None, Some(time)) => Target::Time(time),
        (None, None) => Target::Latest,
    };
    let found = find(target, Versions::Needed, &args.place, session).await?;
    let base = found.point.id.to_string();
    let at = found.at.map_or_else(|| "-".to_owned(), |at| at.to_string());
    session.printer.note(
        &session
            .messages
            .etcd_found(found.revision, &base, found.segments, &at),
    );
    fits(&found.snapshot, &args.target, session)?;
    let exact = options.revisions == Revisions::Exact;
    let (snapshot, mut history) = found.into_history(exact, args.quota_backend_bytes);
    let restored = stoppable(session, move |stop| {
        restore_history(&snapshot, &mut history, &options, stop)
    });
    told(&restored.await?, args.output, session)
}

/// Which versions of keys are fetched with a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Versions {
    /// Those on the shortest way.
    Needed,
    /// All that were captured.
    All,
}

/// Fetches a captured state, and says what of the location could not be used.
pub(super) async fn find(
    target: Target,
    versions: Versions,
    place: &PlaceArgs,
    session: &Session,
) -> Result<Found, Failure> {
    let identities = identities(place)?;
    if identities.is_empty() {
        return Err(Failure::usage(session.messages.etcd_identity_needed()));
    }
    let location = session.location(None)?;
    let folder = work_folder(place.work_dir.as_deref());
    let found = async {
        let cluster = the_cluster(&location, place.cluster).await?;
        let timeline = Timeline::load(&location, cluster).await?;
        Ok::<Found, Failure>(match versions {
            Versions::Needed => {
                recover::fetch(&location, &timeline, target, &identities, &folder).await?
            }
            Versions::All => {
                recover::fetch_whole(&location, &timeline, target, &identities, &folder).await?
            }
        })
    };
    let found = tokio::select! {
        found = found => found?,
        () = session.cancel.cancelled() => {
            return Err(Failure::new(Exit::Cancelled, session.messages.etcd_fetch_stopped()));
        }
    };
    for remark in &found.remarks {
        session.printer.warning(remark);
    }
    Ok(found)
}

/// The cluster that is named, or the only one.
pub(super) async fn the_cluster(location: &Location, named: Option<u64>) -> Result<u64, Failure> {
    assert_folder(location)?;
    if let Some(named) = named {
        return Ok(named);
    }
    let all = clusters(location).await?;
    let name = location.name().to_owned();
    match all.as_slice() {
        [one] => Ok(*one),
        [] => {
            location.assert_there().await?;
            let wanted = "or chain".to_owned();
            Err(Error::NotFound {
                wanted,
                location: name,
            }
            .into())
        }
        several => {
            let ids: Vec<String> = several.iter().map(|id| format!("{id:016x}")).collect();
            Err(Error::SeveralClusters {
                location: name,
                clusters: ids.join(", "),
            }
            .into())
        }
    }
}
