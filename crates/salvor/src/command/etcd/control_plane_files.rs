//! `control-plane backup` and `control-plane restore-files`: what etcd's data is worth nothing without.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use salvor_adapters::control_plane::detect::detect;
use salvor_adapters::control_plane::files::Files;
use salvor_adapters::control_plane::members::{Ask as _, Etcd};
use salvor_adapters::control_plane::source::{
    self, ASIDE, Details, KIND, LARGEST, MemberDetails, differences, pack, paths,
};
use salvor_adapters::control_plane::{Member, Plane};
use salvor_adapters::host::HostError;
use salvor_cluster::DiscoverOptions;
use salvor_location::{Location, Point, PointObject, RunId};
use salvor_seal::age::Identity;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::save::access;
use super::source::identities_of;
use crate::args::control_plane::{BackupArgs, RestoreFilesArgs};
use crate::command::runs;
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
    let folder = format!("plugins/salvor/control-plane/{name}/{id}");
    let mut point = Point::new(id.clone(), &name, KIND, Timestamp::now());
    let mut details = Details {
        cluster: plane.cluster.clone(),
        flavour: plane.flavour.to_string(),
        members: Vec::new(),
        etcd_cluster: None,
        api_version: None,
        kubeadm_config: false,
    };
    let etcd = Etcd {
        access: access(&args.credentials)?,
    };
    for member in &plane.members {
        let known = known(&etcd, member, &mut details).await;
        let paths = paths(&plane, member, known.encryption.as_deref()).await?;
        if paths.is_empty() {
            let text = format!("{} has none of the files of a control plane", member.name);
            return Err(Failure::new(Exit::NotFound, text)
                .hint("name them in the description: `files: [/path, ...]`"));
        }
        let key = format!("{folder}/{}.tar.zst.age", member.name);
        let object = sent(member, &paths, &key, &location).await?;
        point.objects.push(object);
        // One that the flags name, and that is not there, is not in the point.
        let has = |path: &PathBuf| paths.iter().any(|taken| path.starts_with(taken));
        let encryption = known.encryption.filter(has);
        details.members.push(MemberDetails {
            paths,
            encryption,
            ..known
        });
    }
    if let Some(config) = kubernetes(&plane, &mut details, session).await {
        let key = format!("{folder}/kubeadm-config.yaml.zst.age");
        let from = std::io::Cursor::new(config);
        let object = location.write_point_object(&key, ReaderStream::new(from));
        point.objects.push(object.await?);
        details.kubeadm_config = true;
    }
    let machines = details.members.len() as u64;
    point.recipients = location.trust().fingerprints();
    point.details = serde_json::to_value(details)
        .map_err(|error| Failure::caused(Exit::Internal, "describe the point", error))?;
    location.commit_point(&point).await?;
    session.note_if_temporary(&location);
    let text = session
        .messages
        .control_plane_saved(id.as_str(), location.name(), machines);
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

/// What is known of a machine beside its files: by what runs, else by what starts it. A backup is none the worse for a member
/// that does not answer.
async fn known(etcd: &Etcd, member: &Member, details: &mut Details) -> MemberDetails {
    let status = etcd.status(member).await.ok();
    let host = member.host();
    let found = detect(host.as_ref(), Path::new("/")).await.ok();
    let found = found.unwrap_or_default();
    if let Some(status) = &status {
        details.etcd_cluster = Some(format!("{:016x}", status.cluster));
    }
    let server = found.api_server.unwrap_or_default();
    // Another member's, on a machine that has several.
    let own = found.etcd.filter(|one| one.name == member.name);
    MemberDetails {
        name: member.name.clone(),
        paths: Vec::new(),
        etcd_version: status
            .map(|status| status.version)
            .or(own.and_then(|own| own.version)),
        api_version: server.version,
        encryption: server.encryption,
    }
}

/// What the API server tells, where one is reached: its version, and kubeadm's configuration, which is given back.
async fn kubernetes(plane: &Plane, details: &mut Details, session: &Session) -> Option<Vec<u8>> {
    // A control plane that does not run, or of which nobody has a kubeconfig here, is saved without.
    let cluster = session.cluster(None).await.ok()?;
    let version = cluster.server_version().await.ok()?;
    let discovery = cluster.discover(DiscoverOptions::default()).await.ok()?;
    let resource = discovery.resolve("configmaps")?;
    let read = cluster.get(resource, Some("kube-system"), "kubeadm-config");
    let config = match read.await {
        Ok(found) => found?,
        Err(error) => {
            let text = format!("kubeadm-config is not in the point: {error}");
            session.printer.warning(&text);
            return None;
        }
    };
    let object: Value = serde_json::from_slice(&config).ok()?;
    let text = object["data"]["ClusterConfiguration"]
        .as_str()
        .unwrap_or_default();
    let told: Option<Value> = serde_saphyr::from_str(text).ok();
    let named = told.as_ref().and_then(|told| told["clusterName"].as_str());
    if let Some(other) = named.filter(|name| *name != plane.cluster) {
        session.printer.warning(
            &session
                .messages
                .control_plane_of_another(other, &plane.cluster),
        );
        return None;
    }
    details.api_version = Some(version.git_version);
    Some(config.to_vec())
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

/// What a run was asked to put back.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    plane: Plane,
    point: String,
    /// Members that it is put back on.
    members: Vec<String>,
    aside: PathBuf,
}

/// Puts back what differs.
pub(super) async fn restore(args: &RestoreFilesArgs, session: &Session) -> Result<Exit, Failure> {
    let journal = runs::journal(&args.work).await?;
    let location = session.location(None)?;
    let begun = journal.history().begun.as_ref();
    let begun = begun.map(|begun| begun.parameters.clone());
    let request = match begun {
        None => asked(args, &location).await?,
        Some(parameters) => serde_json::from_value(parameters).map_err(|error| {
            Failure::caused(Exit::Usage, "read what the run was asked to do", error)
        })?,
    };
    let archives = match args.work.undo {
        // What is taken back lies on the machines.
        true => {
            let names = request.members.iter().cloned();
            names.map(|name| (name, Bytes::new())).collect()
        }
        false => archives(&request, &location, &identities_of(&args.identity)?).await?,
    };
    if journal.history().begun.is_none() {
        let differ = tell(&request, &archives, session).await?;
        match (differ, args.work.dry_run) {
            (false, _) => return Ok(Exit::Done),
            (true, false) => {}
            (true, true) => {
                session.printer.note(&session.messages.dry_run());
                return Ok(Exit::Differences);
            }
        }
    }
    let parameters = serde_json::to_value(&request)
        .map_err(|error| Failure::caused(Exit::Internal, "note what is asked for", error))?;
    let files = Files {
        plane: request.plane,
        archives,
        aside: request.aside,
    };
    let runbook = files.runbook(parameters);
    let journal = runs::with_copy(journal, Some(&location))?;
    if args.work.dry_run {
        return runs::preview(&runbook, journal, session).await;
    }
    runs::work(&runbook, journal, &args.work, session).await
}

async fn asked(args: &RestoreFilesArgs, location: &Location) -> Result<Request, Failure> {
    let plane = plane(&args.plane.clone().unwrap_or_default())?;
    let wanted = args.point.as_deref().unwrap_or("latest");
    let point = find(location, &plane, wanted).await?;
    for name in &args.member {
        if plane.members.iter().all(|member| member.name != *name) {
            let text = format!("the control plane has no member {name:?}");
            return Err(Failure::new(Exit::NotFound, text));
        }
    }
    let members = plane.members.iter().map(|member| member.name.clone());
    let chosen = |name: &String| args.member.is_empty() || args.member.contains(name);
    Ok(Request {
        members: members.filter(chosen).collect(),
        plane,
        point: point.id.to_string(),
        aside: args.aside.clone().unwrap_or_else(|| ASIDE.into()),
    })
}

/// The archives of the members.
async fn archives(
    request: &Request,
    location: &Location,
    identities: &[Identity],
) -> Result<BTreeMap<String, Bytes>, Failure> {
    let point = find(location, &request.plane, &request.point).await?;
    let details = Details::deserialize(&point.details)
        .map_err(|error| Failure::caused(Exit::VerificationFailed, "read the point", error))?;
    let mut archives = BTreeMap::new();
    for name in &request.members {
        let index = details.members.iter().position(|one| one.name == *name);
        let object = index.and_then(|index| point.objects.get(index));
        let Some(object) = object else {
            let text = format!("point `{}` has nothing of {name}", point.id);
            return Err(Failure::new(Exit::NotFound, text));
        };
        archives.insert(name.clone(), read(location, object, identities).await?);
    }
    Ok(archives)
}

/// Says what differs, never what is in it; whether anything does.
async fn tell(
    request: &Request,
    archives: &BTreeMap<String, Bytes>,
    session: &Session,
) -> Result<bool, Failure> {
    let mut differ = false;
    for member in &request.plane.members {
        let Some(archive) = archives.get(&member.name) else {
            continue;
        };
        let found = differences(member, archive).await?;
        differ |= !found.is_empty();
        let lines = found
            .iter()
            .map(|one| format!("{}: /{}: {}\n", member.name, one.path, one.how));
        session.printer.result(&lines.collect::<String>())?;
    }
    Ok(differ)
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
