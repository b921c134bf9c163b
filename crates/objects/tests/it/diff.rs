//! Differences of backups and of a backup and a cluster.

use expect_test::expect;
use salvor_api::name::BackupName;
use salvor_api::velero::RestoreSpec;
use salvor_cluster::WriteOptions;
use salvor_location::Location;
use salvor_objects::diff;
use salvor_objects::restore::Source;
use salvor_objects::restore::selection::Selection;
use serde_json::json;

use crate::world::{World, back_up, config_map, memory_location, request};

async fn open(location: &Location, name: &str) -> Source {
    let name = BackupName::new(name).expect("valid");
    Source::open(location, &name).await.expect("a backup")
}

fn in_namespace(namespace: &str) -> Selection {
    let spec = RestoreSpec {
        included_namespaces: vec![namespace.to_owned()],
        ..RestoreSpec::default()
    };
    Selection::compile(&spec, &[], None).expect("valid")
}

/// Changes one map, one secret, adds a map and removes a map in `shop`.
async fn change(world: &World) {
    let options = WriteOptions::default();
    for (resource, name, patch) in [
        (
            "configmaps",
            "settings",
            json!({"data": {"greeting": "hello"}}),
        ),
        (
            "secrets",
            "password",
            json!({"data": {"password": "bmV3LXBhc3N3b3Jk"}}),
        ),
    ] {
        let resource = world.resource(resource).await;
        let patch = patch.to_string();
        world
            .cluster
            .merge_patch(
                &resource,
                Some("shop"),
                name,
                None,
                patch.as_bytes(),
                &options,
            )
            .await
            .expect("patched");
    }
    world.create(config_map("shop", "new")).await;
    world.delete("serviceaccounts", Some("shop"), "web").await;
}

const EXPECTED: &[&str] = &[
    "+  greeting: hello",
    "*** (before)",
    "configmaps shop/new: only in",
    "serviceaccounts shop/web: only in",
    "2 changed, 1 only in",
];

#[tokio::test]
async fn a_backup_differs_from_the_cluster_where_the_cluster_was_changed() {
    let world = World::platform().await;
    let location = memory_location();
    back_up(&world, &location, request("b", |_| ()))
        .await
        .expect("a backup");
    let backup = open(&location, "b").await;
    let selection = Selection::compile(&RestoreSpec::default(), &[], None).expect("valid");
    let report = diff::with_cluster(&backup, &world.cluster, &selection)
        .await
        .expect("comparable");
    assert!(report.is_empty(), "{report}");

    change(&world).await;
    let report = diff::with_cluster(&backup, &world.cluster, &in_namespace("shop"))
        .await
        .expect("comparable");
    let text = report.render();
    for part in EXPECTED {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
    for secret in ["s3cret", "new-password", "bmV3"] {
        assert!(!text.contains(secret), "{text}");
    }
    let elsewhere = diff::with_cluster(&backup, &world.cluster, &in_namespace("dev"))
        .await
        .expect("comparable");
    assert!(elsewhere.is_empty(), "{elsewhere}");
}

#[tokio::test]
async fn two_backups_differ_where_the_cluster_was_changed_between_them() {
    let world = World::platform().await;
    let location = memory_location();
    for name in ["a", "b"] {
        back_up(&world, &location, request(name, |_| ()))
            .await
            .expect("a backup");
    }
    let everything = Selection::compile(&RestoreSpec::default(), &[], None).expect("valid");
    let (a, b) = (open(&location, "a").await, open(&location, "b").await);
    let same = diff::between_backups(&a, &b, &everything)
        .await
        .expect("comparable");
    assert!(same.is_empty(), "{same}");

    change(&world).await;
    back_up(&world, &location, request("c", |_| ()))
        .await
        .expect("a backup");
    let c = open(&location, "c").await;
    let report = diff::between_backups(&a, &c, &in_namespace("shop"))
        .await
        .expect("comparable");
    let changed: Vec<String> = report
        .differences
        .iter()
        .map(|d| format!("{:?} {}", d.change, d.object))
        .collect();
    expect![[r#"
        Added configmaps shop/new
        Changed configmaps shop/settings
        Changed secrets shop/password
        Removed serviceaccounts shop/web"#]]
    .assert_eq(&changed.join("\n"));
}
