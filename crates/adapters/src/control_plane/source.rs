//! The files of a control plane that a snapshot of etcd is worth nothing without: certificate authority and keys, the
//! configuration of encryption at rest, manifests, the kubelet's and kubeadm's configuration.
//!
//! They are one archive of tar for each machine, made there and never written to a disk on the way. What is put back is only
//! what differs, and what it replaces is kept in an archive on the machine: not beside the files, where a kubelet would
//! start a copied manifest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWrite;

use super::plane::{Flavour, Member, Plane};
use crate::host::{Command, Exit, HostError, Input};

/// Kind of such points.
pub const KIND: &str = "control-plane";
/// Most bytes of the archive of one machine: certificates and configuration, no data.
pub const LARGEST: usize = 64 << 20;
/// Folder of a machine for what was replaced.
pub const ASIDE: &str = "/var/lib/salvor";
/// How long an archive may take.
const LIMIT: Duration = Duration::from_secs(600);

/// Where such files are, whatever the flavour.
const USUAL: [&str; 8] = [
    "/etc/kubernetes",
    "/etc/etcd",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/kubeadm-flags.env",
    "/etc/systemd/system/etcd.service",
    "/etc/systemd/system/kubelet.service",
    "/etc/systemd/system/kubelet.service.d",
    "/usr/lib/systemd/system/kubelet.service.d",
];

/// Prints which of the paths are there, and the path of the encryption configuration that an API server's flags name.
const FIND: &str = r#"there() { if test -e "$1"; then printf '%s\n' "$1"; fi; }
manifests=$1
shift
for path in "$@"; do there "$path"; done
for file in "$manifests"/*.yaml /etc/systemd/system/kube-apiserver.service; do
  test -e "$file" || continue
  sed -n 's/.*--encryption-provider-config=\([^ "]*\).*/\1/p' "$file" | while read -r path; do there "$path"; done
done"#;

/// Keeps what is about to be replaced.
const KEEP: &str = r#"set -e
umask 077
aside=$1
shift
mkdir -p -- "$(dirname -- "$aside")"
tar -c -f "$aside.part" -C / --no-recursion -- "$@"
sync -- "$aside.part"
mv -f -- "$aside.part" "$aside""#;

/// What a point of a control plane says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the cluster.
    pub cluster: String,
    /// Flavour of the control plane.
    pub flavour: String,
    /// Its machines, each with the object of the same place.
    pub members: Vec<MemberDetails>,
    /// Id of the cluster of etcd, in hexadecimal digits, where a member answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_cluster: Option<String>,
    /// Version that the API server tells of itself, where it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Whether kubeadm's configuration is the object behind those of the machines.
    #[serde(default)]
    pub kubeadm_config: bool,
}

impl Details {
    /// Whether a snapshot of this cluster of etcd can be decrypted with what is here. One that does not know its cluster is
    /// believed.
    #[must_use]
    pub fn decrypts(&self, etcd_cluster: &str) -> bool {
        let own = self.etcd_cluster.as_deref();
        let encryption = self.members.iter().any(|one| one.encryption.is_some());
        encryption && own.is_none_or(|own| own == etcd_cluster)
    }
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberDetails {
    /// Its name in etcd.
    pub name: String,
    /// What was taken.
    pub paths: Vec<PathBuf>,
    /// Version of its etcd: as it says, else as its manifest does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// Version of its API server, by its manifest or program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The configuration of encryption at rest that its API server uses; it is among what was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<PathBuf>,
}

/// What a file on a machine is, compared with the archive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Below `/`.
    pub path: String,
    /// How it differs, in the words of tar; never its content.
    pub how: String,
}

impl Difference {
    /// Whether there is no such file.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.how.contains("No such file")
    }
}

/// Source of points, by the name of a cluster.
#[must_use]
pub fn source_of(cluster: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    format!("{KIND}-{}", cluster.chars().map(plain).collect::<String>())
}

/// What of a machine belongs to a point: the usual places, those that flags name, those of the description, and one more where
/// one is known.
///
/// # Errors
/// [`HostError`].
pub async fn paths(
    plane: &Plane,
    member: &Member,
    more: Option<&Path>,
) -> Result<Vec<PathBuf>, HostError> {
    let manifests = match &plane.flavour {
        Flavour::Kubeadm { manifests } => manifests.clone(),
        _ => "/etc/kubernetes/manifests".into(),
    };
    let wanted = USUAL.iter().map(PathBuf::from);
    let wanted = wanted.chain(plane.files.iter().cloned());
    let wanted = wanted.chain(more.map(Path::to_owned));
    let parameters: Vec<String> = [manifests]
        .into_iter()
        .chain(wanted)
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    let parameters: Vec<&str> = parameters.iter().map(String::as_str).collect();
    let host = member.host();
    let found = host
        .script("look for the files of the control plane", FIND, &parameters)
        .await?;
    let found: BTreeSet<PathBuf> = found.lines().map(PathBuf::from).collect();
    let below = |path: &PathBuf| {
        let mut folders = path.ancestors().skip(1);
        folders.any(|folder| found.contains(folder))
    };
    Ok(found.iter().filter(|path| !below(path)).cloned().collect())
}

fn inside(path: &Path) -> String {
    path.to_string_lossy().trim_start_matches('/').to_owned()
}

/// Writes the archive of a machine.
///
/// # Errors
/// [`HostError`]; then what was written is no archive.
pub async fn pack(
    member: &Member,
    paths: &[PathBuf],
    to: &mut (dyn AsyncWrite + Send + Unpin),
) -> Result<(), HostError> {
    let head = ["tar", "-c", "-f", "-", "-C", "/", "--numeric-owner", "--"].map(str::to_owned);
    let names = paths.iter().map(|path| inside(path));
    let command = Command::new(head.into_iter().chain(names));
    let host = member.host();
    let ended = host.run(command.with_output(to).with_limit(LIMIT)).await?;
    let doing = "pack the files of the control plane";
    ended.success(host.as_ref(), doing).map(|_| ())
}

/// What on a machine differs from an archive. Nothing is written; times do not count.
///
/// # Errors
/// [`HostError`]; the archive is none.
pub async fn differences(member: &Member, archive: &Bytes) -> Result<Vec<Difference>, HostError> {
    let script = "LC_ALL=C tar -d -f - -C / --numeric-owner --quoting-style=literal 2>&1";
    let none: [&str; 0] = [];
    let command = Command::script(script, none).with_input(Input::Bytes(archive.clone()));
    let host = member.host();
    let doing = "compare the files of the control plane";
    let ended = host.run(command.with_limit(LIMIT)).await?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    if !matches!(ended.exit, Exit::Code(0 | 1)) {
        return Err(HostError::Answer {
            host: host.name().to_owned(),
            doing: doing.to_owned(),
            answer: said,
        });
    }
    let mut found = BTreeSet::new();
    for line in said.lines() {
        let line = line.strip_prefix("tar: ").unwrap_or(line);
        let Some((path, how)) = line.split_once(": ") else {
            continue;
        };
        if how != "Mod time differs" && !found.iter().any(|one: &Difference| one.path == path) {
            let (path, how) = (path.to_owned(), how.to_owned());
            found.insert(Difference { path, how });
        }
    }
    Ok(found.into_iter().collect())
}

/// Keeps what is about to be replaced in an archive of the machine, which gets its name when it is whole.
///
/// # Errors
/// [`HostError`]; then there is no archive of that name.
pub async fn keep(member: &Member, paths: &BTreeSet<&str>, aside: &Path) -> Result<(), HostError> {
    let aside = aside.to_string_lossy();
    let paths = paths.iter().copied();
    let parameters: Vec<&str> = [aside.as_ref()].into_iter().chain(paths).collect();
    let host = member.host();
    host.script("keep what is replaced", KEEP, &parameters)
        .await
        .map(|_| ())
}

/// Puts back what differs. To do it again is to do what is left.
///
/// # Errors
/// [`HostError`]; it may have happened in part.
pub async fn write(
    member: &Member,
    archive: &Bytes,
    differences: &[Difference],
) -> Result<(), HostError> {
    if differences.is_empty() {
        return Ok(());
    }
    let host = member.host();
    let head = [
        "tar",
        "-x",
        "-p",
        "-f",
        "-",
        "-C",
        "/",
        "--numeric-owner",
        // Each by its own name: a folder would take what is below it, which then counts as not found.
        "--no-recursion",
        "--",
    ];
    let names = differences.iter().map(|one| one.path.as_str());
    let command = Command::new(head.into_iter().chain(names));
    let command = command.with_input(Input::Bytes(archive.clone()));
    let ended = host.run(command.with_limit(LIMIT)).await?;
    let doing = "put the files of the control plane back";
    ended.success(host.as_ref(), doing).map(|_| ())
}
