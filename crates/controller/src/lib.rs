//! The server: it takes the place of Velero's. Controllers bring about what Velero's kinds ask for; the work
//! itself is done by [`salvor_objects`] and [`salvor_location`].
//!
//! ```text
//! API server --watch--> Informer --names--> Queue --turns--> Reconcile --patch--> API server
//!                                                               |
//!                                                               '-- runs: backup, restore
//! ```
//!
//! Invariants:
//! - one process leads; it stops what only a leader may do before another may begin ([`salvor_cluster::Lease`]);
//! - a turn may end anywhere and be repeated; what must survive stands in the objects and in the location,
//!   never in this process alone;
//! - every write names the version that it was decided from and is refused when that is old;
//! - a phase is honest: an object that is in progress has a run, or gets settled or resumed by the next leader.
//!
//! Start with [`Server`], then `control` for how every controller works, then `backup`.

mod admission;
mod authorize;
mod backup;
mod bucket_rules;
mod collect;
mod context;
mod control;
mod copy;
mod deletion;
mod desk;
mod download;
mod events;
mod informer;
pub mod install;
mod kinds;
mod leftovers;
mod locations;
mod metrics;
mod movers;
mod presence;
mod probes;
mod queue;
pub mod repositories;
mod restore;
mod runs;
mod schedule;
mod serve;
mod server;
mod server_status;
mod snapshotters;
mod storage_location;
mod sync;
pub mod tls;

pub use authorize::AuthorizeRequests;
pub use context::{Clock, ServerOptions};
pub use download::Downloads;
pub use kinds::{KindError, Kinds};
pub use locations::{LocationError, Locations, OpenStore, url as location_url};
pub use metrics::Metrics;
pub use presence::{Presence, find_server};
pub use repositories::Upkeep;
pub use server::{LEASE, Server, ServerError};
pub use sync::CONFIRM_SYNC;
