//! Stores of which nothing is known: what they did when they were tried decides how a name is claimed.

use std::sync::{Arc, Mutex};

use salvor_location::{CheckReport, Error, Location, RunId, Severity};
use salvor_storage::testing::{Fault, FaultStore};
use salvor_storage::{ErrorKind, MemoryStore, ObjectStore, StoreUrl, open_url};
use salvor_testkit::process::or_skip;
use salvor_testkit::s3_server::S3Server;

use crate::hook::HookStore;
use crate::world::{assert_whole_or_absent, fill, location, name, write_backup};

/// Keys that were written, in order.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<String>>>);

impl Written {
    fn to(&self, store: Arc<dyn ObjectStore>) -> HookStore {
        let written = Arc::clone(&self.0);
        let hook = move |operation: &'static str, key: &str| {
            if operation == "put" {
                let mut written = written.lock().expect("not poisoned");
                written.push(key.to_owned());
            }
            Box::pin(async {}) as futures::future::BoxFuture<'static, ()>
        };
        HookStore::new(store, Arc::new(hook))
    }

    fn count(&self, part: &str) -> usize {
        let written = self.0.lock().expect("not poisoned");
        written.iter().filter(|key| key.contains(part)).count()
    }
}

fn create_only(report: &CheckReport) -> Option<Severity> {
    let step = report.steps.iter().find(|step| step.name == "create only");
    let problem = &step.expect("tried").problem;
    problem.as_ref().map(|(severity, _)| *severity)
}

async fn nothing_of_the_trials_is_left(location: &Location) {
    let left = location.store().list_folder("plugins/salvor/probe").await;
    assert_eq!(left.expect("listed").objects, [], "trials are removed");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_store_that_excludes_when_it_is_tried_is_claimed_without_waiting() {
    let written = Written::default();
    let store = written.to(Arc::new(MemoryStore::new())).unknown();
    let location = location(Arc::new(store));
    let run = RunId::generate();
    let begin = tokio::time::Instant::now();
    write_backup(&location, &run).await.expect("written");
    assert_eq!(begin.elapsed().as_secs(), 0, "the paused clock stood still");
    assert_eq!(written.count("/candidates/"), 0, "nobody was waited for");
    assert_eq!(
        assert_whole_or_absent(&location, "claimed").await,
        Some(run.clone())
    );
    let trials = written.count("-race-");
    assert!(trials > 8, "tried: {trials} creations");
    let next = location.delete_backup(&name("nightly"), &run).await;
    next.expect("deleted");
    assert_eq!(written.count("-race-"), trials, "tried once per process");
    assert_eq!(create_only(&location.check().await.expect("checked")), None);
    nothing_of_the_trials_is_left(&location).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_store_that_lets_two_create_at_once_keeps_the_announcements() {
    let written = Written::default();
    let store = written.to(Arc::new(MemoryStore::new())).racy().unknown();
    let location = location(Arc::new(store));
    assert!(
        location.prepare().await.expect("prepared").create_only,
        "a second creation is refused"
    );
    let begin = || {
        let (location, run) = (location.clone(), RunId::generate());
        async move { location.begin_backup(&name("nightly"), &run).await }
    };
    let outcomes: [_; 3] = futures::future::join3(begin(), begin(), begin())
        .await
        .into();
    assert_eq!(written.count("/candidates/"), 3, "all announce themselves");
    let mut writers = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(writer) => writers.push(writer),
            Err(error) => assert!(matches!(error, Error::Busy { .. }), "{error}"),
        }
    }
    assert_eq!(writers.len(), 1, "one goes on");
    fill(writers.remove(0)).await.expect("written");
    let report = location.check().await.expect("checked");
    assert_eq!(create_only(&report), Some(Severity::Warning), "{report:?}");
    nothing_of_the_trials_is_left(&location).await;
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_failed_is_not_one_that_was_passed() {
    for answer in [Fault::Before(ErrorKind::Transient), Fault::AfterWithError] {
        let written = Written::default();
        let fault = FaultStore::new(Arc::new(MemoryStore::new()));
        let location = location(Arc::new(written.to(Arc::new(fault.clone())).unknown()));
        location.prepare().await.expect("prepared");
        fault.on_key("-race-0", answer);
        let run = RunId::generate();
        write_backup(&location, &run).await.expect("written");
        assert_eq!(written.count("/candidates/"), 1, "announced: {answer:?}");
        assert_eq!(
            assert_whole_or_absent(&location, "announced").await,
            Some(run)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_server_at_its_own_address_is_claimed_without_waiting() {
    let Some(server) = or_skip(S3Server::start()) else {
        return;
    };
    server.create_bucket("trial", false).expect("bucket");
    let credentials = tempfile::NamedTempFile::new().expect("file");
    let text = "[default]\naws_access_key_id=test\naws_secret_access_key=hunter2\n";
    std::fs::write(credentials.path(), text).expect("written");
    let url = format!(
        "s3://trial?endpoint=http://{}&credentialsFile={}",
        server.address(),
        credentials.path().display()
    );
    let store = open_url(&StoreUrl::parse(&url).expect("valid URL")).expect("usable options");
    assert!(!store.excludes(), "nothing is known of it");
    let written = Written::default();
    let location = location(Arc::new(written.to(store)));
    let run = RunId::generate();
    write_backup(&location, &run).await.expect("written");
    assert_eq!(written.count("/candidates/"), 0, "nobody was waited for");
    assert_eq!(
        assert_whole_or_absent(&location, "claimed").await,
        Some(run)
    );
    nothing_of_the_trials_is_left(&location).await;
}
