//! `backup-location`.

use clap::{Args, Subcommand, ValueEnum};
use salvor_api::go::{GoDuration, SignedGoDuration};

use super::limits::LimitArgs;
use super::{ConfirmArgs, Format, FormatArgs};

/// Commands on locations.
#[derive(Debug, Subcommand)]
pub(crate) enum LocationCommand {
    /// Name a location: by its URL in the configuration file, by its provider in the cluster.
    Create(Box<CreateArgs>),
    /// Change a location of the cluster, or the limits of one of the configuration file.
    Set(Box<SetArgs>),
    /// Delete locations from the cluster; what is stored there stays.
    Delete(DeleteArgs),
    /// List locations.
    Get(GetArgs),
    /// Describe locations.
    Describe(DescribeArgs),
    /// Prove that a location can be written, read, listed and written exclusively.
    Check(CheckArgs),
    /// Give a location a record of what it is: checked, signed, with the recipients of its sealed objects. The keys are
    /// pinned in the configuration file.
    Init(Box<InitArgs>),
    /// Make a location the default.
    SetDefault(SetDefaultArgs),
    /// Bring all backups, restores and holds of a location to another, or the files of a folder; goes on where it
    /// was interrupted.
    Mirror(MirrorArgs),
    /// Work with the files of folders that were mirrored.
    #[command(subcommand)]
    Files(FilesCommand),
}

/// Flags of `mirror`.
#[derive(Clone, Debug, Args)]
pub(crate) struct MirrorArgs {
    /// Source and target; only the target with --from-directory.
    #[arg(required = true, num_args = 1..=2, value_names = ["SOURCE", "TARGET"])]
    pub(crate) places: Vec<String>,
    /// Take the files of this folder, of whatever tool they are.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["prune", "ttl"])]
    pub(crate) from_directory: Option<std::path::PathBuf>,
    /// What the files are kept as [default: the name of the folder].
    #[arg(long, value_name = "NAME", requires = "from_directory")]
    pub(crate) tree: Option<String>,
    /// Only show what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// What happens at the target to backups that were mirrored and are gone at the source.
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub(crate) prune: Prune,
    /// How long the copies are kept, counted from each backup; 0s for good [default: as each backup says].
    #[arg(long, value_name = "DURATION")]
    pub(crate) ttl: Option<GoDuration>,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// What happens to backups that are gone at the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prune {
    /// They stay.
    #[default]
    Never,
    /// They go, unless they are held; first they are shown.
    Deleted,
}

/// Commands on mirrored files.
#[derive(Debug, Subcommand)]
pub(crate) enum FilesCommand {
    /// List what was mirrored, or the files of one.
    List(FilesListArgs),
    /// Write files to a new or empty folder.
    Get(FilesGetArgs),
    /// Read every file and compare it with its digest.
    Verify(FilesVerifyArgs),
    /// Delete what was mirrored under a name, all generations.
    Delete(FilesDeleteArgs),
}

/// Flags of `files list`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FilesListArgs {
    /// What they are kept as [default: list the names].
    pub(crate) tree: Option<String>,
    /// Which run [default: the newest].
    #[arg(long, value_name = "ID", requires = "tree")]
    pub(crate) generation: Option<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `files get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FilesGetArgs {
    /// What they are kept as.
    pub(crate) tree: String,
    /// Only what stands at or below these paths.
    pub(crate) paths: Vec<String>,
    /// Folder to write to, new or empty.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: std::path::PathBuf,
    /// Which run [default: the newest].
    #[arg(long, value_name = "ID")]
    pub(crate) generation: Option<String>,
}

/// Flags of `files verify`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FilesVerifyArgs {
    /// What they are kept as.
    pub(crate) tree: String,
    /// Which run [default: the newest].
    #[arg(long, value_name = "ID")]
    pub(crate) generation: Option<String>,
}

/// Flags of `files delete`.
#[derive(Clone, Debug, Args)]
pub(crate) struct FilesDeleteArgs {
    /// What they are kept as.
    pub(crate) tree: String,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `create`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the location.
    pub(crate) name: String,
    /// file:///folder, s3://bucket/prefix?endpoint=...&region=..., azure://..., gs://...
    #[arg(required_unless_present = "provider", conflicts_with = "provider")]
    pub(crate) url: Option<String>,
    /// Refuse to write to it.
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Make it the default.
    #[arg(long)]
    pub(crate) default: bool,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) object: ObjectArgs,
}

/// What a BackupStorageLocation says, in the flags of Velero's client.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Locations of the cluster")]
pub(crate) struct ObjectArgs {
    /// aws, azure, gcp, or file for a folder of the server's.
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,
    /// Bucket or container.
    #[arg(long, requires = "provider", value_name = "NAME")]
    pub(crate) bucket: Option<String>,
    /// Path within the bucket.
    #[arg(long, requires = "provider", value_name = "PATH")]
    pub(crate) prefix: Option<String>,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    /// Settings of the provider.
    #[arg(long, requires = "provider", value_name = "KEY=VALUE,...")]
    pub(crate) config: Option<String>,
    /// Labels of the location.
    #[arg(long, requires = "provider", value_name = "KEY=VALUE,...")]
    pub(crate) labels: Option<String>,
    /// How often the cluster follows the bucket; 0 for never.
    #[arg(long, requires = "provider", value_name = "DURATION")]
    pub(crate) backup_sync_period: Option<SignedGoDuration>,
    /// How often the location is looked at; 0 for never.
    #[arg(long, requires = "provider", value_name = "DURATION")]
    pub(crate) validation_frequency: Option<SignedGoDuration>,
    /// `json` or `yaml` prints the object and creates nothing.
    #[arg(short, long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

/// What can also be changed later.
#[derive(Clone, Debug, Args)]
pub(crate) struct SettingArgs {
    /// Whether anything may be written.
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) access_mode: Option<Access>,
    /// Secret and key that hold the credentials.
    #[arg(long, value_name = "SECRET=KEY")]
    pub(crate) credential: Option<String>,
    /// File with the certificates of the store, in PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) cacert: Option<std::path::PathBuf>,
}

/// Whether anything may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum Access {
    /// Backups are made and deleted as well.
    ReadWrite,
    /// Backups are listed and restored only.
    ReadOnly,
}

/// Flags of `set`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SetArgs {
    /// Name of the location.
    pub(crate) name: String,
    /// Make it the default, or no longer.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) default: Option<bool>,
    #[command(flatten)]
    pub(crate) settings: SettingArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
}

/// Flags of `delete`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) which: super::choice::DemandArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `get`.
#[derive(Clone, Debug, Args)]
pub(crate) struct GetArgs {
    /// Only these.
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `describe`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DescribeArgs {
    /// Only these.
    pub(crate) names: Vec<String>,
}

/// Flags of `check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    /// Which location [default: the one in use].
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `init`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InitArgs {
    /// Which location [default: the one in use].
    pub(crate) name: Option<String>,
    /// Whom single objects are encrypted to: a public key as `age-keygen` prints it. May be repeated; takes the place of
    /// those that are pinned.
    #[arg(long = "recipient", value_name = "AGE1...")]
    pub(crate) recipients: Vec<String>,
    /// File with recipients, one in each line.
    #[arg(long, value_name = "FILE")]
    pub(crate) recipients_file: Option<std::path::PathBuf>,
    /// Make an identity, write it into this new file, and encrypt to it as well. Keep the file away from what is backed
    /// up: whoever has it reads every sealed object.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_identity: Option<std::path::PathBuf>,
    /// Sign the record with the key in this file.
    #[arg(long, env = "SALVOR_SIGNING_KEY_FILE", value_name = "FILE")]
    pub(crate) signing_key_file: Option<std::path::PathBuf>,
    /// Make a key, write it into this new file, and sign the record with it.
    #[arg(long, value_name = "FILE", conflicts_with = "signing_key_file")]
    pub(crate) new_signing_key: Option<std::path::PathBuf>,
    /// Id of the location that this one mirrors.
    #[arg(long, value_name = "ID")]
    pub(crate) mirror_of: Option<String>,
}

/// Flags of `set-default`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SetDefaultArgs {
    /// Name of the location.
    pub(crate) name: String,
}
