//! `extension check`: the clauses of the contract, asked of an extension that somebody else wrote.

use std::path::Path;

use salvor_api::meta::StringMap;
use salvor_api::resource::ObjectKey;
use salvor_extension::check::{
    self, Report, check_application_adapter, check_common, check_item_action, check_object_store,
    check_volume_snapshotter,
};
use salvor_extension::provider::application::ApplicationClient;
use salvor_extension::provider::object_store::ObjectStoreClient;
use salvor_extension::provider::snapshotter::SnapshotterClient;
use salvor_extension::{ActionKind, Actions, Origin, Provider, ProviderKind, Providers};
use salvor_location::RunId;
use serde_json::{Value, json};

use crate::args::extension::{CheckArgs, Kind};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// What the extension is called while it is checked.
const NAME: &str = "salvor.dev/checked";

/// Prints each clause with what came of it. Exit code 1 when one is broken.
pub(crate) async fn run(args: &CheckArgs, session: &Session) -> Result<Exit, Failure> {
    let objects = match &args.objects {
        Some(path) => objects(path)?,
        None => Vec::new(),
    };
    let mut conforms = true;
    for kind in kinds(args, session).await? {
        let checked = check(args, kind, &objects);
        let report = match session.cancel.run_until_cancelled(checked).await {
            Some(report) => report?,
            None => return Err(Failure::new(Exit::Cancelled, session.messages.cancelled())),
        };
        session.printer.result(&format!("{kind:?}\n{report}"))?;
        conforms &= report.conforms();
    }
    Ok(if conforms {
        Exit::Done
    } else {
        Exit::Differences
    })
}

/// The kinds that were asked for, or those that it says it is.
async fn kinds(args: &CheckArgs, session: &Session) -> Result<Vec<Kind>, Failure> {
    if !args.kind.is_empty() {
        return Ok(args.kind.clone());
    }
    let mut reasons = Vec::new();
    let mut found = Vec::new();
    for kind in check::KINDS {
        match provider(args, kind)?.describe().await {
            Ok(about) => {
                let text = format!("it calls itself {}", about.name);
                if found.is_empty() {
                    session
                        .printer
                        .remark(&text.chars().take(200).collect::<String>());
                }
                found.push(match kind {
                    ProviderKind::ObjectStore => Kind::ObjectStore,
                    ProviderKind::VolumeSnapshotter => Kind::VolumeSnapshotter,
                    ProviderKind::ApplicationAdapter => Kind::ApplicationAdapter,
                });
            }
            Err(error) => reasons.push(error),
        }
    }
    match (found.is_empty(), reasons.pop()) {
        (true, Some(reason)) => Err(Failure::caused(
            Exit::NotFound,
            "find out what kind of provider it is",
            reason,
        )
        .hint("name its kind with --kind, also when it is an item action")),
        _ => Ok(found),
    }
}

async fn check(args: &CheckArgs, kind: Kind, objects: &[Value]) -> Result<Report, Failure> {
    let run = RunId::generate().to_string();
    let mut report = Report::default();
    let provider_kind = match kind {
        Kind::BackupItemAction => {
            return item_action(args, ActionKind::BackupItemAction, objects).await;
        }
        Kind::RestoreItemAction => {
            return item_action(args, ActionKind::RestoreItemAction, objects).await;
        }
        Kind::DeleteItemAction => {
            return item_action(args, ActionKind::DeleteItemAction, objects).await;
        }
        Kind::ObjectStore => ProviderKind::ObjectStore,
        Kind::VolumeSnapshotter => ProviderKind::VolumeSnapshotter,
        Kind::ApplicationAdapter => ProviderKind::ApplicationAdapter,
    };
    let provider = provider(args, provider_kind)?;
    check_common(&provider, &mut report)
        .await
        .map_err(|error| Failure::caused(Exit::Unavailable, "ask what it is", error))?;
    match provider_kind {
        ProviderKind::ObjectStore => {
            let folder = format!("salvor-check-{run}");
            check_object_store(&ObjectStoreClient::new(provider), &folder, &mut report).await;
        }
        ProviderKind::VolumeSnapshotter => {
            let client = SnapshotterClient::new(provider);
            let volume = objects.first();
            check_volume_snapshotter(&client, volume, &args.zone, &run, &mut report).await;
        }
        ProviderKind::ApplicationAdapter => {
            let client = ApplicationClient::new(provider);
            check_application_adapter(&client, objects, args.may_replace, &mut report).await;
        }
    }
    Ok(report)
}

async fn item_action(
    args: &CheckArgs,
    kind: ActionKind,
    objects: &[Value],
) -> Result<Report, Failure> {
    let Some(object) = objects.first() else {
        return Err(Failure::usage(
            "an item action is asked about an object: name one with --objects",
        ));
    };
    let text = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (name, namespace) = (text("/metadata/name"), text("/metadata/namespace"));
    // How the resource is called, only a cluster knows; this is right for most.
    let resource = format!("{}s", text("/kind").to_lowercase());
    let resource = match text("/apiVersion").split_once('/') {
        Some((group, _)) => format!("{resource}.{group}"),
        None => resource,
    };
    let resource = resource
        .parse()
        .map_err(|error| Failure::usage(format!("read the object of --objects: {error}")))?;
    let key = match namespace {
        "" => ObjectKey::cluster(resource, name.to_owned()),
        namespace => ObjectKey::namespaced(resource, namespace, name.to_owned()),
    };
    let document = document(args, "actions", kind.as_str());
    let actions = Actions::parse(&document, Origin::File).map_err(unusable)?;
    Ok(check_item_action(&actions, kind, &key, object).await)
}

fn provider(args: &CheckArgs, kind: ProviderKind) -> Result<Provider, Failure> {
    let document = document(args, "providers", &kind.to_string());
    let providers = Providers::parse(&document, Origin::File).map_err(unusable)?;
    let provider = providers.get(kind, NAME).cloned();
    let provider = provider.ok_or_else(|| Failure::new(Exit::Internal, "define the provider"))?;
    let mut config = StringMap::new();
    for pair in args.config.iter().flat_map(|text| text.split(',')) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("--config {pair}: it is not KEY=VALUE")))?;
        config.insert(key.to_owned(), value.to_owned());
    }
    if kind == ProviderKind::ObjectStore {
        config
            .entry("bucket".to_owned())
            .or_insert_with(|| "salvor-check".to_owned());
    }
    Ok(provider.with_config(&config))
}

fn unusable(errors: Vec<String>) -> Failure {
    Failure::usage(errors.join("; "))
}

/// A document that defines what is checked.
fn document(args: &CheckArgs, list: &str, kind: &str) -> String {
    let mut definition = json!({"name": NAME, "kind": kind, "timeout": args.timeout.to_string()});
    match args.target.as_slice() {
        [url] if url.contains("://") => {
            let mut webhook = json!({"url": url});
            if let Some(text) = args
                .cacert
                .as_ref()
                .and_then(|path| std::fs::read_to_string(path).ok())
            {
                webhook["caBundle"] = json!(text);
            }
            if let Some(path) = &args.token_file {
                webhook["credentials"] = json!({"scheme": "Bearer", "file": path});
            }
            definition["webhook"] = webhook;
        }
        command => definition["exec"] = json!({"command": command}),
    }
    json!({"version": "v1", list: [definition]}).to_string()
}

/// The objects of a file: one, a list, or a `List`.
fn objects(path: &Path) -> Result<Vec<Value>, Failure> {
    let doing = || format!("read the objects in {}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::caused(Exit::Usage, doing(), error))?;
    let value: Value = serde_saphyr::from_str(&text)
        .map_err(|error| Failure::caused(Exit::Usage, doing(), error))?;
    Ok(match value {
        Value::Array(objects) => objects,
        Value::Object(mut list) if list.get("items").is_some_and(Value::is_array) => {
            match list.remove("items") {
                Some(Value::Array(objects)) => objects,
                _ => Vec::new(),
            }
        }
        object => vec![object],
    })
}
