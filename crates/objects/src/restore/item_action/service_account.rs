//! `service-account`: the generated token secret belongs to the old incarnation.

use serde_json::Value;

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

pub(super) fn run(item: &mut Item<'_>, _rules: &Rules) -> Result<(), Skip> {
    drop_token_secrets(item.body);
    Ok(())
}

/// Removes `<name>-token-*` from the account's secrets.
pub(super) fn drop_token_secrets(account: &mut Value) {
    let prefix = format!("{}-token-", body::text_at(account, &["metadata", "name"]));
    if let Some(secrets) = body::list_at_mut(account, &["secrets"]) {
        secrets.retain(|secret| !body::text_at(secret, &["name"]).starts_with(&prefix));
        if secrets.is_empty() {
            body::remove_at(account, &["secrets"]);
        }
    }
}
