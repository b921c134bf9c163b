//! A target and a scratch folder that are full.

use std::path::{Path, PathBuf};
use std::process::Command;

use salvor_repository::restore::{self, RestoreOptions};
use salvor_repository::{Error, Progress};

use crate::support::{Place, back_up, noise, options, restore_into};

/// Names the small file system to the test in the process that has one.
pub(crate) const SMALL: &str = "SALVOR_TEST_SMALL_FILE_SYSTEM";

/// Runs a test of this program again, in a mount namespace of its own with a file system of 4 MiB. `None`, said aloud, where
/// that may not be made.
pub(crate) fn with_small_file_system(test: &str, folder: &Path) -> Option<()> {
    let script =
        "mount -t tmpfs -o size=4m none \"$1\" || exit 77; exec \"$2\" --exact \"$3\" --nocapture";
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
        .arg(std::env::current_exe().unwrap())
        .arg(test)
        .env(SMALL, folder)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("1 passed"), "{said}");
            Some(())
        }
        Ok(output) if output.status.code() == Some(101) => {
            panic!("{}", String::from_utf8_lossy(&output.stderr))
        }
        other => {
            salvor_testkit::skipped(&format!("no file system of its own can be made: {other:?}"));
            None
        }
    }
}

#[test]
fn a_target_that_becomes_full_ends_the_restore_and_is_named() {
    let Some(small) = std::env::var_os(SMALL).map(PathBuf::from) else {
        let folder = tempfile::tempdir().unwrap();
        let test = "full::a_target_that_becomes_full_ends_the_restore_and_is_named";
        let _ = with_small_file_system(test, folder.path());
        return;
    };
    let place = Place::new();
    let tree = place.path("tree");
    std::fs::create_dir_all(&tree).unwrap();
    for i in 0..8 {
        std::fs::write(tree.join(format!("{i}")), noise(i, 1 << 20)).unwrap();
    }
    let repository = place.init(false);
    let written = back_up(&repository, &tree, &options());
    let index = repository.load_index().unwrap();
    let target = small.join("back");
    let options = RestoreOptions::default();
    let progress = Progress::new();
    let tree = &written.snapshot.tree;
    let full = restore::run(&repository, &index, tree, &target, &options, &progress);
    match full {
        Err(Error::Local { path, source, .. }) => {
            assert!(path.starts_with(&target), "{path:?}");
            assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        }
        other => panic!("{other:?}"),
    }
    // Elsewhere it is whole.
    let restored = restore_into(&repository, "latest", &place.path("back"), &options);
    assert_eq!((restored.files, restored.failed), (8, 0));
}

#[test]
fn a_scratch_folder_that_becomes_full_fails_the_backup_and_is_named() {
    let Some(small) = std::env::var_os(SMALL).map(PathBuf::from) else {
        let folder = tempfile::tempdir().unwrap();
        let test = "full::a_scratch_folder_that_becomes_full_fails_the_backup_and_is_named";
        let _ = with_small_file_system(test, folder.path());
        return;
    };
    let place = Place::new();
    drop(place.init(false));
    let repository = salvor_repository::Repository::open(place.files(), &crate::support::secret());
    let repository = std::sync::Arc::new(repository.unwrap().with_scratch(small.clone()));
    let held = crate::support::lock(&repository);
    let mut source = crate::synthetic::TinyFiles::new(160_000, 160_000);
    let full = salvor_repository::backup::run(
        &repository,
        &held,
        &mut source,
        &options(),
        &Progress::new(),
    );
    match full {
        Err(Error::Local { path, source, .. }) => {
            assert_eq!(path, small);
            assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(repository.snapshots().unwrap().len(), 0);
}
