//! The server against the in-process API server.

mod bucket_rules;
mod copies;
mod events;
mod hooks;
mod install;
mod killed;
mod lifecycle;
mod limits;
mod metrics;
mod policies;
mod providers;
mod requests;
mod serving;
mod tenancy;
mod tenants;
mod tls;
mod volumes;
mod world;
