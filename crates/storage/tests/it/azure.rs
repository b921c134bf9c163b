//! The Azure store against Azurite.

use salvor_storage::testing::conformance;
use salvor_storage::{StoreUrl, open_url};
use salvor_testkit::azurite::{ACCOUNT, Azurite, KEY};
use salvor_testkit::process::or_skip;

use crate::{Excluding, decorated};

#[tokio::test(flavor = "multi_thread")]
async fn azure_store_conforms() {
    let Some(server) = or_skip(Azurite::start()) else {
        return;
    };
    server.create_container("backups").expect("container");
    let credentials = tempfile::NamedTempFile::new().expect("file");
    let text = format!("AZURE_STORAGE_ACCOUNT_ACCESS_KEY={KEY}\n");
    std::fs::write(credentials.path(), text).expect("written");
    let url = format!(
        "azure://backups?storageAccount={ACCOUNT}&endpoint=http://{}/{ACCOUNT}&credentialsFile={}",
        server.address(),
        credentials.path().display()
    );
    let url = StoreUrl::parse(&url).expect("valid URL");
    let store = open_url(&url).expect("usable options");
    conformance::run(Excluding::wrap(store.clone()), "bare").await;
    conformance::run(decorated(Excluding::wrap(store)), "wrapped").await;
}
