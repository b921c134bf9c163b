//! Users and passwords that change while a cluster is captured: a state has those that it had.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use salvor_etcd::capture::Options;
use salvor_etcd::chain::{Chain, Found, Reason, Target};
use salvor_etcd::client::Access;
use salvor_etcd::points;
use salvor_seal::Secret;

use crate::bench::{Bench, restored};
use crate::capture::reach;
use crate::compact::compacted;
use crate::points::access;
use crate::real::{Member, Version, alone};
use crate::support::{chain, contents};

const ROOT: &str = "root:secret";

/// What etcdctl says to a user.
fn to(user: &str, member: &Member<'_>, arguments: &[&str], input: &str) -> Result<String, String> {
    member.ctl_with(&[&["--user", user], arguments].concat(), input)
}

fn put(member: &Member<'_>) {
    to(ROOT, member, &["put", "key", "value"], "").unwrap_or_else(|error| panic!("{error}"));
}

fn revision(member: &Member<'_>) -> u64 {
    let answer = member.json(&["--user", ROOT, "get", "nothing"]);
    answer["header"]["revision"].as_u64().expect("a revision")
}

/// Gives a reader another password.
fn change(member: &Member<'_>, password: &str) {
    let arguments = ["user", "passwd", "reader", "--interactive=false"];
    to(ROOT, member, &arguments, password).unwrap_or_else(|error| panic!("{error}"));
}

/// Gives a member users, of which one may read.
fn with_users(bench: &Bench<'_>) {
    for line in [
        "user add root:secret",
        "user grant-role root root",
        "role add reads",
        "role grant-permission reads --prefix=true read key",
        "user add reader:first",
        "user grant-role reader reads",
        "auth enable",
    ] {
        bench.source.ctl(&line.split(' ').collect::<Vec<_>>());
    }
    put(&bench.source);
}

/// What was found boots with etcd's own hash of the source, and with the users of that time.
fn boots(found: Found, bench: &Bench<'_>, version: &Version, password: &str, wrong: &str) {
    let folder = tempfile::tempdir_in(bench.folder).expect("a folder");
    let revision = found.revision;
    let (_, plan) = restored(found, folder.path());
    let member = plan.start(0, version, folder.path());
    let hash = |member: &Member<'_>| {
        let at = revision.to_string();
        let arguments = ["--user", ROOT, "endpoint", "hashkv", "--rev", &at];
        let answer = member.json(&arguments);
        answer[0]["HashKV"]["hash"].as_u64().expect("a hash")
    };
    assert_eq!(hash(&member), hash(&bench.source), "at {revision}");
    let reader = |password: &str| to(&format!("reader:{password}"), &member, &["get", "key"], "");
    let read = reader(password).unwrap_or_else(|error| panic!("{password}: {error}"));
    assert_eq!(read, "key\nvalue\n");
    let refused = reader(wrong).expect_err("another password");
    assert!(refused.contains("authentication failed"), "{refused}");
    to("reader:x", &member, &["put", "key", "v"], "").expect_err("users are asked for");
}

#[test]
fn a_state_has_the_users_and_passwords_that_were_captured_at_or_before_it() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let bench = Bench::of(alone(&version, folder.path(), &[]), folder.path());
    with_users(&bench);
    let options = || Options {
        access: Access {
            user: Some(("root".to_owned(), Secret::new("secret".to_owned()))),
            ..access()
        },
        ..bench.options()
    };
    let running = bench.capture_with(options());
    let enough = AtomicBool::new(false);
    // A cluster that is never quiet. The password changes until a base is behind the revision that its chain begins with.
    let last = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !enough.load(Ordering::Relaxed) {
                put(&bench.source);
            }
        });
        // Captured behind the first base: its users are those of revisions that nothing else is.
        bench.wait(|timeline| reach(timeline) > timeline.chains[0].bases[0].details.revision);
        let found = (1..20).find(|number| {
            change(&bench.source, &format!("password{number}"));
            let timeline = bench.wait(|timeline| {
                timeline.chains.len() > *number && timeline.newest().is_some_and(Chain::has_base)
            });
            let newest = timeline.newest().expect("one");
            assert_eq!(newest.record.reason, Reason::Auth);
            newest.bases[0].details.revision >= newest.record.start
        });
        enough.store(true, Ordering::Relaxed);
        found.expect("a base behind the first revision")
    });
    let end = revision(&bench.source);
    let timeline = bench.wait(|timeline| reach(timeline) >= end);
    running.stop();
    assert_eq!(timeline.lines().len(), 1, "nothing is missing in between");
    assert_eq!(timeline.lines()[0].gaps(), []);
    let (first, newest) = (&timeline.chains[0], &timeline.chains[last]);
    let (own, before) = (
        format!("password{last}"),
        match last {
            1 => "first".to_owned(),
            last => format!("password{}", last - 1),
        },
    );

    // Before the change: the users of the base. Behind it: those of a base that is newer than the state.
    let base = first.bases[0].details.revision;
    let found = bench.found(&timeline, Target::Revision(base));
    assert!(found.users.is_none());
    boots(found, &bench, &version, "first", &own);
    let at = newest.record.start - 1;
    let found = bench.found(&timeline, Target::Revision(at));
    assert_ne!(found.point.id, newest.bases[0].point.id);
    assert_eq!(found.remarks, [] as [&str; 0]);
    boots(found, &bench, &version, &own, &before);

    // A revision may be older and newer than a change, a time is not.
    let created = newest.record.created;
    let found = bench.found(&timeline, Target::Time(created));
    assert!(found.users.is_some());
    let earlier = created - Duration::from_millis(1);
    let found = bench.found(&timeline, Target::Time(earlier));
    assert!(found.users.is_none());

    // Merged, they are those of the state.
    let made = compacted(&bench, &timeline, Some(Target::Revision(at)));
    let made = made.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(made.remarks, [] as [&str; 0]);
    let users = |point: &salvor_location::Point| {
        let identities = std::slice::from_ref(&bench.identity);
        let fetched = points::fetch(&bench.location, point, identities, folder.path());
        let snapshot = bench.runtime.block_on(fetched).expect("fetched");
        let contents = contents(snapshot.database()).expect("readable");
        contents[&b"authUsers"[..]].clone()
    };
    let expected = users(&newest.bases[0].point);
    assert_eq!(users(&made.point), expected);
    assert_ne!(users(&first.bases[0].point), expected);

    // Without that base nobody knows them any more: it is said whose they are.
    bench.remove_point(&made.point);
    bench.remove_point(&newest.bases[0].point);
    let found = bench.found(&bench.load(timeline.cluster), Target::Revision(at));
    assert!(found.users.is_none());
    let [remark] = &found.remarks[..] else {
        panic!("{:?}", found.remarks);
    };
    assert!(
        remark.contains("users, roles and passwords are those of revision"),
        "{remark}"
    );

    // What changes while nobody captures is found by the next one.
    let chains = timeline.chains.len();
    change(&bench.source, "meanwhile");
    let running = bench.capture_with(options());
    let timeline = bench.wait(|timeline| timeline.chains.len() > chains);
    running.stop();
    let newest = timeline.newest().expect("one");
    assert_eq!(newest.record.reason, Reason::Auth);
    assert_eq!(
        newest.record.follows.as_ref(),
        Some(&timeline.chains[chains - 1].record.chain)
    );
}
