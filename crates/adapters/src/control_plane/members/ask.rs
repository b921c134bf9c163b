//! What is asked of members.

use std::fmt;

use async_trait::async_trait;
use salvor_etcd::client::{Access, Endpoint, Error, Hash, Member as Connection, Status};
use salvor_etcd::membership;

use crate::control_plane::plane::Member;

/// What steps ask of members of etcd.
///
/// A trait so that every fault of every step can be played through in tests without starting hundreds of clusters; the product
/// has one implementation, [`Etcd`].
#[async_trait]
pub trait Ask: fmt::Debug + Send + Sync {
    /// What a member says of itself; it needs no majority for that.
    async fn status(&self, of: &Member) -> Result<Status, Error>;
    /// The revision, agreed upon by a majority.
    async fn majority(&self, of: &Member) -> Result<u64, Error>;
    /// The members, as one knows them.
    async fn members(&self, of: &Member) -> Result<Vec<membership::Member>, Error>;
    /// Adds a member without a vote.
    async fn add_learner(
        &self,
        of: &Member,
        peer_urls: &[String],
    ) -> Result<membership::Member, Error>;
    /// Gives it its vote.
    async fn promote(&self, of: &Member, id: u64) -> Result<(), Error>;
    /// Takes a member out.
    async fn remove(&self, of: &Member, id: u64) -> Result<(), Error>;
    /// The member's own hash at a revision.
    async fn hash(&self, of: &Member, revision: u64) -> Result<Hash, Error>;
}

/// Asks over etcd's protocol.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// Certificates, keys and passwords.
    pub access: Access,
}

impl Etcd {
    /// The first of its addresses that answers.
    async fn connect(&self, of: &Member) -> Result<Connection, Error> {
        let mut last = None;
        for url in &of.client_urls {
            let endpoint = Endpoint::new(url, &self.access)?;
            match Connection::connect(&endpoint, &self.access).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or(Error::Endpoint {
            endpoint: of.name.clone(),
            why: "the member has no clientUrls",
        }))
    }
}

#[async_trait]
impl Ask for Etcd {
    async fn status(&self, of: &Member) -> Result<Status, Error> {
        self.connect(of).await?.status().await
    }

    async fn majority(&self, of: &Member) -> Result<u64, Error> {
        let range = self.connect(of).await?.linearizable_read().await?;
        Ok(range.revision)
    }

    async fn members(&self, of: &Member) -> Result<Vec<membership::Member>, Error> {
        self.connect(of).await?.members().await
    }

    async fn add_learner(
        &self,
        of: &Member,
        peer_urls: &[String],
    ) -> Result<membership::Member, Error> {
        self.connect(of).await?.add_learner(peer_urls).await
    }

    async fn promote(&self, of: &Member, id: u64) -> Result<(), Error> {
        self.connect(of).await?.promote(id).await
    }

    async fn remove(&self, of: &Member, id: u64) -> Result<(), Error> {
        self.connect(of).await?.remove(id).await
    }

    async fn hash(&self, of: &Member, revision: u64) -> Result<Hash, Error> {
        self.connect(of).await?.hash(revision).await
    }
}
