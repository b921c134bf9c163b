//! Asks the API server what a user may do.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use prometheus_client::metrics::counter::Counter;
use salvor_api::resource::GroupResource;
use salvor_cluster::{ApiResource, Cluster, ErrorKind, WriteOptions};
use salvor_objects::rights::Right;
use serde_json::{Value, json};

use super::requester::Requester;

/// Questions at once.
const AT_ONCE: usize = 8;
/// Rights from which on it is asked first whether the user may do the same with everything.
const MANY: usize = 8;
/// Missing rights that are told one by one.
const TOLD: usize = 20;

/// What one user may do, asked once for each right. For one run: rights change.
pub(crate) struct Review {
    cluster: Cluster,
    requester: Requester,
    known: Mutex<HashMap<Right, bool>>,
    /// Counts what is refused.
    refused: Counter,
}

impl Review {
    pub(super) fn new(cluster: &Cluster, requester: Requester, refused: Counter) -> Self {
        Self {
            cluster: cluster.clone(),
            requester,
            known: Mutex::default(),
            refused,
        }
    }

    pub(super) fn requester(&self) -> &Requester {
        &self.requester
    }

    /// What the user lacks of these rights, in words.
    pub(super) async fn objections(
        &self,
        rights: BTreeSet<Right>,
    ) -> Result<Vec<String>, salvor_cluster::Error> {
        let lacking = match self.lacking(rights).await {
            Ok(lacking) => lacking,
            Err(error) if error.kind() == ErrorKind::Forbidden => {
                return Ok(vec![format!(
                    "the server may not ask what user `{}` may do: it needs the right to create \
                     subjectaccessreviews.authorization.k8s.io, which `salvor install \
                     --authorize-requests=strict` gives it",
                    self.requester.username
                )]);
            }
            Err(error) => return Err(error),
        };
        if !lacking.is_empty() {
            self.refused.inc();
        }
        let say = |right: &Right| format!("user `{}` may not {right}", self.requester.username);
        let mut told: Vec<String> = lacking.iter().take(TOLD).map(say).collect();
        if lacking.len() > TOLD {
            told.push(format!(
                "and {} more rights are missing",
                lacking.len() - TOLD
            ));
        }
        Ok(told)
    }

    async fn lacking(&self, rights: BTreeSet<Right>) -> Result<Vec<Right>, salvor_cluster::Error> {
        let mut by_verb: BTreeMap<&'static str, Vec<Right>> = BTreeMap::new();
        for right in rights {
            by_verb.entry(right.verb).or_default().push(right);
        }
        let mut lacking = Vec::new();
        for (verb, rights) in by_verb {
            let everything = Right::new(verb, &GroupResource::new("*", "*"), None);
            let whole = rights.iter().all(|right| right.subresource.is_empty());
            if whole && rights.len() >= MANY && self.allows(&everything).await? {
                continue;
            }
            lacking.extend(self.lacking_of_verb(rights).await?);
        }
        Ok(lacking)
    }

    /// The same for rights of one verb: what is allowed everywhere is not asked for each namespace.
    async fn lacking_of_verb(
        &self,
        rights: Vec<Right>,
    ) -> Result<Vec<Right>, salvor_cluster::Error> {
        let mut by_kind: BTreeMap<(GroupResource, &str), Vec<Right>> = BTreeMap::new();
        for right in rights {
            let kind = (right.resource.clone(), right.subresource);
            by_kind.entry(kind).or_default().push(right);
        }
        // Collected first: the questions of one kind are one future.
        let all: Vec<_> = by_kind
            .into_values()
            .map(|rights| self.lacking_of_kind(rights))
            .collect();
        let lacking: Vec<Vec<Right>> = stream::iter(all).buffered(AT_ONCE).try_collect().await?;
        Ok(lacking.into_iter().flatten().collect())
    }

    async fn lacking_of_kind(
        &self,
        rights: Vec<Right>,
    ) -> Result<Vec<Right>, salvor_cluster::Error> {
        if let [first, _, ..] = rights.as_slice() {
            let everywhere = Right {
                namespace: None,
                ..first.clone()
            };
            if self.allows(&everywhere).await? {
                return Ok(Vec::new());
            }
        }
        let mut lacking = Vec::new();
        for right in rights {
            if !self.allows(&right).await? {
                lacking.push(right);
            }
        }
        Ok(lacking)
    }

    async fn allows(&self, right: &Right) -> Result<bool, salvor_cluster::Error> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(right) {
            return Ok(*known);
        }
        let group = "authorization.k8s.io";
        let resource = ApiResource::known(
            group,
            "v1",
            "SubjectAccessReview",
            "subjectaccessreviews",
            false,
        );
        let body = question(&self.requester, right).to_string();
        let options = WriteOptions::default();
        let asked = self
            .cluster
            .create(&resource, None, body.as_bytes(), &options)
            .await?;
        let answer: Value = serde_json::from_slice(&asked).unwrap_or_default();
        let status = &answer["status"];
        // Anything that is not a plain yes is a no.
        let allowed = status["allowed"] == true && status["denied"] != true;
        if !allowed {
            tracing::debug!(user = self.requester.username, %right, reason = %status["reason"], "not allowed");
        }
        known().insert(right.clone(), allowed);
        Ok(allowed)
    }
}

fn question(requester: &Requester, right: &Right) -> Value {
    let mut attributes = json!({
        "verb": right.verb,
        "group": right.resource.group,
        "resource": right.resource.resource,
    });
    if !right.subresource.is_empty() {
        attributes["subresource"] = right.subresource.into();
    }
    if let Some(namespace) = &right.namespace {
        attributes["namespace"] = namespace.as_str().into();
    }
    json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
        "spec": {
            "user": requester.username,
            "uid": requester.uid,
            "groups": requester.groups,
            "extra": requester.extra,
            "resourceAttributes": attributes,
        },
    })
}
