//! `etcd compact`: a chain becomes a new full.

use salvor_etcd::chain::{Target, Timeline};
use salvor_etcd::compact::{Compacted, Request, compact};
use salvor_etcd::points;
use salvor_text::ByteCount;
use serde_json::json;

use super::recover::the_cluster;
use super::source::{identities, work_folder};
use crate::args::etcd::{CompactArgs, ReportFormat};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Merges a chain and commits the new point.
pub(super) async fn run(args: &CompactArgs, session: &Session) -> Result<Exit, Failure> {
    let identities = identities(&args.place)?;
    if identities.is_empty() {
        return Err(Failure::usage(session.messages.etcd_identity_needed()));
    }
    let location = session.location(None)?;
    let folder = work_folder(args.place.work_dir.as_deref());
    let request = Request {
        chain: args.chain.as_deref(),
        target: match (args.to_revision, args.to_time) {
            (Some(revision), _) => Some(Target::Revision(revision)),
            (None, time) => time.map(Target::Time),
        },
        identities: &identities,
        folder: &folder,
        reason: args.reason.as_deref(),
    };
    let work = async {
        let cluster = the_cluster(&location, args.place.cluster).await?;
        let timeline = Timeline::load(&location, cluster).await?;
        Ok::<Compacted, Failure>(compact(&location, &timeline, &request).await?)
    };
    let made = tokio::select! {
        made = work => made?,
        () = session.cancel.cancelled() => {
            return Err(Failure::new(Exit::Cancelled, session.messages.etcd_compact_stopped()));
        }
    };
    for remark in &made.remarks {
        session.printer.warning(remark);
    }
    told(&made, args.output, session)
}

fn told(made: &Compacted, output: ReportFormat, session: &Session) -> Result<Exit, Failure> {
    let object = points::object_of(&made.point)?;
    let merged = made.details.merged.as_ref();
    match output {
        ReportFormat::Json => session.printer.json(&json!({
            "point": made.point.id,
            "source": made.point.source,
            "created": made.point.created,
            "object": object,
            "details": made.details,
        }))?,
        ReportFormat::Table => {
            let base = merged.map_or("-", |merged| merged.base.as_str());
            let said = session.messages.etcd_compacted(
                made.point.id.as_str(),
                made.details.revision,
                base,
                merged.map_or(0, |merged| merged.segments),
                &ByteCount(object.size).to_string(),
            );
            let hash = merged.map_or(0, |merged| merged.hash_kv);
            let proof =
                session
                    .messages
                    .etcd_hash_kv(hash, made.details.revision, made.details.compacted);
            session.printer.result(&format!("{said}\n{proof}\n"))?;
        }
    }
    Ok(Exit::Done)
}
