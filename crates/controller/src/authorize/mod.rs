//! On whose behalf the server acts, and whether that user might have done it himself.
//!
//! In the permissive mode, which is Velero's way, whoever may write a request gets what it asks for. In the strict
//! mode a request is worth what its requester may do: he stands in a sealed annotation that admission wrote
//! ([`crate::admission`]), and the API server is asked about him by SubjectAccessReviews. Who cannot be told is
//! refused.
//!
//! Invariants:
//! - nothing is begun, gone on with or committed before it was asked;
//! - an answer is used for one run, never for the next;
//! - a question that cannot be asked is not answered with yes.

mod requester;
mod review;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use salvor_api::labels;
use salvor_api::resource::GroupResource;
use salvor_api::velero::{Kind, Schedule};
use salvor_cluster::Cluster;
use salvor_objects::rights::{Approval, Right};
use salvor_seal::SealKey;

pub(crate) use self::requester::{Requester, asked, put, resealed, sealed_by, take};
use self::review::Review;
use crate::kinds::KindError;
use crate::metrics::Metrics;
use crate::tls::Keys;

/// How much a request is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthorizeRequests {
    /// Everything that the server may do, as with Velero.
    #[default]
    Permissive,
    /// What its requester may do.
    Strict,
}

impl AuthorizeRequests {
    /// The word on the command line and in the cluster.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permissive => "permissive",
            Self::Strict => "strict",
        }
    }
}

impl fmt::Display for AuthorizeRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for AuthorizeRequests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Permissive, Self::Strict]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or_else(|| format!("`{text}` is neither permissive nor strict"))
    }
}

/// Tells who asked for what. Clones share it.
#[derive(Clone)]
pub(crate) struct Authorizer {
    pub(crate) cluster: Cluster,
    pub(crate) mode: AuthorizeRequests,
    pub(crate) keys: Keys,
    pub(crate) metrics: Metrics,
}

/// What a run may do.
#[derive(Clone)]
pub(crate) enum Warrant {
    /// What the server may do: it asked itself, or the mode is permissive.
    Server,
    /// What a user may do.
    User(Arc<Review>),
}

impl Authorizer {
    pub(crate) fn is_strict(&self) -> bool {
        self.mode == AuthorizeRequests::Strict
    }

    /// The key by which requests are sealed; `None` where they are not.
    pub(crate) async fn key(&self) -> Option<SealKey> {
        match self.mode {
            AuthorizeRequests::Permissive => None,
            AuthorizeRequests::Strict => Some(self.keys.seal_key().await),
        }
    }

    /// On whose behalf an object asks.
    ///
    /// # Errors
    /// That cannot be told, in the words of a `validationErrors`.
    pub(crate) async fn warrant<K: Kind>(&self, object: &K) -> Result<Warrant, String> {
        let Some(key) = self.key().await else {
            return Ok(Warrant::Server);
        };
        let Some(requester) = take(&key, object) else {
            self.metrics.counts().refused(K::KIND).inc();
            return Err(unknown(object));
        };
        Ok(match requester.server {
            true => Warrant::Server,
            false => {
                let refused = self.metrics.counts().refused(K::KIND);
                Warrant::User(Arc::new(Review::new(&self.cluster, requester, refused)))
            }
        })
    }

    /// What stands in the way of an object that asks for something that takes these rights.
    ///
    /// # Errors
    /// The API server cannot be asked.
    pub(crate) async fn objections<K: Kind>(
        &self,
        object: &K,
        rights: BTreeSet<Right>,
    ) -> Result<Vec<String>, KindError> {
        let warrant = match self.warrant(object).await {
            Ok(warrant) => warrant,
            Err(unknown) => return Ok(vec![unknown]),
        };
        let objections = warrant.objections(rights).await;
        objections.map_err(|source| KindError::Cluster {
            kind: K::KIND,
            name: object.metadata().name.clone(),
            source: Box::new(source),
        })
    }

    /// Makes an object that the server writes ask in the name of the one that it is written for.
    pub(crate) async fn pass_on<K: Kind, L: Kind>(&self, from: &K, to: &mut L) {
        to.metadata_mut().annotations.remove(labels::REQUESTED_BY);
        if let Some(key) = self.key().await
            && let Some(requester) = take(&key, from)
        {
            put(&key, to, &requester);
        }
    }

    /// Makes an object that the server writes on its own account say so.
    pub(crate) async fn sign<K: Kind>(&self, object: &mut K) {
        if let Some(key) = self.key().await {
            put(&key, object, &Requester::server());
        }
    }
}

/// Why a request is refused of which nobody knows who made it.
fn unknown<K: Kind>(object: &K) -> String {
    let metadata = object.metadata();
    let why = match metadata.annotations.contains_key(labels::REQUESTED_BY) {
        true => "its annotation says so, but the seal is not that of this request as it is now",
        false => "it was written while admission was not asked",
    };
    // A run of a schedule asks as the schedule does.
    let (resource, name, advice) = match metadata.labels.get(labels::SCHEDULE_NAME) {
        Some(schedule) => (
            Schedule::group_resource(),
            schedule,
            "take its schedule over",
        ),
        None => (
            K::group_resource(),
            &metadata.name,
            "make it again, or take it over",
        ),
    };
    format!(
        "who asks for it is not known ({why}), and this server does only what the requester may do: {advice} \
         with `kubectl -n {} annotate {resource} {name} --overwrite {}={}`",
        metadata.namespace,
        labels::REQUESTED_BY,
        crate::admission::ME,
    )
}

impl Warrant {
    /// Who is asked by an engine; `None` when everything is allowed.
    pub(crate) fn approval(&self) -> Option<Approval> {
        match self {
            Self::Server => None,
            Self::User(review) => {
                let review = Arc::clone(review);
                Some(Approval::new(move |rights| {
                    let review = Arc::clone(&review);
                    async move { review.objections(rights).await }
                }))
            }
        }
    }

    /// What stands in the way of somebody who needs these rights.
    pub(crate) async fn objections(
        &self,
        rights: BTreeSet<Right>,
    ) -> Result<Vec<String>, salvor_cluster::Error> {
        match self {
            Self::Server => Ok(Vec::new()),
            Self::User(review) => review.objections(rights).await,
        }
    }

    /// The user; `None` for the server.
    pub(crate) fn user(&self) -> Option<&Requester> {
        match self {
            Self::Server => None,
            Self::User(review) => Some(review.requester()),
        }
    }
}

/// To read every object of every kind everywhere.
pub(crate) fn read_everything() -> BTreeSet<Right> {
    [Right::new("get", &GroupResource::new("*", "*"), None)].into()
}
