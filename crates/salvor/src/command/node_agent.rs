//! `node-agent`: has the volumes of its node moved.

use std::sync::{Arc, OnceLock};

use salvor_volume::agent::{AgentOptions, Meter, MoverResources, NodeAgent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::args::agent::NodeAgentArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Bytes of a request that are read: its first line is what counts.
const REQUEST: usize = 1024;
/// How long a request may take: whoever says nothing must not keep a task.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Works until Ctrl-C or SIGTERM.
pub(crate) async fn run(args: &NodeAgentArgs, session: &Session) -> Result<Exit, Failure> {
    let meter = Arc::new(OnceLock::new());
    if !args.health_address.is_empty() {
        let address = &args.health_address;
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failure::caused(Exit::Usage, format!("serve health on `{address}`"), error)
        })?;
        tokio::spawn(serve(listener, Arc::clone(&meter)));
    }
    let cluster = session.cluster(None).await?;
    let options = AgentOptions {
        namespace: session.namespace().to_owned(),
        node: args.node.clone(),
        pod: args.pod.clone(),
        concurrency: usize::from(args.data_mover_concurrency),
        kubelet_root: args.kubelet_root_dir.clone(),
        resources: MoverResources {
            cpu_request: args.mover_cpu_request.clone(),
            memory_request: args.mover_mem_request.clone(),
            cpu_limit: args.mover_cpu_limit.clone(),
            memory_limit: args.mover_mem_limit.clone(),
        },
        privileged: args.privileged_movers,
    };
    let options = match &args.node_agent_configmap {
        Some(name) => options
            .with_settings(&cluster, name)
            .await
            .map_err(|error| Failure::caused(Exit::Usage, "read the settings", error))?,
        None => options,
    };
    let agent = NodeAgent::new(&cluster, options)
        .await
        .map_err(|error| Failure::caused(Exit::Internal, "begin", error))?;
    // Whoever asks finds it ready from now on.
    let _ = meter.set(agent.meter());
    agent.run(&session.cancel).await;
    Ok(Exit::Done)
}

/// Answers probes and shows metrics. There is nothing else to ask it for, so that it needs no server of HTTP.
async fn serve(listener: TcpListener, meter: Arc<OnceLock<Meter>>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let meter = Arc::clone(&meter);
            tokio::spawn(async move {
                // Who does not wait for the answer does not need it.
                let _ = tokio::time::timeout(PATIENCE, answer(stream, meter.get())).await;
            });
        }
    }
}

async fn answer(mut stream: TcpStream, meter: Option<&Meter>) -> std::io::Result<()> {
    let mut request = vec![0; REQUEST];
    let length = stream.read(&mut request).await?;
    let line = String::from_utf8_lossy(&request[..length]);
    let path = line.split_whitespace().nth(1).unwrap_or_default();
    let (status, text) = match (path, meter) {
        ("/healthz", _) | ("/readyz", Some(_)) => ("200 OK", "ok\n".to_owned()),
        ("/metrics", Some(meter)) => ("200 OK", meter.text()),
        ("/readyz" | "/metrics", None) => ("503 Service Unavailable", "not yet\n".to_owned()),
        _ => (
            "404 Not Found",
            "ask for /healthz, /readyz or /metrics\n".to_owned(),
        ),
    };
    let length = text.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
