//! Item actions of users, between fetching an object and writing it.

use salvor_api::resource::ObjectKey;
use salvor_extension::{ActionKind, Actions, Occasion, Subject};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::extension::ask_blocking;

/// The actions of a run, and what they are told of it.
#[derive(Debug)]
pub(crate) struct Extension {
    pub(crate) actions: Actions,
    pub(crate) occasion: Occasion,
    pub(crate) cancel: CancellationToken,
}

/// What the actions make of an object.
#[derive(Debug, PartialEq)]
pub(crate) enum Acted {
    /// No action is about it.
    Untouched,
    /// It is written like this; a body when it was changed.
    Taken {
        body: Option<Vec<u8>>,
        additional: Vec<ObjectKey>,
        warnings: Vec<String>,
    },
    /// It is left out, for this reason.
    Left(String),
    /// It cannot be backed up, for this reason.
    Failed(String),
}

impl Extension {
    /// Asks the actions about an object. Blocks until they have answered.
    pub(crate) fn act(&self, key: &ObjectKey, body: &[u8]) -> Acted {
        let subject = Subject {
            kind: ActionKind::BackupItemAction,
            occasion: &self.occasion,
            key,
        };
        if !self.actions.may_apply(&subject) {
            return Acted::Untouched;
        }
        let object: Value = match serde_json::from_slice(body) {
            Ok(object) => object,
            Err(error) => return Acted::Failed(format!("it is not JSON: {error}")),
        };
        match ask_blocking(&self.actions, &subject, object.clone(), None, &self.cancel) {
            Err(failed) => Acted::Failed(failed.chain()),
            Ok(outcome) => match outcome.skip {
                Some(reason) => Acted::Left(reason),
                None => Acted::Taken {
                    // The bytes of an object that stays as it is stay the server's own.
                    body: (outcome.object != object)
                        .then(|| outcome.object.to_string().into_bytes()),
                    additional: outcome.additional,
                    warnings: outcome.warnings,
                },
            },
        }
    }
}
