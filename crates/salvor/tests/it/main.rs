//! The binary as its users meet it: arguments, exit codes, what it prints, and whole stories against the
//! in-process API server over HTTP.

mod alerts;
mod arguments;
mod browse;
mod bucket;
mod chart;
mod control_plane_files;
mod control_plane_runs;
mod copies;
#[path = "../../../volume/tests/it/csi/driver.rs"]
#[expect(dead_code, reason = "shared with the tests of snapshots")]
mod csi_driver;
mod damage;
mod damaged_repository;
mod debug;
mod demo;
mod etcd;
mod etcd_install;
mod etcd_lost;
mod etcd_members;
mod etcd_stream;
mod explain;
mod exports;
mod extensions;
mod install;
mod interrupt;
mod locations;
mod points;
mod recovery;
mod repository;
mod retention;
mod served;
mod snapshots;
mod support;
