//! Members that are not well, and rights that run out.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use salvor_etcd::client::Access;
use salvor_etcd::restore::Revisions;
use salvor_etcd::save::save;
use salvor_seal::Secret;
use tokio_util::sync::CancellationToken;

use crate::bench::Bench;
use crate::capture::reach;
use crate::points::access;
use crate::real::{Member, Plan, Version, alone, three, wait_for_quorum, with_history};
use crate::support::chain;

const PATIENCE: Duration = Duration::from_secs(60);

/// Raises an alarm, as a member does that finds something; its tools only take alarms back.
fn raise(member: &Member<'_>, id: u64, alarm: &str) {
    let address = member.client.strip_prefix("http://").expect("no TLS");
    let body = format!(r#"{{"action":"ACTIVATE","memberID":"{id}","alarm":"{alarm}"}}"#);
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!(
        "POST /v3/maintenance/alarm HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.contains("200 OK") && answer.contains(alarm),
        "{answer}"
    );
}

#[test]
fn a_member_whose_data_differs_is_passed_over_and_told() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = with_history(&version, folder.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let attempt = |endpoints: &[String], name: &str| {
        let path = folder.path().join(name);
        runtime.block_on(save(endpoints, &access(), &path, &CancellationToken::new()))
    };
    let take = |endpoints: &[String], name: &str| attempt(endpoints, name).expect("saved");
    let first = take(std::slice::from_ref(&source.client), "first.db");
    let plan = Plan::new::<3>();
    for index in 0..3 {
        plan.restore(index, &first.path, folder.path(), Revisions::Exact);
    }
    let members = three(&plan, &version, folder.path());
    members.iter().for_each(wait_for_quorum);
    let endpoints: Vec<String> = members.iter().map(|member| member.client.clone()).collect();
    let chosen = take(&endpoints, "second.db");
    raise(&members[0], chosen.member.member, "CORRUPT");
    let next = take(&endpoints, "third.db");
    assert_ne!(next.member.member, chosen.member.member);
    let told = next.remarks.iter().any(|remark| {
        remark.contains("alarm CORRUPT") && remark.contains(&format!("{:x}", chosen.member.member))
    });
    assert!(told, "{:?}", next.remarks);
    // Alone it is no backup.
    let refused = attempt(std::slice::from_ref(&chosen.endpoint), "fourth.db");
    let refused = refused.expect_err("its data is not that of the others");
    assert!(chain(&refused).contains("alarm CORRUPT"), "{refused}");
    assert!(!folder.path().join("fourth.db").exists());
}

#[test]
fn a_member_without_space_is_saved_and_captured_and_the_restored_one_takes_writes() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let member = alone(
        &version,
        folder.path(),
        &["--quota-backend-bytes", "2000000"],
    );
    let bench = Bench::of(member, folder.path());
    let running = bench.capture();
    let begun = Instant::now();
    let value = "x".repeat(500_000);
    while bench.source.ctl_with(&["put", "large"], &value).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it is never full");
    }
    let last = bench.source.revision();
    let timeline = bench.wait(|timeline| reach(timeline) >= last);
    running.stop();
    assert_eq!(timeline.lines()[0].gaps(), []);
    let path = folder.path().join("snapshot.db");
    let endpoints = [bench.source.client.clone()];
    let (access, stop) = (access(), CancellationToken::new());
    let saved = save(&endpoints, &access, &path, &stop);
    let saved = bench.runtime.block_on(saved).expect("saved");
    assert_eq!(saved.status.revision, last);
    assert!(
        saved
            .remarks
            .iter()
            .any(|remark| remark.contains("NOSPACE")),
        "{:?}",
        saved.remarks
    );
    let plan = Plan::new::<1>();
    let restored = plan.restore(0, &path, folder.path(), Revisions::Exact);
    assert_eq!(restored.alarms, 1);
    let member = plan.start(0, &version, folder.path());
    member.ctl(&["put", "after", "it"]);
    assert_eq!(member.revision(), last + 1);
}

#[test]
fn a_token_that_runs_out_is_followed_by_another() {
    let Some(version) = Version::of("3_5_30") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let member = alone(&version, folder.path(), &["--auth-token-ttl", "1"]);
    let bench = Bench::of(member, folder.path());
    for line in [
        "user add root:secret",
        "user grant-role root root",
        "auth enable",
    ] {
        bench.source.ctl(&line.split(' ').collect::<Vec<_>>());
    }
    let put = |key: &str| {
        bench
            .source
            .ctl(&["--user", "root:secret", "put", key, "v"]);
        let answer = bench
            .source
            .json(&["--user", "root:secret", "get", "nothing"]);
        answer["header"]["revision"].as_u64().expect("a revision")
    };
    let options = salvor_etcd::capture::Options {
        access: Access {
            user: Some(("root".to_owned(), Secret::new("secret".to_owned()))),
            ..access()
        },
        // Longer than the token lives: nothing asks for it to be kept.
        idle: PATIENCE,
        ..bench.options()
    };
    let running = bench.capture_with(options);
    let first = put("first");
    bench.wait(|timeline| reach(timeline) >= first);
    // Nothing tells when a token is dropped; three of its lives are enough.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        std::thread::yield_now();
    }
    let second = put("second");
    let timeline = bench.wait(|timeline| reach(timeline) >= second);
    running.wait_to_hear("Resumed");
    running.wait_to_hear("invalid auth token");
    let metrics = running.stop();
    assert_eq!((metrics.chains, metrics.breaks), (1, 0));
    assert!(metrics.failures > 0);
    assert_eq!(timeline.lines()[0].gaps(), []);
}
