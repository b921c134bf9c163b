//! `backup-location files`: plain files that were mirrored from folders.

use salvor_location::copy::Transfer;
use salvor_location::copy::tree::{EntryKind, TreeRecord};
use salvor_location::{Location, RunId, Verification};
use salvor_text::{ByteCount, Table};
use serde_json::Value;

use crate::args::Format;
use crate::args::location::{
    FilesCommand, FilesDeleteArgs, FilesGetArgs, FilesListArgs, FilesVerifyArgs,
};
use crate::command::transfer;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Runs a command.
pub(crate) async fn run(command: FilesCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        FilesCommand::List(args) => list(&args, session).await,
        FilesCommand::Get(args) => get(&args, session).await,
        FilesCommand::Verify(args) => verify(&args, session).await,
        FilesCommand::Delete(args) => delete(&args, session).await,
    }
}

async fn chosen(
    location: &Location,
    tree: &str,
    generation: Option<&String>,
) -> Result<TreeRecord, Failure> {
    let generation = generation.map(|text| RunId::from(text.clone()));
    Ok(location.tree(tree, generation.as_ref()).await?)
}

/// Lists trees, or the entries of one.
async fn list(args: &FilesListArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location_of(None).await?;
    if let Some(tree) = &args.tree {
        let record = chosen(&location, tree, args.generation.as_ref()).await?;
        return entries(&location, &record, args.format.output, session).await;
    }
    let mut records = Vec::new();
    let mut whole = true;
    for found in location.trees().await? {
        match found {
            Ok(record) => records.push(record),
            Err(error) => {
                whole = false;
                session.printer.warning(&Failure::from(error).chain());
            }
        }
    }
    match args.format.output {
        Format::Json => session.printer.json(&records)?,
        Format::Yaml => session.printer.yaml(&records)?,
        Format::Name => {
            for record in &records {
                let text = format!("{} {}\n", record.tree, record.generation);
                session.printer.result(&text)?;
            }
        }
        Format::Table | Format::Wide => {
            let mut table = Table::new(&[
                "TREE",
                "GENERATION",
                "FINISHED",
                "FILES",
                "SIZE",
                "MISSING",
                "FROM",
            ]);
            for record in &records {
                table.row(&[
                    record.tree.clone(),
                    record.generation.to_string(),
                    record
                        .finished
                        .strftime("%Y-%m-%d %H:%M:%S UTC")
                        .to_string(),
                    record.files.to_string(),
                    ByteCount(record.bytes).to_string(),
                    record.missing.to_string(),
                    record.root.clone(),
                ]);
            }
            session.printer.result(&table.to_string())?;
        }
    }
    Ok(if whole { Exit::Done } else { Exit::Partial })
}

/// Prints entries as they are read: a tree may have more of them than fit in memory.
async fn entries(
    location: &Location,
    record: &TreeRecord,
    format: Format,
    session: &Session,
) -> Result<Exit, Failure> {
    let mut written = Ok(());
    location
        .tree_entries(record, async |entry| {
            if written.is_err() {
                return Ok(());
            }
            let line = match (format, &entry.kind) {
                (Format::Json | Format::Yaml, _) => {
                    let value: Value = serde_json::to_value(&entry).unwrap_or_default();
                    format!("{value}\n")
                }
                (Format::Name, _) => format!("{}\n", entry.path),
                (_, EntryKind::File { size, .. }) => format!("{size:>14}  {}\n", entry.path),
                (_, EntryKind::Folder) => format!("{:>14}  {}/\n", "", entry.path),
                (_, EntryKind::Link { target }) => {
                    format!("{:>14}  {} -> {target}\n", "", entry.path)
                }
            };
            written = session.printer.result(&line);
            Ok(())
        })
        .await?;
    written.map(|()| Exit::Done)
}

/// Writes the files of a tree to a new folder.
async fn get(args: &FilesGetArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location_of(None).await?;
    let record = chosen(&location, &args.tree, args.generation.as_ref()).await?;
    let moved = Transfer::default();
    let work = location.extract_tree(&record, &args.to, &args.paths, &moved);
    let report = transfer::follow(&args.tree, record.bytes, &moved, session, work).await?;
    warn(&report, session);
    if report.files == 0 && report.is_sound() && !args.paths.is_empty() {
        let text = format!(
            "tree `{}` has no file at or below {}",
            args.tree,
            args.paths.join(", ")
        );
        return Err(Failure::new(Exit::NotFound, text));
    }
    let size = ByteCount(report.bytes).to_string();
    let folder = args.to.display().to_string();
    let line = session.messages.files_written(report.files, &size, &folder);
    session.printer.result(&format!("{line}\n"))?;
    Ok(if report.is_sound() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

/// Reads every file of a tree and compares it with its digest.
async fn verify(args: &FilesVerifyArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location_of(None).await?;
    let record = chosen(&location, &args.tree, args.generation.as_ref()).await?;
    let moved = Transfer::default();
    let report = location.verify_tree(&record, &moved);
    let report = transfer::follow(&args.tree, 0, &moved, session, report).await?;
    warn(&report, session);
    if !report.is_sound() {
        return Ok(Exit::VerificationFailed);
    }
    let size = ByteCount(report.bytes).to_string();
    let name = format!("{} {}", record.tree, record.generation);
    let line = session.messages.tree_verified(&name, report.files, &size);
    session.printer.result(&format!("{line}\n"))?;
    Ok(Exit::Done)
}

fn warn(report: &Verification, session: &Session) {
    for finding in &report.findings {
        let text = format!("{}: {}", finding.file, finding.message);
        session.printer.warning(&text);
    }
}

/// Deletes a tree with all its generations, after saying so and asking.
async fn delete(args: &FilesDeleteArgs, session: &Session) -> Result<Exit, Failure> {
    let FilesDeleteArgs { tree, confirm } = args;
    let location = session.location_of(None).await?;
    let mut generations = 0;
    for found in location.trees().await? {
        generations += u64::from(found.is_ok_and(|record| record.tree == *tree));
    }
    session
        .printer
        .remark(&session.messages.tree_will_go(tree, generations));
    session.confirm(confirm.yes, tree).await?;
    // What a mirror that never ended has left goes as well, although no generation refers to it.
    if location.delete_tree(tree).await? == 0 {
        let text = format!("location `{}` has no tree `{tree}`", location.name());
        return Err(Failure::new(Exit::NotFound, text));
    }
    let line = session.messages.tree_deleted(tree);
    session.printer.result(&format!("{line}\n"))?;
    Ok(Exit::Done)
}
