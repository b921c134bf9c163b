//! A killed restore goes on where it was.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use salvor_api::resource::ObjectKey;
use salvor_cluster::{ApiResource, DeleteOptions};
use salvor_objects::diff::comparison::Snapshot;
use serde_json::Value;

use super::{Stage, context, outlive_claim, points, seed, violations};
use crate::comparison::{contents, differences, remove};
use crate::counted::{Measure, run};
use crate::fixture::{Fixture, discover};

/// For controllers that make what belongs to restored objects.
const PATIENCE: Duration = Duration::from_secs(60);

/// The state that a restore is to end in: objects of its namespace, as if it had a common name, and those of
/// the fixture that are in none.
fn end_state(of: &Snapshot, fixture: &Fixture, namespace: &str) -> BTreeMap<ObjectKey, Value> {
    let mut state = BTreeMap::new();
    for (key, object) in contents(of, &fixture.group) {
        let is_of_namespace = key.namespace.as_deref() == Some(namespace)
            || key.resource.resource == "namespaces" && key.name == namespace;
        let is_wide = key.namespace.is_none()
            && (key.name == fixture.wide || key.resource.group == fixture.group);
        if !is_of_namespace && !is_wide {
            continue;
        }
        let plain = |text: String| text.replace(namespace, "restored");
        let (mut key, mut object) = (key, object);
        if key.resource.resource == "secrets" {
            // The name of the namespace, encoded, beside a token.
            remove(&mut object, &["data", "namespace"]);
        }
        if key.resource.resource == "services" {
            // Allocated anew, because the original with its ports stands beside its copies.
            remove(&mut object, &["spec", "ports", "[]", "nodePort"]);
            remove(&mut object, &["spec", "healthCheckNodePort"]);
        }
        key.name = plain(key.name);
        key.namespace = key.namespace.map(plain);
        let object = serde_json::from_str(&plain(object.to_string())).expect("still JSON");
        state.insert(key, object);
    }
    state
}

impl Stage {
    /// Removes what a restore into a new namespace makes outside of it, and waits until it is gone.
    async fn remove_wide(&self, resources: &[(ApiResource, String)]) {
        for (resource, name) in resources {
            let options = DeleteOptions::default();
            let removed = self
                .real
                .cluster
                .delete(resource, None, name, &options)
                .await;
            removed.expect("removable");
        }
        for (resource, name) in resources {
            let patience = crate::clusters::patience();
            let gone = self.real.cluster.wait_gone(resource, None, name, &patience);
            gone.await.expect("gone");
        }
    }

    async fn remove_namespace(&self, name: &str) {
        let options = DeleteOptions::default();
        let resource = ApiResource::namespaces();
        let removed = self
            .real
            .cluster
            .delete(&resource, None, name, &options)
            .await;
        removed.expect("removable");
    }

    fn restore(&self, name: &str) -> String {
        // Volumes belong to the claims of the original, which stands beside its copies.
        format!(
            "restore create {name} --from-backup b --relink-owners --include-namespaces {shop} --namespace-mappings {shop}:{name} \
             --include-cluster-resources=true --exclude-resources persistentvolumes,persistentvolumeclaims --yes",
            shop = self.fixture.shop
        )
    }

    /// The end state of a restore, once it is the expected one or controllers have had their time.
    async fn reaches(&self, expected: &BTreeMap<ObjectKey, Value>, namespace: &str, context: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = Snapshot::read(&self.real.cluster).await.expect("readable");
            let found = differences(expected, &end_state(&now, &self.fixture, namespace));
            if found.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{context}: {found:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_restore_is_resumed_to_the_end_state_of_one_that_was_not() {
    let Some(stage) = Stage::set("restorekill").await else {
        return;
    };
    let files = stage.files();
    stage.run(&stage.backup("b")).expect(0);
    let discovery = discover(&stage.real.cluster).await;
    let mut wide = Vec::new();
    for (version, kind, name) in stage.fixture.outside_namespaces() {
        let resource = discovery.find_kind(&version, &kind).expect("built in");
        let is_kept =
            ["Namespace", "CustomResourceDefinition", "PersistentVolume"].contains(&kind.as_str());
        if !is_kept {
            wide.push((resource.clone(), name));
        }
    }

    let mut counts = Vec::new();
    let mut expected = BTreeMap::new();
    for (name, measure) in [
        ("by-requests", Measure::Requests(&stage.api)),
        ("by-writes", Measure::Writes(&stage.api)),
        ("by-files", Measure::Files(&files)),
    ] {
        stage.remove_wide(&wide).await;
        let ended = run(
            stage.counted(&stage.location(), &stage.restore(name)),
            measure,
            None,
        );
        ended.run.expect(0);
        assert!(!ended.run.err.contains("warning"), "{}", ended.run.err);
        counts.push(ended.counted);
        let settled = stage.real.settled().await;
        let state = end_state(&settled, &stage.fixture, name);
        if expected.is_empty() {
            expected = state;
        } else {
            assert_eq!(differences(&expected, &state), Vec::<String>::new());
        }
        stage.remove_namespace(name).await;
    }
    assert!(expected.len() > 60, "{}", expected.len());

    let mut killed = 0;
    let mut resumed = 0;
    let [requests, writes, made] = counts[..] else {
        panic!("three runs were counted")
    };
    // A plan reads much and changes nothing: most points are where something is changed.
    let points = [
        (points(requests, 4, seed()), Measure::Requests(&stage.api)),
        (points(writes, 9, seed() + 1), Measure::Writes(&stage.api)),
        (points(made, 7, seed() + 2), Measure::Files(&files)),
    ];
    let points = points
        .into_iter()
        .flat_map(|(points, measure)| points.into_iter().map(move |point| (measure, point)));
    for (number, (measure, point)) in points.enumerate() {
        let name = format!("killed-{number:02}");
        stage.remove_wide(&wide).await;
        let ended = run(
            stage.counted(&stage.location(), &stage.restore(&name)),
            measure,
            Some(point),
        );
        let context = context(&name, point, &ended);
        killed += usize::from(ended.killed);
        let claimed = outlive_claim(&files, "restore", &name);
        let listed = stage.run(&format!("restore get {name} -o json"));
        if listed.code == 3 {
            // It had written nothing: neither to the location nor to the cluster.
            let again = stage.run(&stage.restore(&name));
            assert_eq!(again.code, 0, "{context}: {}{}", again.out, again.err);
        } else {
            let resume = stage.run(&format!("restore create {name} --resume"));
            let is_done = listed.out.contains("\"Completed\"");
            if is_done {
                assert_eq!(resume.code, 4, "{context}: {}{}", resume.out, resume.err);
            } else {
                assert!(claimed, "{context}: {}", listed.out);
                assert_eq!(resume.code, 0, "{context}: {}{}", resume.out, resume.err);
                assert!(!resume.err.contains("warning"), "{context}: {}", resume.err);
                resumed += 1;
            }
        }
        let finished = stage.run(&format!("restore get {name} -o json"));
        assert!(
            finished.out.contains("\"Completed\""),
            "{context}: {}",
            finished.out
        );
        stage.reaches(&expected, &name, &context).await;
        stage.remove_namespace(&name).await;
    }
    assert!(
        killed >= 16 && resumed >= 10,
        "{killed} killed, {resumed} resumed"
    );
    assert_eq!(violations(&files), Vec::<String>::new());
    stage.real.remove(&stage.fixture).await;
}
