//! Restores through the server.

use salvor_api::labels::FIRST_RESULT;
use salvor_api::velero::{Backup, Restore, RestorePhase};
use salvor_location::estimate::restored;
use serde_json::json;

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
    run.follow::<Restore>(end, steps, None, session, served)
        .await
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

/// Writes into a restore's object what came of going on with it from here.
pub(crate) async fn write_result(served: &Served, done: &Restore) -> Result<(), Failure> {
    let name = &done.metadata.name;
    let written = served.change(name, |live: &mut Restore| {
        take_result(live, done);
        Ok(())
    });
    written.await.map(drop)
}

/// The status of `done`, which is at its end; what the object said first stays in an annotation. An object of another
/// restore, and one that a server works on, stay as they are.
fn take_result(live: &mut Restore, done: &Restore) {
    let is_over = |restore: &Restore| !restore.status.phase.is_under_way();
    let stopped = done.status.phase == RestorePhase::Cancelled;
    let ours = live.metadata.uid == done.metadata.uid;
    if stopped || !ours || !is_over(done) || !is_over(live) {
        return;
    }
    let before = std::mem::replace(&mut live.status, done.status.clone());
    let first = json!({
        "phase": before.phase, "errors": before.errors, "warnings": before.warnings,
        "failureReason": before.failure_reason, "completionTimestamp": before.completion_timestamp,
    });
    let annotations = &mut live.metadata.annotations;
    annotations
        .entry(FIRST_RESULT.to_owned())
        .or_insert_with(|| first.to_string());
    live.status.start_timestamp = before.start_timestamp.or(live.status.start_timestamp);
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn restore(uid: &str, phase: &str, errors: i64) -> Restore {
        let object = json!({"metadata": {"name": "r", "namespace": "velero", "uid": uid},
            "status": {"phase": phase, "errors": errors, "warnings": 1,
                "failureReason": if errors > 0 { "1 volumes are not filled" } else { "" },
                "startTimestamp": format!("2026-11-22T08:00:0{errors}Z")}});
        serde_json::from_value(object).expect("a restore")
    }

    #[test]
    fn an_object_says_what_the_last_run_came_to_and_keeps_the_first_result() {
        let mut live = restore("u", "PartiallyFailed", 2);
        let before = live.clone();
        // Not at an end, or of another restore of the name.
        for (uid, phase) in [
            ("u", "InProgress"),
            ("u", "Cancelled"),
            ("other", "Completed"),
        ] {
            take_result(&mut live, &restore(uid, phase, 0));
            assert_eq!(live, before, "{uid} {phase}");
        }
        let mut worked_on = restore("u", "InProgress", 0);
        take_result(&mut worked_on, &restore("u", "Completed", 0));
        assert_eq!(worked_on.status.phase, RestorePhase::InProgress);

        take_result(&mut live, &restore("u", "PartiallyFailed", 1));
        assert_eq!(live.status.errors, 1);
        take_result(&mut live, &restore("u", "Completed", 0));
        assert_eq!(
            (live.status.phase.clone(), live.status.errors),
            (RestorePhase::Completed, 0)
        );
        assert_eq!(live.status.failure_reason, "");
        assert_eq!(live.status.start_timestamp, before.status.start_timestamp);
        let first: Value =
            serde_json::from_str(&live.metadata.annotations[FIRST_RESULT]).expect("JSON");
        assert_eq!(
            (&first["phase"], &first["errors"]),
            (&json!("PartiallyFailed"), &json!(2))
        );
    }
}
