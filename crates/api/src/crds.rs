//! The definitions by which an API server serves Velero's kinds, as YAML.
//!
//! They accept what the definitions that Velero publishes accept, with its columns and short names; the
//! descriptions are ours. They are written from one description in this crate's tests, which also compare
//! them with Velero's. No kind has a status subresource, as in Velero: status is written like any field.

/// A definition: what `kubectl apply` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crd {
    /// Name of the definition: plural and group, `backups.velero.io`.
    pub name: &'static str,
    /// The definition, one YAML document.
    pub yaml: &'static str,
}

macro_rules! crds {
    ($($plural:literal),+ $(,)?) => {
        &[$(Crd {
            name: concat!($plural, ".velero.io"),
            yaml: include_str!(concat!("../crds/velero.io_", $plural, ".yaml")),
        }),+]
    };
}

/// The definitions of all kinds, by name.
#[must_use]
pub fn all() -> &'static [Crd] {
    crds![
        "backups",
        "backuprepositories",
        "backupstoragelocations",
        "datadownloads",
        "datauploads",
        "deletebackuprequests",
        "downloadrequests",
        "podvolumebackups",
        "podvolumerestores",
        "restores",
        "schedules",
        "serverstatusrequests",
        "volumesnapshotlocations",
    ]
}
