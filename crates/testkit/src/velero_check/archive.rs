//! The archive: its tar, its paths, its items.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Report, keys_of};

const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// An item of the archive: where it is by its path, and what it is by its contents.
pub(super) struct Item {
    /// `deployments.apps`.
    pub(super) resource: String,
    /// `ns/name` or `name`.
    pub(super) name: String,
    pub(super) body: Value,
}

impl Report {
    /// Checks the tar; gives the items of the unversioned paths.
    pub(super) fn archive(&mut self, tar: &[u8]) -> Vec<Item> {
        let mut entries: BTreeMap<String, &[u8]> = BTreeMap::new();
        let mut first = None;
        for entry in read_tar(tar) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(reason) => {
                    self.violation(format!("archive: {reason}"));
                    break;
                }
            };
            let path = entry.path;
            self.demand(entry.kind == b'0', || {
                format!("archive: {path} is not a regular file")
            });
            self.demand(entry.mode == 0o755, || {
                format!("archive: {path} has not mode 0755")
            });
            self.demand(entry.mtime > 0, || format!("archive: {path} has no time"));
            first.get_or_insert_with(|| path.clone());
            let repeated = entries.insert(path.clone(), entry.contents).is_some();
            self.demand(!repeated, || format!("archive: {path} occurs twice"));
        }
        let begins = first.as_deref() == Some("metadata/version");
        self.demand(begins, || {
            "archive: it does not begin with metadata/version".to_owned()
        });
        let version = entries.remove("metadata/version");
        self.demand(version == Some(b"1.1.0\n"), || {
            "archive: metadata/version is not 1.1.0 and a newline".to_owned()
        });
        let mut items = Vec::new();
        for (path, contents) in &entries {
            self.entry(path, contents, &entries, &mut items);
        }
        items
    }

    /// Checks one item entry and that its twin exists.
    fn entry(
        &mut self,
        path: &str,
        contents: &[u8],
        entries: &BTreeMap<String, &[u8]>,
        items: &mut Vec<Item>,
    ) {
        let segments: Vec<&str> = path.split('/').collect();
        let (resource, dir, place) = match segments.as_slice() {
            [
                "resources",
                resource,
                place @ ("cluster" | "namespaces"),
                rest @ ..,
            ] if rest.len() == 1 + usize::from(*place == "namespaces") => {
                (*resource, None, &segments[2..])
            }
            [
                "resources",
                resource,
                dir,
                place @ ("cluster" | "namespaces"),
                rest @ ..,
            ] if rest.len() == 1 + usize::from(*place == "namespaces") => {
                (*resource, Some(*dir), &segments[3..])
            }
            _ => return self.violation(format!("archive: {path} is no item's path")),
        };
        let Some(name) = segments.last().and_then(|file| file.strip_suffix(".json")) else {
            return self.violation(format!("archive: {path} does not end in .json"));
        };
        let namespace = (place[0] == "namespaces").then(|| place[1]);
        let Ok(body) = serde_json::from_slice::<Value>(contents) else {
            return self.violation(format!("archive: {path} is not JSON"));
        };
        self.demand(is_compact(contents), || {
            format!("archive: {path} is not compact")
        });
        let metadata = &body["metadata"];
        for key in ["uid", "resourceVersion", "creationTimestamp"] {
            self.demand(metadata[key].is_string(), || {
                format!("archive: {path} lost its {key}")
            });
        }
        let right = metadata["name"] == name && metadata["namespace"].as_str() == namespace;
        self.demand(right, || format!("archive: {path} holds another object"));
        let kind = body["kind"].as_str().is_some_and(|kind| !kind.is_empty());
        self.demand(kind, || format!("archive: {path} has no kind"));
        let (group, version) = match body["apiVersion"].as_str().map(|v| v.split_once('/')) {
            Some(Some((group, version))) => (group, version),
            Some(None) => ("", body["apiVersion"].as_str().unwrap_or_default()),
            None => return self.violation(format!("archive: {path} has no apiVersion")),
        };
        let path_group = resource.split_once('.').map_or("", |(_, group)| group);
        self.demand(group == path_group, || {
            format!("archive: {path} is of group `{group}`")
        });
        let tail = place.join("/");
        match dir {
            None => {
                let preferred =
                    |dir: &str| format!("resources/{resource}/{dir}-preferredversion/{tail}");
                // An action may have changed the version, of custom resource definitions only.
                let twin = if resource == CRDS {
                    let twins = ["v1", "v1beta1"].map(preferred);
                    twins.iter().find_map(|twin| entries.get(twin))
                } else {
                    entries.get(&preferred(version))
                };
                self.demand(twin == Some(&contents), || {
                    format!("archive: {path} has no equal twin under {version}-preferredversion")
                });
                let name = namespace.map_or(name.to_owned(), |ns| format!("{ns}/{name}"));
                let resource = resource.to_owned();
                items.push(Item {
                    resource,
                    name,
                    body,
                });
            }
            Some(dir) => {
                let plain = dir.strip_suffix("-preferredversion");
                let right = resource == CRDS || plain.unwrap_or(dir) == version;
                self.demand(right, || format!("archive: {path} is of version {version}"));
                let original = entries.contains_key(&format!("resources/{resource}/{tail}"));
                self.demand(original, || {
                    format!("archive: {path} has no unversioned entry")
                });
            }
        }
    }

    /// The definition of every custom resource is there, unless the backup filters by resource.
    pub(super) fn crds(&mut self, items: &[Item], spec: &Value) {
        let filters = keys_of(spec).filter(|key| key.to_lowercase().contains("resources"));
        let filtered = filters.map(|key| &spec[key]).any(|value| match value {
            Value::Array(list) => !list.is_empty() && *list != ["*"],
            other => !other.is_null() && other != &Value::Bool(true),
        });
        if filtered {
            return;
        }
        let has = |name: &str| items.iter().any(|i| i.resource == CRDS && i.name == name);
        let custom: BTreeSet<&str> = items
            .iter()
            .map(|item| item.resource.as_str())
            .filter(|r| r.split_once('.').is_some_and(|(_, g)| g.contains('.')))
            .filter(|r| !r.ends_with(".k8s.io"))
            .collect();
        for resource in custom {
            self.demand(has(resource), || {
                format!("archive: the definition of {resource} is missing")
            });
        }
    }
}

struct Entry<'a> {
    path: String,
    kind: u8,
    mode: u64,
    mtime: u64,
    contents: &'a [u8],
}

/// Splits a tar into its entries. The last result is an error when the tar does not end as it should.
fn read_tar(tar: &[u8]) -> Vec<Result<Entry<'_>, String>> {
    let mut entries = Vec::new();
    let (mut at, mut long_name) = (0, None);
    loop {
        let Some(block) = tar.get(at..at + 512) else {
            entries.push(Err("it does not end with two blocks of zeros".to_owned()));
            return entries;
        };
        if block.iter().all(|b| *b == 0) {
            let rest = &tar[at..];
            if rest.len() < 1024 || rest.iter().any(|b| *b != 0) {
                entries.push(Err("it does not end with two blocks of zeros".to_owned()));
            }
            return entries;
        }
        let text = |range: std::ops::Range<usize>| {
            let field = block[range].split(|b| *b == 0).next().unwrap_or_default();
            String::from_utf8_lossy(field).trim().to_owned()
        };
        let octal = |range| u64::from_str_radix(&text(range), 8).unwrap_or(u64::MAX);
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        let own: u64 = block[148..156].iter().map(|b| u64::from(*b)).sum();
        let size = usize::try_from(octal(124..136)).unwrap_or(usize::MAX);
        let contents = (at + 512)
            .checked_add(size)
            .and_then(|end| tar.get(at + 512..end));
        let Some(contents) = contents.filter(|_| octal(148..156) == sum - own + 8 * 32) else {
            entries.push(Err(format!("the header at {at} is damaged")));
            return entries;
        };
        at += 512 + size.div_ceil(512) * 512;
        match block[156] {
            b'x' => {
                let records = String::from_utf8_lossy(contents).into_owned();
                let path = records
                    .lines()
                    .find_map(|record| record.split_once(" path="));
                long_name = path.map(|(_, path)| path.to_owned());
            }
            b'L' => {
                let name = String::from_utf8_lossy(contents);
                long_name = Some(name.trim_end_matches('\0').to_owned());
            }
            kind => {
                let (prefix, name) = (text(345..500), text(0..100));
                let short = if prefix.is_empty() {
                    name
                } else {
                    format!("{prefix}/{name}")
                };
                entries.push(Ok(Entry {
                    path: long_name.take().unwrap_or(short),
                    kind,
                    mode: octal(100..108),
                    mtime: octal(136..148),
                    contents,
                }));
            }
        }
    }
}

/// True when there is no blank outside of strings.
fn is_compact(json: &[u8]) -> bool {
    let (mut inside, mut escaped) = (false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            b' ' | b'\n' | b'\r' | b'\t' if !inside => return false,
            _ => {}
        }
    }
    true
}
