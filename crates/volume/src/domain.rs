//! Trust domains: who shares a repository.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Folder of a location with its repositories, below its prefix.
pub const REPOSITORIES: &str = "plugins/salvor/repository";

/// A trust domain: whoever writes to its repository can read all of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Domain(String);

impl Domain {
    /// The domain of a namespace's volumes.
    #[must_use]
    pub fn of_namespace(namespace: &str) -> Self {
        Self(format!("ns-{namespace}"))
    }

    /// A domain as a record names it; `None` when it is no single folder.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let whole = !name.is_empty() && !name.starts_with('.') && name.chars().all(good);
        whole.then(|| Self(name.to_owned()))
    }

    /// The domain whose repository is in a folder of a location, as [`Domain::folder`] names it.
    #[must_use]
    pub fn of_folder(folder: &str) -> Option<Self> {
        let name = folder.strip_prefix(REPOSITORIES)?.strip_prefix('/')?;
        Self::named(name)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Folder of its repository, below the location's prefix.
    #[must_use]
    pub fn folder(&self) -> String {
        format!("{REPOSITORIES}/{}", self.0)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_is_one_folder() {
        let domain = Domain::of_namespace("shop");
        assert_eq!(domain.folder(), "plugins/salvor/repository/ns-shop");
        assert_eq!(Domain::of_folder(&domain.folder()), Some(domain.clone()));
        assert_eq!(Domain::of_folder("s3:x/restic/shop"), None);
        assert_eq!(Domain::named("ns-shop"), Some(domain));
        for hostile in ["", ".", "..", "a/b", "../a", "a\n"] {
            assert_eq!(Domain::named(hostile), None, "{hostile:?}");
            let folder = format!("{REPOSITORIES}/{hostile}");
            assert_eq!(Domain::of_folder(&folder), None, "{folder:?}");
        }
    }
}
