//! What is damaged in the archive of a backup, and which objects are lost with it.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use salvor_api::resource::{GroupResource, GroupVersion, ObjectKey};
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use salvor_archive::files::ResourceList;
use salvor_archive::survey::DamagedMember;
use serde::Deserialize;

/// Lost objects that are named in a message; the rest is counted.
const NAMED: usize = 10;

/// An object that a damaged archive does not give any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LostObject {
    /// The object. Its resource is guessed from the kind where only that is known.
    pub key: ObjectKey,
    /// Its API version.
    pub version: String,
    /// Its kind, when it is known from the backup's resource list.
    pub kind: Option<String>,
    /// Why it cannot be read.
    pub reason: String,
}

/// A damaged archive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// Name of the file in the backup's folder.
    pub file: String,
    /// Where it is damaged and how, one text each.
    pub places: Vec<String>,
    /// What is lost, sorted.
    pub lost: Vec<LostObject>,
    /// Objects of which another version is read than the preferred one, sorted, with that version.
    pub replaced: Vec<(ObjectKey, String)>,
    /// Everything that can be read has a digest, so it is what was written. Otherwise what comes shortly
    /// before the damage may have been altered without looking so.
    pub is_exact: bool,
    /// Nobody knows which objects came after the damage, because the backup has no list of them.
    pub is_open_ended: bool,
}

impl Damage {
    /// What a survey of an archive with an index found; `None` when it found nothing.
    #[must_use]
    pub(crate) fn of_members(file: String, members: &[DamagedMember]) -> Option<Self> {
        if members.is_empty() {
            return None;
        }
        let mut damage = Self {
            file,
            is_exact: true,
            ..Self::default()
        };
        for member in members {
            let DamagedMember {
                offset,
                len,
                reason,
                lost,
            } = member;
            let place = format!("the member at byte {offset}, {len} bytes long: {reason}");
            for entry in lost {
                match &entry.other_version {
                    Some(version) => damage.replaced.push((entry.key.clone(), version.clone())),
                    None => damage.lost.push(LostObject {
                        key: entry.key.clone(),
                        version: entry.version.clone(),
                        kind: None,
                        reason: format!("the archive `{}` is damaged in {place}", damage.file),
                    }),
                }
            }
            damage.places.push(place);
        }
        damage.lost.sort();
        // An object that was stored in several versions is lost once.
        damage.lost.dedup_by(|a, b| a.key == b.key);
        damage.replaced.sort();
        damage.replaced.dedup();
        Some(damage)
    }

    /// A stream that ended in an error. What it lacks is known from the backup's resource list.
    #[must_use]
    pub(crate) fn of_stream(
        file: String,
        cut: &ArchiveError,
        archive: &Archive,
        listed: Option<&ResourceList>,
    ) -> Self {
        let mut place = cut.to_string();
        if let Some(source) = std::error::Error::source(cut) {
            place = format!("{place}: {source}");
        }
        let reason = format!("the archive `{file}` cannot be read so far: {place}");
        let mut lost: Vec<LostObject> = listed
            .map(|listed| missing_of(archive, listed))
            .unwrap_or_default()
            .into_iter()
            .map(|(key, version, kind)| LostObject {
                key,
                version,
                kind: Some(kind),
                reason: reason.clone(),
            })
            .collect();
        lost.sort();
        Self {
            file,
            places: vec![place],
            lost,
            replaced: Vec::new(),
            is_exact: false,
            is_open_ended: listed.is_none(),
        }
    }

    /// Whether this object is lost, and why.
    #[must_use]
    pub fn find(&self, key: &ObjectKey) -> Option<&LostObject> {
        self.lost.iter().find(|lost| lost.key == *key)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is damaged: {}; ",
            self.file,
            self.places.join("; ")
        )?;
        match self.lost.len() {
            0 if self.is_open_ended => {
                f.write_str("which objects are lost is not known, the backup has no list of them")?;
            }
            0 => f.write_str("no object is lost with it")?,
            1 => f.write_str("1 object is lost with it: ")?,
            many => write!(f, "{many} objects are lost with it: ")?,
        }
        let named: Vec<String> = self
            .lost
            .iter()
            .take(NAMED)
            .map(|lost| format!("{} {}", lost.key.resource, lost.key.scoped_name()))
            .collect();
        f.write_str(&named.join(", "))?;
        if self.lost.len() > NAMED {
            write!(f, " and {} more", self.lost.len() - NAMED)?;
        }
        if !self.is_exact {
            f.write_str(
                "; this archive has no digests, so what was stored shortly before the damage may be altered, too",
            )?;
        }
        Ok(())
    }
}

/// The kind of a body.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    kind: String,
}

/// What a resource list names and an archive does not have: key, version and kind.
fn missing_of(archive: &Archive, listed: &ResourceList) -> BTreeSet<(ObjectKey, String, String)> {
    let kinds = kinds_of(archive);
    let mut missing = BTreeSet::new();
    for (kind_text, names) in listed {
        let Some((group_version, kind)) = kind_text.rsplit_once('/') else {
            continue;
        };
        let group_version = GroupVersion::parse(group_version);
        let known = (group_version.group.clone(), kind.to_owned());
        let resource = kinds
            .get(&known)
            .cloned()
            .unwrap_or_else(|| GroupResource::new(plural(kind), group_version.group.clone()));
        for name in names {
            let key = match name.split_once('/') {
                Some((namespace, name)) => ObjectKey::namespaced(resource.clone(), namespace, name),
                None => ObjectKey::cluster(resource.clone(), name.as_str()),
            };
            if archive.index().get(&key, None).is_none() {
                missing.insert((key, group_version.version.clone(), kind.to_owned()));
            }
        }
    }
    missing
}

/// The kinds of an archive's resources, as the first body of each says.
fn kinds_of(archive: &Archive) -> HashMap<(String, String), GroupResource> {
    let index = archive.index();
    index
        .resources()
        .iter()
        .filter_map(|resource| {
            let first = index.range(resource, None).next()?;
            let head: Head = serde_json::from_slice(&archive.get(&first).ok()?).ok()?;
            Some(((resource.group.clone(), head.kind), resource.clone()))
        })
        .collect()
}

/// The usual plural of a kind, for a resource of which nothing else is known.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| kind.ends_with(ending));
    if kind == "endpoints" {
        kind
    } else if ends(&["s", "x", "ch", "sh"]) {
        format!("{kind}es")
    } else if let Some(stem) = kind.strip_suffix('y')
        && !ends(&["ay", "ey", "oy", "uy"])
    {
        format!("{stem}ies")
    } else {
        format!("{kind}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plurals_of_kinds_are_those_that_servers_use() {
        for (kind, expected) in [
            ("Pod", "pods"),
            ("Ingress", "ingresses"),
            ("NetworkPolicy", "networkpolicies"),
            ("Endpoints", "endpoints"),
            ("Gateway", "gateways"),
            ("StorageClass", "storageclasses"),
        ] {
            assert_eq!(plural(kind), expected);
        }
    }

    #[test]
    fn a_message_names_the_first_objects_and_counts_the_rest() {
        let lost = |at: usize| LostObject {
            key: ObjectKey::namespaced(GroupResource::new("pods", ""), "shop", format!("p{at}")),
            version: "v1".into(),
            kind: None,
            reason: String::new(),
        };
        let damage = Damage {
            file: "b.tar.gz".into(),
            places: vec!["the member at byte 7".into()],
            lost: (0..12).map(lost).collect(),
            is_exact: true,
            ..Damage::default()
        };
        let text = damage.to_string();
        assert!(text.starts_with("`b.tar.gz` is damaged: the member at byte 7; 12 objects"));
        assert!(
            text.contains("pods shop/p0, ") && text.ends_with(" and 2 more"),
            "{text}"
        );
    }
}
