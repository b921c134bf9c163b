//! `control-plane backup` and `control-plane restore-files`: what etcd's data is worth nothing without.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use salvor_adapters::control_plane::source::{
    self, ASIDE, Details, KIND, LARGEST, MemberDetails, differences, pack, paths, put_back,
};
use salvor_adapters::control_plane::{Member, Plane};
use salvor_adapters::host::HostError;
use salvor_location::{Location, Point, PointObject, RunId};
use salvor_seal::age::Identity;
use serde::Deserialize as _;
use tokio_util::io::ReaderStream;

use super::source::identities_of;
use crate::args::control_plane::{BackupArgs, RestoreFilesArgs};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Bytes of an archive between the machine and the location.
const BETWEEN: usize = 256 << 10;

impl From<HostError> for Failure {
    fn from(error: HostError) -> Self {
        Self::caused(Exit::Unavailable, "", error)
    }
}

/// Reads a description.
pub(super) fn plane(path: &Path) -> Result<Plane, Failure> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::caused(Exit::Usage, format!("read {shown}"), error))?;
    Plane::from_yaml(&text).map_err(|error| Failure::caused(Exit::Usage, shown.to_string(), error))
}

/// Makes a point of the files of all machines.
pub(super) async fn backup(args: &BackupArgs, session: &Session) -> Result<Exit, Failure> {
    let plane = plane(&args.plane)?;
    let location = session.location(None)?;
    // What would be refused at the end is refused first.
    location.recipients().await?;
    let id = RunId::generate();
    let name = source::source_of(&plane.cluster);
    let mut point = Point::new(id.clone(), &name, KIND, Timestamp::now());
    let mut details = Details {
        cluster: plane.cluster.clone(),
        flavour: plane.flavour.to_string(),
        members: Vec::new(),
    };
    for member in &plane.members {
        let paths = paths(&plane, member).await?;
        if paths.is_empty() {
            let text = format!("{} has none of the files of a control plane", member.name);
            return Err(Failure::new(Exit::NotFound, text)
                .hint("name them in the description: `files: [/path, ...]`"));
        }
        let key = format!(
            "plugins/salvor/control-plane/{name}/{id}/{}.tar.zst.age",
            member.name
        );
        point
            .objects
            .push(sent(member, &paths, &key, &location).await?);
        details.members.push(MemberDetails {
            name: member.name.clone(),
            paths,
            etcd_version: None,
        });
    }
    point.recipients = location.trust().fingerprints();
    point.details = serde_json::to_value(details)
        .map_err(|error| Failure::caused(Exit::Internal, "describe the point", error))?;
    location.commit_point(&point).await?;
    session.note_if_temporary(&location);
    let text = session.messages.control_plane_saved(
        id.as_str(),
        location.name(),
        point.objects.len() as u64,
    );
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

/// Sends the archive of a machine; it is nowhere in clear between the two.
async fn sent(
    member: &Member,
    paths: &[std::path::PathBuf],
    key: &str,
    location: &Location,
) -> Result<PointObject, Failure> {
    let (mut to, from) = tokio::io::duplex(BETWEEN);
    let packed = async move { pack(member, paths, &mut to).await };
    let sent = location.write_point_object(key, ReaderStream::new(from));
    let (packed, sent) = tokio::join!(packed, sent);
    let object = sent?;
    // The object of an archive that broke off counts for nothing: no point names it.
    packed?;
    Ok(object)
}

/// Puts back what differs.
pub(super) async fn restore(args: &RestoreFilesArgs, session: &Session) -> Result<Exit, Failure> {
    let plane = plane(&args.plane)?;
    let identities = identities_of(&args.identity)?;
    let location = session.location(None)?;
    let point = find(&location, &plane, &args.point).await?;
    let details = Details::deserialize(&point.details)
        .map_err(|error| Failure::caused(Exit::VerificationFailed, "read the point", error))?;
    let chosen = |member: &&Member| args.member.is_empty() || args.member.contains(&member.name);
    let mut work = Vec::new();
    for member in plane.members.iter().filter(chosen) {
        let index = details
            .members
            .iter()
            .position(|one| one.name == member.name);
        let object = index.and_then(|index| point.objects.get(index));
        let Some(object) = object else {
            let text = format!("point `{}` has nothing of {}", point.id, member.name);
            return Err(Failure::new(Exit::NotFound, text));
        };
        let archive = read(&location, object, &identities).await?;
        let found = differences(member, &archive).await?;
        let lines = found
            .iter()
            .map(|one| format!("{}: /{}: {}\n", member.name, one.path, one.how));
        session.printer.result(&lines.collect::<String>())?;
        if !found.is_empty() {
            work.push((member, archive, found));
        }
    }
    if args.dry_run {
        session.printer.note(&session.messages.dry_run());
        return Ok(match work.is_empty() {
            true => Exit::Done,
            false => Exit::Differences,
        });
    }
    if work.is_empty() {
        return Ok(Exit::Done);
    }
    session.confirm(args.confirm.yes, &plane.cluster).await?;
    let folder = args.aside.as_deref().unwrap_or(ASIDE);
    let aside = format!("{folder}/control-plane-before-{}.tar", RunId::generate());
    for (member, archive, found) in work {
        put_back(member, &archive, &found, Path::new(&aside)).await?;
        let left = differences(member, &archive).await?;
        if let Some(one) = left.first() {
            let text = format!(
                "/{} of {} still differs: {}",
                one.path, member.name, one.how
            );
            return Err(Failure::new(Exit::Internal, text));
        }
        let text =
            session
                .messages
                .control_plane_put_back(&member.name, found.len() as u64, &aside);
        session.printer.result(&format!("{text}\n"))?;
    }
    Ok(Exit::Done)
}

async fn find(location: &Location, plane: &Plane, wanted: &str) -> Result<Point, Failure> {
    let source = source::source_of(&plane.cluster);
    let listing = location.points(Some(&source)).await?;
    let mut points = listing.entries.into_iter();
    let found = match wanted {
        "latest" => points.next_back(),
        id => points.find(|point| point.id.as_str() == id),
    };
    found.ok_or_else(|| {
        let text = format!(
            "there is no point `{wanted}` of the control plane of {} in location `{}`",
            plane.cluster,
            location.name()
        );
        Failure::new(Exit::NotFound, text)
    })
}

/// The archive, whole and compared with its record, in memory only.
async fn read(
    location: &Location,
    object: &PointObject,
    identities: &[Identity],
) -> Result<Bytes, Failure> {
    if object.content_size > LARGEST as u64 {
        let text = format!(
            "`{}` has {} bytes, which is no configuration",
            object.key, object.content_size
        );
        return Err(Failure::new(Exit::VerificationFailed, text));
    }
    let mut content = location.read_point_object(object, identities).await?;
    let mut whole = BytesMut::new();
    while let Some(piece) = content.try_next().await? {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}
