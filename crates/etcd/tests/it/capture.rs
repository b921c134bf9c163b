//! Every change of a real cluster captured while it is written to, and its states brought back.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use salvor_etcd::Clock;
use salvor_etcd::capture::{self, Bounds, Options};
use salvor_etcd::chain::{Chain, Target, Timeline, clusters, recover};
use salvor_etcd::restore::{Revisions, restore_history};
use salvor_location::Location;
use salvor_location::trust::Trust;
use salvor_seal::age::Identity;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::points::{access, location_of};
use crate::real::{Member, Plan, Version, with_history};
use crate::support::{GO_ON, chain};

/// Names what the capture in a process of its own works with.
const ENDPOINT: &str = "SALVOR_TEST_CAPTURE_ENDPOINT";
const PLACE: &str = "SALVOR_TEST_CAPTURE_PLACE";
const RECIPIENT: &str = "SALVOR_TEST_CAPTURE_RECIPIENT";
const TEST: &str = "capture::recorded_states_come_back_after_a_kill_and_a_compaction";

const PATIENCE: Duration = Duration::from_secs(60);
/// The quota of a member when nobody sets one.
pub(crate) const QUOTA: u64 = 2 << 30;

pub(crate) fn options(endpoint: &str, folder: &Path) -> Options {
    Options {
        endpoints: vec![endpoint.to_owned()],
        access: access(),
        folder: folder.to_owned(),
        objective: Duration::from_millis(600),
        idle: Duration::from_secs(1),
        largest: 8 << 20,
        lease: Duration::from_secs(2),
        bounds: Bounds::default(),
        roll_ups: None,
        metrics: Some(folder.join("metrics.prom")),
        clock: Clock::default(),
    }
}

/// The capture itself, in the process that is killed.
fn capture_until_killed(endpoint: &str) {
    let place = std::env::var(PLACE).expect("set");
    let recipient = std::env::var(RECIPIENT).expect("set");
    let place = Path::new(&place);
    let location = location_of(place, &Identity::generate().expect("random numbers"));
    let trust = Trust::parse([], [recipient.as_str()]).expect("a recipient");
    let location = location.with_trust(trust);
    let options = options(endpoint, place.parent().expect("a folder"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stop = CancellationToken::new();
    let mut tell = |told: capture::Told<'_>| match told {
        capture::Told::Trouble(error) => eprintln!("trouble: {}", chain(error)),
        told => eprintln!("{told:?}"),
    };
    let ended = runtime.block_on(capture::run(&location, &options, &stop, &mut tell));
    panic!("{ended:?}");
}

fn start(endpoint: &str, place: &Path, identity: &Identity) -> Child {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(place.with_extension("log"))
        .expect("a file");
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", TEST, "--nocapture"])
        .env(ENDPOINT, endpoint)
        .env(PLACE, place)
        .env(RECIPIENT, identity.recipient().to_string())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it starts")
}

/// What a cluster was at a revision, when that was the newest one.
struct State {
    hash: (u64, u64),
    keys: Value,
    /// A time at which it was, and nothing newer.
    at: Option<Timestamp>,
}

/// A harness around a member that is written to.
struct Load<'a> {
    member: &'a Member<'a>,
    states: BTreeMap<u64, State>,
    step: u64,
    lease: String,
}

impl Load<'_> {
    /// Changes something, and notes what the cluster is then.
    fn step(&mut self) {
        let step = self.step;
        self.step += 1;
        match step % 6 {
            0 => {
                let value = "x".repeat(400_000 + step as usize);
                self.member
                    .ctl_with(&["put", &format!("large{}", step % 12)], &value)
                    .expect("a large value");
            }
            1 => drop(
                self.member
                    .ctl(&["del", &format!("key{:03}", step % 20), "key999"]),
            ),
            2 => {
                let key = format!("leased{}", step % 4);
                let lease = self.lease.clone();
                self.member.ctl(&["put", &key, "v", "--lease", &lease]);
            }
            _ => {
                let puts: String = (0..4)
                    .map(|n| format!("put key{:03} \"{step} {n}\"\n", (step * 7 + n) % 40))
                    .collect();
                let deletion = format!("del key{:03}\n", (step * 7 + 30) % 40);
                self.member
                    .ctl_with(&["txn"], &format!("\n{puts}{deletion}\n\n"))
                    .expect("a transaction");
            }
        }
        let revision = self.member.revision();
        let state = State {
            hash: self.member.hash_kv(revision),
            keys: self.member.keys(revision),
            at: None,
        };
        self.states.insert(revision, state);
    }

    fn newest(&self) -> u64 {
        *self.states.keys().next_back().expect("steps were made")
    }
}

/// What the location has, once it is as it should be.
pub(crate) fn wait(
    runtime: &tokio::runtime::Runtime,
    location: &Location,
    log: &Path,
    is_so: impl Fn(&Timeline) -> bool,
) -> Timeline {
    let begun = Instant::now();
    loop {
        let found = runtime.block_on(async {
            let cluster = clusters(location).await.expect("listed").first().copied()?;
            Some(Timeline::load(location, cluster).await.expect("read"))
        });
        if let Some(timeline) = found.filter(|timeline| is_so(timeline)) {
            return timeline;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{}",
            std::fs::read_to_string(log).unwrap_or_default()
        );
        std::thread::yield_now();
    }
}

/// The last revision that is reached from the newest base.
pub(crate) fn reach(timeline: &Timeline) -> u64 {
    let lines = timeline.lines();
    let Some(line) = lines.last() else { return 0 };
    let base = line.bases().last().map(|base| base.details.revision);
    base.map_or(0, |base| line.reach(base))
}

#[test]
fn recorded_states_come_back_after_a_kill_and_a_compaction() {
    if let Ok(endpoint) = std::env::var(ENDPOINT) {
        capture_until_killed(&endpoint);
        return;
    }
    // Side by side: they wait for etcd's disk and for each other's segments.
    std::thread::scope(|scope| {
        for version in Version::all() {
            scope.spawn(move || captured_and_recovered(&version));
        }
    });
}

fn captured_and_recovered(version: &Version) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let source = with_history(version, folder.path());
    let place = folder.path().join("location");
    std::fs::create_dir(&place).expect("a folder");
    let log = place.with_extension("log");
    let identity = Identity::generate().expect("random numbers");
    let location = location_of(&place, &identity);
    let granted = source.json(&["lease", "grant", "5000"]);
    let lease = format!("{:x}", granted["ID"].as_u64().expect("an id"));

    let mut child = start(&source.client, &place, &identity);
    wait(&runtime, &location, &log, |timeline| {
        timeline.newest().is_some_and(Chain::has_base)
    });
    let mut load = Load {
        member: &source,
        states: BTreeMap::new(),
        step: 0,
        lease,
    };
    for _ in 0..14 {
        load.step();
    }
    // A time between two changes.
    let between = load.newest();
    wait(&runtime, &location, &log, |timeline| {
        reach(timeline) >= between
    });
    let now = Timestamp::now();
    load.states.get_mut(&between).expect("noted").at = Some(now);
    for _ in 0..4 {
        load.step();
    }
    // Killed in the middle of it; the cluster goes on meanwhile.
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    for _ in 0..6 {
        load.step();
    }
    let mut child = start(&source.client, &place, &identity);
    let newest = load.newest();
    wait(&runtime, &location, &log, |timeline| {
        reach(timeline) >= newest
    });
    let compaction = newest - 3;
    source.ctl(&["compact", &compaction.to_string(), "--physical"]);
    for _ in 0..10 {
        load.step();
    }
    let newest = load.newest();
    let timeline = wait(&runtime, &location, &log, |timeline| {
        reach(timeline) >= newest
    });
    child.kill().expect("it is ours");
    child.wait().expect("it ends");
    let said = std::fs::read_to_string(&log).expect("a log");
    assert_eq!(timeline.chains.len(), 1, "{said}");
    assert!(said.contains("Resumed"), "{said}");
    assert_eq!(timeline.lines()[0].gaps(), [], "{said}");
    let metrics = std::fs::read_to_string(folder.path().join("metrics.prom")).expect("metrics");
    assert!(
        metrics.contains("salvor_etcd_stream_captured_revision"),
        "{metrics}"
    );

    // States from before and after the kill, before and after the compaction, and the last one.
    let revisions: Vec<u64> = load.states.keys().copied().collect();
    let picked = [1, 13, 19, 26, revisions.len() - 1].map(|at| revisions[at]);
    for revision in picked {
        let state = &load.states[&revision];
        let restored = Recovered {
            runtime: &runtime,
            location: &location,
            timeline: &timeline,
            identity: &identity,
            folder: folder.path(),
        };
        restored.exactly(version, revision, state);
    }
    let recovered = Recovered {
        runtime: &runtime,
        location: &location,
        timeline: &timeline,
        identity: &identity,
        folder: folder.path(),
    };
    let (at, state) = load
        .states
        .iter()
        .find(|(_, state)| state.at.is_some())
        .expect("noted");
    let found = recovered.fetch(Target::Time(state.at.expect("noted")));
    assert_eq!(found.revision, *at);
    recovered.compacted(version, Target::Latest, newest, &load.states[&newest]);
    recovered.compacted(
        version,
        Target::Revision(between),
        between,
        &load.states[&between],
    );
    let late = Timestamp::now() + Duration::from_secs(60);
    let identities = std::slice::from_ref(&identity);
    let fetched = recover::fetch(
        &location,
        &timeline,
        Target::Time(late),
        identities,
        folder.path(),
    );
    let refused = runtime.block_on(fetched).err().expect("nobody knows");
    assert!(
        matches!(refused, recover::Error::Unreachable { .. }),
        "{refused}"
    );
}

struct Recovered<'a> {
    runtime: &'a tokio::runtime::Runtime,
    location: &'a Location,
    timeline: &'a Timeline,
    identity: &'a Identity,
    folder: &'a Path,
}

impl Recovered<'_> {
    fn fetch(&self, target: Target) -> recover::Found {
        let identities = std::slice::from_ref(self.identity);
        let fetched = recover::fetch(
            self.location,
            self.timeline,
            target,
            identities,
            self.folder,
        );
        let found = self.runtime.block_on(fetched);
        let found = found.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert!(found.remarks.is_empty(), "{:?}", found.remarks);
        found
    }

    /// With the history that the source had: the hash is etcd's own, over every entry.
    fn exactly(&self, version: &Version, revision: u64, state: &State) {
        let found = self.fetch(Target::Revision(revision));
        let (snapshot, mut history) = found.into_history(true, QUOTA);
        let plan = Plan::new::<1>();
        let folder = tempfile::tempdir_in(self.folder).expect("a folder");
        let options = plan.options(0, folder.path(), Revisions::Exact);
        let restored = restore_history(&snapshot, &mut history, &options, &GO_ON);
        let restored = restored.unwrap_or_else(|error| panic!("{}", chain(&error)));
        assert_eq!(restored.findings, [] as [&str; 0]);
        let member = plan.start(0, version, folder.path());
        assert_eq!(member.revision(), revision);
        let mut hash = member.hash_kv(revision);
        if hash.1 < state.hash.1 {
            // It was compacted between two marks.
            member.ctl(&["compact", &state.hash.1.to_string(), "--physical"]);
            hash = member.hash_kv(revision);
        }
        assert_eq!(hash, state.hash, "at {revision}");
        assert_eq!(member.keys(revision), state.keys, "at {revision}");
    }

    /// Compacted at what is wanted: the same keys, and nothing before.
    fn compacted(&self, version: &Version, target: Target, revision: u64, state: &State) {
        let found = self.fetch(target);
        assert_eq!(found.revision, revision);
        let (snapshot, mut history) = found.into_history(false, QUOTA);
        let plan = Plan::new::<1>();
        let folder = tempfile::tempdir_in(self.folder).expect("a folder");
        let options = plan.options(0, folder.path(), Revisions::RaiseForKubernetes(1000));
        let restored = restore_history(&snapshot, &mut history, &options, &GO_ON);
        let restored = restored.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let live = state.keys.as_array().map_or(0, Vec::len) as u64;
        assert_eq!((restored.versions, restored.revision), (live, revision));
        let member = plan.start(0, version, folder.path());
        assert_eq!(member.revision(), revision);
        assert_eq!(member.keys(revision), state.keys, "at {revision}");
        let past = (revision - 1).to_string();
        let refused = member.ctl_with(&["get", "large0", "--rev", &past], "");
        assert!(refused.expect_err("compacted").contains("compacted"));
        // A lease that was granted before and named behind the base has its time and keys.
        let leased = state.keys.as_array().into_iter().flatten();
        let leased = leased.filter_map(|key| key["lease"].as_i64()).max();
        let lease = format!("{:x}", leased.expect("a leased key"));
        let told = member.json(&["lease", "timetolive", &lease, "--keys"]);
        assert!(
            told["granted-ttl"].as_i64().is_some_and(|ttl| ttl >= 5000),
            "{told}"
        );
        assert!(
            told["keys"].as_array().is_some_and(|keys| !keys.is_empty()),
            "{told}"
        );
        member.ctl(&["put", "after", "it"]);
        assert_eq!(member.revision(), revision + 1);
    }
}
