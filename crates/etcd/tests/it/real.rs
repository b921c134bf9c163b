//! Real etcd on both sides. Each test runs for every version that is there.

use std::ffi::OsString;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use salvor_etcd::membership::Cluster;
use salvor_etcd::restore::{Options, Restored, Revisions, restore};
use salvor_etcd::snapshot::{Snapshot, status, verify};
use salvor_etcd::wal;
use salvor_testkit::process::Server;
use salvor_testkit::required_path;
use serde_json::Value;

use crate::support::GO_ON;

const PATIENCE: Duration = Duration::from_secs(60);

/// The programs of one version.
pub(crate) struct Version {
    etcd: PathBuf,
    etcdctl: PathBuf,
    /// From 3.5.
    etcdutl: Option<PathBuf>,
}

impl Version {
    /// All versions that are there.
    pub(crate) fn all() -> Vec<Self> {
        ["3_4", "3_5_16", "3_5_30"]
            .into_iter()
            .filter_map(Self::of)
            .collect()
    }

    pub(crate) fn of(version: &str) -> Option<Self> {
        let program = |name: &str| required_path(&format!("SALVOR_{name}_{version}"));
        Some(Self {
            etcd: program("ETCD")?,
            etcdctl: program("ETCDCTL")?,
            etcdutl: if version == "3_4" {
                None
            } else {
                Some(program("ETCDUTL")?)
            },
        })
    }

    /// The program that looks at snapshots.
    pub(crate) fn tool(&self) -> &Path {
        self.etcdutl.as_deref().unwrap_or(&self.etcdctl)
    }
}

pub(crate) fn run(program: &Path, arguments: &[&str], input: &str) -> Result<String, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr) + &text(&output.stdout))
    }
}

/// Ports that nobody has at the moment.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}

/// A running member.
pub(crate) struct Member<'a> {
    version: &'a Version,
    pub(crate) client: String,
    _server: Server,
}

impl<'a> Member<'a> {
    fn start(
        version: &'a Version,
        name: &str,
        data: &Path,
        client: u16,
        peer: &str,
        members: &str,
    ) -> Self {
        Self::start_at(
            version,
            name,
            data,
            &format!("http://127.0.0.1:{client}"),
            peer,
            members,
            &[],
        )
        .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a member whose address for clients is given, with more flags.
    pub(crate) fn start_at(
        version: &'a Version,
        name: &str,
        data: &Path,
        client: &str,
        peer: &str,
        members: &str,
        more: &[&str],
    ) -> Result<Self, String> {
        let mut arguments: Vec<OsString> = vec!["--data-dir".into(), data.into()];
        let rest = [
            ["--name", name],
            ["--listen-client-urls", client],
            ["--advertise-client-urls", client],
            ["--listen-peer-urls", peer],
            ["--initial-advertise-peer-urls", peer],
            ["--initial-cluster", members],
            ["--log-level", "info"],
        ];
        let rest = rest.iter().flatten().chain(more);
        arguments.extend(rest.map(OsString::from));
        let environment = [("ETCD_UNSUPPORTED_ARCH", "arm64")];
        let program = version.etcd.display().to_string();
        let started = Server::start(&program, &arguments, &environment, PATIENCE, |line| {
            line.contains("ready to serve client requests")
                .then_some(())
        });
        let (server, ()) = started.map_err(|error| error.to_string())?;
        Ok(Self {
            version,
            client: client.to_owned(),
            _server: server,
        })
    }

    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        self.ctl_with(arguments, "")
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    pub(crate) fn ctl_with(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let arguments = [&["--endpoints", &self.client], arguments].concat();
        run(&self.version.etcdctl, &arguments, input)
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ctl(&[arguments, &["-w", "json"]].concat());
        serde_json::from_str(&text).expect("JSON")
    }

    /// Hash and compact revision at a revision.
    pub(crate) fn hash_kv(&self, revision: u64) -> (u64, u64) {
        let answer = self.json(&["endpoint", "hashkv", "--rev", &revision.to_string()]);
        let answer = &answer[0]["HashKV"];
        let number = |name: &str| answer[name].as_u64().unwrap_or(0);
        (number("hash"), number("compact_revision"))
    }

    /// All keys with all their fields, at a revision.
    pub(crate) fn keys(&self, revision: u64) -> Value {
        let revision = revision.to_string();
        self.json(&["get", "", "--prefix", "--rev", &revision])["kvs"].take()
    }

    pub(crate) fn revision(&self) -> u64 {
        let answer = self.json(&["get", "nothing"]);
        answer["header"]["revision"].as_u64().expect("a revision")
    }
}

/// A cluster of one member, empty, started with more flags.
pub(crate) fn alone<'a>(version: &'a Version, folder: &Path, more: &[&str]) -> Member<'a> {
    let [client, peer] = free_ports().map(|port| format!("http://127.0.0.1:{port}"));
    let (data, members) = (folder.join("source"), format!("source={peer}"));
    Member::start_at(version, "source", &data, &client, &peer, &members, more)
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A member with a history: transactions, overwrites, deletions, leases, a large value, a compaction.
pub(crate) fn with_history<'a>(version: &'a Version, folder: &Path) -> Member<'a> {
    let source = alone(version, folder, &[]);
    for round in 0..6 {
        let puts: String = (0..60)
            .map(|number| {
                format!(
                    "put key{:04} \"value {round} {number}\"\n",
                    (round * 37 + number) % 150
                )
            })
            .collect();
        source
            .ctl_with(&["txn"], &format!("\n{puts}\n\n"))
            .expect("a transaction");
    }
    source
        .ctl_with(&["put", "large"], &"x".repeat(700_000))
        .expect("a large value");
    let granted = source.json(&["lease", "grant", "6000"]);
    let lease = granted["ID"].as_u64().expect("an id");
    source.ctl(&["put", "leased", "v", "--lease", &format!("{lease:x}")]);
    source.ctl(&["del", "key0003", "key0009"]);
    source.ctl(&["compact", "4"]);
    source.ctl(&["put", "last", "one"]);
    source.ctl(&["del", "last"]);
    source
}

fn save(source: &Member<'_>, folder: &Path) -> PathBuf {
    let path = folder.join("snapshot.db");
    source.ctl(&["snapshot", "save", &path.display().to_string()]);
    path
}

/// Directories for members m1, m2, ... with ports of their own.
pub(crate) struct Plan {
    members: String,
    clients: Vec<u16>,
    peers: Vec<String>,
}

impl Plan {
    pub(crate) fn new<const N: usize>() -> Self {
        let clients = free_ports::<N>().to_vec();
        let peers: Vec<String> = free_ports::<N>()
            .iter()
            .map(|port| format!("http://127.0.0.1:{port}"))
            .collect();
        let members: Vec<String> = (1..)
            .zip(&peers)
            .map(|(number, peer)| format!("m{number}={peer}"))
            .collect();
        Self {
            members: members.join(","),
            clients,
            peers,
        }
    }

    /// `m1=URL,...`.
    pub(crate) fn members(&self) -> &str {
        &self.members
    }

    pub(crate) fn options(&self, index: usize, folder: &Path, revisions: Revisions) -> Options {
        Options {
            cluster: Cluster::new(&self.members, "token").expect("valid"),
            name: format!("m{}", index + 1),
            peer_urls: self.peers[index].parse().expect("valid"),
            data_dir: folder.join(format!("m{}", index + 1)),
            wal_dir: None,
            skip_digest: false,
            revisions,
            replace: false,
            owner: None,
        }
    }

    pub(crate) fn restore(
        &self,
        index: usize,
        snapshot: &Path,
        folder: &Path,
        revisions: Revisions,
    ) -> Restored {
        restore(snapshot, &self.options(index, folder, revisions), &GO_ON).expect("restored")
    }

    pub(crate) fn start<'a>(
        &self,
        index: usize,
        version: &'a Version,
        folder: &Path,
    ) -> Member<'a> {
        let name = format!("m{}", index + 1);
        let (client, peer) = (self.clients[index], &self.peers[index]);
        Member::start(
            version,
            &name,
            &folder.join(&name),
            client,
            peer,
            &self.members,
        )
    }
}

/// Starts three members at once: none is there before most of them are.
pub(crate) fn three<'a>(plan: &Plan, version: &'a Version, folder: &Path) -> Vec<Member<'a>> {
    std::thread::scope(|scope| {
        let start = |index| scope.spawn(move || plan.start(index, version, folder));
        let starts: Vec<_> = (0..3).map(start).collect();
        let members = starts
            .into_iter()
            .map(|start| start.join().expect("started"));
        members.collect()
    })
}

/// Whether members have elected a leader, asked again until they have: a linearizable read succeeds.
pub(crate) fn wait_for_quorum(member: &Member<'_>) {
    let begun = Instant::now();
    while let Err(error) = member.ctl_with(&["get", "nothing"], "") {
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
}

#[test]
fn status_is_that_of_the_tools_and_verification_passes() {
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = with_history(&version, folder.path());
        let path = save(&source, folder.path());
        let text = run(
            version.tool(),
            &[
                "snapshot",
                "status",
                &path.display().to_string(),
                "-w",
                "json",
            ],
            "",
        );
        let theirs: Value = serde_json::from_str(&text.expect("they read it")).expect("JSON");
        let snapshot = Snapshot::open(&path).expect("a snapshot");
        let ours = status(&snapshot, true, &GO_ON).expect("counted");
        assert_eq!(theirs["hash"], ours.hash);
        assert_eq!(theirs["revision"], ours.revision);
        assert_eq!(theirs["totalKey"], ours.total_key());
        assert_eq!(theirs["totalSize"], ours.total_size);
        let keys = source.json(&["get", "", "--prefix", "--keys-only"]);
        assert_eq!(keys["count"].as_u64(), ours.live_keys);
        assert_eq!(source.revision(), ours.revision);
        let report = verify(&snapshot, &GO_ON).expect("looked at");
        assert!(report.is_good(), "{report:?}");
    }
}

#[test]
fn a_member_boots_from_a_restored_directory_with_the_same_history() {
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = with_history(&version, folder.path());
        let path = save(&source, folder.path());
        let plan = Plan::new::<1>();
        let restored = plan.restore(0, &path, folder.path(), Revisions::RaiseForKubernetes(1000));
        assert_eq!((restored.raised_to, restored.findings.len()), (None, 0));
        let member = plan.start(0, &version, folder.path());
        for revision in [restored.revision, restored.revision - 2, 5] {
            assert_eq!(
                member.hash_kv(revision),
                source.hash_kv(revision),
                "at {revision}"
            );
            assert_eq!(
                member.keys(revision),
                source.keys(revision),
                "at {revision}"
            );
        }
        assert_eq!(member.revision(), restored.revision);
        assert_eq!(
            member.json(&["lease", "list"])["leases"],
            source.json(&["lease", "list"])["leases"]
        );
        member.ctl(&["put", "after", "it"]);
        assert_eq!(member.revision(), restored.revision + 1);
        member.ctl(&["compact", &restored.revision.to_string(), "--physical"]);
        member.ctl(&["defrag"]);
        drop(member);
        let again = plan.start(0, &version, folder.path());
        assert_eq!(again.revision(), restored.revision + 1);
    }
}

#[test]
fn three_members_boot_and_agree() {
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = with_history(&version, folder.path());
        let path = save(&source, folder.path());
        let plan = Plan::new::<3>();
        let revisions: Vec<u64> = (0..3)
            .map(|index| {
                plan.restore(index, &path, folder.path(), Revisions::Exact)
                    .revision
            })
            .collect();
        let members = three(&plan, &version, folder.path());
        let expected = (source.hash_kv(revisions[0]), source.keys(revisions[0]));
        for member in &members {
            wait_for_quorum(member);
            assert_eq!(
                (member.hash_kv(revisions[0]), member.keys(revisions[0])),
                expected
            );
        }
        let list = members[0].json(&["member", "list"]);
        let mut ids: Vec<u64> = list["members"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|member| member["ID"].as_u64())
            .collect();
        ids.sort_unstable();
        let cluster = Cluster::new(&plan.members, "token").expect("valid");
        let expected: Vec<u64> = cluster.members().iter().map(|member| member.id).collect();
        assert_eq!(ids, expected);
        assert_eq!(list["header"]["cluster_id"].as_u64(), Some(cluster.id()));
        members[2].ctl(&["put", "after", "it"]);
        assert_eq!(members[0].revision(), revisions[0] + 1);
    }
}

#[test]
fn a_raised_revision_refuses_reads_of_the_past() {
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = with_history(&version, folder.path());
        let path = save(&source, folder.path());
        let plan = Plan::new::<1>();
        let restored = plan.restore(0, &path, folder.path(), Revisions::Raise(1_000_000));
        let raised = restored.revision + 1_000_000;
        assert_eq!(restored.raised_to, Some(raised));
        let member = plan.start(0, &version, folder.path());
        assert_eq!(member.revision(), raised);
        let past = restored.revision.to_string();
        let refused = member
            .ctl_with(&["get", "large", "--rev", &past], "")
            .expect_err("compacted");
        assert!(refused.contains("compacted"), "{refused}");
        // The mark of the raised revision is a key without a name; all others are as they were.
        let named = |keys: Value| -> Vec<Value> {
            let keys = keys.as_array().cloned().unwrap_or_default();
            keys.into_iter()
                .filter(|key| key["key"].as_str().is_some_and(|key| !key.is_empty()))
                .collect()
        };
        assert_eq!(
            named(member.keys(raised)),
            named(source.keys(restored.revision))
        );
        member.ctl(&["put", "after", "it"]);
        assert_eq!(member.revision(), raised + 1);
    }
}

#[test]
fn the_log_and_the_members_are_those_that_the_tools_write() {
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = with_history(&version, folder.path());
        let path = save(&source, folder.path());
        let plan = Plan::new::<3>();
        for index in 0..3 {
            plan.restore(index, &path, folder.path(), Revisions::Exact);
            let ours = folder.path().join(format!("m{}", index + 1));
            let theirs = folder.path().join(format!("theirs{index}"));
            let name = format!("m{}", index + 1);
            let done = run(
                version.tool(),
                &[
                    "snapshot",
                    "restore",
                    &path.display().to_string(),
                    "--data-dir",
                    &theirs.display().to_string(),
                    "--name",
                    &name,
                    "--initial-cluster",
                    &plan.members,
                    "--initial-cluster-token",
                    "token",
                    "--initial-advertise-peer-urls",
                    &plan.peers[index],
                ],
                "",
            );
            done.expect("they restore it");
            let records = |data: &Path| {
                let log =
                    std::fs::read(data.join("member/wal").join(wal::FIRST_FILE)).expect("there");
                wal::read(&log).expect("well formed")
            };
            let (mut our_records, mut their_records) = (records(&ours), records(&theirs));
            if version.etcdutl.is_none() {
                // 3.4 leaves the configuration out of the last record.
                our_records.pop();
                their_records.pop();
            }
            assert_eq!(our_records, their_records);
            let bucket = |data: &Path, name: &str| {
                crate::support::read(&data.join("member/snap/db"))
                    .expect("read")
                    .remove(name.as_bytes())
            };
            assert_eq!(bucket(&ours, "key"), bucket(&theirs, "key"));
            if version.etcdutl.is_some() {
                assert_eq!(bucket(&ours, "members"), bucket(&theirs, "members"));
            }
        }
    }
}

#[test]
fn the_tools_check_the_pages_that_are_written_here() {
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = with_history(&version, folder.path());
        let path = save(&source, folder.path());
        let plan = Plan::new::<1>();
        let restored = plan.restore(0, &path, folder.path(), Revisions::Exact);
        let database = folder.path().join("m1/member/snap/db");
        let text = run(
            version.tool(),
            &[
                "snapshot",
                "status",
                &database.display().to_string(),
                "-w",
                "json",
            ],
            "",
        );
        let theirs: Value =
            serde_json::from_str(&text.expect("their check of pages passes")).expect("JSON");
        assert_eq!(theirs["hash"], restored.hash);
        assert_eq!(theirs["totalSize"], restored.size);
    }
}
