//! `repo get` and `repo snapshots`.

use salvor_api::go::Time;
use salvor_api::velero::BackupRepository;
use salvor_controller::repositories::DAMAGED;
use salvor_repository::Snapshot;
use salvor_text::{ByteCount, Table};
use salvor_volume::REPOSITORIES;
use serde::Serialize;

use super::{blocking, open};
use crate::args::Format;
use crate::args::repository::SnapshotsArgs;
use crate::exit::{Exit, Failure};
use crate::served::Served;
use crate::session::Session;

/// Lists the repositories of a location, or the BackupRepositories of a server.
pub(super) async fn get(format: Format, session: &Session) -> Result<Exit, Failure> {
    if let Some(served) = session.served().await? {
        return objects(&served, format, session).await;
    }
    let location = session.location_of(None).await?;
    let folder = location
        .store()
        .list_folder(REPOSITORIES)
        .await
        .map_err(|e| Failure::caused(Exit::Internal, "list the repositories", e))?;
    match format {
        Format::Json => session.printer.json(&folder.folders)?,
        Format::Yaml => session.printer.yaml(&folder.folders)?,
        Format::Name => session.printer.result(&lines(&folder.folders))?,
        Format::Table | Format::Wide => {
            let mut table = Table::new(&["DOMAIN", "ADDRESS"]);
            for name in &folder.folders {
                let address = format!("{}/{REPOSITORIES}/{name}", location.store().describe());
                table.row(&[name.as_str(), &address]);
            }
            session.printer.result(&table.to_string())?;
        }
    }
    Ok(Exit::Done)
}

/// Lists what the server knows of its repositories.
async fn objects(served: &Served, format: Format, session: &Session) -> Result<Exit, Failure> {
    let objects = served.kinds::<BackupRepository>().list(None).await?;
    match format {
        Format::Json => session.printer.json(&objects)?,
        Format::Yaml => session.printer.yaml(&objects)?,
        Format::Name => {
            let named = objects.iter().map(|object| {
                let name = &object.metadata.name;
                format!("backuprepository.velero.io/{name}")
            });
            session.printer.result(&lines(&named.collect::<Vec<_>>()))?;
        }
        Format::Table | Format::Wide => {
            let wide = format == Format::Wide;
            session.printer.result(&objects_table(&objects, wide))?;
        }
    }
    Ok(Exit::Done)
}

fn objects_table(objects: &[BackupRepository], wide: bool) -> String {
    let mut head = vec![
        "NAME",
        "NAMESPACE",
        "LOCATION",
        "STATUS",
        "LAST MAINTENANCE",
        "DAMAGED",
    ];
    if wide {
        head.push("MESSAGE");
    }
    let mut table = Table::new(&head);
    for object in objects {
        let last = object.status.last_maintenance_time;
        let last = last.map_or_else(|| "<never>".to_owned(), Time::go_display);
        let phase = object.status.phase.to_string();
        let damaged = object.metadata.annotations.get(DAMAGED);
        let mut row = vec![
            object.metadata.name.as_str(),
            object.spec.volume_namespace.as_str(),
            object.spec.backup_storage_location.as_str(),
            phase.as_str(),
            last.as_str(),
            damaged.map_or("", String::as_str),
        ];
        if wide {
            row.push(&object.status.message);
        }
        table.row(&row);
    }
    table.to_string()
}

fn lines(names: &[String]) -> String {
    names.iter().map(|name| format!("{name}\n")).collect()
}

/// A snapshot as machines read it.
#[derive(Serialize)]
struct Shown {
    id: String,
    /// What is in it; nothing where it cannot be read.
    #[serde(flatten)]
    snapshot: Option<Snapshot>,
    /// Why it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

/// Lists the snapshots of a repository.
pub(super) async fn snapshots(args: &SnapshotsArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let found = blocking(move || repository.readable_snapshots()).await?;
    for (id, why) in &found.damaged {
        let text = session.messages.snapshot_unreadable(&id.to_string(), why);
        session.printer.warning(&text);
    }
    let exit = if found.damaged.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    };
    let readable = found.all.into_iter().map(|(id, snapshot)| Shown {
        id: id.to_string(),
        snapshot: Some(snapshot),
        damage: None,
    });
    let damaged = found.damaged.into_iter().map(|(id, why)| Shown {
        id: id.to_string(),
        snapshot: None,
        damage: Some(why),
    });
    let shown: Vec<Shown> = readable.chain(damaged).collect();
    match args.format.output {
        Format::Json => session.printer.json(&shown)?,
        Format::Yaml => session.printer.yaml(&shown)?,
        Format::Name => {
            // What takes the names from here works with the snapshots.
            let readable = shown.into_iter().filter(|one| one.damage.is_none());
            let names: Vec<String> = readable.map(|one| one.id).collect();
            session.printer.result(&lines(&names))?;
        }
        Format::Table | Format::Wide => session.printer.result(&table(&shown))?,
    }
    Ok(exit)
}

fn table(shown: &[Shown]) -> String {
    let mut table = Table::new(&[
        "SNAPSHOT", "TIME", "HOST", "PATHS", "SIZE", "ADDED", "MISSING",
    ]);
    for Shown {
        id,
        snapshot,
        damage,
    } in shown
    {
        let Some(snapshot) = snapshot else {
            let why = damage.as_deref().unwrap_or_default();
            table.row(&[&id[..12], "damaged", "", why, "", "", ""]);
            continue;
        };
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
