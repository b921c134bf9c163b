//! `backup get`: Velero's columns, sorting and dates.

use std::cmp::Reverse;

use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::meta::LabelSelector;
use salvor_api::velero::Backup;
use salvor_text::Table;
use salvor_text::duration::from_now;

use super::phase;

/// What the table shows beside the backups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Columns<'a> {
    /// Salvor's columns too.
    pub(crate) wide: bool,
    /// All labels as the last column.
    pub(crate) show_labels: bool,
    /// These labels as columns.
    pub(crate) label_columns: &'a [String],
    /// Where the backups are kept, in one word; shown when wide.
    pub(crate) durability: &'a str,
    /// Colour phases.
    pub(crate) color: bool,
}

/// Sorts as Velero's client does: by name, backups of one schedule from new to old.
pub(crate) fn sort(backups: &mut [Backup]) {
    backups.sort_by(|a, b| key(&a.metadata.name).cmp(&key(&b.metadata.name)));
}

/// Prefix and, for names that end in `-YYYYMMDDhhmmss`, the time in descending order.
fn key(name: &str) -> (&str, Reverse<&str>) {
    match name.rsplit_once('-') {
        Some((prefix, suffix))
            if suffix.len() == 14 && suffix.bytes().all(|b| b.is_ascii_digit()) =>
        {
            (prefix, Reverse(suffix))
        }
        _ => (name, Reverse("")),
    }
}

/// The table.
pub(crate) fn table(backups: &[Backup], columns: &Columns<'_>, now: Timestamp) -> String {
    let Columns {
        wide,
        show_labels,
        label_columns,
        durability,
        color,
    } = columns;
    let mut headers: Vec<String> = [
        "NAME",
        "STATUS",
        "ERRORS",
        "WARNINGS",
        "CREATED",
        "EXPIRES",
        "STORAGE LOCATION",
        "QUEUE POSITION",
        "SELECTOR",
    ]
    .map(str::to_owned)
    .to_vec();
    if *wide {
        headers.extend(["ITEMS", "CLUSTER", "KEPT"].map(str::to_owned));
    }
    let archived = |backup: &Backup| backup.metadata.annotations.get(labels::ARCHIVED).cloned();
    let any_archived = backups.iter().any(|backup| archived(backup).is_some());
    if any_archived {
        headers.push("ARCHIVED".to_owned());
    }
    headers.extend(label_columns.iter().map(|key| {
        let name = key.rsplit('/').next().unwrap_or(key);
        name.to_uppercase()
    }));
    if *show_labels {
        headers.push("LABELS".to_owned());
    }
    let mut table = Table::new(&headers);
    for backup in backups {
        let Backup {
            metadata,
            spec,
            status,
            ..
        } = backup;
        let state = if metadata.deletion_timestamp.is_some() {
            "Deleting"
        } else {
            status.phase.as_str()
        };
        let expires = status.expiration.or_else(|| {
            metadata
                .creation_timestamp
                .map(|created| created.plus(spec.effective_ttl().0))
        });
        let mut row = vec![
            metadata.name.clone(),
            phase(state, *color),
            status.errors.to_string(),
            status.warnings.to_string(),
            status
                .start_timestamp
                .map_or_else(|| "<nil>".to_owned(), Time::go_display),
            from_now(expires.map(Time::timestamp), now),
            spec.storage_location.clone(),
            match status.queue_position {
                0 => String::new(),
                position => position.to_string(),
            },
            spec.label_selector
                .as_ref()
                .map_or_else(|| "<none>".to_owned(), LabelSelector::display),
        ];
        if *wide {
            row.push(
                status
                    .progress
                    .map_or_else(String::new, |p| p.items_backed_up.to_string()),
            );
            row.push(annotation(backup, labels::CLUSTER_NAME).to_owned());
            row.push((*durability).to_owned());
        }
        if any_archived {
            row.push(archived(backup).unwrap_or_default());
        }
        row.extend(
            label_columns
                .iter()
                .map(|key| metadata.labels.get(key).cloned().unwrap_or_default()),
        );
        if *show_labels {
            let all: Vec<String> = metadata
                .labels
                .iter()
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            row.push(if all.is_empty() {
                "<none>".to_owned()
            } else {
                all.join(",")
            });
        }
        table.row(&row);
    }
    table.to_string()
}

/// An annotation, `<unknown>` when absent.
pub(crate) fn annotation<'a>(backup: &'a Backup, key: &str) -> &'a str {
    backup
        .metadata
        .annotations
        .get(key)
        .map_or("<unknown>", String::as_str)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use salvor_api::selector::Selector;
    use salvor_api::velero::{BackupPhase, BackupProgress};

    use super::*;

    fn backup(name: &str, phase: BackupPhase, start: Option<&str>) -> Backup {
        let mut backup = Backup::named("velero", name);
        backup.spec.storage_location = "default".into();
        backup.status.phase = phase;
        backup.status.start_timestamp = start.map(|text| text.parse().expect("time"));
        backup
    }

    fn samples() -> Vec<Backup> {
        let mut nightly = backup(
            "nightly-20261119020000",
            BackupPhase::PartiallyFailed,
            Some("2026-11-19T02:00:00Z"),
        );
        nightly.status.errors = 2;
        nightly.status.warnings = 1;
        nightly.status.expiration = Some("2026-11-17T02:00:00Z".parse().expect("time"));
        nightly
            .metadata
            .labels
            .insert(labels::SCHEDULE_NAME.into(), "nightly".into());
        let mut newer = backup(
            "nightly-20261120020000",
            BackupPhase::Completed,
            Some("2026-11-20T02:00:00Z"),
        );
        newer.metadata.creation_timestamp = Some("2026-11-20T02:00:00Z".parse().expect("time"));
        newer.spec.label_selector = Some(
            Selector::parse("app=shop")
                .expect("selector")
                .to_label_selector(),
        );
        newer.status.progress = Some(BackupProgress {
            total_items: 512,
            items_backed_up: 512,
        });
        newer
            .metadata
            .annotations
            .insert(labels::CLUSTER_NAME.into(), "seoul".into());
        let mut leaving = backup("adhoc", BackupPhase::Completed, None);
        leaving.metadata.deletion_timestamp = Some("2026-11-20T02:00:00Z".parse().expect("time"));
        let mut list = vec![
            nightly,
            newer,
            leaving,
            backup("fresh", BackupPhase::Unset, None),
        ];
        sort(&mut list);
        list
    }

    #[test]
    fn columns_are_those_of_velero() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("time");
        expect![[r#"
            NAME                     STATUS            ERRORS   WARNINGS   CREATED                         EXPIRES   STORAGE LOCATION   QUEUE POSITION   SELECTOR
            adhoc                    Deleting          0        0          <nil>                           n/a       default                             <none>
            fresh                    New               0        0          <nil>                           n/a       default                             <none>
            nightly-20261120020000   Completed         0        0          2026-11-20 02:00:00 +0000 UTC   29d       default                             app=shop
            nightly-20261119020000   PartiallyFailed   2        1          2026-11-19 02:00:00 +0000 UTC   3d ago    default                             <none>
        "#]]
        .assert_eq(&table(&samples(), &Columns::default(), now));
    }

    #[test]
    fn wide_tables_tell_where_backups_are_from_and_kept() {
        let now: Timestamp = "2026-11-20T12:00:00Z".parse().expect("time");
        let keys = [labels::SCHEDULE_NAME.to_owned()];
        let columns = Columns {
            wide: true,
            show_labels: true,
            label_columns: &keys,
            durability: "temporary",
            color: true,
        };
        let list: Vec<Backup> = samples().into_iter().skip(2).collect();
        let text = table(&list, &columns, now).replace('\u{1b}', "^");
        expect![[r#"
            NAME                     STATUS            ERRORS   WARNINGS   CREATED                         EXPIRES   STORAGE LOCATION   QUEUE POSITION   SELECTOR   ITEMS   CLUSTER     KEPT        SCHEDULE-NAME   LABELS
            nightly-20261120020000   ^[32mCompleted^[0m         0        0          2026-11-20 02:00:00 +0000 UTC   29d       default                             app=shop   512     seoul       temporary                   <none>
            nightly-20261119020000   ^[31mPartiallyFailed^[0m   2        1          2026-11-19 02:00:00 +0000 UTC   3d ago    default                             <none>             <unknown>   temporary   nightly         velero.io/schedule-name=nightly
        "#]]
        .assert_eq(&text);
    }
}
