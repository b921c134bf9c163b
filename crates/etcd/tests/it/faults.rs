//! A disk that becomes full at every step of a restore.

use std::path::{Path, PathBuf};
use std::process::Command;

use salvor_etcd::membership::Cluster;
use salvor_etcd::restore::{Options, Revisions, restore};

use crate::support::{GO_ON, chain, seal, store, write};

/// Names the small file system to the test in the process that has one.
const SMALL: &str = "SALVOR_TEST_SMALL_FILE_SYSTEM";
/// Files and folders that the file system has room for.
const FILES: &str = "SALVOR_TEST_FILES";

/// Runs a test of this program again, in a mount namespace of its own with a file system of so many files. False, said
/// aloud, where that may not be made.
fn with_few_files(test: &str, folder: &Path, files: u32) -> bool {
    let script = "mount -t tmpfs -o size=100m,nr_inodes=$4 none \"$1\" || exit 77; exec \"$2\" --exact \"$3\" --nocapture";
    let output = Command::new("unshare")
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .arg(folder)
        .arg(std::env::current_exe().expect("this program"))
        .arg(test)
        .arg(files.to_string())
        .env(SMALL, folder)
        .env(FILES, files.to_string())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("1 passed"), "{said}");
            true
        }
        Ok(output) if output.status.code() == Some(101) => {
            panic!(
                "{files} files: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            )
        }
        other => {
            salvor_testkit::skipped(&format!("no file system of its own can be made: {other:?}"));
            false
        }
    }
}

/// What stands in a folder, with everything below it.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("there") {
        let path = entry.expect("listed").path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// Root of the file system, the old folder, its file, the temporary folder, `member`, `snap`, `db`, the file that says where the
/// log begins, `wal` and the log.
const NEEDED: u32 = 10;

#[test]
fn a_disk_that_becomes_full_at_any_step_leaves_the_old_directory_and_nothing_else() {
    let Some(small) = std::env::var_os(SMALL).map(PathBuf::from) else {
        let folder = tempfile::tempdir().expect("a folder");
        let test = "faults::a_disk_that_becomes_full_at_any_step_leaves_the_old_directory_and_nothing_else";
        for files in 3..=NEEDED + 1 {
            if !with_few_files(test, folder.path(), files) {
                return;
            }
        }
        return;
    };
    let files: u32 = std::env::var(FILES)
        .expect("set")
        .parse()
        .expect("a number");
    let elsewhere = tempfile::tempdir_in("/tmp").expect("a folder");
    let snapshot = elsewhere.path().join("snapshot.db");
    write(&snapshot, 4096, &store(50, "key")).expect("written");
    seal(&snapshot);
    let data = small.join("data");
    std::fs::create_dir(&data).expect("a folder");
    std::fs::write(data.join("old"), "the old one").expect("a file");
    let before = tree(&small);
    let options = Options {
        cluster: Cluster::new("m1=http://localhost:2380", "token").expect("valid"),
        name: "m1".to_owned(),
        peer_urls: "http://localhost:2380".parse().expect("valid"),
        data_dir: data.clone(),
        wal_dir: None,
        skip_digest: false,
        revisions: Revisions::Exact,
        replace: true,
        owner: None,
    };
    match restore(&snapshot, &options, &GO_ON) {
        Ok(restored) => {
            assert!(files >= NEEDED, "with {files} files it cannot be whole");
            assert!(data.join("member/snap/db").exists());
            assert!(restored.kept[0].join("old").exists());
        }
        Err(error) => {
            assert!(files < NEEDED, "{files}: {}", chain(&error));
            assert!(chain(&error).contains("No space left"), "{}", chain(&error));
            assert_eq!(tree(&small), before, "{}", chain(&error));
        }
    }
}
