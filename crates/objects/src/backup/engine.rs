//! The run: lists in parallel, fetches what is referred to, uploads meanwhile, commits.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, TryStreamExt as _};
use salvor_api::go::Time;
use salvor_api::name::BackupName;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::velero::{self, Backup, BackupPhase};
use salvor_archive::files::{EMPTY, Results, write_json_gz};
use salvor_archive::index::Index;
use salvor_archive::names::BackupFile;
use salvor_cluster::{
    ApiResource, Cluster, DiscoverOptions, ErrorKind, ListOptions, PAGE_BYTES, Page,
};
use salvor_location::{BackupWriter, FileUpload};
use tokio::sync::Semaphore;

use super::collect::{Collector, Origin};
use super::error::BackupError;
use super::namespaces::{LiveNamespace, NamespaceScope};
use super::plan::{Plan, Reach, failure_matters, is_excluded_by_name};
use super::references::{cluster_role_bindings, cluster_roles};
use super::runlog::{About, RunLog, Subject};
use super::sink::ArchiveSink;
use super::volumes::Weight;
use super::{
    BackupOptions, BackupOutcome, BackupProgress, BackupRequest, BackupStats, ProgressSink, prepare,
};

/// Bytes of pages under way, all lists together. A page is asked for only when its bytes have room.
const PAGE_BUDGET: usize = 48 << 20;
/// Bytes that one page may have: three times its aim, as sizes vary within a list.
const PAGE_ROOM: usize = 3 * PAGE_BYTES;
/// Objects that are fetched by name at once.
const FETCHES: usize = 8;
/// Entries of list revisions in the manifest at most.
const MOST_REVISIONS: usize = 5_000;

/// Makes a backup. Returns an outcome whenever there is something to say about its contents, also for a
/// partially failed one; see [`super::BackupOutcome::record`].
///
/// # Errors
/// [`BackupError`]: the name is taken, the cluster or the location does not answer, or the run was
/// cancelled. Nothing was committed then, unless [`BackupError::may_have_happened`].
pub async fn run(
    request: BackupRequest,
    progress: ProgressSink,
) -> Result<BackupOutcome, BackupError> {
    // Boxed once here, as the state of a whole run is large to move about; and it may go to any thread.
    let made: BoxFuture<'static, _> = Box::pin(make(request, progress));
    made.await
}

async fn make(
    request: BackupRequest,
    progress: ProgressSink,
) -> Result<BackupOutcome, BackupError> {
    let BackupRequest {
        cluster,
        location,
        backup,
        options,
    } = request;
    let clock = Instant::now();
    let started = Time::new(jiff::Timestamp::now());
    let name =
        BackupName::new(&*backup.metadata.name).map_err(|source| BackupError::Name { source })?;
    let mut backup = prepare::with_defaults(backup, location.name(), started);
    if let Err(errors) = prepare::validate(&backup) {
        return Ok(refused(backup, errors));
    }
    // The cluster is asked first: a wrong kubeconfig must not use the name up.
    let cluster_error = |source| BackupError::Cluster { source };
    let version = cluster.server_version().await.map_err(cluster_error)?;
    let discovery = cluster
        .discover(DiscoverOptions {
            all_versions: options.all_versions,
        })
        .await
        .map_err(cluster_error)?;
    let store_error = |source| BackupError::Location {
        name: name.to_string(),
        source,
    };
    let full_name = format!("{}/{name}", backup.metadata.namespace);
    let log = RunLog::new(Subject::Backup(full_name), options.run.to_string())
        .map_err(|source| BackupError::Spool { source })?;
    let log = Arc::new(log);
    let mut writer = location
        .begin_backup(&name, &options.run)
        .await
        .map_err(store_error)?;
    log.info(
        About::Run,
        &format!("backup started by salvor {}", env!("CARGO_PKG_VERSION")),
    );
    let identity = match cluster.identity().await {
        Ok(identity) => Some(identity),
        Err(error) => {
            log.warn(
                About::Run,
                &format!("the cluster's identity is not recorded: {error}"),
            );
            None
        }
    };
    prepare::stamp_cluster(&mut backup, &version, identity.as_ref());
    for failure in &discovery.failures {
        let text = format!("discover {}: {}", failure.group_version, failure.reason);
        if failure_matters(&failure.group_version, &backup.spec, &discovery) {
            log.error(About::Run, &text);
        } else {
            log.warn(About::Run, &text);
        }
    }
    if !backup.spec.hooks.resources.is_empty() {
        log.error(
            About::Run,
            "the hooks of the backup were not run: this version does not run hooks",
        );
    }
    let scope = resolve_namespaces(&cluster, &mut backup, &log).await;
    let filter = match prepare::validate(&backup) {
        Ok(filter) => filter,
        Err(errors) => {
            writer.abandon().await;
            return Ok(refused(backup, errors));
        }
    };
    let plan = Plan::new(&discovery, &backup.spec, &filter);
    for warning in &plan.warnings {
        log.warn(About::Run, warning);
    }
    for line in &plan.resources {
        if let Reach::Left(reason) = line.reach {
            let resource = line.resource.group_resource();
            log.info(
                About::Resource(&resource, None),
                &format!("skipped: {reason}"),
            );
        }
    }
    let mtime = started.timestamp().as_second();
    let sink = Arc::new(ArchiveSink::new(mtime));
    let collector = Arc::new(Collector::new(
        plan,
        backup.spec.clone(),
        filter,
        scope,
        Arc::clone(&log),
        Arc::clone(&sink),
        mtime,
    ));
    let run = Run {
        cluster,
        collector,
        budget: Arc::new(Semaphore::new(PAGE_BUDGET)),
        revisions: Mutex::new(BTreeMap::new()),
        progress: Progress::new(progress),
        lists_read: AtomicU64::new(0),
        options,
        name: name.clone(),
    };
    let archived = archive(&run, &mut writer, &sink).await;
    let index = match archived {
        Ok(index) => index,
        Err(error) => {
            // Nothing is committed; the next writer of the name need not wait for our claim to expire.
            writer.abandon().await;
            return Err(error);
        }
    };
    finish(&run, writer, backup, index, clock).await
}

fn refused(mut backup: Backup, errors: Vec<String>) -> BackupOutcome {
    backup.status.phase = BackupPhase::FailedValidation;
    backup.status.expiration = None;
    let mut results = Results::default();
    for error in &errors {
        results.errors.add_velero(error.clone());
    }
    backup.status.validation_errors = errors;
    BackupOutcome {
        backup,
        record: None,
        results,
        stats: BackupStats::default(),
    }
}

/// Reads the namespaces and settles which are meant. Those with the exclude label are added to the spec's
/// excludes, as Velero records them.
async fn resolve_namespaces(
    cluster: &Cluster,
    backup: &mut Backup,
    log: &RunLog,
) -> NamespaceScope {
    let mut live = Vec::new();
    let namespaces = ApiResource::namespaces();
    let mut pager = cluster.pager(&namespaces, None, ListOptions::default());
    let listed = loop {
        match pager.next_page().await {
            Ok(Some(page)) => live.extend(page.items().filter_map(LiveNamespace::read)),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let filter = prepare::validate(backup).map_or_else(|_| Default::default(), |f| f.namespaces);
    if let Err(error) = listed {
        log.error(
            About::Run,
            &format!("namespaces are not known, patterns select nothing: {error}"),
        );
        for name in filter.literal_includes() {
            // What cannot be looked at is taken to exist; listing it will tell.
            if live.iter().all(|l| l.name != name) {
                live.push(LiveNamespace {
                    name: name.to_owned(),
                    active: true,
                    ..LiveNamespace::default()
                });
            }
        }
    }
    let scope = NamespaceScope::resolve(&filter, &live);
    for missing in &scope.missing {
        log.error(
            About::Namespace(missing),
            "the backup names it, but it does not exist",
        );
    }
    for namespace in live.iter().filter(|n| n.is_managed_by_argo_cd()) {
        if scope.why_not(&namespace.name).is_none() {
            log.warn(
                About::Namespace(&namespace.name),
                "Argo CD manages it: what a restore brings back may be changed to what its repository says",
            );
        }
    }
    for labelled in scope.labelled() {
        let excluded = &mut backup.spec.excluded_namespaces;
        let named = backup
            .spec
            .included_namespaces
            .iter()
            .any(|n| n == labelled);
        // A name on both lists would make the recorded spec invalid; the label still keeps it out.
        if !named && !excluded.iter().any(|n| n == labelled) {
            excluded.push(labelled.to_owned());
        }
        log.info(
            About::Namespace(labelled),
            "skipped: it has the label velero.io/exclude-from-backup=true",
        );
    }
    scope
}

struct Run {
    cluster: Cluster,
    collector: Arc<Collector>,
    budget: Arc<Semaphore>,
    revisions: Mutex<BTreeMap<String, String>>,
    progress: Progress,
    lists_read: AtomicU64,
    options: BackupOptions,
    name: BackupName,
}

/// One list to read.
#[derive(Clone, Debug)]
struct Listing {
    resource: Arc<ApiResource>,
    namespace: Option<String>,
    selector: Option<String>,
    origin: Origin,
}

/// Collects everything while a task of its own uploads it.
async fn archive(
    run: &Run,
    writer: &mut BackupWriter,
    sink: &Arc<ArchiveSink>,
) -> Result<Index, BackupError> {
    let store_error = |source| BackupError::Location {
        name: run.name.to_string(),
        source,
    };
    let file = BackupFile::Archive.name(&run.name);
    let upload = writer.upload(&file).await.map_err(store_error)?;
    let mut pump = tokio::spawn(pump(Arc::clone(sink), upload));
    let collected = async {
        run.collect().await?;
        let collector = Arc::clone(&run.collector);
        blocking(move || {
            collector.flush()?;
            collector.sink.finish()
        })
        .await
    }
    .await;
    if collected.is_err() {
        sink.abort();
    }
    let pumped = tokio::select! {
        biased;
        pumped = &mut pump => pumped,
        // A store that takes nothing more must not hold up a user who gives up.
        () = run.options.cancel.cancelled() => {
            pump.abort();
            return Err(run.cancelled());
        }
    };
    let pumped = pumped.map_err(|source| BackupError::Task { source })?;
    match (collected, pumped) {
        (Ok(index), Ok(upload)) => {
            upload.finish(writer).await.map_err(store_error)?;
            Ok(index)
        }
        // The store's own error says more than "the upload has ended".
        (_, Err(Pumped::Store(source))) => Err(store_error(source)),
        (Err(error), Err(_)) | (Err(error), Ok(_)) => Err(error),
        (Ok(_), Err(Pumped::Sink(error))) => Err(error),
    }
}

enum Pumped {
    Store(salvor_location::Error),
    Sink(BackupError),
}

async fn pump(sink: Arc<ArchiveSink>, mut upload: FileUpload) -> Result<FileUpload, Pumped> {
    loop {
        match sink.next().await.map_err(Pumped::Sink)? {
            Some(bytes) => {
                if let Err(error) = upload.write(bytes).await {
                    sink.abort();
                    return Err(Pumped::Store(error));
                }
            }
            None => return Ok(upload),
        }
    }
}

impl Run {
    async fn collect(&self) -> Result<(), BackupError> {
        let ordered = self.collector.plan.ordered.clone();
        for (resource, key) in ordered {
            self.take_ordered(&resource, &key).await?;
        }
        // What was named goes first, so nothing else may share its segment.
        let collector = Arc::clone(&self.collector);
        blocking(move || collector.flush()).await?;
        stream::iter(self.listings().into_iter().map(Ok))
            .try_for_each_concurrent(self.options.pagers.max(1), |listing| {
                self.read_list(listing)
            })
            .await?;
        self.fetch_wanted().await?;
        self.take_bindings().await?;
        self.fetch_wanted().await?;
        self.take_crds().await?;
        self.take_namespaces().await
    }

    fn listings(&self) -> Vec<Listing> {
        let collector = &self.collector;
        let selectors: Vec<Option<String>> = match collector.filter.labels.selectors() {
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
        #[derive(serde::Deserialize)]
        struct Object {
            metadata: Meta,
        }
        #[derive(serde::Deserialize)]
        struct Meta {
            labels: Option<salvor_api::meta::StringMap>,
        }
        let labels = &self.collector.filter.labels;
        labels.is_everything()
            || serde_json::from_slice::<Object>(body)
                .is_ok_and(|o| labels.matches(&o.metadata.labels.unwrap_or_default()))
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

    async fn fetch(
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

    async fn take_body(
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
        let everything = self.collector.filter.labels.is_everything();
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

    fn cancelled(&self) -> BackupError {
        BackupError::Cancelled {
            name: self.name.to_string(),
        }
    }

    /// Waits for a read of the cluster, or for the user to give up. Dropping a read loses nothing.
    async fn unless_cancelled<T>(&self, read: impl Future<Output = T>) -> Result<T, BackupError> {
        let done = self.options.cancel.run_until_cancelled(read).await;
        done.ok_or_else(|| self.cancelled())
    }

    fn check_cancelled(&self) -> Result<(), BackupError> {
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

    fn log(&self) -> &RunLog {
        &self.collector.log
    }
}

/// Writes the files beside the archive and commits.
async fn finish(
    run: &Run,
    mut writer: BackupWriter,
    mut backup: Backup,
    index: Index,
    clock: Instant,
) -> Result<BackupOutcome, BackupError> {
    match write_files(run, &mut writer, &mut backup, &index).await {
        Ok(results) => {
            let counts = run.collector.counts();
            let revisions =
                std::mem::take(&mut *run.revisions.lock().unwrap_or_else(PoisonError::into_inner));
            let record =
                writer
                    .commit(backup, revisions)
                    .await
                    .map_err(|source| BackupError::Location {
                        name: run.name.to_string(),
                        source,
                    })?;
            run.progress.last(&run.collector);
            Ok(BackupOutcome {
                backup: record.backup.clone(),
                record: Some(record),
                results,
                stats: BackupStats {
                    items: counts.taken,
                    body_bytes: counts.bytes,
                    archive_bytes: index.archive_len(),
                    skipped: counts
                        .skipped
                        .into_iter()
                        .map(|(reason, count)| (reason.to_owned(), count))
                        .collect(),
                    elapsed: clock.elapsed(),
                },
            })
        }
        Err(error) => {
            writer.abandon().await;
            Err(error)
        }
    }
}

async fn write_files(
    run: &Run,
    writer: &mut BackupWriter,
    backup: &mut Backup,
    index: &Index,
) -> Result<Results, BackupError> {
    let store_error = |source| BackupError::Location {
        name: run.name.to_string(),
        source,
    };
    let archive_error = |source| BackupError::Archive { source };
    let name = |file: BackupFile| file.name(&run.name);
    let log = run.log();
    let collector = Arc::clone(&run.collector);
    let (resource_list, volumes) = blocking(move || collector.finish()).await?;
    let (infos, messages) = volumes.finish();
    for message in messages {
        let about = match &message.namespace {
            Some(namespace) => About::Namespace(namespace),
            None => About::Run,
        };
        match message.weight {
            Weight::Warning => log.warn(about, &message.text),
            Weight::Error => log.error(about, &message.text),
        }
    }
    let empty = Bytes::from(write_json_gz(&EMPTY).map_err(archive_error)?);
    let volume_info = write_json_gz(&infos).map_err(archive_error)?;
    for (file, bytes) in [
        (BackupFile::SalvorIndex, Bytes::from(index.encode())),
        (BackupFile::ResourceList, resource_list),
        (BackupFile::VolumeInfo, volume_info.into()),
        (BackupFile::PodVolumeBackups, empty.clone()),
        (BackupFile::VolumeSnapshots, empty.clone()),
        (BackupFile::ItemOperations, empty),
    ] {
        run.check_cancelled()?;
        writer.put(&name(file), bytes).await.map_err(store_error)?;
    }
    let counts = run.collector.counts();
    for (reason, count) in &counts.skipped {
        log.info(About::Run, &format!("{count} objects skipped: {reason}"));
    }
    let (phase, reason) = prepare::outcome(
        counts.taken,
        log.errors(),
        run.lists_read.load(Ordering::Relaxed),
    );
    log.info(
        About::Run,
        &format!(
            "{} objects, {} bytes backed up: {phase}",
            counts.taken, counts.bytes
        ),
    );
    let finished = log
        .finish()
        .map_err(|source| BackupError::Spool { source })?;
    let mut upload = writer
        .upload(&name(BackupFile::Logs))
        .await
        .map_err(store_error)?;
    let mut file = finished.file;
    loop {
        let mut chunk = Vec::new();
        // A local file, a mebibyte at a time.
        let read = (&mut file)
            .take(1 << 20)
            .read_to_end(&mut chunk)
            .map_err(|source| BackupError::Spool { source })?;
        if read == 0 {
            break;
        }
        upload.write(chunk.into()).await.map_err(store_error)?;
    }
    upload.finish(writer).await.map_err(store_error)?;
    let results = write_json_gz(&finished.results).map_err(archive_error)?;
    writer
        .put(&name(BackupFile::Results), results.into())
        .await
        .map_err(store_error)?;
    let items = i64::try_from(counts.taken).unwrap_or(i64::MAX);
    let status = &mut backup.status;
    status.phase = phase;
    status.failure_reason = reason;
    status.warnings = i64::try_from(finished.warnings).unwrap_or(i64::MAX);
    status.errors = i64::try_from(finished.errors).unwrap_or(i64::MAX);
    status.completion_timestamp = Some(Time::new(jiff::Timestamp::now()));
    status.progress = Some(velero::BackupProgress {
        total_items: items,
        items_backed_up: items,
    });
    Ok(finished.results)
}

/// Room for `bytes` in the budget of pages; all of it when more is asked for than there is.
async fn acquire(
    budget: &Arc<Semaphore>,
    bytes: usize,
) -> Option<tokio::sync::OwnedSemaphorePermit> {
    let permits = u32::try_from(bytes.min(PAGE_BUDGET)).unwrap_or(u32::MAX);
    // An error would mean that the semaphore was closed, which nobody does.
    Arc::clone(budget).acquire_many_owned(permits).await.ok()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| BackupError::Task { source })?
}

/// Progress, thinned out to one message a second.
struct Progress {
    sink: ProgressSink,
    last: Mutex<Option<Instant>>,
    remaining: Arc<AtomicU64>,
}

/// The share of one list in what is still to come.
struct ListProgress {
    resource: String,
    remaining: AtomicU64,
    all: Arc<AtomicU64>,
}

impl Progress {
    fn new(sink: ProgressSink) -> Self {
        Self {
            sink,
            last: Mutex::new(None),
            remaining: Arc::default(),
        }
    }

    fn list(&self, resource: &GroupResource) -> ListProgress {
        ListProgress {
            resource: resource.to_string(),
            remaining: AtomicU64::new(0),
            all: Arc::clone(&self.remaining),
        }
    }

    fn tick(&self, collector: &Collector, current: &str) {
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_some_and(|at| at.elapsed() < Duration::from_secs(1)) {
                return;
            }
            *last = Some(Instant::now());
        }
        self.report(collector, current);
    }

    fn last(&self, collector: &Collector) {
        self.remaining.store(0, Ordering::Relaxed);
        self.report(collector, "");
    }

    fn report(&self, collector: &Collector, current: &str) {
        let counts = collector.counts();
        self.sink.send(BackupProgress {
            items: counts.taken,
            items_expected: counts.taken + self.remaining.load(Ordering::Relaxed),
            bytes: counts.bytes,
            current: current.to_owned(),
        });
    }
}

impl ListProgress {
    fn remaining(&self, now: u64) {
        let before = self.remaining.swap(now, Ordering::Relaxed);
        self.all.fetch_add(now, Ordering::Relaxed);
        self.all.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Drop for ListProgress {
    fn drop(&mut self) {
        self.remaining(0);
    }
}
