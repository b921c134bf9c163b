//! Texts that the API server passes on: logs of containers, and what a pod serves.

use bytes::Bytes;

use crate::client::{Call, Cluster};
use crate::error::{Error, ErrorKind};
use crate::path::{segment, with_query};

impl Cluster {
    /// The last lines that a pod's container wrote, at most `lines` of them.
    ///
    /// # Errors
    /// The pod is not there or has not begun, or its log may not be read.
    pub async fn log(&self, namespace: &str, pod: &str, lines: u32) -> Result<Bytes, Error> {
        let operation = format!("read the log of pod {namespace}/{pod}");
        let path = pod_path(namespace, pod);
        let path = path.map_err(|reason| Error::local(ErrorKind::Config, &operation, reason))?;
        let query = [("tailLines", Some(lines.to_string()))];
        let uri = with_query(&format!("{path}/log"), &query);
        self.call(any(operation, uri)).await
    }

    /// What a pod serves at a path, asked for by way of the API server.
    ///
    /// # Errors
    /// The pod does not answer, or the proxy may not be used.
    pub async fn served_by_pod(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        path: &str,
    ) -> Result<Bytes, Error> {
        let operation = format!("ask pod {namespace}/{pod} for {path}");
        let of_pod = pod_path(namespace, pod);
        let of_pod =
            of_pod.map_err(|reason| Error::local(ErrorKind::Config, &operation, reason))?;
        let uri = format!("{of_pod}:{port}/proxy/{}", path.trim_start_matches('/'));
        self.call(any(operation, uri)).await
    }
}

fn any(operation: String, uri: String) -> Call {
    Call {
        accept: "*/*",
        ..Call::read(operation, uri)
    }
}

fn pod_path(namespace: &str, pod: &str) -> Result<String, String> {
    let namespace = segment("namespace", namespace)?;
    let pod = segment("pod", pod)?;
    Ok(format!("/api/v1/namespaces/{namespace}/pods/{pod}"))
}
