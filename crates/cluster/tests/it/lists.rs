//! Discovery and lists.

use salvor_apiserver::{ApiServer, Fault, FaultRule, Options};
use salvor_cluster::{ApiResource, Cluster, DiscoverOptions, ErrorKind, ListOptions, WriteOptions};

fn server(aggregated_discovery: bool) -> (ApiServer, Cluster) {
    let server = ApiServer::memory(Options {
        aggregated_discovery,
        seed: Some(1),
        ..Options::default()
    });
    let cluster = Cluster::from_service(server.clone(), "test");
    (server, cluster)
}

fn config_maps() -> ApiResource {
    ApiResource::known("", "v1", "ConfigMap", "configmaps", true)
}

/// Creates `count` ConfigMaps of about `bytes` bytes each.
async fn fill(cluster: &Cluster, count: usize, bytes: usize) {
    for number in 0..count {
        let body = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("c{number:04}"), "labels": {"parity": if number % 2 == 0 { "even" } else { "odd" }}},
            "data": {"filler": "x".repeat(bytes)}});
        cluster
            .create(
                &config_maps(),
                Some("default"),
                body.to_string().as_bytes(),
                &WriteOptions::default(),
            )
            .await
            .expect("created");
    }
}

/// Names of all items, and how many pages they came in.
async fn names(cluster: &Cluster, options: ListOptions) -> (Vec<String>, usize, u32) {
    let mut pager = cluster.pager(&config_maps(), Some("default"), options);
    let (mut names, mut pages) = (Vec::new(), 0);
    while let Some(page) = pager.next_page().await.expect("listable") {
        pages += 1;
        for item in page.items() {
            let item: serde_json::Value = serde_json::from_slice(item).expect("JSON");
            let name = item["metadata"]["name"].as_str().expect("named");
            if name.starts_with('c') {
                names.push(name.to_owned());
            }
        }
    }
    (names, pages, pager.restarts())
}

#[tokio::test]
async fn both_forms_of_discovery_find_the_same_resources() {
    let (_, new) = server(true);
    let (_, old) = server(false);
    for all_versions in [true, false] {
        let options = DiscoverOptions { all_versions };
        let sorted = |mut resources: Vec<ApiResource>| {
            resources.iter_mut().for_each(|r| r.subresources.sort());
            resources.sort_by_key(|r| (r.group.clone(), r.version.clone(), r.resource.clone()));
            resources
        };
        let new = new.discover(options).await.expect("aggregated");
        let old = old.discover(options).await.expect("legacy");
        assert_eq!(sorted(new.resources.clone()), sorted(old.resources));
        assert!(new.failures.is_empty());
        let deploy = new.resolve("deploy").expect("deployments");
        assert_eq!(deploy.api_version(), "apps/v1");
        assert!(deploy.is_for_backup() && deploy.has_subresource("scale"));
    }
}

#[tokio::test]
async fn a_long_list_comes_in_pages_that_fit_and_is_complete() {
    let (_, cluster) = server(true);
    fill(&cluster, 230, 10).await;
    let (all, pages, restarts) = names(&cluster, ListOptions::default()).await;
    assert_eq!((all.len(), restarts), (230, 0));
    assert!(pages >= 2, "{pages}");
    let even = ListOptions {
        label_selector: Some("parity=even".to_owned()),
        ..ListOptions::default()
    };
    assert_eq!(names(&cluster, even).await.0.len(), 115);
}

#[tokio::test]
async fn pages_that_are_too_large_are_asked_for_again_in_smaller_ones() {
    let (_, cluster) = server(true);
    fill(&cluster, 40, 20_000).await;
    let capped = ListOptions {
        max_bytes: 200_000,
        ..ListOptions::default()
    };
    assert_eq!(names(&cluster, capped).await.0.len(), 40);
    // One object alone is larger than the cap: an error, not an endless loop.
    let tiny = ListOptions {
        max_bytes: 5_000,
        ..ListOptions::default()
    };
    let mut pager = cluster.pager(&config_maps(), Some("default"), tiny);
    let error = loop {
        match pager.next_page().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the list cannot be complete"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    pager.set_max_bytes(1 << 20);
    assert!(
        pager
            .next_page()
            .await
            .expect("there is room now")
            .is_some()
    );
}

#[tokio::test]
async fn an_expired_token_costs_a_restart_but_no_items() {
    let (server, cluster) = server(true);
    fill(&cluster, 230, 10).await;
    let expired = FaultRule::new(Fault::Expired)
        .verb("list")
        .after(1)
        .times(1);
    server.faults().add(expired);
    let (mut all, _, restarts) = names(&cluster, ListOptions::default()).await;
    all.sort();
    all.dedup();
    assert_eq!((all.len(), restarts), (230, 1));
}

#[tokio::test]
async fn a_list_that_is_none_and_a_resource_that_is_unknown_are_told_apart() {
    let (_, cluster) = server(true);
    let unknown = ApiResource::known("x.io", "v1", "X", "xs", true);
    let options = ListOptions::default();
    let error = cluster
        .list_page(&unknown, None, &options)
        .await
        .expect_err("unknown");
    assert_eq!(error.kind(), ErrorKind::NoSuchKind, "{error}");
    let empty = cluster
        .list_page(&config_maps(), Some("nowhere"), &options)
        .await;
    assert!(empty.expect("an empty list").is_empty());
}

/// A server of the older kind whose group `x.example.com` cannot be read; `stays` says whether it is still
/// listed afterwards.
fn with_a_group_that_is_missing(stays: bool) -> Cluster {
    let groups = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let service = tower::service_fn(move |request: http::Request<salvor_cluster::Body>| {
        let groups = std::sync::Arc::clone(&groups);
        async move {
            let listed = r#"{"kind":"APIGroupList","groups":[{"name":"x.example.com",
                "versions":[{"groupVersion":"x.example.com/v1","version":"v1"}]}]}"#;
            let (status, body) = match request.uri().path() {
                "/api" => (200, r#"{"kind":"APIVersions","versions":[]}"#),
                "/apis" => match groups.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => (200, listed),
                    _ if stays => (200, listed),
                    _ => (200, r#"{"kind":"APIGroupList","groups":[]}"#),
                },
                _ => (404, "404 page not found"),
            };
            let body = http_body_util::Full::from(body);
            let response = http::Response::builder().status(status).body(body);
            Ok::<_, std::convert::Infallible>(response.expect("a response"))
        }
    });
    Cluster::from_service(service, "old")
}

#[tokio::test(start_paused = true)]
async fn a_group_that_was_deleted_during_discovery_is_no_failure() {
    for (stays, failures) in [(false, 0), (true, 1)] {
        let cluster = with_a_group_that_is_missing(stays);
        let discovery = cluster.discover(DiscoverOptions::default()).await;
        let discovery = discovery.expect("the lists of groups are read");
        assert_eq!(discovery.failures.len(), failures, "{stays}");
    }
}
