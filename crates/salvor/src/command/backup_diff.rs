//! `backup diff`.

use salvor_api::filter::{BackupFilter, Choice};
use salvor_api::resource::ObjectKey;
use salvor_api::velero::{BackupPhase, BackupSpec, RestoreSpec};
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
    let location = session.location_of(Some(from)).await?;
    let first = Source::open(&location, &read::backup_name(from)?).await?;
    warn_if_incomplete(&first, session);
    let work = async {
        if to == LIVE {
            let cluster = session.cluster(None).await?;
            let mut report = diff::with_cluster(&first, &cluster, &selection).await?;
            report.differences.retain(|one| {
                one.change != Change::Added || covers(&first.backup.spec, &one.object)
            });
            Ok::<_, Failure>(report)
        } else {
            let second = Source::open(&location, &read::backup_name(to)?).await?;
            warn_if_incomplete(&second, session);
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

/// What an incomplete backup lacks is not in the report, which then says less than it seems to.
fn warn_if_incomplete(source: &Source, session: &Session) {
    let phase = &source.backup.status.phase;
    if *phase != BackupPhase::Completed {
        let text = session
            .messages
            .backup_is_incomplete(source.name.as_str(), &phase.to_string());
        session.printer.warning(&text);
    }
}

/// Whether a backup with this specification would hold an object of the cluster. What it was never meant
/// to hold is no difference. Labels are not known here, so a selector covers nothing.
fn covers(spec: &BackupSpec, object: &ObjectKey) -> bool {
    let Ok(filter) = BackupFilter::compile(spec) else {
        return true;
    };
    if !filter.labels.is_everything() {
        return false;
    }
    let resource = object.resource.to_string();
    let namespace = match &object.namespace {
        Some(namespace) => Some(namespace.as_str()),
        None if resource == "namespaces" => Some(object.name.as_str()),
        None => None,
    };
    match namespace {
        Some(namespace) if !filter.namespaces.should_include(namespace) => false,
        _ if resource == "namespaces" => true,
        _ => {
            let names = [resource.as_str(), object.resource.resource.as_str()];
            filter.resources.choose(object.namespace.is_some(), &names) == Choice::Take
        }
    }
}

/// Prints differences.
pub(crate) fn show(report: &DiffReport, output: Format, session: &Session) -> Result<(), Failure> {
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
            if report.is_empty() {
                let line = session.messages.no_differences(report.same);
                session.printer.remark(&line);
            } else {
                session.printer.result(&report.render())?;
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backup_was_never_meant_to_hold_is_no_difference() {
        let spec = BackupSpec {
            included_namespaces: vec!["shop".into()],
            excluded_resources: vec!["secrets".into()],
            ..BackupSpec::default()
        };
        let namespaced = |resource: &str, namespace: &str| {
            ObjectKey::namespaced(resource.parse().expect("resource"), namespace, "x")
        };
        let cluster = |resource: &str, name: &str| {
            ObjectKey::cluster(resource.parse().expect("resource"), name)
        };
        for (object, expected) in [
            (namespaced("pods", "shop"), true),
            (namespaced("secrets", "shop"), false),
            (namespaced("pods", "other"), false),
            (cluster("namespaces", "shop"), true),
            (cluster("namespaces", "other"), false),
            (
                cluster("clusterroles.rbac.authorization.k8s.io", "x"),
                false,
            ),
        ] {
            assert_eq!(covers(&spec, &object), expected, "{object:?}");
            assert!(covers(&BackupSpec::default(), &object), "{object:?}");
        }
    }
}
