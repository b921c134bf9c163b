//! Pages, snapshots and data directories: written, damaged, read; and with real etcd on both sides.

mod alarms;
mod bench;
mod bolt;
mod capture;
mod chains;
mod clock;
mod compact;
mod copies;
mod faults;
mod gardener;
mod lost;
mod network;
mod points;
mod prune;
mod prune_faults;
mod real;
mod restore;
mod save;
mod snapshot;
mod support;
mod users;
