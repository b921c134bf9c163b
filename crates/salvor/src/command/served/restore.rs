//! Restores through the server.

use salvor_api::velero::{Backup, Restore};
use salvor_location::estimate::restored;

use super::{End, Run, reasons};
use crate::args::restore::{CreateArgs, DeleteArgs};
use crate::exit::{Exit, Failure};
use crate::output::estimate::{self, Unit};
use crate::served::Served;
use crate::session::Session;

/// Asks for a restore and, with `--wait`, waits for its end.
pub(crate) async fn create(
    args: &CreateArgs,
    restore: Restore,
    session: &Session,
    served: &Served,
) -> Result<Exit, Failure> {
    if args.concurrency.is_some() {
        let text = session.messages.only_direct("--concurrency");
        session.printer.warning(&text);
    }
    if !restore.spec.backup_name.is_empty() {
        assert_backup(&restore.spec.backup_name, served).await?;
    }
    let created = served.kinds().create(&restore).await?;
    let run = Run {
        what: "Restore",
        noun: "restore",
        name: &created.metadata.name,
        wait: args.wait,
        estimate: estimated(&restore, session, served).await,
    };
    let steps = |restore: &Restore| {
        let shown = restore.status.progress.as_ref()?;
        Some((
            shown.items_restored.unsigned_abs(),
            shown.total_items.unsigned_abs(),
        ))
    };
    let end = |restore: &Restore| {
        let status = &restore.status;
        status.phase.is_final().then(|| End {
            phase: status.phase.as_str().to_owned(),
            reasons: reasons(&status.validation_errors, &status.failure_reason),
        })
    };
    run.follow::<Restore>(end, steps, session, served).await
}

/// How long a restore will take, by those that the cluster knows; how much there is to do is known where all of a
/// backup comes back.
async fn estimated(restore: &Restore, session: &Session, served: &Served) -> String {
    let known: Vec<Restore> = served.kinds().list(None).await.unwrap_or_default();
    let measured = restored(&known);
    let spec = &restore.spec;
    let whole = spec.included_namespaces.is_empty()
        && spec.included_resources.is_empty()
        && spec.label_selector.is_none()
        && spec.or_label_selectors.is_empty();
    let backup: Option<Backup> = match whole && !spec.backup_name.is_empty() {
        true => served.kinds().get(&spec.backup_name).await.ok().flatten(),
        false => None,
    };
    let objects = backup.and_then(|backup| {
        let shown = backup.status.progress?;
        Some(shown.items_backed_up.unsigned_abs())
    });
    estimate::sentence(objects, &measured, None, Unit::Objects, session.messages)
}

/// A restore of a backup that is not there is refused here, as Velero's client does.
async fn assert_backup(name: &str, served: &Served) -> Result<(), Failure> {
    match served.named::<Backup>(name).await {
        Ok(_) => Ok(()),
        // There is no such alias, however often it is written.
        Err(failure) => match name.strip_suffix("-latest") {
            Some(schedule) => Err(failure.hint(format!(
                "for the newest backup of a schedule: --from-schedule {schedule}"
            ))),
            None => Err(failure),
        },
    }
}

/// Deletes restores, after showing them and asking; the server removes what is stored of them.
pub(crate) async fn delete(
    args: &DeleteArgs,
    session: &Session,
    served: &Served,
) -> Result<Exit, Failure> {
    let restores: Vec<Restore> = served
        .chosen(&args.which.names, args.which.selector.as_ref())
        .await?;
    if restores.is_empty() {
        let text = session.messages.none_in_namespace(&served.namespace);
        session.printer.remark(&text);
        return Ok(Exit::Done);
    }
    for restore in &restores {
        let name = &restore.metadata.name;
        let text = session.messages.will_be_deleted("restore", name);
        session.printer.remark(&text);
    }
    let typed = match restores.as_slice() {
        [one] => &one.metadata.name,
        _ => &served.namespace,
    };
    session.confirm(args.confirm.yes, typed).await?;
    for restore in &restores {
        served.kinds().delete(restore).await?;
        let name = &restore.metadata.name;
        let text = session.messages.restore_deleted(name);
        session.printer.result(&format!("{text}\n"))?;
    }
    Ok(Exit::Done)
}
