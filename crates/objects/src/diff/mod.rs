//! What differs: between two backups, between a backup and a cluster, between a cluster before and after.
//!
//! Objects are compared in their normal form ([`normalise`]): allocations, status and
//! bookkeeping of the server are not differences. The result is data; [`DiffReport::render`] prints it as
//! `kubectl diff` does. Values of secrets are never shown, only whether they differ.
//!
//! Memory: comparing backups holds names and the differing objects' texts, never a whole backup;
//! [`comparison`] holds both sides and says no beyond its limit.

pub mod comparison;
mod mask;
mod unified;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

use salvor_api::filter::NON_RESTORABLE;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::Archive;
use salvor_archive::index::Entry;
use salvor_cluster::{Cluster, DiscoverOptions, Discovery, ListOptions};
use serde::Serialize;
use serde_json::Value;

use crate::restore::RestoreError;
use crate::restore::error::Doing as _;
use crate::restore::normalise::normalise;
use crate::restore::planner::{blocking, parse};
use crate::restore::selection::Selection;
use crate::restore::target::{key_hash, live_key};
use crate::restore::{Source, body};

pub use unified::unified_diff;

/// Most bytes of difference texts that a report holds; beyond it only names are kept.
const MOST_TEXT: usize = 64 << 20;

/// How one object differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only the first side has it.
    Removed,
    /// Only the second side has it.
    Added,
    /// Both have it, and it is not the same.
    Changed,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectDiff {
    /// The object.
    #[serde(serialize_with = "as_text")]
    pub object: ObjectKey,
    /// How it differs.
    pub change: Change,
    /// Unified difference of its YAML; empty when the report is too long to hold it.
    pub text: String,
}

/// All differences of two sides.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffReport {
    /// Name of the first side.
    pub from: String,
    /// Name of the second side.
    pub to: String,
    /// What differs, sorted by object.
    pub differences: Vec<ObjectDiff>,
    /// Objects that are the same.
    pub same: u64,
    /// Differences that must be there (leases, tokens and the like): see [`comparison::EXPECTED`].
    pub expected: u64,
    /// What could not be compared, with the reason.
    pub not_compared: BTreeMap<String, String>,
    /// Bytes of texts so far.
    #[serde(skip)]
    held: usize,
}

impl DiffReport {
    fn new(from: &str, to: &str) -> Self {
        Self {
            from: from.to_owned(),
            to: to.to_owned(),
            ..Self::default()
        }
    }

    /// True when nothing differs and everything was compared.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty() && self.not_compared.is_empty()
    }

    /// How many objects differ in each way.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Change, u64> {
        let mut counts = BTreeMap::new();
        for difference in &self.differences {
            *counts.entry(difference.change).or_default() += 1;
        }
        counts
    }

    fn add(&mut self, object: ObjectKey, from: Option<&Value>, to: Option<&Value>) {
        let change = match (from, to) {
            (Some(_), None) => Change::Removed,
            (None, Some(_)) => Change::Added,
            _ => Change::Changed,
        };
        let text = if self.held < MOST_TEXT {
            object_diff(&object, from, to)
        } else {
            String::new()
        };
        self.held += text.len();
        self.differences.push(ObjectDiff {
            object,
            change,
            text,
        });
    }

    fn sorted(mut self) -> Self {
        self.differences.sort_by(|a, b| a.object.cmp(&b.object));
        self
    }

    /// The report as text: one unified difference per object, then a summary.
    #[must_use]
    pub fn render(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for DiffReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            let ObjectDiff {
                object,
                change,
                text,
            } = difference;
            let word = match change {
                Change::Removed => "only in",
                Change::Added => "only in",
                Change::Changed => "differs between",
            };
            let sides = match change {
                Change::Removed => self.from.clone(),
                Change::Added => self.to.clone(),
                Change::Changed => format!("{} and {}", self.from, self.to),
            };
            writeln!(f, "{object}: {word} {sides}")?;
            f.write_str(text)?;
        }
        for (what, reason) in &self.not_compared {
            writeln!(f, "{what}: not compared: {reason}")?;
        }
        let count = |change| self.counts().get(&change).copied().unwrap_or(0);
        writeln!(
            f,
            "{} changed, {} only in {}, {} only in {}, {} the same",
            count(Change::Changed),
            count(Change::Removed),
            self.from,
            count(Change::Added),
            self.to,
            self.same
        )
    }
}

fn as_text<S: serde::Serializer>(key: &ObjectKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}

/// The unified difference of two forms of an object, secrets masked.
fn object_diff(object: &ObjectKey, from: Option<&Value>, to: Option<&Value>) -> String {
    let (from, to) = mask::mask_secrets(object, from.cloned(), to.cloned());
    let yaml = |side: &Option<Value>| match side {
        Some(value) => to_yaml(value),
        None => String::new(),
    };
    unified_diff(&yaml(&from), &yaml(&to))
}

/// What people look for first; everything else follows as it comes, `status` at the end.
const FIRST: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];

/// An object as YAML, in the order in which kubectl's users write it.
#[must_use]
pub fn to_yaml(value: &Value) -> String {
    let ordered = value.as_object().map(|fields| {
        let rank = |name: &str| match FIRST.iter().position(|first| *first == name) {
            Some(at) => at,
            None => FIRST.len() + usize::from(name == "status"),
        };
        let mut fields: Vec<_> = fields.iter().collect();
        // Stable: fields of one rank keep their order.
        fields.sort_by_key(|(name, _)| rank(name));
        let fields = fields.into_iter().map(|(k, v)| (k.clone(), v.clone()));
        Value::Object(fields.collect())
    });
    let mut text = serde_saphyr::to_string(ordered.as_ref().unwrap_or(value))
        .unwrap_or_else(|error| format!("# not YAML: {error}\n"));
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// What is compared of a side: everything that a restore could bring back and that the filters select.
pub(crate) fn is_compared(key: &ObjectKey, selection: &Selection, names: &[&str]) -> bool {
    !NON_RESTORABLE.contains(&key.resource.to_string().as_str())
        && selection.choose(key, names) == salvor_api::filter::Choice::Take
}

fn names_of(resource: &GroupResource) -> [String; 2] {
    [resource.to_string(), resource.resource.clone()]
}

/// Compares two backups.
///
/// # Errors
/// An archive cannot be read.
pub async fn between_backups(
    from: &Source,
    to: &Source,
    selection: &Selection,
) -> Result<DiffReport, RestoreError> {
    match compare_backups(from, to, selection).await {
        Ok(report) => Ok(report),
        Err(error) => Err(to.explained(from.explained(error).await).await),
    }
}

async fn compare_backups(
    from: &Source,
    to: &Source,
    selection: &Selection,
) -> Result<DiffReport, RestoreError> {
    let (from, to, selection) = (from.clone(), to.clone(), selection.clone());
    blocking(move || {
        let mut report = DiffReport::new(from.name.as_str(), to.name.as_str());
        for entry in preferred(&from.archive) {
            let key = entry.key();
            let names = names_of(&key.resource);
            if !is_compared(&key, &selection, &[&names[0], &names[1]]) {
                continue;
            }
            match to.archive.index().get(&key, None) {
                Some(other)
                    if other.digest() == entry.digest() && other.version() == entry.version() =>
                {
                    report.same += 1;
                }
                Some(other) => {
                    let old = normal(&from.archive, &entry)?;
                    let new = normal(&to.archive, &other)?;
                    if old == new {
                        report.same += 1;
                    } else {
                        report.add(key, Some(&old), Some(&new));
                    }
                }
                None => report.add(key, Some(&normal(&from.archive, &entry)?), None),
            }
        }
        for entry in preferred(&to.archive) {
            let key = entry.key();
            let names = names_of(&key.resource);
            let missing = from.archive.index().get(&key, None).is_none();
            if missing && is_compared(&key, &selection, &[&names[0], &names[1]]) {
                report.add(key, None, Some(&normal(&to.archive, &entry)?));
            }
        }
        Ok(report.sorted())
    })
    .await
}

/// Compares a backup with a cluster. Objects of resources that the backup does not hold are not looked at.
///
/// # Errors
/// The archive or the cluster cannot be read.
pub async fn with_cluster(
    backup: &Source,
    cluster: &Cluster,
    selection: &Selection,
) -> Result<DiffReport, RestoreError> {
    let discovery = cluster
        .discover(DiscoverOptions { all_versions: true })
        .await
        .doing(|| "ask the cluster what it serves".to_owned())?;
    let mut report = DiffReport::new(backup.name.as_str(), "live");
    for resource in backup.archive.index().resources() {
        if NON_RESTORABLE.contains(&resource.to_string().as_str()) {
            continue;
        }
        let compared = compare_resource(
            backup,
            cluster,
            &discovery,
            resource,
            selection,
            &mut report,
        );
        if let Err(error) = compared.await {
            return Err(backup.explained(error).await);
        }
    }
    Ok(report.sorted())
}

async fn compare_resource(
    backup: &Source,
    cluster: &Cluster,
    discovery: &Discovery,
    resource: &GroupResource,
    selection: &Selection,
    report: &mut DiffReport,
) -> Result<(), RestoreError> {
    let archive = &backup.archive;
    let versions = archive.index().versions(resource);
    let version = versions.iter().find(|v| v.preferred).or(versions.first());
    let api = version.and_then(|v| discovery.find_version(resource, v.version));
    let (Some(version), Some(api)) = (version, api) else {
        let wanted = version.map_or("", |v| v.version);
        let reason = format!("the cluster does not serve it in version {wanted}");
        report.not_compared.insert(resource.to_string(), reason);
        return Ok(());
    };
    let names = api.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut seen: HashSet<[u8; 16]> = HashSet::new();
    let mut pager = cluster.pager(api, None, ListOptions::default());
    loop {
        let page = match pager.next_page().await {
            Ok(Some(page)) => page,
            Ok(None) => break,
            Err(error) if error.kind() == salvor_cluster::ErrorKind::Forbidden => {
                let reason = error.reason().to_owned();
                report.not_compared.insert(resource.to_string(), reason);
                return Ok(());
            }
            Err(error) => return Err(error).doing(|| format!("list {resource} of the cluster")),
        };
        for item in page.items() {
            let mut live = parse(item);
            let Some(key) = live_key(api, &mut live) else {
                continue;
            };
            if !is_compared(&key, selection, &names) || !seen.insert(key_hash(&key)) {
                continue;
            }
            let as_live = live.clone();
            normalise(resource, &mut live, false);
            let held = {
                let (archive, key) = (archive.clone(), key.clone());
                let version = version.version.to_owned();
                blocking(move || match archive.index().get(&key, Some(&version)) {
                    Some(entry) => {
                        let bytes = archive
                            .get(&entry)
                            .doing(|| "read the archive".to_owned())?;
                        Ok(Some(parse(&bytes)))
                    }
                    None => Ok(None),
                })
                .await?
            };
            let form = held.clone().map(|mut object| {
                normalise(resource, &mut object, false);
                object
            });
            if form.as_ref() == Some(&live) {
                report.same += 1;
            } else if comparison::is_expected(&key, held.as_ref(), Some(&as_live)) {
                report.expected += 1;
            } else {
                report.add(key, form.as_ref(), Some(&live));
            }
        }
    }
    let (archive, resource) = (archive.clone(), resource.clone());
    let wanted = selection.clone();
    let all_names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let gone = blocking(move || {
        let names: Vec<&str> = all_names.iter().map(String::as_str).collect();
        let mut gone = Vec::new();
        for entry in archive.index().range(&resource, None) {
            let key = entry.key();
            if !seen.contains(&key_hash(&key)) && is_compared(&key, &wanted, &names) {
                let bytes = archive
                    .get(&entry)
                    .doing(|| "read the archive".to_owned())?;
                gone.push((key, parse(&bytes)));
            }
        }
        Ok(gone)
    })
    .await?;
    let mut told: BTreeSet<ObjectKey> = BTreeSet::new();
    for (key, held) in gone {
        // An object that is held in several versions is gone once.
        if !told.insert(key.clone()) {
            continue;
        }
        if comparison::is_expected(&key, Some(&held), None) {
            report.expected += 1;
        } else {
            let mut form = held;
            normalise(&key.resource, &mut form, false);
            report.add(key, Some(&form), None);
        }
    }
    Ok(())
}

/// The entries of an archive, each object once, in its preferred version.
fn preferred(archive: &Archive) -> impl Iterator<Item = Entry<'_>> {
    archive.index().iter().filter(|entry| {
        let best = archive.index().get(&entry.key(), None);
        best.is_some_and(|best| best.version() == entry.version())
    })
}

fn normal(archive: &Archive, entry: &Entry<'_>) -> Result<Value, RestoreError> {
    let bytes = archive.get(entry).doing(|| "read the archive".to_owned())?;
    let mut object = parse(&bytes);
    normalise(entry.resource(), &mut object, false);
    Ok(object)
}

/// True for an object of this kind.
fn is_kind(object: &Value, kind: &str) -> bool {
    body::text_at(object, &["kind"]) == kind
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_begins_with_what_it_is_and_ends_with_its_status() {
        let object = serde_json::json!({
            "data": {"b": "1", "a": "2"}, "status": {"phase": "Active"}, "spec": {"x": 1},
            "metadata": {"name": "n"}, "kind": "Thing", "apiVersion": "x.io/v1",
        });
        let text = to_yaml(&object);
        let fields: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with(' '))
            .map(|line| line.split(':').next().unwrap_or_default())
            .collect();
        let expected = ["apiVersion", "kind", "metadata", "spec", "data", "status"];
        assert_eq!(fields, expected, "{text}");
        let back: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(back, object, "nothing is lost");
    }
}
