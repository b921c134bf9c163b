//! Velero's settings of node agents: a ConfigMap with one JSON document. What it says of how many volumes are moved at once
//! and of what movers may use is taken; the rest is about ways of moving data that are not ours.

use salvor_api::meta::LabelSelector;
use salvor_api::selector::Selector;
use salvor_cluster::Cluster;
use serde::Deserialize;
use serde_json::Value;

use super::{AgentOptions, MoverResources};
use crate::objects::core;
use crate::work::chain;

/// What of the document counts here.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Settings {
    load_concurrency: LoadConcurrency,
    pod_resources: PodResources,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LoadConcurrency {
    global_config: usize,
    per_node_config: Vec<NodeConcurrency>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct NodeConcurrency {
    node_selector: LabelSelector,
    number: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodResources {
    cpu_request: String,
    cpu_limit: String,
    memory_request: String,
    memory_limit: String,
}

/// Settings that cannot be used, for people.
#[derive(Debug, thiserror::Error)]
#[error("ConfigMap `{name}` with the settings of the node agent: {reason}")]
pub struct SettingsError {
    name: String,
    reason: String,
}

impl AgentOptions {
    /// With what a ConfigMap of the server's namespace says.
    ///
    /// # Errors
    /// [`SettingsError`]: it is not there or cannot be read.
    pub async fn with_settings(self, cluster: &Cluster, name: &str) -> Result<Self, SettingsError> {
        let wrong = |reason: String| SettingsError {
            name: name.to_owned(),
            reason,
        };
        let get = async |kind: (&str, &str), namespaced: bool, name: &str| {
            let resource = core(kind.0, kind.1, namespaced);
            let found = cluster.get(&resource, Some(&self.namespace), name).await;
            let found = found.map_err(|error| wrong(chain(&error)))?;
            let bytes = found.ok_or_else(|| wrong(format!("{} `{name}` is not there", kind.0)))?;
            serde_json::from_slice::<Value>(&bytes).map_err(|error| wrong(error.to_string()))
        };
        let map = get(("ConfigMap", "configmaps"), true, name).await?;
        let values = map["data"].as_object().into_iter().flatten();
        let texts: Vec<&str> = values.filter_map(|(_, value)| value.as_str()).collect();
        let [text] = texts.as_slice() else {
            return Err(wrong(format!(
                "it has {} entries and should have one",
                texts.len()
            )));
        };
        let settings: Settings = serde_json::from_str(text)
            .map_err(|error| wrong(format!("it is not the JSON that it should be: {error}")))?;
        let labels = match settings.load_concurrency.per_node_config.is_empty() {
            true => Value::Null,
            false => get(("Node", "nodes"), false, &self.node).await?["metadata"]["labels"].clone(),
        };
        settings.applied(self, &labels).map_err(wrong)
    }
}

impl Settings {
    fn applied(&self, options: AgentOptions, labels: &Value) -> Result<AgentOptions, String> {
        let LoadConcurrency {
            global_config,
            per_node_config,
        } = &self.load_concurrency;
        let labels = serde_json::from_value(labels.clone()).unwrap_or_default();
        let mut concurrency = match *global_config {
            0 => options.concurrency,
            given => given,
        };
        // Of several that match, the smallest counts, as in Velero.
        let mut matching = Vec::new();
        for one in per_node_config {
            let selector = Selector::compile(&one.node_selector)
                .map_err(|error| format!("loadConcurrency.perNodeConfig: {error}"))?;
            if one.number > 0 && selector.matches(&labels) {
                matching.push(one.number);
            }
        }
        if let Some(least) = matching.into_iter().min() {
            concurrency = least;
        }
        let given = &self.pod_resources;
        let or = |given: &String, otherwise: &String| match given.as_str() {
            "" => otherwise.clone(),
            given => given.to_owned(),
        };
        let own = &options.resources;
        let resources = MoverResources {
            cpu_request: or(&given.cpu_request, &own.cpu_request),
            memory_request: or(&given.memory_request, &own.memory_request),
            cpu_limit: or(&given.cpu_limit, &own.cpu_limit),
            memory_limit: or(&given.memory_limit, &own.memory_limit),
        };
        Ok(AgentOptions {
            concurrency,
            resources,
            ..options
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn options() -> AgentOptions {
        AgentOptions {
            namespace: "velero".to_owned(),
            node: "n1".to_owned(),
            pod: "node-agent-x".to_owned(),
            concurrency: 2,
            kubelet_root: "/var/lib/kubelet".to_owned(),
            resources: MoverResources::default(),
            privileged: false,
        }
    }

    #[test]
    fn veleros_document_counts_where_it_says_something() {
        let settings: Settings = serde_json::from_value(json!({
            "loadConcurrency": {"globalConfig": 3, "perNodeConfig": [
                {"nodeSelector": {"matchLabels": {"disk": "slow"}}, "number": 1},
                {"nodeSelector": {"matchLabels": {"kubernetes.io/os": "linux"}}, "number": 5},
            ]},
            "podResources": {"memoryLimit": "1Gi"},
            "loadAffinity": [{"nodeSelector": {}}],
            "backupPVC": {"x": {"readOnly": true}},
        }))
        .expect("read");
        let applied = |labels: Value| settings.applied(options(), &labels).expect("applied");
        assert_eq!(applied(json!({})).concurrency, 3);
        assert_eq!(applied(json!({"kubernetes.io/os": "linux"})).concurrency, 5);
        let slow = applied(json!({"kubernetes.io/os": "linux", "disk": "slow"}));
        assert_eq!(slow.concurrency, 1);
        assert_eq!(slow.resources.memory_limit, "1Gi");
        assert_eq!(slow.resources.cpu_limit, "1");
        let none = Settings::default().applied(options(), &Value::Null);
        assert_eq!(none.map(|options| options.concurrency), Ok(2));
    }
}
