//! Volumes in a backup: who is copied through whom and when, and that none is left out without a reason.

use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use salvor_api::meta::LabelSelector;
use salvor_api::resource_policy::Use;
use salvor_api::velero::{Backup, BackupPhase};
use salvor_archive::files::{ResultSet, SalvorVolumes};
use salvor_cluster::WriteOptions;
use salvor_location::Location;
use salvor_location::claim::ClaimPolicy;
use salvor_objects::backup::{BackupOptions, BackupOutcome, BackupRequest, ProgressSink, run};
use salvor_objects::policy;
use salvor_volume::{DataMover, VolumePlace};
use serde_json::{Value, json};

use crate::hook_world::{Hosts, pod_with_data, set_status};
use crate::movers::{Fate, Movers, lines, place, velero_lines};
use crate::world::{Stored, World, memory_location, request};

const PRE: &str = "pre.hook.backup.velero.io/command";
const POST: &str = "post.hook.backup.velero.io/command";

fn asked(
    world: &World,
    location: &Location,
    mover: Option<&Movers>,
    change: impl FnOnce(&mut Backup, &mut BackupOptions),
) -> BackupRequest {
    let mut options = BackupOptions {
        data_mover: mover.map(|mover| Arc::new(mover.clone()) as Arc<dyn DataMover>),
        ..BackupOptions::default()
    };
    let mut backup = request("b", |backup| {
        backup.metadata.uid = "uid-of-b".to_owned();
        backup.spec.included_namespaces = vec!["shop".to_owned()];
        backup.spec.default_volumes_to_fs_backup = Some(true);
    });
    change(&mut backup, &mut options);
    BackupRequest {
        cluster: world.cluster.clone(),
        location: location.clone(),
        backup,
        options,
    }
}

/// What came of a backup, and its files.
struct Made {
    outcome: BackupOutcome,
    stored: Stored,
    volumes: SalvorVolumes,
}

async fn made(request: BackupRequest) -> Made {
    let location = request.location.clone();
    let outcome = run(request, ProgressSink::none()).await.expect("a backup");
    let name = salvor_api::name::BackupName::new("b").expect("valid");
    let file = location.read_file(&name, "salvor-volumes.json.gz", 1 << 20);
    let file = file.await.expect("readable").expect("there");
    Made {
        outcome,
        stored: Stored::read(&location, "b").await,
        volumes: SalvorVolumes::decode(&file).expect("ours"),
    }
}

impl Made {
    /// Phase, volumes, and what was said.
    fn text(&self) -> String {
        let mut text = format!(
            "{}\n{}",
            self.outcome.backup.status.phase,
            lines(&self.volumes)
        );
        for (weight, set) in [
            ("error", &self.outcome.results.errors),
            ("warning", &self.outcome.results.warnings),
        ] {
            for message in messages(set) {
                text.push_str(&format!("{weight}: {message}\n"));
            }
        }
        text
    }
}

fn messages(set: &ResultSet) -> Vec<String> {
    let namespaced = set.namespaces.values().flatten();
    let all = set.velero.iter().chain(&set.cluster).chain(namespaced);
    all.cloned().collect()
}

/// Backs up namespace `shop`, and compares what came of its volumes.
async fn check(
    world: &World,
    movers: Option<&Movers>,
    change: impl FnOnce(&mut Backup, &mut BackupOptions),
    expected: &Expect,
) -> Made {
    let made = made(asked(world, &memory_location(), movers, change)).await;
    expected.assert_eq(&made.text());
    made
}

/// A pod of `shop` that runs, with these volumes.
async fn pod_with(world: &World, name: &str, annotations: Value, volumes: Value) -> Value {
    let pod = json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": "shop", "name": name, "annotations": annotations, "labels": {"app": name}},
        "spec": {"nodeName": "node-1", "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "db", "operator": "Exists"}],
            "containers": [{"name": "main", "image": "i"}], "volumes": volumes}});
    let stored = world.create(pod).await;
    set_status(world, name, json!({"phase": "Running"})).await;
    stored
}

fn claim_volume(name: &str, claim: &str) -> Value {
    json!({"name": name, "persistentVolumeClaim": {"claimName": claim}})
}

#[tokio::test]
async fn volumes_of_a_pod_with_hooks_are_copied_between_them() {
    let (world, hosts) = Hosts::new().await;
    let notes = hosts.clone();
    let movers = Movers::good().after(move |job| {
        notes.note(&format!("copy {}", place(&job)));
        std::future::ready(())
    });
    pod_with_data(&world, "db", json!({PRE: "freeze", POST: "thaw"})).await;
    pod_with_data(&world, "plain", json!({})).await;
    let made = check(
        &world,
        Some(&movers),
        |_, _| (),
        &expect![[r#"
            Completed
            shop/db-data: protected files application via db/data
            shop/plain-data: protected files files via plain/data
        "#]],
    )
    .await;
    let said = hosts.said();
    assert_eq!(
        said[..3],
        [
            "shop/db main freeze",
            "copy shop/db-data in pod shop/db",
            "shop/db main thaw"
        ],
        "{said:?}"
    );
    assert_eq!(said[3..], ["copy shop/plain-data in pod shop/plain"]);
    let of = &movers.jobs()[0].of;
    assert_eq!((of.name.as_str(), of.uid.as_str()), ("b", "uid-of-b"));
    assert_eq!(of.location, "default");
    assert!(!of.run.is_empty());
    assert_eq!(movers.jobs()[0].timeout, Duration::from_secs(4 * 3600));
    // An upstream Velero has nothing to wait for.
    expect![[r#"
        db-volume shop/db-data: skipped: Salvor holds this volume's data: restore it with salvor
        plain-volume shop/plain-data: skipped: Salvor holds this volume's data: restore it with salvor
    "#]].assert_eq(&velero_lines(&made.stored));
    assert_eq!(made.stored.json("podvolumebackups.json.gz"), json!([]));
    let snapshot = made.volumes.volumes[0].snapshot.as_ref().expect("stored");
    assert_eq!(
        (snapshot.domain.as_str(), snapshot.bytes),
        ("ns-shop", 1000)
    );
}

#[tokio::test]
async fn what_hooks_did_not_settle_is_files_and_what_they_refused_is_not_copied() {
    for (mode, expected) in [
        (
            "Continue",
            expect![[r#"
            PartiallyFailed
            shop/db-data: protected files files via db/data
            error: pods shop/db: pre hook `<from-annotation>` failed: run `fail` in container `main` of pod shop/db: it ended with exit code 3: no such device
        "#]],
        ),
        (
            "Fail",
            expect![[r#"
            PartiallyFailed
            shop/db-data: failed: defaultVolumesToFsBackup asks for it, but a pre hook of pod shop/db failed
            error: pods shop/db: pre hook `<from-annotation>` failed: run `fail` in container `main` of pod shop/db: it ended with exit code 3: no such device
            error: namespace shop: volume db-volume of claim shop/db-data: its data was not backed up although defaultVolumesToFsBackup asks for it: a pre hook of pod shop/db failed
        "#]],
        ),
    ] {
        let (world, hosts) = Hosts::new().await;
        let movers = Movers::good();
        let annotations =
            json!({PRE: "fail", POST: "thaw", "pre.hook.backup.velero.io/on-error": mode});
        pod_with_data(&world, "db", annotations).await;
        check(&world, Some(&movers), |_, _| (), &expected).await;
        let said = hosts.said();
        assert_eq!(said, ["shop/db main fail", "shop/db main thaw"]);
    }
}

#[tokio::test]
async fn a_claim_of_several_pods_is_copied_once_and_between_hooks_where_one_has_some() {
    let (world, hosts) = Hosts::new().await;
    let notes = hosts.clone();
    let movers = Movers::good().after(move |job| {
        notes.note(&format!("copy {}", place(&job)));
        std::future::ready(())
    });
    pod_with_data(&world, "db", json!({PRE: "freeze", POST: "thaw"})).await;
    for reader in ["a-reader", "z-reader"] {
        pod_with(
            &world,
            reader,
            json!({}),
            json!([claim_volume("v", "db-data")]),
        )
        .await;
    }
    check(
        &world,
        Some(&movers),
        |_, _| (),
        &expect![[r#"
        Completed
        shop/db-data: protected files application via db/data
    "#]],
    )
    .await;
    assert_eq!(
        hosts.said(),
        [
            "shop/db main freeze",
            "copy shop/db-data in pod shop/db",
            "shop/db main thaw"
        ]
    );
}

#[tokio::test]
async fn claims_that_no_pod_of_the_backup_reaches_are_copied_through_others_or_by_themselves() {
    let (world, _hosts) = Hosts::new().await;
    let movers = Movers::good();
    for name in ["ended", "pending", "loose", "hidden"] {
        pod_with_data(&world, name, json!({})).await;
    }
    set_status(&world, "ended", json!({"phase": "Succeeded"})).await;
    set_status(&world, "pending", json!({"phase": "Pending"})).await;
    assert!(world.delete("pods", Some("shop"), "loose").await);
    pod_with(
        &world,
        "stopped",
        json!({}),
        json!([claim_volume("v", "loose-data")]),
    )
    .await;
    set_status(&world, "stopped", json!({"phase": "Failed"})).await;
    check(
        &world,
        Some(&movers),
        |backup, _| {
            // A pod that is not in the backup, and runs all the same.
            backup.spec.label_selector = Some(LabelSelector {
                match_expressions: vec![salvor_api::meta::LabelSelectorRequirement {
                    key: "app".to_owned(),
                    operator: "NotIn".to_owned(),
                    values: vec!["hidden".to_owned()],
                }],
                ..LabelSelector::default()
            });
        },
        &expect![[r#"
            Completed
            shop/ended-data: protected files files
            shop/hidden-data: protected files files via hidden/data
            shop/loose-data: protected files files
            shop/pending-data: protected files files
        "#]],
    )
    .await;
    expect![[r#"
        shop/ended-data by itself
        shop/hidden-data in pod shop/hidden
        shop/loose-data by itself
        shop/pending-data by itself"#]]
    .assert_eq(&movers.places().join("\n"));
    let placement = movers.jobs().into_iter().find_map(|job| match job.place {
        VolumePlace::Claim { claim, placement } if claim.name == "loose-data" => Some(placement),
        _ => None,
    });
    let placement = placement.expect("copied by itself");
    assert_eq!(placement.node_selector, json!({"disk": "ssd"}));
    assert_eq!(placement.tolerations[0]["key"], "db");
}

#[tokio::test]
async fn annotations_choose_and_what_they_do_not_choose_has_a_reason() {
    let (world, _hosts) = Hosts::new().await;
    let volumes = json!([
        claim_volume("data", "db-data"),
        {"name": "scratch", "emptyDir": {}},
        {"name": "node", "hostPath": {"path": "/var/log"}},
        {"name": "settings", "configMap": {"name": "none"}},
    ]);
    pod_with_data(&world, "db", json!({})).await;
    assert!(world.delete("pods", Some("shop"), "db").await);
    let annotations = json!({"backup.velero.io/backup-volumes": "data,scratch",
        "backup.velero.io/backup-volumes-excludes": "scratch, data"});
    pod_with(&world, "p", annotations, volumes).await;
    for (by_default, expected, places) in [
        (
            Some(false),
            expect![[r#"
                Completed
                shop/p[node]: skipped: it is a hostPath, a folder of the node, which belongs to no volume
                shop/p[scratch]: protected files files
                shop/db-data: protected files files via p/data
            "#]],
            "`scratch` of pod shop/p\nshop/db-data in pod shop/p",
        ),
        (
            Some(true),
            expect![[r#"
                Completed
                shop/p[node]: skipped: it is a hostPath, a folder of the node, which belongs to no volume
                shop/p[scratch]: skipped: an annotation of its pod excludes it
                shop/db-data: skipped: an annotation of its pod excludes it, and the cluster serves no VolumeSnapshots
                warning: namespace shop: 1 hostPath volume of a pod was not backed up: a hostPath is a folder of its node, which belongs to no volume; the details of the backup have the names
            "#]],
            "",
        ),
    ] {
        let movers = Movers::good();
        let change = |backup: &mut Backup, _: &mut BackupOptions| {
            backup.spec.default_volumes_to_fs_backup = by_default;
        };
        check(&world, Some(&movers), change, &expected).await;
        assert_eq!(movers.places().join("\n"), places);
    }
}

#[tokio::test]
async fn volume_policies_choose_before_annotations() {
    let (world, _hosts) = Hosts::new().await;
    for name in ["db", "cache", "other"] {
        pod_with_data(
            &world,
            name,
            json!({"backup.velero.io/backup-volumes": "data"}),
        )
        .await;
    }
    let labels = |app: &str| json!({"metadata": {"labels": {"app": app}}}).to_string();
    for name in ["db", "cache"] {
        let claims = world.resource("persistentvolumeclaims").await;
        let patch = labels(name);
        let (claim, options) = (format!("{name}-data"), WriteOptions::default());
        let (shop, patch) = (Some("shop"), patch.as_bytes());
        let patched = world
            .cluster
            .merge_patch(&claims, shop, &claim, None, patch, &options);
        patched.await.expect("patched");
    }
    let policies = "
version: v1
volumePolicies:
- {conditions: {pvcLabels: {app: cache}}, action: {type: skip}}
- {conditions: {pvcLabels: {app: db}}, action: {type: fs-backup}}
- {conditions: {volumeTypes: [hostPath]}, action: {type: snapshot}}
";
    let movers = Movers::good();
    check(
        &world,
        Some(&movers),
        |backup, options| {
            backup.spec.default_volumes_to_fs_backup = None;
            // Volumes are judged by what they are, also where they are not in the backup.
            backup.spec.include_cluster_resources = Some(false);
            options.policies = Some(policy::parse(policies, Use::Backup).expect("valid"));
        },
        &expect![[r#"
            PartiallyFailed
            shop/cache-data: skipped: volume policy 1 says skip
            shop/db-data: protected files files via db/data
            shop/other-data: failed: volume policy 3 (snapshot) asks for it, but the cluster serves no VolumeSnapshots; to have its files copied, ask for it by defaultVolumesToFsBackup, a volume policy, or the annotation backup.velero.io/backup-volumes of its pod
            error: namespace shop: volume other-volume of claim shop/other-data: its data was not backed up although volume policy 3 (snapshot) asks for it: the cluster serves no VolumeSnapshots; to have its files copied, ask for it by defaultVolumesToFsBackup, a volume policy, or the annotation backup.velero.io/backup-volumes of its pod
        "#]],
    )
    .await;
    assert_eq!(movers.places(), ["shop/db-data in pod shop/db"]);
}

#[tokio::test]
async fn without_an_agent_what_is_asked_for_is_an_error_and_the_way_out_is_named() {
    let (world, _hosts) = Hosts::new().await;
    pod_with_data(&world, "db", json!({})).await;
    check(&world, None, |_, _| (), &expect![[r#"
        PartiallyFailed
        shop/db-data: failed: defaultVolumesToFsBackup asks for it, but no node agent is installed that could copy its files: see `salvor install --use-node-agent`
        error: namespace shop: volume db-volume of claim shop/db-data: its data was not backed up although defaultVolumesToFsBackup asks for it: no node agent is installed that could copy its files: see `salvor install --use-node-agent`
    "#]]).await;
    let open = |backup: &mut Backup, _: &mut BackupOptions| {
        backup.spec.default_volumes_to_fs_backup = None;
    };
    check(&world, None, open, &expect![[r#"
        Completed
        shop/db-data: skipped: the cluster serves no VolumeSnapshots, and no node agent is installed that could copy its files: see `salvor install --use-node-agent`
        warning: namespace shop: volume db-volume of claim shop/db-data: its data was not backed up: the cluster serves no VolumeSnapshots, and no node agent is installed that could copy its files: see `salvor install --use-node-agent`
    "#]]).await;
    check(&world, Some(&Movers::good()), open, &expect![[r#"
        Completed
        shop/db-data: skipped: the cluster serves no VolumeSnapshots; to have its files copied, ask for it by defaultVolumesToFsBackup, a volume policy, or the annotation backup.velero.io/backup-volumes of its pod
        warning: namespace shop: volume db-volume of claim shop/db-data: its data was not backed up: the cluster serves no VolumeSnapshots; to have its files copied, ask for it by defaultVolumesToFsBackup, a volume policy, or the annotation backup.velero.io/backup-volumes of its pod
    "#]]).await;
}

#[tokio::test]
async fn a_copy_that_fails_is_an_error_and_entries_that_were_not_read_are_a_warning() {
    let (world, hosts) = Hosts::new().await;
    let hooks = json!({PRE: "freeze", POST: "thaw"});
    for (name, annotations) in [
        ("burns", hooks),
        ("leaks", json!({})),
        ("one", json!({})),
        ("odd", json!({})),
    ] {
        pod_with_data(&world, name, annotations).await;
    }
    let movers = Movers::new(|job| match job.source_claim().map(|claim| &*claim.name) {
        Some("burns-data") => Fate::Fails,
        Some("leaks-data") => Fate::Unread(7),
        Some("one-data") => Fate::Unread(1),
        _ => Fate::Unfit,
    });
    let made = check(&world, Some(&movers), |_, _| (), &expect![[r#"
        PartiallyFailed
        shop/burns-data: failed: defaultVolumesToFsBackup asks for it, but the disk is on fire
        shop/leaks-data: protected files files via leaks/data: 7 entries could not be read and are not in the backup: a: permission denied; b: gone; c: gone; ...
        shop/odd-data: skipped: it is nothing with files
        shop/one-data: protected files files via one/data: 1 entry could not be read and is not in the backup: a: permission denied
        error: namespace shop: volume burns-volume of claim shop/burns-data: its data was not backed up although defaultVolumesToFsBackup asks for it: the disk is on fire
        warning: namespace shop: volume leaks-volume of claim shop/leaks-data: 7 entries could not be read and are not in the backup: a: permission denied; b: gone; c: gone; ...
        warning: namespace shop: volume one-volume of claim shop/one-data: 1 entry could not be read and is not in the backup: a: permission denied
        warning: namespace shop: volume odd-volume of claim shop/odd-data: its data was not backed up: it is nothing with files
    "#]]).await;
    assert_eq!(
        hosts.said(),
        ["shop/burns main freeze", "shop/burns main thaw"]
    );
    let leaks = made
        .volumes
        .volumes
        .iter()
        .find(|v| v.claim == "leaks-data");
    let snapshot = leaks.and_then(|volume| volume.snapshot.as_ref());
    assert_eq!(snapshot.map(|snapshot| snapshot.unread), Some(7));
}

#[tokio::test]
async fn copies_of_one_pod_and_of_several_go_side_by_side() {
    let (world, _hosts) = Hosts::new().await;
    for name in ["a", "b", "c"] {
        pod_with_data(&world, name, json!({})).await;
    }
    let volumes = json!([{"name": "x", "emptyDir": {}}, {"name": "y", "emptyDir": {}}]);
    pod_with(&world, "two", json!({PRE: "freeze", POST: "thaw"}), volumes).await;
    // Nobody goes on before both, or all three, are there.
    let meet = |count| Arc::new(tokio::sync::Barrier::new(count));
    let (two, three) = (meet(2), meet(3));
    let movers = Movers::new(move |job| match job.source_claim() {
        None => Fate::Meets(Arc::clone(&two)),
        Some(_) => Fate::Meets(Arc::clone(&three)),
    });
    let made = made(asked(&world, &memory_location(), Some(&movers), |_, _| ())).await;
    assert_eq!(made.outcome.backup.status.phase, BackupPhase::Completed);
    assert_eq!(movers.jobs().len(), 5);
}

#[tokio::test]
async fn a_pod_that_goes_in_the_middle_leaves_its_claim_to_be_copied_by_itself() {
    let (world, _hosts) = Hosts::new().await;
    pod_with_data(&world, "db", json!({})).await;
    let cluster = world.cluster.clone();
    let pods = world.resource("pods").await;
    let movers = Movers::new(|job| match job.place {
        VolumePlace::Pod { .. } => Fate::Fails,
        VolumePlace::Claim { .. } => Fate::Done,
    })
    .after(move |_| {
        let (cluster, pods) = (cluster.clone(), pods.clone());
        async move {
            let options = salvor_cluster::DeleteOptions::default();
            let deleted = cluster.delete(&pods, Some("shop"), "db", &options);
            deleted.await.expect("deletable");
        }
    });
    check(
        &world,
        Some(&movers),
        |_, _| (),
        &expect![[r#"
        Completed
        shop/db-data: protected files files
    "#]],
    )
    .await;
    let places: Vec<String> = movers.jobs().iter().map(place).collect();
    assert_eq!(
        places,
        ["shop/db-data in pod shop/db", "shop/db-data by itself"]
    );
}

#[tokio::test]
async fn a_cancelled_backup_ends_its_copies_and_lets_applications_go() {
    let (world, hosts) = Hosts::new().await;
    pod_with_data(&world, "db", json!({PRE: "freeze", POST: "thaw"})).await;
    let movers = Movers::new(|_| Fate::Hangs);
    let location = memory_location();
    let request = asked(&world, &location, Some(&movers), |_, _| ());
    let cancel = request.options.cancel.clone();
    let backup = tokio::spawn(run(request, ProgressSink::none()));
    movers.hanging.cancelled().await;
    cancel.cancel();
    let error = backup.await.expect("no panic").expect_err("cancelled");
    assert!(error.is_cancelled(), "{error}");
    assert!(movers.ended.is_cancelled());
    assert_eq!(hosts.said(), ["shop/db main freeze", "shop/db main thaw"]);
    let listed = location.backups().await.expect("readable");
    assert!(listed.entries.is_empty());
}

#[tokio::test]
async fn a_backup_that_was_killed_while_it_copied_is_made_again_under_its_name() {
    let (world, _hosts) = Hosts::new().await;
    pod_with_data(&world, "db", json!({})).await;
    let location = memory_location().with_claim_policy(ClaimPolicy {
        lease: Duration::ZERO,
        heartbeat: Duration::from_secs(3600),
        settle: Duration::ZERO,
    });
    let hanging = Movers::new(|_| Fate::Hangs);
    let killed = asked(&world, &location, Some(&hanging), |_, _| ());
    let killed = tokio::spawn(run(killed, ProgressSink::none()));
    hanging.hanging.cancelled().await;
    killed.abort();
    assert!(killed.await.expect_err("killed").is_cancelled());
    assert!(!hanging.ended.is_cancelled(), "it had no time for anything");
    let movers = Movers::good();
    let made = made(asked(&world, &location, Some(&movers), |_, _| ())).await;
    assert_eq!(made.outcome.backup.status.phase, BackupPhase::Completed);
    let (first, second) = (&hanging.jobs()[0].of, &movers.jobs()[0].of);
    assert_eq!(first.name, second.name);
    assert_ne!(first.run, second.run);
    expect![[r#"
        shop/db-data: protected files files via db/data
    "#]]
    .assert_eq(&lines(&made.volumes));
}

#[tokio::test]
async fn the_time_for_a_volume_is_the_backups_own_and_one_that_is_none_is_refused() {
    let (world, _hosts) = Hosts::new().await;
    pod_with_data(&world, "db", json!({})).await;
    let with = |text: &'static str| {
        move |backup: &mut Backup, _: &mut BackupOptions| {
            let key = "velero.io/pod-volume-timeout".to_owned();
            backup.metadata.annotations.insert(key, text.to_owned());
        }
    };
    let movers = Movers::good();
    made(asked(
        &world,
        &memory_location(),
        Some(&movers),
        with("90m"),
    ))
    .await;
    assert_eq!(movers.jobs()[0].timeout, Duration::from_secs(90 * 60));
    let request = asked(&world, &memory_location(), Some(&movers), with("soon"));
    let refused = run(request, ProgressSink::none())
        .await
        .expect("an outcome");
    assert_eq!(
        refused.backup.status.validation_errors,
        ["annotation velero.io/pod-volume-timeout: `soon` is no duration such as 4h or 90m"]
    );
}
