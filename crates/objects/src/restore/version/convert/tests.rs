use expect_test::{Expect, expect};

use super::*;

fn check(resource: &str, mut object: Value, expected: Expect) {
    let resource: GroupResource = resource.parse().expect("a resource");
    let version = GroupVersion::parse(body::text_at(&object, &["apiVersion"]));
    let conversion = table()
        .iter()
        .find(|conversion| conversion.accepts(&resource, &version))
        .expect("a removed version");
    let result = conversion.convert(&mut object);
    expected.assert_eq(&format!(
        "{} {object} {result:?}",
        conversion.target_resource()
    ));
}

#[test]
fn ingresses_name_their_backends_anew() {
    check(
        "ingresses.extensions",
        json!({"apiVersion": "extensions/v1beta1", "kind": "Ingress", "spec": {
            "backend": {"serviceName": "fallback", "servicePort": "http"},
            "rules": [{"http": {"paths": [
                {"path": "/", "backend": {"serviceName": "web", "servicePort": 80}},
                {"path": "/x", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}}]}}]}}),
        expect![[
            r#"ingresses.networking.k8s.io {"apiVersion":"networking.k8s.io/v1","kind":"Ingress","spec":{"rules":[{"http":{"paths":[{"path":"/","backend":{"service":{"name":"web","port":{"number":80}}},"pathType":"ImplementationSpecific"},{"path":"/x","pathType":"Prefix","backend":{"resource":{"kind":"Bucket","name":"b"}}}]}}],"defaultBackend":{"service":{"name":"fallback","port":{"name":"http"}}}}} Ok(())"#
        ]],
    );
}

#[test]
fn workloads_say_their_selector() {
    check(
        "deployments.extensions",
        json!({"apiVersion": "extensions/v1beta1", "kind": "Deployment", "spec": {
            "rollbackTo": {"revision": 0}, "template": {"metadata": {"labels": {"app": "web"}}}}}),
        expect![[
            r#"deployments.apps {"apiVersion":"apps/v1","kind":"Deployment","spec":{"template":{"metadata":{"labels":{"app":"web"}}},"selector":{"matchLabels":{"app":"web"}}}} Ok(())"#
        ]],
    );
    check(
        "statefulsets.apps",
        json!({"apiVersion": "apps/v1beta1", "kind": "StatefulSet", "spec": {}}),
        expect![[
            r#"statefulsets.apps {"apiVersion":"apps/v1beta1","kind":"StatefulSet","spec":{}} Err("it has neither a selector nor template labels to make one from")"#
        ]],
    );
}

#[test]
fn an_empty_budget_selector_still_selects_nothing() {
    check(
        "poddisruptionbudgets.policy",
        json!({"apiVersion": "policy/v1beta1", "spec": {"selector": {}, "minAvailable": 1}}),
        expect![[
            r#"poddisruptionbudgets.policy {"apiVersion":"policy/v1","spec":{"selector":{"matchExpressions":[{"key":"pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match","operator":"Exists"}]},"minAvailable":1}} Ok(())"#
        ]],
    );
}

#[test]
fn autoscaler_metrics_get_targets() {
    check(
        "horizontalpodautoscalers.autoscaling",
        json!({"apiVersion": "autoscaling/v2beta1", "spec": {"metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 80}},
            {"type": "Pods", "pods": {"metricName": "rps", "targetAverageValue": "1k"}},
            {"type": "Object", "object": {"metricName": "hits", "targetValue": "2k", "target": {"kind": "Ingress", "name": "i"}}},
            {"type": "External", "external": {"metricName": "queue", "metricSelector": {"matchLabels": {"q": "a"}}, "targetValue": "5"}}]}}),
        expect![[
            r#"horizontalpodautoscalers.autoscaling {"apiVersion":"autoscaling/v2","spec":{"metrics":[{"type":"Resource","resource":{"name":"cpu","target":{"type":"Utilization","averageUtilization":80}}},{"type":"Pods","pods":{"target":{"type":"AverageValue","averageValue":"1k"},"metric":{"name":"rps"}}},{"type":"Object","object":{"metric":{"name":"hits"},"describedObject":{"kind":"Ingress","name":"i"},"target":{"type":"Value","value":"2k"}}},{"type":"External","external":{"target":{"type":"Value","value":"5"},"metric":{"name":"queue","selector":{"matchLabels":{"q":"a"}}}}}]}} Ok(())"#
        ]],
    );
}

#[test]
fn definitions_carry_schema_columns_and_subresources_in_each_version() {
    check(
        "customresourcedefinitions.apiextensions.k8s.io",
        json!({"apiVersion": "apiextensions.k8s.io/v1beta1", "spec": {
            "group": "example.io", "version": "v1", "scope": "Namespaced", "names": {"plural": "widgets"},
            "validation": {"openAPIV3Schema": {"properties": {"spec": {"type": "object"}}}},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "Size", "type": "string", "JSONPath": ".spec.size"}],
            "conversion": {"strategy": "None"}}}),
        expect![[
            r#"customresourcedefinitions.apiextensions.k8s.io {"apiVersion":"apiextensions.k8s.io/v1","spec":{"group":"example.io","scope":"Namespaced","names":{"plural":"widgets"},"conversion":{"strategy":"None"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"properties":{"spec":{"type":"object"}},"type":"object","x-kubernetes-preserve-unknown-fields":true}},"subresources":{"status":{}},"additionalPrinterColumns":[{"name":"Size","type":"string","jsonPath":".spec.size"}]}]}} Ok(())"#
        ]],
    );
}

#[test]
fn webhooks_declare_side_effects_and_review_versions() {
    check(
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        json!({"apiVersion": "admissionregistration.k8s.io/v1beta1",
            "webhooks": [{"name": "a.b.c", "sideEffects": "Unknown", "failurePolicy": "Fail"}]}),
        expect![[
            r#"validatingwebhookconfigurations.admissionregistration.k8s.io {"apiVersion":"admissionregistration.k8s.io/v1","webhooks":[{"name":"a.b.c","sideEffects":"None","failurePolicy":"Fail","admissionReviewVersions":["v1beta1"],"matchPolicy":"Exact","timeoutSeconds":30}]} Ok(())"#
        ]],
    );
}

#[test]
fn small_ones_move_their_fields() {
    check(
        "rolebindings.rbac.authorization.k8s.io",
        json!({"apiVersion": "rbac.authorization.k8s.io/v1alpha1", "subjects": [
            {"kind": "User", "name": "u", "apiVersion": "rbac.authorization.k8s.io/v1alpha1"},
            {"kind": "ServiceAccount", "name": "s", "namespace": "n", "apiVersion": "v1"}]}),
        expect![[
            r#"rolebindings.rbac.authorization.k8s.io {"apiVersion":"rbac.authorization.k8s.io/v1","subjects":[{"kind":"User","name":"u","apiGroup":"rbac.authorization.k8s.io"},{"kind":"ServiceAccount","name":"s","namespace":"n","apiGroup":""}]} Ok(())"#
        ]],
    );
    check(
        "endpointslices.discovery.k8s.io",
        json!({"apiVersion": "discovery.k8s.io/v1beta1", "endpoints": [{"addresses": ["10.0.0.1"],
            "topology": {"kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "z", "x": "y"}}]}),
        expect![[
            r#"endpointslices.discovery.k8s.io {"apiVersion":"discovery.k8s.io/v1","endpoints":[{"addresses":["10.0.0.1"],"nodeName":"n1","zone":"z","deprecatedTopology":{"x":"y"}}]} Ok(())"#
        ]],
    );
    check(
        "runtimeclasses.node.k8s.io",
        json!({"apiVersion": "node.k8s.io/v1alpha1", "spec": {"runtimeHandler": "runsc"}}),
        expect![[
            r#"runtimeclasses.node.k8s.io {"apiVersion":"node.k8s.io/v1","handler":"runsc"} Ok(())"#
        ]],
    );
    check(
        "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
        json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1beta2", "spec": {"limited": {"assuredConcurrencyShares": 5}}}),
        expect![[
            r#"prioritylevelconfigurations.flowcontrol.apiserver.k8s.io {"apiVersion":"flowcontrol.apiserver.k8s.io/v1","spec":{"limited":{"nominalConcurrencyShares":5}}} Ok(())"#
        ]],
    );
    check(
        "cronjobs.batch",
        json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "spec": {"schedule": "* * * * *"}}),
        expect![[
            r#"cronjobs.batch {"apiVersion":"batch/v1","kind":"CronJob","spec":{"schedule":"* * * * *"}} Ok(())"#
        ]],
    );
}
