//! `debug`.

use std::path::PathBuf;

use salvor_api::crds;
use salvor_api::go::Time;
use salvor_cluster::{ApiResource, Cluster, DiscoverOptions, ListOptions};
use serde_json::{Value, json};

use crate::args::DebugArgs;
use crate::debug::{Bundle, Redactor, is_secret_name, write};
use crate::exit::{Exit, Failure};
use crate::output::location_table::severity_name;
use crate::session::Session;
use salvor_text::ByteCount;

/// Objects of one kind, at most; the newest are listed last by most servers, so nothing is sorted out.
const OBJECTS: usize = 500;
/// Lines of a pod's log.
const LINES: u32 = 5000;
/// Where a server serves its metrics unless it is told otherwise.
const METRICS: u16 = 8085;

/// Collects what a report needs, as far as it can be had, into one file. Exit code 5 when something could not be had.
pub(crate) async fn run(args: &DebugArgs, session: &Session) -> Result<Exit, Failure> {
    let now = Time::new(session.now());
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("salvor-debug-{}.tar.gz", now.compact())));
    let cluster = session.cluster(None).await;
    let mut known: Vec<String> = std::env::vars()
        .filter(|(name, _)| is_secret_name(name))
        .map(|(_, value)| value)
        .collect();
    if let Ok(cluster) = &cluster {
        known.extend(secrets(cluster, session.namespace()).await);
    }
    let redactor = Redactor::new(known)
        .map_err(|error| Failure::caused(Exit::Internal, "prepare the bundle", error))?;
    let mut bundle = Bundle::new(redactor);
    of_this_program(&mut bundle, session);
    of_locations(&mut bundle, session).await;
    match cluster {
        Ok(cluster) => of_cluster(&mut bundle, &cluster, session).await,
        Err(failure) => bundle.missing("cluster", &failure.chain()),
    }
    if session.cancel.is_cancelled() {
        return Err(Failure::new(Exit::Cancelled, session.messages.cancelled()));
    }
    let seconds = u64::try_from(session.now().as_second()).unwrap_or_default();
    let size = write(&bundle, &path, seconds)?;
    let (names, missing) = bundle.contents();
    for what in missing {
        session
            .printer
            .warning(&session.messages.debug_missing(what));
    }
    let text = session.messages.debug_written(
        &path.display().to_string(),
        names.len() as u64,
        &ByteCount(size).to_string(),
    );
    session.printer.result(&format!("{text}\n"))?;
    Ok(match missing.is_empty() {
        true => Exit::Done,
        false => Exit::Partial,
    })
}

fn of_this_program(bundle: &mut Bundle, session: &Session) {
    let global = &session.global;
    // Names only: a value may be anything.
    let variables: Vec<String> = std::env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            [
                "SALVOR_", "AWS_", "AZURE_", "GOOGLE_", "KUBE", "HTTP", "NO_PROXY",
            ]
            .iter()
            .any(|prefix| name.to_uppercase().starts_with(prefix))
        })
        .collect();
    bundle.value(
        "program.json",
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "os": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
            "flags": {
                "namespace": session.namespace(),
                "context": global.context,
                "location": global.location,
                "direct": global.direct,
                "server": global.server,
            },
            "variablesThatAreSet": variables,
        }),
    );
}

/// The locations of the configuration, and what a check finds. Nothing is written into them.
async fn of_locations(bundle: &mut Bundle, session: &Session) {
    let config = match session.config() {
        Ok(config) => config,
        Err(failure) => return bundle.missing("configuration", &failure.chain()),
    };
    let mut locations = Vec::new();
    for (name, entry) in &config.locations {
        locations.push((name.clone(), session.named_location(name, &entry.url, true)));
    }
    if let Ok(profile) = session.profile(None)
        && !config.locations.contains_key(&profile.name)
    {
        let opened = session.named_location(&profile.name, &full(&profile), true);
        locations.push((profile.name, opened));
    }
    for (number, (name, opened)) in locations.into_iter().enumerate() {
        let file = format!("locations/{number}.json");
        let checked = match opened {
            Ok(location) => location.check().await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match checked {
            Ok(report) => {
                let steps: Vec<Value> = report
                    .steps
                    .iter()
                    .map(|step| match &step.problem {
                        None => json!({"step": step.name, "result": "ok"}),
                        Some((severity, text)) => json!({"step": step.name,
                            "result": severity_name(*severity), "message": text}),
                    })
                    .collect();
                bundle.value(&file, json!({"location": name, "steps": steps}));
            }
            Err(failure) => bundle.missing(&file, &failure.chain()),
        }
    }
}

/// A URL with its options, as it was given.
fn full(profile: &salvor_location::Profile) -> String {
    let url = &profile.url;
    let options: Vec<String> = url
        .options
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    match options.is_empty() {
        true => url.to_string(),
        false => format!("{url}?{}", options.join("&")),
    }
}

async fn of_cluster(bundle: &mut Bundle, cluster: &Cluster, session: &Session) {
    let namespace = session.namespace();
    match cluster.server_version().await {
        Ok(version) => bundle.value("cluster.json", json!({"kubernetes": version.git_version})),
        Err(error) => return bundle.missing("cluster", &Failure::from(error).chain()),
    }
    let discovery = match cluster.discover(DiscoverOptions::default()).await {
        Ok(discovery) => discovery,
        Err(error) => return bundle.missing("kinds", &Failure::from(error).chain()),
    };
    for crd in crds::all() {
        if let Some(resource) = discovery.resolve(crd.name) {
            let plural = crd.name.split('.').next().unwrap_or_default();
            let name = format!("kinds/{plural}.json");
            listed(bundle, cluster, resource, namespace, &name).await;
        }
    }
    let core = |kind: &str, plural: &str| ApiResource::known("", "v1", kind, plural, true);
    listed(
        bundle,
        cluster,
        &core("Event", "events"),
        namespace,
        "events.json",
    )
    .await;
    let deployments = ApiResource::known("apps", "v1", "Deployment", "deployments", true);
    listed(bundle, cluster, &deployments, namespace, "deployments.json").await;
    let pods = core("Pod", "pods");
    for pod in listed(bundle, cluster, &pods, namespace, "pods.json").await {
        let file = format!("logs/{pod}.log");
        match cluster.log(namespace, &pod, LINES).await {
            Ok(bytes) => bundle.text(&file, &String::from_utf8_lossy(&bytes)),
            Err(error) => bundle.missing(&file, &Failure::from(error).chain()),
        }
        let file = format!("metrics/{pod}.txt");
        match cluster
            .served_by_pod(namespace, &pod, METRICS, "metrics")
            .await
        {
            Ok(bytes) => bundle.text(&file, &String::from_utf8_lossy(&bytes)),
            Err(error) => bundle.missing(&file, &Failure::from(error).chain()),
        }
    }
}

/// Adds the objects of a kind, and returns their names.
async fn listed(
    bundle: &mut Bundle,
    cluster: &Cluster,
    resource: &ApiResource,
    namespace: &str,
    file: &str,
) -> Vec<String> {
    let mut pager = cluster.pager(resource, Some(namespace), ListOptions::default());
    let mut objects: Vec<Value> = Vec::new();
    loop {
        match pager.next_page().await {
            Ok(Some(page)) => {
                let items = page.items().map(serde_json::from_slice::<Value>);
                objects.extend(items.filter_map(Result::ok));
            }
            Ok(None) => break,
            Err(error) => {
                bundle.missing(file, &Failure::from(error).chain());
                break;
            }
        }
        if objects.len() >= OBJECTS {
            let reason = format!("only {OBJECTS} or a few more of its objects are in it");
            bundle.missing(file, &reason);
            break;
        }
    }
    let name = |object: &Value| Some(object["metadata"]["name"].as_str()?.to_owned());
    let names = objects.iter().filter_map(name).collect();
    if !objects.is_empty() {
        bundle.value(file, Value::Array(objects));
    }
    names
}

/// What the Secrets of the namespace hold, as far as they may be read, so that it is found wherever else it stands.
async fn secrets(cluster: &Cluster, namespace: &str) -> Vec<String> {
    use base64::Engine as _;
    let resource = ApiResource::known("", "v1", "Secret", "secrets", true);
    let mut pager = cluster.pager(&resource, Some(namespace), ListOptions::default());
    let mut known = Vec::new();
    while let Ok(Some(page)) = pager.next_page().await {
        for item in page.items() {
            let secret: Value = serde_json::from_slice(item).unwrap_or_default();
            let data = secret["data"].as_object().cloned().unwrap_or_default();
            // A token's Secret also says its namespace and authority, which everybody may know, and which stand everywhere.
            let is_secret = |key: &str| key != "namespace" && key != "ca.crt";
            let secrets = data.iter().filter(|(key, _)| is_secret(key));
            for value in secrets.filter_map(|(_, value)| value.as_str()) {
                known.push(value.to_owned());
                let decoded = base64::engine::general_purpose::STANDARD.decode(value);
                let text = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
                // A file of credentials has them line by line.
                for line in text.unwrap_or_default().lines() {
                    let value = line.split_once('=').map_or(line, |(_, value)| value);
                    known.push(value.trim().to_owned());
                }
            }
        }
    }
    known
}
