//! Whether an extension keeps the contract: questions that a third party can have put to its own, with what came of
//! each as data.

mod application;
mod item_action;
mod object_store;
mod snapshotter;

use std::fmt;

use serde_json::json;

use crate::error::{Code, ProviderError};
use crate::provider::{About, Provider, ProviderKind};

pub use self::application::check_application_adapter;
pub use self::item_action::check_item_action;
pub use self::object_store::check_object_store;
pub use self::snapshotter::check_volume_snapshotter;

/// What came of one clause of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Kept,
    /// It does not; what was seen instead.
    Broken(String),
    /// It was not looked at; why.
    Skipped(String),
}

/// A clause of the contract and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// What must hold.
    pub clause: &'static str,
    /// Whether it does.
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Clause by clause, in the order in which they were looked at.
    pub clauses: Vec<Clause>,
}

impl Report {
    /// True when nothing is broken.
    #[must_use]
    pub fn conforms(&self) -> bool {
        self.broken().next().is_none()
    }

    /// What is broken.
    pub fn broken(&self) -> impl Iterator<Item = &Clause> {
        let broken = |clause: &&Clause| matches!(clause.outcome, Outcome::Broken(_));
        self.clauses.iter().filter(broken)
    }

    fn note(&mut self, clause: &'static str, seen: Result<(), String>) {
        let outcome = seen.map_or_else(Outcome::Broken, |()| Outcome::Kept);
        self.clauses.push(Clause { clause, outcome });
    }

    fn skip(&mut self, clause: &'static str, why: &str) {
        let outcome = Outcome::Skipped(why.to_owned());
        self.clauses.push(Clause { clause, outcome });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Clause { clause, outcome } in &self.clauses {
            match outcome {
                Outcome::Kept => writeln!(f, "kept     {clause}")?,
                Outcome::Broken(seen) => writeln!(f, "BROKEN   {clause}: {seen}")?,
                Outcome::Skipped(why) => writeln!(f, "skipped  {clause}: {why}")?,
            }
        }
        Ok(())
    }
}

/// What every provider must do, whatever its kind.
///
/// # Errors
/// It does not answer at all: nothing else can be looked at.
pub async fn check_common(
    provider: &Provider,
    report: &mut Report,
) -> Result<About, ProviderError> {
    let about = provider.describe().await?;
    report.note("it says what it is and which version it knows", Ok(()));
    let odd = json!({"version": "v99", "provider": provider.name(), "kind": provider.kind(),
        "method": "describe", "config": {}, "body": false, "arguments": {}});
    let seen = ask_raw(provider, &odd).await;
    report.note(
        "a question of a version that it does not know is refused with Unsupported",
        expect_code(seen.map(drop), Code::Unsupported),
    );
    let more = json!({"version": "v1", "provider": provider.name(), "kind": provider.kind(),
        "method": "describe", "config": {}, "body": false, "arguments": {}, "ofALaterVersion": 1});
    let seen = ask_raw(provider, &more).await;
    report.note(
        "fields of a question that it does not know are ignored",
        seen.map(drop).map_err(|error| error.chain()),
    );
    let unknown = provider
        .ask::<serde_json::Value>("noSuchMethod", json!({}))
        .await;
    report.note(
        "a method that it does not know is refused with Unsupported",
        expect_code(unknown.map(drop), Code::Unsupported),
    );
    Ok(about)
}

async fn ask_raw(
    provider: &Provider,
    question: &serde_json::Value,
) -> Result<serde_json::Value, ProviderError> {
    let line = format!("{question}\n");
    let (_, answer) = provider.open_line("describe", line.into(), false);
    answer.result().await
}

/// That a question was refused for this reason.
fn expect_code(seen: Result<(), ProviderError>, code: Code) -> Result<(), String> {
    match seen {
        Ok(()) => Err("it was answered".to_owned()),
        Err(error) if error.code() == Some(code) => Ok(()),
        Err(error) => Err(error.chain()),
    }
}

fn expect(holds: bool, seen: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen()) }
}

/// The kinds of providers, for those who choose one by name.
pub const KINDS: [ProviderKind; 3] = [
    ProviderKind::ObjectStore,
    ProviderKind::VolumeSnapshotter,
    ProviderKind::ApplicationAdapter,
];
