//! What every action must do, shown on the worked example, as a program and as an endpoint.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use salvor_api::resource::ObjectKey;
use salvor_extension::{ActionKind, Actions, Occasion, Origin, Outcome, Subject};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const EXAMPLE: &str = env!("CARGO_BIN_EXE_item-action-example");
const KINDS: [ActionKind; 3] = [
    ActionKind::BackupItemAction,
    ActionKind::RestoreItemAction,
    ActionKind::DeleteItemAction,
];

/// The three actions of the example, reached by `transport`, a line of YAML.
fn actions(transport: &str) -> Actions {
    let mut text = "version: v1\nactions:\n".to_owned();
    for kind in KINDS {
        text.push_str(&format!(
            "- name: example.com/{}\n  kind: {}\n  appliesTo: {{includedResources: [secrets]}}\n  {transport}\n",
            kind.as_str().to_lowercase(),
            kind.as_str()
        ));
    }
    Actions::parse(&text, Origin::File).expect("valid")
}

fn secret(annotations: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "s", "namespace": "shop", "annotations": annotations},
        "data": {"password": "aHVudGVyMg=="}})
}

async fn ask(actions: &Actions, kind: ActionKind, object: &Value) -> Result<Outcome, String> {
    let occasion = Occasion {
        backup: "b".to_owned(),
        restore: (kind == ActionKind::RestoreItemAction).then(|| "r".to_owned()),
    };
    let subject = Subject {
        kind,
        occasion: &occasion,
        key: &ObjectKey::namespaced("secrets".parse().expect("a resource"), "shop", "s"),
    };
    let backed_up = (kind == ActionKind::RestoreItemAction).then_some(object);
    let cancel = CancellationToken::new();
    let asked = actions.ask(&subject, object.clone(), backed_up, &cancel);
    asked.await.map_err(|failed| failed.chain())
}

/// The contract, point by point.
async fn conforms(actions: &Actions) {
    use ActionKind::{BackupItemAction, DeleteItemAction, RestoreItemAction};
    let plain = secret(json!({}));
    for kind in [BackupItemAction, DeleteItemAction] {
        let outcome = ask(actions, kind, &plain).await.expect("an answer");
        assert_eq!(outcome.object, plain, "{kind:?}: nothing asks for a change");
        assert_eq!((outcome.skip, outcome.additional), (None, Vec::new()));
    }
    let masked = secret(json!({"example.com/mask": "yes", "example.com/with": "settings"}));
    let outcome = ask(actions, BackupItemAction, &masked)
        .await
        .expect("an answer");
    assert_eq!(outcome.object["data"]["password"], "bWFza2Vk");
    let with: Vec<String> = outcome.additional.iter().map(ToString::to_string).collect();
    assert_eq!(with, ["configmaps shop/settings"]);
    let again = ask(actions, BackupItemAction, &masked)
        .await
        .expect("an answer");
    assert_eq!(again, outcome, "the same question gets the same answer");
    let private = secret(json!({"example.com/mask": "never-back-up"}));
    let outcome = ask(actions, BackupItemAction, &private)
        .await
        .expect("an answer");
    let reason = outcome.skip.expect("it is left out");
    assert!(reason.ends_with("its owner does not want it"), "{reason}");
    let outcome = ask(actions, RestoreItemAction, &plain)
        .await
        .expect("an answer");
    let annotations = &outcome.object["metadata"]["annotations"];
    assert_eq!(annotations["example.com/restored-from"], "b");
    let kept = secret(json!({"example.com/keep": "yes"}));
    let error = ask(actions, DeleteItemAction, &kept)
        .await
        .expect_err("it refuses");
    assert!(
        error.ends_with("its owner wants every backup of it kept"),
        "{error}"
    );
}

#[tokio::test]
async fn the_example_conforms_as_a_program() {
    conforms(&actions(&format!("exec: {{command: ['{EXAMPLE}']}}"))).await;
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_example_conforms_as_an_endpoint() {
    let child = Command::new(EXAMPLE)
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it was built");
    let mut child = Ended(child);
    let mut line = String::new();
    let stdout = child.0.stdout.take().expect("piped");
    BufReader::new(stdout)
        .read_line(&mut line)
        .expect("it says where it listens");
    let address = line
        .trim()
        .rsplit(' ')
        .next()
        .expect("an address")
        .to_owned();
    conforms(&actions(&format!("webhook: {{url: 'http://{address}/'}}"))).await;
}
