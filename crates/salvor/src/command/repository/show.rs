//! `repo get` and `repo snapshots`.

use salvor_repository::Snapshot;
use salvor_text::{ByteCount, Table};
use serde::Serialize;

use super::{FOLDER, blocking, open};
use crate::args::Format;
use crate::args::repository::SnapshotsArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Lists the repositories of a location.
pub(super) async fn get(format: Format, session: &Session) -> Result<Exit, Failure> {
    let location = session.location_of(None).await?;
    let folder = location
        .store()
        .list_folder(FOLDER)
        .await
        .map_err(|e| Failure::caused(Exit::Internal, "list the repositories", e))?;
    match format {
        Format::Json => session.printer.json(&folder.folders)?,
        Format::Yaml => session.printer.yaml(&folder.folders)?,
        Format::Name => session.printer.result(&lines(&folder.folders))?,
        Format::Table | Format::Wide => {
            let mut table = Table::new(&["DOMAIN", "ADDRESS"]);
            for name in &folder.folders {
                let address = format!("{}/{FOLDER}/{name}", location.store().describe());
                table.row(&[name.as_str(), &address]);
            }
            session.printer.result(&table.to_string())?;
        }
    }
    Ok(Exit::Done)
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

/// A snapshot as machines read it.
#[derive(Serialize)]
struct Shown {
    id: String,
    #[serde(flatten)]
    snapshot: Snapshot,
}

/// Lists the snapshots of a repository.
pub(super) async fn snapshots(args: &SnapshotsArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let all = blocking(move || repository.snapshots()).await?;
    let shown: Vec<Shown> = all
        .into_iter()
        .map(|(id, snapshot)| Shown {
            id: id.to_string(),
            snapshot,
        })
        .collect();
    match args.format.output {
        Format::Json => session.printer.json(&shown)?,
        Format::Yaml => session.printer.yaml(&shown)?,
        Format::Name => {
            let names: Vec<String> = shown.into_iter().map(|one| one.id).collect();
            session.printer.result(&lines(&names))?;
        }
        Format::Table | Format::Wide => session.printer.result(&table(&shown))?,
    }
    Ok(Exit::Done)
}

fn table(shown: &[Shown]) -> String {
    let mut table = Table::new(&[
        "SNAPSHOT", "TIME", "HOST", "PATHS", "SIZE", "ADDED", "MISSING",
    ]);
    for Shown { id, snapshot } in shown {
        let summary = snapshot.summary.as_ref();
        let size = |bytes: Option<u64>| {
            bytes.map_or_else(
                || "unknown".to_owned(),
                |bytes| ByteCount(bytes).to_string(),
            )
        };
        let missing = summary.map_or_else(String::new, |summary| summary.errors.to_string());
        table.row(&[
            &id[..12],
            &snapshot.time,
            &snapshot.hostname,
            &snapshot.paths.join(", "),
            &size(summary.map(|summary| summary.total_bytes_processed)),
            &size(summary.map(|summary| summary.data_added_packed)),
            &missing,
        ]);
    }
    table.to_string()
}
