//! Pods between their hooks are written on the backup's object, so that who leads after a kill lets them go.

use salvor_api::labels;
use salvor_api::resource::GroupResource;
use salvor_api::velero::{Backup, BackupPhase};
use salvor_location::RunId;
use salvor_objects::hooks::{self, OpenHooks, OpenPod, Released};
use salvor_objects::rights::Right;

use super::modify;
use crate::context::Context;
use crate::events::EventType;
use crate::kinds::KindError;

/// The record of a run is no longer its own.
#[derive(Debug, thiserror::Error)]
#[error("the backup is gone or was given to another run")]
struct NotOurs;

/// Keeps the open pods of a run in an annotation of its backup.
pub(super) fn keep(context: &Context, name: &str, run: &RunId) -> OpenHooks {
    let (context, name, run) = (context.clone(), name.to_owned(), run.clone());
    OpenHooks::new(move |open: Vec<OpenPod>| {
        let (context, name, run) = (context.clone(), name.clone(), run.clone());
        async move {
            let kinds = context.kinds::<Backup>();
            let text = serde_json::to_string(&open)?;
            let written = modify(&kinds, &name, |backup: &mut Backup| {
                let annotations = &mut backup.metadata.annotations;
                let by = annotations.get(labels::RUN_ID);
                let ours = backup.status.phase == BackupPhase::InProgress
                    && by.is_some_and(|by| by == run.as_str());
                match open.is_empty() {
                    true => annotations.remove(labels::OPEN_HOOKS),
                    false => annotations.insert(labels::OPEN_HOOKS.to_owned(), text.clone()),
                };
                ours
            });
            match written.await? {
                Some(_) => Ok(()),
                None => Err(NotOurs.into()),
            }
        }
    })
}

/// The pods that a backup left open. A record that cannot be read names none; it is told of.
pub(super) fn open_pods(backup: &Backup) -> Vec<OpenPod> {
    let Some(text) = backup.metadata.annotations.get(labels::OPEN_HOOKS) else {
        return Vec::new();
    };
    serde_json::from_str(text).unwrap_or_else(|error| {
        let name = &backup.metadata.name;
        tracing::error!(%error, backup = name, "post hooks may not have run: their record cannot be read");
        Vec::new()
    })
}

/// Runs the post hooks of open pods, and writes on the backup what came of it.
///
/// # Errors
/// The object could not be written; the hooks are run once more then.
pub(super) async fn release(
    context: &Context,
    backup: &Backup,
    open: &[OpenPod],
) -> Result<(), KindError> {
    let name = &backup.metadata.name;
    // The list of these pods stands where others may write: whose pods are they?
    let pods = GroupResource::new("pods", "");
    let exec = |pod: &OpenPod| Right::new("create", &pods, Some(&pod.namespace)).of("exec");
    let rights = open.iter().map(exec).collect();
    let objections = context.authorizer.objections(backup, rights).await?;
    let released = match objections.is_empty() {
        true => hooks::release(&context.cluster, &backup.spec.hooks, open).await,
        false => Vec::new(),
    };
    let mut lines = Vec::new();
    if !objections.is_empty() {
        let line = format!("no post hook was run: {}", objections.join("; "));
        let events = &context.events;
        events.record(backup, EventType::Warning, "PostHooksNotRun", line.clone());
        lines.push(line);
    }
    for one in &released {
        let line = say(one);
        let well = one.problems.is_empty();
        let (kind, reason) = match well {
            true => (EventType::Normal, "PostHooksRun"),
            false => (EventType::Warning, "PostHooksNotRun"),
        };
        tracing::warn!(backup = name, pod = %one.pod, "{line}");
        context.events.record(backup, kind, reason, line.clone());
        lines.push(line);
    }
    let text = lines.join("; ");
    modify(&context.kinds(), name, |backup: &mut Backup| {
        backup.metadata.annotations.remove(labels::OPEN_HOOKS);
        backup.status.failure_reason.clone_from(&text);
        backup.status.phase == BackupPhase::InProgress
    })
    .await
    .map(drop)
}

fn say(released: &Released) -> String {
    let Released { pod, ran, problems } = released;
    match problems.as_slice() {
        [] => format!("pod {pod} was left between its hooks: {ran} post hooks were run now"),
        problems => format!(
            "pod {pod} was left between its hooks, and its post hooks may not have run, look at it: {}",
            problems.join("; ")
        ),
    }
}
