//! The same protocol between real processes: kills that no handler sees, and races that no runtime orders.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use salvor_location::RunId;
use salvor_storage::FsStore;

use crate::killed;
use crate::world::{assert_whole_or_absent, location, write_backup};

/// This test program again, running only the writer below.
fn writer() -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program has a path"));
    command.args([
        "--exact",
        "--nocapture",
        "processes::a_writer_in_a_process_of_its_own",
    ]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_in_a_process_of_its_own() {
    if let Some(folder) = std::env::var_os(killed::FOLDER) {
        // Started by one of the tests below, which judges what is written here.
        killed::child(Path::new(&folder)).await;
        return;
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let location = location(Arc::new(FsStore::new(folder.path())));
    let run = RunId::generate();
    write_backup(&location, &run).await.expect("written");
    let committed = assert_whole_or_absent(&location, "not disturbed").await;
    assert_eq!(committed, Some(run));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_killed_anywhere_leaves_a_whole_backup_or_none() {
    for seed in 0..20 {
        killed::kill_somewhere(writer(), seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_processes_that_write_one_name_exactly_one_does() {
    for round in 0..3 {
        killed::race(writer, round).await;
    }
}
