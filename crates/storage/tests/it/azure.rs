//! The Azure store against Azurite.

use std::sync::Arc;

use salvor_storage::testing::conformance;
use salvor_storage::{ObjectStore, StoreUrl, open_url};
use salvor_testkit::azurite::{ACCOUNT, Azurite, KEY};
use salvor_testkit::fault_proxy::FaultProxy;
use salvor_testkit::process::or_skip;

use crate::faults::survive_one_fault_anywhere;
use crate::{Excluding, decorated};

/// A server with an empty container.
fn start() -> Option<Azurite> {
    let server = or_skip(Azurite::start())?;
    server.create_container("backups").expect("container");
    Some(server)
}

fn store_at(address: &str) -> Arc<dyn ObjectStore> {
    let credentials = tempfile::NamedTempFile::new().expect("file");
    let text = format!("AZURE_STORAGE_ACCOUNT_ACCESS_KEY={KEY}\n");
    std::fs::write(credentials.path(), text).expect("written");
    let url = format!(
        "azure://backups?storageAccount={ACCOUNT}&endpoint=http://{address}/{ACCOUNT}\
         &credentialsFile={}",
        credentials.path().display()
    );
    open_url(&StoreUrl::parse(&url).expect("valid URL")).expect("usable options")
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_store_conforms() {
    let Some(server) = start() else {
        return;
    };
    let store = store_at(server.address());
    conformance::run(Excluding::wrap(Arc::clone(&store)), "bare").await;
    conformance::run(decorated(Excluding::wrap(store)), "wrapped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_upload_survives_one_fault_at_any_of_its_requests() {
    let Some(server) = start() else {
        return;
    };
    let proxy = FaultProxy::start(server.address()).await.expect("proxy");
    let store = store_at(&proxy.address().to_string());
    survive_one_fault_anywhere(&proxy, store, store_at(server.address())).await;
}
