//! The client against the in-process API server.

mod calls;
mod execs;
mod lists;
mod watches;
