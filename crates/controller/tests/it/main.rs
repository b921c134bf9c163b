//! The server against the in-process API server.

mod install;
mod hooks;
mod killed;
mod lifecycle;
mod metrics;
mod policies;
mod requests;
mod serving;
mod world;
