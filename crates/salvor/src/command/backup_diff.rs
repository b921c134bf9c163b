//! `backup diff`.

use salvor_api::velero::RestoreSpec;
use salvor_objects::diff::{self, Change, DiffReport};
use salvor_objects::restore::Source;
use salvor_objects::restore::selection::Selection;

use crate::args::Format;
use crate::args::backup::DiffArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// What stands for the cluster on the command line.
const LIVE: &str = "live";

/// Shows what differs between two backups, or a backup and the cluster. Exits with 1 when anything does.
pub(crate) async fn run(args: &DiffArgs, session: &Session) -> Result<Exit, Failure> {
    let DiffArgs {
        from,
        to,
        include_namespaces,
        exclude_namespaces,
        include_resources,
        exclude_resources,
        names,
        output,
    } = args;
    let spec = RestoreSpec {
        included_namespaces: include_namespaces.clone(),
        excluded_namespaces: exclude_namespaces.clone(),
        included_resources: include_resources.clone(),
        excluded_resources: exclude_resources.clone(),
        ..RestoreSpec::default()
    };
    let selection = Selection::compile(&spec, names, None)
        .map_err(|errors| Failure::usage(errors.join("; ")))?;
    let location = session.location(None)?;
    let first = Source::open(&location, &read::backup_name(from)?).await?;
    let work = async {
        if to == LIVE {
            let cluster = session.cluster(None).await?;
            let report = diff::with_cluster(&first, &cluster, &selection).await?;
            Ok::<_, Failure>(report)
        } else {
            let second = Source::open(&location, &read::backup_name(to)?).await?;
            Ok(diff::between_backups(&first, &second, &selection).await?)
        }
    };
    let report = tokio::select! {
        report = work => report?,
        () = session.cancel.cancelled() => {
            return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
        }
    };
    show(&report, *output, session)?;
    Ok(if report.is_empty() {
        Exit::Done
    } else {
        Exit::Differences
    })
}

fn show(report: &DiffReport, output: Format, session: &Session) -> Result<(), Failure> {
    match output {
        Format::Json => session.printer.json(report),
        Format::Yaml => session.printer.yaml(report),
        Format::Name => {
            for difference in &report.differences {
                let key = &difference.object;
                session
                    .printer
                    .result(&format!("{} {}\n", key.resource, key.scoped_name()))?;
            }
            Ok(())
        }
        Format::Table | Format::Wide => {
            for difference in &report.differences {
                session.printer.result(&difference.text)?;
            }
            for (resource, reason) in &report.not_compared {
                let text = session.messages.not_compared(resource, reason);
                session.printer.warning(&text);
            }
            let counts = report.counts();
            let count = |change| counts.get(&change).copied().unwrap_or(0);
            let line = if report.differences.is_empty() {
                session.messages.no_differences(report.same)
            } else {
                session.messages.differences(
                    count(Change::Added),
                    count(Change::Removed),
                    count(Change::Changed),
                )
            };
            session.printer.remark(&line);
            Ok(())
        }
    }
}
