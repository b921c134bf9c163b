//! Where the files of a pod's volume lie on its node.
//!
//! Nothing is looked at on a disk: the answer follows from the pod, its volume and the kubelet's folder. A directory that
//! is not there shows when a mover is to mount it.

use serde_json::Value;

/// Where kubelets keep their pods unless they are told otherwise.
pub const KUBELET_ROOT: &str = "/var/lib/kubelet";

/// Where the kubelet mounts volumes, below its folder and the pod's: `kubernetes.io~<plugin>/<name>`. By the field of the
/// volume's source.
const PLUGINS: &[(&str, &str)] = &[
    ("awsElasticBlockStore", "kubernetes.io~aws-ebs"),
    ("azureDisk", "kubernetes.io~azure-disk"),
    ("azureFile", "kubernetes.io~azure-file"),
    ("cephfs", "kubernetes.io~cephfs"),
    ("cinder", "kubernetes.io~cinder"),
    ("csi", CSI),
    ("emptyDir", "kubernetes.io~empty-dir"),
    ("fc", "kubernetes.io~fc"),
    ("gcePersistentDisk", "kubernetes.io~gce-pd"),
    ("glusterfs", "kubernetes.io~glusterfs"),
    ("iscsi", "kubernetes.io~iscsi"),
    // Also where the volume is a formatted disk: its own path is no directory then.
    ("local", "kubernetes.io~local-volume"),
    ("nfs", "kubernetes.io~nfs"),
    ("portworxVolume", "kubernetes.io~portworx-volume"),
    ("quobyte", "kubernetes.io~quobyte"),
    ("rbd", "kubernetes.io~rbd"),
    ("scaleIO", "kubernetes.io~scaleio"),
    ("storageos", "kubernetes.io~storageos"),
    ("vsphereVolume", "kubernetes.io~vsphere-volume"),
];
const CSI: &str = "kubernetes.io~csi";
/// What the API server brings into pods: objects, which backups have as objects.
const OF_OBJECTS: &[&str] = &["configMap", "downwardAPI", "projected", "secret"];
/// By which a volume of a plugin in Kubernetes' own tree says that a CSI driver has taken over.
const MIGRATED: &str = "pv.kubernetes.io/migrated-to";

/// Name of the claim of a pod's volume; `None` for one without.
#[must_use]
pub fn claim_of(pod: &Value, volume: &str) -> Option<String> {
    let found = volume_of(pod, volume)?;
    if let Some(claim) = found["persistentVolumeClaim"]["claimName"].as_str() {
        return Some(claim.to_owned());
    }
    // A claim that lives with its pod has a name made of both.
    let pod = pod["metadata"]["name"].as_str()?;
    found["ephemeral"]
        .is_object()
        .then(|| format!("{pod}-{volume}"))
}

/// The directory with the files of a pod's volume, on the node. `persistent` is the persistent volume of its claim.
///
/// # Errors
/// Why it cannot be copied file by file, for people.
pub fn directory(
    pod: &Value,
    volume: &str,
    persistent: Option<&Value>,
    kubelet_root: &str,
) -> Result<String, String> {
    let found = volume_of(pod, volume).ok_or_else(|| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        format!("pod {name} has no volume `{volume}`")
    })?;
    if is_raw(pod, volume) {
        return Err(raw());
    }
    if claim_of(pod, volume).is_some() {
        let persistent = persistent.ok_or("its claim is not bound to a volume")?;
        return of_persistent(pod, persistent, kubelet_root);
    }
    if found["hostPath"].is_object() {
        return Err(
            "it is a directory of the node that the pod names itself (hostPath): use a claim, or back the node up"
                .to_owned(),
        );
    }
    if let Some(kind) = OF_OBJECTS.iter().find(|kind| !found[**kind].is_null()) {
        return Err(format!(
            "it shows objects of the cluster ({kind}), which are backed up as objects"
        ));
    }
    below_kubelet(pod, found, volume, kubelet_root)
}

/// Whether the node has mounted the pod's volumes: its containers begin afterwards. `Err` when they are not mounted any
/// more.
pub(crate) fn is_mounted(pod: &Value) -> Result<bool, String> {
    let status = &pod["status"];
    match status["phase"].as_str().unwrap_or_default() {
        phase @ ("Succeeded" | "Failed") => {
            return Err(format!(
                "the pod has ended ({phase}): its volumes are not mounted"
            ));
        }
        "Running" => return Ok(true),
        _ => {}
    }
    let begun = |container: &Value| {
        let state = &container["state"];
        state["running"].is_object() || state["terminated"].is_object()
    };
    let containers = ["initContainerStatuses", "containerStatuses"];
    let mut statuses = containers
        .iter()
        .filter_map(|list| status[*list].as_array())
        .flatten();
    Ok(statuses.any(begun))
}

fn volume_of<'a>(pod: &'a Value, volume: &str) -> Option<&'a Value> {
    let volumes = pod["spec"]["volumes"].as_array()?;
    volumes.iter().find(|found| found["name"] == volume)
}

fn raw() -> String {
    "it is a raw block device (volumeMode: Block), which has no files: it takes a snapshot"
        .to_owned()
}

fn is_raw(pod: &Value, volume: &str) -> bool {
    let lists = ["containers", "initContainers"];
    let containers = lists
        .iter()
        .filter_map(|list| pod["spec"][*list].as_array())
        .flatten();
    containers
        .filter_map(|container| container["volumeDevices"].as_array())
        .flatten()
        .any(|device| device["name"] == volume)
}

fn of_persistent(pod: &Value, persistent: &Value, root: &str) -> Result<String, String> {
    let (spec, metadata) = (&persistent["spec"], &persistent["metadata"]);
    let name = metadata["name"].as_str().unwrap_or_default();
    if spec["volumeMode"] == "Block" {
        return Err(raw());
    }
    if let Some(host) = spec["hostPath"].as_object() {
        let kind = host.get("type").and_then(Value::as_str).unwrap_or_default();
        if !matches!(kind, "" | "Directory" | "DirectoryOrCreate") {
            return Err(format!(
                "volume {name} is no directory but a {kind} of the node"
            ));
        }
        let path = host.get("path").and_then(Value::as_str).unwrap_or_default();
        return absolute(path).ok_or_else(|| format!("volume {name} has no usable path: `{path}`"));
    }
    if !metadata["annotations"][MIGRATED].is_null() {
        let folder = folder_of(pod, root)?;
        return Ok(format!("{folder}/{CSI}/{}/mount", segment(name)?));
    }
    below_kubelet(pod, spec, name, root)
}

/// Below the kubelet's folder of the pod, by the source that `spec` has.
fn below_kubelet(pod: &Value, spec: &Value, name: &str, root: &str) -> Result<String, String> {
    let folder = folder_of(pod, root)?;
    let name = segment(name)?;
    if let Some(driver) = spec["flexVolume"]["driver"].as_str() {
        let driver = segment(&driver.replacen('/', "~", 1))?.to_owned();
        return Ok(format!("{folder}/{driver}/{name}"));
    }
    let plugin = PLUGINS.iter().find(|(field, _)| !spec[*field].is_null());
    match plugin {
        Some((_, CSI)) => Ok(format!("{folder}/{CSI}/{name}/mount")),
        Some((_, plugin)) => Ok(format!("{folder}/{plugin}/{name}")),
        // Without a source it is an emptyDir.
        None if spec.get("accessModes").is_none() && only_a_name(spec) => {
            Ok(format!("{folder}/kubernetes.io~empty-dir/{name}"))
        }
        None => Err(format!(
            "where volume {name} lies on its node is not known: its kind is not"
        )),
    }
}

fn only_a_name(volume: &Value) -> bool {
    volume
        .as_object()
        .is_some_and(|fields| fields.keys().all(|key| key == "name"))
}

fn folder_of(pod: &Value, root: &str) -> Result<String, String> {
    let metadata = &pod["metadata"];
    let annotation = |name: &str| metadata["annotations"][name].as_str();
    // The kubelet knows a pod that it has from a file by another identity than the API server.
    let uid = match annotation("kubernetes.io/config.mirror") {
        Some(_) => annotation("kubernetes.io/config.hash"),
        None => metadata["uid"].as_str(),
    };
    let root = absolute(root).ok_or_else(|| format!("`{root}` is no folder of a kubelet"))?;
    Ok(format!(
        "{root}/pods/{}/volumes",
        segment(uid.unwrap_or_default())?
    ))
}

/// A name that is one folder.
fn segment(name: &str) -> Result<&str, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~');
    if name.is_empty() || name.chars().all(|c| c == '.') || !name.chars().all(good) {
        return Err(format!("`{name}` is no name of a folder"));
    }
    Ok(name)
}

/// A path from the root that goes nowhere else on its way, without a slash at its end.
fn absolute(path: &str) -> Option<String> {
    let inside = path.strip_prefix('/')?.trim_end_matches('/');
    let good = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
    // The root itself is never the volume of anybody.
    inside.split('/').all(good).then(|| format!("/{inside}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const UID: &str = "0b7c1d7e-0000-4000-8000-000000000001";

    fn pod(volume: Value) -> Value {
        json!({"metadata": {"name": "db-0", "uid": UID},
            "spec": {"volumes": [volume], "containers": [{"name": "main"}]}})
    }

    fn persistent(source: &str, value: Value) -> Value {
        json!({"metadata": {"name": "pv-1"}, "spec": {"accessModes": ["ReadWriteOnce"], source: value}})
    }

    #[test]
    fn each_kind_of_claim_has_its_place() {
        let pod = pod(json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}));
        let below = |rest: &str| format!("/var/lib/kubelet/pods/{UID}/volumes/{rest}");
        for (source, value, expected) in [
            (
                "hostPath",
                json!({"path": "/srv/local/pv-1/", "type": "DirectoryOrCreate"}),
                "/srv/local/pv-1".to_owned(),
            ),
            (
                "local",
                json!({"path": "/mnt/disks/a"}),
                below("kubernetes.io~local-volume/pv-1"),
            ),
            (
                "csi",
                json!({"driver": "x"}),
                below("kubernetes.io~csi/pv-1/mount"),
            ),
            (
                "nfs",
                json!({"server": "x"}),
                below("kubernetes.io~nfs/pv-1"),
            ),
            (
                "awsElasticBlockStore",
                json!({}),
                below("kubernetes.io~aws-ebs/pv-1"),
            ),
            (
                "flexVolume",
                json!({"driver": "acme/disk"}),
                below("acme~disk/pv-1"),
            ),
        ] {
            let volume = persistent(source, value);
            assert_eq!(
                directory(&pod, "data", Some(&volume), KUBELET_ROOT),
                Ok(expected),
                "{source}"
            );
        }
        let mut migrated = persistent("awsElasticBlockStore", json!({}));
        migrated["metadata"]["annotations"] = json!({MIGRATED: "ebs.csi.aws.com"});
        assert_eq!(
            directory(&pod, "data", Some(&migrated), "/data/kubelet"),
            Ok(format!(
                "/data/kubelet/pods/{UID}/volumes/kubernetes.io~csi/pv-1/mount"
            ))
        );
        assert_eq!(claim_of(&pod, "data").as_deref(), Some("data-db-0"));
    }

    #[test]
    fn volumes_that_live_with_the_pod_are_found_by_their_own_name() {
        let place = |volume: Value| directory(&pod(volume), "v", None, KUBELET_ROOT);
        let below = |rest: &str| Ok(format!("/var/lib/kubelet/pods/{UID}/volumes/{rest}"));
        assert_eq!(
            place(json!({"name": "v", "emptyDir": {}})),
            below("kubernetes.io~empty-dir/v")
        );
        assert_eq!(
            place(json!({"name": "v"})),
            below("kubernetes.io~empty-dir/v")
        );
        assert_eq!(
            place(json!({"name": "v", "csi": {"driver": "d"}})),
            below("kubernetes.io~csi/v/mount")
        );
        let ephemeral = pod(json!({"name": "v", "ephemeral": {"volumeClaimTemplate": {}}}));
        assert_eq!(claim_of(&ephemeral, "v").as_deref(), Some("db-0-v"));
        let of_file = json!({"metadata": {"name": "etcd", "uid": UID, "annotations": {
            "kubernetes.io/config.mirror": "abc", "kubernetes.io/config.hash": "abc"}},
            "spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
        assert_eq!(
            directory(&of_file, "v", None, KUBELET_ROOT),
            Ok("/var/lib/kubelet/pods/abc/volumes/kubernetes.io~empty-dir/v".to_owned())
        );
    }

    #[test]
    fn what_has_no_files_of_its_own_is_refused_with_the_reason() {
        let refused = |volume: Value, persistent: Option<Value>| {
            directory(&pod(volume), "v", persistent.as_ref(), KUBELET_ROOT).expect_err("refused")
        };
        let claim = || json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}});
        for (volume, persistent, said) in [
            (json!({"name": "v", "secret": {}}), None, "objects"),
            (
                json!({"name": "v", "hostPath": {"path": "/etc"}}),
                None,
                "hostPath",
            ),
            (
                json!({"name": "v", "image": {"reference": "x"}}),
                None,
                "not known",
            ),
            (json!({"name": "w", "emptyDir": {}}), None, "no volume `v`"),
            (claim(), None, "not bound"),
            (
                claim(),
                Some(
                    json!({"metadata": {"name": "pv-1"}, "spec": {"volumeMode": "Block", "csi": {}}}),
                ),
                "Block",
            ),
            (
                claim(),
                Some(persistent(
                    "hostPath",
                    json!({"path": "/dev/sda", "type": "BlockDevice"}),
                )),
                "BlockDevice",
            ),
        ] {
            let reason = refused(volume, persistent);
            assert!(reason.contains(said), "{reason}");
        }
        let mut raw = pod(claim());
        raw["spec"]["containers"][0]["volumeDevices"] =
            json!([{"name": "v", "devicePath": "/dev/x"}]);
        let volume = persistent("csi", json!({}));
        assert!(directory(&raw, "v", Some(&volume), KUBELET_ROOT).is_err());
    }

    #[test]
    fn hostile_names_lead_nowhere() {
        let claim = pod(json!({"name": "v", "persistentVolumeClaim": {"claimName": "c"}}));
        for path in ["", "relative", "/", "/a/../b", "/a//b", "/a/./b", "/.."] {
            let volume = persistent("hostPath", json!({"path": path}));
            assert!(
                directory(&claim, "v", Some(&volume), KUBELET_ROOT).is_err(),
                "{path}"
            );
        }
        for name in ["", ".", "..", "../x", "a/b", "a\0"] {
            let mut volume = persistent("csi", json!({}));
            volume["metadata"]["name"] = json!(name);
            assert!(
                directory(&claim, "v", Some(&volume), KUBELET_ROOT).is_err(),
                "{name}"
            );
            let mut pod = pod(json!({"name": "v", "emptyDir": {}}));
            pod["metadata"]["uid"] = json!(name);
            assert!(directory(&pod, "v", None, KUBELET_ROOT).is_err(), "{name}");
        }
        let flex = persistent("flexVolume", json!({"driver": "../../etc"}));
        assert!(directory(&claim, "v", Some(&flex), KUBELET_ROOT).is_err());
    }

    #[test]
    fn volumes_are_there_when_a_container_has_begun() {
        let status = |status: Value| is_mounted(&json!({"status": status}));
        assert_eq!(status(json!({"phase": "Running"})), Ok(true));
        assert_eq!(status(json!({"phase": "Pending"})), Ok(false));
        let waiting =
            json!({"phase": "Pending", "initContainerStatuses": [{"state": {"waiting": {}}}]});
        assert_eq!(status(waiting), Ok(false));
        let begun =
            json!({"phase": "Pending", "initContainerStatuses": [{"state": {"running": {}}}]});
        assert_eq!(status(begun), Ok(true));
        assert!(status(json!({"phase": "Succeeded"})).is_err());
    }
}
