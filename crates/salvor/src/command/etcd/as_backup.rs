//! `etcd diff`, `etcd export` and `etcd browse`: a snapshot where a backup would be.

use std::sync::{Arc, Mutex, PoisonError};

use salvor_api::labels;
use salvor_api::resource_policy::Use;
use salvor_api::velero::{Backup, BackupSpec, RestoreSpec};
use salvor_apiserver::{ApiServer, Options};
use salvor_cluster::Cluster;
use salvor_objects::backup::{self, BackupOptions, BackupRequest, ProgressSink};
use salvor_objects::diff;
use salvor_objects::policy;
use salvor_objects::restore::selection::Selection;

use super::opened::{self, Opened};
use crate::args::etcd_objects::{DiffArgs, EtcdBrowseArgs, ExportArgs};
use crate::command::{backup_browse, backup_create, backup_diff, read};
use crate::exit::{Exit, Failure};
use crate::output::progress::Progress;
use crate::session::{Session, spec_name};

/// No snapshot of etcd has the files of volumes.
const NO_VOLUMES: &str = "version: v1\nvolumePolicies:\n- {conditions: {}, action: {type: skip}}\n";

/// Shows what differs.
pub(super) async fn diff(args: &DiffArgs, session: &Session) -> Result<Exit, Failure> {
    let DiffArgs {
        from,
        to,
        include_namespaces,
        exclude_namespaces,
        include_resources,
        exclude_resources,
        read,
        output,
    } = args;
    let spec = RestoreSpec {
        included_namespaces: include_namespaces.clone(),
        excluded_namespaces: exclude_namespaces.clone(),
        included_resources: include_resources.clone(),
        excluded_resources: exclude_resources.clone(),
        ..RestoreSpec::default()
    };
    let selection =
        Selection::compile(&spec, &[], None).map_err(|errors| Failure::usage(errors.join("; ")))?;
    let first = opened::open(from, read, session).await?;
    let work = async {
        if to.is_live() {
            let cluster = session.cluster(None).await?;
            return Ok::<_, Failure>(
                diff::with_cluster(&first.source, &cluster, &selection).await?,
            );
        }
        let second = opened::open(to, read, session).await?;
        Ok(diff::between_backups(&first.source, &second.source, &selection).await?)
    };
    let report = tokio::select! {
        report = work => report?,
        () = session.cancel.cancelled() => {
            return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
        }
    };
    backup_diff::show(&report, *output, session)?;
    Ok(match report.is_empty() {
        true => Exit::Done,
        false => Exit::Differences,
    })
}

/// An API over the objects of a snapshot.
async fn serve(opened: &Opened) -> Result<ApiServer, Failure> {
    let archive = opened.source.archive.clone();
    let server =
        tokio::task::spawn_blocking(move || ApiServer::archive(archive, Options::default()));
    server
        .await
        .map_err(|error| Failure::caused(Exit::Internal, "open the snapshot", error))?
        .map_err(|error| Failure::caused(Exit::Internal, "serve the snapshot", error))
}

/// Serves a snapshot over the Kubernetes API until Ctrl-C.
pub(super) async fn browse(args: &EtcdBrowseArgs, session: &Session) -> Result<Exit, Failure> {
    let opened = opened::open(&args.from.moment(), &args.read, session).await?;
    let server = serve(&opened).await?;
    backup_browse::serve(server, &opened.source.name, &args.serve, session).await
}

/// Makes a backup of a snapshot.
pub(super) async fn export(args: &ExportArgs, session: &Session) -> Result<Exit, Failure> {
    let name = read::backup_name(&args.name)?;
    let location = session.location(None)?;
    let opened = opened::open(&args.from.moment(), &args.read, session).await?;
    if opened.unreadable.count > 0 && !args.skip_unreadable {
        let what = format!(
            "{} objects of the snapshot cannot be read, and the backup would lack them",
            opened.unreadable.count
        );
        return Err(Failure::new(Exit::Refused, what)
            .hint("leave their resources out with --exclude-resources, or go on without them with --skip-unreadable"));
    }
    let cluster = Cluster::from_service(serve(&opened).await?, "etcd snapshot");
    let mut backup = Backup::named(session.namespace(), name.as_str());
    backup.metadata.labels = args.filters.label_map().map_err(Failure::usage)?;
    backup.metadata.annotations = args.filters.annotation_map().map_err(Failure::usage)?;
    let revision = opened.revision.to_string();
    let annotations = &mut backup.metadata.annotations;
    annotations.insert(labels::ETCD_REVISION.to_owned(), revision);
    backup.spec = spec(args)?;
    spec_name(&location).clone_into(&mut backup.spec.storage_location);
    let policies = policy::parse(NO_VOLUMES, Use::Backup)
        .map_err(|errors| Failure::new(Exit::Internal, errors.join("; ")))?;
    let request = BackupRequest {
        cluster,
        location: location.clone(),
        backup,
        options: BackupOptions {
            policies: Some(policies),
            is_live: false,
            cancel: session.cancel.clone(),
            ..BackupOptions::default()
        },
    };
    let progress = Progress::begin(name.as_str()).with_remaining(session.messages);
    let progress = Arc::new(Mutex::new(progress));
    let shown = Arc::clone(&progress);
    let sink = ProgressSink::new(move |now| {
        let mut bar = shown.lock().unwrap_or_else(PoisonError::into_inner);
        bar.update(now.items, now.items_expected, &now.current);
    });
    let outcome = Box::pin(backup::run(request, sink)).await?;
    drop(progress);
    let exit = backup_create::conclude(&outcome, session)?;
    session.note_if_temporary(&location);
    Ok(match (exit, opened.unreadable.count) {
        (Exit::Done, 1..) => Exit::Partial,
        (exit, _) => exit,
    })
}

fn spec(args: &ExportArgs) -> Result<BackupSpec, Failure> {
    let filters = &args.filters;
    Ok(BackupSpec {
        included_namespaces: filters.include_namespaces.clone(),
        excluded_namespaces: filters.exclude_namespaces.clone(),
        included_resources: filters.include_resources.clone(),
        excluded_resources: filters.exclude_resources.clone(),
        include_cluster_resources: filters.include_cluster_resources,
        label_selector: filters.selector.clone(),
        or_label_selectors: filters.or_selectors().map_err(Failure::usage)?,
        snapshot_volumes: Some(false),
        ..BackupSpec::default()
    })
}
