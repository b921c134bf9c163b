//! What is remarkable about an archive, short of being unreadable.

use std::fmt;

use crate::error::hex;

/// Findings that are kept one by one; the rest are counted. A hostile archive may have millions.
const KEPT: usize = 1000;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is lost.
    Info,
    /// Unexpected; what was read may differ from what its author meant.
    Warning,
    /// Something in the archive is refused or cannot be used.
    Error,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// There is no `metadata/version`; the archive is read as format 1.
    NoFormatVersion,
    /// There is no `resources/` directory; the archive holds no items.
    NoResources,
    /// An entry that is no item was ignored.
    Foreign,
    /// An entry was refused: a dangerous path, a link or device, or too long.
    Refused(String),
    /// A path occurs more than once; the last one counts, as it does when extracting.
    Duplicate,
    /// The body is not a JSON object; the item is left out.
    NotAnObject(String),
    /// The body names another object than the path; the path counts.
    NameDiffers(String),
    /// The copy in the `-preferredversion` directory differs from the unversioned one, which counts.
    CopyDiffers,
    /// The object was stored as preferred in several versions; the one named here counts.
    SeveralPreferred(String),
    /// Neither a directory nor the body says which version the object is of; the item is left out.
    NoVersion,
    /// The end-of-archive marker is missing, though nothing is cut off inside an entry.
    NoEndMarker,
    /// There are bytes after the end-of-archive marker; readers ignore them.
    AfterEnd,
    /// The object differs from what the index promises.
    IndexDiffers,
    /// The index promises an object that the archive does not have.
    MissingInArchive,
    /// The archive has an object that the index does not know.
    MissingInIndex,
}

/// One finding and the entry it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path or key of the entry, made printable; empty when it is about the whole archive.
    pub path: String,
    /// What was found.
    pub kind: FindingKind,
}

impl Finding {
    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self.kind {
            FindingKind::Foreign => Severity::Info,
            FindingKind::NoFormatVersion
            | FindingKind::NoResources
            | FindingKind::Duplicate
            | FindingKind::NameDiffers(_)
            | FindingKind::CopyDiffers
            | FindingKind::SeveralPreferred(_)
            | FindingKind::NoEndMarker
            | FindingKind::AfterEnd => Severity::Warning,
            FindingKind::Refused(_)
            | FindingKind::NotAnObject(_)
            | FindingKind::NoVersion
            | FindingKind::IndexDiffers
            | FindingKind::MissingInArchive
            | FindingKind::MissingInIndex => Severity::Error,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        match &self.kind {
            FindingKind::NoFormatVersion => {
                f.write_str("metadata/version is missing, read as format 1")
            }
            FindingKind::NoResources => {
                f.write_str("there is no resources/ directory, the archive holds no items")
            }
            FindingKind::Foreign => f.write_str("ignored, it is no item"),
            FindingKind::Refused(reason) => write!(f, "refused: {reason}"),
            FindingKind::Duplicate => f.write_str("occurs more than once, the last one counts"),
            FindingKind::NotAnObject(reason) => {
                write!(f, "left out, it is not a JSON object: {reason}")
            }
            FindingKind::NameDiffers(inside) => {
                write!(f, "its body names `{inside}`, the path counts")
            }
            FindingKind::CopyDiffers => {
                f.write_str("differs from the unversioned entry, which counts")
            }
            FindingKind::SeveralPreferred(version) => {
                write!(
                    f,
                    "was stored as preferred in several versions, {version} counts"
                )
            }
            FindingKind::NoVersion => {
                f.write_str("left out, neither a directory nor its apiVersion names a version")
            }
            FindingKind::NoEndMarker => f.write_str("the end-of-archive marker is missing"),
            FindingKind::AfterEnd => f.write_str("there are bytes after the end-of-archive marker"),
            FindingKind::IndexDiffers => f.write_str("differs from what the index promises"),
            FindingKind::MissingInArchive => f.write_str("is in the index but not in the archive"),
            FindingKind::MissingInIndex => f.write_str("is in the archive but not in the index"),
        }
    }
}

/// All that one pass over an archive found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Content of `metadata/version` without the newline; `None` when the entry is missing.
    pub format_version: Option<String>,
    /// True when there is an entry below `resources/`.
    pub has_resources: bool,
    /// Objects, each counted once whatever the number of its versions.
    pub object_count: u64,
    /// Entries of the tar.
    pub entry_count: u64,
    /// Bytes of the file.
    pub compressed_bytes: u64,
    /// Bytes of the tar.
    pub tar_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// The first thousand findings, in the order in which they were made.
    pub list: Vec<Finding>,
    /// Findings beyond the first thousand, by severity: info, warning, error.
    pub dropped: [u64; 3],
}

impl Findings {
    /// The highest severity found.
    #[must_use]
    pub fn worst(&self) -> Option<Severity> {
        let kept = self.list.iter().map(Finding::severity).max();
        let severities = [Severity::Info, Severity::Warning, Severity::Error];
        let dropped = severities
            .into_iter()
            .filter(|severity| self.dropped[*severity as usize] > 0)
            .max();
        kept.max(dropped)
    }

    /// Number of findings of a severity, kept or not.
    #[must_use]
    pub fn count(&self, severity: Severity) -> u64 {
        let kept = self
            .list
            .iter()
            .filter(|f| f.severity() == severity)
            .count();
        kept as u64 + self.dropped[severity as usize]
    }

    /// The file's SHA-256 in lower-case hexadecimal.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }

    /// A text that only a kept finding needs.
    pub(crate) fn if_kept(&self, text: impl FnOnce() -> String) -> String {
        if self.list.len() < KEPT {
            text()
        } else {
            String::new()
        }
    }

    pub(crate) fn add(&mut self, path: impl Into<String>, kind: FindingKind) {
        let finding = Finding {
            path: path.into(),
            kind,
        };
        if self.list.len() < KEPT {
            self.list.push(finding);
        } else {
            self.dropped[finding.severity() as usize] += 1;
        }
    }
}
