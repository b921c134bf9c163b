//! The contract of item actions, against endpoints and programs that keep it and that do not.

mod conformance;
mod credentials;
mod definitions;
mod faults;
mod providers;
mod tls;
