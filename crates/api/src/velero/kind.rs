//! What every kind has: the names under which an API server serves it, and metadata.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::meta::ObjectMeta;
use crate::resource::{GroupResource, GroupVersion, GroupVersionKind};

/// A kind of Velero's group. All of them live in a namespace.
///
/// Code that works on any kind asks the type: `T::PLURAL`, `T::group_resource()`.
pub trait Kind:
    Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// API group: `velero.io`.
    const GROUP: &'static str;
    /// Version within the group: `v1` or `v2alpha1`.
    const VERSION: &'static str;
    /// `GROUP/VERSION`, as objects carry it.
    const API_VERSION: &'static str;
    /// Name of the kind: `Backup`.
    const KIND: &'static str;
    /// Name in paths: `backups`.
    const PLURAL: &'static str;
    /// Lower-case singular: `backup`.
    const SINGULAR: &'static str;
    /// Names for people in a hurry: `bak`. May be empty.
    const SHORT_NAMES: &'static [&'static str];
    /// True when objects live in a namespace.
    const NAMESPACED: bool = true;

    /// Name, labels, annotations, owners.
    fn metadata(&self) -> &ObjectMeta;

    /// The same, to change.
    fn metadata_mut(&mut self) -> &mut ObjectMeta;

    /// An empty object of this name with kind and version set.
    fn named(namespace: &str, name: &str) -> Self;

    /// `backups.velero.io`.
    #[must_use]
    fn group_resource() -> GroupResource {
        GroupResource::new(Self::PLURAL, Self::GROUP)
    }

    /// Group and version.
    #[must_use]
    fn group_version() -> GroupVersion {
        GroupVersion::new(Self::GROUP, Self::VERSION)
    }

    /// Group, version and kind.
    #[must_use]
    fn group_version_kind() -> GroupVersionKind {
        GroupVersionKind {
            group_version: Self::group_version(),
            kind: Self::KIND.to_owned(),
        }
    }
}

/// The JSON merge patch (RFC 7386) that leads from `before` to `after`; `None` when nothing differs.
///
/// Writers of objects send this instead of the whole: fields that this version does not know are in
/// neither form, hence not in the patch, and stay as they are in the cluster. Within lists that holds for
/// no field, since a merge patch replaces a list as a whole.
#[must_use]
pub fn merge_patch<T: Serialize>(before: &T, after: &T) -> Option<Value> {
    let json = |value: &T| serde_json::to_value(value).unwrap_or_default();
    difference(&json(before), &json(after))
}

fn difference(before: &Value, after: &Value) -> Option<Value> {
    if before == after {
        return None;
    }
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return Some(after.clone());
    };
    let removed = old
        .keys()
        .filter(|key| !new.contains_key(*key))
        .map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter_map(|(key, value)| {
        let change = match old.get(key) {
            Some(previous) => difference(previous, value)?,
            None => value.clone(),
        };
        Some((key.clone(), change))
    });
    Some(Value::Object(removed.chain(changed).collect::<Map<_, _>>()))
}

/// Declares a kind: the object with metadata, spec and status, and its [`Kind`].
macro_rules! kind {
    (
        $(#[$doc:meta])*
        $type:ident, $group_version:ident, $plural:literal, $singular:literal, [$($short:literal),*],
        $spec:ident, $status:ident
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, ::serde::Serialize, ::serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $type {
            /// Name of the kind, always the same.
            pub kind: String,
            /// Group and version, always the same.
            pub api_version: String,
            /// Name, labels, annotations.
            pub metadata: $crate::meta::ObjectMeta,
            /// What was asked for.
            #[serde(deserialize_with = "crate::meta::null_is_default")]
            pub spec: $spec,
            /// What came of it.
            #[serde(deserialize_with = "crate::meta::null_is_default")]
            pub status: $status,
        }

        impl $type {
            /// An empty object of this name with kind and version set.
            #[must_use]
            pub fn named(namespace: &str, name: &str) -> Self {
                Self {
                    kind: stringify!($type).to_owned(),
                    api_version: <Self as $crate::velero::Kind>::API_VERSION.to_owned(),
                    metadata: $crate::meta::ObjectMeta {
                        name: name.to_owned(),
                        namespace: namespace.to_owned(),
                        ..Default::default()
                    },
                    ..Self::default()
                }
            }
        }

        impl $crate::velero::Kind for $type {
            const GROUP: &'static str = $crate::labels::VELERO_GROUP;
            const VERSION: &'static str = stringify!($group_version);
            const API_VERSION: &'static str = concat!("velero.io/", stringify!($group_version));
            const KIND: &'static str = stringify!($type);
            const PLURAL: &'static str = $plural;
            const SINGULAR: &'static str = $singular;
            const SHORT_NAMES: &'static [&'static str] = &[$($short),*];

            fn metadata(&self) -> &$crate::meta::ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut $crate::meta::ObjectMeta {
                &mut self.metadata
            }

            fn named(namespace: &str, name: &str) -> Self {
                Self::named(namespace, name)
            }
        }
    };
}

pub(crate) use kind;
