//! The platform of the demo: what a small company runs, made up the same way every time.
//!
//! Production and staging applications with MySQL and Redis, Vault, Argo CD with its applications,
//! SigNoz on ClickHouse, and the RBAC around them. Objects are listed in an order in which they can be
//! created; an owner stands before what it owns.

mod addons;
mod applications;
mod cluster;
pub(super) mod running;
mod shapes;

use serde_json::Value;

/// One object to create.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    /// Plural and group, such as `deployments.apps`.
    pub(super) resource: &'static str,
    /// The object, with its namespace if it has one.
    pub(super) object: Value,
    /// Kind and name of its controller, in the same namespace.
    pub(super) owner: Option<(&'static str, String)>,
}

impl Planned {
    fn new(resource: &'static str, object: Value) -> Self {
        Self {
            resource,
            object,
            owner: None,
        }
    }

    fn owned_by(mut self, kind: &'static str, name: &str) -> Self {
        self.owner = Some((kind, name.to_owned()));
        self
    }

    /// Its namespace.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str()
    }

    /// Its kind and name.
    pub(super) fn kind_and_name(&self) -> (&str, &str) {
        (
            self.object["kind"].as_str().unwrap_or_default(),
            self.object["metadata"]["name"].as_str().unwrap_or_default(),
        )
    }
}

/// Applications that run in production and in staging.
const APPLICATIONS: [&str; 8] = [
    "web-frontend",
    "api-gateway",
    "user-service",
    "catalog-service",
    "order-service",
    "payment-service",
    "notification-service",
    "report-worker",
];

/// Everything, in order of creation.
pub(super) fn objects() -> Vec<Planned> {
    let mut all = cluster::definitions();
    all.extend(cluster::foundation());
    for (environment, replicas) in [("production", 3), ("staging", 1)] {
        all.extend(applications::environment(environment, replicas));
    }
    all.extend(addons::vault());
    all.extend(addons::argocd());
    all.extend(addons::signoz());
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_platform_is_about_five_hundred_distinct_objects() {
        let all = objects();
        assert!((400..=600).contains(&all.len()), "{}", all.len());
        let mut seen = BTreeSet::new();
        for planned in &all {
            let (kind, name) = planned.kind_and_name();
            assert!(!kind.is_empty() && !name.is_empty(), "{planned:?}");
            let key = (planned.resource, planned.namespace(), name);
            assert!(seen.insert(key), "{key:?} is there twice");
        }
        assert_eq!(
            format!("{all:?}"),
            format!("{:?}", objects()),
            "the platform differs from one run to the next"
        );
    }
}
