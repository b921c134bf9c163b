//! `etcd timeline`: what can be brought back.

use std::fmt::Write as _;

use salvor_etcd::chain::{Base, Line, Timeline, clusters};
use salvor_text::{ByteCount, Table};
use serde_json::{Value, json};

use crate::args::etcd::{ReportFormat, TimelineArgs};
use crate::command::read::assert_folder;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Lists what a location has. Nothing is opened: no identity is needed.
pub(super) async fn run(args: &TimelineArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location(None)?;
    assert_folder(&location)?;
    let all = match args.cluster {
        Some(cluster) => vec![cluster],
        None => clusters(&location).await?,
    };
    if all.is_empty() {
        location.assert_there().await?;
    }
    let mut timelines = Vec::new();
    for cluster in all {
        timelines.push(Timeline::load(&location, cluster).await?);
    }
    for damaged in timelines.iter().flat_map(|timeline| &timeline.damaged) {
        session
            .printer
            .warning(&format!("{}: {}", damaged.name, damaged.reason));
    }
    match args.output {
        ReportFormat::Json => {
            let values: Vec<Value> = timelines.iter().map(value).collect();
            session.printer.json(&values)?;
        }
        ReportFormat::Table => session.printer.result(&table(&timelines, session))?,
    }
    Ok(Exit::Done)
}

fn value(timeline: &Timeline) -> Value {
    let lines: Vec<Value> = timeline.lines().iter().map(line_value).collect();
    let alone: Vec<Value> = timeline
        .alone
        .iter()
        .map(|base| {
            json!({
                "point": base.point.id,
                "created": base.point.created,
                "revision": base.details.revision,
                "bytes": base.bytes(),
            })
        })
        .collect();
    json!({
        "cluster": format!("{:016x}", timeline.cluster),
        "histories": lines,
        "snapshots": alone,
    })
}

fn line_value(line: &Line<'_>) -> Value {
    let spans: Vec<Value> = line
        .bases()
        .iter()
        .map(|base| {
            json!({
                "point": base.point.id,
                "created": base.point.created,
                "from": base.details.revision,
                "to": line.reach(base.details.revision),
                "bytes": base.bytes(),
            })
        })
        .collect();
    let gaps: Vec<Value> = line
        .gaps()
        .iter()
        .map(|gap| json!({ "after": gap.after, "until": gap.until }))
        .collect();
    let chains: Vec<Value> = line
        .chains
        .iter()
        .map(|chain| {
            json!({
                "chain": chain.record.chain,
                "created": chain.record.created,
                "reason": chain.record.reason,
                "start": chain.record.start,
                "reach": chain.reach().0,
                "segments": chain.segments.len(),
                "segmentBytes": chain.bytes(),
                "lastWritten": last_written(chain),
            })
        })
        .collect();
    json!({
        "reachable": spans,
        "gaps": gaps,
        "chains": chains,
        "storedBytes": line.bytes(),
        "hourlyFullsBytes": line.hourly_fulls(),
    })
}

fn last_written(chain: &salvor_etcd::chain::Chain) -> Option<jiff::Timestamp> {
    chain
        .segments
        .iter()
        .filter_map(|segment| segment.modified)
        .max()
}

fn table(timelines: &[Timeline], session: &Session) -> String {
    let mut table = Table::new(&[
        "CLUSTER",
        "KIND",
        "NAME",
        "TAKEN",
        "FROM",
        "TO",
        "LAST WRITTEN",
        "SEGMENTS",
        "SIZE",
    ]);
    let mut below = String::new();
    for timeline in timelines {
        let cluster = format!("{:016x}", timeline.cluster);
        for line in timeline.lines() {
            for chain in &line.chains {
                let bases = chain.bases.iter().map(|base| base.details.revision);
                let base = bases.min();
                let from = base.map_or_else(|| "-".to_owned(), |from| from.to_string());
                let reach = base.map_or(chain.reach().0, |from| line.reach(from));
                let written = last_written(chain);
                let size = chain.bytes() + chain.bases.iter().map(Base::bytes).sum::<u64>();
                table.row(&[
                    cluster.as_str(),
                    "chain",
                    &chain.record.chain,
                    &chain.record.created.strftime("%FT%TZ").to_string(),
                    &from,
                    &reach.to_string(),
                    &written.map_or_else(|| "-".to_owned(), |at| at.strftime("%FT%TZ").to_string()),
                    &chain.segments.len().to_string(),
                    &ByteCount(size).to_string(),
                ]);
            }
            for gap in line.gaps() {
                let said = session.messages.etcd_gap(&cluster, gap.after, gap.until);
                // Writing to a string cannot fail.
                let _ = writeln!(below, "{said}");
            }
        }
        for base in &timeline.alone {
            let revision = base.details.revision.to_string();
            table.row(&[
                cluster.as_str(),
                "snapshot",
                base.point.id.as_str(),
                &base.point.created.strftime("%FT%TZ").to_string(),
                &revision,
                &revision,
                "-",
                "-",
                &ByteCount(base.bytes()).to_string(),
            ]);
        }
        let lines = timeline.lines();
        let stored: u64 = lines.iter().map(Line::bytes).sum();
        let hourly = ByteCount(lines.iter().map(Line::hourly_fulls).sum()).to_string();
        if stored > 0 {
            let stored = ByteCount(stored).to_string();
            let said = session.messages.etcd_savings(&cluster, &stored, &hourly);
            let _ = writeln!(below, "{said}");
        }
        for (before, after) in timeline.lines().iter().zip(timeline.lines().iter().skip(1)) {
            let ends = before.chains.last().map_or(0, |chain| chain.reach().0);
            let starts = after.chains.first();
            let reason = starts.map_or("", |chain| chain.record.reason.as_str());
            let start = starts.map_or(0, |chain| chain.record.start);
            let said = session.messages.etcd_break(&cluster, ends, start, reason);
            let _ = writeln!(below, "{said}");
        }
    }
    let bases = timelines.iter().flat_map(|timeline| {
        let of_chains = timeline.chains.iter().flat_map(|chain| &chain.bases);
        of_chains.chain(&timeline.alone)
    });
    let newest = bases.max_by_key(|base| base.point.created);
    if let Some(object) = newest.and_then(|base| base.point.objects.first()) {
        let _ = writeln!(below, "{}", session.messages.etcd_without_us(&object.key));
    }
    format!("{table}{below}")
}
