//! The one writer of a stream of changes: a claim that is kept alive, may be taken over when its holder is silent, and
//! has a number that only grows, by which readers and stores can tell a late writer from the one that counts.

use std::time::Duration;

use salvor_seal::age::Recipient;

use crate::claim::{Claim, ClaimPolicy, Purpose};
use crate::error::{Error, Result};
use crate::location::Location;
use crate::run::RunId;

/// The right to write a stream.
#[derive(Debug)]
pub struct Writer {
    claim: Claim,
    /// Whom its objects are encrypted to.
    recipients: Vec<Recipient>,
}

impl Location {
    /// Takes the place of the writer called `name`, when it is free or its holder was silent for `lease`.
    ///
    /// # Errors
    /// [`Error::Busy`] while another holds it; no recipients are pinned; the location cannot be written.
    pub async fn become_writer(&self, name: &str, run: &RunId, lease: Duration) -> Result<Writer> {
        let recipients = self.recipients().await?;
        let prepared = self.prepare().await?;
        let policy = ClaimPolicy {
            lease,
            // Two may be lost.
            heartbeat: lease / 4,
            ..self.claims.clone()
        };
        let location = self.clone().with_claim_policy(policy);
        let claim = Claim::take(&location, &prepared, "capture", name, run, Purpose::Write);
        Ok(Writer {
            claim: claim.await?,
            recipients,
        })
    }
}

impl Writer {
    /// The fencing number: that of a later writer is higher.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.claim.number()
    }

    /// Whom objects are encrypted to.
    #[must_use]
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// Fails when another has taken the place, or may have.
    ///
    /// # Errors
    /// [`Error::ClaimLost`], or the store fails.
    pub async fn assert_held(&self) -> Result<()> {
        self.claim.assert_held().await
    }

    /// Gives the place up, so that the next one need not wait.
    pub async fn close(self) {
        self.claim.close().await;
    }
}

impl Error {
    /// True when somebody else holds what was asked for, or took it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::ClaimLost { .. })
    }
}
