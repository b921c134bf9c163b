//! The watch, and the few questions that a capture of changes asks beside it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;

use super::calls::{Header, Range, read};
use super::channel::Messages;
use super::{Error, Member};
use crate::protobuf::{Malformed, Message, fields};

/// gRPC's code for a revision that is compacted.
const OUT_OF_RANGE: u32 = 11;
/// gRPC's code for a call that a server does not have.
const UNIMPLEMENTED: u32 = 12;

/// A change as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whether the key was deleted.
    pub deletion: bool,
    /// The `mvccpb.KeyValue`, as it was sent.
    pub message: Bytes,
}

/// What a watch told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// It is there; nothing from its first revision on is missed.
    Created,
    /// Changes.
    Events {
        /// In order.
        events: Vec<Event>,
        /// False when more of the last transaction is to come.
        whole: bool,
    },
    /// It ended: the store is compacted up to this revision, and what was asked for is gone.
    Compacted(u64),
    /// It ended for another reason.
    Cancelled(String),
}

/// A watch of all keys.
pub struct Watch {
    messages: Messages,
    ready: VecDeque<Watched>,
}

impl Member {
    /// Watches all keys from a revision on. The first thing that is told is [`Watched::Created`].
    ///
    /// # Errors
    /// The member does not answer, or refuses.
    pub async fn watch(&mut self, start: u64) -> Result<Watch, Error> {
        // From the first key to the end: both are a zero byte. Fragments keep messages small.
        self.watch_range(b"\0", Some(b"\0"), start).await
    }

    async fn watch_range(
        &mut self,
        key: &[u8],
        end: Option<&[u8]>,
        start: u64,
    ) -> Result<Watch, Error> {
        let mut create = Message::new().bytes(1, key);
        if let Some(end) = end {
            create = create.bytes(2, end);
        }
        let create = create.integer(3, start).integer(8, 1).finish();
        let question = Message::new().bytes(1, &create).finish();
        // Nothing more is asked on it, so our side of the stream is closed; the server keeps its own open.
        let messages = self.channel.stream("Watch/Watch", question).await?;
        Ok(Watch {
            messages: messages.endless(),
            ready: VecDeque::new(),
        })
    }

    /// Up to which revision the store is compacted, where it is above `known` (0: none known); `known` otherwise.
    ///
    /// # Errors
    /// The member does not answer, or refuses.
    pub async fn compacted(&mut self, known: u64) -> Result<u64, Error> {
        // A read at a compacted revision is refused, without saying up to where it is.
        match self.read_at(known.max(1)).await {
            Ok(_) => return Ok(known),
            Err(Error::Refused { code, .. }) if code == OUT_OF_RANGE => {}
            Err(error) => return Err(error),
        }
        // A watch from there on is told.
        let patience = self.channel.patience();
        let mut watch = self.watch_range(b"\0", None, known.max(1)).await?;
        let told = async {
            loop {
                match watch.next().await? {
                    Watched::Compacted(revision) => return Ok(revision),
                    Watched::Cancelled(why) => return Err(watch.messages.wrong(why)),
                    Watched::Created | Watched::Events { .. } => {}
                }
            }
        };
        match tokio::time::timeout(patience, told).await {
            Ok(told) => told,
            Err(_) => Err(self.late("Watch/Watch", patience)),
        }
    }

    /// Reads at a revision with the agreement of a majority.
    async fn read_at(&mut self, revision: u64) -> Result<Range, Error> {
        let call = "KV/Range";
        let question = Message::new()
            .bytes(1, b"\0")
            .integer(4, revision)
            .integer(9, 1);
        let answer = self.channel.ask(call, question.finish()).await?;
        let mut range = Range::default();
        read(&self.channel, call, &answer, |number, field| {
            if number == 1 {
                range.revision = Header::decode(field.bytes()?)?.revision;
            }
            Ok(())
        })?;
        Ok(range)
    }

    /// Seconds that a lease was granted for; `None` when it is gone.
    ///
    /// # Errors
    /// The member does not answer, or refuses.
    pub async fn lease_ttl(&mut self, id: i64) -> Result<Option<i64>, Error> {
        let call = "Lease/LeaseTimeToLive";
        let question = Message::new().integer(1, id as u64).finish();
        let answer = match self.channel.ask(call, question).await {
            Ok(answer) => answer,
            Err(Error::Refused { message, .. }) if message.contains("lease not found") => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let (mut left, mut granted) = (0, 0);
        read(&self.channel, call, &answer, |number, field| {
            match number {
                3 => left = field.signed()?,
                4 => granted = field.signed()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok((left >= 0 && granted > 0).then_some(granted))
    }

    /// Number of the last change of users and roles; `None` where the member does not tell.
    ///
    /// # Errors
    /// The member does not answer, or refuses.
    pub async fn auth_revision(&mut self) -> Result<Option<u64>, Error> {
        let call = "Auth/AuthStatus";
        let answer = match self.channel.ask(call, Vec::new()).await {
            Ok(answer) => answer,
            // 3.4 has no such call.
            Err(Error::Refused { code, .. }) if code == UNIMPLEMENTED => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut revision = 0;
        read(&self.channel, call, &answer, |number, field| {
            if number == 3 {
                revision = field.integer()?;
            }
            Ok(())
        })?;
        Ok(Some(revision))
    }

    fn late(&self, call: &'static str, patience: Duration) -> Error {
        Error::Timeout {
            call,
            endpoint: self.channel.endpoint().to_string(),
            patience,
        }
    }
}

impl Watch {
    /// What is told next; waits as long as it takes. Cancel safe.
    ///
    /// # Errors
    /// The connection broke, or what came is no answer.
    pub async fn next(&mut self) -> Result<Watched, Error> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(ready);
            }
            let Some(message) = self.messages.next().await? else {
                return Err(self.messages.wrong("the watch ended"));
            };
            let told = decode(&message).map_err(|source| self.messages.malformed(source))?;
            self.ready.extend(told);
        }
    }
}

fn decode(message: &Bytes) -> Result<Vec<Watched>, Malformed> {
    let (mut created, mut cancelled, mut fragment, mut compacted) = (false, false, false, 0);
    let mut reason = String::new();
    let mut events = Vec::new();
    for field in fields(message) {
        let field = field?;
        match field.number {
            3 => created = field.integer()? != 0,
            4 => cancelled = field.integer()? != 0,
            5 => compacted = field.integer()?,
            6 => reason = field.text()?,
            7 => fragment = field.integer()? != 0,
            11 => events.push(event(message, field.bytes()?)?),
            _ => {}
        }
    }
    let mut told = Vec::new();
    if created {
        told.push(Watched::Created);
    }
    if !events.is_empty() {
        told.push(Watched::Events {
            events,
            whole: !fragment,
        });
    }
    // Of a compaction the reason is empty.
    if compacted > 0 {
        told.push(Watched::Compacted(compacted));
    } else if cancelled {
        told.push(Watched::Cancelled(format!(
            "the watch was cancelled: {reason}"
        )));
    }
    Ok(told)
}

fn event(message: &Bytes, bytes: &[u8]) -> Result<Event, Malformed> {
    let (mut deletion, mut change) = (false, Bytes::new());
    for field in fields(bytes) {
        let field = field?;
        match field.number {
            1 => deletion = field.integer()? == 1,
            2 => change = message.slice_ref(field.bytes()?),
            _ => {}
        }
    }
    Ok(Event {
        deletion,
        message: change,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_in_their_parts() {
        let change = Message::new().bytes(1, b"k").integer(3, 9).finish();
        let put = Message::new().bytes(2, &change).finish();
        let deleted = Message::new().integer(1, 1).bytes(2, &change).finish();
        let message = Message::new()
            .integer(7, 1)
            .bytes(11, &put)
            .bytes(11, &deleted)
            .finish();
        let told = decode(&message.into()).expect("an answer");
        let Some(Watched::Events { events, whole }) = told.first() else {
            panic!("{told:?}");
        };
        assert!(!whole);
        assert_eq!(
            events
                .iter()
                .map(|event| event.deletion)
                .collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(events[0].message, change);
        let created = Message::new().integer(3, 1).finish();
        assert_eq!(decode(&created.into()), Ok(vec![Watched::Created]));
        let compacted = Message::new().integer(4, 1).integer(5, 70).finish();
        assert_eq!(decode(&compacted.into()), Ok(vec![Watched::Compacted(70)]));
        let cancelled = Message::new().integer(4, 1).bytes(6, b"denied").finish();
        let told = decode(&cancelled.into()).expect("an answer");
        assert!(matches!(&told[..], [Watched::Cancelled(why)] if why.ends_with("denied")));
    }
}
