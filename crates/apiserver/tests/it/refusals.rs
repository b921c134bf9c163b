//! Requests that are refused, and how.

use expect_test::expect;

use crate::{Api, check};

#[tokio::test]
async fn bodies_that_do_not_fit_the_path_are_refused() {
    check(
        r#"
        POST /api/v1/namespaces/default/configmaps {"apiVersion":"apps/v1","metadata":{"name":"a"}}
        POST /api/v1/namespaces/default/configmaps {"kind":"Secret","metadata":{"name":"a"}}
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","namespace":"other"}}
        POST /api/v1/namespaces/default/configmaps {"metadata":{}}
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"Bad_Name"}}
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","resourceVersion":"5"}}
        POST /api/v1/namespaces/nowhere/configmaps {"metadata":{"name":"a"}}
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a"},"data":{"k":1}}
        POST /api/v1/namespaces/default/configmaps [1]
        POST /api/v1/namespaces/default/configmaps {
        POST:text /api/v1/namespaces/default/configmaps hello
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a","labels":{"-x":"y","k":"sp ace"}}}
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a"}} -> .metadata.name
        POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"a"}}
        POST /api/v1/configmaps {"metadata":{"name":"b"}}
        PUT /api/v1/namespaces/default/configmaps/a {"metadata":{"name":"b"}}
        PUT /api/v1/namespaces/default/configmaps/gone {"metadata":{"name":"gone"}}
        PUT /api/v1/namespaces/default/configmaps/a {"metadata":{"name":"a","uid":"other"}}
        PATCH:apply /api/v1/namespaces/default/configmaps/a {}
        PATCH:text /api/v1/namespaces/default/configmaps/a {}
        PATCH:strategic /api/v1/namespaces/default/configmaps/a []
        GET /api/v1/namespaces/default/nothing
        GET /api/v1/configmaps/a
        GET /apis/none/v1
        POST /api/v1/namespaces/default/pods/p/exec {}
        POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews {"spec":{}}
        GET /api/v1/namespaces/default/configmaps?labelSelector=a%20b
        GET /api/v1/namespaces/default/configmaps?fieldSelector=data.k%3D1
        GET /api/v1/namespaces/default/configmaps?continue=nonsense
        GET /api/v1/namespaces/default/configmaps?resourceVersion=99999
        POST /api/v1/namespaces/default/configmaps?dryRun=Some {"metadata":{"name":"c"}}
        POST /api/v1/namespaces/default/configmaps?fieldValidation=Strict {"metadata":{"name":"c"},"junk":{"a":1}}
        DELETE /api/v1/namespaces/kube-system
        DELETE /api/v1/namespaces
        DELETE /api/v1/namespaces/default/configmaps/a {"preconditions":{"uid":"other"}}
        DELETE /api/v1/namespaces/default/configmaps/a {"propagationPolicy":"Sideways"}
        "#,
        expect![[r#"
            400 BadRequest: the API version in the data (apps/v1) does not match the expected API version (v1)
            400 BadRequest: Secret in version "v1" cannot be handled as a ConfigMap: the kind in the data does not match the kind of the path
            400 BadRequest: the namespace of the provided object does not match the namespace sent on the request
            422 Invalid: ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required [FieldValueRequired@metadata.name]
            422 Invalid: ConfigMap "Bad_Name" is invalid: metadata.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*') [FieldValueInvalid@metadata.name]
            500 : resourceVersion should not be set on objects to be created
            404 NotFound: namespaces "nowhere" not found
            400 BadRequest: ConfigMap in version "v1" cannot be handled as a ConfigMap: json: cannot unmarshal integer into Go struct field ConfigMap.data.k of type string
            400 BadRequest: the object provided is not a JSON object
            400 BadRequest: the object provided is unrecognized: EOF while parsing an object at line 1 column 1
            415 UnsupportedMediaType: the body of the request was in an unknown format (text/plain) - accepted media types include: application/json, application/yaml
            422 Invalid: ConfigMap "a" is invalid: [metadata.labels: Invalid value: "-x": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]'), metadata.labels: Invalid value: "sp ace": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')] [FieldValueInvalid@metadata.labels, FieldValueInvalid@metadata.labels]
            201 .metadata.name="a"
            409 AlreadyExists: configmaps "a" already exists
            405 MethodNotAllowed: the server does not allow this method on the requested resource
            400 BadRequest: the name of the object (b) does not match the name on the URL (a)
            404 NotFound: configmaps "gone" not found
            409 Conflict: Operation cannot be fulfilled on configmaps "a": Precondition failed: UID in precondition: other, UID in object meta: c4e6f9a7-b057-482f-94e1-9fe2865cae35
            415 UnsupportedMediaType: this server does not do server-side apply; use client-side apply or a merge patch
            415 UnsupportedMediaType: the body of the request was in an unknown format (text/plain) - accepted media types include: application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json
            400 BadRequest: error decoding patch: invalid type: sequence, expected a map at line 1 column 0
            404 NotFound: the server could not find the requested resource
            404 NotFound: the server could not find the requested resource
            404 : 
            501 NotImplemented: pods/exec needs a running cluster; this server stores objects and runs nothing
            501 NotImplemented: selfsubjectaccessreviews.authorization.k8s.io are questions to a running cluster; this server stores objects and decides nothing
            400 BadRequest: unable to parse requirement: label selector `a b` is not valid: `a b` is not a label key
            400 BadRequest: field label not supported: data.k
            400 BadRequest: continue key is not valid
            504 Timeout: Timeout: Too large resource version: 99999, current: 40 [ResourceVersionTooLarge@]
            422 Invalid: CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "Some": supported values: "All" [FieldValueNotSupported@dryRun]
            400 BadRequest: ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "junk"
            403 Forbidden: namespaces "kube-system" is forbidden: this namespace may not be deleted
            405 MethodNotAllowed: the server does not allow this method on the requested resource
            409 Conflict: Operation cannot be fulfilled on configmaps "a": Precondition failed: UID in precondition: other, UID in object meta: c4e6f9a7-b057-482f-94e1-9fe2865cae35
            422 Invalid: DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Sideways": supported values: "Foreground", "Background", "Orphan", "nil" [FieldValueNotSupported@propagationPolicy]
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let api = Api::new();
    let body = format!(
        r#"{{"metadata":{{"name":"a"}},"data":{{"k":"{}"}}}}"#,
        "x".repeat(3 << 20)
    );
    let answer = api
        .call("POST", "/api/v1/namespaces/default/configmaps", &body)
        .await;
    assert_eq!(
        (answer.code, answer.body["reason"].as_str()),
        (413, Some("RequestEntityTooLarge"))
    );
}

#[tokio::test]
async fn only_json_is_spoken() {
    let api = Api::new();
    let protobuf = "application/vnd.kubernetes.protobuf";
    let refused = api
        .call_with("GET", "/api/v1/nodes", &[("accept", protobuf)], "")
        .await;
    assert_eq!(refused.code, 406);
    let both = format!("{protobuf},application/json");
    let answered = api
        .call_with("GET", "/api/v1/nodes", &[("accept", &both)], "")
        .await;
    assert_eq!(
        (answered.code, answered.content_type.as_str()),
        (200, "application/json")
    );
    let body = api
        .call_with(
            "POST",
            "/api/v1/nodes",
            &[("content-type", protobuf)],
            "k8s\0",
        )
        .await;
    assert_eq!(body.code, 415);
}

#[tokio::test]
async fn annotations_are_bounded() {
    let api = Api::new();
    let body = format!(
        r#"{{"metadata":{{"name":"a","annotations":{{"k":"{}"}}}}}}"#,
        "x".repeat(256 << 10)
    );
    let answer = api
        .call("POST", "/api/v1/namespaces/default/configmaps", &body)
        .await;
    assert_eq!(answer.code, 422);
    assert_eq!(
        answer.body["details"]["causes"][0]["reason"],
        "FieldValueTooLong"
    );
}
