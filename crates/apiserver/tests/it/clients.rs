//! Clients as they come: kube in process, and plain HTTP.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api as Client, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use salvor_apiserver::{ApiServer, Options};
use serde_json::json;

#[tokio::test]
async fn the_kube_crate_works_without_a_socket() {
    let server = ApiServer::memory(Options::default());
    let client = kube::Client::new(server, "default");
    let maps: Client<ConfigMap> = Client::default_namespaced(client.clone());
    let object: ConfigMap =
        serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "1"}}))
            .expect("a ConfigMap");
    maps.create(&PostParams::default(), &object)
        .await
        .expect("created");
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    let patched = maps
        .patch("a", &PatchParams::default(), &patch)
        .await
        .expect("patched");
    assert_eq!(
        patched
            .data
            .and_then(|data| data.get("k").cloned())
            .as_deref(),
        Some("2")
    );
    let list = maps
        .list(&ListParams::default().limit(1))
        .await
        .expect("listed");
    assert_eq!(list.items.len(), 1);
    maps.delete("a", &DeleteParams::default())
        .await
        .expect("deleted");
    match maps.get("a").await {
        Err(kube::Error::Api(status)) => assert!(status.is_not_found()),
        other => panic!("{other:?}"),
    }
    let namespaces: Client<Namespace> = Client::all(client.clone());
    assert_eq!(
        namespaces
            .list(&ListParams::default())
            .await
            .expect("listed")
            .items
            .len(),
        4
    );
    let version = client.apiserver_version().await.expect("a version");
    assert_eq!(version.major, "1");
}

#[tokio::test]
async fn http_is_served_until_shut_down() {
    let server = ApiServer::memory(Options::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let handle = server.serve(listener).expect("bound");
    let config = kube::Config::new(handle.url().parse().expect("a URL"));
    // A second installation in this process changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = kube::Client::try_from(config).expect("a client");
    let namespaces: Client<Namespace> = Client::all(client);
    assert_eq!(
        namespaces
            .list(&ListParams::default())
            .await
            .expect("listed")
            .items
            .len(),
        4
    );
    let parsed: serde_json::Value =
        serde_saphyr::from_str(&handle.kubeconfig("a \"name\"")).expect("the kubeconfig is YAML");
    assert_eq!(parsed["clusters"][0]["cluster"]["server"], handle.url());
    handle.shutdown().await;
    assert!(namespaces.list(&ListParams::default()).await.is_err());
}
