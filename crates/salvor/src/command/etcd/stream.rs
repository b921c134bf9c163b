//! `etcd stream`.

use std::time::Duration;

use salvor_etcd::Clock;
use salvor_etcd::capture::{self, Bounds, Options, RollUps, Told};
use salvor_location::with_causes;

use super::save::access;
use super::source::work_folder;
use crate::args::etcd::StreamArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Captures changes until it is stopped.
pub(super) async fn run(args: &StreamArgs, session: &Session) -> Result<Exit, Failure> {
    let location = session.location(None)?;
    let options = Options {
        endpoints: args.access.endpoints.clone(),
        access: access(&args.access.credentials)?,
        folder: work_folder(args.work_dir.as_deref()),
        objective: Duration::from_secs(args.rpo),
        idle: Duration::from_secs(args.idle),
        largest: (args.segment_size as usize) << 20,
        lease: Duration::from_secs(args.lease),
        bounds: Bounds {
            bytes: args.chain_size << 20,
            age: Duration::from_secs(args.chain_hours * 3600),
            ..Bounds::default()
        },
        roll_ups: (!args.no_roll_ups).then(RollUps::default),
        metrics: args.metrics_file.clone(),
        clock: Clock::default(),
    };
    session.note_if_temporary(&location);
    let (printer, messages) = (session.printer.clone(), session.messages);
    let mut tell = move |told: Told<'_>| match told {
        Told::Standby(why) => printer.note(&messages.etcd_standby(&why.to_string())),
        Told::Chain {
            chain,
            reason,
            start,
        } => {
            let said = messages.etcd_chain_begun(chain, reason.as_str(), start);
            match reason.is_break() {
                true => printer.warning(&said),
                false => printer.note(&said),
            }
        }
        Told::Resumed { chain, next } => printer.note(&messages.etcd_chain_resumed(chain, next)),
        Told::Base { point, revision } => printer.note(&messages.etcd_base(point, revision)),
        Told::Segment {
            last,
            changes,
            size,
            waited,
        } => tracing::info!(last, changes, size, ?waited, "segment committed"),
        Told::RolledUp {
            first,
            last,
            segments,
            size,
        } => tracing::info!(
            first,
            last,
            segments,
            size,
            "segments written once more as one"
        ),
        Told::Trouble(error) => {
            printer.warning(&messages.etcd_trouble(&with_causes(error)));
        }
        _ => {}
    };
    let metrics = capture::run(&location, &options, &session.cancel, &mut tell).await?;
    session.printer.note(&session.messages.etcd_stream_stopped(
        metrics.captured,
        metrics.changes,
        metrics.worst_lag,
    ));
    Ok(Exit::Done)
}
