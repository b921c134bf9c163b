//! The node of a test bed: containerd, kubelet and a bridge between the pods, on this machine.
//!
//! containerd and kubelet share a mount namespace of their own. What they mount (volumes, the file systems of
//! containers) is seen by nobody else and ends with them, and the folders that Kubernetes fixes, such as
//! /var/log/pods, are folders of the test bed in there. What a namespace does not hold is in [`machine`].
//!
//! There is no kube-proxy: the API server itself listens at the address of the service `kubernetes`, so that
//! pods find it as in every cluster.

mod images;
mod machine;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use super::process::Process;
use crate::{Outcome, command, debian, paths};

/// The node's own address; a loopback one is refused.
pub(super) const ADDRESS: &str = "10.99.0.1";
/// Address and port of the service `kubernetes`: the first of the range.
pub(super) const API_SERVER: (&str, u16) = ("10.96.0.1", 443);
/// Name of the node.
const NAME: &str = "node1";
/// The bridge, the network, and what is before the names of its files.
const NETWORK: &str = "salvor-bed";
/// Later servers have it without being asked.
const EPHEMERAL_CONTAINERS: &str = "EphemeralContainers";
/// The cgroup above those of the pods.
const CGROUP: &str = "/salvor-bed";

/// What a node is made of.
const PACKAGES: &[&str] = &[
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iproute2",
    "busybox-static",
];

/// Folders of the test bed, and where containerd and kubelet see them. The latter are fixed in their sources.
const FOLDERS: &[(&str, &str)] = &[
    ("node/kubelet", "/var/lib/kubelet"),
    ("node/network", "/var/lib/cni"),
    ("node/logs/pods", "/var/log/pods"),
    ("node/logs/containers", "/var/log/containers"),
    ("node/run", "/run/containerd"),
];

/// Mounts the folders and becomes containerd.
const ENTER: &str = r#"
set -eu
mount --make-rshared /
while [ "$1" != -- ]; do mount --bind "$1" "$2"; shift 2; done
shift
exec "$@"
"#;

/// The node of the test bed in a folder; nothing needs to exist yet.
pub(super) struct Node<'a> {
    pub(super) folder: &'a Path,
}

/// Checks that this machine can have a node, and installs what it is made of.
///
/// # Errors
/// The user is not root, or packages are missing and cannot be installed.
pub(crate) fn require() -> Outcome {
    if !command::is_root() {
        return Err(
            "a node needs root: it makes mounts, cgroups and network addresses; \
                    run this as root, or leave --node out"
                .to_owned(),
        );
    }
    debian::install(PACKAGES)
}

impl Node<'_> {
    /// Takes the machine and makes what the API server needs: its address and flags for it.
    ///
    /// # Errors
    /// Another test bed has the node of this machine, or an address cannot be added.
    pub(super) fn prepare(&self) -> Result<Vec<String>, String> {
        machine::claim(self.folder)?;
        for (folder, _) in FOLDERS {
            paths::create_folder(&self.folder.join(folder))?;
        }
        machine::prepare(self.folder)?;
        // The kubelet believes whoever shows this certificate, which only the API server has.
        let file = |name: &str| self.file(name).display().to_string();
        let (certificate, key) = (file("api-server.crt"), file("api-server.key"));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
        ]);
        openssl.args([
            "-subj",
            "/CN=api-server",
            "-out",
            &certificate,
            "-keyout",
            &key,
        ]);
        command::output(&mut openssl)?;
        Ok(vec![
            format!("--kubelet-client-certificate={certificate}"),
            format!("--kubelet-client-key={key}"),
            // Names of nodes do not resolve.
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            // Webhooks behind a service are called at the addresses of its pods: its own leads nowhere.
            "--enable-aggregator-routing=true".to_owned(),
            format!("--feature-gates={EPHEMERAL_CONTAINERS}=true"),
        ])
    }

    /// Starts containerd and kubelet, and waits until a pod has run.
    ///
    /// # Errors
    /// Ends with the log of what did not start, or with what the cluster says about the pod.
    pub(super) fn start(
        &self,
        kubelet: &Path,
        kubeconfig: &Path,
        kubectl: &dyn Fn() -> Command,
    ) -> Outcome {
        self.start_containerd()?;
        for image in images::make(&self.file(""))? {
            self.import(&image)?;
        }
        self.start_kubelet(kubelet, kubeconfig, kubectl)?;
        self.run_a_pod(kubectl)
    }

    /// Brings an image archive into the node's store.
    ///
    /// # Errors
    /// There is no node, or it refuses the archive.
    pub(super) fn import(&self, archive: &Path) -> Outcome {
        command::output(self.ctr().args(["images", "import"]).arg(archive))?;
        Ok(())
    }

    /// Ends everything of the node, also what is left of one that was killed; without a node nothing happens.
    pub(super) fn stop(&self) -> Outcome {
        if !self.folder.join("node").is_dir() {
            return Ok(());
        }
        self.kubelet().stop()?;
        if self.containerd().is_running() {
            self.end_containers();
        }
        self.containerd().stop()?;
        machine::clean(self.folder)?;
        // The next node is not to take these for its own.
        paths::remove_folder(&self.folder.join("node"))
    }

    /// In good order, so that the shims remove what is theirs. What stays is ended in any case.
    fn end_containers(&self) {
        let Ok(list) = command::output(self.ctr().args(["tasks", "list", "--quiet"])) else {
            return;
        };
        for task in list.split_whitespace() {
            let mut delete = self.ctr();
            // containerd ends some by itself meanwhile.
            let _ = command::output(delete.args(["tasks", "delete", "--force", task]));
        }
    }

    fn start_containerd(&self) -> Outcome {
        let config = self.file("containerd.toml");
        paths::write(&config, &self.containerd_config())?;
        paths::create_folder(&self.file("networks"))?;
        let network = self.file("networks").join("10-bed.conflist");
        paths::write(&network, &self.network_config().to_string())?;
        let mut containerd = Command::new("unshare");
        containerd.args(["--mount", "--propagation", "private"]);
        containerd.args(["sh", "-c", ENTER, "sh"]);
        for (folder, place) in FOLDERS {
            containerd.arg(self.folder.join(folder)).arg(place);
        }
        containerd
            .args(["--", "containerd", "--config"])
            .arg(config);
        let process = self.containerd();
        process.start(&mut containerd)?;
        process.wait_for(|| command::output(self.ctr().arg("version")).is_ok())?;
        let plugins = command::output(self.ctr().args(["plugins", "list"]))?;
        let is_up = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1) == Some(&"cri") && words.last() == Some(&"ok")
        };
        if plugins.lines().any(is_up) {
            Ok(())
        } else {
            Err(process.with_log("containerd has no container runtime interface"))
        }
    }

    fn start_kubelet(
        &self,
        program: &Path,
        kubeconfig: &Path,
        kubectl: &dyn Fn() -> Command,
    ) -> Outcome {
        let config = self.file("kubelet.json");
        paths::write(&config, &self.kubelet_config().to_string())?;
        let pid = self.containerd().pid().ok_or("containerd ended")?;
        let mut kubelet = Command::new("nsenter");
        kubelet
            .arg(format!("--mount=/proc/{pid}/ns/mnt"))
            .arg(program);
        kubelet.arg(format!("--config={}", config.display()));
        kubelet.arg(format!("--kubeconfig={}", kubeconfig.display()));
        kubelet.arg(format!(
            "--cert-dir={}",
            self.file("certificates").display()
        ));
        kubelet.arg("--container-runtime=remote");
        kubelet.arg(format!(
            "--container-runtime-endpoint=unix://{}",
            self.socket().display()
        ));
        kubelet.arg(format!("--hostname-override={NAME}"));
        kubelet.arg(format!("--node-ip={ADDRESS}"));
        let process = self.kubelet();
        process.start(&mut kubelet)?;
        process.wait_for(|| {
            let mut get = kubectl();
            get.args(["get", "node", NAME, "--output=json"]);
            let node = command::output(&mut get).ok();
            node.and_then(|text| serde_json::from_str(&text).ok())
                .is_some_and(|node: Value| is_ready(&node))
        })
    }

    /// A machine that cannot run containers says so here, and not in the first test.
    fn run_a_pod(&self, kubectl: &dyn Fn() -> Command) -> Outcome {
        let pod = self.file("pod.json");
        paths::write(&pod, &a_pod().to_string())?;
        command::output(kubectl().args(["create", "--filename"]).arg(&pod))?;
        let phase = || {
            let mut get = kubectl();
            get.args(["get", "pod", "testbed", "--output=jsonpath={.status.phase}"]);
            command::output(&mut get)
        };
        let ran = command::wait_until("the first pod", Duration::from_secs(90), || {
            match phase()?.as_str() {
                "Succeeded" => Ok(true),
                "Failed" => Err("the first pod failed".to_owned()),
                _ => Ok(false),
            }
        });
        if let Err(error) = ran {
            let told = command::output(kubectl().args(["describe", "pod", "testbed"]));
            let told = told.unwrap_or_else(|error| error);
            return Err(self.kubelet().with_log(&format!("{error}:\n{told}")));
        }
        let mut delete = kubectl();
        delete.args(["delete", "pod", "testbed", "--wait=false"]);
        command::output(&mut delete).map(drop)
    }

    fn ctr(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.socket());
        ctr.args(["--namespace", "k8s.io"]);
        ctr
    }

    fn containerd_config(&self) -> String {
        let (node, socket) = (self.file(""), self.socket());
        let (node, socket) = (node.display(), socket.display());
        format!(
            r#"version = 2
root = "{node}/containerd"
state = "{node}/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt"]

[grpc]
address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
# Containers may not have a better score than containerd, which needs a capability that nested machines lack.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{node}/networks"
"#,
            pause = images::PAUSE
        )
    }

    fn network_config(&self) -> Value {
        let addresses = json!({"type": "host-local", "dataDir": "/var/lib/cni/networks",
            "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]});
        // No masquerading: pods talk to each other and to this machine, and nothing is written into iptables.
        json!({"cniVersion": "0.4.0", "name": NETWORK, "plugins": [
            {"type": "bridge", "bridge": NETWORK, "isGateway": true, "ipMasq": false,
             "hairpinMode": true, "ipam": addresses},
            {"type": "loopback"}]})
    }

    fn kubelet_config(&self) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "address": ADDRESS, "readOnlyPort": 0, "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": false}, "webhook": {"enabled": false},
                "x509": {"clientCAFile": self.file("api-server.crt")}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs", "cgroupRoot": CGROUP, "cgroupsPerQOS": true,
            "enforceNodeAllocatable": [], "failSwapOn": false, "makeIPTablesUtilChains": false,
            "volumePluginDir": self.file("volume-plugins"),
            // The disk of a build machine is fuller than a node's should be.
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%",
                "nodefs.inodesFree": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
            // Pods that start and end many times in a test are not to wait.
            "featureGates": {EPHEMERAL_CONTAINERS: true},
            "syncFrequency": "10s", "registryPullQPS": 0, "eventRecordQPS": 0,
        })
    }

    fn containerd(&self) -> Process<'_> {
        self.process("containerd")
    }

    fn kubelet(&self) -> Process<'_> {
        self.process("kubelet")
    }

    fn process(&self, name: &'static str) -> Process<'_> {
        Process {
            folder: self.folder,
            name,
        }
    }

    /// Beside the folder `node`: the path of a socket may have about 100 bytes.
    fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join("node").join(name)
    }
}

fn is_ready(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn a_pod() -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "testbed", "namespace": "default"},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [
            {"name": "c", "image": images::BUSYBOX, "imagePullPolicy": "Never", "command": ["true"]}]}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_ready_when_its_condition_says_so() {
        let node = |status: &str| {
            json!({"status": {"conditions": [
                {"type": "MemoryPressure", "status": "False"}, {"type": "Ready", "status": status}]}})
        };
        assert!(is_ready(&node("True")));
        assert!(!is_ready(&node("False")) && !is_ready(&node("Unknown")));
        assert!(!is_ready(&json!({"kind": "Node"})), "it says nothing yet");
    }
}
