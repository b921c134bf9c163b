//! `mover` and `hold`: what the pods do that move a volume, or hold one.

use salvor_api::velero::BackupStorageLocation;
use salvor_cluster::Cluster;
use salvor_controller::{Kinds, Locations};
use salvor_seal::Secret;
use salvor_volume::work::{OpenLocation, Work};

use crate::args::agent::MoverArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Moves one volume.
pub(crate) async fn run(args: &MoverArgs, session: &Session) -> Result<Exit, Failure> {
    let MoverArgs {
        direction,
        name,
        directory,
        password_file,
        machine_made,
        secrets,
    } = args;
    let password = std::fs::read_to_string(password_file).map_err(|error| {
        let doing = format!("read the password from {}", password_file.display());
        Failure::caused(Exit::Usage, doing, error)
    })?;
    let cluster = session.cluster(None).await?;
    let work = Work {
        cluster: cluster.clone(),
        namespace: session.namespace().to_owned(),
        direction: (*direction).into(),
        name: name.clone(),
        directory: directory.clone(),
        password: Secret::new(password),
        machine_made: *machine_made,
    };
    let moving =
        |error| Failure::caused(Exit::Internal, format!("move the volume of {name}"), error);
    let location = work.location().await.map_err(moving)?;
    // Kept until the end: what it holds of credentials goes with it.
    let locations = Locations::new(&cluster, session.namespace()).with_mounted_secrets(secrets);
    let location = open(&cluster, &locations, session.namespace(), &location).await;
    let moved = Box::pin(work.carry_out(location, &session.cancel)).await;
    match moved {
        Ok(outcome) => {
            tracing::info!(
                snapshot = outcome.snapshot,
                bytes = outcome.bytes,
                failed = outcome.failed,
                "done"
            );
            Ok(Exit::Done)
        }
        // The object says it; nobody has to look at the pod.
        Err(error) if error.is_cancelled() => Ok(Exit::Cancelled),
        Err(error) => Err(moving(error)),
    }
}

/// The location as the server opens it, or why it cannot be, for people.
async fn open(
    cluster: &Cluster,
    locations: &Locations,
    namespace: &str,
    name: &str,
) -> Result<OpenLocation, String> {
    let kinds: Kinds<BackupStorageLocation> = Kinds::new(cluster, namespace);
    let found = kinds.get(name).await;
    let object = found
        .map_err(|error| format!("read location `{name}`: {error}"))?
        .ok_or_else(|| format!("location `{name}` does not exist"))?;
    let opened = locations.open(&object).await;
    let location =
        opened.map_err(|error| format!("open location `{name}`: {}", error.message()))?;
    Ok(OpenLocation {
        store: std::sync::Arc::clone(location.store()),
        read_only: location.profile().read_only,
    })
}

/// Does nothing until it is told to end: its pod is there for the volume that it mounts.
pub(crate) async fn hold(session: &Session) -> Result<Exit, Failure> {
    session.cancel.cancelled().await;
    Ok(Exit::Done)
}
