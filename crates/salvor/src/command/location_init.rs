//! `backup-location init`: a record of what the location is, signed, and the keys that are pinned here.

use std::path::Path;

use salvor_location::trust::{RECIPIENTS, Trust, VERIFICATION_KEYS};
use salvor_location::{InitLocation, Location, LocationRecord};
use salvor_seal::SigningKey;
use salvor_seal::age::{Identity, Recipient};

use super::private_file;
use crate::args::location::InitArgs;
use crate::exit::{Exit, Failure};
use crate::output::location_table;
use crate::session::Session;

/// Checks a location, writes its record and pins what was given.
pub(crate) async fn run(args: &InitArgs, session: &Session) -> Result<Exit, Failure> {
    let location = match &args.name {
        Some(name) => session.location_called(name)?,
        None => session.location(None)?,
    };
    let signing_key = signing_key(args)?;
    let trust = trust(args, location.trust(), signing_key.as_ref())?;
    // Before there is a record that the new keys verify, nothing is expected of it.
    let bare = location.clone().with_trust(Trust::default());
    let report = bare.check().await?;
    if !report.is_usable() {
        session.printer.result(&location_table::check(&report))?;
        let text = session.messages.location_unusable(location.name());
        session.printer.result(&format!("{text}\n"))?;
        return Ok(Exit::Differences);
    }
    let options = InitLocation {
        mirror_of: args.mirror_of.clone(),
        signing_key,
    };
    let location = location.with_trust(trust.clone());
    let record = location.init(&options, &report).await?;
    tell(&location, &record, session)?;
    // After the record: pins without it would make the location unusable.
    if !pin(&location, &trust, &record, session)? {
        by_hand(&trust, session);
    }
    Ok(Exit::Done)
}

fn tell(location: &Location, record: &LocationRecord, session: &Session) -> Result<(), Failure> {
    let messages = session.messages;
    let text = messages.location_initialised(location.name(), &record.id);
    session.printer.result(&format!("{text}\n"))?;
    if let Some(signature) = &record.signature {
        session
            .printer
            .remark(&messages.record_signed(&signature.key));
    }
    if record.recipients.is_empty() {
        session.printer.note(&messages.no_recipients());
    }
    Ok(())
}

/// The key that signs, new or not.
fn signing_key(args: &InitArgs) -> Result<Option<SigningKey>, Failure> {
    if let Some(path) = &args.new_signing_key {
        let key = SigningKey::generate()
            .map_err(|error| Failure::caused(Exit::Internal, "make a signing key", error))?;
        private_file::create(path, key.to_text().expose())?;
        return Ok(Some(key));
    }
    let Some(path) = &args.signing_key_file else {
        return Ok(None);
    };
    let doing = || format!("read the signing key from {}", path.display());
    let text = salvor_seal::Secret::new(read(path)?);
    SigningKey::from_text(text.expose())
        .map(Some)
        .map_err(|error| Failure::caused(Exit::Usage, doing(), error))
}

/// What is pinned from now on: recipients that were given take the place of those that were, keys are added.
fn trust(args: &InitArgs, before: &Trust, signing: Option<&SigningKey>) -> Result<Trust, Failure> {
    let usage = |error: salvor_seal::age::AgeError| Failure::usage(error.to_string());
    let mut recipients = Vec::new();
    for text in &args.recipients {
        recipients.push(text.parse::<Recipient>().map_err(usage)?);
    }
    if let Some(path) = &args.recipients_file {
        recipients.extend(Recipient::of_lines(&read(path)?).map_err(usage)?);
    }
    if let Some(path) = &args.new_identity {
        let identity = Identity::generate()
            .map_err(|error| Failure::caused(Exit::Internal, "make an identity", error))?;
        private_file::create(path, identity.to_text().expose())?;
        recipients.push(identity.recipient());
    }
    if recipients.is_empty() {
        recipients.clone_from(&before.recipients);
    }
    let mut verification_keys = before.verification_keys.clone();
    if let (Some(key), true) = (signing, verification_keys.is_empty()) {
        verification_keys.push(key.verification_key());
    }
    Ok(Trust {
        verification_keys,
        recipients,
        id: before.id.clone(),
    })
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::caused(Exit::Usage, format!("read {}", path.display()), error))
}

/// Writes the pins into the configuration file; false where that does not name the location.
fn pin(
    location: &Location,
    trust: &Trust,
    record: &LocationRecord,
    session: &Session,
) -> Result<bool, Failure> {
    let mut config = session.config()?;
    let Some(found) = config.locations.get_mut(location.name()) else {
        return Ok(false);
    };
    let texts = |keys: &mut dyn Iterator<Item = String>| keys.collect::<Vec<String>>();
    found.verification_keys = texts(&mut trust.verification_keys.iter().map(ToString::to_string));
    found.recipients = texts(&mut trust.recipients.iter().map(ToString::to_string));
    found.id = Some(record.id.clone());
    let path = session.config_path();
    config.write(&path)?;
    let text = session.messages.keys_pinned(&path.display().to_string());
    session.printer.remark(&text);
    Ok(true)
}

/// Says what to pin where the configuration does not know the location.
fn by_hand(trust: &Trust, session: &Session) {
    let join = |keys: Vec<String>| keys.join(",");
    let keys = join(
        trust
            .verification_keys
            .iter()
            .map(ToString::to_string)
            .collect(),
    );
    let recipients = join(trust.recipients.iter().map(ToString::to_string).collect());
    for (annotation, value) in [(VERIFICATION_KEYS, keys), (RECIPIENTS, recipients)] {
        if !value.is_empty() {
            let text = session.messages.pin_by_hand(annotation, &value);
            session.printer.note(&text);
        }
    }
}
