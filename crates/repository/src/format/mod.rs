//! The files of the format: how each is read and written. `docs/formats/repository.md` specifies them.

pub mod config;
pub mod index_file;
pub mod key_file;
pub mod lock_file;
pub mod names;
pub mod node;
pub mod pack;
pub mod snapshot;
pub mod tree;
pub mod unpacked;
