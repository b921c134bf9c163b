//! Warnings and errors of a backup or a restore.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `<b>-results.gz` and `restore-<r>-results.gz`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Results {
    /// What failed.
    pub errors: ResultSet,
    /// What is worth knowing.
    pub warnings: ResultSet,
}

/// Messages by where they belong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ResultSet {
    /// On the run itself.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub velero: Vec<String>,
    /// On cluster-scoped objects.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub cluster: Vec<String>,
    /// On objects in a namespace.
    #[serde(
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_is_empty"
    )]
    pub namespaces: BTreeMap<String, Vec<String>>,
}

impl ResultSet {
    /// Adds a message on an object: of a namespace, or cluster-scoped.
    pub fn add(&mut self, namespace: Option<&str>, message: impl Into<String>) {
        match namespace {
            Some(namespace) => {
                let list = self.namespaces.entry(namespace.to_owned()).or_default();
                list.push(message.into());
            }
            None => self.cluster.push(message.into()),
        }
    }

    /// Adds a message on the run itself.
    pub fn add_velero(&mut self, message: impl Into<String>) {
        self.velero.push(message.into());
    }

    /// Number of messages.
    #[must_use]
    pub fn count(&self) -> usize {
        let namespaced: usize = self.namespaces.values().map(Vec::len).sum();
        self.velero.len() + self.cluster.len() + namespaced
    }

    /// True when there are no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

/// Reads `null` as the default: Go writes it for empty lists and maps.
pub(super) fn null_is_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
