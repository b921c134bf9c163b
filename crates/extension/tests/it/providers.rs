//! The worked examples of providers keep every clause of the contract; one that does not is told which.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use salvor_extension::check::{
    Report, check_application_adapter, check_common, check_volume_snapshotter,
};
use salvor_extension::provider::application::ApplicationClient;
use salvor_extension::provider::snapshotter::SnapshotterClient;
use salvor_extension::{Origin, Provider, ProviderKind, Providers};
use salvor_testkit::process::Server;
use salvor_testkit::webhook::{Reply, Webhook};
use serde_json::{Value, json};

const SNAPSHOTTER: &str = env!("CARGO_BIN_EXE_volume-snapshotter-example");
const ADAPTER: &str = env!("CARGO_BIN_EXE_application-adapter-example");

fn provider(kind: ProviderKind, transport: &str) -> Provider {
    let text = format!(
        "version: v1\nproviders:\n- name: example.com/p\n  kind: {kind}\n  timeout: 20s\n  {transport}\n"
    );
    let providers = Providers::parse(&text, Origin::File).expect("valid");
    providers
        .get(kind, "example.com/p")
        .expect("defined")
        .clone()
}

/// An example as a program and as an endpoint, both about one folder.
fn both(kind: ProviderKind, program: &str, folder: &Path) -> (Vec<Provider>, Server) {
    let exec = format!("exec: {{command: ['{program}', '{}']}}", folder.display());
    let arguments: Vec<OsString> = vec![folder.into(), "--listen".into(), "127.0.0.1:0".into()];
    let ready = |line: &str| line.strip_prefix("listening on ").map(str::to_owned);
    let (server, address) =
        Server::start(program, &arguments, &[], Duration::from_secs(60), ready).expect("it starts");
    let webhook = format!("webhook: {{url: 'http://{address}/'}}");
    (
        vec![provider(kind, &exec), provider(kind, &webhook)],
        server,
    )
}

fn volume() -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "pv"},
        "spec": {"capacity": {"storage": "1Gi"}, "claimRef": {"namespace": "shop", "name": "data"},
            "csi": {"driver": "folder.example.com", "volumeHandle": "vol-1"}}})
}

#[tokio::test]
async fn the_snapshotter_keeps_every_clause() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("volumes")).expect("made");
    std::fs::write(folder.path().join("volumes/vol-1"), "data").expect("written");
    let (both, _server) = both(ProviderKind::VolumeSnapshotter, SNAPSHOTTER, folder.path());
    for (round, provider) in both.into_iter().enumerate() {
        let mut report = Report::default();
        check_common(&provider, &mut report)
            .await
            .expect("it answers");
        let client = SnapshotterClient::new(provider);
        let token = format!("run-{round}");
        let made =
            check_volume_snapshotter(&client, Some(&volume()), "", &token, &mut report).await;
        assert!(report.conforms(), "{report}");
        assert_eq!(report.clauses.len(), 10, "{report}");
        let made = folder.path().join("volumes").join(made.expect("a volume"));
        assert_eq!(std::fs::read_to_string(made).expect("there"), "data");
    }
}

#[tokio::test]
async fn the_adapter_keeps_every_clause() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("shop")).expect("made");
    let ledger = folder.path().join("shop/books.ledger");
    std::fs::write(&ledger, "a=1\nb=2\n").expect("written");
    let objects = [json!({"apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": "books", "namespace": "shop", "labels": {"example.com/engine": "ledger"}}})];
    let (both, _server) = both(ProviderKind::ApplicationAdapter, ADAPTER, folder.path());
    for provider in both {
        let mut report = Report::default();
        check_common(&provider, &mut report)
            .await
            .expect("it answers");
        let client = ApplicationClient::new(provider);
        check_application_adapter(&client, &objects, true, &mut report).await;
        assert!(report.conforms(), "{report}");
        assert_eq!(report.clauses.len(), 12, "{report}");
        assert_eq!(
            std::fs::read_to_string(&ledger).expect("there"),
            "a=1\nb=2\n"
        );
    }
}

/// Answers with what stands in for a method; everything else well.
fn answering(method: &'static str, result: Value) -> Webhook {
    Webhook::start(move |question| {
        let given = question["method"].as_str().unwrap_or_default();
        Reply::Json(json!({"version": "v1", "result": match given {
            given if given == method => result.clone(),
            "describe" => json!({"name": "x", "versions": ["v1"],
                "kinds": ["VolumeSnapshotter", "ApplicationAdapter"]}),
            _ => json!({}),
        }}))
    })
}

#[tokio::test]
async fn a_snapshotter_may_change_nothing_but_the_source_of_a_volume() {
    let changed = |pointer: &str, value: Value| {
        let mut volume = volume();
        *volume.pointer_mut(pointer).expect("a field") = value;
        volume
    };
    let mut more = volume();
    more["spec"]["mountOptions"] = json!(["suid"]);
    for (answer, field) in [
        (
            changed("/spec/claimRef/namespace", json!("other")),
            "spec.claimRef",
        ),
        (
            changed("/spec/capacity/storage", json!("9Gi")),
            "spec.capacity",
        ),
        (changed("/metadata/name", json!("other")), "metadata"),
        (changed("/kind", json!("Secret")), "kind"),
        (more, "spec.mountOptions"),
        (json!({"kind": "PersistentVolume"}), "apiVersion"),
        (json!("text"), "the whole object"),
    ] {
        let webhook = answering("setVolumeId", json!({"persistentVolume": answer}));
        let transport = format!("webhook: {{url: '{}'}}", webhook.url());
        let client = SnapshotterClient::new(provider(ProviderKind::VolumeSnapshotter, &transport));
        let error = client
            .set_volume_id(&volume(), "vol-2")
            .await
            .expect_err("refused");
        let said = error.chain();
        assert!(
            said.ends_with(&format!(
                "its answer changes {field}, which is not its to change"
            )),
            "{said}"
        );
    }
}

#[tokio::test]
async fn an_adapter_may_not_name_what_it_was_not_shown_or_hold_for_longer() {
    let application = |id: &str, namespace: &str| json!({"id": id, "namespace": namespace, "name": "n", "engine": "e"});
    let objects = [json!({"kind": "Pod", "metadata": {"namespace": "shop", "name": "p"}})];
    for applications in [
        json!([application("1", "kube-system")]),
        json!([application("1", "shop"), application("1", "shop")]),
        json!([application("", "shop")]),
    ] {
        let webhook = answering("discover", json!({"applications": applications}));
        let transport = format!("webhook: {{url: '{}'}}", webhook.url());
        let client = ApplicationClient::new(provider(ProviderKind::ApplicationAdapter, &transport));
        client.discover(&objects).await.expect_err("refused");
        client
            .provider()
            .describe()
            .await
            .expect("it answers well otherwise");
    }
    let webhook = answering("quiesce", json!({"token": "t", "seconds": 3600}));
    let transport = format!("webhook: {{url: '{}'}}", webhook.url());
    let client = ApplicationClient::new(provider(ProviderKind::ApplicationAdapter, &transport));
    let shown = serde_json::from_value(application("1", "shop")).expect("one");
    client
        .quiesce(&shown, 10)
        .await
        .expect_err("longer than was asked for");
}

#[tokio::test]
async fn a_check_names_the_clauses_that_are_broken() {
    // It takes everything for a snapshot of its own, and knows every method and version.
    let webhook = answering("getVolumeId", json!({"volumeId": "all-mine"}));
    let transport = format!("webhook: {{url: '{}'}}", webhook.url());
    let provider = provider(ProviderKind::VolumeSnapshotter, &transport);
    let mut report = Report::default();
    check_common(&provider, &mut report)
        .await
        .expect("it answers");
    let client = SnapshotterClient::new(provider);
    check_volume_snapshotter(&client, None, "", "t", &mut report).await;
    let broken: Vec<&str> = report.broken().map(|clause| clause.clause).collect();
    assert_eq!(
        broken,
        [
            "a question of a version that it does not know is refused with Unsupported",
            "a method that it does not know is refused with Unsupported",
            "a volume of another kind is not its own",
            "a snapshot that is not there is NotFound",
        ],
        "{report}"
    );
}

#[test]
fn a_definition_that_cannot_be_used_says_why() {
    for (entry, origin, reason) in [
        (
            "{name: example.com/aws, kind: ObjectStore, exec: {command: [x]}}",
            Origin::File,
            "built-in store",
        ),
        (
            "{name: example.com/a, kind: ObjectStore, exec: {command: [x]}}",
            Origin::Cluster,
            "use a webhook",
        ),
        (
            "{name: a, kind: ObjectStore, exec: {command: [x]}}",
            Origin::File,
            "domain/name",
        ),
        (
            "{name: a/b, kind: Other, exec: {command: [x]}}",
            Origin::File,
            "cannot be read",
        ),
        (
            "{name: a/b, kind: ObjectStore, webhook: {url: 'http://far.example'}}",
            Origin::File,
            "use https",
        ),
        (
            "{name: a/b, kind: ObjectStore, webhook: {url: 'https://x', credentials: {scheme: Bearer}}}",
            Origin::File,
            "either secret or file",
        ),
        (
            "{name: a/b, kind: ObjectStore, webhook: {url: 'https://x', credentials: {scheme: Bearer, file: /etc/passwd}}}",
            Origin::Cluster,
            "name a secret",
        ),
    ] {
        let errors = Providers::parse(&format!("version: v1\nproviders: [{entry}]"), origin);
        let errors = errors.expect_err("refused").join("; ");
        assert!(errors.contains(reason), "{entry}: {errors}");
    }
    let errors = Providers::parse("version: v1", Origin::File).expect_err("empty");
    assert_eq!(errors, ["it defines neither actions nor providers"]);
}
