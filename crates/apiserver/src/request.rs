//! What a request asks for: its path, its query and the form in which the answer is wanted.

use std::collections::HashMap;

use salvor_api::selector::Selector;

use crate::select::FieldSelector;
use crate::status::{Failure, FieldError};

/// A path below `/api` or `/apis` that names a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
}

/// Every path that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    Root,
    Version,
    /// `/healthz`, `/readyz`, `/livez` and the checks below them.
    Health,
    OpenApiV2,
    CoreVersions,
    Groups,
    Group(String),
    GroupVersion(String, String),
    Resource(ResourcePath),
    Unknown,
}

impl Path {
    /// Reads a request path.
    pub(crate) fn parse(path: &str) -> Self {
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(decode_path)
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts.as_slice() {
            [] => Self::Root,
            ["version"] => Self::Version,
            ["healthz" | "readyz" | "livez", ..] => Self::Health,
            ["openapi", "v2"] => Self::OpenApiV2,
            ["api"] => Self::CoreVersions,
            ["apis"] => Self::Groups,
            ["api", version] => Self::GroupVersion(String::new(), (*version).to_owned()),
            ["apis", group] => Self::Group((*group).to_owned()),
            ["apis", group, version] => {
                Self::GroupVersion((*group).to_owned(), (*version).to_owned())
            }
            ["api", version, rest @ ..] => resource_path("", version, rest),
            ["apis", group, version, rest @ ..] => resource_path(group, version, rest),
            _ => Self::Unknown,
        }
    }
}

fn resource_path(group: &str, version: &str, rest: &[&str]) -> Path {
    let is_core = group.is_empty();
    let (namespace, rest) = match rest {
        // Below /api/v1/namespaces/NAME these two are the namespace's own.
        ["namespaces", _, "status" | "finalize"] if is_core => (None, rest),
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(*name), None),
        [plural, name, subresource @ ..] => (plural, Some(*name), Some(subresource.join("/"))),
        [] => return Path::Unknown,
    };
    Path::Resource(ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: (*plural).to_owned(),
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        subresource,
    })
}

fn decode_path(part: &str) -> String {
    decode(part, false)
}

fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(decoded) = hex {
            out.push(decoded);
            at += 3;
        } else {
            out.push(if byte == b'+' && plus_is_space {
                b' '
            } else {
                byte
            });
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Query parameters, decoded; the last of a name wins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(HashMap<String, String>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decode(key, true), decode(value, true))
            });
        Self(pairs.collect())
    }

    /// All values of a name that may come several times, in their order.
    pub(crate) fn all(query: &str, key: &str) -> Vec<String> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(name, _)| decode(name, true) == key)
            .map(|(_, value)| decode(value, true))
            .collect()
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.0.get(key).map(String::as_str).unwrap_or_default()
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.text(key), "true" | "1")
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, Failure> {
        match self.text(key) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Failure::bad_request(format!("query parameter {key}={text} is not a number"))
            }),
        }
    }

    /// `dryRun=All`.
    pub(crate) fn dry_run(&self) -> Result<bool, Failure> {
        match self.text("dryRun") {
            "" => Ok(false),
            "All" => Ok(true),
            other => {
                let allowed = ["\"All\"".to_owned()];
                let error = FieldError::unsupported("dryRun", &other.into(), &allowed);
                Err(Failure::invalid(
                    "meta.k8s.io",
                    "CreateOptions",
                    "",
                    &[error],
                ))
            }
        }
    }

    /// `labelSelector` and `fieldSelector`.
    pub(crate) fn selection(&self) -> Result<Selection, Failure> {
        let labels = Selector::parse(self.text("labelSelector")).map_err(|error| {
            Failure::bad_request(format!("unable to parse requirement: {error}"))
        })?;
        let fields = FieldSelector::parse(self.text("fieldSelector"))?;
        Ok(Selection { labels, fields })
    }
}

/// Which objects of a collection are meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) labels: Selector,
    pub(crate) fields: FieldSelector,
}

/// The form of an answer that holds objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The objects.
    Json,
    /// `meta.k8s.io/v1 Table`, for kubectl.
    Table,
    /// `PartialObjectMetadata`: metadata only.
    Partial,
    /// Aggregated discovery.
    Aggregated,
}

/// Chooses the first form of an `Accept` header that can be served.
pub(crate) fn negotiate(accept: &str) -> Result<Form, Failure> {
    if accept.trim().is_empty() {
        return Ok(Form::Json);
    }
    for option in accept.split(',') {
        let mut parts = option.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        if !matches!(media, "application/json" | "application/*" | "*/*") {
            continue;
        }
        let parameter = |name: &str| {
            let parts = option.split(';').map(str::trim);
            parts
                .filter_map(|part| part.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|p| p.1)
        };
        match (parameter("as"), parameter("v")) {
            (None, _) => return Ok(Form::Json),
            (Some("Table"), Some("v1")) => return Ok(Form::Table),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) => {
                return Ok(Form::Partial);
            }
            (Some("APIGroupDiscoveryList"), Some("v2")) => return Ok(Form::Aggregated),
            _ => {}
        }
    }
    Err(Failure::not_acceptable())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        match Path::parse(path) {
            Path::Resource(p) => format!(
                "{}/{} {} ns={} name={} sub={}",
                p.group,
                p.version,
                p.plural,
                p.namespace.unwrap_or_default(),
                p.name.unwrap_or_default(),
                p.subresource.unwrap_or_default()
            ),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn paths_are_read_as_the_real_server_reads_them() {
        for (path, expected) in [
            ("/api/v1/pods", "/v1 pods ns= name= sub="),
            ("/api/v1/namespaces", "/v1 namespaces ns= name= sub="),
            ("/api/v1/namespaces/a", "/v1 namespaces ns= name=a sub="),
            (
                "/api/v1/namespaces/a/status",
                "/v1 namespaces ns= name=a sub=status",
            ),
            ("/api/v1/namespaces/a/pods", "/v1 pods ns=a name= sub="),
            (
                "/api/v1/namespaces/a/pods/p/log",
                "/v1 pods ns=a name=p sub=log",
            ),
            (
                "/apis/apps/v1/namespaces/a/deployments/d",
                "apps/v1 deployments ns=a name=d sub=",
            ),
            (
                "/apis/g/v1/clusterroles/system%3Aadmin",
                "g/v1 clusterroles ns= name=system:admin sub=",
            ),
            ("/apis/apps", "Group(\"apps\")"),
            ("/readyz/etcd", "Health"),
            ("/metrics", "Unknown"),
        ] {
            assert_eq!(shown(path), expected, "{path}");
        }
    }

    #[test]
    fn the_first_form_that_can_be_served_is_chosen() {
        for (accept, expected) in [
            ("", Some(Form::Json)),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some(Form::Json),
            ),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some(Form::Table),
            ),
            (
                "application/json;as=Table;v=v1beta1;g=meta.k8s.io, application/json",
                Some(Form::Json),
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some(Form::Partial),
            ),
            ("application/vnd.kubernetes.protobuf", None),
        ] {
            assert_eq!(negotiate(accept).ok(), expected, "{accept}");
        }
    }
}
