//! The store that can be written: everything in memory, behind one lock.
//!
//! A write runs to its end under the lock, including what controllers would do afterwards, so a test that
//! has its answer has the final state too.

mod admit;
mod create;
mod delete;
pub(crate) mod history;
mod lifecycle;
mod list;
mod seed;
pub(crate) mod state;
mod update;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::stream::BoxStream;
use salvor_api::resource::ObjectKey;

use crate::entry::Entry;
use crate::options::Options;
use crate::registry::Registry;
use crate::status::Failure;
use crate::store::{Action, ListQuery, Listing, Store, WatchEvent, WatchQuery, Write, Written};
use state::State;

/// State and the signal that it changed.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) state: Mutex<State>,
    pub(crate) signal: tokio::sync::watch::Sender<u64>,
}

/// Objects in memory.
#[derive(Clone, Debug)]
pub(crate) struct MemoryStore(Arc<Shared>);

impl MemoryStore {
    pub(crate) fn new(options: Options) -> Self {
        let mut state = State::new(options);
        if state.options.default_objects {
            seed::seed(&mut state);
        }
        let (signal, _) = tokio::sync::watch::channel(state.revision);
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            signal,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets the history, so that continue tokens and watch positions of the past expire.
    pub(crate) fn compact(&self) {
        let mut state = self.state();
        let revision = state.revision;
        state.history.compact(revision);
    }

    /// Number of objects of all kinds.
    pub(crate) fn object_count(&self) -> usize {
        self.state().object_count()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.state().registry)
    }

    async fn get(&self, key: &ObjectKey, _: &str) -> Result<Option<Arc<Entry>>, Failure> {
        Ok(self.state().get(key).cloned())
    }

    async fn list(&self, query: ListQuery) -> Result<Listing, Failure> {
        list::list(&self.state(), &query)
    }

    fn watch(&self, query: WatchQuery) -> Result<BoxStream<'static, WatchEvent>, Failure> {
        watch::watch(&self.0, query)
    }

    async fn write(&self, write: Write) -> Result<Written, Failure> {
        let mut state = self.state();
        let outcome = match &write.action {
            Action::Create(object) => create::create(&mut state, &write, object.clone()),
            Action::Update(object) => update::update(&mut state, &write, object.clone()),
            Action::Patch(patch) => update::patch(&mut state, &write, patch),
            Action::Delete(options) => delete::delete_one(&mut state, &write, options),
            Action::DeleteCollection(options, selection) => {
                delete::delete_collection(&mut state, &write, options, selection)
            }
        };
        let revision = state.revision;
        drop(state);
        self.0
            .signal
            .send_if_modified(|known| std::mem::replace(known, revision) != revision);
        outcome
    }
}
