//! Deletion and what follows from it: finalizers, owners, namespaces, definitions.

use expect_test::expect;

use salvor_apiserver::Options;

use crate::{Api, check};

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    check(
        r#"
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","finalizers":["example.com/hold"]}}
        DELETE /api/v1/namespaces/default/configmaps/a -> .kind .metadata.finalizers .metadata.deletionGracePeriodSeconds
        DELETE /api/v1/namespaces/default/configmaps/a -> .kind
        PATCH:merge /api/v1/namespaces/default/configmaps/a {"metadata":{"finalizers":["example.com/hold","example.com/more"]}}
        PATCH:merge /api/v1/namespaces/default/configmaps/a {"metadata":{"finalizers":null}} -> .metadata.finalizers
        GET /api/v1/namespaces/default/configmaps/a
        "#,
        expect![[r#"
            201
            200 .kind="ConfigMap" .metadata.finalizers=["example.com/hold"] .metadata.deletionGracePeriodSeconds=0
            200 .kind="ConfigMap"
            422 Invalid: ConfigMap "a" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers ["example.com/more"] [FieldValueForbidden@metadata.finalizers]
            200 .metadata.finalizers=null
            404 NotFound: configmaps "a" not found
        "#]],
    )
    .await;
}

#[tokio::test]
async fn owners_take_their_dependents_along_or_set_them_free() {
    let owned = |name: &str, rest: &str| {
        format!(
            r#"POST /api/v1/namespaces/default/configmaps {{"metadata":{{"name":"{name}","ownerReferences":[{{"apiVersion":"v1","kind":"Secret","name":"owner","uid":"${{uid}}"{rest}}}]}}}}"#
        )
    };
    let script = format!(
        r#"
        # background
        POST /api/v1/namespaces/default/secrets {{"metadata":{{"name":"owner"}}}} -> uid=.metadata.uid
        {}
        DELETE /api/v1/namespaces/default/secrets/owner -> .status
        GET /api/v1/namespaces/default/configmaps/background
        "#,
        owned("background", "")
    );
    check(
        &script,
        expect![[r#"
        201
        201
        200 .status="Success"
        404 NotFound: configmaps "background" not found
    "#]],
    )
    .await;
    let script = format!(
        r#"
        POST /api/v1/namespaces/default/secrets {{"metadata":{{"name":"owner"}}}} -> uid=.metadata.uid
        {}
        DELETE /api/v1/namespaces/default/secrets/owner?propagationPolicy=Orphan -> .status
        GET /api/v1/namespaces/default/configmaps/orphan -> .metadata.ownerReferences
        "#,
        owned("orphan", "")
    );
    check(
        &script,
        expect![[r#"
        201
        201
        200 .status="Success"
        200 .metadata.ownerReferences=null
    "#]],
    )
    .await;
    let script = format!(
        r#"
        POST /api/v1/namespaces/default/secrets {{"metadata":{{"name":"owner"}}}} -> uid=.metadata.uid
        {}
        PATCH:merge /api/v1/namespaces/default/configmaps/child {{"metadata":{{"finalizers":["example.com/hold"]}}}}
        DELETE /api/v1/namespaces/default/secrets/owner {{"propagationPolicy":"Foreground"}} -> .metadata.finalizers
        GET /api/v1/namespaces/default/configmaps/child -> .metadata.deletionGracePeriodSeconds
        PATCH:merge /api/v1/namespaces/default/configmaps/child {{"metadata":{{"finalizers":null}}}}
        GET /api/v1/namespaces/default/secrets/owner
        "#,
        owned("child", r#","blockOwnerDeletion":true"#)
    );
    check(
        &script,
        expect![[r#"
        201
        201
        200
        200 .metadata.finalizers=["foregroundDeletion"]
        200 .metadata.deletionGracePeriodSeconds=0
        200
        404 NotFound: secrets "owner" not found
    "#]],
    )
    .await;
}

#[tokio::test]
async fn an_object_whose_owner_never_was_is_garbage() {
    check(
        r#"
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"Secret","name":"x","uid":"1"}]}} -> .metadata.name
        GET /api/v1/namespaces/default/configmaps/a
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","ownerReferences":[{"apiVersion":"v1","kind":"Secret","name":"x"}]}}
        "#,
        expect![[r#"
            201 .metadata.name="a"
            404 NotFound: configmaps "a" not found
            422 Invalid: ConfigMap "a" is invalid: metadata.ownerReferences.uid: Invalid value: "": must not be empty [FieldValueInvalid@metadata.ownerReferences.uid]
        "#]],
    )
    .await;
}

#[tokio::test]
async fn namespaces_are_emptied_before_they_go() {
    check(
        r#"
        POST /api/v1/namespaces {"metadata":{"name":"shop"}} -> .status.phase .spec.finalizers .metadata.labels uid=.metadata.uid
        GET /api/v1/namespaces/shop/serviceaccounts -> .items[].metadata.name
        GET /api/v1/namespaces/shop/configmaps -> .items[].metadata.name
        POST /api/v1/namespaces/shop/configmaps {"metadata":{"name":"held","finalizers":["example.com/hold"]}}
        POST /api/v1/namespaces/shop/secrets {"metadata":{"name":"free"}}
        DELETE /api/v1/namespaces/shop -> .status.phase .kind
        GET /api/v1/namespaces/shop -> .status.conditions[].type .status.conditions[].message
        POST /api/v1/namespaces/shop/configmaps {"metadata":{"name":"late"}}
        GET /api/v1/namespaces/shop/secrets -> .items
        PATCH:merge /api/v1/namespaces/shop/configmaps/held {"metadata":{"finalizers":null}}
        GET /api/v1/namespaces/shop
        POST /api/v1/namespaces {"metadata":{"name":"shop"}} -> .status.phase
        DELETE /api/v1/namespaces/shop/serviceaccounts/default
        GET /api/v1/namespaces/shop/serviceaccounts -> .items[].metadata.name
        "#,
        expect![[r#"
            201 .status.phase="Active" .spec.finalizers=["kubernetes"] .metadata.labels={"kubernetes.io/metadata.name":"shop"}
            200 .items[].metadata.name=["default"]
            200 .items[].metadata.name=["kube-root-ca.crt"]
            201
            201
            200 .status.phase="Terminating" .kind="Namespace"
            200 .status.conditions[].type=["NamespaceContentRemaining","NamespaceFinalizersRemaining"] .status.conditions[].message=["Some resources are remaining: configmaps has 1 resource instances","Some content in the namespace has finalizers remaining: example.com/hold in some resource instances"]
            403 Forbidden: configmaps "late" is forbidden: unable to create new content in namespace shop because it is being terminated [NamespaceTerminating@metadata.namespace]
            200 .items=[]
            200
            404 NotFound: namespaces "shop" not found
            201 .status.phase="Active"
            200
            200 .items[].metadata.name=["default"]
        "#]],
    )
    .await;
}

#[tokio::test]
async fn status_and_scale_have_paths_of_their_own() {
    check(
        r#"
        POST /apis/apps/v1/namespaces/default/deployments {"metadata":{"name":"d"},"spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}}
        PATCH:merge /apis/apps/v1/namespaces/default/deployments/d {"status":{"replicas":2}} -> .status
        PATCH:merge /apis/apps/v1/namespaces/default/deployments/d/status {"status":{"replicas":2},"spec":{"replicas":9}} -> .status .spec.replicas .metadata.generation
        GET /apis/apps/v1/namespaces/default/deployments/d/scale -> .kind .apiVersion .spec .status .metadata.name
        PUT /apis/apps/v1/namespaces/default/deployments/d/scale {"metadata":{"name":"d"},"spec":{"replicas":5}} -> .spec .metadata.name
        PATCH:merge /apis/apps/v1/namespaces/default/deployments/d/scale {"spec":{"replicas":-1}}
        GET /apis/apps/v1/namespaces/default/deployments/d -> .spec.replicas .metadata.generation
        PATCH:merge /api/v1/namespaces/default/status {"metadata":{"labels":{"a":"b"}}} -> .metadata.labels.a
        PATCH:merge /api/v1/namespaces/default/configmaps/kube-root-ca.crt/status {}
        "#,
        expect![[r#"
            201
            200 .status={}
            200 .status={"replicas":2} .spec.replicas=2 .metadata.generation=1
            200 .kind="Scale" .apiVersion="autoscaling/v1" .spec={"replicas":2} .status={"replicas":2,"selector":"a=b"} .metadata.name="d"
            200 .spec={"replicas":5} .metadata.name="d"
            422 Invalid: Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0 [FieldValueInvalid@spec.replicas]
            200 .spec.replicas=5 .metadata.generation=2
            200 .metadata.labels.a=null
            404 NotFound: the server could not find the requested resource
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    check(
        r#"
        POST /api/v1/namespaces/default/configmaps?dryRun=All {"metadata":{"generateName":"a-"}} -> .metadata.generateName
        GET /api/v1/namespaces/default/configmaps -> .items[].metadata.name
        PATCH:merge /api/v1/namespaces/default/configmaps/kube-root-ca.crt?dryRun=All {"data":{"k":"v"}} -> .data.k
        GET /api/v1/namespaces/default/configmaps/kube-root-ca.crt -> .data.k
        DELETE /api/v1/namespaces/default/configmaps/kube-root-ca.crt {"dryRun":["All"]} -> .status
        GET /api/v1/namespaces/default/configmaps/kube-root-ca.crt -> .metadata.name
        "#,
        expect![[r#"
            201 .metadata.generateName="a-"
            200 .items[].metadata.name=["kube-root-ca.crt"]
            200 .data.k="v"
            200 .data.k=null
            200 .status="Success"
            200 .metadata.name="kube-root-ca.crt"
        "#]],
    )
    .await;
}

#[tokio::test]
async fn collections_are_chosen_by_selectors() {
    check(
        r#"
        POST /api/v1/namespaces/default/secrets {"metadata":{"name":"a","labels":{"app":"x"}},"type":"t1"}
        POST /api/v1/namespaces/default/secrets {"metadata":{"name":"b","labels":{"app":"y"}}}
        POST /api/v1/namespaces/kube-system/secrets {"metadata":{"name":"c","labels":{"app":"x"}}}
        GET /api/v1/secrets?labelSelector=app%3Dx -> .items[].metadata.name
        GET /api/v1/secrets?labelSelector=app+in+(x,y),app!%3Dy&limit=1 -> .items[].metadata.name .metadata.remainingItemCount
        GET /api/v1/secrets?fieldSelector=type%3Dt1 -> .items[].metadata.name
        GET /api/v1/secrets?fieldSelector=metadata.namespace!%3Ddefault -> .items[].metadata.name
        GET /api/v1/secrets?fieldSelector=metadata.name%3Db -> .items[].metadata.name
        DELETE /api/v1/namespaces/default/secrets?labelSelector=app%3Dx -> .kind .items[].metadata.name
        GET /api/v1/secrets -> .items[].metadata.name
        "#,
        expect![[r#"
            201
            201
            201
            200 .items[].metadata.name=["a","c"]
            200 .items[].metadata.name=["a"] .metadata.remainingItemCount=null
            200 .items[].metadata.name=["a"]
            200 .items[].metadata.name=["c"]
            200 .items[].metadata.name=["b"]
            200 .kind="SecretList" .items[].metadata.name=["a"]
            200 .items[].metadata.name=["b","c"]
        "#]],
    )
    .await;
}

#[tokio::test]
async fn without_controllers_nothing_follows_by_itself() {
    let api = Api::with(Options {
        controllers: false,
        ..Options::default()
    });
    let script = r#"
        POST /api/v1/namespaces {"metadata":{"name":"shop"}} -> .status.phase
        GET /api/v1/namespaces/shop/serviceaccounts -> .items
        POST /api/v1/namespaces/shop/secrets {"metadata":{"name":"owner"}} -> uid=.metadata.uid
        POST /api/v1/namespaces/shop/configmaps {"metadata":{"name":"child","ownerReferences":[{"apiVersion":"v1","kind":"Secret","name":"owner","uid":"${uid}"}]}}
        DELETE /api/v1/namespaces/shop/secrets/owner {"propagationPolicy":"Foreground"} -> .metadata.finalizers
        GET /api/v1/namespaces/shop/configmaps/child -> .metadata.name
        DELETE /api/v1/namespaces/shop -> .status.phase .spec.finalizers
        GET /api/v1/namespaces/shop/configmaps -> .items[].metadata.name
        PUT /api/v1/namespaces/shop/finalize {"metadata":{"name":"shop"},"spec":{"finalizers":[]}} -> .spec.finalizers
        GET /api/v1/namespaces/shop
    "#;
    let outcomes = crate::script::run(&api, script).await;
    let text: String = outcomes
        .iter()
        .map(|one| format!("{}\n", one.full()))
        .collect();
    expect![[r#"
        201 .status.phase="Active"
        200 .items=[]
        201
        201
        200 .metadata.finalizers=["foregroundDeletion"]
        200 .metadata.name="child"
        200 .status.phase="Terminating" .spec.finalizers=["kubernetes"]
        200 .items[].metadata.name=["child"]
        200 .spec.finalizers=[]
        404 NotFound: namespaces "shop" not found
    "#]]
    .assert_eq(&text);
}

#[tokio::test]
async fn a_definition_waits_for_its_objects() {
    check(
        r#"
        POST /apis/apiextensions.k8s.io/v1/customresourcedefinitions {"metadata":{"name":"ws.x.io"},"spec":{"group":"x.io","scope":"Namespaced","names":{"plural":"ws","kind":"W"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}
        POST /apis/x.io/v1/namespaces/default/ws {"apiVersion":"x.io/v1","kind":"W","metadata":{"name":"held","finalizers":["x.io/hold"]}}
        POST /apis/x.io/v1/namespaces/default/ws {"apiVersion":"x.io/v1","kind":"W","metadata":{"name":"free"}}
        DELETE /apis/apiextensions.k8s.io/v1/customresourcedefinitions/ws.x.io -> .metadata.finalizers .status.conditions[].type
        GET /apis/x.io/v1/ws -> .items[].metadata.name
        POST /apis/x.io/v1/namespaces/default/ws {"apiVersion":"x.io/v1","kind":"W","metadata":{"name":"late"}}
        PATCH:merge /apis/x.io/v1/namespaces/default/ws/held {"metadata":{"finalizers":null}}
        GET /apis/x.io/v1/ws
        GET /apis/apiextensions.k8s.io/v1/customresourcedefinitions/ws.x.io
        GET /apis/apiregistration.k8s.io/v1/apiservices/v1.x.io
        "#,
        expect![[r#"
            201
            201
            201
            200 .metadata.finalizers=["customresourcecleanup.apiextensions.k8s.io"] .status.conditions[].type=["NamesAccepted","Established","Terminating"]
            200 .items[].metadata.name=["held"]
            405 MethodNotAllowed: create not allowed while custom resource definition is terminating
            200
            404 : 
            404 NotFound: customresourcedefinitions.apiextensions.k8s.io "ws.x.io" not found
            404 NotFound: apiservices.apiregistration.k8s.io "v1.x.io" not found
        "#]],
    )
    .await;
}
