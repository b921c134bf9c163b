//! `etcd snapshot save`.

use std::path::Path;
use std::time::Duration;

use salvor_adapters::control_plane::source as control_plane;
use salvor_etcd::Clock;
use salvor_etcd::client::Access;
use salvor_etcd::points::{self, Placement};
use salvor_etcd::save::{Saved, save};
use salvor_location::Location;
use salvor_seal::Secret;
use serde::Deserialize as _;
use serde_json::{Value, json};

use super::look::shown;
use super::source::work_folder;
use crate::args::etcd::{CredentialArgs, SaveArgs};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Saves a snapshot.
pub(super) async fn run(args: &SaveArgs, session: &Session) -> Result<Exit, Failure> {
    let access = access(&args.access.credentials)?;
    let (saved, more, said) = match &args.file {
        Some(file) => {
            let saved = save(&args.access.endpoints, &access, file, &session.cancel).await?;
            let file = saved.path.display().to_string();
            let more = json!({ "file": saved.path });
            let said = session.messages.etcd_saved(&file, &saved.endpoint);
            (saved, more, said)
        }
        None => to_location(args, &access, session).await?,
    };
    for remark in &saved.remarks {
        session.printer.warning(remark);
    }
    session.printer.note(&said);
    session
        .printer
        .result(&shown(&saved.status, args.output, metadata(&saved, more))?)?;
    Ok(Exit::Done)
}

/// Makes a recovery point of the location.
async fn to_location(
    args: &SaveArgs,
    access: &Access,
    session: &Session,
) -> Result<(Saved, Value, String), Failure> {
    let location = session.location(None)?;
    let folder = work_folder(args.work_dir.as_deref());
    let request = points::Request {
        endpoints: &args.access.endpoints,
        access,
        folder: &folder,
        reason: args.reason.as_deref(),
        placement: match args.as_object {
            true => Placement::Template(&args.object_template),
            false => Placement::Chain(None),
        },
        clock: &Clock::default(),
    };
    let (saved, point) = points::save(&location, &request, &session.cancel).await?;
    session.note_if_temporary(&location);
    if saved.status.encrypted > 0 {
        warn_of_keys(&location, &point.source, session).await?;
    }
    let object = points::object_of(&point)?;
    let said = session.messages.etcd_saved_point(
        &saved.endpoint,
        point.id.as_str(),
        location.name(),
        &object.key,
    );
    let said = format!("{said}\n{}", session.messages.etcd_without_us(&object.key));
    let more = json!({
        "point": point.id,
        "source": point.source,
        "location": location.name(),
        "object": object,
        "recipients": point.recipients,
        "reason": args.reason,
    });
    Ok((saved, more, said))
}

/// Warns where the keys of encrypted values are nowhere in the location: the snapshot alone would not bring them back.
async fn warn_of_keys(location: &Location, source: &str, session: &Session) -> Result<(), Failure> {
    let cluster = source.strip_prefix("etcd-").unwrap_or(source);
    let points = location.points(None).await?.entries;
    let has_keys = points
        .iter()
        .filter(|point| point.kind == control_plane::KIND)
        .filter_map(|point| control_plane::Details::deserialize(&point.details).ok())
        .any(|details| details.decrypts(cluster));
    if !has_keys {
        let text = session.messages.etcd_keys_not_kept(location.name());
        session.printer.warning(&text);
    }
    Ok(())
}

/// What is known of a snapshot beside its figures.
fn metadata(saved: &Saved, more: Value) -> Value {
    let mut value = json!({
        "fileSize": saved.size,
        "sha256": saved.digest,
        "endpoint": saved.endpoint,
        "clusterId": format!("{:x}", saved.member.cluster),
        "memberId": format!("{:x}", saved.member.member),
        "etcdVersion": saved.member.version,
        "newestRevisionBefore": saved.newest_before,
        "seconds": saved.took.as_secs_f64(),
        "remarks": saved.remarks,
    });
    if let (Some(value), Value::Object(more)) = (value.as_object_mut(), more) {
        value.extend(more);
    }
    value
}

/// Certificates, keys and passwords of the flags.
pub(super) fn access(args: &CredentialArgs) -> Result<Access, Failure> {
    let authorities = args.cacert.as_deref().map(read).transpose()?;
    let identity = match (&args.cert, &args.key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, secret(key)?)),
        _ => None,
    };
    let user = match (&args.user, &args.password_file) {
        (None, _) => None,
        (Some(user), Some(file)) => {
            let password = secret(file)?;
            let line = password.expose().lines().next().unwrap_or_default();
            Some((user.clone(), Secret::new(line.to_owned())))
        }
        (Some(user), None) => match user.split_once(':') {
            Some((user, password)) => Some((user.to_owned(), Secret::new(password.to_owned()))),
            None => {
                return Err(Failure::usage(
                    "--user without a password: give --password-file",
                ));
            }
        },
    };
    Ok(Access {
        authorities,
        identity,
        user,
        patience: Duration::from_secs(args.timeout),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::caused(Exit::Usage, format!("read {}", path.display()), error))
}

pub(super) fn secret(path: &Path) -> Result<Secret, Failure> {
    std::fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|error| Failure::caused(Exit::Usage, format!("read {}", path.display()), error))
}
