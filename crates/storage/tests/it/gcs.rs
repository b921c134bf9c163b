//! The Google store against a double of it.

use std::sync::Arc;

use bytes::Bytes;
use salvor_storage::testing::conformance;
use salvor_storage::{ErrorKind, Key, ObjectStore, PutMode, StoreUrl, open_url};
use salvor_testkit::fault_proxy::FaultProxy;

use crate::faults::survive_one_fault_anywhere;
use crate::gcs_double::GcsDouble;
use crate::{Excluding, decorated};

fn store_at(address: &str) -> Arc<dyn ObjectStore> {
    let url = format!("gs://b?endpoint=http://{address}&anonymous=true");
    open_url(&StoreUrl::parse(&url).expect("valid URL")).expect("usable options")
}

#[tokio::test(flavor = "multi_thread")]
async fn google_store_conforms() {
    let double = GcsDouble::start().await;
    let store = store_at(&double.address().to_string());
    conformance::run(Excluding::wrap(Arc::clone(&store)), "bare").await;
    conformance::run(decorated(Excluding::wrap(store)), "wrapped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_create_carries_the_precondition() {
    let double = GcsDouble::start().await;
    let store = store_at(&double.address().to_string());
    let key = |name: &str| Key::new(name).expect("valid key");
    for size in [0, 10, 20 << 20] {
        let name = format!("k{size}");
        let body = Bytes::from(vec![1; size]);
        let put = key(&format!("{name}/put"));
        store
            .put(&put, body.clone(), PutMode::Create)
            .await
            .expect("put");
        let uploaded = key(&format!("{name}/upload"));
        let mut upload = store
            .upload(&uploaded, PutMode::Create)
            .await
            .expect("begin");
        upload.write(body).await.expect("write");
        upload.finish().await.expect("finish");
    }
    let begun: Vec<_> = double
        .requests()
        .into_iter()
        .filter(|request| request.starts_with("POST"))
        .collect();
    assert_eq!(begun.len(), 6, "{begun:?}");
    assert!(
        begun
            .iter()
            .all(|request| request.contains("ifGenerationMatch=0")),
        "{begun:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resumable_upload_survives_one_fault_at_any_of_its_requests() {
    let double = GcsDouble::start().await;
    let address = double.address().to_string();
    let proxy = FaultProxy::start(&address).await.expect("proxy");
    let store = store_at(&proxy.address().to_string());
    survive_one_fault_anywhere(&proxy, store, store_at(&address)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_given_up_is_cancelled() {
    let double = GcsDouble::start().await;
    let store = store_at(&double.address().to_string());
    let key = Key::new("k").expect("valid key");
    let mut upload = store.upload(&key, PutMode::Create).await.expect("begin");
    upload
        .write(Bytes::from(vec![1; 30 << 20]))
        .await
        .expect("write");
    assert_eq!(double.open_sessions(), 1);
    upload.abort().await.expect("abort");
    assert_eq!(double.open_sessions(), 0);
    let missing = store.head(&key).await.expect_err("nothing is visible");
    assert_eq!(missing.kind, ErrorKind::NotFound);
}
