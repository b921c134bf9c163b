//! The server against the in-process API server.

mod killed;
mod serving;
mod world;
