//! Objects that a damaged archive does not give any more: each is in the plan, blocked, with its reason.

use salvor_api::filter::{Choice, NON_RESTORABLE};
use salvor_api::resource::{GroupVersion, ObjectKey};
use salvor_cluster::Discovery;

use super::fold::{Fold, Subject};
use crate::damage::LostObject;
use crate::restore::plan::{Action, Destination};
use crate::restore::selection::Selection;
use crate::restore::target::key_hash;

impl Fold {
    /// Adds the lost objects that the restore would have looked at. Their labels are not known, so a label
    /// filter leaves none of them out.
    pub(super) fn add_lost(
        &mut self,
        lost: &[LostObject],
        selection: &Selection,
        discovery: &Discovery,
    ) {
        for object in lost {
            let source = resolved(object, discovery);
            let full = source.resource.to_string();
            if NON_RESTORABLE.contains(&full.as_str()) {
                continue;
            }
            let mut names = vec![full, source.resource.resource.clone()];
            if let Some(served) = discovery.find(&source.resource) {
                names.extend(served.names());
            }
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let is_meant = match selection.choose(&source, &names) {
                Choice::Take => true,
                Choice::RelatedOnly => self.related.contains(&key_hash(&source)),
                Choice::Leave => false,
            };
            if !is_meant {
                self.leave(&source.resource);
                continue;
            }
            let to = Destination {
                resource: source.resource.clone(),
                group_version: GroupVersion::new(source.resource.group.clone(), &object.version),
            };
            let subject = Subject {
                source: &source,
                version: &object.version,
                to: &to,
                at: usize::MAX,
            };
            let reason = format!("it is lost: {}", object.reason);
            self.push(&subject, Action::Blocked, Some(&reason), None, None);
        }
    }
}

/// The key, with the resource that the target has for its kind where only the kind is known.
fn resolved(object: &LostObject, discovery: &Discovery) -> ObjectKey {
    let mut key = object.key.clone();
    if let Some(kind) = &object.kind {
        let group_version = GroupVersion::new(key.resource.group.clone(), &object.version);
        if let Some(served) = discovery.find_kind(&group_version, kind) {
            key.resource = served.group_resource();
        }
    }
    key
}
