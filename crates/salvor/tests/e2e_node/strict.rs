//! Requests count for what their requesters may do: the API server asks the server's pod who makes them, by the
//! service and the certificate that `install` and the server make for it.

use crate::world::Installed;

const SHOP: &str = "node-strict-shop";

#[test]
fn in_strict_mode_a_request_gets_what_its_requester_may_do() {
    let strict = "--authorize-requests strict";
    let Some(mut world) = Installed::with_options("node-strict", strict) else {
        return;
    };
    world.namespace(SHOP);
    let make = format!("create configmap settings --from-literal=k=v -n {SHOP}");
    world.kubectl(&make).expect(0);

    // A tenant may ask for backups, and read nothing of the shop.
    for line in [
        "create serviceaccount tenant",
        "create role tenant --verb=get,list,watch,create --resource=backups.velero.io",
        "create rolebinding tenant --role=tenant --serviceaccount=node-strict:tenant",
    ] {
        world.kubectl(line).expect(0);
    }
    let tenant = world.kubeconfig_of("node-strict", "tenant");
    let line = format!("--server backup create theirs --include-namespaces {SHOP}");
    world.salvor_as(&tenant, &line).expect(0);
    world.wait("backup/theirs", "{.status.phase}=FailedValidation");
    let backup = world.get("backup theirs");
    let requester = &backup["metadata"]["annotations"]["salvor.dev/requested-by"];
    let account = "system:serviceaccount:node-strict:tenant";
    assert!(requester.to_string().contains(account), "{backup}");
    let said = backup["status"]["validationErrors"].to_string();
    assert!(said.contains(account), "{said}");

    // The same is done for an administrator.
    let line = format!("backup create ours --include-namespaces {SHOP} --wait");
    world.salvor(&line).expect(0);
    let backup = world.get("backup ours");
    assert_eq!(backup["status"]["phase"], "Completed", "{backup}");
}
