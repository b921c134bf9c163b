//! The records of a run, in a store.
//!
//! `<folder>/<run>/<number>.json`, numbered from 1, each created and never written again, each with the digest of the one before.
//! The number is the fence between two executors: only one of them creates it (on stores where creating excludes; on others
//! a run needs the claim of its location).

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use salvor_location::RunId;
use salvor_storage::{ErrorKind, GetOptions, Key, ObjectStore, PutMode};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::error::{Error, Result};
use crate::history::History;
use crate::record::{Event, Record, VERSION};

/// Longest record that is read, in bytes: an output is a few facts, not data.
const LONGEST: u64 = 4 << 20;

/// The records of one run, and what they say.
#[derive(Debug)]
pub struct Journal {
    place: Place,
    copies: Vec<Copy>,
    run: RunId,
    executor: String,
    last: u64,
    previous: String,
    history: History,
}

/// Where the records of one run are.
#[derive(Clone, Debug)]
struct Place {
    store: Arc<dyn ObjectStore>,
    /// Folder of the run: one that has keys for all numbers.
    folder: String,
}

/// A second place, which may be behind.
#[derive(Debug)]
struct Copy {
    place: Place,
    /// Records up to this one are there.
    upto: u64,
}

impl Place {
    /// The name of a run comes from a user: it must be the name of one folder, not a way out of it or past it.
    fn new(store: Arc<dyn ObjectStore>, folder: &str, run: &RunId) -> Result<Self> {
        let run = run.as_str();
        let invalid = |reason: String| Error::InvalidName {
            run: run.to_owned(),
            reason,
        };
        if run.contains('/') {
            return Err(invalid("it has a `/`".to_owned()));
        }
        let own = Key::new(run).map_err(|error| invalid(error.reason.to_owned()))?;
        let folder = match folder.trim_matches('/') {
            "" => own.to_string(),
            folder => format!("{folder}/{own}"),
        };
        let place = Self { store, folder };
        Key::new(place.path(u64::MAX)).map_err(|error| invalid(error.reason.to_owned()))?;
        Ok(place)
    }

    fn path(&self, number: u64) -> String {
        format!("{}/{number:08}.json", self.folder)
    }

    fn key(&self, number: u64) -> Key {
        Key::new(self.path(number)).expect("the longest was tried when the place was made")
    }

    async fn read(&self, number: u64) -> Result<Bytes, salvor_storage::Error> {
        let key = self.key(number);
        let object = self.store.get(&key, GetOptions::default()).await?;
        object.bytes(LONGEST).await
    }

    /// Numbers of the records that are there.
    async fn numbers(&self) -> Result<BTreeSet<u64>, salvor_storage::Error> {
        let mut listing = self.store.list(&format!("{}/", self.folder)).await?;
        let mut numbers = BTreeSet::new();
        while let Some(object) = listing.next().await {
            let object = object?;
            let name = object.key.as_str().rsplit('/').next().unwrap_or_default();
            let number: Option<u64> = name.strip_suffix(".json").and_then(|n| n.parse().ok());
            numbers.extend(number);
        }
        Ok(numbers)
    }
}

impl Journal {
    /// Reads what is there of a run, which may be nothing yet.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; the store fails; a record is missing, is none, or is not the one that its successor was written
    /// behind.
    pub async fn open(store: Arc<dyn ObjectStore>, folder: &str, run: RunId) -> Result<Self> {
        let mut journal = Self {
            place: Place::new(store, folder, &run)?,
            copies: Vec::new(),
            run,
            executor: RunId::generate().to_string(),
            last: 0,
            previous: String::new(),
            history: History::default(),
        };
        journal.read_on().await?;
        Ok(journal)
    }

    /// As [`Journal::open`], of a run that has begun.
    ///
    /// # Errors
    /// As [`Journal::open`]; [`Error::NoRun`].
    pub async fn open_begun(store: Arc<dyn ObjectStore>, folder: &str, run: RunId) -> Result<Self> {
        let place = store.describe();
        let journal = Self::open(store, folder, run).await?;
        if journal.history.begun.is_none() {
            let run = journal.run.to_string();
            return Err(Error::NoRun { run, place });
        }
        Ok(journal)
    }

    /// Runs that have a journal below a folder of a store, oldest first.
    ///
    /// # Errors
    /// The store fails.
    pub async fn runs(store: &dyn ObjectStore, folder: &str) -> Result<Vec<RunId>> {
        let failed = |source| Error::Store {
            operation: "list the journals of",
            run: "any".to_owned(),
            source: Box::new(source),
        };
        let listed = store.list_folder(folder.trim_matches('/')).await;
        let folders = listed.map_err(failed)?.folders;
        Ok(folders.into_iter().map(RunId::from).collect())
    }

    /// Keeps a copy in another store as well. It may fall behind while that cannot be reached, but not beyond a step that
    /// destroys something.
    ///
    /// # Errors
    /// [`Error::InvalidName`] where the folder and the name make no key.
    pub fn with_copy(mut self, store: Arc<dyn ObjectStore>, folder: &str) -> Result<Self> {
        let place = Place::new(store, folder, &self.run)?;
        self.copies.push(Copy { place, upto: 0 });
        Ok(self)
    }

    /// Identity of the run.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// What its records say.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// All records, in their order.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub async fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for number in 1..=self.last {
            records.push(self.record(number).await?.0);
        }
        Ok(records)
    }

    /// Writes what happened.
    ///
    /// # Errors
    /// [`Error::Fenced`] where somebody else has gone on with the run; the store fails.
    pub async fn append(&mut self, event: Event) -> Result<Record> {
        loop {
            let record = Record {
                version: VERSION,
                run: self.run.clone(),
                number: self.last + 1,
                previous: self.previous.clone(),
                at: Timestamp::now(),
                executor: self.executor.clone(),
                event: event.clone(),
            };
            let bytes = encode(&record);
            if self.create(record.number, &bytes).await? {
                self.take(&record, &bytes);
                self.copy_on().await;
                return Ok(record);
            }
        }
    }

    /// Creates a record. False where one of ours, that was taken for not written, is there: it is taken in, and the number
    /// goes up.
    async fn create(&mut self, number: u64, bytes: &Bytes) -> Result<bool> {
        let key = self.place.key(number);
        let written = self
            .place
            .store
            .put(&key, bytes.clone(), PutMode::Create)
            .await;
        let Err(error) = written else {
            return Ok(true);
        };
        let taken = error.kind == ErrorKind::AlreadyExists;
        if !taken && !error.may_have_happened() {
            return Err(self.failed("write", error));
        }
        // It may be ours: an answer that was lost, and then a repetition that found it.
        let Ok(there) = self.place.read(number).await else {
            return Err(self.failed("write", error));
        };
        if there == *bytes {
            return Ok(true);
        }
        let record = self.decode(number, &there)?;
        if record.executor != self.executor {
            let run = self.run.to_string();
            return Err(Error::Fenced { run, number });
        }
        self.take(&record, &there);
        Ok(false)
    }

    /// Brings the copies up to the last record.
    ///
    /// # Errors
    /// [`Error::CopyBehind`].
    pub async fn assert_copied(&mut self, step: &str) -> Result<()> {
        for index in 0..self.copies.len() {
            if let Err(source) = self.fill(index).await {
                return Err(Error::CopyBehind {
                    run: self.run.to_string(),
                    place: self.copies[index].place.store.describe(),
                    step: step.to_owned(),
                    source: Box::new(source),
                });
            }
        }
        Ok(())
    }

    /// As far as it goes: a copy that cannot be reached holds up nothing but what destroys.
    async fn copy_on(&mut self) {
        for index in 0..self.copies.len() {
            if let Err(error) = self.fill(index).await {
                let place = self.copies[index].place.store.describe();
                warn!(run = %self.run, place, %error, "a copy of the journal is behind");
            }
        }
    }

    async fn fill(&mut self, index: usize) -> Result<(), salvor_storage::Error> {
        while self.copies[index].upto < self.last {
            let number = self.copies[index].upto + 1;
            let bytes = self.place.read(number).await?;
            let place = &self.copies[index].place;
            let key = place.key(number);
            match place.store.put(&key, bytes.clone(), PutMode::Create).await {
                Ok(_) => {}
                Err(error) if error.kind == ErrorKind::AlreadyExists => {
                    if place.read(number).await? != bytes {
                        return Err(error.with_detail("it holds another record under that number"));
                    }
                }
                Err(error) => return Err(error),
            }
            self.copies[index].upto = number;
        }
        Ok(())
    }

    async fn read_on(&mut self) -> Result<()> {
        let numbers = self.place.numbers().await;
        let numbers = numbers.map_err(|source| self.failed("list", source))?;
        for (number, expected) in numbers.into_iter().zip(1..) {
            if number != expected {
                return Err(self.damaged(expected, "is missing, and later ones are there"));
            }
            let (record, bytes) = self.record(number).await?;
            if record.previous != self.previous {
                return Err(self.damaged(
                    number,
                    "was not written behind the one before it: one of the two was changed",
                ));
            }
            self.take(&record, &bytes);
        }
        Ok(())
    }

    async fn record(&self, number: u64) -> Result<(Record, Bytes)> {
        let bytes = self.place.read(number).await;
        let bytes = bytes.map_err(|source| self.failed("read", source))?;
        Ok((self.decode(number, &bytes)?, bytes))
    }

    fn decode(&self, number: u64, bytes: &[u8]) -> Result<Record> {
        let value: serde_json::Value = serde_json::from_slice(bytes)
            .map_err(|error| self.damaged(number, &format!("is no JSON: {error}")))?;
        if let Some(version) = value["version"].as_u64().filter(|one| *one > VERSION) {
            let what =
                format!("has version {version}; this program knows {VERSION}: use a newer one");
            return Err(self.damaged(number, &what));
        }
        let record: Record = serde_json::from_value(value)
            .map_err(|error| self.damaged(number, &format!("is none: {error}")))?;
        if record.run != self.run || record.number != number {
            let what = format!("is record {} of run {}", record.number, record.run);
            return Err(self.damaged(number, &what));
        }
        Ok(record)
    }

    fn take(&mut self, record: &Record, bytes: &[u8]) {
        self.last = record.number;
        self.previous = format!("{:x}", Sha256::digest(bytes));
        self.history.take(&record.event);
    }

    fn failed(&self, operation: &'static str, source: salvor_storage::Error) -> Error {
        let run = self.run.to_string();
        Error::Store {
            operation,
            run,
            source: Box::new(source),
        }
    }

    fn damaged(&self, number: u64, what: &str) -> Error {
        Error::Damaged {
            run: self.run.to_string(),
            number,
            what: what.to_owned(),
        }
    }
}

fn encode(record: &Record) -> Bytes {
    let mut bytes = serde_json::to_vec_pretty(record).expect("records are JSON");
    bytes.push(b'\n');
    bytes.into()
}
