//! Locations as URLs: `file:///dir`, `s3://bucket/prefix?endpoint=...`, `azure://`, `gs://`, `memory://`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::fs::FsStore;
use crate::memory::MemoryStore;
use crate::remote;
use crate::store::ObjectStore;

/// Scheme of a location that an extension serves. What it is called and how it is asked, whoever opens the location
/// knows: [`open_url`] does not.
pub const EXTENSION: &str = "extension";

/// A parsed location URL.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl {
    /// `file`, `s3`, `azure`, `gs`, `memory` or `extension`.
    pub scheme: String,
    /// Bucket or container; empty for `file`.
    pub bucket: String,
    /// Folder within the bucket, or the absolute path for `file`; no trailing `/`.
    pub path: String,
    /// Options of the query.
    pub options: BTreeMap<String, String>,
}

/// How far a location is from the machine and cluster that it protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distance {
    /// On this machine.
    Machine,
    /// In a cluster, which is most often the one that is backed up.
    Cluster,
    /// In a private network; whether it shares the fate of the cluster, its address does not tell.
    PrivateNetwork,
    /// Anywhere else.
    Elsewhere,
}

fn of_address(ip: IpAddr) -> Distance {
    let is_private = match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    if ip.is_loopback() || ip.is_unspecified() {
        Distance::Machine
    } else if is_private {
        Distance::PrivateNetwork
    } else {
        Distance::Elsewhere
    }
}

/// Names without a dot are resolved by the search list of a pod or a network.
fn of_name(name: &str) -> Distance {
    let name = name.trim_end_matches('.').to_lowercase();
    let ends = |ending: &str| name.ends_with(ending);
    if name == "localhost" || ends(".localhost") {
        Distance::Machine
    } else if ends(".svc") || ends(".cluster.local") || name.contains(".svc.") {
        Distance::Cluster
    } else if !name.contains('.')
        || [".local", ".lan", ".internal", ".home.arpa"]
            .into_iter()
            .any(ends)
    {
        Distance::PrivateNetwork
    } else {
        Distance::Elsewhere
    }
}

impl StoreUrl {
    /// Parses a URL. A bare absolute or relative path is a `file` location.
    ///
    /// # Errors
    /// The scheme is unknown, the bucket or path is missing, or the URL carries credentials.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |detail: &str| {
            // Neither options nor what stands before an `@`: they may be credentials, which may hold any
            // of the characters that separate the parts of a URL.
            let plain = text.split(['?', '#']).next().unwrap_or_default();
            let shown = match (text.contains('@'), text.split_once("://")) {
                (false, _) => plain.to_owned(),
                (true, Some((scheme, _))) => format!("{scheme}://..."),
                (true, None) => "...".to_owned(),
            };
            Err(Error::new(ErrorKind::Invalid, "parse location", shown).with_detail(detail))
        };
        if !text.contains("://") {
            if text.is_empty() {
                return refuse("it is empty; use file:///folder or s3://bucket/prefix");
            }
            let Ok(path) = std::path::absolute(text) else {
                return refuse("not a path");
            };
            return Ok(Self::file(path));
        }
        let url = match url::Url::parse(text) {
            Ok(url) => url,
            Err(error) => return refuse(&error.to_string()),
        };
        if url.password().is_some() || !url.username().is_empty() {
            return refuse(
                "credentials do not belong in a URL; use the environment, a profile or a file",
            );
        }
        let decode = |part: &str| percent_decode(part);
        let options = url
            .query_pairs()
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
        let path = decode(url.path().trim_end_matches('/'));
        let scheme = match url.scheme() {
            "gcs" | "gs" => "gs",
            "azblob" | "azure" => "azure",
            other => other,
        };
        match scheme {
            "file" => {
                if url
                    .host_str()
                    .is_some_and(|host| !host.is_empty() && host != "localhost")
                {
                    return refuse("a file location has three slashes: file:///folder");
                }
                if path.is_empty() {
                    return refuse("the root folder cannot be a location");
                }
                Ok(Self {
                    scheme: "file".into(),
                    bucket: String::new(),
                    path,
                    options,
                })
            }
            "memory" => Ok(Self {
                scheme: "memory".into(),
                bucket: url.host_str().unwrap_or_default().into(),
                path: path.trim_start_matches('/').into(),
                options,
            }),
            "s3" | "azure" | "gs" | EXTENSION => {
                let Some(bucket) = url.host_str().filter(|host| !host.is_empty()) else {
                    return refuse("it names no bucket");
                };
                Ok(Self {
                    scheme: scheme.into(),
                    bucket: bucket.into(),
                    path: path.trim_start_matches('/').into(),
                    options,
                })
            }
            other => refuse(&format!(
                "`{other}` is not one of file, s3, azure, gs, extension"
            )),
        }
    }

    /// A folder of this machine.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        Self {
            scheme: "file".into(),
            bucket: String::new(),
            path: path.to_string_lossy().trim_end_matches('/').to_owned(),
            options: BTreeMap::new(),
        }
    }

    /// True when the data is on the machine that runs this program.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.scheme.as_str(), "file" | "memory")
    }

    /// The endpoint that the URL names, with its scheme; `None` for a provider's own. Opening refuses one that
    /// carries credentials, and this leaves them out.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        let given = ["endpoint", "s3Url", "storageAccountURI"]
            .iter()
            .find_map(|name| self.options.get(*name).filter(|text| !text.is_empty()))?;
        let full = if given.contains("://") {
            given.clone()
        } else {
            format!("https://{given}")
        };
        let parsed = url::Url::parse(&full).ok()?;
        let host = parsed.host_str()?;
        let port = parsed.port().map(|port| format!(":{port}"));
        let path = parsed.path().trim_end_matches('/');
        Some(format!(
            "{}://{host}{}{path}",
            parsed.scheme(),
            port.unwrap_or_default()
        ))
    }

    /// How far the data is from what runs this program, as far as the address tells.
    #[must_use]
    pub fn distance(&self) -> Distance {
        if self.is_local() {
            return Distance::Machine;
        }
        if self.scheme == EXTENSION {
            // Only the extension knows where the bytes are.
            return Distance::PrivateNetwork;
        }
        let host = self
            .endpoint()
            .and_then(|endpoint| url::Url::parse(&endpoint).ok())
            .and_then(|parsed| parsed.host().map(|host| host.to_owned()));
        match host {
            None => Distance::Elsewhere,
            Some(url::Host::Ipv4(ip)) => of_address(IpAddr::V4(ip)),
            Some(url::Host::Ipv6(ip)) => of_address(ip.to_canonical()),
            Some(url::Host::Domain(name)) => of_name(&name),
        }
    }

    /// Bucket and prefix as Velero's tables show them.
    #[must_use]
    pub fn bucket_and_prefix(&self) -> String {
        match (self.bucket.as_str(), self.path.as_str()) {
            ("", path) => path.to_owned(),
            (bucket, "") => bucket.to_owned(),
            (bucket, path) => format!("{bucket}/{path}"),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.bucket.is_empty() || self.path.is_empty() {
            ""
        } else {
            "/"
        };
        write!(
            f,
            "{}://{}{separator}{}",
            self.scheme, self.bucket, self.path
        )
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|h| std::str::from_utf8(h).ok());
        match (byte, hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(decoded)) => {
                bytes.push(decoded);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Opens the store that a URL names, without decorators.
///
/// # Errors
/// The options are not usable. Whether the store can be reached shows with the first request.
pub fn open_url(url: &StoreUrl) -> Result<Arc<dyn ObjectStore>> {
    match url.scheme.as_str() {
        "file" => Ok(Arc::new(FsStore::new(&url.path))),
        "memory" => Ok(Arc::new(MemoryStore::new())),
        EXTENSION => Err(
            Error::new(ErrorKind::Unsupported, "open location", url).with_detail(
                "an extension serves it, and none is known here; give its definition with definition=FILE",
            ),
        ),
        _ => remote::open(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_bucket_prefix_and_options() {
        let url =
            StoreUrl::parse("s3://b1/some/prefix/?endpoint=http://127.0.0.1:9000&pathStyle=true")
                .expect("valid");
        assert_eq!(
            (url.bucket.as_str(), url.path.as_str()),
            ("b1", "some/prefix")
        );
        assert_eq!(url.options["endpoint"], "http://127.0.0.1:9000");
        assert_eq!(url.to_string(), "s3://b1/some/prefix");
        let file = StoreUrl::parse("file:///var/back%20ups/").expect("valid");
        assert_eq!(
            (file.path.as_str(), file.is_local()),
            ("/var/back ups", true)
        );
        assert_eq!(file.to_string(), "file:///var/back ups");
        assert_eq!(
            StoreUrl::parse("/tmp/x").expect("path").to_string(),
            "file:///tmp/x"
        );
        assert_eq!(
            StoreUrl::parse("gcs://b").expect("valid").to_string(),
            "gs://b"
        );
    }

    #[test]
    fn an_address_tells_how_far_the_data_is() {
        use Distance::*;
        for (url, distance, endpoint) in [
            ("file:///x", Machine, None),
            ("s3://b/x?region=eu-central-1", Elsewhere, None),
            (
                "s3://b?endpoint=http://127.0.0.1:9000",
                Machine,
                Some("http://127.0.0.1:9000"),
            ),
            (
                "s3://b?endpoint=http://localhost:9000/",
                Machine,
                Some("http://localhost:9000"),
            ),
            (
                "s3://b?endpoint=http://[::1]:9000",
                Machine,
                Some("http://[::1]:9000"),
            ),
            (
                "s3://b?endpoint=http://minio.velero.svc:9000",
                Cluster,
                Some("http://minio.velero.svc:9000"),
            ),
            (
                "s3://b?endpoint=https://m.ns.svc.cluster.local",
                Cluster,
                Some("https://m.ns.svc.cluster.local"),
            ),
            (
                "s3://b?endpoint=http://minio:9000",
                PrivateNetwork,
                Some("http://minio:9000"),
            ),
            (
                "s3://b?endpoint=http://10.1.2.3",
                PrivateNetwork,
                Some("http://10.1.2.3"),
            ),
            (
                "s3://b?endpoint=https://s3.example.com",
                Elsewhere,
                Some("https://s3.example.com"),
            ),
            (
                "s3://b?endpoint=https://k:hunter2@s3.example.com",
                Elsewhere,
                Some("https://s3.example.com"),
            ),
            (
                "azure://c?endpoint=http://127.0.0.1:10000/devstoreaccount1",
                Machine,
                Some("http://127.0.0.1:10000/devstoreaccount1"),
            ),
            (
                "s3://b?endpoint=minio:9000",
                PrivateNetwork,
                Some("https://minio:9000"),
            ),
            ("gs://b", Elsewhere, None),
        ] {
            let parsed = StoreUrl::parse(url).expect("valid");
            assert_eq!(parsed.distance(), distance, "{url}");
            assert_eq!(parsed.endpoint().as_deref(), endpoint, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_a_location_is_refused_without_showing_credentials() {
        for bad in [
            "",
            "ftp://x/y",
            "file://host/x",
            "file:///",
            "s3:///x",
            "http://x",
        ] {
            assert!(StoreUrl::parse(bad).is_err(), "{bad}");
        }
        for url in [
            "s3://key:hunter2@b/x",
            "s3://key:hunter2#y@b/x",
            "s3://key:hunter2?y@b/x",
            "s3://key:x@hunter2@b/x",
            "ftp://b/x?secret=y@hunter2",
        ] {
            let error = StoreUrl::parse(url).expect_err("credentials").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
