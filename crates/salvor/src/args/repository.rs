//! `repo` and `volume`: the command line of repositories.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use salvor_repository::chunk::FixedLength;

use salvor_api::go::GoDuration;

use super::{ConfirmArgs, FormatArgs};

/// Which repository, and what opens it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Repository")]
pub(crate) struct RepositoryArgs {
    /// Trust domain of the repository in the location, such as ns-shop or host-db1. Whoever may write to a
    /// repository can read it, so everything that must not see each other has a domain of its own.
    #[arg(long, value_name = "NAME", required_unless_present = "repository")]
    pub(crate) domain: Option<String>,
    /// A repository at an address of its own, such as one of restic's or of Velero's restic/NAMESPACE: a URL or a folder.
    #[arg(long, value_name = "URL", conflicts_with = "domain")]
    pub(crate) repository: Option<String>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Folder that keeps index files, snapshots and directories of repositories, as they are stored, so that they are not
    /// fetched again [default: salvor/repositories in the user's cache folder; none for repositories in folders].
    #[arg(long, env = "SALVOR_REPOSITORY_CACHE", value_name = "DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Fetch everything from the location, whatever folder is named.
    #[arg(long)]
    pub(crate) no_cache: bool,
}

/// Which snapshot `latest` means, where a repository has snapshots of several sources.
#[derive(Clone, Debug, Args)]
pub(crate) struct LatestArgs {
    /// With `latest`: the newest of this machine or volume.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// With `latest`: the newest of this directory, as `repo snapshots` shows it.
    #[arg(long, value_name = "PATH")]
    pub(crate) source: Option<String>,
}

/// Where the password comes from; on a terminal it is asked for. Never from an argument, which everybody on the
/// machine could see.
#[derive(Clone, Debug, Args)]
pub(crate) struct PasswordArgs {
    /// File whose first line is the password; only its owner should be able to read it.
    /// Without a flag that names a password or key, SALVOR_PASSWORD_FILE names it.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the password from the first line of standard input.
    #[arg(long, conflicts_with = "password_file")]
    pub(crate) password_stdin: bool,
    /// File with the key that every domain's password follows from, such as `repo key generate` makes. Needs --domain.
    /// Without a flag that names a password or key, SALVOR_KEY_FILE names it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["password_file", "password_stdin"])]
    pub(crate) key_file: Option<PathBuf>,
    /// Take the key from the cluster: Secret salvor-repository-key in the server's namespace, else Velero's
    /// velero-repo-credentials.
    #[arg(long, conflicts_with_all = ["password_file", "password_stdin", "key_file"])]
    pub(crate) key_from_cluster: bool,
}

/// Commands on repositories.
#[derive(Debug, Subcommand)]
pub(crate) enum RepositoryCommand {
    /// Create a repository. It has restic's format: plain restic can read it, too.
    Init(InitArgs),
    /// List the repositories of a location.
    Get(FormatArgs),
    /// Look whether everything that snapshots need is there and whole. Exit code 7 when it is not.
    Check(CheckArgs),
    /// List the snapshots of a repository.
    Snapshots(SnapshotsArgs),
    /// Remove snapshots. Their space is given back by `repo prune`.
    Forget(ForgetArgs),
    /// Give back the space that no snapshot needs: what is marked now goes by a later prune.
    Prune(PruneArgs),
    /// Work with the passwords of a repository, and with the key that they follow from.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print the password of a domain's repository, as it follows from the key: for plain restic, or for whoever
    /// shall read that domain and no other.
    Password(PasswordShowArgs),
    /// Remove the locks of the dead.
    Unlock(UnlockArgs),
    /// Make a lost or damaged index again from what the packs say; with --from, bring what is damaged from a copy first.
    Repair(RepairArgs),
}

/// A command that needs no more than the repository.
#[derive(Clone, Debug, Args)]
pub(crate) struct OnlyArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
}

/// Flags of `repo repair`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RepairArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// Read every pack, copy what is whole in damaged ones and take them out of the index, so that the next backup that
    /// meets the content of the rest stores it again.
    #[arg(long)]
    pub(crate) read_data: bool,
    /// Another location that has a copy of the repository (a mirror): reads everything, and brings packs and index files
    /// that are damaged or gone, damaged snapshots, and what opens it from there. With --repository, the address of the copy itself.
    #[arg(long, value_name = "LOCATION", conflicts_with = "read_data")]
    pub(crate) from: Option<String>,
    /// Give up snapshots that cannot be read: their files are moved to salvor/set-aside in the repository. What only they
    /// needed goes with later prunes.
    #[arg(long, conflicts_with = "from")]
    pub(crate) set_aside_snapshots: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// How much work it is to try a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkArg {
    /// A password that a person made: about half a second a try.
    Passphrase,
    /// A key of at least 128 random bits, such as `openssl rand -hex 32` makes: opens at once.
    Machine,
}

/// Flags of `repo init`.
#[derive(Clone, Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// What kind of password it is.
    #[arg(long, value_enum, default_value = "passphrase", value_name = "KIND")]
    pub(crate) password_kind: WorkArg,
    /// Cut files as restic does, for a repository that restic will extend as well. Slower.
    #[arg(long)]
    pub(crate) restic_boundaries: bool,
}

/// How much `repo check` looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DepthArg {
    /// That every pack is there.
    Index,
    /// And that every directory reads and every file's pieces are known.
    Trees,
    /// And every byte.
    Data,
}

/// Flags of `repo check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// How much is looked at.
    #[arg(long, value_enum, default_value = "trees", value_name = "DEPTH")]
    pub(crate) depth: DepthArg,
}

/// Flags of `repo snapshots`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotsArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `repo forget`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Snapshots, by the beginning of their ids.
    #[arg(required = true, value_name = "SNAPSHOT")]
    pub(crate) snapshots: Vec<String>,
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `repo prune`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PruneArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// Days after which what was marked goes, if still nothing needs it. Less than a backup runs is dangerous.
    #[arg(long, default_value_t = 7, value_name = "DAYS")]
    pub(crate) grace_days: u32,
}

/// Flags of `repo password`.
#[derive(Clone, Debug, Args)]
pub(crate) struct PasswordShowArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `repo key generate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyGenerateArgs {
    /// The file, which must not exist yet. Only its owner can read it.
    pub(crate) file: PathBuf,
}

/// Commands on the passwords of a repository.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key that the passwords of all domains follow from, for --key-file and for the cluster's Secret.
    Generate(KeyGenerateArgs),
    /// List them.
    List(OnlyArgs),
    /// Add one.
    Add(KeyAddArgs),
    /// Put a new one in the place of the one that opens the repository. The master key stays: who has copied it, or had the
    /// old password and a copy of the repository, still reads it.
    Rotate(KeyRotateArgs),
    /// Remove one. Who knew it may have kept the master key: what was written before stays readable to them.
    Remove(KeyRemoveArgs),
}

/// Flags of `repo key add`.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyAddArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// File whose first line is the new password.
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: PathBuf,
    /// What kind of password it is.
    #[arg(long, value_enum, default_value = "passphrase", value_name = "KIND")]
    pub(crate) password_kind: WorkArg,
}

/// Flags of `repo key rotate`.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyRotateArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// File whose first line is the new password.
    #[arg(long, value_name = "FILE", required_unless_present = "new_key_file")]
    pub(crate) new_password_file: Option<PathBuf>,
    /// File with the key that the new password of the domain follows from.
    #[arg(long, value_name = "FILE", conflicts_with = "new_password_file")]
    pub(crate) new_key_file: Option<PathBuf>,
    /// What kind of password --new-password-file is.
    #[arg(long, value_enum, default_value = "passphrase", value_name = "KIND")]
    pub(crate) password_kind: WorkArg,
    /// Add the new one only: for a cluster, until its Secret has the new key. Another rotation without this ends it.
    #[arg(long)]
    pub(crate) keep_old: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `repo key remove`.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeyRemoveArgs {
    /// Which, by the beginning of its id.
    pub(crate) key: String,
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}

/// Flags of `repo unlock`.
#[derive(Clone, Debug, Args)]
pub(crate) struct UnlockArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// Also those that were refreshed within half an hour. Their owners may be alive, and lose what they do.
    #[arg(long)]
    pub(crate) remove_all: bool,
}

/// Commands on file trees in a repository.
#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// Back up a directory of this machine.
    Backup(VolumeBackupArgs),
    /// List what a snapshot has.
    Ls(VolumePathArgs),
    /// Write a file of a snapshot to standard output.
    Cat(VolumePathArgs),
    /// Bring a snapshot, or a directory or file of it, into a directory of this machine; with --point, a recovery point of
    /// a claim into the cluster, also while its application runs.
    Restore(Box<VolumeRestoreArgs>),
    /// Stream a path inside a running pod as a tar archive, to a file, to standard output or into a repository.
    Export(Box<VolumeExportArgs>),
    /// List the recovery points of a claim, over all backups of the location.
    Points(VolumePointsArgs),
}

/// Flags of `volume export`.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeExportArgs {
    /// NAMESPACE/POD[/CONTAINER]:PATH, such as shop/db-0:/var/lib/data. Of a directory the archive has what is in it.
    #[arg(value_name = "POD:PATH")]
    pub(crate) from: String,
    /// File to write, which must be new; - for standard output. It appears when the archive is whole.
    #[arg(long, value_name = "FILE", required_unless_present = "to_repository")]
    pub(crate) output: Option<PathBuf>,
    /// Store it in a repository, as a snapshot with one file.
    #[arg(long, conflicts_with = "output")]
    pub(crate) to_repository: bool,
    /// Trust domain of the repository in the location.
    #[arg(long, value_name = "NAME", requires = "to_repository")]
    pub(crate) domain: Option<String>,
    /// A repository at an address of its own.
    #[arg(
        long,
        value_name = "URL",
        conflicts_with = "domain",
        requires = "to_repository"
    )]
    pub(crate) repository: Option<String>,
    #[command(flatten)]
    pub(crate) password: PasswordArgs,
    /// Name of the machine or volume in the snapshot [default: NAMESPACE/POD].
    #[arg(long, value_name = "NAME", requires = "to_repository")]
    pub(crate) host: Option<String>,
    /// Tags of the snapshot.
    #[arg(long = "tag", value_name = "TAG", requires = "to_repository")]
    pub(crate) tags: Vec<String>,
    /// Store without opening what was sealed once more.
    #[arg(long, requires = "to_repository")]
    pub(crate) no_verify_write: bool,
    /// Take an archive in which files changed while they were read; each is named.
    #[arg(long)]
    pub(crate) allow_changes: bool,
    /// How long all of it may take.
    #[arg(long, default_value = "24h0m0s", value_name = "DURATION")]
    pub(crate) timeout: GoDuration,
    /// How long nothing may come before it is given up.
    #[arg(long, default_value = "5m0s", value_name = "DURATION")]
    pub(crate) stall: GoDuration,
    /// Image of Salvor for the ephemeral container that reads the files where the container's image has no tar
    /// [default: that of this version].
    #[arg(long, value_name = "IMAGE", conflicts_with = "no_debug_container")]
    pub(crate) debug_image: Option<String>,
    /// User of that ephemeral container by number [default: that of the container].
    #[arg(
        long,
        value_name = "UID",
        conflicts_with = "no_debug_container",
        value_parser = clap::value_parser!(u32)
    )]
    pub(crate) debug_user: Option<u32>,
    /// Add no ephemeral container: fail where the container's image has no tar.
    #[arg(long)]
    pub(crate) no_debug_container: bool,
}

/// Flags of `volume points`.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumePointsArgs {
    /// NAMESPACE/NAME of the claim.
    pub(crate) claim: String,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

/// Flags of `volume backup`.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumeBackupArgs {
    /// The directory.
    pub(crate) directory: PathBuf,
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// Name of the machine or volume in the snapshot [default: this machine's].
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
    /// Tags of the snapshot.
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Leave out what lies on other file systems.
    #[arg(long)]
    pub(crate) one_file_system: bool,
    /// The directory is a copy whose inodes are always new, such as a cloned volume: files are recognised by
    /// size and time alone.
    #[arg(long)]
    pub(crate) is_copy: bool,
    /// Cut files into pieces of one length, in KiB: a multiple of 64 up to 8192. For images of disks and files of databases,
    /// which change in place. Keep to one length, or everything is stored anew.
    #[arg(long, value_name = "KIB", value_parser = fixed_length)]
    pub(crate) fixed_pieces: Option<FixedLength>,
    /// Read every file, also those that look unchanged.
    #[arg(long)]
    pub(crate) force: bool,
    /// Store without opening what was sealed once more. Faster, and blind to faults of this machine's memory.
    #[arg(long)]
    pub(crate) no_verify_write: bool,
}

fn fixed_length(text: &str) -> Result<FixedLength, String> {
    text.parse::<usize>()
        .ok()
        .and_then(|kib| FixedLength::new(kib.checked_mul(1024)?))
        .ok_or_else(|| "a multiple of 64 from 64 to 8192 is wanted".to_owned())
}

/// A path in a snapshot.
#[derive(Clone, Debug, Args)]
pub(crate) struct VolumePathArgs {
    /// Snapshot, by the beginning of its id, or latest.
    pub(crate) snapshot: String,
    /// Path in it.
    #[arg(default_value = "/")]
    pub(crate) path: PathBuf,
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    #[command(flatten)]
    pub(crate) latest: LatestArgs,
}

/// Flags of `volume restore` into a claim of the cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Claim of a cluster")]
pub(crate) struct ClaimRestoreArgs {
    /// The recovery point: a backup that `volume points` lists, or latest. The claim is filled by the node agents.
    #[arg(long, value_name = "BACKUP", conflicts_with_all = ["domain", "repository", "path", "host", "source", "no_owners"])]
    pub(crate) point: Option<String>,
    /// Another claim, NAMESPACE/NAME, that the data is put into; one that does not exist is made like the first. Its
    /// application is not touched, and nothing may use it.
    #[arg(
        long,
        value_name = "CLAIM",
        requires = "point",
        conflicts_with = "in_place"
    )]
    pub(crate) into: Option<String>,
    /// Show what would be stopped, for how long, and do nothing.
    #[arg(long, requires = "point")]
    pub(crate) dry_run: bool,
    /// Leave the application stopped also when nothing was written into its volume. After a restore that began and did not
    /// bring everything back it stays stopped in any case.
    #[arg(long, requires = "in_place", requires = "point")]
    pub(crate) stay_stopped: bool,
    /// How long the application's pods may take to end.
    #[arg(long, default_value = "10m0s", value_name = "DURATION")]
    pub(crate) stop_timeout: GoDuration,
    /// How long the data may take.
    #[arg(long, default_value = "24h0m0s", value_name = "DURATION")]
    pub(crate) timeout: GoDuration,
}

/// Flags of `volume restore`.
#[derive(Clone, Debug, Args)]
#[command(mut_arg("domain", |domain| domain.required_unless_present("point")))]
#[group(skip)]
pub(crate) struct VolumeRestoreArgs {
    /// Snapshot, by the beginning of its id, or latest. With --point: NAMESPACE/NAME of a claim.
    #[arg(value_name = "SNAPSHOT|CLAIM")]
    pub(crate) from: String,
    /// The directory of this machine that it is restored into. With --point: files and directories of the volume that
    /// are brought back, and nothing else [default: all of it].
    #[arg(value_name = "DIRECTORY|PATH", required_unless_present = "point")]
    pub(crate) to: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) claim: ClaimRestoreArgs,
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    #[command(flatten)]
    pub(crate) latest: LatestArgs,
    /// Only this directory or file of the snapshot.
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// Bring what stands in the target to the state of the snapshot; only what differs is written. Of a claim, the
    /// application that uses it is scaled down meanwhile, and up again at the end.
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Remove from the target what the snapshot does not have.
    #[arg(long, requires = "in_place")]
    pub(crate) delete_extra: bool,
    /// Leave owners as they come; for users without the right to set them.
    #[arg(long)]
    pub(crate) no_owners: bool,
    #[command(flatten)]
    pub(crate) confirm: ConfirmArgs,
}
