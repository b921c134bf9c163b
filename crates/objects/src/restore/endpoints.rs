//! Endpoints that a controller keeps: those of a service with a selector.
//!
//! Their controller makes them from the pods that the service selects, and writes them at its own time. What a
//! backup holds of them is a moment of another time: a difference is no conflict, and a restore leaves what is
//! there alone. Endpoints of a service without a selector were written by people, and count as anything else.

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::archive::Archive;
use serde_json::Value;

use super::body;
use super::planner::parse;

/// Label by which newer controllers mark what they keep.
const MANAGER: &str = "endpoints.kubernetes.io/managed-by";

/// Why such endpoints are left as they are.
pub(crate) const KEPT: &str = "its controller makes it from the service and the pods";

/// True for endpoints of the backup that a controller keeps. A service that cannot be read says nothing.
pub(crate) fn are_kept(archive: &Archive, source: &ObjectKey, object: &Value) -> bool {
    if !source.resource.group.is_empty() || source.resource.resource != "endpoints" {
        return false;
    }
    if body::labels(object).contains_key(MANAGER) {
        return true;
    }
    let service = ObjectKey {
        resource: GroupResource::new("services", ""),
        ..source.clone()
    };
    let service = archive.index().get(&service, None);
    let service = service.and_then(|entry| archive.get(&entry).ok());
    service.is_some_and(|bytes| has_selector(&parse(&bytes)))
}

fn has_selector(service: &Value) -> bool {
    let selector = body::at(service, &["spec", "selector"]).and_then(Value::as_object);
    selector.is_some_and(|labels| !labels.is_empty())
}
