//! What can go wrong with a run itself; what goes wrong with a step is part of its [`crate::End`].

/// Result of an operation on a run.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run cannot be begun, gone on with or recorded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store of the journal fails.
    #[error("cannot {operation} the journal of run {run}")]
    Store {
        /// The operation.
        operation: &'static str,
        /// The run.
        run: String,
        /// The cause.
        #[source]
        source: Box<salvor_storage::Error>,
    },
    /// A copy of the journal is not complete.
    #[error(
        "the journal of run {run} is not in {place} up to its last record, which it must be before {step} is begun: \
         once it can be reached, resume the run"
    )]
    CopyBehind {
        /// The run.
        run: String,
        /// The copy's store.
        place: String,
        /// The step that destroys something.
        step: String,
        /// The cause.
        #[source]
        source: Box<salvor_storage::Error>,
    },
    /// A record of the journal is not one.
    #[error("record {number} of the journal of run {run} {what}")]
    Damaged {
        /// The run.
        run: String,
        /// The record.
        number: u64,
        /// What is wrong with it: a verb phrase.
        what: String,
    },
    /// Another program goes on with the run.
    #[error(
        "run {run} is being gone on with by another program (it wrote record {number}): this one has stopped; look at its \
         progress there, or stop it before you resume the run here"
    )]
    Fenced {
        /// The run.
        run: String,
        /// The record.
        number: u64,
    },
    /// The name cannot be that of a run.
    #[error(
        "{run:?} is no name of a run: {reason}; name a run as it was told when it began, such as 20260102t030405-0123456789abcdef"
    )]
    InvalidName {
        /// The name.
        run: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No record at all.
    #[error(
        "there is no run {run} in {place}: check the name, and that this is the place of its journal"
    )]
    NoRun {
        /// The run.
        run: String,
        /// The store.
        place: String,
    },
    /// The run was begun with another plan.
    #[error(
        "run {run} was begun with another {what}: {begun}; now it is {now}. Resume it with what it was begun with, or undo it and \
         begin another"
    )]
    AnotherPlan {
        /// The run.
        run: String,
        /// What differs.
        what: &'static str,
        /// At its beginning.
        begun: String,
        /// Now.
        now: String,
    },
    /// The run was taken back.
    #[error(
        "run {run} was undone, or is being undone: finish that with undo, then begin another run"
    )]
    Undone {
        /// The run.
        run: String,
    },
    /// Two steps of a runbook have the same name.
    #[error("step {step} is in the runbook {runbook} twice")]
    Twice {
        /// The runbook.
        runbook: String,
        /// The step.
        step: String,
    },
}
