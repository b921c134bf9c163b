//! A cluster with a node, and servers that are installed into it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use salvor_testkit::s3_server::S3Server;
use salvor_testkit::{process, required_path, required_var};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Run, command};

/// An address of the node that pods reach, and nobody outside of this machine.
const HOST: &str = "10.99.0.1";
pub(crate) const BUCKET: &str = "backups";
/// An image with a shell that the node has.
pub(crate) const BUSYBOX: &str = "localhost/busybox:1";

/// A server in a namespace of its own, with a bucket of its own. Both are gone with it.
pub(crate) struct Installed {
    pub(crate) namespace: String,
    image: String,
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    namespaces: Vec<String>,
    pub(crate) store: S3Server,
    pub(crate) home: TempDir,
}

impl Installed {
    /// Installs a server with all rights; `None`, said aloud, where there is no cluster.
    pub(crate) fn new(namespace: &str) -> Option<Self> {
        Self::with_options(namespace, "")
    }

    /// Installs a server and waits until it is ready and its location is available.
    pub(crate) fn with_options(namespace: &str, options: &str) -> Option<Self> {
        let this = Self::prepared(namespace)?;
        let rendered = this.rendered(options);
        this.apply(rendered.expect(0));
        this.kubectl("rollout status deployment/salvor --timeout=90s")
            .expect(0);
        this.wait("bsl/default", "{.status.phase}=Available");
        Some(this)
    }

    /// The definitions and the namespace only.
    pub(crate) fn prepared(namespace: &str) -> Option<Self> {
        let kubeconfig = required_path("SALVOR_E2E_NODE_KUBECONFIG")?;
        let image = required_var("SALVOR_E2E_IMAGE")?;
        let kubectl = required_path("SALVOR_KUBECTL_1_32")?;
        let store = process::or_skip(S3Server::start_at(HOST))?;
        store.create_bucket(BUCKET, false).expect("a bucket");
        let mut this = Self {
            namespace: namespace.to_owned(),
            image,
            kubectl,
            kubeconfig,
            namespaces: Vec::new(),
            store,
            home: tempfile::tempdir().expect("a folder"),
        };
        // First and waited for: kubectl looks all kinds of a file up before it creates any.
        let definitions = this.salvor("install --crds-only --dry-run -o yaml");
        this.apply(definitions.expect(0));
        this.kubectl("wait --for=condition=Established crd --all --timeout=60s")
            .expect(0);
        this.namespace(namespace);
        Some(this)
    }

    /// What `install` prints.
    fn rendered(&self, options: &str) -> Run {
        let credentials = self.home.path().join("credentials");
        let text = "[default]\naws_access_key_id = test\naws_secret_access_key = test\n";
        std::fs::write(&credentials, text).expect("written");
        let (image, url, credentials) = (
            &self.image,
            self.store.address(),
            credentials.display().to_string(),
        );
        self.salvor(&format!(
            "install --dry-run -o yaml {options} --image {image} --provider aws --bucket {BUCKET} \
             --secret-file {credentials} --use-volume-snapshots=false --backup-location-config \
             region=us-east-1,s3ForcePathStyle=true,s3Url=http://{url}"
        ))
    }

    /// Makes a namespace that goes at the end.
    pub(crate) fn namespace(&mut self, name: &str) {
        self.kubectl(&format!("create namespace {name}")).expect(0);
        self.namespaces.push(name.to_owned());
        // Pods are refused until it has an account.
        self.kubectl(&format!(
            "wait --for=create serviceaccount/default -n {name} --timeout=30s"
        ))
        .expect(0);
    }

    /// Deletes a namespace and waits until all in it is gone.
    pub(crate) fn lose(&self, name: &str) {
        self.kubectl(&format!("delete namespace {name} --timeout=120s"))
            .expect(0);
    }

    /// kubectl with words separated by spaces, in the server's namespace unless they name another.
    pub(crate) fn kubectl(&self, line: &str) -> Run {
        self.kubectl_with(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// kubectl with words that may contain spaces.
    pub(crate) fn kubectl_with(&self, words: &[&str]) -> Run {
        let mut kubectl = self.kubectl_command();
        kubectl.args(["--namespace", &self.namespace]);
        kubectl.args(words).stdin(Stdio::null());
        kubectl.output().expect("kubectl runs").into()
    }

    /// kubectl without a namespace.
    pub(crate) fn kubectl_command(&self) -> Command {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl
            .env("HOME", self.home.path())
            .env("NO_PROXY", "10.0.0.0/8")
            .arg("--kubeconfig")
            .arg(&self.kubeconfig);
        kubectl
    }

    /// Creates or updates what a document says.
    #[track_caller]
    pub(crate) fn apply(&self, text: &str) {
        self.fed(&["apply", "--filename", "-"], text).expect(0);
    }

    /// One request as it stands: `create` is a POST, `replace` a PUT.
    pub(crate) fn raw(&self, verb: &str, path: &str, body: &Value) -> Run {
        self.fed(&[verb, "--raw", path, "--filename", "-"], &body.to_string())
    }

    /// kubectl with something on its standard input.
    fn fed(&self, words: &[&str], text: &str) -> Run {
        let mut kubectl = self.kubectl_command();
        let mut child = kubectl
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl runs");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(text.as_bytes()).expect("it reads");
        drop(input);
        child.wait_with_output().expect("it ends").into()
    }

    /// Waits until a field of an object has a value: `backup/b`, `{.status.phase}=Completed`.
    #[track_caller]
    pub(crate) fn wait(&self, object: &str, condition: &str) {
        let line = format!("wait {object} --for=jsonpath={condition} --timeout=90s");
        let waited = self.kubectl(&line);
        if waited.code != 0 {
            let found = self.kubectl(&format!("get {object} -o yaml"));
            panic!("{line}: {}\n{}\n{}", waited.err, found.out, self.log());
        }
    }

    /// One object.
    #[track_caller]
    pub(crate) fn get(&self, line: &str) -> Value {
        let found = self.kubectl(&format!("get {line} -o json"));
        serde_json::from_str(found.expect(0)).expect("JSON")
    }

    /// A command in a pod, `-n shop pod/a` and words; what it prints.
    #[track_caller]
    pub(crate) fn exec(&self, place: &str, words: &[&str]) -> String {
        let mut line: Vec<&str> = vec!["exec"];
        line.extend(place.split_whitespace());
        line.push("--");
        line.extend(words);
        self.kubectl_with(&line).expect(0).to_owned()
    }

    /// The binary on this machine, asking the server.
    pub(crate) fn salvor(&self, line: &str) -> Run {
        self.salvor_as(&self.kubeconfig, line)
    }

    /// The server's image.
    pub(crate) fn image(&self) -> &str {
        &self.image
    }

    /// The kubeconfig of an administrator.
    pub(crate) fn kubeconfig(&self) -> &PathBuf {
        &self.kubeconfig
    }

    /// The same with a kubeconfig of somebody else.
    pub(crate) fn salvor_as(&self, kubeconfig: &PathBuf, line: &str) -> Run {
        let mut binary = command(self.home.path());
        binary.env("KUBECONFIG", kubeconfig);
        binary.args(["-n", &self.namespace]);
        binary.args(line.split_whitespace());
        binary.output().expect("the binary runs").into()
    }

    /// A kubeconfig with the token of a service account.
    pub(crate) fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let token = self.kubectl(&format!("create token {account} -n {namespace}"));
        let token = token.expect(0).trim();
        let text = std::fs::read_to_string(&self.kubeconfig).expect("a kubeconfig");
        let mut config: Value = serde_saphyr::from_str(&text).expect("YAML");
        config["users"][0]["user"] = serde_json::json!({"token": token});
        let path = self.home.path().join(format!("kubeconfig-{account}"));
        std::fs::write(&path, config.to_string()).expect("written");
        path
    }

    /// The server's only pod.
    pub(crate) fn server_pod(&self) -> Value {
        let pods = self.get("pods -l app.kubernetes.io/name=salvor");
        let pods = pods["items"].as_array().expect("a list");
        assert_eq!(pods.len(), 1, "{pods:?}");
        pods[0].clone()
    }

    /// What the servers of the namespace have said, for the message of a failed test.
    pub(crate) fn log(&self) -> String {
        let log = self.kubectl("logs -l app.kubernetes.io/name=salvor --tail=60");
        format!("{}{}", log.out, log.err)
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // Objects with the server's finalizers go first, while it is there to take them off; then its pods: a
        // namespace waits half a minute for pods that have a minute to end. What fails has nobody to go to.
        self.kubectl("delete restores,backups --all --timeout=60s");
        self.kubectl("delete deployment salvor --cascade=foreground --timeout=60s");
        let name = format!("salvor-{}", self.namespace);
        let kinds = "clusterrole,clusterrolebinding,mutatingwebhookconfiguration";
        self.kubectl(&format!(
            "delete {kinds} {name} {name}-hooks {name}-requests"
        ));
        let namespaces = self.namespaces.join(" ");
        self.kubectl(&format!("delete namespace {namespaces} --wait=false"));
    }
}
