//! A member that is captured from into a location, and what comes back from there.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use salvor_etcd::capture::{self, Metrics, Options};
use salvor_etcd::chain::{Found, Target, Timeline, recover};
use salvor_etcd::restore::{Restored, Revisions, restore_history};
use salvor_location::{Location, Point};
use salvor_seal::age::Identity;
use salvor_storage::{Key, PutMode};
use tokio_util::sync::CancellationToken;

use crate::capture::{QUOTA, options, wait};
use crate::points::location_of;
use crate::real::{self, Member, Plan, with_history};
use crate::support::{GO_ON, chain};

/// A capture on a thread of its own.
pub(crate) struct Running {
    stop: CancellationToken,
    said: Arc<Mutex<String>>,
    thread: JoinHandle<Metrics>,
}

impl Running {
    pub(crate) fn start(location: &Location, options: Options) -> Self {
        let (stop, said) = (CancellationToken::new(), Arc::<Mutex<String>>::default());
        let (location, token, text) = (location.clone(), stop.clone(), Arc::clone(&said));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            let mut tell = |told: capture::Told<'_>| {
                let mut text = text.lock().expect("nobody panicked");
                text.push_str(&format!("{told:?}\n"));
            };
            let run = capture::run(&location, &options, &token, &mut tell);
            runtime
                .block_on(run)
                .unwrap_or_else(|error| panic!("{}", chain(&error)))
        });
        Self { stop, said, thread }
    }

    pub(crate) fn wait_to_hear(&self, part: &str) {
        let begun = std::time::Instant::now();
        loop {
            let said = self.said.lock().expect("nobody panicked").clone();
            if said.contains(part) {
                return;
            }
            assert!(begun.elapsed().as_secs() < 60, "{part}: {said}");
            std::thread::yield_now();
        }
    }

    pub(crate) fn has_said(&self, part: &str) -> bool {
        self.all_said().contains(part)
    }

    pub(crate) fn all_said(&self) -> String {
        self.said.lock().expect("nobody panicked").clone()
    }

    pub(crate) fn stop(self) -> Metrics {
        self.stop.cancel();
        self.thread.join().expect("it ended")
    }
}

pub(crate) struct Bench<'a> {
    pub(crate) runtime: tokio::runtime::Runtime,
    pub(crate) folder: &'a Path,
    pub(crate) source: Member<'a>,
    pub(crate) identity: Identity,
    pub(crate) location: Location,
}

impl<'a> Bench<'a> {
    pub(crate) fn new(version: &'a real::Version, folder: &'a Path) -> Self {
        Self::of(with_history(version, folder), folder)
    }

    pub(crate) fn of(source: Member<'a>, folder: &'a Path) -> Self {
        let place = folder.join("location");
        std::fs::create_dir(&place).expect("a folder");
        let identity = Identity::generate().expect("random numbers");
        Self {
            runtime: tokio::runtime::Runtime::new().expect("a runtime"),
            folder,
            source,
            location: location_of(&place, &identity),
            identity,
        }
    }

    pub(crate) fn options(&self) -> Options {
        options(&self.source.client, self.folder)
    }

    pub(crate) fn wait(&self, is_so: impl Fn(&Timeline) -> bool) -> Timeline {
        wait(&self.runtime, &self.location, Path::new("/dev/null"), is_so)
    }

    pub(crate) fn put(&self, times: usize) -> u64 {
        for time in 0..times {
            self.source
                .ctl(&["put", &format!("more{}", time % 5), &time.to_string()]);
        }
        self.source.revision()
    }

    pub(crate) fn fetch(
        &self,
        timeline: &Timeline,
        target: Target,
    ) -> Result<Found, recover::Error> {
        let identities = std::slice::from_ref(&self.identity);
        let fetched = recover::fetch(&self.location, timeline, target, identities, self.folder);
        self.runtime.block_on(fetched)
    }

    /// Captures with the usual options; a base is there.
    pub(crate) fn capture(&self) -> Running {
        self.capture_with(self.options())
    }

    /// The same with others.
    pub(crate) fn capture_with(&self, options: Options) -> Running {
        let running = Running::start(&self.location, options);
        running.wait_to_hear("Base");
        running
    }

    /// What [`Self::fetch`] gives, which is there.
    pub(crate) fn found(&self, timeline: &Timeline, target: Target) -> Found {
        let found = self.fetch(timeline, target);
        found.unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// The last captured state boots, and etcd's own hash over it is that of the source.
    pub(crate) fn is_the_source(&self, version: &real::Version, timeline: &Timeline) {
        let found = self.found(timeline, Target::Latest);
        is_the_source(found, &self.source, version);
    }

    /// What stands in the location of a cluster.
    pub(crate) fn load(&self, cluster: u64) -> Timeline {
        let load = Timeline::load(&self.location, cluster);
        self.runtime.block_on(load).expect("read")
    }

    /// Puts other bytes under a key.
    pub(crate) fn overwrite(&self, key: &str, bytes: Vec<u8>) {
        let key = Key::new(key).expect("a key");
        let store = self.location.store();
        let put = store.put(&key, bytes.into(), PutMode::Overwrite);
        self.runtime.block_on(put).expect("written");
    }

    /// Changes one bit in the middle of an object.
    pub(crate) fn damage(&self, key: &str) {
        let mut bytes = std::fs::read(self.folder.join("location").join(key)).expect("there");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        self.overwrite(key, bytes);
    }

    pub(crate) fn remove(&self, key: &str) {
        let key = Key::new(key).expect("a key");
        let removed = self.runtime.block_on(self.location.store().delete(&key));
        removed.expect("removed");
    }
}

impl Bench<'_> {
    /// Removes a point with its object.
    pub(crate) fn remove_point(&self, point: &Point) {
        self.remove(&point.record_key().expect("a key"));
        self.remove(&point.objects[0].key);
    }
}

/// Makes a data directory with the history that the source had.
pub(crate) fn restored(found: Found, into: &Path) -> (Restored, Plan) {
    let (snapshot, mut history) = found.into_history(true, QUOTA);
    let plan = Plan::new::<1>();
    let options = plan.options(0, into, Revisions::Exact);
    let restored = restore_history(&snapshot, &mut history, &options, &GO_ON);
    let restored = restored.unwrap_or_else(|error| panic!("{}", chain(&error)));
    assert_eq!(restored.findings, [] as [&str; 0]);
    (restored, plan)
}

/// What was found boots, and etcd's own hash over it is that of the source at its last revision.
pub(crate) fn is_the_source(found: Found, source: &Member<'_>, version: &real::Version) {
    let (last, folder) = (source.revision(), tempfile::tempdir().expect("a folder"));
    assert_eq!(
        (found.revision, &found.remarks[..]),
        (last, &[] as &[String])
    );
    let (restored, plan) = restored(found, folder.path());
    assert_eq!(restored.revision, last);
    let member = plan.start(0, version, folder.path());
    assert_eq!(member.revision(), last);
    assert_eq!(member.hash_kv(last), source.hash_kv(last));
    assert_eq!(member.keys(last), source.keys(last));
}
