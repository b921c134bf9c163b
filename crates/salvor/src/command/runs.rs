//! Runs of several steps: where their journals are, who agrees to what, and how they are told.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use salvor_location::{Location, RunId, with_causes};
use salvor_runbook::{
    Approver, Check, Decision, End, Event, Executor, Gate, Journal, Record, Runbook, StepError,
};
use salvor_storage::FsStore;
use salvor_text::Table;
use serde_json::Value;

use crate::args::control_plane::RunArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Folder of journals in a location.
pub(super) const IN_LOCATION: &str = "plugins/salvor/journal";

impl From<salvor_runbook::Error> for Failure {
    fn from(error: salvor_runbook::Error) -> Self {
        use salvor_runbook::Error as E;
        let exit = match &error {
            E::InvalidName { .. } => Exit::Usage,
            E::NoRun { .. } => Exit::NotFound,
            E::AnotherPlan { .. } | E::Undone { .. } | E::Fenced { .. } => Exit::Refused,
            E::Damaged { .. } => Exit::VerificationFailed,
            E::Store { .. } | E::CopyBehind { .. } => Exit::Unavailable,
            _ => Exit::Internal,
        };
        Self::caused(exit, "", error)
    }
}

/// Where journals of this machine are, unless another folder is given.
pub(crate) fn folder(given: Option<&Path>) -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    given.map(Path::to_owned).unwrap_or_else(|| {
        let state = variable("XDG_STATE_HOME").map(PathBuf::from);
        let home = || variable("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        let state = state.or_else(home);
        state
            .unwrap_or_else(|| PathBuf::from("/var/lib"))
            .join("salvor/runs")
    })
}

/// The journal of the run that is named, or of a new one.
pub(crate) async fn journal(args: &RunArgs) -> Result<Journal, Failure> {
    let store = Arc::new(FsStore::new(folder(args.journal.as_deref())));
    Ok(match &args.run {
        Some(run) => Journal::open_begun(store, "", RunId::from(run.clone())).await?,
        None => Journal::open(store, "", RunId::generate()).await?,
    })
}

/// The same with a copy in a location, which outlives this machine.
pub(crate) fn with_copy(journal: Journal, location: Option<&Location>) -> Result<Journal, Failure> {
    match location {
        Some(location) => Ok(journal.with_copy(Arc::clone(location.store()), IN_LOCATION)?),
        None => Ok(journal),
    }
}

/// Prints the steps, and what each would find now. Refused where the first must not be done: what a later one finds may only be
/// so because those before it have not run.
pub(crate) async fn preview(
    runbook: &Runbook,
    journal: Journal,
    session: &Session,
) -> Result<Exit, Failure> {
    let approver = Asking {
        session,
        yes: false,
    };
    let nobody = |_: &Record| {};
    let executor = Executor::new(runbook, journal, &approver, &nobody, session.cancel.clone());
    let found = executor.preview().await;
    let mut table = Table::new(&["STEP", "FOUND", "WHAT"]);
    let mut exit = Exit::Done;
    for (index, (step, (name, check))) in runbook.steps.iter().zip(found).enumerate() {
        let state = match check {
            Ok(Check::Done) => "done",
            Ok(Check::ToDo) => "to do",
            Ok(Check::Blocked(why)) if index == 0 => {
                session.printer.error(&why);
                exit = Exit::Refused;
                "blocked"
            }
            Err(error) if index == 0 => {
                session.printer.error(&with_causes(error.as_ref()));
                exit = Exit::Unavailable;
                "unknown"
            }
            Ok(Check::Blocked(_)) | Err(_) => "later",
        };
        table.row(&[name, state.to_owned(), step.title()]);
    }
    session.printer.result(&table.to_string())?;
    Ok(exit)
}

/// How a user goes on with a run: the command that it began with, without what its journal knows.
pub(super) fn command_of(runbook: &str, parameters: &Value, journal: Option<&Path>) -> String {
    let member = parameters["member"].as_str();
    let mut command = match member.filter(|_| runbook == "etcd member replace") {
        Some(member) => format!("{runbook} {member}"),
        None => runbook.to_owned(),
    };
    if let Some(folder) = journal {
        command.push_str(&format!(" --journal {}", folder.display()));
    }
    command
}

/// The file that a program holds while it is at a run of this machine's journals.
fn lock_of(folder: &Path, run: &str) -> PathBuf {
    folder.join(run).join("lock")
}

/// Held as long as it lives, and by nobody once the process has ended, however it did.
fn held(folder: &Path, run: &str) -> std::io::Result<File> {
    let path = lock_of(folder, run);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let file = File::options().create(true).append(true).open(path)?;
    // Shared: which of two programs goes on is for the journal to decide. Only a list of runs ever holds it alone, for an instant.
    file.lock_shared()?;
    Ok(file)
}

/// Whether a program of this machine is at a run.
pub(super) fn is_held(folder: &Path, run: &str) -> bool {
    let file = File::options().append(true).open(lock_of(folder, run));
    file.is_ok_and(|file| matches!(file.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Works through a runbook, forward or backward, and says how it ended.
pub(crate) async fn work(
    runbook: &Runbook,
    journal: Journal,
    args: &RunArgs,
    session: &Session,
) -> Result<Exit, Failure> {
    let messages = session.messages;
    let run = journal.run().to_string();
    let folder = folder(args.journal.as_deref());
    let _held = held(&folder, &run).map_err(|error| {
        let doing = format!("hold the journal in {}", folder.display());
        Failure::caused(Exit::Internal, doing, error)
    })?;
    let command = command_of(&runbook.name, &runbook.parameters, args.journal.as_deref());
    session
        .printer
        .note(&messages.run_begins(&run, &runbook.target));
    let approver = Asking {
        session,
        yes: args.confirm.yes,
    };
    let observer = |record: &Record| tell(runbook, record, session);
    let executor = Executor::new(
        runbook,
        journal,
        &approver,
        &observer,
        session.cancel.clone(),
    );
    let end = match args.undo {
        true => executor.undo().await,
        false => executor.run().await,
    };
    let resume = messages.run_resume(&command, &run);
    let (exit, text) = match end.map_err(|error| Failure::from(error).hint(resume.clone()))? {
        End::Succeeded => {
            let text = messages.run_succeeded(&run, &runbook.target);
            session.printer.result(&format!("{text}\n"))?;
            return Ok(Exit::Done);
        }
        End::Undone(remains) => {
            for (step, why) in &remains {
                session.printer.warning(&messages.run_remains(step, why));
            }
            let text = messages.run_undone(&run);
            session.printer.result(&format!("{text}\n"))?;
            return Ok(match remains.is_empty() {
                true => Exit::Done,
                false => Exit::Partial,
            });
        }
        End::Failed { step, stage, error } => {
            let text = format!("{step} ({stage}): {}", with_causes(error.as_ref()));
            (Exit::Internal, text)
        }
        End::Blocked { step, reason } => (Exit::Refused, format!("{step}: {reason}")),
        End::Refused { step, .. } => (
            Exit::Refused,
            format!("{step}: {}", messages.not_confirmed()),
        ),
        End::Cancelled => (Exit::Cancelled, format!("run {run} was stopped")),
    };
    Err(Failure::new(exit, text).hint(resume))
}

/// Says what happened, as it happens.
fn tell(runbook: &Runbook, record: &Record, session: &Session) {
    let messages = session.messages;
    let title = |name: &str| {
        let step = runbook.steps.iter().find(|step| step.name() == name);
        step.map(|step| step.title()).unwrap_or_default()
    };
    let text = match &record.event {
        Event::Applying { step, .. } => messages.run_step(step, &title(step)),
        Event::Applied { step, output } if step != "look" => {
            let output = match output {
                Value::Null => String::new(),
                output => output.to_string(),
            };
            messages.run_step_done(step, &output)
        }
        Event::Found { step } => messages.run_step_found(step),
        Event::Undone { step, .. } => messages.run_step_undone(step),
        _ => return,
    };
    session.printer.note(&text);
}

/// Has the name of the target typed on the terminal.
struct Asking<'a> {
    session: &'a Session,
    yes: bool,
}

#[async_trait]
impl Approver for Asking<'_> {
    async fn decide(&self, gate: &Gate) -> Result<Decision, StepError> {
        self.session.printer.remark(&gate.question);
        let confirmed = self.session.confirm(self.yes, &gate.target).await;
        let (granted, comment) = match confirmed {
            Ok(()) if self.yes => (true, "--yes".to_owned()),
            Ok(()) => (true, format!("typed {}", gate.target)),
            Err(failure) => (false, failure.chain()),
        };
        let by = std::env::var("USER").unwrap_or_else(|_| "unknown".to_owned());
        Ok(Decision {
            granted,
            by,
            comment,
        })
    }
}
