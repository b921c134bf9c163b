//! What somebody would need to be allowed who did by hand what a backup or restore does for him. Pure.
//!
//! A server does its work with rights of its own, which are wide. Whoever asks it for something must not gain by
//! that: so before anything is read or changed, and before what was read is committed, the engine hands the rights
//! that it takes to an [`Approval`], which knows who asks.
//!
//! What counts, beside the plain verbs:
//! - a role may hold more than its maker has: `escalate` is needed, and `bind` for a binding, as the API server
//!   demands of those who lack what a role holds;
//! - a command in a pod that was there before is `pods/exec`; in a pod that the restore creates its own annotations
//!   count as part of it, as its command does, and only commands of the spec need the right.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use salvor_api::resource::{GroupResource, ObjectKey};

use crate::backup::reads::Reads;
use crate::restore::Source;
use crate::restore::mapping::is_namespace;
use crate::restore::plan::{Action, RestorePlan};

const RBAC: &str = "rbac.authorization.k8s.io";

/// One thing that the API server may allow somebody or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Right {
    /// `get`, `create`, ...
    pub verb: &'static str,
    /// Of these objects.
    pub resource: GroupResource,
    /// A part of them, such as `status`; empty for the objects themselves.
    pub subresource: &'static str,
    /// In this namespace; `None` in all, and for what is in none.
    pub namespace: Option<String>,
}

impl Right {
    /// Of whole objects.
    #[must_use]
    pub fn new(verb: &'static str, resource: &GroupResource, namespace: Option<&str>) -> Self {
        Self {
            verb,
            resource: resource.clone(),
            subresource: "",
            namespace: namespace.map(str::to_owned),
        }
    }

    /// The same of a part.
    #[must_use]
    pub fn of(self, subresource: &'static str) -> Self {
        Self {
            subresource,
            ..self
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupResource { resource, group } = &self.resource;
        write!(f, "{} {resource}", self.verb)?;
        if !self.subresource.is_empty() {
            write!(f, "/{}", self.subresource)?;
        }
        if !group.is_empty() {
            write!(f, ".{group}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace `{namespace}`"),
            None => Ok(()),
        }
    }
}

/// Who decides whether a run may go on, given the rights that it takes. Clones are the same.
#[derive(Clone)]
pub struct Approval(Arc<Decide>);

type Decide = dyn Fn(BTreeSet<Right>) -> BoxFuture<'static, Result<Vec<String>, salvor_cluster::Error>>
    + Send
    + Sync;

impl Approval {
    /// Asks `decide`, which answers with what stands in the way; nothing lets the run go on.
    pub fn new<F>(decide: impl Fn(BTreeSet<Right>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<Vec<String>, salvor_cluster::Error>> + Send + 'static,
    {
        Self(Arc::new(move |rights| Box::pin(decide(rights))))
    }

    /// What stands in the way.
    pub(crate) async fn objections(
        &self,
        rights: BTreeSet<Right>,
    ) -> Result<Vec<String>, salvor_cluster::Error> {
        (self.0)(rights).await
    }
}

impl fmt::Debug for Approval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Approval")
    }
}

fn core(resource: &str) -> GroupResource {
    GroupResource::new(resource, "")
}

fn rbac(resource: &str) -> GroupResource {
    GroupResource::new(resource, RBAC)
}

/// Where a right to one object is asked for: a namespace counts as in itself, as the API server counts it.
fn scope(key: &ObjectKey) -> Option<&str> {
    match is_namespace(key) {
        true => Some(&key.name),
        false => key.namespace.as_deref(),
    }
}

/// What a restore takes. `commands` tells whether its spec has commands for restored pods.
#[must_use]
pub fn of_restore(plan: &RestorePlan, commands: bool) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    let status = plan.header.status.is_some();
    for entry in plan.entries.iter().filter(|entry| entry.action.changes()) {
        // What a restore brings to where its requester can read it, he must have been able to read where it was.
        let source = entry.source();
        if !entry.is_blank_namespace() {
            rights.insert(Right::new("get", &source.resource, scope(&source)));
        }
        let key = entry.target(&plan.header.rules);
        let (resource, namespace) = (&key.resource, key.namespace.as_deref());
        let own = scope(&key);
        match entry.action {
            Action::Create => {
                rights.insert(Right::new("create", resource, namespace));
            }
            Action::Update => {
                rights.insert(Right::new("patch", resource, own));
            }
            Action::Recreate => {
                rights.insert(Right::new("delete", resource, own));
                rights.insert(Right::new("create", resource, namespace));
            }
            Action::Unchanged | Action::Conflict | Action::Skip | Action::Blocked => {}
        }
        if status {
            rights.insert(Right::new("patch", resource, own).of("status"));
        }
        rights.extend(powers(resource, namespace));
        let is_pod = *resource == core("pods");
        if is_pod && (commands || entry.action == Action::Update) {
            rights.insert(Right::new("create", resource, namespace).of("exec"));
        }
    }
    // Who may make pods in a namespace may mount its claims: he reads, and writes, what is in them.
    let mapping = &plan.header.rules.namespaces;
    for data in plan.header.data.iter().filter(|data| data.action.fills()) {
        for namespace in [&*data.namespace, data.target_namespace(mapping)] {
            rights.insert(Right::new("create", &core("pods"), Some(namespace)));
        }
        // A record may name any snapshot of the storage, whoever's it is.
        if data.csi.is_some() {
            let group = "snapshot.storage.k8s.io";
            let contents = GroupResource::new("volumesnapshotcontents", group);
            rights.insert(Right::new("create", &contents, None));
        }
    }
    rights
}

/// What it takes to write a role or binding whatever it says.
fn powers(resource: &GroupResource, namespace: Option<&str>) -> Vec<Right> {
    if resource.group != RBAC {
        return Vec::new();
    }
    match resource.resource.as_str() {
        "roles" | "clusterroles" => vec![Right::new("escalate", resource, namespace)],
        // Which role it binds is not asked: it may be any.
        "rolebindings" => ["roles", "clusterroles"]
            .map(|roles| Right::new("bind", &rbac(roles), namespace))
            .to_vec(),
        "clusterrolebindings" => vec![Right::new("bind", &rbac("clusterroles"), None)],
        _ => Vec::new(),
    }
}

/// What a backup takes that reads these lists and runs the commands of its spec.
pub(crate) fn of_reads(reads: &Reads) -> BTreeSet<Right> {
    let mut rights = BTreeSet::new();
    for (resource, namespace) in &reads.lists {
        rights.insert(Right::new("list", resource, namespace.as_deref()));
    }
    for namespace in &reads.commands {
        let pods = core("pods");
        rights.insert(Right::new("create", &pods, namespace.as_deref()).of("exec"));
    }
    rights
}

/// What it takes to read what an open backup holds.
#[must_use]
pub fn of_source(source: &Source) -> BTreeSet<Right> {
    let entries = source.archive.index().iter();
    of_contents(entries.map(|entry| (entry.resource(), entry.namespace(), entry.name())))
}

/// What it takes to read what a backup holds.
#[must_use]
pub(crate) fn of_contents<'a>(
    objects: impl Iterator<Item = (&'a GroupResource, Option<&'a str>, &'a str)>,
) -> BTreeSet<Right> {
    let mut places = BTreeSet::new();
    let namespaces = core("namespaces");
    for (resource, namespace, name) in objects {
        let own = if *resource == namespaces {
            Some(name)
        } else {
            namespace
        };
        // Most objects are of a place that is known already.
        if !places.contains(&(resource, own)) {
            places.insert((resource, own));
        }
    }
    places
        .into_iter()
        .map(|(resource, own)| Right::new("get", resource, own))
        .collect()
}

#[cfg(test)]
mod tests {
    use salvor_api::resource::GroupVersion;

    use super::*;
    use crate::restore::plan::{Destination, PlanEntry};

    fn said(rights: &BTreeSet<Right>) -> Vec<String> {
        rights.iter().map(ToString::to_string).collect()
    }

    fn entry(resource: &GroupResource, namespace: Option<&str>, action: Action) -> PlanEntry {
        PlanEntry {
            resource: Arc::new(resource.clone()),
            namespace: namespace.map(Into::into),
            name: "a".into(),
            version: "v1".into(),
            to: Arc::new(Destination {
                resource: resource.clone(),
                group_version: GroupVersion::new("", "v1"),
            }),
            action,
            reason: None,
            digest: None,
            live: None,
            at: 0,
        }
    }

    #[test]
    fn a_restore_takes_what_its_plan_does_where_it_does_it() {
        let (pods, secrets) = (core("pods"), core("secrets"));
        let mut plan = RestorePlan::default();
        let mapping = &mut plan.header.rules.namespaces;
        mapping.insert("shop".to_owned(), "copy".to_owned());
        plan.entries = vec![
            entry(&pods, Some("shop"), Action::Create),
            entry(&pods, Some("bank"), Action::Update),
            entry(&secrets, Some("shop"), Action::Recreate),
            entry(&secrets, Some("bank"), Action::Unchanged),
            entry(&secrets, Some("vault"), Action::Conflict),
            entry(&core("namespaces"), None, Action::Update),
        ];
        let plain = [
            "create pods in namespace `copy`",
            // The commands of a pod that was there are not its maker's.
            "create pods/exec in namespace `bank`",
            "create secrets in namespace `copy`",
            "delete secrets in namespace `copy`",
            "get namespaces in namespace `a`",
            "get pods in namespace `bank`",
            "get pods in namespace `shop`",
            "get secrets in namespace `shop`",
            "patch namespaces in namespace `a`",
            "patch pods in namespace `bank`",
        ];
        assert_eq!(said(&of_restore(&plan, false)), plain);
        let more = |rights: BTreeSet<Right>| -> Vec<String> {
            let said = said(&rights).into_iter();
            said.filter(|right| !plain.contains(&right.as_str()))
                .collect()
        };
        let commands = more(of_restore(&plan, true));
        assert_eq!(commands, ["create pods/exec in namespace `copy`"]);
        plan.header.status = Some(salvor_api::velero::RestoreStatusSpec::default());
        assert_eq!(
            more(of_restore(&plan, false)),
            [
                "patch namespaces/status in namespace `a`",
                "patch pods/status in namespace `bank`",
                "patch pods/status in namespace `copy`",
                "patch secrets/status in namespace `copy`",
            ]
        );
    }

    #[test]
    fn contents_need_reading_each_kind_where_it_is() {
        let (secrets, namespaces) = (core("secrets"), core("namespaces"));
        let roles = rbac("clusterroles");
        let rights = of_contents(
            [
                (&secrets, Some("shop"), "a"),
                (&secrets, Some("shop"), "b"),
                (&secrets, Some("bank"), "a"),
                (&namespaces, None, "shop"),
                (&roles, None, "admin"),
            ]
            .into_iter(),
        );
        assert_eq!(
            said(&rights),
            [
                "get clusterroles.rbac.authorization.k8s.io",
                "get namespaces in namespace `shop`",
                "get secrets in namespace `bank`",
                "get secrets in namespace `shop`",
            ]
        );
    }

    #[test]
    fn who_writes_roles_must_be_allowed_to_give_more_than_he_has() {
        for (resource, namespace, expected) in [
            (
                rbac("roles"),
                Some("a"),
                vec!["escalate roles.rbac.authorization.k8s.io in namespace `a`"],
            ),
            (
                rbac("clusterroles"),
                None,
                vec!["escalate clusterroles.rbac.authorization.k8s.io"],
            ),
            (
                rbac("rolebindings"),
                Some("a"),
                vec![
                    "bind roles.rbac.authorization.k8s.io in namespace `a`",
                    "bind clusterroles.rbac.authorization.k8s.io in namespace `a`",
                ],
            ),
            (
                rbac("clusterrolebindings"),
                None,
                vec!["bind clusterroles.rbac.authorization.k8s.io"],
            ),
            (core("roles"), Some("a"), vec![]),
        ] {
            let rights: Vec<String> = powers(&resource, namespace)
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(rights, expected);
        }
    }
}
