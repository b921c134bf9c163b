//! The contract of item actions, against endpoints and programs that keep it and that do not.

mod conformance;
mod definitions;
mod faults;
mod tls;
