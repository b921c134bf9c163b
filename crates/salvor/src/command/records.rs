//! Where the record of a restore goes: beside the backup, or elsewhere when nothing can be written there.
//!
//! A restore is most needed when little works: from a copy that may only be read, a bucket whose write
//! credentials are gone, a full disk. Its record then goes to a folder of the user, and that is said.

use std::path::PathBuf;

use salvor_api::name::RestoreName;
use salvor_location::{Digest, Location};

use crate::args::RecordArgs;
use crate::command::read;
use crate::exit::Failure;
use crate::session::Session;

/// Where the record of a new restore goes.
pub(crate) async fn of_new(
    name: &RestoreName,
    location: &Location,
    args: &RecordArgs,
    session: &Session,
) -> Result<Location, Failure> {
    if let Some(given) = &args.record_location {
        return session.location_called(given);
    }
    let refused = match location.try_to_record(name).await {
        Ok(()) => return Ok(location.clone()),
        Err(error) if error.is_write_refused() => error,
        Err(error) => return Err(error.into()),
    };
    let elsewhere = of_user(location, session)?;
    let reason = Failure::from(refused).chain();
    let text = session.messages.record_goes_elsewhere(
        location.name(),
        &reason,
        elsewhere.name(),
        name.as_str(),
    );
    session.printer.warning(&text);
    Ok(elsewhere)
}

/// Where the record of a restore is that is gone on with.
pub(crate) async fn of_resumed(
    name: &RestoreName,
    location: &Location,
    args: &RecordArgs,
    session: &Session,
) -> Result<Location, Failure> {
    if let Some(given) = &args.record_location {
        return session.location_called(given);
    }
    match location.restore(name).await {
        Err(error) if error.is_not_found() => {
            let elsewhere = of_user(location, session)?;
            match elsewhere.restore(name).await {
                Ok(_) => Ok(elsewhere),
                Err(_) => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
        Ok(_) => Ok(location.clone()),
    }
}

/// Where the record of a restore is that a user names: in the location, or in the folder of this user.
pub(crate) async fn of_named(
    name: Option<&String>,
    location: Location,
    session: &Session,
) -> Result<Location, Failure> {
    let Some(name) = name else {
        return Ok(location);
    };
    let name = read::restore_name(name)?;
    match location.restore(&name).await {
        Err(error) if error.is_not_found() => {
            let elsewhere = of_user(&location, session)?;
            let is_there = elsewhere.restore(&name).await.is_ok();
            Ok(if is_there { elsewhere } else { location })
        }
        _ => Ok(location),
    }
}

/// Says that restores of a location are recorded in the folder of this user.
pub(crate) async fn note_others(location: &Location, session: &Session) -> Result<(), Failure> {
    let elsewhere = of_user(location, session)?;
    // A folder that is not there is one without records.
    let count = match elsewhere.restores().await {
        Ok(listing) => listing.entries.len() as u64,
        Err(_) => 0,
    };
    if count > 0 {
        let text = session
            .messages
            .records_elsewhere(count, location.name(), elsewhere.name());
        session.printer.note(&text);
    }
    Ok(())
}

/// The folder of this user for restores from a location.
fn of_user(location: &Location, session: &Session) -> Result<Location, Failure> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let state = path("XDG_STATE_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| path("HOME").map(|home| home.join(".local/state")))
        .ok_or_else(|| {
            Failure::usage("there is no folder for the record of the restore: HOME is not set")
                .hint("say where it goes with --record-location")
        })?;
    let url = location.url();
    let whole = format!("{url} {}", url.endpoint().unwrap_or_default());
    let id: String = Digest::of(whole.as_bytes())
        .to_string()
        .chars()
        .take(12)
        .collect();
    let folder = state.join("salvor/restores").join(id);
    session.location_called(&folder.display().to_string())
}
