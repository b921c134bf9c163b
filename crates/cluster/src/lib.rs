//! The client side of Kubernetes: discovery, lists as raw JSON, reads, writes and waits.
//!
//! Everything goes over the protocol: [`Cluster`] takes any HTTP service, so a real API server, the
//! in-process one and an archive that is served read-only share one code path.
//!
//! Invariants:
//! - objects are bytes; no object is decoded into a type, and none is changed on its way;
//! - every call has a timeout, a cap on the size of its answer and a place in the shared
//!   [`Limiter`](limiter::Limiter), which backs off when the server is slow or says 429;
//! - retries live in one place ([`Cluster`]'s `call`) and happen only when a repetition is harmless;
//!   a write whose answer was lost is an error that says so ([`Error::may_have_happened`]);
//! - bytes from a server never panic: they are an error with [`ErrorKind::Malformed`].
//!
//! What is absent: a cache of what is watched. Start with [`Cluster`], then [`Discovery`].

mod client;
mod connect;
pub mod discovery;
mod error;
pub mod exec;
mod lease;
pub mod limiter;
mod metrics;
mod page;
mod path;
mod resource;
mod retry;
mod text;
mod wait;
mod watch;
mod write;

pub use client::{Cluster, ClusterIdentity, ServerVersion, Timeouts};
pub use connect::ConnectOptions;
pub use discovery::{DiscoverOptions, Discovery, DiscoveryFailure};
pub use error::{Error, ErrorKind, Status, StatusCause};
/// The body type of requests that a service given to [`Cluster::from_service`] receives.
pub use kube::client::Body;
pub use lease::{Held, Lease, LeaseOptions, LeaseState};
pub use page::{ListOptions, PAGE_BYTES, Page, Pager};
pub use resource::ApiResource;
pub use wait::{Look, Wait};
pub use watch::{Watch, WatchEvent, WatchOptions};
pub use write::{DeleteOptions, Patch, Propagation, WriteOptions};
