//! Who belongs to the cluster, and changes of that.

use super::Error;
use super::calls::{Member, read};
use crate::membership;
use crate::protobuf::{Field, Malformed, Message, fields};

/// gRPC's code for what is not there.
const NOT_FOUND: u32 = 5;

impl Member {
    /// The members, as this one knows them: it answers without a majority too, and may be behind.
    ///
    /// # Errors
    /// It does not answer, or refuses.
    pub async fn members(&mut self) -> Result<Vec<membership::Member>, Error> {
        // Versions from 3.5 ask a majority where nothing is said; older ones know no such field.
        let question = Message::new().integer(1, 0).finish();
        self.told("Cluster/MemberList", 2, question).await
    }

    /// Adds a member that has no vote until it is promoted, and returns it.
    ///
    /// # Errors
    /// There is no majority; addresses are those of another member; there is a learner already; it is refused.
    pub async fn add_learner(&mut self, peer_urls: &[String]) -> Result<membership::Member, Error> {
        let call = "Cluster/MemberAdd";
        let urls = peer_urls.iter();
        let question = urls.fold(Message::new(), |message, url| {
            message.bytes(1, url.as_bytes())
        });
        let added = self.told(call, 2, question.integer(2, 1).finish()).await?;
        match <[_; 1]>::try_from(added) {
            Ok([added]) => Ok(added),
            Err(several) => Err(Error::Answer {
                call,
                endpoint: self.channel.endpoint().to_string(),
                why: format!("{} members came where one was added", several.len()),
            }),
        }
    }

    /// Gives a learner its vote.
    ///
    /// # Errors
    /// It has not caught up yet ([`Error::is_not_ready`]), has a vote already, or is none.
    pub async fn promote(&mut self, id: u64) -> Result<(), Error> {
        let question = Message::new().integer(1, id).finish();
        self.told("Cluster/MemberPromote", 2, question)
            .await
            .map(drop)
    }

    /// Takes a member out of the cluster, for ever: its id does not come back.
    ///
    /// # Errors
    /// There is no majority, or would be none without it; there is no such member ([`Error::is_unknown_member`]).
    pub async fn remove(&mut self, id: u64) -> Result<(), Error> {
        let question = Message::new().integer(1, id).finish();
        self.told("Cluster/MemberRemove", 2, question)
            .await
            .map(drop)
    }

    /// Makes another member the leader; asked of the leader.
    ///
    /// # Errors
    /// It is not the leader, or the other one cannot become it.
    pub async fn move_leader(&mut self, to: u64) -> Result<(), Error> {
        let question = Message::new().integer(1, to).finish();
        self.channel
            .ask("Maintenance/MoveLeader", question)
            .await
            .map(drop)
    }

    /// A call whose answer holds members in a field.
    async fn told(
        &mut self,
        call: &'static str,
        number: u32,
        question: Vec<u8>,
    ) -> Result<Vec<membership::Member>, Error> {
        let answer = self.channel.ask(call, question).await?;
        let mut members = Vec::new();
        read(&self.channel, call, &answer, |found, field| {
            if found == number {
                members.push(member(field)?);
            }
            Ok(())
        })?;
        Ok(members)
    }
}

fn member(field: Field<'_>) -> Result<membership::Member, Malformed> {
    let mut member = membership::Member {
        id: 0,
        peer_urls: Vec::new(),
        is_learner: false,
        name: String::new(),
        client_urls: Vec::new(),
    };
    for field in fields(field.bytes()?) {
        let field = field?;
        match field.number {
            1 => member.id = field.integer()?,
            2 => member.name = field.text()?,
            3 => member.peer_urls.push(field.text()?),
            4 => member.client_urls.push(field.text()?),
            5 => member.is_learner = field.integer()? != 0,
            _ => {}
        }
    }
    member.peer_urls.sort();
    Ok(member)
}

impl Error {
    /// True when a learner has not caught up yet, or the cluster is not settled enough to be changed: it is worth asking again.
    #[must_use]
    pub fn is_not_ready(&self) -> bool {
        match self {
            // Its codes for these differ from version to version, its words do not.
            Self::Refused { message, .. } => ["in sync with leader", "unhealthy cluster"]
                .iter()
                .any(|words| message.contains(words)),
            _ => false,
        }
    }

    /// True when the cluster has no member with that id (any more).
    #[must_use]
    pub fn is_unknown_member(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == NOT_FOUND)
    }
}
