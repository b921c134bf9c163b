//! Writers in processes of their own, which are killed at any moment or race for one name.
//!
//! A child says on stdout what it is about to do, one line per operation on the store, and goes on at once.
//! Whoever watches kills it after so many lines, so the kill falls somewhere into or after that operation.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use salvor_location::claim::ClaimPolicy;
use salvor_location::{Error, Location, RunId};
use salvor_storage::{FsStore, ObjectStore};

use crate::hook::HookStore;
use crate::world::{assert_whole_or_absent, location, write_backup};

/// Where a child writes; also what makes a process a child.
pub(crate) const FOLDER: &str = "SALVOR_TEST_WRITER_FOLDER";
/// The run id of a child.
const RUN: &str = "SALVOR_TEST_WRITER_RUN";

/// More than the operations of one backup.
const OPERATIONS: u64 = 48;

/// What a child does: it waits until its stdin ends, writes a backup, and says what came of it.
pub(crate) async fn child(folder: &Path) {
    let run = RunId::from(std::env::var(RUN).expect("the parent names the run"));
    let mut nothing = Vec::new();
    std::io::stdin()
        .read_to_end(&mut nothing)
        .expect("stdin ends");
    let hook = |operation: &'static str, key: &str| {
        say(&format!("step {operation} {key}"));
        Box::pin(std::future::ready(())) as futures::future::BoxFuture<'static, ()>
    };
    let store = HookStore::new(Arc::new(FsStore::new(folder)), Arc::new(hook));
    match write_backup(&location(Arc::new(store)), &run).await {
        Ok(_) => say("committed"),
        Err(Error::Busy { .. } | Error::BackupExists { .. }) => say("refused"),
        Err(error) => say(&format!("failed: {error}: {error:?}")),
    }
}

fn say(line: &str) {
    writeln!(std::io::stdout().lock(), "{line}").expect("stdout is open");
}

/// Starts a child by `command`, which reaches [`child`]; it waits until [`release`].
pub(crate) fn spawn(mut command: Command, folder: &Path, run: &RunId) -> Child {
    command
        .env(FOLDER, folder)
        .env(RUN, run.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts")
}

/// Lets a waiting child go on.
pub(crate) fn release(child: &mut Child) {
    drop(child.stdin.take());
}

/// The lines that a child says until it ends.
pub(crate) fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let stdout = child.stdout.take().expect("stdout is piped");
    BufReader::new(stdout).lines().map_while(Result::ok)
}

/// Kills a writer somewhere and says what must hold afterwards. `seed` decides where.
pub(crate) async fn kill_somewhere(command: Command, seed: u64) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let random = scatter(seed);
    let after = random % OPERATIONS;
    let first = RunId::generate();
    let mut child = spawn(command, folder.path(), &first);
    release(&mut child);
    let (mut steps, mut said_committed) = (0, false);
    let mut last = String::new();
    for line in lines(&mut child) {
        assert!(!line.starts_with("failed"), "seed {seed}: {line}");
        said_committed |= line == "committed";
        if line.starts_with("step ") {
            steps += 1;
            last = line;
        }
        if steps > after {
            break;
        }
    }
    for _ in 0..(random >> 32) % 200_000 {
        std::hint::spin_loop();
    }
    child.kill().expect("it is ours");
    child.wait().expect("it ends");

    let context = format!("seed {seed}, killed {steps} steps in, at or after `{last}`");
    let store = FsStore::new(folder.path());
    let location = location(Arc::new(store.clone()));
    let committed = assert_whole_or_absent(&location, &context).await;
    if said_committed || committed.is_some() {
        assert_eq!(committed, Some(first), "{context}");
        let error = write_backup(&location, &RunId::generate()).await;
        assert!(
            matches!(error, Err(Error::BackupExists { .. })),
            "{context}: {error:?}"
        );
        return;
    }
    let second = RunId::generate();
    match write_backup(&location, &second).await {
        Ok(_) => assert_eq!(
            steps_that_claim(&last),
            0,
            "{context}: the claim is respected"
        ),
        Err(Error::Busy { run, .. }) => {
            assert_eq!(run, first, "{context}");
            let aged = age(folder.path(), ClaimPolicy::default().lease);
            assert!(aged > 0, "{context}: there is a claim");
            write_backup(&location, &second)
                .await
                .unwrap_or_else(|error| panic!("{context}: after the lease: {error:?}"));
        }
        Err(error) => panic!("{context}: {error:?}"),
    }
    let committed = assert_whole_or_absent(&location, &context).await;
    assert_eq!(committed, Some(second), "{context}");
    let left = store.discard_unfinished("backups").await.expect("looked");
    assert_eq!(left, 0, "{context}: no unfinished file is left");
    assert_no_strangers(&location, &context).await;
}

/// One when the step comes after the claim was written: then nobody else may go on before the lease is over.
fn steps_that_claim(last: &str) -> usize {
    usize::from(last.contains(" backups/nightly/nightly"))
}

async fn assert_no_strangers(location: &Location, context: &str) {
    let listing = location.backups().await.expect("listed");
    let report = location
        .verify_files(&listing.entries[0])
        .await
        .expect("verified");
    assert!(report.findings.is_empty(), "{context}: {report:?}");
}

/// Makes every claim older by `by`: time goes by for a store whose times are those of its files.
fn age(root: &Path, by: Duration) -> usize {
    let folder = root.join("plugins/salvor/claims/backups/nightly");
    let then = SystemTime::now()
        .checked_sub(by + Duration::from_secs(1))
        .expect("the clock is past 1970");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).expect("claims") {
        let path = entry.expect("entry").path();
        let file = std::fs::File::options().write(true).open(path);
        file.expect("opened").set_modified(then).expect("aged");
        count += 1;
    }
    count
}

/// Spreads a seed over all bits.
fn scatter(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Eight processes write one name in one new folder: one of them does.
pub(crate) async fn race(command: impl Fn() -> Command, round: u64) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut children: Vec<(RunId, Child)> = (0..8)
        .map(|_| {
            let run = RunId::generate();
            let child = spawn(command(), folder.path(), &run);
            (run, child)
        })
        .collect();
    for (_, child) in &mut children {
        release(child);
    }
    let mut winners = Vec::new();
    for (run, mut child) in children {
        let said: Vec<String> = lines(&mut child).collect();
        child.wait().expect("it ends");
        let verdict = said
            .iter()
            .find(|line| !line.starts_with("step ") && is_verdict(line));
        match verdict.map(String::as_str) {
            Some("committed") => winners.push(run),
            Some("refused") => {}
            other => panic!("round {round}: {run} says {other:?}"),
        }
    }
    assert_eq!(winners.len(), 1, "round {round}: one wins: {winners:?}");
    let location = location(Arc::new(FsStore::new(folder.path())));
    let committed = assert_whole_or_absent(&location, "race").await;
    assert_eq!(committed, winners.pop(), "round {round}");
}

fn is_verdict(line: &str) -> bool {
    ["committed", "refused", "failed"]
        .iter()
        .any(|word| line.starts_with(word))
}
