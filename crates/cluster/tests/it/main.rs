//! The client against the in-process API server.

mod calls;
mod lists;
mod watches;
