//! Steps that make a cluster of one member that is left.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use salvor_etcd::bolt::Database;
use salvor_etcd::membership;
use salvor_etcd::wal::{self, Tail};
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use super::place::{ASIDE, StartAgain, noted, reached};
use super::replace::LOOK;
use super::{Error, PATIENCE, Setting, of_hex};
use crate::control_plane::plane::Member;
use crate::control_plane::poll::poll;
use crate::control_plane::services::Component;
use crate::host::{Command, Input};

/// The step that keeps a copy of what the survivor has.
pub(super) const COPY: &str = "copy";
/// Up to which entry the log of the survivor goes when it is alone.
const UPTO: &str = "upto";
/// A whole data directory passes by.
const LONG: Duration = Duration::from_secs(6 * 3600);

/// `$1` contents, `$2` the copy. Room is looked for first: half a copy would be all that a full disk leaves.
const KEEP: &str = r#"set -e
if test -e "$2"; then exit 0; fi
rm -rf -- "$2.salvor-part"
need=$(du -sk -- "$1" | cut -f 1)
free=$(df -P -k -- "$1" | awk 'NR==2 {print $4}')
if test "$free" -lt "$need"; then echo "it needs $need KiB, and $free are free" >&2; exit 1; fi
cp -a -- "$1" "$2.salvor-part"
find "$2.salvor-part" -exec sync -- {} +
mv -T -- "$2.salvor-part" "$2""#;
/// `$1` contents, `$2` the copy.
const PUT_BACK: &str = r#"set -e
rm -rf -- "$1.salvor-part"
cp -a -- "$2" "$1.salvor-part"
find "$1.salvor-part" -exec sync -- {} +
rm -rf -- "$1"
mv -T -- "$1.salvor-part" "$1""#;
/// `$1` the file, `$2` the length that etcd gave it.
const REWRITE: &str = r#"set -e
umask 077
cat > "$1.salvor-part"
truncate -s ">$2" -- "$1.salvor-part"
chown --reference="$1" -- "$1.salvor-part"
sync -- "$1.salvor-part"
mv -f -- "$1.salvor-part" "$1"
sync -- "$(dirname -- "$1")""#;

/// The last file of a member's log, read where it lies; `None` where there is none.
pub(super) struct LastFile {
    path: PathBuf,
    bytes: Vec<u8>,
    pub(super) tail: Tail,
}

impl LastFile {
    pub(super) async fn read(member: &Member) -> Result<Option<Self>, StepError> {
        let host = member.host();
        let folder = member.contents().join("wal");
        if !host.exists(&folder).await? {
            return Ok(None);
        }
        let path = folder.to_string_lossy().into_owned();
        let listed = host
            .script("list the log", r#"ls -1 -- "$1""#, &[&path])
            .await?;
        let files = listed
            .lines()
            .filter(|name| wal::first_index(name).is_some());
        let Some(name) = files.max() else {
            return Ok(None);
        };
        let path = folder.join(name);
        let text = path.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        let command = Command::new(["cat", "--", &text]).with_limit(LONG);
        let read = host.run(command.with_output(&mut bytes)).await?;
        read.success(host.as_ref(), "read the log")?;
        let tail = wal::tail(name, &bytes).map_err(|source| Error::Log {
            name: member.name.clone(),
            source,
        })?;
        Ok(Some(Self { path, bytes, tail }))
    }

    async fn of(member: &Member) -> Result<Self, StepError> {
        let read = Self::read(member).await?;
        read.ok_or_else(|| {
            let text = format!("{} has no log any more", member.name);
            Error::NotReached(text).into()
        })
    }
}

/// The members as the database of a member that does not run has them. It passes by as a file without a name.
pub(super) async fn rows(member: &Member) -> Result<Vec<membership::Member>, StepError> {
    let host = member.host();
    let path = member
        .contents()
        .join("snap/db")
        .to_string_lossy()
        .into_owned();
    let file = tempfile::tempfile()?;
    let mut to = tokio::fs::File::from_std(file);
    let command = Command::new(["cat", "--", &path]).with_limit(LONG);
    let read = host.run(command.with_output(&mut to)).await?;
    read.success(host.as_ref(), "read the database")?;
    to.flush().await?;
    let file = to.into_std().await;
    tokio::task::spawn_blocking(move || {
        let length = file.metadata()?.len();
        let database = Database::open(file, length)?;
        let mut walk = database.walk();
        let mut members = Vec::new();
        for bucket in walk.buckets()? {
            if bucket.name != b"members" {
                continue;
            }
            let mut cursor = walk.cursor(&bucket)?;
            while cursor.advance()? {
                members.push(serde_json::from_slice(cursor.value())?);
            }
        }
        Ok(members)
    })
    .await?
}

/// Keeps a copy of what the survivor has.
pub(super) struct Copy {
    pub(super) member: Member,
}

#[async_trait]
impl Step for Copy {
    fn name(&self) -> &str {
        COPY
    }

    fn title(&self) -> String {
        format!("keep a copy of the data of {}", self.member.name)
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn limit(&self) -> Duration {
        LONG
    }

    async fn check(&self, context: &Context<'_>) -> Result<Check, StepError> {
        let Some(Value::String(copy)) = context.noted(ASIDE).await else {
            return Ok(Check::ToDo);
        };
        let there = self.member.host().exists(&PathBuf::from(copy)).await?;
        Ok(if there { Check::Done } else { Check::ToDo })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let copy = noted(context, &self.member, "before").await?;
        let copy = copy.to_string_lossy().into_owned();
        let contents = self.member.contents().to_string_lossy().into_owned();
        let host = self.member.host();
        let command = Command::script(KEEP, [&contents, &copy]).with_limit(LONG);
        host.run(command)
            .await?
            .success(host.as_ref(), &format!("copy {contents}"))?;
        Ok(json!({ "copy": copy }))
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        reached(self, context).await
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        // The copy stays: it is in nobody's way, and may be all there is.
        Ok(Compensation::Nothing)
    }
}

/// Makes the survivor the only member, in its log.
pub(super) struct Rebuild {
    pub(super) member: Member,
}

impl Rebuild {
    async fn others(context: &Context<'_>) -> Vec<u64> {
        let facts = context.output(LOOK).await.unwrap_or_default();
        let others = facts.get("others").and_then(Value::as_array).cloned();
        let others = others.unwrap_or_default();
        others.iter().filter_map(|id| of_hex(Some(id))).collect()
    }

    async fn write(&self, last: &LastFile, bytes: Vec<u8>) -> Result<(), StepError> {
        let host = self.member.host();
        let parameters = [
            last.path.to_string_lossy().into_owned(),
            last.bytes.len().to_string(),
        ];
        let command = Command::script(REWRITE, parameters).with_limit(LONG);
        let command = command.with_input(Input::Bytes(Bytes::from(bytes)));
        let doing = format!("write {}", last.path.display());
        host.run(command).await?.success(host.as_ref(), &doing)?;
        Ok(())
    }
}

#[async_trait]
impl Step for Rebuild {
    fn name(&self) -> &str {
        "rebuild"
    }

    fn title(&self) -> String {
        format!("make {} the only member of its cluster", self.member.name)
    }

    fn effect(&self) -> Effect {
        Effect::Destroys
    }

    fn limit(&self) -> Duration {
        LONG
    }

    async fn check(&self, context: &Context<'_>) -> Result<Check, StepError> {
        let Some(upto) = context.noted(UPTO).await.and_then(|upto| upto.as_u64()) else {
            return Ok(Check::ToDo);
        };
        let last = LastFile::of(&self.member).await?;
        let done = last.tail.commit >= upto;
        Ok(if done { Check::Done } else { Check::ToDo })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let last = LastFile::of(&self.member).await?;
        let others = Self::others(context).await;
        let noted = context.noted(UPTO).await.and_then(|upto| upto.as_u64());
        let upto = match noted {
            Some(upto) if last.tail.commit >= upto => upto,
            _ => {
                let upto = last.tail.behind(&others);
                context.note(UPTO, upto).await?;
                let bytes = last.tail.alone(&last.bytes, &others);
                self.write(&last, bytes).await?;
                upto
            }
        };
        Ok(json!({ "entries": upto }))
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        reached(self, context).await
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        let Some(Value::String(copy)) = context.noted_by(COPY, ASIDE).await else {
            return Ok(Compensation::Nothing);
        };
        let host = self.member.host();
        let contents = self.member.contents().to_string_lossy().into_owned();
        let command = Command::script(PUT_BACK, [&contents, &copy]).with_limit(LONG);
        let doing = format!("put {copy} back");
        host.run(command).await?.success(host.as_ref(), &doing)?;
        Ok(Compensation::Undone)
    }
}

/// Starts the survivor, and waits until it leads a cluster of its own.
pub(super) struct StartAlone {
    pub(super) setting: Setting,
    pub(super) member: Member,
}

impl StartAlone {
    fn service(&self) -> StartAgain {
        StartAgain {
            name: self.name().to_owned(),
            setting: self.setting.clone(),
            member: self.member.clone(),
            component: Component::Etcd,
        }
    }
}

#[async_trait]
impl Step for StartAlone {
    fn name(&self) -> &str {
        "start-alone"
    }

    fn title(&self) -> String {
        format!("start etcd on {} alone", self.member.name)
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn limit(&self) -> Duration {
        PATIENCE
    }

    async fn check(&self, context: &Context<'_>) -> Result<Check, StepError> {
        self.service().check(context).await
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        self.service().apply(context).await
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        poll(|| async {
            let status = self.setting.etcd.status(&self.member).await;
            let members = self.setting.etcd.members(&self.member).await;
            let (Ok(status), Ok(members)) = (status, members) else {
                return Ok(None);
            };
            let is_alone = status.leader == status.member
                && members.len() == 1
                && members[0].id == status.member
                && self.setting.etcd.majority(&self.member).await.is_ok();
            Ok(is_alone.then_some(()))
        })
        .await
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        self.service().compensate(context).await
    }
}
