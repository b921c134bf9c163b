//! Opens, or creates, what a BackupRepository stands for, and says whether it can be used.

use std::sync::Arc;
use std::time::Duration;

use salvor_api::velero::{
    AccessMode, BackupRepository, BackupRepositoryPhase, BackupStorageLocation,
};
use salvor_repository::{Error, InitOptions, Repository, Work};
use salvor_seal::repository_key::SECRET;
use salvor_seal::{KeyMaterial, Secret};
use salvor_volume::Domain;
use salvor_volume::cluster_key::{self, KeyError};
use tokio_util::task::TaskTracker;

use super::{domain_of, files_of, fingerprint};
use crate::context::{Context, Unusable, chain};
use crate::control::{Next, Reconcile};
use crate::events::EventType;
use crate::kinds::KindError;

/// Annotation: which store it was opened in.
const CONNECTED: &str = "salvor.dev/connected-to";
/// Pause before another try to open what could not be opened.
const AGAIN: Duration = Duration::from_secs(60);
/// Pause before a location that is not seen yet is looked for again.
const SOON: Duration = Duration::from_secs(1);

pub(super) struct Connector {
    pub(super) context: Context,
    pub(super) tasks: TaskTracker,
}

/// Why a repository cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Location(#[from] Unusable),
    #[error("find the key of the repositories")]
    Key(#[from] KeyError),
    #[error("open the repository")]
    Open(#[source] Error),
    #[error("create the repository")]
    Create(#[source] Error),
    #[error(
        "the location is read-only and has no repository for this domain: nothing can be backed up to it"
    )]
    ReadOnly,
    #[error(
        "the location has a repository for this domain, and the cluster has no key: put the key that it was made with \
         into Secret `{SECRET}`"
    )]
    NoKey,
    #[error("the work on the repository ended without an answer")]
    Ended,
}

impl Reconcile for Connector {
    const NAME: &'static str = "backup-repository";
    type Error = KindError;

    async fn reconcile(&self, name: &str) -> Result<Next, KindError> {
        let context = &self.context;
        let Some(object) = context.repositories.get(name) else {
            return Ok(Next::Wait);
        };
        let Some(domain) = domain_of(&object) else {
            return Ok(Next::Wait);
        };
        let location = &object.spec.backup_storage_location;
        let Some(location) = context.storage_locations.get(location) else {
            // What is watched may lag behind: the location may have been made a moment ago.
            let asked = context
                .kinds::<BackupStorageLocation>()
                .get(location)
                .await?;
            if asked.is_some() {
                return Ok(Next::After(SOON));
            }
            // With its location it goes out of the cluster, never out of the store.
            context.kinds().delete(&*object).await?;
            return Ok(Next::Wait);
        };
        let store = fingerprint(&location);
        let known = object.metadata.annotations.get(CONNECTED) == Some(&store);
        if known && object.status.phase == BackupRepositoryPhase::Ready {
            return Ok(Next::Wait);
        }
        let mut after = (*object).clone();
        let connected = self.connect(&location, &domain).await;
        let status = &mut after.status;
        let next = match &connected {
            Ok(()) => {
                status.phase = BackupRepositoryPhase::Ready;
                status.message.clear();
                let annotations = &mut after.metadata.annotations;
                annotations.insert(CONNECTED.to_owned(), store);
                Next::Wait
            }
            Err(error) => {
                status.phase = BackupRepositoryPhase::NotReady;
                status.message = chain(error);
                Next::After(AGAIN)
            }
        };
        self.tell(&object, &after).await?;
        Ok(next)
    }

    fn is_ordinary(error: &KindError) -> bool {
        error.is_stale()
    }
}

impl Connector {
    async fn tell(
        &self,
        before: &BackupRepository,
        after: &BackupRepository,
    ) -> Result<(), KindError> {
        let stored = self.context.kinds().update(before, after).await?;
        let (old, new) = (&before.status, &stored.status);
        if old.phase == new.phase && old.message == new.message {
            return Ok(());
        }
        let events = &self.context.events;
        match new.phase {
            BackupRepositoryPhase::Ready => {
                let text = "the repository can be used";
                events.record(&stored, EventType::Normal, "Ready", text);
            }
            _ => events.record(&stored, EventType::Warning, "NotReady", new.message.clone()),
        }
        Ok(())
    }

    async fn connect(
        &self,
        location: &BackupStorageLocation,
        domain: &Domain,
    ) -> Result<(), ConnectError> {
        let context = &self.context;
        let opened = context.location(&location.metadata.name).await?;
        let files = files_of(&opened, domain);
        let looking = files.clone();
        let exists = blocking(&self.tasks, move || looking.config())
            .await?
            .map_err(ConnectError::Open)?
            .is_some();
        let namespace = &context.options.namespace;
        let found = cluster_key::find(&context.cluster, namespace).await?;
        if exists {
            let material = found.ok_or(ConnectError::NoKey)?;
            let password = material.password_of(domain.as_str());
            return blocking(&self.tasks, move || {
                Repository::open(files, &password).map(drop)
            })
            .await?
            .map_err(ConnectError::Open);
        }
        if location.spec.access_mode == AccessMode::ReadOnly {
            return Err(ConnectError::ReadOnly);
        }
        let material = match found {
            Some(material) => material,
            None => self.first_key(location).await?,
        };
        let password = material.password_of(domain.as_str());
        let options = self.options(&material);
        blocking(&self.tasks, move || create(files, &password, &options))
            .await?
            .map_err(ConnectError::Create)
    }

    /// A key for a cluster that has none, and a word about it that nobody can overlook.
    async fn first_key(
        &self,
        location: &BackupStorageLocation,
    ) -> Result<KeyMaterial, ConnectError> {
        let context = &self.context;
        let namespace = &context.options.namespace;
        let made = cluster_key::make(&context.cluster, namespace).await?;
        // What the API server has counts, whoever made it.
        let found = cluster_key::find(&context.cluster, namespace).await?;
        let material = found.ok_or(ConnectError::NoKey)?;
        if !made {
            return Ok(material);
        }
        let text = format!(
            "a key for repositories was made in Secret `{SECRET}`: keep a copy outside of this cluster (kubectl -n \
             {namespace} get secret {SECRET} -o yaml), without it no volume can be restored when the cluster is gone"
        );
        tracing::warn!("{text}");
        let events = &context.events;
        events.record(location, EventType::Warning, "RepositoryKeyMade", text);
        Ok(material)
    }

    fn options(&self, material: &KeyMaterial) -> InitOptions {
        InitOptions {
            work: if material.is_machine_made() {
                Work::Machine
            } else {
                Work::Passphrase
            },
            who: ("salvor".to_owned(), self.context.options.identity.clone()),
            restic_boundaries: false,
        }
    }
}

/// Creates a repository, or opens the one that somebody else has just created.
fn create(
    files: salvor_repository::Files,
    password: &Secret,
    options: &InitOptions,
) -> Result<(), Error> {
    match Repository::init(files.clone(), password, options) {
        Ok(_) => Ok(()),
        Err(Error::Exists { .. }) => Repository::open(files, password).map(drop),
        Err(error) => Err(error),
    }
}

/// Opens a repository that is there.
pub(super) async fn open(
    context: &Context,
    tasks: &TaskTracker,
    location: &salvor_location::Location,
    domain: &Domain,
) -> Result<Arc<Repository>, ConnectError> {
    let found = cluster_key::find(&context.cluster, &context.options.namespace).await?;
    let material = found.ok_or(ConnectError::NoKey)?;
    let password = material.password_of(domain.as_str());
    let files = files_of(location, domain);
    let opened = blocking(tasks, move || Repository::open(files, &password)).await?;
    opened.map(Arc::new).map_err(ConnectError::Open)
}

/// Work of the engine, which waits, beside the runtime; the server waits for it when it ends.
pub(super) async fn blocking<T: Send + 'static>(
    tasks: &TaskTracker,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ConnectError> {
    tasks.spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "work on a repository");
        ConnectError::Ended
    })
}
