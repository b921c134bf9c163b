//! One connection of a capture: where to go on, the watch, and what becomes of what it tells.

use std::collections::HashSet;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use salvor_location::{Digest, Location, Point};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::{Current, Plan, plan};
use super::{Capture, Ended, Error, Options, Told};
use crate::Clock;
use crate::chain::segment::{Belongs, Builder, Malformed};
use crate::chain::{CHAIN_RECORD, ChainRecord, Reason, Timeline};
use crate::client::{Event, Member, Watch, Watched};
use crate::clock::Steady;
use crate::points::{self, Details, Placement, Request};

/// Marks of one segment are at least so far apart.
const MARKS: Duration = Duration::from_millis(100);
/// How long the watch may be behind what the cluster says before it counts as silent.
const SILENCE: Duration = Duration::from_secs(5);
/// Leases that are remembered as written down; more are asked for twice.
const MOST_LEASES: usize = 1 << 16;

type BaseTaken<'a> = Pin<Box<dyn Future<Output = Result<Point, Error>> + Send + 'a>>;

/// A watch and what came of it.
pub(super) struct Session<'c, 'a> {
    pub(super) capture: &'c mut Capture<'a>,
    pub(super) cluster: u64,
    member: Member,
    endpoint: String,
    pub(super) chain: Current,
    builder: Builder,
    /// What is written down as times.
    clock: Steady,
    /// Whether the last transaction of the builder is complete.
    whole: bool,
    /// When the first change of the builder came.
    since: Option<Instant>,
    marked: Option<Instant>,
    /// When a segment was last written, or the watch began.
    quiet_since: Instant,
    /// When the cluster was found to be further than the watch.
    suspect: Option<Instant>,
    compacted: u64,
    /// Leases that are named in the builder and not written down yet, and those that are.
    new_leases: HashSet<i64>,
    leases: HashSet<i64>,
}

impl Capture<'_> {
    /// Captures over one connection, until it breaks or another chain must begin.
    pub(super) async fn connection(&mut self, turn: usize) -> Result<Ended, Error> {
        let mut member = self.connect(turn).await?;
        let status = member.status().await?;
        let cluster = status.cluster;
        if !self.hold(cluster).await? {
            return Ok(Ended::Stopped);
        }
        // With a majority: a member that is behind would look like a cluster that went back.
        let newest = member.linearizable_read().await?.revision;
        let auth = member.auth_revision().await?;
        let timeline = Timeline::load(self.location, cluster).await?;
        // They may have changed while nobody captured.
        let before = timeline.newest().and_then(|chain| chain.record.auth);
        let known = self.auth.or(before);
        if self.begin.is_none() && known.is_some_and(|known| auth.is_some_and(|auth| auth != known))
        {
            self.begin = Some(Reason::Auth);
        }
        self.auth = auth.or(known);
        let plan = plan(&timeline, self.begin, newest, self.options);
        let next = match &plan {
            Plan::Resume(_, last)
            | Plan::Begin {
                follows: Some((_, last)),
                ..
            } => last + 1,
            Plan::Begin { .. } => newest + 1,
        };
        let mut watch = member.watch(next).await?;
        let endpoint = member.endpoint().to_string();
        let opened = tokio::time::timeout(self.options.access.patience, watch.next()).await;
        match opened {
            Ok(Ok(Watched::Created)) => {}
            Ok(Ok(Watched::Compacted(_))) => return Ok(Ended::Begin(Reason::Compacted)),
            Ok(Ok(Watched::Cancelled(why))) => return Err(Error::Ended { endpoint, why }),
            Ok(Err(error)) => return Err(error.into()),
            Ok(Ok(Watched::Events { .. })) | Err(_) => {
                let why = "it did not say that it is there".to_owned();
                return Err(Error::Ended { endpoint, why });
            }
        }
        let chain = match plan {
            Plan::Resume(chain, _) => {
                (self.tell)(Told::Resumed {
                    chain: &chain.name,
                    next,
                });
                chain
            }
            Plan::Begin {
                number,
                reason,
                follows,
            } => {
                let follows = follows.map(|(name, _)| name);
                self.begin_chain(cluster, number, reason, follows, next)
                    .await?
            }
        };
        // What was asked for is there.
        self.begin = None;
        self.metrics.cluster = cluster;
        self.metrics.known = newest;
        self.metrics.captured = next - 1;
        if chain.base_bytes > 0 {
            self.metrics.full_bytes = chain.base_bytes;
        }
        let clock = Steady::new(&self.options.clock);
        let session = Session {
            capture: self,
            cluster,
            member,
            endpoint,
            chain,
            builder: Builder::new(next),
            clock,
            whole: true,
            since: None,
            marked: None,
            quiet_since: Instant::now(),
            suspect: None,
            compacted: 0,
            new_leases: HashSet::new(),
            leases: HashSet::new(),
        };
        session.go(watch).await
    }

    /// Writes the record of a chain: its watch is there.
    async fn begin_chain(
        &mut self,
        cluster: u64,
        number: u64,
        reason: Reason,
        follows: Option<String>,
        start: u64,
    ) -> Result<Current, Error> {
        let writer = self.held.as_ref().map_or(0, |held| held.writer.number());
        let name = format!("{number:06}-{}", salvor_location::RunId::generate());
        let record = ChainRecord {
            version: reason.version(),
            cluster: format!("{cluster:016x}"),
            chain: name.clone(),
            created: self.options.clock.now(),
            start,
            follows,
            writer,
            reason,
            auth: self.auth,
        };
        let mut body = serde_json::to_vec_pretty(&record).map_err(Error::Encode)?;
        body.push(b'\n');
        let key = format!("{}/{CHAIN_RECORD}", points::chain_folder(cluster, &name));
        self.location.create_small(&key, body.into()).await?;
        (self.tell)(Told::Chain {
            chain: &name,
            reason,
            start,
        });
        self.metrics.chains += 1;
        self.metrics.breaks += u64::from(reason.is_break());
        Ok(Current {
            name,
            start,
            created: record.created,
            previous: None,
            segments: 0,
            bytes: 0,
            base_bytes: 0,
            has_base: false,
        })
    }
}

/// Takes a base for a chain. It has a connection of its own.
async fn take_base(
    location: &Location,
    options: &Options,
    chain: String,
    start: u64,
    clock: Clock,
) -> Result<Point, Error> {
    let request = Request {
        endpoints: &options.endpoints,
        access: &options.access,
        folder: &options.folder,
        reason: Some("the base of a chain"),
        placement: Placement::Chain(Some(&chain)),
        clock: &clock,
    };
    let stop = CancellationToken::new();
    let (saved, point) = points::save(location, &request, &stop).await?;
    let revision = saved.status.store_revision();
    if revision + 1 < start {
        return Err(Error::OldBase { revision, start });
    }
    Ok(point)
}

impl Session<'_, '_> {
    async fn go(mut self, mut watch: Watch) -> Result<Ended, Error> {
        let (location, options) = (self.capture.location, self.capture.options);
        let stop = self.capture.stop.clone();
        let mut base: Option<BaseTaken<'_>> = None;
        if !self.chain.has_base {
            let (chain, start) = (self.chain.name.clone(), self.chain.start);
            let clock = self.clock.onward();
            base = Some(Box::pin(take_base(location, options, chain, start, clock)));
        }
        loop {
            let deadline = self.deadline();
            tokio::select! {
                () = stop.cancelled() => {
                    if self.whole && !self.builder.is_empty() {
                        self.commit().await?;
                    }
                    self.roll_up_rest().await;
                    return Ok(Ended::Stopped);
                }
                told = watch.next() => match told? {
                    Watched::Created => {}
                    Watched::Events { events, whole } => {
                        if !self.take(&events, whole)? {
                            return Ok(Ended::Begin(Reason::Gap));
                        }
                    }
                    Watched::Compacted(_) => return Ok(Ended::Begin(Reason::Compacted)),
                    Watched::Cancelled(why) => {
                        return Err(Error::Ended { endpoint: self.endpoint, why });
                    }
                },
                taken = taken(&mut base) => {
                    base = None;
                    self.based(&taken?).await?;
                }
                () = tokio::time::sleep_until(deadline) => {
                    if self.builder.is_empty() && !self.is_unchanged().await? {
                        continue;
                    }
                }
            }
            if self.is_due() {
                self.commit().await?;
                if let Some(reason) = self.is_over(base.is_some()).await? {
                    self.roll_up_rest().await;
                    return Ok(Ended::Begin(reason));
                }
            }
        }
    }

    /// Why another chain must begin behind what was written, if it must. One whose base is on its way goes on until that is
    /// there: what comes from then on has a base all the same.
    async fn is_over(&mut self, is_taking_base: bool) -> Result<Option<Reason>, Error> {
        if is_taking_base {
            return Ok(None);
        }
        let now = self.clock.now();
        if let Some(off) = self.clock.jumped() {
            tracing::warn!(seconds = off.as_secs(), "the clock of this host jumped");
            return Ok(Some(Reason::Clock));
        }
        // With every segment: a cluster that is never quiet has users, too.
        let auth = self.member.auth_revision().await?;
        if auth.is_some() && auth != self.capture.auth {
            return Ok(Some(Reason::Auth));
        }
        let is_long = self.chain.is_long(&self.capture.options.bounds, now);
        Ok(is_long.then_some(Reason::Bounds))
    }

    /// When something must be done although nothing comes.
    fn deadline(&self) -> Instant {
        let options = self.capture.options;
        match (self.since, self.suspect) {
            (Some(since), _) if self.whole => since + options.objective / 2,
            (_, Some(suspect)) => suspect + SILENCE,
            // The rest of a transaction comes, or the connection breaks.
            (Some(_), None) => Instant::now() + SILENCE,
            (None, None) => self.quiet_since + options.idle,
        }
    }

    fn is_due(&self) -> bool {
        let options = self.capture.options;
        match self.since {
            None => self.builder.is_empty() && self.quiet_since.elapsed() >= options.idle,
            Some(since) => {
                self.whole
                    && (since.elapsed() >= options.objective / 2
                        || self.builder.length() >= options.largest)
            }
        }
    }

    /// Takes changes; false when they do not join what is there.
    fn take(&mut self, events: &[Event], whole: bool) -> Result<bool, Error> {
        let now = self.clock.now();
        for event in events {
            let lease = match self.builder.push(event.deletion, &event.message, now) {
                Ok(lease) => lease,
                Err(Malformed::Order { expected, found }) => {
                    tracing::warn!(expected, found, "changes are missing");
                    return Ok(false);
                }
                Err(source) => {
                    let endpoint = self.endpoint.clone();
                    return Err(Error::Change { endpoint, source });
                }
            };
            if lease != 0 && !event.deletion && !self.leases.contains(&lease) {
                self.new_leases.insert(lease);
            }
        }
        self.whole = whole;
        self.suspect = None;
        let clock = Instant::now();
        self.since.get_or_insert(clock);
        if whole && self.marked.is_none_or(|marked| clock - marked >= MARKS) {
            self.builder.mark(now, self.compacted);
            self.marked = Some(clock);
        }
        let metrics = &mut self.capture.metrics;
        metrics.known = metrics.known.max(self.builder.last());
        Ok(true)
    }

    /// Asks the cluster whether the watch is silent because nothing changes. A segment may say so then.
    async fn is_unchanged(&mut self) -> Result<bool, Error> {
        let revision = self.member.linearizable_read().await?.revision;
        let (told, metrics) = (self.builder.last(), &mut self.capture.metrics);
        metrics.known = metrics.known.max(revision);
        if revision <= told {
            self.suspect = None;
            return Ok(true);
        }
        match self.suspect {
            Some(since) if since.elapsed() >= SILENCE => Err(Error::Silent {
                endpoint: self.endpoint.clone(),
                told,
                revision,
            }),
            // It may be on its way.
            Some(_) => Ok(false),
            None => {
                self.suspect = Some(Instant::now());
                Ok(false)
            }
        }
    }

    /// Notes a base.
    async fn based(&mut self, point: &Point) -> Result<(), Error> {
        let details = Details::of_point(point)?;
        let size: u64 = point.objects.iter().map(|object| object.size).sum();
        self.chain.has_base = true;
        self.chain.base_bytes = size;
        let metrics = &mut self.capture.metrics;
        metrics.bases += 1;
        metrics.base_bytes += size;
        metrics.full_bytes = size;
        (self.capture.tell)(Told::Base {
            point: point.id.as_str(),
            revision: details.revision,
        });
        self.capture.write_metrics().await
    }

    /// Writes what was collected as a segment, which commits it.
    async fn commit(&mut self) -> Result<(), Error> {
        // Before the question what the newest compaction is: what came up to here had happened by then.
        let now = self.clock.now();
        self.note_leases().await?;
        self.compacted = self.member.compacted(self.compacted).await?;
        self.builder.mark(now, self.compacted);
        let Some(held) = &self.capture.held else {
            return Ok(());
        };
        let belongs = Belongs {
            cluster: self.cluster,
            chain: &self.chain.name,
            writer: held.writer.number(),
            previous: self.chain.previous,
        };
        let content = self.builder.finish(&belongs, now).map_err(Error::Encode)?;
        let span = (self.builder.first(), self.builder.last());
        let (location, chain) = (self.capture.location, &self.chain.name);
        let content = Bytes::from(content);
        let created = held.create_segment(location, chain, span, content.clone());
        let (digest, size) = created.await?;
        self.committed(digest, size);
        self.roll_up(&content, size).await;
        self.capture.write_metrics().await
    }

    fn committed(&mut self, digest: Digest, size: u64) {
        let (last, changes) = (self.builder.last(), self.builder.changes());
        let waited = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.chain.previous = Some(digest);
        self.chain.segments += 1;
        self.chain.bytes += size;
        self.builder = Builder::new(last + 1);
        self.since = None;
        self.marked = None;
        self.quiet_since = Instant::now();
        let metrics = &mut self.capture.metrics;
        metrics.captured = last;
        metrics.last_segment = Some(self.capture.options.clock.now());
        metrics.segments += 1;
        metrics.changes += changes;
        metrics.states += u64::from(changes > 0);
        metrics.segment_bytes += size;
        metrics.lag = waited.as_secs_f64();
        metrics.worst_lag = metrics.worst_lag.max(metrics.lag);
        (self.capture.tell)(Told::Segment {
            last,
            changes,
            size,
            waited,
        });
    }

    /// Asks for how long the leases were granted that are named for the first time.
    async fn note_leases(&mut self) -> Result<(), Error> {
        if self.leases.len() > MOST_LEASES {
            self.leases.clear();
        }
        for id in std::mem::take(&mut self.new_leases) {
            // One that is gone is not written down; a restore gives it a time of its own.
            if let Some(ttl) = self.member.lease_ttl(id).await? {
                self.builder.lease(id, ttl);
            }
            self.leases.insert(id);
        }
        Ok(())
    }
}

/// The base when it is taken; never when none is.
async fn taken(base: &mut Option<BaseTaken<'_>>) -> Result<Point, Error> {
    match base {
        Some(base) => base.await,
        None => std::future::pending().await,
    }
}
