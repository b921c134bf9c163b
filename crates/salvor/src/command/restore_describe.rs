//! `restore describe`.

use salvor_api::labels::{RESTORE_NAME, label_value};
use salvor_api::velero::{DownloadTargetKind as Kind, PodVolumeRestore, Restore, RestorePhase};
use salvor_archive::names::RestoreFile;

use crate::args::Format;
use crate::args::choice::ChoiceArgs;
use crate::args::restore::DescribeArgs;
use crate::command::{read, records};
use crate::exit::{Exit, Failure};
use crate::output::describe_filling::Filling;
use crate::output::describe_restore::{self, RestoreView};
use crate::served::{Files, Served};
use crate::session::Session;

/// Describes restores, one after another.
pub(crate) async fn run(args: &DescribeArgs, session: &Session) -> Result<Exit, Failure> {
    let DescribeArgs {
        choice: ChoiceArgs { names, selector },
        details,
        output,
    } = args;
    if let Some(served) = session.served().await? {
        return served_restores(args, session, &served).await;
    }
    let location = records::of_named(names.first(), session.location(None)?, session).await?;
    let (records, damaged) = read::restores(&location, names, selector.as_ref()).await?;
    for entry in &damaged {
        let text = session.messages.damaged(&entry.name, &entry.reason);
        session.printer.warning(&text);
    }
    read::note_unfinished(&records, session);
    for (at, record) in records.into_iter().enumerate() {
        let status = &record.restore.status;
        let results = if status.warnings > 0 || status.errors > 0 {
            read::restore_json(&location, &record.name, RestoreFile::Results).await?
        } else {
            None
        };
        let volumes = read::restore_json(&location, &record.name, RestoreFile::VolumeInfo).await?;
        let resource_list = if *details {
            read::restore_json(&location, &record.name, RestoreFile::ResourceList).await?
        } else {
            None
        };
        let view = RestoreView {
            restore: record.restore,
            results,
            volumes: volumes.unwrap_or_default(),
            filling: Vec::new(),
            resource_list,
        };
        show(&view, at, *details, *output, session)?;
    }
    Ok(if damaged.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

fn show(
    view: &RestoreView,
    at: usize,
    details: bool,
    output: Format,
    session: &Session,
) -> Result<(), Failure> {
    let printer = &session.printer;
    let name = format!("restore.velero.io/{}", view.restore.metadata.name);
    let value = || describe_restore::value(view, details);
    let text = || describe_restore::text(view, details, printer.color);
    printer.described(output, at, &name, value, text)
}

/// Volumes that are being filled for a restore.
async fn filling(restore: &str, served: &Served, session: &Session) -> Vec<Filling> {
    let query = format!("{RESTORE_NAME}={}", label_value(restore));
    let listed = served
        .kinds::<PodVolumeRestore>()
        .list(Some(&query))
        .await
        .unwrap_or_else(|error| {
            tracing::debug!(%error, "volumes that are being filled are not known");
            Vec::new()
        });
    let now = session.now();
    listed.iter().map(|one| Filling::of(one, now)).collect()
}

/// Describes the restores of a server. Files beside them come by download requests; one that cannot be had
/// is said and leaves its part out.
async fn served_restores(
    args: &DescribeArgs,
    session: &Session,
    served: &Served,
) -> Result<Exit, Failure> {
    let restores: Vec<Restore> = served
        .chosen(&args.choice.names, args.choice.selector.as_ref())
        .await?;
    if restores.is_empty() {
        let text = session.messages.none_in_namespace(&served.namespace);
        session.printer.remark(&text);
    }
    let mut complete = true;
    for (at, restore) in restores.into_iter().enumerate() {
        let status = &restore.status;
        let ended = status.phase.is_final() && status.phase != RestorePhase::FailedValidation;
        let name = restore.metadata.name.clone();
        let mut files = Files::new(served, session, &name);
        let has_results = ended && (status.warnings > 0 || status.errors > 0);
        let results = files.read(has_results, Kind::RestoreResults).await;
        let volumes = files.read(ended, Kind::RestoreVolumeInfo).await;
        let listed = ended && args.details;
        let resource_list = files.read(listed, Kind::RestoreResourceList).await;
        complete &= files.complete;
        let view = RestoreView {
            restore,
            results,
            volumes: volumes.unwrap_or_default(),
            filling: match ended {
                true => Vec::new(),
                false => filling(&name, served, session).await,
            },
            resource_list,
        };
        show(&view, at, args.details, args.output, session)?;
    }
    Ok(if complete { Exit::Done } else { Exit::Partial })
}
