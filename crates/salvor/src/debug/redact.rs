//! Takes secrets out of what goes into a bundle. What may be one is taken for one: a bundle that says less can be
//! asked about, one that says too much cannot be taken back.

use std::borrow::Cow;

use regex::{Captures, Regex};
use serde_json::{Map, Value};

const REDACTED: &str = "[redacted]";
/// Known secrets that are shorter would be found in every other word.
const SHORTEST: usize = 6;

/// Parts of names that hold secrets.
const SECRET_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
    "signature",
    "cacert",
    "downloadurl",
    "cabundle",
];
/// Settings of a location that hold none.
const PLAIN_SETTINGS: &[&str] = &[
    "checksumAlgorithm",
    "endpoint",
    "insecureSkipTLSVerify",
    "kmsKeyId",
    "path",
    "pathStyle",
    "profile",
    "publicUrl",
    "region",
    "resourceGroup",
    "s3ForcePathStyle",
    "s3Url",
    "serverSideEncryption",
    "signatureVersion",
    "storageAccount",
    "storageAccountURI",
    "storageClass",
    "subscriptionId",
];
/// Whose labels and annotations hold none; those of users may hold anything.
const PLAIN_DOMAINS: &[&str] = &["velero.io", "salvor.dev", "app.kubernetes.io", "helm.sh"];

/// Knows what secrets look like, and some by their value.
#[derive(Debug)]
pub(crate) struct Redactor {
    known: Vec<String>,
    patterns: Vec<(Regex, &'static str)>,
    random: Regex,
}

impl Redactor {
    /// With secrets that are known by value: those of the environment, and those that the locations' Secrets hold.
    pub(crate) fn new(known: impl IntoIterator<Item = String>) -> Result<Self, regex::Error> {
        let mut known: Vec<String> = known
            .into_iter()
            .map(|secret| secret.trim().to_owned())
            .filter(|secret| secret.len() >= SHORTEST)
            .collect();
        // The longest first: one may hold another.
        known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        known.dedup();
        let names = "password|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|\
                     credential|authorization|signature|cookie";
        let patterns = [
            (r"(?s)-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\z)".to_owned(), REDACTED),
            (r#"(://)[^\s"'<>]*@"#.to_owned(), "${1}[redacted]@"),
            (r#"(://[^\s"'?<>]*)\?[^\s"'<>]*"#.to_owned(), "${1}?[redacted]"),
            (
                format!(
                    r#"(?i)((?:{names})[\w.-]*\\?["']?\s*[:=]\s*)(?:\\?"[^"]*"|'[^']*'|(?:(?:bearer|basic)\s+)?[^\s"',;&}}]+)"#
                ),
                "${1}[redacted]",
            ),
            (
                format!(r"(?i)(--?[\w-]*(?:{names}|key)[\w-]*\s+)[^\s-]\S*"),
                "${1}[redacted]",
            ),
            (r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}".to_owned(), "${1} [redacted]"),
            (
                r"\b(?:AKIA|ASIA)[0-9A-Z]{8,}|\beyJ[\w-]{5,}(?:\.[\w-]*)*|\bgh[pousr]_\w{16,}|\bxox[abpr]-[\w-]{8,}"
                    .to_owned(),
                REDACTED,
            ),
        ];
        let patterns = patterns
            .into_iter()
            .map(|(pattern, by)| Regex::new(&pattern).map(|pattern| (pattern, by)));
        Ok(Self {
            known,
            patterns: patterns.collect::<Result<_, _>>()?,
            random: Regex::new(r"[A-Za-z0-9+/_=-]{32,}")?,
        })
    }

    /// A text without what looks like a secret.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut text = Cow::Borrowed(text);
        for secret in &self.known {
            if text.contains(secret.as_str()) {
                text = Cow::Owned(text.replace(secret.as_str(), REDACTED));
            }
        }
        for (pattern, by) in &self.patterns {
            if let Cow::Owned(changed) = pattern.replace_all(&text, *by) {
                text = Cow::Owned(changed);
            }
        }
        let random = |found: &Captures<'_>| match looks_random(&found[0]) {
            true => REDACTED.to_owned(),
            false => found[0].to_owned(),
        };
        self.random.replace_all(&text, random).into_owned()
    }

    /// An object without secrets.
    pub(crate) fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(all) => all.iter_mut().for_each(|one| self.value(one)),
            Value::Object(fields) => self.fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn fields(&self, fields: &mut Map<String, Value>) {
        fields.remove("managedFields");
        for (name, value) in fields {
            match (name.as_str(), &mut *value) {
                ("annotations" | "labels", Value::Object(map)) => {
                    self.map(map, is_plain_key);
                }
                ("config", Value::Object(map)) => {
                    self.map(map, |key| PLAIN_SETTINGS.contains(&key));
                }
                ("data" | "stringData" | "binaryData" | "env", other) => hide_all(other),
                ("command" | "args", Value::Array(words)) => {
                    // The program is known to be none; what it is told may be.
                    words.iter_mut().skip(1).for_each(hide_all);
                    words.iter_mut().take(1).for_each(|word| self.value(word));
                }
                ("command" | "args", other) => hide_all(other),
                (name, Value::String(_) | Value::Array(_)) if is_secret_name(name) => {
                    hide_all(value);
                }
                (_, other) => self.value(other),
            }
        }
    }

    fn map(&self, map: &mut Map<String, Value>, plain: impl Fn(&str) -> bool) {
        for (key, value) in map {
            match plain(key) {
                true => self.value(value),
                false => hide_all(value),
            }
        }
    }
}

/// Everything in a value, its shape excepted.
fn hide_all(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(hide_all),
        Value::Object(fields) => fields.values_mut().for_each(hide_all),
        Value::Null => {}
        other => *other = Value::from(REDACTED),
    }
}

/// True for the name of a field, variable or setting that holds a secret, and not only the name of one.
pub(crate) fn is_secret_name(name: &str) -> bool {
    let plain: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let names_one = plain.ends_with("name") || plain.ends_with("ref");
    !names_one && SECRET_NAMES.iter().any(|secret| plain.contains(secret))
}

fn is_plain_key(key: &str) -> bool {
    let (domain, name) = key.split_once('/').unwrap_or(("", key));
    let ours = PLAIN_DOMAINS
        .iter()
        .any(|plain| domain == *plain || domain.ends_with(&format!(".{plain}")));
    ours && !is_secret_name(name) && !name.contains("command")
}

/// Letters of both cases and a digit, mixed: a key, not a name, a path or a digest.
fn looks_random(text: &str) -> bool {
    let count = |wanted: fn(&u8) -> bool| text.bytes().filter(wanted).count();
    count(u8::is_ascii_uppercase) >= 4
        && count(u8::is_ascii_lowercase) >= 4
        && count(u8::is_ascii_digit) >= 1
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(["known-by-value".to_owned()]).expect("patterns")
    }

    #[test]
    fn texts_lose_their_secrets_and_keep_their_sense() {
        let redactor = redactor();
        for (text, secret, kept) in [
            (
                "read s3://b/p?sig=hunter2&x=1: denied",
                "hunter2",
                "s3://b/p",
            ),
            (
                "open https://user:hunter2@host/x failed",
                "hunter2",
                "host/x",
            ),
            ("password=hunter2, user=root", "hunter2", "user=root"),
            (
                "{\"password\": \"hunter two\", \"a\": 1}",
                "hunter two",
                "\"a\": 1",
            ),
            ("{\\\"token\\\":\\\"hunter2\\\"}", "hunter2", "token"),
            (
                "Authorization: Bearer hunter2hunter2",
                "hunter2",
                "Authorization",
            ),
            ("mysql --password hunter2 -e x", "hunter2", "mysql"),
            (
                "AWS_SECRET_ACCESS_KEY=hunter2",
                "hunter2",
                "AWS_SECRET_ACCESS_KEY",
            ),
            ("key AKIAIOSFODNN7EXAMPLE refused", "AKIA", "refused"),
            (
                "it has wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY in it",
                "wJalr",
                "in it",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
                "hunter2",
                "",
            ),
            ("-----BEGIN PRIVATE KEY-----\nhunter2", "hunter2", ""),
            (
                "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.sig-hunter2",
                "hunter2",
                "jwt",
            ),
            ("it says known-by-value here", "known-by-value", "here"),
        ] {
            let left = redactor.text(text);
            assert!(!left.contains(secret), "{text}: {left}");
            assert!(left.contains(kept), "{text}: {left}");
        }
    }

    #[test]
    fn what_helps_stays() {
        let redactor = redactor();
        for text in [
            "backup nightly-20261120020000 failed: no space left",
            "/apis/velero.io/v1/namespaces/velero/backupstoragelocations/default",
            "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "uid 8f14e45f-ceea-467f-9575-2f1c6f0c1b1a",
        ] {
            assert_eq!(redactor.text(text), text);
        }
    }

    #[test]
    fn objects_lose_what_may_be_secret_wherever_it_stands() {
        let mut object = json!({
            "metadata": {"name": "b", "managedFields": [1], "annotations": {
                "salvor.dev/hold": "audit", "team.example/note": "hunter2",
                "kubectl.kubernetes.io/last-applied-configuration": "hunter2",
                "pre.hook.backup.velero.io/command": "hunter2"}},
            "spec": {
                "config": {"region": "r", "s3Url": "http://u:hunter2@h", "odd": "hunter2"},
                "credential": {"name": "cloud", "key": "hunter"},
                "objectStorage": {"bucket": "b", "caCert": "hunter2"},
                "hooks": {"resources": [{"pre": [{"exec": {"command": ["sh", "-c", "x hunter2"]}}]}]},
                "env": [{"name": "A", "value": "hunter2"}],
            },
            "status": {"downloadURL": "http://h/hunter2", "failureReason": "token=hunter2"},
        });
        redactor().value(&mut object);
        let text = object.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(!text.contains("managedFields"), "{text}");
        for kept in [
            "audit",
            "\"region\":\"r\"",
            "\"bucket\":\"b\"",
            "cloud",
            "\"sh\"",
            "team.example/note",
        ] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
    }
}
