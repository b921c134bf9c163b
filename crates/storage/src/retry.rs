//! The one place where store requests are repeated.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use jiff::Timestamp;
use tracing::debug;

use crate::bucket::{BucketRules, Tier};
use crate::error::{Error, Result};
use crate::key::Key;
use crate::store::{
    Folder, GetOptions, MetaStream, Object, ObjectInfo, ObjectStore, PutMode, Upload, VersionInfo,
};

/// How often and how patiently to try.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Calls in all, the first included. At least one.
    pub attempts: u32,
    /// Longest wait before the second call; doubles with each further one.
    pub base: Duration,
    /// Longest wait before any call.
    pub max: Duration,
}

impl Default for RetryPolicy {
    /// Six calls over about half a minute: long enough for a load balancer to fail over, short enough for
    /// a person to wait.
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(200),
            max: Duration::from_secs(15),
        }
    }
}

impl RetryPolicy {
    /// The wait before call `attempt + 1`: what the store asked for, or full jitter over an exponential
    /// bound, so that many clients do not come back together.
    pub(crate) fn delay(&self, attempt: u32, error: &Error) -> Duration {
        if let Some(asked) = error.retry_after {
            return asked.min(self.max.max(Duration::from_secs(60)));
        }
        let bound = self.base.saturating_mul(1 << attempt.min(16)).min(self.max);
        let mut random = [0u8; 4];
        // Without randomness, wait the whole bound.
        let share = match getrandom::fill(&mut random) {
            Ok(()) => f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX),
            Err(_) => 1.0,
        };
        bound.mul_f64(share)
    }
}

/// Repeats what may be repeated: every read, overwrites, deletes; and a create-only write only after it
/// has looked whether the write that seemed to fail took effect.
///
/// An open [`Upload`] is not repeated as a whole: its bytes have gone by. Its parts are the inner store's
/// business, and an ambiguous end is reported as one.
#[derive(Clone, Debug)]
pub struct RetryStore {
    inner: Arc<dyn ObjectStore>,
    policy: RetryPolicy,
}

impl RetryStore {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn ObjectStore>, policy: RetryPolicy) -> Self {
        Self { inner, policy }
    }

    async fn repeat<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut attempt = 0;
        loop {
            match call().await {
                Err(error) if error.is_retryable() && attempt + 1 < self.policy.attempts => {
                    self.pause(attempt, &error).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn pause(&self, attempt: u32, error: &Error) {
        let delay = self.policy.delay(attempt, error);
        debug!(%error, ?delay, attempt, "store request is tried again");
        tokio::time::sleep(delay).await;
    }

    /// Whether the object under `key` has exactly these bytes; `None` when there is none.
    async fn is_ours(&self, key: &Key, body: &Bytes) -> Result<Option<ObjectInfo>, Option<Error>> {
        let look = || async {
            let found = self.inner.get(key, GetOptions::default()).await?;
            let info = found.info.clone();
            let same = info.size == body.len() as u64 && found.bytes(info.size).await? == *body;
            Ok((info, same))
        };
        match self.repeat(look).await {
            Ok((info, true)) => Ok(Some(info)),
            Ok((_, false)) => Err(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(Some(error)),
        }
    }

    async fn create(&self, key: &Key, body: Bytes) -> Result<ObjectInfo> {
        let mut attempt = 0;
        let mut in_doubt = false;
        loop {
            let error = match self.inner.put(key, body.clone(), PutMode::Create).await {
                Ok(info) => return Ok(info),
                // A clean refusal of a first call. After a call in doubt, the taken key may be ours.
                Err(error) if error.is_already_exists() && !in_doubt => return Err(error),
                Err(error) => error,
            };
            // Doubt stays: a write that is still under way may arrive after we have looked.
            in_doubt |= error.may_have_happened();
            let error = if in_doubt {
                match self.is_ours(key, &body).await {
                    Ok(Some(info)) => return Ok(info),
                    Ok(None) => error.maybe_happened(),
                    // Somebody else's bytes are under the key: ours never were.
                    Err(None) => {
                        return Err(Error::new(crate::ErrorKind::AlreadyExists, "create", key)
                            .in_store(self.describe()));
                    }
                    Err(Some(look)) => {
                        return Err(error
                            .maybe_happened()
                            .with_detail(format!("and then {look}")));
                    }
                }
            } else {
                error
            };
            if !error.is_retryable() || attempt + 1 >= self.policy.attempts {
                return Err(error);
            }
            self.pause(attempt, &error).await;
            attempt += 1;
        }
    }
}

#[async_trait]
impl ObjectStore for RetryStore {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn excludes(&self) -> bool {
        self.inner.excludes()
    }

    fn local_root(&self) -> Option<PathBuf> {
        self.inner.local_root()
    }

    async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
        match mode {
            PutMode::Create => self.create(key, body).await,
            PutMode::Overwrite => {
                self.repeat(|| self.inner.put(key, body.clone(), mode))
                    .await
            }
        }
    }

    async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
        // Beginning an upload makes nothing visible, so it may be repeated under either mode.
        self.repeat(|| self.inner.upload(key, mode)).await
    }

    async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
        self.repeat(|| self.inner.get(key, options.clone())).await
    }

    async fn head(&self, key: &Key) -> Result<ObjectInfo> {
        self.repeat(|| self.inner.head(key)).await
    }

    async fn list(&self, prefix: &str) -> Result<MetaStream> {
        self.repeat(|| self.inner.list(prefix)).await
    }

    async fn list_folder(&self, folder: &str) -> Result<Folder> {
        self.repeat(|| self.inner.list_folder(folder)).await
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.repeat(|| self.inner.delete(key)).await
    }

    async fn presign(&self, key: &Key, lasts: Duration) -> Result<Option<String>> {
        self.repeat(|| self.inner.presign(key, lasts)).await
    }

    async fn discard_unfinished(&self, folder: &str) -> Result<usize> {
        self.repeat(|| self.inner.discard_unfinished(folder)).await
    }

    async fn rules(&self) -> Result<Option<BucketRules>> {
        self.repeat(|| self.inner.rules()).await
    }

    async fn retained_until(&self, key: &Key) -> Result<Option<Timestamp>> {
        self.repeat(|| self.inner.retained_until(key)).await
    }

    async fn retain(&self, key: &Key, mode: &str, until: Timestamp) -> Result<()> {
        // To do it twice is to do it once.
        self.repeat(|| self.inner.retain(key, mode, until)).await
    }

    async fn tier(&self, key: &Key) -> Result<Tier> {
        self.repeat(|| self.inner.tier(key)).await
    }

    async fn set_class(&self, key: &Key, class: &str) -> Result<()> {
        // To do it twice is to do it once.
        self.repeat(|| self.inner.set_class(key, class)).await
    }

    async fn thaw(&self, key: &Key) -> Result<()> {
        self.repeat(|| self.inner.thaw(key)).await
    }

    async fn list_versions(&self, prefix: &str) -> Result<Vec<VersionInfo>> {
        self.repeat(|| self.inner.list_versions(prefix)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Fault, FaultStore};
    use crate::{ErrorKind, MemoryStore};

    fn key() -> Key {
        Key::new("k").expect("valid key")
    }

    fn faulty() -> (MemoryStore, FaultStore, RetryStore) {
        let memory = MemoryStore::new();
        let fault = FaultStore::new(Arc::new(memory.clone()));
        let retry = RetryStore::new(Arc::new(fault.clone()), RetryPolicy::default());
        (memory, fault, retry)
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_to_a_create_is_not_a_conflict() {
        let (_, fault, store) = faulty();
        fault.at(0, Fault::AfterWithError);
        store
            .put(&key(), Bytes::from_static(b"ours"), PutMode::Create)
            .await
            .expect("it is ours");
        let error = store
            .put(&key(), Bytes::from_static(b"x"), PutMode::Create)
            .await;
        assert_eq!(error.expect_err("taken").kind, ErrorKind::AlreadyExists);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_answer_never_hides_that_somebody_else_won() {
        let (memory, fault, store) = faulty();
        memory
            .put(&key(), Bytes::from_static(b"theirs"), PutMode::Create)
            .await
            .expect("written");
        fault.at(0, Fault::BeforeInDoubt);
        let error = store
            .put(&key(), Bytes::from_static(b"ours"), PutMode::Create)
            .await;
        assert_eq!(error.expect_err("theirs").kind, ErrorKind::AlreadyExists);
    }

    /// A store that loses sight of its first create: it fails in doubt, and arrives just before the next.
    #[derive(Debug, Default)]
    struct SlowStore {
        inner: MemoryStore,
        under_way: std::sync::Mutex<Option<Bytes>>,
        creates: std::sync::atomic::AtomicU32,
        then: Option<ErrorKind>,
    }

    #[async_trait]
    impl ObjectStore for SlowStore {
        fn describe(&self) -> String {
            "slow".to_owned()
        }

        fn excludes(&self) -> bool {
            true
        }

        async fn put(&self, key: &Key, body: Bytes, mode: PutMode) -> Result<ObjectInfo> {
            let calls = self
                .creates
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if calls == 0 {
                *self.under_way.lock().expect("not poisoned") = Some(body);
                return Err(Error::new(ErrorKind::Transient, "create", key).maybe_happened());
            }
            if let Some(kind) = self.then {
                return Err(Error::new(kind, "create", key));
            }
            let arrived = self.under_way.lock().expect("not poisoned").take();
            if let Some(arrived) = arrived {
                self.inner.put(key, arrived, PutMode::Create).await?;
            }
            self.inner.put(key, body, mode).await
        }

        async fn upload(&self, key: &Key, mode: PutMode) -> Result<Box<dyn Upload>> {
            self.inner.upload(key, mode).await
        }

        async fn get(&self, key: &Key, options: GetOptions) -> Result<Object> {
            self.inner.get(key, options).await
        }

        async fn head(&self, key: &Key) -> Result<ObjectInfo> {
            self.inner.head(key).await
        }

        async fn list(&self, prefix: &str) -> Result<MetaStream> {
            self.inner.list(prefix).await
        }

        async fn list_folder(&self, folder: &str) -> Result<Folder> {
            self.inner.list_folder(folder).await
        }

        async fn delete(&self, key: &Key) -> Result<()> {
            self.inner.delete(key).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_create_that_arrives_late_is_not_a_conflict_with_itself() {
        let store = RetryStore::new(Arc::new(SlowStore::default()), RetryPolicy::default());
        store
            .put(&key(), Bytes::from_static(b"ours"), PutMode::Create)
            .await
            .expect("the late one is ours");
    }

    #[tokio::test(start_paused = true)]
    async fn doubt_about_an_earlier_call_is_not_forgotten() {
        let slow = SlowStore {
            then: Some(ErrorKind::Denied),
            ..SlowStore::default()
        };
        let error = RetryStore::new(Arc::new(slow), RetryPolicy::default())
            .put(&key(), Bytes::from_static(b"ours"), PutMode::Create)
            .await
            .expect_err("denied");
        assert_eq!(error.kind, ErrorKind::Denied);
        assert!(error.may_have_happened(), "the first call may still arrive");
    }

    #[tokio::test(start_paused = true)]
    async fn temporary_failures_are_repeated_and_lasting_ones_are_not() {
        let (_, fault, store) = faulty();
        fault.at(0, Fault::Before(ErrorKind::Transient));
        fault.at(1, Fault::Before(ErrorKind::Throttled));
        store
            .put(&key(), Bytes::new(), PutMode::Create)
            .await
            .expect("third call succeeds");
        fault.at(3, Fault::Before(ErrorKind::Denied));
        assert_eq!(
            store.head(&key()).await.expect_err("denied").kind,
            ErrorKind::Denied
        );
        assert_eq!(fault.operations(), 4, "no call after the refusal");
    }
}
