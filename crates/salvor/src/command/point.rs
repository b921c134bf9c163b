//! `point`.

use std::collections::BTreeMap;

use salvor_location::points::Additions;
use salvor_location::{Location, Point};
use salvor_text::{ByteCount, Table};
use serde_json::{Value, json};

use crate::args::Format;
use crate::args::point::{
    PointCommand, PointGetArgs, PointHoldArgs, PointReleaseArgs, PointVerifyArgs,
};
use crate::command::backup_hold::by;
use crate::command::read::assert_folder;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Runs a command of `point`.
pub(crate) async fn run(command: PointCommand, session: &Session) -> Result<Exit, Failure> {
    match command {
        PointCommand::Get(args) => get(&args, session).await,
        PointCommand::Verify(args) => verify(&args, session).await,
        PointCommand::Hold(args) => hold(&args, session).await,
        PointCommand::Release(args) => release(&args, session).await,
    }
}

/// The points with these ids, or all of them, oldest first.
async fn chosen(
    location: &Location,
    ids: &[String],
    session: &Session,
) -> Result<Vec<Point>, Failure> {
    assert_folder(location)?;
    let listing = location.points(None).await?;
    if listing.entries.is_empty() {
        location.assert_there().await?;
    }
    for damaged in &listing.damaged {
        let text = format!("{}: {}", damaged.name, damaged.reason);
        session.printer.warning(&text);
    }
    let mut points = listing.entries;
    if let Some(unknown) = ids
        .iter()
        .find(|id| !points.iter().any(|point| point.id.as_str() == **id))
    {
        let text = format!(
            "there is no point `{unknown}` in location `{}`",
            location.name()
        );
        return Err(Failure::new(Exit::NotFound, text).hint("`salvor point get` lists them"));
    }
    points.retain(|point| ids.is_empty() || ids.iter().any(|id| id == point.id.as_str()));
    Ok(points)
}

async fn get(args: &PointGetArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location(None)?;
    let points = chosen(&location, &args.ids, session).await?;
    let mut said: BTreeMap<String, Additions> = BTreeMap::new();
    let mut sources: Vec<&str> = points.iter().map(|point| point.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    for source in sources {
        said.extend(location.additions(source).await?);
    }
    let of = |point: &Point| said.get(point.id.as_str()).cloned().unwrap_or_default();
    let values = || -> Vec<Value> {
        points
            .iter()
            .map(|point| value(point, &of(point)))
            .collect()
    };
    match args.format.output {
        Format::Json => session.printer.json(&values())?,
        Format::Yaml => session.printer.yaml(&values())?,
        Format::Name => {
            let names = points.iter().map(|point| format!("{}\n", point.id));
            session.printer.result(&names.collect::<String>())?;
        }
        Format::Table | Format::Wide => {
            let mut table = Table::new(&["ID", "SOURCE", "TAKEN", "SIZE", "VERIFIED", "HELD"]);
            for point in &points {
                let said = of(point);
                table.row(&[
                    point.id.as_str(),
                    &point.source,
                    &point.created.strftime("%FT%TZ").to_string(),
                    &ByteCount(size(point)).to_string(),
                    verdict(&said),
                    &said.holds.len().to_string(),
                ]);
            }
            session.printer.result(&table.to_string())?;
        }
    }
    Ok(Exit::Done)
}

fn size(point: &Point) -> u64 {
    point.objects.iter().map(|object| object.size).sum()
}

fn verdict(said: &Additions) -> &'static str {
    match said.sound {
        Some(true) => "sound",
        Some(false) => "damaged",
        None => "-",
    }
}

fn value(point: &Point, said: &Additions) -> Value {
    json!({
        "id": point.id,
        "source": point.source,
        "kind": point.kind,
        "created": point.created,
        "bytes": size(point),
        "recipients": point.recipients,
        "verified": said.sound,
        "holds": said.holds,
        "details": point.details,
    })
}

async fn verify(args: &PointVerifyArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location(None)?;
    let mut exit = Exit::Done;
    for point in chosen(&location, &args.ids, session).await? {
        let found = tokio::select! {
            found = location.verify_point(&point) => found?,
            () = session.cancel.cancelled() => return Ok(Exit::Cancelled),
        };
        let (id, size) = (point.id.as_str(), ByteCount(size(&point)).to_string());
        let said = match &found {
            None => session.messages.point_sound(id, &size),
            Some(why) => {
                exit = Exit::VerificationFailed;
                session.messages.point_damaged(id, why)
            }
        };
        session.printer.result(&format!("{said}\n"))?;
    }
    Ok(exit)
}

async fn hold(args: &PointHoldArgs, session: &Session) -> Result<Exit, Failure> {
    let reason = args.reason.trim();
    if reason.is_empty() {
        return Err(Failure::usage(
            "--reason says nothing: whoever finds the hold must know why",
        ));
    }
    let location = session.location(None)?;
    for point in chosen(&location, std::slice::from_ref(&args.id), session).await? {
        let hold = location.hold_point(&point, reason, &by()).await?;
        let said = session.messages.point_held(point.id.as_str(), &hold.id);
        session.printer.result(&format!("{said}\n"))?;
    }
    Ok(Exit::Done)
}

async fn release(args: &PointReleaseArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location(None)?;
    for point in chosen(&location, std::slice::from_ref(&args.id), session).await? {
        let said = location.additions(&point.source).await?;
        let holds = said.get(point.id.as_str()).map(|said| said.holds.clone());
        let mut holds = holds.unwrap_or_default();
        holds.retain(|hold| args.hold.as_ref().is_none_or(|wanted| hold.id == *wanted));
        if holds.is_empty() {
            let text = format!("point `{}` has no such hold that counts", point.id);
            return Err(Failure::new(Exit::NotFound, text));
        }
        for hold in holds {
            location.release_point(&point, &hold.id).await?;
            let said = session.messages.hold_released(&hold.id);
            session.printer.result(&format!("{said}\n"))?;
        }
    }
    Ok(Exit::Done)
}
