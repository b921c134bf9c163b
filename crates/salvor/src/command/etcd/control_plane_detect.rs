//! `control-plane detect`, and what commands on a control plane go by where no description is given.

use std::path::Path;
use std::sync::Arc;

use salvor_adapters::control_plane::detect::{
    Certificates, Etcd, Found, Kind, ProposalError, detect, propose,
};
use salvor_adapters::control_plane::members::{self, Setting};
use salvor_adapters::control_plane::{Plane, Reach};
use salvor_adapters::host::{Host, Local, Ssh, SshAddress};
use salvor_text::DescribeWriter;
use serde::Serialize;

use super::control_plane_files as files;
use super::save::access;
use crate::args::control_plane::{DetectArgs, DetectFormat, MachinesArgs};
use crate::args::etcd::CredentialArgs;
use crate::exit::{Exit, Failure};
use crate::output::structured;
use crate::session::Session;

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    machines: Vec<&'a Found>,
    /// What --plane takes; nothing where what was found cannot be described.
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a Plane>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_described: Option<String>,
}

/// Says what machines have.
pub(super) async fn run(args: &DetectArgs, session: &Session) -> Result<Exit, Failure> {
    let machines = look(&args.hosts, &args.root).await?;
    if machines.iter().all(|(_, found)| found.flavour.is_none()) {
        return Err(nothing(&machines, session));
    }
    let proposed = propose(&machines);
    let report = Report {
        machines: machines.iter().map(|(_, found)| found).collect(),
        description: proposed.as_ref().ok(),
        not_described: proposed.as_ref().err().map(chained),
    };
    match args.output {
        DetectFormat::Json => session.printer.json(&report)?,
        DetectFormat::Yaml => session.printer.yaml(&report)?,
        DetectFormat::Description => match &proposed {
            Ok(plane) => session.printer.result(&structured::yaml(plane)?)?,
            Err(_) => return Err(failure(proposed.err(), session)),
        },
        DetectFormat::Table => {
            session.printer.result(&text(&report))?;
            if let Some(why) = &report.not_described {
                session.printer.warning(why);
            }
        }
    }
    Ok(Exit::Done)
}

/// The description that is given; else what the machines have, told before anything is done with it. Credentials that are not
/// given are those that this machine's API server has.
pub(super) async fn plane(
    args: &MachinesArgs,
    credentials: &mut CredentialArgs,
    session: &Session,
) -> Result<Plane, Failure> {
    if let Some(path) = &args.plane {
        return files::plane(path);
    }
    let machines = look(&args.hosts, Path::new("/")).await?;
    let plane = match propose(&machines) {
        Ok(plane) => plane,
        Err(ProposalError::Nothing { .. }) => return Err(nothing(&machines, session)),
        Err(error) => return Err(failure(Some(error), session)),
    };
    let text = structured::yaml(&plane)?;
    session
        .printer
        .remark(&session.messages.control_plane_detected(&text));
    let here = machines
        .iter()
        .filter(|(reach, _)| *reach == Reach::Local {});
    let servers = here.filter_map(|(_, found)| found.api_server.as_ref());
    for server in servers {
        fill(credentials, &server.etcd_certificates);
    }
    let setting = Setting {
        plane: Arc::new(plane.clone()),
        etcd: Arc::new(members::Etcd {
            access: access(credentials)?,
        }),
    };
    let strangers = members::strangers(&setting).await;
    if !strangers.is_empty() {
        let text = format!(
            "etcd has members on machines that were not looked at: {}",
            strangers.join(", ")
        );
        return Err(Failure::new(Exit::Refused, text).hint(
            "name all machines with --host, or write a description of those that are left and give it with --plane",
        ));
    }
    Ok(plane)
}

/// Credentials of this machine's API server where none are given and members want some: for runs that are gone on with, whose
/// journals hold descriptions but no credentials.
pub(super) async fn credentials(plane: &Plane, credentials: &mut CredentialArgs) {
    let urls = plane.members.iter().flat_map(|member| &member.client_urls);
    if urls.into_iter().all(|url| !url.starts_with("https:")) {
        return;
    }
    // This need not be a machine of the control plane: then there is nothing to be taken.
    if let Ok(found) = detect(&Local::new("this machine"), Path::new("/")).await
        && let Some(server) = found.api_server
    {
        fill(credentials, &server.etcd_certificates);
    }
}

/// Flags win. All three belong together: half of them would be another's.
fn fill(credentials: &mut CredentialArgs, found: &Certificates) {
    let given = credentials.cacert.is_some() || credentials.cert.is_some();
    if given || credentials.user.is_some() {
        return;
    }
    credentials.cacert.clone_from(&found.authorities);
    if found.certificate.is_some() && found.key.is_some() {
        credentials.cert.clone_from(&found.certificate);
        credentials.key.clone_from(&found.key);
    }
}

async fn look(hosts: &[String], root: &Path) -> Result<Vec<(Reach, Found)>, Failure> {
    if hosts.is_empty() {
        let found = detect(&Local::new("this machine"), root).await?;
        return Ok(vec![(Reach::Local {}, found)]);
    }
    let mut machines = Vec::new();
    for address in hosts {
        let to = SshAddress {
            address: address.clone(),
            port: None,
            key: None,
            known_hosts: None,
        };
        let host = Ssh::new(address.clone(), to.clone());
        let host: &dyn Host = &host;
        machines.push((Reach::Ssh(to), detect(host, root).await?));
    }
    Ok(machines)
}

fn nothing(machines: &[(Reach, Found)], session: &Session) -> Failure {
    for (_, found) in machines {
        for remark in &found.remarks {
            session
                .printer
                .warning(&format!("{}: {remark}", found.host));
        }
    }
    let empty = machines.iter().filter(|(_, found)| found.flavour.is_none());
    let told = empty.map(|(_, found)| {
        let looked = found.looked.join(", ");
        format!(
            "{}: {}",
            found.host,
            session.messages.control_plane_not_found(&looked)
        )
    });
    let text = told.collect::<Vec<_>>().join("; ");
    Failure::new(Exit::NotFound, text).hint(session.messages.control_plane_elsewhere())
}

fn failure(error: Option<ProposalError>, session: &Session) -> Failure {
    match error {
        Some(error) => Failure::caused(Exit::Refused, "", error),
        None => Failure::new(Exit::NotFound, session.messages.control_plane_elsewhere()),
    }
}

fn chained(error: &ProposalError) -> String {
    let cause = std::error::Error::source(error);
    match cause {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn text(report: &Report<'_>) -> String {
    let mut d = DescribeWriter::new();
    for (index, found) in report.machines.iter().enumerate() {
        if index > 0 {
            d.blank();
        }
        d.field("Machine", &found.host);
        flavour(found, &mut d);
        if let Some(cluster) = &found.cluster {
            d.field("Cluster", cluster);
        }
        if let Some(etcd) = &found.etcd {
            member(etcd, &mut d);
        }
        if let Some(server) = &found.api_server {
            d.field("API server", &server.from);
            optional(&mut d, "Version", server.version.as_ref());
            d.nested(1, "etcd servers", server.etcd_servers.join(","));
            certificates(&mut d, "etcd client", &server.etcd_certificates);
            match &server.encryption {
                Some(path) => d.nested(1, "Encryption at rest", path.display()),
                None => d.nested(1, "Encryption at rest", "none"),
            }
        }
        for remark in &found.remarks {
            d.field("Note", remark);
        }
    }
    d.finish()
}

fn flavour(found: &Found, d: &mut DescribeWriter) {
    match &found.flavour {
        None => {
            d.field("Flavour", "none found");
            d.list(0, "Looked at", &found.looked);
        }
        Some(Kind::Kubeadm { manifests }) => {
            d.field(
                "Flavour",
                format!("kubeadm, static pods of {}", manifests.display()),
            );
        }
        Some(Kind::Systemd { units }) => {
            let units: Vec<String> = units
                .iter()
                .map(|(of, unit)| format!("{of}={unit}.service"))
                .collect();
            d.field("Flavour", format!("systemd, units {}", units.join(" ")));
        }
        Some(Kind::Processes { ids }) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            d.field("Flavour", format!("unknown, processes {}", ids.join(" ")));
        }
        Some(Kind::Unsupported { name, instead }) => {
            d.field("Flavour", format!("{name} (not supported)"));
            d.field("Instead", instead);
        }
    }
}

fn member(etcd: &Etcd, d: &mut DescribeWriter) {
    d.field("etcd", &etcd.from);
    optional(d, "Version", etcd.version.as_ref());
    d.nested(1, "Member", &etcd.name);
    d.nested(1, "Data directory", etcd.data_directory.display());
    let wal = etcd.wal_directory.as_ref();
    optional(
        d,
        "WAL directory",
        wal.map(|path| path.display().to_string()).as_ref(),
    );
    d.nested(1, "Peer URLs", etcd.peer_urls.join(","));
    d.nested(1, "Client URLs", etcd.client_urls.join(","));
    d.nested(1, "Initial cluster", etcd.initial_cluster.join(","));
    optional(d, "Token", etcd.token.as_ref());
    certificates(d, "Clients", &etcd.certificates);
    certificates(d, "Peers", &etcd.peer_certificates);
}

fn optional(d: &mut DescribeWriter, key: &str, value: Option<&String>) {
    if let Some(value) = value {
        d.nested(1, key, value);
    }
}

fn certificates(d: &mut DescribeWriter, of: &str, found: &Certificates) {
    for (what, path) in [
        ("authorities", &found.authorities),
        ("certificate", &found.certificate),
        ("key", &found.key),
    ] {
        if let Some(path) = path {
            d.nested(1, &format!("{of} {what}"), path.display());
        }
    }
}
