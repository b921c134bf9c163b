//! Faults between us and the store: refusals, lost answers, broken bodies, by a proxy in front of moto.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use salvor_storage::{
    Error, ErrorKind, GetOptions, Key, ObjectInfo, ObjectStore, PutMode, RetryPolicy, RetryStore,
};
use salvor_testkit::fault_proxy::{Fault, FaultProxy, Seen};

use crate::s3::Bucket;

/// A bucket, the way to it that fails, and the way that does not.
struct World {
    bucket: Bucket,
    proxy: FaultProxy,
    /// By way of the proxy.
    bare: Arc<dyn ObjectStore>,
    /// By way of the proxy and with retries.
    patient: RetryStore,
    direct: Arc<dyn ObjectStore>,
}

impl World {
    async fn start() -> Option<Self> {
        let bucket = Bucket::start(false)?;
        let proxy = FaultProxy::start(bucket.server.address())
            .await
            .expect("proxy");
        let bare = bucket.store_at(&proxy.address().to_string(), "");
        let policy = RetryPolicy {
            base: Duration::from_millis(20),
            ..RetryPolicy::default()
        };
        Some(Self {
            patient: RetryStore::new(Arc::clone(&bare), policy),
            direct: bucket.store(),
            bare,
            proxy,
            bucket,
        })
    }

    async fn stored(&self, name: &str) -> Option<Bytes> {
        match self.direct.get(&key(name), GetOptions::default()).await {
            Ok(object) => Some(object.bytes(1 << 30).await.expect("body")),
            Err(error) if error.is_not_found() => None,
            Err(error) => panic!("{error}"),
        }
    }

    async fn upload(&self, name: &str, body: &Bytes, mode: PutMode) -> Result<ObjectInfo, Error> {
        let mut upload = self.bare.upload(&key(name), mode).await?;
        for chunk in body.chunks(3 << 20) {
            upload.write(body.slice_ref(chunk)).await?;
        }
        upload.finish().await
    }
}

fn key(name: &str) -> Key {
    Key::new(name).expect("valid key")
}

fn put_of(name: &str) -> impl Fn(&Seen) -> bool + Send + 'static {
    let path = format!("/{name}");
    move |seen| seen.method == "PUT" && seen.target.ends_with(&path)
}

/// A part and a bit, so that it has a beginning, parts and an end; no two stretches are alike.
fn large() -> Bytes {
    static LARGE: LazyLock<Bytes> = LazyLock::new(|| {
        let numbers = (0..9u32 << 18).map(|i| i.wrapping_mul(0x9e37_79b9));
        numbers.flat_map(u32::to_le_bytes).collect()
    });
    LARGE.clone()
}

const SLOW_DOWN: &str = "<Error><Code>SlowDown</Code><Message>slower, please</Message></Error>";

/// Faults after which the store has done nothing, and those after which it has.
const NOT_DONE: [Fault; 3] = [
    Fault::CutBefore,
    Fault::Answer {
        status: 503,
        retry_after: Some(0),
        body: SLOW_DOWN,
    },
    Fault::Answer {
        status: 429,
        retry_after: None,
        body: "",
    },
];
const DONE: [Fault; 3] = [
    Fault::CutAfter,
    Fault::ReplaceAnswer(500),
    Fault::ReplaceAnswer(502),
];

#[tokio::test(flavor = "multi_thread")]
async fn refusals_say_what_they_are_and_whether_it_may_have_happened() {
    let Some(world) = World::start().await else {
        return;
    };
    let answer = |status, retry_after, body| Fault::Answer {
        status,
        retry_after,
        body,
    };
    let seconds = Duration::from_secs;
    let cases = [
        (
            answer(503, Some(7), SLOW_DOWN),
            ErrorKind::Throttled,
            Some(seconds(7)),
            true,
        ),
        (
            answer(429, Some(2), ""),
            ErrorKind::Throttled,
            Some(seconds(2)),
            false,
        ),
        (answer(500, None, ""), ErrorKind::Transient, None, true),
        (answer(507, None, ""), ErrorKind::Full, None, false),
        (answer(403, None, ""), ErrorKind::Denied, None, false),
        (
            answer(
                409,
                None,
                "<Error><Code>ConditionalRequestConflict</Code></Error>",
            ),
            ErrorKind::Transient,
            None,
            false,
        ),
        (Fault::CutBefore, ErrorKind::Transient, None, true),
        (Fault::CutAfter, ErrorKind::Transient, None, true),
        (Fault::ReplaceAnswer(504), ErrorKind::Transient, None, true),
    ];
    for (number, (fault, kind, wait, in_doubt)) in cases.into_iter().enumerate() {
        let name = format!("refused/{number}");
        world.proxy.fail(1, fault.clone(), put_of(&name));
        let error = world
            .bare
            .put(&key(&name), Bytes::from("x"), PutMode::Create)
            .await
            .expect_err("refused");
        let found = (error.kind, error.retry_after, error.may_have_happened());
        assert_eq!(found, (kind, wait, in_doubt), "{fault:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_whose_answer_is_lost_is_ours_and_no_conflict() {
    let Some(world) = World::start().await else {
        return;
    };
    for (number, fault) in NOT_DONE.into_iter().chain(DONE).enumerate() {
        let name = format!("created/{number}");
        let ours = Bytes::from(format!("ours {number}"));
        world.proxy.fail(1, fault.clone(), put_of(&name));
        world
            .patient
            .put(&key(&name), ours.clone(), PutMode::Create)
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(world.stored(&name).await, Some(ours), "{fault:?}");
        let again = world
            .patient
            .put(&key(&name), Bytes::from("others"), PutMode::Create)
            .await;
        assert_eq!(again.expect_err("taken").kind, ErrorKind::AlreadyExists);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_never_claims_what_somebody_else_wrote() {
    let Some(world) = World::start().await else {
        return;
    };
    for (number, fault) in NOT_DONE.into_iter().chain(DONE).enumerate() {
        for size in [6, 6 << 20] {
            let name = format!("theirs/{number}/{size}");
            let theirs = Bytes::from("theirs");
            world
                .direct
                .put(&key(&name), theirs.clone(), PutMode::Create)
                .await
                .expect("first");
            world.proxy.fail(1, fault.clone(), put_of(&name));
            let error = world
                .patient
                .put(&key(&name), Bytes::from(vec![b'o'; size]), PutMode::Create)
                .await
                .expect_err("theirs");
            assert_eq!(error.kind, ErrorKind::AlreadyExists, "{fault:?}: {error}");
            assert_eq!(world.stored(&name).await, Some(theirs), "{fault:?}");
        }
    }
}

/// Uploads an object once per request that an upload takes and per kind of fault, each time with one fault.
pub(crate) async fn survive_one_fault_anywhere(
    proxy: &FaultProxy,
    store: Arc<dyn ObjectStore>,
    direct: Arc<dyn ObjectStore>,
) {
    let upload = async |name: &str| {
        let mut upload = store.upload(&key(name), PutMode::Create).await?;
        upload.write(large()).await?;
        upload.finish().await
    };
    drop(proxy.take_seen());
    upload("count").await.expect("no fault");
    let requests = proxy.take_seen().len();
    assert!(
        requests >= 4,
        "a look, a beginning or none, two parts and an end or none: {requests}"
    );
    let [cut_before, slow_down, _] = NOT_DONE;
    let [cut_after, replaced, _] = DONE;
    for fault in [cut_before, slow_down, cut_after, replaced] {
        for number in 0..requests {
            let name = format!("up/{number}/{fault:?}");
            let (mut seen, once) = (0, fault.clone());
            proxy.plan(move |_| {
                seen += 1;
                (seen == number + 1).then(|| once.clone())
            });
            let info = upload(&name)
                .await
                .unwrap_or_else(|error| panic!("request {number}, {fault:?}: {error}"));
            assert_eq!(info.size, large().len() as u64);
            let object = direct
                .get(&key(&name), GetOptions::default())
                .await
                .expect("get");
            let stored = object.bytes(1 << 30).await.expect("body");
            assert!(stored == large(), "request {number}, {fault:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_upload_survives_one_fault_at_any_of_its_requests() {
    let Some(world) = World::start().await else {
        return;
    };
    survive_one_fault_anywhere(&world.proxy, world.bare, world.direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_cannot_end_is_not_visible_and_says_whether_it_may_become_so() {
    let Some(world) = World::start().await else {
        return;
    };
    let end = |seen: &Seen| seen.method == "POST" && seen.target.contains("uploadId=");
    let denied = Fault::Answer {
        status: 403,
        retry_after: None,
        body: "",
    };
    let throttled = Fault::Answer {
        status: 429,
        retry_after: Some(0),
        body: "",
    };
    let cases = [
        (denied, ErrorKind::Denied, false),
        (throttled, ErrorKind::Throttled, false),
        (Fault::CutBefore, ErrorKind::Transient, true),
    ];
    for (fault, kind, in_doubt) in cases {
        let name = format!("stuck/{kind:?}");
        world.proxy.fail(usize::MAX, fault, end);
        let error = world
            .upload(&name, &large(), PutMode::Create)
            .await
            .expect_err("it never ends");
        assert_eq!(
            (error.kind, error.may_have_happened()),
            (kind, in_doubt),
            "{error}"
        );
        assert_eq!(world.stored(&name).await, None);
    }
    let open = world.bucket.server.open_uploads(&world.bucket.name);
    assert_eq!(open.expect("listed"), 0, "what was given up is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_overtaken_at_its_end_is_refused_even_when_the_refusal_is_lost() {
    let Some(world) = World::start().await else {
        return;
    };
    for fault in DONE.map(Some).into_iter().chain([None]) {
        let name = format!("overtaken/{fault:?}");
        let mut upload = world
            .bare
            .upload(&key(&name), PutMode::Create)
            .await
            .expect("begin");
        upload.write(large()).await.expect("write");
        // Between the look and the end of the upload, somebody else comes first.
        let theirs = Bytes::from("theirs");
        let (direct, place, content) = (Arc::clone(&world.direct), key(&name), theirs.clone());
        let runtime = tokio::runtime::Handle::current();
        let mut lost = Some(fault.clone());
        world.proxy.plan(move |seen| {
            if seen.method != "POST" || !seen.target.contains("uploadId=") {
                return None;
            }
            let fault = lost.take()?;
            std::thread::scope(|scope| {
                let put = scope.spawn(|| {
                    runtime.block_on(direct.put(&place, content.clone(), PutMode::Overwrite))
                });
                put.join().expect("no panic").expect("they are first");
            });
            fault
        });
        let error = upload.finish().await.expect_err("overtaken");
        assert_eq!(error.kind, ErrorKind::AlreadyExists, "{fault:?}: {error}");
        assert!(!error.may_have_happened(), "{fault:?}");
        assert_eq!(world.stored(&name).await, Some(theirs), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_upload_leaves_nothing() {
    let Some(world) = World::start().await else {
        return;
    };
    let mut upload = world
        .bare
        .upload(&key("dropped"), PutMode::Create)
        .await
        .expect("begin");
    for _ in 0..2 {
        upload.write(large()).await.expect("write");
    }
    let open = || {
        world
            .bucket
            .server
            .open_uploads(&world.bucket.name)
            .expect("listed")
    };
    assert_eq!(open(), 1, "it is under way");
    drop(upload);
    let gone = async {
        while open() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone)
        .await
        .expect("its parts are removed in the background");
    assert_eq!(world.stored("dropped").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_is_read_on() {
    let Some(world) = World::start().await else {
        return;
    };
    let body = large();
    world
        .direct
        .put(&key("b"), body.clone(), PutMode::Create)
        .await
        .expect("put");
    let length = body.len();
    for (range, cut) in [
        (None, 0),
        (None, 1),
        (None, 5_000_000),
        (None, length - 1),
        (Some(1000..3_000_000), 70_000),
    ] {
        world
            .proxy
            .fail(2, Fault::CutBody(cut), |seen| seen.method == "GET");
        let options = GetOptions {
            range: range
                .clone()
                .map(|r: std::ops::Range<usize>| r.start as u64..r.end as u64),
            version: None,
        };
        let object = world.patient.get(&key("b"), options).await.expect("opened");
        assert_eq!(object.info.size, length as u64);
        let read = object.bytes(1 << 30).await.expect("read to its end");
        assert!(
            read == body[range.clone().unwrap_or(0..length)],
            "{range:?} cut at {cut}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_never_continued_with_that_of_another_object() {
    let Some(world) = World::start().await else {
        return;
    };
    let body = large();
    world
        .direct
        .put(&key("m"), body.clone(), PutMode::Create)
        .await
        .expect("put");
    world
        .proxy
        .fail(1, Fault::CutBody(1_000_000), |seen| seen.method == "GET");
    let mut object = world
        .bare
        .get(&key("m"), GetOptions::default())
        .await
        .expect("opened");
    let first = object.body.next().await.expect("some").expect("bytes");
    assert!(body.starts_with(&first));
    let other = Bytes::from(vec![7; body.len()]);
    world
        .direct
        .put(&key("m"), other, PutMode::Overwrite)
        .await
        .expect("put");
    let rest: Result<Vec<Bytes>, Error> = object.body.try_collect().await;
    let error = rest.expect_err("no mixture");
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_whole_or_an_error() {
    let Some(world) = World::start().await else {
        return;
    };
    let puts = (0..1050).map(|i| {
        let store = Arc::clone(&world.direct);
        async move {
            let key = key(&format!("many/{i:04}"));
            store
                .put(&key, Bytes::new(), PutMode::Overwrite)
                .await
                .expect("put");
        }
    });
    futures::stream::iter(puts)
        .buffer_unordered(16)
        .collect::<Vec<()>>()
        .await;

    let second_page = |seen: &Seen| seen.target.contains("continuation-token=");
    for fault in NOT_DONE
        .into_iter()
        .chain(DONE)
        .chain([Fault::CutBody(300)])
    {
        world.proxy.fail(1, fault.clone(), second_page);
        let listed: Vec<_> = world
            .bare
            .list("many")
            .await
            .expect("begins")
            .try_collect()
            .await
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(listed.len(), 1050, "{fault:?}");
    }
    let denied = Fault::Answer {
        status: 403,
        retry_after: None,
        body: "",
    };
    world.proxy.fail(usize::MAX, denied, second_page);
    let stream = world.bare.list("many").await.expect("begins");
    let items: Vec<_> = stream.collect().await;
    let last = items
        .last()
        .expect("items")
        .as_ref()
        .expect_err("an error, not an end");
    assert_eq!((items.len(), last.kind), (1001, ErrorKind::Denied));
    let folder = world
        .bare
        .list_folder("many")
        .await
        .expect_err("not a short list");
    assert_eq!(folder.kind, ErrorKind::Denied);
}
