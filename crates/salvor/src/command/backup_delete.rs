//! `backup delete`.

use std::time::Duration;

use salvor_api::name::BackupName;
use salvor_archive::files::{self, VolumeSnapshot};
use salvor_archive::names::BackupFile;
use salvor_extension::{ActionKind, Actions};
use salvor_location::copy::state::CopyState;
use salvor_location::{Location, RunId};
use salvor_objects::extension;
use salvor_text::ByteCount;
use tracing::info;

use crate::args::backup::DeleteArgs;
use crate::args::choice::DemandArgs;
use crate::command::{kept_snapshots, read, served};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// How long a cluster may take to say which actions it defines: a lost one must not stand in the way for long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes backups and the records of their restores after showing them and asking.
pub(crate) async fn run(args: &DeleteArgs, session: &Session) -> Result<Exit, Failure> {
    let DeleteArgs {
        which: DemandArgs {
            names,
            all: _,
            selector,
        },
        item_actions,
        confirm,
    } = args;
    if let Some(served) = session.served().await? {
        return served::backup::delete(args, session, &served).await;
    }
    let given = read::item_actions(item_actions.as_deref())?;
    let location = session.location(None)?;
    // A backup that cannot be read may still be deleted by name, never by --all or --selector.
    let mut chosen = Vec::new();
    if names.is_empty() {
        let (records, damaged) = read::backups(&location, names, selector.as_ref()).await?;
        for entry in damaged {
            let text = session.messages.damaged(&entry.name, &entry.reason);
            session.printer.warning(&text);
        }
        chosen.extend(records.into_iter().map(|record| record.name));
    } else {
        for name in names {
            let name = read::backup_name(name)?;
            match location.backup(&name).await {
                Err(error) if error.is_not_found() => return Err(error.into()),
                _ => chosen.push(name),
            }
        }
    }
    if chosen.is_empty() {
        session
            .printer
            .remark(&session.messages.no_backups(location.name()));
        return Ok(Exit::Done);
    }
    let restores = location.restores_by_backup().await?;
    let of = |name: &BackupName| restores.get(name.as_str()).map_or(&[][..], Vec::as_slice);
    for name in &chosen {
        let size = location
            .file_size(name, &BackupFile::Archive.name(name))
            .await?;
        let size = ByteCount(size.unwrap_or(0)).to_string();
        let text = session
            .messages
            .backup_will_be_deleted(name.as_str(), location.name(), &size);
        session.printer.remark(&text);
        if !of(name).is_empty() {
            let names = of(name).iter().map(|record| record.name.as_str());
            let text = session
                .messages
                .restores_will_go_too(&names.collect::<Vec<_>>().join(", "));
            session.printer.remark(&text);
        }
        tell_copies(&location, name, session).await?;
        tell_snapshots(&location, name, session).await?;
    }
    let actions = actions(given, session).await?;
    let typed = match chosen.as_slice() {
        [one] => one.as_str(),
        _ => location.name(),
    };
    session.confirm(confirm.yes, typed).await?;
    let run = RunId::generate();
    info!(%run, backups = chosen.len(), "deletion begins");
    for name in &chosen {
        if session.cancel.is_cancelled() {
            return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
        }
        let asked = extension::before_deletion(&location, name, &actions, &session.cancel);
        let refusals = asked.await?;
        if !refusals.is_empty() {
            let text = format!("backup `{name}` is not deleted: {}", refusals.join("; "));
            return Err(Failure::new(Exit::Refused, text));
        }
        kept_snapshots::delete(&location, name, &run, session).await?;
        let deleted = location
            .delete_backup_and(name, Some(of(name)), &run)
            .await?;
        for restore in &deleted.restores {
            let text = session.messages.restore_deleted(restore.as_str());
            session.printer.remark(&text);
        }
        let text = session.messages.backup_deleted(name.as_str());
        session.printer.remark(&text);
    }
    Ok(Exit::Done)
}

/// Names the copies that stay where they are. A backup that cannot be read has none that are known to be its own.
async fn tell_copies(
    location: &Location,
    name: &BackupName,
    session: &Session,
) -> Result<(), Failure> {
    let Ok(record) = location.backup(name).await else {
        return Ok(());
    };
    let copies = location.copies_of(&record).await?;
    let done = copies.iter().filter(|copy| copy.state == CopyState::Done);
    let places: Vec<&str> = done.map(|copy| copy.target.name.as_str()).collect();
    if !places.is_empty() {
        let text = session.messages.copies_will_stay(&places.join(", "));
        session.printer.remark(&text);
    }
    Ok(())
}

/// Names the snapshots of the storage that stay: whether a backup of another location needs them is not known here.
async fn tell_snapshots(
    location: &Location,
    name: &BackupName,
    session: &Session,
) -> Result<(), Failure> {
    let file = BackupFile::VolumeSnapshots.name(name);
    let limit = files::DEFAULT_SIDE_FILE_LIMIT;
    let Some(bytes) = location.read_file(name, &file, limit).await? else {
        return Ok(());
    };
    // A list that cannot be read names none.
    let list: Vec<VolumeSnapshot> = files::read_json_gz(&bytes, limit).unwrap_or_default();
    let made = list.iter().filter(|one| one.is_completed());
    let ids: Vec<&str> = made
        .map(|one| one.status.provider_snapshot_id.as_str())
        .collect();
    if !ids.is_empty() {
        let text = session.messages.snapshots_will_stay(&ids.join(", "));
        session.printer.warning(&text);
    }
    Ok(())
}

/// The delete item actions of the file and those that the cluster at hand defines. Without a cluster, which may be
/// what was lost, only those of the file are asked, and that is said where one was named but does not answer.
async fn actions(given: Actions, session: &Session) -> Result<Actions, Failure> {
    let Ok(cluster) = session.cluster(None).await else {
        return Ok(given);
    };
    let namespace = session.namespace();
    let kind = ActionKind::DeleteItemAction;
    let asked = extension::find(&cluster, namespace, &given, kind);
    let reason = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(found)) if !found.errors.is_empty() => {
            let text = format!(
                "nothing is deleted: extensions that the cluster defines in namespace `{namespace}` cannot be \
                 used: {}",
                found.errors.join("; ")
            );
            return Err(Failure::new(Exit::Refused, text).hint(
                "correct them, or delete with KUBECONFIG pointing nowhere to leave them out",
            ));
        }
        Ok(Ok(found)) => match found.hidden {
            None => return Ok(found.actions),
            Some(reason) => {
                warn_unasked(session, &reason);
                return Ok(found.actions);
            }
        },
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    warn_unasked(session, &reason);
    Ok(given)
}

fn warn_unasked(session: &Session, reason: &str) {
    let text = session
        .messages
        .delete_actions_unknown(session.namespace(), reason);
    session.printer.warning(&text);
}
