//! Is a backup still what was written? Sizes and digests of everything that its manifest names.

use futures::{StreamExt as _, stream};
use salvor_seal::Digest;
use salvor_storage::ErrorKind;

use crate::backup::digest_of;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::{BackupRecord, Location};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Not as it should be, but nothing is lost.
    Warning,
    /// Something is lost or damaged.
    Error,
}

/// Something that verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// What is the matter.
    pub message: String,
}

/// What a verification looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Files whose bytes were read and compared.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was found; empty when all is well.
    pub findings: Vec<Finding>,
}

impl Verification {
    /// True when nothing is lost or damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.severity < Severity::Error)
    }

    fn add(&mut self, severity: Severity, file: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            severity,
            file: file.to_owned(),
            message: message.into(),
        });
    }
}

/// What was found under a name of the manifest.
enum Found {
    /// Its bytes were read.
    Read(u64, Digest),
    /// It cannot be read now; its length.
    Frozen(u64),
}

impl Location {
    /// Reads every file of a backup and compares it with the manifest.
    ///
    /// # Errors
    /// The store fails for a reason other than a missing or damaged file.
    pub async fn verify_files(&self, record: &BackupRecord) -> Result<Verification> {
        let mut report = Verification::default();
        let manifest = match self.manifest(record).await {
            Ok(Some(manifest)) => manifest,
            Ok(None) => {
                report.add(
                    Severity::Info,
                    layout::MANIFEST,
                    "no manifest: the backup was not written by Salvor, so files cannot be compared",
                );
                let archive = format!("{}.tar.gz", record.name);
                let needed = record.backup.status.phase.is_restorable();
                if needed && self.file_size(&record.name, &archive).await?.is_none() {
                    report.add(Severity::Error, &archive, "it is missing");
                }
                return Ok(report);
            }
            Err(Error::BadRecord { reason, .. }) => {
                report.add(Severity::Error, layout::MANIFEST, reason);
                return Ok(report);
            }
            Err(error) => return Err(error),
        };
        let mut looked = stream::iter(manifest.objects.clone())
            .map(|expected| async move {
                let key = layout::backup_file(&record.name, &expected.name)
                    .map_err(Error::store(format!("read `{}`", expected.name)))?;
                match digest_of(self, &key).await {
                    Ok((info, digest)) => Ok((expected, Some(Found::Read(info.size, digest)))),
                    Err(error) if error.is_not_found() => Ok((expected, None)),
                    Err(error) if error.kind == ErrorKind::Frozen => {
                        let size = self.file_size(&record.name, &expected.name).await?;
                        Ok((expected, size.map(Found::Frozen)))
                    }
                    Err(error) => Err(Error::store(format!("read `{key}`"))(error)),
                }
            })
            .buffered(4);
        while let Some(outcome) = looked.next().await {
            let (expected, found) = outcome?;
            match found {
                None => report.add(Severity::Error, &expected.name, "it is missing"),
                Some(Found::Frozen(size)) => {
                    let severity = match size == expected.size {
                        true => Severity::Warning,
                        false => Severity::Error,
                    };
                    let text = format!(
                        "it lies in a storage class that must be thawed first, and was not read; it has {size} of \
                         {} bytes",
                        expected.size
                    );
                    report.add(severity, &expected.name, text);
                }
                Some(Found::Read(size, digest)) => {
                    report.files += 1;
                    report.bytes += size;
                    report.compare(&expected.name, expected.size, expected.sha256, size, digest);
                }
            }
        }
        drop(looked);
        self.report_strangers(record, &manifest, &mut report)
            .await?;
        Ok(report)
    }

    async fn report_strangers(
        &self,
        record: &BackupRecord,
        manifest: &crate::Manifest,
        report: &mut Verification,
    ) -> Result<()> {
        let listed = self
            .store
            .list_folder(&layout::backup_folder(&record.name))
            .await
            .map_err(Error::store(format!(
                "list the files of backup `{}`",
                record.name
            )))?;
        for object in listed.objects {
            let name = object.key.file_name();
            let known = name == layout::BACKUP_RECORD
                || name == layout::MANIFEST
                || manifest.objects.iter().any(|entry| entry.name == name);
            if !known {
                report.add(Severity::Warning, name, "it is not in the manifest");
            }
        }
        Ok(())
    }
}

impl Verification {
    fn compare(&mut self, file: &str, size: u64, sha256: Digest, found_size: u64, found: Digest) {
        if found_size != size {
            self.add(
                Severity::Error,
                file,
                format!("it has {found_size} bytes instead of {size}"),
            );
        } else if found != sha256 {
            self.add(
                Severity::Error,
                file,
                format!("its SHA-256 is {found} instead of {sha256}"),
            );
        }
    }
}
