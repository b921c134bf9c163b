//! `backup-location get` and `describe`.

use std::error::Error as _;

use salvor_location::Location;
use salvor_text::DescribeWriter;

use crate::args::Format;
use crate::args::location::{DescribeArgs, GetArgs};
use crate::command::served;
use crate::exit::{Exit, Failure};
use crate::output::location_table::{self, LocationRow, RecordRow, limits_text};
use crate::session::Session;

/// Lists locations and whether they can be read now.
pub(crate) async fn get(args: &GetArgs, session: &Session) -> Result<Exit, Failure> {
    let GetArgs { names, format } = args;
    let rows = rows(names, false, session).await?;
    let printer = &session.printer;
    match format.output {
        Format::Json => printer.json(&rows)?,
        Format::Yaml => printer.yaml(&rows)?,
        Format::Name => {
            for row in &rows {
                printer.result(&format!("backupstoragelocation.velero.io/{}\n", row.name))?;
            }
        }
        Format::Table | Format::Wide => {
            let wide = format.output == Format::Wide;
            let durability = |distance| session.durability(distance);
            let text = location_table::table(&rows, wide, durability, printer.color);
            printer.result(&text)?;
        }
    }
    Ok(Exit::Done)
}

/// Describes locations, one after another.
pub(crate) async fn describe(args: &DescribeArgs, session: &Session) -> Result<Exit, Failure> {
    let rows = rows(&args.names, true, session).await?;
    for (at, row) in rows.iter().enumerate() {
        let mut d = DescribeWriter::new();
        if at > 0 {
            d.blank();
        }
        d.field("Name", &row.name);
        d.field("URL", &row.url);
        if let Some(endpoint) = &row.endpoint {
            d.field("Endpoint", endpoint);
        }
        d.field("Provider", &row.provider);
        d.field("Bucket/Prefix", &row.bucket_and_prefix);
        d.field("Access Mode", &row.access_mode);
        d.field("Default", row.default);
        if !row.limits.is_empty() {
            d.field("Limits", &row.limits);
        }
        d.blank();
        d.field("Phase", &row.phase);
        d.field("Last Validated", &row.last_validated);
        if !row.message.is_empty() {
            d.field("Message", &row.message);
        }
        for rule in &row.rules {
            d.field("Bucket rule", rule);
        }
        if let Some(record) = &row.record {
            describe_record(record, &mut d);
        }
        d.blank();
        d.field("Kept", session.durability(row.distance));
        d.field("Counts as off-site copy", row.off_site);
        session.printer.result(&d.finish())?;
    }
    Ok(Exit::Done)
}

/// The locations of the configuration, and the one given by URL; with the rules of their buckets where `rules` says so.
async fn rows(
    names: &[String],
    rules: bool,
    session: &Session,
) -> Result<Vec<LocationRow>, Failure> {
    if let Some(served) = session.served().await? {
        return served::location::rows(names, &served).await;
    }
    let config = session.config()?;
    let in_use = session.profile(None).ok();
    let mut locations = Vec::new();
    let mut seen_in_use = false;
    for (name, entry) in &config.locations {
        let opened = session.named_location(name, &entry.url, entry.read_only)?;
        let is_default = in_use.as_ref().map(|profile| profile.name.as_str()) == Some(name)
            && in_use.as_ref().map(|profile| &profile.url) == Some(opened.url());
        seen_in_use |= is_default;
        locations.push((opened, is_default));
    }
    if in_use.is_some() && !seen_in_use {
        locations.push((session.location(None)?, true));
    }
    if locations.is_empty() {
        // Says how to name one.
        session.profile(None)?;
    }
    for name in names {
        if !locations
            .iter()
            .any(|(location, _)| location.name() == name)
        {
            let what = format!("location `{name}` is neither configured nor in use");
            return Err(Failure::new(Exit::NotFound, what));
        }
    }
    let mut rows = Vec::new();
    for (location, is_default) in locations {
        if names.is_empty() || names.iter().any(|name| name == location.name()) {
            let mut row = row(&location, is_default, session).await;
            if rules && row.message.is_empty() {
                row.record = record(&location).await;
                let asked = location.bucket_findings().await;
                row.rules = match asked {
                    Ok(findings) => location_table::rule_lines(&findings),
                    Err(error) => vec![Failure::from(error).chain()],
                };
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// What the record of a location says; nothing for one that was never written to.
async fn record(location: &Location) -> Option<RecordRow> {
    let record = location.record().await.ok().flatten()?;
    let signed_by = record.signature.map(|signature| signature.key);
    Some(RecordRow {
        id: record.id,
        mirror_of: record.mirror_of,
        create_only: record.create_only,
        // With pinned keys no other record counts.
        pinned: signed_by.is_some() && !location.trust().verification_keys.is_empty(),
        signed_by,
        recipients: record.recipients,
    })
}

fn describe_record(record: &RecordRow, d: &mut DescribeWriter) {
    d.blank();
    d.field("Id", &record.id);
    if let Some(other) = &record.mirror_of {
        d.field("Mirror of", other);
    }
    d.field("Create-only", record.create_only);
    let signed = match (&record.signed_by, record.pinned) {
        (None, _) => "nobody".to_owned(),
        (Some(key), true) => format!("{key}, pinned"),
        (Some(key), false) => format!("{key}, not pinned"),
    };
    d.field("Signed by", signed);
    let recipients = match record.recipients.as_slice() {
        [] => "none".to_owned(),
        all => all.join(", "),
    };
    d.field("Recipients", recipients);
}

async fn row(location: &Location, is_default: bool, session: &Session) -> LocationRow {
    let message = match location.assert_readable().await {
        Ok(()) => String::new(),
        Err(error) => {
            let mut text = error.to_string();
            if let Some(cause) = error.source() {
                text = format!("{text}: {cause}");
            }
            text
        }
    };
    let limits = session.limits_of(location.profile()).unwrap_or_default();
    let url = location.url();
    let provider = match url.scheme.as_str() {
        "s3" => "aws",
        "gs" => "gcp",
        other => other,
    };
    LocationRow {
        name: location.name().to_owned(),
        url: url.to_string(),
        provider: provider.to_owned(),
        bucket_and_prefix: url.bucket_and_prefix(),
        phase: if message.is_empty() {
            "Available"
        } else {
            "Unavailable"
        }
        .to_owned(),
        last_validated: salvor_api::go::Time::new(session.now()).go_display(),
        access_mode: if location.profile().read_only {
            "ReadOnly"
        } else {
            "ReadWrite"
        }
        .to_owned(),
        default: is_default,
        temporary: location.is_temporary(),
        off_site: location.is_off_site(),
        endpoint: url.endpoint(),
        distance: url.distance(),
        limits: limits_text(&limits),
        rules: Vec::new(),
        record: None,
        message,
    }
}
