//! `backup describe`.

use salvor_api::labels;
use salvor_api::velero::{Backup, BackupPhase, BackupStorageLocation, DownloadTargetKind as Kind};
use salvor_archive::names::BackupFile;
use salvor_controller::location_url;
use salvor_location::{BackupRecord, Location};
use salvor_storage::{Distance, StoreUrl};

use crate::args::Format;
use crate::args::backup::DescribeArgs;
use crate::args::choice::ChoiceArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::output::describe_backup::{self, BackupView, Origin};
use crate::served::{Files, Served};
use crate::session::Session;

/// Describes backups, one after another.
pub(crate) async fn run(args: &DescribeArgs, session: &Session) -> Result<Exit, Failure> {
    let DescribeArgs {
        choice: ChoiceArgs { names, selector },
        details,
        output,
    } = args;
    if let Some(served) = session.served().await? {
        return served_backups(args, session, &served).await;
    }
    let location = session.location(None)?;
    let (records, damaged) = read::backups(&location, names, selector.as_ref()).await?;
    for entry in &damaged {
        let text = session.messages.damaged(&entry.name, &entry.reason);
        session.printer.warning(&text);
    }
    for (at, record) in records.into_iter().enumerate() {
        let view = view(&location, record, *details, session).await?;
        show(&view, at, *details, *output, session)?;
    }
    Ok(if damaged.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

fn show(
    view: &BackupView,
    at: usize,
    details: bool,
    output: Format,
    session: &Session,
) -> Result<(), Failure> {
    let printer = &session.printer;
    let name = format!("backup.velero.io/{}", view.backup.metadata.name);
    let value = || describe_backup::value(view, details);
    let text = || describe_backup::text(view, details, printer.color);
    printer.described(output, at, &name, value, text)
}

/// Describes the backups of a server. Files beside them come by download requests; one that cannot be had is
/// said and leaves its part out.
async fn served_backups(
    args: &DescribeArgs,
    session: &Session,
    served: &Served,
) -> Result<Exit, Failure> {
    let backups: Vec<Backup> = served
        .chosen(&args.choice.names, args.choice.selector.as_ref())
        .await?;
    if backups.is_empty() {
        let text = session.messages.none_in_namespace(&served.namespace);
        session.printer.remark(&text);
    }
    let mut complete = true;
    for (at, backup) in backups.into_iter().enumerate() {
        let (view, whole) = served_view(served, backup, args.details, session).await;
        complete &= whole;
        show(&view, at, args.details, args.output, session)?;
    }
    Ok(if complete { Exit::Done } else { Exit::Partial })
}

async fn served_view(
    served: &Served,
    backup: Backup,
    details: bool,
    session: &Session,
) -> (BackupView, bool) {
    let name = backup.metadata.name.clone();
    let status = &backup.status;
    let ended = status.phase.is_final() && status.phase != BackupPhase::FailedValidation;
    let location: Result<BackupStorageLocation, Failure> =
        served.named(&backup.spec.storage_location).await;
    let url = location.ok().and_then(|object| location_url(&object).ok());
    let distance = url.as_ref().map(StoreUrl::distance);
    let mut files = Files::new(served, session, &name);
    let has_results = ended && (status.warnings > 0 || status.errors > 0);
    let results = files.read(has_results, Kind::BackupResults).await;
    let resource_list = files.read(ended && details, Kind::BackupResourceList).await;
    let volumes = files.read(ended, Kind::BackupVolumeInfos).await;
    let own_volumes = files.own_volumes(ended).await;
    let asked = status.backup_item_operations_attempted > 0;
    let operations = files.read(ended && asked, Kind::BackupItemOperations).await;
    let complete = files.complete;
    let verified = backup.metadata.annotations.get(labels::VERIFIED).cloned();
    let view = BackupView {
        backup,
        results,
        resource_list,
        volumes: volumes.unwrap_or_default(),
        own_volumes,
        operations: operations.unwrap_or_default(),
        origin: Origin {
            durability: distance.map_or_else(String::new, |distance| session.durability(distance)),
            endpoint: url.as_ref().and_then(StoreUrl::endpoint),
            url: url.map(|url| url.to_string()).unwrap_or_default(),
            temporary: distance.is_some_and(|distance| distance <= Distance::Cluster),
            archive_bytes: None,
            verified,
            ..Origin::default()
        },
    };
    (view, complete)
}

async fn view(
    location: &Location,
    record: BackupRecord,
    details: bool,
    session: &Session,
) -> Result<BackupView, Failure> {
    let name = record.name;
    let status = &record.backup.status;
    let results = if status.warnings > 0 || status.errors > 0 {
        read::backup_json(location, &name, BackupFile::Results).await?
    } else {
        None
    };
    let resource_list = if details {
        read::backup_json(location, &name, BackupFile::ResourceList).await?
    } else {
        None
    };
    let operations = if status.backup_item_operations_attempted > 0 {
        read::backup_json(location, &name, BackupFile::ItemOperations).await?
    } else {
        None
    };
    let volumes = salvor_objects::restore::source::read_volumes(location, &name).await?;
    let own_volumes = read::own_volumes(location, &name).await?;
    let archive = BackupFile::Archive.name(&name);
    let found = BackupRecord {
        backup: record.backup.clone(),
        name: name.clone(),
        committed: record.committed,
    };
    let copied_from = location.copied_from(&name).await?;
    let verdicts = location.verdicts_on(&name).await?;
    let verified = verdicts.of(&record.backup).map(ToString::to_string);
    Ok(BackupView {
        backup: record.backup,
        results,
        resource_list,
        volumes,
        own_volumes,
        operations: operations.unwrap_or_default(),
        origin: Origin {
            url: location.url().to_string(),
            endpoint: location.url().endpoint(),
            temporary: location.is_temporary(),
            durability: session.durability(location.url().distance()),
            archive_bytes: location.file_size(&name, &archive).await?,
            copies: location.copies_of(&found).await?,
            copied_from: copied_from.map(|from| from.from.name),
            verified,
        },
    })
}
