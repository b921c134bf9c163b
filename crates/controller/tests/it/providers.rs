//! Locations whose bytes an extension keeps: found by the name of their provider, with the credentials that it is
//! shown, and opened anew when either changes.

use salvor_api::velero::BackupStorageLocation;
use salvor_apiserver::{ApiServer, Options};
use salvor_cluster::{ApiResource, Cluster, WriteOptions};
use salvor_controller::Locations;
use salvor_storage::{ErrorKind, Key};
use salvor_testkit::webhook::{Reply, Webhook};
use serde_json::{Value, json};

use crate::world::NAMESPACE;

fn cluster() -> Cluster {
    Cluster::from_service(ApiServer::memory(Options::default()), "test")
}

async fn create(cluster: &Cluster, resource: &str, kind: &str, mut object: Value) {
    object["apiVersion"] = json!("v1");
    object["kind"] = json!(kind);
    let namespaced = kind != "Namespace";
    let resource = ApiResource::known("", "v1", kind, resource, namespaced);
    let namespace = namespaced.then_some(NAMESPACE);
    let body = object.to_string();
    let options = WriteOptions::default();
    cluster
        .create(&resource, namespace, body.as_bytes(), &options)
        .await
        .expect("created");
}

fn object(provider: &str) -> BackupStorageLocation {
    let mut object = BackupStorageLocation::named(NAMESPACE, "default");
    object.spec.provider = provider.to_owned();
    object.spec.object_storage.bucket = "mine".to_owned();
    object.spec.object_storage.prefix = "prod".to_owned();
    object
        .spec
        .config
        .insert("tier".to_owned(), "cold".to_owned());
    object
}

fn definition(url: &str) -> Value {
    let text = format!(
        "version: v1\nproviders:\n- name: example.com/store\n  kind: ObjectStore\n  config: {{tier: hot, zone: a}}\n  \
         webhook: {{url: '{url}', credentials: {{scheme: Bearer, secret: {{name: store}}}}}}\n"
    );
    json!({"metadata": {"name": "store", "labels": {"salvor.dev/extension": "v1"}}, "data": {"v": text}})
}

fn secret(labels: Value) -> Value {
    // `hunter2`.
    json!({"metadata": {"name": "store", "labels": labels}, "data": {"token": "aHVudGVyMg=="}})
}

#[tokio::test]
async fn a_location_is_served_by_the_provider_that_it_names() {
    let webhook = Webhook::start(|question| {
        let key = question["arguments"]["key"].clone();
        Reply::Json(json!({"version": "v1", "result": {"key": key, "size": 7}}))
    });
    let cluster = cluster();
    create(
        &cluster,
        "namespaces",
        "Namespace",
        json!({"metadata": {"name": NAMESPACE}}),
    )
    .await;
    let locations = Locations::new(&cluster, NAMESPACE);
    let nobody = locations
        .open(&object("example.com/store"))
        .await
        .expect_err("not defined");
    assert!(
        nobody.to_string().contains("no extension of this name"),
        "{nobody}"
    );

    create(
        &cluster,
        "configmaps",
        "ConfigMap",
        definition(&webhook.url()),
    )
    .await;
    let unknown = locations
        .open(&object("example.com/store"))
        .await
        .expect_err("no secret");
    assert!(
        unknown
            .to_string()
            .contains("secret `store`, key `token`: it does not exist"),
        "{unknown}"
    );

    create(
        &cluster,
        "secrets",
        "Secret",
        secret(json!({"salvor.dev/extension": "v1"})),
    )
    .await;
    let location = locations
        .open(&object("example.com/store"))
        .await
        .expect("opened");
    let key = Key::new("backups/b/velero-backup.json").expect("a key");
    let info = location.store().head(&key).await.expect("answered");
    assert_eq!((info.key, info.size), (key.clone(), 7));
    let asked = webhook.asked();
    let asked = asked.last().expect("one question");
    assert_eq!(
        asked["arguments"]["key"],
        "prod/backups/b/velero-backup.json"
    );
    assert_eq!(
        asked["config"],
        json!({"bucket": "mine", "tier": "cold", "zone": "a"}),
        "the location's settings win"
    );
    let other = locations
        .open(&object("example.com/other"))
        .await
        .expect_err("not defined");
    assert!(other.to_string().contains("`example.com/other`"), "{other}");
}

#[tokio::test]
async fn a_secret_that_does_not_say_so_is_shown_to_nobody() {
    let webhook = Webhook::start(|_| Reply::Json(json!({"version": "v1"})));
    let cluster = cluster();
    create(
        &cluster,
        "namespaces",
        "Namespace",
        json!({"metadata": {"name": NAMESPACE}}),
    )
    .await;
    create(
        &cluster,
        "configmaps",
        "ConfigMap",
        definition(&webhook.url()),
    )
    .await;
    create(&cluster, "secrets", "Secret", secret(json!({}))).await;
    let locations = Locations::new(&cluster, NAMESPACE);
    let error = locations
        .open(&object("example.com/store"))
        .await
        .expect_err("refused");
    let said = error.to_string();
    assert!(
        said.contains("it lacks the label salvor.dev/extension"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
    assert!(webhook.asked().is_empty());
}

#[tokio::test]
async fn a_provider_that_fails_is_a_store_that_fails() {
    let webhook = Webhook::start(|_| {
        let error = json!({"code": "Denied", "message": "not you"});
        Reply::Json(json!({"version": "v1", "error": error}))
    });
    let cluster = cluster();
    create(
        &cluster,
        "namespaces",
        "Namespace",
        json!({"metadata": {"name": NAMESPACE}}),
    )
    .await;
    create(
        &cluster,
        "configmaps",
        "ConfigMap",
        definition(&webhook.url()),
    )
    .await;
    create(
        &cluster,
        "secrets",
        "Secret",
        secret(json!({"salvor.dev/extension": "v1"})),
    )
    .await;
    let locations = Locations::new(&cluster, NAMESPACE);
    let location = locations
        .open(&object("example.com/store"))
        .await
        .expect("opened");
    let key = Key::new("a").expect("a key");
    let error = location.store().head(&key).await.expect_err("denied");
    assert_eq!(error.kind, ErrorKind::Denied);
}
