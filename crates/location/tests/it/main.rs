//! The commit protocol under races, crashes, lost answers and lying stores.

mod commit;
mod crash;
mod world;
