//! `version`.

use salvor_text::DescribeWriter;

use crate::args::VersionArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Prints the version of this program, and of the cluster unless refused.
pub(crate) async fn run(args: &VersionArgs, session: &Session) -> Result<Exit, Failure> {
    let mut d = DescribeWriter::new();
    d.line("Client:");
    d.nested(1, "Version", env!("CARGO_PKG_VERSION"));
    d.nested(1, "Backup format", salvor_api::velero::FORMAT_VERSION);
    let server = if args.client_only {
        None
    } else {
        Some(server(session).await)
    };
    if let Some(Ok((name, version))) = &server {
        d.line("Cluster:");
        d.nested(1, "Name", name);
        d.nested(1, "Kubernetes", version);
    }
    session.printer.result(&d.finish())?;
    match server {
        Some(Err(failure)) => Err(failure),
        _ => Ok(Exit::Done),
    }
}

async fn server(session: &Session) -> Result<(String, String), Failure> {
    let cluster = session.cluster(None).await?;
    let version = cluster.server_version().await?;
    Ok((cluster.name().to_owned(), version.git_version))
}
