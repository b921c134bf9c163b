//! The commit protocol under races, crashes, kills, lost answers and lying stores.

mod commit;
mod crash;
mod hold;
mod hook;
mod killed;
mod processes;
mod restore;
mod room;
mod takeover;
mod trial;
mod world;
