//! Restore of cluster objects: plan, then apply.
