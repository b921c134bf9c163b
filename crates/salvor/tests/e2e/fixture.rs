//! A cluster filled with every built-in kind that can be created through its API, and with definitions of
//! several versions. What is left out stands in [`LEFT_OUT`], each with its reason.

use std::collections::{BTreeMap, BTreeSet};

use salvor_api::resource::GroupVersion;
use salvor_cluster::{ApiResource, Cluster, DiscoverOptions, Discovery, WriteOptions};
use serde_json::{Value, json};

use crate::clusters::patience;

/// Creatable resources that the fixture does not create, and why.
pub(crate) const LEFT_OUT: &[(&str, &str)] = &[
    ("bindings", "an order to the scheduler; nothing is stored"),
    (
        "tokenreviews.authentication.k8s.io",
        "a question; nothing is stored",
    ),
    (
        "localsubjectaccessreviews.authorization.k8s.io",
        "a question; nothing is stored",
    ),
    (
        "selfsubjectaccessreviews.authorization.k8s.io",
        "a question; nothing is stored",
    ),
    (
        "selfsubjectrulesreviews.authorization.k8s.io",
        "a question; nothing is stored",
    ),
    (
        "subjectaccessreviews.authorization.k8s.io",
        "a question; nothing is stored",
    ),
    (
        "nodes",
        "never restored, as in Velero: a node belongs to one cluster",
    ),
    (
        "csinodes.storage.k8s.io",
        "never restored, as in Velero: a part of a node",
    ),
    (
        "volumeattachments.storage.k8s.io",
        "never restored, as in Velero: made by a controller for a node",
    ),
    (
        "events",
        "never restored, as in Velero; controllers make enough of them for the backup",
    ),
    (
        "events.events.k8s.io",
        "the events of the core group once more",
    ),
    (
        "ingresses.extensions",
        "the ingresses of networking.k8s.io once more",
    ),
    (
        "apiservices.apiregistration.k8s.io",
        "one whose server does not answer keeps every namespace of the cluster from being deleted; the \
         server's own are in the backup and in the comparison",
    ),
];

/// A signing request for `O=shop, CN=web`, in base64.
const SIGNING_REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWU1IOENBUUF3SFRFTk1Bc0dBMVVFQ2d3RWMyaHZjREVNTUFvR0ExVUVBd3dEZDJWaU1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVjOHhTbGdMSU5LcktlRVdTUFUwNE84R3FnbDlMOFo4ZFNzVTRaRnVEClEwcHo3TkEzenZnZWlwS0xpa2RsSy9Ld1k2U2MzU1kyMkZXWk5MZ1FhRmZZTjZBQU1Bb0dDQ3FHU000OUJBTUMKQTBrQU1FWUNJUUN3b1pCR1VKc3hDa1NWQ0JIU1lScWxxQU16YkUwa3J2RHFRUU55Wkoxb3dnSWhBTU91bjdvTQpnWjlPWVZ6cUlERnIwU1gvUXpnblFhSXdHVTF6SW9qcVN6azAKLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

const RBAC: &str = "rbac.authorization.k8s.io";

/// Names of everything that is made, which two runs on one server do not share.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    /// Name of what is not in a namespace.
    pub(crate) wide: String,
    /// Namespace of most objects.
    pub(crate) shop: String,
    /// A second one, with a quota.
    pub(crate) data: String,
    /// A third one with nothing in it but what controllers put there.
    pub(crate) empty: String,
    /// Group of the definitions.
    pub(crate) group: String,
    /// A port of nodes that its user chose.
    node_port: u32,
}

impl Fixture {
    pub(crate) fn new(what: &str) -> Self {
        let id = format!("{what}-{}", std::process::id());
        Self {
            wide: format!("{id}-wide"),
            shop: format!("{id}-shop"),
            data: format!("{id}-data"),
            empty: format!("{id}-empty"),
            group: format!("{id}.example.io"),
            node_port: 30000 + (std::process::id() + 97 * what.len() as u32) % 2768,
        }
    }

    /// Everything, in an order in which it can be created.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let mut objects = self.definitions();
        objects.extend(self.cluster_wide());
        objects.extend(self.namespaced());
        objects.extend(self.custom());
        objects
    }

    /// Version, kind and name of everything that is not in a namespace, and of the namespaces.
    pub(crate) fn outside_namespaces(&self) -> Vec<(GroupVersion, String, String)> {
        let mut found = Vec::new();
        for object in self.cluster_wide().into_iter().chain(self.definitions()) {
            found.push(identity(&object));
        }
        found
    }

    fn definitions(&self) -> Vec<Value> {
        let schema = |spec: Value| {
            json!({"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": spec},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}})
        };
        let definition = |kind: &str, scope: &str, versions: Value| {
            let singular = kind.to_lowercase();
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": format!("{singular}s.{}", self.group), "annotations": {"team": "platform"}},
                "spec": {"group": self.group, "scope": scope, "versions": versions,
                    "names": {"plural": format!("{singular}s"), "singular": singular, "kind": kind,
                        "listKind": format!("{kind}List"), "shortNames": [&singular[..3]]}}})
        };
        let size = schema(
            json!({"size": {"type": "integer", "default": 3, "minimum": 1}, "color": {"type": "string"}}),
        );
        let named = schema(json!({"moons": {"type": "array", "items": {"type": "string"}}}));
        let scaled = schema(json!({"replicas": {"type": "integer"}}));
        vec![
            // Stored in a version that is not the one that clients prefer.
            definition(
                "Widget",
                "Namespaced",
                json!([
                {"name": "v1", "served": true, "storage": false, "schema": size},
                {"name": "v1beta1", "served": true, "storage": true, "schema": size},
                {"name": "v1alpha1", "served": false, "storage": false, "schema": size}]),
            ),
            definition(
                "Planet",
                "Cluster",
                json!([
                {"name": "v2", "served": true, "storage": true, "schema": named},
                {"name": "v1", "served": true, "storage": false, "schema": named}]),
            ),
            definition(
                "Gadget",
                "Namespaced",
                json!([
                {"name": "v1", "served": true, "storage": true, "schema": scaled,
                    "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
                    "additionalPrinterColumns": [{"name": "N", "type": "integer", "jsonPath": ".spec.replicas"}]}]),
            ),
        ]
    }

    fn cluster_wide(&self) -> Vec<Value> {
        let meta = json!({"name": self.wide, "labels": {"team": "platform"}, "annotations": {"note": "안녕 <&>"}});
        let hook = |name: &str| {
            json!([{"name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
                "clientConfig": {"service": {"namespace": self.shop, "name": "web", "path": "/check"}},
                "namespaceSelector": {"matchLabels": {"nobody": "has-this"}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}]}])
        };
        vec![
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta, "provisioner": "example.io/none",
                "reclaimPolicy": "Retain", "allowVolumeExpansion": true, "parameters": {"tier": "slow"}}),
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": meta, "spec": {"attachRequired": false, "podInfoOnMount": true}}),
            json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": meta, "value": 7, "description": "a little more"}),
            json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": meta, "handler": "sandbox"}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": meta, "spec": {"controller": "example.io/ingress"}}),
            json!({"apiVersion": "policy/v1beta1", "kind": "PodSecurityPolicy", "metadata": meta, "spec": {"privileged": false,
                "seLinux": {"rule": "RunAsAny"}, "runAsUser": {"rule": "RunAsAny"}, "supplementalGroups": {"rule": "RunAsAny"},
                "fsGroup": {"rule": "RunAsAny"}, "volumes": ["configMap", "secret"]}}),
            json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRole", "metadata": meta,
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, {"nonResourceURLs": ["/healthz"], "verbs": ["get"]}]}),
            json!({"apiVersion": format!("{RBAC}/v1"), "kind": "ClusterRoleBinding", "metadata": meta,
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": self.wide},
                "subjects": [{"kind": "ServiceAccount", "namespace": self.shop, "name": "web"}, {"kind": "Group", "apiGroup": RBAC, "name": "ops"}]}),
            json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1beta1", "kind": "PriorityLevelConfiguration", "metadata": meta,
                "spec": {"type": "Limited", "limited": {"assuredConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}}),
            json!({"apiVersion": "flowcontrol.apiserver.k8s.io/v1beta1", "kind": "FlowSchema", "metadata": meta,
                "spec": {"priorityLevelConfiguration": {"name": self.wide}, "matchingPrecedence": 9000, "rules": [{
                    "subjects": [{"kind": "User", "user": {"name": "nobody"}}],
                    "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}]}]}}),
            json!({"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": meta,
                "spec": {"signerName": "example.io/web", "request": SIGNING_REQUEST, "usages": ["client auth"]}}),
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration", "metadata": meta, "webhooks": hook("a.example.io")}),
            json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": meta, "webhooks": hook("b.example.io")}),
            json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": meta,
                "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": self.wide,
                    "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": "/nowhere"}}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.shop, "labels": {"team": "shop"}, "annotations": {"note": "안녕"}}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.data}}),
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.empty, "labels": {"team": "none"}}}),
        ]
    }

    fn namespaced(&self) -> Vec<Value> {
        let meta =
            |name: &str| json!({"namespace": self.shop, "name": name, "labels": {"app": name}});
        let data = |name: &str| json!({"namespace": self.data, "name": name});
        let pod = json!({"containers": [{"name": "c", "image": "example.io/c:1", "ports": [{"containerPort": 80}],
            "envFrom": [{"configMapRef": {"name": "settings"}}]}], "serviceAccountName": "web"});
        let template = |app: &str| json!({"metadata": {"labels": {"app": app}}, "spec": pod});
        let selector = |app: &str| json!({"matchLabels": {"app": app}});
        let once = json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "example.io/c:1"}]}});
        let claim = json!({"accessModes": ["ReadWriteOnce"], "storageClassName": self.wide, "resources": {"requests": {"storage": "1Gi"}}});
        let mut bound = claim.clone();
        bound["volumeName"] = json!(self.wide);
        let owned_by = |kind: &str, name: &str| {
            let mut meta = meta("owned");
            meta["ownerReferences"] =
                json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": ""}]);
            meta
        };
        vec![
            // Before those whose ports the server chooses.
            json!({"apiVersion": "v1", "kind": "Service", "metadata": data("chosen"), "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": self.node_port}]}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("web"), "imagePullSecrets": [{"name": "password"}]}),
            json!({"apiVersion": format!("{RBAC}/v1"), "kind": "Role", "metadata": meta("reader"),
                "rules": [{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"]}]}),
            json!({"apiVersion": format!("{RBAC}/v1"), "kind": "RoleBinding", "metadata": meta("reader"),
                "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "reader"}, "subjects": [{"kind": "ServiceAccount", "namespace": self.shop, "name": "web"}]}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("settings"), "data": {"greeting": "안녕 <&>\u{2028}"}, "binaryData": {"b": "AAEC"}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("fixed"), "data": {"k": "v"}, "immutable": true}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta("password"), "stringData": {"p": "x"}}),
            json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
                "metadata": {"namespace": self.shop, "name": "by-hand", "annotations": {"kubernetes.io/service-account.name": "web"}}}),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta("files"), "spec": bound}),
            json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": meta("form"), "template": template("form")}),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta("alone"), "spec": pod}),
            json!({"apiVersion": "v1", "kind": "ReplicationController", "metadata": meta("old"), "spec": {"replicas": 1, "selector": {"app": "old"}, "template": template("old")}}),
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta("set"), "spec": {"replicas": 1, "selector": selector("set"), "template": template("set")}}),
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta("web"), "spec": {"replicas": 2, "selector": selector("web"), "template": template("web")}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": owned_by("Deployment", "web"), "data": {}}),
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta("agent"), "spec": {"selector": selector("agent"), "template": template("agent")}}),
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta("db"), "spec": {"replicas": 1, "serviceName": "db", "selector": selector("db"),
                "template": template("db"), "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}]}}),
            json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta("kept"), "revision": 3, "data": {"spec": {"a": 1}}}),
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": meta("once"), "spec": {"parallelism": 0, "template": once}}),
            json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": meta("nightly"), "spec": {"schedule": "0 2 * * *", "suspend": true, "jobTemplate": {"spec": {"template": once}}}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("web"), "spec": {"type": "NodePort", "selector": {"app": "web"},
                "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 443, "protocol": "UDP"}]}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("balanced"), "spec": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "selector": {"app": "web"},
                "ports": [{"port": 80}], "sessionAffinity": "ClientIP"}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("db"), "spec": {"clusterIP": "None", "ports": [{"port": 5432}], "selector": {"app": "db"}}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("outside"), "spec": {"ports": [{"port": 80}]}}),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": meta("elsewhere"), "spec": {"type": "ExternalName", "externalName": "a.example.io"}}),
            json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": meta("outside"), "subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 80}]}]}),
            json!({"apiVersion": "discovery.k8s.io/v1beta1", "kind": "EndpointSlice", "addressType": "IPv6",
                "metadata": {"namespace": self.shop, "name": "outside-six", "labels": {"kubernetes.io/service-name": "outside", "endpointslice.kubernetes.io/managed-by": "example.io"}},
                "endpoints": [{"addresses": ["2001:db8::1"]}], "ports": [{"name": "", "port": 80}]}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": meta("web"), "spec": {"ingressClassName": self.wide, "rules": [{"host": "a.example.io", "http": {"paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}]}}]}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta("closed"), "spec": {"podSelector": {}, "policyTypes": ["Ingress"]}}),
            json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": meta("web"), "spec": {"minAvailable": 1, "selector": selector("web")}}),
            json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": meta("old"),
                "spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "v1", "kind": "ReplicationController", "name": "old"}}}),
            json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta("leader"), "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15}}),
            json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": data("limits"), "spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "10Gi"}}]}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": data("settings"), "data": {"k": "v"}}),
            json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": data("quota"), "spec": {"hard": {"configmaps": "9", "services.nodeports": "5"}}}),
        ]
    }

    fn custom(&self) -> Vec<Value> {
        let version = |v: &str| format!("{}/{v}", self.group);
        vec![
            json!({"apiVersion": version("v1"), "kind": "Widget", "metadata": {"namespace": self.shop, "name": "red"}, "spec": {"color": "red"}}),
            json!({"apiVersion": version("v1beta1"), "kind": "Widget", "metadata": {"namespace": self.data, "name": "blue"}, "spec": {"color": "blue", "size": 9}}),
            json!({"apiVersion": version("v1"), "kind": "Planet", "metadata": {"name": "mars", "labels": {"a": "b"}}, "spec": {"moons": ["phobos", "deimos"]}}),
            json!({"apiVersion": version("v1"), "kind": "Gadget", "metadata": {"namespace": self.shop, "name": "counted"}, "spec": {"replicas": 2},
                "status": {"replicas": 2, "conditions": [{"type": "Ready", "status": "True"}]}}),
        ]
    }

    /// Creates everything. What has a status subresource and a status here gets it written.
    pub(crate) async fn fill(&self, cluster: &Cluster) {
        let mut discovery = discover(cluster).await;
        let mut uids: BTreeMap<(String, String), Value> = BTreeMap::new();
        for mut object in self.objects() {
            if resource_of(&discovery, &object).is_none() {
                discovery = discover(cluster).await;
            }
            let resource = resource_of(&discovery, &object)
                .unwrap_or_else(|| panic!("this server does not know {object}"));
            let owners = object["metadata"].get_mut("ownerReferences");
            for owner in owners.and_then(Value::as_array_mut).into_iter().flatten() {
                owner["uid"] = uids[&key(&owner["kind"], &owner["name"])].clone();
            }
            let stored = create(cluster, resource, &object).await;
            uids.insert(
                key(&object["kind"], &object["metadata"]["name"]),
                stored["metadata"]["uid"].clone(),
            );
            if object["kind"] == "CustomResourceDefinition" {
                let name = object["metadata"]["name"].as_str().expect("named");
                let established = cluster
                    .wait_crd_established(resource, name, &patience())
                    .await;
                established.expect("established");
            }
            if let Some(status) = object.get("status") {
                let body = json!({"status": status}).to_string();
                let (namespace, name) = place(&object);
                let options = WriteOptions::default();
                cluster
                    .merge_patch(
                        resource,
                        namespace,
                        name,
                        Some("status"),
                        body.as_bytes(),
                        &options,
                    )
                    .await
                    .expect("a status");
            }
        }
    }

    /// Creatable built-in resources of the server that are neither filled nor left out for a reason.
    pub(crate) async fn forgotten(&self, cluster: &Cluster) -> Vec<String> {
        let discovery = discover(cluster).await;
        let filled: BTreeSet<String> = self
            .objects()
            .iter()
            .filter_map(|object| resource_of(&discovery, object))
            .map(|resource| resource.group_resource().to_string())
            .collect();
        let known = |name: &String| {
            filled.contains(name) || LEFT_OUT.iter().any(|(left_out, _)| left_out == name)
        };
        let is_built_in = |group: &str| !group.contains('.') || group.ends_with(".k8s.io");
        let resources = discovery.resources.iter();
        let creatable = resources.filter(|r| is_built_in(&r.group) && r.can("create"));
        let names: BTreeSet<String> = creatable.map(|r| r.group_resource().to_string()).collect();
        names.into_iter().filter(|name| !known(name)).collect()
    }
}

pub(crate) async fn discover(cluster: &Cluster) -> Discovery {
    let options = DiscoverOptions { all_versions: true };
    cluster.discover(options).await.expect("discovery")
}

async fn create(cluster: &Cluster, resource: &ApiResource, object: &Value) -> Value {
    let body = object.to_string();
    let (namespace, _) = place(object);
    let stored = cluster
        .create(
            resource,
            namespace,
            body.as_bytes(),
            &WriteOptions::default(),
        )
        .await
        .unwrap_or_else(|error| panic!("create {object}: {error}: {}", error.reason()));
    serde_json::from_slice(&stored).expect("JSON")
}

fn key(kind: &Value, name: &Value) -> (String, String) {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(kind), text(name))
}

fn place(object: &Value) -> (Option<&str>, &str) {
    let metadata = &object["metadata"];
    (
        metadata["namespace"].as_str(),
        metadata["name"].as_str().expect("named"),
    )
}

/// Version, kind and name of an object.
fn identity(object: &Value) -> (GroupVersion, String, String) {
    let version = object["apiVersion"].as_str().expect("a version");
    let (kind, name) = key(&object["kind"], &object["metadata"]["name"]);
    (GroupVersion::parse(version), kind, name)
}

fn resource_of<'a>(discovery: &'a Discovery, object: &Value) -> Option<&'a ApiResource> {
    let (version, kind, _) = identity(object);
    discovery.find_kind(&version, &kind)
}
