//! A deduplicating, encrypted store of files and streams, in the format of restic (repository version 2).
//!
//! Whatever is written here is listed, checked and restored by plain `restic`; whatever `restic` wrote is read,
//! extended and checked here. The crate knows bytes under names ([`salvor_storage::ObjectStore`]) and no Kubernetes.
