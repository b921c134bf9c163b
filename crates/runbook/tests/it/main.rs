//! Runs that are killed, resumed, fenced, approved and undone, over files of a temporary folder.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod executor;
mod journal;
mod world;
