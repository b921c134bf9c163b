//! What a server answers by itself over the network, whether it leads or not: metrics, probes, files.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{self, Configuration};
use crate::authorize::Authorizer;
use crate::download::{Endpoint, Parts};
use crate::install::{NAME, cluster_name};
use crate::probes;
use crate::serve::{Clients, Security};
use crate::server::{Server, ServerError};
use crate::tls::{Keeper, Keys};

/// Open for those who ask.
pub(crate) struct Desk {
    keys: Keys,
    /// Who asked for what.
    pub(crate) authorizer: Authorizer,
}

impl Desk {
    /// Begins to answer about metrics and probes, and to keep what connections are protected with.
    pub(crate) fn open(
        server: &Server,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Result<Self, ServerError> {
        let options = &server.options;
        let keys = Keys::default();
        let authorizer = Authorizer {
            cluster: server.cluster.clone(),
            mode: options.authorize_requests,
            keys: keys.clone(),
            metrics: server.metrics.clone(),
        };
        if options.downloads.is_some() || options.tls.is_on() || authorizer.is_strict() {
            let keeper = Keeper {
                cluster: server.cluster.clone(),
                namespace: options.namespace.clone(),
                source: options.tls.clone(),
                names: names(server),
                clock: Arc::clone(&server.clock),
                every: options.tls_look,
                keys: keys.clone(),
            };
            tasks.spawn(keeper.keep(cancel.clone()));
        }
        server.metrics.watch_certificate(keys.changes());
        if let Some(listener) = &options.metrics {
            let failed = |source| ServerError::Metrics { source };
            let listener = listener.try_clone().map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = TcpListener::from_std(listener).map_err(failed)?;
            let security = match options.metrics_tls {
                true => Security::Tls {
                    keys: keys.clone(),
                    clients: Clients::Asked,
                },
                false => Security::Plain,
            };
            let scrapers = options.metrics_clients.clone().into();
            let metrics = server.metrics.clone();
            let serving = probes::serve(
                listener,
                security,
                scrapers,
                metrics,
                tasks.clone(),
                cancel.clone(),
            );
            tasks.spawn(serving);
        }
        Ok(Self { keys, authorizer })
    }

    /// Begins to answer the API server about who makes requests.
    pub(crate) fn admit(&self, server: &Server, tasks: &TaskTracker, cancel: &CancellationToken) {
        let options = &server.options;
        let Some(address) = options.admission else {
            return;
        };
        let (namespace, user) = (options.namespace.clone(), options.server_user.clone());
        let serving = admission::serve(
            address,
            self.keys.clone(),
            namespace,
            user,
            tasks.clone(),
            cancel.clone(),
        );
        tasks.spawn(serving);
        let configuration = Configuration {
            cluster: server.cluster.clone(),
            name: cluster_name(&options.namespace),
            keys: self.keys.clone(),
        };
        tasks.spawn(configuration.keep(cancel.clone()));
    }

    /// Begins to serve files.
    pub(crate) fn endpoint(
        &self,
        server: &Server,
        tasks: &TaskTracker,
        cancel: &CancellationToken,
    ) -> Endpoint {
        let options = &server.options;
        let parts = Parts {
            cluster: server.cluster.clone(),
            namespace: options.namespace.clone(),
            locations: server.locations.clone(),
            clock: Arc::clone(&server.clock),
            keys: self.keys.clone(),
            secure: options.tls.is_on(),
        };
        Endpoint::start(options.downloads.as_ref(), parts, tasks, cancel)
    }
}

/// Names and addresses under which a server is reached: its Service, this machine for a forwarded port, the URL of
/// the downloads, and what the options name.
fn names(server: &Server) -> Vec<String> {
    let options = &server.options;
    let namespace = &options.namespace;
    let mut names: Vec<String> = ["", ".cluster.local"]
        .map(|domain| format!("{NAME}.{namespace}.svc{domain}"))
        .to_vec();
    names.extend(["localhost", "127.0.0.1"].map(str::to_owned));
    if let Some(downloads) = &options.downloads {
        let url: Option<http::Uri> = downloads.public_url.parse().ok();
        names.extend(url.and_then(|url| url.host().map(str::to_owned)));
        let listens = downloads.listen.ip();
        if !listens.is_unspecified() {
            names.push(listens.to_string());
        }
    }
    names.extend(options.tls_names.iter().cloned());
    for name in &mut names {
        // An address of the sixth version stands in brackets in a URL.
        *name = name.trim_matches(['[', ']']).to_ascii_lowercase();
    }
    names.sort();
    names.dedup();
    names
}
