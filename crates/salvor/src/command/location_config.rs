//! `backup-location create` and `set-default`: the configuration file.

use salvor_storage::StoreUrl;

use crate::args::location::{CreateArgs, SetDefaultArgs};
use crate::config::NamedLocation;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Names a location in the configuration file. The location itself is not touched.
pub(crate) fn create(args: &CreateArgs, url: &str, session: &Session) -> Result<Exit, Failure> {
    let CreateArgs {
        name,
        url: _,
        read_only,
        default,
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
