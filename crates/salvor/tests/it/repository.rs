//! `repo` and `volume`: file trees in a location.

use std::sync::Arc;

use salvor_repository::backup::{self, BackupOptions};
use salvor_repository::lock::{Holder, Lock};
use salvor_repository::source::tree::{TreeOptions, TreeSource};
use salvor_repository::source::{Content, Source, Step};
use salvor_repository::{Progress, Repository};

use crate::support::{Place, Run};

/// A place with a password, a tree, and no cluster: none is needed.
pub(crate) struct Host {
    pub(crate) place: Place,
}

impl Host {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let home = place.home.path();
        std::fs::create_dir(place.location()).expect("a location");
        std::fs::create_dir_all(home.join("data/sub")).expect("a tree");
        std::fs::write(home.join("data/one"), "one\n".repeat(1000)).expect("a file");
        std::fs::write(home.join("data/sub/two"), "two").expect("a file");
        std::fs::write(
            home.join("password"),
            "0123456789abcdef0123456789abcdef\nignored\n",
        )
        .expect("a password");
        std::fs::write(home.join("other"), "fedcba9876543210fedcba9876543210").expect("a password");
        Self { place }
    }

    /// Runs a command on the repository `host-a` with a password file.
    pub(crate) fn with(&self, password: &str, line: &str) -> Run {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.extend(["--domain", "host-a", "--password-file", password]);
        self.place.salvor(&words)
    }

    pub(crate) fn run(&self, line: &str) -> Run {
        self.with("password", line)
    }

    pub(crate) fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.place.home.path().join(path)).expect(path)
    }
}

#[test]
fn a_directory_is_backed_up_lost_listed_and_restored() {
    let host = Host::new();
    host.run("volume backup data").expect(3);
    host.run("repo init --password-kind machine").expect(0);
    host.run("repo init --password-kind machine").expect(4);
    let first = host.run("volume backup data");
    assert!(first.expect(0).contains("2 files"), "{}", first.out);
    let listed = host.place.run("repo get -o name");
    assert_eq!(listed.expect(0), "host-a\n");
    std::fs::remove_dir_all(host.place.home.path().join("data/sub")).expect("the loss");
    let ls = host.run("volume ls latest /sub");
    assert!(ls.expect(0).contains("two"), "{}", ls.out);
    assert_eq!(host.run("volume cat latest sub/two").expect(0), "two");
    host.run("volume cat latest sub").expect(2);
    let file = host.run("volume backup data/one");
    file.expect(2);
    let home = host.place.home.path().display();
    let advice = format!("volume backup {home}/data");
    assert!(
        file.err.contains("data/one is no directory") && file.err.contains(&advice),
        "{}",
        file.err
    );
    let part = host.run("volume restore latest back /sub/two");
    part.expect(2);
    assert!(
        part.err
            .contains("volume restore latest back --path /sub/two"),
        "{}",
        part.err
    );
    host.run("volume restore latest back").expect(0);
    assert_eq!(host.read("back/sub/two"), "two");
    let refused = host.run("volume restore latest back");
    refused.expect(2);
    assert!(refused.err.contains("not empty"), "{}", refused.err);
    host.run("volume restore latest data --in-place").expect(4);
    let in_place = host.run("volume restore latest data --in-place --yes");
    assert!(
        in_place.expect(0).contains("3 B written"),
        "{}",
        in_place.out
    );
    assert_eq!(host.read("data/sub/two"), "two");
    host.run("volume restore latest one --path /sub/two")
        .expect(0);
    assert_eq!(host.read("one/two"), "two");
    host.run("volume ls latest /nowhere").expect(2);
    host.run("volume ls ffff").expect(3);
}

#[test]
fn damage_is_an_exit_code_and_a_lost_index_is_made_again() {
    let host = Host::new();
    host.run("repo init --password-kind machine").expect(0);
    host.run("volume backup data").expect(0);
    assert!(
        host.run("repo check --depth data")
            .expect(0)
            .contains("no damage")
    );
    let folder = host
        .place
        .location()
        .join("plugins/salvor/repository/host-a");
    std::fs::remove_dir_all(folder.join("index")).expect("the loss");
    host.run("repo check").expect(7);
    host.run("volume restore latest back").expect(7);
    host.run("repo repair").expect(0);
    host.run("repo check --depth data").expect(0);
    std::fs::remove_dir_all(folder.join("data")).expect("the loss");
    let damaged = host.run("repo check");
    damaged.expect(7);
    assert!(damaged.err.contains("data/"), "{}", damaged.err);
}

#[test]
fn a_password_is_rotated_in_one_step_or_in_two() {
    let host = Host::new();
    host.run("repo init --password-kind machine").expect(0);
    let rotate = "repo key rotate --new-password-file other --password-kind machine";
    host.run(rotate).expect(4);
    host.run("repo snapshots").expect(0);
    host.run(&format!("{rotate} --keep-old")).expect(0);
    host.run("repo snapshots").expect(0);
    host.with("other", "repo snapshots").expect(0);
    host.run(&format!("{rotate} --yes")).expect(0);
    host.run("repo snapshots").expect(4);
    let listed = host.with("other", "repo key list");
    assert_eq!(listed.expect(0).lines().count(), 2);
    // Again is no harm.
    host.run(&format!("{rotate} --yes")).expect(0);
    host.run("repo key rotate").expect(2);
}

#[test]
fn passwords_are_added_and_removed_and_never_shown() {
    let host = Host::new();
    host.run("repo init --password-kind machine").expect(0);
    host.with("other", "repo snapshots").expect(4);
    host.run("repo key add --new-password-file other --password-kind machine")
        .expect(0);
    let listed = host.with("other", "repo key list");
    let first = listed
        .expect(0)
        .lines()
        .skip(1)
        .find(|line| !line.ends_with("yes"))
        .and_then(|line| line.split_whitespace().next())
        .expect("the first key")
        .to_owned();
    host.with("other", &format!("repo key remove {first}"))
        .expect(4);
    host.with("other", &format!("repo key remove {first} --yes"))
        .expect(0);
    let refused = host.run("repo snapshots");
    refused.expect(4);
    assert!(!refused.err.contains("0123456789abcdef"), "{}", refused.err);
    host.with("nowhere", "repo snapshots").expect(2);
    host.place.run("repo snapshots --domain host-a").expect(2);
    host.place
        .run("repo snapshots --domain ../host-a --password-file password")
        .expect(2);
}

#[test]
fn space_comes_back_after_the_grace_period_and_not_before() {
    let host = Host::new();
    host.run("repo init --password-kind machine").expect(0);
    host.run("volume backup data").expect(0);
    let id = host
        .run("repo snapshots -o name")
        .expect(0)
        .trim()
        .to_owned();
    host.run(&format!("repo forget {id}")).expect(4);
    host.run(&format!("repo forget {id} --yes")).expect(0);
    let marked = host.run("repo prune");
    assert!(
        marked.expect(0).contains("marked 2 packs"),
        "{}",
        marked.out
    );
    let early = host.run("repo prune");
    assert!(early.expect(0).contains("removed 0 packs"), "{}", early.out);
    let late = host.run("repo prune --grace-days 0");
    assert!(late.expect(0).contains("removed 2 packs"), "{}", late.out);
    host.run("repo check --depth data").expect(0);
    assert_eq!(host.run("repo unlock").expect(0), "0 locks removed\n");
}

#[test]
fn latest_means_one_source_and_what_would_go_is_shown() {
    let host = Host::new();
    let home = host.place.home.path();
    std::fs::create_dir(home.join("other-data")).expect("a tree");
    std::fs::write(home.join("other-data/only"), "here").expect("a file");
    host.run("repo init --password-kind machine").expect(0);
    host.run("volume backup data").expect(0);
    host.run("volume backup other-data").expect(0);
    let unclear = host.run("volume restore latest data --in-place --delete-extra --yes");
    unclear.expect(2);
    assert!(unclear.err.contains("--source"), "{}", unclear.err);
    assert_eq!(host.read("data/sub/two"), "two");
    let source = home.join("data").display().to_string();
    std::fs::write(home.join("data/extra"), "extra").expect("a file");
    let asked = host.run(&format!(
        "volume restore latest data --in-place --delete-extra --source {source}"
    ));
    asked.expect(4);
    assert!(
        asked
            .err
            .contains("1 entry that the snapshot does not have will be removed: extra\n"),
        "{}",
        asked.err
    );
    assert_eq!(host.read("data/extra"), "extra");
    host.run(&format!(
        "volume restore latest data --in-place --delete-extra --yes --source {source}"
    ))
    .expect(0);
    assert!(!home.join("data/extra").exists());
    host.run("volume ls latest --host nowhere").expect(2);
}

#[test]
fn what_would_go_is_shown_whole_and_harmless() {
    let host = Host::new();
    let home = host.place.home.path();
    let line = "volume restore latest data --in-place --delete-extra";
    std::fs::write(home.join("data/gives\u{1b}[2Jway"), "a file").expect("a file");
    host.run("repo init --password-kind machine").expect(0);
    host.run("volume backup data").expect(0);
    let ls = host.run("volume ls latest");
    assert!(ls.expect(0).contains("gives\\u{1b}[2Jway"), "{}", ls.out);
    std::fs::remove_file(home.join("data/gives\u{1b}[2Jway")).expect("removed");
    std::fs::create_dir_all(home.join("data/gives\u{1b}[2Jway/a/b")).expect("a tree");
    for i in 0..24 {
        std::fs::write(home.join(format!("data/new\n{i:02}")), "").expect("a file");
    }
    let asked = host.run(line);
    asked.expect(4);
    let said = "25 entries that the snapshot does not have will be removed: gives\\u{1b}[2Jway (with 2 entries in it), \
                new\\n00, ";
    assert!(asked.err.contains(said), "{}", asked.err);
    assert!(asked.err.contains("new\\n18 and 5 more\n"), "{}", asked.err);
    assert!(!asked.err.contains('\u{1b}'), "{:?}", asked.err);
    host.run(&format!("{line} --yes")).expect(0);
    assert_eq!(host.read("data/gives\u{1b}[2Jway"), "a file");
}

/// A directory of which two entries cannot be read.
struct Denied(TreeSource, u8);

impl Source for Denied {
    fn next(&mut self) -> std::io::Result<Step> {
        if self.1 == 2 {
            return self.0.next();
        }
        self.1 += 1;
        Ok(Step::Failed(salvor_repository::source::Failure {
            path: format!("denied {}", self.1),
            why: "denied".to_owned(),
        }))
    }

    fn open(&mut self) -> std::io::Result<Box<dyn Content + '_>> {
        self.0.open()
    }
}

/// Backs up `data` as somebody does who may not read two entries of it.
fn back_up_denied(host: &Host) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = host
        .place
        .location()
        .join("plugins/salvor/repository/host-a");
    let store = Arc::new(salvor_storage::FsStore::new(folder));
    let files = salvor_repository::Files::new(store, runtime.handle().clone());
    let password = host
        .read("password")
        .lines()
        .next()
        .expect("one")
        .to_owned();
    let opened = Repository::open(files, &salvor_seal::Secret::new(password));
    let repository = Arc::new(opened.expect("opened"));
    let holder = Holder {
        hostname: "here".to_owned(),
        username: "tester".to_owned(),
    };
    let lock = Lock::take(&repository, false, &holder).expect("a lock");
    let data = host.place.home.path().join("data");
    let tree = TreeSource::open(&data, TreeOptions::default()).expect("a tree");
    let options = BackupOptions {
        paths: vec![data.display().to_string()],
        ..BackupOptions::default()
    };
    let (mut source, progress) = (Denied(tree, 0), Progress::new());
    let written = backup::run(&repository, &lock, &mut source, &options, &progress);
    assert_eq!(written.expect("written").missing(), 2);
}

#[test]
fn by_a_snapshot_that_lacks_entries_nothing_extra_goes() {
    let host = Host::new();
    let home = host.place.home.path();
    host.run("repo init --password-kind machine").expect(0);
    back_up_denied(&host);
    std::fs::write(home.join("data/denied"), "denied").expect("a file");
    std::fs::write(home.join("data/one"), "newer").expect("a file");
    let refused = host.run("volume restore latest data --in-place --delete-extra --yes");
    refused.expect(4);
    for said in ["missing from it (2)", "restore without --delete-extra"] {
        assert!(refused.err.contains(said), "{}", refused.err);
    }
    assert_eq!(host.read("data/one"), "newer");
    let restored = host.run("volume restore latest data --in-place --yes");
    restored.expect(0);
    let said = "2 entries could not be read when this snapshot was made";
    assert!(restored.err.contains(said), "{}", restored.err);
    assert_eq!(host.read("data/denied"), "denied");
    assert_eq!(host.read("data/one"), "one\n".repeat(1000));
}

#[test]
fn each_domain_has_a_password_of_its_own_from_one_key() {
    let host = Host::new();
    let home = host.place.home.path();
    let keyed = |line: &str| {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        words.extend(["--key-file", "key"]);
        host.place.salvor(&words)
    };
    host.place.run("repo key generate key").expect(0);
    let mode = std::fs::metadata(home.join("key")).expect("a key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
    assert_eq!(mode & 0o777, 0o600);
    host.place.run("repo key generate key").expect(4);
    keyed("repo init --domain ns-a").expect(0);
    keyed("repo init --domain ns-b").expect(0);
    keyed("volume backup data --domain ns-a").expect(0);
    // Not without being asked to.
    keyed("repo password --domain ns-a").expect(4);
    let shown = keyed("repo password --domain ns-a --yes");
    let password = shown.expect(0).trim().to_owned();
    assert_eq!(password.len(), 64, "{password}");
    std::fs::write(home.join("of-a"), &password).expect("a file");
    let with = |domain: &str| {
        let line = format!("repo snapshots --password-file of-a --domain {domain} -o name");
        host.place.run(&line)
    };
    assert_eq!(with("ns-a").expect(0).lines().count(), 1);
    with("ns-b").expect(4);
    let text = std::fs::read_to_string(home.join("key")).expect("a key");
    for run in [&shown, &keyed("repo snapshots --domain ns-a")] {
        assert!(!format!("{}{}", run.out, run.err).contains(text.trim()));
    }
    std::fs::write(home.join("no-key"), "correct horse battery staple").expect("a file");
    let refused = host
        .place
        .run("repo snapshots --domain ns-a --key-file no-key");
    refused.expect(2);
    assert!(
        refused.err.contains("openssl rand -hex 32"),
        "{}",
        refused.err
    );
    assert!(!refused.err.contains("horse"), "{}", refused.err);
    let nowhere = host
        .place
        .run("repo snapshots --repository ./x --key-file key");
    nowhere.expect(2);
    assert!(nowhere.err.contains("--domain"), "{}", nowhere.err);
    let none = host.place.run("repo snapshots --domain ns-a");
    none.expect(2);
    assert!(none.err.contains("--key-file"), "{}", none.err);
}

#[test]
fn damaged_packs_come_from_a_copy_and_latest_passes_over_what_lacks_data() {
    let host = Host::new();
    let home = host.place.home.path();
    host.run("repo init --password-kind machine").expect(0);
    host.run("volume backup data").expect(0);
    let folder = host
        .place
        .location()
        .join("plugins/salvor/repository/host-a");
    let packs = |folder: &std::path::Path| -> std::collections::BTreeSet<std::path::PathBuf> {
        let mut found = std::collections::BTreeSet::new();
        for shard in std::fs::read_dir(folder.join("data")).expect("packs") {
            for pack in std::fs::read_dir(shard.expect("a folder").path()).expect("packs") {
                found.insert(pack.expect("a pack").path());
            }
        }
        found
    };
    let before = packs(&folder);
    std::fs::write(home.join("data/three"), "three").expect("a file");
    host.run("volume backup data").expect(0);
    let line = format!(
        "backup-location mirror {} ./copy",
        host.place.location().display()
    );
    std::fs::create_dir(home.join("copy")).expect("a folder");
    host.place.run(&line).expect(0);
    let newer: Vec<_> = packs(&folder).difference(&before).cloned().collect();
    assert!(!newer.is_empty());
    for pack in &newer {
        std::fs::remove_file(pack).expect("the loss");
    }
    host.run("repo check --depth data").expect(7);
    // The newest snapshot is hit: the one before it is the latest that restores.
    let ls = host.run("volume ls latest");
    assert!(!ls.expect(0).contains("three"), "{}", ls.out);
    let other = host.run("repo repair --from ./elsewhere");
    assert_ne!(other.code, 0, "{}", other.err);
    let mended = host.run("repo repair --from ./copy");
    assert!(
        mended.expect(0).contains("brought from the copy"),
        "{}",
        mended.out
    );
    host.run("repo check --depth data").expect(0);
    let ls = host.run("volume ls latest");
    assert!(ls.expect(0).contains("three"), "{}", ls.out);
}
