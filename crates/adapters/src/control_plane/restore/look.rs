//! What is looked at, kept and agreed to before anything is stopped.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use salvor_etcd::snapshot::{self, Snapshot};
use salvor_runbook::{Check, Compensation, Context, Effect, Step, StepError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Restoration;
use super::running::{Loss, MemberStatus};
use crate::control_plane::plane::Member;
use crate::control_plane::services::{Component, State};

/// Bytes beside the pages of a restored database: the log, and folders.
const BESIDES: u64 = 96 << 20;
/// Kinds that are named in the question; the others are counted.
const KINDS: usize = 12;

/// What speaks against a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding(pub String);

/// What a restore begins with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Revision of the snapshot.
    pub revision: u64,
    /// Bytes of its pages.
    pub size: u64,
    /// When this was looked at.
    pub at: Timestamp,
    /// When the snapshot was taken, where that is known.
    pub taken: Option<Timestamp>,
    /// What each member says of itself, in their order; `None` for one that does not answer.
    pub members: Vec<(String, Option<MemberStatus>)>,
    /// What would be lost; `None` where no member gives what it has.
    pub loss: Option<Loss>,
    /// What speaks against it: with any of these nothing is begun.
    pub against: Vec<Finding>,
    /// What a person should know.
    pub remarks: Vec<String>,
}

/// Looks at everything.
pub(super) async fn facts(plane: &Restoration) -> Result<Facts, StepError> {
    let snapshot = Arc::clone(plane.snapshot()?);
    let skip = plane.origin.skip_digest;
    let looked = tokio::task::spawn_blocking(move || {
        let go_on = AtomicBool::new(false);
        let report = snapshot::verify(&snapshot, &go_on)?;
        let wrong = wrong_in(&report, skip);
        let status = match wrong.is_empty() {
            true => Some(snapshot::status(&snapshot, false, &go_on)?),
            false => None,
        };
        Ok::<_, StepError>((wrong, status, members_of(&snapshot)))
    });
    let (wrong, status, known) = looked.await??;
    let status_version = status.as_ref().map(|one| one.version.clone());
    let mut facts = Facts {
        revision: status.as_ref().map_or(0, snapshot::Status::store_revision),
        size: status.as_ref().map_or(0, |one| one.total_size),
        at: Timestamp::now(),
        taken: plane.origin.taken,
        members: Vec::new(),
        loss: None,
        against: wrong,
        remarks: Vec::new(),
    };
    for member in &plane.plane.members {
        look_at(plane, member, &mut facts).await?;
    }
    if facts.members.iter().any(|(_, status)| status.is_some()) && facts.against.is_empty() {
        match plane
            .running
            .loss(&plane.plane.members, plane.snapshot()?)
            .await
        {
            Ok(loss) => facts.loss = Some(loss),
            Err(error) => {
                let text = format!("what would be lost could not be compared: {error}");
                facts.remarks.push(text);
            }
        }
    }
    for name in &plane.left_out {
        facts.remarks.push(format!(
            "{name} is left out: with its old data it cannot join any more; once its machine is there, let it join with `salvor etcd \
             member replace {name}`"
        ));
    }
    identity(plane, &known, &mut facts);
    versions(
        plane,
        status_version.as_deref().unwrap_or_default(),
        &mut facts,
    );
    Ok(facts)
}

fn wrong_in(report: &snapshot::Report, skip_digest: bool) -> Vec<Finding> {
    let failed = |level: &&snapshot::Level| {
        level.outcome == snapshot::Outcome::Failed && !(skip_digest && level.name == "digest")
    };
    let levels = report.levels.iter().filter(failed);
    let tell = |level: &snapshot::Level| {
        let first = level.findings.first().cloned().unwrap_or_default();
        Finding(format!("the snapshot is damaged ({}): {first}", level.name))
    };
    levels.map(tell).collect()
}

/// Ids of the members that a snapshot names.
fn members_of(snapshot: &Snapshot) -> Vec<u64> {
    let mut ids = Vec::new();
    let mut walk = snapshot.database().walk();
    for bucket in walk.buckets().unwrap_or_default() {
        if bucket.name != b"members" {
            continue;
        }
        if let Ok(mut cursor) = walk.cursor(&bucket) {
            while cursor.advance().unwrap_or(false) {
                let key = String::from_utf8_lossy(cursor.key()).into_owned();
                ids.extend(u64::from_str_radix(&key, 16).ok());
            }
        }
    }
    ids
}

async fn look_at(plane: &Restoration, member: &Member, facts: &mut Facts) -> Result<(), StepError> {
    let name = &member.name;
    let services = plane.services(member);
    let mut against = |text: String| facts.against.push(Finding(text));
    if services.state(Component::Etcd).await? == State::Absent {
        against(format!(
            "{name} has no etcd of the flavour {}: with another flavour nothing would be stopped; check the description",
            plane.plane.flavour
        ));
    }
    let host = member.host();
    let data = member.data_directory.join("member");
    match (
        host.exists(&data).await?,
        host.exists(&data.join("wal")).await?,
    ) {
        (true, false) => against(format!(
            "{} of {name} has no wal: a log in a directory of its own is not restored by this; use `etcd snapshot restore \
             --wal-dir` on each member",
            data.display()
        )),
        (true, true) => {}
        (false, _) => {
            let text = format!("{name} has no data in {}", member.data_directory.display());
            facts.remarks.push(text);
        }
    }
    let (free, needed) = (host.free_space(&data).await?, facts.size + BESIDES);
    if free < needed {
        let text = format!(
            "{} of {name} has room for {free} bytes, and {needed} may be needed beside what is there",
            member.data_directory.display()
        );
        facts.against.push(Finding(text));
    }
    let status = match plane.running.member(member).await {
        Ok(status) => Some(status),
        Err(error) => {
            facts
                .remarks
                .push(format!("etcd of {name} does not answer: {error}"));
            None
        }
    };
    facts.members.push((name.clone(), status));
    Ok(())
}

/// Whether the snapshot is of this cluster.
fn identity(plane: &Restoration, known: &[u64], facts: &mut Facts) {
    let answering = facts
        .members
        .iter()
        .filter_map(|(_, status)| status.as_ref());
    let answering: Vec<&MemberStatus> = answering.collect();
    let Some(first) = answering.first() else {
        let text = "no member answers: that this is the snapshot's cluster is for you to know";
        facts.remarks.push(text.to_owned());
        return;
    };
    let one = answering
        .iter()
        .all(|status| status.cluster == first.cluster);
    let own = match plane.origin.cluster {
        Some(cluster) => cluster == first.cluster,
        None => answering
            .iter()
            .any(|status| known.contains(&status.member)),
    };
    if !one {
        let text =
            "the members belong to different clusters: the description names machines of several";
        facts.against.push(Finding(text.to_owned()));
    }
    if own {
        return;
    }
    let whose = match plane.origin.cluster {
        Some(cluster) => format!("of cluster {cluster:016x}"),
        None => "of none of these members".to_owned(),
    };
    let text = format!(
        "the snapshot is {whose}, and this is cluster {:016x}: give --into-other-cluster if that is meant, also where this \
         cluster was restored since the snapshot was taken",
        first.cluster
    );
    if plane.into_other_cluster {
        facts.remarks.push(text);
    } else {
        facts.against.push(Finding(text));
    }
}

/// Major and minor of `3.5.16`.
fn minor(version: &str) -> Option<(u64, u64)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// Whether the members can read it: an older minor release refuses, or misreads, what a newer one wrote.
fn versions(plane: &Restoration, storage: &str, facts: &mut Facts) {
    let wrote = [
        storage,
        plane.origin.etcd_version.as_deref().unwrap_or_default(),
    ];
    let Some(wrote) = wrote.into_iter().filter_map(minor).max() else {
        let text = "which release of etcd the snapshot is from is not recorded: it must not be newer than that of the members";
        facts.remarks.push(text.to_owned());
        return;
    };
    let mut older = Vec::new();
    for (name, status) in &facts.members {
        let version = status.as_ref().map(|status| status.version.as_str());
        if version.and_then(minor).is_some_and(|reads| reads < wrote) {
            older.push(format!(
                "etcd of {name} is {}, and the snapshot is from {}.{}: upgrade it first",
                version.unwrap_or_default(),
                wrote.0,
                wrote.1
            ));
        }
    }
    facts.against.extend(older.into_iter().map(Finding));
}

impl Facts {
    /// All that a person has to know before they agree.
    #[must_use]
    pub fn question(&self, plane: &Restoration) -> String {
        let mut text = format!(
            "The control plane of {} is stopped on all members and etcd is taken back to {}, revision {}.\n",
            plane.plane.cluster, plane.origin.name, self.revision
        );
        // Writing to a string cannot fail.
        let _ = writeln!(text, "Members:");
        for (member, (_, status)) in plane.plane.members.iter().zip(&self.members) {
            let endpoints = member.client_urls.join(", ");
            let found = match status {
                Some(status) => format!(
                    "cluster {:016x}, etcd {}, revision {}",
                    status.cluster, status.version, status.revision
                ),
                None => "does not answer".to_owned(),
            };
            let _ = writeln!(text, "- {} ({endpoints}): {found}", member.name);
        }
        if let Some(taken) = self.taken {
            let seconds = self.at.duration_since(taken).as_secs().max(0);
            let _ = writeln!(
                text,
                "Everything since {taken} is lost: {} hours {} minutes {} seconds.",
                seconds / 3600,
                seconds / 60 % 60,
                seconds % 60
            );
        }
        self.tell_loss(&mut text);
        for remark in &self.remarks {
            let _ = writeln!(text, "Note: {remark}.");
        }
        match plane.plane.recovery_mode {
            Some(_) => text.push_str("Traffic of workloads is blocked meanwhile, by the command of the description.\n"),
            None => text.push_str("Traffic of workloads is NOT blocked meanwhile: the description names no recovery mode.\n"),
        }
        text
    }

    fn tell_loss(&self, text: &mut String) {
        let Some(loss) = &self.loss else {
            text.push_str("What is lost could not be counted: no member gives what it has.\n");
            return;
        };
        let total = loss.total();
        let revisions = loss.revision.saturating_sub(self.revision);
        let _ = writeln!(
            text,
            "Of {revisions} revisions since: {} objects are gone, {} deleted ones come back, {} are as they were.",
            total.gone, total.back, total.older
        );
        for (kind, one) in loss.kinds.iter().take(KINDS) {
            let _ = writeln!(
                text,
                "- {kind}: {} gone, {} back, {} as they were",
                one.gone, one.back, one.older
            );
        }
        if loss.kinds.len() > KINDS {
            let _ = writeln!(text, "- and {} more kinds", loss.kinds.len() - KINDS);
        }
    }
}

/// Looks, and keeps what it found.
pub(super) struct Look(Arc<Restoration>);

impl Look {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }
}

#[async_trait]
impl Step for Look {
    fn name(&self) -> &str {
        "look"
    }

    fn title(&self) -> String {
        "verify the snapshot, and look at every member".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        let facts = facts(&self.0).await?;
        let against: Vec<&str> = facts.against.iter().map(|one| one.0.as_str()).collect();
        if !against.is_empty() {
            return Err(against.join("; ").into());
        }
        Ok(serde_json::to_value(facts)?)
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}

/// Keeps what still answers.
pub(super) struct Keep(Arc<Restoration>);

impl Keep {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }
}

#[async_trait]
impl Step for Keep {
    fn name(&self) -> &str {
        "keep"
    }

    fn title(&self) -> String {
        "take a snapshot of what is there now".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(3600)
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let mut answering = Vec::new();
        for member in &self.0.plane.members {
            if self.0.running.member(member).await.is_ok() {
                answering.push(member.clone());
            }
        }
        if answering.is_empty() {
            // What the members have is put aside later, whole, and stays.
            return Ok(
                json!({ "kept": "no member answers: the data of each is put aside and stays" }),
            );
        }
        self.0.running.keep(&answering, &context.run().await).await
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        // A snapshot is verified before it is committed.
        Ok(())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        // It is nobody's harm, and may be wanted.
        Ok(Compensation::Nothing)
    }
}

/// Asks whether all that is told may be lost.
pub(super) struct Agree(Arc<Restoration>);

impl Agree {
    pub(super) fn new(plane: &Arc<Restoration>) -> Self {
        Self(Arc::clone(plane))
    }
}

#[async_trait]
impl Step for Agree {
    fn name(&self) -> &str {
        "agree"
    }

    fn title(&self) -> String {
        "ask whether what was found may be lost".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    async fn question(&self, context: &Context<'_>) -> Result<Option<String>, StepError> {
        let facts = context
            .output("look")
            .await
            .ok_or("nothing was looked at")?;
        let facts: Facts = serde_json::from_value(facts)?;
        Ok(Some(facts.question(&self.0)))
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        Ok(Value::Null)
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}
