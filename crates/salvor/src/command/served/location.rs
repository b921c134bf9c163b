//! BackupStorageLocations: where the server keeps backups.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::limits::TransferLimits;
use salvor_api::meta::SecretKeySelector;
use salvor_api::velero::{
    AccessMode, BackupStorageLocation, BackupStorageLocationSpec, LocationPhase,
};
use salvor_controller::location_url;
use salvor_storage::{Distance, StoreUrl};
use salvor_text::ObjectDone;

use super::structured;
use crate::args::location::{Access, CreateArgs, DeleteArgs, ObjectArgs, SetArgs, SettingArgs};
use crate::args::values;
use crate::command::location_config;
use crate::exit::{Exit, Failure};
use crate::output::location_table::{LocationRow, limits_text};
use crate::served::Served;
use crate::session::Session;

/// Locations are written whether a server is at work or not: it may come later.
const WHAT: &str = "locations with a provider";

/// Creates a location in the cluster, or prints it.
pub(crate) async fn create(args: &CreateArgs, session: &Session) -> Result<Exit, Failure> {
    let mut location = BackupStorageLocation::named(session.namespace(), &args.name);
    let ObjectArgs {
        provider,
        bucket,
        prefix,
        settings,
        config,
        labels,
        backup_sync_period,
        validation_frequency,
        output,
    } = &args.object;
    let pairs = |flag: &str, text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        values::pairs(text).map_err(|error| Failure::usage(format!("{flag}: {error}")))
    };
    location.metadata.labels = pairs("--labels", labels)?;
    let spec = &mut location.spec;
    spec.provider = provider.clone().unwrap_or_default();
    spec.object_storage.bucket = bucket.clone().unwrap_or_default();
    spec.object_storage.prefix = prefix.clone().unwrap_or_default();
    spec.config = pairs("--config", config)?;
    split_folder(spec);
    spec.default = args.default;
    spec.backup_sync_period = *backup_sync_period;
    spec.validation_frequency = *validation_frequency;
    if args.read_only {
        spec.access_mode = AccessMode::ReadOnly;
    }
    apply(settings, spec)?;
    args.limits.annotate(&mut location.metadata.annotations);
    // What the server would say of it, before anything is written.
    location_url(&location).map_err(|error| {
        Failure::caused(Exit::Usage, format!("location `{}`", args.name), error)
    })?;
    if let Some(done) = structured(&[location.clone()], 1, *output, session) {
        return done.map(|()| Exit::Done);
    }
    let served = session.server(WHAT).await?;
    served.kinds().create(&location).await?;
    if args.default {
        only_default(&args.name, session, &served).await?;
    }
    said(&args.name, ObjectDone::Created, session)
}

/// Changes a location of the cluster.
pub(crate) async fn set(args: &SetArgs, session: &Session) -> Result<Exit, Failure> {
    if let Some(done) = location_config::set_limits(args, session).await? {
        return Ok(done);
    }
    let served = session.server(WHAT).await?;
    let change = |location: &mut BackupStorageLocation| {
        if let Some(default) = args.default {
            location.spec.default = default;
        }
        args.limits.annotate(&mut location.metadata.annotations);
        apply(&args.settings, &mut location.spec)
    };
    let done = if served.change(&args.name, change).await? {
        ObjectDone::Configured
    } else {
        ObjectDone::Unchanged
    };
    if args.default == Some(true) {
        only_default(&args.name, session, &served).await?;
    }
    said(&args.name, done, session)
}

/// Deletes locations from the cluster after asking. What is stored there stays.
pub(crate) async fn delete(args: &DeleteArgs, session: &Session) -> Result<Exit, Failure> {
    let served = session.server(WHAT).await?;
    let which = &args.which;
    let locations: Vec<BackupStorageLocation> =
        served.chosen(&which.names, which.selector.as_ref()).await?;
    for location in &locations {
        let name = &location.metadata.name;
        let text = session.messages.will_be_deleted("backup location", name);
        session.printer.remark(&text);
    }
    let typed = match locations.as_slice() {
        [] => {
            let text = session.messages.none_in_namespace(&served.namespace);
            session.printer.remark(&text);
            return Ok(Exit::Done);
        }
        [one] => &one.metadata.name,
        _ => &served.namespace,
    };
    session.confirm(args.confirm.yes, typed).await?;
    for location in &locations {
        served.kinds().delete(location).await?;
        said(&location.metadata.name, ObjectDone::Deleted, session)?;
    }
    Ok(Exit::Done)
}

/// The locations of the cluster as they are listed.
pub(crate) async fn rows(names: &[String], served: &Served) -> Result<Vec<LocationRow>, Failure> {
    let locations: Vec<BackupStorageLocation> = served.chosen(names, None).await?;
    Ok(locations.iter().map(row).collect())
}

fn row(location: &BackupStorageLocation) -> LocationRow {
    let (spec, status) = (&location.spec, &location.status);
    let url = location_url(location).ok();
    let storage = &spec.object_storage;
    let bucket_and_prefix = url.as_ref().map(StoreUrl::bucket_and_prefix);
    let distance = url.as_ref().map_or(Distance::Elsewhere, StoreUrl::distance);
    let rules = location.metadata.annotations.get(labels::BUCKET_RULES);
    let rules = rules.map(String::as_str).unwrap_or_default();
    let validated = status.last_validation_time;
    LocationRow {
        name: location.metadata.name.clone(),
        provider: spec.provider.clone(),
        bucket_and_prefix: bucket_and_prefix.unwrap_or_else(|| storage.bucket.clone()),
        phase: match &status.phase {
            LocationPhase::Unset => "Unknown".to_owned(),
            phase => phase.as_str().to_owned(),
        },
        last_validated: validated.map_or_else(|| "Unknown".to_owned(), Time::go_display),
        access_mode: match spec.access_mode {
            AccessMode::ReadOnly => "ReadOnly",
            _ => "ReadWrite",
        }
        .to_owned(),
        default: spec.default,
        temporary: distance <= Distance::Cluster,
        off_site: distance == Distance::Elsewhere,
        distance,
        endpoint: url.as_ref().and_then(StoreUrl::endpoint),
        url: url.map(|url| url.to_string()).unwrap_or_default(),
        limits: limits_text(
            &TransferLimits::of(&location.metadata.annotations).unwrap_or_default(),
        ),
        rules: rules.lines().map(str::to_owned).collect(),
        record: None,
        message: status.message.clone(),
    }
}

fn apply(settings: &SettingArgs, spec: &mut BackupStorageLocationSpec) -> Result<(), Failure> {
    let SettingArgs {
        access_mode,
        credential,
        cacert,
    } = settings;
    match access_mode {
        Some(Access::ReadOnly) => spec.access_mode = AccessMode::ReadOnly,
        Some(Access::ReadWrite) => spec.access_mode = AccessMode::ReadWrite,
        None => {}
    }
    if let Some(text) = credential {
        let (name, key) = text
            .split_once('=')
            .filter(|(name, key)| !name.is_empty() && !key.is_empty())
            .ok_or_else(|| Failure::usage(format!("--credential `{text}` is not SECRET=KEY")))?;
        spec.credential = Some(SecretKeySelector {
            name: name.to_owned(),
            key: key.to_owned(),
            optional: None,
        });
    }
    if let Some(path) = cacert {
        let doing = || format!("--cacert {}", path.display());
        let text =
            std::fs::read(path).map_err(|error| Failure::caused(Exit::Usage, doing(), error))?;
        if !text.windows(11).any(|part| part == b"-----BEGIN ") {
            return Err(Failure::usage(format!("{}: it is not PEM", doing())));
        }
        spec.object_storage.ca_cert = BASE64.encode(text);
    }
    Ok(())
}

/// The last part of a folder is its bucket where none is given: old API servers refuse an empty one.
fn split_folder(spec: &mut BackupStorageLocationSpec) {
    let is_folder = matches!(
        spec.provider.rsplit('/').next(),
        Some("file" | "filesystem")
    );
    let storage = &mut spec.object_storage;
    let Some(path) = spec.config.get_mut("path") else {
        return;
    };
    let whole = path.trim_end_matches('/').to_owned();
    if is_folder
        && storage.bucket.is_empty()
        && let Some((parent, last)) = whole.rsplit_once('/')
    {
        storage.bucket = last.to_owned();
        *path = format!("{parent}/");
    }
}

/// Takes the mark of the default from all other locations.
async fn only_default(name: &str, session: &Session, served: &Served) -> Result<(), Failure> {
    let all: Vec<BackupStorageLocation> = served.kinds().list(None).await?;
    for other in all {
        if other.spec.default && other.metadata.name != name {
            let change = |location: &mut BackupStorageLocation| {
                location.spec.default = false;
                Ok(())
            };
            served.change(&other.metadata.name, change).await?;
            said(&other.metadata.name, ObjectDone::Configured, session)?;
        }
    }
    Ok(())
}

fn said(name: &str, done: ObjectDone, session: &Session) -> Result<Exit, Failure> {
    let text = session.messages.object_done("Backup location", name, done);
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}
