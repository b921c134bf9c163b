//! From a kubeconfig, or the service account of a pod, to a [`Cluster`].

use std::path::PathBuf;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

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
        .map_err(|error| unusable(&operation, error))?;
        let (mut config, name) = match file {
            Some(file) => {
                let name = context.clone().or_else(|| file.current_context.clone());
                let config = kube::Config::from_custom_kubeconfig(file, &chosen)
                    .await
                    .map_err(|error| unusable(&operation, error))?;
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

/// A kubeconfig that cannot be used. A parser's message quotes the text around the mistake, which may be a token:
/// only the place is said of it.
fn unusable(operation: &str, error: KubeconfigError) -> Error {
    let KubeconfigError::Parse(parser) = &error else {
        return Error::caused(ErrorKind::Config, operation, error.to_string(), error);
    };
    let place = line_of(&parser.to_string());
    let place = place.map_or_else(String::new, |line| format!(" at line {line}"));
    let detail =
        format!("it is not a valid kubeconfig{place}; `kubectl config view` shows what is wrong");
    Error::local(ErrorKind::Config, operation, detail)
}

/// The first line number that a parser's message names.
fn line_of(message: &str) -> Option<u64> {
    let after = message.split("line ").skip(1);
    let digits = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_digit)
            .collect::<String>()
    };
    after.filter_map(|text| digits(text).parse().ok()).next()
}

/// `KUBECONFIG`, else `~/.kube/config` when it is there.
fn default_kubeconfig() -> Result<Option<Kubeconfig>, KubeconfigError> {
    if std::env::var_os("KUBECONFIG").is_some_and(|v| !v.is_empty()) {
        return Kubeconfig::read().map(Some);
    }
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match home.map(|home| home.join(".kube/config")) {
        Some(path) if path.exists() => Kubeconfig::read_from(path).map(Some),
        _ => Ok(None),
    }
}
