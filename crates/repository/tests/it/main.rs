//! The engine against real file systems and the real restic.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod damage;
mod extra;
mod faults;
mod full;
mod head;
mod kept;
mod locks;
mod matrix;
mod mend;
mod noted;
mod prune;
mod restic;
mod retention;
mod round_trip;
mod scale;
mod support;
mod synthetic;
mod unreadable;
