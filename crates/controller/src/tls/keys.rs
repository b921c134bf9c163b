//! Keeps keys and certificates: makes what is missing, renews what ends, takes over what others renewed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_cluster::{ApiResource, Cluster, ErrorKind, WriteOptions};
use salvor_seal::SealKey;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::authority::{Pair, Stored};
use super::source::{Material, TlsError};
use super::{AUTHORITY, CA_CERTIFICATES, SECRET, TlsSource};
use crate::context::{Clock, chain};

/// Pause after a look that failed.
const AGAIN: Duration = Duration::from_secs(3);
const SEAL: &str = "seal.key";

/// The newest keys and certificates, as far as they are there. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    seal: watch::Sender<Option<SealKey>>,
    tls: watch::Sender<Option<Material>>,
}

impl Default for Keys {
    fn default() -> Self {
        Self {
            seal: watch::Sender::new(None),
            tls: watch::Sender::new(None),
        }
    }
}

impl Keys {
    /// The key of seals, as soon as it is there.
    pub(crate) async fn seal_key(&self) -> SealKey {
        loop {
            let mut seal = self.seal.subscribe();
            // Fails only when the sender is gone, which `self` holds.
            if let Ok(key) = seal.wait_for(Option::is_some).await
                && let Some(key) = key.clone()
            {
                return key;
            }
        }
    }

    /// What connections are protected with now; `None` while there is no certificate.
    pub(crate) fn material(&self) -> Option<Material> {
        self.tls.borrow().clone()
    }

    /// Tells of every change of [`Keys::material`].
    pub(crate) fn changes(&self) -> watch::Receiver<Option<Material>> {
        self.tls.subscribe()
    }
}

/// Keeps [`Keys`] up to date.
pub(crate) struct Keeper {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: String,
    pub(crate) source: TlsSource,
    /// Names and addresses of this server.
    pub(crate) names: Vec<String>,
    pub(crate) clock: Clock,
    /// Pause between two looks.
    pub(crate) every: Duration,
    pub(crate) keys: Keys,
}

/// The Secret that servers share, as it was read.
struct Shared {
    data: BTreeMap<String, Vec<u8>>,
    /// Empty when it is not there.
    version: String,
}

impl Keeper {
    /// Looks again and again until `cancel` is cancelled.
    pub(crate) async fn keep(self, cancel: CancellationToken) {
        let mut told = String::new();
        let mut shown: Option<(Pair, String)> = None;
        loop {
            let looked = cancel.run_until_cancelled(self.look(&mut shown)).await;
            let pause = match looked {
                None => return,
                Some(Ok(())) => {
                    told.clear();
                    self.every
                }
                Some(Err(error)) => {
                    let reason = chain(&error);
                    // Once: it is looked at again every few seconds.
                    if told != reason {
                        tracing::error!(%reason, "keys and certificates are not up to date");
                        told = reason;
                    }
                    AGAIN.min(self.every)
                }
            };
            if cancel
                .run_until_cancelled(tokio::time::sleep(pause))
                .await
                .is_none()
            {
                return;
            }
        }
    }

    async fn look(&self, shown: &mut Option<(Pair, String)>) -> Result<(), TlsError> {
        let stored = self.shared().await?;
        let (pair, authority) = match &self.source {
            TlsSource::Off => return Ok(()),
            TlsSource::Generated => {
                let stored = Stored::read(&stored);
                let pair = stored.server().cloned();
                (pair.ok_or(missing(SECRET, "tls.crt"))?, stored.bundle())
            }
            TlsSource::Secret(name) => self.of_secret(name).await?,
            TlsSource::Files {
                certificate,
                key,
                authority,
            } => of_files(certificate, key, authority.as_deref())?,
        };
        let now = Some((pair.clone(), authority.clone()));
        if *shown != now {
            let material = Material::new(&pair, &authority)?;
            tracing::info!(source = %self.source, until = material.until, "a certificate is in use");
            self.keys.tls.send_replace(Some(material));
            *shown = now;
        }
        // Users of a certificate that cannot be published still have it from the Secret, or know its authority.
        match authority.is_empty() {
            true => Ok(()),
            false => self.publish(&authority).await,
        }
    }

    /// What servers share: read, made where it is missing, renewed where it is due.
    async fn shared(&self) -> Result<BTreeMap<String, Vec<u8>>, TlsError> {
        loop {
            let before = self.read_shared().await?;
            let mut after = before.data.clone();
            let sealing =
                |data: &BTreeMap<String, Vec<u8>>| data.get(SEAL).and_then(|b| SealKey::new(b));
            if sealing(&after).is_none() {
                let key = SealKey::generate().ok_or(TlsError::Random)?;
                after.insert(SEAL.to_owned(), key);
            }
            if self.source == TlsSource::Generated {
                let now = (self.clock)().as_second();
                if let Some(renewed) = Stored::read(&after).renewed(&self.names, now)? {
                    after.extend(renewed.write());
                }
            }
            if after != before.data && !self.write_shared(&before.version, &after).await? {
                // Another server was quicker: what it wrote counts.
                continue;
            }
            if let Some(key) = sealing(&after) {
                self.keys.seal.send_if_modified(|seal| {
                    let first = seal.is_none();
                    *seal = Some(key);
                    first
                });
            }
            return Ok(after);
        }
    }

    async fn read_shared(&self) -> Result<Shared, TlsError> {
        let found = self.get(&secrets(), SECRET).await?;
        let Some(object) = found else {
            return Ok(Shared {
                data: BTreeMap::new(),
                version: String::new(),
            });
        };
        let version = object["metadata"]["resourceVersion"].as_str();
        Ok(Shared {
            data: decoded(&object),
            version: version.unwrap_or_default().to_owned(),
        })
    }

    /// False when it changed since it was read.
    async fn write_shared(
        &self,
        version: &str,
        data: &BTreeMap<String, Vec<u8>>,
    ) -> Result<bool, TlsError> {
        let data: BTreeMap<&String, String> = data
            .iter()
            .map(|(key, bytes)| (key, BASE64.encode(bytes)))
            .collect();
        let mut object = crate::install::shared_secret(&self.namespace);
        object["data"] = json!(data);
        let written = self.write(&secrets(), SECRET, version, object).await;
        match written {
            Ok(()) => Ok(true),
            Err(error) if is_stale(&error) => Ok(false),
            Err(source) => Err(TlsError::Cluster {
                doing: format!("write secret `{SECRET}`"),
                source: Box::new(source),
            }),
        }
    }

    /// Creates an object, or changes the one that has this version.
    async fn write(
        &self,
        resource: &ApiResource,
        name: &str,
        version: &str,
        mut object: Value,
    ) -> Result<(), salvor_cluster::Error> {
        let (namespace, options) = (Some(self.namespace.as_str()), WriteOptions::default());
        if version.is_empty() {
            let body = object.to_string();
            let made = self
                .cluster
                .create(resource, namespace, body.as_bytes(), &options);
            return made.await.map(drop);
        }
        object["metadata"]["resourceVersion"] = version.into();
        let body = object.to_string();
        let patched =
            self.cluster
                .merge_patch(resource, namespace, name, None, body.as_bytes(), &options);
        patched.await.map(drop)
    }

    async fn get(&self, resource: &ApiResource, name: &str) -> Result<Option<Value>, TlsError> {
        let failed = |source| TlsError::Cluster {
            doing: format!("read {} `{name}`", resource.kind),
            source: Box::new(source),
        };
        let found = self
            .cluster
            .get(resource, Some(&self.namespace), name)
            .await;
        let found = found.map_err(failed)?;
        Ok(found.map(|bytes| serde_json::from_slice(&bytes).unwrap_or_default()))
    }

    async fn of_secret(&self, name: &str) -> Result<(Pair, String), TlsError> {
        let found = self.get(&secrets(), name).await?;
        let data = found.map(|object| decoded(&object)).unwrap_or_default();
        let text = |key: &'static str| {
            let bytes = data.get(key).ok_or(missing(name, key))?;
            Ok::<_, TlsError>(String::from_utf8_lossy(bytes).into_owned())
        };
        let pair = Pair {
            certificate: text("tls.crt")?,
            key: text("tls.key")?,
        };
        Ok((pair, text(CA_CERTIFICATES).unwrap_or_default()))
    }

    /// Shows clients whom to trust.
    async fn publish(&self, authority: &str) -> Result<(), TlsError> {
        let resource = ApiResource::known("", "v1", "ConfigMap", "configmaps", true);
        let found = self.get(&resource, AUTHORITY).await?;
        let current = found.as_ref().map_or("", |object| {
            object["data"][CA_CERTIFICATES].as_str().unwrap_or_default()
        });
        if current == authority {
            return Ok(());
        }
        let version = found
            .as_ref()
            .and_then(|o| o["metadata"]["resourceVersion"].as_str());
        let mut object = crate::install::authority_map(&self.namespace);
        object["data"] = json!({CA_CERTIFICATES: authority});
        let version = version.unwrap_or_default();
        match self.write(&resource, AUTHORITY, version, object).await {
            Ok(()) => Ok(()),
            // Another server published it.
            Err(error) if is_stale(&error) => Ok(()),
            Err(source) => Err(TlsError::Cluster {
                doing: format!("publish the authority in ConfigMap `{AUTHORITY}`"),
                source: Box::new(source),
            }),
        }
    }
}

fn secrets() -> ApiResource {
    ApiResource::known("", "v1", "Secret", "secrets", true)
}

fn missing(name: &str, key: &'static str) -> TlsError {
    TlsError::Missing {
        name: name.to_owned(),
        key,
    }
}

fn is_stale(error: &salvor_cluster::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Conflict | ErrorKind::AlreadyExists | ErrorKind::NotFound
    )
}

/// The data of a Secret.
fn decoded(object: &Value) -> BTreeMap<String, Vec<u8>> {
    let data = object["data"].as_object().into_iter().flatten();
    data.filter_map(|(key, value)| {
        let bytes = BASE64.decode(value.as_str()?).ok()?;
        Some((key.clone(), bytes))
    })
    .collect()
}

fn of_files(
    certificate: &Path,
    key: &Path,
    authority: Option<&Path>,
) -> Result<(Pair, String), TlsError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|source| TlsError::File {
            path: path.to_owned(),
            source,
        })
    };
    let pair = Pair {
        certificate: read(certificate)?,
        key: read(key)?,
    };
    Ok((pair, authority.map(read).transpose()?.unwrap_or_default()))
}
