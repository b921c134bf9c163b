//! Objects to fill a cluster with: the same for the same number, wherever and whenever.
//!
//! Their mix and sizes are those of a platform: many small ConfigMaps and Secrets, Pods and Deployments with
//! the usual fields, custom resources, and now and then an object of about 1 MiB. Text is made of words, so
//! that it compresses as configuration does; secrets are random bytes, which do not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

/// Namespaces that the objects are spread over.
pub(crate) const NAMESPACES: u64 = 50;
/// Bytes of JSON of a large object. The API server takes at most 1 MiB of data in a ConfigMap or Secret.
const LARGE_BYTES: usize = 1_000_000;

/// The custom resource definition that the custom resources need.
pub(crate) const CRD_NAME: &str = "widgets.bench.salvor.dev";

const WORDS: [&str; 48] = [
    "address", "archive", "backend", "balance", "buffer", "cache", "channel", "cluster", "commit",
    "config", "connect", "cursor", "deadline", "default", "digest", "enabled", "endpoint",
    "exporter", "feature", "gateway", "handler", "header", "health", "interval", "journal",
    "latency", "limit", "listener", "metrics", "mirror", "origin", "payload", "policy", "queue",
    "quota", "replica", "request", "retry", "route", "schema", "session", "shard", "signal",
    "storage", "stream", "timeout", "tracing", "worker",
];

/// Which objects.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    /// Namespaces are called `PREFIX-00` and so on.
    pub(crate) prefix: String,
    /// Every how manyth object is large.
    pub(crate) large_every: u64,
}

/// One object to create.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    /// Path of its collection.
    pub(crate) collection: String,
    pub(crate) body: Bytes,
}

/// Where the objects are, in each namespace.
pub(crate) struct Collection {
    pub(crate) kind: &'static str,
    group_version: &'static str,
    resource: &'static str,
    /// Field selector of those that the cluster itself makes there.
    pub(crate) made_by_cluster: Option<&'static str>,
}

pub(crate) const COLLECTIONS: [Collection; 5] = [
    Collection {
        kind: "ConfigMap",
        group_version: "/api/v1",
        resource: "configmaps",
        made_by_cluster: Some("metadata.name%3Dkube-root-ca.crt"),
    },
    Collection {
        kind: "Secret",
        group_version: "/api/v1",
        resource: "secrets",
        made_by_cluster: Some("type%3Dkubernetes.io/service-account-token"),
    },
    Collection {
        kind: "Deployment",
        group_version: "/apis/apps/v1",
        resource: "deployments",
        made_by_cluster: None,
    },
    Collection {
        kind: "Pod",
        group_version: "/api/v1",
        resource: "pods",
        made_by_cluster: None,
    },
    Collection {
        kind: "Widget",
        group_version: "/apis/bench.salvor.dev/v1",
        resource: "widgets",
        made_by_cluster: None,
    },
];

/// Index into [`COLLECTIONS`].
#[derive(Clone, Copy)]
enum Kind {
    ConfigMap,
    Secret,
    Deployment,
    Pod,
    Widget,
}

impl Collection {
    pub(crate) fn path(&self, namespace: &str) -> String {
        let Collection {
            group_version,
            resource,
            ..
        } = self;
        format!("{group_version}/namespaces/{namespace}/{resource}")
    }
}

impl Recipe {
    pub(crate) fn namespaces(&self) -> impl Iterator<Item = String> {
        (0..NAMESPACES).map(|number| self.namespace(number))
    }

    fn namespace(&self, number: u64) -> String {
        format!("{}-{number:02}", self.prefix)
    }

    /// The object of that number.
    pub(crate) fn object(&self, number: u64) -> Object {
        let mut random = Random(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5A17_0B0B_5EED_0001);
        let namespace = self.namespace(random.below(NAMESPACES));
        let is_large = number % self.large_every == self.large_every - 1;
        let share = random.below(100);
        let kind = match (is_large, share) {
            (true, 0..70) | (false, 0..35) => Kind::ConfigMap,
            (true, _) | (false, 35..55) => Kind::Secret,
            (false, 55..65) => Kind::Deployment,
            (false, 65..85) => Kind::Pod,
            (false, _) => Kind::Widget,
        };
        let size = if is_large { LARGE_BYTES } else { random.size() };
        let value = match kind {
            Kind::ConfigMap => config_map(&mut random, number, size),
            Kind::Secret => secret(&mut random, number, size),
            Kind::Deployment => deployment(&mut random, number),
            Kind::Pod => pod(&mut random, number),
            Kind::Widget => widget(&mut random, number, size),
        };
        Object {
            collection: COLLECTIONS[kind as usize].path(&namespace),
            body: value.to_string().into(),
        }
    }
}

/// The definition of the custom resources.
pub(crate) fn crd() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": CRD_NAME},
        "spec": {
            "group": "bench.salvor.dev",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                }},
            }],
        },
    })
}

fn metadata(random: &mut Random, kind: &str, number: u64) -> Value {
    json!({
        "name": format!("{kind}-{number:06}"),
        "labels": {
            "app.kubernetes.io/name": random.word(),
            "app.kubernetes.io/instance": format!("{}-{}", random.word(), random.below(20)),
            "app.kubernetes.io/managed-by": "Helm",
            "tier": random.word(),
        },
        "annotations": {
            "meta.helm.sh/release-name": random.word(),
            "checksum/config": random.hex(32),
        },
    })
}

fn config_map(random: &mut Random, number: u64, size: usize) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(random, "config", number),
        "data": {
            "application.properties": random.text(size * 2 / 3),
            "logging.conf": random.text(size / 3),
        },
    })
}

fn secret(random: &mut Random, number: u64, size: usize) -> Value {
    let raw = |bytes: usize, random: &mut Random| STANDARD.encode(random.bytes(bytes * 3 / 4));
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata(random, "secret", number),
        "data": {"tls.crt": raw(size / 2, random), "keystore.p12": raw(size / 2, random)},
    })
}

fn widget(random: &mut Random, number: u64, size: usize) -> Value {
    let rules: Vec<Value> = (0..size.div_ceil(220))
        .map(|_| {
            json!({
                "match": {"host": format!("{}.{}.example.org", random.word(), random.word()), "path": format!("/{}", random.word())},
                "weight": random.below(100),
                "timeoutSeconds": random.below(600),
                "retries": {"attempts": random.below(5), "on": [random.word(), random.word()]},
            })
        })
        .collect();
    json!({
        "apiVersion": "bench.salvor.dev/v1",
        "kind": "Widget",
        "metadata": metadata(random, "widget", number),
        "spec": {"rules": rules},
    })
}

fn container(random: &mut Random, name: &str) -> Value {
    let env: Vec<Value> = (0..6 + random.below(12))
        .map(|index| {
            let name = format!("{}_{}_{index}", random.word(), random.word()).to_uppercase();
            json!({"name": name, "value": random.text(12)})
        })
        .collect();
    json!({
        "name": name,
        "image": format!("registry.example.org/{}/{}:1.{}.{}", random.word(), random.word(), random.below(30), random.below(10)),
        "command": ["/bin/server", format!("--{}={}", random.word(), random.below(9999))],
        "env": env,
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
    })
}

/// No scheduler runs in a test bed and no node has this label anywhere, so the pods stay pending.
fn pod_spec(random: &mut Random) -> Value {
    json!({
        "nodeSelector": {"bench.salvor.dev/no-such-node": "true"},
        "terminationGracePeriodSeconds": 0,
        "containers": [container(random, "main"), container(random, "sidecar")],
    })
}

fn pod(random: &mut Random, number: u64) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(random, "pod", number),
        "spec": pod_spec(random),
    })
}

/// Paused, so that its controller makes no ReplicaSets and Pods that nobody counted.
fn deployment(random: &mut Random, number: u64) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(random, "web", number),
        "spec": {
            "paused": true,
            "replicas": 3,
            "selector": {"matchLabels": {"deployment": format!("web-{number:06}")}},
            "template": {
                "metadata": {"labels": {"deployment": format!("web-{number:06}")}},
                "spec": pod_spec(random),
            },
        },
    })
}

/// SplitMix64: small, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn word(&mut self) -> &'static str {
        WORDS[(self.next() % WORDS.len() as u64) as usize]
    }

    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::with_capacity(digits + 16);
        while text.len() < digits {
            text.push_str(&format!("{:016x}", self.next()));
        }
        text.truncate(digits);
        text
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }

    /// Lines such as `cache.timeout.17 = 8421 retry`.
    fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 64);
        while text.len() < bytes {
            let (first, second, last) = (self.word(), self.word(), self.word());
            let (number, value) = (self.below(100), self.below(100_000));
            text.push_str(&format!("{first}.{second}.{number} = {value} {last}\n"));
        }
        text.truncate(bytes);
        text
    }

    /// Bytes of an object that is not large: most are small, few are long.
    fn size(&mut self) -> usize {
        let (low, high) = match self.below(100) {
            0..70 => (300, 2_200),
            70..95 => (2_200, 7_000),
            _ => (7_000, 40_000),
        };
        (low + self.below(high - low)) as usize
    }
}
