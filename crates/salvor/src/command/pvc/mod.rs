//! `pvc`: claims of a cluster.

pub(super) mod check;
mod expected;
mod words;

use crate::exit::Failure;

/// `NAMESPACE/NAME` of a claim.
pub(super) fn claim_name(text: &str) -> Result<(String, String), Failure> {
    match text.split('/').collect::<Vec<_>>().as_slice() {
        [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
            Ok(((*namespace).to_owned(), (*name).to_owned()))
        }
        _ => Err(
            Failure::usage(format!("`{text}` is not NAMESPACE/NAME of a claim"))
                .hint("for example shop/data-db-0"),
        ),
    }
}
