//! A store that an extension serves is a store like every other: it passes the suite that they all do, its provider
//! keeps the contract, and what a hostile one answers is an error.

mod example;
mod faults;

use std::sync::Arc;

use salvor_extension::check::{Report, check_common, check_object_store};
use salvor_extension::provider::object_store::ObjectStoreClient;
use salvor_extension_store::open;
use salvor_storage::testing::conformance;
use salvor_storage::{ObjectStore, RetryPolicy, RetryStore, StoreUrl};

use crate::example::{Example, NAME};

async fn conforms(example: &Example) {
    let url = format!("extension://bucket/some/prefix?provider={NAME}");
    let url = StoreUrl::parse(&url).expect("valid");
    let store = open(&url, &example.providers).expect("a provider");
    conformance::run(Arc::clone(&store), "bare").await;
    let store: Arc<dyn ObjectStore> = Arc::new(RetryStore::new(store, RetryPolicy::default()));
    conformance::run(store, "wrapped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_an_endpoint_is_a_store() {
    conforms(&Example::endpoint()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_a_program_is_a_store() {
    conforms(&Example::program()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_keeps_every_clause() {
    for example in [Example::endpoint(), Example::program()] {
        let provider = example.providers.iter().next().expect("one");
        let mut report = Report::default();
        check_common(provider, &mut report)
            .await
            .expect("it answers");
        let client = ObjectStoreClient::new(provider.clone());
        check_object_store(&client, "check/1", &mut report).await;
        assert!(report.conforms(), "{report}");
        assert_eq!(report.clauses.len(), 16, "{report}");
    }
}
