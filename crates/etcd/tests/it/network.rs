//! A capture of three members whose network is cut and swallows everything, and one of which is killed and replaced.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use salvor_etcd::capture::Options;
use salvor_etcd::chain::{Target, recover};
use salvor_etcd::restore::{Revisions, restore_history};
use salvor_seal::age::Identity;
use salvor_testkit::tcp_proxy::{Network, TcpProxy};

use crate::bench::Running;
use crate::capture::{QUOTA, options, reach, wait};
use crate::points::location_of;
use crate::real::{Member, Plan, Version, free_ports, wait_for_quorum};
use crate::support::{GO_ON, chain};

/// Addresses of three members.
struct Cluster {
    clients: [String; 3],
    peers: [String; 3],
}

impl Cluster {
    fn new() -> Self {
        let address = |port: u16| format!("http://127.0.0.1:{port}");
        let [a, b, c, d, e, f] = free_ports::<6>().map(address);
        Self {
            clients: [a, b, c],
            peers: [d, e, f],
        }
    }

    fn start<'v>(
        &self,
        index: usize,
        version: &'v Version,
        data: &std::path::Path,
        state: &str,
    ) -> Member<'v> {
        let named = self.peers.iter().enumerate();
        let members: Vec<String> = named.map(|(at, peer)| format!("n{at}={peer}")).collect();
        let more = ["--initial-cluster-state", state];
        let started = Member::start_at(
            version,
            &format!("n{index}"),
            data,
            &self.clients[index],
            &self.peers[index],
            &members.join(","),
            &more,
        );
        started.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// What is written, and etcd's hash of each state while it is the newest.
#[derive(Default)]
struct Load {
    step: u64,
    hashes: BTreeMap<u64, (u64, u64)>,
}

impl Load {
    /// Changes something of each kind; gives the last revision.
    fn go(&mut self, member: &Member<'_>, steps: u64) -> u64 {
        let before = self.newest();
        for _ in 0..steps {
            let step = self.step;
            self.step += 1;
            match step % 4 {
                0 => drop(member.ctl(&["put", "small", &step.to_string()])),
                1 => drop(member.ctl_with(&["put", "large"], &"x".repeat(200_000 + step as usize))),
                2 => drop(member.ctl(&["del", &format!("key{}", (step + 5) % 7), "small"])),
                _ => {
                    let puts = format!("put key{} \"{step}\"\nput other \"{step}\"\n", step % 7);
                    let done = member.ctl_with(&["txn"], &format!("\n{puts}\n\n"));
                    done.expect("a transaction");
                }
            }
            let revision = member.revision();
            self.hashes.insert(revision, member.hash_kv(revision));
        }
        assert!(self.newest() > before, "nothing was written");
        self.newest()
    }

    fn newest(&self) -> u64 {
        self.hashes.keys().next_back().copied().unwrap_or(0)
    }
}

/// Replaces a member that is gone by an empty one at its addresses.
fn replace<'v>(
    cluster: &Cluster,
    index: usize,
    survivor: &Member<'_>,
    version: &'v Version,
    data: &std::path::Path,
) -> Member<'v> {
    let name = format!("n{index}");
    let listed = survivor.json(&["member", "list"]);
    let members = listed["members"].as_array().expect("a list");
    let lost = members
        .iter()
        .find(|member| member["name"] == name.as_str());
    let id = lost
        .and_then(|member| member["ID"].as_u64())
        .expect("an id");
    survivor.ctl(&["member", "remove", &format!("{id:x}")]);
    let peer = format!("--peer-urls={}", cluster.peers[index]);
    // Refused until the others have seen each other for some seconds.
    let begun = Instant::now();
    while let Err(error) = survivor.ctl_with(&["member", "add", &name, &peer], "") {
        assert!(begun.elapsed() < Duration::from_secs(60), "{error}");
    }
    cluster.start(index, version, data, "existing")
}

#[test]
fn what_was_captured_through_cuts_and_a_replaced_member_is_the_source_s_at_any_revision() {
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let (version, folder) = (&version, tempfile::tempdir().expect("a folder"));
    let (cluster, folder) = (Cluster::new(), folder.path());
    let mut members: Vec<Member<'_>> = std::thread::scope(|scope| {
        let start = |index: usize| {
            let cluster = &cluster;
            let data = folder.join(format!("n{index}"));
            scope.spawn(move || cluster.start(index, version, &data, "new"))
        };
        let starting: Vec<_> = (0..3).map(start).collect();
        starting
            .into_iter()
            .map(|one| one.join().expect("started"))
            .collect()
    });
    let proxies = [0, 1].map(|index: usize| {
        let server = cluster.clients[index].trim_start_matches("http://");
        TcpProxy::start(server).expect("it starts")
    });
    let writer = members.pop().expect("the third");
    wait_for_quorum(&writer);
    let mut load = Load::default();
    load.go(&writer, 4);

    let place = folder.join("location");
    std::fs::create_dir(&place).expect("a folder");
    let identity = Identity::generate().expect("random numbers");
    let location = location_of(&place, &identity);
    let mut access = options("", folder).access;
    access.patience = Duration::from_secs(3);
    let capturing = Options {
        endpoints: proxies.iter().map(TcpProxy::url).collect(),
        access,
        ..options("", folder)
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let reaches = |revision: u64| {
        let log = std::path::Path::new("/dev/null");
        wait(&runtime, &location, log, |timeline| {
            reach(timeline) >= revision
        })
    };
    let running = Running::start(&location, capturing);
    running.wait_to_hear("Base");
    reaches(load.go(&writer, 6));

    // Both ways are cut for a while, and changes go on.
    proxies.iter().for_each(|proxy| proxy.set(Network::Cut));
    running.wait_to_hear("Trouble");
    let unseen = load.go(&writer, 4);
    proxies.iter().for_each(|proxy| proxy.set(Network::Open));
    reaches(unseen);

    // The second member is lost and replaced while it is the only one that is asked.
    proxies[0].set(Network::Cut);
    reaches(load.go(&writer, 3));
    drop(members.pop());
    load.go(&writer, 3);
    let data = folder.join("replaced");
    let replaced = replace(&cluster, 1, &writer, version, &data);
    reaches(load.go(&writer, 4));

    // Nothing arrives any more, and nothing says so; the other way is open again.
    proxies[1].set(Network::BlackHole);
    proxies[0].set(Network::Open);
    let last = load.go(&writer, 6);
    let timeline = reaches(last);
    proxies[1].set(Network::Open);
    let said = running.all_said();
    let metrics = running.stop();
    drop((members, replaced));
    assert_eq!((metrics.chains, metrics.breaks), (1, 0), "{metrics:?}");
    assert!(metrics.segments > 5, "{metrics:?} {said}");
    assert_eq!(timeline.lines()[0].gaps(), []);
    println!(
        "changes were in the location after {:.2} s at most while an endpoint answered; {} failures were tried again",
        metrics.worst_lag, metrics.failures
    );

    let base = timeline.chains[0].bases[0].details.revision;
    let known: Vec<u64> = load
        .hashes
        .keys()
        .copied()
        .filter(|at| *at >= base)
        .collect();
    let seed = std::process::id();
    println!("seed {seed}");
    let mut random = u64::from(seed) | 1;
    for _ in 0..10 {
        // xorshift64
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let revision = known[(random % known.len() as u64) as usize];
        let identities = std::slice::from_ref(&identity);
        let target = Target::Revision(revision);
        let fetched = recover::fetch(&location, &timeline, target, identities, folder);
        let found = runtime.block_on(fetched);
        let found = found.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let (snapshot, mut history) = found.into_history(true, QUOTA);
        let (plan, place) = (
            Plan::new::<1>(),
            tempfile::tempdir_in(folder).expect("a folder"),
        );
        let options = plan.options(0, place.path(), Revisions::Exact);
        restore_history(&snapshot, &mut history, &options, &GO_ON).expect("restored");
        let member = plan.start(0, version, place.path());
        assert_eq!(
            member.hash_kv(revision),
            load.hashes[&revision],
            "at {revision}"
        );
    }
}
