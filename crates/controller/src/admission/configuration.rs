//! Keeps the webhook's configuration in the cluster reachable: the path to us and the authority of our certificate
//! stand in it, and both are made here. Everything else of it is what was installed.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use salvor_cluster::{ApiResource, Cluster, ErrorKind, WriteOptions};
use salvor_seal::SealKey;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::context::chain;
use crate::tls::Keys;

/// What the seal in the path is for.
const PATH_PURPOSE: &str = "admission-path";
/// Pause between two looks whether somebody installed it anew.
const LOOK: Duration = Duration::from_secs(10);
/// Pause after a write that failed.
const AGAIN: Duration = Duration::from_secs(3);

/// Where the API server asks.
pub(crate) fn path(key: &SealKey) -> String {
    format!("/admission/{}", key.seal(&[PATH_PURPOSE]))
}

/// The configuration of this server's webhook.
pub(crate) struct Configuration {
    pub(crate) cluster: Cluster,
    /// Name of the object.
    pub(crate) name: String,
    pub(crate) keys: Keys,
}

impl Configuration {
    /// Looks again and again until `cancel` is cancelled.
    pub(crate) async fn keep(self, cancel: CancellationToken) {
        let mut changes = self.keys.changes();
        let mut told = String::new();
        loop {
            let pause = match cancel.run_until_cancelled(self.look()).await {
                None => return,
                Some(Ok(())) => {
                    told.clear();
                    LOOK
                }
                Some(Err(error)) => {
                    let reason = chain(&error);
                    if told != reason {
                        tracing::error!(%reason, "the API server cannot ask for admission");
                        told = reason;
                    }
                    AGAIN
                }
            };
            let next = async {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    Ok(()) = changes.changed() => {}
                }
            };
            if cancel.run_until_cancelled(next).await.is_none() {
                return;
            }
        }
    }

    async fn look(&self) -> Result<(), salvor_cluster::Error> {
        let key = self.keys.seal_key().await;
        let Some(material) = self.keys.material() else {
            // Its coming wakes us.
            return Ok(());
        };
        let resource = resource();
        let Some(found) = self.cluster.get(&resource, None, &self.name).await? else {
            tracing::warn!(
                name = self.name,
                "there is no webhook configuration: who makes requests is not recorded, and they are refused"
            );
            return Ok(());
        };
        let before: Value = serde_json::from_slice(&found).unwrap_or_default();
        let Some(patch) = due(&before, &path(&key), &material.authority) else {
            return Ok(());
        };
        let body = patch.to_string();
        let options = WriteOptions::default();
        let patched =
            self.cluster
                .merge_patch(&resource, None, &self.name, None, body.as_bytes(), &options);
        match patched.await {
            // Another server wrote the same, or somebody else something: the next look tells.
            Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
            written => written.map(drop),
        }
    }
}

/// The patch that makes a configuration lead here; `None` when it does.
fn due(before: &Value, path: &str, authority: &str) -> Option<Value> {
    let mut webhooks = before["webhooks"].clone();
    let bundle = BASE64.encode(authority);
    for webhook in webhooks.as_array_mut()? {
        let config = &mut webhook["clientConfig"];
        if !authority.is_empty() {
            config["caBundle"] = bundle.clone().into();
        }
        if config["service"].is_object() {
            config["service"]["path"] = path.into();
        } else if let Some(url) = config["url"].as_str() {
            // Scheme and host as installed, as for a server outside of the cluster.
            let host = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            config["url"] = format!("{host}{path}").into();
        }
    }
    let version = &before["metadata"]["resourceVersion"];
    (webhooks != before["webhooks"]).then(
        || serde_json::json!({"metadata": {"resourceVersion": version}, "webhooks": webhooks}),
    )
}

fn resource() -> ApiResource {
    ApiResource::known(
        "admissionregistration.k8s.io",
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        false,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn path_and_authority_are_filled_in_once() {
        for (config, expected) in [
            (
                json!({"service": {"name": "salvor", "port": 8087}}),
                json!({"service": {"name": "salvor", "port": 8087, "path": "/admission/x"}, "caBundle": "Q0E="}),
            ),
            (
                json!({"url": "https://127.0.0.1:9443"}),
                json!({"url": "https://127.0.0.1:9443/admission/x", "caBundle": "Q0E="}),
            ),
            (
                json!({"url": "https://127.0.0.1:9443/old/path", "caBundle": "AA=="}),
                json!({"url": "https://127.0.0.1:9443/admission/x", "caBundle": "Q0E="}),
            ),
        ] {
            let before = json!({"metadata": {"resourceVersion": "7"},
                "webhooks": [{"name": "a", "clientConfig": config}]});
            let patch = due(&before, "/admission/x", "CA").expect("due");
            assert_eq!(patch["metadata"]["resourceVersion"], "7");
            assert_eq!(patch["webhooks"][0]["clientConfig"], expected);
            assert_eq!(patch["webhooks"][0]["name"], "a");
            assert_eq!(due(&patch, "/admission/x", "CA"), None);
        }
        assert_eq!(due(&json!({}), "/admission/x", "CA"), None);
    }
}
