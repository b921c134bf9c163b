//! `restore get`: Velero's columns.

use salvor_api::go::Time;
use salvor_api::meta::LabelSelector;
use salvor_api::velero::Restore;
use salvor_text::Table;

use super::phase;

/// The table, sorted by name.
pub(crate) fn table(restores: &[Restore], color: bool) -> String {
    let mut sorted: Vec<&Restore> = restores.iter().collect();
    sorted.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    let mut table = Table::new(&[
        "NAME",
        "BACKUP",
        "STATUS",
        "STARTED",
        "COMPLETED",
        "ERRORS",
        "WARNINGS",
        "CREATED",
        "SELECTOR",
    ]);
    for restore in sorted {
        let Restore {
            metadata,
            spec,
            status,
            ..
        } = restore;
        let time = |time: Option<Time>| time.map_or_else(|| "<nil>".to_owned(), Time::go_display);
        let state = if metadata.deletion_timestamp.is_some() {
            "Deleting"
        } else {
            status.phase.as_str()
        };
        table.row(&[
            metadata.name.clone(),
            spec.backup_name.clone(),
            phase(state, color),
            time(status.start_timestamp),
            time(status.completion_timestamp),
            status.errors.to_string(),
            status.warnings.to_string(),
            time(metadata.creation_timestamp),
            spec.label_selector
                .as_ref()
                .map_or_else(|| "<none>".to_owned(), LabelSelector::display),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use salvor_api::velero::RestorePhase;

    use super::*;

    #[test]
    fn columns_are_those_of_velero() {
        let mut done = Restore::named("velero", "nightly-20261120030000");
        done.spec.backup_name = "nightly".into();
        done.status.phase = RestorePhase::Completed;
        done.status.warnings = 3;
        let time = "2026-11-20T03:00:00Z".parse().ok();
        done.metadata.creation_timestamp = time;
        done.status.start_timestamp = time;
        done.status.completion_timestamp = "2026-11-20T03:00:09Z".parse().ok();
        let mut fresh = Restore::named("velero", "a");
        fresh.spec.backup_name = "nightly".into();
        expect![[r#"
            NAME                     BACKUP    STATUS      STARTED                         COMPLETED                       ERRORS   WARNINGS   CREATED                         SELECTOR
            a                        nightly   New         <nil>                           <nil>                           0        0          <nil>                           <none>
            nightly-20261120030000   nightly   Completed   2026-11-20 03:00:00 +0000 UTC   2026-11-20 03:00:09 +0000 UTC   0        3          2026-11-20 03:00:00 +0000 UTC   <none>
        "#]]
        .assert_eq(&table(&[done, fresh], false));
    }
}
