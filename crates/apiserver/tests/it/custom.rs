//! Custom resources and their definitions.

use expect_test::expect;

use crate::check;

const WIDGETS: &str = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","kind":"Widget","shortNames":["wd"],"categories":["all"]},"versions":[{"name":"v1","served":true,"storage":true,"subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas"}},"additionalPrinterColumns":[{"name":"Size","type":"integer","jsonPath":".spec.size"}],"schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","required":["size"],"properties":{"size":{"type":"integer","minimum":1,"maximum":9},"replicas":{"type":"integer"},"color":{"type":"string","default":"red","enum":["red","blue"]},"name":{"type":"string","pattern":"^[a-z]+$","maxLength":4},"port":{"x-kubernetes-int-or-string":true},"tags":{"type":"array","items":{"type":"string"},"maxItems":2},"map":{"type":"object","additionalProperties":{"type":"integer"}},"free":{"type":"object","x-kubernetes-preserve-unknown-fields":true},"maybe":{"type":"string","nullable":true},"template":{"type":"object","x-kubernetes-embedded-resource":true,"x-kubernetes-preserve-unknown-fields":true}}},"status":{"type":"object","properties":{"replicas":{"type":"integer"},"phase":{"type":"string"}}}}}}},{"name":"v1beta1","served":true,"storage":false,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}},{"name":"v1alpha1","served":false,"storage":false,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}"#;

#[tokio::test]
async fn custom_resources_follow_their_schema() {
    let script = format!(
        r#"
        GET /apis/example.com/v1/widgets
        POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {WIDGETS} -> .status.conditions[].type .status.storedVersions .status.acceptedNames.listKind
        GET /apis/example.com/v1 -> .resources[].name .resources[].shortNames
        GET /apis/example.com -> .versions[].version .preferredVersion.version
        GET /apis/example.com/v1alpha1
        POST /apis/example.com/v1/namespaces/default/widgets {{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"a"}},"spec":{{"size":3,"junk":1,"free":{{"x":1}},"port":"http","map":{{"k":1}},"maybe":null,"template":{{"kind":"Pod","metadata":{{"name":"x"}},"extra":1}}}},"status":{{"phase":"x"}}}} -> .spec .status .metadata.generation rv=.metadata.resourceVersion
        POST /apis/example.com/v1/namespaces/default/widgets {{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"b"}},"spec":{{"size":12,"color":"green","name":"Toolong","port":true,"tags":["a","b","c"],"map":{{"k":"x"}}}}}}
        POST /apis/example.com/v1/namespaces/default/widgets {{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"b"}},"spec":{{}}}}
        POST /apis/example.com/v1/namespaces/default/widgets {{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"b"}},"spec":{{"size":"3"}}}}
        POST /apis/example.com/v1/namespaces/default/widgets {{"metadata":{{"name":"b"}}}}
        GET /apis/example.com/v1beta1/namespaces/default/widgets/a -> .apiVersion .spec.size
        PUT /apis/example.com/v1/namespaces/default/widgets/a {{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"a"}},"spec":{{"size":4}}}}
        PUT /apis/example.com/v1/namespaces/default/widgets/a {{"apiVersion":"example.com/v1","kind":"Widget","metadata":{{"name":"a","resourceVersion":"${{rv}}"}},"spec":{{"size":4}},"status":{{"phase":"y"}}}} -> .spec .status .metadata.generation
        PATCH:merge /apis/example.com/v1/namespaces/default/widgets/a/status {{"status":{{"phase":"z","replicas":2}},"spec":{{"size":5}}}} -> .spec.size .status .metadata.generation
        PATCH:merge /apis/example.com/v1/namespaces/default/widgets/a/scale {{"spec":{{"replicas":7}}}} -> .kind .spec .status
        GET /apis/example.com/v1/namespaces/default/widgets/a -> .spec.replicas .metadata.generation
        PATCH:strategic /apis/example.com/v1/namespaces/default/widgets/a {{"spec":{{"size":5}}}}
        GET:table /apis/example.com/v1/namespaces/default/widgets -> .kind .columnDefinitions[].name .rows[].cells
        GET /apis/example.com/v1/namespaces/default/widgets -> .kind .items[].kind
        DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com -> .kind
        GET /apis/example.com/v1/namespaces/default/widgets
        "#
    );
    check(&script, expect![[r#"
        404 : 
        201 .status.conditions[].type=["NamesAccepted","Established"] .status.storedVersions=["v1"] .status.acceptedNames.listKind="WidgetList"
        200 .resources[].name=["widgets","widgets/status","widgets/scale"] .resources[].shortNames=[["wd"],null,null]
        200 .versions[].version=["v1","v1beta1"] .preferredVersion.version="v1"
        404 NotFound: the server could not find the requested resource
        201 .spec={"color":"red","free":{"x":1},"map":{"k":1},"maybe":null,"port":"http","size":3,"template":{"extra":1,"kind":"Pod","metadata":{"name":"x"}}} .status=null .metadata.generation=1
        422 Invalid: Widget.example.com "b" is invalid: [spec.size: Invalid value: 12: spec.size in body should be less than or equal to 9, spec.color: Unsupported value: "green": supported values: "red", "blue", spec.name: Invalid value: "Toolong": spec.name in body should be at most 4 chars long, spec.name: Invalid value: "Toolong": spec.name in body should match '^[a-z]+$', spec.port: Invalid value: "boolean": spec.port in body must be of type integer,string: "boolean", spec.tags: Invalid value: 3: spec.tags in body should have at most 2 items, spec.map.k: Invalid value: "string": spec.map.k in body must be of type integer: "string"] [FieldValueInvalid@spec.size, FieldValueNotSupported@spec.color, FieldValueInvalid@spec.name, FieldValueInvalid@spec.name, FieldValueTypeInvalid@spec.port, FieldValueInvalid@spec.tags, FieldValueTypeInvalid@spec.map.k]
        422 Invalid: Widget.example.com "b" is invalid: spec.size: Required value [FieldValueRequired@spec.size]
        422 Invalid: Widget.example.com "b" is invalid: spec.size: Invalid value: "string": spec.size in body must be of type integer: "string" [FieldValueTypeInvalid@spec.size]
        400 BadRequest: Object 'Kind' is missing
        200 .apiVersion="example.com/v1beta1" .spec.size=3
        422 Invalid: Widget.example.com "a" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update [FieldValueInvalid@metadata.resourceVersion]
        200 .spec={"color":"red","size":4} .status=null .metadata.generation=2
        200 .spec.size=4 .status={"phase":"z","replicas":2} .metadata.generation=2
        200 .kind="Scale" .spec={"replicas":7} .status={"replicas":2}
        200 .spec.replicas=7 .metadata.generation=3
        415 UnsupportedMediaType: the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json
        200 .kind="Table" .columnDefinitions[].name=["Name","Size"] .rows[].cells=[["a",4]]
        200 .kind="WidgetList" .items[].kind=["Widget"]
        200 .kind="CustomResourceDefinition"
        404 : 
    "#]]).await;
}

#[tokio::test]
async fn a_kind_without_a_status_path_answers_404_there() {
    let velero = r#"{"metadata":{"name":"backups.velero.io"},"spec":{"group":"velero.io","scope":"Namespaced","names":{"plural":"backups","kind":"Backup"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}]}}"#;
    let script = format!(
        r#"
        POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {velero}
        POST /apis/velero.io/v1/namespaces/default/backups {{"apiVersion":"velero.io/v1","kind":"Backup","metadata":{{"name":"b"}},"status":{{"phase":"New"}}}} -> .status.phase
        PATCH:merge /apis/velero.io/v1/namespaces/default/backups/b/status {{"status":{{"phase":"Completed"}}}}
        PATCH:merge /apis/velero.io/v1/namespaces/default/backups/b {{"status":{{"phase":"Completed"}}}} -> .status.phase .metadata.generation
        "#
    );
    check(
        &script,
        expect![[r#"
        201
        201 .status.phase="New"
        404 NotFound: the server could not find the requested resource
        200 .status.phase="Completed" .metadata.generation=2
    "#]],
    )
    .await;
}

#[tokio::test]
async fn definitions_that_mean_nothing_are_refused() {
    check(
        r#"
        POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {"metadata":{"name":"x.example.com"},"spec":{"group":"example.com","scope":"Namespaced","names":{"plural":"widgets","kind":"Widget"},"versions":[{"name":"v1","served":true,"storage":true}]}}
        POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {"metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Odd","names":{"plural":"widgets","kind":"Widget"},"versions":[]}}
        POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {"metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Cluster","names":{"plural":"widgets","kind":"Widget"},"conversion":{"strategy":"Webhook"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}
        POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {"metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Cluster","names":{"plural":"widgets","kind":"Widget"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{}}}]}}
        "#,
        expect![[r#"
            422 Invalid: CustomResourceDefinition.apiextensions.k8s.io "x.example.com" is invalid: [metadata.name: Invalid value: "x.example.com": must be spec.names.plural+"."+spec.group, spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required] [FieldValueInvalid@metadata.name, FieldValueRequired@spec.versions[0].schema.openAPIV3Schema]
            422 Invalid: CustomResourceDefinition.apiextensions.k8s.io "widgets.example.com" is invalid: [spec.scope: Unsupported value: "Odd": supported values: "Cluster", "Namespaced", spec.versions: Required value: must have at least one version] [FieldValueNotSupported@spec.scope, FieldValueRequired@spec.versions]
            422 Invalid: CustomResourceDefinition.apiextensions.k8s.io "widgets.example.com" is invalid: spec.conversion.strategy: Forbidden: this server does not call conversion webhooks; use strategy None [FieldValueForbidden@spec.conversion.strategy]
            422 Invalid: CustomResourceDefinition.apiextensions.k8s.io "widgets.example.com" is invalid: spec.versions[0].schema.openAPIV3Schema.type: Required value: must not be empty at the root [FieldValueRequired@spec.versions[0].schema.openAPIV3Schema.type]
        "#]],
    )
    .await;
}
