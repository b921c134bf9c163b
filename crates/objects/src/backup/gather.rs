//! Reading the cluster: lists in parallel, then what the listed objects refer to.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, TryStreamExt as _};
use salvor_api::name::BackupName;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_cluster::{
    ApiResource, Cluster, DiscoverOptions, ErrorKind, ListOptions, PAGE_BYTES, Page,
};
use salvor_volume::OnBehalfOf;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::BackupOptions;
use super::collect::{Collector, Origin};
use super::error::BackupError;
use super::hooked::HookCounts;
use super::item::labels_of;
use super::plan::{Reach, is_excluded_by_name};
use super::progress::Progress;
use super::references::{cluster_role_bindings, cluster_roles};
use super::runlog::{About, RunLog};
use super::volumes::{Native, Snapshotting};
use crate::hooks::Ledger;

/// Bytes of pages under way, all lists together. A page is asked for only when its bytes have room.
pub(super) const PAGE_BUDGET: usize = 48 << 20;
/// Bytes that one page may have: three times its aim, as sizes vary within a list.
pub(super) const PAGE_ROOM: usize = 3 * PAGE_BYTES;
/// Objects that are fetched by name at once.
const FETCHES: usize = 8;
/// Entries of list revisions in the manifest at most.
const MOST_REVISIONS: usize = 5_000;

/// A run under way.
pub(super) struct Run {
    pub(super) cluster: Cluster,
    pub(super) collector: Arc<Collector>,
    pub(super) budget: Arc<Semaphore>,
    pub(super) revisions: Mutex<BTreeMap<String, String>>,
    pub(super) progress: Progress,
    pub(super) lists_read: AtomicU64,
    pub(super) options: BackupOptions,
    pub(super) name: BackupName,
    pub(super) ledger: Ledger,
    pub(super) hook_counts: HookCounts,
    /// On whose behalf volumes are copied.
    pub(super) of: OnBehalfOf,
    /// Snapshots of volumes.
    pub(super) snapshotting: Snapshotting,
    /// Snapshots by the storage's own interface.
    pub(super) native: Native,
    /// How long the copy of one volume may take.
    pub(super) volume_timeout: Duration,
    /// Ends the copies of volumes: with the run's own token, and when the run ends by an error.
    pub(super) movers: CancellationToken,
}

/// One list to read.
#[derive(Clone, Debug)]
struct Listing {
    resource: Arc<ApiResource>,
    namespace: Option<String>,
    selector: Option<String>,
    origin: Origin,
}

impl Run {
    /// Gathers everything, in the order that references need.
    ///
    /// # Errors
    /// What ends the run; a list that cannot be read is an error of the backup instead.
    pub(super) async fn collect(&self) -> Result<(), BackupError> {
        let ordered = self.collector.plan.ordered.clone();
        for (resource, key) in ordered {
            self.take_ordered(&resource, &key).await?;
        }
        // What was named goes first, so nothing else may share its segment.
        let collector = Arc::clone(&self.collector);
        blocking(move || collector.flush()).await?;
        let last = self.read_lists().await?;
        let rest = async {
            let rest = self.collect_rest(last).await;
            if rest.is_err() {
                self.movers.cancel();
            }
            rest
        };
        // Both to their end: what is copied is let go of in an orderly way.
        let (rest, copied) = tokio::join!(rest, self.copy_running());
        rest?;
        copied?;
        self.take_left().await
    }

    /// Gathers what comes after the lists.
    async fn collect_rest(&self, last: Vec<Listing>) -> Result<(), BackupError> {
        let at_once = self.options.pagers.max(1);
        stream::iter(last.into_iter().map(Ok))
            .try_for_each_concurrent(at_once, |listing| self.read_list(listing))
            .await?;
        self.fetch_wanted().await?;
        self.take_bindings().await?;
        self.fetch_wanted().await?;
        self.take_crds().await?;
        self.take_old_definitions().await?;
        self.take_namespaces().await?;
        // What item actions asked for in the steps before.
        self.fetch_wanted().await
    }

    /// Reads the lists. Pods come first: those with hooks are captured as soon as all of them are known, beside
    /// the other lists. Returns the lists of claims and volumes, which come last, so that those of such pods were
    /// captured with them.
    async fn read_lists(&self) -> Result<Vec<Listing>, BackupError> {
        let is = |listing: &Listing, resource: &str| {
            listing.resource.group.is_empty() && listing.resource.resource == resource
        };
        let (pods, rest): (Vec<_>, Vec<_>) =
            self.listings().into_iter().partition(|l| is(l, "pods"));
        let (last, others): (Vec<_>, Vec<_>) = rest
            .into_iter()
            .partition(|l| is(l, "persistentvolumeclaims") || is(l, "persistentvolumes"));
        let pods_left = AtomicUsize::new(pods.len());
        let pods_read = CancellationToken::new();
        let at_once = self.options.pagers.max(1);
        let lists = async {
            // However the lists end, the pods need not wait for them any longer.
            let _read = pods_read.clone().drop_guard();
            let read = stream::iter(pods.into_iter().chain(others).map(Ok))
                .try_for_each_concurrent(at_once, |listing| {
                    let (pods_left, pods_read) = (&pods_left, &pods_read);
                    async move {
                        let of_pods = is(&listing, "pods");
                        self.read_list(listing).await?;
                        if of_pods && pods_left.fetch_sub(1, Ordering::AcqRel) == 1 {
                            pods_read.cancel();
                        }
                        Ok(())
                    }
                })
                .await;
            if read.is_err() {
                // The run ends: no more hooks are begun, and what is copied between them is given up.
                self.collector.sink.abort();
                self.movers.cancel();
            }
            read
        };
        let hooked = async {
            pods_read.cancelled().await;
            self.take_hooked().await
        };
        // Both to their end: a pod between its hooks is never left there.
        let (lists, hooked) = tokio::join!(lists, hooked);
        lists?;
        hooked?;
        Ok(last)
    }

    fn listings(&self) -> Vec<Listing> {
        let collector = &self.collector;
        let selectors: Vec<Option<String>> = match collector.filter.labels.selectors() {
            // A policy may take what no selector of the backup matches: the labels are looked at here.
            _ if !collector.objects.is_empty() => vec![None],
            [] => vec![None],
            some => some.iter().map(|s| Some(s.to_query())).collect(),
        };
        let mut listings = Vec::new();
        let lines = collector.plan.resources.iter();
        for line in lines.filter(|line| line.reach == Reach::Listed) {
            let namespaces: Vec<Option<String>> = match collector.scope.one_by_one() {
                Some(names) if line.resource.namespaced => {
                    names.map(|n| Some(n.to_owned())).collect()
                }
                _ => vec![None],
            };
            for namespace in namespaces {
                for selector in &selectors {
                    listings.push(Listing {
                        resource: Arc::clone(&line.resource),
                        namespace: namespace.clone(),
                        selector: selector.clone(),
                        origin: Origin::Listed,
                    });
                }
            }
        }
        listings
    }

    /// Reads one list to its end. What goes wrong with it is an error of the backup, not of the run.
    async fn read_list(&self, listing: Listing) -> Result<(), BackupError> {
        let collector = Arc::clone(&self.collector);
        let (resource, origin) = (Arc::clone(&listing.resource), listing.origin);
        self.read_pages(&listing, move |page| {
            collector.take_page(page, &resource, origin)
        })
        .await
    }

    async fn read_pages(
        &self,
        listing: &Listing,
        take: impl Fn(&Page) -> Result<(), BackupError> + Clone + Send + 'static,
    ) -> Result<(), BackupError> {
        let Listing {
            resource,
            namespace,
            selector,
            origin: _,
        } = listing;
        let group_resource = resource.group_resource();
        let about = About::Resource(&group_resource, namespace.as_deref());
        let options = ListOptions {
            label_selector: selector.clone(),
            max_bytes: PAGE_ROOM,
            ..ListOptions::default()
        };
        let mut pager = self.cluster.pager(resource, namespace.as_deref(), options);
        let progress = self.progress.list(&group_resource);
        let mut room = PAGE_ROOM;
        loop {
            self.check_cancelled()?;
            let permit = acquire(&self.budget, room).await;
            let page = match self.unless_cancelled(pager.next_page()).await? {
                Ok(Some(page)) => page,
                Ok(None) => {
                    self.lists_read.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                // A single object larger than a page's room gets all there is, alone.
                Err(error) if error.kind() == ErrorKind::TooLarge && room < PAGE_BUDGET => {
                    room = PAGE_BUDGET;
                    pager.set_max_bytes(room);
                    continue;
                }
                Err(error)
                    if error.kind() == ErrorKind::NoSuchKind && !self.is_served(resource).await =>
                {
                    let text = "its definition was deleted while the backup was made: none of its objects are left";
                    self.log().warn(about, text);
                    break;
                }
                Err(error) => {
                    self.log().error(about, &error.to_string());
                    break;
                }
            };
            progress.remaining(page.remaining.unwrap_or(0));
            let take = take.clone();
            blocking(move || {
                let taken = take(&page);
                drop((page, permit));
                taken
            })
            .await?;
            self.progress.tick(&self.collector, &progress.resource);
        }
        if pager.restarts() > 0 {
            let text = "the list outlived its token and was taken up anew: it is not of one moment";
            self.log().warn(about, text);
        }
        if let Some(version) = pager.resource_version().filter(|v| !v.is_empty()) {
            self.note_revision(&group_resource, namespace.as_deref(), version);
        }
        Ok(())
    }

    /// Whether the API server knows a resource now. When it cannot be asked, it does: what is missing is an
    /// error then.
    async fn is_served(&self, resource: &ApiResource) -> bool {
        let name = resource.group_resource().to_string();
        let discovered = self.cluster.discover(DiscoverOptions::default()).await;
        discovered.map_or(true, |discovery| {
            discovery.resolve(&name).is_some() || !discovery.failures.is_empty()
        })
    }

    /// Takes an object that orderedResources names, if the filters would take it from a list as well.
    async fn take_ordered(
        &self,
        resource: &Arc<ApiResource>,
        key: &ObjectKey,
    ) -> Result<(), BackupError> {
        self.check_cancelled()?;
        let listed = self
            .collector
            .plan
            .find(&key.resource)
            .is_some_and(|line| line.reach == Reach::Listed);
        let in_scope = key
            .namespace
            .as_deref()
            .is_none_or(|n| self.collector.scope.why_not(n).is_none());
        if !listed || !in_scope {
            self.log().info(
                About::Object(key),
                "not put first: the filters leave it out",
            );
            return Ok(());
        }
        let get = self
            .cluster
            .get(resource, key.namespace.as_deref(), &key.name);
        let found = self.unless_cancelled(get).await?;
        match found {
            Ok(Some(body)) if self.matches_labels(&body) => {
                if self.collector.has_hooks(key, &body) {
                    return self.take_pod(resource, key).await;
                }
                self.take_body(body, resource, Origin::Fetched).await
            }
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                self.log()
                    .info(About::Object(key), "not put first: it does not exist");
                Ok(())
            }
            // The list will say what is wrong.
            Err(error) => {
                self.log()
                    .info(About::Object(key), &format!("not put first: {error}"));
                Ok(())
            }
        }
    }

    fn matches_labels(&self, body: &[u8]) -> bool {
        let labels = &self.collector.filter.labels;
        labels.is_everything() || labels_of(body).is_some_and(|own| labels.matches(&own))
    }

    /// Fetches what is referred to, and what that refers to, until nothing is left.
    async fn fetch_wanted(&self) -> Result<(), BackupError> {
        loop {
            let wanted = self.collector.wanted();
            if wanted.is_empty() {
                return Ok(());
            }
            stream::iter(wanted.into_iter().map(Ok))
                .try_for_each_concurrent(FETCHES, |(resource, key)| async move {
                    self.fetch(&resource, &key, true).await
                })
                .await?;
        }
    }

    pub(super) async fn fetch(
        &self,
        resource: &Arc<ApiResource>,
        key: &ObjectKey,
        must_exist: bool,
    ) -> Result<(), BackupError> {
        self.check_cancelled()?;
        let permit = acquire(&self.budget, PAGE_BYTES).await;
        let get = self
            .cluster
            .get(resource, key.namespace.as_deref(), &key.name);
        let found = self.unless_cancelled(get).await?;
        match found {
            Ok(Some(body)) => self.take_body(body, resource, Origin::Fetched).await?,
            Ok(None) if must_exist => self.log().warn(
                About::Object(key),
                "something refers to it, but it does not exist",
            ),
            Ok(None) => {}
            Err(error) => self.log().error(About::Object(key), &error.to_string()),
        }
        drop(permit);
        self.progress
            .tick(&self.collector, &key.resource.to_string());
        Ok(())
    }

    pub(super) async fn take_body(
        &self,
        body: Bytes,
        resource: &Arc<ApiResource>,
        origin: Origin,
    ) -> Result<(), BackupError> {
        let (collector, resource) = (Arc::clone(&self.collector), Arc::clone(resource));
        blocking(move || collector.take_object(&body, &resource, origin)).await
    }

    /// A service account brings the cluster role bindings that name it, and their roles.
    async fn take_bindings(&self) -> Result<(), BackupError> {
        let plan = &self.collector.plan;
        let Some(line) = plan.find(&cluster_role_bindings()) else {
            return Ok(());
        };
        let everything = self.collector.takes_all_of_lists();
        let all_listed = everything
            && line.reach == Reach::Listed
            && plan
                .find(&cluster_roles())
                .is_none_or(|roles| roles.reach == Reach::Listed);
        let left = matches!(line.reach, Reach::Left(_));
        if left || all_listed || !self.collector.has_service_accounts() {
            return Ok(());
        }
        let listing = Listing {
            resource: Arc::clone(&line.resource),
            namespace: None,
            selector: None,
            origin: Origin::Fetched,
        };
        let collector = Arc::clone(&self.collector);
        let resource = Arc::clone(&line.resource);
        self.read_pages(&listing, move |page| {
            collector.take_bindings(page, &resource)
        })
        .await
    }

    /// The definition of every custom resource that was taken, unless CRDs are excluded by name.
    async fn take_crds(&self) -> Result<(), BackupError> {
        let wanted = self.collector.crds_to_look_for();
        let Some(first) = wanted.first() else {
            return Ok(());
        };
        let Some(line) = self.collector.plan.find(&first.resource) else {
            return Ok(());
        };
        if is_excluded_by_name(&line.resource, &self.collector.spec) {
            return Ok(());
        }
        let missing = wanted
            .into_iter()
            .filter(|key| !self.collector.has(key, &line.resource.version));
        stream::iter(missing.map(Ok))
            .try_for_each_concurrent(FETCHES, |key| async move {
                // Built-in and aggregated groups have no definition of that name.
                self.fetch(&line.resource, &key, false).await
            })
            .await
    }

    async fn take_namespaces(&self) -> Result<(), BackupError> {
        let namespaces = GroupResource::new("namespaces", "");
        let Some(line) = self.collector.plan.find(&namespaces) else {
            return Ok(());
        };
        if line.reach != Reach::Namespaces {
            return Ok(());
        }
        self.read_list(Listing {
            resource: Arc::clone(&line.resource),
            namespace: None,
            selector: None,
            origin: Origin::Namespace,
        })
        .await
    }

    pub(super) fn cancelled(&self) -> BackupError {
        BackupError::Cancelled {
            name: self.name.to_string(),
        }
    }

    /// Waits for a read of the cluster, or for the user to give up. Dropping a read loses nothing.
    pub(super) async fn unless_cancelled<T>(
        &self,
        read: impl Future<Output = T>,
    ) -> Result<T, BackupError> {
        let done = self.options.cancel.run_until_cancelled(read).await;
        done.ok_or_else(|| self.cancelled())
    }

    pub(super) fn check_cancelled(&self) -> Result<(), BackupError> {
        if self.options.cancel.is_cancelled() {
            return Err(self.cancelled());
        }
        if self.collector.sink.is_broken() {
            return Err(BackupError::UploadEnded);
        }
        Ok(())
    }

    fn note_revision(&self, resource: &GroupResource, namespace: Option<&str>, version: &str) {
        let key = match namespace {
            Some(namespace) => format!("{resource} {namespace}"),
            None => resource.to_string(),
        };
        let mut revisions = self
            .revisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if revisions.len() < MOST_REVISIONS {
            // With several selectors, the first list is the oldest and so the safe one.
            revisions.entry(key).or_insert_with(|| version.to_owned());
        }
    }

    pub(super) fn log(&self) -> &RunLog {
        &self.collector.log
    }
}

/// Room for `bytes` in the budget of pages; all of it when more is asked for than there is.
pub(super) async fn acquire(
    budget: &Arc<Semaphore>,
    bytes: usize,
) -> Option<tokio::sync::OwnedSemaphorePermit> {
    let permits = u32::try_from(bytes.min(PAGE_BUDGET)).unwrap_or(u32::MAX);
    // An error would mean that the semaphore was closed, which nobody does.
    Arc::clone(budget).acquire_many_owned(permits).await.ok()
}

/// Runs work that computes or touches local files on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| BackupError::Task { source })?
}
