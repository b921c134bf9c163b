//! The last look of a restore: whether its claims have the volumes that they must have.
//!
//! What is found is a warning that names claim and volume, never an error: the restore has done its part, and a volume may
//! still come. What is as it was planned, or as it was in the backup, is not told: claims that wait for their first pod, as
//! their class says, those that had no volume before either, and new volumes where the backup has no data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use salvor_api::resource::{GroupResource, ObjectKey};
use salvor_archive::ArchiveError;
use salvor_archive::archive::Archive;
use salvor_volume::claims::check::{
    ClaimsReport, ComesBack, Expected, ExpectedVolume, Finding, claims_report,
};
use salvor_volume::claims::pending::Pending;
use salvor_volume::claims::seen::{Seen, SeenError};
use salvor_volume::claims::volume::Volume;
use tokio::time::Instant;

use super::journal::Done;
use super::stages::Engine;
use crate::restore::body;
use crate::restore::error::{Doing as _, RestoreError, chain};
use crate::restore::plan::{Action, PlanEntry};
use crate::restore::planner::{blocking, parse};
use crate::restore::rules::{Rules, VolumeFate};

/// How long the cluster may take to bind what it can bind: a binder takes a moment, a provisioner some seconds.
const SETTLE: Duration = Duration::from_secs(10);
/// How long it may take until somebody in the cluster looks at a new claim.
const MOMENT: Duration = Duration::from_secs(1);
/// Between two looks, at first and at most: each lists claims and volumes, of which the state is one, so no watch of a
/// single object tells when it is reached.
const LOOK: Duration = Duration::from_millis(250);
const LONGEST_LOOK: Duration = Duration::from_secs(2);

impl Engine {
    /// Looks at the claims that the restore brought, and warns of what is wrong.
    pub(super) async fn check_claims(&mut self) -> Result<(), RestoreError> {
        let Claims {
            expected,
            unbound,
            with_data,
        } = self.expected_claims().await?;
        if expected.is_empty() {
            return Ok(());
        }
        let namespaces: BTreeSet<&str> =
            expected.iter().map(|one| one.namespace.as_str()).collect();
        let began = Instant::now();
        let mut pause = LOOK;
        let report = loop {
            let seen = Seen::read_of(&self.hands.cluster, &namespaces).await;
            let report = match seen {
                Ok(seen) => as_before(claims_report(&seen, Some(&expected)), &unbound),
                Err(error) => {
                    self.tell_unseen(&error);
                    return Ok(());
                }
            };
            if began.elapsed() >= patience(&report).min(self.hands.timeout) {
                break report;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.cancel.cancelled() => return Ok(()),
            }
            pause = (pause * 2).min(LONGEST_LOOK);
        };
        for claim in report.claims {
            let resource = GroupResource::new("persistentvolumeclaims", "");
            let key = ObjectKey::namespaced(resource, &*claim.namespace, &*claim.name);
            // Earlier volumes are of interest where the data has not come back otherwise.
            let has_data = with_data.contains(&(claim.namespace, claim.name));
            for finding in &claim.findings {
                let is_known = has_data && matches!(finding, Finding::LeftBehind { .. });
                match is_told(finding) && !is_known {
                    true => self.record.warn(&key, &finding.to_string()),
                    false => self.record.note(&key, &finding.to_string()),
                }
            }
        }
        Ok(())
    }

    /// Whoever restores into one namespace need not have the right to see volumes.
    fn tell_unseen(&mut self, error: &SeenError) {
        let text = format!(
            "whether the claims have their volumes was not looked at: {}",
            chain(error)
        );
        self.record.say(&text);
    }

    /// The claims that are there by the restore, or were before.
    async fn expected_claims(&self) -> Result<Claims, RestoreError> {
        let is_claim = |entry: &&PlanEntry| {
            let resource = &entry.resource;
            resource.group.is_empty() && resource.resource == "persistentvolumeclaims"
        };
        let is_there = |at: u32, entry: &PlanEntry| match self.done.get(&at) {
            Some(done) => *done != Done::Failed,
            None => matches!(entry.action, Action::Unchanged | Action::Conflict),
        };
        let claims: Vec<PlanEntry> = (0u32..)
            .zip(self.entries.iter())
            .filter(|(at, entry)| is_claim(entry) && is_there(*at, entry))
            .map(|(_, entry)| entry.clone())
            .collect();
        if claims.is_empty() {
            return Ok(Claims::default());
        }
        let (archive, header) = (self.hands.archive.clone(), self.hands.header.clone());
        blocking(move || {
            let doing = || "read the claims of the backup".to_owned();
            expected(&archive, &claims, &header.rules).doing(doing)
        })
        .await
    }
}

/// Claims of a restore.
#[derive(Debug, Default)]
struct Claims {
    expected: Vec<Expected>,
    /// Those that had no volume in the backup: namespace and name that they have now.
    unbound: BTreeSet<(String, String)>,
    /// Those whose data comes back with the restore.
    with_data: BTreeSet<(String, String)>,
}

/// Leaves out that claims wait which waited before.
fn as_before(mut report: ClaimsReport, unbound: &BTreeSet<(String, String)>) -> ClaimsReport {
    for claim in &mut report.claims {
        if unbound.contains(&(claim.namespace.clone(), claim.name.clone())) {
            let findings = &mut claim.findings;
            findings.retain(|finding| !matches!(finding, Finding::Pending { .. }));
        }
    }
    report
}

fn expected(
    archive: &Archive,
    claims: &[PlanEntry],
    rules: &Rules,
) -> Result<Claims, ArchiveError> {
    let index = archive.index();
    let mut volumes = BTreeMap::new();
    for entry in index.range(&GroupResource::new("persistentvolumes", ""), None) {
        // What is no volume is told where it is restored.
        if let Ok(volume) = serde_json::from_slice::<Volume>(&archive.get(&entry)?) {
            volumes.insert(volume.metadata.name.clone(), volume);
        }
    }
    let mut found_claims = Claims::default();
    for claim in claims {
        let found = index.get(&claim.source(), Some(&claim.version));
        let Some(found) = found else { continue };
        let object = parse(&archive.get(&found)?);
        let volume = body::text_at(&object, &["spec", "volumeName"]);
        let had = volumes.get(volume);
        let (source, target) = (claim.source(), claim.target(rules));
        let moved = source.namespace != target.namespace;
        let namespace = target.namespace.unwrap_or_default().to_string();
        let name = target.name.to_string();
        let of = (namespace.clone(), name.clone());
        if volume.is_empty() {
            found_claims.unbound.insert(of);
        } else if matches!(
            rules.volume_fate(volume),
            VolumeFate::AsItIs | VolumeFate::Filled | VolumeFate::FromSnapshot
        ) {
            found_claims.with_data.insert(of);
        }
        found_claims.expected.push(Expected {
            namespace,
            name,
            volume: had.map(|volume| volume_of(volume, rules, moved)),
        });
    }
    Ok(found_claims)
}

/// The volume that a claim had. Only one that comes back as it is must be the same.
fn volume_of(volume: &Volume, rules: &Rules, moved: bool) -> ExpectedVolume {
    let name = &volume.metadata.name;
    let is_same = rules.volume_fate(name) == VolumeFate::AsItIs && !moved;
    ExpectedVolume {
        name: name.clone(),
        place: volume.place(),
        capacity: volume.capacity().to_owned(),
        comes_back: match is_same {
            true => ComesBack::Same,
            false => ComesBack::Filled,
        },
    }
}

/// How long it is worth to wait for what a report lacks: for somebody who is at it, longer than for somebody to come.
fn patience(report: &ClaimsReport) -> Duration {
    let findings = report.claims.iter().flat_map(|claim| &claim.findings);
    let waits = findings.map(|finding| match finding {
        Finding::Pending { why, event } if is_open(why) && event.is_empty() => MOMENT,
        Finding::Pending { why, .. } if is_open(why) => SETTLE,
        Finding::VolumePhase { phase, .. } if is_new(phase) => MOMENT,
        _ => Duration::ZERO,
    });
    waits.max().unwrap_or_default()
}

/// Whether a claim waits for what may just be done.
fn is_open(why: &Pending) -> bool {
    matches!(
        why,
        Pending::Undecided { .. } | Pending::WaitsForNode { .. }
    )
}

/// Whether a volume has a phase that the binder gave it.
fn is_new(phase: &str) -> bool {
    matches!(phase, "" | "Pending" | "Available")
}

/// Whether somebody has to know. Of what waits for the cluster it is told when the cluster says so itself: one whose binder
/// has not looked yet says nothing.
fn is_told(finding: &Finding) -> bool {
    match finding {
        Finding::Pending { why, .. } if why.is_by_design() => false,
        Finding::Pending { why, event } if is_open(why) => !event.is_empty(),
        Finding::VolumePhase { phase, .. } => !is_new(phase),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(why: Pending, event: &str) -> Finding {
        let event = event.to_owned();
        Finding::Pending { why, event }
    }

    #[test]
    fn a_claim_that_waited_before_may_wait_again() {
        let checked = |name: &str| salvor_volume::claims::check::Checked {
            namespace: "shop".into(),
            name: name.into(),
            phase: "Pending".into(),
            volume: String::new(),
            place: None,
            findings: vec![pending(Pending::NoDefaultClass, "")],
        };
        let claims = vec![checked("waited"), checked("bound")];
        let unbound = BTreeSet::from([("shop".to_owned(), "waited".to_owned())]);
        let report = as_before(ClaimsReport { claims }, &unbound);
        let found = report.claims.iter().map(|claim| claim.findings.len());
        assert_eq!(found.collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_is_as_it_should_be_or_may_still_come_is_no_warning() {
        let undecided = || Pending::Undecided {
            provisioner: "csi.example.com".into(),
        };
        let phase = |phase: &str| Finding::VolumePhase {
            volume: "pv".into(),
            phase: phase.into(),
        };
        for (finding, told, wait) in [
            (
                pending(Pending::WaitsForPod, "WaitForFirstConsumer"),
                false,
                Duration::ZERO,
            ),
            (pending(undecided(), ""), false, MOMENT),
            (pending(undecided(), "no quota left"), true, SETTLE),
            (
                pending(
                    Pending::NoClass {
                        class: "fast".into(),
                    },
                    "",
                ),
                true,
                Duration::ZERO,
            ),
            (phase("Pending"), false, MOMENT),
            (phase("Failed"), true, Duration::ZERO),
            (
                Finding::LeftBehind {
                    volumes: vec!["old".into()],
                },
                true,
                Duration::ZERO,
            ),
        ] {
            assert_eq!(is_told(&finding), told, "{finding:?}");
            let claim = salvor_volume::claims::check::Checked {
                namespace: "shop".into(),
                name: "data".into(),
                phase: String::new(),
                volume: String::new(),
                place: None,
                findings: vec![finding],
            };
            let claims = vec![claim];
            assert_eq!(patience(&ClaimsReport { claims }), wait);
        }
    }
}
