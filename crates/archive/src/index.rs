//! The index of an archive: for every object its names, its place in the archive and its digest.
//!
//! An index answers what an archive holds without touching it, and lets one object be read with one range
//! read. It holds no bodies: 300,000 objects take about 25 MiB. Clones share it.

mod build;
mod decode;
mod encode;
mod without;

pub(crate) use build::{IndexBuilder, KeyIds};

use std::cmp::Ordering;
use std::sync::Arc;

use salvor_api::resource::{GroupResource, ObjectKey, compare_versions};

use crate::error::Result;
use crate::limits::Limits;
use crate::segment::BodyDigest;

/// Version of the file format that this release writes.
pub const INDEX_FORMAT_VERSION: u32 = 1;

/// All entries of an archive, sorted by resource, namespace (cluster-scoped first), name and version.
#[derive(Clone)]
pub struct Index(Arc<Tables>);

pub(crate) struct Tables {
    /// Sorted, as the next two.
    resources: Vec<GroupResource>,
    namespaces: Vec<String>,
    versions: Vec<String>,
    /// In the order of the archive.
    members: Vec<MemberPlace>,
    rows: Vec<Row>,
    /// All names, one after the other; rows say where theirs is.
    names: String,
    /// Per resource, its versions as `(version, rows, preferred rows)`.
    versions_of: Vec<Vec<(u32, u64, u64)>>,
    archive_len: u64,
    object_count: u64,
}

/// Where a gzip member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberPlace {
    /// Bytes from the beginning of the archive.
    pub offset: u64,
    /// Compressed bytes.
    pub compressed_len: u64,
    /// Bytes it decompresses to.
    pub tar_len: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) ids: KeyIds,
    pub(crate) version: u32,
    pub(crate) member: u32,
    pub(crate) body_offset: u32,
    pub(crate) body_len: u32,
    pub(crate) digest: BodyDigest,
    pub(crate) preferred: bool,
}

/// A version in which a resource was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceVersion<'a> {
    /// For example `v1beta1`.
    pub version: &'a str,
    /// True when the source cluster preferred it (for at least one object).
    pub preferred: bool,
    /// Objects stored in it.
    pub count: u64,
}

impl Index {
    /// Reads a `salvor-index.zst`.
    ///
    /// # Errors
    /// [`crate::ArchiveError::IndexNewer`] for a format of the future, [`crate::ArchiveError::Index`] for
    /// anything damaged, inconsistent, or beyond `limits`.
    pub fn decode(bytes: &[u8], limits: Limits) -> Result<Self> {
        decode::decode(bytes, &limits)
    }

    /// Writes a `salvor-index.zst`; equal indexes give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode::encode(&self.0)
    }

    /// Resources that occur, sorted.
    #[must_use]
    pub fn resources(&self) -> &[GroupResource] {
        &self.0.resources
    }

    /// Namespaces in which objects were stored, sorted. Namespaces that are empty occur only as objects
    /// of the resource `namespaces`.
    #[must_use]
    pub fn namespaces(&self) -> &[String] {
        &self.0.namespaces
    }

    /// The versions in which a resource was stored, the most preferred first by Kubernetes' order of
    /// versions. Empty when the resource does not occur.
    #[must_use]
    pub fn versions(&self, resource: &GroupResource) -> Vec<ResourceVersion<'_>> {
        let Ok(id) = self.0.resources.binary_search(resource) else {
            return Vec::new();
        };
        let mut versions: Vec<_> = self.0.versions_of[id]
            .iter()
            .map(|(version, count, preferred)| ResourceVersion {
                version: &self.0.versions[*version as usize],
                preferred: *preferred > 0,
                count: *count,
            })
            .collect();
        versions.sort_by(|a, b| compare_versions(a.version, b.version));
        versions
    }

    /// One object in the given version, or else in its preferred one. When an object was not stored in a
    /// preferred version, the first by Kubernetes' order of versions.
    #[must_use]
    pub fn get(&self, key: &ObjectKey, version: Option<&str>) -> Option<Entry<'_>> {
        let resource = self.0.resources.binary_search(&key.resource).ok()? as u32;
        let namespace = self.namespace_id(key.namespace.as_deref())?;
        let wanted = (resource, namespace, key.name.as_str());
        let rows = self.rows_where(|row| self.0.sort_key(row).cmp(&wanted));
        let mut entries = rows.iter().map(|row| self.entry(row));
        match version {
            Some(version) => entries.find(|entry| entry.version() == version),
            None => entries.min_by(|a, b| {
                (b.preferred().cmp(&a.preferred()))
                    .then_with(|| compare_versions(a.version(), b.version()))
            }),
        }
    }

    /// All entries in the index's order. An object that was stored in several versions comes once for
    /// each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Entry<'_>> + DoubleEndedIterator {
        self.0.rows.iter().map(|row| self.entry(row))
    }

    /// The entries of a resource, of one namespace or of all (including cluster-scoped ones), in the
    /// index's order.
    pub fn range(
        &self,
        resource: &GroupResource,
        namespace: Option<&str>,
    ) -> impl ExactSizeIterator<Item = Entry<'_>> + DoubleEndedIterator {
        let rows = self.range_rows(resource, namespace).unwrap_or_default();
        rows.iter().map(|row| self.entry(row))
    }

    /// All entries in the order in which they lie in the archive, for reading it front to back.
    pub fn in_archive_order(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        // The builder and the decoder refuse more rows than a u32 counts.
        let mut order: Vec<u32> = (0u32..).take(self.0.rows.len()).collect();
        order.sort_unstable_by_key(|at| {
            let row = &self.0.rows[*at as usize];
            (row.member, row.body_offset, *at)
        });
        order
            .into_iter()
            .map(|at| self.entry(&self.0.rows[at as usize]))
    }

    /// Number of entries: an object counts once for each version that it was stored in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.rows.len()
    }

    /// True when there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.rows.is_empty()
    }

    /// Number of objects, each counted once.
    #[must_use]
    pub fn object_count(&self) -> u64 {
        self.0.object_count
    }

    /// Length of the archive file that this is the index of, in bytes.
    #[must_use]
    pub fn archive_len(&self) -> u64 {
        self.0.archive_len
    }

    fn entry<'a>(&'a self, row: &'a Row) -> Entry<'a> {
        Entry {
            tables: &self.0,
            row,
        }
    }

    fn namespace_id(&self, namespace: Option<&str>) -> Option<u32> {
        match namespace {
            None => Some(0),
            Some(namespace) => {
                let found = self
                    .0
                    .namespaces
                    .binary_search_by(|n| n.as_str().cmp(namespace));
                found.ok().map(|at| at as u32 + 1)
            }
        }
    }

    fn range_rows(&self, resource: &GroupResource, namespace: Option<&str>) -> Option<&[Row]> {
        let resource = self.0.resources.binary_search(resource).ok()? as u32;
        Some(match namespace {
            None => self.rows_where(|row| row.ids.resource.cmp(&resource)),
            Some(_) => {
                let wanted = (resource, self.namespace_id(namespace)?);
                self.rows_where(|row| (row.ids.resource, row.ids.namespace).cmp(&wanted))
            }
        })
    }

    /// The run of rows for which `compare` says `Equal`.
    fn rows_where(&self, compare: impl Fn(&Row) -> Ordering) -> &[Row] {
        let start = self.0.rows.partition_point(|row| compare(row).is_lt());
        let rest = &self.0.rows[start..];
        &rest[..rest.partition_point(|row| compare(row).is_eq())]
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index")
            .field("entries", &self.len())
            .field("objects", &self.object_count())
            .field("members", &self.0.members.len())
            .finish_non_exhaustive()
    }
}

impl Tables {
    fn name(&self, row: &Row) -> &str {
        row.ids.name_in(&self.names)
    }

    fn sort_key(&self, row: &Row) -> (u32, u32, &str) {
        (row.ids.resource, row.ids.namespace, self.name(row))
    }
}

/// One object in one version. Cheap to copy; borrows the index.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    tables: &'a Tables,
    row: &'a Row,
}

impl<'a> Entry<'a> {
    /// The object's key, as a copy.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            resource: self.resource().clone(),
            namespace: self.namespace().map(str::to_owned),
            name: self.name().to_owned(),
        }
    }

    /// What it is.
    #[must_use]
    pub fn resource(&self) -> &'a GroupResource {
        &self.tables.resources[self.row.ids.resource as usize]
    }

    /// Where it is; `None` when cluster-scoped.
    #[must_use]
    pub fn namespace(&self) -> Option<&'a str> {
        let at = (self.row.ids.namespace as usize).checked_sub(1)?;
        Some(&self.tables.namespaces[at])
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.tables.name(self.row)
    }

    /// The API version it was stored in.
    #[must_use]
    pub fn version(&self) -> &'a str {
        &self.tables.versions[self.row.version as usize]
    }

    /// True when that was the cluster's preferred version of the resource.
    #[must_use]
    pub fn preferred(&self) -> bool {
        self.row.preferred
    }

    /// The gzip member that holds it.
    #[must_use]
    pub fn member(&self) -> MemberPlace {
        self.tables.members[self.row.member as usize]
    }

    /// Where the body begins in the decompressed member, in bytes.
    #[must_use]
    pub fn body_offset(&self) -> u64 {
        u64::from(self.row.body_offset)
    }

    /// Length of the body in bytes.
    #[must_use]
    pub fn body_len(&self) -> u64 {
        u64::from(self.row.body_len)
    }

    /// First 16 bytes of the body's SHA-256.
    #[must_use]
    pub fn digest(&self) -> BodyDigest {
        self.row.digest
    }
}

impl std::fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {}{} at {}+{}, {} bytes",
            self.key(),
            self.version(),
            if self.preferred() { " preferred" } else { "" },
            self.member().offset,
            self.row.body_offset,
            self.row.body_len
        )
    }
}

#[cfg(test)]
mod tests;
