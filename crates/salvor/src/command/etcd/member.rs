//! `etcd member` and `etcd recover-quorum`: runs of several steps.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use salvor_adapters::control_plane::Plane;
use salvor_adapters::control_plane::members::{self, Etcd, Setting};
use salvor_etcd::client::{Endpoint, Member};
use salvor_location::RunId;
use salvor_runbook::{
    Approver, Check, Decision, End, Event, Executor, Gate, Journal, Record, Runbook, StepError,
};
use salvor_storage::{FsStore, ObjectStore};
use salvor_text::Table;

use super::save::access;
use crate::args::etcd::AccessArgs;
use crate::args::etcd_member::{MemberCommand, RecoverQuorumArgs, ReplaceArgs, RunArgs};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Folder of journals below a location's own.
const COPIES: &str = "plugins/salvor/journal";

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
    let setting = setting(&args.run)?;
    let runbook = members::replace(&setting, &args.name, args.run.force)?;
    work(&runbook, &args.run, session).await
}

/// Runs `etcd recover-quorum`.
pub(super) async fn recover(args: &RecoverQuorumArgs, session: &Session) -> Result<Exit, Failure> {
    let setting = setting(&args.run)?;
    let begun = match &args.run.run {
        Some(run) => {
            let journal = journal(&args.run, RunId::from(run.clone())).await?;
            let begun = journal.history().begun.clone();
            begun.and_then(|begun| Some(begun.parameters.get("survivor")?.as_str()?.to_owned()))
        }
        None => None,
    };
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
    let runbook = members::recover(&setting, &survivor, &args.leave_out, args.run.force)?;
    work(&runbook, &args.run, session).await
}

fn setting(args: &RunArgs) -> Result<Setting, Failure> {
    let path = args.plane.display().to_string();
    let text = std::fs::read_to_string(&args.plane)
        .map_err(|error| Failure::caused(Exit::Usage, format!("read {path}"), error))?;
    let plane =
        Plane::from_yaml(&text).map_err(|error| Failure::caused(Exit::Usage, path, error))?;
    let access = access(&args.access.credentials)?;
    Ok(Setting {
        plane: Arc::new(plane),
        etcd: Arc::new(Etcd { access }),
    })
}

/// The folder of journals.
fn folder(args: &RunArgs) -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let state = || variable("XDG_STATE_HOME").map(PathBuf::from);
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let default = || Some(state().or_else(home)?.join("salvor/runs"));
    args.journal
        .clone()
        .or_else(default)
        .ok_or_else(|| Failure::usage("neither HOME nor XDG_STATE_HOME is set: give --journal"))
}

async fn journal(args: &RunArgs, run: RunId) -> Result<Journal, Failure> {
    let store: Arc<dyn ObjectStore> = Arc::new(FsStore::new(folder(args)?));
    let journal = match args.run {
        Some(_) => Journal::open_begun(store, "", run).await,
        None => Journal::open(store, "", run).await,
    };
    Ok(journal?)
}

async fn work(runbook: &Runbook, args: &RunArgs, session: &Session) -> Result<Exit, Failure> {
    let run = match &args.run {
        Some(run) => RunId::from(run.clone()),
        None => RunId::generate(),
    };
    let mut journal = journal(args, run.clone()).await?;
    if session.global.location.is_some() {
        let location = session.location(None)?;
        journal = journal.with_copy(location.store().clone(), COPIES);
    }
    let asks = Asks {
        session: session.clone(),
        yes: args.confirm.yes,
    };
    let titles = runbook.steps.iter();
    let titles: Vec<_> = titles
        .map(|step| (step.name().to_owned(), step.title()))
        .collect();
    let tells = |record: &Record| told(record, &titles, session);
    let executor = Executor::new(runbook, journal, &asks, &tells, session.cancel.clone());
    if args.dry_run {
        return preview(&executor, &titles, session).await;
    }
    session
        .printer
        .note(&session.messages.member_run_has_id(run.as_str()));
    let end = match args.undo {
        true => executor.undo().await?,
        false => executor.run().await?,
    };
    ended(end, run.as_str(), session)
}

async fn preview(
    executor: &Executor<'_>,
    titles: &[(String, String)],
    session: &Session,
) -> Result<Exit, Failure> {
    let mut table = Table::new(&["STEP", "FOUND", "WHAT"]);
    let found = executor.preview().await;
    let mut exit = Exit::Done;
    for (index, ((step, check), (_, title))) in found.iter().zip(titles).enumerate() {
        let text = match check {
            Ok(Check::Done) => "done".to_owned(),
            Ok(Check::ToDo) => "to do".to_owned(),
            Ok(Check::Blocked(why)) if index == 0 => {
                exit = Exit::Refused;
                session.printer.warning(why);
                "blocked".to_owned()
            }
            // What a later step finds may only be so because those before it have not run.
            Ok(Check::Blocked(_)) | Err(_) => "later".to_owned(),
        };
        table.row(&[step.clone(), text, title.clone()]);
    }
    session.printer.result(&table.to_string())?;
    Ok(exit)
}

/// Says how far a run is.
fn told(record: &Record, titles: &[(String, String)], session: &Session) {
    let title = |step: &str| {
        let found = titles.iter().find(|(name, _)| name == step);
        found.map_or_else(|| step.to_owned(), |(_, title)| title.clone())
    };
    let messages = session.messages;
    let text = match &record.event {
        Event::Applying { step, .. } => title(step),
        Event::Found { step } => messages.member_run_found(&title(step)),
        Event::Undoing { step } => messages.member_run_undoing(&title(step)),
        _ => return,
    };
    session.printer.note(&text);
}

fn ended(end: End, run: &str, session: &Session) -> Result<Exit, Failure> {
    let messages = session.messages;
    let again = messages.member_run_resume(run);
    match end {
        End::Succeeded => {
            session.printer.note(&messages.member_run_succeeded());
            Ok(Exit::Done)
        }
        End::Undone(remains) => {
            for (step, why) in &remains {
                session.printer.warning(&format!("{step}: {why}"));
            }
            session.printer.note(&messages.member_run_undone());
            Ok(if remains.is_empty() {
                Exit::Done
            } else {
                Exit::Partial
            })
        }
        End::Failed { step, stage, error } => {
            let text = format!(
                "step {step}: {stage}: {}",
                salvor_etcd::with_causes(error.as_ref())
            );
            Err(Failure::new(Exit::Internal, text).hint(again))
        }
        End::Blocked { step, reason } => {
            Err(Failure::new(Exit::Refused, format!("step {step}: {reason}")).hint(again))
        }
        End::Refused { decision, .. } => {
            Err(Failure::new(Exit::Refused, decision.comment).hint(again))
        }
        End::Cancelled => {
            Err(Failure::new(Exit::Cancelled, messages.member_run_stopped()).hint(again))
        }
    }
}

/// Asks on the terminal for the name of what is changed.
struct Asks {
    session: Session,
    yes: bool,
}

#[async_trait]
impl Approver for Asks {
    async fn decide(&self, gate: &Gate) -> Result<Decision, StepError> {
        self.session.printer.warning(&gate.question);
        let user = std::env::var("USER").unwrap_or_else(|_| "the user of the terminal".to_owned());
        let asked = self.session.confirm(self.yes, &gate.target).await;
        Ok(Decision {
            granted: asked.is_ok(),
            by: if self.yes {
                format!("{user}, by --yes")
            } else {
                user
            },
            comment: asked
                .err()
                .map(|failure| failure.chain())
                .unwrap_or_default(),
        })
    }
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
