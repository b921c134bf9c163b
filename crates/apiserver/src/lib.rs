//! A Kubernetes API server in process.
//!
//! It speaks the real protocol: discovery, lists with pages, watches, patches, tables, refusals as
//! `Status`. [`ApiServer::memory`] keeps objects in memory and can be written; it is what tests and the
//! demo run against. [`ApiServer::archive`] shows a backup read-only. A client gets it in one of two ways:
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use salvor_apiserver::{ApiServer, Options};
//!
//! let server = ApiServer::memory(Options::default());
//! // In process, without sockets: the server is a `tower::Service` that takes any body, so
//! // `kube::Client::new(server.clone(), "default")` is a client of it.
//!
//! // Over HTTP, for kubectl:
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
//! let handle = server.serve(listener)?;
//! println!("{}", handle.kubeconfig("salvor"));
//! handle.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Tests break it with [`ApiServer::faults`] and look at [`ApiServer::requests`].
//!
//! Invariants:
//! - one lock, one counter: every change has its own resourceVersion, and what follows from a change
//!   (garbage collection, finished namespaces) has happened when the change is answered;
//! - objects are kept as bytes with parsed metadata, never as typed values: a kind is a row in a table;
//! - bodies are bounded, history is bounded in number and bytes, a watch holds nothing of its own;
//! - what it does not do it refuses: server-side apply, protobuf bodies, running anything (unless [`Options::exec`] does), deciding who
//!   may do what, calling webhooks. `docs/compatibility.md` lists what differs from the real server.
//!
//! Start reading at [`handler`](crate) for the way of a request, then `memory` for writes and `rules` for
//! what single kinds do.

mod archived;
mod body;
mod continuation;
mod crd;
mod discovery;
mod entry;
mod exec;
mod faults;
mod handler;
mod kinds;
mod memory;
mod names;
mod openapi;
mod options;
mod patch;
mod protobuf;
mod registry;
mod request;
mod rules;
mod scale;
mod schema;
mod select;
mod server;
mod status;
mod store;
mod strategic;
mod table;
mod typed;

pub use body::ResponseBody;
pub use exec::{ExecCommand, ExecEnd, ExecHandler, ExecStreams};
pub use faults::{Fault, FaultRule, Faults, RequestRecord, Requests};
pub use handler::ConnectionCut;
pub use options::{Clock, Options};
pub use server::{ApiServer, ServerHandle, kubeconfig};
