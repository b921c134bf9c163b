use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::restore::rules::VolumeFate;

fn rules() -> Rules {
    Rules {
        namespaces: [("prod".to_owned(), "copy".to_owned())].into(),
        storage_classes: [
            ("slow".to_owned(), "fast".to_owned()),
            ("old".to_owned(), "missing".to_owned()),
        ]
        .into(),
        known_storage_classes: ["fast".to_owned()].into(),
        image_names: vec![("docker.io/".into(), "mirror.local/".into())],
        volumes: [
            ("kept".to_owned(), VolumeFate::AsItIs),
            ("gone".to_owned(), VolumeFate::Provisioned),
            ("saved".to_owned(), VolumeFate::DataElsewhere),
        ]
        .into(),
        ..Rules::default()
    }
}

fn check_with(rules: &Rules, resource: &str, name: &str, object: Value, expected: Expect) {
    let key = ObjectKey::namespaced(resource.parse().expect("a resource"), "prod", name);
    let mut body = object.clone();
    let mut notes = Vec::new();
    let result = run(
        &mut Item {
            key: &key,
            backed_up: &object,
            body: &mut body,
            notes: &mut notes,
        },
        rules,
    );
    let shown = match result {
        Err(skip) => format!("skip: {skip}"),
        Ok(()) if notes.is_empty() => body.to_string(),
        Ok(()) => format!("{body}\n{}", notes.join("\n")),
    };
    expected.assert_eq(&shown);
}

fn check(resource: &str, name: &str, object: Value, expected: Expect) {
    check_with(&rules(), resource, name, object, expected);
}

#[test]
fn actions_stand_in_name_order() {
    assert!(ACTIONS.is_sorted_by_key(|action| action.name));
}

#[test]
fn a_pod_loses_node_priority_and_token_volumes() {
    check(
        "pods",
        "web",
        json!({"kind": "Pod", "spec": {"serviceAccountName": "web", "nodeName": "n1", "priority": 5,
            "priorityClassName": "high", "ephemeralContainers": [{"name": "debug"}],
            "volumes": [{"name": "web-token-abcde"}, {"name": "kube-api-access-x"}, {"name": "data"}],
            "containers": [{"name": "c", "image": "docker.io/web:1", "volumeMounts": [{"name": "data"}, {"name": "web-token-abcde"}]}],
            "initContainers": [{"name": "i", "image": "quay.io/i", "volumeMounts": [{"name": "kube-api-access-x"}]}]}}),
        expect![[r#"
            {"kind":"Pod","spec":{"serviceAccountName":"web","priorityClassName":"high","volumes":[{"name":"data"}],"containers":[{"name":"c","image":"mirror.local/web:1","volumeMounts":[{"name":"data"}]}],"initContainers":[{"name":"i","image":"quay.io/i"}]}}
            ephemeral containers are not restored: a pod cannot be created with them"#]],
    );
}

#[test]
fn a_pod_gets_the_init_containers_that_it_asks_for_after_the_one_that_waits_for_data() {
    let pod = |containers: serde_json::Value| {
        json!({"kind": "Pod", "metadata": {"annotations": {
            "init.hook.restore.velero.io/container-name": "sync",
            "init.hook.restore.velero.io/container-image": "busybox",
            "init.hook.restore.velero.io/command": "[\"sync\", \"-f\"]"}},
            "spec": {"initContainers": containers}})
    };
    let names = |containers: serde_json::Value| {
        let mut body = pod(containers);
        let key = ObjectKey::namespaced("pods".parse().expect("a resource"), "prod", "web");
        let backed_up = body.clone();
        let mut item = Item {
            key: &key,
            backed_up: &backed_up,
            body: &mut body,
            notes: &mut Vec::new(),
        };
        run(&mut item, &rules()).expect("restorable");
        let added = &body["spec"]["initContainers"];
        let names = added.as_array().expect("a list").iter();
        let names: Vec<String> = names
            .map(|c| c["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.join(" ")
    };
    for (containers, expected) in [
        (json!([]), "sync"),
        (json!([{"name": "first"}]), "sync first"),
        (
            json!([{"name": "restore-wait"}, {"name": "first"}]),
            "sync first",
        ),
        // It was restored with the hook before.
        (
            json!([{"name": "sync", "image": "old"}, {"name": "first"}]),
            "sync first",
        ),
    ] {
        assert_eq!(names(containers), expected);
    }
}

#[test]
fn a_job_loses_generated_labels_and_selector_unless_its_user_manages_it() {
    let job = |manual: bool| {
        json!({"kind": "Job", "metadata": {"labels": {"controller-uid": "u"}},
            "spec": {"manualSelector": manual, "selector": {"matchLabels": {"app": "x"}},
            "template": {"metadata": {"labels": {"app": "x", "controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "j"}}}}})
    };
    check(
        "jobs.batch",
        "j",
        job(false),
        expect![[
            r#"{"kind":"Job","metadata":{},"spec":{"manualSelector":false,"template":{"metadata":{"labels":{"app":"x","job-name":"j"}}}}}"#
        ]],
    );
    check(
        "jobs.batch",
        "j",
        job(true),
        expect![[
            r#"{"kind":"Job","metadata":{},"spec":{"manualSelector":true,"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x","job-name":"j"}}}}}"#
        ]],
    );
}

#[test]
fn a_service_keeps_only_the_addresses_that_a_user_chose() {
    let ports = json!([
        {"name": "a", "port": 80, "protocol": "TCP", "nodePort": 30080},
        {"name": "b", "port": 81, "nodePort": 30081},
        {"name": "c", "port": 82, "nodePort": 30082}]);
    let service = json!({
        "metadata": {
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration":
                "{\"spec\":{\"ports\":[{\"port\":80,\"nodePort\":30080},{\"port\":82}]}}"},
            "managedFields": [{"fieldsV1": {"f:spec": {"f:ports": {
                "k:{\"port\":81,\"protocol\":\"TCP\"}": {"f:nodePort": {}}, "k:{\"port\":82,\"protocol\":\"TCP\"}": {"f:port": {}}}}}}]},
        "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "healthCheckNodePort": 31000, "ports": ports}});
    let key = ["metadata"];
    let shown = |rules: &Rules, expected: Expect| {
        let mut object = service.clone();
        crate::restore::body::remove_at(&mut object, &key);
        let item_key = ObjectKey::namespaced("services".parse().expect("a resource"), "prod", "s");
        let mut notes = Vec::new();
        let mut item = Item {
            key: &item_key,
            backed_up: &service,
            body: &mut object,
            notes: &mut notes,
        };
        run(&mut item, rules).expect("restored");
        expected.assert_eq(&object.to_string());
    };
    shown(
        &rules(),
        expect![[
            r#"{"spec":{"type":"LoadBalancer","ports":[{"name":"a","port":80,"protocol":"TCP","nodePort":30080},{"name":"b","port":81,"nodePort":30081},{"name":"c","port":82}]}}"#
        ]],
    );
    let preserving = Rules {
        preserve_node_ports: true,
        ..rules()
    };
    shown(
        &preserving,
        expect![[
            r#"{"spec":{"type":"LoadBalancer","healthCheckNodePort":31000,"ports":[{"name":"a","port":80,"protocol":"TCP","nodePort":30080},{"name":"b","port":81,"nodePort":30081},{"name":"c","port":82,"nodePort":30082}]}}"#
        ]],
    );
    check(
        "services",
        "headless",
        json!({"spec": {"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 80}]}}),
        expect![[r#"{"spec":{"clusterIP":"None","clusterIPs":["None"],"ports":[{"port":80}]}}"#]],
    );
}

#[test]
fn service_accounts_and_secrets_lose_generated_tokens() {
    check(
        "serviceaccounts",
        "web",
        json!({"metadata": {"name": "web"}, "secrets": [{"name": "web-token-abcde"}, {"name": "mine"}]}),
        expect![[r#"{"metadata":{"name":"web"},"secrets":[{"name":"mine"}]}"#]],
    );
    let token = |annotations: Value| {
        json!({"type": "kubernetes.io/service-account-token", "metadata": {"annotations": annotations},
            "data": {"token": "eA==", "ca.crt": "eA==", "namespace": "eA==", "extra": "eA=="}})
    };
    let annotations = json!({"kubernetes.io/service-account.name": "web", "kubernetes.io/service-account.uid": "u"});
    check(
        "secrets",
        "web-token-abcde",
        token(annotations.clone()),
        expect!["skip: the token of a service account is generated for each incarnation"],
    );
    check(
        "secrets",
        "ci-credentials",
        token(annotations),
        expect![[
            r#"{"type":"kubernetes.io/service-account-token","metadata":{"annotations":{"kubernetes.io/service-account.name":"web"}},"data":{"extra":"eA=="}}"#
        ]],
    );
    check(
        "secrets",
        "password",
        json!({"type": "Opaque", "data": {"token": "eA=="}}),
        expect![[r#"{"type":"Opaque","data":{"token":"eA=="}}"#]],
    );
}

#[test]
fn bindings_follow_the_namespace_mapping() {
    let subjects = json!({"subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "prod"},
        {"kind": "ServiceAccount", "name": "a", "namespace": "other"}, {"kind": "User", "name": "u"}]});
    for resource in [
        "rolebindings.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
    ] {
        check(
            resource,
            "b",
            subjects.clone(),
            expect![[
                r#"{"subjects":[{"kind":"ServiceAccount","name":"a","namespace":"copy"},{"kind":"ServiceAccount","name":"a","namespace":"other"},{"kind":"User","name":"u"}]}"#
            ]],
        );
    }
}

#[test]
fn volumes_without_data_come_back_as_they_are_or_not_at_all() {
    let volume = json!({"metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
        "spec": {"storageClassName": "slow", "claimRef": {"namespace": "prod", "name": "data", "uid": "u", "resourceVersion": "1"}}});
    check(
        "persistentvolumes",
        "kept",
        volume.clone(),
        expect![[
            r#"{"metadata":{},"spec":{"storageClassName":"fast","claimRef":{"namespace":"copy","name":"data"}}}"#
        ]],
    );
    check(
        "persistentvolumes",
        "gone",
        volume.clone(),
        expect![
            "skip: no data of it is in the backup and its reclaim policy is Delete: the claim gets a new, empty volume"
        ],
    );
    check(
        "persistentvolumes",
        "saved",
        volume,
        expect!["skip: its data is in the backup in a form that this version does not restore"],
    );
}

#[test]
fn a_claim_goes_to_the_node_that_a_users_map_names() {
    let mapped = Rules {
        nodes: [("n1".to_owned(), "n9".to_owned())].into(),
        ..rules()
    };
    for (node, expected) in [
        (
            "n1",
            expect![[
                r#"{"metadata":{"annotations":{"volume.kubernetes.io/selected-node":"n9"}},"spec":{}}"#
            ]],
        ),
        ("n2", expect![[r#"{"metadata":{},"spec":{}}"#]]),
    ] {
        let claim = json!({"metadata": {"annotations": {"volume.kubernetes.io/selected-node": node}}, "spec": {}});
        check_with(&mapped, "persistentvolumeclaims", "data", claim, expected);
    }
}

#[test]
fn claims_are_bound_and_placed_anew() {
    let claim = |volume: &str, class: &str| {
        json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
            "volume.kubernetes.io/selected-node": "n1", "volume.beta.kubernetes.io/storage-provisioner": "p", "mine": "x"}},
            "spec": {"volumeName": volume, "storageClassName": class}})
    };
    check(
        "persistentvolumeclaims",
        "data",
        claim("kept", "slow"),
        expect![[
            r#"{"metadata":{"annotations":{"mine":"x"}},"spec":{"volumeName":"kept","storageClassName":"fast"}}"#
        ]],
    );
    check(
        "persistentvolumeclaims",
        "data",
        claim("gone", "fast"),
        expect![[
            r#"{"metadata":{"annotations":{"mine":"x"}},"spec":{"storageClassName":"fast"}}"#
        ]],
    );
    check(
        "persistentvolumeclaims",
        "data",
        claim("saved", "fast"),
        expect![[
            r#"{"metadata":{"annotations":{"mine":"x"}},"spec":{"storageClassName":"fast"}}"#
        ]],
    );
    check(
        "persistentvolumeclaims",
        "data",
        claim("gone", "old"),
        expect![
            "skip: storage class old is mapped to missing, which the target does not have: create it or change the mapping"
        ],
    );
}

#[test]
fn claim_templates_and_cron_jobs_are_reached_too() {
    check(
        "statefulsets.apps",
        "db",
        json!({"kind": "StatefulSet", "spec": {"template": {"spec": {"containers": [{"image": "docker.io/db"}]}},
            "volumeClaimTemplates": [{"spec": {"storageClassName": "slow"}}]}}),
        expect![[
            r#"{"kind":"StatefulSet","spec":{"template":{"spec":{"containers":[{"image":"mirror.local/db"}]}},"volumeClaimTemplates":[{"spec":{"storageClassName":"fast"}}]}}"#
        ]],
    );
    check(
        "cronjobs.batch",
        "c",
        json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {"containers": [{"image": "docker.io/c"}]}}}}}}),
        expect![[
            r#"{"kind":"CronJob","spec":{"jobTemplate":{"spec":{"template":{"spec":{"containers":[{"image":"mirror.local/c"}]}}}}}}"#
        ]],
    );
}

#[test]
fn api_registrations_are_made_valid_or_left_to_the_server() {
    check(
        "apiservices.apiregistration.k8s.io",
        "v1.apps",
        json!({"metadata": {"labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}}}),
        expect!["skip: the API server registers it itself"],
    );
    check(
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        "w",
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "webhooks": [{"sideEffects": "Some"}, {"sideEffects": "NoneOnDryRun"}, {}]}),
        expect![[
            r#"{"apiVersion":"admissionregistration.k8s.io/v1","webhooks":[{"sideEffects":"None"},{"sideEffects":"NoneOnDryRun"},{"sideEffects":"None"}]}"#
        ]],
    );
    check(
        "customresourcedefinitions.apiextensions.k8s.io",
        "w.example.io",
        json!({"apiVersion": "apiextensions.k8s.io/v1", "spec": {"preserveUnknownFields": true,
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": {"type": "object"}}}, {"name": "v2"}]}}),
        expect![[
            r#"{"apiVersion":"apiextensions.k8s.io/v1","spec":{"preserveUnknownFields":false,"versions":[{"name":"v1","schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}},{"name":"v2","schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}"#
        ]],
    );
}
