//! One object of a list: what its metadata says, and the bytes that are written for it.

use std::borrow::Cow;

use salvor_api::meta::StringMap;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// Why a listed value cannot be an object of the backup.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ItemError {
    #[error("it is not a JSON object with metadata: {0}")]
    NotAnObject(#[from] serde_json::Error),
    #[error("it has no name")]
    NoName,
    #[error("it says it is a `{found}`, but it was listed as `{listed}`")]
    OtherKind { found: String, listed: String },
}

/// Text borrowed from the page where it has no escapes.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

impl std::ops::Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

/// The part of an object that decides whether it is taken.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Header<'a> {
    #[serde(borrow)]
    pub(crate) api_version: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) metadata: Metadata<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata<'a> {
    #[serde(borrow)]
    pub(crate) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) namespace: Option<Text<'a>>,
    #[serde(borrow)]
    pub(crate) deletion_timestamp: Option<&'a RawValue>,
    #[serde(borrow)]
    labels: Option<Labels<'a>>,
}

#[derive(Debug, Deserialize)]
struct Labels<'a> {
    #[serde(borrow, rename = "velero.io/exclude-from-backup")]
    exclude_from_backup: Option<Text<'a>>,
}

impl<'a> Header<'a> {
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, ItemError> {
        let header: Self = serde_json::from_slice(body)?;
        match &header.metadata.name {
            Some(name) if !name.is_empty() => Ok(header),
            _ => Err(ItemError::NoName),
        }
    }

    /// The object's name; never empty.
    pub(crate) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The object's namespace; `None` for cluster-scoped objects.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.metadata.namespace.as_deref().filter(|n| !n.is_empty())
    }

    /// True when its user wants it left out.
    pub(crate) fn is_excluded_by_label(&self) -> bool {
        let labels = self.metadata.labels.as_ref();
        let value = labels.and_then(|l| l.exclude_from_backup.as_ref());
        value.is_some_and(|v| &**v == "true")
    }

    /// True when it is being deleted.
    pub(crate) fn is_terminating(&self) -> bool {
        self.metadata
            .deletion_timestamp
            .is_some_and(|raw| raw.get() != "null")
    }
}

/// The labels of an object; `None` when they cannot be read.
pub(crate) fn labels_of(body: &[u8]) -> Option<StringMap> {
    #[derive(Deserialize)]
    struct Object {
        metadata: Meta,
    }
    #[derive(Deserialize)]
    struct Meta {
        labels: Option<StringMap>,
    }
    let object: Object = serde_json::from_slice(body).ok()?;
    Some(object.metadata.labels.unwrap_or_default())
}

/// The bytes to write: the object as the server sent it, compact, with the `apiVersion` and `kind` that
/// items of lists lack. Without a change, the bytes are the server's own.
pub(crate) fn render<'a>(
    body: &'a [u8],
    header: &Header<'_>,
    api_version: &str,
    kind: &str,
) -> Result<Cow<'a, [u8]>, ItemError> {
    if let Some(found) = &header.kind
        && &**found != kind
    {
        return Err(ItemError::OtherKind {
            found: found.chars().take(80).collect(),
            listed: kind.to_owned(),
        });
    }
    // A raw line break cannot be part of a string, so it is formatting.
    let compact: Cow<'a, [u8]> = if body.contains(&b'\n') {
        Cow::Owned(serde_json::to_vec(&serde_json::from_slice::<Value>(body)?)?)
    } else {
        Cow::Borrowed(body)
    };
    let mut missing = String::new();
    if header.api_version.is_none() {
        missing.push_str(&format!("\"apiVersion\":{},", Value::from(api_version)));
    }
    if header.kind.is_none() {
        missing.push_str(&format!("\"kind\":{},", Value::from(kind)));
    }
    if missing.is_empty() {
        return Ok(compact);
    }
    // `metadata` is there, so the brace is followed by a member and the comma is right.
    let open = compact.iter().position(|b| *b == b'{').map_or(0, |i| i + 1);
    let mut whole = Vec::with_capacity(compact.len() + missing.len());
    whole.extend_from_slice(&compact[..open]);
    whole.extend_from_slice(missing.as_bytes());
    whole.extend_from_slice(&compact[open..]);
    Ok(Cow::Owned(whole))
}

/// What Velero's item action for claims changes: a data source would be provisioned from again at the
/// restore, and a selector does not go with a storage class. `None` when nothing has to change.
pub(crate) fn clean_claim(body: &[u8]) -> Option<Vec<u8>> {
    let mut claim: Value = serde_json::from_slice(body).ok()?;
    let spec = claim.get_mut("spec")?.as_object_mut()?;
    let mut changed = false;
    for field in ["dataSource", "dataSourceRef"] {
        changed |= spec.shift_remove(field).is_some();
    }
    let class = spec.get("storageClassName").and_then(Value::as_str);
    if class.is_some_and(|class| !class.is_empty()) {
        changed |= spec.shift_remove("selector").is_some();
    }
    let labels = spec
        .get_mut("selector")
        .and_then(|s| s.get_mut("matchLabels"))
        .and_then(Value::as_object_mut);
    if let Some(labels) = labels {
        let before = labels.len();
        labels.retain(|key, _| !key.starts_with("velero.io/"));
        changed |= labels.len() != before;
    }
    changed.then(|| claim.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(body: &str) -> String {
        let header = Header::read(body.as_bytes()).expect("an object");
        let bytes = render(body.as_bytes(), &header, "v1", "Pod").expect("a pod");
        String::from_utf8(bytes.into_owned()).expect("JSON is UTF-8")
    }

    #[test]
    fn what_list_items_lack_is_added_and_the_rest_stays_byte_for_byte() {
        for (body, expected) in [
            (
                r#"{"metadata":{"name":"a","x":1.50},"status":{}}"#,
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","x":1.50},"status":{}}"#,
            ),
            (
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#,
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}"#,
            ),
            (
                r#"{"kind":"Pod","metadata":{"name":"a"}}"#,
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}"#,
            ),
            (
                "{\n  \"metadata\": {\n \"name\": \"a\\n \"}\n}",
                r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a\n "}}"#,
            ),
        ] {
            assert_eq!(rendered(body), expected);
        }
    }

    #[test]
    fn values_that_are_no_objects_of_the_list_are_refused() {
        for body in [
            "7",
            "null",
            "[]",
            "{}",
            r#"{"metadata":{}}"#,
            r#"{"metadata":{"name":""}}"#,
            r#"{"metadata":{"name":7}}"#,
            r#"{"metadata":null}"#,
        ] {
            assert!(Header::read(body.as_bytes()).is_err(), "{body}");
        }
        let other = br#"{"kind":"Secret","metadata":{"name":"a"}}"#;
        let header = Header::read(other).expect("an object");
        assert!(render(other, &header, "v1", "Pod").is_err());
    }

    #[test]
    fn labels_and_deletion_are_read_from_the_header() {
        for (body, excluded, terminating) in [
            (
                r#"{"metadata":{"name":"a","labels":{"velero.io/exclude-from-backup":"true"}}}"#,
                true,
                false,
            ),
            (
                r#"{"metadata":{"name":"a","labels":{"velero.io/exclude-from-backup":"false"}}}"#,
                false,
                false,
            ),
            (
                r#"{"metadata":{"name":"a","labels":null,"deletionTimestamp":null}}"#,
                false,
                false,
            ),
            (
                r#"{"metadata":{"name":"a","deletionTimestamp":"2026-01-01T00:00:00Z"}}"#,
                false,
                true,
            ),
        ] {
            let header = Header::read(body.as_bytes()).expect(body);
            assert_eq!(
                (header.is_excluded_by_label(), header.is_terminating()),
                (excluded, terminating),
                "{body}"
            );
        }
    }

    #[test]
    fn claims_lose_data_sources_and_selectors_that_their_class_replaces() {
        for (spec, expected) in [
            (r#"{"volumeName":"v","storageClassName":"fast"}"#, None),
            (
                r#"{"dataSource":{"name":"s"},"dataSourceRef":{"name":"s"},"volumeName":"v"}"#,
                Some(r#"{"spec":{"volumeName":"v"}}"#),
            ),
            (
                r#"{"storageClassName":"fast","selector":{"matchLabels":{"a":"b"}}}"#,
                Some(r#"{"spec":{"storageClassName":"fast"}}"#),
            ),
            (
                r#"{"storageClassName":"","selector":{"matchLabels":{"a":"b","velero.io/x":"y"}}}"#,
                Some(r#"{"spec":{"storageClassName":"","selector":{"matchLabels":{"a":"b"}}}}"#),
            ),
        ] {
            let cleaned = clean_claim(format!(r#"{{"spec":{spec}}}"#).as_bytes());
            let text = cleaned.map(|b| String::from_utf8(b).expect("JSON"));
            assert_eq!(text.as_deref(), expected, "{spec}");
        }
    }
}
