//! Facts that the API packages do not hold.
//!
//! Short names, categories, connect-style subresources and the order of groups live in the API
//! server's own code: the `ShortNames` and `Categories` methods and the storage maps under
//! `pkg/registry`, and the group priorities of the aggregator (`pkg/controlplane/apiserver`).
//! They were read there and in the discovery documents that a server publishes (`api/discovery`).

use super::lifecycle::Release;

/// API groups in discovery order: descending aggregator priority, then name.
///
/// The core group is served under `/api` and comes first.
pub(super) const GROUP_ORDER: &[&str] = &[
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "storagemigration.k8s.io",
    "lifecycle.k8s.io",
];

/// Packages of the modules whose kinds no API server stores or serves as resources: bodies of
/// webhook calls and of discovery itself.
pub(super) const NOT_SERVED: &[&str] = &[
    "admission.k8s.io",
    "apidiscovery.k8s.io",
    "imagepolicy.k8s.io",
];

/// (group, plural, short names); they hold for every version of the group.
pub(super) const SHORT_NAMES: &[(&str, &str, &[&str])] = &[
    ("", "componentstatuses", &["cs"]),
    ("", "configmaps", &["cm"]),
    ("", "endpoints", &["ep"]),
    ("", "events", &["ev"]),
    ("", "limitranges", &["limits"]),
    ("", "namespaces", &["ns"]),
    ("", "nodes", &["no"]),
    ("", "persistentvolumeclaims", &["pvc"]),
    ("", "persistentvolumes", &["pv"]),
    ("", "pods", &["po"]),
    ("", "replicationcontrollers", &["rc"]),
    ("", "resourcequotas", &["quota"]),
    ("", "serviceaccounts", &["sa"]),
    ("", "services", &["svc"]),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        &["crd", "crds"],
    ),
    ("apps", "daemonsets", &["ds"]),
    ("apps", "deployments", &["deploy"]),
    ("apps", "replicasets", &["rs"]),
    ("apps", "statefulsets", &["sts"]),
    ("autoscaling", "horizontalpodautoscalers", &["hpa"]),
    ("batch", "cronjobs", &["cj"]),
    (
        "certificates.k8s.io",
        "certificatesigningrequests",
        &["csr"],
    ),
    ("events.k8s.io", "events", &["ev"]),
    ("networking.k8s.io", "ingresses", &["ing"]),
    ("networking.k8s.io", "ipaddresses", &["ip"]),
    ("networking.k8s.io", "networkpolicies", &["netpol"]),
    ("policy", "poddisruptionbudgets", &["pdb"]),
    ("scheduling.k8s.io", "priorityclasses", &["pc"]),
    ("storage.k8s.io", "storageclasses", &["sc"]),
    ("storage.k8s.io", "volumeattributesclasses", &["vac"]),
];

/// (group, plural, categories); they hold for every version of the group.
pub(super) const CATEGORIES: &[(&str, &str, &[&str])] = &[
    ("", "pods", &["all"]),
    ("", "replicationcontrollers", &["all"]),
    ("", "services", &["all"]),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicies",
        &["api-extensions"],
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingadmissionpolicybindings",
        &["api-extensions"],
    ),
    (
        "admissionregistration.k8s.io",
        "mutatingwebhookconfigurations",
        &["api-extensions"],
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
        &["api-extensions"],
    ),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicybindings",
        &["api-extensions"],
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
        &["api-extensions"],
    ),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        &["api-extensions"],
    ),
    ("apiregistration.k8s.io", "apiservices", &["api-extensions"]),
    ("apps", "daemonsets", &["all"]),
    ("apps", "deployments", &["all"]),
    ("apps", "replicasets", &["all"]),
    ("apps", "statefulsets", &["all"]),
    ("autoscaling", "horizontalpodautoscalers", &["all"]),
    ("batch", "cronjobs", &["all"]),
    ("batch", "jobs", &["all"]),
];

/// The verbs of a resource that is stored without restriction.
pub(super) const ALL_VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The verbs of subresources that read and write a stored object.
pub(super) const READ_WRITE: &[&str] = &["get", "patch", "update"];

/// (group, kind, verbs) where they are not `ALL_VERBS` and not those of the client marker.
///
/// The client markers do not say this: they leave out what the Go client does not offer.
pub(super) const VERBS: &[(&str, &str, &[&str])] = &[
    ("", "Binding", &["create"]),
    ("", "ComponentStatus", &["get", "list"]),
    (
        "",
        "Namespace",
        &[
            "create", "delete", "get", "list", "patch", "update", "watch",
        ],
    ),
];

/// Kinds that are resources although the Go client has no methods for them: (group, version, kind).
pub(super) const WITHOUT_CLIENT: &[(&str, &str, &str)] = &[("", "v1", "Binding")];

/// A subresource: resource group and plural, name, body (group, version, kind; an empty version
/// means the version of the resource), verbs.
pub(super) struct Subresource {
    pub(super) group: &'static str,
    pub(super) plural: &'static str,
    pub(super) name: &'static str,
    pub(super) body: (&'static str, &'static str, &'static str),
    pub(super) verbs: &'static [&'static str],
}

const fn core(
    plural: &'static str,
    name: &'static str,
    body: (&'static str, &'static str, &'static str),
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource {
        group: "",
        plural,
        name,
        body,
        verbs,
    }
}

const CONNECT: &[&str] = &["create", "get"];
const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];

/// Subresources that are not the plain `status`, `scale` or `approval` of the package's markers.
pub(super) const SUBRESOURCES: &[Subresource] = &[
    core("namespaces", "finalize", ("", "", "Namespace"), &["update"]),
    core("nodes", "proxy", ("", "", "NodeProxyOptions"), PROXY),
    core("pods", "attach", ("", "", "PodAttachOptions"), CONNECT),
    core("pods", "binding", ("", "", "Binding"), &["create"]),
    core("pods", "ephemeralcontainers", ("", "", "Pod"), READ_WRITE),
    core(
        "pods",
        "eviction",
        ("policy", "v1", "Eviction"),
        &["create"],
    ),
    core("pods", "exec", ("", "", "PodExecOptions"), CONNECT),
    core("pods", "log", ("", "", "Pod"), &["get"]),
    core(
        "pods",
        "portforward",
        ("", "", "PodPortForwardOptions"),
        CONNECT,
    ),
    core("pods", "proxy", ("", "", "PodProxyOptions"), PROXY),
    core("pods", "resize", ("", "", "Pod"), READ_WRITE),
    core(
        "serviceaccounts",
        "token",
        ("authentication.k8s.io", "v1", "TokenRequest"),
        &["create"],
    ),
    core("services", "proxy", ("", "", "ServiceProxyOptions"), PROXY),
];

/// A kind whose version is gone from the API packages too.
pub(super) struct Gone {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    pub(super) namespaced: bool,
    /// First release without it; `None` where the release is not recorded (alpha versions go
    /// without a schedule).
    pub(super) removed_in: Option<Release>,
    /// Group and version of the same kind that took over.
    pub(super) replacement: Option<(&'static str, &'static str)>,
}

const fn gone(
    (group, version): (&'static str, &'static str),
    (kind, plural, namespaced): (&'static str, &'static str, bool),
    removed_in: Option<Release>,
    replacement: Option<(&'static str, &'static str)>,
) -> Gone {
    Gone {
        group,
        version,
        kind,
        plural,
        namespaced,
        removed_in,
        replacement,
    }
}

const HPA: (&str, &str, bool) = ("HorizontalPodAutoscaler", "horizontalpodautoscalers", true);
const PSP: (&str, &str, bool) = ("PodSecurityPolicy", "podsecuritypolicies", false);

/// From the deprecation guide and the release notes of Kubernetes.
pub(super) const GONE: &[Gone] = &[
    gone(
        ("autoscaling", "v2beta1"),
        HPA,
        Some((1, 25)),
        Some(("autoscaling", "v2")),
    ),
    gone(
        ("autoscaling", "v2beta2"),
        HPA,
        Some((1, 26)),
        Some(("autoscaling", "v2")),
    ),
    gone(
        ("batch", "v2alpha1"),
        ("CronJob", "cronjobs", true),
        Some((1, 21)),
        Some(("batch", "v1")),
    ),
    gone(("extensions", "v1beta1"), PSP, Some((1, 16)), None),
    gone(("policy", "v1beta1"), PSP, Some((1, 25)), None),
    gone(
        ("networking.k8s.io", "v1alpha1"),
        ("IPAddress", "ipaddresses", false),
        None,
        Some(("networking.k8s.io", "v1")),
    ),
    gone(
        ("networking.k8s.io", "v1alpha1"),
        ("ServiceCIDR", "servicecidrs", false),
        None,
        Some(("networking.k8s.io", "v1")),
    ),
    gone(
        ("coordination.k8s.io", "v1alpha1"),
        ("LeaseCandidate", "leasecandidates", true),
        None,
        Some(("coordination.k8s.io", "v1beta1")),
    ),
    gone(
        ("flowcontrol.apiserver.k8s.io", "v1alpha1"),
        ("FlowSchema", "flowschemas", false),
        None,
        Some(("flowcontrol.apiserver.k8s.io", "v1")),
    ),
    gone(
        ("flowcontrol.apiserver.k8s.io", "v1alpha1"),
        (
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            false,
        ),
        None,
        Some(("flowcontrol.apiserver.k8s.io", "v1")),
    ),
    gone(
        ("scheduling.k8s.io", "v1alpha1"),
        ("PriorityClass", "priorityclasses", false),
        None,
        Some(("scheduling.k8s.io", "v1")),
    ),
    gone(
        ("storagemigration.k8s.io", "v1alpha1"),
        ("StorageVersionMigration", "storageversionmigrations", false),
        None,
        Some(("storagemigration.k8s.io", "v1")),
    ),
];

/// Versions still in the packages without a removal mark that no server of the release offers:
/// (group, version, successor).
pub(super) const UNSERVED_VERSIONS: &[(&str, &str, &str)] = &[
    ("node.k8s.io", "v1alpha1", "v1"),
    ("rbac.authorization.k8s.io", "v1alpha1", "v1"),
];
