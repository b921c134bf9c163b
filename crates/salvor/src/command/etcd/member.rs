//! `etcd member` and `etcd recover-quorum`: runs of several steps.

use std::sync::Arc;

use salvor_adapters::control_plane::Plane;
use salvor_adapters::control_plane::members::{self, Etcd, Setting};
use salvor_etcd::client::{Endpoint, Member};
use salvor_runbook::{Journal, Runbook};
use salvor_text::Table;

use super::save::access;
use crate::args::etcd::AccessArgs;
use crate::args::etcd_member::{MemberCommand, RecoverQuorumArgs, ReplaceArgs, SettingArgs};
use crate::command::runs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Runs a command of `etcd member`.
pub(super) async fn run(command: MemberCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        MemberCommand::List(args) => list(&args, session).await,
        MemberCommand::Replace(args) => replace(&args, session).await,
    }
}

async fn list(args: &AccessArgs, session: &Session) -> Result<Exit, Failure> {
    let access = access(&args.credentials)?;
    let mut last = None;
    for endpoint in &args.endpoints {
        let asked = async {
            let endpoint = Endpoint::new(endpoint, &access)?;
            Member::connect(&endpoint, &access).await?.members().await
        };
        match asked.await {
            Ok(listed) => {
                let mut table = Table::new(&["ID", "NAME", "VOTES", "PEERS", "CLIENTS"]);
                for one in listed {
                    table.row(&[
                        format!("{:x}", one.id),
                        one.name,
                        if one.is_learner { "no" } else { "yes" }.to_owned(),
                        one.peer_urls.join(","),
                        one.client_urls.join(","),
                    ]);
                }
                session.printer.result(&table.to_string())?;
                return Ok(Exit::Done);
            }
            Err(error) => last = Some(error),
        }
    }
    match last {
        None => Err(Failure::usage("no endpoint is given: --endpoints")),
        Some(error) => Err(Failure::caused(
            super::exit_of(&error),
            "list the members",
            error,
        )),
    }
}

async fn replace(args: &ReplaceArgs, session: &Session) -> Result<Exit, Failure> {
    let setting = setting(&args.setting)?;
    let runbook = members::replace(&setting, &args.name, args.setting.force)?;
    let journal = runs::journal(&args.setting.work).await?;
    work(
        &runbook,
        journal,
        &args.setting,
        "etcd member replace",
        session,
    )
    .await
}

/// Runs `etcd recover-quorum`.
pub(super) async fn recover(args: &RecoverQuorumArgs, session: &Session) -> Result<Exit, Failure> {
    let setting = setting(&args.setting)?;
    let journal = runs::journal(&args.setting.work).await?;
    let begun = journal.history().begun.as_ref().and_then(|begun| {
        let survivor = begun.parameters.get("survivor")?;
        survivor.as_str().map(str::to_owned)
    });
    let survivor = match begun.or_else(|| args.survivor.clone()) {
        Some(name) => name,
        None => {
            let found = members::survivor(&setting, &args.leave_out).await?;
            let (term, index) = found.last;
            session
                .printer
                .note(&session.messages.etcd_survivor(&found.name, index, term));
            for other in &found.others {
                session.printer.note(other);
            }
            found.name
        }
    };
    let runbook = members::recover(&setting, &survivor, &args.leave_out, args.setting.force)?;
    work(
        &runbook,
        journal,
        &args.setting,
        "etcd recover-quorum",
        session,
    )
    .await
}

fn setting(args: &SettingArgs) -> Result<Setting, Failure> {
    let path = args.plane.display().to_string();
    let text = std::fs::read_to_string(&args.plane)
        .map_err(|error| Failure::caused(Exit::Usage, format!("read {path}"), error))?;
    let plane =
        Plane::from_yaml(&text).map_err(|error| Failure::caused(Exit::Usage, path, error))?;
    let access = access(&args.credentials)?;
    Ok(Setting {
        plane: Arc::new(plane),
        etcd: Arc::new(Etcd { access }),
    })
}

async fn work(
    runbook: &Runbook,
    journal: Journal,
    args: &SettingArgs,
    command: &str,
    session: &Session,
) -> Result<Exit, Failure> {
    if args.work.dry_run {
        return runs::preview(runbook, journal, session).await;
    }
    let location = match session.global.location {
        Some(_) => Some(session.location(None)?),
        None => None,
    };
    let journal = runs::with_copy(journal, location.as_ref())?;
    let command = format!("{command} ... --plane {}", args.plane.display());
    runs::work(runbook, journal, &args.work, &command, session).await
}

impl From<members::Error> for Failure {
    fn from(error: members::Error) -> Self {
        use members::Error as E;
        let exit = match error {
            E::NoMember { .. } => Exit::NotFound,
            E::NoSurvivor { .. } => Exit::Refused,
            E::NoMajority { .. } => Exit::Unavailable,
            _ => Exit::Internal,
        };
        Self::caused(exit, "", error)
    }
}
