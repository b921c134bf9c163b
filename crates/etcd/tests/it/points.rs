//! Snapshots as points of a location: saved from real etcd, read from the location, restored, and equal.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use futures::TryStreamExt as _;
use salvor_etcd::Clock;
use salvor_etcd::client::Access;
use salvor_etcd::points::{self, Details, Error, Placement, Request, TEMPLATE};
use salvor_etcd::restore::{Revisions, restore_snapshot};
use salvor_etcd::save;
use salvor_etcd::snapshot::{status, verify};
use salvor_location::trust::Trust;
use salvor_location::{Location, Profile};
use salvor_seal::age::Identity;
use salvor_storage::{FsStore, Key, ObjectStore, PutMode, StoreUrl};
use salvor_testkit::required_path;
use tokio_util::sync::CancellationToken;

use crate::real::{Plan, Version, run, with_history};
use crate::support::GO_ON;

/// A location in a folder, and who can read what is sealed in it.
pub(crate) fn location(folder: &Path) -> (Location, Identity) {
    let identity = Identity::generate().expect("random numbers");
    (location_of(folder, &identity), identity)
}

pub(crate) fn location_of(folder: &Path, identity: &Identity) -> Location {
    let store: Arc<dyn ObjectStore> = Arc::new(FsStore::new(folder));
    let url = format!("file://{}", folder.display());
    let profile = Profile {
        name: "default".to_owned(),
        url: StoreUrl::parse(&url).expect("a URL"),
        read_only: false,
    };
    sealed_for(Location::new(store, profile), identity)
}

/// The same in any store.
pub(crate) fn location_in(store: Arc<dyn ObjectStore>, identity: &Identity) -> Location {
    let profile = Profile {
        name: "default".to_owned(),
        url: StoreUrl::parse("memory://default").expect("a URL"),
        read_only: false,
    };
    sealed_for(Location::new(store, profile), identity)
}

fn sealed_for(location: Location, identity: &Identity) -> Location {
    location.with_trust(Trust {
        recipients: vec![identity.recipient()],
        ..Trust::default()
    })
}

/// A full in a chain of its own.
fn request<'a>(endpoints: &'a [String], access: &'a Access, folder: &'a Path) -> Request<'a> {
    static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::default);
    Request {
        clock: &CLOCK,
        endpoints,
        access,
        folder,
        reason: None,
        placement: Placement::Chain(None),
    }
}

pub(crate) fn access() -> Access {
    Access {
        authorities: None,
        identity: None,
        user: None,
        patience: Duration::from_secs(20),
    }
}

#[test]
fn a_snapshot_is_saved_to_a_location_and_restored_from_it() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for version in Version::all() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = with_history(&version, folder.path());
        let place = tempfile::tempdir().expect("a folder");
        let (location, identity) = location(place.path());
        let endpoints = [source.client.clone()];
        let access = access();
        let request = Request {
            reason: Some("before the upgrade"),
            ..request(&endpoints, &access, folder.path())
        };
        let stop = CancellationToken::new();
        let saved = runtime.block_on(points::save(&location, &request, &stop));
        let (saved, point) = saved.expect("saved");
        let details = Details::of_point(&point).expect("details");
        assert_eq!(details.revision, source.revision());
        assert_eq!(details.hash, saved.status.hash);
        assert_eq!(details.reason.as_deref(), Some("before the upgrade"));
        let object = points::object_of(&point).expect("one");
        let name = format!("full-{}.db.zst.age", details.revision);
        assert!(object.key.ends_with(&name), "{}", object.key);

        // By template, twice in one second perhaps: two objects.
        let by_name = Request {
            placement: Placement::Template(TEMPLATE),
            ..request
        };
        for _ in 0..2 {
            runtime
                .block_on(points::save(&location, &by_name, &stop))
                .expect("saved");
        }
        let listed = runtime.block_on(location.points(None)).expect("listed");
        let mut keys: Vec<&str> = listed
            .entries
            .iter()
            .map(|point| point.objects[0].key.as_str())
            .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 3, "{keys:?}");

        let found = runtime.block_on(points::find(&location, point.id.as_str(), None));
        assert_eq!(found.expect("found"), point);
        let identities = [identity];
        let fetched =
            runtime.block_on(points::fetch(&location, &point, &identities, folder.path()));
        let snapshot = fetched.expect("fetched");
        assert!(verify(&snapshot, &GO_ON).expect("looked at").is_good());
        let counted = status(&snapshot, true, &GO_ON).expect("counted");
        assert_eq!(counted, details.into_status());

        // What is in the object is a file of the tools.
        let content = runtime.block_on(async {
            let read = location.read_point_object(object, &identities).await;
            let pieces: Vec<_> = read.expect("read").try_collect().await.expect("whole");
            pieces.concat()
        });
        let plain = folder.path().join("plain.db");
        std::fs::write(&plain, content).expect("a file");
        let theirs = run(
            version.tool(),
            &["snapshot", "status", &plain.display().to_string()],
            "",
        );
        assert!(
            theirs
                .expect("they read it")
                .contains(&format!("{:x}", counted.hash))
        );

        let plan = Plan::new::<1>();
        let options = plan.options(0, folder.path(), Revisions::Exact);
        let restored = restore_snapshot(&snapshot, &options, &GO_ON).expect("restored");
        let member = plan.start(0, &version, folder.path());
        assert_eq!(
            member.hash_kv(restored.revision),
            source.hash_kv(restored.revision)
        );
    }
}

#[test]
fn what_cannot_be_a_point_leaves_nothing_visible() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = with_history(&version, folder.path());
    let place = tempfile::tempdir().expect("a folder");
    let (location, identity) = location(place.path());
    let endpoints = [source.client.clone()];
    let access = access();
    let request = request(&endpoints, &access, folder.path());
    let stopped = CancellationToken::new();
    stopped.cancel();
    let refused = runtime.block_on(points::save(&location, &request, &stopped));
    assert!(matches!(refused, Err(Error::Save(save::Error::Stopped))));
    let nobody = location.clone().with_trust(Trust::default());
    let stop = CancellationToken::new();
    let refused = runtime.block_on(points::save(&nobody, &request, &stop));
    assert!(matches!(refused, Err(Error::Location(_))));
    let latest = runtime.block_on(points::find(&location, "latest", None));
    assert!(matches!(latest, Err(Error::NotFound { .. })));

    // A point of two clusters, and one whose object was changed.
    let (_, point) = runtime
        .block_on(points::save(&location, &request, &stop))
        .expect("saved");
    let object = points::object_of(&point).expect("one").clone();
    let path = place.path().join(&object.key);
    let mut bytes = std::fs::read(&path).expect("there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let key = Key::new(object.key.clone()).expect("a key");
    let put = location.store().put(&key, bytes.into(), PutMode::Overwrite);
    runtime.block_on(put).expect("changed");
    let fetched = points::fetch(
        &location,
        &point,
        std::slice::from_ref(&identity),
        folder.path(),
    );
    assert!(matches!(runtime.block_on(fetched), Err(Error::Location(_))));
}

#[test]
fn a_snapshot_in_a_location_comes_back_with_age_zstd_and_etcdutl_alone() {
    let programs = ["SALVOR_AGE", "SALVOR_ZSTD", "SALVOR_ETCDUTL_3_5_16"];
    let [Some(age), Some(zstd), Some(etcdutl)] = programs.map(required_path) else {
        return;
    };
    let Some(version) = Version::of("3_5_16") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let source = with_history(&version, folder.path());
    let place = tempfile::tempdir().expect("a folder");
    let (location, identity) = location(place.path());
    let endpoints = [source.client.clone()];
    let access = access();
    let request = request(&endpoints, &access, folder.path());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let stop = CancellationToken::new();
    let saved = runtime.block_on(points::save(&location, &request, &stop));
    let (_, point) = saved.expect("saved");
    let object = place
        .path()
        .join(&points::object_of(&point).expect("one").key);
    std::fs::write(folder.path().join("age.key"), identity.to_text().expose()).expect("a file");

    // As the guide prints it.
    let plan = Plan::new::<1>();
    let options = plan.options(0, folder.path(), Revisions::Exact);
    let line = "\"$AGE\" -d -i age.key \"$OBJECT\" | \"$ZSTD\" -d > snapshot.db && \
        \"$ETCDUTL\" snapshot restore snapshot.db --name m1 --data-dir m1 --initial-cluster-token token \
        --initial-cluster \"$MEMBERS\" --initial-advertise-peer-urls \"${MEMBERS#m1=}\"";
    let output = Command::new("/bin/sh")
        .args(["-e", "-c", line])
        .current_dir(folder.path())
        .env("AGE", age)
        .env("ZSTD", zstd)
        .env("ETCDUTL", etcdutl)
        .env("OBJECT", object)
        .env("MEMBERS", plan.members())
        .output()
        .expect("a shell");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(options.data_dir.join("member/snap/db").is_file());
    let member = plan.start(0, &version, folder.path());
    let revision = source.revision();
    assert_eq!(member.revision(), revision);
    assert_eq!(member.hash_kv(revision), source.hash_kv(revision));
}
