//! Every request of ours fails in turn, and every one is the last before a kill.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use salvor_apiserver::{ApiServer, Options};
use salvor_cluster::{Body, Cluster};
use salvor_volume::Placement;
use salvor_volume::csi::{CsiError, MoveSnapshot, Snapshots, Storage, TakeSnapshot};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::world::{Mover, PATIENCE, World, of};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// It is refused.
    Refused,
    /// It is never answered, nor carried out; whoever sent it is killed.
    Killed,
    /// It is carried out; whoever sent it is killed before the answer.
    KilledAfter,
}

/// What stands between us and the server.
#[derive(Debug, Default)]
struct Gate {
    /// The writes that came, in order: method and path.
    writes: std::sync::Mutex<Vec<String>>,
    count: AtomicUsize,
    fault: std::sync::Mutex<Option<(usize, Fault)>>,
    struck: Notify,
}

impl Gate {
    fn cluster(self: &Arc<Self>, server: &ApiServer) -> Cluster {
        let (gate, server) = (Arc::clone(self), server.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (gate, mut server) = (Arc::clone(&gate), server.clone());
            async move {
                let fault = gate.meet(&request);
                if fault == Some(Fault::Refused) {
                    return Ok::<_, Infallible>(refusal());
                }
                if fault == Some(Fault::Killed) {
                    gate.struck.notify_one();
                    return std::future::pending().await;
                }
                let answer = server.call(request).await;
                let (parts, body) = answer.expect("answered").into_parts();
                if fault == Some(Fault::KilledAfter) {
                    gate.struck.notify_one();
                    return std::future::pending().await;
                }
                let body = body.collect().await.expect("a body").to_bytes();
                Ok(Response::from_parts(parts, Full::new(body)))
            }
        });
        Cluster::from_service(service, "gated")
    }

    fn meet(&self, request: &Request<Body>) -> Option<Fault> {
        if request.method() != http::Method::GET {
            let path = request.uri().path();
            let mut writes = self.writes.lock().expect("no panic");
            writes.push(format!("{} {}", request.method(), path));
        }
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let fault = *self.fault.lock().expect("no panic");
        fault
            .filter(|(at, _)| *at == number)
            .map(|(_, fault)| fault)
    }

    fn arm(&self, at: usize, fault: Fault) {
        self.count.store(0, Ordering::SeqCst);
        *self.fault.lock().expect("no panic") = Some((at, fault));
    }

    fn disarm(&self) {
        *self.fault.lock().expect("no panic") = None;
    }
}

fn refusal() -> Response<Full<bytes::Bytes>> {
    let body = r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
    let mut answer = Response::new(Full::from(body));
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer
}

struct Gated {
    world: World,
    gate: Arc<Gate>,
    gated: Snapshots,
    ask: TakeSnapshot,
}

async fn gated(what: &str) -> Gated {
    let server = ApiServer::memory(Options::default());
    let world = World::on(Cluster::from_service(server.clone(), "test"), what).await;
    let gate: Arc<Gate> = Arc::default();
    let gated = Snapshots::find(&gate.cluster(&server))
        .await
        .expect("found");
    let ask = world.ask("data").await;
    Gated {
        gated: gated.expect("served"),
        world,
        gate,
        ask,
    }
}

impl Gated {
    /// Takes a snapshot and moves its data or releases it.
    async fn run(&self, moves: bool) -> Result<(), CsiError> {
        let never = CancellationToken::new();
        let taken = self.gated.take(&self.ask, &never).await?;
        if !moves {
            return self.gated.release(&taken, Storage::Kept).await;
        }
        let mover = Mover {
            cluster: self.world.cluster.clone(),
            fails: false,
        };
        let ask = MoveSnapshot {
            of: of("nightly"),
            taken: &taken,
            claim: &self.ask.claim,
            server_namespace: &self.world.server,
            placement: Placement::default(),
            prepare: PATIENCE,
            timeout: PATIENCE,
        };
        self.gated.move_data(&mover, &ask, &never).await.map(drop)
    }

    /// Settles what is left as the next server does, when the backup does not exist.
    async fn settle(&self) {
        let snapshots = self.world.snapshots().await;
        for left in snapshots.leftovers().await.expect("listed") {
            let fate = left.fate(false, Some(false));
            snapshots.settle(&left, fate).await.expect("settled");
        }
    }
}

#[tokio::test]
async fn the_writes_of_a_snapshot_are_these_and_no_others() {
    let gated = gated("exact").await;
    gated.run(false).await.expect("taken");
    let writes = gated.gate.writes.lock().expect("no panic").clone();
    let shape: Vec<String> = writes
        .iter()
        .map(|line| {
            let (method, path) = line.split_once(' ').expect("two words");
            let parts: Vec<&str> = path.split('/').collect();
            let resource = parts
                .iter()
                .rfind(|part| part.starts_with("volumesnapshot"));
            format!("{method} {}", resource.expect("a snapshot kind"))
        })
        .collect();
    assert_eq!(
        shape,
        [
            "POST volumesnapshots",
            "PATCH volumesnapshotcontents",
            "DELETE volumesnapshots",
            "DELETE volumesnapshotcontents",
        ]
    );
}

#[tokio::test]
async fn after_a_kill_or_a_refusal_at_any_request_nothing_is_left_that_is_not_found() {
    for moves in [false, true] {
        let gated = gated("fault").await;
        for fault in [Fault::Refused, Fault::Killed, Fault::KilledAfter] {
            let mut at = 0;
            loop {
                gated.gate.arm(at, fault);
                let ended = tokio::select! {
                    ended = gated.run(moves) => Some(ended),
                    () = gated.gate.struck.notified() => None,
                };
                let reached = gated.gate.count.load(Ordering::SeqCst) > at;
                gated.gate.disarm();
                let whole = matches!(ended, Some(Ok(())));
                gated.settle().await;
                // Those that a complete backup keeps are recorded by it.
                if moves || !whole {
                    let when = format!("{fault:?} at request {at}, moves: {moves}, {ended:?}");
                    // What a release was just about to leave to the storage may stay there.
                    let kept = usize::from(!moves);
                    clean_but_kept(&gated, kept, &when).await;
                }
                forget(&gated).await;
                if !reached {
                    assert!(whole, "{fault:?} {at}");
                    break;
                }
                at += 1;
            }
            assert!(at > 5, "{at} requests are too few");
        }
    }
}

/// Nothing is in the cluster, and at most so many snapshots in the storage.
async fn clean_but_kept(gated: &Gated, kept: usize, when: &str) {
    let objects = gated.world.objects().await;
    assert!(objects.is_empty(), "{when}: {objects:?}");
    assert!(gated.world.driver.handles().len() <= kept, "{when}");
    let claims = gated.world.list("PersistentVolumeClaim").await;
    assert_eq!(claims.len(), 1, "{when}: a claim is left");
}

/// Deletes what was kept, for the next round.
async fn forget(gated: &Gated) {
    let snapshots = gated.world.snapshots().await;
    for handle in gated.world.driver.handles() {
        let snapshot = salvor_volume::csi::SnapshotRef {
            driver: gated.world.driver.name.clone(),
            handle,
            class: String::new(),
        };
        let of = of("nightly");
        let deleted = snapshots.delete(&snapshot, &of, &gated.world.server, None);
        deleted.await.expect("deleted");
    }
    gated.world.is_clean("between rounds").await;
}
