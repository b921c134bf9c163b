//! Settings of the uploader that moves volume data.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `Backup.spec.uploaderConfig`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UploaderConfigForBackup {
    /// How many files are uploaded at the same time; zero leaves it to the uploader.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub parallel_files_upload: i64,
}

/// `Restore.spec.uploaderConfig`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UploaderConfigForRestore {
    /// Whether runs of zeros become holes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_sparse_files: Option<bool>,
    /// How many files are downloaded at the same time; zero leaves it to the uploader.
    #[serde(skip_serializing_if = "crate::meta::is_zero")]
    pub parallel_files_download: i64,
}

pub(super) fn settings<T: DeserializeOwned + Default>(
    value: Option<&Value>,
) -> Result<T, serde_json::Error> {
    match value {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => T::deserialize(value),
    }
}
