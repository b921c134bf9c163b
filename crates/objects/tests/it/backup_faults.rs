//! What a backup does when the cluster or the store misbehaves.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use salvor_api::velero::BackupPhase;
use salvor_apiserver::{Fault, FaultRule, Options};
use salvor_cluster::{Body, Cluster};
use salvor_location::claim::ClaimPolicy;
use salvor_objects::backup::{BackupError, BackupOptions, BackupRequest, ProgressSink, run};
use salvor_storage::testing::{Fault as StoreFault, FaultStore};
use salvor_storage::{ErrorKind, FsStore, MemoryStore};
use salvor_testkit::velero_check::check_location;
use tower::ServiceExt as _;

use crate::world::{
    Stored, World, back_up, back_up_cluster, config_map, group_resource, location_on,
    memory_location, request,
};

#[tokio::test]
async fn a_forbidden_resource_is_named_and_the_rest_is_kept() {
    let world = World::platform().await;
    let secrets = FaultRule::new(Fault::Forbidden).resource(group_resource("secrets"));
    world.server.faults().add(secrets);
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a backup");
    assert_eq!(outcome.backup.status.phase, BackupPhase::PartiallyFailed);
    assert_eq!(outcome.backup.status.errors, 1);
    let message = &outcome.results.errors.cluster[0];
    assert!(message.starts_with("secrets: "), "{message}");
    let stored = Stored::read(&location, "b").await;
    assert!(stored.has("configmaps shop/settings") && !stored.has("secrets shop/password"));
}

#[tokio::test]
async fn a_broken_aggregated_group_does_not_stop_the_rest() {
    for aggregated in [true, false] {
        let world = World::with(Options {
            seed: Some(7),
            aggregated_discovery: aggregated,
            ..Options::default()
        });
        for object in crate::world::platform() {
            world.create(object).await;
        }
        let broken = FaultRule::new(Fault::GroupUnavailable).group("example.io");
        world.server.faults().add(broken);
        let location = memory_location();
        let outcome = back_up(&world, &location, request("b", |_| ()))
            .await
            .expect("a backup");
        assert_eq!(
            outcome.backup.status.phase,
            BackupPhase::PartiallyFailed,
            "{aggregated}"
        );
        let errors = format!("{:?}", outcome.results.errors);
        assert!(errors.contains("example.io"), "{errors}");
        assert!(
            Stored::read(&location, "b")
                .await
                .has("configmaps dev/notes")
        );
    }
}

#[tokio::test]
async fn a_list_of_many_pages_is_complete_though_its_token_expires() {
    let world = World::platform().await;
    for number in 0..250 {
        world
            .create(config_map("dev", &format!("many-{number:03}")))
            .await;
    }
    let expired = FaultRule::new(Fault::Expired)
        .verb("list")
        .resource(group_resource("configmaps"))
        .after(1)
        .times(2);
    world.server.faults().add(expired);
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a backup");
    assert_eq!(
        outcome.backup.status.phase,
        BackupPhase::Completed,
        "{:?}",
        outcome.results
    );
    let objects = Stored::read(&location, "b").await.objects();
    let many = objects
        .iter()
        .filter(|o| o.starts_with("configmaps dev/many-"))
        .count();
    assert_eq!(many, 250);
    let warnings = &outcome.results.warnings.cluster;
    assert!(
        warnings.iter().any(|w| w.contains("taken up anew")),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn throttling_and_passing_failures_are_waited_out() {
    let world = World::platform().await;
    let faults = world.server.faults();
    faults.add(
        FaultRule::new(Fault::TooManyRequests { retry_after: 0 })
            .verb("list")
            .times(3),
    );
    faults.add(
        FaultRule::new(Fault::ServerError(503))
            .verb("list")
            .after(5)
            .times(2),
    );
    faults.add(FaultRule::new(Fault::ConnectionLost).verb("get").times(1));
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a backup");
    assert_eq!(
        outcome.backup.status.phase,
        BackupPhase::Completed,
        "{:?}",
        outcome.results
    );
}

#[tokio::test]
async fn a_cluster_that_answers_nothing_leaves_the_name_free() {
    let world = World::platform().await;
    world.server.faults().add(FaultRule::new(Fault::Forbidden));
    let location = memory_location();
    let error = back_up(&world, &location, request("b", |_| ()))
        .await
        .expect_err("no cluster");
    assert!(matches!(error, BackupError::Cluster { .. }), "{error}");
    world.server.faults().clear();
    back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("the name is free");
}

#[tokio::test]
async fn when_no_list_can_be_read_the_backup_is_failed_and_says_so() {
    let world = World::platform().await;
    world
        .server
        .faults()
        .add(FaultRule::new(Fault::Forbidden).verb("list"));
    let location = memory_location();
    let outcome = back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a record");
    assert_eq!(outcome.backup.status.phase, BackupPhase::Failed);
    assert!(!outcome.backup.status.failure_reason.is_empty());
    assert!(Stored::read(&location, "b").await.objects().is_empty());
}

#[tokio::test]
async fn a_cancelled_backup_commits_nothing_and_leaves_the_name_free() {
    let world = World::platform().await;
    let location = memory_location();
    let options = BackupOptions::default();
    options.cancel.cancel();
    let cancelled = BackupRequest {
        cluster: world.cluster.clone(),
        location: location.clone(),
        backup: request("b", |_| ()),
        options,
    };
    let error = run(cancelled, ProgressSink::none())
        .await
        .expect_err("cancelled");
    assert!(error.is_cancelled(), "{error}");
    assert!(
        location
            .backups()
            .await
            .expect("readable")
            .entries
            .is_empty()
    );
    back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("the name is free");
}

/// A location whose dead runs count as dead at once.
fn impatient(store: FaultStore) -> salvor_location::Location {
    location_on(Arc::new(store)).with_claim_policy(ClaimPolicy {
        lease: Duration::ZERO,
        heartbeat: Duration::from_secs(3600),
        settle: Duration::ZERO,
    })
}

/// Fails every operation of the store once, in every way that leaves the process alive, and looks: either
/// the backup is there whole, or it is not there and the same name works once the store is well again.
#[tokio::test]
async fn whichever_store_operation_fails_the_backup_is_whole_or_absent() {
    let world = World::empty();
    world.create(config_map("default", "one")).await;
    let small = || {
        request("b", |b| {
            b.spec.included_resources = vec!["configmaps".to_owned()];
        })
    };
    let store = FaultStore::new(Arc::new(MemoryStore::new()));
    back_up(&world, &impatient(store.clone()), small())
        .await
        .expect("without faults");
    let operations = store.operations();
    assert!(operations > 15, "{operations}");
    for fault in [
        StoreFault::Before(ErrorKind::Transient),
        StoreFault::AfterWithError,
    ] {
        for operation in 0..operations {
            let store = FaultStore::new(Arc::new(MemoryStore::new()));
            store.at(operation, fault);
            let location = impatient(store.clone());
            let outcome = back_up(&world, &location, small()).await;
            let at = store.log().get(operation).cloned();
            store.heal();
            let listed = location.backups().await.expect("readable").entries.len();
            match outcome {
                Ok(_) => {
                    assert_eq!(listed, 1, "{fault:?} at {at:?}");
                    assert!(
                        Stored::read(&location, "b")
                            .await
                            .has("configmaps default/one")
                    );
                }
                Err(error) if listed == 1 => {
                    assert!(error.may_have_happened(), "{fault:?} at {at:?}: {error}");
                    Stored::read(&location, "b").await;
                }
                Err(error) => {
                    let again = back_up(&world, &location, small()).await;
                    assert!(
                        again.is_ok(),
                        "{fault:?} at {at:?}: {error}, then {again:?}"
                    );
                }
            }
        }
    }
}

/// Refuses every request of a backup once. What could not be read must show: a backup that calls itself
/// complete holds what the undisturbed one holds.
#[tokio::test]
async fn whichever_request_is_refused_nothing_is_missing_from_a_completed_backup() {
    let world = World::platform().await;
    let named = |b: &mut salvor_api::velero::Backup| {
        b.spec.included_namespaces = vec!["shop".to_owned()];
        b.spec.snapshot_volumes = Some(false);
    };
    world.server.requests().clear();
    let location = memory_location();
    back_up(&world, &location, request("b", named))
        .await
        .expect("undisturbed");
    let requests = world.server.requests().records().len();
    let whole = Stored::read(&location, "b").await.objects();
    assert!(requests > 40, "{requests}");
    let mut completed = 0;
    for number in 0..requests {
        world.server.faults().clear();
        let rule = FaultRule::new(Fault::Forbidden).after(number).times(1);
        world.server.faults().add(rule);
        let location = memory_location();
        match back_up(&world, &location, request("b", named)).await {
            Err(error) => {
                assert!(
                    matches!(error, BackupError::Cluster { .. }),
                    "{number}: {error}"
                );
                assert!(
                    location
                        .backups()
                        .await
                        .expect("readable")
                        .entries
                        .is_empty()
                );
            }
            Ok(outcome) if outcome.backup.status.phase == BackupPhase::Completed => {
                completed += 1;
                assert_eq!(
                    Stored::read(&location, "b").await.objects(),
                    whole,
                    "{number}"
                );
            }
            Ok(outcome) => {
                assert_eq!(outcome.backup.status.phase, BackupPhase::PartiallyFailed);
                assert_eq!(
                    outcome.backup.status.errors, 1,
                    "{number}: {:?}",
                    outcome.results
                );
            }
        }
    }
    // Only the identity of the cluster, which takes two requests, and the item actions that its user may not
    // see may be missing without being an error.
    assert!(completed <= 3, "{completed}");
}

/// The world's server, but with another answer to the list of ConfigMaps.
fn lying(world: &World, config_maps: &'static str) -> Cluster {
    let server = world.server.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = server.clone();
        async move {
            let is_list = request.uri().path() == "/api/v1/configmaps";
            let response = server.oneshot(request).await.expect("no faults are set");
            let (parts, body) = response.into_parts();
            let body = match is_list {
                true => config_maps.into(),
                false => body.collect().await.expect("whole").to_bytes(),
            };
            Ok::<_, Infallible>(Response::from_parts(parts, Full::from(body)))
        }
    });
    Cluster::from_service(service, "lying")
}

#[tokio::test]
async fn a_server_that_lies_costs_its_own_objects_and_nothing_else() {
    for (answer, errors) in [
        ("", 1),
        ("{\"kind\":\"ConfigMapList\",\"items\":[{]}", 1),
        (r#"{"kind":"SecretLis","items":[]}"#, 1),
        (
            r#"{"kind":"ConfigMapList","items":[7,null,{},{"metadata":{"name":"x"}}]}"#,
            4,
        ),
        (
            r#"{"kind":"ConfigMapList","items":[
                {"metadata":{"namespace":"dev","name":"../../../etc/passwd"}},
                {"metadata":{"namespace":"a/b","name":"x"}},
                {"metadata":{"namespace":"dev","name":"x\u0000y"}},
                {"kind":"Secret","metadata":{"namespace":"dev","name":"other"}},
                {"metadata":{"namespace":"dev","name":"good"}}]}"#,
            4,
        ),
    ] {
        let world = World::platform().await;
        let location = memory_location();
        let outcome =
            back_up_cluster(&lying(&world, answer), &location, request("b", |_| ())).await;
        let outcome = outcome.expect("a backup");
        assert_eq!(outcome.backup.status.phase, BackupPhase::PartiallyFailed);
        assert_eq!(
            outcome.backup.status.errors, errors,
            "{answer}: {:#?}",
            outcome.results
        );
        let stored = Stored::read(&location, "b").await;
        assert!(stored.has("secrets shop/password"));
        assert_eq!(stored.has("configmaps dev/good"), answer.contains("good"));
        assert!(stored.entries.iter().all(|(path, _)| !path.contains("../")));
    }
}

#[tokio::test]
async fn an_independent_checker_accepts_every_kind_of_outcome() {
    let world = World::platform().await;
    let folder = tempfile::tempdir().expect("a folder");
    let location = location_on(Arc::new(FsStore::new(folder.path())));
    back_up(&world, &location, request("whole", |_| ()))
        .await
        .expect("a backup");
    let one = request("one", |b| {
        b.spec.included_namespaces = vec!["shop".to_owned(), "lost".to_owned()];
        b.spec.snapshot_volumes = Some(true);
    });
    back_up(&world, &location, one).await.expect("a backup");
    let nothing = request("nothing", |b| {
        b.spec.included_resources = vec!["nodes".to_owned()];
    });
    back_up(&world, &location, nothing).await.expect("a backup");
    world
        .server
        .faults()
        .add(FaultRule::new(Fault::Forbidden).verb("list"));
    let failed = back_up(&world, &location, request("failed", |_| ()))
        .await
        .expect("a record");
    assert_eq!(failed.backup.status.phase, BackupPhase::Failed);
    assert_eq!(location.backups().await.expect("readable").entries.len(), 4);
    assert_eq!(check_location(folder.path()), Vec::<String>::new());
}
