//! Every store of this crate runs the conformance suite, bare and behind the decorators.

mod azure;
mod excluding;
mod faults;
mod gcs;
mod gcs_double;
mod s3;

use std::sync::Arc;

use salvor_storage::testing::conformance;
use salvor_storage::{
    FsStore, LimitStore, Limiter, Limits, MemoryStore, MeterStore, ObjectStore, PrefixStore,
    RetryPolicy, RetryStore,
};

use crate::excluding::Excluding;

fn decorated(inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    let retry = RetryStore::new(inner, RetryPolicy::default());
    let limiter = Limiter::new(Limits {
        upload: Some(1 << 40),
        download: Some(1 << 40),
        requests: Some(1 << 20),
        in_flight: Some(16),
    });
    let limit = LimitStore::new(Arc::new(retry), Arc::new(limiter));
    PrefixStore::wrap(Arc::new(MeterStore::new(Arc::new(limit))), "some/prefix")
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_store_conforms() {
    conformance::run(Arc::new(MemoryStore::new()), "root").await;
    conformance::run(decorated(Arc::new(MemoryStore::new())), "root").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_system_store_conforms() {
    let folder = tempfile::tempdir().expect("temporary folder");
    conformance::run(Arc::new(FsStore::new(folder.path().join("bare"))), "root").await;
    conformance::run(
        decorated(Arc::new(FsStore::new(folder.path().join("wrapped")))),
        "root",
    )
    .await;
}
