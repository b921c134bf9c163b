//! What the snapshot does not have goes when asked, and nothing that may only be missing from it or is elsewhere.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use salvor_repository::backup;
use salvor_repository::format::node::Node;
use salvor_repository::restore::{self, Complete, Existing, Extra, RestoreOptions};
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::source::{Content, Failure, Source, Step};
use salvor_repository::{Error, Progress, Repository};

use crate::full::{SMALL, with_small_file_system};
use crate::support::{Place, back_up, complete, lock, options, restore_into};

/// A directory of which an entry cannot be read.
struct Unreadable {
    tree: TreeSource,
    name: &'static [u8],
}

impl Source for Unreadable {
    fn next(&mut self) -> io::Result<Step> {
        Ok(match self.tree.next()? {
            Step::Leaf(node) if node.name == self.name => Step::Failed(Failure {
                path: String::from_utf8_lossy(self.name).into_owned(),
                why: "denied".to_owned(),
            }),
            other => other,
        })
    }

    fn open(&mut self) -> io::Result<Box<dyn Content + '_>> {
        self.tree.open()
    }

    fn root(&self) -> io::Result<Option<Node>> {
        self.tree.root()
    }
}

fn write(path: PathBuf, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn in_place(repository: &Repository) -> RestoreOptions {
    RestoreOptions {
        existing: Existing::Overwrite,
        delete_extra: complete(repository),
        ..RestoreOptions::default()
    }
}

fn extra(repository: &Arc<Repository>, target: &Path) -> Vec<Extra> {
    let index = repository.load_index().unwrap();
    let (_, snapshot) = repository.snapshot("latest").unwrap();
    restore::extra(repository, &index, &snapshot.tree, target).unwrap()
}

fn going(path: &str, below: u64) -> Extra {
    Extra {
        path: PathBuf::from(path),
        below: Some(below),
    }
}

#[test]
fn by_a_snapshot_that_lacks_entries_nothing_extra_may_go() {
    let place = Place::new();
    let tree = place.path("tree");
    write(tree.join("read"), "read");
    write(tree.join("denied"), "denied");
    let repository = place.init(false);
    let back_up_without = |name| {
        let mut source = Unreadable {
            tree: TreeSource::open(&tree, TreeOptions::default()).unwrap(),
            name,
        };
        let held = lock(&repository);
        backup::run(
            &repository,
            &held,
            &mut source,
            &options(),
            &Progress::new(),
        )
        .unwrap()
    };
    let lacking = back_up_without(b"denied");
    assert_eq!(lacking.missing(), 1);
    let refused = Complete::of(&lacking.snapshot).unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)), "{refused:?}");
    for said in [
        "missing from it (1)",
        "nothing was changed",
        "without --delete-extra",
    ] {
        assert!(refused.to_string().contains(said), "{refused}");
    }
    // Without that, what it lacks stays.
    let keeping = RestoreOptions {
        existing: Existing::Overwrite,
        ..RestoreOptions::default()
    };
    let restored = restore_into(&repository, "latest", &tree, &keeping);
    assert_eq!((restored.failed, restored.deleted), (0, 0));
    assert_eq!(std::fs::read(tree.join("denied")).unwrap(), b"denied");
    let all = back_up_without(b"");
    assert!(Complete::of(&all.snapshot).is_ok());
}

#[test]
fn a_full_directory_that_gives_way_is_named_with_what_is_below_it() {
    let place = Place::new();
    let (tree, back) = (place.path("tree"), place.path("back"));
    write(tree.join("file"), "a file");
    write(tree.join("link's place"), "");
    std::fs::remove_file(tree.join("link's place")).unwrap();
    std::os::unix::fs::symlink("nowhere", tree.join("link's place")).unwrap();
    write(tree.join("sub/empty"), "a file");
    write(tree.join("folder/in it"), "in it");
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    write(back.join("file/full/of"), "things");
    write(back.join("link's place/inside"), "inside");
    std::fs::create_dir_all(back.join("sub/empty")).unwrap();
    write(back.join("sub/more/a"), "a");
    // A file where a directory is to be is overwritten as any file is.
    write(back.join("folder"), "a file");
    write(back.join("one"), "one");
    let named = [
        going("file", 2),
        going("link's place", 1),
        going("one", 0),
        going("sub/more", 1),
    ];
    assert_eq!(extra(&repository, &back), named);
    let restored = restore_into(&repository, "latest", &back, &in_place(&repository));
    assert_eq!(restored.failures, []);
    for gone in &named[2..] {
        assert!(!back.join(&gone.path).exists(), "{gone:?}");
    }
    assert_eq!(std::fs::read(back.join("file")).unwrap(), b"a file");
    assert!(back.join("link's place").is_symlink());
    assert_eq!(extra(&repository, &back), []);
}

/// In a mount namespace of its own: the folder that is mounted, and the target with it in it, at a place that the snapshot
/// has empty, at one that it does not have, and at one where it has a file.
#[test]
fn what_is_mounted_below_the_target_stays() {
    let Some(mounted) = std::env::var_os(SMALL).map(PathBuf::from) else {
        for name in ["known", "unknown/deep", "file"] {
            let folder = tempfile::tempdir().unwrap();
            let mounted = folder.path().join("target").join(name);
            std::fs::create_dir_all(&mounted).unwrap();
            let test = "extra::what_is_mounted_below_the_target_stays";
            let _ = with_small_file_system(test, &mounted);
        }
        return;
    };
    let is_target = |path: &&Path| path.ends_with("target");
    let target = mounted.ancestors().find(is_target).unwrap();
    let place = Place::new();
    let tree = place.path("tree");
    write(tree.join("file"), "a file");
    std::fs::create_dir(tree.join("known")).unwrap();
    let repository = place.init(false);
    let _ = back_up(&repository, &tree, &options());
    write(mounted.join("precious/data"), "precious");
    write(target.join("unknown/beside"), "beside");
    write(target.join("extra/a"), "a");
    let is_in_the_way = mounted.ends_with("file");
    let is_unknown = mounted.ends_with("deep");
    // Of what holds the mount, what else is in it goes.
    let named = [going("extra", 1), going("unknown", 1)];
    assert_eq!(extra(&repository, target), named);

    let restored = restore_into(&repository, "latest", target, &in_place(&repository));
    assert_eq!(
        std::fs::read(mounted.join("precious/data")).unwrap(),
        b"precious"
    );
    assert!(!target.join("extra").exists() && !target.join("unknown/beside").exists());
    assert_eq!(target.join("unknown").exists(), is_unknown);
    // Where a file is to be that cannot, it is told as missing.
    assert_eq!(restored.failed, u64::from(is_in_the_way), "{restored:?}");
    let said = restored
        .failures
        .iter()
        .all(|one| one.why.contains("unmount"));
    assert!(said, "{restored:?}");
    let kept: Vec<PathBuf> = (!is_in_the_way)
        .then(|| mounted.clone())
        .into_iter()
        .collect();
    assert_eq!(restored.kept, kept);
    assert_eq!(extra(&repository, target), []);
}
