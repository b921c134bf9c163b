//! What accounts may do: none, and those of the three roles of `install`.

use serde_json::Value;

use crate::world::{BUSYBOX, Installed};

#[test]
fn an_account_without_rights_gets_nothing() {
    let Some(world) = Installed::new("node-nobody") else {
        return;
    };
    world.kubectl("create serviceaccount nobody").expect(0);
    let pod =
        format!("run shell --image={BUSYBOX} --image-pull-policy=Never --command -- sleep 1000000");
    world.kubectl(&pod).expect(0);
    world
        .kubectl("wait pod/shell --for=condition=Ready --timeout=60s")
        .expect(0);
    world
        .salvor("backup create mine --include-namespaces node-nobody --wait")
        .expect(0);

    let nobody = world.kubeconfig_of("node-nobody", "nobody");
    for line in [
        "--server backup get",
        // Whether there is a server is not known without rights: that is said, and not only that no location is given.
        "backup get",
        "--server backup create theirs",
        "--server backup logs mine",
        "--server backup download mine",
        "--server restore create theirs --from-backup mine",
        "--server backup delete mine --confirm",
        "server --metrics-address=",
    ] {
        let refused = world.salvor_as(&nobody, line);
        assert_ne!(refused.code, 0, "{line}: {}", refused.out);
        let said = refused.err.to_lowercase();
        assert!(said.contains("forbidden"), "{line}: {}", refused.err);
    }
    let account = nobody.display().to_string();
    for line in [
        "get backups",
        "get secrets",
        "create configmap theirs",
        "exec shell -- id",
        "exec deployment/salvor -- /salvor version",
        "logs deployment/salvor",
    ] {
        let refused = world.kubectl(&format!("--kubeconfig={account} {line}"));
        assert_ne!(refused.code, 0, "{line}: {}", refused.out);
        let said = refused.err.to_lowercase();
        assert!(said.contains("forbidden"), "{line}: {}", refused.err);
    }
    let backups = world.get("backups");
    assert_eq!(
        backups["items"].as_array().map(Vec::len),
        Some(1),
        "{backups}"
    );
}

/// What is asked: a verb and a resource, elsewhere or in the namespace of the server; and who may.
const RIGHTS: &[(&str, Where, [bool; 3])] = &[
    ("list pods", Where::Elsewhere, [true, true, true]),
    ("get secrets", Where::Elsewhere, [true, true, true]),
    (
        "list widgets.example.com",
        Where::Elsewhere,
        [true, true, true],
    ),
    (
        "create pods --subresource=exec",
        Where::Elsewhere,
        [true, true, true],
    ),
    (
        "create deployments.apps",
        Where::Elsewhere,
        [false, true, true],
    ),
    ("patch configmaps", Where::Elsewhere, [false, true, true]),
    ("update namespaces", Where::Elsewhere, [false, true, true]),
    (
        "escalate clusterroles.rbac.authorization.k8s.io",
        Where::Elsewhere,
        [false, true, true],
    ),
    ("delete pods", Where::Elsewhere, [false, false, true]),
    ("delete namespaces", Where::Elsewhere, [false, false, true]),
    (
        "deletecollection pods",
        Where::Elsewhere,
        [false, false, false],
    ),
    ("impersonate users", Where::Elsewhere, [false, false, false]),
    (
        "create serviceaccounts --subresource=token",
        Where::Elsewhere,
        [false, true, true],
    ),
    (
        "watch backups.velero.io",
        Where::Elsewhere,
        [false, false, false],
    ),
    ("patch backups.velero.io", Where::Own, [true, true, true]),
    ("delete backups.velero.io", Where::Own, [true, true, true]),
    (
        "update leases.coordination.k8s.io",
        Where::Own,
        [true, true, true],
    ),
    ("create events", Where::Own, [true, true, true]),
    ("delete secrets", Where::Own, [false, false, true]),
];

#[derive(Clone, Copy)]
enum Where {
    Elsewhere,
    Own,
}

#[test]
fn each_role_may_do_its_work_and_no_more() {
    let roles = ["backup-only", "restore", "full"];
    for (number, role) in roles.into_iter().enumerate() {
        let Some(world) = Installed::without_server(&format!("node-{role}")) else {
            return;
        };
        let list = world.rendered(role, "json");
        let mut list: Value = serde_json::from_str(list.expect(0)).expect("JSON");
        let items = list["items"].as_array_mut().expect("a list");
        items.retain(|manifest| manifest["kind"] != "Deployment");
        world.apply(&list.to_string());
        let own = &world.namespace;
        let mut wrong = Vec::new();
        for (right, place, who) in RIGHTS {
            let namespace = match place {
                Where::Elsewhere => "default",
                Where::Own => own,
            };
            let account = format!("system:serviceaccount:{own}:salvor");
            let asked = world.kubectl(&format!("auth can-i {right} -n {namespace} --as={account}"));
            let may = asked.out.trim().starts_with("yes");
            if may != who[number] {
                wrong.push(format!(
                    "{right} in {namespace}: {}{}",
                    asked.out, asked.err
                ));
            }
        }
        assert_eq!(wrong, Vec::<String>::new(), "{role}");
    }
}
