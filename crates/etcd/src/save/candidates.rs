//! Members that can be asked, and which of them first.

use salvor_location::with_causes;

use super::{Error, MemberError};
use crate::client::{Access, AlarmKind, Endpoint, Member, Status};

/// A member that answered.
pub(super) struct Candidate {
    pub(super) member: Member,
    pub(super) status: Status,
}

/// Connects to all that can be reached.
pub(super) async fn connect(
    endpoints: &[String],
    access: &Access,
    failures: &mut Vec<MemberError>,
) -> Result<Vec<Candidate>, Error> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for endpoint in endpoints {
        let connected = async {
            let endpoint = Endpoint::new(endpoint, access)?;
            let mut member = Member::connect(&endpoint, access).await?;
            let status = member.status().await?;
            Ok(Candidate { member, status })
        };
        match connected.await {
            Ok(candidate) => candidates.push(candidate),
            Err(error) => failures.push(MemberError::Client(error)),
        }
    }
    if let [first, rest @ ..] = &candidates[..]
        && let Some(other) = rest
            .iter()
            .find(|other| other.status.cluster != first.status.cluster)
    {
        return Err(Error::OtherCluster {
            first: first.member.endpoint().to_string(),
            second: other.member.endpoint().to_string(),
        });
    }
    Ok(candidates)
}

/// The newest revision that a majority knows.
pub(super) async fn newest(candidates: &mut [Candidate], remarks: &mut Vec<String>) -> Option<u64> {
    let mut reason = None;
    for candidate in candidates {
        match candidate.member.linearizable_read().await {
            Ok(range) => return Some(range.revision),
            Err(error) => reason = Some(with_causes(&error)),
        }
    }
    remarks.extend(reason.map(|reason| {
        format!(
            "whether the snapshot is the newest state is not known: no majority answers ({reason})"
        )
    }));
    None
}

/// Puts the best member first: with a vote, a follower, and the newest. Gives those with an alarm about their data.
pub(super) async fn order(candidates: &mut [Candidate], remarks: &mut Vec<String>) -> Vec<u64> {
    let mut corrupt = Vec::new();
    if let Some(first) = candidates.first_mut() {
        match first.member.alarms().await {
            Ok(alarms) => {
                for alarm in alarms {
                    let what = match alarm.kind {
                        AlarmKind::Corrupt => {
                            corrupt.push(alarm.member);
                            "its data differs from the others' (alarm CORRUPT)"
                        }
                        AlarmKind::NoSpace => "its space is used up (alarm NOSPACE)",
                    };
                    remarks.push(format!("member {:x}: {what}", alarm.member));
                }
            }
            Err(error) => remarks.push(format!("alarms are not known: {}", with_causes(&error))),
        }
    }
    candidates.sort_by_key(|Candidate { status, .. }| {
        (
            status.is_learner,
            status.leader == status.member,
            std::cmp::Reverse(status.revision),
        )
    });
    corrupt
}
