//! What accounts may do: none, and those of the three roles of `install`.

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

/// Those of the rights that an account has and should not have, or the other way round.
fn wrong_rights(world: &Installed, number: usize) -> Vec<String> {
    let own = &world.namespace;
    let account = format!("system:serviceaccount:{own}:salvor");
    let mut wrong = Vec::new();
    for (right, place, who) in RIGHTS {
        let namespace = match place {
            Where::Elsewhere => "default",
            Where::Own => own,
        };
        let asked = world.kubectl(&format!("auth can-i {right} -n {namespace} --as={account}"));
        let may = asked.out.trim().starts_with("yes");
        if may != who[number] {
            wrong.push(format!(
                "{right} in {namespace}: {}{}",
                asked.out, asked.err
            ));
        }
    }
    wrong
}

#[test]
fn each_role_does_its_work_and_may_do_no_more() {
    for (number, role) in ["backup-only", "restore", "full"].into_iter().enumerate() {
        let options = format!("--role {role}");
        let Some(mut world) = Installed::with_options(&format!("node-{role}"), &options) else {
            return;
        };
        assert_eq!(wrong_rights(&world, number), Vec::<String>::new(), "{role}");

        let shop = format!("node-{role}-shop");
        world.namespace(&shop);
        let make = format!("create configmap settings --from-literal=k=v -n {shop}");
        world.kubectl(&make).expect(0);
        let backup = format!("backup create b1 --include-namespaces {shop} --wait");
        world.salvor(&backup).expect(0);
        let remove = format!("delete configmap settings -n {shop}");
        world.kubectl(&remove).expect(0);
        let restore = world.salvor("restore create r1 --from-backup b1 --wait");
        let status = world.get("restore r1")["status"].clone();
        let found = world.kubectl(&format!("get configmap settings -n {shop}"));
        if role == "backup-only" {
            assert_ne!(restore.code, 0, "{}", restore.out);
            assert_ne!(status["phase"], "Completed", "{status}");
            assert_ne!(
                found.code, 0,
                "it came back without a right to: {}",
                found.out
            );
        } else {
            restore.expect(0);
            assert_eq!(status["phase"], "Completed", "{role}: {status}");
            found.expect(0);
        }
    }
}
