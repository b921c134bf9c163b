//! One backup storage location: what stands where, who may write it, and when it counts.
//!
//! A location is a bucket or folder in Velero's layout. A backup is there when, and only when, its
//! `velero-backup.json` is there; everything else is written before it and checked once more ([`backup`]).
//! Who may write under a name is decided by numbered claims ([`claim`]), because Velero's file names are
//! shared by all who use the name.
//!
//! ```text
//! <prefix>/backups/<b>/...               Velero's files, salvor-manifest.json, salvor-index.zst
//! <prefix>/restores/<r>/...              Velero's files, salvor-request.json, salvor-plan.zst,
//!                                        salvor-journal-<n>.zst, salvor-restore.json
//! <prefix>/plugins/salvor/location/<n>.json
//! <prefix>/plugins/salvor/claims/<kind>/<name>/<n>.json
//! <prefix>/plugins/salvor/holds/<b>/<id>.json
//! <prefix>/plugins/salvor/archived/<b>/<n>.json
//! <prefix>/plugins/salvor/points/<source>/<yyyy-mm>/<id>/point.json
//! <prefix>/plugins/salvor/gc/<source>/<n>.json
//! <prefix>/plugins/salvor/reserve         folders only: what a deletion on a full disk gives up
//! ```
//!
//! Invariants:
//! - every destructive decision about stored data is made here;
//! - contents and commit record are created, never replaced; a writer that fails deletes nothing, leftovers
//!   are removed by whoever takes its claim over;
//! - absence is never concluded from an error, and a damaged neighbour never hides the others;
//! - a record of a newer format is refused, not guessed at.
//!
//! Start with [`location`].

pub mod archive;
pub mod backup;
pub mod bucket;
pub mod check;
pub mod claim;
pub mod collect;
mod commit;
pub mod copy;
pub mod delete;
pub mod error;
pub mod estimate;
pub mod hold;
pub mod init;
pub mod layout;
pub mod limits;
pub mod listing;
pub mod location;
pub mod manifest;
pub mod points;
pub mod record;
pub mod restore;
mod room;
pub mod run;
pub mod run_state;
pub mod sealed_object;
mod trial;
pub mod trust;
pub mod verified;
pub mod verify;

pub use archive::Archived;
pub use backup::{BackupWriter, FileUpload};
pub use check::{CheckReport, CheckStep};
pub use delete::DeletedBackup;
pub use error::{Error, Result, with_causes};
pub use hold::{Hold, Holds};
pub use init::InitLocation;
pub use listing::{Damaged, Listing};
pub use location::{BackupRecord, Location, LocationRecord, Profile};
pub use manifest::{Manifest, ManifestEntry};
pub use points::{Point, PointObject};
pub use restore::{RestoreRecord, RestoreWriter};
pub use run::RunId;
pub use run_state::RunState;
pub use salvor_seal::{Digest, Hasher};
pub use trust::Trust;
pub use verify::{Finding, Severity, Verification};
