//! Commands that ask a server: they write and read objects of Velero's kinds, as Velero's client does.

pub(crate) mod backup;
pub(crate) mod location;
pub(crate) mod restore;

use std::time::Duration;

use crate::args::Format;
use crate::exit::{Exit, Failure};
use crate::output::structured::kind_list;
use crate::session::Session;

/// A run that takes longer is no longer waited for. The server has limits of its own.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the end of a run means for a script.
pub(super) fn exit_of(phase: &str) -> Exit {
    match phase {
        "Completed" => Exit::Done,
        "PartiallyFailed" => Exit::Partial,
        "FailedValidation" => Exit::Usage,
        _ => Exit::Internal,
    }
}

/// Prints objects of one kind as JSON, YAML or names; one that was named is printed as itself. `None` when
/// a table is wanted.
pub(super) fn structured<K: salvor_api::velero::Kind>(
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
