//! A service whose node ports are taken by other services of the target.
//!
//! That happens to a copy in another namespace of the same cluster, and in a cluster where somebody was faster.
//! A service with other ports is better than none, so it gets free ones and a warning says so; unless the
//! restore was asked to preserve node ports: then nobody may choose others, and it is an error.

use std::collections::BTreeMap;

use salvor_cluster::{ApiResource, Error, ErrorKind, ListOptions, WriteOptions};
use serde_json::Value;

use super::item::{Attempt, Hands, failed};
use super::journal::Done;
use crate::restore::body;
use crate::restore::planner::{is_made_by, parse};
use crate::restore::transform::Transformed;

/// Services by the ports of the nodes that they hold.
type Holders = BTreeMap<u64, String>;

/// True when the server refused a service because of a node port.
pub(super) fn are_taken(error: &Error) -> bool {
    error.kind() == ErrorKind::Invalid
        && error
            .reason()
            .contains("provided port is already allocated")
}

impl Hands {
    /// Creates a service with free ports in the place of those that are taken.
    pub(super) async fn on_taken_ports(
        &self,
        api: &ApiResource,
        sent: &Transformed,
        refusal: &Error,
    ) -> Result<Attempt, Error> {
        let holders = self.holders(api).await?;
        let wanted = node_ports(&sent.body);
        let taken: Vec<String> = wanted
            .iter()
            .filter_map(|port| Some(format!("{port} (of service {})", holders.get(port)?)))
            .collect();
        let taken = if taken.is_empty() {
            // Whoever held it has gone meanwhile, or may not be seen.
            refusal.reason().to_owned()
        } else {
            taken.join(", ")
        };
        if self.header.rules.preserve_node_ports {
            return Ok(failed(format!(
                "node ports are taken in the target: {taken}; restore without --preserve-nodeports to give \
                 the service other ones, or free them and restore again"
            )));
        }
        let mut other = sent.body.clone();
        drop_ports(&mut other, |port| {
            holders.is_empty() || holders.contains_key(&port)
        });
        let restore = &self.header.rules.restore;
        self.cluster
            .create_once(
                api,
                sent.key.namespace.as_deref(),
                &sent.key.name,
                other.to_string().as_bytes(),
                &WriteOptions::default(),
                |found| is_made_by(restore, &parse(found)),
            )
            .await?;
        Ok(Attempt::Settled {
            done: Done::Created,
            message: String::new(),
            warnings: vec![format!(
                "it was given other node ports than it had: in the target these are taken: {taken}"
            )],
        })
    }

    async fn holders(&self, api: &ApiResource) -> Result<Holders, Error> {
        let mut holders = Holders::new();
        let mut pager = self.cluster.pager(api, None, ListOptions::default());
        loop {
            match pager.next_page().await {
                Ok(Some(page)) => {
                    for service in page.items().map(parse) {
                        let text = |field| body::text_at(&service, &["metadata", field]);
                        let name = format!("{}/{}", text("namespace"), text("name"));
                        let ports = node_ports(&service).into_iter();
                        holders.extend(ports.map(|port| (port, name.clone())));
                    }
                }
                Ok(None) => return Ok(holders),
                // Without knowing who has them all are chosen anew.
                Err(error) if error.kind() == ErrorKind::Forbidden => return Ok(Holders::new()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Ports of the nodes that a service has, the one for health checks included.
fn node_ports(service: &Value) -> Vec<u64> {
    let ports = body::list_at(service, &["spec", "ports"]);
    let health = body::at(service, &["spec", "healthCheckNodePort"]);
    ports
        .iter()
        .filter_map(|port| port.get("nodePort"))
        .chain(health)
        .filter_map(Value::as_u64)
        .filter(|port| *port > 0)
        .collect()
}

/// Removes the ports of the nodes that `is_taken` names.
fn drop_ports(service: &mut Value, is_taken: impl Fn(u64) -> bool) {
    let taken = |port: Option<&Value>| port.and_then(Value::as_u64).is_some_and(&is_taken);
    if taken(body::at(service, &["spec", "healthCheckNodePort"])) {
        body::remove_at(service, &["spec", "healthCheckNodePort"]);
    }
    for port in body::list_at_mut(service, &["spec", "ports"])
        .into_iter()
        .flatten()
    {
        if taken(port.get("nodePort"))
            && let Some(port) = port.as_object_mut()
        {
            port.shift_remove("nodePort");
        }
    }
}
