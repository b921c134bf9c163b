//! The pod that moves one volume.
//!
//! It is made after the agent's own: the same image, account settings of the cloud, certificates and folders, so that
//! whoever changes the DaemonSet changes the movers. It gets one directory of the node and the password of one
//! repository.

use salvor_api::labels::{EXCLUDE_FROM_BACKUP, label_value};
use salvor_api::velero::BackupStorageLocation;
use serde_json::{Value, json};

use crate::objects::{Direction, MANAGED_BY, Movement};

/// Name of the movers' service account.
pub const ACCOUNT: &str = "salvor-mover";
/// Label of mover pods: the node agent finds its own by it.
pub const COMPONENT: (&str, &str) = ("app.kubernetes.io/name", "salvor-mover");
/// Where the volume is.
pub(super) const VOLUME: &str = "/volume";
/// Where the password is.
const KEY: &str = "/run/salvor/key";
/// Where Secrets are that the location refers to: `<folder>/<secret>/<key>`.
const SECRETS: &str = "/run/salvor/secrets";
/// In the Secret of a mover.
pub(super) const PASSWORD: &str = "password";
/// Seconds to stop at a safe point and to say so.
pub(super) const GRACE: u32 = 30;

/// What root needs to read what others own; and to make it as it was.
const READS: &[&str] = &["DAC_READ_SEARCH"];
const WRITES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "MKNOD",
    "SETFCAP",
];

/// What movers may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MoverResources {
    /// Processor that each asks for; `0` for none.
    pub cpu_request: String,
    /// Memory that each asks for.
    pub memory_request: String,
    /// Processor that each may use; `0` for no limit.
    pub cpu_limit: String,
    /// Memory that each may use.
    pub memory_limit: String,
}

impl Default for MoverResources {
    /// The limit is twice the highest peak that was measured (258 MiB, 20 GB in one file, five million files 237 MiB:
    /// `docs/benchmarks.md`), as it counts what the kernel keeps of files as well. The request is what small volumes
    /// need: a mover is put on its node without the scheduler, and a kubelet refuses what has no room there; and where
    /// memory runs out, who uses more than it asked for goes before the applications. One core keeps those going.
    fn default() -> Self {
        Self {
            cpu_request: "100m".to_owned(),
            memory_request: "128Mi".to_owned(),
            cpu_limit: "1".to_owned(),
            memory_limit: "512Mi".to_owned(),
        }
    }
}

impl MoverResources {
    fn to_json(&self) -> Value {
        let some = |cpu: &String, memory: &String| {
            let pairs = [("cpu", cpu), ("memory", memory)];
            let given = pairs
                .into_iter()
                .filter(|(_, text)| !matches!(text.as_str(), "" | "0"));
            Value::Object(
                given
                    .map(|(key, text)| (key.to_owned(), json!(text)))
                    .collect(),
            )
        };
        json!({
            "requests": some(&self.cpu_request, &self.memory_request),
            "limits": some(&self.cpu_limit, &self.memory_limit),
        })
    }
}

/// What a mover pod is made of.
pub(super) struct Mover<'a> {
    pub(super) namespace: &'a str,
    pub(super) movement: &'a Movement,
    /// The agent's own pod.
    pub(super) agent: &'a Value,
    /// Directory of the node with the volume's files.
    pub(super) directory: &'a str,
    pub(super) location: &'a BackupStorageLocation,
    pub(super) machine_made: bool,
    pub(super) resources: &'a MoverResources,
    pub(super) privileged: bool,
}

/// The Secret with the password of one repository. It goes with its object.
pub(super) fn secret(namespace: &str, movement: &Movement, password: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": metadata(namespace, movement),
        "stringData": {PASSWORD: password},
    })
}

/// Why the cluster does not take a mover, and what to do where Pod Security is why.
pub(super) fn refused(error: &str, namespace: &str) -> String {
    let mut text = format!("the mover pod is refused: {error}");
    if error.contains("PodSecurity") {
        text.push_str(
            "; movers mount directories of their node: `kubectl label --overwrite namespace ",
        );
        text.push_str(namespace);
        text.push_str(" pod-security.kubernetes.io/enforce=privileged`");
    }
    text
}

fn metadata(namespace: &str, movement: &Movement) -> Value {
    let of = match movement.direction {
        Direction::Backup => "velero.io/pod-volume-backup",
        Direction::Restore => "velero.io/pod-volume-restore",
    };
    json!({
        "name": movement.name, "namespace": namespace,
        "labels": {
            COMPONENT.0: COMPONENT.1, MANAGED_BY.0: MANAGED_BY.1, EXCLUDE_FROM_BACKUP: "true",
            of: label_value(&movement.name),
        },
        "ownerReferences": movement.owner(),
    })
}

impl Mover<'_> {
    pub(super) fn pod(&self) -> Value {
        let agent = &self.agent["spec"];
        let mut metadata = metadata(self.namespace, self.movement);
        metadata["annotations"] =
            json!({"sidecar.istio.io/inject": "false", "linkerd.io/inject": "disabled"});
        metadata["labels"]["sidecar.istio.io/inject"] = json!("false");
        let mut spec = json!({
            "serviceAccountName": ACCOUNT,
            "restartPolicy": "Never",
            // Where its volume is, whatever else is to be there.
            "nodeName": self.movement.node,
            "tolerations": [{"operator": "Exists"}],
            "terminationGracePeriodSeconds": GRACE,
            "enableServiceLinks": false,
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [self.container()],
            "volumes": self.volumes(),
        });
        for field in [
            "imagePullSecrets",
            "dnsPolicy",
            "dnsConfig",
            "hostAliases",
            "hostNetwork",
            "priorityClassName",
        ] {
            if !agent[field].is_null() {
                spec[field] = agent[field].clone();
            }
        }
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    fn container(&self) -> Value {
        let agent = &self.agent["spec"]["containers"][0];
        let (direction, name) = (self.movement.direction, &self.movement.name);
        let mut arguments = vec![
            "mover".to_owned(),
            direction.word().to_owned(),
            name.clone(),
            format!("--namespace={}", self.namespace),
            format!("--directory={VOLUME}"),
            format!("--password-file={KEY}/{PASSWORD}"),
            format!("--secrets={SECRETS}"),
        ];
        if self.machine_made {
            arguments.push("--machine-made".to_owned());
        }
        let is_ours =
            |one: &&Value| !matches!(one["name"].as_str(), Some("POD_NAME" | "NODE_NAME"));
        let mut env: Vec<Value> = agent["env"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(is_ours)
            .cloned()
            .collect();
        env.push(
            json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        );
        let reads = direction == Direction::Backup;
        let mut mounts = self.inherited("volumeMounts");
        mounts.push(json!({"name": "salvor-volume", "mountPath": VOLUME, "readOnly": reads}));
        mounts.push(json!({"name": "salvor-key", "mountPath": KEY, "readOnly": true}));
        for secret in self.secrets() {
            let path = format!("{SECRETS}/{secret}");
            mounts.push(json!({"name": volume_of(&secret), "mountPath": path, "readOnly": true}));
        }
        let capabilities = if reads { READS } else { WRITES };
        let mut security = json!({
            "runAsUser": 0, "runAsGroup": 0,
            "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": capabilities},
        });
        if self.privileged {
            security = json!({"runAsUser": 0, "runAsGroup": 0, "readOnlyRootFilesystem": true, "privileged": true});
        }
        json!({
            "name": "mover",
            "image": agent["image"], "imagePullPolicy": agent["imagePullPolicy"],
            "args": arguments, "env": env, "volumeMounts": mounts,
            "resources": self.resources.to_json(),
            "securityContext": security,
            // What it says last is why it failed.
            "terminationMessagePolicy": "FallbackToLogsOnError",
        })
    }

    /// Volumes or mounts of the agent, but for the token of its account.
    fn inherited(&self, field: &str) -> Vec<Value> {
        let spec = &self.agent["spec"];
        let list = match field {
            "volumes" => &spec["volumes"],
            _ => &spec["containers"][0]["volumeMounts"],
        };
        let is_token = |one: &&Value| {
            let mounted = one["mountPath"].as_str().unwrap_or_default();
            let name = one["name"].as_str().unwrap_or_default();
            mounted.starts_with("/var/run/secrets/kubernetes.io/")
                || name.starts_with("kube-api-access-")
                || name.contains("-token-")
        };
        list.as_array()
            .into_iter()
            .flatten()
            .filter(|one| !is_token(one))
            .cloned()
            .collect()
    }

    fn volumes(&self) -> Vec<Value> {
        let mut volumes = self.inherited("volumes");
        volumes.push(json!({"name": "salvor-volume",
            "hostPath": {"path": self.directory, "type": "Directory"}}));
        volumes.push(json!({"name": "salvor-key",
            "secret": {"secretName": self.movement.name, "defaultMode": 0o400}}));
        for secret in self.secrets() {
            let source = json!({"secretName": secret, "defaultMode": 0o400});
            volumes.push(json!({"name": volume_of(&secret), "secret": source}));
        }
        volumes
    }

    /// Secrets that the location refers to.
    fn secrets(&self) -> Vec<String> {
        let spec = &self.location.spec;
        let selectors = [&spec.credential, &spec.object_storage.ca_cert_ref];
        let mut names: Vec<String> = selectors
            .into_iter()
            .flatten()
            .map(|selector| selector.name.clone())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

/// A volume's name has 63 characters, none of them a dot; a Secret's may have more.
fn volume_of(secret: &str) -> String {
    label_value(&format!("secret-{}", secret.replace('.', "-")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn made(direction: Direction) -> Value {
        let object = json!({"metadata": {"name": "b-1", "uid": "u"}, "spec": {"node": "n1"},
            "status": {"node": "n1"}});
        let movement = Movement::read(direction, &object).expect("an object");
        let agent = json!({"spec": {
            "hostNetwork": true,
            "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "kube-api-access-x"}],
            "containers": [{"image": "salvor:1", "imagePullPolicy": "Never",
                "env": [{"name": "HOME", "value": "/tmp"}, {"name": "POD_NAME"}, {"name": "NODE_NAME"}],
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"},
                    {"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
        }});
        let mut location = BackupStorageLocation::named("velero", "default");
        location.spec.credential = Some(salvor_api::meta::SecretKeySelector {
            name: "cloud.credentials".to_owned(),
            key: "cloud".to_owned(),
            optional: None,
        });
        let mover = Mover {
            namespace: "velero",
            movement: &movement,
            agent: &agent,
            directory: "/srv/pv-1",
            location: &location,
            machine_made: true,
            resources: &MoverResources::default(),
            privileged: false,
        };
        mover.pod()
    }

    #[test]
    fn what_pod_security_refuses_is_told_with_the_label() {
        let said =
            "pods \"m\" is forbidden: violates PodSecurity \"restricted:latest\": hostPath volumes";
        let told = refused(said, "velero");
        assert!(
            told.contains(said)
                && told.contains("namespace velero pod-security.kubernetes.io/enforce=privileged")
        );
        assert!(!refused("exceeded quota", "velero").contains("label"));
    }

    #[test]
    fn a_mover_is_like_its_agent_but_for_what_it_moves() {
        let pod = made(Direction::Backup);
        let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
        assert_eq!(spec["hostNetwork"], true);
        assert_eq!(spec["nodeName"], "n1");
        assert_eq!(container["image"], "salvor:1");
        assert_eq!(container["imagePullPolicy"], "Never");
        let names = |list: &Value| -> Vec<String> {
            let names = list.as_array().expect("a list").iter();
            names
                .map(|one| one["name"].as_str().unwrap_or_default().to_owned())
                .collect()
        };
        assert_eq!(
            names(&spec["volumes"]),
            [
                "tmp",
                "salvor-volume",
                "salvor-key",
                "secret-cloud-credentials"
            ]
        );
        assert_eq!(names(&container["volumeMounts"]), names(&spec["volumes"]));
        assert_eq!(names(&container["env"]), ["HOME", "POD_NAME"]);
        assert_eq!(pod["metadata"]["ownerReferences"][0]["uid"], "u");
    }

    #[test]
    fn a_mover_that_reads_cannot_write_and_none_has_more_than_it_needs() {
        let backup = made(Direction::Backup);
        let container = &backup["spec"]["containers"][0];
        assert_eq!(
            container["securityContext"]["capabilities"]["add"],
            json!(["DAC_READ_SEARCH"])
        );
        let data = container["volumeMounts"].as_array().expect("a list").iter();
        let data: Vec<&Value> = data
            .filter(|mount| mount["name"] == "salvor-volume")
            .collect();
        assert_eq!(data[0]["readOnly"], true);
        let restore = made(Direction::Restore);
        let security = &restore["spec"]["containers"][0]["securityContext"];
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["privileged"], Value::Null);
    }
}
