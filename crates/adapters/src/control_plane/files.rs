//! Files of a control plane put back, as a runbook: what is replaced is kept on its machine first, and comes back when the run is
//! undone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use salvor_runbook::{Check, Compensation, Context, Effect, Runbook, Step, StepError};
use serde_json::{Value, json};

use super::plane::{Member, Plane};
use super::source::{Difference, differences, keep, write};

/// The step that looks what differs, whose output the others go by.
const LOOK: &str = "look";
/// Files that are named in the question; the others are counted.
const NAMED: usize = 20;
/// Archives are small; a machine may be slow.
const LIMIT: Duration = Duration::from_secs(900);

/// `$1` the archive of what was replaced, then what was not there before. Folders that have got something else stay.
const TAKE_BACK: &str = r#"set -e
kept=$1; shift
for path in "$@"; do
  if test -d "/$path" && ! test -L "/$path"; then rmdir -- "/$path" 2>/dev/null || true
  else rm -f -- "/$path"; fi
done
if test -e "$kept"; then tar -x -p -f "$kept" -C / --numeric-owner; fi"#;

/// What is put back.
#[derive(Clone, Debug)]
pub struct Files {
    /// The control plane.
    pub plane: Plane,
    /// The archive of each member that files are put back on. Whoever only undoes needs their names alone.
    pub archives: BTreeMap<String, Bytes>,
    /// Folder of the machines for what is replaced.
    pub aside: PathBuf,
}

impl Files {
    /// The steps. `parameters` are what a run is bound to.
    #[must_use]
    pub fn runbook(self, parameters: Value) -> Runbook {
        let target = self.plane.cluster.clone();
        let files = Arc::new(self);
        let mut steps: Vec<Arc<dyn Step>> = vec![Arc::new(Look(Arc::clone(&files)))];
        let members = files.members();
        for (index, member) in members.iter().enumerate() {
            steps.push(Arc::new(Keep {
                name: format!("keep/{}", member.name),
                member: member.clone(),
                files: Arc::clone(&files),
                asks: index == 0,
            }));
        }
        for member in &members {
            steps.push(Arc::new(Write {
                name: format!("write/{}", member.name),
                member: member.clone(),
                files: Arc::clone(&files),
            }));
        }
        Runbook {
            name: "control-plane restore-files".to_owned(),
            target,
            parameters,
            steps,
        }
    }

    fn members(&self) -> Vec<Member> {
        let members = self.plane.members.iter();
        let ours = members.filter(|member| self.archives.contains_key(&member.name));
        ours.cloned().collect()
    }

    fn archive(&self, member: &Member) -> Result<&Bytes, StepError> {
        let archive = self.archives.get(&member.name);
        archive.ok_or_else(|| format!("there is no archive of {}", member.name).into())
    }

    /// Where what is replaced is kept on a machine.
    fn kept(&self, member: &Member, run: &str) -> PathBuf {
        let name = &member.name;
        self.aside
            .join(format!("control-plane-before-{run}-{name}.tar"))
    }
}

/// What was found to differ on a machine before anything was done.
async fn found(context: &Context<'_>, member: &Member) -> Result<Vec<Difference>, StepError> {
    let output = context.output(LOOK).await.unwrap_or_default();
    let found = output["found"][&member.name].clone();
    if found.is_null() {
        return Err(format!("what differs on {} was not looked at", member.name).into());
    }
    Ok(serde_json::from_value(found)?)
}

fn paths(found: &[Difference], missing: bool) -> BTreeSet<&str> {
    let ours = found.iter().filter(|one| one.is_missing() == missing);
    ours.map(|one| one.path.as_str()).collect()
}

/// Looks what differs.
struct Look(Arc<Files>);

impl Look {
    async fn facts(&self) -> Result<Value, StepError> {
        let mut all = BTreeMap::new();
        let mut lines = Vec::new();
        for member in self.0.members() {
            let found = differences(&member, self.0.archive(&member)?).await?;
            let told = found.iter();
            lines.extend(told.map(|one| format!("- {}: /{}: {}", member.name, one.path, one.how)));
            all.insert(member.name.clone(), found);
        }
        let count = lines.len();
        let mut named = lines.into_iter().take(NAMED).collect::<Vec<_>>().join("\n");
        if count > NAMED {
            named.push_str(&format!("\n- and {} more", count - NAMED));
        }
        let question = format!(
            "{count} files of the control plane of {} are put back; what they replace is kept in {} of each machine.\n{named}",
            self.0.plane.cluster,
            self.0.aside.display()
        );
        Ok(json!({ "found": all, "question": question }))
    }
}

#[async_trait]
impl Step for Look {
    fn name(&self) -> &str {
        LOOK
    }

    fn title(&self) -> String {
        "compare the files of every machine with the point".to_owned()
    }

    fn effect(&self) -> Effect {
        Effect::Reads
    }

    fn limit(&self) -> Duration {
        LIMIT
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        Ok(Check::ToDo)
    }

    async fn apply(&self, _context: &Context<'_>) -> Result<Value, StepError> {
        self.facts().await
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        Ok(())
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        Ok(Compensation::Nothing)
    }
}

/// Keeps what is about to be replaced.
struct Keep {
    name: String,
    member: Member,
    files: Arc<Files>,
    /// Whether a person is asked before.
    asks: bool,
}

#[async_trait]
impl Step for Keep {
    fn name(&self) -> &str {
        &self.name
    }

    fn title(&self) -> String {
        format!("keep what is replaced on {}", self.member.name)
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn limit(&self) -> Duration {
        LIMIT
    }

    async fn question(&self, context: &Context<'_>) -> Result<Option<String>, StepError> {
        let facts = context.output(LOOK).await.unwrap_or_default();
        let question = facts["question"].as_str().map(str::to_owned);
        Ok(question.filter(|_| self.asks))
    }

    async fn check(&self, context: &Context<'_>) -> Result<Check, StepError> {
        if context.output(LOOK).await.is_none() {
            // A preview comes here before anything was looked at.
            return Ok(Check::ToDo);
        }
        let found = found(context, &self.member).await?;
        let nothing = paths(&found, false).is_empty();
        let kept = self.files.kept(&self.member, &context.run().await);
        let done = nothing || self.member.host().exists(&kept).await?;
        Ok(if done { Check::Done } else { Check::ToDo })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let found = found(context, &self.member).await?;
        let replaced = paths(&found, false);
        let kept = self.files.kept(&self.member, &context.run().await);
        // Whole where it is there: it got its name last. Taken again it could hold what was already put back.
        if replaced.is_empty() || self.member.host().exists(&kept).await? {
            return Ok(json!({ "kept": kept }));
        }
        keep(&self.member, &replaced, &kept).await?;
        Ok(json!({ "kept": kept }))
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        match self.check(context).await? {
            Check::Done => Ok(()),
            _ => Err(format!("nothing is kept on {}", self.member.name).into()),
        }
    }

    async fn compensate(&self, _context: &Context<'_>) -> Result<Compensation, StepError> {
        // It is in nobody's way, and may be wanted.
        Ok(Compensation::Nothing)
    }
}

/// Puts back what differs.
struct Write {
    name: String,
    member: Member,
    files: Arc<Files>,
}

#[async_trait]
impl Step for Write {
    fn name(&self) -> &str {
        &self.name
    }

    fn title(&self) -> String {
        format!("put back what differs on {}", self.member.name)
    }

    fn effect(&self) -> Effect {
        Effect::Changes
    }

    fn limit(&self) -> Duration {
        LIMIT
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        let archive = self.files.archive(&self.member)?;
        let left = differences(&self.member, archive).await?;
        Ok(match left.is_empty() {
            true => Check::Done,
            false => Check::ToDo,
        })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        let found = found(context, &self.member).await?;
        let archive = self.files.archive(&self.member)?;
        let left = differences(&self.member, archive).await?;
        let kept = paths(&found, false);
        let created = paths(&found, true);
        for one in &left {
            let known = match one.is_missing() {
                true => created.contains(one.path.as_str()),
                // What was missing and is there in part is this run's own.
                false => kept.contains(one.path.as_str()) || created.contains(one.path.as_str()),
            };
            if !known {
                return Err(format!(
                    "/{} of {} has changed since this run looked at it, and is not kept: undo the run and begin another",
                    one.path, self.member.name
                )
                .into());
            }
        }
        write(&self.member, archive, &left).await?;
        Ok(json!({ "files": found.len() }))
    }

    async fn verify(&self, _context: &Context<'_>) -> Result<(), StepError> {
        let archive = self.files.archive(&self.member)?;
        let left = differences(&self.member, archive).await?;
        match left.first() {
            None => Ok(()),
            Some(one) => {
                let name = &self.member.name;
                Err(format!("/{} of {name} still differs: {}", one.path, one.how).into())
            }
        }
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        let found = found(context, &self.member).await?;
        let kept = self.files.kept(&self.member, &context.run().await);
        let kept = kept.to_string_lossy();
        // What is in a folder goes before it.
        let created = paths(&found, true);
        let parameters: Vec<&str> = [kept.as_ref()]
            .into_iter()
            .chain(created.into_iter().rev())
            .collect();
        let doing = "take the files of the control plane back";
        let host = self.member.host();
        host.script(doing, TAKE_BACK, &parameters).await?;
        Ok(Compensation::Undone)
    }
}
