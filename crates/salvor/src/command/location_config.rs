//! `backup-location create` and `set-default`: the configuration file.

use salvor_api::meta::StringMap;
use salvor_storage::StoreUrl;
use salvor_text::ObjectDone;

use crate::args::location::{CreateArgs, SetArgs, SetDefaultArgs};
use crate::config::{LimitConfig, NamedLocation};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Names a location in the configuration file. The location itself is not touched.
pub(crate) fn create(args: &CreateArgs, url: &str, session: &Session) -> Result<Exit, Failure> {
    let CreateArgs {
        name,
        url: _,
        read_only,
        default,
        limits,
        object: _,
    } = args;
    salvor_api::name::check_dns_subdomain("location", name)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let parsed = StoreUrl::parse(url)
        .map_err(|error| Failure::caused(Exit::Usage, format!("location `{name}`"), error))?;
    let path = session.config_path();
    let mut config = crate::config::Config::read(&path, false)?;
    if config.locations.contains_key(name) {
        return Err(Failure::new(
            Exit::Refused,
            format!("location `{name}` is already in {}", path.display()),
        )
        .hint("choose another name, or edit the file"));
    }
    // A relative path means another folder wherever the program is started.
    let url = if parsed.scheme == "file" {
        parsed.to_string()
    } else {
        url.to_owned()
    };
    let location = NamedLocation {
        url,
        read_only: *read_only,
        limits: {
            let mut annotations = StringMap::new();
            limits.annotate(&mut annotations);
            LimitConfig::of(&annotations)
        },
        verification_keys: Vec::new(),
        recipients: Vec::new(),
        id: None,
    };
    config.locations.insert(name.clone(), location);
    if *default || config.default_location.is_none() {
        config.default_location = Some(name.clone());
    }
    config.write(&path)?;
    let text = session
        .messages
        .location_named(name, &path.display().to_string());
    session.printer.remark(&text);
    Ok(Exit::Done)
}

/// Changes the limits of a location of the configuration file, where no server is at work. `None` when the file
/// does not name it: then it is one of the cluster.
pub(crate) async fn set_limits(args: &SetArgs, session: &Session) -> Result<Option<Exit>, Failure> {
    if session.served().await?.is_some() {
        return Ok(None);
    }
    let path = session.config_path();
    let mut config = session.config()?;
    let Some(found) = config.locations.get_mut(&args.name) else {
        return Ok(None);
    };
    if args.limits.is_empty() {
        let text = format!(
            "location `{}` is one of {}: only its limits can be set by command",
            args.name,
            path.display()
        );
        return Err(
            Failure::usage(text).hint("edit the file, or use `salvor backup-location set-default`")
        );
    }
    let mut annotations = found.limits.annotations();
    args.limits.annotate(&mut annotations);
    found.limits = LimitConfig::of(&annotations);
    config.write(&path)?;
    let text = session
        .messages
        .object_done("Backup location", &args.name, ObjectDone::Configured);
    session.printer.result(&format!("{text}\n"))?;
    Ok(Some(Exit::Done))
}

/// Makes a location the one that is used when none is named.
pub(crate) fn set_default(args: &SetDefaultArgs, session: &Session) -> Result<Exit, Failure> {
    let SetDefaultArgs { name } = args;
    let path = session.config_path();
    let mut config = session.config()?;
    if !config.locations.contains_key(name) {
        return Err(Failure::new(
            Exit::NotFound,
            format!("location `{name}` is not in {}", path.display()),
        )
        .hint("name it first with `salvor backup-location create NAME URL`"));
    }
    config.default_location = Some(name.clone());
    config.write(&path)?;
    session
        .printer
        .remark(&session.messages.location_is_default(name));
    Ok(Exit::Done)
}
