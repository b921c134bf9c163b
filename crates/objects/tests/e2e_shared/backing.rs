//! Real clusters for the worlds of shared tests, brought back between them.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use salvor_apiserver::ApiServer;
use salvor_cluster::{Cluster, ConnectOptions, DiscoverOptions};
use salvor_testkit::{required_path, required_var};
use serde_json::Value;

use crate::etcd::Etcd;

/// Tests that need what only the in-process server has, and what that is.
const IN_PROCESS: &[(&str, &[&str])] = &[
    (
        "controllers of a real cluster add objects, tokens, events and bindings of their own",
        &[
            "backup::an_included_namespace_brings_its_object_and_what_it_refers_to_and_nothing_else",
            "backup::no_cluster_resources_leaves_out_even_volumes_but_keeps_definitions",
            "backup::objects_of_two_groups_are_stored_once",
            "backup::every_served_version_is_kept_when_asked",
            "backup::or_selectors_are_a_union_without_doubles",
            "diff::two_backups_differ_where_the_cluster_was_changed_between_them",
            "policies::a_restore_follows_fine_grained_filters_and_refuses_broken_config_maps",
            "policies::policies_of_a_file_take_the_place_of_a_config_map",
            "policies::the_lists_of_a_policy_stand_below_those_of_the_backup",
            "restore::an_undelete_brings_an_object_with_what_it_needs_and_a_namespace_with_everything",
            "restore::the_plan_of_a_dry_run_names_every_object_and_what_does_not_fit",
            "restore_kinds::class_and_image_mappings_come_from_labelled_config_maps",
            "restore_kinds::service_accounts_are_merged_whatever_the_policy",
            "restore_kinds::volumes_without_data_are_restored_or_provisioned_by_their_reclaim_policy",
            "restore_services::endpoints_that_a_controller_keeps_are_no_conflict_and_those_of_people_are",
        ],
    ),
    (
        "it is about kinds and versions that 1.20 has otherwise",
        &[
            "restore::a_namespace_mapping_moves_objects_subjects_and_claim_references",
            "restore_kinds::an_object_that_is_stored_under_two_groups_is_restored_once",
            "restore_kinds::objects_of_removed_versions_are_converted_and_what_has_no_successor_is_blocked",
            "restore_kinds::status_comes_back_where_the_restore_or_the_item_says_so",
        ],
    ),
    (
        "a real server takes a while to forget a definition",
        &[
            "restore::a_namespace_and_a_definition_that_were_deleted_come_back_into_the_same_cluster",
        ],
    ),
    (
        "it looks at the requests that the server got, or disturbs its answers",
        &[
            "restore_kinds::owner_references_are_relinked_to_owners_that_were_just_read",
            "restore::definitions_come_before_their_resources_and_webhooks_last",
            "restore::an_emptied_cluster_is_the_same_after_a_restore_and_a_second_one_changes_nothing",
        ],
    ),
];

/// For what controllers do on two busy cores.
const PATIENCE: Duration = Duration::from_secs(30);

/// A real cluster.
struct Place {
    kubeconfig: PathBuf,
    etcd: Etcd,
    /// Groups that it serves when nothing was added.
    groups: Vec<String>,
}

/// The clusters; `None`, said aloud, when they are not there.
fn places() -> Option<&'static [Place; 2]> {
    static PLACES: OnceLock<Option<[Place; 2]>> = OnceLock::new();
    let place = |kubeconfig: &str, etcd: &str| {
        let kubeconfig = required_path(kubeconfig)?;
        let etcd = Etcd::new(&required_var(etcd)?);
        let groups = groups(&kubeconfig);
        Some(Place {
            kubeconfig,
            etcd,
            groups,
        })
    };
    let places = PLACES.get_or_init(|| {
        Some([
            place("SALVOR_E2E_KUBECONFIG", "SALVOR_E2E_ETCD")?,
            place("SALVOR_E2E_KUBECONFIG_2", "SALVOR_E2E_ETCD_2")?,
        ])
    });
    places.as_ref()
}

/// The worlds that are in use; one test at a time has any.
static BUSY: Mutex<[bool; 2]> = Mutex::new([false; 2]);

thread_local! {
    /// A test runs on a thread of its own, so its turn ends with the thread.
    static TURN: RefCell<Option<MutexGuard<'static, ()>>> = const { RefCell::new(None) };
}

fn take_turn() {
    static ONE_TEST: Mutex<()> = Mutex::new(());
    TURN.with_borrow_mut(|turn| {
        // A test that failed has left nothing that the next one does not remove.
        turn.get_or_insert_with(|| ONE_TEST.lock().unwrap_or_else(PoisonError::into_inner));
    });
}

fn busy() -> MutexGuard<'static, [bool; 2]> {
    BUSY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a cluster for one world.
pub(crate) struct Lease(Option<usize>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let (Some(at), Some(places)) = (self.0, places()) {
            // What uses the clusters next finds nothing of this test either.
            places[at].etcd.bring_back();
            busy()[at] = false;
        }
    }
}

/// A client of a real cluster in which nothing is left of earlier tests.
pub(crate) fn cluster(server: &ApiServer) -> (Cluster, Lease) {
    let in_process = || (Cluster::from_service(server.clone(), "test"), Lease(None));
    let thread = std::thread::current();
    let test = thread.name().unwrap_or_default();
    if let Some((why, _)) = IN_PROCESS.iter().find(|(_, tests)| tests.contains(&test)) {
        println!("{test} runs against the in-process server: {why}");
        return in_process();
    }
    let Some(places) = places() else {
        return in_process();
    };
    take_turn();
    let at = {
        let mut busy = busy();
        let at = busy.iter().position(|busy| !busy);
        let at = at.unwrap_or_else(|| panic!("{test} needs a third cluster"));
        busy[at] = true;
        at
    };
    let lease = Lease(Some(at));
    let place = &places[at];
    place.etcd.bring_back();
    let deadline = Instant::now() + PATIENCE;
    while groups(&place.kubeconfig) != place.groups {
        assert!(Instant::now() < deadline, "groups of earlier tests stay");
        std::thread::yield_now();
    }
    // Nothing is asked of the server here: its connections belong to the test's runtime.
    let connected = futures::executor::block_on(Cluster::connect(&options(&place.kubeconfig)));
    (connected.expect("a usable kubeconfig"), lease)
}

fn options(kubeconfig: &std::path::Path) -> ConnectOptions {
    ConnectOptions {
        kubeconfig: Some(kubeconfig.to_owned()),
        ..ConnectOptions::default()
    }
}

/// The groups that a cluster serves, asked on a runtime of its own.
fn groups(kubeconfig: &std::path::Path) -> Vec<String> {
    let kubeconfig = kubeconfig.to_owned();
    let asked = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let cluster = Cluster::connect(&options(&kubeconfig)).await;
            let cluster = cluster.expect("a usable kubeconfig");
            let all = DiscoverOptions { all_versions: true };
            let found = cluster.discover(all).await.expect("discovery");
            let mut groups: Vec<String> = found.resources.into_iter().map(|r| r.group).collect();
            groups.sort();
            groups.dedup();
            groups
        })
    });
    asked.join().expect("no panic")
}

/// Waits for what a controller makes of a new object, where what is made next needs it.
pub(crate) async fn settled(lease: &Lease, cluster: &Cluster, object: &Value) {
    if lease.0.is_none() {
        return;
    }
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
    match object["kind"].as_str() {
        // Pods cannot be created before their account has a token.
        Some("Namespace") => has_token(cluster, text("name"), "default").await,
        Some("ServiceAccount") => has_token(cluster, text("namespace"), text("name")).await,
        Some("CustomResourceDefinition") => {
            let spec = &object["spec"];
            let (group, plural) = (&spec["group"], &spec["names"]["plural"]);
            wait_until("the definition is served", async || {
                let all = DiscoverOptions { all_versions: true };
                let found = cluster.discover(all).await.expect("discovery");
                let mut served = found.resources.iter();
                served.any(|one| *group == one.group.as_str() && *plural == one.resource.as_str())
            })
            .await;
        }
        _ => {}
    }
}

async fn has_token(cluster: &Cluster, namespace: &str, name: &str) {
    let discovery = cluster.discover(DiscoverOptions::default()).await;
    let discovery = discovery.expect("discovery");
    let accounts = discovery.resolve("serviceaccounts").expect("served");
    wait_until("the account has a token", async || {
        let found = cluster.get(accounts, Some(namespace), name).await;
        let found = found.expect("readable").unwrap_or_default();
        let account: Value = serde_json::from_slice(&found).unwrap_or_default();
        let secrets = account["secrets"].as_array().into_iter().flatten();
        let mut names = secrets.filter_map(|secret| secret["name"].as_str());
        names.any(|secret| secret.starts_with(&format!("{name}-token-")))
    })
    .await;
}

async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        tokio::task::yield_now().await;
    }
}
