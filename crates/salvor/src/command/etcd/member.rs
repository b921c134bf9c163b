//! `etcd member` and `etcd recover-quorum`: runs of several steps.

use std::sync::Arc;

use salvor_adapters::control_plane::Plane;
use salvor_adapters::control_plane::members::{self, Etcd, Setting};
use salvor_etcd::client::{Endpoint, Member};
use salvor_runbook::{Journal, Runbook};
use salvor_text::Table;
use serde_json::Value;

use super::control_plane;
use super::control_plane_detect as detect;
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
    let journal = runs::journal(&args.setting.work).await?;
    let setting = setting(&args.setting, &journal, session).await?;
    let force = parameter(&journal, "force").and_then(|force| force.as_bool());
    let force = force.unwrap_or(args.setting.force);
    let runbook = members::replace(&setting, &args.name, force)?;
    work(&runbook, journal, &args.setting, session).await
}

/// Runs `etcd recover-quorum`.
pub(super) async fn recover(args: &RecoverQuorumArgs, session: &Session) -> Result<Exit, Failure> {
    let journal = runs::journal(&args.setting.work).await?;
    if args.from.is_some() || parameter(&journal, "from").is_some() {
        return control_plane::recover_quorum(args, session).await;
    }
    let setting = setting(&args.setting, &journal, session).await?;
    let begun = parameter(&journal, "survivor");
    let begun = begun.and_then(|survivor| survivor.as_str().map(str::to_owned));
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
    // What a run was asked for is in its journal.
    let left_out = parameter(&journal, "leftOut");
    let left_out = left_out.and_then(|names| serde_json::from_value(names).ok());
    let left_out = left_out.unwrap_or_else(|| args.leave_out.clone());
    let force = parameter(&journal, "force").and_then(|force| force.as_bool());
    let force = force.unwrap_or(args.setting.force);
    let runbook = members::recover(&setting, &survivor, &left_out, force)?;
    work(&runbook, journal, &args.setting, session).await
}

/// What a run that has begun was asked for.
fn parameter(journal: &Journal, name: &str) -> Option<Value> {
    let begun = journal.history().begun.as_ref()?;
    begun.parameters.get(name).cloned()
}

/// The machines: those that the run was begun with, that are described, or that are found.
async fn setting(
    args: &SettingArgs,
    journal: &Journal,
    session: &Session,
) -> Result<Setting, Failure> {
    let mut credentials = args.credentials.clone();
    let begun = parameter(journal, "plane").filter(|_| args.machines.plane.is_none());
    let plane: Plane = match begun {
        Some(begun) => {
            let plane = serde_json::from_value(begun).map_err(|error| {
                Failure::caused(Exit::Usage, "read what the run was asked to do", error)
            })?;
            detect::credentials(&plane, &mut credentials).await;
            plane
        }
        None => detect::plane(&args.machines, &mut credentials, session).await?,
    };
    let access = access(&credentials)?;
    Ok(Setting {
        plane: Arc::new(plane),
        etcd: Arc::new(Etcd { access }),
    })
}

async fn work(
    runbook: &Runbook,
    journal: Journal,
    args: &SettingArgs,
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
    runs::work(runbook, journal, &args.work, session).await
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
