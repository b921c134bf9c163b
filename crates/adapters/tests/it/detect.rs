//! What control plane a machine has, by fixtures of its file system: manifests as kubeadm of several releases writes them, units
//! as distributions and installers have them, and the processes of others.

use std::fs;
use std::path::Path;

use salvor_adapters::control_plane::detect::{Found, Kind, ProposalError, detect, propose};
use salvor_adapters::control_plane::{Component, Flavour, Plane, Reach};
use salvor_adapters::host::{Local, Ssh, SshAddress};
use tempfile::TempDir;

use crate::real::Real;
use crate::sshd::Sshd;

/// The file system of a machine.
struct Machine(TempDir);

impl Machine {
    fn new(name: &str) -> Self {
        let machine = Self(tempfile::tempdir().unwrap());
        machine.with("/etc/hostname", name)
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn with(self, path: &str, text: &str) -> Self {
        let path = self.root().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    /// As `kubeadm init` of a release leaves it.
    fn kubeadm(release: &Release, name: &str, ip: &str, others: &str) -> Self {
        let Release {
            version,
            registry,
            etcd,
            flags,
        } = release;
        let mut more = String::new();
        for flag in *flags {
            more.push_str(&format!("    - --{flag}\n"));
        }
        let etcd_manifest = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    kubeadm.kubernetes.io/etcd.advertise-client-urls: \
             https://{ip}:2379\n  creationTimestamp: null\n  labels:\n    component: etcd\n    tier: control-plane\n  name: etcd\n  \
             namespace: kube-system\nspec:\n  containers:\n  - command:\n    - etcd\n    - --advertise-client-urls=https://{ip}:2379\n    \
             - --cert-file=/etc/kubernetes/pki/etcd/server.crt\n    - --client-cert-auth=true\n    - --data-dir=/var/lib/etcd\n{more}    \
             - --initial-advertise-peer-urls=https://{ip}:2380\n    - --initial-cluster={others}{name}=https://{ip}:2380\n    \
             - --key-file=/etc/kubernetes/pki/etcd/server.key\n    - --listen-client-urls=https://127.0.0.1:2379,https://{ip}:2379\n    \
             - --listen-metrics-urls=http://127.0.0.1:2381\n    - --listen-peer-urls=https://{ip}:2380\n    - --name={name}\n    \
             - --peer-cert-file=/etc/kubernetes/pki/etcd/peer.crt\n    - --peer-client-cert-auth=true\n    \
             - --peer-key-file=/etc/kubernetes/pki/etcd/peer.key\n    - --peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt\n    \
             - --snapshot-count=10000\n    - --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt\n    image: {registry}/etcd:{etcd}\n    \
             imagePullPolicy: IfNotPresent\n    livenessProbe:\n      failureThreshold: 8\n      httpGet:\n        host: 127.0.0.1\n        \
             path: /health\n        port: 2381\n        scheme: HTTP\n    name: etcd\n    resources:\n      requests:\n        cpu: 100m\n    \
             volumeMounts:\n    - mountPath: /var/lib/etcd\n      name: etcd-data\n    - mountPath: /etc/kubernetes/pki/etcd\n      \
             name: etcd-certs\n  hostNetwork: true\n  priorityClassName: system-node-critical\n  volumes:\n  - hostPath:\n      \
             path: /etc/kubernetes/pki/etcd\n      type: DirectoryOrCreate\n    name: etcd-certs\n  - hostPath:\n      \
             path: /var/lib/etcd\n      type: DirectoryOrCreate\n    name: etcd-data\nstatus: {{}}\n"
        );
        let server = format!(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\n  namespace: kube-system\nspec:\n  containers:\n  - command:\n    \
             - kube-apiserver\n    - --advertise-address={ip}\n    - --allow-privileged=true\n    \
             - --encryption-provider-config=/etc/enc/config.yaml\n    - --etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt\n    \
             - --etcd-certfile=/etc/kubernetes/pki/apiserver-etcd-client.crt\n    \
             - --etcd-keyfile=/etc/kubernetes/pki/apiserver-etcd-client.key\n    - --etcd-servers=https://127.0.0.1:2379\n    \
             image: {registry}/kube-apiserver:v{version}\n    name: kube-apiserver\n    volumeMounts:\n    \
             - mountPath: /etc/enc\n      name: enc\n      readOnly: true\n    - mountPath: /etc/kubernetes/pki\n      name: k8s-certs\n  \
             volumes:\n  - hostPath:\n      path: /srv/secrets/encryption\n    name: enc\n  - hostPath:\n      \
             path: /etc/kubernetes/pki\n    name: k8s-certs\n"
        );
        let manager = "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - command:\n    - kube-controller-manager\n    \
                       - --bind-address=127.0.0.1\n    - --cluster-name=prod\n    name: kube-controller-manager\n";
        Self::new(name)
            .with("/etc/kubernetes/manifests/etcd.yaml", &etcd_manifest)
            .with("/etc/kubernetes/manifests/kube-apiserver.yaml", &server)
            .with(
                "/etc/kubernetes/manifests/kube-controller-manager.yaml",
                manager,
            )
            .with("/etc/kubernetes/manifests/.kubelet-keep", "")
            .with(
                "/usr/lib/systemd/system/kubelet.service",
                "[Service]\nExecStart=/usr/bin/kubelet\n",
            )
            .with(
                "/var/lib/kubelet/config.yaml",
                "kind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests\n",
            )
    }

    async fn found(&self) -> Found {
        detect(&Local::new("here"), self.root()).await.unwrap()
    }

    async fn described(&self) -> Result<Plane, ProposalError> {
        propose(&[(Reach::Local {}, self.found().await)])
    }
}

/// What changed between releases of kubeadm.
struct Release {
    version: &'static str,
    registry: &'static str,
    etcd: &'static str,
    flags: &'static [&'static str],
}

const RELEASES: [Release; 6] = [
    Release {
        version: "1.20.2",
        registry: "k8s.gcr.io",
        etcd: "3.4.13-0",
        flags: &[],
    },
    Release {
        version: "1.22.17",
        registry: "k8s.gcr.io",
        etcd: "3.5.0-0",
        flags: &["experimental-initial-corrupt-check=true"],
    },
    Release {
        version: "1.26.0",
        registry: "registry.k8s.io",
        etcd: "3.5.6-0",
        flags: &[
            "experimental-initial-corrupt-check=true",
            "experimental-watch-progress-notify-interval=5s",
        ],
    },
    Release {
        version: "1.29.3",
        registry: "registry.k8s.io",
        etcd: "3.5.12-0",
        flags: &[
            "experimental-initial-corrupt-check=true",
            "experimental-watch-progress-notify-interval=5s",
        ],
    },
    Release {
        version: "1.31.0",
        registry: "mirror.example.com:5000/k8s",
        etcd: "3.5.15-0@sha256:0000",
        flags: &[
            "experimental-initial-corrupt-check=true",
            "experimental-watch-progress-notify-interval=5s",
        ],
    },
    Release {
        version: "1.33.1",
        registry: "registry.k8s.io",
        etcd: "3.5.21-0",
        flags: &[
            "feature-gates=InitialCorruptCheck=true",
            "watch-progress-notify-interval=5s",
        ],
    },
];

#[tokio::test]
async fn static_pods_of_every_release_of_kubeadm_are_read() {
    for release in &RELEASES {
        let machine = Machine::kubeadm(release, "m1", "10.0.0.1", "");
        let found = machine.found().await;
        let version = release.version;
        assert_eq!(found.host, "m1", "{version}");
        let manifests = "/etc/kubernetes/manifests".into();
        assert_eq!(
            found.flavour,
            Some(Kind::Kubeadm { manifests }),
            "{version}"
        );
        assert_eq!(found.cluster.as_deref(), Some("prod"));
        let etcd = found.etcd.as_ref().expect("etcd");
        assert_eq!(etcd.name, "m1");
        assert_eq!(etcd.data_directory, Path::new("/var/lib/etcd"));
        assert_eq!(etcd.peer_urls, ["https://10.0.0.1:2380"]);
        assert_eq!(etcd.client_urls, ["https://10.0.0.1:2379"]);
        assert_eq!(etcd.initial_cluster, ["m1=https://10.0.0.1:2380"]);
        let tag = release.etcd.split('-').next();
        assert_eq!(etcd.version.as_deref(), tag);
        let of =
            |path: &Option<std::path::PathBuf>| path.clone().expect("a path").display().to_string();
        assert_eq!(
            of(&etcd.certificates.key),
            "/etc/kubernetes/pki/etcd/server.key"
        );
        assert_eq!(
            of(&etcd.peer_certificates.authorities),
            "/etc/kubernetes/pki/etcd/ca.crt"
        );
        let server = found.api_server.as_ref().expect("an API server");
        assert_eq!(server.version.as_deref(), Some(version));
        // Where it is on the machine, not in the pod.
        assert_eq!(
            of(&server.encryption),
            "/srv/secrets/encryption/config.yaml"
        );
        assert_eq!(
            of(&server.etcd_certificates.certificate),
            "/etc/kubernetes/pki/apiserver-etcd-client.crt"
        );

        let plane = machine.described().await.unwrap();
        assert_eq!(plane.cluster, "prod");
        assert_eq!(
            plane.files,
            [Path::new("/srv/secrets/encryption/config.yaml")]
        );
        assert_eq!(plane.token, "");
        let manifests = "/etc/kubernetes/manifests".into();
        assert_eq!(plane.flavour, Flavour::Kubeadm { manifests });
    }
}

#[tokio::test]
async fn three_machines_are_one_description_and_two_of_them_are_none() {
    let release = &RELEASES[3];
    let m1 = Machine::kubeadm(release, "m1", "10.0.0.1", "")
        .found()
        .await;
    let m2 = Machine::kubeadm(release, "m2", "10.0.0.2", "m1=https://10.0.0.1:2380,")
        .found()
        .await;
    let others = "m1=https://10.0.0.1:2380,m2=https://10.0.0.2:2380,";
    let m3 = Machine::kubeadm(release, "m3", "10.0.0.3", others)
        .found()
        .await;
    let reach = |name: &str| {
        let address = name.to_owned();
        Reach::Ssh(SshAddress {
            address,
            port: None,
            key: None,
            known_hosts: None,
        })
    };
    let all = [(reach("m1"), m1), (reach("m2"), m2), (reach("m3"), m3)];
    let plane = propose(&all).unwrap();
    assert_eq!(
        plane.initial_cluster(),
        "m1=https://10.0.0.1:2380,m2=https://10.0.0.2:2380,m3=https://10.0.0.3:2380"
    );
    assert_eq!(plane.members[2].reach, reach("m3"));
    let error = propose(&all[1..]).unwrap_err().to_string();
    assert!(error.contains("m1=https://10.0.0.1:2380"), "{error}");
    assert!(matches!(
        propose(&all[2..]),
        Err(ProposalError::Others { .. })
    ));
}

#[tokio::test]
async fn a_manifest_that_an_unfinished_run_put_aside_counts() {
    let machine = Machine::kubeadm(&RELEASES[0], "m1", "10.0.0.1", "");
    let root = machine.root().join("etc/kubernetes");
    fs::create_dir(root.join("salvor-stopped")).unwrap();
    fs::rename(
        root.join("manifests/etcd.yaml"),
        root.join("salvor-stopped/etcd.yaml"),
    )
    .unwrap();
    let found = machine.found().await;
    assert_eq!(found.etcd.as_ref().expect("etcd").name, "m1");
    assert!(
        found
            .remarks
            .iter()
            .any(|one| one.contains("salvor-stopped/etcd.yaml")),
        "{:?}",
        found.remarks
    );
    assert_eq!(machine.described().await.unwrap().members.len(), 1);
}

#[tokio::test]
async fn units_are_read_with_their_variables_files_and_drop_ins() {
    let unit = "[Unit]\nDescription=etcd\n[Service]\nType=notify\nWorkingDirectory=/var/lib/etcd\nEnvironment=ETCD_NAME=%H\n\
                EnvironmentFile=-/etc/default/etcd\nExecStart=/usr/local/bin/etcd \\\n  --data-dir=${DATA} \\\n  \
                # kept for later\n  --wal-dir /srv/wal \\\n  --initial-cluster ${ALL}\n[Install]\nWantedBy=multi-user.target\n";
    let server = "[Service]\nExecStart=/usr/local/bin/kube-apiserver \\\n  --etcd-servers=https://10.0.0.1:2379 \\\n  \
                  --encryption-provider-config=/var/lib/kubernetes/encryption-config.yaml\n";
    let machine = Machine::new("node-1")
        .with("/etc/systemd/system/etcd.service", unit)
        .with("/lib/systemd/system/etcd.service", "[Service]\nExecStart=/usr/bin/etcd --name=packaged\n")
        .with("/etc/systemd/system/etcd.service.d/10-more.conf", "[Service]\nEnvironment=ALL=node-1=https://10.0.0.1:2380\n")
        .with(
            "/etc/default/etcd",
            "# set by the installer\nDATA=/srv/etcd\nETCD_INITIAL_ADVERTISE_PEER_URLS=\"https://10.0.0.1:2380\"\n\
             ETCD_ADVERTISE_CLIENT_URLS=https://10.0.0.1:2379\nETCD_INITIAL_CLUSTER_TOKEN=tkn\nETCD_TRUSTED_CA_FILE=/etc/etcd/ca.pem\n",
        )
        .with("/etc/systemd/system/kube-apiserver.service", server)
        .with("/etc/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/bin/kubelet\n");
    let found = machine.found().await;
    let Some(Kind::Systemd { units }) = &found.flavour else {
        panic!("{found:?}")
    };
    assert_eq!(units[&Component::Etcd], "etcd");
    let etcd = found.etcd.as_ref().expect("etcd");
    assert_eq!(
        (etcd.name.as_str(), etcd.token.as_deref()),
        ("node-1", Some("tkn"))
    );
    assert_eq!(etcd.data_directory, Path::new("/srv/etcd"));
    assert_eq!(etcd.wal_directory.as_deref(), Some(Path::new("/srv/wal")));
    assert_eq!(etcd.peer_urls, ["https://10.0.0.1:2380"]);
    assert_eq!(etcd.from, "/etc/systemd/system/etcd.service");
    assert_eq!(
        etcd.certificates.authorities.as_deref(),
        Some(Path::new("/etc/etcd/ca.pem"))
    );
    let plane = machine.described().await.unwrap();
    assert_eq!(plane.members[0].name, "node-1");
    let Flavour::Systemd { units } = &plane.flavour else {
        panic!("{plane:?}")
    };
    assert!(!units.contains_key(&Component::KubeScheduler), "{units:?}");
}

#[tokio::test]
async fn a_configuration_file_is_all_that_counts() {
    let machine = Machine::new("n")
        .with("/etc/systemd/system/etcd.service", "[Service]\nExecStart=/usr/bin/etcd --config-file=/etc/etcd.yml --name=no\n")
        .with(
            "/etc/etcd.yml",
            "name: yes1\ndata-dir: /d\nadvertise-client-urls: https://a:2379\ninitial-advertise-peer-urls: https://a:2380\n\
             peer-transport-security: {cert-file: /p.crt}\nclient-transport-security: {key-file: /c.key}\n",
        );
    let etcd = machine.found().await.etcd.expect("etcd");
    assert_eq!(
        (etcd.name.as_str(), etcd.data_directory.to_str()),
        ("yes1", Some("/d"))
    );
    assert_eq!(
        etcd.peer_certificates.certificate.as_deref(),
        Some(Path::new("/p.crt"))
    );
    assert_eq!(etcd.certificates.key.as_deref(), Some(Path::new("/c.key")));
}

#[tokio::test]
async fn what_is_not_supported_is_told_by_its_name() {
    for (unit, name, says) in [
        ("k3s", "k3s", "--cluster-reset-restore-path"),
        ("rke2-server", "rke2", "rke2 server"),
        ("k0scontroller", "k0s", "k0s restore"),
        ("snap.microk8s.daemon-kubelite", "microk8s", "dqlite"),
    ] {
        let path = format!("/etc/systemd/system/{unit}.service");
        // An etcd of somebody else on the same machine changes nothing of that.
        let machine = Machine::new("n")
            .with(&path, "[Service]\nExecStart=/usr/local/bin/x server\n")
            .with(
                "/lib/systemd/system/etcd.service",
                "[Service]\nExecStart=/usr/bin/etcd\n",
            );
        let found = machine.found().await;
        assert!(
            matches!(&found.flavour, Some(Kind::Unsupported { name: one, .. }) if one == name),
            "{found:?}"
        );
        let error = machine.described().await.unwrap_err().to_string();
        assert!(error.contains(says) && error.contains(name), "{error}");
    }
}

#[tokio::test]
async fn nothing_masked_and_damaged_files_are_no_control_plane() {
    let nothing = Machine::new("bare");
    let found = nothing.found().await;
    assert_eq!(found.flavour, None);
    assert!(
        found
            .looked
            .contains(&"/etc/kubernetes/manifests/*.yaml".to_owned())
    );
    let error = nothing.described().await.unwrap_err().to_string();
    assert!(
        error.contains("bare") && error.contains("/etc/systemd/system"),
        "{error}"
    );

    let damaged = Machine::new("n")
        .with("/etc/kubernetes/manifests/etcd.yaml", "kind: [Pod\n")
        .with(
            "/etc/kubernetes/manifests/kube-apiserver.yaml",
            "kind: Pod\nspec: {containers: 7}\n",
        )
        .with("/etc/systemd/system/etcd.service", "");
    let found = damaged.found().await;
    assert_eq!(found.flavour, None);
    assert_eq!(
        found
            .remarks
            .iter()
            .filter(|one| one.contains("no static pod"))
            .count(),
        2,
        "{:?}",
        found.remarks
    );
    assert!(
        found.remarks.iter().any(|one| one.contains("masked")),
        "{:?}",
        found.remarks
    );

    let other = Machine::new("n").with(
        "/etc/kubernetes/manifests/kube-apiserver.yaml",
        "kind: Pod\nspec: {containers: [{name: kube-apiserver, command: [kube-apiserver, '--etcd-servers=https://e:2379']}]}\n",
    );
    let error = other.described().await.unwrap_err().to_string();
    assert!(
        error.contains("https://e:2379") && error.contains("commands"),
        "{error}"
    );
}

#[tokio::test]
async fn processes_that_nobody_is_known_to_start_are_told_with_their_flags() {
    let Some(real) = Real::start("3_5_16") else {
        return;
    };
    let machine = Machine::new("n");
    let proc = machine.root().join("proc");
    fs::create_dir(&proc).unwrap();
    let id = real.process("m2");
    std::os::unix::fs::symlink(format!("/proc/{id}"), proc.join(id.to_string())).unwrap();
    let found = machine.found().await;
    assert_eq!(found.flavour, Some(Kind::Processes { ids: vec![id] }));
    let etcd = found.etcd.as_ref().expect("etcd");
    let setting = real.setting();
    let member = &setting.plane.members[1];
    assert_eq!(etcd.name, member.name);
    assert_eq!(etcd.data_directory, member.data_directory);
    assert_eq!(
        (&etcd.peer_urls, &etcd.client_urls),
        (&member.peer_urls, &member.client_urls)
    );
    assert_eq!(etcd.initial_cluster.len(), 3);
    let error = machine.described().await.unwrap_err().to_string();
    assert!(error.contains("commands"), "{error}");
}

#[tokio::test]
async fn a_machine_is_asked_by_ssh_as_this_one_is() {
    let Some(sshd) = Sshd::start() else { return };
    let machine = Machine::kubeadm(&RELEASES[4], "m1", "10.0.0.1", "");
    let there = Ssh::new("there", sshd.address("host"));
    let found = detect(&there, machine.root()).await.unwrap();
    assert_eq!(found, machine.found().await);
    let stranger = Ssh::new("there", sshd.address("stranger"));
    assert!(detect(&stranger, machine.root()).await.is_err());
}
