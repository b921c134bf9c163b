//! The server as its clients see it: requests in, answers out.

mod api;
mod archives;
mod clients;
mod custom;
mod discovery;
mod faults;
mod hostile;
mod lifecycle;
mod objects;
mod patches;
mod refusals;
mod rules;
#[path = "../script/mod.rs"]
mod script;
#[path = "../script/stored.rs"]
mod stored;
mod watches;

use api::{Api, check};
