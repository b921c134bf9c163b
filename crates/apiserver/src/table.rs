//! `meta.k8s.io/v1 Table`: what `kubectl get` prints.
//!
//! Columns for common built-in kinds are below, custom resources bring their own, everything else has a
//! name and an age.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::crd::{Column as CustomColumn, at_json_path};
use crate::registry::{Resource, Version};

type Cell = fn(&Value, Timestamp) -> Value;

pub(crate) struct Column {
    name: &'static str,
    kind: &'static str,
    /// Above zero only `-o wide` shows it.
    priority: i64,
    cell: Cell,
}

/// The columns of a resource in one version.
pub(crate) enum Columns<'a> {
    BuiltIn(&'static [Column]),
    Custom(&'a [CustomColumn]),
}

const fn column(name: &'static str, kind: &'static str, cell: Cell) -> Column {
    Column {
        name,
        kind,
        priority: 0,
        cell,
    }
}

const fn wide(name: &'static str, kind: &'static str, cell: Cell) -> Column {
    Column {
        name,
        kind,
        priority: 1,
        cell,
    }
}

const NAME: Column = column("Name", "string", |object, _| {
    object["metadata"]["name"].clone()
});
const AGE: Column = column("Age", "string", |object, now| {
    age(&object["metadata"]["creationTimestamp"], now)
});
const LABELS_OF_SELECTOR: Column = wide("Selector", "string", |object, _| {
    selector(&object["spec"]["selector"])
});
const CONTAINERS: Column = wide("Containers", "string", |object, _| {
    containers(object, "name")
});
const IMAGES: Column = wide("Images", "string", |object, _| containers(object, "image"));

static DEFAULT: &[Column] = &[NAME, AGE];

static BUILT_IN: &[(&str, &str, &[Column])] = &[
    (
        "",
        "pods",
        &[
            NAME,
            column("Ready", "string", |o, _| pod_ready(o)),
            column("Status", "string", |o, _| pod_status(o)),
            column("Restarts", "string", |o, _| restarts(o).into()),
            AGE,
            wide("IP", "string", |o, _| text(&o["status"]["podIP"])),
            wide("Node", "string", |o, _| text(&o["spec"]["nodeName"])),
            wide("Nominated Node", "string", |o, _| {
                text(&o["status"]["nominatedNodeName"])
            }),
            wide("Readiness Gates", "string", |_, _| "<none>".into()),
        ],
    ),
    (
        "apps",
        "deployments",
        &[
            NAME,
            column("Ready", "string", |o, _| {
                ratio(&o["status"]["readyReplicas"], &o["spec"]["replicas"])
            }),
            column("Up-to-date", "integer", |o, _| {
                number(&o["status"]["updatedReplicas"])
            }),
            column("Available", "integer", |o, _| {
                number(&o["status"]["availableReplicas"])
            }),
            AGE,
            CONTAINERS,
            IMAGES,
            LABELS_OF_SELECTOR,
        ],
    ),
    (
        "apps",
        "statefulsets",
        &[
            NAME,
            column("Ready", "string", |o, _| {
                ratio(&o["status"]["readyReplicas"], &o["spec"]["replicas"])
            }),
            AGE,
            CONTAINERS,
            IMAGES,
        ],
    ),
    (
        "apps",
        "replicasets",
        &[
            NAME,
            column("Desired", "integer", |o, _| number(&o["spec"]["replicas"])),
            column("Current", "integer", |o, _| {
                number(&o["status"]["replicas"])
            }),
            column("Ready", "integer", |o, _| {
                number(&o["status"]["readyReplicas"])
            }),
            AGE,
            CONTAINERS,
            IMAGES,
            LABELS_OF_SELECTOR,
        ],
    ),
    (
        "",
        "replicationcontrollers",
        &[
            NAME,
            column("Desired", "integer", |o, _| number(&o["spec"]["replicas"])),
            column("Current", "integer", |o, _| {
                number(&o["status"]["replicas"])
            }),
            column("Ready", "integer", |o, _| {
                number(&o["status"]["readyReplicas"])
            }),
            AGE,
            CONTAINERS,
            IMAGES,
            LABELS_OF_SELECTOR,
        ],
    ),
    (
        "apps",
        "daemonsets",
        &[
            NAME,
            column("Desired", "integer", |o, _| {
                number(&o["status"]["desiredNumberScheduled"])
            }),
            column("Current", "integer", |o, _| {
                number(&o["status"]["currentNumberScheduled"])
            }),
            column("Ready", "integer", |o, _| {
                number(&o["status"]["numberReady"])
            }),
            column("Up-to-date", "integer", |o, _| {
                number(&o["status"]["updatedNumberScheduled"])
            }),
            column("Available", "integer", |o, _| {
                number(&o["status"]["numberAvailable"])
            }),
            column("Node Selector", "string", |o, _| {
                selector(&o["spec"]["template"]["spec"]["nodeSelector"])
            }),
            AGE,
            CONTAINERS,
            IMAGES,
            LABELS_OF_SELECTOR,
        ],
    ),
    (
        "batch",
        "jobs",
        &[
            NAME,
            column("Status", "string", |o, _| job_status(o)),
            column("Completions", "string", |o, _| {
                ratio(&o["status"]["succeeded"], &o["spec"]["completions"])
            }),
            column("Duration", "string", |o, now| job_duration(o, now)),
            AGE,
            CONTAINERS,
            IMAGES,
            LABELS_OF_SELECTOR,
        ],
    ),
    (
        "batch",
        "cronjobs",
        &[
            NAME,
            column("Schedule", "string", |o, _| o["spec"]["schedule"].clone()),
            column("Timezone", "string", |o, _| text(&o["spec"]["timeZone"])),
            column("Suspend", "boolean", |o, _| {
                capital(o["spec"]["suspend"].as_bool().unwrap_or(false))
            }),
            column("Active", "integer", |o, _| count(&o["status"]["active"])),
            column("Last Schedule", "string", |o, now| {
                match &o["status"]["lastScheduleTime"] {
                    Value::Null => "<none>".into(),
                    time => age(time, now),
                }
            }),
            AGE,
        ],
    ),
    (
        "",
        "services",
        &[
            NAME,
            column("Type", "string", |o, _| o["spec"]["type"].clone()),
            column("Cluster-IP", "string", |o, _| text(&o["spec"]["clusterIP"])),
            column("External-IP", "string", |o, _| external_ip(o)),
            column("Port(s)", "string", |o, _| service_ports(o)),
            AGE,
            LABELS_OF_SELECTOR,
        ],
    ),
    (
        "",
        "endpoints",
        &[
            NAME,
            column("Endpoints", "string", |o, _| endpoints(o)),
            AGE,
        ],
    ),
    (
        "",
        "configmaps",
        &[
            NAME,
            column("Data", "string", |o, _| {
                (size(&o["data"]) + size(&o["binaryData"])).into()
            }),
            AGE,
        ],
    ),
    (
        "",
        "secrets",
        &[
            NAME,
            column("Type", "string", |o, _| o["type"].clone()),
            column("Data", "string", |o, _| count(&o["data"])),
            AGE,
        ],
    ),
    (
        "",
        "serviceaccounts",
        &[
            NAME,
            column("Secrets", "string", |o, _| count(&o["secrets"])),
            AGE,
        ],
    ),
    (
        "",
        "namespaces",
        &[
            NAME,
            column("Status", "string", |o, _| o["status"]["phase"].clone()),
            AGE,
        ],
    ),
    (
        "",
        "nodes",
        &[
            NAME,
            column("Status", "string", |o, _| {
                if condition(o, "Ready") == "True" {
                    "Ready".into()
                } else {
                    "NotReady".into()
                }
            }),
            column("Roles", "string", |_, _| "<none>".into()),
            AGE,
            column("Version", "string", |o, _| {
                o["status"]["nodeInfo"]["kubeletVersion"].clone()
            }),
        ],
    ),
    (
        "",
        "persistentvolumes",
        &[
            NAME,
            column("Capacity", "string", |o, _| {
                o["spec"]["capacity"]["storage"].clone()
            }),
            column("Access Modes", "string", |o, _| {
                access_modes(&o["spec"]["accessModes"])
            }),
            column("Reclaim Policy", "string", |o, _| {
                o["spec"]["persistentVolumeReclaimPolicy"].clone()
            }),
            column("Status", "string", |o, _| o["status"]["phase"].clone()),
            column("Claim", "string", |o, _| match &o["spec"]["claimRef"] {
                Value::Object(claim) => {
                    format!("{}/{}", plain(&claim["namespace"]), plain(&claim["name"])).into()
                }
                _ => "".into(),
            }),
            column("StorageClass", "string", |o, _| {
                plain(&o["spec"]["storageClassName"]).into()
            }),
            column("Reason", "string", |o, _| {
                plain(&o["status"]["reason"]).into()
            }),
            AGE,
        ],
    ),
    (
        "",
        "persistentvolumeclaims",
        &[
            NAME,
            column("Status", "string", |o, _| o["status"]["phase"].clone()),
            column("Volume", "string", |o, _| {
                plain(&o["spec"]["volumeName"]).into()
            }),
            column("Capacity", "string", |o, _| {
                plain(&o["status"]["capacity"]["storage"]).into()
            }),
            column("Access Modes", "string", |o, _| {
                access_modes(&o["status"]["accessModes"])
            }),
            column("StorageClass", "string", |o, _| {
                plain(&o["spec"]["storageClassName"]).into()
            }),
            AGE,
        ],
    ),
    (
        "storage.k8s.io",
        "storageclasses",
        &[
            column("Name", "string", |o, _| {
                let key = "storageclass.kubernetes.io/is-default-class";
                let mark = if o["metadata"]["annotations"][key] == "true" {
                    " (default)"
                } else {
                    ""
                };
                format!("{}{mark}", plain(&o["metadata"]["name"])).into()
            }),
            column("Provisioner", "string", |o, _| o["provisioner"].clone()),
            column("ReclaimPolicy", "string", |o, _| o["reclaimPolicy"].clone()),
            column("VolumeBindingMode", "string", |o, _| {
                o["volumeBindingMode"].clone()
            }),
            column("AllowVolumeExpansion", "string", |o, _| {
                o["allowVolumeExpansion"].as_bool().unwrap_or(false).into()
            }),
            AGE,
        ],
    ),
    (
        "networking.k8s.io",
        "ingresses",
        &[
            NAME,
            column("Class", "string", |o, _| {
                text(&o["spec"]["ingressClassName"])
            }),
            column("Hosts", "string", |o, _| hosts(o)),
            column("Address", "string", |o, _| addresses(o).into()),
            column("Ports", "string", |o, _| {
                if o["spec"]["tls"].is_array() {
                    "80, 443".into()
                } else {
                    "80".into()
                }
            }),
            AGE,
        ],
    ),
    (
        "networking.k8s.io",
        "networkpolicies",
        &[
            NAME,
            column("Pod-Selector", "string", |o, _| {
                selector(&o["spec"]["podSelector"])
            }),
            AGE,
        ],
    ),
    (
        "autoscaling",
        "horizontalpodautoscalers",
        &[
            NAME,
            column("Reference", "string", |o, _| {
                let target = &o["spec"]["scaleTargetRef"];
                format!("{}/{}", plain(&target["kind"]), plain(&target["name"])).into()
            }),
            column("MinPods", "string", |o, _| {
                o["spec"]["minReplicas"].as_i64().unwrap_or(1).into()
            }),
            column("MaxPods", "string", |o, _| {
                number(&o["spec"]["maxReplicas"])
            }),
            column("Replicas", "string", |o, _| {
                number(&o["status"]["currentReplicas"])
            }),
            AGE,
        ],
    ),
    (
        "policy",
        "poddisruptionbudgets",
        &[
            NAME,
            column("Min Available", "string", |o, _| {
                or_na(&o["spec"]["minAvailable"])
            }),
            column("Max Unavailable", "string", |o, _| {
                or_na(&o["spec"]["maxUnavailable"])
            }),
            column("Allowed Disruptions", "integer", |o, _| {
                number(&o["status"]["disruptionsAllowed"])
            }),
            AGE,
        ],
    ),
    ("rbac.authorization.k8s.io", "roles", CREATED_AT),
    ("rbac.authorization.k8s.io", "clusterroles", CREATED_AT),
    ("rbac.authorization.k8s.io", "rolebindings", BINDING),
    ("rbac.authorization.k8s.io", "clusterrolebindings", BINDING),
    (
        "",
        "events",
        &[
            column("Last Seen", "string", |o, now| match &o["lastTimestamp"] {
                Value::Null => age(&o["metadata"]["creationTimestamp"], now),
                time => age(time, now),
            }),
            column("Type", "string", |o, _| o["type"].clone()),
            column("Reason", "string", |o, _| o["reason"].clone()),
            column("Object", "string", |o, _| {
                let about = &o["involvedObject"];
                format!(
                    "{}/{}",
                    plain(&about["kind"]).to_lowercase(),
                    plain(&about["name"])
                )
                .into()
            }),
            column("Message", "string", |o, _| {
                plain(&o["message"]).trim().into()
            }),
        ],
    ),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        CREATED_AT,
    ),
    (
        "apiregistration.k8s.io",
        "apiservices",
        &[
            NAME,
            column("Service", "string", |o, _| match &o["spec"]["service"] {
                Value::Object(service) => format!(
                    "{}/{}",
                    plain(&service["namespace"]),
                    plain(&service["name"])
                )
                .into(),
                _ => "Local".into(),
            }),
            column("Available", "string", |o, _| {
                condition(o, "Available").into()
            }),
            AGE,
        ],
    ),
    (
        "scheduling.k8s.io",
        "priorityclasses",
        &[
            NAME,
            column("Value", "integer", |o, _| number(&o["value"])),
            column("Global-Default", "boolean", |o, _| {
                o["globalDefault"].as_bool().unwrap_or(false).into()
            }),
            AGE,
        ],
    ),
];

static CREATED_AT: &[Column] = &[
    NAME,
    column("Created At", "date", |object, _| {
        object["metadata"]["creationTimestamp"].clone()
    }),
];

static BINDING: &[Column] = &[
    NAME,
    column("Role", "string", |o, _| {
        format!(
            "{}/{}",
            plain(&o["roleRef"]["kind"]),
            plain(&o["roleRef"]["name"])
        )
        .into()
    }),
    AGE,
];

/// The columns of a resource.
pub(crate) fn columns<'a>(resource: &Resource, version: &'a Version) -> Columns<'a> {
    if let Some(custom) = version
        .schema
        .as_ref()
        .filter(|custom| !custom.columns.is_empty())
    {
        return Columns::Custom(&custom.columns);
    }
    let found = BUILT_IN
        .iter()
        .find(|(group, plural, _)| resource.is(group, plural));
    Columns::BuiltIn(found.map_or(DEFAULT, |(_, _, columns)| columns))
}

impl Columns<'_> {
    /// `columnDefinitions`.
    pub(crate) fn definitions(&self) -> Value {
        let definition = |name: &str, kind: &str, format: &str, priority: i64, about: &str| json!({"name": name, "type": kind, "format": format, "description": about, "priority": priority});
        match self {
            Self::BuiltIn(columns) => columns
                .iter()
                .map(|column| {
                    let format = if column.name == "Name" { "name" } else { "" };
                    definition(
                        column.name,
                        column.kind,
                        format,
                        column.priority,
                        column.name,
                    )
                })
                .collect(),
            Self::Custom(columns) => {
                std::iter::once(definition("Name", "string", "name", 0, "Name"))
                    .chain(columns.iter().map(|one| {
                        definition(
                            &one.name,
                            &one.kind,
                            &one.format,
                            one.priority,
                            &one.description,
                        )
                    }))
                    .collect()
            }
        }
    }

    /// One row; `include` is the query's `includeObject`.
    pub(crate) fn row(&self, object: &Value, include: &str, now: Timestamp) -> Value {
        let cells: Vec<Value> = match self {
            Self::BuiltIn(columns) => columns
                .iter()
                .map(|column| (column.cell)(object, now))
                .collect(),
            Self::Custom(columns) => std::iter::once(object["metadata"]["name"].clone())
                .chain(
                    columns
                        .iter()
                        .map(|column| custom_cell(object, column, now)),
                )
                .collect(),
        };
        match include {
            "None" => json!({"cells": cells}),
            "Object" => json!({"cells": cells, "object": object}),
            _ => json!({"cells": cells, "object": partial(&object["metadata"])}),
        }
    }
}

/// `PartialObjectMetadata` of an object's metadata.
pub(crate) fn partial(metadata: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
}

fn custom_cell(object: &Value, column: &CustomColumn, now: Timestamp) -> Value {
    match at_json_path(object, &column.path) {
        None | Some(Value::Null) => Value::Null,
        Some(value) if column.kind == "date" => age(value, now),
        Some(value @ (Value::Object(_) | Value::Array(_))) => value.to_string().into(),
        Some(value) => value.clone(),
    }
}

/// Time since a time stamp, as `kubectl` prints it.
fn age(time: &Value, now: Timestamp) -> Value {
    let Some(then) = time
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok())
    else {
        return "<unknown>".into();
    };
    human_duration(now.as_second() - then.as_second()).into()
}

fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let (days, years) = (hours / 24, hours / 24 / 365);
    let pair = |large: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{large}{unit}")
        } else {
            format!("{large}{unit}{small}{small_unit}")
        }
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1..=0 => "0s".to_owned(),
        1..120 => format!("{seconds}s"),
        120..600 => pair(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => pair(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => pair(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => pair(years, "y", days % 365, "d"),
        _ => format!("{years}y"),
    }
}

fn plain(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn text(value: &Value) -> Value {
    match value.as_str() {
        None | Some("") => "<none>".into(),
        Some(text) => text.into(),
    }
}

fn number(value: &Value) -> Value {
    value.as_i64().unwrap_or(0).into()
}

fn ratio(done: &Value, wanted: &Value) -> Value {
    format!(
        "{}/{}",
        done.as_i64().unwrap_or(0),
        wanted.as_i64().unwrap_or(1)
    )
    .into()
}

fn size(value: &Value) -> usize {
    value
        .as_object()
        .map(Map::len)
        .or(value.as_array().map(Vec::len))
        .unwrap_or(0)
}

fn count(value: &Value) -> Value {
    size(value).into()
}

fn capital(flag: bool) -> Value {
    if flag { "True".into() } else { "False".into() }
}

fn or_na(value: &Value) -> Value {
    match value {
        Value::Null => "N/A".into(),
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn joined<'a>(values: impl Iterator<Item = &'a str>) -> String {
    values.collect::<Vec<_>>().join(",")
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let found = items(&object["status"]["conditions"]).find(|one| one["type"] == kind);
    found.map_or("Unknown", |one| plain(&one["status"]))
}

fn selector(value: &Value) -> Value {
    let pairs = value.get("matchLabels").unwrap_or(value);
    let Some(pairs) = pairs.as_object().filter(|pairs| !pairs.is_empty()) else {
        return "<none>".into();
    };
    let pairs = pairs.iter().filter(|(_, value)| value.is_string());
    pairs
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect::<Vec<_>>()
        .join(",")
        .into()
}

fn containers(object: &Value, key: &str) -> Value {
    joined(items(&object["spec"]["template"]["spec"]["containers"]).map(|one| plain(&one[key])))
        .into()
}

fn pod_ready(object: &Value) -> Value {
    let ready = items(&object["status"]["containerStatuses"]).filter(|one| one["ready"] == true);
    format!("{}/{}", ready.count(), size(&object["spec"]["containers"])).into()
}

fn pod_status(object: &Value) -> Value {
    if object["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".into();
    }
    let waiting = items(&object["status"]["containerStatuses"])
        .filter_map(|one| {
            one["state"]["waiting"]["reason"]
                .as_str()
                .or(one["state"]["terminated"]["reason"].as_str())
        })
        .last();
    match waiting.or(object["status"]["reason"].as_str()) {
        Some(reason) => reason.into(),
        None => object["status"]["phase"].clone(),
    }
}

fn restarts(object: &Value) -> String {
    let counts = items(&object["status"]["containerStatuses"]);
    counts
        .filter_map(|one| one["restartCount"].as_i64())
        .sum::<i64>()
        .to_string()
}

fn job_status(object: &Value) -> Value {
    for (kind, shown) in [
        ("Complete", "Complete"),
        ("Failed", "Failed"),
        ("Suspended", "Suspended"),
    ] {
        if condition(object, kind) == "True" {
            return shown.into();
        }
    }
    "Running".into()
}

fn job_duration(object: &Value, now: Timestamp) -> Value {
    let time = |key: &str| object["status"][key].as_str()?.parse::<Timestamp>().ok();
    match time("startTime") {
        None => "".into(),
        Some(start) => {
            let end = time("completionTime").unwrap_or(now);
            human_duration(end.as_second() - start.as_second()).into()
        }
    }
}

fn external_ip(object: &Value) -> Value {
    let spec = &object["spec"];
    let fixed = joined(items(&spec["externalIPs"]).map(plain));
    let found = match spec["type"].as_str() {
        Some("ExternalName") => plain(&spec["externalName"]).to_owned(),
        Some("LoadBalancer") => {
            let given = addresses(object);
            if given.is_empty() && fixed.is_empty() {
                "<pending>".to_owned()
            } else {
                format!("{given}{fixed}")
            }
        }
        _ => fixed,
    };
    text(&found.into())
}

fn addresses(object: &Value) -> String {
    joined(
        items(&object["status"]["loadBalancer"]["ingress"]).map(|one| {
            one["ip"]
                .as_str()
                .or(one["hostname"].as_str())
                .unwrap_or_default()
        }),
    )
}

fn service_ports(object: &Value) -> Value {
    let ports = items(&object["spec"]["ports"]).map(|port| {
        let (number, protocol) = (port["port"].as_i64().unwrap_or(0), plain(&port["protocol"]));
        match port["nodePort"].as_i64() {
            Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    });
    text(&ports.collect::<Vec<_>>().join(",").into())
}

fn endpoints(object: &Value) -> Value {
    let mut shown = Vec::new();
    for subset in items(&object["subsets"]) {
        for address in items(&subset["addresses"]) {
            let ports = items(&subset["ports"]).map(|port| port["port"].as_i64().unwrap_or(0));
            shown.extend(ports.map(|port| format!("{}:{port}", plain(&address["ip"]))));
        }
    }
    text(&shown.join(",").into())
}

fn access_modes(value: &Value) -> Value {
    joined(items(value).map(|mode| match mode.as_str() {
        Some("ReadWriteOnce") => "RWO",
        Some("ReadOnlyMany") => "ROX",
        Some("ReadWriteMany") => "RWX",
        Some("ReadWriteOncePod") => "RWOP",
        other => other.unwrap_or_default(),
    }))
    .into()
}

fn hosts(object: &Value) -> Value {
    let hosts = joined(items(&object["spec"]["rules"]).filter_map(|rule| rule["host"].as_str()));
    if hosts.is_empty() {
        "*".into()
    } else {
        hosts.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_kubectl_prints_them() {
        for (seconds, expected) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (3600, "60m"),
            (10_900, "3h1m"),
            (90_000, "25h"),
            (200_000, "2d7h"),
            (900_000, "10d"),
            (70_000_000, "2y80d"),
        ] {
            assert_eq!(human_duration(seconds), expected, "{seconds}");
        }
    }
}
