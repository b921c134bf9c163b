//! From a kubeconfig, or the service account of a pod, to a [`Cluster`].

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig};

use crate::client::{Cluster, Timeouts};
use crate::error::{Error, ErrorKind};
use crate::limiter::{self, Limiter};

/// Which cluster, and how hard it may be worked.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Path of a kubeconfig; `None` means `KUBECONFIG`, `~/.kube/config`, or the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; `None` means its current one.
    pub context: Option<String>,
    /// Calls that run at once at most; `None` means [`limiter::MOST`].
    pub max_concurrency: Option<usize>,
    /// Time limits of calls.
    pub timeouts: Timeouts,
}

impl Cluster {
    /// Connects to the cluster that a kubeconfig names. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: the kubeconfig cannot be read, has no such context, or its certificates or
    /// credentials are not usable.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Error> {
        // kube needs a process-wide provider; a second installation is refused and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ConnectOptions {
            kubeconfig,
            context,
            max_concurrency,
            timeouts,
        } = options;
        let operation = match kubeconfig {
            Some(path) => format!("read kubeconfig {}", path.display()),
            None => "read kubeconfig".to_owned(),
        };
        let chosen = KubeConfigOptions {
            context: context.clone(),
            ..KubeConfigOptions::default()
        };
        let file = match kubeconfig {
            Some(path) => Kubeconfig::read_from(path).map(Some),
            None => default_kubeconfig(),
        }
        .map_err(|e| Error::caused(ErrorKind::Config, &operation, e.to_string(), e))?;
        let (mut config, name) = match file {
            Some(file) => {
                let name = context.clone().or_else(|| file.current_context.clone());
                let config = kube::Config::from_custom_kubeconfig(file, &chosen)
                    .await
                    .map_err(|e| Error::caused(ErrorKind::Config, &operation, e.to_string(), e))?;
                (config, name)
            }
            None => {
                let config = kube::Config::incluster().map_err(|e| {
                    let detail =
                        "no kubeconfig (give --kubeconfig or set KUBECONFIG), and not in a pod";
                    Error::caused(ErrorKind::Config, &operation, detail, e)
                })?;
                (config, None)
            }
        };
        // Retries are ours (`retry`): the library's would repeat creates after a lost answer.
        config.default_retry = false;
        let host = config.cluster_url.host().unwrap_or("cluster").to_owned();
        let name = name.filter(|n| !n.is_empty()).unwrap_or(host);
        let client = kube::Client::try_from(config)
            .map_err(|e| Error::caused(ErrorKind::Config, &operation, e.to_string(), e))?;
        let most = max_concurrency.unwrap_or(limiter::MOST);
        Ok(Self::from_client(client, &name)
            .with_timeouts(*timeouts)
            .with_limiter(Limiter::new(limiter::START, most)))
    }
}

/// `KUBECONFIG`, else `~/.kube/config` when it is there.
fn default_kubeconfig() -> Result<Option<Kubeconfig>, kube::config::KubeconfigError> {
    if std::env::var_os("KUBECONFIG").is_some_and(|v| !v.is_empty()) {
        return Kubeconfig::read().map(Some);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home.map(|home| home.join(".kube/config")) {
        Some(path) if path.exists() => Kubeconfig::read_from(path).map(Some),
        _ => Ok(None),
    }
}
