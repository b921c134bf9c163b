//! What stands in the target is only given up for what can be read.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use salvor_repository::restore::{Complete, Existing, RestoreOptions};

use crate::support::{Place, assert_same, back_up, complete, noise, options, restore_into, survey};

fn packs(place: &Place) -> Vec<PathBuf> {
    let folders = std::fs::read_dir(place.path("repository/data")).unwrap();
    let packs = folders.flat_map(|folder| {
        let files = std::fs::read_dir(folder.unwrap().path()).unwrap();
        files.map(|file| file.unwrap().path())
    });
    packs.collect()
}

/// The pack of most bytes: with large files in a repository it has pieces of them.
fn largest_pack(place: &Place) -> PathBuf {
    let packs = packs(place).into_iter();
    packs
        .max_by_key(|pack| pack.metadata().unwrap().len())
        .unwrap()
}

fn flip(pack: &Path) {
    let mut bytes = std::fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(pack, bytes).unwrap();
}

fn in_place(delete_extra: Option<Complete>) -> RestoreOptions {
    RestoreOptions {
        existing: Existing::Overwrite,
        delete_extra,
        ..RestoreOptions::default()
    }
}

/// What stands in the target before, by what makes it there, and the paths that are to be as they were.
type Standing = (&'static str, fn(&Path), &'static [&'static str]);

#[test]
fn what_stands_there_stays_whole_when_what_is_to_replace_it_is_damaged() {
    let standing: [Standing; 5] = [
        (
            "a file of which every piece differs",
            |at| std::fs::write(at.join("large"), noise(2, 9 << 20)).unwrap(),
            &["large"],
        ),
        (
            "a longer file of which every piece differs by a byte",
            |at| {
                let mut bytes = noise(1, 9 << 20);
                for changed in (0..bytes.len()).step_by(1 << 18) {
                    bytes[changed] ^= 1;
                }
                bytes.extend_from_slice(b"and more");
                std::fs::write(at.join("large"), bytes).unwrap();
            },
            &["large"],
        ),
        (
            "a link",
            |at| std::os::unix::fs::symlink("elsewhere", at.join("large")).unwrap(),
            &["large"],
        ),
        (
            "a file with two names",
            |at| {
                std::fs::write(at.join("large"), "old").unwrap();
                std::fs::hard_link(at.join("large"), at.join("small")).unwrap();
            },
            &["large"],
        ),
        (
            "a directory with something in it",
            |at| {
                std::fs::create_dir(at.join("large")).unwrap();
                std::fs::write(at.join("large/inside"), "old").unwrap();
            },
            &["large", "large/inside"],
        ),
    ];
    let place = Place::new();
    let tree = place.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("large"), noise(1, 9 << 20)).unwrap();
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    // In a pack of its own.
    std::fs::write(tree.join("small"), "small").unwrap();
    let _ = back_up(&repository, &tree, &options());
    let pack = largest_pack(&place);
    let whole = std::fs::read(&pack).unwrap();
    let said = |why: &str| why.starts_with("what stands there is as it was: ");
    for (number, (what, make, kept)) in standing.into_iter().enumerate() {
        flip(&pack);
        let back = place.path(&format!("back {number}"));
        std::fs::create_dir(&back).unwrap();
        make(&back);
        let before = survey(&back);
        let modified = |at: &Path| std::fs::symlink_metadata(at).unwrap().mtime_nsec();
        let time = modified(&back.join("large"));
        let restored = restore_into(
            &repository,
            "latest",
            &back,
            &in_place(complete(&repository)),
        );
        assert_eq!((restored.failed, restored.missing), (1, 1), "{what}");
        let failure = &restored.failures[0];
        assert!(failure.path.ends_with("large"), "{what}: {failure:?}");
        assert!(said(&failure.why), "{what}: {failure:?}");
        let after = survey(&back);
        let only = |all: &BTreeMap<PathBuf, String>| -> BTreeMap<PathBuf, String> {
            let kept = kept.iter().map(|path| {
                // How many names it has is not its content.
                let seen = all[Path::new(path)].replace("Some(\"large\")", "None");
                (PathBuf::from(path), seen)
            });
            kept.collect()
        };
        assert_same(&only(&after), &only(&before), what);
        assert_eq!(modified(&back.join("large")), time, "{what}");
        assert_eq!(std::fs::read(back.join("small")).unwrap(), b"small");
        // Mended, all of it comes back.
        std::fs::write(&pack, &whole).unwrap();
        let restored = restore_into(
            &repository,
            "latest",
            &back,
            &in_place(complete(&repository)),
        );
        assert_eq!(restored.failures, [], "{what}");
        assert!(
            std::fs::read(back.join("large")).unwrap() == noise(1, 9 << 20),
            "{what}"
        );
    }
}

#[test]
fn further_names_of_a_damaged_file_are_not_made_of_what_stands_there() {
    let place = Place::new();
    let (tree, back) = (place.path("tree"), place.path("back"));
    for (folder, seed) in [(&tree, 1), (&back, 2)] {
        std::fs::create_dir(folder).unwrap();
        std::fs::write(folder.join("a"), noise(seed, 9 << 20)).unwrap();
    }
    std::fs::hard_link(tree.join("a"), tree.join("b")).unwrap();
    std::fs::write(back.join("b"), "another file").unwrap();
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    flip(&largest_pack(&place));
    let before = survey(&back);
    let restored = restore_into(&repository, "latest", &back, &in_place(None));
    assert_eq!((restored.failed, restored.missing), (2, 2), "{restored:?}");
    assert_same(&survey(&back), &before, "as it was");
    // Where nothing stands nothing is left of either.
    let fresh = place.path("fresh");
    let restored = restore_into(&repository, "latest", &fresh, &RestoreOptions::default());
    assert_eq!((restored.failed, restored.missing), (2, 2), "{restored:?}");
    assert_eq!(survey(&fresh), BTreeMap::new());
}

#[test]
fn a_file_stays_where_the_directory_that_is_to_replace_it_cannot_be_read() {
    let place = Place::new();
    let (tree, back) = (place.path("tree"), place.path("back"));
    std::fs::create_dir_all(tree.join("folder")).unwrap();
    std::fs::write(tree.join("folder/inside"), "new").unwrap();
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    let packs = packs(&place);
    // The root is described in another pack than the folder.
    std::fs::write(tree.join("root"), "").unwrap();
    let _ = back_up(&repository, &tree, &options());
    std::fs::create_dir(&back).unwrap();
    std::fs::write(back.join("folder"), "a file").unwrap();
    let mut kept = 0;
    for pack in packs {
        let whole = std::fs::read(&pack).unwrap();
        // All of it: of a pack that is damaged in one place, the other directories are read.
        let damaged: Vec<u8> = whole.iter().map(|byte| byte ^ 1).collect();
        std::fs::write(&pack, damaged).unwrap();
        // One that has seen nothing of it yet.
        let restored = restore_into(&place.open(), "latest", &back, &in_place(None));
        let named = |name: &str| {
            restored
                .failures
                .iter()
                .any(|failure| failure.path.ends_with(name))
        };
        if named("folder") {
            assert_eq!(std::fs::read(back.join("folder")).unwrap(), b"a file");
            kept += 1;
        } else {
            // A pack of the file in it: the folder is made.
            std::fs::remove_dir_all(back.join("folder")).unwrap();
            std::fs::write(back.join("folder"), "a file").unwrap();
        }
        std::fs::write(&pack, whole).unwrap();
    }
    assert_eq!(kept, 1);
    let restored = restore_into(&repository, "latest", &back, &in_place(None));
    assert_eq!(restored.failures, []);
    assert_eq!(std::fs::read(back.join("folder/inside")).unwrap(), b"new");
}
