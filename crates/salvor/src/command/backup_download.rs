//! `backup download`.

use std::path::PathBuf;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, DownloadTargetKind};
use salvor_archive::names::BackupFile;
use salvor_location::{Hasher, Manifest};
use salvor_text::ByteCount;
use tokio::io::AsyncWriteExt as _;

use crate::args::backup::DownloadArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress;
use crate::session::Session;

/// Copies a backup's archive to a file, readable by its owner only, and compares it with its digest.
/// `-` is standard output.
pub(crate) async fn run(args: &DownloadArgs, session: &Session) -> Result<Exit, Failure> {
    let DownloadArgs {
        name,
        output,
        force,
    } = args;
    let name = read::backup_name(name)?;
    let file = BackupFile::Archive.name(&name);
    let Source {
        size,
        mut stream,
        manifest,
    } = Source::open(&name, &file, session).await?;
    let path = output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("{name}-data.tar.gz")));
    if path.as_os_str() == "-" {
        let mut hasher = Hasher::new();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk?;
            hasher.update(&chunk);
            session.printer.bytes(&chunk)?;
        }
        return sound(manifest, &file, hasher, "standard output");
    }
    let doing = format!("write {}", path.display());
    let failed = |error: std::io::Error| {
        let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
        let exit = if exists {
            Exit::Refused
        } else {
            Exit::Internal
        };
        let hint = if exists {
            "choose another file with -o, or pass --force"
        } else {
            ""
        };
        Failure::caused(exit, doing.clone(), error).hint(hint)
    };
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).mode(0o600);
    if *force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let mut out = options.open(&path).await.map_err(failed)?;
    let mut progress = Progress::begin(&file);
    let mut hasher = Hasher::new();
    let copied: Result<(), Failure> = async {
        loop {
            let chunk = tokio::select! {
                chunk = stream.next() => chunk,
                () = session.cancel.cancelled() => {
                    return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
                }
            };
            let Some(chunk) = chunk else { break };
            let chunk = chunk?;
            out.write_all(&chunk).await.map_err(failed)?;
            hasher.update(&chunk);
            progress.update(hasher.length(), size, "");
        }
        out.sync_all().await.map_err(failed)
    }
    .await;
    drop(progress);
    if let Err(failure) = copied {
        // A part of an archive looks like a whole one to whoever finds it.
        let _ = tokio::fs::remove_file(&path).await;
        return Err(failure);
    }
    let size = ByteCount(hasher.length()).to_string();
    if matches!(manifest, Ok(None)) {
        // Nobody here says what was written: gzip's own checksums are what is left to look at.
        let (read, shown) = (path.clone(), path.display().to_string());
        let looked = tokio::task::spawn_blocking(move || unpacks(&read)).await;
        if let Ok(Err(error)) = looked {
            let text = format!("`{file}` was copied to {shown}, but it does not unpack");
            return Err(Failure::caused(Exit::VerificationFailed, text, error).hint(KEPT));
        }
    }
    let exit = sound(manifest, &file, hasher, &path.display().to_string())?;
    let text = session
        .messages
        .written_to(&file, &path.display().to_string(), &size);
    session.printer.remark(&text);
    Ok(exit)
}

/// An archive that is about to be copied.
struct Source {
    /// Its length; zero when it is not known.
    size: u64,
    stream: BoxStream<'static, Result<Bytes, Failure>>,
    /// What was written, where there is a record of it that can be read from here.
    manifest: salvor_location::Result<Option<Manifest>>,
}

impl Source {
    async fn open(name: &BackupName, file: &str, session: &Session) -> Result<Self, Failure> {
        let missing = || {
            let text = format!("backup `{name}` has no archive: `{file}` is not there");
            Failure::new(Exit::VerificationFailed, text)
        };
        if let Some(served) = session.served().await? {
            served.named::<Backup>(name.as_str()).await?;
            let kind = DownloadTargetKind::BackupContents;
            let found = served.file(kind, name.as_str()).await?;
            let (size, stream) = found.ok_or_else(missing)?;
            let doing = format!("download `{file}`");
            let failed = move |error| Failure::caused(Exit::Internal, doing.as_str(), error);
            return Ok(Self {
                size: size.unwrap_or(0),
                stream: stream.map_err(failed).boxed(),
                manifest: Ok(None),
            });
        }
        let location = session.location(None)?;
        let record = location.backup(name).await?;
        let manifest = location.manifest(&record).await;
        let found = location.open_file(name, file).await?;
        let (size, stream) = found.ok_or_else(missing)?;
        Ok(Self {
            size,
            stream: stream.map_err(Failure::from).boxed(),
            manifest,
        })
    }
}

/// Reads a gzip file to its end, past every member and checksum.
fn unpacks(path: &std::path::Path) -> std::io::Result<()> {
    let file = std::io::BufReader::new(std::fs::File::open(path)?);
    let mut archive = flate2::bufread::MultiGzDecoder::new(file);
    std::io::copy(&mut archive, &mut std::io::sink()).map(drop)
}

/// What a user does with a damaged copy.
const KEPT: &str = "the copy is kept for what can still be read of it; run `salvor backup verify`";

/// Compares what was copied with what the manifest says; backups of Velero have none. A damaged copy stays
/// where it was written: it may be the only one there is.
fn sound(
    manifest: salvor_location::Result<Option<Manifest>>,
    file: &str,
    copied: Hasher,
    target: &str,
) -> Result<Exit, Failure> {
    let failed = |reason: String| {
        let text = format!("`{file}` was copied to {target}, but {reason}");
        Err(Failure::new(Exit::VerificationFailed, text).hint(KEPT))
    };
    let stated = match &manifest {
        Ok(None) => return Ok(Exit::Done),
        Ok(Some(manifest)) => manifest.objects.iter().find(|object| object.name == *file),
        Err(error) => {
            let reason = format!("it could not be checked: {error}");
            return failed(reason);
        }
    };
    let (size, found) = (copied.length(), copied.finish());
    match stated {
        Some(stated) if stated.size == size && stated.sha256 == found => Ok(Exit::Done),
        Some(stated) if stated.size != size => {
            let reason = format!("it has {size} bytes instead of {}", stated.size);
            failed(reason)
        }
        Some(stated) => {
            let reason = format!("its SHA-256 is {found} instead of {}", stated.sha256);
            failed(reason)
        }
        None => failed("the backup's manifest does not name it".to_owned()),
    }
}
