//! The commit protocol, and copies, under races, crashes, kills, lost answers and lying stores.

mod archive;
mod collect;
mod commit;
mod copy;
mod crash;
mod hold;
mod hook;
mod killed;
mod mirror;
mod points;
mod processes;
mod repair;
mod restore;
mod room;
mod run_state;
mod sealed;
mod takeover;
mod tree;
mod trial;
mod trust;
mod verified;
mod world;
