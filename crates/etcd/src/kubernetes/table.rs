//! How messages of built-in objects are built: the generated table.

use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The committed text; `cargo xtask codegen` writes it.
const TEXT: &str = include_str!("../../data/messages.json");

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let raw: Raw = serde_json::from_str(TEXT).expect("generated, and read by every test");
    Table::from(raw)
});

/// The table of this program.
#[must_use]
pub fn table() -> &'static Table {
    &TABLE
}

/// Messages of built-in objects, and how their kinds are named.
#[derive(Debug)]
pub struct Table {
    release: String,
    /// `apiVersion/Kind` with the name of its message.
    kinds: HashMap<String, String>,
    /// `group/Kind` with its names.
    resources: HashMap<String, Kind>,
    messages: HashMap<String, Vec<Row>>,
}

/// How a built-in kind is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// `Deployment`.
    pub kind: String,
    /// `apps`; empty for the core group.
    pub group: String,
    /// `deployments`.
    pub plural: String,
    /// Whether its objects have namespaces.
    pub namespaced: bool,
    /// `deploy`.
    pub short_names: Vec<String>,
}

impl Kind {
    /// Whether a user who wrote `name` means it: plural, singular or short name, with or without its group, in any case.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let (name, group) = name.split_once('.').unwrap_or((&name, ""));
        let names = [self.plural.clone(), self.kind.to_lowercase()];
        (names.iter().chain(&self.short_names).any(|own| own == name))
            && (group.is_empty() || group == self.group)
    }

    /// `deployments.apps`, `pods`.
    #[must_use]
    pub fn resource(&self) -> String {
        match self.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }
}

/// A field of a message.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) number: u32,
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) shown: Shown,
}

/// What stands in a field.
#[derive(Debug)]
pub(super) enum Shape {
    Text,
    Bool,
    Integer,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    RawJson,
    Message(String),
    List(Box<Shape>),
    Map(Box<Shape>),
    /// A message whose only field, number 1, is it.
    Wrapped(Box<Shape>),
    /// A message whose fields belong to the one around it.
    Inlined(String),
}

/// When a field is in the JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Shown {
    /// Always, as zero when it is absent.
    Always,
    /// When it is not zero.
    Set,
    /// When it is on the wire.
    Present,
}

impl Table {
    /// Release of Kubernetes whose messages they are, such as `1.37`; those of older releases are among them.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The names of a kind.
    #[must_use]
    pub fn kind(&self, group: &str, kind: &str) -> Option<&Kind> {
        self.resources.get(&format!("{group}/{kind}"))
    }

    /// Kinds that a user may mean by a name.
    pub fn called<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Kind> + 'a {
        self.resources
            .values()
            .filter(move |kind| kind.is_called(name))
    }

    /// The message of an object; `None` for a kind or version that is not in the table.
    pub(super) fn of_object(&self, api_version: &str, kind: &str) -> Option<&str> {
        let name = self.kinds.get(&format!("{api_version}/{kind}"));
        name.map(String::as_str)
    }

    /// Fields of a message, by number; a name that the table does not have has none.
    pub(super) fn rows(&self, message: &str) -> &[Row] {
        self.messages.get(message).map_or(&[], Vec::as_slice)
    }
}

/// The file.
#[derive(Deserialize)]
struct Raw {
    release: String,
    kinds: HashMap<String, String>,
    resources: HashMap<String, (String, bool, Vec<String>)>,
    messages: HashMap<String, Vec<(u32, String, String, Shown)>>,
}

impl From<Raw> for Table {
    fn from(raw: Raw) -> Self {
        let resources = raw.resources.into_iter().map(|(id, of)| {
            let (group, kind) = id.split_once('/').unwrap_or(("", &id));
            let (plural, namespaced, short_names) = of;
            let names = Kind {
                kind: kind.to_owned(),
                group: group.to_owned(),
                plural,
                namespaced,
                short_names,
            };
            (id, names)
        });
        let row = |(number, name, shape, shown): (u32, String, String, Shown)| Row {
            number,
            name,
            shape: Shape::read(&shape),
            shown,
        };
        let messages = raw.messages.into_iter();
        Self {
            release: raw.release,
            kinds: raw.kinds,
            resources: resources.collect(),
            messages: messages
                .map(|(name, rows)| (name, rows.into_iter().map(row).collect()))
                .collect(),
        }
    }
}

impl Shape {
    fn read(text: &str) -> Self {
        let boxed = |rest| Box::new(Self::read(rest));
        if let Some(rest) = text.strip_prefix("[]") {
            return Self::List(boxed(rest));
        }
        if let Some(rest) = text.strip_prefix("{}") {
            return Self::Map(boxed(rest));
        }
        if let Some(rest) = text.strip_prefix('@') {
            return Self::Wrapped(boxed(rest));
        }
        if let Some(rest) = text.strip_prefix("<>") {
            return Self::Inlined(rest.to_owned());
        }
        match text {
            "string" => Self::Text,
            "bool" => Self::Bool,
            "integer" => Self::Integer,
            "bytes" => Self::Bytes,
            "time" => Self::Time,
            "micro-time" => Self::MicroTime,
            "quantity" => Self::Quantity,
            "int-or-string" => Self::IntOrString,
            "raw-json" => Self::RawJson,
            message => Self::Message(message.to_owned()),
        }
    }

    /// Messages that it names.
    #[cfg(test)]
    fn message(&self) -> Option<&str> {
        match self {
            Self::Message(name) | Self::Inlined(name) => Some(name),
            Self::List(of) | Self::Map(of) | Self::Wrapped(of) => of.message(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_that_is_named_is_there() {
        let table = table();
        assert!(table.kinds.len() > 100, "{}", table.kinds.len());
        let named = table.messages.values().flatten();
        let named = named.filter_map(|row| row.shape.message());
        for name in named.chain(table.kinds.values().map(String::as_str)) {
            assert!(table.messages.contains_key(name), "{name}");
        }
    }

    #[test]
    fn kinds_are_called_as_kubectl_calls_them() {
        let table = table();
        let plurals = |name: &str| {
            let mut found: Vec<String> = table.called(name).map(Kind::resource).collect();
            found.sort();
            found
        };
        for name in ["deploy", "Deployment", "deployments", "DEPLOYMENTS.apps"] {
            assert!(
                plurals(name).contains(&"deployments.apps".to_owned()),
                "{name}"
            );
        }
        assert_eq!(plurals("po"), ["pods"]);
        assert_eq!(plurals("nosuch"), [""; 0]);
        let pod = table.kind("", "Pod").expect("known");
        assert!(pod.namespaced && !table.kind("", "Node").expect("known").namespaced);
    }
}
