//! `install`: the definitions of Velero's kinds, printed or applied.

use salvor_api::crds;
use salvor_cluster::{ApiResource, Cluster, WriteOptions};
use serde_json::{Value, json};

use crate::args::server::{InstallArgs, ManifestFormat};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Who writes the definitions, for their managed fields.
const FIELD_MANAGER: &str = "salvor-install";

/// Prints the manifests, or applies them.
pub(crate) async fn run(args: &InstallArgs, session: &Session) -> Result<Exit, Failure> {
    let InstallArgs {
        crds_only: _,
        dry_run,
        output,
    } = args;
    if *dry_run {
        match output.unwrap_or(ManifestFormat::Yaml) {
            ManifestFormat::Yaml => {
                let documents: Vec<&str> =
                    crds::all().iter().map(|crd| crd.yaml.trim_end()).collect();
                let text = format!("{}\n", documents.join("\n---\n"));
                session.printer.result(&text)?;
            }
            ManifestFormat::Json => {
                let items = crds::all()
                    .iter()
                    .map(decode)
                    .collect::<Result<Vec<_>, _>>()?;
                let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
                session.printer.json(&list)?;
            }
        }
        return Ok(Exit::Done);
    }
    let cluster = session.cluster(None).await?;
    for crd in crds::all() {
        let done = apply(&cluster, crd.name, decode(crd)?).await?;
        let text = session.messages.definition_installed(crd.name, done);
        session.printer.result(&format!("{text}\n"))?;
    }
    Ok(Exit::Done)
}

fn decode(crd: &crds::Crd) -> Result<Value, Failure> {
    let doing = || format!("read the definition of {}", crd.name);
    serde_saphyr::from_str(crd.yaml)
        .map_err(|error| Failure::caused(Exit::Internal, doing(), error))
}

/// Creates a definition, or brings the one that is there to ours. What others added to it (labels,
/// annotations, a conversion webhook) stays. True when it was created.
async fn apply(cluster: &Cluster, name: &str, definition: Value) -> Result<bool, Failure> {
    let doing = || format!("install the definition of {name}");
    let failed = |error: salvor_cluster::Error| Failure::from(error).while_doing(&doing());
    let resource = ApiResource::known(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        false,
    );
    let options = WriteOptions {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..WriteOptions::default()
    };
    let found = cluster.get(&resource, None, name).await.map_err(failed)?;
    if found.is_none() {
        let body = definition.to_string();
        let is_ours = |_: &[u8]| true;
        cluster
            .create_once(&resource, None, name, body.as_bytes(), &options, is_ours)
            .await
            .map_err(failed)?;
        return Ok(true);
    }
    // A merge patch replaces the list of versions as a whole, which is meant.
    let patch = json!({
        "metadata": definition["metadata"].clone(),
        "spec": definition["spec"].clone(),
    });
    cluster
        .merge_patch(
            &resource,
            None,
            name,
            None,
            patch.to_string().as_bytes(),
            &options,
        )
        .await
        .map_err(failed)?;
    Ok(false)
}
