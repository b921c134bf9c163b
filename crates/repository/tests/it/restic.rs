//! The real restic, both ways.

use salvor_repository::check::{self, Depth};
use salvor_repository::restore::RestoreOptions;
use salvor_repository::{Progress, backup};

use crate::support::{
    Place, assert_same, back_up, expect, make_tree, noise, options, restore_into, survey,
};

/// Releases that are a decade of changes apart: the first that compresses, and a current one.
const RELEASES: [&str; 2] = ["SALVOR_RESTIC_0_14", "SALVOR_RESTIC_0_19"];

#[test]
fn restic_checks_lists_and_restores_what_we_write() {
    for restic in RELEASES {
        let place = Place::new();
        let tree = place.path("tree");
        make_tree(&tree);
        let repository = place.init(false);
        let _ = back_up(&repository, &tree, &options());
        let Some(checked) = place.restic(restic, &["check", "--read-data"]) else {
            return;
        };
        let said = expect(&checked);
        assert!(said.contains("no errors were found"), "{said}");
        let listed = expect(&place.restic(restic, &["ls", "latest"]).unwrap());
        assert!(listed.contains("/sub/deeper"), "{listed}");
        let back = place.path("back");
        let target = back.to_str().unwrap();
        expect(
            &place
                .restic(restic, &["restore", "latest", "--target", target])
                .unwrap(),
        );
        let mut wanted = survey(&tree);
        let mut found = survey(&back);
        // restic 0.14 knows only the text of a link, in which bytes that are no UTF-8 are lost.
        if restic == RELEASES[0] {
            wanted.remove(std::path::Path::new("strange link"));
            found.remove(std::path::Path::new("strange link"));
        }
        assert_same(&found, &wanted, restic);
    }
}

#[test]
fn we_read_check_and_extend_what_restic_writes() {
    for restic in RELEASES {
        let place = Place::new();
        let tree = place.path("tree");
        make_tree(&tree);
        let path = tree.to_str().unwrap();
        let Some(made) = place.restic(restic, &["init", "--repository-version", "2"]) else {
            return;
        };
        expect(&made);
        expect(&place.restic(restic, &["backup", path]).unwrap());
        let repository = place.open();
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert_eq!(checked.findings, []);
        let restored = restore_into(
            &repository,
            "latest",
            &place.path("back"),
            &RestoreOptions::default(),
        );
        assert_eq!(restored.failures, []);
        // restic keeps the whole path of what it was given.
        let inside = place.path("back").join(path.trim_start_matches('/'));
        let mut wanted = survey(&tree);
        let mut found = survey(&inside);
        if restic == RELEASES[0] {
            wanted.remove(std::path::Path::new("strange link"));
            found.remove(std::path::Path::new("strange link"));
        }
        assert_same(&found, &wanted, restic);
        // Our boundaries are restic's there: what it stored is found again.
        let written = back_up(&repository, &tree, &options());
        assert_eq!(written.snapshot.summary.unwrap().data_blobs, 0, "{restic}");
        expect(&place.restic(restic, &["check", "--read-data"]).unwrap());
    }
}

#[test]
fn a_repository_that_both_write_to_in_turns_stays_whole() {
    for restic in RELEASES {
        let place = Place::new();
        let tree = place.path("tree");
        make_tree(&tree);
        let path = tree.to_str().unwrap().to_owned();
        let repository = place.init(true);
        let mut parent = None;
        for turn in 0..3_u64 {
            std::fs::write(tree.join("growing"), noise(turn, 2 << 20)).unwrap();
            std::fs::write(tree.join(format!("new {turn}")), b"new").unwrap();
            let written = back_up(
                &repository,
                &tree,
                &backup::BackupOptions {
                    parent,
                    ..options()
                },
            );
            parent = Some(written.id);
            std::fs::write(
                tree.join(format!("theirs {turn}")),
                noise(100 + turn, 1 << 20),
            )
            .unwrap();
            let Some(theirs) = place.restic(restic, &["backup", &path]) else {
                return;
            };
            expect(&theirs);
        }
        expect(
            &place
                .restic(restic, &["forget", "--keep-last", "1", "--prune"])
                .unwrap(),
        );
        expect(&place.restic(restic, &["check", "--read-data"]).unwrap());
        let checked = check::run(&repository, Depth::Data, &Progress::new()).unwrap();
        assert_eq!(checked.findings, []);
        assert!(checked.snapshots >= 2);
    }
}

#[test]
fn a_lock_of_restic_is_honoured_and_it_honours_ours() {
    let place = Place::new();
    let repository = place.init(false);
    let held = crate::support::lock(&repository);
    let Some(listed) = place.restic(RELEASES[0], &["list", "locks", "--no-lock"]) else {
        return;
    };
    assert_eq!(
        expect(&listed)
            .lines()
            .filter(|line| line.len() == 64)
            .count(),
        1
    );
    let refused = place.restic(RELEASES[0], &["prune"]).unwrap();
    assert!(
        !refused.status.success(),
        "prune wants the repository for itself"
    );
    drop(held);
    expect(&place.restic(RELEASES[0], &["prune"]).unwrap());
}
