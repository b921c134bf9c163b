//! The calls that a backup needs, and their messages.

use bytes::Bytes;
use salvor_seal::Secret;

use super::channel::{Channel, Messages};
use super::{Access, Endpoint, Error};
use crate::protobuf::{Malformed, Message, fields};

/// A connected member.
pub struct Member {
    pub(super) channel: Channel,
}

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Id of the cluster.
    pub cluster: u64,
    /// Its own id.
    pub member: u64,
    /// Revision of its store.
    pub revision: u64,
    /// Version of etcd, such as `3.5.16`.
    pub version: String,
    /// Bytes of its database.
    pub size: u64,
    /// Id of the leader it knows; 0: none.
    pub leader: u64,
    /// Term of its log.
    pub term: u64,
    /// Last entry of its log that it knows to be committed.
    pub index: u64,
    /// Whether it has no vote yet.
    pub is_learner: bool,
    /// What it finds wrong with itself.
    pub errors: Vec<String>,
}

/// What a read says of the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Revision of the store.
    pub revision: u64,
    /// Keys in the range.
    pub count: u64,
}

/// Kinds of alarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmKind {
    /// The quota of a member is used up.
    NoSpace,
    /// The data of a member differs from the others'.
    Corrupt,
}

/// An alarm that was raised and not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Who raised it.
    pub member: u64,
    /// What it is.
    pub kind: AlarmKind,
}

/// Header of every answer.
#[derive(Clone, Copy, Default)]
pub(super) struct Header {
    cluster: u64,
    member: u64,
    pub(super) revision: u64,
}

impl Header {
    pub(super) fn decode(message: &[u8]) -> Result<Self, Malformed> {
        let mut header = Self::default();
        for field in fields(message) {
            let field = field?;
            match field.number {
                1 => header.cluster = field.integer()?,
                2 => header.member = field.integer()?,
                3 => header.revision = field.integer()?,
                _ => {}
            }
        }
        Ok(header)
    }
}

impl Member {
    /// Connects, and says who asks.
    ///
    /// # Errors
    /// The member cannot be reached, is not trusted, or does not know the user.
    pub async fn connect(endpoint: &Endpoint, access: &Access) -> Result<Self, Error> {
        let mut channel = Channel::connect(endpoint, access).await?;
        if let Some((user, password)) = &access.user {
            let question = Message::new()
                .bytes(1, user.as_bytes())
                .bytes(2, password.expose().as_bytes());
            let call = "Auth/Authenticate";
            let answer = channel.ask(call, question.finish()).await?;
            let mut token = String::new();
            read(&channel, call, &answer, |number, field| {
                if number == 2 {
                    token = field.text()?;
                }
                Ok(())
            })?;
            channel.set_token(Secret::new(token));
        }
        Ok(Self { channel })
    }

    /// Where it is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.channel.endpoint()
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn status(&mut self) -> Result<Status, Error> {
        let call = "Maintenance/Status";
        let answer = self.channel.ask(call, Vec::new()).await?;
        let mut status = Status::default();
        read(&self.channel, call, &answer, |number, field| {
            match number {
                1 => {
                    let header = Header::decode(field.bytes()?)?;
                    status.cluster = header.cluster;
                    status.member = header.member;
                    status.revision = header.revision;
                }
                2 => status.version = field.text()?,
                3 => status.size = field.integer()?,
                4 => status.leader = field.integer()?,
                5 => status.index = field.integer()?,
                6 => status.term = field.integer()?,
                8 => status.errors.push(field.text()?),
                10 => status.is_learner = field.integer()? != 0,
                _ => {}
            }
            Ok(())
        })?;
        Ok(status)
    }

    /// Reads with the agreement of a majority, which says what the newest revision is.
    ///
    /// # Errors
    /// There is no majority, or it is refused.
    pub async fn linearizable_read(&mut self) -> Result<Range, Error> {
        let call = "KV/Range";
        // Counts one key that cannot be there: its name is a zero byte.
        let question = Message::new().bytes(1, b"\0").integer(9, 1);
        let answer = self.channel.ask(call, question.finish()).await?;
        let mut range = Range::default();
        read(&self.channel, call, &answer, |number, field| {
            match number {
                1 => range.revision = Header::decode(field.bytes()?)?.revision,
                4 => range.count = field.integer()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(range)
    }

    /// Alarms of all members.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn alarms(&mut self) -> Result<Vec<Alarm>, Error> {
        let call = "Maintenance/Alarm";
        let answer = self.channel.ask(call, Vec::new()).await?;
        let mut alarms = Vec::new();
        read(&self.channel, call, &answer, |number, field| {
            if number != 2 {
                return Ok(());
            }
            let (mut member, mut kind) = (0, None);
            for field in fields(field.bytes()?) {
                let field = field?;
                match (field.number, field.integer()?) {
                    (1, id) => member = id,
                    (2, 1) => kind = Some(AlarmKind::NoSpace),
                    (2, 2) => kind = Some(AlarmKind::Corrupt),
                    _ => {}
                }
            }
            alarms.extend(kind.map(|kind| Alarm { member, kind }));
            Ok(())
        })?;
        Ok(alarms)
    }

    /// Begins a snapshot.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn snapshot(&mut self) -> Result<Pieces, Error> {
        let messages = self
            .channel
            .stream("Maintenance/Snapshot", Vec::new())
            .await?;
        Ok(Pieces {
            messages,
            remaining: None,
        })
    }
}

pub(super) fn read(
    channel: &Channel,
    call: &'static str,
    answer: &[u8],
    mut take: impl FnMut(u32, crate::protobuf::Field<'_>) -> Result<(), Malformed>,
) -> Result<(), Error> {
    fields(answer)
        .try_for_each(|field| field.and_then(|field| take(field.number, field)))
        .map_err(|source| Error::Malformed {
            call,
            endpoint: channel.endpoint().to_string(),
            source,
        })
}

/// A snapshot as it comes.
pub struct Pieces {
    messages: Messages,
    remaining: Option<u64>,
}

impl Pieces {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or the member refused.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        let Some(message) = self.messages.next().await? else {
            return Ok(None);
        };
        let mut piece = Bytes::new();
        let mut remaining = 0;
        for field in fields(&message) {
            let taken = field.and_then(|field| {
                match field.number {
                    2 => remaining = field.integer()?,
                    3 => piece = message.slice_ref(field.bytes()?),
                    _ => {}
                }
                Ok(())
            });
            taken.map_err(|source| self.messages.malformed(source))?;
        }
        self.remaining = Some(remaining);
        Ok(Some(piece))
    }

    /// Bytes of the database that are still to come, as the member says; `None` before the first piece.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.remaining
    }
}
