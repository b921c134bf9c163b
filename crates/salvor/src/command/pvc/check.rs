//! `pvc check`.

use salvor_text::Table;
use salvor_volume::claims::check::{Checked, ClaimsReport, Expected, Severity, claims_report};
use salvor_volume::claims::seen::Seen;

use super::expected;
use super::words;
use crate::args::Format;
use crate::args::claims::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Compares claims with the volumes that they must be bound to.
pub(crate) async fn run(args: &CheckArgs, session: &Session) -> Result<Exit, Failure> {
    let namespace = session.global.namespace.as_deref();
    if args.all_namespaces && namespace.is_some() {
        return Err(Failure::usage(
            "--all-namespaces and -n are both given: use one of them",
        ));
    }
    let mut expected = expected_claims(args, &session.without_namespace()).await?;
    if let (Some(namespace), Some(expected)) = (namespace, &mut expected) {
        expected.retain(|claim| claim.namespace == namespace);
    }
    let cluster = session.cluster(None).await?;
    let seen = Seen::read(&cluster, namespace).await?;
    if seen.nodes.is_none() {
        session.printer.note(&session.messages.nodes_not_seen());
    }
    let report = claims_report(&seen, expected.as_deref());
    show(&report, args.format.output, session)?;
    Ok(if report.is_sound() {
        Exit::Done
    } else {
        Exit::Differences
    })
}

/// The claims that must be there; `None` where only those that are there are looked at.
async fn expected_claims(
    args: &CheckArgs,
    session: &Session,
) -> Result<Option<Vec<Expected>>, Failure> {
    match (&args.backup, &args.restore) {
        (Some(backup), _) => expected::of_backup(backup, session).await.map(Some),
        (None, Some(restore)) => expected::of_restore(restore, session).await.map(Some),
        (None, None) => Ok(None),
    }
}

fn show(report: &ClaimsReport, format: Format, session: &Session) -> Result<(), Failure> {
    let printer = &session.printer;
    match format {
        Format::Json => return printer.json(report),
        Format::Yaml => return printer.yaml(report),
        Format::Name => {
            let wrong = report
                .claims
                .iter()
                .filter(|claim| !claim.findings.is_empty());
            let names: String = wrong
                .map(|claim| format!("persistentvolumeclaim/{}/{}\n", claim.namespace, claim.name))
                .collect();
            return printer.result(&names);
        }
        Format::Table | Format::Wide => {}
    }
    if !report.claims.is_empty() {
        printer.result(&table(report))?;
    }
    for claim in &report.claims {
        for finding in &claim.findings {
            let name = format!("{}/{}", claim.namespace, claim.name);
            let text = words::finding(finding, &name, session.messages);
            let text = format!("{name}: {text}");
            match finding.severity() {
                Severity::Error => printer.error(&text),
                Severity::Warning => printer.warning(&text),
            }
        }
    }
    let (errors, warnings) = (
        report.count(Severity::Error),
        report.count(Severity::Warning),
    );
    let summary = session
        .messages
        .claims_checked(report.claims.len(), errors, warnings);
    printer.remark(&summary);
    Ok(())
}

fn table(report: &ClaimsReport) -> String {
    let mut table = Table::new(&["NAMESPACE", "CLAIM", "STATUS", "VOLUME", "WHERE", "CHECK"]);
    for claim in &report.claims {
        let place = claim.place.as_ref().map(ToString::to_string);
        table.row(&[
            claim.namespace.as_str(),
            &claim.name,
            if claim.phase.is_empty() {
                "none"
            } else {
                &claim.phase
            },
            &claim.volume,
            place.as_deref().unwrap_or_default(),
            verdict(claim),
        ]);
    }
    table.to_string()
}

fn verdict(claim: &Checked) -> &'static str {
    match claim
        .findings
        .iter()
        .map(salvor_volume::claims::check::Finding::severity)
        .max()
    {
        None => "ok",
        Some(Severity::Warning) => "warning",
        Some(Severity::Error) => "error",
    }
}
