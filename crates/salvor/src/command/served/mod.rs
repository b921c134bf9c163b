//! Commands that ask a server: they write and read objects of Velero's kinds, as Velero's client does.

pub(crate) mod backup;
pub(crate) mod location;
pub(crate) mod restore;
mod volumes;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use salvor_api::velero::Kind;

use self::volumes::Volumes;
use crate::args::Format;
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress;
use crate::output::structured::kind_list;
use crate::served::Served;
use crate::session::Session;
use salvor_text::ByteCount;

/// A run that takes longer is no longer waited for. The server has limits of its own.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// A run that was asked for.
struct Run<'a> {
    /// What it is called in sentences: `Backup`.
    what: &'static str,
    /// Its command: `backup`.
    noun: &'static str,
    name: &'a str,
    /// Whether its end is waited for.
    wait: bool,
    /// How long it will take, by earlier ones.
    estimate: String,
}

/// Objects that are done, of how many.
type Steps = (u64, u64);

/// How a run ended.
struct End {
    phase: String,
    /// Why it failed, or was refused.
    reasons: Vec<String>,
}

/// Why a run failed or was refused, in its order of telling.
fn reasons(refused: &[String], failed: &str) -> Vec<String> {
    let failed = Some(failed.to_owned()).filter(|reason| !reason.is_empty());
    refused.iter().cloned().chain(failed).collect()
}

impl Run<'_> {
    /// Says that it was asked for and, where that is wanted, waits for its end. `end` is `None` until then.
    async fn follow<K: Kind>(
        &self,
        end: impl Fn(&K) -> Option<End>,
        steps: impl Fn(&K) -> Option<Steps>,
        volumes: Option<&Volumes>,
        session: &Session,
        served: &Served,
    ) -> Result<Exit, Failure> {
        let Self {
            what,
            noun,
            name,
            wait,
            estimate,
        } = self;
        let (printer, messages) = (&session.printer, session.messages);
        printer.result(&format!("{}\n", messages.request_submitted(what, name)))?;
        printer.remark(estimate);
        if !wait {
            printer.remark(&messages.follow(noun, name));
            return Ok(Exit::Done);
        }
        printer.remark(&messages.waiting(noun));
        let ended = {
            let progress = Progress::begin(name).with_remaining(messages);
            let progress = Mutex::new((progress, false));
            let seen = |object: &K| {
                let mut shown = progress.lock().unwrap_or_else(PoisonError::into_inner);
                let (bar, copies) = &mut *shown;
                let copied = volumes.and_then(Volumes::seen);
                // Bytes say more than objects as soon as there are any.
                if let Some(copied) = copied.filter(|copied| *copies || copied.is_under_way()) {
                    if !*copies {
                        *bar = Progress::begin(name).with_remaining(messages);
                        *copies = true;
                    }
                    let bytes = ByteCount(copied.bytes).to_string();
                    let detail = messages.volumes_copied(copied.done, copied.all, &bytes);
                    bar.update(copied.bytes, copied.total, &detail);
                } else if let Some((done, total)) = steps(object) {
                    bar.update(done, total, "");
                }
                end(object).is_some()
            };
            let waiting = served.wait::<K>(name, LONGEST, seen);
            match volumes {
                None => waiting.await?,
                Some(volumes) => tokio::select! {
                    ended = waiting => ended?,
                    never = volumes.watch(served) => match never {},
                },
            }
        };
        let Some(End { phase, reasons }) = end(&ended) else {
            let text = format!("{noun} `{name}` is not seen to end");
            return Err(Failure::new(Exit::Internal, text));
        };
        printer.result(&format!("{}\n", messages.ended_with_status(what, &phase)))?;
        for reason in &reasons {
            printer.warning(reason);
        }
        printer.remark(&messages.follow(noun, name));
        Ok(exit_of(&phase))
    }
}

/// What the end of a run means for a script.
fn exit_of(phase: &str) -> Exit {
    match phase {
        "Completed" => Exit::Done,
        "PartiallyFailed" => Exit::Partial,
        "FailedValidation" => Exit::Usage,
        _ => Exit::Internal,
    }
}

/// Prints objects of one kind as JSON, YAML or names; one that was named is printed as itself. `None` when
/// a table is wanted.
pub(super) fn structured<K: Kind>(
    objects: &[K],
    named: usize,
    format: Format,
    session: &Session,
) -> Option<Result<(), Failure>> {
    let printer = &session.printer;
    let done = match (format, objects) {
        (Format::Table | Format::Wide, _) => return None,
        (Format::Json, [one]) if named == 1 => printer.json(one),
        (Format::Yaml, [one]) if named == 1 => printer.yaml(one),
        (Format::Json, all) => printer.json(&kind_list(K::KIND, all)),
        (Format::Yaml, all) => printer.yaml(&kind_list(K::KIND, all)),
        (Format::Name, all) => all.iter().try_for_each(|object| {
            let (kind, name) = (K::SINGULAR, &object.metadata().name);
            printer.result(&format!("{kind}.velero.io/{name}\n"))
        }),
    };
    Some(done)
}
