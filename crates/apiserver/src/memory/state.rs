//! All objects of a memory store, with the indexes that writes need.
//!
//! The state lives behind one lock. Every change goes through [`State::put`] or [`State::remove`], so
//! that revision, indexes and history cannot disagree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use salvor_api::resource::{GroupResource, ObjectKey};
use serde_json::{Map, Value};

use super::history::{Change, History};
use crate::crd;
use crate::entry::{Entry, metadata_mut};
use crate::options::Options;
use crate::registry::{Registry, Resource};
use crate::rules::service::Allocations;

/// Namespace and name; the namespace is empty for cluster-scoped objects.
pub(crate) type Place = (String, String);

/// All objects and what is derived from them.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    pub(crate) registry: Arc<Registry>,
    built_in: Registry,
    pub(crate) revision: u64,
    objects: BTreeMap<GroupResource, BTreeMap<Place, Arc<Entry>>>,
    keys_by_uid: HashMap<String, ObjectKey>,
    dependents: HashMap<String, BTreeSet<ObjectKey>>,
    pub(crate) history: History,
    pub(crate) allocations: Allocations,
    /// The namespace whose objects are being deleted one after the other.
    pub(crate) emptying: Option<String>,
    random: u64,
}

impl State {
    pub(crate) fn new(options: Options) -> Self {
        let built_in = Registry::built_in(options.all_versions);
        let seed = options.seed.unwrap_or_else(system_seed);
        Self {
            registry: Arc::new(built_in.with([])),
            built_in,
            revision: 1,
            objects: BTreeMap::new(),
            keys_by_uid: HashMap::new(),
            dependents: HashMap::new(),
            history: History::new(options.history_events, options.history_bytes),
            allocations: Allocations::default(),
            emptying: None,
            random: seed,
            options,
        }
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Arc<Entry>> {
        let place = (key.namespace.clone().unwrap_or_default(), key.name.clone());
        self.objects.get(&key.resource)?.get(&place)
    }

    pub(crate) fn of_resource(
        &self,
        resource: &GroupResource,
    ) -> Option<&BTreeMap<Place, Arc<Entry>>> {
        self.objects.get(resource)
    }

    /// The objects of a resource, in one namespace or all.
    pub(crate) fn entries<'a>(
        &'a self,
        resource: &GroupResource,
        namespace: Option<&'a str>,
    ) -> Box<dyn Iterator<Item = &'a Arc<Entry>> + 'a> {
        let Some(objects) = self.objects.get(resource) else {
            return Box::new(std::iter::empty());
        };
        match namespace {
            None => Box::new(objects.values()),
            Some(namespace) => Box::new(
                objects
                    .range((namespace.to_owned(), String::new())..)
                    .take_while(move |((ns, _), _)| ns == namespace)
                    .map(|(_, entry)| entry),
            ),
        }
    }

    pub(crate) fn object_count(&self) -> usize {
        self.objects.values().map(BTreeMap::len).sum()
    }

    pub(crate) fn key_of_uid(&self, uid: &str) -> Option<&ObjectKey> {
        self.keys_by_uid.get(uid)
    }

    /// Objects that name `uid` as an owner.
    pub(crate) fn dependents(&self, uid: &str) -> Vec<ObjectKey> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .cloned()
            .collect()
    }

    /// Stores an object under the next revision.
    pub(crate) fn put(&mut self, key: &ObjectKey, mut object: Map<String, Value>) -> Arc<Entry> {
        self.revision += 1;
        metadata_mut(&mut object)
            .insert("resourceVersion".into(), self.revision.to_string().into());
        let entry = Arc::new(Entry::new(object));
        let place = (entry.meta.namespace.clone(), entry.meta.name.clone());
        let objects = self.objects.entry(key.resource.clone()).or_default();
        let before = objects.insert(place, Arc::clone(&entry));
        if let Some(before) = &before {
            self.unindex(key, before);
        }
        self.index(key, &entry);
        self.history.push(Change {
            revision: self.revision,
            resource: key.resource.clone(),
            before,
            entry: Arc::clone(&entry),
            deleted: false,
        });
        self.after_change(key);
        entry
    }

    /// Removes an object for good; `None` when there is none.
    pub(crate) fn remove(&mut self, key: &ObjectKey) -> Option<Arc<Entry>> {
        let place = (key.namespace.clone().unwrap_or_default(), key.name.clone());
        let before = self.objects.get_mut(&key.resource)?.remove(&place)?;
        self.unindex(key, &before);
        self.revision += 1;
        let mut last = before.object();
        metadata_mut(&mut last).insert("resourceVersion".into(), self.revision.to_string().into());
        self.history.push(Change {
            revision: self.revision,
            resource: key.resource.clone(),
            before: Some(Arc::clone(&before)),
            entry: Arc::new(Entry::new(last)),
            deleted: true,
        });
        self.after_change(key);
        Some(before)
    }

    fn index(&mut self, key: &ObjectKey, entry: &Entry) {
        self.keys_by_uid.insert(entry.meta.uid.clone(), key.clone());
        for owner in &entry.meta.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(key.clone());
        }
        if is_service(key) {
            self.allocations.add(key, &entry.object());
        }
    }

    fn unindex(&mut self, key: &ObjectKey, entry: &Entry) {
        self.keys_by_uid.remove(&entry.meta.uid);
        for owner in &entry.meta.owners {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(key);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
        if is_service(key) {
            self.allocations.release(&entry.object());
        }
    }

    fn after_change(&mut self, key: &ObjectKey) {
        if key.resource.group == crd::GROUP && key.resource.resource == crd::PLURAL {
            let definitions: Vec<Resource> = self
                .entries(&key.resource, None)
                .filter_map(|entry| crd::resource(entry))
                .collect();
            self.registry = Arc::new(self.built_in.with(definitions));
        }
    }

    fn next_random(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014): any seed gives a full-period sequence.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A random (version 4) UUID.
    pub(crate) fn new_uid(&mut self) -> String {
        let high = (self.next_random() & !0xf000) | 0x4000;
        let low = (self.next_random() >> 2) | (1 << 63);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// `prefix` and five random characters, cut to the 63 characters that the real server keeps to.
    pub(crate) fn new_name(&mut self, prefix: &str) -> String {
        const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut name: String = prefix.chars().take(58).collect();
        let mut random = self.next_random();
        for _ in 0..5 {
            let index = usize::try_from(random % 27).expect("a remainder of 27 fits");
            name.push(char::from(ALPHABET[index]));
            random /= 27;
        }
        name
    }
}

fn is_service(key: &ObjectKey) -> bool {
    key.resource.group.is_empty() && key.resource.resource == "services"
}

fn system_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish()
}
