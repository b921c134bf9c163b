//! The server against the in-process API server.

mod killed;
mod lifecycle;
mod metrics;
mod requests;
mod serving;
mod world;
