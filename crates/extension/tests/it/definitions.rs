//! Documents of definitions: what is refused, and which objects an action is about.

use expect_test::expect;
use salvor_api::resource::ObjectKey;
use salvor_extension::{ActionKind, Actions, Occasion, Origin, Subject};

fn errors(text: &str, origin: Origin) -> String {
    match Actions::parse(text, origin) {
        Ok(_) => "good".to_owned(),
        Err(errors) => errors.join("\n"),
    }
}

#[test]
fn definitions_that_make_no_sense_are_refused_with_every_reason() {
    let one = |rest: &str| {
        format!("version: v1\nactions:\n- name: example.com/a\n  kind: BackupItemAction\n{rest}")
    };
    let said: Vec<String> = [
        "version: v2\nactions: []".to_owned(),
        "version: v1\nactions: [{name: a}]".to_owned(),
        "version: v1\nactions: [{name: a, kind: BackupItemAction, exec: {command: ['']}, timeout: 0s, maxConcurrent: 0}]".to_owned(),
        one("  webhook: {url: 'https://x/', retries: 3}"),
        one("  webhook: {url: 'http://x/'}"),
        one("  webhook: {url: 'ftp://x/'}"),
        one("  webhook: {url: 'https://x/', caBundle: 'nonsense'}"),
        one("  webhook: {url: 'https://x/'}\n  exec: {command: [x]}"),
        one("  webhook: {url: 'https://x/'}\n  appliesTo: {includedResources: ['a**']}"),
        one("  webhook: {url: 'https://x/'}\n- name: example.com/a\n  kind: DeleteItemAction\n  webhook: {url: 'https://x/'}"),
        one("  webhook: {url: 'http://127.0.0.1:1/'}"),
    ]
    .iter()
    .map(|text| errors(text, Origin::File))
    .collect();
    expect![[r#"
        version is `v2`: write v1
        it defines neither actions nor providers
        it cannot be read: error: line 2 column 12: missing field `kind`
        action `a`: its name is not of the form domain/name
        action `a`: its command is empty
        action `a`: its timeout is not between 1ns and 10m
        action `a`: maxConcurrent is not between 1 and 64
        it cannot be read: error: line 5 column 32: unknown field `retries`, expected one of url, caBundle, credentials
        action `example.com/a`: url `http://x/` would send objects, Secrets among them, unencrypted: use https
        action `example.com/a`: url `ftp://x/` is neither https nor http
        action `example.com/a`: caBundle holds no certificate
        action `example.com/a`: it needs either webhook or exec
        action `example.com/a`: pattern `a**` is not valid: `**` is not supported, use `*`
        action `example.com/a` is defined twice
        good"#]].assert_eq(&said.join("\n"));
}

#[test]
fn a_cluster_cannot_have_programs_started() {
    let text = "version: v1\nactions: [{name: example.com/a, kind: DeleteItemAction, exec: {command: [x]}}]";
    assert_eq!(errors(text, Origin::File), "good");
    assert!(errors(text, Origin::Cluster).contains("use a webhook"));
}

#[test]
fn an_action_is_about_the_places_that_it_names() {
    let occasion = Occasion::default();
    let text = |applies: &str| {
        format!(
            "version: v1\nactions: [{{name: e.com/a, kind: BackupItemAction, appliesTo: {applies}, exec: {{command: [x]}}}}]"
        )
    };
    let pod = ObjectKey::namespaced("pods".parse().expect("a resource"), "shop", "web");
    let deploy = ObjectKey::namespaced("deployments.apps".parse().expect("a resource"), "dev", "x");
    let role = ObjectKey::cluster(
        "clusterroles.rbac.authorization.k8s.io"
            .parse()
            .expect("a resource"),
        "r",
    );
    for (applies, expected) in [
        ("{}", [true, true, true]),
        ("{includedNamespaces: [shop]}", [true, false, false]),
        ("{excludedNamespaces: ['d*']}", [true, false, false]),
        ("{includedResources: [deployments]}", [false, true, false]),
        (
            "{includedResources: [deployments.apps, pods], excludedResources: [pods]}",
            [false, true, false],
        ),
        (
            "{excludedResources: ['*.apps', pods]}",
            [false, false, true],
        ),
    ] {
        let actions = Actions::parse(&text(applies), Origin::File).expect("valid");
        let meant = [&pod, &deploy, &role].map(|key| {
            actions.may_apply(&Subject {
                kind: ActionKind::BackupItemAction,
                occasion: &occasion,
                key,
            })
        });
        assert_eq!(meant, expected, "{applies}");
        assert!(!actions.may_apply(&Subject {
            kind: ActionKind::RestoreItemAction,
            occasion: &occasion,
            key: &pod,
        }));
    }
}
