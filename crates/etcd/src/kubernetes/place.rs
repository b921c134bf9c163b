//! Which object a key and its value are.

use super::path::Path;
use super::stored::{Identity, Stored};
use super::table::table;

/// What API servers keep for themselves: no client sees it as an object.
const INTERNAL: [&str; 3] = ["masterleases", "peerserverleases", "ranges"];

/// An object, by resource, namespace and name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// `apps`; empty for the core group, and where it cannot be known.
    pub group: String,
    /// `deployments`.
    pub resource: String,
    /// Empty for an object without.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `apps/v1`; empty when the value does not say.
    pub api_version: String,
    /// `Deployment`; empty when the value does not say.
    pub kind: String,
}

impl Place {
    /// Reads a key and what its value says; `None` where no object is.
    #[must_use]
    pub fn of(key: &[u8], stored: &Stored<'_>) -> Option<Self> {
        let path = Path::of(key)?;
        if INTERNAL.contains(&path.resource.as_str()) {
            return None;
        }
        Some(match stored.identity() {
            Some(identity) if !identity.name.is_empty() => Self::said(path, identity),
            // An encrypted value says nothing; two parts are a namespace and a name as a rule.
            _ => Self::guessed(path),
        })
    }

    fn said(path: Path, identity: Identity) -> Self {
        let group = identity.group().to_owned();
        let known = table().kind(&group, &identity.kind);
        Self {
            group,
            resource: known.map_or(path.resource, |kind| kind.plural.clone()),
            namespace: identity.namespace,
            name: identity.name,
            api_version: identity.api_version,
            kind: identity.kind,
        }
    }

    /// As good as a path allows.
    #[must_use]
    pub fn guessed(path: Path) -> Self {
        let mut rest = path.rest;
        let name = rest.pop().unwrap_or_default();
        Self {
            group: path.group,
            resource: path.resource,
            namespace: rest.pop().unwrap_or_default(),
            name,
            ..Self::default()
        }
    }

    /// `deployments.apps`, `pods`.
    #[must_use]
    pub fn collection(&self) -> String {
        match self.group.as_str() {
            "" => self.resource.clone(),
            group => format!("{}.{group}", self.resource),
        }
    }

    /// `v1` of `apps/v1`; empty when it is not known.
    #[must_use]
    pub fn version(&self) -> &str {
        match self.api_version.rsplit_once('/') {
            Some((_, version)) => version,
            None => &self.api_version,
        }
    }

    /// Whether a user who wrote `kind` means it: as kubectl takes kinds.
    #[must_use]
    pub fn is_a(&self, kind: &str) -> bool {
        let wanted = kind.to_lowercase();
        let (name, group) = wanted.split_once('.').unwrap_or((&wanted, ""));
        let own = [self.resource.clone(), self.kind.to_lowercase()];
        let custom = own.iter().any(|own| own == name) && (group.is_empty() || group == self.group);
        if self.kind.is_empty() {
            let mut known = table().called(&wanted);
            return custom || known.any(|known| known.plural == self.resource);
        }
        let built_in = table().kind(&self.group, &self.kind);
        custom || built_in.is_some_and(|known| known.is_called(&wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_by_what_they_say_before_what_their_path_says() {
        let ingress = br#"{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","metadata":{"name":"web","namespace":"shop"}}"#;
        let place = Place::of(b"/registry/ingress/shop/web", &Stored::of(ingress));
        let place = place.expect("an object");
        assert_eq!(place.collection(), "ingresses.networking.k8s.io");
        assert_eq!(place.version(), "v1");
        for name in ["ing", "ingress", "Ingresses", "ingresses.networking.k8s.io"] {
            assert!(place.is_a(name), "{name}");
        }
        assert!(!place.is_a("ingresses.example.com") && !place.is_a("pods"));

        let secret = Stored::of(b"k8s:enc:aescbc:v1:k:x");
        let place = Place::of(b"/registry/secrets/shop/db", &secret).expect("an object");
        assert_eq!(
            (place.namespace.as_str(), place.name.as_str()),
            ("shop", "db")
        );
        assert!(place.is_a("secrets") && place.is_a("Secret") && !place.is_a("pods"));
        for internal in [&b"/registry/masterleases/10.0.0.1"[..], b"compact_rev_key"] {
            assert_eq!(Place::of(internal, &secret), None);
        }
    }
}
