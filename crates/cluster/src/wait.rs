//! Waiting for a condition of one object: asked for again with a growing pause, within a time limit.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::{Cluster, describe};
use crate::error::{Error, ErrorKind};
use crate::resource::ApiResource;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long to wait, and how to give up early.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Time limit.
    pub timeout: Duration,
    /// Gives up when cancelled.
    pub cancel: CancellationToken,
}

/// What a look at the object said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// The condition holds.
    Done,
    /// Not yet, and why: the text of the timeout message.
    NotYet(String),
}

impl Cluster {
    /// Reads one object until `look` is satisfied; `None` is an object that is not there. Returns the
    /// object as last read.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] with what was last seen, [`ErrorKind::Cancelled`], and failures of the read
    /// that do not pass within the limit.
    pub async fn wait_until(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        wait: &Wait,
        look: impl Fn(Option<&Value>) -> Look,
    ) -> Result<Option<Bytes>, Error> {
        let operation = describe("wait for", resource, namespace, Some(name));
        let deadline = Instant::now() + wait.timeout;
        let mut pause = FIRST_PAUSE;
        loop {
            let seen = match self.get(resource, namespace, name).await {
                Ok(body) => {
                    let value = match &body {
                        Some(bytes) => {
                            Some(serde_json::from_slice::<Value>(bytes).map_err(|e| {
                                Error::caused(ErrorKind::Malformed, &operation, e.to_string(), e)
                            })?)
                        }
                        None => None,
                    };
                    match look(value.as_ref()) {
                        Look::Done => return Ok(body),
                        Look::NotYet(seen) => seen,
                    }
                }
                Err(error) if error.is_retryable() => error.to_string(),
                Err(error) => return Err(error),
            };
            if Instant::now() + pause > deadline {
                let detail = format!("not within {} s: {seen}", wait.timeout.as_secs_f32());
                return Err(Error::local(ErrorKind::Timeout, operation, detail));
            }
            tokio::select! {
                () = wait.cancel.cancelled() => {
                    return Err(Error::local(ErrorKind::Cancelled, operation, "given up"));
                }
                () = self.stay(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until a CRD is `Established`. `resource` is the CRD resource in a version that is served.
    ///
    /// # Errors
    /// As [`Cluster::wait_until`].
    pub async fn wait_crd_established(
        &self,
        resource: &ApiResource,
        name: &str,
        wait: &Wait,
    ) -> Result<(), Error> {
        self.wait_until(resource, None, name, wait, crd_established)
            .await
            .map(drop)
    }

    /// Waits until a namespace exists and is active.
    ///
    /// # Errors
    /// As [`Cluster::wait_until`].
    pub async fn wait_namespace_active(&self, name: &str, wait: &Wait) -> Result<(), Error> {
        self.wait_until(
            &ApiResource::namespaces(),
            None,
            name,
            wait,
            |object| match object.map(|o| o["status"]["phase"].as_str().unwrap_or("no phase")) {
                Some("Active") => Look::Done,
                Some(phase) => Look::NotYet(format!("it is {phase}")),
                None => Look::NotYet("it is not there".to_owned()),
            },
        )
        .await
        .map(drop)
    }

    /// Waits until an object is not there any more.
    ///
    /// # Errors
    /// As [`Cluster::wait_until`].
    pub async fn wait_gone(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        name: &str,
        wait: &Wait,
    ) -> Result<(), Error> {
        self.wait_until(resource, namespace, name, wait, |object| match object {
            None => Look::Done,
            Some(object) => Look::NotYet(match object["metadata"]["finalizers"].as_array() {
                Some(list) if !list.is_empty() => format!(
                    "finalizers hold it: {}",
                    list.iter()
                        .filter_map(Value::as_str)
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
                _ => "it is still there".to_owned(),
            }),
        })
        .await
        .map(drop)
    }
}

fn crd_established(object: Option<&Value>) -> Look {
    let Some(object) = object else {
        return Look::NotYet("it is not there".to_owned());
    };
    let conditions = object["status"]["conditions"].as_array();
    let condition = |kind: &str| conditions.into_iter().flatten().find(|c| c["type"] == kind);
    if condition("Established").is_some_and(|c| c["status"] == "True") {
        return Look::Done;
    }
    match condition("NamesAccepted").filter(|c| c["status"] == "False") {
        Some(refused) => Look::NotYet(format!(
            "its names are not accepted: {}",
            refused["message"].as_str().unwrap_or("no message")
        )),
        None => Look::NotYet("it is not established".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_crd_is_ready_when_established_and_says_why_not() {
        let crd = |conditions: Value| json!({"status": {"conditions": conditions}});
        for (object, expected) in [
            (None, Look::NotYet("it is not there".into())),
            (
                Some(json!({})),
                Look::NotYet("it is not established".into()),
            ),
            (
                Some(crd(json!([{"type": "Established", "status": "True"}]))),
                Look::Done,
            ),
            (
                Some(crd(
                    json!([{"type": "NamesAccepted", "status": "False", "message": "taken"}]),
                )),
                Look::NotYet("its names are not accepted: taken".into()),
            ),
        ] {
            assert_eq!(crd_established(object.as_ref()), expected);
        }
    }
}
