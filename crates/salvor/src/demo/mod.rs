//! `demo`: a cluster in this process is backed up, destroyed and recovered, and the result is proven.

mod acts;
mod platform;
mod story;

pub(crate) use story::run;
