//! `backup hold` and `backup release`.

use salvor_api::velero::Backup;
use salvor_location::Hold;

use crate::args::backup::{HoldArgs, ReleaseArgs};
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Keeps a backup until it is released: no expiration, no policy and no request removes it.
pub(crate) async fn hold(args: &HoldArgs, session: &Session) -> Result<Exit, Failure> {
    let HoldArgs { name, reason } = args;
    let reason = reason.trim();
    if reason.is_empty() {
        return Err(Failure::usage(
            "--reason says nothing: whoever finds the hold must know why",
        ));
    }
    let name = read::backup_name(name)?;
    let location = session.location_of(Some(name.as_str())).await?;
    let hold = location.hold(&name, reason, &by()).await?;
    let text = session.messages.backup_held(name.as_str(), &hold.id);
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

/// Releases one hold of a backup, or with `--all` every one, after showing them and asking.
pub(crate) async fn release(args: &ReleaseArgs, session: &Session) -> Result<Exit, Failure> {
    let ReleaseArgs {
        name,
        ids,
        all,
        confirm,
    } = args;
    let name = read::backup_name(name)?;
    let location = session.location_of(Some(name.as_str())).await?;
    let holds = location.holds_of(&name).await?.active;
    let known = |id: &String| holds.iter().any(|hold| hold.id == *id);
    if let Some(unknown) = ids.iter().find(|id| !known(id)) {
        let text = format!("backup `{name}` has no hold `{unknown}` that counts");
        return Err(Failure::new(Exit::NotFound, text).hint(named(&holds)));
    }
    let chosen = |hold: &&Hold| *all || ids.contains(&hold.id) || holds.len() == 1;
    let chosen: Vec<&Hold> = holds.iter().filter(chosen).collect();
    if chosen.is_empty() {
        if holds.is_empty() {
            session
                .printer
                .remark(&session.messages.not_held(name.as_str()));
            return Ok(Exit::Done);
        }
        let text = format!(
            "backup `{name}` has {} holds: name those to release",
            holds.len()
        );
        return Err(Failure::usage(text).hint(named(&holds)));
    }
    for Hold { id, reason, by, .. } in &chosen {
        let text = session.messages.hold_will_be_released(id, reason, by);
        session.printer.remark(&text);
    }
    session.confirm(confirm.yes, name.as_str()).await?;
    for hold in chosen {
        location.release(&name, &hold.id).await?;
        let text = session.messages.hold_released(&hold.id);
        session.printer.result(&format!("{text}\n"))?;
    }
    unmark(name.as_str(), session).await
}

/// The annotation of a backup in a cluster is a wish, and would hold it anew.
async fn unmark(name: &str, session: &Session) -> Result<Exit, Failure> {
    if let Some(served) = session.served().await? {
        let change = |backup: &mut Backup| {
            backup.metadata.annotations.remove(salvor_api::labels::HOLD);
            Ok(())
        };
        served.change(name, change).await?;
    }
    Ok(Exit::Done)
}

fn named(holds: &[Hold]) -> String {
    let all = holds
        .iter()
        .map(|hold| format!("{} ({}, by {})", hold.id, hold.reason, hold.by));
    all.collect::<Vec<_>>().join("; ")
}

/// Who holds: the user of this machine, as far as the environment tells.
pub(crate) fn by() -> String {
    let name = ["SUDO_USER", "USER", "LOGNAME"]
        .iter()
        .find_map(|variable| std::env::var(variable).ok().filter(|name| !name.is_empty()));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.unwrap_or_else(|| "unknown".to_owned());
    match host.trim() {
        "" => name,
        host => format!("{name}@{host}"),
    }
}
