//! Which objects were already taken, in 16 bytes each.
//!
//! Objects come twice from lists that were taken up anew, from several label selectors, and as related
//! items. A set of their names would be as large as the index; keyed 128-bit hashes take 9 MB for 300,000
//! and collide with a chance of about 1e-28.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};

use salvor_api::resource::ObjectKey;

/// A set of objects in one version each.
#[derive(Debug, Default)]
pub(crate) struct Once {
    seen: HashSet<u128>,
    keys: [RandomState; 2],
}

impl Once {
    /// Adds an object; true when it was not there yet.
    pub(crate) fn insert(&mut self, key: &ObjectKey, version: &str) -> bool {
        let hash = self.hash(key, version);
        self.seen.insert(hash)
    }

    /// True when the object was added.
    pub(crate) fn contains(&self, key: &ObjectKey, version: &str) -> bool {
        self.seen.contains(&self.hash(key, version))
    }

    fn hash(&self, key: &ObjectKey, version: &str) -> u128 {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            key.hash(&mut hasher);
            version.hash(&mut hasher);
            u128::from(hasher.finish())
        };
        half(&self.keys[0]) << 64 | half(&self.keys[1])
    }
}

#[cfg(test)]
mod tests {
    use salvor_api::resource::GroupResource;

    use super::*;

    #[test]
    fn an_object_is_new_once_per_version_and_scope() {
        let mut once = Once::default();
        let pods = GroupResource::new("pods", "");
        let a = ObjectKey::namespaced(pods.clone(), "x", "a");
        assert!(once.insert(&a, "v1"));
        assert!(!once.insert(&a, "v1"));
        assert!(once.contains(&a, "v1"));
        assert!(once.insert(&a, "v2"));
        assert!(once.insert(&ObjectKey::cluster(pods.clone(), "a"), "v1"));
        assert!(once.insert(&ObjectKey::namespaced(pods, "xa", ""), "v1"));
    }
}
