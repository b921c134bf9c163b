//! What a plan archives: moved to its storage class here, one backup after another.

use std::sync::Arc;

use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::retention::RetentionPlan;
use salvor_api::velero::{AccessMode, Backup, LocationPhase};

use crate::backup::modify;
use crate::context::{Context, chain};
use crate::events::EventType;

/// Backups that are moved in one pass: a pass comes every hour, and whoever asks for a deletion meanwhile waits for it.
const AT_ONCE: usize = 50;

/// Archives what the plan says. A backup that cannot be moved says so and is tried again by the next pass.
pub(super) async fn carry_out(
    context: &Context,
    location: &str,
    plan: &RetentionPlan,
    backups: &[Arc<Backup>],
) {
    let wanted: Vec<(&str, &str)> = plan.to_archive().take(AT_ONCE).collect();
    if wanted.is_empty() {
        return;
    }
    let usable = context.storage_locations.get(location).filter(|object| {
        object.spec.access_mode != AccessMode::ReadOnly
            && object.status.phase != LocationPhase::Unavailable
    });
    let opened = match usable {
        Some(object) => context.locations.open(&object).await,
        None => return,
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            tracing::warn!(location, reason = chain(&error), "nothing is archived");
            return;
        }
    };
    for (name, class) in wanted {
        let Some(backup) = backups.iter().find(|b| b.metadata.name == name) else {
            continue;
        };
        let Ok(name) = BackupName::new(name) else {
            continue;
        };
        match opened.archive_backup(&name, class).await {
            Ok(archived) => {
                tracing::info!(backup = %name, class, "archived");
                let text = format!("moved to storage class {class}: {}", archived.mark());
                let events = &context.events;
                events.record(&**backup, EventType::Normal, "Archived", text);
                note(context, name.as_str(), archived.mark()).await;
            }
            Err(error) => {
                let advice = error.advice();
                let text = format!(
                    "not moved to storage class {class}: {}; {advice}",
                    chain(&error)
                );
                tracing::warn!(backup = %name, "{text}");
                let events = &context.events;
                events.record(&**backup, EventType::Warning, "ArchiveFailed", text);
            }
        }
    }
}

/// Writes into the object where the backup lies. Where that fails the next pass finds it there, and writes it then.
async fn note(context: &Context, name: &str, mark: String) {
    let kinds = context.kinds();
    let written = modify(&kinds, name, |backup: &mut Backup| {
        let annotations = &mut backup.metadata.annotations;
        annotations.insert(labels::ARCHIVED.to_owned(), mark.clone());
        true
    });
    if let Err(error) = written.await {
        tracing::debug!(
            backup = name,
            reason = chain(&error),
            "the mark was not written"
        );
    }
}
