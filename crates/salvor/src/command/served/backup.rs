//! Backups through the server.

use std::collections::BTreeMap;
use std::path::Path;

use salvor_api::labels::{self, label_value};
use salvor_api::velero::{Backup, DeleteBackupRequest};
use salvor_location::estimate::PastBackup;
use serde_json::Value;

use super::volumes::Volumes;
use super::{End, Run, reasons};
use crate::args::Format;
use crate::args::backup::{CreateArgs, DeleteArgs};
use crate::command::backup_create;
use crate::exit::{Exit, Failure};
use crate::output::estimate;
use crate::served::Served;
use crate::session::Session;

/// Newest backups that an estimate stands on.
const MEASURED: usize = 8;

/// Asks for a backup and, with `--wait`, waits for its end.
pub(crate) async fn create(
    args: &CreateArgs,
    mut backup: Backup,
    session: &Session,
    served: &Served,
) -> Result<Exit, Failure> {
    if args.template.volumes.resource_policies_file.is_some() {
        let text = "--resource-policies-file is read here, and the backup is made by the server";
        let hint =
            "create a ConfigMap and name it with --resource-policies-configmap, or pass --direct";
        return Err(Failure::usage(text).hint(hint));
    }
    refuse_actions_of_a_file(args.item_actions.as_deref())?;
    if let Some(schedule) = &args.from_schedule {
        backup = backup_create::from_schedule(&served.cluster, schedule, backup, session).await?;
        if matches!(args.output, Format::Json | Format::Yaml) {
            return backup_create::print(&backup, args.output, session);
        }
    }
    for (flag, given) in [
        ("--all-versions", args.all_versions),
        ("--concurrency", args.concurrency.is_some()),
    ] {
        if given {
            let text = session.messages.only_direct(flag);
            session.printer.warning(&text);
        }
    }
    let created = served.kinds().create(&backup).await?;
    let run = Run {
        what: "Backup",
        noun: "backup",
        name: &created.metadata.name,
        wait: args.wait,
        estimate: estimated(&backup, session, served).await,
    };
    let steps = |backup: &Backup| {
        let shown = backup.status.progress.as_ref()?;
        Some((
            shown.items_backed_up.unsigned_abs(),
            shown.total_items.unsigned_abs(),
        ))
    };
    let end = |backup: &Backup| {
        let status = &backup.status;
        status.phase.is_final().then(|| End {
            phase: status.phase.as_str().to_owned(),
            reasons: reasons(&status.validation_errors, &status.failure_reason),
        })
    };
    let volumes = Volumes::of(&created);
    run.follow::<Backup>(end, steps, Some(&volumes), session, served)
        .await
}

/// How long a backup will take, by those of its location that the cluster knows. That they cannot be listed is no
/// reason not to make one.
async fn estimated(backup: &Backup, session: &Session, served: &Served) -> String {
    let known: Vec<Backup> = served.kinds().list(None).await.unwrap_or_default();
    let wanted = &backup.spec.storage_location;
    let here = |other: &&Backup| wanted.is_empty() || other.spec.storage_location == *wanted;
    let mut past: Vec<PastBackup> = known
        .iter()
        .filter(here)
        .filter_map(|other| PastBackup::of(other, 0))
        .collect();
    past.sort_by_key(|past| std::cmp::Reverse(past.ended));
    past.truncate(MEASURED);
    estimate::of_backup(&backup.spec, &past, None, session.messages)
}

/// Item actions of a file are asked from here, and the work is the server's.
fn refuse_actions_of_a_file(file: Option<&Path>) -> Result<(), Failure> {
    match file {
        None => Ok(()),
        Some(_) => {
            let text = "--item-actions is read here, and the work is done by the server";
            let hint =
                "define them in a ConfigMap with the label salvor.dev/extension, or pass --direct";
            Err(Failure::usage(text).hint(hint))
        }
    }
}

/// Locations that have a copy of a backup, as its server shows them.
fn copies_of(backup: &Backup) -> Vec<String> {
    let shown = backup.metadata.annotations.get(labels::COPIES);
    let shown: BTreeMap<String, Value> = shown
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let done = shown
        .into_iter()
        .filter(|(_, copy)| copy["state"] == "done");
    done.map(|(location, _)| location).collect()
}

/// Asks for the deletion of backups, after showing them and asking.
pub(crate) async fn delete(
    args: &DeleteArgs,
    session: &Session,
    served: &Served,
) -> Result<Exit, Failure> {
    refuse_actions_of_a_file(args.item_actions.as_deref())?;
    let backups: Vec<Backup> = served
        .chosen(&args.which.names, args.which.selector.as_ref())
        .await?;
    if backups.is_empty() {
        let text = session.messages.none_in_namespace(&served.namespace);
        session.printer.remark(&text);
        return Ok(Exit::Done);
    }
    for backup in &backups {
        let name = &backup.metadata.name;
        let text = session.messages.will_be_deleted("backup", name);
        session.printer.remark(&text);
        let copies = copies_of(backup);
        if !copies.is_empty() {
            let text = session.messages.copies_will_stay(&copies.join(", "));
            session.printer.remark(&text);
        }
    }
    let typed = match backups.as_slice() {
        [one] => &one.metadata.name,
        _ => &served.namespace,
    };
    session.confirm(args.confirm.yes, typed).await?;
    for backup in &backups {
        let (name, uid) = (&backup.metadata.name, &backup.metadata.uid);
        let mut request = DeleteBackupRequest::named(&served.namespace, "");
        request.metadata.generate_name = format!("{name}-");
        request.metadata.labels.extend([
            (labels::BACKUP_NAME.to_owned(), label_value(name)),
            (labels::BACKUP_UID.to_owned(), uid.clone()),
        ]);
        request.spec.backup_name.clone_from(name);
        served.kinds().create(&request).await?;
        let text = session.messages.deletion_submitted(name);
        session.printer.result(&format!("{text}\n"))?;
    }
    Ok(Exit::Done)
}
