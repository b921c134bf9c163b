//! Segments that follow each other put together into one, which covers them.

use super::reading;
use super::segment::{END, HEADER, Header, MAGIC, Malformed, PREFIX, frame};

/// The content of segments of one chain that follow each other.
#[derive(Clone, Debug)]
pub struct Joined {
    header: Header,
    /// Changes, marks and leases.
    frames: Vec<u8>,
    changes: u64,
    parts: u64,
    /// Bytes of the objects that it was made of.
    stored: u64,
}

impl Joined {
    /// One segment, by its content and the bytes of its object.
    ///
    /// # Errors
    /// It is none.
    pub fn of(content: &[u8], stored: u64) -> Result<Self, Malformed> {
        let form = || Malformed::Form("it does not begin or end as one");
        let mut rest = content.strip_prefix(MAGIC).ok_or_else(form)?;
        let (kind, payload) = reading::next(&mut rest)?;
        if kind != HEADER {
            return Err(form());
        }
        let header = reading::read_header(payload)?;
        let end = rest.len().checked_sub(PREFIX + 8).ok_or_else(form)?;
        let (frames, mut end) = rest.split_at(end);
        let (kind, payload) = reading::next(&mut end)?;
        let changes = reading::numbers::<1>(payload).filter(|_| kind == END && end.is_empty());
        let [changes] = changes.ok_or_else(form)?;
        Ok(Self {
            header,
            frames: frames.to_vec(),
            changes,
            parts: 1,
            stored,
        })
    }

    /// Whether another one begins where this one ends, in the same chain.
    #[must_use]
    pub fn joins(&self, next: &Self) -> bool {
        self.header.last + 1 == next.header.first
            && self.header.chain == next.header.chain
            && self.header.cluster == next.header.cluster
    }

    /// Puts another one behind it, which [joins](Self::joins).
    pub fn push(&mut self, next: Self) {
        self.frames.extend_from_slice(&next.frames);
        self.header.last = next.header.last;
        self.header.ended = next.header.ended;
        self.changes += next.changes;
        self.parts += 1;
        self.stored += next.stored;
    }

    /// Bytes so far.
    #[must_use]
    pub fn length(&self) -> usize {
        self.frames.len()
    }

    /// How many were put together.
    #[must_use]
    pub fn parts(&self) -> u64 {
        self.parts
    }

    /// Bytes of the objects that it was made of.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.stored
    }

    /// Changes in it.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The first and the last revision.
    #[must_use]
    pub fn span(&self) -> (u64, u64) {
        (self.header.first, self.header.last)
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &str {
        &self.header.chain
    }

    /// One whose object has replaced those that it was made of.
    #[must_use]
    pub fn stored_as(self, stored: u64) -> Self {
        Self {
            parts: 1,
            stored,
            ..self
        }
    }

    /// The content of a segment that has all of it.
    ///
    /// # Errors
    /// The header cannot be written as JSON.
    pub fn content(&self, writer: u64) -> Result<Vec<u8>, serde_json::Error> {
        let header = Header {
            writer,
            ..self.header.clone()
        };
        let header = serde_json::to_vec(&header)?;
        let mut content = Vec::with_capacity(self.frames.len() + header.len() + 64);
        content.extend_from_slice(MAGIC);
        frame(&mut content, HEADER, &[&header]);
        content.extend_from_slice(&self.frames);
        frame(&mut content, END, &[&self.changes.to_be_bytes()]);
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::super::segment::{Belongs, Builder, Item, read};
    use super::*;
    use crate::protobuf::Message;
    use jiff::Timestamp;

    fn segment(first: u64, changes: u64, chain: &str) -> Vec<u8> {
        let now = Timestamp::UNIX_EPOCH;
        let mut builder = Builder::new(first);
        for main in first..first + changes {
            let message = Message::new().bytes(1, b"k").integer(2, main);
            let message = message.integer(3, main).integer(4, 1).bytes(5, b"v");
            builder.push(false, &message.finish(), now).expect("next");
        }
        builder.lease(first as i64, 60);
        builder.mark(now, 0);
        let belongs = Belongs {
            cluster: 7,
            chain,
            writer: 1,
            previous: None,
        };
        builder.finish(&belongs, now).expect("JSON")
    }

    #[test]
    fn what_is_put_together_has_everything_in_order() {
        let parts = [(5, 3), (8, 0), (8, 2)].map(|(first, changes)| segment(first, changes, "c"));
        let mut all = Vec::new();
        let mut joined: Option<Joined> = None;
        for part in &parts {
            read(part, |item| all.push(format!("{item:?}"))).expect("a segment");
            let part = Joined::of(part, 10).expect("a segment");
            joined = Some(match joined {
                None => part,
                Some(mut joined) => {
                    assert!(joined.joins(&part));
                    joined.push(part);
                    joined
                }
            });
        }
        let joined = joined.expect("three");
        assert_eq!((joined.span(), joined.changes()), ((5, 9), 5));
        assert_eq!((joined.parts(), joined.stored()), (3, 30));
        let content = joined.content(4).expect("JSON");
        let mut found = Vec::new();
        let header = read(&content, |item: Item<'_>| found.push(format!("{item:?}")));
        let header = header.expect("a segment");
        assert_eq!((header.first, header.last, header.writer), (5, 9, 4));
        assert_eq!(found, all);
        for other in [segment(11, 1, "c"), segment(9, 1, "c"), segment(10, 1, "d")] {
            assert!(!joined.joins(&Joined::of(&other, 1).expect("a segment")));
        }
    }

    #[test]
    fn what_is_cut_off_is_none() {
        let whole = segment(5, 2, "c");
        for length in 0..PREFIX + 20 {
            assert!(Joined::of(&whole[..length], 1).is_err(), "{length}");
        }
        assert!(Joined::of(&whole[..whole.len() - 1], 1).is_err());
    }
}
