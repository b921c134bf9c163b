//! Which objects are taken, and which are looked at by themselves: related ones, and pods with hooks.

use std::collections::BTreeSet;
use std::sync::Arc;

use salvor_api::resource::ObjectKey;
use salvor_api::resource_policy::Verdict;
use salvor_cluster::ApiResource;
use salvor_volume::HOLDER_PREFIX;

use super::{Collector, Origin, is_core};
use crate::backup::item::{Header, labels_of};
use crate::backup::namespaces::LiveNamespace;
use crate::backup::plan::Reach;
use crate::backup::runlog::About;
use crate::hooks;

const OF_HOLDER: &str = "it is about a pod that held a claim for a backup or restore";
const SKIP_LABEL: &str = "it has the label velero.io/exclude-from-backup=true";
const SKIP_TERMINATING: &str = "it is being deleted";

impl Collector {
    /// True for a pod with hooks that can run.
    pub(crate) fn has_hooks(&self, key: &ObjectKey, body: &[u8]) -> bool {
        is_core(key, "pods")
            && self.hooks.may_concern(body)
            && hooks::Pod::read(body)
                .is_some_and(|pod| !pod.has_ended() && !self.hooks.of(&pod).is_empty())
    }

    /// True when a fetched object would be taken.
    pub(crate) fn would_take(&self, key: &ObjectKey, resource: &ApiResource, body: &[u8]) -> bool {
        let origin = Origin::Fetched;
        Header::read(body).is_ok_and(|header| {
            self.why_not(&header, key, body, origin).is_none()
                && self
                    .why_not_by_policy(key, resource, body, origin)
                    .is_none()
        })
    }

    /// The pods with hooks that lists have shown.
    pub(crate) fn hooked(&self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.lock().hooked)
    }

    /// The resource of a related object that may be taken and was not yet.
    pub(crate) fn may_take(&self, key: &ObjectKey) -> Option<Arc<ApiResource>> {
        let line = self.plan.find(&key.resource)?;
        let left = matches!(line.reach, Reach::Left(_));
        let namespace = key.namespace.as_deref();
        let outside = namespace.is_some_and(|n| self.scope.why_not(n).is_some());
        let taken = self.has(key, &line.resource.version);
        (!left && !outside && !taken).then(|| Arc::clone(&line.resource))
    }

    pub(super) fn why_not(
        &self,
        header: &Header<'_>,
        key: &ObjectKey,
        body: &[u8],
        origin: Origin,
    ) -> Option<&'static str> {
        if header.is_excluded_by_label() && origin != Origin::Namespace {
            return Some(SKIP_LABEL);
        }
        // The pod itself has the label, which what is said of it does not inherit.
        if key.resource.resource == "events" && header.name().starts_with(HOLDER_PREFIX) {
            return Some(OF_HOLDER);
        }
        if origin == Origin::Namespace {
            let Some(namespace) = LiveNamespace::read(body) else {
                return Some("its labels or phase cannot be read");
            };
            let selector = (!self.filter.labels.is_everything())
                .then(|| self.filter.labels.matches(&namespace.labels));
            let holds_items = self.lock().namespaces_with_items.contains(&namespace.name);
            if let Some(reason) = self.scope.why_not_object(&namespace, selector, holds_items) {
                return Some(reason);
            }
        }
        if header.is_terminating() {
            return Some(SKIP_TERMINATING);
        }
        self.scope.why_not(key.namespace.as_deref()?)
    }

    /// Why the resource policies leave an object out. With policies, lists are read without selectors, so the
    /// labels that the backup asks for are looked at here.
    pub(super) fn why_not_by_policy(
        &self,
        key: &ObjectKey,
        resource: &ApiResource,
        body: &[u8],
        origin: Origin,
    ) -> Option<&'static str> {
        if self.objects.is_empty() || origin == Origin::Namespace {
            return None;
        }
        let Some(labels) = labels_of(body) else {
            return Some("its labels cannot be read");
        };
        let names = resource.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let namespace = key.namespace.as_deref().unwrap_or_default();
        match self.objects.judge(namespace, &names, &key.name, &labels) {
            Verdict::Take => None,
            Verdict::Leave => Some("the resource policies leave it out"),
            Verdict::NoFilter if origin == Origin::Listed => {
                (!self.filter.labels.matches(&labels)).then_some("its labels are not asked for")
            }
            Verdict::NoFilter => None,
        }
    }

    /// True when every object that a list brings is taken, as far as labels and policies go.
    pub(crate) fn takes_all_of_lists(&self) -> bool {
        self.filter.labels.is_everything() && self.objects.is_empty()
    }

    /// The next objects to fetch: those that were referred to, that no list brings, and that the filters
    /// allow. Each is handed out once.
    pub(crate) fn wanted(&self) -> Vec<(Arc<ApiResource>, ObjectKey)> {
        let keys = std::mem::take(&mut self.lock().wanted);
        let mut fetch = Vec::new();
        for key in keys {
            let Some(line) = self.plan.find(&key.resource) else {
                self.log.info(
                    About::Object(&key),
                    "skipped: the cluster has no such resource",
                );
                continue;
            };
            if self.lock().once.contains(&key, &line.resource.version) {
                continue;
            }
            let scope = key.namespace.as_deref().and_then(|n| self.scope.why_not(n));
            match (line.reach, scope) {
                (Reach::Left(reason), _) | (_, Some(reason)) => self.skip(&key, reason),
                (Reach::Listed, None) if self.takes_all_of_lists() => {}
                (Reach::Namespaces, None) => {}
                (Reach::Listed | Reach::Referred, None) => {
                    fetch.push((Arc::clone(&line.resource), key));
                }
            }
        }
        fetch
    }
}
