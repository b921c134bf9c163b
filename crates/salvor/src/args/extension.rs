//! `extension`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use salvor_api::go::GoDuration;

/// Commands on extensions.
#[derive(Debug, Subcommand)]
pub(crate) enum ExtensionCommand {
    /// Find out whether an extension keeps its contract, clause by clause.
    Check(Box<CheckArgs>),
}

/// Flags of `check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// Its URL, or a program with its arguments (after `--` when they begin with a dash).
    #[arg(required = true, value_name = "URL|PROGRAM", trailing_var_arg = true)]
    pub(crate) target: Vec<String>,
    /// What it is [default: the providers that it says it is].
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) kind: Vec<Kind>,
    /// What it is told with every question, such as bucket=test.
    #[arg(long, value_name = "KEY=VALUE,...")]
    pub(crate) config: Option<String>,
    /// How long it may say nothing.
    #[arg(long, default_value = "60s", value_name = "DURATION")]
    pub(crate) timeout: GoDuration,
    /// File with the certificates of the endpoint, in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<PathBuf>,
    /// File with a token that the endpoint is shown.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with an object, or a list of objects, as YAML or JSON: what an item action is asked about, what an
    /// adapter finds its application in, or the PersistentVolume whose volume is copied.
    #[arg(long, value_name = "FILE")]
    pub(crate) objects: Option<PathBuf>,
    /// Zone of the volume.
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "NAME"
    )]
    pub(crate) zone: String,
    /// Let an adapter replace the data of the first application that it finds by its own dump.
    #[arg(long)]
    pub(crate) may_replace: bool,
}

/// Kinds of extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum Kind {
    /// Asked before an object is archived.
    BackupItemAction,
    /// Asked before an object is restored.
    RestoreItemAction,
    /// Asked before a backup is deleted.
    DeleteItemAction,
    /// Keeps bytes.
    ObjectStore,
    /// Copies volumes.
    VolumeSnapshotter,
    /// Knows an application.
    ApplicationAdapter,
}
