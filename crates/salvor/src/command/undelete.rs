//! `undelete`.

use std::collections::{BTreeMap, BTreeSet};

use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::name::BackupName;
use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_api::velero::{BackupPhase, DEFAULT_ITEM_OPERATION_TIMEOUT, Restore};
use salvor_cluster::{Cluster, DiscoverOptions};
use salvor_location::{Location, RunId};
use salvor_objects::restore::plan::Action;
use salvor_objects::restore::{self, RestoreOptions, RestoreRequest, Source};
use salvor_text::Table;

use crate::args::{DamageArgs, UndeleteArgs};
use crate::command::{read, records, restore_create};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Brings one object back with what it needs, or a namespace with all that was in it.
pub(crate) async fn run(args: &UndeleteArgs, session: &Session) -> Result<Exit, Failure> {
    let UndeleteArgs {
        object,
        from_backup,
        damage,
        record,
        dry_run,
        confirm,
    } = args;
    let wanted = Wanted::parse(object, session.global.namespace.as_deref())?;
    let location = session
        .without_namespace()
        .location_of(from_backup.as_deref())
        .await?;
    let cluster = session.cluster(None).await?;
    let candidates = match from_backup {
        Some(name) => vec![read::backup_name(name)?],
        None => newest_first(&location, &cluster.identity().await?.uid, session).await?,
    };
    let (backup, source, key) =
        first_with(&wanted, &candidates, *damage, &location, &cluster, session).await?;
    let mut needed = source.closure(std::slice::from_ref(&key)).await?;
    needed
        .keys
        .extend(lost_with(&key, &mut needed.missing, &source));
    for (missing, by) in &needed.missing {
        let text = session
            .messages
            .reference_missing(&shown(by), &shown(missing));
        session.printer.warning(&text);
    }
    // Two undeletes may begin in the same second, so the run names it.
    let run = RunId::generate();
    let name = read::restore_name(&format!("{backup}-undelete-{run}"))?;
    let mut restore = Restore::named("velero", name.as_str());
    restore.metadata.creation_timestamp = Some(Time::new(session.now()));
    restore.spec.backup_name = backup.to_string();
    restore.spec.item_operation_timeout = DEFAULT_ITEM_OPERATION_TIMEOUT;
    let options = RestoreOptions {
        only: Some(needed.keys),
        skip_damaged: damage.skip_damaged,
        ..RestoreOptions::default()
    };
    let request = RestoreRequest {
        options: restore_create::with_movers(options, &cluster, &location, session).await,
        cluster,
        source,
        restore,
    };
    let plan = Box::pin(restore::plan(&request, &session.cancel)).await?;
    let preview = session
        .messages
        .undelete_preview(&shown(&key), backup.as_str());
    session.printer.remark(&preview);
    let mut table = Table::new(&["ACTION", "RESOURCE", "NAME", "REASON"]);
    for entry in &plan.entries {
        let target = entry.target(&plan.header.rules);
        table.row(&[
            entry.action.as_str(),
            &target.resource.to_string(),
            &target.scoped_name(),
            entry.reason.as_deref().unwrap_or_default(),
        ]);
    }
    session.printer.result(&table.to_string())?;
    if *dry_run {
        session.printer.note(&session.messages.dry_run());
        return Ok(Exit::Done);
    }
    if !plan.entries.iter().any(|entry| entry.action.changes()) {
        let blocked = plan
            .entries
            .iter()
            .any(|entry| matches!(entry.action, Action::Blocked | Action::Conflict));
        session
            .printer
            .remark(&session.messages.nothing_to_undelete());
        return Ok(if blocked { Exit::Partial } else { Exit::Done });
    }
    restore_create::warn_of_other_cluster(&request, &plan, session);
    session.confirm(confirm.yes, &key.name).await?;
    let records = records::of_new(&name, &location, record, session).await?;
    restore_create::carry_out(&request, &records, plan, session).await
}

/// What belongs to the object and is lost in a damaged archive: it is asked for, so that the plan and the
/// results name it.
fn lost_with(
    root: &ObjectKey,
    missing: &mut BTreeMap<ObjectKey, ObjectKey>,
    source: &Source,
) -> Vec<ObjectKey> {
    let is_namespace = root.resource == GroupResource::new("namespaces", "");
    let lost = source.damage.iter().flat_map(|damage| &damage.lost);
    lost.map(|lost| &lost.key)
        .filter(|key| {
            let is_inside = is_namespace && key.namespace.as_deref() == Some(root.name.as_str());
            missing.remove(*key).is_some() || is_inside || *key == root
        })
        .cloned()
        .collect()
}

fn shown(key: &ObjectKey) -> String {
    format!("{} {}", key.resource, key.scoped_name())
}

/// `KIND/NAME` or `KIND/NAMESPACE/NAME`.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    kind: String,
    namespace: Option<String>,
    name: String,
}

impl Wanted {
    fn parse(text: &str, in_namespace: Option<&str>) -> Result<Self, Failure> {
        let parts: Vec<&str> = text.split('/').collect();
        let (kind, namespace, name) = match parts.as_slice() {
            [kind, name] => (kind, in_namespace, name),
            [kind, namespace, name] => (kind, Some(*namespace), name),
            _ => {
                return Err(Failure::usage(format!("`{text}` is not KIND/NAME"))
                    .hint("for example deployment/web or namespace/production"));
            }
        };
        if kind.is_empty() || name.is_empty() {
            return Err(Failure::usage(format!("`{text}` is not KIND/NAME")));
        }
        Ok(Self {
            kind: (*kind).to_lowercase(),
            namespace: namespace.map(str::to_owned),
            name: (*name).to_owned(),
        })
    }
}

/// The first of these backups that has the object. One that cannot be read ends the search: an older state is
/// not taken silently for a newer one.
async fn first_with(
    wanted: &Wanted,
    candidates: &[BackupName],
    damage: DamageArgs,
    location: &Location,
    cluster: &Cluster,
    session: &Session,
) -> Result<(BackupName, Source, ObjectKey), Failure> {
    let mut newest_failure = None;
    for backup in candidates {
        let source = read::source(location, backup, damage, session).await?;
        match find(wanted, cluster, &source, backup).await {
            Ok(key) => return Ok((backup.clone(), source, key)),
            Err(failure) if failure.exit == Exit::NotFound => {
                newest_failure.get_or_insert(failure);
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(match newest_failure {
        Some(failure) if candidates.len() == 1 => failure,
        _ => Failure::new(
            Exit::NotFound,
            format!(
                "none of the {} backups of this cluster in location `{}` has {}/{}",
                candidates.len(),
                location.name(),
                wanted.kind,
                wanted.name
            ),
        ),
    })
}

/// The backups of this cluster that can be restored, newest first. One that does not say which cluster it is
/// of, because Velero made it, counts as well.
///
/// One whose newest verification found damage is passed over: whoever wants it names it.
async fn newest_first(
    location: &Location,
    cluster_uid: &str,
    session: &Session,
) -> Result<Vec<BackupName>, Failure> {
    let mut records = location.backups().await?.entries;
    let verdicts = location.verdicts().await?;
    records.retain(|record| {
        let annotations = &record.backup.metadata.annotations;
        record.backup.status.phase.is_restorable()
            && annotations
                .get(labels::CLUSTER_UID)
                .is_none_or(|uid| uid == cluster_uid)
    });
    records.retain(|record| {
        let damaged = verdicts.is_damaged(&record.backup);
        if damaged {
            let text = session
                .messages
                .damaged_is_passed_over(record.name.as_str());
            session.printer.warning(&text);
        }
        !damaged
    });
    records.sort_by_key(|record| {
        let status = &record.backup.status;
        std::cmp::Reverse((
            status.start_timestamp,
            status.phase == BackupPhase::Completed,
        ))
    });
    if records.is_empty() {
        let name = location.name();
        let what = format!("location `{name}` has no backup of this cluster to restore from");
        return Err(Failure::new(Exit::NotFound, what).hint("name a backup with --from-backup"));
    }
    Ok(records.into_iter().map(|record| record.name).collect())
}

/// The one object of the backup that is meant.
async fn find(
    wanted: &Wanted,
    cluster: &Cluster,
    source: &Source,
    backup: &BackupName,
) -> Result<ObjectKey, Failure> {
    let archive = &source.archive;
    let doing = "ask the cluster what it serves";
    let discovery = cluster
        .discover(DiscoverOptions::default())
        .await
        .map_err(|error| Failure::from(error).while_doing(doing))?;
    let resources: Vec<GroupResource> = match discovery.resolve(&wanted.kind) {
        Some(resource) => vec![resource.group_resource()],
        // The definition may be what was deleted: the backup knows the plural.
        None => archive
            .index()
            .resources()
            .iter()
            .filter(|resource| {
                let plural = &resource.resource;
                let kind = &wanted.kind;
                resource.to_string() == *kind
                    || plural == kind
                    || plural.strip_suffix('s') == Some(kind)
                    || plural.strip_suffix("es") == Some(kind)
            })
            .cloned()
            .collect(),
    };
    if resources.is_empty() {
        return Err(Failure::new(
            Exit::NotFound,
            format!(
                "neither the cluster nor backup `{backup}` knows the kind `{}`",
                wanted.kind
            ),
        ));
    }
    let is_wanted = |resource: &GroupResource, namespace: Option<&str>, name: &str| {
        name == wanted.name
            && resources.contains(resource)
            && (wanted.namespace.is_none() || namespace == wanted.namespace.as_deref())
    };
    let found: BTreeSet<ObjectKey> = archive
        .index()
        .iter()
        .filter(|entry| is_wanted(entry.resource(), entry.namespace(), entry.name()))
        .map(|entry| entry.key())
        .collect();
    let lost = source.damage.iter().flat_map(|damage| &damage.lost);
    for lost in lost {
        // Of a lost namespace the contents may be there all the same.
        let key = &lost.key;
        let is_it = is_wanted(&key.resource, key.namespace.as_deref(), &key.name);
        if is_it && !archive.index().namespaces().contains(&key.name) {
            let what = format!("{} of backup `{backup}`: {}", shown(key), lost.reason);
            return Err(Failure::new(Exit::VerificationFailed, what)
                .hint("name another backup with --from-backup"));
        }
    }
    let mut found = found.into_iter();
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(Failure::new(
            Exit::NotFound,
            format!("backup `{backup}` has no {}/{}", wanted.kind, wanted.name),
        )
        .hint("name another backup with --from-backup")),
        (Some(one), Some(other)) => Err(Failure::usage(format!(
            "backup `{backup}` has several: {}, {}",
            one.scoped_name(),
            other.scoped_name()
        ))
        .hint("say which with -n NAMESPACE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_named_by_kind_and_name() {
        let parse = |text: &str, namespace: Option<&str>| {
            Wanted::parse(text, namespace)
                .map(|w| (w.kind, w.namespace, w.name))
                .map_err(|failure| failure.chain())
        };
        assert_eq!(
            parse("Deployment/web", Some("a")),
            Ok(("deployment".into(), Some("a".into()), "web".into()))
        );
        assert_eq!(
            parse("pod/b/web", None),
            Ok(("pod".into(), Some("b".into()), "web".into()))
        );
        for bad in ["web", "/web", "pod/", "a/b/c/d", ""] {
            assert!(parse(bad, None).is_err(), "{bad}");
        }
    }
}
