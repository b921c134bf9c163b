//! The fold itself: each object of the archive, once, against the target's digest of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use salvor_api::filter::LabelFilter;
use salvor_api::resource::{GroupResource, GroupVersion, ObjectKey};
use salvor_api::resource_policy::{FilterPolicies, Verdict};
use salvor_archive::archive::Archive;
use salvor_archive::index::Entry;
use salvor_cluster::Discovery;
use serde_json::Value;

use super::picks::{Pick, Picks};
use super::{blank_namespace, is_service_account, parse, volumes};
use crate::restore::body;
use crate::restore::endpoints;
use crate::restore::error::{Doing as _, RestoreError};
use crate::restore::existing::{self, ExistingPolicy};
use crate::restore::fits::{Demands, Finding, SELECTION, Severity};
use crate::restore::mapping::is_namespace;
use crate::restore::normalise::Digest;
use crate::restore::plan::{Action, Destination, Interner, PlanEntry};
use crate::restore::rules::Rules;
use crate::restore::skip::{self, Skip};
use crate::restore::target::{TargetIndex, key_hash};
use crate::restore::transform::{Refusal, Transformed, transform};
use crate::restore::version::{Route, Serving};

/// The state of the fold.
pub(super) struct Fold {
    pub(super) rules: Arc<Rules>,
    pub(super) labels: LabelFilter,
    pub(super) filters: FilterPolicies,
    pub(super) policy: ExistingPolicy,
    pub(super) serving: Arc<Serving>,
    pub(super) picks: Picks,
    pub(super) target: TargetIndex,
    pub(super) interner: Interner,
    pub(super) entries: Vec<PlanEntry>,
    pub(super) demands: Demands,
    pub(super) not_selected: BTreeMap<GroupResource, u64>,
    /// UIDs of the objects by where they go.
    pub(super) taken: HashMap<[u8; 16], Digest>,
    pub(super) needed_namespaces: BTreeSet<String>,
    /// Objects that taken ones refer to, by [`key_hash`].
    pub(super) related: HashSet<[u8; 16]>,
    /// Objects that item actions want and that were not looked at for that yet.
    pub(super) additional: Vec<ObjectKey>,
    /// Objects that item actions want and that the backup does not hold: for findings.
    pub(super) missing: BTreeSet<String>,
}

/// One object while it is decided upon.
pub(super) struct Subject<'a> {
    pub(super) source: &'a ObjectKey,
    pub(super) version: &'a str,
    pub(super) to: &'a Destination,
    pub(super) at: usize,
}

impl Fold {
    pub(super) fn run(mut self, archive: &Archive) -> Result<Self, RestoreError> {
        let reading = || "read the archive".to_owned();
        let related = self.picks.related(archive, &self.labels).doing(reading)?;
        self.related.clone_from(&related);
        let mut left = Vec::new();
        for (at, entry) in archive.index().in_archive_order().enumerate() {
            let pick = self.picks.get(at).clone();
            let source = entry.key();
            let stays = Destination {
                resource: source.resource.clone(),
                group_version: GroupVersion::new(source.resource.group.clone(), entry.version()),
            };
            let subject = |to| Subject {
                source: &source,
                version: entry.version(),
                to,
                at,
            };
            match &pick {
                Pick::OtherVersion => {}
                Pick::Leave => self.leave(&source.resource),
                Pick::NonRestorable => {
                    let skip = Skip::NonRestorable.to_string();
                    self.push(&subject(&stays), Action::Skip, Some(&skip), None, None);
                }
                Pick::Related { .. } if !related.contains(&key_hash(&source)) => {
                    self.leave(&source.resource);
                    left.push(at);
                }
                Pick::Blocked(reason) => {
                    let object = parse(&archive.get(&entry).doing(reading)?);
                    if self.selects(&source, &object, false) {
                        let (action, reason) = match skip::inherent(&source, &object) {
                            Some(skip) => (Action::Skip, skip.to_string()),
                            None => (Action::Blocked, reason.to_string()),
                        };
                        self.push(&subject(&stays), action, Some(&reason), None, None);
                    } else {
                        self.leave(&source.resource);
                    }
                }
                Pick::Take { to, .. } | Pick::Related { to, .. } => {
                    let object = parse(&archive.get(&entry).doing(reading)?);
                    let by_relation = related.contains(&key_hash(&source));
                    if self.selects(&source, &object, by_relation) {
                        self.decide(&subject(to), &object, archive);
                    } else {
                        self.leave(&source.resource);
                        left.push(at);
                    }
                }
            }
        }
        self.take_additional(archive, left)?;
        Ok(self)
    }

    /// Takes the objects that item actions want besides what was chosen, from those that labels and references
    /// left out, and what these want, until nothing is left.
    fn take_additional(&mut self, archive: &Archive, left: Vec<usize>) -> Result<(), RestoreError> {
        if self.rules.actions.is_empty() {
            return Ok(());
        }
        let index = archive.index();
        let entries: Vec<Entry<'_>> = index.in_archive_order().collect();
        let mut left: HashMap<ObjectKey, usize> =
            left.into_iter().map(|at| (entries[at].key(), at)).collect();
        while let Some(key) = self.additional.pop() {
            let Some(at) = left.remove(&key) else {
                // Chosen anyway, unless the backup or the filters know nothing of it.
                if index.get(&key, None).is_none() {
                    let text =
                        format!("{key}: an item action wants it, but the backup does not hold it");
                    self.missing.insert(text);
                }
                continue;
            };
            let (Pick::Take { to, .. } | Pick::Related { to, .. }) = self.picks.get(at).clone()
            else {
                continue;
            };
            if let Some(count) = self.not_selected.get_mut(&key.resource) {
                *count -= 1;
            }
            self.not_selected.retain(|_, count| *count > 0);
            let bytes = archive.get(&entries[at]);
            let object = parse(&bytes.doing(|| "read the archive".to_owned())?);
            let subject = Subject {
                source: &key,
                version: entries[at].version(),
                to: &to,
                at,
            };
            self.decide(&subject, &object, archive);
        }
        Ok(())
    }

    /// True when the labels of an object are asked for and the resource policies let it through. What a taken
    /// object refers to escapes the labels.
    fn selects(&self, source: &ObjectKey, object: &Value, by_relation: bool) -> bool {
        let labels = body::labels(object);
        let by_labels = || by_relation || self.labels.matches(&labels);
        if self.filters.is_empty() {
            return by_labels();
        }
        let resource = source.resource.to_string();
        let kind = body::text_at(object, &["kind"]);
        let mut names = vec![resource.as_str(), &source.resource.resource, kind];
        let served = self.serving.get(&source.resource);
        names.extend(
            served
                .into_iter()
                .flat_map(|s| s.names.iter().map(String::as_str)),
        );
        let namespace = source.namespace.as_deref().unwrap_or_default();
        match self.filters.judge(namespace, &names, &source.name, &labels) {
            Verdict::Take => true,
            Verdict::Leave => false,
            Verdict::NoFilter => by_labels(),
        }
    }

    pub(super) fn leave(&mut self, resource: &GroupResource) {
        *self.not_selected.entry(resource.clone()).or_default() += 1;
    }

    fn decide(&mut self, subject: &Subject<'_>, object: &Value, archive: &Archive) {
        let from = GroupVersion::parse(body::text_at(object, &["apiVersion"]));
        let route = match self.serving.route(&subject.source.resource, &from) {
            Ok(route) => route,
            Err(error) => {
                let reason = error.to_string();
                return self.push(subject, Action::Blocked, Some(&reason), None, None);
            }
        };
        let sent = match transform(subject.source, object, route, &self.rules) {
            Ok(sent) => sent,
            Err(Refusal::Skip(skip)) => {
                let action = if skip.is_blocked() {
                    Action::Blocked
                } else {
                    Action::Skip
                };
                let reason = skip.to_string();
                return self.push(subject, action, Some(&reason), None, None);
            }
            Err(Refusal::Unusable(reason)) => {
                return self.push(subject, Action::Blocked, Some(&reason), None, None);
            }
        };
        self.additional.extend(sent.additional.iter().cloned());
        let uid = Digest::of(body::at(object, &["metadata", "uid"]).unwrap_or(&Value::Null));
        if let Some(other) = self.taken.insert(key_hash(&sent.key), uid) {
            // Some objects are served, and so stored, under two groups: ingresses of old servers.
            let is_same = other == uid && subject.source.resource != sent.key.resource;
            let (action, reason) = if is_same {
                (
                    Action::Skip,
                    format!("the backup holds it twice; it is restored as {}", sent.key),
                )
            } else {
                let reason = format!("another object of the backup goes to {} too", sent.key);
                (Action::Blocked, reason)
            };
            return self.push(subject, action, Some(&reason), None, None);
        }
        if let Some(namespace) = &sent.key.namespace
            && !self.needed_namespaces.contains(namespace)
        {
            self.needed_namespaces.insert(namespace.clone());
        }
        let live = self.target.get(&sent.key);
        let (action, reason) = match live {
            None => (Action::Create, None),
            Some(live) if live.terminating => (
                Action::Create,
                Some("the one in the target is being deleted; it is waited for".to_owned()),
            ),
            Some(_) if is_namespace(&sent.key) => (
                Action::Unchanged,
                Some("the namespace exists and is left as it is".to_owned()),
            ),
            Some(live) if live.digest == sent.normal => (Action::Unchanged, None),
            Some(_) if endpoints::are_kept(archive, subject.source, object) => {
                (Action::Unchanged, Some(endpoints::KEPT.to_owned()))
            }
            Some(_) => self.on_difference(&sent),
        };
        if action.changes() {
            self.demands.observe(&sent);
            if matches!(action, Action::Create | Action::Recreate)
                && volumes::loses_data(&self.rules, subject.source, object)
            {
                self.demands.loses_data(&sent);
            }
        }
        let digest = action.changes().then_some(sent.digest);
        let seen = live.map(|live| live.digest);
        self.push(subject, action, reason.as_deref(), digest, seen);
    }

    fn on_difference(&self, sent: &Transformed) -> (Action, Option<String>) {
        if is_service_account(&sent.key) {
            return (Action::Update, Some("what is missing is added".to_owned()));
        }
        match self.policy {
            ExistingPolicy::None => (
                Action::Conflict,
                Some(
                    "it exists and differs; existing-resource-policy none leaves it alone"
                        .to_owned(),
                ),
            ),
            ExistingPolicy::Update => (Action::Update, None),
            ExistingPolicy::Recreate => match existing::holds_data(&sent.key.resource) {
                Some(why) => (
                    Action::Conflict,
                    Some(format!(
                        "it exists and differs, and is not recreated: {why}"
                    )),
                ),
                None => (Action::Recreate, None),
            },
        }
    }

    pub(super) fn push(
        &mut self,
        subject: &Subject<'_>,
        action: Action,
        reason: Option<&str>,
        digest: Option<Digest>,
        live: Option<Digest>,
    ) {
        let ObjectKey {
            resource,
            namespace,
            name,
        } = subject.source;
        let entry = PlanEntry {
            resource: self.interner.resource(resource),
            namespace: namespace.as_deref().map(|n| self.interner.text(n)),
            name: name.as_str().into(),
            version: self.interner.text(subject.version),
            to: self.interner.destination(subject.to),
            action,
            reason: reason.map(|r| self.interner.text(r)),
            digest,
            live,
            at: u32::try_from(subject.at).unwrap_or(u32::MAX),
        };
        self.entries.push(entry);
    }

    /// Adds the namespaces that objects need and that are neither in the target nor planned.
    pub(super) fn add_namespaces(
        &mut self,
        archive: &Archive,
        live: &BTreeSet<String>,
    ) -> Result<(), RestoreError> {
        let namespaces = GroupResource::new("namespaces", "");
        let planned: BTreeSet<String> = self
            .entries
            .iter()
            .filter(|entry| *entry.resource == namespaces)
            .map(|entry| entry.target(&self.rules).name)
            .collect();
        let changed: BTreeSet<String> = self
            .entries
            .iter()
            .filter(|entry| entry.action.changes())
            .filter_map(|entry| entry.target(&self.rules).namespace)
            .collect();
        let missing: Vec<String> = self
            .needed_namespaces
            .iter()
            .filter(|name| changed.contains(*name))
            .filter(|name| !live.contains(*name) && !planned.contains(*name))
            .cloned()
            .collect();
        let to = Destination {
            resource: namespaces.clone(),
            group_version: GroupVersion::new("", "v1"),
        };
        if missing.is_empty() {
            return Ok(());
        }
        let held: HashMap<&str, (usize, Entry<'_>)> = archive
            .index()
            .in_archive_order()
            .enumerate()
            .filter(|(_, entry)| *entry.resource() == namespaces)
            .map(|(at, entry)| (entry.name(), (at, entry)))
            .collect();
        for name in missing {
            let source = self.source_of_namespace(archive, &name);
            let key = ObjectKey::cluster(namespaces.clone(), source.clone());
            let reason = "needed by the objects in it";
            let (version, at, object) = match held.get(source.as_str()) {
                Some((at, entry)) => {
                    let bytes = archive.get(entry).doing(|| "read the archive".to_owned())?;
                    (entry.version(), *at, parse(&bytes))
                }
                None => ("", 0, blank_namespace(&source)),
            };
            let subject = Subject {
                source: &key,
                version,
                to: &to,
                at,
            };
            match transform(&key, &object, Route::Direct, &self.rules) {
                Ok(sent) => {
                    self.push(
                        &subject,
                        Action::Create,
                        Some(reason),
                        Some(sent.digest),
                        None,
                    );
                }
                Err(Refusal::Skip(skip)) => {
                    let reason = skip.to_string();
                    self.push(&subject, Action::Blocked, Some(&reason), None, None);
                }
                Err(Refusal::Unusable(reason)) => {
                    self.push(&subject, Action::Blocked, Some(&reason), None, None);
                }
            }
        }
        Ok(())
    }

    /// The namespace of the backup that becomes `target`: one that is in the archive, if any.
    fn source_of_namespace(&self, archive: &Archive, target: &str) -> String {
        let mapped = self
            .rules
            .namespaces
            .iter()
            .filter(|(_, to)| *to == target)
            .map(|(from, _)| from.clone())
            .find(|from| {
                let key = ObjectKey::cluster(GroupResource::new("namespaces", ""), from.clone());
                archive.index().get(&key, None).is_some()
                    || archive.index().namespaces().contains(from)
            });
        mapped.unwrap_or_else(|| target.to_owned())
    }

    /// Findings that follow from the plan itself.
    pub(super) fn own_findings(&self, problems: &[String], discovery: &Discovery) -> Vec<Finding> {
        let mut blocked: BTreeMap<&str, u64> = BTreeMap::new();
        for entry in self.entries.iter().filter(|e| e.action == Action::Blocked) {
            *blocked
                .entry(entry.reason.as_deref().unwrap_or_default())
                .or_default() += 1;
        }
        let blocked = blocked.into_iter().map(|(reason, count)| {
            let message = format!("{count} objects are blocked: {reason}");
            Finding::new(Severity::Problem, "blocked", message)
        });
        let unreadable = self.target.unreadable.iter().map(|(resource, reason)| {
            let message = format!(
                "{resource} of the target cannot be listed, so it is not known which exist: {reason}"
            );
            Finding::new(Severity::Warning, "not-compared", message)
        });
        let settings = problems
            .iter()
            .map(|problem| Finding::new(Severity::Warning, "settings", problem.clone()));
        let discovery = discovery.failures.iter().map(|failure| {
            let message = format!(
                "the target could not say what it serves in {}: {}",
                failure.group_version, failure.reason
            );
            Finding::new(Severity::Warning, "discovery", message)
        });
        let missing = self
            .missing
            .iter()
            .map(|text| Finding::new(Severity::Warning, SELECTION, text.clone()));
        blocked
            .chain(missing)
            .chain(unreadable)
            .chain(settings)
            .chain(discovery)
            .collect()
    }
}
