//! Claims that are brought back to an earlier state while their application stands still.

use std::time::Duration;

use salvor_cluster::{ApiResource, Lease, LeaseOptions};
use salvor_volume::in_place::{InPlace, InPlaceError, IntoClaim, Step};
use salvor_volume::standstill::REPLICAS_BEFORE;
use salvor_volume::{Claim, DataMover as _, Direction, Domain, MoveError, Part, Stored};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::world::{Movers, NAMESPACE, PATIENCE, World, pods};

fn deployments() -> ApiResource {
    ApiResource::known("apps", "v1", "Deployment", "deployments", true)
}

fn leases() -> ApiResource {
    ApiResource::known("coordination.k8s.io", "v1", "Lease", "leases", true)
}

/// What uses claim `data`: a deployment, its replica set and a pod.
async fn application(world: &World) {
    let labels = json!({"app": "web"});
    let workload = |kind: &str, name: &str, owners: Value| {
        json!({"apiVersion": "apps/v1", "kind": kind,
            "metadata": {"name": name, "namespace": "shop", "ownerReferences": owners},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    };
    let sets = ApiResource::known("apps", "v1", "ReplicaSet", "replicasets", true);
    let owner = async |kind: &str, resource: &ApiResource, name: &str| {
        let found = world.get(resource, "shop", name).await.expect("there");
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": name,
            "uid": found["metadata"]["uid"], "controller": true}])
    };
    world.create(workload("Deployment", "web", json!([]))).await;
    let of_web = owner("Deployment", &deployments(), "web").await;
    world.create(workload("ReplicaSet", "web-1", of_web)).await;
    let of_set = owner("ReplicaSet", &sets, "web-1").await;
    world
        .create(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "web-1-a", "namespace": "shop", "ownerReferences": of_set},
            "spec": {"containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}}))
        .await;
}

/// Replicas, and how many were noted.
async fn replicas(world: &World) -> (Value, Value) {
    let web = world.get(&deployments(), "shop", "web").await.expect("web");
    let noted = web["metadata"]["annotations"][REPLICAS_BEFORE].clone();
    (web["spec"]["replicas"].clone(), noted)
}

/// What the controllers do when a workload is scaled to nothing.
async fn end_pods(world: &World) {
    world
        .until("the application is stopped", async |world: &World| {
            (replicas(world).await.0 == 0).then_some(())
        })
        .await;
    world.delete(&pods(), "shop", "web-1-a").await;
}

struct Case<'a> {
    world: &'a World,
    stored: Stored,
    claim: Claim,
}

impl<'a> Case<'a> {
    /// A file is stored, then spoiled.
    async fn new(world: &'a World) -> Self {
        let folder = world.folder();
        std::fs::create_dir(folder.join("conf")).expect("made");
        for name in ["file", "conf/app", "conf/other"] {
            std::fs::write(folder.join(name), "the first").expect("written");
        }
        let cancel = CancellationToken::new();
        let stored = world.mover().back_up(&world.back_up("b"), &cancel).await;
        for name in ["file", "conf/app", "conf/other", "conf/extra", "extra"] {
            std::fs::write(folder.join(name), "spoiled").expect("written");
        }
        Self::of(world, stored.expect("stored"))
    }

    fn of(world: &'a World, stored: Stored) -> Self {
        Self {
            world,
            stored,
            claim: Claim {
                namespace: "shop".to_owned(),
                name: "data".to_owned(),
                volume: "pv-data".to_owned(),
                ..Claim::default()
            },
        }
    }

    async fn run(
        &self,
        part: Part,
        stop_application: bool,
        cancel: &CancellationToken,
    ) -> (Result<InPlace, InPlaceError>, Vec<String>) {
        let agents = self.world.mover();
        let into = IntoClaim {
            cluster: &self.world.cluster,
            agents: &agents,
            server: NAMESPACE,
            claim: &self.claim,
            location: "default",
            domain: Domain::named(&self.stored.domain).expect("a domain"),
            snapshot: &self.stored.snapshot,
            source_namespace: "shop",
            bytes: self.stored.bytes,
            part,
            stop_application,
            stay_stopped: false,
            stop_timeout: PATIENCE,
            timeout: PATIENCE,
        };
        let mut steps = Vec::new();
        let mut told = |step: Step<'_>| {
            steps.push(match step {
                Step::Waiting(holder) => format!("waiting for {holder}"),
                Step::Stopping(users) => format!("stopping {}", users.workloads[0].name),
                Step::Filling => "filling".to_owned(),
                Step::Starting(users) => format!("starting {}", users.workloads[0].replicas),
                Step::LeftStopped(users) => users.workloads[0].start_command("shop"),
            });
        };
        let done = into.run(&mut told, cancel).await;
        (done, steps)
    }

    fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.world.folder().join(name)).ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_stopped_its_claim_brought_back_and_started_again() {
    let world = World::new(Movers::Run).await;
    let case = Case::new(&world).await;
    application(&world).await;
    let cancel = CancellationToken::new();

    // Whose application is not to be touched is not touched.
    let (refused, steps) = case.run(Part::default(), false, &cancel).await;
    let text = refused.expect_err("refused").to_string();
    assert_eq!(text, "claim shop/data is used by pod web-1-a");
    assert_eq!(steps, Vec::<String>::new());

    // A part of it first: a file, and nothing beside it.
    let part = Part {
        only: vec!["conf".to_owned()],
        delete_extra: true,
    };
    let (done, ()) = tokio::join!(case.run(part, true, &cancel), end_pods(&world));
    assert_eq!(done.0.expect("done").filled.failed, 0);
    assert_eq!(done.1, ["stopping web", "filling", "starting 2"]);
    assert_eq!(case.read("conf/app").as_deref(), Some("the first"));
    assert_eq!(case.read("conf/extra"), None);
    assert_eq!(case.read("file").as_deref(), Some("spoiled"));
    assert_eq!(replicas(&world).await, (2.into(), Value::Null));

    // Then all of it, while its pods are still gone.
    let (done, steps) = case.run(Part::default(), true, &cancel).await;
    let done = done.expect("done");
    assert_eq!(done.filled.bytes, 9, "what is as it was is not written");
    assert_eq!(steps, ["filling"]);
    assert_eq!(case.read("file").as_deref(), Some("the first"));
    assert_eq!(case.read("extra").as_deref(), Some("spoiled"));
    assert_eq!(world.list(&pods(), "shop").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_ended_and_finished_by_the_next() {
    let world = World::new(Movers::Run).await;
    let case = Case::new(&world).await;
    application(&world).await;
    // As after kill -9: a lease that says nothing more, an application that is stopped, a pod that holds the claim, a
    // movement that nobody takes up.
    let stopped = json!({"metadata": {"annotations": {REPLICAS_BEFORE: "2", "salvor.dev/stopped-for": "data"}},
        "spec": {"replicas": 0}})
    .to_string();
    let options = salvor_cluster::WriteOptions::default();
    let web = deployments();
    let patch = world.cluster.merge_patch(
        &web,
        Some("shop"),
        "web",
        None,
        stopped.as_bytes(),
        &options,
    );
    patch.await.expect("stopped");
    world.delete(&pods(), "shop", "web-1-a").await;
    let run =
        json!({"salvor.dev/run-id": "volume-restore/shop/data", "salvor.dev/made-by": "command"});
    world
        .create(json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "salvor-hold-dead", "namespace": "shop", "annotations": run,
                "labels": {"salvor.dev/holds-for": NAMESPACE}},
            "spec": {"containers": [{"name": "c", "image": "i"}],
                "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}}))
        .await;
    let mut movement = crate::world::by_hand(Direction::Restore, "dead");
    movement["metadata"]["annotations"] = run;
    movement["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "salvor"});
    world.create(movement).await;
    let cancel = CancellationToken::new();
    let (first, _) = case.run(Part::default(), true, &cancel).await;
    first.expect("done");

    let movements = Direction::Restore.resource();
    let dead = world.get(&movements, NAMESPACE, "dead").await;
    let phase = dead.expect("there")["status"]["phase"].clone();
    assert!(phase == "Canceled" || phase == "Failed", "{phase}");
    assert_eq!(replicas(&world).await, (2.into(), Value::Null));
    assert_eq!(case.read("file").as_deref(), Some("the first"));
    assert_eq!(world.list(&pods(), "shop").await, Vec::<Value>::new());

    // A dead holder of the lease is waited for as long as it said that it lasts.
    let found = world.list(&leases(), NAMESPACE).await;
    let name = found[0]["metadata"]["name"].as_str().expect("a name");
    let options = LeaseOptions {
        lasts: Duration::from_secs(1),
        ..LeaseOptions::new(NAMESPACE, name, "somebody dead")
    };
    let mut lease = Lease::new(&world.cluster, options);
    lease.take().await.expect("taken");
    let (second, steps) = case.run(Part::default(), true, &cancel).await;
    second.expect("done");
    assert_eq!(steps, ["waiting for somebody dead", "filling"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_ends_before_it_writes_starts_the_application_again() {
    for movers in [Movers::Hang, Movers::Die] {
        let world = World::new(movers).await;
        // Nothing is read of it before the mover begins.
        let stored = Stored {
            domain: "ns-shop".to_owned(),
            snapshot: "ab".repeat(32),
            ..Stored::default()
        };
        let case = Case::of(&world, stored);
        application(&world).await;
        let cancel = CancellationToken::new();
        let stop = async {
            end_pods(&world).await;
            if movers == Movers::Hang {
                world.until_phase(Direction::Restore, "Accepted").await;
                cancel.cancel();
            }
        };
        let ((done, steps), ()) = tokio::join!(case.run(Part::default(), true, &cancel), stop);
        let error = done.expect_err("it did not come back");
        let is_cancelled = movers == Movers::Hang;
        assert_eq!(error.is_cancelled(), is_cancelled, "{error:?}");
        let InPlaceError::NotFilled { began, source, .. } = error else {
            panic!("{error:?}");
        };
        assert!(!began && (is_cancelled == matches!(source, MoveError::Cancelled)));
        assert_eq!(steps, ["stopping web", "filling", "starting 2"]);
        assert_eq!(replicas(&world).await, (2.into(), Value::Null));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_point_leaves_files_as_they_were_and_the_application_stopped() {
    let world = World::new(Movers::Run).await;
    let folder = world.folder();
    // Several pieces each: of a file that were rewritten in part nobody could use anything.
    let large = |seed: u32| -> Vec<u8> {
        let words =
            (0..5_u32 << 18).map(|n| (n ^ seed).wrapping_mul(2_654_435_761).rotate_left(n % 31));
        words.flat_map(u32::to_le_bytes).collect()
    };
    std::fs::write(folder.join("large"), large(1)).expect("written");
    let cancel = CancellationToken::new();
    let stored = world.mover().back_up(&world.back_up("b"), &cancel).await;
    let case = Case::of(&world, stored.expect("stored"));
    let (pack, whole) = world.damage_largest_pack().await;
    std::fs::write(folder.join("large"), large(2)).expect("written");
    application(&world).await;

    let (done, ()) = tokio::join!(case.run(Part::default(), true, &cancel), end_pods(&world));
    let (done, steps) = (done.0.expect("done as far as it can be"), done.1);
    assert_eq!((done.filled.failed, done.filled.missing), (1, 1));
    assert!(done.filled.problems[0].starts_with("large: "), "{done:?}");
    assert!(done.users.is_empty());
    let command = "kubectl scale --namespace shop deployment/web --replicas=2";
    assert_eq!(steps, ["stopping web", "filling", command]);
    assert_eq!(replicas(&world).await, (0.into(), "2".into()));
    assert!(std::fs::read(folder.join("large")).expect("there") == large(2));
    let movements = world.list(&Direction::Restore.resource(), NAMESPACE).await;
    let status = &movements[0]["status"];
    assert_eq!(status["phase"], "Failed");
    let message = status["message"].as_str().expect("a message");
    assert!(
        message.starts_with("1 entry does not have the content of the snapshot, ")
            && message.contains(": large: ")
            && message.contains("as it was"),
        "{message}"
    );

    // Nothing of another run starts it either, until the data is back.
    let elsewhere = Stored {
        snapshot: "ab".repeat(32),
        ..case.stored.clone()
    };
    let (failed, steps) = Case::of(&world, elsewhere)
        .run(Part::default(), true, &cancel)
        .await;
    let error = failed.expect_err("no such snapshot");
    assert!(
        matches!(error, InPlaceError::NotFilled { began: true, .. }),
        "{error:?}"
    );
    assert_eq!(steps, ["stopping web", "filling", command]);
    world.overwrite(&pack, whole).await;
    let (done, steps) = case.run(Part::default(), true, &cancel).await;
    assert_eq!(done.expect("done").filled.failed, 0);
    assert_eq!(steps, ["stopping web", "filling", "starting 2"]);
    assert!(std::fs::read(folder.join("large")).expect("there") == large(1));
    assert_eq!(replicas(&world).await, (2.into(), Value::Null));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_somebody_else_has_is_left_alone() {
    let world = World::new(Movers::Run).await;
    let case = Case::new(&world).await;
    application(&world).await;
    let cancel = CancellationToken::new();

    // A pod that nothing can scale away: refused before anything is touched.
    let own = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "by-hand", "namespace": "shop"},
        "spec": {"containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]}});
    world.create(own).await;
    let (refused, steps) = case.run(Part::default(), true, &cancel).await;
    let error = refused.expect_err("refused");
    assert!(
        matches!(error, InPlaceError::NotStopped { .. }),
        "{error:?}"
    );
    let chain = std::error::Error::source(&error).map(ToString::to_string);
    let why = chain.unwrap_or_default();
    assert!(why.contains("by-hand"), "{error}: {why}");
    assert!(!steps.contains(&"filling".to_owned()), "{steps:?}");
    assert_eq!(replicas(&world).await, (2.into(), Value::Null));
    assert_eq!(case.read("file").as_deref(), Some("spoiled"));
    world.delete(&pods(), "shop", "by-hand").await;

    // Another run that lives: waited for as long as it takes to see that it does, then left alone.
    let name = world.list(&leases(), NAMESPACE).await[0]["metadata"]["name"].clone();
    let name = name.as_str().expect("a name");
    let options = LeaseOptions::new(NAMESPACE, name, "somebody alive");
    let held = Lease::new(&world.cluster, options).acquire(&cancel).await;
    let held = held.expect("acquired").expect("ours");
    let (refused, steps) = case.run(Part::default(), true, &cancel).await;
    let error = refused.expect_err("refused");
    let InPlaceError::Busy { holder, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(holder, "somebody alive");
    assert_eq!(steps, ["waiting for somebody alive"]);
    assert_eq!(replicas(&world).await, (2.into(), Value::Null));
    assert_eq!(case.read("file").as_deref(), Some("spoiled"));
    held.release().await.expect("released");
}
