//! The old data put aside, and the restored data in its place.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use salvor_etcd::restore::{self, Options, Restored};
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde_json::{Value, json};

use super::Restoration;
use crate::control_plane::plane::Member;
use crate::control_plane::services::Component;
use crate::host::{Command, Host, Input, Local, Owner};

/// Folder of a data directory with all that etcd wrote. It is what is replaced: the directory itself may be a mount point.
const MEMBER: &str = "member";
/// What stands behind the names of what is put aside, in the journal.
const SUFFIX: &str = "suffix";
/// Owner and mode of each folder that was there, in the journal.
const OWNERS: &str = "owners";
/// How long the data of all members may take on its way.
const TRANSFER: Duration = Duration::from_secs(4 * 3600);

/// A folder on its way to a member: it is looked at as a whole before it gets its name.
const TAKE: &str = r#"set -e
umask 077
rm -rf -- "$1"
mkdir -p -- "$1"
tar -x -f - -C "$1"
test -s "$1/member/snap/db"
if test -n "$2"; then chown -R -- "$2" "$1/member"; chmod -- "$3" "$1/member"; fi
find "$1" -exec sync -- {} +"#;

/// Notes of [`Aside`].
struct Notes {
    suffix: String,
    owners: BTreeMap<String, (u32, u32, u32)>,
}

impl Notes {
    async fn of(context: &Context<'_>) -> Option<Self> {
        let suffix = context.noted_by("put-aside", SUFFIX).await?;
        let owners = context.noted_by("put-aside", OWNERS).await?;
        Some(Self {
            suffix: suffix.as_str()?.to_owned(),
            owners: serde_json::from_value(owners).ok()?,
        })
    }

    fn aside(&self, member: &Member) -> PathBuf {
        let name = format!("{MEMBER}.before-{}", self.suffix);
        member.data_directory.join(name)
    }

    fn undone(&self, member: &Member) -> PathBuf {
        let name = format!("{MEMBER}.undone-{}", self.suffix);
        member.data_directory.join(name)
    }

    fn owner(&self, member: &Member) -> Option<Owner> {
        let (user, group, mode) = *self.owners.get(&member.name)?;
        Some(Owner { user, group, mode })
    }
}

fn data(member: &Member) -> PathBuf {
    member.data_directory.join(MEMBER)
}

async fn assert_stopped(plane: &Restoration, member: &Member) -> Result<(), StepError> {
    match plane.runs(member, Component::Etcd).await? {
        false => Ok(()),
        true => Err(format!("etcd runs on {}: somebody has started it", member.name).into()),
    }
}

/// Puts the data directories aside.
pub(super) struct Aside(Arc<Restoration>);

impl Aside {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }

    async fn notes(&self, context: &Context<'_>) -> Result<Notes, StepError> {
        if let Some(notes) = Notes::of(context).await {
            return Ok(notes);
        }
        let mut owners = BTreeMap::new();
        for member in &self.0.plane.members {
            let host = member.host();
            if host.exists(&data(member)).await? {
                let owner = host.owner(&data(member)).await?;
                owners.insert(member.name.clone(), (owner.user, owner.group, owner.mode));
            }
        }
        let time = Timestamp::now().strftime("%Y%m%d%H%M%S");
        let suffix = format!("{time}-{}", context.run().await);
        context.note(OWNERS, json!(owners)).await?;
        context.note(SUFFIX, suffix.as_str()).await?;
        Ok(Notes { suffix, owners })
    }
}

#[async_trait]
impl Step for Aside {
    fn name(&self) -> &str {
        "put-aside"
    }

    fn title(&self) -> String {
        "put the data of every member aside, in its data directory under a name with the time"
            .to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let notes = self.notes(context).await?;
        let mut aside = BTreeMap::new();
        for member in &self.0.plane.members {
            assert_stopped(&self.0, member).await?;
            let (host, to) = (member.host(), notes.aside(member));
            if notes.owner(member).is_none() {
                continue;
            }
            // Both are there only where somebody made another one: the renaming refuses that.
            if host.exists(&data(member)).await? || !host.exists(&to).await? {
                host.rename(&data(member), &to).await?;
            }
            aside.insert(member.name.clone(), to);
        }
        Ok(json!({ "aside": aside }))
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        let notes = self.notes(context).await?;
        for member in &self.0.plane.members {
            let host = member.host();
            if host.exists(&data(member)).await? {
                let path = data(member).display().to_string();
                return Err(format!("{path} of {} is there again", member.name).into());
            }
            if notes.owner(member).is_some() && !host.exists(&notes.aside(member)).await? {
                let path = notes.aside(member).display().to_string();
                return Err(format!("{path} of {} is not there", member.name).into());
            }
        }
        Ok(())
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        let Some(notes) = Notes::of(context).await else {
            return Ok(Compensation::Nothing);
        };
        for member in &self.0.plane.members {
            let (host, from) = (member.host(), notes.aside(member));
            if host.exists(&from).await? {
                assert_stopped(&self.0, member).await?;
                host.rename(&from, &data(member)).await?;
            }
        }
        Ok(Compensation::Undone)
    }
}

/// Makes the data of each member and puts it in its place.
pub(super) struct Place(Arc<Restoration>);

impl Place {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }

    /// Folder of this machine for what is made. What a killed run left there is removed by whoever goes on with it.
    fn work(&self, run: &str) -> PathBuf {
        self.0.work.join(format!("salvor-restore-{run}"))
    }

    async fn made(&self, member: &Member, folder: &Path, run: &str) -> Result<Restored, StepError> {
        let snapshot = Arc::clone(self.0.snapshot()?);
        let options = Options {
            cluster: self.0.membership(run)?,
            name: member.name.clone(),
            peer_urls: member.peer_urls.join(",").parse()?,
            data_dir: folder.join("data"),
            wal_dir: None,
            skip_digest: self.0.origin.skip_digest,
            revisions: self.0.revisions,
            replace: false,
            owner: None,
        };
        let work = tokio::task::spawn_blocking(move || {
            let go_on = AtomicBool::new(false);
            restore::restore_snapshot(&snapshot, &options, &go_on)
        });
        Ok(work.await??)
    }

    /// Sends what was made, and gives it its name when all of it is there.
    async fn sent(
        &self,
        context: &Context<'_>,
        member: &Member,
        notes: &Notes,
        folder: &Path,
    ) -> Result<(), StepError> {
        let host = member.host();
        let part = member
            .data_directory
            .join(format!(".salvor-restoring-{}", notes.suffix));
        let (owner, mode) = match notes.owner(member) {
            Some(owner) => (
                format!("{}:{}", owner.user, owner.group),
                format!("{:o}", owner.mode),
            ),
            None => Default::default(),
        };
        let part_text = part.to_string_lossy().into_owned();
        let here = Local::new("this machine");
        let (mut from, mut to) = tokio::io::duplex(256 << 10);
        let packed = async {
            let source = folder.join("data").to_string_lossy().into_owned();
            let pack = Command::new(["tar", "-c", "-S", "-f", "-", "-C", &source, MEMBER]);
            let pack = pack.with_limit(TRANSFER).with_output(&mut to);
            let ended = here.run(pack).await;
            // The end of what is read at the other side.
            drop(to);
            ended?.success(&here, "pack the restored data").map(|_| ())
        };
        let taken = async {
            let input = Input::Stream {
                from: &mut from,
                length: None,
            };
            let take = Command::script(TAKE, [part_text, owner, mode]);
            let ended = host
                .run(take.with_limit(TRANSFER).with_input(input))
                .await?;
            ended
                .success(host.as_ref(), "take the restored data")
                .map(|_| ())
        };
        let (packed, taken) = tokio::join!(packed, taken);
        // A cut stream is an error of both; the sender knows why.
        packed?;
        taken?;
        assert_stopped(&self.0, member).await?;
        context.note(&placed(member), true).await?;
        host.rename(&part.join(MEMBER), &data(member)).await?;
        let doing = "remove the empty folder of the transfer";
        let part = part.to_string_lossy();
        host.script(doing, r#"rmdir -- "$1""#, &[&part]).await?;
        Ok(())
    }
}

/// Whether what lies at the place is this run's.
fn placed(member: &Member) -> String {
    format!("placed/{}", member.name)
}

#[async_trait]
impl Step for Place {
    fn name(&self) -> &str {
        "restore"
    }

    fn title(&self) -> String {
        format!("restore {} on every member", self.0.origin.name)
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn limit(&self) -> Duration {
        TRANSFER
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let run = context.run().await;
        let notes = Notes::of(context).await.ok_or("nothing was put aside")?;
        let work = self.work(&run);
        let mut made = BTreeMap::new();
        for member in &self.0.plane.members {
            let host = member.host();
            let ours = context.noted(&placed(member)).await.is_some();
            if ours && host.exists(&data(member)).await? {
                continue;
            }
            if work.exists() {
                std::fs::remove_dir_all(&work)?;
            }
            private_folder(&work)?;
            let restored = self.made(member, &work, &run).await?;
            let sent = self.sent(context, member, &notes, &work).await;
            // It holds secrets in clear: gone whatever came of it.
            std::fs::remove_dir_all(&work)?;
            sent?;
            let told = json!({
                "member": format!("{:x}", restored.member),
                "cluster": format!("{:016x}", restored.cluster),
                "revision": restored.revision,
                "raisedTo": restored.raised_to,
                "findings": restored.findings,
            });
            made.insert(member.name.clone(), told);
        }
        Ok(json!({ "made": made }))
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        let notes = Notes::of(context).await.ok_or("nothing was put aside")?;
        for member in &self.0.plane.members {
            let (host, path) = (member.host(), data(member));
            for part in ["snap/db", "wal"] {
                if !host.exists(&path.join(part)).await? {
                    return Err(
                        format!("{} of {} has no {part}", path.display(), member.name).into(),
                    );
                }
            }
            let found = host.owner(&path).await?;
            if notes.owner(member).is_some_and(|owner| owner != found) {
                return Err(
                    format!("{} of {} has another owner", path.display(), member.name).into(),
                );
            }
        }
        Ok(())
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        let run = context.run().await;
        let work = self.work(&run);
        if work.exists() {
            std::fs::remove_dir_all(&work)?;
        }
        let Some(notes) = Notes::of(context).await else {
            return Ok(Compensation::Nothing);
        };
        for member in &self.0.plane.members {
            let host = member.host();
            let part = member
                .data_directory
                .join(format!(".salvor-restoring-{}", notes.suffix));
            let part = part.to_string_lossy();
            let doing = "remove what was being restored";
            host.script(doing, r#"rm -rf -- "$1""#, &[&part]).await?;
            let ours = context.noted(&placed(member)).await.is_some();
            let undone = notes.undone(member);
            // It may have been written to since: kept, and in nobody's way.
            if ours && !host.exists(&undone).await? && host.exists(&data(member)).await? {
                assert_stopped(&self.0, member).await?;
                host.rename(&data(member), &undone).await?;
            }
        }
        Ok(Compensation::Undone)
    }
}

fn private_folder(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path)
}
