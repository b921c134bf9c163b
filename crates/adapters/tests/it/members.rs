//! Members that are replaced and clusters that lost their majority: with real etcd, and each fault of each step in a world of files.

use salvor_adapters::control_plane::members::{Setting, recover, replace, survivor};
use salvor_adapters::control_plane::restore::{Live, Origin, Restoration};
use salvor_adapters::control_plane::{Component, Services, State};
use salvor_etcd::restore::{DEFAULT_RAISE, Revisions};
use salvor_etcd::save::save;
use salvor_etcd::snapshot::Snapshot;
use salvor_location::RunId;
use salvor_runbook::testing::prove;
use salvor_runbook::{Check, End, Executor, Granted, Journal, Runbook};
use salvor_storage::MemoryStore;
use serde_json::Value;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::files::Fake;
use crate::real::{NAMES, Real};

pub(crate) async fn run(runbook: &Runbook) -> (End, Vec<String>) {
    let journal = Journal::open(Arc::new(MemoryStore::new()), "journal", RunId::generate());
    let journal = journal.await.unwrap();
    let granted = Granted {
        by: "a test".to_owned(),
    };
    let cancel = CancellationToken::new();
    let executor = Executor::new(runbook, journal, &granted, &|_| {}, cancel);
    let end = executor.run().await.unwrap();
    let records = executor.into_journal().records().await.unwrap();
    let events = records.iter();
    let events = events.map(|record| serde_json::to_string(&record.event).unwrap());
    (end, events.collect())
}

async fn blocked(runbook: &Runbook) -> String {
    match run(runbook).await.0 {
        End::Blocked { reason, .. } => reason,
        end => panic!("{end:?}"),
    }
}

/// What the comparison at the end found.
fn compared(events: &[String]) -> Value {
    let found = events
        .iter()
        .find(|event| event.contains("\"revision\"") && event.contains("\"hash\""));
    serde_json::from_str(found.expect("a comparison")).unwrap()
}

async fn etcd(setting: &Setting, name: &str) -> State {
    let member = setting
        .plane
        .members
        .iter()
        .find(|one| one.name == name)
        .unwrap();
    let services = Services::new(member.host(), setting.plane.flavour.clone());
    services.state(Component::Etcd).await.unwrap()
}

#[tokio::test]
async fn a_lost_member_is_replaced_and_a_healthy_one_is_not() {
    let Some(real) = Real::start("3_5_16") else {
        return;
    };
    let setting = real.setting();
    let reason = blocked(&replace(&setting, "m2", false).unwrap()).await;
    assert!(reason.contains("is healthy"), "{reason}");
    real.put("before", 300);
    real.lose("m2");
    real.put("meanwhile", 50);
    let (end, events) = run(&replace(&setting, "m2", false).unwrap()).await;
    assert!(matches!(end, End::Succeeded), "{end:?}");
    let found = compared(&events);
    assert!(found.to_string().contains(r#"["m1","m2","m3"]"#), "{found}");
    assert_eq!(real.members(), 3);
    // It counts: with it and one other there is a majority.
    real.lose("m3");
    assert_eq!(real.count_at("m2"), 350);
    // The second loss is replaced as the first one was, and what a machine still has is kept beside it.
    real.put("later", 10);
    let (end, _) = run(&replace(&setting, "m3", false).unwrap()).await;
    assert!(matches!(end, End::Succeeded), "{end:?}");
    assert_eq!(real.count_at("m3"), 360);
}

#[tokio::test]
async fn a_majority_that_is_lost_is_made_of_the_member_that_is_left() {
    for version in ["3_4", "3_5_16", "3_5_30"] {
        let Some(real) = Real::start(version) else {
            return;
        };
        let setting = real.setting();
        real.put("before", 200);
        let reason = blocked(&recover(&setting, "m1", &[], false).unwrap()).await;
        assert!(reason.contains("has a majority"), "{reason}");
        real.lose("m1");
        real.lose("m3");
        let reason = blocked(&replace(&setting, "m1", false).unwrap()).await;
        assert!(reason.contains("recover-quorum"), "{reason}");
        let found = survivor(&setting, &[]).await.unwrap();
        assert_eq!(found.name, "m2", "{found:?}");
        // Of 3.4 the survivor is stopped as well: what it knows is read from its files then.
        if version == "3_4" {
            real.stop("m2");
        }
        let runbook = recover(&setting, &found.name, &[], false).unwrap();
        let (end, events) = run(&runbook).await;
        assert!(
            matches!(end, End::Succeeded),
            "{version}: {end:?}\n{events:#?}"
        );
        assert_eq!(real.members(), 3);
        for name in NAMES {
            assert_eq!(real.count_at(name), 200, "{version} {name}");
        }
        real.put("later", 10);
        assert_eq!(real.count_at("m3"), 210);
    }
}

/// A snapshot, and what is restored of it.
async fn saved(real: &Real, name: &str) -> Restoration {
    let setting = real.setting();
    let (access, stop) = (real.access(), CancellationToken::new());
    let file = real.path().join(name);
    let endpoints = setting.plane.members.iter();
    let endpoints = endpoints.flat_map(|member| member.client_urls.clone());
    let endpoints: Vec<String> = endpoints.collect();
    save(&endpoints, &access, &file, &stop).await.unwrap();
    let work = real.path().join("work");
    std::fs::create_dir_all(&work).unwrap();
    Restoration {
        plane: (*setting.plane).clone(),
        origin: Origin {
            snapshot: Some(Arc::new(Snapshot::open(&file).unwrap())),
            name: name.to_owned(),
            cluster: None,
            taken: None,
            etcd_version: None,
            skip_digest: false,
        },
        revisions: Revisions::RaiseForKubernetes(DEFAULT_RAISE),
        into_other_cluster: false,
        left_out: Vec::new(),
        running: Arc::new(Live {
            access,
            api: None,
            location: None,
            folder: work.clone(),
            work: work.clone(),
        }),
        work,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_majority_that_is_lost_is_made_of_a_snapshot_where_no_survivor_is_good_enough() {
    let Some(real) = Real::start("3_5_16") else {
        return;
    };
    real.put("/registry/pods", 200);
    let restoration = saved(&real, "before.db").await;
    let old = restoration.look().await.unwrap().revision;
    real.put("/registry/broken", 100);
    let recovery = || restoration.clone().quorum_runbook(Value::Null, false);
    let reason = blocked(&recovery()).await;
    assert!(reason.contains("member replace"), "{reason}");

    real.lose("m1");
    real.lose("m3");
    real.until_without_leader("m2").await;
    let (end, events) = run(&recovery()).await;
    assert!(matches!(end, End::Succeeded), "{end:?}\n{events:#?}");
    // What the survivor had was kept, and is gone from all.
    assert!(
        events.iter().any(|event| event.contains("before-restore-")),
        "{events:#?}"
    );
    assert_eq!(real.members(), 3);
    for name in NAMES {
        assert_eq!(real.count_at(name), 200, "{name}");
    }
    let found = compared(&events);
    let hashes = real.hashes().await;
    assert!(
        hashes.windows(2).all(|pair| pair[0] == pair[1]),
        "{hashes:?}"
    );
    let revision = found["applied"]["output"]["revision"].as_u64().unwrap();
    assert!(revision > old + 1_000_000_000 - 1, "{found}");
    // Whoever remembers the old time is told so, and hangs on no watch.
    let watched = real.watch("m1", old + 1);
    assert!(watched.contains("compacted"), "{watched}");
    real.put("later", 10);
    assert_eq!(real.count_at("m3"), 210);
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_as_it_was_and_without_a_machine_that_is_gone() {
    let Some(real) = Real::start("3_5_16") else {
        return;
    };
    real.put("/registry/pods", 50);
    let mut restoration = saved(&real, "before.db").await;
    for name in NAMES {
        real.lose(name);
    }
    restoration.revisions = Revisions::Exact;
    restoration
        .plane
        .members
        .retain(|member| member.name != "m2");
    restoration.left_out = vec!["m2".to_owned()];
    let facts = restoration.look().await.unwrap();
    let question = facts.question(&restoration);
    assert!(question.contains("member replace m2"), "{question}");
    let runbook = restoration.clone().quorum_runbook(Value::Null, false);
    let (end, events) = run(&runbook).await;
    assert!(matches!(end, End::Succeeded), "{end:?}\n{events:#?}");
    let revision = compared(&events)["applied"]["output"]["revision"]
        .as_u64()
        .unwrap();
    assert_eq!(revision, facts.revision);
    assert_eq!((real.members(), real.count_at("m3")), (2, 50));
    let (end, events) = run(&replace(&real.setting(), "m2", false).unwrap()).await;
    assert!(matches!(end, End::Succeeded), "{end:?}\n{events:#?}");
    assert_eq!((real.members(), real.count_at("m2")), (3, 50));
}

#[tokio::test]
async fn nobody_is_left_to_go_on_from() {
    let Some(real) = Real::start("3_5_16") else {
        return;
    };
    for name in NAMES {
        real.lose(name);
    }
    let error = survivor(&real.setting(), &[]).await.unwrap_err();
    assert!(
        error.to_string().contains("etcd recover-quorum --from"),
        "{error}"
    );
}

#[tokio::test]
async fn each_step_of_a_replacement_fails_and_is_killed_in_turn() {
    let held = prove(async || Fake::losing(&["m2"])).await.unwrap();
    // look, stop, aside, remove, add, prepare, start, promote, compare.
    assert_eq!(held, 1 + 9 * 9);
}

#[tokio::test]
async fn each_step_of_a_recovery_fails_and_is_killed_in_turn() {
    let held = prove(async || Fake::losing(&["m1", "m3"])).await.unwrap();
    assert!(held > 9 * 9, "{held}");
}

#[tokio::test]
async fn a_preview_looks_only() {
    let world = Fake::losing(&["m2"]);
    let runbook = replace(&world.setting(), "m2", false).unwrap();
    let journal = Journal::open(Arc::new(MemoryStore::new()), "journal", RunId::generate());
    let granted = Granted {
        by: "a test".to_owned(),
    };
    let journal = journal.await.unwrap();
    let cancel = CancellationToken::new();
    let executor = Executor::new(&runbook, journal, &granted, &|_| {}, cancel);
    let found = executor.preview().await;
    assert!(matches!(found[0].1, Ok(Check::ToDo)), "{found:?}");
    assert_eq!(etcd(&world.setting(), "m2").await, State::Stopped);
}
