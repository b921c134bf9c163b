//! `pv rebind`.

use salvor_cluster::Wait;
use salvor_volume::claims::rebind::{self, Plan, RebindError, Refusal, Request, Step};

use crate::args::Format;
use crate::args::claims::RebindArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Gives a volume to a claim.
pub(crate) async fn run(args: &RebindArgs, session: &Session) -> Result<Exit, Failure> {
    let (namespace, claim) = super::super::pvc::claim_name(&args.claim)?;
    let request = Request {
        volume: args.volume.clone(),
        namespace,
        claim,
        create_claim: args.create_claim,
    };
    let cluster = session.cluster(None).await?;
    let plan = rebind::look(&cluster, &request).await?;
    let is_shown = matches!(args.format.output, Format::Table | Format::Wide);
    if is_shown && !plan.is_done() {
        session.printer.result(&told(&plan, session))?;
    }
    let policy = plan.steps.iter().find_map(|step| match step {
        Step::Keep { was } => Some(was.clone()),
        _ => None,
    });
    if args.dry_run {
        session.printer.note(&session.messages.dry_run());
    } else {
        if !plan.is_done() {
            session.confirm(args.confirm.yes, &request.volume).await?;
        }
        let wait = Wait {
            timeout: args.timeout.0,
            cancel: session.cancel.clone(),
        };
        let say = |step: &Step| tracing::info!(?step, "rebind");
        rebind::carry_out(&cluster, &request, &plan, &wait, say).await?;
    }
    match args.format.output {
        Format::Json => session.printer.json(&plan)?,
        Format::Yaml => session.printer.yaml(&plan)?,
        Format::Name => session
            .printer
            .result(&format!("persistentvolume/{}\n", plan.volume))?,
        Format::Table | Format::Wide if args.dry_run => {}
        Format::Table | Format::Wide => {
            let text = session.messages.rebound(&plan.volume, &plan.claim);
            session.printer.result(&format!("{text}\n"))?;
        }
    }
    if let Some(policy) = policy.filter(|_| !args.dry_run) {
        session
            .printer
            .warning(&session.messages.deletion_may_have_begun(&policy));
    }
    Ok(Exit::Done)
}

/// The steps, and how to take them back.
fn told(plan: &Plan, session: &Session) -> String {
    let messages = session.messages;
    let mut text = format!("{}\n", messages.rebind_plan(&plan.volume, &plan.claim));
    for (at, step) in plan.steps.iter().enumerate() {
        let step = match step {
            Step::Keep { was } => messages.step_keep(was),
            Step::Reserve { was, .. } => {
                let was = was.as_ref().map(ToString::to_string).unwrap_or_default();
                messages.step_reserve(&plan.claim, &was)
            }
            Step::Create { claim } => {
                let size = claim["spec"]["resources"]["requests"]["storage"].as_str();
                messages.step_create(&plan.claim, size.unwrap_or_default())
            }
            Step::Point => messages.step_point(&plan.claim),
            Step::Wait => messages.step_wait(),
        };
        text.push_str(&format!("  {}. {step}\n", at + 1));
    }
    if !plan.undo.is_empty() {
        text.push_str(&format!("{}\n", messages.to_undo()));
        for line in &plan.undo {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

impl From<RebindError> for Failure {
    fn from(error: RebindError) -> Self {
        let doing = error.to_string();
        match error {
            RebindError::Refused(refusal) => {
                let exit = match refusal {
                    Refusal::NoVolume { .. } | Refusal::NoClaim { .. } => Exit::NotFound,
                    _ => Exit::Refused,
                };
                let advice = refusal.advice();
                Self::caused(exit, "", refusal).hint(advice)
            }
            RebindError::Look(source) => Self::from(source).while_doing(&doing),
            RebindError::Write { source, .. } | RebindError::NotBound { source, .. } => {
                Self::from(source).while_doing(&doing)
            }
            error @ RebindError::Restless { .. } => Self::caused(Exit::Unavailable, "", error),
            error @ RebindError::Cancelled => Self::caused(Exit::Cancelled, "", error),
        }
    }
}
