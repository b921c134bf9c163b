//! What item actions make of an object that is taken.

use salvor_api::resource::ObjectKey;

use super::Collector;
use crate::backup::action::Acted;
use crate::backup::runlog::About;

impl Collector {
    /// Shows an object to the item actions: the body that they made of it, if it is another one; `None` when it
    /// is left out, which has been told then.
    pub(super) fn act(&self, key: &ObjectKey, body: &[u8]) -> Option<Option<Vec<u8>>> {
        match self.extension.act(key, body) {
            Acted::Untouched => Some(None),
            Acted::Left(reason) => {
                self.log
                    .info(About::Object(key), &format!("skipped: {reason}"));
                let skipped = &mut self.lock().counts.skipped;
                *skipped.entry("an item action leaves it out").or_default() += 1;
                None
            }
            Acted::Failed(reason) => {
                let text = format!("it was not backed up: {reason}");
                self.log.error(About::Object(key), &text);
                None
            }
            Acted::Taken {
                body,
                additional,
                warnings,
            } => {
                for warning in warnings {
                    self.log.warn(About::Object(key), &warning);
                }
                additional.into_iter().for_each(|key| self.want(key));
                Some(body)
            }
        }
    }
}
