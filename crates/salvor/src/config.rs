//! The configuration file: named locations and a default.
//!
//! ```yaml
//! version: 1
//! defaultLocation: main
//! locations:
//!   main:
//!     url: s3://backups/seoul?region=ap-northeast-2
//!   usb:
//!     url: file:///mnt/usb/backups
//!     readOnly: true
//!     limits: {upload: 50Mi, download: 100Mi, requests: 20, inFlight: 4}
//!     verificationKeys: [ed25519:...]
//!     recipients: [age1...]
//!     id: 20261122t081123-f5b6a4c18d699968
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use salvor_api::labels;
use salvor_api::meta::StringMap;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};

/// The format that this release reads and writes.
const VERSION: u64 = 1;
/// No sensible file is larger; a mistaken path to something large is refused.
const LARGEST_BYTES: u64 = 1 << 20;

/// Contents of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Format version.
    pub(crate) version: u64,
    /// The location that is used when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_location: Option<String>,
    /// Locations by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) locations: BTreeMap<String, NamedLocation>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            version: VERSION,
            default_location: None,
            locations: BTreeMap::new(),
        }
    }
}

/// A location of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct NamedLocation {
    /// Its URL; never with credentials.
    pub(crate) url: String,
    /// Refuses writes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) read_only: bool,
    /// How fast it may be used.
    #[serde(default, skip_serializing_if = "LimitConfig::is_empty")]
    pub(crate) limits: LimitConfig,
    /// Keys of which one must have signed its record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) verification_keys: Vec<String>,
    /// Whom sealed objects are encrypted to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) recipients: Vec<String>,
    /// Id of the location: another one in its place is not written to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
}

/// Limits of a location, in the words of the flags: `50Mi`, `20`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct LimitConfig {
    /// Bytes per second to the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upload: Option<String>,
    /// Bytes per second from the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) download: Option<String>,
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) requests: Option<u64>,
    /// Requests at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) in_flight: Option<u64>,
}

impl LimitConfig {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// As a location of the cluster states them, so that both are read in one place.
    pub(crate) fn annotations(&self) -> StringMap {
        let text = |number: &Option<u64>| number.map(|number| number.to_string());
        [
            (labels::UPLOAD_LIMIT, self.upload.clone()),
            (labels::DOWNLOAD_LIMIT, self.download.clone()),
            (labels::REQUEST_LIMIT, text(&self.requests)),
            (labels::IN_FLIGHT_LIMIT, text(&self.in_flight)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
    }

    /// From annotations.
    pub(crate) fn of(annotations: &StringMap) -> Self {
        let text = |key: &str| annotations.get(key).cloned();
        let number = |key: &str| annotations.get(key).and_then(|text| text.parse().ok());
        Self {
            upload: text(labels::UPLOAD_LIMIT),
            download: text(labels::DOWNLOAD_LIMIT),
            requests: number(labels::REQUEST_LIMIT),
            in_flight: number(labels::IN_FLIGHT_LIMIT),
        }
    }
}

/// Path of the file when none is given: `$XDG_CONFIG_HOME/salvor/config.yaml`, `~/.config/...`.
pub(crate) fn default_path(xdg: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    xdg.filter(|path| path.is_absolute())
        .or_else(|| home.map(|home| home.join(".config")))
        .unwrap_or_else(|| PathBuf::from("."))
        .join("salvor/config.yaml")
}

impl Config {
    /// Reads the file; an absent file is an empty configuration unless it was asked for by name.
    ///
    /// # Errors
    /// It cannot be read, is not of this shape, or is of a newer format.
    pub(crate) fn read(path: &Path, must_exist: bool) -> Result<Self, Failure> {
        let doing = || format!("read configuration {}", path.display());
        let length = match std::fs::metadata(path) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
                return Ok(Self::default());
            }
            Err(error) => return Err(Failure::caused(Exit::Usage, doing(), error)),
        };
        if length > LARGEST_BYTES {
            let what = format!("{}: it is larger than 1 MiB", doing());
            return Err(Failure::usage(what));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::caused(Exit::Usage, doing(), error))?;
        Self::parse(&text).map_err(|reason| {
            Failure::usage(format!("{}: {reason}", doing()))
                .hint("see docs/guides/getting-started.md for its form")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let value: serde_json::Value = serde_saphyr::from_str(text).map_err(|error| {
            error
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        })?;
        match value.get("version").and_then(serde_json::Value::as_u64) {
            Some(VERSION) => {}
            Some(found) => {
                return Err(format!(
                    "it has format {found}, this release knows {VERSION}"
                ));
            }
            None => return Err(format!("`version: {VERSION}` is missing")),
        }
        let config: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if let Some(default) = &config.default_location
            && !config.locations.contains_key(default)
        {
            return Err(format!(
                "defaultLocation `{default}` is not one of its locations"
            ));
        }
        Ok(config)
    }

    /// Writes the file anew, readable by its owner only.
    ///
    /// # Errors
    /// The folder or file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Failure> {
        let doing = format!("write configuration {}", path.display());
        let failed = |error: std::io::Error| Failure::caused(Exit::Internal, doing.clone(), error);
        let text = crate::output::structured::yaml(self)?;
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed)?;
        let temporary = path.with_extension("yaml.new");
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(failed)?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        std::fs::rename(&temporary, path).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        for (text, reason) in [
            ("locations: {}", "`version: 1` is missing"),
            ("version: 2", "it has format 2, this release knows 1"),
            ("version: 1\nlocation: x", "unknown field `location`"),
            (
                "version: 1\ndefaultLocation: x",
                "defaultLocation `x` is not one of its locations",
            ),
            ("version: [", ""),
        ] {
            let error = Config::parse(text).expect_err(text);
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert_eq!(Config::parse(" \n"), Ok(Config::default()));
    }

    #[test]
    fn what_is_written_reads_back_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a/b/config.yaml");
        let config = Config {
            default_location: Some("main".into()),
            locations: BTreeMap::from([(
                "main".to_owned(),
                NamedLocation {
                    url: "s3://b/p?region=x".into(),
                    read_only: true,
                    limits: LimitConfig {
                        upload: Some("50Mi".into()),
                        in_flight: Some(4),
                        ..LimitConfig::default()
                    },
                    verification_keys: vec!["ed25519:07".into()],
                    recipients: vec!["age1x".into()],
                    id: Some("20261122t081123-f5b6a4c18d699968".into()),
                },
            )]),
            ..Config::default()
        };
        config.write(&path).expect("written");
        assert_eq!(Config::read(&path, true).expect("read"), config);
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(
            default_path(Some("relative".into()), Some("/home/x".into())),
            PathBuf::from("/home/x/.config/salvor/config.yaml")
        );
    }
}
