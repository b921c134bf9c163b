//! `install`: everything that a server needs in a cluster, printed or applied.

use std::path::Path;
use std::time::Duration;

use salvor_api::crds;
use salvor_cluster::{ApiResource, Cluster, ErrorKind, Look, Wait, WriteOptions};
use salvor_controller::AuthorizeRequests;
use salvor_controller::install::{
    DefaultLocation, Install, NAME, NodeAgent, Resources, Role, iam_policy, is_left_alone,
    resource_of_manifest,
};
use salvor_controller::tls::TlsSource;
use salvor_seal::KeyMaterial;
use salvor_seal::repository_key::SECRET;
use salvor_text::Installed;
use salvor_volume::cluster_key;
use serde_json::{Value, json};

use crate::args::install::{InstallArgs, LocationArgs, ManifestFormat, RoleName, WorkloadArgs};
use crate::command::repository::password::{key_failure, key_from_file};
use crate::exit::{Exit, Failure};
use crate::output::structured;
use crate::session::Session;

/// Who writes what is installed, for its managed fields.
const FIELD_MANAGER: &str = "salvor-install";
/// Image of this version.
pub(super) const IMAGE: &str = concat!("ghcr.io/salvor-dr/salvor:v", env!("CARGO_PKG_VERSION"));
/// How long the definitions, and with `--wait` the server, are waited for.
const PATIENCE: Duration = Duration::from_secs(600);

/// Prints the manifests, or applies them.
pub(crate) async fn run(args: &InstallArgs, session: &Session) -> Result<Exit, Failure> {
    if args.iam_policy {
        return policy(args, session);
    }
    let manifests = match args.crds_only {
        true => Vec::new(),
        false => wanted(args, session)?.manifests(),
    };
    if args.dry_run {
        print(args.output, &manifests, session)?;
        if args.workload.use_node_agent && !args.crds_only {
            let text = session
                .messages
                .repository_key_not_printed(session.namespace(), SECRET);
            session.printer.note(&text);
        }
        return Ok(Exit::Done);
    }
    let cluster = session.cluster(None).await?;
    for crd in crds::all() {
        let definition = decode(crd)?;
        let done = apply(&cluster, &definition).await?;
        let text = session
            .messages
            .definition_installed(crd.name, done == Installed::Created);
        session.printer.result(&format!("{text}\n"))?;
    }
    if args.crds_only {
        return Ok(Exit::Done);
    }
    let wait = Wait {
        timeout: PATIENCE,
        cancel: session.cancel.clone(),
    };
    for crd in crds::all() {
        let definitions = definitions();
        cluster
            .wait_crd_established(&definitions, crd.name, &wait)
            .await?;
    }
    for manifest in &manifests {
        let done = apply(&cluster, manifest).await?;
        let text = session.messages.installed(&what(manifest), done);
        session.printer.result(&format!("{text}\n"))?;
    }
    if args.workload.use_node_agent {
        repository_key(
            args.workload.repository_key_file.as_deref(),
            &cluster,
            session,
        )
        .await?;
    }
    if args.wait {
        until_ready(&cluster, session.namespace(), &wait).await?;
        session.printer.remark(&session.messages.server_ready());
    }
    Ok(Exit::Done)
}

/// Puts the key of the repositories into the cluster: that of the file, or a new one where there is none.
async fn repository_key(
    file: Option<&Path>,
    cluster: &Cluster,
    session: &Session,
) -> Result<(), Failure> {
    let namespace = session.namespace();
    let failed = |error| key_failure(error, namespace);
    let told = |is_new| {
        let done = match is_new {
            true => Installed::Created,
            false => Installed::Kept,
        };
        let what = format!("Secret {namespace}/{SECRET}");
        let text = session.messages.installed(&what, done);
        session.printer.result(&format!("{text}\n"))
    };
    let Some(file) = file else {
        let made = cluster_key::make(cluster, namespace).await;
        let is_new = made.map_err(failed)?;
        told(is_new)?;
        if is_new {
            let text = session.messages.repository_key_made(namespace, SECRET);
            session.printer.warning(&text);
        }
        return Ok(());
    };
    let key = key_from_file(file)?;
    let put = cluster_key::put(cluster, namespace, &key).await;
    if put.map_err(failed)? {
        return told(true);
    }
    match cluster_key::find(cluster, namespace)
        .await
        .map_err(failed)?
    {
        Some(KeyMaterial::Key(found)) if found == key => told(false),
        _ => {
            let text = format!(
                "Secret {namespace}/{SECRET} has another key than {}: it was left as it is",
                file.display()
            );
            Err(Failure::new(Exit::Refused, text).hint(
                "if no volume was backed up with it, delete the Secret and install again; otherwise keep it, and \
                 restore what the file's key opens from a namespace of its own",
            ))
        }
    }
}

/// What the flags ask for.
fn wanted(args: &InstallArgs, session: &Session) -> Result<Install, Failure> {
    let WorkloadArgs {
        image,
        role,
        api_groups,
        no_hooks,
        replicas,
        tls,
        metrics_tls,
        authorize_requests,
        download_url,
        server_arg,
        garbage_collection_frequency,
        pod_labels,
        pod_annotations,
        sa_annotations,
        velero_pod_cpu_request,
        velero_pod_mem_request,
        velero_pod_cpu_limit,
        velero_pod_mem_limit,
        use_node_agent,
        // Applied, never printed.
        repository_key_file: _,
        privileged_node_agent,
        node_agent_pod_cpu_request,
        node_agent_pod_mem_request,
        node_agent_pod_cpu_limit,
        node_agent_pod_mem_limit,
        node_agent_configmap,
        kubelet_root_dir,
        prometheus_rule,
        plugins,
        features: _,
    } = &args.workload;
    if !plugins.is_empty() {
        session.printer.note(&session.messages.plugins_built_in());
    }
    if matches!(tls, TlsSource::Files { .. }) {
        return Err(
            Failure::usage("the server's pods have no files of yours").hint(
                "put the certificate into a Secret of its namespace and name it: --tls secret:NAME",
            ),
        );
    }
    let strict = *authorize_requests == AuthorizeRequests::Strict;
    if !tls.is_on() && (*metrics_tls || strict) {
        return Err(Failure::usage(
            "--metrics-tls and --authorize-requests=strict need a certificate",
        )
        .hint("leave --tls out, or name a Secret: --tls secret:NAME"));
    }
    let mut arguments = server_arg.clone();
    if let Some(frequency) = garbage_collection_frequency {
        arguments.push(format!("--garbage-collection-frequency={frequency}"));
    }
    let base = Install::new(session.namespace(), image.as_deref().unwrap_or(IMAGE));
    let given = &args.location;
    let install = Install {
        role: match role {
            RoleName::BackupOnly => Role::BackupOnly,
            RoleName::Restore => Role::Restore,
            RoleName::Full => Role::Full,
        },
        api_groups: api_groups.clone(),
        hooks: !no_hooks,
        replicas: *replicas,
        arguments,
        resources: Resources {
            cpu_request: velero_pod_cpu_request.clone(),
            memory_request: velero_pod_mem_request.clone(),
            cpu_limit: velero_pod_cpu_limit.clone(),
            memory_limit: velero_pod_mem_limit.clone(),
        },
        tls: tls.clone(),
        metrics_tls: *metrics_tls,
        authorize_requests: *authorize_requests,
        download_url: download_url.clone(),
        pod_labels: pod_labels.clone().unwrap_or_default(),
        pod_annotations: pod_annotations.clone().unwrap_or_default(),
        service_account_annotations: sa_annotations.clone().unwrap_or_default(),
        credentials: given.secret_file.as_deref().map(read).transpose()?,
        location: location(given)?,
        node_agent: use_node_agent.then(|| NodeAgent {
            resources: Resources {
                cpu_request: node_agent_pod_cpu_request.clone(),
                memory_request: node_agent_pod_mem_request.clone(),
                cpu_limit: node_agent_pod_cpu_limit.clone(),
                memory_limit: node_agent_pod_mem_limit.clone(),
            },
            privileged: *privileged_node_agent,
            kubelet_root: kubelet_root_dir.clone(),
            config_map: node_agent_configmap.clone(),
            ..NodeAgent::default()
        }),
        prometheus_rule: *prometheus_rule,
        ..base
    };
    let snapshots = given
        .provider
        .clone()
        .filter(|_| given.use_volume_snapshots);
    let config = given.snapshot_location_config.clone().unwrap_or_default();
    let snapshot_location = snapshots.map(|provider| (provider, config));
    if install.location.is_none() {
        session
            .printer
            .note(&session.messages.no_default_location());
    }
    Ok(Install {
        snapshot_location,
        ..install
    })
}

/// The default location; `None` when none is to be created.
fn location(given: &LocationArgs) -> Result<Option<DefaultLocation>, Failure> {
    let Some(provider) = given
        .provider
        .as_ref()
        .filter(|_| !given.no_default_backup_location)
    else {
        return Ok(None);
    };
    let Some(bucket) = &given.bucket else {
        return Err(Failure::usage("--provider needs --bucket")
            .hint("name the bucket, or pass --no-default-backup-location"));
    };
    if given.secret_file.is_none() && !given.no_secret {
        return Err(
            Failure::usage("--provider needs --secret-file or --no-secret")
                .hint("--no-secret is for servers whose account has an identity of the cloud"),
        );
    }
    let location = DefaultLocation {
        provider: provider.clone(),
        bucket: bucket.clone(),
        prefix: given.prefix.trim_matches('/').to_owned(),
        config: given.backup_location_config.clone().unwrap_or_default(),
        ca_cert: given
            .cacert
            .as_deref()
            .map(read)
            .transpose()?
            .unwrap_or_default(),
    };
    let mut object = salvor_api::velero::BackupStorageLocation::named("", "default");
    object.spec.provider.clone_from(&location.provider);
    object
        .spec
        .object_storage
        .bucket
        .clone_from(&location.bucket);
    object.spec.config.clone_from(&location.config);
    salvor_controller::location_url(&object)
        .map_err(|error| Failure::caused(Exit::Usage, "read --provider", error))?;
    Ok(Some(location))
}

/// Prints what the cloud has to allow.
fn policy(args: &InstallArgs, session: &Session) -> Result<Exit, Failure> {
    let given = &args.location;
    let location = DefaultLocation {
        provider: given.provider.clone().unwrap_or_default(),
        bucket: given.bucket.clone().unwrap_or_default(),
        prefix: given.prefix.trim_matches('/').to_owned(),
        config: given.backup_location_config.clone().unwrap_or_default(),
        ca_cert: Vec::new(),
    };
    let policy = iam_policy(&location).ok_or_else(|| {
        let what = format!("provider `{}` has no policies or roles", location.provider);
        Failure::usage(what).hint("aws, azure and gcp have")
    })?;
    session.printer.json(&policy)?;
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path)
        .map_err(|error| Failure::caused(Exit::Usage, format!("read `{}`", path.display()), error))
}

fn print(
    format: Option<ManifestFormat>,
    manifests: &[Value],
    session: &Session,
) -> Result<(), Failure> {
    match format.unwrap_or(ManifestFormat::Yaml) {
        ManifestFormat::Yaml => {
            let mut documents: Vec<String> = crds::all()
                .iter()
                .map(|crd| crd.yaml.trim_end().to_owned())
                .collect();
            for manifest in manifests {
                documents.push(structured::yaml(manifest)?.trim_end().to_owned());
            }
            session
                .printer
                .result(&format!("{}\n", documents.join("\n---\n")))
        }
        ManifestFormat::Json => {
            let mut items = crds::all()
                .iter()
                .map(decode)
                .collect::<Result<Vec<_>, _>>()?;
            items.extend_from_slice(manifests);
            let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
            session.printer.json(&list)
        }
    }
}

fn decode(crd: &crds::Crd) -> Result<Value, Failure> {
    let doing = || format!("read the definition of {}", crd.name);
    serde_saphyr::from_str(crd.yaml)
        .map_err(|error| Failure::caused(Exit::Internal, doing(), error))
}

/// The resource that definitions are.
pub(super) fn definitions() -> ApiResource {
    ApiResource::known(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
    )
}

/// `Deployment velero/salvor`.
fn what(manifest: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, metadata) = (text(&manifest["kind"]), &manifest["metadata"]);
    match text(&metadata["namespace"]).as_str() {
        "" => format!("{kind} {}", text(&metadata["name"])),
        namespace => format!("{kind} {namespace}/{}", text(&metadata["name"])),
    }
}

/// Creates an object, or brings the one that is there to ours. What others added to it (labels, annotations, a
/// conversion webhook) stays.
async fn apply(cluster: &Cluster, manifest: &Value) -> Result<Installed, Failure> {
    let doing = format!("install {}", what(manifest));
    let Some(resource) = resource_of_manifest(manifest) else {
        return Err(Failure::new(Exit::Internal, doing));
    };
    let mut done = bring(cluster, &resource, manifest).await;
    if is_unknown(&done)
        && let Some(older) = in_older_version(manifest)
        && let Some(resource) = resource_of_manifest(&older)
    {
        done = bring(cluster, &resource, &older).await;
    }
    done.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NoSuchKind => "the cluster does not have this kind",
            _ => "",
        };
        Failure::from(error).while_doing(&doing).hint(hint)
    })
}

fn is_unknown(done: &Result<Installed, salvor_cluster::Error>) -> bool {
    let error = done.as_ref().err();
    error.is_some_and(|error| error.kind() == ErrorKind::NoSuchKind)
}

/// The same object in the version that clusters before 1.21 have of its kind.
fn in_older_version(manifest: &Value) -> Option<Value> {
    (manifest["apiVersion"] == "policy/v1").then(|| {
        let mut older = manifest.clone();
        older["apiVersion"] = "policy/v1beta1".into();
        older
    })
}

async fn bring(
    cluster: &Cluster,
    resource: &ApiResource,
    manifest: &Value,
) -> Result<Installed, salvor_cluster::Error> {
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = manifest["metadata"]["namespace"].as_str();
    let options = WriteOptions {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..WriteOptions::default()
    };
    let body = manifest.to_string();
    if cluster.get(resource, namespace, name).await?.is_none() {
        let is_ours = |_: &[u8]| true;
        let made = cluster
            .create_once(
                resource,
                namespace,
                name,
                body.as_bytes(),
                &options,
                is_ours,
            )
            .await;
        match made {
            Ok(_) => return Ok(Installed::Created),
            // Another installation was quicker.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    if is_left_alone(manifest) {
        return Ok(Installed::Kept);
    }
    // A merge patch replaces lists as a whole, which is meant: versions, rules, containers.
    cluster
        .merge_patch(resource, namespace, name, None, body.as_bytes(), &options)
        .await?;
    Ok(Installed::Current)
}

/// Waits until a server is ready.
async fn until_ready(cluster: &Cluster, namespace: &str, wait: &Wait) -> Result<(), Failure> {
    let deployments = ApiResource::known("apps", "v1", "Deployment", "deployments", true);
    let look = |deployment: Option<&Value>| {
        let status = deployment.map(|deployment| &deployment["status"]);
        match status.and_then(|status| status["availableReplicas"].as_u64()) {
            Some(1..) => Look::Done,
            _ => Look::NotYet("none of its pods is ready".to_owned()),
        }
    };
    let waited = cluster
        .wait_until(&deployments, Some(namespace), NAME, wait, look)
        .await;
    waited.map(drop).map_err(|error| {
        let hint = format!("`kubectl -n {namespace} describe pods` says why");
        Failure::from(error)
            .while_doing("wait for the server")
            .hint(hint)
    })
}
