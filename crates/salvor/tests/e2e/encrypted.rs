//! Objects that a real API server encrypted at rest, read out of a snapshot with the keys of its configuration.

use std::ffi::OsString;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_cluster::{ApiResource, DeleteOptions, WriteOptions};
use salvor_testkit::process::Server;
use salvor_testkit::required_path;
use serde_json::{Value, json};

use crate::clusters::{Real, patience};

const PATIENCE: Duration = Duration::from_secs(120);
const PROVIDERS: [&str; 3] = ["aescbc", "aesgcm", "secretbox"];

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("bound").port())
}

pub(crate) fn etcd(folder: &Path) -> Option<(Server, String)> {
    let etcd = required_path("SALVOR_ETCD_3_5_16")?;
    let [client, peer] = free_ports::<2>().map(|port| format!("http://127.0.0.1:{port}"));
    let members = format!("default={peer}");
    let mut arguments: Vec<OsString> = vec!["--data-dir".into(), folder.join("etcd").into()];
    let rest = [
        ["--listen-client-urls", &client],
        ["--advertise-client-urls", &client],
        ["--listen-peer-urls", &peer],
        ["--initial-advertise-peer-urls", &peer],
        ["--initial-cluster", &members],
    ];
    arguments.extend(rest.as_flattened().iter().map(OsString::from));
    let ready = |line: &str| {
        line.contains("ready to serve client requests")
            .then_some(())
    };
    let program = etcd.display().to_string();
    let started = Server::start(&program, &arguments, &[], PATIENCE, ready);
    let (server, ()) = started.unwrap_or_else(|error| panic!("{error}"));
    Some((server, client))
}

/// Writes an encryption configuration: the provider that encrypts comes first. The key is the same in all of them.
pub(crate) fn configuration(folder: &Path, first: &str) -> PathBuf {
    let mut providers = PROVIDERS.to_vec();
    providers.sort_by_key(|provider| *provider != first);
    let mut text = String::from(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets, configmaps]\n  providers:\n",
    );
    for provider in providers {
        let byte = PROVIDERS.iter().position(|one| *one == provider);
        let key = BASE64.encode([byte.expect("one of them") as u8 + 1; 32]);
        text.push_str(&format!(
            "  - {provider}: {{keys: [{{name: of-{provider}, secret: {key}}}]}}\n"
        ));
    }
    text.push_str("  - identity: {}\n");
    let path = folder.join(format!("{first}.yaml"));
    std::fs::write(&path, text).expect("a file");
    path
}

/// An API server over an etcd, until it is dropped.
pub(crate) async fn api_server(
    folder: &Path,
    etcd: &str,
    encryption: &Path,
) -> Option<(Server, Real)> {
    let program = required_path("SALVOR_KUBE_APISERVER")?;
    let [port] = free_ports();
    let at = |name: &str| folder.join(name).display().to_string();
    std::fs::write(at("tokens.csv"), "token,admin,admin,\"system:masters\"\n").expect("a file");
    let key = at("service-account.key");
    if !Path::new(&key).exists() {
        let mut openssl = Command::new("openssl");
        openssl.args(["genrsa", "-out", &key, "2048"]);
        assert!(openssl.output().expect("it runs").status.success());
    }
    let arguments = [
        format!("--etcd-servers={etcd}"),
        format!("--cert-dir={}", at("certificates")),
        format!("--secure-port={port}"),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=10.111.0.1".to_owned(),
        format!("--token-auth-file={}", at("tokens.csv")),
        "--authorization-mode=RBAC".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={key}"),
        format!("--service-account-key-file={key}"),
        "--disable-admission-plugins=ServiceAccount".to_owned(),
        format!("--encryption-provider-config={}", encryption.display()),
    ];
    let arguments = arguments.map(OsString::from);
    let ready = |line: &str| line.contains("Serving securely").then_some(());
    let program = program.display().to_string();
    let started = Server::start(&program, &arguments, &[], PATIENCE, ready);
    let (server, ()) = started.unwrap_or_else(|error| panic!("{error}"));
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "it",
        "clusters": [{"name": "it", "cluster": {
            "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true}}],
        "users": [{"name": "it", "user": {"token": "token"}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    });
    let path = folder.join(format!("kubeconfig-{port}"));
    std::fs::write(&path, kubeconfig.to_string()).expect("a file");
    let real = Real::of(path).await;
    let begun = Instant::now();
    let namespaces = ApiResource::known("", "v1", "Namespace", "namespaces", false);
    while !matches!(
        real.cluster.get(&namespaces, None, "default").await,
        Ok(Some(_))
    ) {
        assert!(begun.elapsed() < PATIENCE, "no namespace after the start");
        tokio::task::yield_now().await;
    }
    Some((server, real))
}

fn core(kind: &str, plural: &str) -> ApiResource {
    ApiResource::known("", "v1", kind, plural, true)
}

async fn create(real: &Real, resource: &ApiResource, namespace: Option<&str>, object: Value) {
    let (options, body) = (WriteOptions::default(), object.to_string());
    let made = real
        .cluster
        .create(resource, namespace, body.as_bytes(), &options);
    made.await.expect("created");
}

async fn data_of(real: &Real, resource: &ApiResource, namespace: &str) -> Option<Value> {
    let found = real.cluster.get(resource, Some(namespace), "db").await;
    let found: Value = serde_json::from_slice(&found.expect("readable")?).expect("JSON");
    Some(found["data"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_api_server_encrypted_is_read_with_its_configuration_and_comes_back_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let Some((_etcd, endpoint)) = etcd(folder) else {
        return;
    };
    let namespaces = ApiResource::known("", "v1", "Namespace", "namespaces", false);
    let (secrets, maps) = (core("Secret", "secrets"), core("ConfigMap", "configmaps"));
    // All bytes that there are, and a text whose length is that of whole blocks.
    let bytes: Vec<u8> = (0..=255).collect();
    let secret =
        json!({"password": BASE64.encode(&bytes), "user": BASE64.encode("0123456789abcdef")});
    for provider in PROVIDERS {
        let encryption = configuration(folder, provider);
        let Some((_server, real)) = api_server(folder, &endpoint, &encryption).await else {
            return;
        };
        create(
            &real,
            &namespaces,
            None,
            json!({"metadata": {"name": provider}}),
        )
        .await;
        let object = json!({"metadata": {"name": "db"}, "data": secret});
        create(&real, &secrets, Some(provider), object).await;
        let object = json!({"metadata": {"name": "db"}, "data": {"encrypted": provider}});
        create(&real, &maps, Some(provider), object).await;
    }
    let encryption = configuration(folder, PROVIDERS[2]);
    let Some((_server, real)) = api_server(folder, &endpoint, &encryption).await else {
        return;
    };
    let snapshot = folder.join("snapshot.db").display().to_string();
    let line = format!("etcd snapshot save {snapshot} --endpoints {endpoint}");
    real.run("", &line).expect(0);

    // Nothing of it is in the file, and without the keys it is said why.
    let stored = std::fs::read(&snapshot).expect("a file");
    assert!(!stored.windows(16).any(|piece| piece == b"0123456789abcdef"));
    let keys = format!("--encryption-config {}", encryption.display());
    let counted = real.run("", &format!("etcd inspect {snapshot} {keys} -o json"));
    let counted: Value = serde_json::from_str(counted.expect(0)).expect("JSON");
    let by: Vec<String> = PROVIDERS.map(|one| format!("{one}:v1:of-{one}")).into();
    assert_eq!(counted["encryptionProviders"], json!(by));
    let row = |resource: &str| {
        let rows = counted["kinds"].as_array().expect("a list");
        let row = rows.iter().find(|row| row["resource"] == resource);
        let row = row.expect("counted");
        (row["encrypted"].as_u64(), row["unreadable"].as_u64())
    };
    assert_eq!(row("secrets"), (Some(3), Some(0)));
    for provider in PROVIDERS {
        let get = format!("-n {provider} etcd get secret db --from {snapshot} -o json");
        let closed = real.run("", &get);
        let object: Value = serde_json::from_str(closed.expect(0)).expect("JSON");
        assert!(object["data"].is_null(), "{object}");
        assert!(closed.err.contains("--encryption-config"), "{}", closed.err);
        let opened = real.run("", &format!("{get} {keys}"));
        let object: Value = serde_json::from_str(opened.expect(0)).expect("JSON");
        assert_eq!(object["data"], secret);
        assert_eq!(opened.err, "");
        // The key of another provider by that name.
        let other = configuration(folder, "another");
        let text = std::fs::read_to_string(&other).expect("a file");
        let key = |byte: u8| BASE64.encode([byte; 32]);
        std::fs::write(
            &other,
            text.replace(&key(1), &key(9))
                .replace(&key(2), &key(9))
                .replace(&key(3), &key(9)),
        )
        .expect("a file");
        let wrong = real.run(
            "",
            &format!("{get} --encryption-config {}", other.display()),
        );
        assert!(wrong.expect(0).contains("unreadable"), "{}", wrong.out);
        assert!(
            wrong.err.contains("does not open with the key"),
            "{}",
            wrong.err
        );
        assert!(!wrong.err.contains(&key(9)), "{}", wrong.err);
    }

    let location = format!("file://{}", folder.join("store").display());
    std::fs::create_dir(folder.join("store")).expect("a folder");
    let filter = format!("--include-namespaces {}", PROVIDERS.join(","));
    let same = real.run("", &format!("etcd diff {snapshot} live {filter} {keys}"));
    assert_eq!(same.code, 0, "{}{}", same.out, same.err);
    let export = format!("etcd export lost --from {snapshot} {filter}");
    let refused = real.run(&location, &export);
    assert_eq!(refused.code, 4, "{}", refused.err);
    real.run(&location, &format!("{export} {keys}")).expect(0);
    for resource in [&secrets, &maps] {
        for provider in PROVIDERS {
            let options = DeleteOptions::default();
            let deleted = real
                .cluster
                .delete(resource, Some(provider), "db", &options);
            deleted.await.expect("deleted");
            let patience = patience();
            let gone = real
                .cluster
                .wait_gone(resource, Some(provider), "db", &patience);
            gone.await.expect("gone");
        }
    }
    let restored = real.run(&location, "restore create back --from-backup lost --direct");
    assert_eq!(restored.code, 0, "{}{}", restored.out, restored.err);
    for provider in PROVIDERS {
        assert_eq!(
            data_of(&real, &secrets, provider).await.as_ref(),
            Some(&secret)
        );
        let map = data_of(&real, &maps, provider).await;
        assert_eq!(map, Some(json!({"encrypted": provider})));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cronjob_and_the_deployment_of_etcd_install_are_taken_by_an_api_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let Some((_etcd, endpoint)) = etcd(folder) else {
        return;
    };
    let encryption = configuration(folder, PROVIDERS[0]);
    let Some((_server, real)) = api_server(folder, &endpoint, &encryption).await else {
        return;
    };
    let files = folder.join("files");
    let line = format!(
        "-n default etcd install --as cronjob --kubernetes-version 1.20 --cacert /etc/kubernetes/pki/etcd/ca.crt \
         --cert /etc/kubernetes/pki/etcd/server.crt --key /etc/kubernetes/pki/etcd/server.key --output-dir {}",
        files.display()
    );
    real.run("s3://bucket/k8s?region=x", &line).expect(0);
    for (file, version, kind, plural) in [
        (
            "salvor-etcd-snapshot.yaml",
            "batch/v1beta1",
            "CronJob",
            "cronjobs",
        ),
        (
            "salvor-etcd-stream.yaml",
            "apps/v1",
            "Deployment",
            "deployments",
        ),
    ] {
        let text = std::fs::read_to_string(files.join(file)).expect("a file");
        let object: Value = serde_saphyr::from_str(&text).expect("YAML");
        assert_eq!(
            (&object["apiVersion"], &object["kind"]),
            (&json!(version), &json!(kind))
        );
        let (group, version) = version.split_once('/').expect("both");
        let resource = ApiResource::known(group, version, kind, plural, true);
        create(&real, &resource, Some("default"), object.clone()).await;
        let name = object["metadata"]["name"].as_str().expect("a name");
        let taken = real.cluster.get(&resource, Some("default"), name).await;
        let taken = taken.expect("readable").expect("there");
        let taken: Value = serde_json::from_slice(&taken).expect("JSON");
        // Nothing of it was unknown, and so left out.
        assert_eq!(missing(&object, &taken), Vec::<String>::new(), "{file}");
    }
}

/// Fields that were written and are not there.
fn missing(written: &Value, taken: &Value) -> Vec<String> {
    match (written, taken) {
        (Value::Object(written), Value::Object(taken)) => written
            .iter()
            .flat_map(|(name, value)| {
                let below = missing(value, taken.get(name).unwrap_or(&Value::Null));
                below
                    .into_iter()
                    .map(move |below| format!("{name}.{below}"))
            })
            .collect(),
        (Value::Array(written), Value::Array(taken)) if written.len() == taken.len() => {
            let pairs = written.iter().zip(taken);
            pairs
                .flat_map(|(written, taken)| missing(written, taken))
                .collect()
        }
        (written, taken) if written == taken => Vec::new(),
        (written, taken) => vec![format!("{written} became {taken}")],
    }
}
