//! Retention that dies at every operation of the store, and waits for its hour.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream;
use jiff::{SignedDuration, Timestamp};
use salvor_etcd::chain::segment::{Belongs, Builder};
use salvor_etcd::chain::{ChainRecord, Reason, SegmentName, Target, Timeline, recover};
use salvor_etcd::points::{KIND, chain_folder, source_of};
use salvor_etcd::prune::{self, Options, Pruned};
use salvor_location::claim::ClaimPolicy;
use salvor_location::points::retention::Policy;
use salvor_location::{Location, Point, RunId};
use salvor_seal::age::Identity;
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{Key, MemoryStore, ObjectStore, PutMode};
use serde_json::json;

use crate::points::{location_in, location_of};
use crate::support::{chain, put, seal, store, write};

const CLUSTER: u64 = 0x11;
/// Where the files of a control plane stand.
const PLANE: &str = "plugins/salvor/control-plane";
/// The last revision that was captured.
const LAST: u64 = 20;

/// Two chains that follow each other, with a roll-up, and points of something else beside them.
struct World {
    identity: Identity,
    /// A snapshot as a member gives it.
    snapshot: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("snapshot.db");
        write(&path, 4096, &store(2, "key")).expect("written");
        seal(&path);
        Self {
            identity: Identity::generate().expect("random numbers"),
            snapshot: std::fs::read(path).expect("there"),
        }
    }

    async fn fill(&self, location: &Location) {
        self.chain(location, "000001-a", None, 6, 3).await;
        for (first, last) in [(6, 10), (11, 15), (6, 15)] {
            self.segment(location, "000001-a", first, last).await;
        }
        self.chain(location, "000002-b", Some("000001-a"), 16, 1)
            .await;
        for (first, last) in [(16, 18), (19, LAST), (LAST + 1, LAST)] {
            self.segment(location, "000002-b", first, last).await;
        }
        // Certificates and keys, without which the data of an API server is worth nothing.
        let key = format!("{PLANE}/control-plane-east/1/m1.tar.zst.age");
        self.point(
            location,
            "control-plane-east",
            "control-plane",
            &key,
            9,
            json!({}),
        )
        .await;
    }

    /// A chain with a base that is so many days old.
    async fn chain(
        &self,
        location: &Location,
        name: &str,
        follows: Option<&str>,
        start: u64,
        days: i64,
    ) {
        let record = ChainRecord {
            version: 1,
            cluster: format!("{CLUSTER:016x}"),
            chain: name.to_owned(),
            created: before(days),
            start,
            follows: follows.map(str::to_owned),
            writer: 1,
            reason: Reason::First,
            auth: None,
        };
        let folder = chain_folder(CLUSTER, name);
        let key = Key::new(format!("{folder}/chain.json")).expect("a key");
        let body = serde_json::to_vec(&record).expect("JSON");
        let written = location
            .store()
            .put(&key, body.into(), PutMode::Create)
            .await;
        written.expect("written");
        let details = json!({
            "cluster": record.cluster, "chain": name, "revision": start - 1, "compacted": 0, "hash": 0, "entries": 0,
            "versions": 0, "liveKeys": null, "totalSize": 0, "storageVersion": "", "etcdVersion": "3.5.16",
            "member": "1", "endpoint": "", "newestBefore": null, "seconds": 0.0,
        });
        let key = format!("{folder}/full-{}.db.zst.age", start - 1);
        self.point(location, &source_of(CLUSTER), KIND, &key, days, details)
            .await;
    }

    async fn point(
        &self,
        location: &Location,
        source: &str,
        kind: &str,
        key: &str,
        days: i64,
        details: serde_json::Value,
    ) {
        let piece: Result<Bytes, std::io::Error> = Ok(self.snapshot.clone().into());
        let object = location
            .write_point_object(key, stream::iter([piece]))
            .await;
        let mut point = Point::new(RunId::generate(), source, kind, before(days));
        point.objects = vec![object.expect("written")];
        point.details = details;
        location.commit_point(&point).await.expect("committed");
    }

    async fn segment(&self, location: &Location, chain: &str, first: u64, last: u64) {
        let mut builder = Builder::new(first);
        for main in first..=last {
            let message = put(b"k", main, main, 1, b"v");
            builder
                .push(false, &message, Timestamp::now())
                .expect("next");
        }
        builder.mark(Timestamp::now(), 0);
        let belongs = Belongs {
            cluster: CLUSTER,
            chain,
            writer: 1,
            previous: None,
        };
        let content = builder.finish(&belongs, Timestamp::now()).expect("JSON");
        let key = |digest: &_| {
            let name = SegmentName {
                first,
                last,
                digest: *digest,
            };
            name.key(CLUSTER, chain)
        };
        let recipients = [self.identity.recipient()];
        location
            .create_segment(&recipients, content.into(), key)
            .await
            .expect("written");
    }

    /// Every point that is listed is whole, that of something else is there, and the last state is reached.
    async fn is_sound(&self, location: &Location, when: &str) {
        let listed = location.points(None).await.expect("listed");
        for point in &listed.entries {
            let looked = location.check_point_object(&point.objects[0]).await;
            looked.unwrap_or_else(|error| panic!("{when}: {}", chain(&error)));
        }
        assert!(
            listed
                .entries
                .iter()
                .any(|point| point.kind == "control-plane"),
            "{when}"
        );
        let timeline = Timeline::load(location, CLUSTER).await.expect("read");
        assert_eq!(timeline.damaged.len(), 0, "{when}");
        let identities = std::slice::from_ref(&self.identity);
        let folder = std::env::temp_dir();
        let fetched = recover::fetch(location, &timeline, Target::Latest, identities, &folder);
        let found = fetched
            .await
            .unwrap_or_else(|error| panic!("{when}: {}", chain(&error)));
        assert_eq!((found.revision, found.remarks.len()), (LAST, 0), "{when}");
    }
}

fn before(days: i64) -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(24 * days)
}

async fn pruned(location: &Location, grace: Duration) -> Result<Pruned, prune::Error> {
    let policy: Policy = "last=1".parse().expect("a policy");
    let options = Options {
        policy: Some(&policy),
        window: Duration::ZERO,
        grace,
        confirmed: None,
        forget: false,
    };
    prune::prune(location, CLUSTER, &options).await
}

/// What is there of etcd and of points.
async fn keys(location: &Location) -> Vec<String> {
    let mut all = Vec::new();
    for folder in ["plugins/salvor/etcd", "plugins/salvor/points", PLANE] {
        let listed = location.list_below(folder).await.expect("listed");
        // Ids are drawn anew in each world.
        let plain = |key: String| key.split("/2").next().unwrap_or_default().to_owned();
        all.extend(listed.into_iter().map(|info| plain(info.key)));
    }
    all
}

/// The same location for one who takes over from a dead run at once.
fn impatient(location: &Location) -> Location {
    let policy = ClaimPolicy {
        lease: Duration::ZERO,
        ..ClaimPolicy::default()
    };
    location.clone().with_claim_policy(policy)
}

#[tokio::test(start_paused = true)]
async fn a_prune_that_dies_at_any_operation_leaves_what_is_reached_and_the_next_one_finishes() {
    let world = World::new();
    let whole = location_in(Arc::new(MemoryStore::new()), &world.identity);
    world.fill(&whole).await;
    let noted = pruned(&whole, Duration::ZERO).await.expect("noted");
    let garbage = noted.posted.expect("noted").garbage.len() as u64;
    let swept = pruned(&whole, Duration::ZERO).await.expect("swept").swept;
    // Base, record and three segments of the first chain, with the record of the point.
    assert_eq!((swept.removed, swept.points.len()), (garbage, 1));
    world.is_sound(&whole, "at once").await;
    let expected = keys(&whole).await.len();
    let mut ended = 0;
    for fault in [Fault::CrashBefore, Fault::CrashAfter] {
        for at in 0.. {
            let when = format!("{fault:?} at {at}");
            let inner: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
            let sound = location_in(Arc::clone(&inner), &world.identity);
            world.fill(&sound).await;
            let dying = FaultStore::new(Arc::clone(&inner));
            dying.at(at, fault);
            let killed = location_in(Arc::new(dying.clone()), &world.identity);
            // Both halves: the one that notes, and the one that removes.
            for _ in 0..2 {
                let outcome = pruned(&impatient(&killed), Duration::ZERO).await;
                assert!(outcome.is_ok() || dying.operations() > at, "{when}");
            }
            world.is_sound(&sound, &when).await;
            tokio::time::advance(Duration::from_secs(24 * 3600)).await;
            for _ in 0..3 {
                let again = pruned(&impatient(&sound), Duration::ZERO).await;
                again.unwrap_or_else(|error| panic!("{when}: {}", chain(&error)));
            }
            world.is_sound(&sound, &when).await;
            assert_eq!(keys(&sound).await.len(), expected, "{when}");
            if dying.operations() <= at {
                ended += 1;
                break;
            }
        }
    }
    assert_eq!(ended, 2);
}

#[tokio::test]
async fn what_was_noted_goes_when_its_hour_is_over_by_the_clock_of_the_store() {
    let (world, hour) = (World::new(), Duration::from_secs(3600));
    let place = tempfile::tempdir().expect("a folder");
    let location = location_of(place.path(), &world.identity);
    world.fill(&location).await;
    let all = keys(&location).await.len();
    let noted = pruned(&location, hour).await.expect("noted");
    let garbage = noted.posted.expect("noted").garbage.len() as u64;
    for (minutes, removed) in [(0, 0), (59, 0), (61, garbage)] {
        age(place.path(), Duration::from_secs(minutes * 60));
        let swept = pruned(&location, hour).await.expect("looked").swept;
        assert_eq!(swept.removed, removed, "{minutes}");
        let left = keys(&location).await.len() as u64;
        assert_eq!(left, all as u64 - removed, "{minutes}");
        world.is_sound(&location, "in a folder").await;
    }
}

/// Makes the notices so old, by the times of their files: the clock of a folder.
fn age(place: &Path, by: Duration) {
    let folder = place.join("plugins/salvor/gc").join(source_of(CLUSTER));
    for entry in std::fs::read_dir(folder).expect("notices") {
        let path = entry.expect("listed").path();
        let file = std::fs::File::options()
            .write(true)
            .open(path)
            .expect("a notice");
        file.set_modified(SystemTime::now() - by).expect("set");
    }
}
