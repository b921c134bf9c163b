//! From a listed item to an entry of the archive: classify, render, note what it refers to, compress.
//!
//! Runs on blocking threads, one page at a time; what is shared between pages is small and behind one lock.

mod act;
mod choose;
mod held;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use salvor_api::filter::BackupFilter;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::resource_policy::FilterPolicies;
use salvor_api::velero::BackupSpec;
use salvor_archive::ArchiveError;
use salvor_archive::files::ResourceListBuilder;
use salvor_archive::item::ItemRef;
use salvor_archive::segment::SegmentBuilder;
use salvor_cluster::{ApiResource, Page};

use super::BackupError;
use super::action::Extension;
use super::item::{Header, clean_claim, render};
use super::namespaces::NamespaceScope;
use super::old_definitions::OldDefinitions;
use super::once::Once;
use super::plan::{Plan, Reach};
use super::prepare::Selected;
use super::references::{Binding, Claim, Pod, Volume, custom_resource_definitions};
use super::runlog::{About, RunLog};
use super::sink::ArchiveSink;
use super::volumes::decide::Wishes;
use super::volumes::{Keeps, Volumes};
use crate::hooks::of_backup::BackupHooks;

/// Everything that a run decides by and collects into.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) plan: Plan,
    pub(crate) spec: BackupSpec,
    pub(crate) filter: BackupFilter,
    /// Which objects of single kinds and namespaces the resource policies let through.
    pub(crate) objects: FilterPolicies,
    extension: Extension,
    pub(crate) scope: NamespaceScope,
    pub(crate) hooks: BackupHooks,
    pub(crate) log: Arc<RunLog>,
    pub(crate) sink: Arc<ArchiveSink>,
    mtime_unix: i64,
    /// Of which claims snapshots may be taken that stay.
    keeps: Keeps,
    /// Resources whose objects are all brought by lists.
    listed: HashSet<GroupResource>,
    state: Mutex<State>,
    /// Segments that are not full yet, one per thread that worked at once.
    builders: Mutex<Vec<SegmentBuilder>>,
}

/// Where a run writes.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) log: Arc<RunLog>,
    pub(crate) sink: Arc<ArchiveSink>,
    /// Time of every entry.
    pub(crate) mtime_unix: i64,
    /// Somebody is there who copies the files of volumes.
    pub(crate) agent: bool,
}

#[derive(Debug)]
struct State {
    once: Once,
    list: ResourceListBuilder,
    volumes: Volumes,
    wanted: BTreeSet<ObjectKey>,
    wanted_before: HashSet<ObjectKey>,
    /// Pods with hooks that a list has shown; they are captured between them.
    hooked: BTreeSet<ObjectKey>,
    service_accounts: HashSet<(String, String)>,
    namespaces_with_items: HashSet<String>,
    resources_with_items: BTreeSet<GroupResource>,
    counts: Counts,
    old_definitions: OldDefinitions,
    held: held::Held,
}

/// What came of the items so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Objects in the archive, each counted once.
    pub(crate) taken: u64,
    /// Bytes of their bodies.
    pub(crate) bytes: u64,
    /// Objects left out, by reason.
    pub(crate) skipped: BTreeMap<&'static str, u64>,
}

/// How an object came to be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It was listed.
    Listed,
    /// A taken object refers to it, or it was named by orderedResources: fetched by its name.
    Fetched,
    /// It is a Namespace object; holds what the namespace rules decide by.
    Namespace,
}

impl Collector {
    pub(crate) fn new(
        plan: Plan,
        selected: Selected,
        extension: Extension,
        scope: NamespaceScope,
        hooks: BackupHooks,
        output: Output,
    ) -> Self {
        let Output {
            log,
            sink,
            mtime_unix,
            agent,
        } = output;
        let Selected {
            spec,
            filter,
            objects,
            policies,
        } = selected;
        let wishes = Wishes::of(&spec, agent);
        let state = State {
            once: Once::default(),
            list: ResourceListBuilder::new(),
            volumes: Volumes::new(wishes, policies),
            wanted: BTreeSet::new(),
            wanted_before: HashSet::new(),
            hooked: BTreeSet::new(),
            service_accounts: HashSet::new(),
            namespaces_with_items: HashSet::new(),
            resources_with_items: BTreeSet::new(),
            counts: Counts::default(),
            old_definitions: OldDefinitions::of(&plan),
            held: held::Held::default(),
        };
        let keeps = match Self::serves_snapshots(&plan) {
            true => state.volumes.may_keep_snapshots(),
            false => Keeps::None,
        };
        let lines = plan.resources.iter();
        let listed = lines
            .filter(|line| line.resource.preferred && line.reach == Reach::Listed)
            .filter(|_| filter.labels.is_everything() && objects.is_empty())
            .map(|line| line.resource.group_resource())
            .collect();
        Self {
            listed,
            keeps,
            plan,
            spec,
            filter,
            objects,
            extension,
            scope,
            hooks,
            log,
            sink,
            mtime_unix,
            state: Mutex::new(state),
            builders: Mutex::new(Vec::new()),
        }
    }

    /// Takes what is to be taken of a page.
    ///
    /// # Errors
    /// Only what ends the run: the archive cannot be written any more.
    pub(crate) fn take_page(
        &self,
        page: &Page,
        resource: &ApiResource,
        origin: Origin,
    ) -> Result<(), BackupError> {
        let mut builder = self.builder();
        for body in page.items() {
            self.take(body, resource, origin, &mut builder)?;
        }
        self.give_back(builder);
        Ok(())
    }

    /// Takes one object that was fetched.
    ///
    /// # Errors
    /// As [`Collector::take_page`].
    pub(crate) fn take_object(
        &self,
        body: &[u8],
        resource: &ApiResource,
        origin: Origin,
    ) -> Result<(), BackupError> {
        let mut builder = self.builder();
        self.take(body, resource, origin, &mut builder)?;
        self.give_back(builder);
        Ok(())
    }

    /// Takes the cluster role bindings of collected service accounts.
    ///
    /// # Errors
    /// As [`Collector::take_page`].
    pub(crate) fn take_bindings(
        &self,
        page: &Page,
        resource: &ApiResource,
    ) -> Result<(), BackupError> {
        let mut builder = self.builder();
        for body in page.items() {
            let Some(binding) = Binding::read(body) else {
                continue;
            };
            let is_taken = |namespace: &str, name: &str| {
                let account = (namespace.to_owned(), name.to_owned());
                self.lock().service_accounts.contains(&account)
            };
            if binding.binds(is_taken) {
                self.take(body, resource, Origin::Fetched, &mut builder)?;
                if let Some(role) = binding.cluster_role() {
                    self.want(role);
                }
            }
        }
        self.give_back(builder);
        Ok(())
    }

    fn take(
        &self,
        body: &[u8],
        resource: &ApiResource,
        origin: Origin,
        builder: &mut SegmentBuilder,
    ) -> Result<(), BackupError> {
        let group_resource = resource.group_resource();
        let header = match Header::read(body) {
            Ok(header) => header,
            Err(error) => {
                let about = About::Resource(&group_resource, None);
                self.log.error(
                    about,
                    &format!("an item of the list was not backed up: {error}"),
                );
                return Ok(());
            }
        };
        let key = match (resource.namespaced, header.namespace()) {
            (true, Some(namespace)) => {
                ObjectKey::namespaced(group_resource, namespace, header.name())
            }
            (true, None) => {
                let about = About::Resource(&group_resource, None);
                let name = header.name();
                self.log.error(
                    about,
                    &format!("`{name}` was not backed up: it has no namespace"),
                );
                return Ok(());
            }
            (false, _) => ObjectKey::cluster(group_resource, header.name()),
        };
        if self.is_passing(&header, &key, body) {
            return Ok(());
        }
        let left = self.why_not(&header, &key, body, origin);
        if let Some(reason) = left.or_else(|| self.why_not_by_policy(&key, resource, body, origin))
        {
            self.skip(&key, reason);
            return Ok(());
        }
        if origin == Origin::Listed && self.has_hooks(&key, body) {
            let mut state = self.lock();
            if !state.once.contains(&key, &resource.version) {
                state.hooked.insert(key);
            }
            return Ok(());
        }
        let mut state = self.lock();
        if state
            .old_definitions
            .holds_back(&key, resource, body, origin)
            || !state.once.insert(&key, &resource.version)
        {
            return Ok(());
        }
        drop(state);
        let rendered = match render(body, &header, &resource.api_version(), &resource.kind) {
            Ok(rendered) => rendered,
            Err(error) => {
                self.log.error(
                    About::Object(&key),
                    &format!("it was not backed up: {error}"),
                );
                return Ok(());
            }
        };
        let cleaned = is_core(&key, "persistentvolumeclaims")
            .then(|| clean_claim(&rendered))
            .flatten();
        let body = cleaned.as_deref().unwrap_or(&rendered);
        let Some(acted) = self.act(&key, body) else {
            return Ok(());
        };
        let body = acted.as_deref().unwrap_or(body);
        let (version, preferred) = (&resource.version, resource.preferred);
        let is_held = preferred && self.hold(&key, resource, body);
        if (is_held || self.push(&key, version, preferred, body, builder)?) && preferred {
            self.note(&key, resource, body)?;
        }
        Ok(())
    }

    /// Writes an object; false when it cannot be, which is told.
    fn push(
        &self,
        key: &ObjectKey,
        version: &str,
        preferred: bool,
        body: &[u8],
        builder: &mut SegmentBuilder,
    ) -> Result<bool, BackupError> {
        let item = ItemRef {
            key,
            version,
            preferred,
            body,
        };
        if !builder.fits(&item) {
            self.seal(builder)?;
        }
        match builder.push(&item, self.mtime_unix) {
            Ok(()) => {}
            Err(error @ ArchiveError::BadItem { .. }) => {
                self.tell_bad(key, &error);
                return Ok(false);
            }
            Err(source) => return Err(BackupError::Archive { source }),
        }
        if builder.is_full() {
            self.seal(builder)?;
        }
        Ok(true)
    }

    /// Counts an object in and notes what it refers to.
    fn note(
        &self,
        key: &ObjectKey,
        resource: &ApiResource,
        body: &[u8],
    ) -> Result<(), BackupError> {
        let mut state = self.lock();
        let listed = state
            .list
            .add(&resource.group_version_kind(), &key.scoped_name());
        listed.map_err(|source| BackupError::Archive { source })?;
        state.counts.taken += 1;
        state.counts.bytes += body.len() as u64;
        if let Some(namespace) = &key.namespace
            && !state.namespaces_with_items.contains(namespace)
        {
            state.namespaces_with_items.insert(namespace.clone());
        }
        if !state.resources_with_items.contains(&key.resource) {
            state.resources_with_items.insert(key.resource.clone());
        }
        if !key.resource.group.is_empty() {
            return Ok(());
        }
        match key.resource.resource.as_str() {
            "pods" => {
                if let Some(pod) = Pod::read(body) {
                    state.volumes.pod(&pod, body);
                    let unlisted = |key: &ObjectKey| !self.is_listed(&key.resource);
                    let references = pod.references().into_iter().filter(unlisted);
                    references.for_each(|key| state.want(key));
                }
            }
            "persistentvolumeclaims" => {
                if let Some(claim) = Claim::read(body) {
                    state.volumes.claim(key, &claim, body);
                    if let Some(volume) = claim.volume() {
                        let volumes = GroupResource::new("persistentvolumes", "");
                        if !self.is_listed(&volumes) {
                            state.want(ObjectKey::cluster(volumes, volume));
                        }
                    }
                }
            }
            "persistentvolumes" => {
                if let Some(volume) = Volume::read(body) {
                    state.volumes.volume(key, &volume, body);
                }
            }
            "serviceaccounts" => {
                let namespace = key.namespace.clone().unwrap_or_default();
                state.service_accounts.insert((namespace, key.name.clone()));
            }
            _ => {}
        }
        Ok(())
    }

    /// Compresses a segment and sends it on; the builder is empty afterwards.
    fn seal(&self, builder: &mut SegmentBuilder) -> Result<(), BackupError> {
        let full = std::mem::take(builder);
        if full.is_empty() {
            return Ok(());
        }
        let member = full
            .finish()
            .compress()
            .map_err(|source| BackupError::Archive { source })?;
        self.sink.push(member)
    }

    /// Sends the segments that are not full.
    ///
    /// # Errors
    /// As [`Collector::take_page`].
    pub(crate) fn flush(&self) -> Result<(), BackupError> {
        loop {
            let builder = self.lock_builders().pop();
            match builder {
                Some(mut builder) => self.seal(&mut builder)?,
                None => return Ok(()),
            }
        }
    }

    /// True when a list brings every object of the resource, so that references to it need not be kept.
    fn is_listed(&self, resource: &GroupResource) -> bool {
        self.listed.contains(resource)
    }

    /// Asks for an object that another one refers to.
    pub(crate) fn want(&self, key: ObjectKey) {
        self.lock().want(key);
    }

    /// The CRDs that the collected objects may be of: groups without a dot are always built in. Whether
    /// there is a CRD of this name is found by asking.
    pub(crate) fn crds_to_look_for(&self) -> Vec<ObjectKey> {
        let crds = custom_resource_definitions();
        self.lock()
            .resources_with_items
            .iter()
            .filter(|resource| resource.group.contains('.'))
            .map(|resource| ObjectKey::cluster(crds.clone(), resource.to_string()))
            .collect()
    }

    /// Changes or reads what waits of old definitions.
    pub(crate) fn old_definitions<T>(&self, act: impl FnOnce(&mut OldDefinitions) -> T) -> T {
        act(&mut self.lock().old_definitions)
    }

    /// Changes or reads what is known of volumes.
    pub(crate) fn volumes<T>(&self, act: impl FnOnce(&mut Volumes) -> T) -> T {
        act(&mut self.lock().volumes)
    }

    /// True when an object is in the archive already.
    pub(crate) fn has(&self, key: &ObjectKey, version: &str) -> bool {
        self.lock().once.contains(key, version)
    }

    /// True when service accounts were taken whose bindings have to be looked for.
    pub(crate) fn has_service_accounts(&self) -> bool {
        !self.lock().service_accounts.is_empty()
    }

    /// Counts so far.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// Ends collecting: the resource list and the volumes.
    ///
    /// # Errors
    /// The resource list's temporary files cannot be read.
    pub(crate) fn finish(&self) -> Result<(Bytes, Volumes), BackupError> {
        let mut state = self.lock();
        let list = std::mem::replace(&mut state.list, ResourceListBuilder::new());
        let volumes = std::mem::take(&mut state.volumes);
        drop(state);
        let list = list
            .finish()
            .map_err(|source| BackupError::Archive { source })?;
        Ok((list.into(), volumes))
    }

    pub(crate) fn skip(&self, key: &ObjectKey, reason: &'static str) {
        self.log
            .info(About::Object(key), &format!("skipped: {reason}"));
        *self.lock().counts.skipped.entry(reason).or_default() += 1;
    }

    fn builder(&self) -> SegmentBuilder {
        self.lock_builders().pop().unwrap_or_default()
    }

    fn give_back(&self, builder: SegmentBuilder) {
        if !builder.is_empty() {
            self.lock_builders().push(builder);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in a page ends the run, so what is behind the lock is only read to report.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_builders(&self) -> MutexGuard<'_, Vec<SegmentBuilder>> {
        self.builders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn want(&mut self, key: ObjectKey) {
        if !self.wanted_before.contains(&key) {
            self.wanted_before.insert(key.clone());
            self.wanted.insert(key);
        }
    }
}

fn is_core(key: &ObjectKey, resource: &str) -> bool {
    key.resource.group.is_empty() && key.resource.resource == resource
}
