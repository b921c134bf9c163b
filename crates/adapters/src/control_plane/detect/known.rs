//! Distributions that keep their control plane to themselves.

/// The units that each is known by, its name, and what to do instead.
pub(super) const DISTRIBUTIONS: [(&[&str], &str, &str); 5] = [
    (
        &["k3s"],
        "k3s",
        "k3s runs etcd and the API server inside of one process: `salvor etcd snapshot save` and `etcd stream` work with the \
         certificates in /var/lib/rancher/k3s/server/tls/etcd; to go back, run `k3s server --cluster-reset \
         --cluster-reset-restore-path=FILE` with the saved file",
    ),
    (
        &["rke2-server", "rke2-agent"],
        "rke2",
        "rke2 writes the manifests of its control plane itself and would write them again: `salvor etcd snapshot save` and `etcd \
         stream` work with the certificates in /var/lib/rancher/rke2/server/tls/etcd; to go back, run `rke2 server \
         --cluster-reset --cluster-reset-restore-path=FILE` with the saved file",
    ),
    (
        &["k0scontroller"],
        "k0s",
        "k0s starts etcd and the API server itself: `salvor etcd snapshot save` works with the certificates in \
         /var/lib/k0s/pki/etcd; to go back, use `k0s restore`",
    ),
    (
        &[
            "snap.microk8s.daemon-kubelite",
            "snap.microk8s.daemon-k8s-dqlite",
        ],
        "microk8s",
        "microk8s keeps its objects in dqlite, not in etcd: use `microk8s dbctl backup` and `microk8s dbctl restore`",
    ),
    (
        &["k3s-agent"],
        "k3s (agent)",
        "an agent of k3s has no control plane: look at the machines of its servers",
    ),
];
