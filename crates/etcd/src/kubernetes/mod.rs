//! Objects of Kubernetes in the values of etcd, without a cluster.
//!
//! ```text
//!   key    /registry/pods/shop/web          --> Path
//!   value  k8s\0 envelope{v1 Pod, message}  --> Stored --> Table --> JSON as the API server gives it
//! ```
//!
//! How messages are built is data (`data/messages.json`, generated from the published API); bytes decide what a value is,
//! never its key. What cannot be read is named and counted, and nothing of the rest is lost for it.

mod cbor;
mod cipher;
mod decode;
mod encryption;
mod path;
mod place;
mod stored;
mod table;

pub use decode::{Decoded, Unreadable, object};
pub use encryption::{Configuration, Keys, KeysError, Opened, Provider};
pub use path::Path;
pub use place::Place;
pub use stored::{Identity, Stored};
pub use table::{Kind, Table, table};
