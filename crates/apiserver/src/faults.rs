//! Faults that tests ask for, and a record of the requests that came.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use salvor_api::resource::{GroupResource, ObjectKey};

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// 429 with a `Retry-After` in seconds.
    TooManyRequests {
        /// Seconds until the client may come back.
        retry_after: u32,
    },
    /// A 5xx answer, before anything is done: 500, 503 (with `Retry-After: 1`), 504.
    ServerError(u16),
    /// 409 Conflict, as when another writer was faster.
    Conflict,
    /// 403 Forbidden, as when roles do not allow it.
    Forbidden,
    /// 410 Expired, as when a continue token or watch position was compacted.
    Expired,
    /// The answer comes later.
    Delay(Duration),
    /// The connection breaks before anything is done.
    ConnectionLost,
    /// The request is carried out, then the connection breaks before the answer.
    LostAnswer,
    /// The body of the answer breaks off: a watch after that many events, a list after that many items.
    CutAfter(usize),
    /// An admission webhook denies the request until an object exists.
    DeniedByWebhook {
        /// Name of the webhook.
        webhook: String,
        /// Its message.
        message: String,
        /// HTTP code of the denial, usually 400 or 403.
        code: u16,
        /// Denies only while this object is missing; `None` denies always.
        until: Option<ObjectKey>,
    },
    /// An aggregated API whose server is away: its group answers 503 and is stale in discovery.
    GroupUnavailable,
}

/// A fault and the requests that it meets. Without conditions it meets all.
#[derive(Clone, Debug)]
pub struct FaultRule {
    fault: Fault,
    verb: Option<String>,
    group: Option<String>,
    resource: Option<GroupResource>,
    namespace: Option<String>,
    name: Option<String>,
    skip: usize,
    times: usize,
}

impl FaultRule {
    /// Meets every request, always.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            verb: None,
            group: None,
            resource: None,
            namespace: None,
            name: None,
            skip: 0,
            times: usize::MAX,
        }
    }

    /// Only this verb: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`
    /// or `discovery`.
    #[must_use]
    pub fn verb(mut self, verb: &str) -> Self {
        self.verb = Some(verb.to_owned());
        self
    }

    /// Only this API group.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// Only this resource.
    #[must_use]
    pub fn resource(mut self, resource: GroupResource) -> Self {
        self.resource = Some(resource);
        self
    }

    /// Only in this namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Only objects of this name; for a create the name in the body counts.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Lets that many matching requests pass first.
    #[must_use]
    pub fn after(mut self, requests: usize) -> Self {
        self.skip = requests;
        self
    }

    /// Stops after that many hits.
    #[must_use]
    pub fn times(mut self, hits: usize) -> Self {
        self.times = hits;
        self
    }

    fn meets(&self, request: &RequestRecord) -> bool {
        let Self {
            fault: _,
            verb,
            group,
            resource,
            namespace,
            name,
            skip: _,
            times: _,
        } = self;
        verb.as_ref().is_none_or(|verb| *verb == request.verb)
            && group
                .as_ref()
                .is_none_or(|group| request.group.as_ref() == Some(group))
            && resource
                .as_ref()
                .is_none_or(|one| request.resource.as_ref() == Some(one))
            && namespace
                .as_ref()
                .is_none_or(|one| request.namespace.as_ref() == Some(one))
            && name
                .as_ref()
                .is_none_or(|one| request.name.as_ref() == Some(one))
    }
}

/// The faults of one server; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Vec<FaultRule>>>);

impl Faults {
    fn rules(&self) -> MutexGuard<'_, Vec<FaultRule>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule; every rule that meets a request has its effect, in the order they were added.
    pub fn add(&self, rule: FaultRule) {
        self.rules().push(rule);
    }

    /// Removes all rules.
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// The faults that this request meets; counts the hit.
    pub(crate) fn strike(&self, request: &RequestRecord) -> Vec<Fault> {
        let mut struck = Vec::new();
        for rule in self.rules().iter_mut() {
            // A stale group is a standing condition that discovery asks about on its own.
            if rule.fault == Fault::GroupUnavailable && request.verb == "discovery" {
                if rule.group.is_some() && rule.group == request.group {
                    struck.push(rule.fault.clone());
                }
                continue;
            }
            if rule.times == 0 || !rule.meets(request) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            struck.push(rule.fault.clone());
        }
        struck
    }

    /// Gives back a hit that turned out to have no effect.
    pub(crate) fn spare(&self, request: &RequestRecord, fault: &Fault) {
        let mut rules = self.rules();
        let rule = rules
            .iter_mut()
            .find(|rule| rule.fault == *fault && rule.meets(request));
        if let Some(rule) = rule {
            rule.times = rule.times.saturating_add(1);
        }
    }

    /// True when a group's server is away.
    pub(crate) fn is_stale(&self, group: &str) -> bool {
        self.rules().iter().any(|rule| {
            rule.fault == Fault::GroupUnavailable && rule.group.as_deref() == Some(group)
        })
    }
}

/// One request that came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestRecord {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub uri: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection` or `discovery`.
    pub verb: String,
    /// API group, when the path names one.
    pub group: Option<String>,
    /// Resource, when the path names one.
    pub resource: Option<GroupResource>,
    /// Namespace of the path.
    pub namespace: Option<String>,
    /// Name of the path, or of the body for a create.
    pub name: Option<String>,
    /// HTTP code of the answer; 0 when there was none.
    pub code: u16,
}

/// How many requests are remembered.
const REMEMBERED: usize = 100_000;

/// The requests of one server; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Requests(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    records: VecDeque<RequestRecord>,
    in_flight: usize,
    most_in_flight: usize,
}

impl Requests {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last 100,000 answered requests, oldest first.
    #[must_use]
    pub fn records(&self) -> Vec<RequestRecord> {
        self.log().records.iter().cloned().collect()
    }

    /// How many requests of a verb came for a resource.
    #[must_use]
    pub fn count(&self, verb: &str, resource: &GroupResource) -> usize {
        let log = self.log();
        let matching = log
            .records
            .iter()
            .filter(|one| one.verb == verb && one.resource.as_ref() == Some(resource));
        matching.count()
    }

    /// The largest number of requests that were worked on at once.
    #[must_use]
    pub fn most_in_flight(&self) -> usize {
        self.log().most_in_flight
    }

    /// Forgets all requests.
    pub fn clear(&self) {
        let mut log = self.log();
        log.records.clear();
        log.most_in_flight = log.in_flight;
    }

    pub(crate) fn begin(&self) -> InFlight {
        let mut log = self.log();
        log.in_flight += 1;
        log.most_in_flight = log.most_in_flight.max(log.in_flight);
        InFlight {
            requests: self.clone(),
            record: RequestRecord::default(),
        }
    }
}

/// A request that is being worked on; recorded when it is dropped.
pub(crate) struct InFlight {
    requests: Requests,
    pub(crate) record: RequestRecord,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut log = self.requests.log();
        log.in_flight -= 1;
        if log.records.len() >= REMEMBERED {
            log.records.pop_front();
        }
        log.records.push_back(std::mem::take(&mut self.record));
    }
}
