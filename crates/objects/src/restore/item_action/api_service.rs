//! `apiservice`: those that the server keeps by itself are not restored.

use super::Item;
use crate::restore::body;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

const AUTO_MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

pub(super) fn run(item: &mut Item<'_>, _rules: &Rules) -> Result<(), Skip> {
    if body::labels(item.backed_up).contains_key(AUTO_MANAGED) {
        return Err(Skip::ManagedByServer("the API server registers it itself"));
    }
    Ok(())
}
