//! `etcd prune`: retention of points and chains.

use std::collections::BTreeMap;

use jiff::Timestamp;
use salvor_etcd::prune::{Judged, Options, Pruned, look, prune};
use salvor_location::collect::{Garbage, Posted};
use salvor_text::ByteCount;
use serde_json::{Value, json};

use super::recover::the_cluster;
use crate::args::etcd::{PruneArgs, ReportFormat};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// The shortest grace period: nobody writes a snapshot for longer.
const SHORTEST_GRACE: u64 = 3600;

/// Removes what was noted long enough ago, and notes what else may go.
pub(super) async fn run(args: &PruneArgs, session: &Session) -> Result<Exit, Failure> {
    let grace = args.grace.duration();
    if grace.as_secs() < SHORTEST_GRACE {
        return Err(Failure::usage(
            "--grace is shorter than an hour: what somebody is writing now could be removed",
        ));
    }
    let location = session.location(None)?;
    let cluster = the_cluster(&location, args.cluster).await?;
    let options = Options {
        policy: args.keep.as_ref(),
        window: args.window.duration(),
        grace,
        confirmed: args.confirm.as_deref(),
        forget: args.forget_notices,
    };
    if args.dry_run {
        let judged = look(&location, cluster, &options).await?;
        warn(&judged, session);
        match args.output {
            ReportFormat::Json => session.printer.json(&judged_value(&judged))?,
            ReportFormat::Table => session.printer.result(&text(&judged))?,
        }
        session.printer.note(&session.messages.dry_run());
        return Ok(match judged.look.garbage.is_empty() {
            true => Exit::Done,
            false => Exit::Differences,
        });
    }
    let done = tokio::select! {
        done = prune(&location, cluster, &options) => done?,
        () = session.cancel.cancelled() => return Ok(Exit::Cancelled),
    };
    warn(&done.judged, session);
    let due = done.open.iter().map(|posted| when(posted, grace)).min();
    match args.output {
        ReportFormat::Json => {
            let mut value = judged_value(&done.judged);
            value["removed"] = json!({
                "objects": done.swept.removed,
                "bytes": done.swept.bytes,
                "points": done.swept.points,
                "locked": done.swept.locked,
            });
            value["next"] = json!(due);
            session.printer.json(&value)?;
        }
        ReportFormat::Table => {
            session.printer.result(&text(&done.judged))?;
            session.printer.result(&said(&done, due, session))?;
        }
    }
    Ok(Exit::Done)
}

/// When a notice may be carried out.
/// Says what cannot be read.
fn warn(judged: &Judged, session: &Session) {
    for damaged in &judged.damaged {
        let text = format!("{}: {}", damaged.name, damaged.reason);
        session.printer.warning(&text);
    }
}

fn when(posted: &Posted, grace: std::time::Duration) -> Timestamp {
    let since = posted.since.unwrap_or(posted.notice.created);
    since.checked_add(grace).unwrap_or(Timestamp::MAX)
}

fn said(done: &Pruned, due: Option<Timestamp>, session: &Session) -> String {
    let messages = session.messages;
    let bytes = ByteCount(done.swept.bytes).to_string();
    let mut lines = vec![messages.garbage_removed(done.swept.removed, &bytes)];
    if done.swept.locked > 0 {
        lines.push(messages.garbage_locked(done.swept.locked));
    }
    let waiting: u64 = done
        .open
        .iter()
        .map(|posted| posted.notice.garbage.len() as u64)
        .sum();
    if let Some(due) = due {
        lines.push(messages.garbage_waits(waiting, &due.strftime("%FT%TZ").to_string()));
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The plan, and objects by the reason why they may go.
fn text(judged: &Judged) -> String {
    let mut text = judged.plan.to_string();
    text.push_str(&format!(
        "every revision stays reachable from {}\n",
        judged.window.strftime("%FT%TZ")
    ));
    for (why, (count, bytes)) in by_reason(&judged.look.garbage) {
        text.push_str(&format!("{count} objects, {}: {why}\n", ByteCount(bytes)));
    }
    text
}

/// Objects and bytes by reason; segments that something covers are one.
fn by_reason(garbage: &BTreeMap<String, Garbage>) -> BTreeMap<&str, (u64, u64)> {
    let mut all: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for one in garbage.values() {
        let why = match one.why.ends_with(" covers it") {
            true => "a longer segment covers it",
            false => one.why.as_str(),
        };
        let (count, bytes) = all.entry(why).or_default();
        *count += 1;
        *bytes += one.size;
    }
    all
}

fn judged_value(judged: &Judged) -> Value {
    let decisions = judged.plan.series.iter().flat_map(|one| &one.decisions);
    let points: Vec<Value> = decisions
        .map(|decision| json!({ "point": decision.name, "decision": decision.to_string() }))
        .collect();
    json!({
        "points": points,
        "reachableFrom": judged.window,
        "confirm": judged.plan.stop.as_ref().map(|_| judged.plan.digest()),
        "garbage": judged.look.garbage,
        "garbageBytes": judged.look.bytes(),
    })
}
