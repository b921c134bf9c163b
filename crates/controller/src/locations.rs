//! From a BackupStorageLocation to the location that it names: provider, settings, credentials.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_api::limits::TransferLimits;
use salvor_api::meta::SecretKeySelector;
use salvor_api::velero::{AccessMode, BackupStorageLocation};
use salvor_cluster::{ApiResource, Cluster};
use salvor_extension::{ProviderKind, Providers};
use salvor_location::claim::ClaimPolicy;
use salvor_location::limits::store_limits;
use salvor_location::trust::{RECIPIENTS, Trust, VERIFICATION_KEYS};
use salvor_location::{Location, Profile};
use salvor_objects::extension;
use salvor_storage::url::EXTENSION;
use salvor_storage::{
    LimitStore, Limiter, Limits, Meter, MeterStore, ObjectStore, RetryPolicy, RetryStore, StoreUrl,
    open_url,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A location that cannot be opened: what the status of its object says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocationError {
    /// Nobody knows this provider.
    #[error(
        "provider `{0}` is not one of aws, azure, gcp, file (each also with a domain, such as velero.io/aws), \
         and no extension of this name is defined as an object store"
    )]
    Provider(String),
    /// Extensions are defined, and not all of them can be used.
    #[error("extensions: {}", .0.join("; "))]
    Extensions(Vec<String>),
    /// The bucket, or the folder of a `file` location, is not named.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The certificates are not in the form that Velero's definition asks for.
    #[error("objectStorage.caCert is not base64 of PEM certificates")]
    CaCert,
    /// A key that is pinned is none.
    #[error("keys that are pinned: {0}")]
    Trust(String),
    /// A limit cannot be kept to.
    #[error("{0}")]
    Limit(String),
    /// A secret that it refers to cannot be used.
    #[error("secret `{name}`, key `{key}`: {reason}")]
    Secret {
        /// Name of the secret.
        name: String,
        /// Key in it.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A secret, or the definitions of extensions, cannot be read.
    #[error("read the credentials or the extensions")]
    Cluster(#[source] salvor_cluster::Error),
    /// Credentials cannot be kept for the store's client.
    #[error("keep the credentials in a private folder: free some space there, or set TMPDIR")]
    Keep(#[source] std::io::Error),
    /// A setting cannot be used.
    #[error("open the store")]
    Store(#[source] salvor_storage::Error),
}

/// The providers that are built in, under the names that Velero's plugins have.
pub(crate) const PROVIDERS: &[&str] = &[
    "salvor.dev/file",
    "velero.io/aws",
    "velero.io/azure",
    "velero.io/gcp",
];

/// Opens the store that a URL names.
pub type OpenStore =
    dyn Fn(&StoreUrl) -> Result<Arc<dyn ObjectStore>, salvor_storage::Error> + Send + Sync;

/// Opens locations and keeps them open as long as nothing about them changes. Clones share it.
#[derive(Clone)]
pub struct Locations {
    cluster: Cluster,
    namespace: Arc<str>,
    open: Arc<OpenStore>,
    claims: ClaimPolicy,
    providers: Providers,
    /// Where Secrets are mounted; the API server is asked where it is `None`.
    secrets: Option<Arc<Path>>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    locations: HashMap<String, (Settings, Location)>,
    /// What passes to and from each, also when it is opened anew.
    meters: BTreeMap<String, Arc<Meter>>,
    /// How fast each may be used, by everybody of this process together.
    limiters: BTreeMap<String, Arc<Limiter>>,
    /// Where credentials lie while they are in use: readable by us alone, removed at the end.
    folder: Option<tempfile::TempDir>,
}

/// Everything that a location is made of; equal settings are the same location.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    url: StoreUrl,
    read_only: bool,
    /// Of the extensions, where one of them serves the store.
    extensions: String,
    /// What is pinned about it.
    trust: Trust,
}

impl Locations {
    /// Opens stores with retries, which every remote store needs.
    #[must_use]
    pub fn new(cluster: &Cluster, namespace: &str) -> Self {
        Self::with_stores(cluster, namespace, Arc::new(open_url))
    }

    /// With another way to open stores.
    #[must_use]
    pub fn with_stores(cluster: &Cluster, namespace: &str, open: Arc<OpenStore>) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: namespace.into(),
            open,
            claims: ClaimPolicy::default(),
            providers: Providers::default(),
            secrets: None,
            kept: Arc::default(),
        }
    }

    /// With other times for the claims of the locations.
    #[must_use]
    pub fn with_claims(self, claims: ClaimPolicy) -> Self {
        Self { claims, ..self }
    }

    /// With providers besides those that ConfigMaps define.
    #[must_use]
    pub fn with_providers(self, providers: Providers) -> Self {
        Self { providers, ..self }
    }

    /// With Secrets that are mounted, `<folder>/<secret>/<key>`, for a process that may read none over the API.
    #[must_use]
    pub fn with_mounted_secrets(self, folder: &Path) -> Self {
        Self {
            secrets: Some(folder.into()),
            ..self
        }
    }

    /// Brings the limits of a location up to date, also for what passes to and from it now. Limits that
    /// cannot be read change nothing: the next [`Locations::open`] says what is wrong with them.
    pub fn adjust(&self, object: &BackupStorageLocation) {
        if let Ok(limits) = TransferLimits::of(&object.metadata.annotations) {
            self.limiter(&object.metadata.name, &limits);
        }
    }

    fn limiter(&self, name: &str, limits: &TransferLimits) -> Arc<Limiter> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = kept
            .limiters
            .entry(name.to_owned())
            .or_insert_with(|| Arc::new(Limiter::new(Limits::default())));
        limiter.set(store_limits(limits));
        Arc::clone(limiter)
    }

    /// The location that an object describes. Secrets are read anew, so changed credentials take effect, and
    /// so do changed limits.
    ///
    /// # Errors
    /// [`LocationError`]. Whether the store can be reached shows with its first use.
    pub async fn open(&self, object: &BackupStorageLocation) -> Result<Location, LocationError> {
        let name = &object.metadata.name;
        let limits =
            TransferLimits::of(&object.metadata.annotations).map_err(LocationError::Limit)?;
        let limiter = self.limiter(name, &limits);
        let mut settings = self.settings(object).await?;
        let providers = self.providers_of(&mut settings, object).await?;
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, location)) = kept().locations.get(name)
            && *known == settings
        {
            return Ok(location.clone());
        }
        let store = match providers {
            Some(providers) => salvor_extension_store::open(&settings.url, &providers),
            None => (self.open)(&settings.url),
        };
        let store = store.map_err(LocationError::Store)?;
        let meter = Arc::clone(kept().meters.entry(name.clone()).or_default());
        // Below the retries: each attempt counts.
        let store = Arc::new(MeterStore::new(store).with_meter(meter));
        let store = Arc::new(LimitStore::new(store, limiter));
        let store: Arc<dyn ObjectStore> = Arc::new(RetryStore::new(store, RetryPolicy::default()));
        let profile = Profile {
            name: name.clone(),
            url: settings.url.clone(),
            read_only: settings.read_only,
        };
        let location = Location::new(store, profile)
            .with_claim_policy(self.claims.clone())
            .with_trust(settings.trust.clone());
        let entry = (settings, location.clone());
        kept().locations.insert(name.clone(), entry);
        Ok(location)
    }

    /// What passed between this process and each location since it began, by name.
    pub(crate) fn meters(&self) -> BTreeMap<String, Arc<Meter>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.meters.clone()
    }

    /// Forgets a location that is gone.
    pub fn forget(&self, name: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.locations.remove(name);
        kept.limiters.remove(name);
    }

    /// The extensions, where one of them serves the location. They are read anew, so that a changed definition
    /// and changed credentials take effect.
    async fn providers_of(
        &self,
        settings: &mut Settings,
        object: &BackupStorageLocation,
    ) -> Result<Option<Providers>, LocationError> {
        if settings.url.scheme != EXTENSION {
            return Ok(None);
        }
        let found = self.find_providers().await?;
        let name = &object.spec.provider;
        if found
            .providers
            .get(ProviderKind::ObjectStore, name)
            .is_none()
        {
            return Err(LocationError::Provider(name.clone()));
        }
        settings.extensions = found.fingerprint;
        Ok(Some(found.providers))
    }

    async fn find_providers(&self) -> Result<extension::FoundProviders, LocationError> {
        let found = extension::find_providers(&self.cluster, &self.namespace, &self.providers);
        let found = found.await.map_err(LocationError::Cluster)?;
        match found.errors.is_empty() {
            true => Ok(found),
            false => Err(LocationError::Extensions(found.errors)),
        }
    }

    /// The providers that are defined; why they cannot be had, for people.
    pub(crate) async fn providers(&self) -> Result<Providers, String> {
        let found = self.find_providers().await;
        found
            .map(|found| found.providers)
            .map_err(|error| error.message())
    }

    /// A file with what a Secret holds, readable by us alone; the same contents are in the same file.
    pub(crate) async fn credentials_file(
        &self,
        selector: &SecretKeySelector,
    ) -> Result<String, LocationError> {
        let contents = self.secret(selector).await?;
        let path = self.keep(&contents)?;
        Ok(path.to_string_lossy().into_owned())
    }

    async fn settings(&self, object: &BackupStorageLocation) -> Result<Settings, LocationError> {
        let spec = &object.spec;
        let mut url = url(object)?;
        if let Some(selector) = &spec.credential {
            let path = self.credentials_file(selector).await?;
            url.options.insert("credentialsFile".to_owned(), path);
        }
        let bundle = match (
            &spec.object_storage.ca_cert_ref,
            &*spec.object_storage.ca_cert,
        ) {
            (Some(selector), _) => Some(self.secret(selector).await?),
            (None, "") => None,
            (None, text) => Some(
                BASE64
                    .decode(text.trim())
                    .map_err(|_| LocationError::CaCert)?,
            ),
        };
        if let Some(bundle) = bundle {
            let path = self.keep(&bundle)?;
            let path = path.to_string_lossy().into_owned();
            url.options.insert("caCert".to_owned(), path);
        }
        Ok(Settings {
            url,
            read_only: spec.access_mode == AccessMode::ReadOnly,
            extensions: String::new(),
            trust: trust(object)?,
        })
    }

    async fn secret(&self, selector: &SecretKeySelector) -> Result<Vec<u8>, LocationError> {
        let SecretKeySelector { name, key, .. } = selector;
        let wrong = |reason: &str| LocationError::Secret {
            name: name.clone(),
            key: key.clone(),
            reason: reason.to_owned(),
        };
        if let Some(folder) = &self.secrets {
            return mounted(folder, name, key).map_err(|reason| wrong(&reason));
        }
        let secrets = ApiResource::known("", "v1", "Secret", "secrets", true);
        let found = self
            .cluster
            .get(&secrets, Some(&self.namespace), name)
            .await
            .map_err(LocationError::Cluster)?
            .ok_or_else(|| wrong("it does not exist in the server's namespace"))?;
        let secret: Value =
            serde_json::from_slice(&found).map_err(|_| wrong("it is not a Secret"))?;
        let value = secret["data"][key]
            .as_str()
            .ok_or_else(|| wrong("it has no such key"))?;
        BASE64
            .decode(value)
            .map_err(|_| wrong("its value is not base64"))
    }

    /// Writes contents where only we can read them; the same contents always have the same path, so that a
    /// change of credentials is a change of settings.
    fn keep(&self, contents: &[u8]) -> Result<PathBuf, LocationError> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match &mut kept.folder {
            Some(folder) => folder,
            // Made with mode 0700.
            none => none.insert(tempfile::TempDir::new().map_err(LocationError::Keep)?),
        };
        let digest: String = Sha256::digest(contents)[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let path = folder.path().join(digest);
        if !path.exists() {
            // A temporary file has mode 0600 and gets its name when it is whole.
            let mut file =
                tempfile::NamedTempFile::new_in(folder.path()).map_err(LocationError::Keep)?;
            file.write_all(contents).map_err(LocationError::Keep)?;
            file.persist(&path)
                .map_err(|error| LocationError::Keep(error.error))?;
        }
        Ok(path)
    }
}

impl fmt::Debug for Locations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locations")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// A key of a mounted Secret.
fn mounted(folder: &Path, name: &str, key: &str) -> Result<Vec<u8>, String> {
    let is_name =
        |part: &str| !part.is_empty() && !part.contains('/') && part != "." && part != "..";
    if !is_name(name) || !is_name(key) {
        return Err("it is no name".to_owned());
    }
    std::fs::read(folder.join(name).join(key))
        .map_err(|error| format!("it is not mounted in {}: {error}", folder.display()))
}

/// What the annotations of a location pin.
fn trust(object: &BackupStorageLocation) -> Result<Trust, LocationError> {
    let annotations = &object.metadata.annotations;
    let of = |key: &str| annotations.get(key).map(String::as_str);
    Trust::parse(of(VERIFICATION_KEYS), of(RECIPIENTS)).map_err(LocationError::Trust)
}

/// The URL of a location, without its credentials.
///
/// # Errors
/// The provider is not known, or what it needs is missing.
pub fn url(object: &BackupStorageLocation) -> Result<StoreUrl, LocationError> {
    let spec = &object.spec;
    let provider = spec.provider.rsplit('/').next().unwrap_or_default();
    let scheme = match provider {
        "aws" | "s3" => "s3",
        "azure" => "azure",
        "gcp" | "gcs" => "gs",
        "file" | "filesystem" => "file",
        // Whether there is one of this name, opening the location finds out.
        _ if spec.provider.contains('/') => EXTENSION,
        _ => return Err(LocationError::Provider(spec.provider.clone())),
    };
    let storage = &spec.object_storage;
    let prefix = storage.prefix.trim_matches('/');
    let mut options: BTreeMap<String, String> = spec.config.clone();
    if scheme == "file" {
        let folder = options
            .remove("path")
            .filter(|path| path.starts_with('/'))
            .ok_or(LocationError::Missing("config.path, an absolute folder,"))?;
        let mut path = folder.trim_end_matches('/').to_owned();
        for part in [storage.bucket.trim_matches('/'), prefix] {
            if !part.is_empty() {
                path.push('/');
                path.push_str(part);
            }
        }
        return Ok(StoreUrl {
            scheme: scheme.to_owned(),
            bucket: String::new(),
            path,
            options,
        });
    }
    if storage.bucket.is_empty() {
        return Err(LocationError::Missing("objectStorage.bucket"));
    }
    if scheme == EXTENSION {
        let name = salvor_extension_store::PROVIDER.to_owned();
        options.insert(name, spec.provider.clone());
    }
    Ok(StoreUrl {
        scheme: scheme.to_owned(),
        bucket: storage.bucket.clone(),
        path: prefix.to_owned(),
        options,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(provider: &str, bucket: &str, config: &[(&str, &str)]) -> BackupStorageLocation {
        let mut object = BackupStorageLocation::named("velero", "default");
        object.spec.provider = provider.to_owned();
        object.spec.object_storage.bucket = bucket.to_owned();
        object.spec.object_storage.prefix = "/some/prefix/".to_owned();
        object.spec.config = config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        object
    }

    #[test]
    fn veleros_providers_become_urls() {
        for (provider, scheme) in [
            ("aws", "s3"),
            ("velero.io/aws", "s3"),
            ("azure", "azure"),
            ("gcp", "gs"),
        ] {
            let url = url(&object(provider, "b", &[("region", "eu-west-1")])).expect("known");
            assert_eq!(url.to_string(), format!("{scheme}://b/some/prefix"));
            assert_eq!(url.options["region"], "eu-west-1");
        }
        let extension = url(&object("example.com/store", "b", &[])).expect("perhaps");
        assert_eq!(extension.to_string(), "extension://b/some/prefix");
        assert_eq!(extension.options["provider"], "example.com/store");
        let folder = object("salvor.dev/file", "", &[("path", "/var/backups/")]);
        let folder = url(&folder).expect("known");
        assert_eq!(folder.to_string(), "file:///var/backups/some/prefix");
        assert!(folder.options.is_empty());
    }

    #[test]
    fn what_is_missing_is_named() {
        for (object, said) in [
            (object("ftp", "b", &[]), "`ftp` is not one of"),
            (object("", "b", &[]), "`` is not one of"),
            (
                object("example.com/store", "", &[]),
                "objectStorage.bucket is missing",
            ),
            (object("aws", "", &[]), "objectStorage.bucket is missing"),
            (object("file", "", &[]), "config.path"),
            (object("file", "", &[("path", "relative")]), "config.path"),
        ] {
            let error = url(&object).expect_err("unusable").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
