//! The server as its clients see it: requests in, answers out.

mod api;
mod objects;

use api::Api;
