//! `role-bindings`: subjects follow the namespace mapping.

use super::Item;
use crate::restore::mapping::map_subjects;
use crate::restore::rules::Rules;
use crate::restore::skip::Skip;

pub(super) fn run(item: &mut Item<'_>, rules: &Rules) -> Result<(), Skip> {
    map_subjects(item.body, &rules.namespaces);
    Ok(())
}
