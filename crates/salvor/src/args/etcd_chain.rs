//! Flags of `etcd stream`, `etcd timeline`, `etcd compact` and `etcd restore`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use jiff::Timestamp;
use salvor_api::retention::{Policy, Span};

use super::etcd::{AccessArgs, PlaceArgs, ReportFormat, TargetArgs};

/// Flags of `stream`.
#[derive(Clone, Debug, Args)]
pub(crate) struct StreamArgs {
    #[command(flatten)]
    pub(crate) access: AccessArgs,
    /// Seconds that the newest change may be missing in the location; a segment is closed after half of them.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub(crate) rpo: u64,
    /// Seconds without a change after which a segment says so.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub(crate) idle: u64,
    /// MiB of changes after which a segment is closed.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64), value_name = "MIB")]
    pub(crate) segment_size: u32,
    /// Seconds of silence after which another capture may take over.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(2..=600), value_name = "SECONDS")]
    pub(crate) lease: u64,
    /// Hours after which a new chain with a new base begins.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=744), value_name = "HOURS")]
    pub(crate) chain_hours: u64,
    /// MiB of segments after which a new chain begins, once they are more than its base.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65536), value_name = "MIB")]
    pub(crate) chain_size: u64,
    /// Do not write the segments of an hour, and of a day, once more as one.
    #[arg(long)]
    pub(crate) no_roll_ups: bool,
    /// File for metrics in the text form of Prometheus, replaced after each segment.
    #[arg(long, value_name = "FILE")]
    pub(crate) metrics_file: Option<PathBuf>,
    /// Folder for the base while it is verified and sent: a file without a name [default: that of temporary files].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) work_dir: Option<PathBuf>,
}

/// Flags of `timeline`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TimelineArgs {
    /// Id of the cluster, in hexadecimal digits [default: all of the location].
    #[arg(long, value_parser = super::etcd::cluster, value_name = "ID")]
    pub(crate) cluster: Option<u64>,
    /// How it is printed.
    #[arg(
        short,
        long,
        visible_alias = "write-out",
        visible_short_alias = 'w',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: ReportFormat,
}

/// Flags of `compact`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("end")))]
pub(crate) struct CompactArgs {
    /// The chain [default: the newest history, up to its end].
    #[arg(long, value_name = "CHAIN")]
    pub(crate) chain: Option<String>,
    /// Up to this revision [default: the end of the chain].
    #[arg(long, group = "end", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64), value_name = "N")]
    pub(crate) to_revision: Option<u64>,
    /// Up to this time, such as 2026-11-22T03:04:05Z, by the clock of who captured it.
    #[arg(long, group = "end", value_name = "TIME")]
    pub(crate) to_time: Option<Timestamp>,
    /// Why; kept in the record.
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// How the result is printed.
    #[arg(
        short,
        long,
        visible_alias = "write-out",
        visible_short_alias = 'w',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: ReportFormat,
}

/// Flags of `prune`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PruneArgs {
    /// Which points stay, such as last=3,daily=7,weekly=4 [default: all].
    #[arg(long, value_name = "POLICY")]
    pub(crate) keep: Option<Policy>,
    /// How far back from the last capture every revision stays reachable.
    #[arg(long, default_value = "7d", value_name = "SPAN")]
    pub(crate) window: Span,
    /// How long what nothing needs stays all the same, before it is looked at again and removed.
    #[arg(long, default_value = "7d", value_name = "SPAN")]
    pub(crate) grace: Span,
    /// Print what would go and why, and change nothing; exits with 1 when something would.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Digest that a plan prints which takes away more than half of many points: it is right.
    #[arg(long, value_name = "DIGEST")]
    pub(crate) confirm: Option<String>,
    /// Begin anew where points are missing that were removed on purpose: what was noted waits once more.
    #[arg(long)]
    pub(crate) forget_notices: bool,
    /// Id of the cluster, in hexadecimal digits, where the location has several.
    #[arg(long, value_parser = super::etcd::cluster, value_name = "ID")]
    pub(crate) cluster: Option<u64>,
    /// How the result is printed.
    #[arg(
        short,
        long,
        visible_alias = "write-out",
        visible_short_alias = 'w',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: ReportFormat,
}

/// Flags of `restore`.
#[derive(Clone, Debug, Args)]
#[command(group(ArgGroup::new("to").required(true)))]
pub(crate) struct RecoverArgs {
    /// The state after this revision.
    #[arg(long, group = "to", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64), value_name = "N")]
    pub(crate) to_revision: Option<u64>,
    /// The state at this time, such as 2026-11-22T03:04:05Z, by the clock of who captured it.
    #[arg(long, group = "to", value_name = "TIME")]
    pub(crate) to_time: Option<Timestamp>,
    /// The last state that was captured.
    #[arg(long, group = "to")]
    pub(crate) latest: bool,
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Bytes that the members will take as a database, as their flag of this name; more is refused.
    #[arg(long, default_value_t = 2 << 30, value_parser = clap::value_parser!(u64).range(1..), value_name = "BYTES")]
    pub(crate) quota_backend_bytes: u64,
    /// How the result is printed.
    #[arg(
        short,
        long,
        visible_alias = "write-out",
        visible_short_alias = 'w',
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    pub(crate) output: ReportFormat,
}
