//! The code of a failure, by its causes.

use std::error::Error;
use std::io;

use salvor_cluster::ErrorKind as Cluster;
use salvor_location::Error as Location;
use salvor_storage::ErrorKind as Store;

/// The code of the first cause that has one.
pub(crate) fn code_of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(code) = own_code(error) {
            return Some(code);
        }
        // Such an error gives the source of what it wraps, not what it wraps.
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

/// An error as this type, also in a box.
fn as_a<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let boxed = error.downcast_ref::<Box<T>>().map(|boxed| &**boxed);
    error.downcast_ref::<T>().or(boxed)
}

fn own_code(error: &(dyn Error + 'static)) -> Option<&'static str> {
    if let Some(error) = as_a::<Location>(error) {
        return of_location(error);
    }
    if let Some(error) = as_a::<salvor_storage::Error>(error) {
        return Some(of_store(error.kind));
    }
    if let Some(error) = as_a::<salvor_cluster::Error>(error) {
        return match error.is_cancelled() {
            true => None,
            false => Some(of_cluster(error.kind())),
        };
    }
    let local = error.downcast_ref::<io::Error>()?;
    let full = matches!(
        local.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    );
    full.then_some("no-room-here")
}

/// `None` where a cause says it better.
fn of_location(error: &Location) -> Option<&'static str> {
    Some(match error {
        Location::BackupExists { .. } | Location::RestoreExists { .. } => "name-taken",
        Location::Busy { .. } | Location::ClaimLost { .. } => "location-busy",
        Location::Held { .. } => "backup-held",
        Location::BackupNotFound { .. } | Location::RestoreNotFound { .. } => "not-there",
        Location::NewerFormat { .. } => "newer-format",
        Location::ReadOnly { .. } => "location-read-only",
        Location::CommitInDoubt { .. }
        | Location::BadRecord { .. }
        | Location::ContentsChanged { .. } => "stored-data-wrong",
        _ => return None,
    })
}

fn of_store(kind: Store) -> &'static str {
    match kind {
        Store::NotFound | Store::NoBucket => "store-missing",
        Store::AlreadyExists => "name-taken",
        Store::Denied => "store-denied",
        Store::Full => "store-full",
        Store::Throttled | Store::Transient => "store-unreachable",
        Store::Locked => "store-locked",
        Store::Frozen => "store-frozen",
        Store::Corrupt => "stored-data-wrong",
        _ => "store-failed",
    }
}

fn of_cluster(kind: Cluster) -> &'static str {
    match kind {
        Cluster::NotFound | Cluster::NamespaceMissing | Cluster::NoSuchKind => "cluster-missing",
        Cluster::Unauthorized | Cluster::Forbidden => "cluster-forbidden",
        Cluster::Config => "cluster-config",
        Cluster::TooManyRequests
        | Cluster::Unavailable
        | Cluster::Server
        | Cluster::Timeout
        | Cluster::Transport => "cluster-unreachable",
        _ => "cluster-refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::find;

    #[test]
    fn every_code_of_a_store_or_a_cluster_is_explained() {
        let stores = [
            Store::NotFound,
            Store::NoBucket,
            Store::AlreadyExists,
            Store::Denied,
            Store::Full,
            Store::Unsupported,
            Store::Throttled,
            Store::Transient,
            Store::Locked,
            Store::Frozen,
            Store::Corrupt,
            Store::Invalid,
            Store::Other,
        ];
        let clusters = [
            Cluster::NotFound,
            Cluster::NoSuchKind,
            Cluster::Conflict,
            Cluster::Forbidden,
            Cluster::Config,
            Cluster::Transport,
            Cluster::WebhookDenied,
        ];
        let codes = stores.into_iter().map(of_store);
        for code in codes.chain(clusters.into_iter().map(of_cluster)) {
            assert!(find(code).is_some(), "{code}");
        }
    }

    #[test]
    fn a_code_is_found_through_every_layer() {
        let store = salvor_storage::Error::new(Store::Frozen, "read", "k");
        assert_eq!(code_of(&io::Error::other(store)), Some("store-frozen"));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(code_of(&full), Some("no-room-here"));
        let held = Location::ReadOnly {
            location: "l".to_owned(),
        };
        assert_eq!(code_of(&held), Some("location-read-only"));
        assert_eq!(code_of(&io::Error::other("x")), None);
    }
}
