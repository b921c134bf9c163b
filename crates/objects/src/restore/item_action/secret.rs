//! `secret`: service account tokens are valid for one service account incarnation only. Generated ones
//! are left out; those that a user made by hand come back empty and are filled by the server.

use serde_json::Value;

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

const TOKEN_TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

pub(super) fn run(item: &mut Item<'_>, _rules: &Rules) -> Result<(), Skip> {
    if body::text_at(item.body, &["type"]) != TOKEN_TYPE {
        return Ok(());
    }
    let account = body::annotation(item.body, ACCOUNT_NAME);
    if item.key.name.starts_with(&format!("{account}-token-")) {
        return Err(Skip::ManagedByServer(
            "the token of a service account is generated for each incarnation",
        ));
    }
    drop_token(item.body);
    Ok(())
}

/// Removes what the token controller writes.
pub(super) fn drop_token(secret: &mut Value) {
    if body::text_at(secret, &["type"]) != TOKEN_TYPE {
        return;
    }
    if let Some(data) = body::map_at_mut(secret, &["data"]) {
        for key in ["token", "ca.crt", "namespace"] {
            data.shift_remove(key);
        }
        if data.is_empty() {
            body::remove_at(secret, &["data"]);
        }
    }
    body::drop_annotations(secret, &[ACCOUNT_UID]);
}
