use super::*;

fn found(container: Value, of_pod: Value, status: Value) -> Found {
    let mut pod = json!({"spec": of_pod, "status": {"containerStatuses": [status]}});
    pod["spec"]["containers"] = json!([container]);
    Found { pod, container }
}

fn reader(found: &Found, path: &str) -> Reader {
    let options = ReaderOptions {
        image: "salvor:1".to_owned(),
        user: None,
    };
    Reader::new(found, path, &options, "x", Duration::from_secs(60))
}

#[test]
fn volumes_are_mounted_where_the_path_lies_in_them() {
    let mount = |name: &str, at: &str| json!({"name": name, "mountPath": at});
    let part = json!({"name": "part", "mountPath": "/part", "subPath": "a"});
    let container = json!({"name": "main", "volumeMounts": [
        mount("data", "/data/"), mount("wal", "/data/wal"), mount("lib", "/var/lib"), part,
        {"name": "deep", "mountPath": "/mixed"}, {"name": "deeper", "mountPath": "/mixed/in", "subPathExpr": "$(X)"},
    ]});
    let names = |path: &str| {
        mounts(&container, path).map(|mounts| {
            mounts
                .iter()
                .map(|mount| {
                    assert_eq!(mount["readOnly"], true);
                    let at = mount["mountPath"].as_str().expect("a path");
                    format!("{}={at}", mount["name"].as_str().expect("a name"))
                })
                .collect::<Vec<_>>()
                .join(" ")
        })
    };
    let both = "data=/salvor-reader/data wal=/salvor-reader/data/wal";
    for (path, expected) in [
        ("/data", Some(both)),
        ("/data/", Some(both)),
        ("//data/./", Some(both)),
        ("/data/sub", Some("data=/salvor-reader/data")),
        ("/data/wal/1", Some("wal=/salvor-reader/data/wal")),
        // A part of a name is no part of the path.
        ("/datax", None),
        ("/var/library", None),
        ("/", None),
        ("/etc", None),
        // Where it leads to, only the container's files say.
        ("/data/../etc", None),
        ("/part/x", None),
        ("/mixed", None),
        ("/mixed/out", Some("deep=/salvor-reader/mixed")),
    ] {
        assert_eq!(names(path).as_deref(), expected, "{path}");
    }
}

#[test]
fn files_in_volumes_need_no_look_at_processes_and_others_do() {
    let container =
        json!({"name": "main", "volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    let status = json!({"name": "main", "containerID": "containerd://0123abcd"});
    let found = found(container, json!({"shareProcessNamespace": true}), status);
    let by_volume = reader(&found, "/data/x");
    assert_eq!(by_volume.spec["targetContainerName"], Value::Null);
    assert_eq!(
        by_volume
            .command("/salvor", "/data/x", Duration::from_secs(9))
            .join(" "),
        "/salvor reader read --name salvor-reader-x --stall 9s --root /salvor-reader -- /data/x"
    );
    let by_process = reader(&found, "/etc");
    assert_eq!(by_process.spec["targetContainerName"], "main");
    assert_eq!(by_process.spec["volumeMounts"], Value::Null);
    assert_eq!(
        by_process
            .command("/salvor", "/etc", Duration::from_secs(9))
            .join(" "),
        "/salvor reader read --name salvor-reader-x --stall 9s --container-id 0123abcd --shared-processes -- /etc"
    );
    assert_eq!(
        by_process.spec["args"],
        json!([
            "reader",
            "stay",
            "--name",
            "salvor-reader-x",
            "--limit",
            "360s"
        ])
    );
}

#[test]
fn ours_may_do_what_the_container_may() {
    let of = |context: Value, of_pod: Value, user: Value, by_volumes: bool| {
        let container = json!({"name": "main", "securityContext": context});
        let status = json!({"name": "main", "user": user});
        let found = found(container, json!({"securityContext": of_pod}), status);
        security(&found, None, by_volumes)
    };
    let none = Value::Null;
    // A user that somebody named.
    let restricted =
        json!({"runAsUser": 5, "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]}});
    for by_volumes in [true, false] {
        assert_eq!(
            of(restricted.clone(), none.clone(), none.clone(), by_volumes),
            restricted
        );
        let by_pod = json!({"runAsUser": 7});
        assert_eq!(
            of(none.clone(), by_pod, none.clone(), by_volumes),
            json!({})
        );
    }
    // A user that the node tells.
    let seen = json!({"linux": {"uid": 999, "gid": 99}});
    assert_eq!(
        of(none.clone(), none.clone(), seen, false),
        json!({"runAsUser": 999, "runAsGroup": 99})
    );
    // A user that nobody tells.
    let root = json!({"runAsUser": 0, "runAsNonRoot": false});
    assert_eq!(of(none.clone(), none.clone(), none.clone(), true), root);
    let mut looks = root;
    looks["capabilities"] = json!({"add": ["SYS_PTRACE"]});
    assert_eq!(of(none.clone(), none.clone(), none.clone(), false), looks);
    // Never root where the pod forbids it.
    let forbids = json!({"runAsNonRoot": true});
    assert_eq!(of(none.clone(), forbids, none.clone(), false), json!({}));
    // Less where volumes are enough.
    let much = json!({"runAsUser": 0, "privileged": true, "capabilities": {"add": ["SYS_ADMIN"]}});
    assert_eq!(
        of(much.clone(), none.clone(), none.clone(), true),
        json!({"runAsUser": 0, "capabilities": {}})
    );
    assert_eq!(of(much.clone(), none.clone(), none, false), much);
}

#[test]
fn a_user_that_is_asked_for_is_taken() {
    let container =
        json!({"name": "main", "securityContext": {"runAsUser": 5, "runAsNonRoot": true}});
    let found = found(container, Value::Null, Value::Null);
    assert_eq!(
        security(&found, Some(0), true),
        json!({"runAsUser": 0, "runAsNonRoot": false})
    );
    assert_eq!(
        security(&found, Some(6), true),
        json!({"runAsUser": 6, "runAsNonRoot": true})
    );
}
