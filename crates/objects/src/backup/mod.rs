//! Backup of cluster objects, from an API server straight to a location.
