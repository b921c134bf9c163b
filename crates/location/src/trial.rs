//! Does creating a key exclude other writers? Found by trying, never by asking.
//!
//! Two questions, because a store may pass the first and fail the second:
//! - **Is a second creation refused?** Asked once per location; the answer stands in its record. A store that
//!   does not know the condition ignores it and overwrites.
//! - **Do creations at the same moment have exactly one winner?** A gateway or an older server may look and
//!   then write. Asked once per process of every store that is not known to exclude, and never recorded: a
//!   location that is copied to another store takes its records along, and a store changes with its next
//!   release.

use bytes::Bytes;
use futures::future::join_all;
use salvor_storage::{Key, PutMode};
use tracing::{info, warn};

use crate::claim::read_small;
use crate::error::{Error, Result};
use crate::layout;
use crate::location::{Location, LocationRecord};
use crate::run::RunId;

/// Writers of one key at the same moment.
const RACERS: usize = 8;
/// The first round opens the connections, so its writers arrive one after the other; in the second they meet.
const ROUNDS: usize = 2;
/// What the trials write is shorter.
const TRIAL_LIMIT: u64 = 128;

impl Location {
    /// Whether a claim may rest on create-only alone. A trial that cannot be made is one that was not
    /// passed: the other way of claiming only takes longer.
    pub(crate) async fn creating_excludes(&self, prepared: &LocationRecord) -> bool {
        if !prepared.create_only {
            return false;
        }
        if self.store.excludes() {
            return true;
        }
        let tried = self.raced.get_or_init(|| async {
            match self.race_create_only(&RunId::generate()).await {
                Ok(true) => true,
                Ok(false) => {
                    info!(
                        location = self.name(),
                        "several writers may create one key: claims are announced"
                    );
                    false
                }
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "claims are announced"
                    );
                    false
                }
            }
        });
        *tried.await
    }

    /// Whether creating one key twice is refused the second time.
    pub(crate) async fn probe_create_only(&self, run: &RunId) -> Result<bool> {
        let key = layout::key(format!("{}/probe/{run}-create-only", layout::PRIVATE));
        let probe = async {
            self.store
                .put(&key, Bytes::from_static(b"first"), PutMode::Create)
                .await?;
            let second = self
                .store
                .put(&key, Bytes::from_static(b"second"), PutMode::Create)
                .await;
            let refused = match second {
                Ok(_) => false,
                Err(error) if error.is_already_exists() => true,
                Err(error) => return Err(error),
            };
            let kept = read_small(&self.store, &key, TRIAL_LIMIT).await? == "first";
            self.clear_trial(&key).await;
            Ok(refused && kept)
        };
        probe.await.map_err(self.trial_failed())
    }

    /// Whether of several writers that create one key at the same moment exactly one succeeds, all others
    /// are told that the key is taken, a later one too, and the winner's bytes are what is there.
    ///
    /// # Errors
    /// Any other answer than success or "taken": then nothing is known.
    pub(crate) async fn race_create_only(&self, run: &RunId) -> Result<bool> {
        for round in 0..ROUNDS {
            let key = layout::key(format!("{}/probe/{run}-race-{round}", layout::PRIVATE));
            let passed = self.race(&key, run).await;
            self.clear_trial(&key).await;
            if !passed.map_err(self.trial_failed())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn race(&self, key: &Key, run: &RunId) -> Result<bool, salvor_storage::Error> {
        // Each writes other bytes, so that nobody takes another's object for his own.
        let body = |racer: usize| Bytes::from(format!("{run} {racer}"));
        let create = |racer: usize| self.store.put(key, body(racer), PutMode::Create);
        let mut outcomes = join_all((0..RACERS).map(create)).await;
        outcomes.push(create(RACERS).await);
        let mut winners = Vec::new();
        let mut unclear = None;
        for (racer, outcome) in outcomes.into_iter().enumerate() {
            match outcome {
                Ok(_) => winners.push(racer),
                Err(error) if error.is_already_exists() => {}
                Err(error) => unclear = Some(error),
            }
        }
        match (winners.as_slice(), unclear) {
            ([_, _, ..], _) => Ok(false),
            (_, Some(error)) => Err(error),
            ([], None) => Ok(false),
            ([winner], None) => {
                Ok(read_small(&self.store, key, TRIAL_LIMIT).await? == body(*winner))
            }
        }
    }

    /// Credentials that may not delete, or a retention rule, are no reason not to back up.
    async fn clear_trial(&self, key: &Key) {
        if let Err(error) = self.store.delete(key).await {
            warn!(%error, "what was written for a trial stays");
        }
    }

    fn trial_failed(&self) -> impl FnOnce(salvor_storage::Error) -> Error {
        Error::store(format!("try create-only in location `{}`", self.name()))
    }
}
