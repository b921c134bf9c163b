//! The object for a namespace and a location, made by whoever needs it first.

use std::time::Duration;

use salvor_api::go::GoDuration;
use salvor_api::labels;
use salvor_api::velero::{BackupRepository, BackupRepositoryPhase, UploaderType};
use salvor_cluster::{Cluster, Wait};
use salvor_seal::Digest;
use salvor_volume::Domain;

use super::DOMAIN;
use crate::kinds::{KindError, Kinds};

/// Longest beginning of a name that Kubernetes generates an ending for.
const LONGEST: usize = 58;
/// Characters of the ending, as Kubernetes has them.
const ENDING: usize = 5;
/// Names that are tried: one is enough, unless two namespaces have the same ending.
const TRIES: u8 = 4;

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepositoryError {
    /// The API server refused it or does not answer.
    #[error("BackupRepository of namespace `{namespace}` in location `{location}`")]
    Kind {
        /// Namespace of the volumes.
        namespace: String,
        /// The location.
        location: String,
        /// Why.
        #[source]
        source: KindError,
    },
    /// Every name is taken by the repository of another namespace.
    #[error(
        "every name for the BackupRepository of namespace `{namespace}` in location `{location}` is taken by another"
    )]
    NoName {
        /// Namespace of the volumes.
        namespace: String,
        /// The location.
        location: String,
    },
    /// It could not be opened.
    #[error("BackupRepository `{name}` is not ready: {message}")]
    NotReady {
        /// Its name.
        name: String,
        /// What the server says of it.
        message: String,
    },
    /// It was removed while it was waited for.
    #[error("BackupRepository `{name}` was removed while it was waited for")]
    Gone {
        /// Its name.
        name: String,
    },
}

/// The name of the object: Velero's beginning, `<namespace>-<location>-restic-`, and an ending that is always the same
/// for the same namespace and location, so that two who ask at once make one object. `attempt` is 0 but where another
/// object has the name.
#[must_use]
pub fn repository_name(volume_namespace: &str, location: &str, attempt: u8) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut name = format!("{volume_namespace}-{location}-restic-");
    // Names of namespaces and locations are ASCII.
    let cut = (0..=LONGEST.min(name.len()))
        .rev()
        .find(|at| name.is_char_boundary(*at));
    name.truncate(cut.unwrap_or_default());
    let digest = Digest::of(format!("{volume_namespace}/{location}/{attempt}").as_bytes());
    let ending = digest.as_bytes().iter().take(ENDING);
    name.extend(ending.map(|byte| char::from(LETTERS[usize::from(byte & 31)])));
    name
}

/// The BackupRepository for the volumes of a namespace in a location; it is made when there is none. It may not be
/// ready yet: see [`ready`]. May be called by several at once, and again after a crash.
///
/// # Errors
/// [`RepositoryError::Kind`], [`RepositoryError::NoName`].
pub async fn ensure(
    cluster: &Cluster,
    server_namespace: &str,
    volume_namespace: &str,
    location: &str,
    every: Duration,
) -> Result<BackupRepository, RepositoryError> {
    let kinds = Kinds::<BackupRepository>::new(cluster, server_namespace);
    let failed = |source| RepositoryError::Kind {
        namespace: volume_namespace.to_owned(),
        location: location.to_owned(),
        source,
    };
    for attempt in 0..TRIES {
        let name = repository_name(volume_namespace, location, attempt);
        let found = match kinds.get(&name).await.map_err(failed)? {
            Some(found) => Some(found),
            None => {
                let wanted = object(server_namespace, &name, volume_namespace, location, every);
                match kinds.create(&wanted).await {
                    Ok(made) => Some(made),
                    Err(error) if error.already_exists() => {
                        kinds.get(&name).await.map_err(failed)?
                    }
                    Err(error) => return Err(failed(error)),
                }
            }
        };
        let is_it = |found: &BackupRepository| {
            found.spec.volume_namespace == volume_namespace
                && found.spec.backup_storage_location == location
                && found.metadata.annotations.contains_key(DOMAIN)
        };
        if let Some(found) = found.filter(is_it) {
            return Ok(found);
        }
    }
    Err(RepositoryError::NoName {
        namespace: volume_namespace.to_owned(),
        location: location.to_owned(),
    })
}

/// Waits until the server has opened or created what the object stands for.
///
/// # Errors
/// [`RepositoryError`]; [`RepositoryError::NotReady`] as soon as the server says so, or when time runs out.
pub async fn ready(
    cluster: &Cluster,
    server_namespace: &str,
    object: &BackupRepository,
    wait: &Wait,
) -> Result<BackupRepository, RepositoryError> {
    let kinds = Kinds::<BackupRepository>::new(cluster, server_namespace);
    let name = object.metadata.name.clone();
    let settled = |object: &BackupRepository| {
        matches!(
            object.status.phase,
            BackupRepositoryPhase::Ready | BackupRepositoryPhase::NotReady
        )
    };
    let found = match kinds.wait(&name, wait, settled).await {
        Ok(found) => found,
        Err(error) if error.ran_out() => {
            return Err(RepositoryError::NotReady {
                name,
                message: "the server has not looked at it yet".to_owned(),
            });
        }
        Err(source) => {
            return Err(RepositoryError::Kind {
                namespace: object.spec.volume_namespace.clone(),
                location: object.spec.backup_storage_location.clone(),
                source,
            });
        }
    };
    match found {
        None => Err(RepositoryError::Gone { name }),
        Some(found) if found.status.phase == BackupRepositoryPhase::Ready => Ok(found),
        Some(found) => Err(RepositoryError::NotReady {
            name,
            message: found.status.message,
        }),
    }
}

fn object(
    server_namespace: &str,
    name: &str,
    volume_namespace: &str,
    location: &str,
    every: Duration,
) -> BackupRepository {
    let mut object = BackupRepository::named(server_namespace, name);
    let metadata = &mut object.metadata;
    for (label, value) in [
        (labels::VOLUME_NAMESPACE, volume_namespace),
        (labels::STORAGE_LOCATION, location),
        (labels::REPOSITORY_TYPE, "restic"),
    ] {
        metadata
            .labels
            .insert(label.to_owned(), labels::label_value(value));
    }
    let domain = Domain::of_namespace(volume_namespace);
    metadata
        .annotations
        .insert(DOMAIN.to_owned(), domain.to_string());
    let spec = &mut object.spec;
    volume_namespace.clone_into(&mut spec.volume_namespace);
    location.clone_into(&mut spec.backup_storage_location);
    spec.repository_type = UploaderType::Restic;
    spec.maintenance_frequency = GoDuration(every);
    object.status.phase = BackupRepositoryPhase::New;
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_veleros_and_always_the_same() {
        let name = repository_name("shop", "default", 0);
        assert!(name.starts_with("shop-default-restic-"), "{name}");
        assert_eq!(name.len(), "shop-default-restic-".len() + ENDING);
        assert_eq!(name, repository_name("shop", "default", 0));
        assert_ne!(name, repository_name("shop", "default", 1));
        let long = |last: char| repository_name(&format!("{}{last}", "n".repeat(62)), "default", 0);
        assert_eq!(long('a').len(), 63);
        assert_ne!(long('a'), long('b'));
        assert!(salvor_api::name::check_dns_subdomain("repository", &long('a')).is_ok());
    }
}
