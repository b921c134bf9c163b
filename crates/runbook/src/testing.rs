//! The suite that every runbook must pass: each step fails, and is killed, in turn; the run is resumed, and undone twice.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, stream};
use salvor_location::RunId;
use salvor_storage::MemoryStore;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::approval::Granted;
use crate::executor::{End, Executor};
use crate::history::Phase;
use crate::journal::Journal;
use crate::step::{Check, Compensation, Context, Effect, Runbook, Step, StepError};

/// A world that a runbook changes.
#[async_trait]
pub trait World: Send + Sync {
    /// The runbook, with steps that change this world.
    fn runbook(&self) -> Runbook;

    /// All that its steps change, in a form that can be compared. What may remain after an undoing, such as a safety copy, is
    /// not part of it.
    async fn state(&self) -> Value;
}

/// Worlds that are there at once: steps spend most of their time waiting for what they started.
const AT_ONCE: usize = 12;

/// How a step is disturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails before it did anything.
    Before,
    /// It does everything, and fails.
    After,
    /// It does everything, and the program is killed before it can say so.
    Killed,
    /// It does everything; what looks at it fails.
    AtVerify,
}

/// All of them.
pub const FAULTS: [Fault; 4] = [Fault::Before, Fault::After, Fault::Killed, Fault::AtVerify];

/// Proves a runbook in worlds that `make` makes, each as the one before. Returns how many cases held.
///
/// For each step and each [`Fault`]: the run ends there and, resumed, leaves the world as an undisturbed one does; in another
/// world, undone, it leaves it as it was, and undone once more it changes nothing. Besides, the undoing itself is killed
/// behind each step, and finished.
///
/// # Errors
/// The first case that does not hold, and what was found.
pub async fn prove<W: World>(make: impl AsyncFn() -> W) -> Result<usize, String> {
    let (first, goal) = undisturbed(&make).await?;
    let count = make().await.runbook().steps.len();
    let mut cases = Vec::new();
    for index in 0..count {
        for fault in FAULTS {
            cases.push((Case { index, fault }, Then::Resumed));
            cases.push((Case { index, fault }, Then::Undone));
        }
        let fault = Fault::Killed;
        cases.push((Case { index, fault }, Then::UndoKilled));
    }
    let held = 1 + cases.len();
    let proofs = cases.iter().map(|(case, then)| async {
        let world = make().await;
        match then {
            Then::Resumed => case.resumed(&world, &goal).await,
            Then::Undone => case.undone(&world, &first).await,
            Then::UndoKilled => undo_killed(&world, case.index, &first).await,
        }
    });
    let mut proofs = stream::iter(proofs).buffer_unordered(AT_ONCE);
    while let Some(proof) = proofs.next().await {
        proof?;
    }
    Ok(held)
}

async fn undisturbed<W: World>(make: &impl AsyncFn() -> W) -> Result<(Value, Value), String> {
    let world = make().await;
    let first = world.state().await;
    let mut run = Run::new();
    run.forward(&world.runbook())
        .await
        .succeeded("undisturbed")?;
    let goal = world.state().await;
    run.forward(&world.runbook()).await.succeeded("once more")?;
    same(
        "a finished run that is run again",
        &world.state().await,
        &goal,
    )?;
    run.backward(&world.runbook())
        .await
        .undone("a finished run")?;
    same(
        "a finished run that is undone",
        &world.state().await,
        &first,
    )?;
    Ok((first, goal))
}

/// What follows a disturbance.
enum Then {
    Resumed,
    Undone,
    UndoKilled,
}

struct Case {
    index: usize,
    fault: Fault,
}

impl Case {
    async fn disturbed<W: World>(&self, world: &W) -> Result<(Run, bool), String> {
        let plain = world.runbook();
        let mut run = Run::new();
        let end = run.disturbed(&plain, self.index, self.fault).await;
        let name = plain.steps[self.index].name();
        let found = run.phase(name).await == Phase::Found;
        match (end, found) {
            // A step that has nothing to do cannot be disturbed.
            (Ending::End(End::Succeeded), true) => {}
            (Ending::Killed, false) if self.fault == Fault::Killed => {}
            (Ending::End(End::Failed { step, .. }), false) if step == name => {}
            (end, _) => return Err(self.tell(&plain, &format!("ended as {}", end.told()))),
        }
        Ok((run, found))
    }

    async fn resumed<W: World>(&self, world: &W, goal: &Value) -> Result<(), String> {
        let (mut run, _) = self.disturbed(world).await?;
        let plain = world.runbook();
        let what = self.tell(&plain, "resumed");
        run.forward(&plain).await.succeeded(&what)?;
        same(&what, &world.state().await, goal)
    }

    async fn undone<W: World>(&self, world: &W, first: &Value) -> Result<(), String> {
        let (mut run, _) = self.disturbed(world).await?;
        let plain = world.runbook();
        for times in ["undone", "undone twice"] {
            let what = self.tell(&plain, times);
            run.backward(&plain).await.undone(&what)?;
            same(&what, &world.state().await, first)?;
        }
        Ok(())
    }

    fn tell(&self, runbook: &Runbook, what: &str) -> String {
        let name = runbook.steps[self.index].name();
        format!("step {name}, fault {:?}, {what}", self.fault)
    }
}

async fn undo_killed<W: World>(world: &W, index: usize, first: &Value) -> Result<(), String> {
    let plain = world.runbook();
    let what = format!("undoing killed behind step {}", plain.steps[index].name());
    let mut run = Run::new();
    run.forward(&plain).await.succeeded(&what)?;
    let end = run.undo_disturbed(&plain, index).await;
    if !matches!(end, Ending::Killed | Ending::End(End::Undone(_))) {
        return Err(format!("{what}: ended as {}", end.told()));
    }
    run.backward(&plain).await.undone(&what)?;
    same(&what, &world.state().await, first)
}

fn same(what: &str, found: &Value, wanted: &Value) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    Err(format!(
        "{what}: the world is\n{found:#}\nand should be\n{wanted:#}"
    ))
}

/// How a program ended.
#[derive(Debug)]
enum Ending {
    End(End),
    Killed,
    Refused(String),
}

impl Ending {
    /// How it was refused, or how it ended.
    fn told(&self) -> String {
        match self {
            Self::End(end) => format!("{end:?}"),
            Self::Killed => "killed".to_owned(),
            Self::Refused(why) => format!("refused: {why}"),
        }
    }

    fn succeeded(self, what: &str) -> Result<(), String> {
        match self {
            Self::End(End::Succeeded) => Ok(()),
            other => Err(format!("{what}: ended as {}", other.told())),
        }
    }

    fn undone(self, what: &str) -> Result<(), String> {
        match self {
            Self::End(End::Undone(_)) => Ok(()),
            other => Err(format!("{what}: the undoing ended as {}", other.told())),
        }
    }
}

/// One run, gone on with by several programs one after the other.
struct Run {
    store: Arc<MemoryStore>,
    run: RunId,
}

impl Run {
    fn new() -> Self {
        Self {
            store: Arc::new(MemoryStore::new()),
            run: RunId::generate(),
        }
    }

    async fn journal(&self) -> crate::Result<Journal> {
        Journal::open(self.store.clone(), "journal", self.run.clone()).await
    }

    async fn phase(&self, step: &str) -> Phase {
        match self.journal().await {
            Ok(journal) => journal.history().step(step).phase,
            Err(_) => Phase::Untouched,
        }
    }

    async fn forward(&mut self, runbook: &Runbook) -> Ending {
        self.go(runbook, None, true).await
    }

    async fn backward(&mut self, runbook: &Runbook) -> Ending {
        self.go(runbook, None, false).await
    }

    async fn disturbed(&mut self, runbook: &Runbook, index: usize, fault: Fault) -> Ending {
        let (runbook, killed) = disturb(runbook, index, fault);
        self.go(&runbook, Some(killed), true).await
    }

    async fn undo_disturbed(&mut self, runbook: &Runbook, index: usize) -> Ending {
        let (runbook, killed) = disturb(runbook, index, Fault::Killed);
        self.go(&runbook, Some(killed), false).await
    }

    async fn go(&mut self, runbook: &Runbook, killed: Option<Arc<Notify>>, on: bool) -> Ending {
        let journal = match self.journal().await {
            Ok(journal) => journal,
            Err(error) => return Ending::Refused(error.to_string()),
        };
        let by = "the suite".to_owned();
        let granted = Granted { by };
        let cancel = CancellationToken::new();
        let executor = Executor::new(runbook, journal, &granted, &|_| {}, cancel);
        let work = async {
            match on {
                true => executor.run().await,
                false => executor.undo().await,
            }
        };
        let killed = async {
            match killed {
                Some(killed) => killed.notified().await,
                None => pending().await,
            }
        };
        // What is dropped here stops where it is, as a killed program does.
        tokio::select! {
            biased;
            () = killed => Ending::Killed,
            end = work => end.map_or_else(|error| Ending::Refused(error.to_string()), Ending::End),
        }
    }
}

/// The same runbook with one step disturbed, once.
fn disturb(runbook: &Runbook, index: usize, fault: Fault) -> (Runbook, Arc<Notify>) {
    let killed = Arc::new(Notify::new());
    let mut runbook = runbook.clone();
    runbook.steps[index] = Arc::new(Disturbed {
        inner: runbook.steps[index].clone(),
        fault,
        killed: killed.clone(),
        done: AtomicBool::new(false),
    });
    (runbook, killed)
}

struct Disturbed {
    inner: Arc<dyn Step>,
    fault: Fault,
    killed: Arc<Notify>,
    done: AtomicBool,
}

impl Disturbed {
    fn strikes(&self, fault: Fault) -> bool {
        self.fault == fault && !self.done.swap(true, Ordering::SeqCst)
    }

    async fn kill(&self) {
        self.killed.notify_one();
        pending::<()>().await;
    }
}

#[async_trait]
impl Step for Disturbed {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn title(&self) -> String {
        self.inner.title()
    }

    fn effect(&self) -> Effect {
        self.inner.effect()
    }

    fn limit(&self) -> Duration {
        self.inner.limit()
    }

    async fn question(&self, context: &Context<'_>) -> Result<Option<String>, StepError> {
        self.inner.question(context).await
    }

    async fn check(&self, context: &Context<'_>) -> Result<Check, StepError> {
        self.inner.check(context).await
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        if self.strikes(Fault::Before) {
            return Err("made to fail before it does anything".into());
        }
        let output = self.inner.apply(context).await?;
        if self.strikes(Fault::Killed) {
            self.kill().await;
        }
        if self.strikes(Fault::After) {
            return Err("made to fail after it did everything".into());
        }
        Ok(output)
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        if self.strikes(Fault::AtVerify) {
            return Err("made to fail when it is looked at".into());
        }
        self.inner.verify(context).await
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        let outcome = self.inner.compensate(context).await?;
        if self.strikes(Fault::Killed) {
            self.kill().await;
        }
        Ok(outcome)
    }
}
