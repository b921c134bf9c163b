//! The run: makes ready, gathers while a task of its own uploads, and hands over to the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures::future::BoxFuture;
use salvor_api::filter::BackupFilter;
use salvor_api::go::Time;
use salvor_api::name::BackupName;
use salvor_api::velero::{Backup, BackupPhase};
use salvor_archive::files::Results;
use salvor_archive::index::Index;
use salvor_archive::names::BackupFile;
use salvor_cluster::{ApiResource, Cluster, DiscoverOptions, ListOptions};
use salvor_extension::{ActionKind, Occasion};
use salvor_location::{BackupWriter, FileUpload};
use salvor_volume::OnBehalfOf;
use tokio::sync::Semaphore;

use super::action::Extension;
use super::collect::{Collector, Output};
use super::error::BackupError;
use super::finish::finish;
use super::gather::{PAGE_BUDGET, Run, blocking};
use super::hooked::HookCounts;
use super::namespaces::{LiveNamespace, NamespaceScope};
use super::plan::{Plan, Reach, failure_matters};
use super::progress::Progress;
use super::runlog::{About, RunLog, Subject};
use super::sink::ArchiveSink;
use super::volumes::{Native, Snapshotting};
use crate::extension;

use super::{BackupOutcome, BackupRequest, BackupStats, ProgressSink, prepare, reads};
use crate::hooks::Ledger;
use crate::hooks::of_backup::BackupHooks;
use crate::leftovers;
use crate::rights::{Right, of_contents, of_reads};

/// The group of the objects that come into the archive with snapshots.
const SNAPSHOTS: &str = "snapshot.storage.k8s.io";

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
    if let Err(errors) = BackupFilter::compile(&backup.spec) {
        return Ok(refused(backup, errors));
    }
    let hooks = match BackupHooks::compile(&backup.spec.hooks) {
        Ok(_) if !options.is_live => BackupHooks::none(),
        Ok(hooks) => hooks,
        Err(errors) => return Ok(refused(backup, errors)),
    };
    let volume_timeout = match prepare::volume_timeout(&backup, options.volume_timeout) {
        Ok(timeout) => timeout,
        Err(error) => return Ok(refused(backup, vec![error])),
    };
    // The cluster is asked first: a wrong kubeconfig must not use the name up.
    let cluster_error = |source| BackupError::Cluster { source };
    let version = cluster.server_version().await.map_err(cluster_error)?;
    let given = options.policies.as_ref();
    let policies = prepare::policies_of(&cluster, &backup, given)
        .await
        .map_err(cluster_error)?;
    let checked = policies.and_then(|policies| {
        prepare::select(&backup, &policies, literally)?;
        Ok(policies)
    });
    let policies = match checked {
        Ok(policies) => policies,
        Err(errors) => return Ok(refused(backup, errors)),
    };
    let namespace = &backup.metadata.namespace;
    let kind = ActionKind::BackupItemAction;
    let extensions = extension::find(&cluster, namespace, &options.actions, kind)
        .await
        .map_err(cluster_error)?;
    if !extensions.errors.is_empty() {
        return Ok(refused(backup, extensions.errors));
    }
    let mut discovery = cluster
        .discover(DiscoverOptions {
            all_versions: options.all_versions,
        })
        .await
        .map_err(cluster_error)?;
    if !options.is_live {
        for resource in &mut discovery.resources {
            resource.verbs.extend(["create".into(), "delete".into()]);
        }
    }
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
    if backup.metadata.uid.is_empty() {
        // Where a server is, that looks after what killed runs left.
        leftovers::settle_beside(&cluster, &discovery, &location).await;
    }
    log.info(
        About::Run,
        &format!("backup started by salvor {}", env!("CARGO_PKG_VERSION")),
    );
    if let Some(reason) = &extensions.hidden {
        let text = format!("item actions that the cluster defines are not known: {reason}");
        log.warn(About::Run, &text);
    }
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
    let release = options.is_live.then_some(&version);
    prepare::stamp_cluster(&mut backup, release, identity.as_ref());
    for failure in &discovery.failures {
        let text = format!("discover {}: {}", failure.group_version, failure.reason);
        if failure_matters(&failure.group_version, &backup.spec, &discovery) {
            log.error(About::Run, &text);
        } else {
            log.warn(About::Run, &text);
        }
    }
    let scope = resolve_namespaces(&cluster, &mut backup, &log).await;
    let names = |entry: &str| match discovery.resolve(entry) {
        Some(resource) => resource.names(),
        None => literally(entry),
    };
    let selected = match prepare::select(&backup, &policies, names) {
        Ok(selected) => selected,
        Err(errors) => {
            writer.abandon().await;
            return Ok(refused(backup, errors));
        }
    };
    let mut plan = Plan::new(&discovery, &selected.spec, &selected.filter);
    plan.warn_of_unknown_kinds(&discovery, &policies);
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
        selected,
        Extension {
            actions: extensions.actions,
            occasion: Occasion {
                backup: name.to_string(),
                restore: None,
            },
            cancel: options.cancel.clone(),
        },
        scope,
        hooks,
        Output {
            log: Arc::clone(&log),
            sink: Arc::clone(&sink),
            mtime_unix: mtime,
            agent: options.data_mover.is_some(),
        },
    ));
    let run = Run {
        cluster,
        collector,
        budget: Arc::new(Semaphore::new(PAGE_BUDGET)),
        revisions: Mutex::new(BTreeMap::new()),
        progress: Progress::new(progress),
        lists_read: AtomicU64::new(0),
        ledger: Ledger::new(options.open_hooks.clone()),
        hook_counts: HookCounts::default(),
        of: OnBehalfOf {
            name: name.to_string(),
            uid: backup.metadata.uid.clone(),
            run: options.run.to_string(),
            location: backup.spec.storage_location.clone(),
        },
        snapshotting: Snapshotting::of(&backup),
        native: Native::of(&backup, &options.run.to_string()),
        volume_timeout,
        movers: options.cancel.child_token(),
        options,
        name: name.clone(),
    };
    let approved = approve(&run, || of_reads(&reads::of(&run.collector))).await;
    let archived = match approved {
        Ok(Approved::Yes) => archive(&run, &mut writer, &sink).await,
        Ok(Approved::No(errors)) => {
            writer.abandon().await;
            return Ok(refused(backup, errors));
        }
        Err(error) => Err(error),
    };
    run.discard_snapshots().await;
    // What was listed brought other objects along.
    let approved = match archived {
        Ok(index) => {
            let entries = || {
                index
                    .iter()
                    // Those of other snapshots were listed, which was asked before.
                    .filter(|e| e.resource().group != SNAPSHOTS)
                    .map(|e| (e.resource(), e.namespace(), e.name()))
            };
            let approved = approve(&run, || of_contents(entries())).await;
            approved.map(|approved| (index, approved))
        }
        Err(error) => Err(error),
    };
    let ended = match approved {
        Ok((index, Approved::Yes)) => finish(&run, writer, backup, index, clock).await,
        Ok((_, Approved::No(errors))) => {
            writer.abandon().await;
            Ok(refused(backup, errors))
        }
        Err(error) => {
            // Nothing is committed; the next writer of the name need not wait for our claim to expire.
            writer.abandon().await;
            Err(error)
        }
    };
    let exists = match &ended {
        Ok(outcome) => Some(outcome.record.is_some()),
        Err(error) if error.may_have_happened() => None,
        Err(_) => Some(false),
    };
    run.release_snapshots(exists).await;
    run.release_native(exists).await;
    ended
}

enum Approved {
    Yes,
    No(Vec<String>),
}

async fn approve(
    run: &Run,
    rights: impl FnOnce() -> BTreeSet<Right>,
) -> Result<Approved, BackupError> {
    let Some(approval) = &run.options.approval else {
        return Ok(Approved::Yes);
    };
    let objections = approval.objections(rights()).await;
    let objections = objections.map_err(|source| BackupError::Cluster { source })?;
    Ok(match objections.is_empty() {
        true => Approved::Yes,
        false => Approved::No(objections),
    })
}

/// A resource that the cluster was not asked about has the name by which it is called.
fn literally(entry: &str) -> Vec<String> {
    vec![entry.to_owned()]
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
    let filter = BackupFilter::compile(&backup.spec)
        .map_or_else(|_| Default::default(), |filter| filter.namespaces);
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
    let movers = run.movers.clone();
    let pumping = pump(Arc::clone(sink), upload);
    let mut pump = tokio::spawn(async move {
        let pumped = pumping.await;
        if pumped.is_err() {
            // Nothing can be committed any more: hours of copying would be for nothing.
            movers.cancel();
        }
        pumped
    });
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
