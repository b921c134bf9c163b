//! An index that lacks some entries of another one.

use std::sync::Arc;

use salvor_api::resource::compare_versions;

use super::{Entry, Index, Row, Tables};

impl Index {
    /// The index without some entries. Where an object loses its preferred version, the first of the others
    /// by Kubernetes' order of versions takes its place. Resources and namespaces stay named even when
    /// nothing of them is left.
    pub(crate) fn without(&self, is_lost: impl Fn(&Entry<'_>) -> bool) -> Self {
        let tables = &self.0;
        let mut rows: Vec<Row> = Vec::new();
        let same_object = |a: &Row, b: &Row| tables.sort_key(a) == tables.sort_key(b);
        for object in tables.rows.chunk_by(same_object) {
            let start = rows.len();
            let kept = object.iter().filter(|row| !is_lost(&self.entry(row)));
            rows.extend(kept.copied());
            let left = &mut rows[start..];
            let loses = |rows: &[Row]| !rows.iter().any(|row| row.preferred);
            if !loses(object) && loses(left) {
                let version = |row: &Row| tables.versions[row.version as usize].as_str();
                let first = left
                    .iter_mut()
                    .min_by(|a, b| compare_versions(version(a), version(b)));
                if let Some(first) = first {
                    first.preferred = true;
                }
            }
        }
        Self(Arc::new(Tables::new(
            tables.resources.clone(),
            tables.namespaces.clone(),
            tables.versions.clone(),
            tables.members.clone(),
            rows,
            tables.names.clone(),
            tables.archive_len,
        )))
    }
}
