//! Damage is found, named, confined, and never a panic.

use std::path::{Path, PathBuf};

use salvor_repository::check::{self, Depth};
use salvor_repository::restore::{Extra, RestoreOptions};
use salvor_repository::{Error, Progress, Repository, restore};

use crate::support::{
    Place, assert_same, back_up, complete, make_tree, options, restore_into, secret, survey,
};

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// What a reader makes of a repository: all that can go wrong is an error or a finding.
fn look(place: &Place, target: &Path) -> Result<(bool, u64), Error> {
    let repository = Repository::open(place.files(), &secret())?;
    let checked = check::run(&repository, Depth::Data, &Progress::new())?;
    let index = repository.load_index()?;
    let (_, snapshot) = repository.snapshot("latest")?;
    let restored = restore::run(
        &repository,
        &index,
        &snapshot.tree,
        target,
        &RestoreOptions::default(),
        &Progress::new(),
    )?;
    Ok((checked.is_whole(), restored.failed))
}

#[test]
fn whatever_file_is_missing_cut_or_changed_it_is_noticed() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    let wanted = survey(&tree);
    let mut round = 0;
    for file in files_below(&place.path("repository")) {
        let whole = std::fs::read(&file).unwrap();
        let mut changed = whole.clone();
        changed[whole.len() / 2] ^= 4;
        let damages: [Option<&[u8]>; 4] = [
            None,
            Some(&[]),
            Some(&whole[..whole.len() - 1]),
            Some(&changed),
        ];
        for damage in damages {
            std::fs::remove_file(&file).unwrap();
            if let Some(bytes) = damage {
                std::fs::write(&file, bytes).unwrap();
            }
            round += 1;
            let target = place.path(&format!("back {round}"));
            match look(&place, &target) {
                Ok((whole, failed)) => {
                    assert!(
                        !whole,
                        "{} was damaged and the check saw nothing",
                        file.display()
                    );
                    // What did come back is right, and what did not was counted.
                    let found = survey(&target);
                    let lost = wanted
                        .iter()
                        .filter(|(path, what)| found.get(*path) != Some(what))
                        .count();
                    assert!(
                        lost == 0 || failed > 0,
                        "{lost} lost in silence: {}",
                        file.display()
                    );
                }
                Err(error) => assert!(
                    !error.is_cancelled() && !error.to_string().is_empty(),
                    "{error}"
                ),
            }
            std::fs::write(&file, &whole).unwrap();
        }
    }
    assert!(round >= 20);
    assert_eq!(look(&place, &place.path("at last")).unwrap(), (true, 0));
}

#[test]
fn a_lost_pack_costs_what_is_in_it_and_no_more() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    std::fs::write(tree.join("later"), b"later").unwrap();
    let before = files_below(&place.path("repository/data"));
    let _ = back_up(&repository, &tree, &options());
    // The one pack of data that the second snapshot added.
    let packs: Vec<PathBuf> = files_below(&place.path("repository/data"))
        .into_iter()
        .filter(|file| !before.contains(file))
        .collect();
    let smallest = packs
        .iter()
        .min_by_key(|file| file.metadata().unwrap().len())
        .unwrap();
    std::fs::remove_file(smallest).unwrap();
    let checked = check::run(&repository, Depth::Index, &Progress::new()).unwrap();
    assert_eq!(checked.findings.len(), 1);
    assert!(checked.findings[0].file.starts_with("data/"));
    let restored = restore_into(
        &repository,
        "latest",
        &place.path("back"),
        &RestoreOptions::default(),
    );
    assert_eq!(restored.failed, 1);
    assert!(
        restored.failures[0].path.ends_with("later"),
        "{:?}",
        restored.failures
    );
    let mut wanted = survey(&tree);
    wanted.remove(Path::new("later"));
    assert_same(&survey(&place.path("back")), &wanted, "restored");
}

#[test]
fn what_a_lost_pack_had_is_stored_again_and_heals_earlier_snapshots() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let first = back_up(&repository, &tree, &options());
    for pack in files_below(&place.path("repository/data")) {
        std::fs::remove_file(pack).unwrap();
    }
    let again = salvor_repository::backup::BackupOptions {
        parent: Some(first.id),
        ..options()
    };
    let second = back_up(&repository, &tree, &again);
    assert!(second.snapshot.summary.unwrap().data_blobs > 0);
    for snapshot in [first.id, second.id] {
        let target = place.path(&format!("back {snapshot}"));
        let restored = restore_into(
            &repository,
            &snapshot.to_string(),
            &target,
            &RestoreOptions::default(),
        );
        assert_eq!(restored.failures, []);
        assert_same(&survey(&target), &survey(&tree), "restored");
    }
}

#[test]
fn a_damaged_piece_is_taken_out_and_stored_again() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    let packs = files_below(&place.path("repository/data"));
    let largest = packs
        .iter()
        .max_by_key(|file| file.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(largest).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(largest, bytes).unwrap();
    let holder = salvor_repository::lock::Holder {
        hostname: "here".to_owned(),
        username: "tester".to_owned(),
    };
    let alone = salvor_repository::lock::Lock::take(&repository, true, &holder).unwrap();
    let repaired =
        salvor_repository::repair::index(&repository, &alone, true, &Progress::new()).unwrap();
    assert_eq!(repaired.lost_blobs, 1, "{repaired:?}");
    drop(alone);
    let _ = back_up(&repository, &tree, &options());
    let checked = check::run(&repository, Depth::Trees, &Progress::new()).unwrap();
    assert!(checked.is_whole(), "{:?}", checked.findings);
    let first = repository.snapshots().unwrap()[0].0.to_string();
    let restored = restore_into(
        &repository,
        &first,
        &place.path("back"),
        &RestoreOptions::default(),
    );
    assert_eq!(restored.failures, []);
    assert_same(&survey(&place.path("back")), &survey(&tree), "restored");
}

#[test]
fn a_target_that_is_a_link_is_refused_and_what_would_go_is_named_before() {
    let place = Place::new();
    let tree = place.path("tree");
    make_tree(&tree);
    let repository = place.init(false);
    let written = back_up(&repository, &tree, &options());
    let victim = place.path("victim");
    std::fs::create_dir_all(victim.join("sub/mine")).unwrap();
    std::fs::write(victim.join("precious"), b"precious").unwrap();
    std::os::unix::fs::symlink(&victim, place.path("link")).unwrap();
    let index = repository.load_index().unwrap();
    let tree_id = written.snapshot.tree;
    let extra = restore::extra(&repository, &index, &tree_id, &victim).unwrap();
    let going = |path: &str| Extra {
        path: PathBuf::from(path),
        below: Some(0),
    };
    assert_eq!(extra, [going("precious"), going("sub/mine")]);
    let overwrite = RestoreOptions {
        existing: restore::Existing::Overwrite,
        delete_extra: complete(&repository),
        ..RestoreOptions::default()
    };
    let refused = restore::run(
        &repository,
        &index,
        &tree_id,
        &place.path("link"),
        &overwrite,
        &Progress::new(),
    );
    assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
    assert_eq!(std::fs::read(victim.join("precious")).unwrap(), b"precious");
}
