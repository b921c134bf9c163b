//! Whether claims have the volumes that they must have.

use serde::Serialize;

use super::fits::{Misfit, misfits};
use super::objects::{Claim, is_more};
use super::pending::{self, Pending};
use super::seen::Seen;
use super::volume::{ClaimRef, Place, Volume};

/// A claim that must be there, and what it must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Namespace in which it must be, after mapping.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The volume that it had; `None` when it had none.
    pub volume: Option<ExpectedVolume>,
}

/// The volume that a claim had when it was backed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedVolume {
    /// Its name then.
    pub name: String,
    /// Where its bytes were.
    pub place: Place,
    /// Its size as it is written.
    pub capacity: String,
    /// What must have become of it.
    pub comes_back: ComesBack,
}

/// How the bytes of a claim come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComesBack {
    /// They stayed where they are: the claim must have the same volume.
    Same,
    /// They were stored elsewhere: any volume will do that has them now.
    Filled,
    /// Not at all: the volume went with its claim, and the backup has no data of it. Another volume is empty.
    Lost,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Somebody should know.
    Warning,
    /// The claim does not have what it must have.
    Error,
}

/// What is wrong with a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "code")]
pub enum Finding {
    /// It is not there.
    Missing,
    /// It is being deleted.
    Deleting,
    /// It waits for its volume.
    Pending {
        /// Why.
        #[serde(flatten)]
        why: Pending,
        /// What the cluster last said about it; may be empty.
        event: String,
    },
    /// The volume that it names is not there.
    VolumeGone {
        /// The volume.
        volume: String,
    },
    /// The volume that it names is another's, or nobody's.
    #[serde(rename_all = "camelCase")]
    VolumeOfAnother {
        /// The volume.
        volume: String,
        /// Whose it is; `None` for nobody's.
        belongs_to: Option<ClaimRef>,
        /// It belonged to a claim of this name that was deleted since.
        same_name: bool,
    },
    /// Its volume is not in use as it should be.
    VolumePhase {
        /// The volume.
        volume: String,
        /// Its phase.
        phase: String,
    },
    /// Its volume is being deleted.
    VolumeDeleting {
        /// The volume.
        volume: String,
    },
    /// Its volume is not what it asks for.
    Misfit {
        /// The volume.
        volume: String,
        /// How.
        #[serde(flatten)]
        how: Misfit,
    },
    /// No node of the cluster reaches its volume.
    NodeGone {
        /// The volume.
        volume: String,
        /// The nodes that the volume names, where it names any.
        nodes: Vec<String>,
    },
    /// It has another volume than it must have.
    OtherVolume {
        /// Name of the volume that it had.
        had: String,
        /// Where that one's bytes are.
        place: Place,
        /// The volume that it has.
        volume: String,
        /// The backup has no data of the volume either.
        empty: bool,
    },
    /// Its volume is smaller than the one that it had.
    Smaller {
        /// The volume.
        volume: String,
        /// Size of the one that it had.
        had: String,
        /// Size of the one that it has.
        has: String,
    },
    /// Volumes that belonged to a claim of this name are left, which may hold what is looked for.
    LeftBehind {
        /// They, the newest first.
        volumes: Vec<String>,
    },
}

impl Finding {
    /// How much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Pending { why, .. } if why.is_by_design() => Severity::Warning,
            // A volume that grows is behind its claim for a while.
            Self::Misfit {
                how: Misfit::Size { .. },
                ..
            } => Severity::Warning,
            Self::OtherVolume { empty: true, .. } => Severity::Warning,
            Self::Deleting | Self::LeftBehind { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

/// A finding with its severity, for machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Weighed<'a> {
    severity: Severity,
    #[serde(flatten)]
    finding: &'a Finding,
}

/// A claim that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// `Pending`, `Bound` or `Lost`; empty where it is not there.
    pub phase: String,
    /// The volume that it has or asks for; empty for none.
    pub volume: String,
    /// Where the volume's bytes are.
    pub place: Option<Place>,
    /// What is wrong.
    #[serde(serialize_with = "weighed")]
    pub findings: Vec<Finding>,
}

fn weighed<S: serde::Serializer>(findings: &[Finding], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(findings.iter().map(|finding| Weighed {
        severity: finding.severity(),
        finding,
    }))
}

/// What a look at claims found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimsReport {
    /// Every claim that was looked at, by namespace and name.
    pub claims: Vec<Checked>,
}

impl ClaimsReport {
    /// Findings of a severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let findings = self.claims.iter().flat_map(|claim| &claim.findings);
        findings
            .filter(|finding| finding.severity() == severity)
            .count()
    }

    /// Whether every claim has what it must have. Warnings do not count.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.count(Severity::Error) == 0
    }
}

/// Compares claims with the volumes that they must be bound to: those that are `expected`, or else every claim that was
/// seen. Pure.
#[must_use]
pub fn claims_report(seen: &Seen, expected: Option<&[Expected]>) -> ClaimsReport {
    let mut claims: Vec<Checked> = match expected {
        Some(expected) => expected.iter().map(|one| expected_one(seen, one)).collect(),
        None => seen
            .claims
            .iter()
            .map(|claim| checked(seen, claim))
            .collect(),
    };
    claims.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    ClaimsReport { claims }
}

fn expected_one(seen: &Seen, expected: &Expected) -> Checked {
    let Expected {
        namespace,
        name,
        volume,
    } = expected;
    let Some(claim) = seen.claim(namespace, name) else {
        let mut findings = vec![Finding::Missing];
        findings.extend(left_behind(seen, namespace, name, ""));
        return Checked {
            namespace: namespace.clone(),
            name: name.clone(),
            phase: String::new(),
            volume: String::new(),
            place: None,
            findings,
        };
    };
    let mut checked = checked(seen, claim);
    if let (Some(had), Some(has)) = (volume, seen.volume(&claim.spec.volume_name)) {
        checked.findings.extend(compared(had, has));
    }
    checked
}

/// What is different between the volume that a claim had and the one that it has.
fn compared(had: &ExpectedVolume, has: &Volume) -> Vec<Finding> {
    let mut findings = Vec::new();
    let volume = &has.metadata.name;
    let place = has.place();
    // A volume may come back under another name; its bytes decide.
    let is_same = (&place.kind, &place.handle) == (&had.place.kind, &had.place.handle);
    if !is_same && had.comes_back != ComesBack::Filled {
        findings.push(Finding::OtherVolume {
            had: had.name.clone(),
            place: had.place.clone(),
            volume: volume.clone(),
            empty: had.comes_back == ComesBack::Lost,
        });
    }
    if is_more(&had.capacity, has.capacity()) {
        findings.push(Finding::Smaller {
            volume: volume.clone(),
            had: had.capacity.clone(),
            has: has.capacity().to_owned(),
        });
    }
    findings
}

fn checked(seen: &Seen, claim: &Claim) -> Checked {
    let name = &claim.spec.volume_name;
    let volume = seen.volume(name);
    let mut findings = Vec::new();
    if claim.metadata.deletion_timestamp.is_some() {
        findings.push(Finding::Deleting);
    }
    match volume {
        None if name.is_empty() => findings.push(Finding::Pending {
            why: pending::why(claim, seen),
            event: said(seen, claim),
        }),
        None => findings.push(Finding::VolumeGone {
            volume: name.clone(),
        }),
        Some(volume) => findings.extend(of_volume(seen, claim, volume)),
    }
    let (namespace, own) = (&claim.metadata.namespace, &claim.metadata.name);
    findings.extend(left_behind(seen, namespace, own, name));
    Checked {
        namespace: namespace.clone(),
        name: own.clone(),
        phase: claim.status.phase.clone(),
        volume: name.clone(),
        place: volume.map(Volume::place),
        findings,
    }
}

/// What is wrong between a claim and the volume that it names.
fn of_volume(seen: &Seen, claim: &Claim, volume: &Volume) -> Vec<Finding> {
    let name = || volume.metadata.name.clone();
    let mut findings = Vec::new();
    let reference = volume.spec.claim_ref.as_ref();
    let is_back = reference.is_some_and(|reference| reference.uid == claim.metadata.uid);
    if is_back && volume.status.phase != "Bound" {
        findings.push(Finding::VolumePhase {
            volume: name(),
            phase: volume.status.phase.clone(),
        });
    } else if !is_back && volume.is_kept_for(claim) && !claim.is_bound() {
        findings.push(Finding::Pending {
            why: Pending::Undecided {
                provisioner: String::new(),
            },
            event: said(seen, claim),
        });
    } else if !is_back {
        let (namespace, own) = (&claim.metadata.namespace, &claim.metadata.name);
        findings.push(Finding::VolumeOfAnother {
            volume: name(),
            belongs_to: reference.cloned(),
            same_name: reference.is_some_and(|reference| reference.names(namespace, own)),
        });
    } else if !claim.is_bound() {
        findings.push(Finding::Pending {
            why: Pending::Undecided {
                provisioner: String::new(),
            },
            event: said(seen, claim),
        });
    }
    if volume.metadata.deletion_timestamp.is_some() {
        findings.push(Finding::VolumeDeleting { volume: name() });
    }
    // Labels are only asked for when a volume is looked for.
    let lasting = |how: &Misfit| !matches!(how, Misfit::Selector { .. });
    let misfits = misfits(claim, volume).into_iter().filter(lasting);
    findings.extend(misfits.map(|how| Finding::Misfit {
        volume: name(),
        how,
    }));
    if let Some(nodes) = &seen.nodes
        && volume.is_bound_to_nodes()
        && !nodes.iter().any(|node| volume.is_reached_from(node))
    {
        findings.push(Finding::NodeGone {
            volume: name(),
            nodes: volume.place().nodes,
        });
    }
    findings
}

fn said(seen: &Seen, claim: &Claim) -> String {
    let event = seen.last_event(claim);
    event.map(|event| event.message.clone()).unwrap_or_default()
}

fn left_behind(seen: &Seen, namespace: &str, name: &str, has: &str) -> Option<Finding> {
    let left = seen.left_by(namespace, name).into_iter();
    let names = left.map(|volume| volume.metadata.name.clone());
    let volumes: Vec<String> = names.filter(|volume| volume != has).collect();
    (!volumes.is_empty()).then_some(Finding::LeftBehind { volumes })
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
