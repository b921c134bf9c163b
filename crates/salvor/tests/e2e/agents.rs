//! What the accounts of node agents, movers and the server may do about volumes, on a real API server with RBAC: what
//! their work needs, and no more.

use salvor_cluster::{ApiResource, WriteOptions};
use serde_json::{Value, json};

use crate::clusters::{FIRST, Real};
use crate::install::known;

const NAMESPACE: &str = "agents-e2e";
const AGENT: &str = "node-agent";
const MOVER: &str = "salvor-mover";
const SERVER: &str = "salvor";

/// Account, verb, group, resource, name, whether in the server's namespace, whether it may.
type Right = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    bool,
    bool,
);

const RIGHTS: &[Right] = &[
    (
        AGENT,
        "watch",
        "velero.io",
        "podvolumebackups",
        "",
        true,
        true,
    ),
    (
        AGENT,
        "patch",
        "velero.io",
        "podvolumerestores",
        "",
        true,
        true,
    ),
    (AGENT, "create", "", "pods", "", true, true),
    (AGENT, "delete", "", "pods", "", true, true),
    (AGENT, "create", "", "secrets", "", true, true),
    (
        AGENT,
        "get",
        "",
        "secrets",
        "salvor-repository-key",
        true,
        true,
    ),
    (
        AGENT,
        "get",
        "",
        "secrets",
        "velero-repo-credentials",
        true,
        true,
    ),
    (AGENT, "get", "", "pods", "", false, true),
    (AGENT, "get", "", "persistentvolumes", "", false, true),
    (
        AGENT,
        "get",
        "",
        "secrets",
        "cloud-credentials",
        true,
        false,
    ),
    (AGENT, "list", "", "secrets", "", true, false),
    (
        AGENT,
        "patch",
        "",
        "secrets",
        "salvor-repository-key",
        true,
        false,
    ),
    (AGENT, "get", "", "secrets", "", false, false),
    (AGENT, "create", "", "pods", "", false, false),
    (AGENT, "list", "", "pods", "", false, false),
    (AGENT, "create", "", "pods/exec", "", true, false),
    (AGENT, "patch", "velero.io", "backups", "", true, false),
    (
        MOVER,
        "get",
        "velero.io",
        "podvolumebackups",
        "",
        true,
        true,
    ),
    (
        MOVER,
        "patch",
        "velero.io",
        "podvolumerestores",
        "",
        true,
        true,
    ),
    (
        MOVER,
        "get",
        "velero.io",
        "backupstoragelocations",
        "",
        true,
        true,
    ),
    (
        MOVER,
        "get",
        "",
        "secrets",
        "salvor-repository-key",
        true,
        false,
    ),
    (
        MOVER,
        "get",
        "",
        "secrets",
        "cloud-credentials",
        true,
        false,
    ),
    (MOVER, "create", "", "pods", "", true, false),
    (MOVER, "get", "", "pods", "", false, false),
    (
        MOVER,
        "delete",
        "velero.io",
        "podvolumebackups",
        "",
        true,
        false,
    ),
    (MOVER, "get", "velero.io", "backups", "", true, false),
    // Claims are held by pods of the server's, also where it may only back up.
    (SERVER, "create", "", "pods", "", false, true),
    (SERVER, "delete", "", "pods", "", false, true),
    (SERVER, "create", "", "secrets", "", false, false),
    (
        SERVER,
        "delete",
        "",
        "persistentvolumeclaims",
        "",
        false,
        false,
    ),
];

async fn may(real: &Real, right: &Right) -> bool {
    let (account, verb, group, resource, name, own, _) = *right;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
    "user": format!("system:serviceaccount:{NAMESPACE}:{account}"),
    "resourceAttributes": {
        "namespace": if own { NAMESPACE } else { "default" },
        "verb": verb, "group": group, "resource": resource, "subresource": subresource, "name": name,
    }}});
    let reviews = known(
        "authorization.k8s.io/v1",
        "SubjectAccessReview",
        "subjectaccessreviews",
        false,
    );
    let body = review.to_string();
    let options = WriteOptions::default();
    let answer = real
        .cluster
        .create(&reviews, None, body.as_bytes(), &options);
    let answer: Value = serde_json::from_slice(&answer.await.expect("answered")).expect("JSON");
    answer["status"]["allowed"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_and_movers_may_do_their_work_and_no_more() {
    let Some(real) = Real::connect(FIRST).await else {
        return;
    };
    let install = || {
        let line = format!(
            "-n {NAMESPACE} install --use-node-agent --role backup-only --no-default-backup-location"
        );
        real.run("", &line)
    };
    let first = install();
    first.expect(0);
    assert!(first.err.contains("salvor-repository-key"), "{}", first.err);
    let secrets = known("v1", "Secret", "secrets", true);
    let key = async || {
        let found = real
            .cluster
            .get(&secrets, Some(NAMESPACE), "salvor-repository-key")
            .await;
        let found: Value =
            serde_json::from_slice(&found.expect("read").expect("made")).expect("JSON");
        found["data"]["repository-key"].clone()
    };
    let made = key().await;
    let again = install();
    again.expect(0);
    assert!(
        !again.err.contains("salvor-repository-key"),
        "{}",
        again.err
    );
    assert_eq!(key().await, made, "a key is never made twice");

    let mut wrong = Vec::new();
    for right in RIGHTS {
        if may(&real, right).await != right.6 {
            wrong.push(right);
        }
    }
    assert_eq!(wrong, Vec::<&Right>::new());

    let removed = real.run("", &format!("-n {NAMESPACE} uninstall --force"));
    removed.expect(0);
    assert!(
        removed.err.contains("salvor-repository-key"),
        "{}",
        removed.err
    );
    let roles = known(
        "rbac.authorization.k8s.io/v1",
        "ClusterRole",
        "clusterroles",
        false,
    );
    let gone = async |resource: &ApiResource, name: &str| {
        let found = real.cluster.get(resource, None, name).await.expect("read");
        assert!(found.is_none(), "{name} is left behind");
    };
    for part in ["volumes", "node-agent"] {
        gone(&roles, &format!("salvor-{NAMESPACE}-{part}")).await;
    }
}
