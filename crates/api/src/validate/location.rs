//! Locations: what makes one usable, and which one a backup means.

use std::collections::{BTreeMap, BTreeSet};

use crate::meta::{SecretKeySelector, StringMap};
use crate::velero::{
    AccessMode, BackupStorageLocation, BackupStorageLocationSpec, LocationPhase,
    VolumeSnapshotLocation,
};

/// What is wrong with a location's specification.
#[must_use]
pub fn location(spec: &BackupStorageLocationSpec) -> Vec<String> {
    let mut errors = Vec::new();
    if spec.provider.is_empty() {
        errors.push("spec.provider is missing: use aws, azure, gcp or file".to_owned());
    }
    let store = &spec.object_storage;
    // A folder is named by config.path; a bucket is a folder in it.
    let is_folder = matches!(
        spec.provider.rsplit('/').next(),
        Some("file" | "filesystem")
    );
    if store.bucket.is_empty() && !is_folder {
        errors.push("spec.objectStorage.bucket is missing".to_owned());
    }
    // The only name of a bucket with a slash: an access point of several regions.
    if store.bucket.contains('/') && !store.bucket.starts_with("arn:") {
        errors.push(format!(
            "spec.objectStorage.bucket `{}` has a slash: a path in the bucket belongs into prefix",
            store.bucket
        ));
    }
    if store
        .prefix
        .split('/')
        .any(|part| matches!(part, "." | ".."))
    {
        errors.push(format!(
            "spec.objectStorage.prefix `{}` leads out of itself",
            store.prefix
        ));
    }
    if !store.ca_cert.is_empty() && store.ca_cert_ref.is_some() {
        errors.push("spec.objectStorage has both caCert and caCertRef: give one".to_owned());
    }
    let base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=');
    if !store.ca_cert.bytes().all(base64) {
        errors.push("spec.objectStorage.caCert is not base64".to_owned());
    }
    for (field, key) in [
        ("spec.credential", &spec.credential),
        ("spec.objectStorage.caCertRef", &store.ca_cert_ref),
    ] {
        if let Some(SecretKeySelector { name, key, .. }) = key
            && (name.is_empty() || key.is_empty())
        {
            errors.push(format!(
                "{field}: name and key of the Secret are both needed"
            ));
        }
    }
    if let AccessMode::Other(mode) = &spec.access_mode {
        errors.push(format!(
            "spec.accessMode is `{mode}`: use ReadWrite or ReadOnly"
        ));
    }
    errors
}

/// The location that `name` means: the one of that name; without a name, the default one, or else the one
/// that the server calls `default_name`.
///
/// # Errors
/// There is none; one sentence.
pub fn choose_location<'a>(
    name: &str,
    locations: &'a [BackupStorageLocation],
    default_name: &str,
) -> Result<&'a BackupStorageLocation, String> {
    let by_name = |name: &str| locations.iter().find(|l| l.metadata.name == name);
    if !name.is_empty() {
        return by_name(name).ok_or_else(|| {
            format!("backup storage location {name} does not exist: create it, or name another")
        });
    }
    let newest = locations
        .iter()
        .filter(|location| location.spec.default)
        .max_by_key(|location| age_key(location));
    newest.or_else(|| by_name(default_name)).ok_or_else(|| {
        format!(
            "no backup storage location is named or set as default, and there is none called {default_name}"
        )
    })
}

/// What sorts locations by when they were made.
fn age_key(location: &BackupStorageLocation) -> (Option<crate::go::Time>, &str) {
    let meta = &location.metadata;
    (meta.creation_timestamp, &meta.name)
}

/// Names of the locations whose `spec.default` is to be taken away: all but the one made last.
#[must_use]
pub fn superfluous_defaults(locations: &[BackupStorageLocation]) -> Vec<&str> {
    let mut defaults: Vec<&BackupStorageLocation> = locations
        .iter()
        .filter(|location| location.spec.default)
        .collect();
    defaults.sort_by_key(|location| age_key(location));
    defaults.pop();
    defaults
        .iter()
        .map(|location| location.metadata.name.as_str())
        .collect()
}

/// What keeps a location from being written to, or read from.
///
/// One that was never checked is given the benefit of the doubt: the first use will tell.
pub(super) fn unusable(location: &BackupStorageLocation, write: bool) -> Option<String> {
    let name = &location.metadata.name;
    if location.status.phase == LocationPhase::Unavailable {
        let why = match location.status.message.as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        return Some(format!(
            "backup storage location {name} is unavailable{why}"
        ));
    }
    (write && location.spec.access_mode == AccessMode::ReadOnly).then(|| {
        format!("backup storage location {name} is read-only, so no backup can be made there")
    })
}

/// The snapshot location of each provider that a backup uses: those that it names, else the only one of a
/// provider, else the server's default for it.
///
/// # Errors
/// Every name that does not exist, every provider with two, every provider whose location is in doubt.
pub fn choose_snapshot_locations<'a>(
    names: &[String],
    locations: &'a [VolumeSnapshotLocation],
    defaults: &StringMap,
) -> Result<BTreeMap<&'a str, &'a str>, Vec<String>> {
    let mut errors = Vec::new();
    let mut chosen: BTreeMap<&str, &str> = BTreeMap::new();
    let by_name = |name: &str| locations.iter().find(|l| l.metadata.name == name);
    for name in names {
        let Some(location) = by_name(name) else {
            errors.push(format!("volume snapshot location {name} does not exist"));
            continue;
        };
        let provider = location.spec.provider.as_str();
        match chosen.insert(provider, &location.metadata.name) {
            Some(other) if other != name => errors.push(format!(
                "volume snapshot locations {other} and {name} are both of provider {provider}: name one"
            )),
            _ => {}
        }
    }
    let providers: BTreeSet<&str> = locations.iter().map(|l| l.spec.provider.as_str()).collect();
    for provider in providers {
        if chosen.contains_key(provider) {
            continue;
        }
        let mut of_provider = locations.iter().filter(|l| l.spec.provider == provider);
        let default = defaults.get(provider).map(|name| (name, by_name(name)));
        match (of_provider.next(), of_provider.next(), default) {
            (Some(only), None, _) | (_, _, Some((_, Some(only)))) => {
                chosen.insert(provider, &only.metadata.name);
            }
            (_, _, Some((name, None))) => errors.push(format!(
                "volume snapshot location {name}, the default of provider {provider}, does not exist"
            )),
            _ => errors.push(format!(
                "provider {provider} has several volume snapshot locations and no default: name one"
            )),
        }
    }
    if errors.is_empty() {
        Ok(chosen)
    } else {
        Err(errors)
    }
}
