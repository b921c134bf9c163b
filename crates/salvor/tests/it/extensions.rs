//! Extensions as their users meet them: checked, asked before a deletion, and named by a location.

use salvor_testkit::webhook::{Reply, Webhook};
use serde_json::{Value, json};

use crate::support::Place;

fn definition(name: &str, text: String) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"v": text},
        "metadata": {"namespace": "velero", "name": name, "labels": {"salvor.dev/extension": "v1"}}})
}

#[test]
fn a_direct_deletion_asks_the_actions_that_the_cluster_defines() {
    let webhook = Webhook::start(|question| {
        let keep = question["item"]["name"] == "web";
        Reply::Json(match keep {
            true => json!({"version": "v1", "error": "kept for the audit"}),
            false => json!({"version": "v1"}),
        })
    });
    let place = Place::with_cluster();
    place
        .run("backup create first --include-namespaces shop")
        .expect(0);
    let velero = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "velero"}});
    let text = format!(
        "version: v1\nactions: [{{name: example.com/keep, kind: DeleteItemAction, webhook: {{url: '{}'}}}}]",
        webhook.url()
    );
    place.apply(&[velero, definition("keep", text)]);
    let refused = place.run("backup delete first --yes");
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(
        refused.err.contains("kept for the audit"),
        "{}",
        refused.err
    );
    place.run("backup verify first").expect(0);

    place.delete("configmap", Some("velero"), "keep");
    place.apply(&[definition(
        "broken",
        "version: v1\nactions: [{}]".to_owned(),
    )]);
    let refused = place.run("backup delete first --yes");
    assert_eq!(refused.code, 4, "{}", refused.err);
    assert!(refused.err.contains("configmap broken"), "{}", refused.err);

    place.delete("configmap", Some("velero"), "broken");
    place.run("backup delete first --yes").expect(0);
}

#[test]
fn a_lost_cluster_does_not_stand_in_the_way_of_a_deletion() {
    let place = Place::with_cluster();
    place
        .run("backup create first --include-namespaces shop")
        .expect(0);
    // Nobody listens there.
    let lost = std::fs::read_to_string(place.kubeconfig()).expect("a kubeconfig");
    let port = lost
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split(['\n', '"', '\'']).next());
    let lost = lost.replace(port.expect("a port"), "9");
    std::fs::write(place.kubeconfig(), lost).expect("written");
    let deleted = place.run("backup delete first --yes");
    deleted.expect(0);
    assert!(deleted.err.contains("are not asked"), "{}", deleted.err);
}

#[test]
fn a_check_says_clause_by_clause_what_is_broken() {
    let place = Place::new();
    // It answers everything in the same way.
    let webhook = Webhook::start(|_| {
        let about = json!({"name": "yes-man", "versions": ["v1"], "kinds": ["ObjectStore"],
            "key": "always-the-same", "size": 1});
        Reply::Json(json!({"version": "v1", "result": about}))
    });
    let run = place.run(&format!("extension check {}", webhook.url()));
    let out = run.expect(1);
    assert!(
        out.starts_with("ObjectStore\nkept     it says what it is"),
        "{out}"
    );
    for broken in [
        "a question of a version that it does not know is refused with Unsupported",
        "what was written is read, also when it is empty or large",
        "writing again replaces, create-only refuses with AlreadyExists",
    ] {
        assert!(
            out.contains(&format!("BROKEN   {broken}")),
            "{broken}: {out}"
        );
    }
    let unreachable = place.run("extension check http://127.0.0.1:9/");
    assert_eq!(unreachable.code, 3, "{}", unreachable.err);
    let without = place.run("extension check --kind BackupItemAction http://127.0.0.1:9/");
    assert_eq!(without.code, 2, "{}", without.err);
    assert!(without.err.contains("--objects"), "{}", without.err);
}

#[test]
fn a_location_of_an_extension_names_its_definition() {
    let place = Place::new();
    let run = place.run("--location extension://b backup get");
    assert_eq!(run.code, 2, "{}", run.err);
    assert!(run.err.contains("definition=FILE"), "{}", run.err);
    let file = place.home.path().join("store.yaml");
    let text = "version: v1\nproviders: [{name: example.com/s, kind: ObjectStore, exec: {command: [/no/such/program]}}]";
    std::fs::write(&file, text).expect("written");
    let url = format!("extension://b?definition={}", file.display());
    let run = place.salvor(&["--location", &url, "backup", "get"]);
    assert_ne!(run.code, 0);
    assert!(run.err.contains("/no/such/program"), "{}", run.err);
}
