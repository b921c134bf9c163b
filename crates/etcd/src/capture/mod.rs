//! Capturing every change of a running cluster into a location, within seconds.
//!
//! The watch is there before the base is taken, so that nothing falls between them. Changes are collected into segments
//! that commit themselves; what a killed capture had not written, the next one asks etcd for again. Where etcd does not
//! have it any more (compacted), or its history is another one, a new chain begins and it is said.
//!
//! Start with [`run`].

mod metrics;
mod plan;
mod rollup;
mod session;

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use salvor_location::points::Writer;
use salvor_location::{Digest, Location, RunId};
use tokio_util::sync::CancellationToken;

use crate::chain::{Reason, SegmentName, segment};
use crate::client::{self, Access, Endpoint, Member};
use crate::{Clock, points};

pub use metrics::Metrics;
pub use rollup::RollUps;

/// How often it is asked whether another writer is gone.
const STANDBY: Duration = Duration::from_secs(1);
/// First and longest pause after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// How changes are captured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Members, of which one is asked at a time.
    pub endpoints: Vec<String>,
    /// Who asks.
    pub access: Access,
    /// Folder for the base while it is verified and sent.
    pub folder: PathBuf,
    /// How old the newest change that is not in the location may be: a segment is closed after half of it.
    pub objective: Duration,
    /// After so long without a change a segment says so.
    pub idle: Duration,
    /// Bytes of changes after which a segment is closed.
    pub largest: usize,
    /// How long a silent writer keeps its place.
    pub lease: Duration,
    /// What a chain may come to.
    pub bounds: Bounds,
    /// When segments are put together; `None`: never.
    pub roll_ups: Option<RollUps>,
    /// File for the metrics, in the text form of Prometheus.
    pub metrics: Option<PathBuf>,
    /// Tells the times that are written down.
    pub clock: Clock,
}

/// After these a new chain with a new base begins, so that a restore does not take longer and longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Segments.
    pub segments: u64,
    /// Bytes of segments, where the base is smaller.
    pub bytes: u64,
    /// Age.
    pub age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // A day of segments every 5 s.
            segments: 17_280,
            // Some seconds of a restore.
            bytes: 256 << 20,
            age: Duration::from_secs(24 * 3600),
        }
    }
}

/// What happened, for people to read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Told<'a> {
    /// Another writer has the place; it is waited for.
    Standby(&'a salvor_location::Error),
    /// A chain begins.
    Chain {
        /// Its name.
        chain: &'a str,
        /// Why.
        reason: Reason,
        /// The first revision that it captures.
        start: u64,
    },
    /// A chain is gone on with.
    Resumed {
        /// Its name.
        chain: &'a str,
        /// The next revision.
        next: u64,
    },
    /// A base is committed.
    Base {
        /// The point.
        point: &'a str,
        /// Its revision.
        revision: u64,
    },
    /// A segment is committed.
    Segment {
        /// The last revision in it.
        last: u64,
        /// Changes in it.
        changes: u64,
        /// Bytes of the object.
        size: u64,
        /// How long its oldest change waited.
        waited: Duration,
    },
    /// Segments were written once more, as one.
    RolledUp {
        /// The first revision in it.
        first: u64,
        /// The last one.
        last: u64,
        /// How many it has.
        segments: u64,
        /// Bytes of the object.
        size: u64,
    },
    /// Something failed; it is tried again.
    Trouble(&'a Error),
}

/// Why changes cannot be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No endpoint was named.
    #[error("no endpoint is named")]
    NoEndpoint,
    /// A member.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// The location.
    #[error(transparent)]
    Location(#[from] salvor_location::Error),
    /// A base.
    #[error(transparent)]
    Point(#[from] points::Error),
    /// What came from the watch is no change.
    #[error("read a change of {endpoint}")]
    Change {
        /// Who sent it.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: segment::Malformed,
    },
    /// The watch was ended.
    #[error("{endpoint} ended the watch: {why}")]
    Ended {
        /// Who.
        endpoint: String,
        /// Why.
        why: String,
    },
    /// The watch says nothing although something changed.
    #[error(
        "the watch of {endpoint} is silent: it told changes up to {told}, and the cluster is at {revision}"
    )]
    Silent {
        /// Whose.
        endpoint: String,
        /// The last revision that was told.
        told: u64,
        /// That of the cluster.
        revision: u64,
    },
    /// A base is older than what was captured behind it.
    #[error(
        "the base has revision {revision}, and changes are captured from {start} on: it is taken again"
    )]
    OldBase {
        /// Of the base.
        revision: u64,
        /// Of the chain.
        start: u64,
    },
    /// A record cannot be written as JSON.
    #[error("encode a record")]
    Encode(#[source] serde_json::Error),
    /// The file of the metrics.
    #[error("write metrics to {}", .path.display())]
    Metrics {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// True when trying again changes nothing: rights, flags, recipients.
    #[must_use]
    pub fn is_final(&self) -> bool {
        use salvor_location::Error as L;
        match self {
            Self::NoEndpoint | Self::Metrics { .. } | Self::Encode(_) => true,
            Self::Client(error) => error.is_usage() || error.is_denied(),
            Self::Location(error) | Self::Point(points::Error::Location(error)) => matches!(
                error,
                L::NoRecipients { .. }
                    | L::RecipientsDiffer { .. }
                    | L::Untrusted { .. }
                    | L::ReadOnly { .. }
                    | L::NewerFormat { .. }
            ),
            _ => false,
        }
    }
}

/// The right to write, and for which cluster.
struct Held {
    cluster: u64,
    writer: Writer,
}

impl Held {
    /// Creates a segment of a chain under its name, which commits it. Gives its digest and the bytes of its object.
    async fn create_segment(
        &self,
        location: &Location,
        chain: &str,
        (first, last): (u64, u64),
        content: Bytes,
    ) -> Result<(Digest, u64), Error> {
        self.writer.assert_held().await?;
        let (cluster, chain) = (self.cluster, chain.to_owned());
        let name = |digest: &Digest| {
            let name = SegmentName {
                first,
                last,
                digest: *digest,
            };
            name.key(cluster, &chain)
        };
        let recipients = self.writer.recipients();
        let created = location.create_segment(recipients, content, name);
        let (_, digest, size) = created.await?;
        Ok((digest, size))
    }
}

/// A capture across its connections.
struct Capture<'a> {
    location: &'a Location,
    options: &'a Options,
    stop: &'a CancellationToken,
    tell: &'a mut (dyn FnMut(Told<'_>) + Send),
    run: RunId,
    held: Option<Held>,
    /// A chain that must begin, whatever is there.
    begin: Option<Reason>,
    /// Users and roles, when they were last asked for.
    auth: Option<u64>,
    /// What is to be written once more.
    kept: rollup::Kept,
    metrics: Metrics,
}

/// How a connection ended, when it did not fail.
enum Ended {
    /// It was asked to stop, and everything that came is written.
    Stopped,
    /// Another chain must begin.
    Begin(Reason),
}

/// Captures changes until it is asked to stop. What fails is told and tried again, with the next member.
///
/// # Errors
/// What trying again cannot change ([`Error::is_final`]).
pub async fn run(
    location: &Location,
    options: &Options,
    stop: &CancellationToken,
    tell: &mut (dyn FnMut(Told<'_>) + Send),
) -> Result<Metrics, Error> {
    let mut capture = Capture {
        location,
        options,
        stop,
        tell,
        run: RunId::generate(),
        held: None,
        begin: None,
        auth: None,
        kept: rollup::Kept::default(),
        metrics: Metrics::default(),
    };
    let ended = capture.connections().await;
    if let Some(held) = capture.held.take() {
        held.writer.close().await;
    }
    ended.map(|()| capture.metrics)
}

impl Capture<'_> {
    async fn connections(&mut self) -> Result<(), Error> {
        let (first, longest) = PAUSES;
        let (mut pause, mut turn) = (first, 0_usize);
        while !self.stop.is_cancelled() {
            let before = self.metrics.segments;
            let ended = self.connection(turn).await;
            if self.metrics.segments > before {
                pause = first;
            }
            match ended {
                Ok(Ended::Stopped) => return Ok(()),
                Ok(Ended::Begin(reason)) => {
                    self.begin = Some(reason);
                    // One chain after the other with nothing in them would be a loop.
                    if self.metrics.segments > before {
                        continue;
                    }
                }
                Err(error) if self.is_final(&error) => return Err(error),
                Err(error) => {
                    (self.tell)(Told::Trouble(&error));
                    self.metrics.failures += 1;
                    self.write_metrics().await?;
                    if let Error::Location(salvor_location::Error::ClaimLost { .. }) = &error {
                        // Somebody else is the writer now; we are on standby again, as another run.
                        self.held = None;
                        self.run = RunId::generate();
                    }
                    turn += 1;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return Ok(()),
            }
            pause = (pause * 2).min(longest);
        }
        Ok(())
    }

    /// Whether a failure ends the capture. A user who had the rights has another token with the next connection.
    fn is_final(&self, error: &Error) -> bool {
        let had_rights = self.metrics.segments + self.metrics.bases > 0;
        let is_denied = matches!(error, Error::Client(error) if error.is_denied());
        error.is_final() && !(is_denied && had_rights)
    }

    /// The member whose turn it is.
    async fn connect(&self, turn: usize) -> Result<Member, Error> {
        let endpoints = &self.options.endpoints;
        let index = turn.checked_rem(endpoints.len()).ok_or(Error::NoEndpoint)?;
        let endpoint = Endpoint::new(&endpoints[index], &self.options.access)?;
        Ok(Member::connect(&endpoint, &self.options.access).await?)
    }

    /// Becomes the one writer for a cluster; waits while there is another. False when it was asked to stop.
    async fn hold(&mut self, cluster: u64) -> Result<bool, Error> {
        if let Some(held) = self.held.take() {
            if held.cluster == cluster {
                self.held = Some(held);
                return Ok(true);
            }
            held.writer.close().await;
        }
        let name = points::source_of(cluster);
        let mut told = false;
        loop {
            let taken = self
                .location
                .become_writer(&name, &self.run, self.options.lease);
            match taken.await {
                Ok(writer) => {
                    self.held = Some(Held { cluster, writer });
                    return Ok(true);
                }
                Err(error) if error.is_busy() => {
                    if !told {
                        (self.tell)(Told::Standby(&error));
                        told = true;
                    }
                }
                Err(error) => return Err(error.into()),
            }
            tokio::select! {
                () = tokio::time::sleep(STANDBY) => {}
                () = self.stop.cancelled() => return Ok(false),
            }
        }
    }

    async fn write_metrics(&self) -> Result<(), Error> {
        match &self.options.metrics {
            None => Ok(()),
            Some(path) => self.metrics.write(path).await,
        }
    }
}
