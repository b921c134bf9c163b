//! What stands in a folder of records, one per name.

use futures::{StreamExt as _, stream};

use crate::error::{Error, Result};
use crate::location::Location;

/// Records that are read at once while listing.
const PARALLELISM: usize = 16;

/// What a listing found.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// Readable entries, by name.
    pub entries: Vec<T>,
    /// Entries that are there but cannot be read.
    pub damaged: Vec<Damaged>,
}

/// An entry that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub reason: String,
}

impl Damaged {
    /// What an error means for a listing: that one entry cannot be read does not hide the others, but a
    /// store that is out of reach fails the listing.
    pub(crate) fn of(name: String, error: Error) -> Result<Self> {
        let reason = match error {
            Error::BadRecord { reason, .. } => reason,
            Error::NewerFormat { .. } => error.to_string(),
            Error::Store { source, .. } if !source.is_retryable() => source.to_string(),
            other => return Err(other),
        };
        Ok(Self { name, reason })
    }
}

impl Location {
    /// Reads a record from each folder below `folder`, by name. A folder without one holds nothing.
    pub(crate) async fn records<T, F>(
        &self,
        folder: &'static str,
        read: impl Fn(String) -> F,
    ) -> Result<Listing<T>>
    where
        F: Future<Output = Result<T>>,
    {
        self.assert_readable().await?;
        let listed = self
            .store
            .list_folder(folder)
            .await
            .map_err(Error::store(format!(
                "list {folder} in location `{}`",
                self.name()
            )))?;
        let records: Vec<(String, Result<T>)> = stream::iter(listed.folders)
            .map(|name| {
                let record = read(name.clone());
                async move { (name, record.await) }
            })
            .buffered(PARALLELISM)
            .collect()
            .await;
        let mut listing = Listing {
            entries: Vec::new(),
            damaged: Vec::new(),
        };
        for (name, record) in records {
            match record {
                Ok(record) => listing.entries.push(record),
                Err(Error::BackupNotFound { .. } | Error::RestoreNotFound { .. }) => {}
                Err(error) => listing.damaged.push(Damaged::of(name, error)?),
            }
        }
        Ok(listing)
    }
}

/// A folder whose name is none.
pub(crate) fn bad_name(folder: &str, name: &str, error: &impl ToString) -> Error {
    Error::BadRecord {
        key: format!("{folder}/{name}"),
        reason: error.to_string(),
    }
}
