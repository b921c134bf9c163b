//! What giving a volume to a claim takes, and when it may not be done.

use serde::Serialize;
use serde_json::{Value, json};

use crate::claims::fits::{Misfit, misfits};
use crate::claims::objects::Claim;
use crate::claims::volume::{BOUND_BY_CONTROLLER, ClaimRef, Volume, is_left};

pub(super) const RETAIN: &str = "Retain";

/// What is to be given to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Name of the volume.
    pub volume: String,
    /// Namespace of the claim.
    pub namespace: String,
    /// Name of the claim.
    pub claim: String,
    /// Make the claim if it is not there.
    pub create_claim: bool,
}

/// What is done, in order.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "step")]
pub enum Step {
    /// The volume's reclaim policy becomes `Retain`.
    Keep {
        /// What it was.
        was: String,
    },
    /// The volume is kept for the claim.
    Reserve {
        /// Whose it was.
        was: Option<ClaimRef>,
        /// The incarnation of the claim; empty while there is none.
        uid: String,
    },
    /// The claim is made, with the volume's name.
    Create {
        /// The claim.
        claim: Value,
    },
    /// The claim that waits gets the volume's name.
    Point,
    /// Both are waited for.
    Wait,
}

/// What giving a volume to a claim takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Name of the volume.
    pub volume: String,
    /// `namespace/name` of the claim.
    pub claim: String,
    /// What is done.
    pub steps: Vec<Step>,
    /// Commands that bring back what was, in order. The reclaim policy stays `Retain`.
    pub undo: Vec<String>,
    #[serde(skip)]
    pub(super) volume_uid: String,
}

impl Plan {
    /// Whether the volume has its claim already, and nothing is written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.steps.iter().all(|step| *step == Step::Wait)
    }
}

/// Why a volume is not given to a claim. Nothing was written by then, or only steps that the next attempt goes on from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such volume.
    #[error("there is no volume {volume}")]
    NoVolume {
        /// Its name.
        volume: String,
    },
    /// No such claim, and none is to be made.
    #[error("there is no claim {claim}")]
    NoClaim {
        /// `namespace/name`.
        claim: String,
    },
    /// The volume is in use.
    #[error("volume {volume} is bound to claim {claim}: a volume in use is not given away")]
    Bound {
        /// The volume.
        volume: String,
        /// Its claim.
        claim: String,
    },
    /// The volume is kept for another claim.
    #[error("volume {volume} is kept for claim {claim}")]
    Kept {
        /// The volume.
        volume: String,
        /// The claim that it is kept for.
        claim: String,
    },
    /// The volume or the claim is being deleted.
    #[error("{what} is being deleted")]
    Deleting {
        /// Which.
        what: String,
    },
    /// The binder has not looked at the volume yet.
    #[error("volume {volume} is {phase}: the cluster has not decided yet what becomes of it")]
    Undecided {
        /// The volume.
        volume: String,
        /// Its phase.
        phase: String,
    },
    /// The claim has, or asks for, another volume.
    #[error("claim {claim} has volume {volume} already")]
    ClaimHasVolume {
        /// The claim.
        claim: String,
        /// The other volume.
        volume: String,
    },
    /// Another volume is kept for the claim.
    #[error("volume {volume} is kept for claim {claim} already")]
    OtherKept {
        /// The claim.
        claim: String,
        /// The other volume.
        volume: String,
    },
    /// The volume is not what the claim asks for.
    #[error("volume {volume} does not fit claim {claim}: {}", list(.misfits))]
    Misfits {
        /// The claim.
        claim: String,
        /// The volume.
        volume: String,
        /// How.
        misfits: Vec<Misfit>,
    },
    /// The volume was deleted and made again since the plan was shown.
    #[error(
        "volume {volume} is not the one that was looked at before: it was deleted and made again"
    )]
    Replaced {
        /// The volume.
        volume: String,
    },
}

fn list(misfits: &[Misfit]) -> String {
    let texts: Vec<String> = misfits.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl Refusal {
    /// What to do next.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoVolume { .. } => "list volumes without a claim with `salvor pv released`",
            Self::NoClaim { .. } => "pass --create-claim to have it made as the volume is",
            Self::Bound { .. } => "delete the claim first if nothing needs it any more",
            Self::Kept { .. } | Self::OtherKept { .. } => {
                "remove spec.claimRef of the volume that should not be kept for it, if that is right"
            }
            Self::Deleting { .. } | Self::Undecided { .. } => {
                "wait until that is over, then look again"
            }
            Self::ClaimHasVolume { .. } => {
                "a claim cannot change its volume: stop its pods, delete it, then repeat the command with --create-claim"
            }
            Self::Misfits { .. } => {
                "delete the claim and let it be made as the volume is, with --create-claim"
            }
            Self::Replaced { .. } => "look at it and repeat the command",
        }
    }
}

/// What giving a volume to a claim takes. Pure.
///
/// # Errors
/// It may not be done.
pub fn plan(request: &Request, all: &[Volume], claim: Option<&Claim>) -> Result<Plan, Refusal> {
    let name = &request.volume;
    let volume = all.iter().find(|volume| volume.metadata.name == *name);
    let volume = volume.ok_or_else(|| Refusal::NoVolume {
        volume: name.clone(),
    })?;
    let shown = format!("{}/{}", request.namespace, request.claim);
    let mut plan = Plan {
        volume: name.clone(),
        claim: shown.clone(),
        steps: Vec::new(),
        undo: Vec::new(),
        volume_uid: volume.metadata.uid.clone(),
    };
    let is_together = claim.is_some_and(|claim| are_bound(volume, claim));
    if !is_together {
        may_be_given(volume, request, claim)?;
        may_be_taken(volume, request, claim, &shown)?;
        is_the_only_one(request, all, claim, &shown)?;
    }
    let was = &volume.spec.persistent_volume_reclaim_policy;
    if was != RETAIN {
        plan.steps.push(Step::Keep { was: was.clone() });
    }
    if !is_together {
        if !is_reserved(volume, request, claim) {
            plan.steps.push(Step::Reserve {
                was: volume.spec.claim_ref.clone(),
                uid: claim
                    .map(|claim| claim.metadata.uid.clone())
                    .unwrap_or_default(),
            });
        }
        match claim {
            None => plan.steps.push(Step::Create {
                claim: new_claim(request, volume),
            }),
            Some(claim) if claim.spec.volume_name.is_empty() => plan.steps.push(Step::Point),
            Some(_) => {}
        }
    }
    plan.steps.push(Step::Wait);
    plan.undo = undo(&plan, request);
    Ok(plan)
}

/// Bound, and to each other.
#[must_use]
pub fn are_bound(volume: &Volume, claim: &Claim) -> bool {
    let is_back = |reference: &ClaimRef| reference.uid == claim.metadata.uid;
    claim.is_bound()
        && claim.spec.volume_name == volume.metadata.name
        && volume.status.phase == "Bound"
        && volume.spec.claim_ref.as_ref().is_some_and(is_back)
}

fn may_be_given(volume: &Volume, request: &Request, claim: Option<&Claim>) -> Result<(), Refusal> {
    let name = || volume.metadata.name.clone();
    if volume.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::Deleting {
            what: format!("volume {}", name()),
        });
    }
    let phase = volume.status.phase.as_str();
    let Some(reference) = &volume.spec.claim_ref else {
        return match phase {
            "Available" | "Released" | "Failed" => Ok(()),
            phase => Err(Refusal::Undecided {
                volume: name(),
                phase: phase.to_owned(),
            }),
        };
    };
    let is_ours = reference.names(&request.namespace, &request.claim)
        && (reference.uid.is_empty() || claim.is_some_and(|c| c.metadata.uid == reference.uid));
    if is_ours || is_left(volume) {
        return Ok(());
    }
    let (volume, claim) = (name(), reference.to_string());
    Err(match phase {
        "Bound" => Refusal::Bound { volume, claim },
        _ => Refusal::Kept { volume, claim },
    })
}

fn may_be_taken(
    volume: &Volume,
    request: &Request,
    claim: Option<&Claim>,
    shown: &str,
) -> Result<(), Refusal> {
    let Some(claim) = claim else {
        return if request.create_claim {
            Ok(())
        } else {
            Err(Refusal::NoClaim {
                claim: shown.to_owned(),
            })
        };
    };
    if claim.metadata.deletion_timestamp.is_some() {
        return Err(Refusal::Deleting {
            what: format!("claim {shown}"),
        });
    }
    let has = &claim.spec.volume_name;
    if !has.is_empty() && *has != volume.metadata.name {
        return Err(Refusal::ClaimHasVolume {
            claim: shown.to_owned(),
            volume: has.clone(),
        });
    }
    match misfits(claim, volume) {
        misfits if misfits.is_empty() => Ok(()),
        misfits => Err(Refusal::Misfits {
            claim: shown.to_owned(),
            volume: volume.metadata.name.clone(),
            misfits,
        }),
    }
}

/// Of two volumes that are kept for one claim, the binder takes one.
fn is_the_only_one(
    request: &Request,
    all: &[Volume],
    claim: Option<&Claim>,
    shown: &str,
) -> Result<(), Refusal> {
    let is_kept = |volume: &&Volume| {
        let reference = volume.spec.claim_ref.as_ref();
        volume.metadata.name != request.volume
            && !is_left(volume)
            && reference.is_some_and(|reference| {
                reference.names(&request.namespace, &request.claim)
                    && (reference.uid.is_empty()
                        || claim.is_some_and(|claim| claim.metadata.uid == reference.uid))
            })
    };
    match all.iter().find(is_kept) {
        Some(other) => Err(Refusal::OtherKept {
            claim: shown.to_owned(),
            volume: other.metadata.name.clone(),
        }),
        None => Ok(()),
    }
}

/// Whether nobody but the claim can get the volume, and it stays so: with the binder's mark the volume would become
/// free for all when the binder lets go of the claim.
fn is_reserved(volume: &Volume, request: &Request, claim: Option<&Claim>) -> bool {
    let reference = volume.spec.claim_ref.as_ref();
    let is_marked = volume
        .metadata
        .annotations
        .contains_key(BOUND_BY_CONTROLLER);
    !is_marked
        && reference.is_some_and(|reference| {
            reference.names(&request.namespace, &request.claim)
                && (reference.uid.is_empty()
                    || claim.is_some_and(|claim| claim.metadata.uid == reference.uid))
        })
}

/// A claim that asks for exactly this volume, and for nothing that it is not.
fn new_claim(request: &Request, volume: &Volume) -> Value {
    let mut spec = json!({
        "accessModes": volume.spec.access_modes,
        "resources": {"requests": {"storage": volume.capacity()}},
        // Also where it is empty: a claim that names none gets the default one.
        "storageClassName": volume.class(),
        "volumeMode": volume.mode(),
        "volumeName": volume.metadata.name,
    });
    if !volume.attributes_class().is_empty() {
        spec["volumeAttributesClassName"] = volume.attributes_class().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"namespace": request.namespace, "name": request.claim},
        "spec": spec,
    })
}

/// The commands that bring back what was, the last step first.
fn undo(plan: &Plan, request: &Request) -> Vec<String> {
    let Request {
        volume,
        namespace,
        claim,
        ..
    } = request;
    let patch = |spec: Value| {
        let patch = json!({ "spec": spec });
        format!("kubectl patch pv {volume} --type merge -p '{patch}'")
    };
    let of_step = |step: &Step| match step {
        Step::Reserve { was: None, .. } => Some(patch(json!({"claimRef": null}))),
        Step::Reserve { was: Some(was), .. } => {
            let uid = if was.uid.is_empty() {
                Value::Null
            } else {
                was.uid.clone().into()
            };
            let reference = json!({"namespace": was.namespace, "name": was.name, "uid": uid,
                "resourceVersion": null});
            Some(patch(json!({ "claimRef": reference })))
        }
        // A claim's volume name cannot be taken back.
        Step::Create { .. } | Step::Point => {
            Some(format!("kubectl delete pvc {claim} -n {namespace}"))
        }
        // With its old policy a volume without a claim would be deleted.
        Step::Keep { .. } | Step::Wait => None,
    };
    plan.steps.iter().rev().filter_map(of_step).collect()
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
