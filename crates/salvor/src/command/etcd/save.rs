//! `etcd snapshot save`.

use std::path::Path;
use std::time::Duration;

use salvor_etcd::client::Access;
use salvor_etcd::save::{Saved, save};
use salvor_seal::Secret;
use serde_json::json;

use super::look::shown;
use crate::args::etcd::SaveArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Saves a snapshot.
pub(super) async fn run(args: &SaveArgs, session: &Session) -> Result<Exit, Failure> {
    let access = access(args)?;
    let saved = save(&args.endpoints, &access, &args.file, &session.cancel).await?;
    for remark in &saved.remarks {
        session.printer.warning(remark);
    }
    let file = saved.path.display().to_string();
    session
        .printer
        .note(&session.messages.etcd_saved(&file, &saved.endpoint));
    session
        .printer
        .result(&shown(&saved.status, args.output, metadata(&saved))?)?;
    Ok(Exit::Done)
}

/// What is known of a snapshot beside its figures.
fn metadata(saved: &Saved) -> serde_json::Value {
    json!({
        "file": saved.path,
        "fileSize": saved.size,
        "sha256": saved.digest,
        "endpoint": saved.endpoint,
        "clusterId": format!("{:x}", saved.member.cluster),
        "memberId": format!("{:x}", saved.member.member),
        "etcdVersion": saved.member.version,
        "newestRevisionBefore": saved.newest_before,
        "seconds": saved.took.as_secs_f64(),
        "remarks": saved.remarks,
    })
}

fn access(args: &SaveArgs) -> Result<Access, Failure> {
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

fn secret(path: &Path) -> Result<Secret, Failure> {
    std::fs::read_to_string(path)
        .map(Secret::new)
        .map_err(|error| Failure::caused(Exit::Usage, format!("read {}", path.display()), error))
}
