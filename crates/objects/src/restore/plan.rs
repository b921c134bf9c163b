//! What a restore will do, object by object, as a value.
//!
//! A plan holds names, digests, positions and reasons, never bodies: about 150 bytes for an object. It is
//! printed for a dry run, stored before the first change, and read back when a restore is resumed.

mod store;
mod text;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;

use salvor_api::resource::{GroupResource, GroupVersion, ObjectKey};
use salvor_api::velero::RestoreStatusSpec;
use serde::{Deserialize, Serialize};

use super::existing::ExistingPolicy;
use super::fits::Finding;
use super::normalise::Digest;
use super::order::{self, Stage};
use super::rules::Rules;
use super::volume_data::VolumeData;

pub use store::PlanFormatError;
pub use text::PlanForm;

/// Version of the stored form that this release writes and reads.
pub const PLAN_VERSION: u32 = 2;

/// What happens to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The target does not have it: it is created.
    Create,
    /// The target has it, it differs: it is patched.
    Update,
    /// The target has it, it differs: it is deleted and created.
    Recreate,
    /// The target has it, nothing differs, nothing is done.
    Unchanged,
    /// The target has it, it differs, and the policy leaves it alone.
    Conflict,
    /// It is not meant to be restored.
    Skip,
    /// It cannot be restored into this target.
    Blocked,
}

impl Action {
    /// All actions.
    pub const ALL: [Action; 7] = [
        Action::Create,
        Action::Update,
        Action::Recreate,
        Action::Unchanged,
        Action::Conflict,
        Action::Skip,
        Action::Blocked,
    ];

    /// True when the target is changed.
    #[must_use]
    pub fn changes(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Recreate)
    }

    /// The word in tables and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Recreate => "recreate",
            Self::Unchanged => "unchanged",
            Self::Conflict => "conflict",
            Self::Skip => "skip",
            Self::Blocked => "blocked",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The cluster that a plan was made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedCluster {
    /// UID of its `kube-system` namespace.
    pub uid: String,
    /// Name for people.
    pub name: String,
    /// What its server runs.
    pub git_version: String,
}

/// Everything of a plan but its objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanHeader {
    /// [`PLAN_VERSION`].
    pub version: u32,
    /// The cluster.
    pub cluster: PlannedCluster,
    /// UID of the cluster that the backup was made of; empty when it is not known.
    pub source_cluster_uid: String,
    /// What happens to objects that exist.
    pub policy: ExistingPolicy,
    /// Whose status is restored.
    pub status: Option<RestoreStatusSpec>,
    /// Whether owner references are written anew at the end.
    pub relink_owners: bool,
    /// What every transformation depends on.
    pub rules: Rules,
    /// What does not fit, or might not.
    pub findings: Vec<Finding>,
    /// Objects that the filters leave out, counted by resource.
    pub not_selected: BTreeMap<GroupResource, u64>,
    /// What becomes of the data of volumes, in the order in which they are filled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<VolumeData>,
}

/// Where objects of a resource go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// The resource in the target.
    pub resource: GroupResource,
    /// Its version there.
    pub group_version: GroupVersion,
}

/// One object of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanEntry {
    pub(crate) resource: Arc<GroupResource>,
    pub(crate) namespace: Option<Arc<str>>,
    pub(crate) name: Box<str>,
    /// Version in the backup; empty for a namespace that is not in it.
    pub(crate) version: Arc<str>,
    pub(crate) to: Arc<Destination>,
    /// What is done.
    pub action: Action,
    /// Why, where that is not obvious.
    pub reason: Option<Arc<str>>,
    /// Digest of what will be sent; `None` when nothing is.
    pub digest: Option<Digest>,
    /// Digest of the normal form of what the target has; `None` when it has nothing.
    pub live: Option<Digest>,
    /// Position in the archive.
    pub(crate) at: u32,
}

impl PlanEntry {
    /// The object's key in the backup.
    #[must_use]
    pub fn source(&self) -> ObjectKey {
        ObjectKey {
            resource: (*self.resource).clone(),
            namespace: self.namespace.as_deref().map(str::to_owned),
            name: self.name.to_string(),
        }
    }

    /// The object's key in the target.
    #[must_use]
    pub fn target(&self, rules: &Rules) -> ObjectKey {
        let moved = ObjectKey {
            resource: self.to.resource.clone(),
            ..self.source()
        };
        rules.target_key(&moved)
    }

    /// The version in which it is sent.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.to
    }

    /// The stage that it belongs to.
    #[must_use]
    pub fn stage(&self) -> Stage {
        order::stage_of(&self.to.resource)
    }

    /// True for a namespace that the backup does not hold and that objects need.
    #[must_use]
    pub fn is_blank_namespace(&self) -> bool {
        self.version.is_empty()
    }
}

/// A restore, planned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RestorePlan {
    /// Everything but the objects.
    pub header: PlanHeader,
    /// The objects, in the order in which they are printed.
    pub entries: Vec<PlanEntry>,
}

impl RestorePlan {
    /// How many objects each action has.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Action, u64> {
        let mut counts: BTreeMap<Action, u64> = BTreeMap::new();
        for entry in &self.entries {
            *counts.entry(entry.action).or_default() += 1;
        }
        counts
    }

    /// True when applying it would change nothing.
    #[must_use]
    pub fn changes_nothing(&self) -> bool {
        !self.entries.iter().any(|entry| entry.action.changes())
    }

    /// True when the target is another cluster than the one that was backed up. `None` when the backup
    /// does not say which cluster it is of.
    #[must_use]
    pub fn is_other_cluster(&self) -> Option<bool> {
        let source = &self.header.source_cluster_uid;
        (!source.is_empty()).then(|| *source != self.header.cluster.uid)
    }

    pub(crate) fn sort(&mut self) {
        self.entries.sort_by_cached_key(|entry| {
            (
                order::sort_key(&entry.to.resource),
                entry.namespace.clone(),
                entry.name.clone(),
            )
        });
    }
}

/// Keeps one copy of each string and destination.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    texts: HashSet<Arc<str>>,
    resources: HashSet<Arc<GroupResource>>,
    destinations: HashSet<Arc<Destination>>,
}

impl Interner {
    pub(crate) fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let fresh: Arc<str> = text.into();
        self.texts.insert(fresh.clone());
        fresh
    }

    pub(crate) fn resource(&mut self, resource: &GroupResource) -> Arc<GroupResource> {
        if let Some(known) = self.resources.get(resource) {
            return known.clone();
        }
        let fresh = Arc::new(resource.clone());
        self.resources.insert(fresh.clone());
        fresh
    }

    pub(crate) fn destination(&mut self, to: &Destination) -> Arc<Destination> {
        if let Some(known) = self.destinations.get(to) {
            return known.clone();
        }
        let fresh = Arc::new(to.clone());
        self.destinations.insert(fresh.clone());
        fresh
    }
}
