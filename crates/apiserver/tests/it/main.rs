//! The server as its clients see it: requests in, answers out.

mod api;
mod custom;
mod lifecycle;
mod objects;
mod refusals;
mod rules;
#[path = "../script/mod.rs"]
mod script;

use api::{Api, check};
