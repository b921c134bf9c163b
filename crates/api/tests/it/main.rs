//! Definitions against what Velero publishes, and a year of schedules and retention against oracles.

mod crds;
mod year;
