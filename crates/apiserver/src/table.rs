//! `meta.k8s.io/v1 Table`: what `kubectl get` prints.
//!
//! Columns of common built-in kinds are in `data/columns.txt`, custom resources bring their own, everything
//! else has a name and an age.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::crd::{Column as CustomColumn, at_json_path};
use crate::registry::{Resource, Version};

/// A column of a built-in kind.
#[derive(Debug)]
pub(crate) struct Column {
    name: String,
    kind: String,
    /// Above zero only `-o wide` shows it.
    priority: i64,
    cell: Cell,
    arguments: Vec<String>,
}

type Cell = fn(&Look<'_>) -> Value;

/// What a cell is made from.
struct Look<'a> {
    object: &'a Value,
    arguments: &'a [String],
    now: Timestamp,
}

/// The columns of a resource in one version.
pub(crate) enum Columns<'a> {
    BuiltIn(&'a [Column]),
    Custom(&'a [CustomColumn]),
}

static BUILT_IN: LazyLock<Vec<(String, Vec<Column>)>> =
    LazyLock::new(|| parse(include_str!("../data/columns.txt")));

static DEFAULT: LazyLock<Vec<Column>> = LazyLock::new(|| {
    let lines = [
        "Name|string|raw .metadata.name",
        "Age|string|age .metadata.creationTimestamp",
    ];
    lines.iter().filter_map(|line| parse_column(line)).collect()
});

fn parse(text: &str) -> Vec<(String, Vec<Column>)> {
    let mut resources: Vec<(String, Vec<Column>)> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match parse_column(line) {
            None => resources.push((line.to_owned(), Vec::new())),
            Some(column) => {
                if let Some((_, columns)) = resources.last_mut() {
                    columns.push(column);
                }
            }
        }
    }
    resources
}

fn parse_column(line: &str) -> Option<Column> {
    let mut parts = line.split('|');
    let (name, kind, how) = (parts.next()?, parts.next()?, parts.next()?);
    let mut words = how.split(' ').map(str::to_owned);
    Some(Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        priority: i64::from(parts.next() == Some("wide")),
        cell: cell(&words.next()?)?,
        arguments: words.collect(),
    })
}

fn cell(how: &str) -> Option<Cell> {
    Some(match how {
        "raw" => |look| look.value(0).clone(),
        "text" => |look| or_none(look.text(0)),
        "none" => |_| or_none(""),
        "number" => |look| look.number(0, 0).into(),
        "one" => |look| look.number(0, 1).into(),
        "count" => |look| look.values().map(size).sum::<usize>().into(),
        "flag" => |look| {
            if look.truth() {
                "True".into()
            } else {
                "False".into()
            }
        },
        "truth" => |look| look.truth().into(),
        "ratio" => |look| format!("{}/{}", look.number(0, 0), look.number(1, 1)).into(),
        "pair" => |look| match (look.text(0), look.text(1)) {
            ("", "") => "".into(),
            (first, second) => format!("{first}/{second}").into(),
        },
        "about" => |look| format!("{}/{}", look.text(0).to_lowercase(), look.text(1)).into(),
        "age" => |look| age(look.values().find(|value| !value.is_null()), look.now),
        "since" => |look| match look.value(0) {
            Value::Null => or_none(""),
            time => age(Some(time), look.now),
        },
        "between" => between,
        "selector" => |look| selector(look.value(0)),
        "modes" => |look| joined(items(look.value(0)).map(short_mode)).into(),
        "or-na" => |look| match look.value(0) {
            Value::Null => "N/A".into(),
            Value::String(text) => text.as_str().into(),
            other => other.to_string().into(),
        },
        "condition" => |look| condition(look.object, look.argument(0)).into(),
        "containers" => containers,
        "pod-ready" => pod_ready,
        "pod-status" => pod_status,
        "restarts" => restarts,
        "job-status" => job_status,
        "node-status" => |look| match condition(look.object, "Ready") {
            "True" => "Ready".into(),
            _ => "NotReady".into(),
        },
        "external-ip" => external_ip,
        "addresses" => |look| addresses(look.object).into(),
        "service-ports" => service_ports,
        "endpoints" => endpoints,
        "hosts" => hosts,
        "ingress-ports" => |look| match &look.object["spec"]["tls"] {
            Value::Array(_) => "80, 443".into(),
            _ => "80".into(),
        },
        "class-name" => class_name,
        "api-service" => |look| match &look.object["spec"]["service"] {
            Value::Null => "Local".into(),
            service => format!(
                "{}/{}",
                plain(&service["namespace"]),
                plain(&service["name"])
            )
            .into(),
        },
        _ => return None,
    })
}

impl<'a> Look<'a> {
    fn argument(&self, index: usize) -> &'a str {
        self.arguments
            .get(index)
            .map(String::as_str)
            .unwrap_or_default()
    }

    fn value(&self, index: usize) -> &'a Value {
        at_json_path(self.object, self.argument(index)).unwrap_or(&Value::Null)
    }

    fn values(&self) -> impl Iterator<Item = &'a Value> {
        let (object, paths) = (self.object, self.arguments);
        paths
            .iter()
            .map(|path| at_json_path(object, path).unwrap_or(&Value::Null))
    }

    fn text(&self, index: usize) -> &'a str {
        plain(self.value(index))
    }

    fn number(&self, index: usize, absent: i64) -> i64 {
        self.value(index).as_i64().unwrap_or(absent)
    }

    fn truth(&self) -> bool {
        self.value(0).as_bool().unwrap_or(false)
    }
}

/// The columns of a resource.
pub(crate) fn columns<'a>(resource: &Resource, version: &'a Version) -> Columns<'a> {
    if let Some(custom) = version
        .schema
        .as_ref()
        .filter(|custom| !custom.columns.is_empty())
    {
        return Columns::Custom(&custom.columns);
    }
    let name = resource.name.to_string();
    let found = BUILT_IN.iter().find(|(resource, _)| *resource == name);
    Columns::BuiltIn(found.map_or(&DEFAULT, |(_, columns)| columns))
}

impl Columns<'_> {
    /// `columnDefinitions`.
    pub(crate) fn definitions(&self) -> Value {
        let definition = |name: &str, kind: &str, format: &str, priority: i64, about: &str| json!({"name": name, "type": kind, "format": format, "description": about, "priority": priority});
        match self {
            Self::BuiltIn(columns) => columns
                .iter()
                .map(|one| {
                    let format = if one.name == "Name" { "name" } else { "" };
                    definition(&one.name, &one.kind, format, one.priority, &one.name)
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
                .map(|one| {
                    (one.cell)(&Look {
                        object,
                        arguments: &one.arguments,
                        now,
                    })
                })
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
        Some(value) if column.kind == "date" => age(Some(value), now),
        Some(value @ (Value::Object(_) | Value::Array(_))) => value.to_string().into(),
        Some(value) => value.clone(),
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Time since a time stamp, as `kubectl` prints it.
fn age(value: Option<&Value>, now: Timestamp) -> Value {
    match value.and_then(time) {
        Some(then) => human_duration(now.as_second() - then.as_second()).into(),
        None => "<unknown>".into(),
    }
}

fn between(look: &Look<'_>) -> Value {
    match time(look.value(0)) {
        None => "".into(),
        Some(start) => {
            let end = time(look.value(1)).unwrap_or(look.now);
            human_duration(end.as_second() - start.as_second()).into()
        }
    }
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

fn or_none(text: &str) -> Value {
    if text.is_empty() {
        "<none>".into()
    } else {
        text.into()
    }
}

fn size(value: &Value) -> usize {
    value
        .as_object()
        .map(Map::len)
        .or(value.as_array().map(Vec::len))
        .unwrap_or(0)
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
    let pairs = value.get("matchLabels").unwrap_or(value).as_object();
    let pairs = pairs
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.is_string());
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={}", plain(value)))
        .collect();
    or_none(&pairs.join(","))
}

fn containers(look: &Look<'_>) -> Value {
    let containers = items(&look.object["spec"]["template"]["spec"]["containers"]);
    joined(containers.map(|one| plain(&one[look.argument(0)]))).into()
}

fn pod_ready(look: &Look<'_>) -> Value {
    let statuses = items(&look.object["status"]["containerStatuses"]);
    let ready = statuses.filter(|one| one["ready"] == true).count();
    format!("{ready}/{}", size(&look.object["spec"]["containers"])).into()
}

fn pod_status(look: &Look<'_>) -> Value {
    let object = look.object;
    if object["metadata"]["deletionTimestamp"].is_string() {
        return "Terminating".into();
    }
    let reason = |state: &Value| {
        let waiting = state["waiting"]["reason"].as_str();
        waiting
            .or(state["terminated"]["reason"].as_str())
            .map(str::to_owned)
    };
    let statuses = items(&object["status"]["containerStatuses"]);
    let last = statuses.filter_map(|one| reason(&one["state"])).last();
    match last.as_deref().or(object["status"]["reason"].as_str()) {
        Some(reason) => reason.into(),
        None => object["status"]["phase"].clone(),
    }
}

fn restarts(look: &Look<'_>) -> Value {
    let statuses = items(&look.object["status"]["containerStatuses"]);
    let counts = statuses.filter_map(|one| one["restartCount"].as_u64());
    counts.fold(0, u64::saturating_add).to_string().into()
}

fn job_status(look: &Look<'_>) -> Value {
    let states = ["Complete", "Failed", "Suspended"];
    let found = states
        .into_iter()
        .find(|state| condition(look.object, state) == "True");
    found.unwrap_or("Running").into()
}

fn external_ip(look: &Look<'_>) -> Value {
    let spec = &look.object["spec"];
    let fixed = joined(items(&spec["externalIPs"]).map(plain));
    match spec["type"].as_str() {
        Some("ExternalName") => or_none(plain(&spec["externalName"])),
        Some("LoadBalancer") => match addresses(look.object) + &fixed {
            none if none.is_empty() => "<pending>".into(),
            found => found.into(),
        },
        _ => or_none(&fixed),
    }
}

fn addresses(object: &Value) -> String {
    let points = items(&object["status"]["loadBalancer"]["ingress"]);
    joined(points.map(|one| {
        one["ip"]
            .as_str()
            .or(one["hostname"].as_str())
            .unwrap_or_default()
    }))
}

fn service_ports(look: &Look<'_>) -> Value {
    let ports = items(&look.object["spec"]["ports"]).map(|port| {
        let (number, protocol) = (port["port"].as_i64().unwrap_or(0), plain(&port["protocol"]));
        match port["nodePort"].as_i64() {
            Some(node_port) if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
            _ => format!("{number}/{protocol}"),
        }
    });
    or_none(&ports.collect::<Vec<_>>().join(","))
}

fn endpoints(look: &Look<'_>) -> Value {
    let mut shown = Vec::new();
    for subset in items(&look.object["subsets"]) {
        for address in items(&subset["addresses"]) {
            let ports = items(&subset["ports"]).map(|port| port["port"].as_i64().unwrap_or(0));
            shown.extend(ports.map(|port| format!("{}:{port}", plain(&address["ip"]))));
        }
    }
    or_none(&shown.join(","))
}

fn short_mode(mode: &Value) -> &str {
    match plain(mode) {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        other => other,
    }
}

fn hosts(look: &Look<'_>) -> Value {
    let rules = items(&look.object["spec"]["rules"]);
    let hosts = joined(rules.filter_map(|rule| rule["host"].as_str()));
    if hosts.is_empty() {
        "*".into()
    } else {
        hosts.into()
    }
}

fn class_name(look: &Look<'_>) -> Value {
    let metadata = &look.object["metadata"];
    let is_default = &metadata["annotations"]["storageclass.kubernetes.io/is-default-class"];
    let mark = if is_default == "true" {
        " (default)"
    } else {
        ""
    };
    format!("{}{mark}", plain(&metadata["name"])).into()
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

    #[test]
    fn every_line_of_the_data_file_is_understood() {
        let text = include_str!("../data/columns.txt");
        let columns = text
            .lines()
            .filter(|line| line.contains('|') && !line.starts_with('#'));
        let parsed: usize = BUILT_IN.iter().map(|(_, columns)| columns.len()).sum();
        assert_eq!(parsed, columns.count());
        assert!(
            BUILT_IN
                .iter()
                .all(|(name, columns)| !name.contains('|') && columns.len() > 1)
        );
    }
}
