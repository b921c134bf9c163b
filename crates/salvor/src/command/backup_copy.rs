//! `backup copy` and `backup copies`.

use std::collections::BTreeMap;
use std::time::Instant;

use salvor_api::copies::{CopyRequest, CopyRule, CopyStanding, CopyState};
use salvor_api::go::GoDuration;
use salvor_api::name::BackupName;
use salvor_location::copy::state::CopyRecord;
use salvor_location::copy::{CopyOptions, Expiry, Separation, Transfer, identity};
use salvor_location::{BackupRecord, Error, Location};
use salvor_text::duration::{elapsed, from_now};
use salvor_text::{ByteCount, Table};
use serde::Serialize;

use crate::args::Format;
use crate::args::backup::{CopiesArgs, CopyArgs};
use crate::command::{read, transfer};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Copies a backup to other locations.
pub(crate) async fn run(args: &CopyArgs, session: &Session) -> Result<Exit, Failure> {
    let CopyArgs {
        name,
        to,
        rule,
        ttl,
    } = args;
    let name = read::backup_name(name)?;
    let request = CopyRequest::new(to, rule.unwrap_or_default(), *ttl)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let source = session.location_of(Some(name.as_str())).await?;
    copy_to(&source, &name, &request, session).await
}

/// Copies a backup to each location that is asked for, one after another. The exit status is that of the rule.
pub(crate) async fn copy_to(
    source: &Location,
    name: &BackupName,
    request: &CopyRequest,
    session: &Session,
) -> Result<Exit, Failure> {
    let mut states = BTreeMap::new();
    let mut only_failure = None;
    for target in &request.to {
        let copied = copy(source, name, target, request.ttl, session).await;
        let state = match copied {
            Ok(()) => CopyState::Done,
            Err(failure) if failure.exit == Exit::Cancelled => return Err(failure),
            Err(failure) => {
                if request.to.len() > 1 {
                    let text =
                        session
                            .messages
                            .copy_failed(name.as_str(), target, &failure.chain());
                    session.printer.warning(&text);
                }
                only_failure = Some(failure);
                CopyState::Failed
            }
        };
        states.insert(target.clone(), state);
    }
    if request.judge(&states) == CopyStanding::Satisfied {
        return Ok(Exit::Done);
    }
    match only_failure {
        // There is nothing else to tell.
        Some(failure) if request.to.len() == 1 => Err(failure),
        _ => {
            let there = states
                .values()
                .filter(|state| **state == CopyState::Done)
                .count();
            let rule = request.rule.to_string();
            let asked = request.to.len();
            let text = session
                .messages
                .copy_rule_not_met(name.as_str(), &rule, there, asked);
            session.printer.warning(&text);
            Ok(Exit::Partial)
        }
    }
}

async fn copy(
    source: &Location,
    name: &BackupName,
    target: &str,
    ttl: Option<GoDuration>,
    session: &Session,
) -> Result<(), Failure> {
    let target = transfer::location(target, session).await?;
    let options = CopyOptions {
        expiry: expiry(ttl),
        transfer: Transfer::default(),
    };
    let began = Instant::now();
    let what = format!("{name} -> {}", target.name());
    let work = source.copy_backup(name, &target, &options);
    let total = size_of(source, name).await;
    let copied = transfer::follow(&what, total, &options.transfer, session, work).await?;
    let line = if copied.already {
        session.messages.copy_is_there(name.as_str(), target.name())
    } else {
        let (size, took) = (
            ByteCount(copied.bytes).to_string(),
            elapsed(began.elapsed()),
        );
        let messages = session.messages;
        messages.backup_copied(name.as_str(), target.name(), &size, &took)
    };
    session.printer.result(&format!("{line}\n"))?;
    if copied.separation.is_shared() {
        let text = session
            .messages
            .copy_is_near(target.name(), &shared(&copied.separation));
        session.printer.note(&text);
    }
    Ok(())
}

/// What a duration on the command line or in an annotation means for a copy.
pub(crate) fn expiry(ttl: Option<GoDuration>) -> Expiry {
    match ttl {
        None => Expiry::AsOriginal,
        Some(ttl) if ttl.0.is_zero() => Expiry::Never,
        Some(ttl) => Expiry::After(ttl.0),
    }
}

/// Bytes of a backup as far as they are known, for progress.
async fn size_of(source: &Location, name: &BackupName) -> u64 {
    let folder = salvor_location::layout::backup_folder(name);
    let listed = source.store().list_folder(&folder).await;
    listed.map_or(0, |listed| {
        listed.objects.iter().map(|info| info.size).sum()
    })
}

/// What original and copy have in common, or how far apart they are.
pub(crate) fn shared(separation: &Separation) -> String {
    match separation {
        Separation::Machine => "this machine".to_owned(),
        Separation::Bucket(bucket) => format!("bucket {bucket}"),
        Separation::Endpoint(endpoint) => format!("store {endpoint}"),
        Separation::Region(region) => format!("region {region}"),
        Separation::Regions(regions) => regions.clone(),
        Separation::Unknown => "-".to_owned(),
    }
}

/// One copy, as machines read it.
#[derive(Debug, Serialize)]
struct Shown {
    location: String,
    /// `present`, `missing`, `another`, `damaged` or `unknown`, as the location itself says now.
    state: &'static str,
    asked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<CopyRecord>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
}

/// Shows the copies of a backup: what is known, and what each location says now.
pub(crate) async fn show(args: &CopiesArgs, session: &Session) -> Result<Exit, Failure> {
    let CopiesArgs { name, format } = args;
    let name = read::backup_name(name)?;
    let location = session.location_of(Some(name.as_str())).await?;
    let record = location.backup(&name).await?;
    let request = CopyRequest::of(&record.backup.metadata.annotations);
    let request = request.unwrap_or_else(|error| {
        session.printer.warning(&error.to_string());
        None
    });
    let asked = request
        .as_ref()
        .map(|request| request.to.clone())
        .unwrap_or_default();
    let records = location.copies_of(&record).await?;
    let mut names = asked.clone();
    for known in &records {
        if !names.contains(&known.target.name) {
            names.push(known.target.name.clone());
        }
    }
    let mut copies = Vec::with_capacity(names.len());
    for name in names {
        let known = records.iter().find(|record| record.target.name == name);
        copies.push(look(name, &asked, known, &record, session).await);
    }
    let states = copies.iter().map(|copy| {
        let state = if copy.state == "present" {
            CopyState::Done
        } else {
            CopyState::Pending
        };
        (copy.location.clone(), state)
    });
    let standing = request
        .as_ref()
        .map(|request| request.judge(&states.collect()));
    match format.output {
        Format::Json => session.printer.json(&copies)?,
        Format::Yaml => session.printer.yaml(&copies)?,
        Format::Name => {
            for copy in &copies {
                session.printer.result(&format!("{}\n", copy.location))?;
            }
        }
        Format::Table | Format::Wide if copies.is_empty() => {
            session
                .printer
                .remark(&session.messages.no_copies(name_of(&record)));
        }
        Format::Table | Format::Wide => session.printer.result(&table(&copies, session))?,
    }
    let Some((request, standing)) = request.zip(standing) else {
        let gone = copies.iter().any(|copy| copy.state != "present");
        return Ok(if gone { Exit::Differences } else { Exit::Done });
    };
    if standing == CopyStanding::Satisfied {
        return Ok(Exit::Done);
    }
    let there = copies
        .iter()
        .filter(|copy| copy.asked && copy.state == "present")
        .count();
    let CopyRequest { to, rule, .. } = &request;
    let rule: &CopyRule = rule;
    let messages = session.messages;
    let text = messages.copy_rule_not_met(name_of(&record), &rule.to_string(), there, to.len());
    session.printer.warning(&text);
    Ok(Exit::Differences)
}

fn name_of(record: &BackupRecord) -> &str {
    record.name.as_str()
}

/// Asks a location for its copy.
async fn look(
    location: String,
    asked: &[String],
    known: Option<&CopyRecord>,
    original: &BackupRecord,
    session: &Session,
) -> Shown {
    let mut shown = Shown {
        asked: asked.contains(&location),
        state: "unknown",
        record: known.cloned(),
        message: known.map(|known| known.message.clone()).unwrap_or_default(),
        location,
    };
    let opened = transfer::location(&shown.location, session).await;
    let found = match opened {
        Ok(opened) => found_at(&opened, original).await,
        Err(failure) => Err(failure),
    };
    match found {
        Ok((_, Some(damage))) => {
            shown.state = "damaged";
            shown.message = format!("{damage}; `salvor backup copy` brings it again");
        }
        Ok((found, None)) if identity(&found.backup) == identity(&original.backup) => {
            shown.state = "present";
            shown.message.clear();
        }
        Ok((found, None)) => {
            shown.state = "another";
            shown.message = format!(
                "it has another backup of this name: {}",
                identity(&found.backup)
            );
        }
        Err(failure) if failure.exit == Exit::NotFound && failure.is_missing_backup() => {
            shown.state = "missing";
        }
        Err(failure) if failure.exit == Exit::VerificationFailed => {
            shown.state = "damaged";
            shown.message = failure.chain();
        }
        Err(failure) => shown.message = failure.chain(),
    }
    shown
}

/// The backup at a location, and what is known to be wrong with it when it is the one that is meant.
async fn found_at(
    location: &Location,
    original: &BackupRecord,
) -> Result<(BackupRecord, Option<String>), Failure> {
    let found = location.backup(&original.name).await?;
    let damage = if identity(&found.backup) == identity(&original.backup) {
        location.known_damage(&found).await?
    } else {
        None
    };
    Ok((found, damage))
}

fn table(copies: &[Shown], session: &Session) -> String {
    let mut table = Table::new(&[
        "LOCATION", "STATE", "COPIED", "SIZE", "EXPIRES", "APART", "ATTEMPTS", "MESSAGE",
    ]);
    let now = session.now();
    for copy in copies {
        let record = copy.record.as_ref();
        let time = |at: Option<jiff::Timestamp>| {
            at.map_or_else(
                || "-".to_owned(),
                |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
            )
        };
        let expires = record.and_then(|record| record.expiration);
        table.row(&[
            copy.location.clone(),
            copy.state.to_owned(),
            time(record.and_then(|record| record.finished)),
            record.map_or_else(
                || "-".to_owned(),
                |record| ByteCount(record.bytes).to_string(),
            ),
            expires.map_or_else(|| "-".to_owned(), |at| from_now(Some(at), now)),
            record.map_or_else(|| "-".to_owned(), |record| apart(&record.separation)),
            record.map_or_else(|| "0".to_owned(), |record| record.attempts.to_string()),
            copy.message.clone(),
        ]);
    }
    table.to_string()
}

fn apart(separation: &Separation) -> String {
    if separation.is_shared() {
        format!("no: {}", shared(separation))
    } else {
        shared(separation)
    }
}

impl Failure {
    /// True when a location answered that it has no backup of this name.
    fn is_missing_backup(&self) -> bool {
        let cause = self.cause().and_then(|cause| cause.downcast_ref::<Error>());
        matches!(cause, Some(Error::BackupNotFound { .. }))
    }
}
