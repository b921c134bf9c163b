//! `etcd inspect`, `etcd get` and `etcd blame`: Kubernetes' objects straight from a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_etcd::history::{self, Past, Version};
use salvor_etcd::kubernetes::{Keys, Opened, Path, Place, Stored, Unreadable};
use salvor_etcd::mvcc::Revision;
use salvor_text::{ByteCount, Table};
use serde_json::{Map, Value, json};

use super::recover::Versions;
use super::{source, stoppable};
use crate::args::Format;
use crate::args::etcd_objects::{BlameArgs, GetArgs, InspectArgs, InspectFormat, Place as From};
use crate::exit::{Exit, Failure};
use crate::output::structured;
use crate::session::Session;

/// Objects of one kind, or of one kind in one namespace.
#[derive(Clone, Debug, Default)]
struct Count {
    objects: u64,
    bytes: u64,
    encrypted: u64,
    /// Neither encrypted nor readable.
    unreadable: u64,
    namespaces: BTreeSet<String>,
}

/// What `inspect` found.
#[derive(Debug, Default)]
struct Inventory {
    revision: u64,
    reach: history::Reach,
    counts: BTreeMap<(String, String), Count>,
    biggest: Vec<(u64, Place)>,
    /// Keys below `/registry/` and elsewhere that are no objects.
    other: u64,
    providers: BTreeSet<String>,
}

impl Inventory {
    fn read(
        past: &mut Past,
        keys: &Keys,
        args: &InspectArgs,
        stop: &AtomicBool,
    ) -> Result<Self, history::Error> {
        let state = history::state(past, args.from.moment().revision, |_| true, stop)?;
        let mut this = Self {
            revision: state.revision,
            reach: state.reach,
            ..Self::default()
        };
        history::values(past, &state, stop, |version| {
            let opened = keys.open(version.entry.key, version.entry.value);
            this.take(&version, &opened, args.by_namespace, args.biggest);
        })?;
        Ok(this)
    }

    fn take(
        &mut self,
        version: &Version<'_>,
        opened: &Opened<'_>,
        by_namespace: bool,
        biggest: usize,
    ) {
        let stored = opened.stored();
        let Some(place) = Place::of(version.entry.key, &stored) else {
            self.other += 1;
            return;
        };
        let bytes = version.entry.value.len() as u64;
        let namespace = match by_namespace {
            true => place.namespace.clone(),
            false => String::new(),
        };
        let count = self
            .counts
            .entry((place.collection(), namespace))
            .or_default();
        count.objects += 1;
        count.bytes += bytes;
        if !place.namespace.is_empty() {
            count.namespaces.insert(place.namespace.clone());
        }
        if let Some(by) = &opened.by {
            count.encrypted += 1;
            self.providers.insert(by.clone());
        }
        match &stored {
            // Without its key it counts as encrypted.
            Stored::Encrypted(_) | Stored::Message { .. } | Stored::Json(_) => {}
            Stored::Cbor(_) if stored.identity().is_some() => {}
            Stored::Cbor(_) | Stored::Other => count.unreadable += 1,
        }
        self.biggest.push((bytes, place));
        // Not sorted each time: a few times too many is little.
        if self.biggest.len() > 4 * biggest.max(16) {
            self.keep(biggest);
        }
    }

    fn keep(&mut self, biggest: usize) {
        self.biggest
            .sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        self.biggest.truncate(biggest);
    }

    fn value(&self) -> Value {
        let rows = self.counts.iter().map(|((resource, namespace), count)| {
            let mut row = json!({
                "resource": resource,
                "objects": count.objects,
                "bytes": count.bytes,
                "encrypted": count.encrypted,
                "unreadable": count.unreadable,
                "namespaces": count.namespaces,
            });
            if !namespace.is_empty() {
                row["namespace"] = json!(namespace);
            }
            row
        });
        let biggest = self.biggest.iter().map(|(bytes, place)| {
            json!({
                "bytes": bytes, "resource": place.collection(),
                "namespace": place.namespace, "name": place.name,
            })
        });
        json!({
            "revision": self.revision,
            "firstRevision": self.reach.from,
            "lastRevision": self.reach.to,
            "kinds": rows.collect::<Vec<_>>(),
            "biggest": biggest.collect::<Vec<_>>(),
            "otherKeys": self.other,
            "encryptionProviders": self.providers,
        })
    }

    fn text(&self, by_namespace: bool) -> String {
        let second = if by_namespace {
            "NAMESPACE"
        } else {
            "NAMESPACES"
        };
        let mut table = Table::new(&[
            "RESOURCE",
            second,
            "OBJECTS",
            "SIZE",
            "ENCRYPTED",
            "UNREADABLE",
        ]);
        for ((resource, namespace), count) in &self.counts {
            let namespaces = match by_namespace {
                true => namespace.clone(),
                false => count.namespaces.len().to_string(),
            };
            table.row(&[
                resource.as_str(),
                &namespaces,
                &count.objects.to_string(),
                &ByteCount(count.bytes).to_string(),
                &count.encrypted.to_string(),
                &count.unreadable.to_string(),
            ]);
        }
        let mut text = table.to_string();
        if !self.biggest.is_empty() {
            let mut table = Table::new(&["BIGGEST", "RESOURCE", "NAMESPACE", "NAME"]);
            for (bytes, place) in &self.biggest {
                table.row(&[
                    ByteCount(*bytes).to_string().as_str(),
                    &place.collection(),
                    &place.namespace,
                    &place.name,
                ]);
            }
            text = format!("{text}\n{table}");
        }
        text
    }
}

/// Counts the objects of a snapshot.
pub(super) async fn inspect(args: &InspectArgs, session: &Session) -> Result<Exit, Failure> {
    let keys = source::keys(&args.read)?;
    let from = args.from.moment();
    let mut past = source::open_moment(&from, Versions::Needed, &args.read.place, session).await?;
    let asked = args.clone();
    let read = stoppable(session, move |stop| {
        Inventory::read(&mut past, &keys, &asked, stop)
    });
    let mut inventory = read.await?;
    inventory.keep(args.biggest);
    match args.output {
        InspectFormat::Json => session.printer.json(&inventory.value())?,
        InspectFormat::Table => {
            session.printer.result(&inventory.text(args.by_namespace))?;
            let reach = inventory.reach;
            let text = session
                .messages
                .etcd_reach(inventory.revision, reach.from, reach.to);
            session.printer.remark(&text);
        }
    }
    if !inventory.providers.is_empty() {
        let providers: Vec<&str> = inventory.providers.iter().map(String::as_str).collect();
        let text = session.messages.etcd_encrypted(&providers.join(", "));
        session.printer.warning(&text);
    }
    Ok(Exit::Done)
}

/// An object of a snapshot.
#[derive(Debug)]
struct Found {
    place: Place,
    revision: Revision,
    bytes: u64,
    object: Map<String, Value>,
    /// Why it is not shown as an object.
    problem: Option<String>,
}

impl Found {
    fn new(place: Place, version: &Version<'_>, opened: &Opened<'_>) -> Self {
        let value = version.entry.value;
        let read = opened.object(version.entry.mod_revision);
        let (object, problem) = match read {
            Ok(decoded) if decoded.unknown_fields == 0 => (decoded.object, None),
            Ok(decoded) => {
                let text = format!("{} fields of it are not known", decoded.unknown_fields);
                (decoded.object, Some(text))
            }
            Err(problem) => (raw(&place, value, &problem), Some(problem.to_string())),
        };
        Self {
            place,
            revision: version.revision,
            bytes: value.len() as u64,
            object,
            problem,
        }
    }
}

/// What is known of an object whose value cannot be read.
fn raw(place: &Place, value: &[u8], problem: &Unreadable) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("apiVersion".to_owned(), json!(place.api_version));
    object.insert("kind".to_owned(), json!(place.kind));
    let mut metadata = json!({"name": place.name});
    if !place.namespace.is_empty() {
        metadata["namespace"] = json!(place.namespace);
    }
    object.insert("metadata".to_owned(), metadata);
    let stored = json!({"reason": problem.to_string(), "value": BASE64.encode(value)});
    object.insert("unreadable".to_owned(), stored);
    object
}

/// Prints objects.
pub(super) async fn get(args: &GetArgs, session: &Session) -> Result<Exit, Failure> {
    let keys = source::keys(&args.read)?;
    let from = args.from.moment();
    let mut past = source::open_moment(&from, Versions::Needed, &args.read.place, session).await?;
    let (asked, namespace) = (args.clone(), session.global.namespace.clone());
    let revision = from.revision;
    let found = stoppable(session, move |stop| {
        let named = |key: &[u8]| is_named(key, &asked.names);
        let state = history::state(&mut past, revision, named, stop)?;
        let mut found = Vec::new();
        history::values(&mut past, &state, stop, |version| {
            let opened = keys.open(version.entry.key, version.entry.value);
            let place = Place::of(version.entry.key, &opened.stored()).filter(|place| {
                place.is_a(&asked.kind)
                    && (asked.names.is_empty() || asked.names.contains(&place.name))
                    && namespace.as_ref().is_none_or(|one| *one == place.namespace)
            });
            found.extend(place.map(|place| Found::new(place, &version, &opened)));
        })?;
        found.sort_by(|a, b| a.place.cmp(&b.place));
        Ok::<_, history::Error>(found)
    });
    let found = found.await?;
    for name in &args.names {
        if !found.iter().any(|one| one.place.name == *name) {
            return Err(not_there(&args.kind, name, &from.place, session));
        }
    }
    for (one, problem) in found
        .iter()
        .filter_map(|one| Some((one, one.problem.as_ref()?)))
    {
        let name = shown(&one.place);
        let text = session.messages.etcd_not_whole(&name, problem);
        session.printer.warning(&text);
    }
    let format = match (args.output, args.names.is_empty()) {
        (Some(format), _) => format,
        (None, true) => Format::Table,
        (None, false) => Format::Yaml,
    };
    print(&found, format, session)?;
    Ok(Exit::Done)
}

/// Whether a key can be that of an object with one of the names; of any when there is none.
fn is_named(key: &[u8], names: &[String]) -> bool {
    Path::of(key).is_some_and(|path| {
        names.is_empty() || path.rest.last().is_some_and(|last| names.contains(last))
    })
}

fn not_there(kind: &str, name: &str, file: &From, session: &Session) -> Failure {
    let whose = match &session.global.namespace {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    };
    Failure::new(Exit::NotFound, format!("{whose} is not in {file}")).hint(
        session
            .messages
            .etcd_look_back(&format!("salvor etcd blame {kind} {name} --from {file}")),
    )
}

/// `RESOURCE NAMESPACE/NAME`.
pub(super) fn shown(place: &Place) -> String {
    match place.namespace.as_str() {
        "" => format!("{} {}", place.collection(), place.name),
        namespace => format!("{} {namespace}/{}", place.collection(), place.name),
    }
}

fn print(found: &[Found], format: Format, session: &Session) -> Result<(), Failure> {
    match (format, found) {
        (Format::Json, [one]) => session.printer.json(&one.object),
        (Format::Json, all) => {
            let items: Vec<_> = all.iter().map(|one| &one.object).collect();
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            session.printer.json(&list)
        }
        (Format::Yaml, all) => {
            let texts = all.iter().map(|one| structured::yaml(&one.object));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            session.printer.result(&texts.join("---\n"))
        }
        (Format::Name, all) => {
            let lines = all.iter().map(|one| format!("{}\n", shown(&one.place)));
            session.printer.result(&lines.collect::<String>())
        }
        (Format::Table | Format::Wide, all) => {
            let mut table = Table::new(&["NAMESPACE", "NAME", "APIVERSION", "REVISION", "SIZE"]);
            for one in all {
                table.row(&[
                    one.place.namespace.as_str(),
                    &one.place.name,
                    &one.place.api_version,
                    &one.revision.main.to_string(),
                    &ByteCount(one.bytes).to_string(),
                ]);
            }
            session.printer.result(&table.to_string())
        }
    }
}

/// A version of an object.
#[derive(Debug)]
struct Change {
    key: Vec<u8>,
    revision: Revision,
    /// `created`, `changed`, `deleted`.
    what: &'static str,
    bytes: u64,
    time: String,
    by: String,
}

/// Lists the versions of an object.
pub(super) async fn blame(args: &BlameArgs, session: &Session) -> Result<Exit, Failure> {
    let keys = source::keys(&args.read)?;
    let from = args.from.moment();
    let mut past = source::open_moment(&from, Versions::All, &args.read.place, session).await?;
    let (asked, namespace) = (args.clone(), session.global.namespace.clone());
    let read = stoppable(session, move |stop| {
        let names = [asked.name.clone()];
        let mut changes: Vec<Change> = Vec::new();
        let reach = history::versions(&mut past, stop, |version| {
            if !is_named(version.entry.key, &names) {
                return;
            }
            let opened = keys.open(version.entry.key, version.entry.value);
            let known = changes.iter().any(|change| change.key == version.entry.key);
            let place = Place::of(version.entry.key, &opened.stored());
            let wanted = place.is_some_and(|place| {
                place.is_a(&asked.kind)
                    && namespace.as_ref().is_none_or(|one| *one == place.namespace)
            });
            if known || wanted {
                changes.push(Change::new(&version, &opened));
            }
        })?;
        Ok::<_, history::Error>((reach, changes))
    });
    let (reach, changes) = read.await?;
    if changes.is_empty() {
        let failure = not_there(&args.kind, &args.name, &from.place, session);
        let text = session.messages.etcd_reach(reach.to, reach.from, reach.to);
        return Err(failure.hint(text));
    }
    match args.output {
        InspectFormat::Json => {
            let rows = changes.iter().map(|change| {
                json!({
                    "key": String::from_utf8_lossy(&change.key), "revision": change.revision.main,
                    "change": change.what, "bytes": change.bytes, "time": change.time, "manager": change.by,
                })
            });
            session.printer.json(&rows.collect::<Vec<_>>())?;
        }
        InspectFormat::Table => {
            let mut table = Table::new(&["REVISION", "CHANGE", "TIME", "MANAGER", "SIZE", "KEY"]);
            for change in &changes {
                table.row(&[
                    change.revision.main.to_string().as_str(),
                    change.what,
                    &change.time,
                    &change.by,
                    &ByteCount(change.bytes).to_string(),
                    &String::from_utf8_lossy(&change.key),
                ]);
            }
            session.printer.result(&table.to_string())?;
            let text = session.messages.etcd_reach(reach.to, reach.from, reach.to);
            session.printer.remark(&text);
        }
    }
    Ok(Exit::Done)
}

impl Change {
    fn new(version: &Version<'_>, opened: &Opened<'_>) -> Self {
        let what = match (version.deletion, version.entry.version) {
            (true, _) => "deleted",
            (false, 1) => "created",
            _ => "changed",
        };
        let object = opened.object(version.entry.mod_revision);
        let (time, by) = object
            .ok()
            .and_then(|decoded| last_manager(&decoded.object))
            .unwrap_or_default();
        Self {
            key: version.entry.key.to_vec(),
            revision: version.revision,
            what,
            bytes: version.entry.value.len() as u64,
            time,
            by,
        }
    }
}

/// Who wrote last, as far as managed fields tell, and when.
fn last_manager(object: &Map<String, Value>) -> Option<(String, String)> {
    let fields = object.get("metadata")?.get("managedFields")?.as_array()?;
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let entries = fields
        .iter()
        .map(|entry| (text(entry, "time"), text(entry, "manager")));
    entries.max()
}
