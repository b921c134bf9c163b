//! Faults between us and the store.
