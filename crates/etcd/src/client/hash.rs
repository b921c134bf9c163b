//! The hash that members compare with each other.

use super::Error;
use super::calls::{Member, read};
use crate::protobuf::Message;

/// Hash of the versions of all keys up to a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hash {
    /// The hash.
    pub hash: u32,
    /// Revision up to which the member has compacted: hashes compare only where this is the same.
    pub compacted: u64,
}

impl Member {
    /// The member's hash of its own store up to a revision; 0 for its last one.
    ///
    /// # Errors
    /// It does not answer, refuses, or has not got that far.
    pub async fn hash(&mut self, revision: u64) -> Result<Hash, Error> {
        let call = "Maintenance/HashKV";
        let question = Message::new().integer(1, revision);
        let answer = self.channel.ask(call, question.finish()).await?;
        let mut hash = Hash::default();
        read(&self.channel, call, &answer, |number, field| {
            match number {
                2 => hash.hash = u32::try_from(field.integer()?).unwrap_or_default(),
                // Negative where nothing was compacted.
                3 => hash.compacted = u64::try_from(field.signed()?).unwrap_or_default(),
                _ => {}
            }
            Ok(())
        })?;
        Ok(hash)
    }
}
