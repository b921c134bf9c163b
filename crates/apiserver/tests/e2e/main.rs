//! Against real programs: every kubectl against this server, and the same requests against a real API
//! server.

mod differential;
mod kubectl;
#[path = "../script/mod.rs"]
mod script;
#[path = "../script/stored.rs"]
mod stored;
