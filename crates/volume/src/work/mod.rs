//! What a mover pod does: one volume, mounted at one directory, into a repository or out of it.
//!
//! The object says how far it is at every moment: `InProgress` before the first byte, progress at most once a second,
//! and an end, whatever it was. Whoever watches it needs nothing else.

mod engine;
mod left_out;
mod report;

pub(crate) use self::report::chain;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use salvor_repository::Progress;
use salvor_seal::Secret;
use salvor_storage::ObjectStore;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use self::engine::Engine;
use self::report::Reporter;
use crate::Domain;
use crate::objects::{Direction, Movement, Outcome};
use salvor_api::velero::DataPhase;
use salvor_cluster::Cluster;

/// What a mover works with.
#[derive(Clone, Debug)]
pub struct Work {
    /// The cluster of its object.
    pub cluster: Cluster,
    /// Namespace of its object.
    pub namespace: String,
    /// Kind of its object.
    pub direction: Direction,
    /// Name of its object.
    pub name: String,
    /// Where the volume is mounted.
    pub directory: PathBuf,
    /// Password of the repository.
    pub password: Secret,
    /// Whether the password is random, so that guessing it need not be made expensive.
    pub machine_made: bool,
}

/// A location, opened.
#[derive(Clone, Debug)]
pub struct OpenLocation {
    /// Its store.
    pub store: Arc<dyn ObjectStore>,
    /// Whether nothing may be written there.
    pub read_only: bool,
}

/// A mover that could not do its work. Its object says so too, if that could be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// The object is gone.
    #[error("{kind} {name} is gone: nothing is to be moved")]
    Gone {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// The object cannot be read or written.
    #[error("{doing}")]
    Cluster {
        /// What we were doing.
        doing: &'static str,
        /// Why it failed.
        source: salvor_cluster::Error,
    },
    /// What is to be moved cannot be.
    #[error("{0}")]
    Unfit(String),
    /// The repository or the volume failed.
    #[error("{doing}")]
    Repository {
        /// What we were doing.
        doing: &'static str,
        /// Why it failed.
        source: Box<salvor_repository::Error>,
    },
    /// The volume cannot be opened or written to.
    #[error("{doing} {}", path.display())]
    Volume {
        /// What we were doing.
        doing: &'static str,
        /// What was not to be had.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A thread of the engine panicked.
    #[error("the engine ended abruptly; nothing was committed")]
    Engine(#[source] tokio::task::JoinError),
    /// It was asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl WorkError {
    /// True when it was asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        match self {
            Self::Cancelled => true,
            Self::Repository { source, .. } => source.is_cancelled(),
            _ => false,
        }
    }
}

impl Work {
    /// Name of the location that the object is about.
    ///
    /// # Errors
    /// The object is gone or cannot be read.
    pub async fn location(&self) -> Result<String, WorkError> {
        Ok(self.movement().await?.location)
    }

    async fn movement(&self) -> Result<Movement, WorkError> {
        let found = Movement::get(&self.cluster, &self.namespace, self.direction, &self.name);
        let found = found.await.map_err(|source| WorkError::Cluster {
            doing: "read what is to be moved",
            source,
        })?;
        found.ok_or_else(|| WorkError::Gone {
            kind: match self.direction {
                Direction::Backup => "PodVolumeBackup",
                Direction::Restore => "PodVolumeRestore",
            },
            name: self.name.clone(),
        })
    }

    /// Moves the data and says so in the object. `location` is the one that the object names, or why it cannot be opened.
    ///
    /// # Errors
    /// [`WorkError`]; the object says it too.
    pub async fn carry_out(
        &self,
        location: Result<OpenLocation, String>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, WorkError> {
        let Some(movement) = self.begin().await? else {
            return Err(WorkError::Cancelled);
        };
        let progress = Arc::new(Progress::new());
        let touched = Arc::new(AtomicBool::new(false));
        let moved = self.moved(&movement, location, &progress, &touched, cancel);
        let moved = moved.await;
        let reporter = Reporter::new(self);
        let end = match &moved {
            Ok(outcome) => reporter.completed(&movement, outcome).await,
            Err(error) => {
                let touched = touched.load(Ordering::Relaxed);
                reporter.ended(error, touched).await
            }
        };
        let outcome = moved?;
        end?;
        Ok(outcome)
    }

    /// Takes the object up; `None` when it has ended or shall not begin.
    async fn begin(&self) -> Result<Option<Movement>, WorkError> {
        loop {
            let movement = self.movement().await?;
            if movement.phase.is_final() {
                return Ok(None);
            }
            if movement.cancel || movement.phase == DataPhase::Canceling {
                Reporter::new(self)
                    .ended(&WorkError::Cancelled, false)
                    .await?;
                return Ok(None);
            }
            // Of this pod, whose answer was lost: a pod of ours runs once only.
            if movement.phase == DataPhase::InProgress {
                return Ok(Some(movement));
            }
            let status = json!({"phase": "InProgress", "startTimestamp": crate::objects::now()});
            match movement
                .set_status(&self.cluster, &self.namespace, status)
                .await
            {
                Ok(taken) => return Ok(Some(taken.unwrap_or(movement))),
                Err(error) if report::is_stale(&error) || error.is_retryable() => {
                    tracing::info!(%error, "the object is looked at once more");
                    tokio::time::sleep(report::PAUSE).await;
                }
                Err(source) => {
                    return Err(WorkError::Cluster {
                        doing: "take the work up",
                        source,
                    });
                }
            }
        }
    }

    async fn moved(
        &self,
        movement: &Movement,
        location: Result<OpenLocation, String>,
        progress: &Arc<Progress>,
        touched: &Arc<AtomicBool>,
        cancel: &CancellationToken,
    ) -> Result<Outcome, WorkError> {
        let location = location.map_err(WorkError::Unfit)?;
        let (part, snapshot) = movement.part().ok_or_else(|| {
            WorkError::Unfit(format!(
                "annotation {} and snapshotID `{}` do not agree on which part is to be restored",
                crate::objects::PART,
                movement.snapshot
            ))
        })?;
        let engine = Engine {
            direction: self.direction,
            domain: domain_of(movement)?,
            location,
            password: self.password.clone(),
            machine_made: self.machine_made,
            directory: self.directory.clone(),
            source: movement.annotation(crate::objects::SOURCE).to_owned(),
            snapshot: snapshot.to_owned(),
            part,
            tags: movement.tags.clone(),
            marker: movement.annotation(crate::objects::DONE_MARKER).to_owned(),
            progress: Arc::clone(progress),
            touched: Arc::clone(touched),
            runtime: tokio::runtime::Handle::current(),
        };
        let mut work = tokio::task::spawn_blocking(move || engine.run());
        let reporter = Reporter::new(self);
        let stopped = {
            let watch = reporter.until_cancelled(movement, progress);
            tokio::pin!(watch);
            tokio::select! {
                done = &mut work => return done.map_err(WorkError::Engine)?,
                () = &mut watch => "the object asks for it",
                () = cancel.cancelled() => "the pod is to end",
            }
        };
        tracing::info!(reason = stopped, "stopping at the next safe point");
        progress.stop();
        // Waited for: what it has open and locked is let go by itself.
        work.await.map_err(WorkError::Engine)?
    }
}

/// The domain that an object's `repoIdentifier` names.
pub(crate) fn domain_of(movement: &Movement) -> Result<Domain, WorkError> {
    Domain::of_folder(&movement.repository).ok_or_else(|| {
        WorkError::Unfit(format!(
            "repoIdentifier `{}` names no repository of Salvor's: it should be plugins/salvor/repository/<domain>",
            movement.repository
        ))
    })
}
