//! One test bed: its folder, its servers, and how they are started and stopped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::node::{self, Node};
use super::process::{LOCAL, Process};
use crate::{command, kubernetes, paths, tools};

/// How a test bed is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// etcd's space quota; its own default is 2 GiB.
    pub(crate) etcd_quota_bytes: Option<u64>,
    /// An existing data directory instead of an empty one.
    pub(crate) etcd_data: Option<PathBuf>,
    pub(crate) apiserver_flags: Vec<String>,
    pub(crate) controllers: bool,
    /// With a scheduler and a kubelet: pods run. A machine has room for one such test bed.
    pub(crate) node: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            etcd_quota_bytes: None,
            etcd_data: None,
            apiserver_flags: Vec::new(),
            controllers: true,
            node: false,
        }
    }
}

/// A test bed; nothing needs to exist yet.
pub(crate) struct Bed {
    cache: PathBuf,
    folder: PathBuf,
}

/// Loopback ports that were free a moment ago.
struct Ports {
    etcd_client: u16,
    etcd_peer: u16,
    apiserver: u16,
}

/// Where the API server listens.
struct Endpoint {
    address: &'static str,
    port: u16,
}

/// A file that says that the folder is ours to delete.
const MARKER: &str = "salvor-testbed";

/// Without controllers that need nodes, a cloud or a certificate authority of the cluster.
const CONTROLLERS: &str = "*,-attachdetach,-cloud-node-lifecycle,-csrapproving,-csrcleaner,\
-csrsigning,-nodeipam,-nodelifecycle,-route,-service,-ttl";
/// The same where there is a node.
const CONTROLLERS_WITH_NODE: &str = "*,-cloud-node-lifecycle,-csrapproving,-csrcleaner,-csrsigning,\
-nodeipam,-route,-service";

impl Bed {
    /// `folder` is deleted by `down`; it must be an absolute path.
    pub(crate) fn new(cache: &Path, folder: PathBuf) -> Bed {
        Bed {
            cache: cache.to_path_buf(),
            folder,
        }
    }

    pub(crate) fn name(&self) -> String {
        self.folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Base URL of etcd, plain http.
    pub(crate) fn etcd_endpoint(&self) -> Result<String, String> {
        Ok(format!(
            "http://127.0.0.1:{}",
            paths::read(&self.etcd_port_file())?.trim()
        ))
    }

    /// `ready`, `failing` (processes run, the API server does not answer) or `stopped`.
    pub(crate) fn state(&self) -> &'static str {
        if !self.process("kube-apiserver").is_running() {
            "stopped"
        } else if self.raw("/readyz").is_ok() {
            "ready"
        } else {
            "failing"
        }
    }

    /// Starts the test bed from an empty state, or leaves it alone when it is ready.
    ///
    /// # Errors
    /// Ends with the last log lines of the server that did not start.
    pub(crate) fn up(&self, settings: &Settings) -> Result<(), String> {
        let _lock = paths::lock(&self.cache.join("testbeds"))?;
        if self.state() == "ready" {
            eprintln!("test bed `{}` is ready", self.name());
            return Ok(());
        }
        // A port that was free may be taken before the server binds it.
        let attempts = 3;
        for attempt in 1..=attempts {
            self.down(false)?;
            match self.start(settings) {
                Err(error) if attempt < attempts && error.contains("address already in use") => {
                    eprintln!("a port was taken meanwhile, once more");
                }
                Ok(()) => return Ok(()),
                Err(error) => {
                    // The folder stays, for its logs.
                    self.down(true)?;
                    return Err(error);
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Stops the servers; one that is not running is fine.
    pub(crate) fn down(&self, keep: bool) -> Result<(), String> {
        if !self.folder.exists() {
            return Ok(());
        }
        if !self.folder.join(MARKER).is_file() {
            return Err(format!(
                "{} is not a test bed's folder (it has no `{MARKER}`): choose another name or --dir",
                self.folder.display()
            ));
        }
        // Before the API server, so that the kubelet starts no pod anew.
        self.node().stop()?;
        let servers = [
            "kube-scheduler",
            "kube-controller-manager",
            "kube-apiserver",
            "etcd",
        ];
        for name in servers {
            self.process(name).stop()?;
        }
        if keep {
            Ok(())
        } else {
            paths::remove_folder(&self.folder)
        }
    }

    fn start(&self, settings: &Settings) -> Result<(), String> {
        let Settings {
            etcd_quota_bytes,
            etcd_data,
            apiserver_flags,
            controllers,
            node,
        } = settings;
        paths::create_folder(&self.folder)?;
        paths::write(&self.folder.join(MARKER), "")?;
        let ports = Ports::find()?;
        let mut flags = apiserver_flags.clone();
        let mut endpoint = Endpoint {
            address: "127.0.0.1",
            port: ports.apiserver,
        };
        if *node {
            flags.extend(self.node().prepare()?);
            (endpoint.address, endpoint.port) = node::API_SERVER;
        }
        let data = etcd_data
            .clone()
            .unwrap_or_else(|| self.folder.join("etcd"));
        self.start_etcd(&ports, &data, *etcd_quota_bytes)?;
        self.start_apiserver(&endpoint, &flags, *controllers)?;
        if *controllers {
            self.start_controllers(*node)?;
        }
        if *node {
            self.start_scheduler()?;
            let program = self.kubernetes_program("kubelet");
            let kubectl = || self.kubectl();
            self.node().start(&program, &self.kubeconfig(), &kubectl)?;
        }
        Ok(())
    }

    /// Brings an image archive into the node's store.
    ///
    /// # Errors
    /// There is no node, or it refuses the archive.
    pub(crate) fn import(&self, archive: &Path) -> Result<(), String> {
        self.node().import(archive)
    }

    fn start_etcd(&self, ports: &Ports, data: &Path, quota: Option<u64>) -> Result<(), String> {
        let client = format!("http://127.0.0.1:{}", ports.etcd_client);
        let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
        let mut etcd = Command::new("etcd");
        // Settings of an etcd that the user runs are not for this one.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
            etcd.env_remove(name);
        }
        etcd.args(["--name", "default", "--logger", "zap", "--data-dir"])
            .arg(data);
        etcd.args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ]);
        etcd.args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        etcd.args(["--initial-cluster", &format!("default={peer}")]);
        if let Some(bytes) = quota {
            etcd.args(["--quota-backend-bytes", &bytes.to_string()]);
        }
        let process = self.process("etcd");
        process.start(&mut etcd)?;
        paths::write(&self.etcd_port_file(), &ports.etcd_client.to_string())?;
        process.wait_for(|| etcd_is_healthy(ports.etcd_client))
    }

    fn start_apiserver(
        &self,
        endpoint: &Endpoint,
        flags: &[String],
        controllers: bool,
    ) -> Result<(), String> {
        let folder = self.folder.display();
        let token = random_hex()?;
        let restricted = random_hex()?;
        let users =
            format!("{token},admin,admin,\"system:masters\"\n{restricted},restricted,restricted\n");
        self.write_secret("tokens.csv", &users)?;
        let mut openssl = Command::new("openssl");
        openssl.args([
            "genrsa",
            "-out",
            &format!("{folder}/service-account.key"),
            "2048",
        ]);
        command::output(&mut openssl)?;

        let mut server = Command::new(self.kubernetes_program("kube-apiserver"));
        server.arg(format!("--etcd-servers={}", self.etcd_endpoint()?));
        server.arg(format!("--cert-dir={folder}/certificates"));
        server.arg(format!("--secure-port={}", endpoint.port));
        server.arg(format!("--bind-address={}", endpoint.address));
        // The address in the `kubernetes` Endpoints, which may not be a loopback one.
        server.arg(format!("--advertise-address={}", node::ADDRESS));
        server.arg(format!("--token-auth-file={folder}/tokens.csv"));
        server.arg("--authorization-mode=RBAC");
        server.arg("--service-account-issuer=https://kubernetes.default.svc");
        server.arg(format!(
            "--service-account-signing-key-file={folder}/service-account.key"
        ));
        server.arg(format!(
            "--service-account-key-file={folder}/service-account.key"
        ));
        server.arg("--service-cluster-ip-range=10.96.0.0/16");
        server.arg("--allow-privileged=true");
        if !controllers {
            // Nobody would make the service account that every pod then waits for.
            server.arg("--disable-admission-plugins=ServiceAccount");
        }
        server.args(flags);
        let process = self.process("kube-apiserver");
        process.start(&mut server)?;

        let certificate = self.folder.join("certificates/apiserver.crt");
        process.wait_for(|| certificate.is_file())?;
        let certificate = std::fs::read(&certificate)
            .map_err(|error| format!("read {}: {error}", certificate.display()))?;
        let kubeconfig = kubeconfig(endpoint, &certificate, &token, &restricted);
        self.write_secret("kubeconfig", &kubeconfig)?;
        process.wait_for(|| {
            self.raw("/readyz").is_ok() && self.raw("/api/v1/namespaces/default").is_ok()
        })
    }

    fn start_controllers(&self, with_node: bool) -> Result<(), String> {
        let folder = self.folder.display();
        let mut manager = Command::new(self.kubernetes_program("kube-controller-manager"));
        manager.arg(format!("--kubeconfig={folder}/kubeconfig"));
        manager.arg(format!(
            "--service-account-private-key-file={folder}/service-account.key"
        ));
        manager.arg(format!(
            "--root-ca-file={folder}/certificates/apiserver.crt"
        ));
        let controllers = match with_node {
            true => CONTROLLERS_WITH_NODE,
            false => CONTROLLERS,
        };
        manager.arg(format!("--controllers={controllers}"));
        // No listening ports: nothing asks for its health but we, by what it does.
        manager.args(["--leader-elect=false", "--port=0", "--secure-port=0"]);
        let process = self.process("kube-controller-manager");
        process.start(&mut manager)?;
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        process.wait_for(|| self.raw(account).is_ok())
    }

    fn start_scheduler(&self) -> Result<(), String> {
        let mut scheduler = Command::new(self.kubernetes_program("kube-scheduler"));
        scheduler.arg(format!("--kubeconfig={}", self.kubeconfig().display()));
        scheduler.args(["--leader-elect=false", "--port=0", "--secure-port=0"]);
        // That it works is seen by the first pod.
        self.process("kube-scheduler").start(&mut scheduler)
    }

    /// What the API server answers to an administrator's GET.
    fn raw(&self, path: &str) -> Result<String, String> {
        let mut kubectl = self.kubectl();
        command::output(kubectl.args(["get", "--raw", path]))
    }

    /// kubectl as an administrator.
    fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(tools::kubectl(&self.cache));
        kubectl.arg("--kubeconfig").arg(self.kubeconfig());
        // Proxies are for other hosts.
        kubectl.env("NO_PROXY", LOCAL).env("no_proxy", LOCAL);
        kubectl.arg("--request-timeout=3s");
        kubectl
    }

    fn node(&self) -> Node<'_> {
        Node {
            folder: &self.folder,
        }
    }

    fn process(&self, name: &'static str) -> Process<'_> {
        Process {
            folder: &self.folder,
            name,
        }
    }

    fn kubernetes_program(&self, name: &str) -> PathBuf {
        self.cache.join(kubernetes::FOLDER).join(name)
    }

    fn etcd_port_file(&self) -> PathBuf {
        self.folder.join("etcd.port")
    }

    fn write_secret(&self, name: &str, content: &str) -> Result<(), String> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = self.folder.join(name);
        File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&file)
            .and_then(|mut open| open.write_all(content.as_bytes()))
            .map_err(|error| format!("write {}: {error}", file.display()))
    }
}

impl Ports {
    fn find() -> Result<Ports, String> {
        let listen = || TcpListener::bind(("127.0.0.1", 0));
        let found = || -> std::io::Result<Ports> {
            // All three are held at once so that they differ.
            let (first, second, third) = (listen()?, listen()?, listen()?);
            Ok(Ports {
                etcd_client: first.local_addr()?.port(),
                etcd_peer: second.local_addr()?.port(),
                apiserver: third.local_addr()?.port(),
            })
        };
        found().map_err(|error| format!("find a free loopback port: {error}"))
    }
}

fn etcd_is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"health\":\"true\""))
}

fn random_hex() -> Result<String, String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| format!("read /dev/urandom: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn kubeconfig(endpoint: &Endpoint, certificate: &[u8], admin: &str, restricted: &str) -> String {
    let certificate = base64(certificate);
    let Endpoint { address, port } = endpoint;
    format!(
        "\
apiVersion: v1
kind: Config
current-context: admin
clusters:
- name: testbed
  cluster:
    server: https://{address}:{port}
    certificate-authority-data: {certificate}
contexts:
- name: admin
  context: {{cluster: testbed, user: admin}}
- name: restricted
  context: {{cluster: testbed, user: restricted}}
users:
- name: admin
  user: {{token: {admin}}}
- name: restricted
  user: {{token: {restricted}}}
"
    )
}

/// RFC 4648 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk
            .iter()
            .fold(0u32, |group, byte| group << 8 | u32::from(*byte));
        let group = group << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let index = (group >> (18 - 6 * position)) & 63;
            let digit = if position <= chunk.len() {
                ALPHABET[index as usize]
            } else {
                b'='
            };
            text.push(char::from(digit));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_base64_as_in_the_examples_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text, "{bytes}");
        }
    }
}
