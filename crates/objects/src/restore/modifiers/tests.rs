use expect_test::{Expect, expect};
use serde_json::json;

use super::*;

fn key(resource: &str, namespace: &str, name: &str) -> ObjectKey {
    ObjectKey::namespaced(resource.parse().expect("a resource"), namespace, name)
}

fn check(rules: &str, key: &ObjectKey, mut object: Value, expected: Expect) {
    let document = format!("version: v1\nresourceModifierRules:\n{rules}");
    let modifiers = Modifiers::parse(&document).expect("valid rules");
    let mut problems = Vec::new();
    modifiers.apply(key, &mut object, &mut problems);
    expected.assert_eq(&format!("{object}\n{}", problems.join("\n")));

    let stored = serde_json::to_string(&modifiers).expect("plain data");
    let read: Modifiers = serde_json::from_str(&stored).expect("what was written");
    assert_eq!(read, modifiers, "a stored plan holds the same rules");
}

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [
            {"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]}]}}}})
}

#[test]
fn json_patches_type_their_values() {
    check(
        r#"
- conditions: {groupResource: deployments.apps, namespaces: [prod], resourceNameRegex: "^w.b$"}
  patches:
  - {operation: replace, path: /spec/replicas, value: "2"}
  - {operation: add, path: /metadata/labels/rev, value: '"2"'}
  - {operation: remove, path: /spec/template}
"#,
        &key("deployments.apps", "prod", "web"),
        deployment(),
        expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web","rev":"2"}},"spec":{"replicas":2}}
        "#]],
    );
}

#[test]
fn a_failing_test_operation_leaves_the_object_alone_without_a_word() {
    check(
        r#"
- conditions: {groupResource: deployments.apps}
  patches:
  - {operation: replace, path: /spec/replicas, value: "9"}
  - {operation: test, path: /spec/replicas, value: "4"}
"#,
        &key("deployments.apps", "prod", "web"),
        json!({"spec": {"replicas": 3}}),
        expect![[r#"
            {"spec":{"replicas":3}}
        "#]],
    );
}

#[test]
fn a_patch_that_fails_is_reported_and_later_rules_still_apply() {
    check(
        r#"
- conditions: {groupResource: "*"}
  patches: [{operation: remove, path: /spec/missing}]
- conditions: {groupResource: "deploy*"}
  mergePatches: [{patchData: '{"spec": {"paused": true, "replicas": null}}'}]
"#,
        &key("deployments.apps", "prod", "web"),
        json!({"spec": {"replicas": 3}}),
        expect![[r#"
            {"spec":{"paused":true}}
            resource modifier rule 1: operation 1 at `/spec/missing`: path is invalid"#]],
    );
}

#[test]
fn conditions_look_at_the_object_before_any_rule() {
    check(
        r#"
- conditions: {groupResource: configmaps, matches: [{path: /data/a, value: x}]}
  patches: [{operation: replace, path: /data/a, value: y}]
- conditions: {groupResource: configmaps, matches: [{path: /data/a, value: x}], labelSelector: {matchLabels: {app: web}}}
  patches: [{operation: add, path: /data/b, value: z}]
- conditions: {groupResource: configmaps, matches: [{path: /data/a, value: y}]}
  patches: [{operation: add, path: /data/c, value: never}]
- conditions: {groupResource: configmaps, namespaces: [other]}
  patches: [{operation: add, path: /data/d, value: never}]
"#,
        &key("configmaps", "prod", "a"),
        json!({"metadata": {"labels": {"app": "web"}}, "data": {"a": "x"}}),
        expect![[r#"
            {"metadata":{"labels":{"app":"web"}},"data":{"a":"y","b":"z"}}
        "#]],
    );
}

#[test]
fn strategic_patches_merge_named_lists_and_obey_directives() {
    check(
        r#"
- conditions: {groupResource: deployments.apps}
  strategicPatches:
  - patchData: |
      spec:
        template:
          spec:
            containers:
            - name: web
              image: web:2
              ports: [{containerPort: 80, name: http}, {containerPort: 443}]
            - name: sidecar
              image: proxy:1
"#,
        &key("deployments.apps", "prod", "web"),
        deployment(),
        expect![[r#"
            {"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web","labels":{"app":"web"}},"spec":{"replicas":3,"template":{"spec":{"containers":[{"name":"web","image":"web:2","ports":[{"containerPort":80,"name":"http"},{"containerPort":443}]},{"name":"sidecar","image":"proxy:1"}]}}}}
        "#]],
    );
    check(
        r#"
- conditions: {groupResource: pods}
  strategicPatches:
  - patchData: '{"metadata":{"finalizers":["b"],"$deleteFromPrimitiveList/finalizers":["a"]},"spec":{"containers":[{"$patch":"delete","name":"x"}],"tolerations":[{"key":"new"}]}}'
"#,
        &key("pods", "prod", "p"),
        json!({"metadata": {"finalizers": ["a"]},
            "spec": {"containers": [{"name": "x"}, {"name": "y"}], "tolerations": [{"key": "old"}]}}),
        expect![[r#"
            {"metadata":{"finalizers":["b"]},"spec":{"containers":[{"name":"y"}],"tolerations":[{"key":"new"}]}}
        "#]],
    );
}

#[test]
fn strategic_patches_of_custom_resources_are_refused_with_the_way_out() {
    check(
        r#"
- conditions: {groupResource: widgets.example.io}
  strategicPatches: [{patchData: '{"spec": {"a": 1}}'}]
"#,
        &key("widgets.example.io", "prod", "w"),
        json!({"spec": {}}),
        expect![[r#"
            {"spec":{}}
            resource modifier rule 1: a strategic merge patch needs a built-in kind, widgets.example.io is a custom resource: use mergePatches"#]],
    );
}

#[test]
fn documents_that_would_do_something_else_are_refused() {
    for (document, part) in [
        ("version: v2", "v2"),
        ("version: v1\nresourceModifierRule: []", "parse"),
        (
            "version: v1\nresourceModifierRules:\n- conditions: {groupResource: pods, nameRegex: x}\n  patches: []",
            "parse",
        ),
        (
            "version: v1\nresourceModifierRules:\n- conditions: {groupResource: pods}",
            "rule 1: exactly one of",
        ),
        (
            "version: v1\nresourceModifierRules:\n- conditions: {groupResource: pods}\n  patches: [{operation: increase, path: /a}]",
            "increase",
        ),
        (
            "version: v1\nresourceModifierRules:\n- conditions: {groupResource: pods}\n  patches: [{operation: remove, path: a}]",
            "must start with `/`",
        ),
        (
            "version: v1\nresourceModifierRules:\n- conditions: {groupResource: pods, resourceNameRegex: '('}\n  patches: [{operation: remove, path: /a}]",
            "resourceNameRegex",
        ),
        (
            "version: v1\nresourceModifierRules:\n- conditions: {groupResource: pods}\n  mergePatches: [{patchData: '[1]'}]",
            "must be an object",
        ),
    ] {
        let error = Modifiers::parse(document).expect_err(document).to_string();
        assert!(error.contains(part), "{document}: {error}");
    }
}
