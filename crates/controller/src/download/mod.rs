//! DownloadRequests: an address under which one file of a backup or restore can be fetched for ten minutes,
//! by somebody who has no credentials of the store.
//!
//! Where the store can sign URLs, the address is one of the store. The files of the others (folders, stores
//! whose credentials cannot sign) are served by this process: see [`endpoint`]. An address holds a signature
//! of the store or a seal of ours; who knows it can read that one file until it expires.

mod endpoint;

use std::net::SocketAddr;
use std::time::Duration;

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::name::{BackupName, RestoreName};
use salvor_api::velero::{DownloadRequest, DownloadRequestPhase, DownloadTargetKind};
use salvor_archive::names::SALVOR_VOLUMES;
use salvor_location::Location;
use salvor_objects::restore::Source;
use salvor_objects::rights;

pub(crate) use self::endpoint::{Endpoint, Parts};
use crate::authorize::{Warrant, read_everything, take};
use crate::context::{Context, chain};
use crate::control::{Next, Reconcile};
use crate::events::EventType;
use crate::informer::Informer;
use crate::kinds::KindError;

/// Where files are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downloads {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// How users reach that address: `https://backups.example.com`, without a slash at the end. Empty for the
    /// address itself.
    pub public_url: String,
}

const NOWHERE: &str = "this server serves no files: start it with an address for downloads and the URL under which users \
     reach it, or read the file with `salvor backup download|logs` and the credentials of the location";

/// Which file of which backup or restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum File {
    /// A file of a backup.
    Backup(BackupName, String),
    /// A file of a restore.
    Restore(RestoreName, String),
}

pub(crate) struct DownloadRequests {
    pub(crate) context: Context,
    pub(crate) requests: Informer<DownloadRequest>,
}

impl Reconcile for DownloadRequests {
    const NAME: &'static str = "download-request";
    type Error = KindError;

    async fn reconcile(&self, name: &str) -> Result<Next, KindError> {
        let context = &self.context;
        let Some(request) = self.requests.get(name) else {
            return Ok(Next::Wait);
        };
        let now = context.now();
        match request.status.phase {
            DownloadRequestPhase::Unset | DownloadRequestPhase::New => {
                self.answer(&request).await?;
                // The change brings the next turn.
                Ok(Next::Wait)
            }
            DownloadRequestPhase::Processed | DownloadRequestPhase::Failed => {
                let lasts = context.options.download_lasts;
                let made = request.metadata.creation_timestamp;
                let until = request.status.expiration;
                let until = until.or_else(|| made.map(|made| made.plus(lasts)));
                let left = until.map_or(0, |until| until.seconds_since(now));
                if left <= 0 {
                    context.kinds().delete(&*request).await?;
                    return Ok(Next::Wait);
                }
                let left = Duration::from_secs(left.unsigned_abs());
                Ok(Next::After(left))
            }
            // Of a release that knows more.
            DownloadRequestPhase::Other(_) => Ok(Next::Wait),
        }
    }

    fn is_ordinary(error: &KindError) -> bool {
        error.is_stale()
    }
}

impl DownloadRequests {
    async fn answer(&self, request: &DownloadRequest) -> Result<(), KindError> {
        let context = &self.context;
        let lasts = context.options.download_lasts;
        let mut after = request.clone();
        let status = &mut after.status;
        let until = context.now().plus(lasts);
        status.expiration = Some(until);
        match self.address(request, until).await {
            Ok(url) => {
                status.phase = DownloadRequestPhase::Processed;
                status.download_url = url;
                let text = "the file can be fetched at the address until it expires";
                let events = &context.events;
                events.record(request, EventType::Normal, "Processed", text);
            }
            Err(message) => {
                status.phase = DownloadRequestPhase::Failed;
                status.message.clone_from(&message);
                let events = &context.events;
                events.record(request, EventType::Warning, "NoDownload", message);
            }
        }
        context.kinds().update(request, &after).await.map(drop)
    }

    /// Where the file can be read: at the store, if that can sign, and here otherwise.
    async fn address(&self, request: &DownloadRequest, until: Time) -> Result<String, String> {
        let lasts = self.context.options.download_lasts;
        // First: whether something exists is not told to everybody.
        let warrant = self.context.authorizer.warrant(request).await?;
        let (location, file) = self.find(request).await?;
        self.assert_readable(&warrant, &location, &file).await?;
        let signed = match &file {
            File::Backup(name, file) => location.presign_file(name, file, lasts).await,
            File::Restore(name, file) => location.presign_restore_file(name, file, lasts).await,
        };
        if let Some(url) = signed.map_err(|error| chain(&error))? {
            return Ok(url);
        }
        self.context.endpoint.url(request, until).await
    }

    /// Who asks for a file of a backup must be allowed to read what the backup holds, each kind where it is; for
    /// what a restore tells of itself it is enough to have asked for the restore.
    async fn assert_readable(
        &self,
        warrant: &Warrant,
        location: &Location,
        file: &File,
    ) -> Result<(), String> {
        let Some(user) = warrant.user() else {
            return Ok(());
        };
        let context = &self.context;
        let backup = match file {
            File::Backup(name, _) => name.clone(),
            File::Restore(name, _) => {
                let restore = context.restores.get(name.as_str());
                let restore = restore.ok_or_else(|| format!("restore `{name}` does not exist"))?;
                let key = context.authorizer.key().await;
                let asked = key.and_then(|key| take(&key, &*restore));
                if asked.is_some_and(|asked| asked.is(user)) {
                    return Ok(());
                }
                let backup = restore.spec.backup_name.as_str();
                BackupName::new(backup).map_err(|error| error.to_string())?
            }
        };
        let rights = match Source::open(location, &backup).await {
            Ok(source) => rights::of_source(&source),
            // What it holds cannot be told: it may be anything.
            Err(_) => read_everything(),
        };
        let objections = warrant.objections(rights).await;
        let objections = objections.map_err(|error| chain(&error))?;
        match objections.is_empty() {
            true => Ok(()),
            false => Err(objections.join("; ")),
        }
    }

    /// The file that a request names, and the location that has it. Whether it is there shows when it is read,
    /// as with an address that a store has signed.
    async fn find(&self, request: &DownloadRequest) -> Result<(Location, File), String> {
        let context = &self.context;
        let file = file_of(request)?;
        let backup = match &file {
            File::Backup(name, _) => name.to_string(),
            File::Restore(name, _) => {
                let restore = context.restores.get(name.as_str());
                let restore = restore.ok_or_else(|| format!("restore `{name}` does not exist"))?;
                restore.spec.backup_name.clone()
            }
        };
        let found = context.backups.get(&backup);
        let found = found.ok_or_else(|| format!("backup `{backup}` does not exist"))?;
        let location = context.location(&found.spec.storage_location).await;
        location
            .map(|location| (location, file))
            .map_err(|error| chain(&error))
    }
}

/// The name under which a file lies in its location.
fn file_of(request: &DownloadRequest) -> Result<File, String> {
    let target = &request.spec.target;
    use DownloadTargetKind::{
        BackupContents, BackupItemOperations, BackupLog, BackupResourceList, BackupResults,
        BackupVolumeInfos, BackupVolumeSnapshots, CSIBackupVolumeSnapshotContents,
        CSIBackupVolumeSnapshots, Other, RestoreItemOperations, RestoreLog, RestoreResourceList,
        RestoreResults, RestoreVolumeInfo, Unset,
    };
    let name = &target.name;
    let ending = match &target.kind {
        BackupLog | RestoreLog => "-logs.gz",
        BackupContents => ".tar.gz",
        BackupVolumeSnapshots => "-volumesnapshots.json.gz",
        BackupItemOperations | RestoreItemOperations => "-itemoperations.json.gz",
        BackupResourceList | RestoreResourceList => "-resource-list.json.gz",
        BackupResults | RestoreResults => "-results.gz",
        CSIBackupVolumeSnapshots => "-csi-volumesnapshots.json.gz",
        CSIBackupVolumeSnapshotContents => "-csi-volumesnapshotcontents.json.gz",
        BackupVolumeInfos | RestoreVolumeInfo => "-volumeinfo.json.gz",
        Unset | Other(_) => {
            return Err(format!(
                "spec.target.kind `{}` is not one of {}",
                target.kind.as_str(),
                DownloadTargetKind::WORDS.join(", ")
            ));
        }
    };
    if !target.kind.is_of_restore() {
        let checked = BackupName::new(name.as_str()).map_err(|error| error.to_string())?;
        let own = request.metadata.annotations.get(labels::OWN_FILE);
        if own.is_some_and(|own| own == SALVOR_VOLUMES) && target.kind == BackupVolumeInfos {
            return Ok(File::Backup(checked, SALVOR_VOLUMES.to_owned()));
        }
        return Ok(File::Backup(checked, format!("{name}{ending}")));
    }
    let checked = RestoreName::new(name.as_str()).map_err(|error| error.to_string())?;
    // The one file of a restore that Velero names like that of a backup.
    let prefix = match target.kind {
        RestoreVolumeInfo => "",
        _ => "restore-",
    };
    Ok(File::Restore(checked, format!("{prefix}{name}{ending}")))
}

#[cfg(test)]
mod tests {
    use salvor_api::velero::DownloadTarget;

    use super::*;

    fn asked(target: DownloadTarget) -> DownloadRequest {
        let mut request = DownloadRequest::named("velero", "r");
        request.spec.target = target;
        request
    }

    #[test]
    fn the_record_of_volumes_is_asked_for_beside_the_kind() {
        let mut said = Vec::new();
        for (kind, own) in [
            ("BackupVolumeInfos", "salvor-volumes.json.gz"),
            ("BackupVolumeInfos", "velero-backup.json"),
            ("BackupLog", "salvor-volumes.json.gz"),
        ] {
            let mut request = asked(DownloadTarget {
                kind: serde_json::from_value(kind.into()).expect("known"),
                name: "x".to_owned(),
            });
            let annotations = &mut request.metadata.annotations;
            annotations.insert("salvor.dev/file".to_owned(), own.to_owned());
            match file_of(&request).expect("a file") {
                File::Backup(_, file) | File::Restore(_, file) => said.push(file),
            }
        }
        assert_eq!(
            said,
            [
                "salvor-volumes.json.gz",
                "x-volumeinfo.json.gz",
                "x-logs.gz"
            ]
        );
    }

    #[test]
    fn every_kind_of_file_has_veleros_name() {
        let names: Vec<String> = DownloadTargetKind::WORDS
            .iter()
            .map(|word| {
                let kind = serde_json::from_value((*word).into()).expect("known");
                let target = DownloadTarget {
                    kind,
                    name: "x".to_owned(),
                };
                match file_of(&asked(target)).expect("a file") {
                    File::Backup(_, file) => format!("{word} backups/{file}"),
                    File::Restore(_, file) => format!("{word} restores/{file}"),
                }
            })
            .collect();
        assert_eq!(
            names,
            [
                "BackupLog backups/x-logs.gz",
                "BackupContents backups/x.tar.gz",
                "BackupVolumeSnapshots backups/x-volumesnapshots.json.gz",
                "BackupItemOperations backups/x-itemoperations.json.gz",
                "BackupResourceList backups/x-resource-list.json.gz",
                "BackupResults backups/x-results.gz",
                "RestoreLog restores/restore-x-logs.gz",
                "RestoreResults restores/restore-x-results.gz",
                "RestoreResourceList restores/restore-x-resource-list.json.gz",
                "RestoreItemOperations restores/restore-x-itemoperations.json.gz",
                "CSIBackupVolumeSnapshots backups/x-csi-volumesnapshots.json.gz",
                "CSIBackupVolumeSnapshotContents backups/x-csi-volumesnapshotcontents.json.gz",
                "BackupVolumeInfos backups/x-volumeinfo.json.gz",
                "RestoreVolumeInfo restores/x-volumeinfo.json.gz",
            ]
        );
        for (kind, name) in [
            ("BackupLog", "../x"),
            ("RestoreLog", "a/b"),
            ("Secrets", "x"),
        ] {
            let target = DownloadTarget {
                kind: serde_json::from_value(kind.into()).expect("a word"),
                name: name.to_owned(),
            };
            assert!(file_of(&asked(target)).is_err(), "{kind} {name}");
        }
    }
}
