//! Lock files: who works on the repository, as restic writes and honours them.

use serde::{Deserialize, Serialize};

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    /// When it was written; a lock is refreshed by writing another one.
    pub time: jiff::Timestamp,
    /// Excludes everybody else.
    pub exclusive: bool,
    /// Machine or pod.
    pub hostname: String,
    /// User.
    pub username: String,
    /// Process; means nothing on another machine.
    pub pid: u32,
    /// User id.
    #[serde(default)]
    pub uid: u32,
    /// Group id.
    #[serde(default)]
    pub gid: u32,
}
