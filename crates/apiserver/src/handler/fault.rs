//! What injected faults do to a request.

use salvor_api::resource::GroupResource;

use super::Handler;
use crate::faults::{Fault, RequestRecord};
use crate::status::Failure;

/// What becomes of the request.
pub(super) enum Effect {
    None,
    Refuse(Failure),
    Break,
    LoseAnswer,
    CutAfter(usize),
}

impl Handler {
    /// Lets one fault act on a request.
    pub(super) async fn meet(&self, record: &RequestRecord, fault: Fault) -> Effect {
        let resource = record
            .resource
            .clone()
            .unwrap_or_else(|| GroupResource::new("", ""));
        let name = record.name.as_deref().unwrap_or_default();
        match fault {
            Fault::TooManyRequests { retry_after } => Effect::Refuse(
                Failure::new(
                    429,
                    "TooManyRequests",
                    "The server has received too many requests and has asked us to try again later",
                )
                .retry_after(retry_after),
            ),
            Fault::ServerError(503) => Effect::Refuse(
                Failure::new(
                    503,
                    "ServiceUnavailable",
                    "the server is currently unable to handle the request",
                )
                .retry_after(1),
            ),
            Fault::ServerError(504) => {
                Effect::Refuse(Failure::new(504, "Timeout", "the request timed out").retry_after(1))
            }
            Fault::ServerError(code) => Effect::Refuse(Failure::new(
                code,
                "InternalError",
                "an injected internal error",
            )),
            Fault::Conflict => Effect::Refuse(Failure::modified(&resource, name)),
            Fault::Forbidden => {
                let verb = &record.verb;
                let why = format!(
                    "User \"injected\" cannot {verb} resource \"{}\" in API group \"{}\"",
                    resource.resource, resource.group
                );
                Effect::Refuse(Failure::forbidden(&resource, name, &why))
            }
            Fault::Expired => Effect::Refuse(Failure::expired(
                "The provided continue parameter is too old to display a consistent list result.",
            )),
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                Effect::None
            }
            Fault::ConnectionLost => Effect::Break,
            Fault::LostAnswer => Effect::LoseAnswer,
            Fault::CutAfter(count) => Effect::CutAfter(count),
            Fault::DeniedByWebhook {
                ref webhook,
                ref message,
                code,
                ref until,
            } => {
                let allowed = match until {
                    Some(key) => matches!(self.store.get(key, "").await, Ok(Some(_))),
                    None => false,
                };
                if allowed {
                    self.faults.spare(record, &fault);
                    return Effect::None;
                }
                let reason = if code == 403 {
                    "Forbidden"
                } else {
                    "BadRequest"
                };
                let message =
                    format!("admission webhook \"{webhook}\" denied the request: {message}");
                Effect::Refuse(Failure::new(code, reason, message))
            }
            Fault::GroupUnavailable => Effect::Refuse(
                Failure::new(
                    503,
                    "ServiceUnavailable",
                    "the server is currently unable to handle the request",
                )
                .retry_after(1),
            ),
        }
    }
}
