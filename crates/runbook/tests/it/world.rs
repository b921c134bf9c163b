//! A world of files: the steps put one aside, write another, and raise a counter.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use salvor_runbook::testing::World;
use salvor_runbook::{Check, Compensation, Context, Effect, Runbook, Step, StepError};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// What is wrong with a step on purpose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// The counter is raised by every call.
    NotRepeatable,
    /// The name of what is put aside is forgotten.
    NoNote,
}

pub(crate) struct Files {
    pub(crate) folder: TempDir,
    flaw: Flaw,
}

impl Files {
    pub(crate) fn new(flaw: Flaw) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("data"), "old").unwrap();
        fs::write(folder.path().join("count"), "1").unwrap();
        Self { folder, flaw }
    }

    fn step(&self, kind: Kind) -> Arc<dyn Step> {
        Arc::new(FileStep {
            folder: self.folder.path().to_owned(),
            kind,
            flaw: self.flaw,
        })
    }
}

#[async_trait]
impl World for Files {
    fn runbook(&self) -> Runbook {
        Runbook {
            name: "files".to_owned(),
            target: "a folder".to_owned(),
            parameters: json!({"to": "new"}),
            steps: vec![
                self.step(Kind::Look),
                self.step(Kind::PutAside),
                self.step(Kind::Write),
                self.step(Kind::Count),
            ],
        }
    }

    async fn state(&self) -> Value {
        let mut files = Map::new();
        for entry in fs::read_dir(self.folder.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            // Put aside under a name that differs from run to run.
            let name = name.split('.').next().unwrap().to_owned()
                + if name.contains('.') { ".aside" } else { "" };
            files.insert(name, fs::read_to_string(path).unwrap().into());
        }
        files.sort_keys();
        files.into()
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Look,
    PutAside,
    Write,
    Count,
}

struct FileStep {
    folder: PathBuf,
    kind: Kind,
    flaw: Flaw,
}

impl FileStep {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn count(&self) -> u64 {
        fs::read_to_string(self.path("count"))
            .unwrap()
            .parse()
            .unwrap()
    }

    async fn aside(&self, context: &Context<'_>) -> Result<PathBuf, StepError> {
        let noted = match self.flaw {
            Flaw::NoNote => None,
            _ => context.noted("aside").await,
        };
        if let Some(Value::String(name)) = noted {
            return Ok(self.path(&name));
        }
        let name = format!("data.{}", salvor_location::RunId::generate());
        context.note("aside", name.as_str()).await?;
        Ok(self.path(&name))
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StepError> {
    if from.exists() {
        fs::rename(from, to)?;
    }
    Ok(())
}

#[async_trait]
impl Step for FileStep {
    fn name(&self) -> &str {
        match self.kind {
            Kind::Look => "look",
            Kind::PutAside => "put-aside",
            Kind::Write => "write",
            Kind::Count => "count",
        }
    }

    fn title(&self) -> String {
        self.name().to_owned()
    }

    fn effect(&self) -> Effect {
        match self.kind {
            Kind::Look => Effect::Reads,
            _ => Effect::Changes,
        }
    }

    async fn question(&self, _context: &Context<'_>) -> Result<Option<String>, StepError> {
        let data = self.path("data").exists();
        Ok(matches!(self.kind, Kind::PutAside).then(|| format!("is the data there: {data}")))
    }

    async fn check(&self, _context: &Context<'_>) -> Result<Check, StepError> {
        let done = match self.kind {
            Kind::Look => false,
            Kind::PutAside => !self.path("data").exists(),
            Kind::Write => fs::read_to_string(self.path("data")).is_ok_and(|text| text == "new"),
            Kind::Count => self.count() == 2,
        };
        Ok(if done { Check::Done } else { Check::ToDo })
    }

    async fn apply(&self, context: &Context<'_>) -> Result<Value, StepError> {
        match self.kind {
            Kind::Look => return Ok(json!({"files": 2})),
            Kind::PutAside => rename(&self.path("data"), &self.aside(context).await?)?,
            Kind::Write => fs::write(self.path("data"), "new")?,
            Kind::Count => {
                let count = match self.flaw {
                    Flaw::NotRepeatable => self.count() + 1,
                    _ => 2,
                };
                fs::write(self.path("count"), count.to_string())?;
            }
        }
        Ok(Value::Null)
    }

    async fn verify(&self, context: &Context<'_>) -> Result<(), StepError> {
        let reached = match self.kind {
            Kind::Look => true,
            _ => self.check(context).await? == Check::Done,
        };
        if reached {
            Ok(())
        } else {
            Err("not reached".into())
        }
    }

    async fn compensate(&self, context: &Context<'_>) -> Result<Compensation, StepError> {
        match self.kind {
            Kind::Look => return Ok(Compensation::Nothing),
            Kind::PutAside => rename(&self.aside(context).await?, &self.path("data"))?,
            Kind::Write => {
                let path = self.path("data");
                if path.exists() {
                    fs::remove_file(path)?;
                }
            }
            Kind::Count => fs::write(self.path("count"), "1")?,
        }
        Ok(Compensation::Undone)
    }
}
