//! Our side, in a process of its own.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use salvor_etcd::chain::segment::{Belongs, Builder};
use salvor_etcd::chain::{ChainRecord, Reason, SegmentName, Target, Timeline, recover};
use salvor_etcd::client::Access;
use salvor_etcd::membership::Cluster;
use salvor_etcd::points::{self, Placement, Request};
use salvor_etcd::restore::{self as restoring, Options, Revisions};
use salvor_etcd::save::save;
use salvor_etcd::snapshot::{self, Snapshot};
use salvor_location::trust::Trust;
use salvor_location::{Location, Profile};
use salvor_seal::age::Identity;
use salvor_storage::{FsStore, Key, ObjectStore, PutMode, StoreUrl};
use tokio_util::sync::CancellationToken;

use crate::data::{Numbers, entry};
use crate::{Outcome, Place};

const CHAIN: &str = "000001-bench";
/// Bytes of a segment's content, as a capture closes them.
const SEGMENT: usize = 8 << 20;
/// More than any benchmark has.
const QUOTA: u64 = 1 << 40;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Runs a step: its name, the folder, the endpoint.
pub(crate) fn run(arguments: &[String]) -> Outcome<()> {
    let [step, work, endpoint] = arguments else {
        return Err("ours: a step, a folder and an endpoint".into());
    };
    let work = Path::new(work);
    let (path, target) = (work.join("snapshot.db"), work.join("target"));
    match step.as_str() {
        "save" => {
            let endpoints = [endpoint.clone()];
            let stop = CancellationToken::new();
            runtime()?.block_on(save(&endpoints, &access(), &path, &stop))?;
        }
        "status" => drop(snapshot::status(&Snapshot::open(&path)?, true, &GO_ON)?),
        "verify" => {
            let report = snapshot::verify(&Snapshot::open(&path)?, &GO_ON)?;
            assert!(report.is_good(), "{report:?}");
        }
        "restore" => restore(&path, &target, "default", "http://localhost:2380")?,
        "changes" => changes(work, &target)?,
        other => return Err(format!("no step `{other}`").into()),
    }
    Ok(())
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Runtime::new()?)
}

fn access() -> Access {
    Access {
        authorities: None,
        identity: None,
        user: None,
        patience: Duration::from_secs(600),
    }
}

fn options(target: &Path, name: &str, peer: &str) -> Outcome<Options> {
    Ok(Options {
        cluster: Cluster::new(&format!("{name}={peer}"), "etcd-cluster")?,
        name: name.to_owned(),
        peer_urls: peer.parse()?,
        data_dir: target.to_owned(),
        wal_dir: None,
        skip_digest: false,
        revisions: Revisions::Exact,
        replace: false,
        owner: None,
    })
}

/// Makes a member's directory.
pub(crate) fn restore(snapshot: &Path, target: &Path, name: &str, peer: &str) -> Outcome<()> {
    restoring::restore(snapshot, &options(target, name, peer)?, &GO_ON)?;
    Ok(())
}

fn location(work: &Path, identity: &Identity) -> Outcome<Location> {
    let folder = work.join("location");
    let store: Arc<dyn ObjectStore> = Arc::new(FsStore::new(&folder));
    let profile = Profile {
        name: "bench".to_owned(),
        url: StoreUrl::parse(&format!("file://{}", folder.display()))?,
        read_only: false,
    };
    Ok(Location::new(store, profile).with_trust(Trust {
        recipients: vec![identity.recipient()],
        ..Trust::default()
    }))
}

/// A base in a location, and changes behind it: a tenth of its keys. Gives their number.
pub(crate) fn prepare(place: &Place) -> Outcome<u64> {
    let runtime = runtime()?;
    std::fs::create_dir(place.work.join("location"))?;
    let identity = Identity::generate()?;
    std::fs::write(place.work.join("age.key"), identity.to_text().expose())?;
    let location = location(&place.work, &identity)?;
    let endpoints = [place.endpoint.clone()];
    let (request, stop) = (
        Request {
            endpoints: &endpoints,
            access: &access(),
            folder: &place.work,
            reason: None,
            placement: Placement::Chain(Some(CHAIN)),
            clock: &salvor_etcd::Clock::default(),
        },
        CancellationToken::new(),
    );
    let (saved, _) = runtime.block_on(points::save(&location, &request, &stop))?;
    let (cluster, base) = (saved.member.cluster, saved.status.revision);
    let record = ChainRecord {
        version: 1,
        cluster: format!("{cluster:016x}"),
        chain: CHAIN.to_owned(),
        created: Timestamp::now(),
        start: base + 1,
        follows: None,
        writer: 1,
        reason: Reason::First,
        auth: None,
    };
    let key = Key::new(format!(
        "{}/chain.json",
        points::chain_folder(cluster, CHAIN)
    ))?;
    let record = serde_json::to_vec(&record)?.into();
    runtime.block_on(location.store().put(&key, record, PutMode::Create))?;

    let keys = saved.status.live_keys.unwrap_or(0);
    let (changes, mut numbers) = (keys / 10, Numbers(0x00c4_a11e));
    let mut builder = Builder::new(base + 1);
    for number in 0..changes {
        let message = entry(number * 7 % keys, base + 1 + number, 3, &mut numbers);
        builder.push(false, &message, Timestamp::now())?;
        if builder.length() < SEGMENT && number + 1 < changes {
            continue;
        }
        let next = Builder::new(builder.last() + 1);
        let mut done = std::mem::replace(&mut builder, next);
        done.mark(Timestamp::now(), 0);
        let belongs = Belongs {
            cluster,
            chain: CHAIN,
            writer: 1,
            previous: None,
        };
        let content = Bytes::from(done.finish(&belongs, Timestamp::now())?);
        let name = |digest: &_| {
            let name = SegmentName {
                first: done.first(),
                last: done.last(),
                digest: *digest,
            };
            name.key(cluster, CHAIN)
        };
        let recipients = [identity.recipient()];
        runtime.block_on(location.create_segment(&recipients, content, name))?;
    }
    Ok(changes)
}

/// Fetches the last state of the location, and makes a member's directory of it.
fn changes(work: &Path, target: &Path) -> Outcome<()> {
    let text = std::fs::read_to_string(work.join("age.key"))?;
    let identities = Identity::of_lines(&text)?;
    let identity = identities.first().ok_or("no identity")?;
    let location = location(work, identity)?;
    let found = runtime()?.block_on(async {
        let cluster = salvor_etcd::chain::clusters(&location).await?;
        let cluster = *cluster.first().ok_or("no cluster")?;
        let timeline = Timeline::load(&location, cluster).await?;
        let found = recover::fetch(&location, &timeline, Target::Latest, &identities, work);
        Ok::<_, Box<dyn std::error::Error>>(found.await?)
    })?;
    let (snapshot, mut history) = found.into_history(false, QUOTA);
    let options = options(target, "default", "http://localhost:2380")?;
    restoring::restore_history(&snapshot, &mut history, &options, &GO_ON)?;
    Ok(())
}
