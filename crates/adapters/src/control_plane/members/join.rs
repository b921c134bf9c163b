//! Steps by which a machine joins the cluster: as a learner, with nothing but its identity, until it may vote.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use salvor_etcd::{membership, wal};
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde_json::{Value, json};

use super::place::{StartAgain, reached};
use super::replace::{cluster_of, old_of};
use super::{Error, PATIENCE, Setting, hex, is_at, once_ready};
use crate::control_plane::plane::Member;
use crate::control_plane::poll::poll;
use crate::control_plane::services::Component;
use crate::host::{Command, Input};

/// `$1` contents, `$2` owner, `$3` name of the log, `$4` its length; the log's beginning comes by the input.
const PREPARE: &str = r#"set -e
umask 077
data=$(dirname -- "$1")
if ! test -d "$data"; then mkdir -p -- "$data"; chown -- "$2" "$data"; fi
rm -rf -- "$1.salvor-part"
mkdir -p -- "$1.salvor-part/snap" "$1.salvor-part/wal"
cat > "$1.salvor-part/wal/$3"
truncate -s "$4" -- "$1.salvor-part/wal/$3"
chown -R -- "$2" "$1.salvor-part"
sync -- "$1.salvor-part/wal/$3"
if test -e "$1"; then echo "$1 is there already" >&2; exit 17; fi
mv -T -- "$1.salvor-part" "$1"
sync -- "$data""#;
/// Owner of a data directory, or of what it stands in.
const OWNER: &str = r#"if test -e "$1"; then stat -L -c '%u:%g' -- "$1"; else echo none; fi"#;

/// The four steps of a member.
pub(super) fn steps(
    setting: &Setting,
    member: &Member,
    undone_with: Option<&'static str>,
) -> Vec<std::sync::Arc<dyn Step>> {
    use std::sync::Arc;
    let of = |what: &str| format!("{what}/{}", member.name);
    let join = |kind, name| Join {
        name,
        kind,
        setting: setting.clone(),
        member: member.clone(),
        undone_with,
    };
    vec![
        Arc::new(join(Kind::Add, of("add"))),
        Arc::new(join(Kind::Prepare, of("prepare"))),
        Arc::new(join(Kind::Start, of("start"))),
        Arc::new(join(Kind::Promote, of("promote"))),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Add,
    Prepare,
    Start,
    Promote,
}

struct Join {
    name: String,
    kind: Kind,
    setting: Setting,
    member: Member,
    /// The step whose undoing takes back the membership as well.
    undone_with: Option<&'static str>,
}

impl Join {
    /// The member as it is in the cluster now: not the one that it replaces.
    async fn joined(
        &self,
        context: &Context<'_>,
    ) -> Result<(Member, Option<membership::Member>), StepError> {
        let (via, listed) = self.setting.listed(&self.member.name).await?;
        let old = old_of(context).await;
        let mut listed = listed.into_iter();
        let found = listed.find(|one| is_at(one, &self.member) && Some(one.id) != old);
        Ok((via, found))
    }

    async fn assert_joined(
        &self,
        context: &Context<'_>,
    ) -> Result<(Member, membership::Member), StepError> {
        let (via, found) = self.joined(context).await?;
        let found = found.ok_or_else(|| Error::NotJoined {
            name: self.member.name.clone(),
            urls: self.member.peer_urls.join(","),
        })?;
        Ok((via, found))
    }

    /// How the log of the new member begins.
    async fn log(&self, context: &Context<'_>) -> Result<Vec<u8>, StepError> {
        let (_, joined) = self.assert_joined(context).await?;
        let cluster = cluster_of(context).await?;
        Ok(wal::joining(cluster, joined.id))
    }

    /// Whether the data directory is the one that was prepared for it.
    async fn is_prepared(&self, log: &[u8]) -> Result<bool, StepError> {
        let host = self.member.host();
        let path = self.member.contents().join("wal").join(wal::FIRST_FILE);
        if !host.exists(&path).await? {
            return Ok(false);
        }
        let path = path.to_string_lossy().into_owned();
        let length = log.len().to_string();
        let command = Command::new(["head", "-c", &length, "--", &path]);
        let read = host.run(command).await?;
        Ok(read.success(host.as_ref(), "read the log")? == log)
    }

    async fn prepare(&self, context: &Context<'_>) -> Result<(), StepError> {
        let log = self.log(context).await?;
        if self.is_prepared(&log).await? {
            return Ok(());
        }
        let host = self.member.host();
        let parameters = [
            self.member.contents().to_string_lossy().into_owned(),
            self.owner().await?,
            wal::FIRST_FILE.to_owned(),
            wal::FILE_LENGTH.to_string(),
        ];
        let command = Command::script(PREPARE, parameters);
        let command = command.with_input(Input::Bytes(Bytes::from(log)));
        let doing = format!("prepare {}", self.member.contents().display());
        host.run(command).await?.success(host.as_ref(), &doing)?;
        Ok(())
    }

    /// Of the machine's own data directory, where there is one; else of another member's.
    async fn owner(&self) -> Result<String, StepError> {
        let own = std::iter::once(&self.member);
        for member in own.chain(&self.setting.plane.members) {
            let path = member.data_directory.to_string_lossy().into_owned();
            let said = member
                .host()
                .script("find the owner", OWNER, &[&path])
                .await;
            match said {
                Ok(owner) if owner != "none" => return Ok(owner),
                // Another one's machine may be lost as well.
                Ok(_) | Err(_) => {}
            }
        }
        Ok("0:0".to_owned())
    }

    /// Takes away what was prepared: it holds nothing that the others have not got.
    async fn clear(&self) -> Result<(), StepError> {
        let path = self.member.contents().to_string_lossy().into_owned();
        let script = r#"rm -rf -- "$1" "$1.salvor-part""#;
        let doing = format!("remove {path}");
        self.member.host().script(&doing, script, &[&path]).await?;
        Ok(())
    }

    async fn add(&self, context: &Context<'_>) -> Result<u64, StepError> {
        poll(|| async {
            let (via, found) = self.joined(context).await?;
            if let Some(found) = found {
                return Ok(Some(found.id));
            }
            let urls = &self.member.peer_urls;
            // Members count as connected only after some seconds.
            let added = once_ready(self.setting.etcd.add_learner(&via, urls).await)?;
            Ok(added.map(|added| added.id))
        })
        .await
    }

    async fn promote(&self, context: &Context<'_>) -> Result<(), StepError> {
        poll(|| async {
            let (via, joined) = self.assert_joined(context).await?;
            if !joined.is_learner {
                return Ok(Some(()));
            }
            once_ready(self.setting.etcd.promote(&via, joined.id).await)
        })
        .await
    }

    async fn leave(&self, context: &Context<'_>) -> Result<(), StepError> {
        poll(|| async {
            let (via, found) = self.joined(context).await?;
            let Some(found) = found else {
                return Ok(Some(()));
            };
            match self.setting.etcd.remove(&via, found.id).await {
                Err(error) if error.is_unknown_member() => Ok(Some(())),
                removed => once_ready(removed),
            }
        })
        .await
    }

    fn service(&self) -> StartAgain {
        StartAgain {
            name: self.name.clone(),
            setting: self.setting.clone(),
            member: self.member.clone(),
            component: Component::Etcd,
        }
    }
}

#[async_trait]
impl Step for Join {
    fn name(&self) -> &str {
        &self.name
    }

    fn title(&self) -> String {
        let name = &self.member.name;
        match self.kind {
            Kind::Add => format!("add {name} as a learner"),
            Kind::Prepare => format!("prepare the data directory of {name}"),
            Kind::Start => format!("start etcd on {name}"),
            Kind::Promote => format!("wait until {name} has caught up, and give it its vote"),
        }
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn limit(&self) -> std::time::Duration {
        PATIENCE
    }

    async fn check(&self, context: &Context<'_>) -> Result<Check, StepError> {
        let done = match self.kind {
            Kind::Add => self.joined(context).await?.1.is_some(),
            Kind::Prepare => match self.joined(context).await?.1 {
                // A preview comes here before anybody joined.
                None => false,
                Some(_) => self.is_prepared(&self.log(context).await?).await?,
            },
            Kind::Start => return self.service().check(context).await,
            Kind::Promote => {
                let joined = self.joined(context).await?.1;
                joined.is_some_and(|joined| !joined.is_learner)
            }
        };
        Ok(if done { Check::Done } else { Check::ToDo })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        match self.kind {
            Kind::Add => return Ok(json!({ "id": hex(self.add(context).await?) })),
            Kind::Prepare => self.prepare(context).await?,
            Kind::Start => return self.service().apply(context).await,
            Kind::Promote => self.promote(context).await?,
        }
        Ok(Value::Null)
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        if self.kind != Kind::Start {
            return reached(self, context).await;
        }
        let (_, joined) = self.assert_joined(context).await?;
        poll(|| async {
            let said = self.setting.etcd.status(&self.member).await;
            let is_it = said.is_ok_and(|said| said.member == joined.id);
            Ok(is_it.then_some(()))
        })
        .await
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        match self.kind {
            // While it still runs: of two members both are needed to let one go.
            Kind::Add | Kind::Promote => {
                if self.undone_with.is_some() {
                    return Ok(Compensation::Nothing);
                }
                self.leave(context).await?;
            }
            Kind::Prepare => self.clear().await?,
            Kind::Start => return self.service().compensate(context).await,
        }
        Ok(Compensation::Undone)
    }
}

/// Waits until all members of the plane that belong to the cluster have the same data.
pub(super) struct Compare {
    pub(super) setting: Setting,
    /// Names of those that are looked at.
    pub(super) members: Vec<String>,
}

impl Compare {
    async fn once(&self) -> Result<Option<Value>, StepError> {
        let (_, revision) = self.setting.majority(None).await?;
        let mut hashes = Vec::new();
        for name in &self.members {
            let member = self.setting.member(name)?;
            match self.setting.etcd.hash(member, revision).await {
                Ok(hash) => hashes.push((name, hash)),
                // It may not have got there yet.
                Err(_) => return Ok(None),
            }
        }
        let same = |of: fn(&salvor_etcd::client::Hash) -> u64| {
            hashes
                .windows(2)
                .all(|pair| of(&pair[0].1) == of(&pair[1].1))
        };
        // Compactions reach members one after the other.
        if !same(|hash| hash.compacted) {
            return Ok(None);
        }
        if !same(|hash| hash.hash.into()) {
            let all = hashes.iter();
            let all = all.map(|(name, hash)| format!("{name} {:08x}", hash.hash));
            let hashes = all.collect::<Vec<_>>().join(", ");
            return Err(Error::Differ { revision, hashes }.into());
        }
        let first = hashes.first().map(|(_, hash)| *hash).unwrap_or_default();
        Ok(Some(json!({
            "revision": revision,
            "hash": first.hash,
            "compacted": first.compacted,
            "members": self.members,
        })))
    }
}

#[async_trait]
impl Step for Compare {
    fn name(&self) -> &str {
        "compare"
    }

    fn title(&self) -> String {
        "compare the data of all members by etcd's own hash".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    fn limit(&self) -> std::time::Duration {
        PATIENCE
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        poll(|| self.once()).await
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}

/// What is on a path, for messages.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
