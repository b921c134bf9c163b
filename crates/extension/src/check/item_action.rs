//! An item action: `docs/formats/extensions.md`.

use salvor_api::resource::ObjectKey;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Report, expect};
use crate::actions::{Actions, Outcome, Subject};
use crate::error::CallError;
use crate::message::{ActionKind, Occasion};

/// Asks an action about an object, more than once. That it refuses the object is its right.
pub async fn check_item_action(
    actions: &Actions,
    kind: ActionKind,
    key: &ObjectKey,
    object: &Value,
) -> Report {
    let occasion = Occasion {
        backup: "salvor-check".to_owned(),
        restore: (kind == ActionKind::RestoreItemAction).then(|| "salvor-check".to_owned()),
    };
    let subject = Subject {
        kind,
        occasion: &occasion,
        key,
    };
    let backed_up = (kind == ActionKind::RestoreItemAction).then_some(object);
    let cancel = CancellationToken::new();
    let ask = || async {
        match actions
            .ask(&subject, object.clone(), backed_up, &cancel)
            .await
        {
            Ok(outcome) => Ok(Ok(outcome)),
            Err(failed) => match failed.source {
                CallError::Refused(reason) => Ok(Err(reason)),
                _ => Err(failed.chain()),
            },
        }
    };
    let mut report = Report::default();
    let first: Result<Result<Outcome, String>, String> = ask().await;
    report.note(
        "its answer is one of the contract, about the object that it was asked about",
        first.as_ref().map(drop).map_err(Clone::clone),
    );
    if let Ok(first) = first {
        let again = ask().await;
        let seen = again.and_then(|again| expect(again == first, || format!("{again:?}")));
        report.note("the same question gets the same answer", seen);
    }
    report
}
