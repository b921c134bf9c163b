//! ConfigMaps that backups and restores name: what is wrong with them stands in the status before work begins.

use salvor_api::meta::TypedLocalObjectReference;
use salvor_api::velero::{
    Backup, BackupPhase, DeleteBackupRequest, DeleteBackupRequestPhase, Restore, RestorePhase,
    Schedule,
};
use salvor_testkit::webhook::{Reply, Webhook};
use serde_json::json;

use crate::world::{NAMESPACE, World, config_maps_resource};

fn reference(name: &str) -> Option<TypedLocalObjectReference> {
    Some(TypedLocalObjectReference {
        api_group: None,
        kind: "configmap".into(),
        name: name.into(),
    })
}

async fn keep(world: &World, name: &str, text: &str) {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"value": text}});
    world
        .create(config_maps_resource(), Some(NAMESPACE), object)
        .await;
}

#[tokio::test]
async fn policies_are_checked_before_a_backup_begins_and_a_schedule_carries_them() {
    let world = World::new().await;
    keep(&world, "broken", "version: v1\nvolumes: []").await;
    keep(
        &world,
        "lists",
        "version: v1\nincludeExcludePolicy: {excludedNamespaceScopedResources: [configmaps]}",
    )
    .await;
    let server = world.serve();
    for (name, policy, said) in [
        ("b1", "nowhere", "there is no configmap nowhere"),
        ("b2", "broken", "unknown field `volumes`"),
    ] {
        world
            .back_up(name, |b| b.spec.resource_policy = reference(policy))
            .await;
        let backup: Backup = world
            .until(name, |b: &Backup| b.status.phase.is_final())
            .await;
        assert_eq!(backup.status.phase, BackupPhase::FailedValidation);
        let errors = backup.status.validation_errors.join("; ");
        assert!(errors.contains(said), "{errors}");
        assert!(backup.status.start_timestamp.is_none(), "it never began");
    }
    let mut schedule = Schedule::named(NAMESPACE, "often");
    schedule.spec.schedule = "@every 1s".to_owned();
    schedule.spec.template.included_namespaces = vec!["shop".to_owned()];
    schedule.spec.template.resource_policy = reference("lists");
    world.kinds().create(&schedule).await.expect("created");
    let ran = |s: &Schedule| s.status.last_backup.is_some();
    let seen: Schedule = world.until("often", ran).await;
    let name = format!("often-{}", seen.status.last_backup.expect("ran").compact());
    let backup: Backup = world
        .until(&name, |b: &Backup| b.status.phase.is_final())
        .await;
    assert_eq!(backup.status.phase, BackupPhase::Completed, "{backup:?}");
    let items = backup.status.progress.expect("progress").items_backed_up;
    let plain = "plain";
    world.back_up(plain, |_| ()).await;
    let all: Backup = world
        .until(plain, |b: &Backup| b.status.phase.is_final())
        .await;
    let all = all.status.progress.expect("progress").items_backed_up;
    // Five of the test's own, and the root certificates that every namespace has.
    assert_eq!(all - items, 6, "{all} {items}");
    server.stop().await;
}

#[tokio::test]
async fn modifiers_are_checked_before_a_restore_begins_and_applied() {
    let world = World::new().await;
    keep(&world, "broken", "version: v1\nresourceModifierRules: [{}]").await;
    keep(
        &world,
        "rules",
        "version: v1\nresourceModifierRules:\n- conditions: {groupResource: configmaps}\n  mergePatches: [{patchData: '{\"data\": {\"added\": \"x\"}}'}]",
    )
    .await;
    let server = world.serve();
    world.back_up("b1", |_| ()).await;
    let backup: Backup = world
        .until("b1", |b: &Backup| b.status.phase.is_final())
        .await;
    assert_eq!(backup.status.phase, BackupPhase::Completed);
    let restore = |name: &str, modifier: &str| {
        let mut restore = Restore::named(NAMESPACE, name);
        restore.spec.backup_name = "b1".to_owned();
        restore.spec.namespace_mapping = [("shop".to_owned(), "copy".to_owned())].into();
        restore.spec.resource_modifier = reference(modifier);
        restore
    };
    for (name, modifier, said) in [
        ("r1", "nowhere", "there is no configmap nowhere"),
        ("r2", "broken", "missing field `conditions`"),
    ] {
        world
            .kinds()
            .create(&restore(name, modifier))
            .await
            .expect("created");
        let done: Restore = world
            .until(name, |r: &Restore| r.status.phase.is_final())
            .await;
        assert_eq!(
            done.status.phase,
            RestorePhase::FailedValidation,
            "{done:?}"
        );
        let errors = done.status.validation_errors.join("; ");
        assert!(errors.contains(said), "{errors}");
        assert!(done.status.start_timestamp.is_none(), "it never began");
    }
    world
        .kinds()
        .create(&restore("r3", "rules"))
        .await
        .expect("created");
    let done: Restore = world
        .until("r3", |r: &Restore| r.status.phase.is_final())
        .await;
    assert_eq!(done.status.phase, RestorePhase::Completed, "{done:?}");
    let copied = world
        .cluster
        .get(&config_maps_resource(), Some("copy"), "c0")
        .await
        .expect("readable")
        .expect("restored");
    assert!(String::from_utf8_lossy(&copied).contains(r#""added":"x""#));
    server.stop().await;
}

#[tokio::test]
async fn item_actions_of_the_cluster_stop_what_they_refuse() {
    let webhook = Webhook::start(|ask| {
        let keep = ask["kind"] == "DeleteItemAction" && ask["item"]["name"] == "c0";
        Reply::Json(match keep {
            true => json!({"version": "v1", "error": "kept for the audit"}),
            false => json!({"version": "v1"}),
        })
    });
    let world = World::new().await;
    let define = |name: &str, text: String| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"value": text},
            "metadata": {"name": name, "labels": {"salvor.dev/extension": "v1"}}})
    };
    let action = |kind: &str| {
        format!(
            "version: v1\nactions: [{{name: example.com/{}, kind: {kind}, appliesTo: {{includedResources: [configmaps]}}, webhook: {{url: '{}'}}}}]",
            kind.to_lowercase(),
            webhook.url()
        )
    };
    for kind in ["BackupItemAction", "DeleteItemAction"] {
        let object = define(&kind.to_lowercase(), action(kind));
        world
            .create(config_maps_resource(), Some(NAMESPACE), object)
            .await;
    }
    let server = world.serve();
    world.back_up("b1", |_| ()).await;
    let backup: Backup = world
        .until("b1", |b: &Backup| b.status.phase.is_final())
        .await;
    assert_eq!(backup.status.phase, BackupPhase::Completed, "{backup:?}");
    let asked = webhook.asked().len();
    assert!(asked >= 5, "{asked}");
    let mut request = DeleteBackupRequest::named(NAMESPACE, "d1");
    request.spec.backup_name = "b1".to_owned();
    world.kinds().create(&request).await.expect("created");
    let processed = |r: &DeleteBackupRequest| r.status.phase == DeleteBackupRequestPhase::Processed;
    let refused: DeleteBackupRequest = world.until("d1", processed).await;
    assert_eq!(
        refused.status.errors,
        [
            "configmaps shop/c0: item action `example.com/deleteitemaction`: it says: kept for the audit"
        ]
    );
    let kept = |b: &Backup| b.status.phase == BackupPhase::Completed;
    let _: Backup = world.until("b1", kept).await;
    let broken = define("broken", "version: v1\nactions: [{}]".to_owned());
    world
        .create(config_maps_resource(), Some(NAMESPACE), broken)
        .await;
    world.back_up("b2", |_| ()).await;
    let backup: Backup = world
        .until("b2", |b: &Backup| b.status.phase.is_final())
        .await;
    assert_eq!(backup.status.phase, BackupPhase::FailedValidation);
    let errors = backup.status.validation_errors.join("; ");
    assert!(
        errors.contains("item actions in configmap broken"),
        "{errors}"
    );
    server.stop().await;
}

#[tokio::test]
async fn the_servers_own_volume_policies_count_for_every_backup() {
    let world = World::new().await;
    let skip =
        "version: v1\nvolumePolicies: [{conditions: {volumeTypes: [nfs]}, action: {type: skip}}]";
    keep(
        &world,
        "own",
        "version: v1\nincludeExcludePolicy: {excludedNamespaceScopedResources: [secrets]}",
    )
    .await;
    let server = world.serve_with(|options| options.global_volume_policy = "global".to_owned());
    world.back_up("early", |_| ()).await;
    let final_ = |b: &Backup| b.status.phase.is_final();
    let early: Backup = world.until("early", final_).await;
    assert_eq!(early.status.phase, BackupPhase::FailedValidation);
    let errors = early.status.validation_errors.join("; ");
    assert!(
        errors.contains("ConfigMap global: it does not exist"),
        "{errors}"
    );

    keep(&world, "global", skip).await;
    world
        .back_up("b", |b| b.spec.resource_policy = reference("own"))
        .await;
    let backup: Backup = world.until("b", final_).await;
    assert_eq!(
        backup.status.phase,
        BackupPhase::Completed,
        "{:?}",
        backup.status
    );
    let key = salvor_api::labels::GLOBAL_VOLUME_POLICY;
    assert_eq!(backup.metadata.annotations[key], "global");
    server.stop().await;

    keep(
        &world,
        "lists",
        "version: v1\nincludeExcludePolicy: {excludedNamespaceScopedResources: [secrets]}",
    )
    .await;
    let server = world.serve_with(|options| options.global_volume_policy = "lists".to_owned());
    world.back_up("c", |_| ()).await;
    let refused: Backup = world.until("c", final_).await;
    let errors = refused.status.validation_errors.join("; ");
    assert!(
        errors.contains("it may hold volumePolicies only"),
        "{errors}"
    );
    server.stop().await;
}
