//! What is installed: no more rights than the work needs, and nothing that a restricted namespace refuses.

use salvor_controller::install::{
    DefaultLocation, Install, NodeAgent, Role, iam_policy, is_left_alone, resource_of_manifest,
};
use serde_json::{Value, json};

fn rules(install: &Install, kind: &str) -> Vec<Value> {
    let manifests = install.manifests();
    let roles = manifests.iter().filter(|manifest| manifest["kind"] == kind);
    roles
        .flat_map(|role| role["rules"].as_array().expect("rules").clone())
        .collect()
}

/// Verbs that the cluster-wide roles allow on a resource, sorted.
fn verbs(install: &Install, group: &str, resource: &str) -> Vec<String> {
    let has = |list: &Value, word: &str| {
        list.as_array()
            .is_some_and(|list| list.iter().any(|one| one == word || one == "*"))
    };
    let mut verbs: Vec<String> = rules(install, "ClusterRole")
        .iter()
        .filter(|rule| has(&rule["apiGroups"], group) && has(&rule["resources"], resource))
        .flat_map(|rule| rule["verbs"].as_array().expect("verbs").clone())
        .map(|verb| verb.as_str().expect("a verb").to_owned())
        .collect();
    verbs.sort();
    verbs.dedup();
    verbs
}

#[test]
fn each_role_allows_what_its_name_says() {
    let read = ["get", "list"];
    let write = ["create", "get", "list", "patch", "update"];
    let all = ["create", "delete", "get", "list", "patch", "update"];
    for (role, on_deployments) in [
        (Role::BackupOnly, &read[..]),
        (Role::Restore, &write[..]),
        (Role::Full, &all[..]),
    ] {
        let install = Install {
            role,
            ..Install::new("velero", "image")
        };
        assert_eq!(
            verbs(&install, "apps", "deployments"),
            on_deployments,
            "{role:?}"
        );
        let snapshots = verbs(&install, "snapshot.storage.k8s.io", "volumesnapshots");
        assert_eq!(snapshots, all, "{role:?}");
        let may_escalate = verbs(&install, "rbac.authorization.k8s.io", "roles");
        let escalates = may_escalate.iter().any(|verb| verb == "escalate");
        assert_eq!(escalates, role != Role::BackupOnly, "{role:?}");
        for rule in rules(&install, "ClusterRole") {
            let verbs = rule["verbs"].as_array().expect("verbs");
            if rule["resources"] == json!(["pods"]) {
                assert_eq!(*verbs, ["get", "list", "watch"], "hooks follow pods");
                continue;
            }
            let never = ["*", "impersonate", "deletecollection", "watch"];
            assert!(
                !verbs.iter().any(|verb| never.iter().any(|one| verb == one)),
                "{rule}"
            );
        }
    }
}

#[test]
fn with_named_groups_nothing_reaches_into_pods_but_hooks() {
    let named = Install {
        api_groups: vec!["stable.example.com".to_owned()],
        ..Install::new("velero", "image")
    };
    assert_eq!(verbs(&named, "", "pods/exec"), ["create", "get"]);
    assert_eq!(verbs(&named, "stable.example.com", "crontabs").len(), 6);
    assert_eq!(verbs(&named, "other.example.com", "things"), [""; 0]);
    let without_hooks = Install {
        hooks: false,
        ..named
    };
    for subresource in [
        "pods/exec",
        "pods/attach",
        "pods/portforward",
        "nodes/proxy",
    ] {
        assert_eq!(
            verbs(&without_hooks, "", subresource),
            [""; 0],
            "{subresource}"
        );
    }
}

#[test]
fn two_namespaces_do_not_meet() {
    let names = |namespace: &str| -> Vec<String> {
        let manifests = Install::new(namespace, "image").manifests();
        let global = manifests
            .iter()
            .filter(|m| m["metadata"]["namespace"].is_null());
        global
            .map(|m| format!("{} {}", m["kind"], m["metadata"]["name"]))
            .collect()
    };
    let (one, other) = (names("velero"), names("backup"));
    assert_eq!(one.len(), 5, "{one:?}");
    assert!(
        one.iter().all(|name| !other.contains(name)),
        "{one:?} {other:?}"
    );
}

#[test]
fn the_pod_keeps_to_the_restricted_standard() {
    let install = Install {
        credentials: Some(b"secret".to_vec()),
        replicas: 2,
        ..Install::new("velero", "image")
    };
    let manifests = install.manifests();
    let of = |kind: &str| manifests.iter().find(|m| m["kind"] == kind).expect(kind);
    let pod = &of("Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        assert_eq!(pod[field], Value::Null);
    }
    for volume in pod["volumes"].as_array().expect("volumes") {
        assert!(
            volume["emptyDir"].is_object() || volume["secret"].is_object(),
            "{volume}"
        );
    }
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(
        *container,
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
               "capabilities": {"drop": ["ALL"]}})
    );
    assert_eq!(of("PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    let secrets = manifests
        .iter()
        .filter(|m| m.to_string().contains("c2VjcmV0"));
    assert_eq!(secrets.count(), 1, "credentials stand in the secret alone");
}

#[test]
fn a_node_agent_has_no_right_on_its_node_and_movers_read_no_secret() {
    let install = Install {
        credentials: Some(b"secret".to_vec()),
        node_agent: Some(NodeAgent::default()),
        ..Install::new("velero", "image")
    };
    let manifests = install.manifests();
    let of = |kind: &str, name: &str| {
        let found = manifests
            .iter()
            .find(|m| m["kind"] == kind && m["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("{kind} {name}"))
    };
    let pod = &of("DaemonSet", "node-agent")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    for volume in pod["volumes"].as_array().expect("volumes") {
        let harmless = volume["emptyDir"].is_object() || volume["secret"].is_object();
        assert!(harmless, "{volume}");
    }
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(
        *container,
        json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
               "capabilities": {"drop": ["ALL"]}})
    );
    let enforced = "pod-security.kubernetes.io/enforce";
    assert_eq!(
        of("Namespace", "velero")["metadata"]["labels"][enforced],
        "privileged"
    );
    assert!(!is_left_alone(of("Namespace", "velero")));
    let without = Install::new("velero", "image").manifests();
    assert_eq!(without[0]["metadata"]["labels"][enforced], "restricted");
    assert!(is_left_alone(&without[0]));

    let mover = of("Role", "salvor-mover")["rules"].to_string();
    assert!(
        !mover.contains("secrets") && !mover.contains("pods\""),
        "{mover}"
    );
    // Of Secrets an agent reads two by name, and makes those of its movers.
    for rule in of("Role", "node-agent")["rules"].as_array().expect("rules") {
        let verbs = rule["verbs"].as_array().expect("verbs");
        if rule["resources"] == json!(["secrets"]) {
            let named = rule["resourceNames"].is_array();
            assert_eq!(*verbs, [if named { "get" } else { "create" }], "{rule}");
        }
    }
    let reads = &of("ClusterRole", "salvor-velero-node-agent")["rules"];
    assert_eq!(reads[0]["verbs"], json!(["get"]));
}

#[test]
fn every_manifest_has_a_resource_and_the_labels() {
    let install = Install {
        replicas: 3,
        credentials: Some(Vec::new()),
        location: Some(DefaultLocation::default()),
        snapshot_location: Some(("aws".to_owned(), Default::default())),
        prometheus_rule: true,
        node_agent: Some(NodeAgent::default()),
        ..Install::new("velero", "image")
    };
    for manifest in install.manifests() {
        let resource = resource_of_manifest(&manifest).expect("known");
        let namespaced = manifest["metadata"]["namespace"].is_string();
        assert_eq!(resource.namespaced, namespaced, "{manifest}");
        let label = &manifest["metadata"]["labels"]["app.kubernetes.io/name"];
        assert_eq!(*label, "salvor", "{manifest}");
    }
}

#[test]
fn a_clouds_policy_names_one_bucket_and_folder() {
    let location = |provider: &str| DefaultLocation {
        provider: provider.to_owned(),
        bucket: "backups".to_owned(),
        prefix: "prod".to_owned(),
        ..DefaultLocation::default()
    };
    let aws = iam_policy(&location("velero.io/aws")).expect("it has policies");
    let statements = aws["Statement"].as_array().expect("statements");
    assert_eq!(
        statements[1]["Resource"],
        json!(["arn:aws:s3:::backups/prod/*"])
    );
    assert_eq!(
        statements[0]["Condition"]["StringLike"]["s3:prefix"],
        json!(["prod", "prod/*"])
    );
    assert!(!aws.to_string().contains(":*\""), "{aws}");
    let azure = iam_policy(&location("azure")).expect("it has roles");
    assert_eq!(azure["DataActions"].as_array().map(Vec::len), Some(4));
    let google = iam_policy(&location("gcp")).expect("it has roles");
    assert!(
        google["includedPermissions"]
            .to_string()
            .contains("storage.objects.create")
    );
    assert_eq!(iam_policy(&location("file")), None);
}
