//! Collecting entries in the order of the archive, then sorting them into an index.

use std::collections::HashMap;
use std::sync::Arc;

use salvor_api::resource::{GroupResource, ObjectKey};

use super::{Index, MemberPlace, Row, Tables};
use crate::error::{ArchiveError, Result};

/// A key as numbers: ids of the tables and the place of the name among all names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyIds {
    pub(crate) resource: u32,
    /// 0 for cluster-scoped, otherwise one more than the place in the table.
    pub(crate) namespace: u32,
    pub(crate) name_offset: u32,
    pub(crate) name_len: u16,
}

impl KeyIds {
    pub(crate) fn name_in<'a>(&self, names: &'a str) -> &'a str {
        let start = self.name_offset as usize;
        &names[start..start + usize::from(self.name_len)]
    }
}

/// Numbers for the strings that repeat, in order of first appearance.
struct Interner<T> {
    ids: HashMap<T, u32>,
    /// Bytes of all values.
    len: usize,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self {
            ids: HashMap::new(),
            len: 0,
        }
    }
}

impl<T: std::hash::Hash + Eq + Ord> Interner<T> {
    fn id<Q>(&mut self, value: &Q, len: usize) -> u32
    where
        T: std::borrow::Borrow<Q>,
        Q: std::hash::Hash + Eq + ToOwned<Owned = T> + ?Sized,
    {
        if let Some(id) = self.ids.get(value) {
            return *id;
        }
        // There are never more values than rows, which a u32 counts.
        let id = self.ids.len() as u32;
        self.ids.insert(value.to_owned(), id);
        self.len += len;
        id
    }

    /// The value of an id; looks at all of them.
    fn value(&self, id: u32) -> Option<&T> {
        self.ids
            .iter()
            .find(|(_, i)| **i == id)
            .map(|(value, _)| value)
    }

    /// The values that `used` marks, sorted, and what each old id became.
    fn into_sorted(self, used: &[bool]) -> (Vec<T>, Vec<u32>) {
        let mut renumbered = vec![0; self.ids.len()];
        let mut values: Vec<(T, u32)> = self
            .ids
            .into_iter()
            .filter(|(_, id)| used[*id as usize])
            .collect();
        values.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (new, (_, old)) in (0u32..).zip(&values) {
            renumbered[*old as usize] = new;
        }
        (
            values.into_iter().map(|(value, _)| value).collect(),
            renumbered,
        )
    }
}

/// An index in the making.
#[derive(Default)]
pub(crate) struct IndexBuilder {
    resources: Interner<GroupResource>,
    namespaces: Interner<String>,
    versions: Interner<String>,
    names: String,
    last_name: Option<(u32, u16)>,
    members: Vec<MemberPlace>,
    rows: Vec<Row>,
}

impl IndexBuilder {
    /// Numbers for a key. A name that equals the previous one is stored once.
    pub(crate) fn key_ids(&mut self, key: &ObjectKey) -> Result<KeyIds> {
        let full = |what, allowed| ArchiveError::IndexFull { what, allowed };
        let name_len = u16::try_from(key.name.len())
            .map_err(|_| full("bytes in one name", u64::from(u16::MAX)))?;
        let name_offset = match self.last_name {
            Some((offset, len)) if len == name_len && self.names[offset as usize..] == key.name => {
                offset
            }
            _ => {
                let offset = u32::try_from(self.names.len())
                    .map_err(|_| full("bytes of names", u64::from(u32::MAX)))?;
                self.names.push_str(&key.name);
                offset
            }
        };
        self.last_name = Some((name_offset, name_len));
        Ok(KeyIds {
            resource: self.resources.id(
                &key.resource,
                key.resource.resource.len() + key.resource.group.len(),
            ),
            namespace: match &key.namespace {
                None => 0,
                Some(namespace) => self.namespaces.id(namespace.as_str(), namespace.len()) + 1,
            },
            name_offset,
            name_len,
        })
    }

    /// The number of a version.
    pub(crate) fn version_id(&mut self, version: &str) -> u32 {
        self.versions.id(version, version.len())
    }

    /// True when no member was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Number of the next member.
    pub(crate) fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Bytes of all names, namespaces, resources and versions so far.
    pub(crate) fn text_len(&self) -> usize {
        self.names.len() + self.resources.len + self.namespaces.len + self.versions.len
    }

    /// All names, for [`KeyIds::name_in`].
    pub(crate) fn names(&self) -> &str {
        &self.names
    }

    /// `pods shop/web-0`, for messages. Slow.
    pub(crate) fn key_text(&self, ids: &KeyIds) -> String {
        let resource = self.resources.value(ids.resource).map(ToString::to_string);
        let namespace = ids
            .namespace
            .checked_sub(1)
            .and_then(|id| self.namespaces.value(id));
        let mut text = resource.unwrap_or_default() + " ";
        if let Some(namespace) = namespace {
            text = text + namespace + "/";
        }
        text + ids.name_in(&self.names)
    }

    /// Text of a version, for messages. Slow.
    pub(crate) fn version_text(&self, id: u32) -> String {
        self.versions.value(id).cloned().unwrap_or_default()
    }

    /// The next member of the archive; its number.
    pub(crate) fn add_member(&mut self, place: MemberPlace) -> Result<u32> {
        let number = u32::try_from(self.members.len()).map_err(|_| ArchiveError::IndexFull {
            what: "gzip members",
            allowed: u64::from(u32::MAX),
        })?;
        self.members.push(place);
        Ok(number)
    }

    /// The next entry of the archive. Of entries with the same key and version the last one stays.
    pub(crate) fn add_row(&mut self, row: Row) -> Result<()> {
        if self.rows.len() >= u32::MAX as usize {
            return Err(ArchiveError::IndexFull {
                what: "entries",
                allowed: u64::from(u32::MAX),
            });
        }
        self.rows.push(row);
        Ok(())
    }

    /// The finished index of an archive of this length.
    pub(crate) fn finish(self, archive_len: u64) -> Index {
        let Self {
            resources,
            namespaces,
            versions,
            names,
            last_name: _,
            members,
            mut rows,
        } = self;
        let mut used_resources = vec![false; resources.ids.len()];
        let mut used_namespaces = vec![false; namespaces.ids.len()];
        let mut used_versions = vec![false; versions.ids.len()];
        for row in &rows {
            used_resources[row.ids.resource as usize] = true;
            used_versions[row.version as usize] = true;
            if let Some(at) = row.ids.namespace.checked_sub(1) {
                used_namespaces[at as usize] = true;
            }
        }
        let (resources, new_resource) = resources.into_sorted(&used_resources);
        let (namespaces, new_namespace) = namespaces.into_sorted(&used_namespaces);
        let (versions, new_version) = versions.into_sorted(&used_versions);
        for row in &mut rows {
            row.ids.resource = new_resource[row.ids.resource as usize];
            row.version = new_version[row.version as usize];
            if let Some(at) = row.ids.namespace.checked_sub(1) {
                row.ids.namespace = new_namespace[at as usize] + 1;
            }
        }
        rows.sort_unstable_by(|a, b| {
            (
                a.ids.resource,
                a.ids.namespace,
                a.ids.name_in(&names),
                a.version,
            )
                .cmp(&(
                    b.ids.resource,
                    b.ids.namespace,
                    b.ids.name_in(&names),
                    b.version,
                ))
                .then_with(|| (a.member, a.body_offset).cmp(&(b.member, b.body_offset)))
        });
        keep_last(&mut rows, &names);
        rows.shrink_to_fit();
        Index(Arc::new(Tables::new(
            resources,
            namespaces,
            versions,
            members,
            rows,
            names,
            archive_len,
        )))
    }
}

/// Of equal keys and versions only the last in archive order stays, and of the versions of one object only
/// the one written last as preferred remains so: it is what the unversioned path holds.
fn keep_last(rows: &mut Vec<Row>, names: &str) {
    let same_object = |a: &Row, b: &Row| {
        (a.ids.resource, a.ids.namespace) == (b.ids.resource, b.ids.namespace)
            && a.ids.name_in(names) == b.ids.name_in(names)
    };
    // `dedup_by` keeps the first of a run and hands over (later, earlier).
    rows.dedup_by(|later, earlier| {
        let equal = later.version == earlier.version && same_object(later, earlier);
        if equal {
            *earlier = *later;
        }
        equal
    });
    for object in rows.chunk_by_mut(same_object) {
        let last = object
            .iter()
            .filter(|row| row.preferred)
            .map(|row| (row.member, row.body_offset))
            .max();
        for row in object {
            row.preferred = row.preferred && Some((row.member, row.body_offset)) == last;
        }
    }
}

impl Tables {
    /// From rows that are sorted and unique, completing what is derived.
    pub(super) fn new(
        resources: Vec<GroupResource>,
        namespaces: Vec<String>,
        versions: Vec<String>,
        members: Vec<MemberPlace>,
        rows: Vec<Row>,
        names: String,
        archive_len: u64,
    ) -> Self {
        let mut counts: HashMap<(u32, u32), (u64, u64)> = HashMap::new();
        let mut object_count = 0;
        let mut previous = None;
        for row in &rows {
            let key = (row.ids.resource, row.ids.namespace, row.ids.name_in(&names));
            if previous != Some(key) {
                object_count += 1;
                previous = Some(key);
            }
            let (count, preferred) = counts.entry((row.ids.resource, row.version)).or_default();
            *count += 1;
            *preferred += u64::from(row.preferred);
        }
        let mut versions_of = vec![Vec::new(); resources.len()];
        for ((resource, version), (count, preferred)) in counts {
            versions_of[resource as usize].push((version, count, preferred));
        }
        Self {
            resources,
            namespaces,
            versions,
            members,
            rows,
            names,
            versions_of,
            archive_len,
            object_count,
        }
    }
}
