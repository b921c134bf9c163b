//! `uninstall`: takes the server out of a cluster. Backups stay where they are stored.

use std::time::Duration;

use salvor_api::crds;
use salvor_api::labels;
use salvor_cluster::{
    ApiResource, Cluster, DeleteOptions, DiscoverOptions, ErrorKind, ListOptions, Propagation,
    Wait, WriteOptions,
};
use salvor_controller::install::{NAME, cluster_name};
use salvor_seal::repository_key::SECRET;
use serde_json::{Value, json};

use super::install::definitions;
use crate::args::install::UninstallArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// How long each thing may take to go.
const PATIENCE: Duration = Duration::from_secs(300);

/// Removes, in this order: the webhook that needs the server; the server, so that nobody deletes files any more; the namespace with the objects in
/// it; the definitions, unless other namespaces use them; the rights.
pub(crate) async fn run(args: &UninstallArgs, session: &Session) -> Result<Exit, Failure> {
    let cluster = session.cluster(None).await?;
    let namespace = session.namespace();
    let others = elsewhere(&cluster, namespace).await?;
    let keep = args.keep_crds || !others.is_empty();
    if !others.is_empty() && !args.keep_crds {
        let text = session.messages.definitions_stay(&others.join(", "));
        session.printer.note(&text);
    }
    session
        .printer
        .remark(&session.messages.will_be_uninstalled(namespace, !keep));
    let secrets = ApiResource::known("", "v1", "Secret", "secrets", true);
    if cluster
        .get(&secrets, Some(namespace), SECRET)
        .await?
        .is_some()
    {
        let text = session.messages.repository_key_goes(namespace, SECRET);
        session.printer.warning(&text);
    }
    session.confirm(args.force, namespace).await?;
    let remover = Remover {
        cluster: &cluster,
        session,
        wait: Wait {
            timeout: PATIENCE,
            cancel: session.cancel.clone(),
        },
    };
    let name = cluster_name(namespace);
    // First: without the server nobody would answer the API server, and nothing could be changed any more.
    let webhooks = ApiResource::known(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    );
    remover.remove(&webhooks, None, &name).await?;
    let deployments = ApiResource::known("apps", "v1", "Deployment", "deployments", true);
    remover.remove(&deployments, Some(namespace), NAME).await?;
    remover.release_restores(namespace).await?;
    remover
        .remove(&ApiResource::namespaces(), None, namespace)
        .await?;
    if !keep {
        for crd in crds::all() {
            remover.remove(&definitions(), None, crd.name).await?;
        }
    }
    for (kind, plural) in [
        ("ClusterRoleBinding", "clusterrolebindings"),
        ("ClusterRole", "clusterroles"),
    ] {
        let resource = ApiResource::known("rbac.authorization.k8s.io", "v1", kind, plural, false);
        for part in ["", "-hooks", "-requests", "-volumes", "-node-agent"] {
            let name = format!("{name}{part}");
            remover.remove(&resource, None, &name).await?;
        }
    }
    session.printer.remark(&session.messages.uninstalled());
    Ok(Exit::Done)
}

/// Other namespaces that have objects of the kinds.
async fn elsewhere(cluster: &Cluster, namespace: &str) -> Result<Vec<String>, Failure> {
    let discovery = cluster.discover(DiscoverOptions::default()).await?;
    let mut others = Vec::new();
    for crd in crds::all() {
        let Some(resource) = discovery.resolve(crd.name) else {
            continue;
        };
        let mut pager = cluster.pager(resource, None, ListOptions::default());
        while let Some(page) = pager.next_page().await? {
            for item in page.items() {
                let object: Value = serde_json::from_slice(item).unwrap_or_default();
                let found = object["metadata"]["namespace"].as_str().unwrap_or_default();
                if found != namespace && !others.iter().any(|other| other == found) {
                    others.push(found.to_owned());
                }
            }
        }
    }
    Ok(others)
}

struct Remover<'a> {
    cluster: &'a Cluster,
    session: &'a Session,
    wait: Wait,
}

impl Remover<'_> {
    /// Deletes an object, if it is there, and waits until it and what it owns are gone.
    async fn remove(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(), Failure> {
        let what = format!("{} {name}", resource.kind);
        let failed = |error: salvor_cluster::Error| {
            Failure::from(error).while_doing(&format!("remove {what}"))
        };
        if self
            .cluster
            .get(resource, namespace, name)
            .await
            .map_err(failed)?
            .is_none()
        {
            return Ok(());
        }
        let options = DeleteOptions {
            propagation: Some(Propagation::Foreground),
            ..DeleteOptions::default()
        };
        self.cluster
            .delete(resource, namespace, name, &options)
            .await
            .map_err(failed)?;
        let gone = self
            .cluster
            .wait_gone(resource, namespace, name, &self.wait);
        gone.await.map_err(failed)?;
        let text = self.session.messages.removed(&what);
        self.session.printer.result(&format!("{text}\n"))
    }

    /// Lets restores go without their records: there is no server any more that would delete those, and they
    /// belong to the backups, which stay.
    async fn release_restores(&self, namespace: &str) -> Result<(), Failure> {
        let restores = ApiResource::known("velero.io", "v1", "Restore", "restores", true);
        let mut pager = self
            .cluster
            .pager(&restores, Some(namespace), ListOptions::default());
        loop {
            let page = match pager.next_page().await {
                Ok(Some(page)) => page,
                Ok(None) => return Ok(()),
                // The kind is gone already.
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for item in page.items() {
                let restore: Value = serde_json::from_slice(item).unwrap_or_default();
                self.release(&restores, namespace, &restore).await?;
            }
        }
    }

    async fn release(
        &self,
        restores: &ApiResource,
        namespace: &str,
        restore: &Value,
    ) -> Result<(), Failure> {
        let metadata = &restore["metadata"];
        let finalizers = metadata["finalizers"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let others: Vec<&Value> = finalizers
            .iter()
            .filter(|one| **one != labels::RESTORE_FINALIZER)
            .collect();
        if others.len() == finalizers.len() {
            return Ok(());
        }
        let name = metadata["name"].as_str().unwrap_or_default();
        let patch = json!({"metadata": {"finalizers": others}}).to_string();
        let options = WriteOptions::default();
        let patched = self
            .cluster
            .merge_patch(
                restores,
                Some(namespace),
                name,
                None,
                patch.as_bytes(),
                &options,
            )
            .await;
        match patched {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
