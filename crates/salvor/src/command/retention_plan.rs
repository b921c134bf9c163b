//! `retention plan`.

use std::collections::{BTreeMap, BTreeSet};

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::meta::StringMap;
use salvor_api::retention::{Guard, Inventory, RetentionPlan, Scope, group};
use salvor_api::velero::Backup;
use salvor_location::Archived;

use crate::args::retention::PlanArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Prints the plan for the location in use, made of what its backups say. Exit code 1 when something would go.
pub(crate) async fn run(args: &PlanArgs, session: &Session) -> Result<Exit, Failure> {
    let PlanArgs { keep, schedule } = args;
    let location = session.location_of(None).await?;
    let listing = location.backups().await?;
    for entry in &listing.damaged {
        let text = session.messages.damaged(&entry.name, &entry.reason);
        session.printer.warning(&text);
    }
    let archived = location.archived().await?;
    let restores = location.restores().await?;
    let used_by: StringMap = restores
        .entries
        .iter()
        .filter(|record| !record.finished)
        .map(|record| {
            let restore = &record.restore;
            let by = format!("restore {}", restore.metadata.name);
            (restore.spec.backup_name.clone(), by)
        })
        .collect();
    let label = schedule.as_deref().map(labels::label_value);
    let backups: Vec<_> = listing
        .entries
        .into_iter()
        .map(|record| {
            let mut backup = record.backup;
            let mark = archived.get(record.name.as_str()).map(Archived::mark);
            let key = labels::ARCHIVED.to_owned();
            let annotations = &mut backup.metadata.annotations;
            annotations.extend(mark.map(|mark| (key, mark)));
            backup
        })
        .filter(|backup| {
            let of = backup.metadata.labels.get(labels::SCHEDULE_NAME);
            label.is_none() || of == label.as_ref()
        })
        .collect();
    let verdicts = location.verdicts().await?;
    let holds = location.holds().await?;
    let holds: BTreeMap<String, Vec<String>> = holds
        .iter()
        .filter(|(_, holds)| !holds.active.is_empty())
        .map(|(name, holds)| (name.clone(), holds.reasons().map(str::to_owned).collect()))
        .collect();
    let inventory = Inventory {
        location: location.name(),
        // Without a cluster nothing is another one's.
        cluster: "",
        backups: &backups,
        schedules: &[],
        verified: &named(&backups, |backup| verdicts.is_sound(backup)),
        damaged: &named(&backups, |backup| verdicts.is_damaged(backup)),
        holds: &holds,
        used_by: &used_by,
    };
    let (mut series, unreadable) = group(&inventory);
    for problem in &unreadable {
        let cause = std::error::Error::source(problem).map(ToString::to_string);
        let text = format!("{problem}: {}", cause.unwrap_or_default());
        session.printer.warning(&text);
    }
    if let Some(policy) = keep {
        for one in &mut series {
            one.policy = Some(policy.clone());
            one.protected = true;
        }
    }
    let scope = Scope {
        location: location.name().to_owned(),
        now: Time::new(session.now()),
        store_clock: None,
        guard: Guard::default(),
    };
    let plan = RetentionPlan::new(&scope, series);
    session.printer.result(&plan.to_string())?;
    let goes = plan.series.iter().any(|one| one.removed().next().is_some());
    Ok(if goes { Exit::Differences } else { Exit::Done })
}

fn named(backups: &[Backup], chosen: impl Fn(&Backup) -> bool) -> BTreeSet<String> {
    let chosen = backups.iter().filter(|backup| chosen(backup));
    chosen.map(|backup| backup.metadata.name.clone()).collect()
}
