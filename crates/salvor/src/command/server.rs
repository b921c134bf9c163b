//! `server`: serves Velero's kinds until it is told to stop.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use salvor_api::schedule;
use salvor_controller::{Downloads, Server, ServerOptions, Upkeep};
use salvor_extension::Providers;
use salvor_location::RunId;

use crate::args::server::ServerArgs;
use crate::command::read;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Where Velero's server has its metrics.
const METRICS: &str = ":8085";

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: &ServerArgs, session: &Session) -> Result<Exit, Failure> {
    let ServerArgs {
        default_backup_storage_location,
        default_backup_ttl,
        store_validation_frequency,
        resource_timeout,
        fs_backup_timeout,
        default_volumes_to_fs_backup,
        default_volume_snapshot_locations,
        default_repo_maintain_frequency,
        concurrent_backups,
        concurrent_restores,
        concurrent_copies,
        backup_sync_period,
        garbage_collection_frequency,
        download_address,
        download_url,
        metrics_address,
        tls,
        tls_name,
        metrics_tls,
        metrics_client,
        authorize_requests,
        admission_address,
        server_user,
        schedule_skip_immediately,
        global_backup_volume_policy_configmap,
        item_actions,
        identity,
    } = args;
    if !tls.is_on() && (*metrics_tls || admission_address.is_some()) {
        return Err(
            Failure::usage("--metrics-tls and --admission-address need a certificate")
                .hint("add --tls generated, or name one that is there"),
        );
    }
    let actions = read::item_actions(item_actions.as_deref())?;
    let providers = match item_actions {
        Some(path) => read::providers(path)?,
        None => Providers::default(),
    };
    let metrics = listener(metrics_address.as_deref(), session)?;
    let cluster = session.cluster(None).await?;
    let identity = identity.clone().unwrap_or_else(identity_of_this_process);
    let options = ServerOptions {
        default_location: default_backup_storage_location.clone(),
        default_ttl: default_backup_ttl.0,
        validate_every: store_validation_frequency.0,
        resource_timeout: resource_timeout.0,
        volume_timeout: fs_backup_timeout.0,
        default_volumes_to_fs_backup: *default_volumes_to_fs_backup,
        default_snapshot_locations: default_volume_snapshot_locations.iter().cloned().collect(),
        upkeep: upkeep(default_repo_maintain_frequency.0),
        global_volume_policy: global_backup_volume_policy_configmap
            .clone()
            .unwrap_or_default(),
        sync_every: backup_sync_period.0,
        collect_every: garbage_collection_frequency.0,
        downloads: download_address.map(|listen| Downloads {
            listen,
            public_url: download_url.clone().unwrap_or_default(),
        }),
        metrics: metrics.map(Arc::new),
        tls: tls.clone(),
        tls_names: tls_name.clone(),
        metrics_tls: *metrics_tls,
        metrics_clients: metrics_client.clone(),
        authorize_requests: *authorize_requests,
        admission: *admission_address,
        server_user: server_user.clone().unwrap_or_default(),
        actions,
        providers,
        concurrent_backups: usize::from(*concurrent_backups),
        concurrent_restores: usize::from(*concurrent_restores),
        concurrent_copies: usize::from(*concurrent_copies),
        schedules: schedule::Server {
            skip_immediately: *schedule_skip_immediately,
            ..schedule::Server::default()
        },
        ..ServerOptions::new(session.namespace(), &identity)
    };
    let text = session
        .messages
        .server_begins(session.namespace(), cluster.name(), &identity);
    session.printer.remark(&text);
    let server = Server::new(&cluster, options);
    Box::pin(server.run(&session.cancel))
        .await
        .map_err(|error| Failure::caused(Exit::Internal, "serve", error))?;
    session.printer.remark(&session.messages.server_ends());
    Ok(Exit::Done)
}

/// How repositories are looked after; zero is the default frequency, as in Velero.
fn upkeep(every: Duration) -> Upkeep {
    let default = Upkeep::default();
    match every.is_zero() {
        true => default,
        false => Upkeep { every, ..default },
    }
}

/// The socket for metrics and probes. An address that was asked for must work; the default one is left alone when
/// something else has it, as on a machine where several servers run.
fn listener(address: Option<&str>, session: &Session) -> Result<Option<TcpListener>, Failure> {
    match address {
        Some("") => Ok(None),
        Some(address) => bind(address).map(Some).map_err(|error| {
            let doing = format!("serve metrics on `{address}`");
            Failure::caused(Exit::Usage, doing, error)
        }),
        None => match bind(METRICS) {
            Ok(listener) => Ok(Some(listener)),
            Err(error) => {
                let text = session.messages.no_metrics(METRICS, &error.to_string());
                session.printer.remark(&text);
                Ok(None)
            }
        },
    }
}

/// Listens on an address as Go writes it: `:8085` is every address of the machine, of both families where it has
/// them.
fn bind(address: &str) -> io::Result<TcpListener> {
    match address.strip_prefix(':') {
        Some(port) => TcpListener::bind(format!("[::]:{port}"))
            .or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}"))),
        None => TcpListener::bind(address),
    }
}

/// The host's name and the random part of a run's id: two servers on one host are two.
fn identity_of_this_process() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let run = RunId::generate();
    let random = run.as_str().rsplit('-').next().unwrap_or_default();
    match host.trim() {
        "" => random.to_owned(),
        host => format!("{host}-{random}"),
    }
}
