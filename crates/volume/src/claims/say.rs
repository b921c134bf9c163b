//! What a look at claims found, in English, for logs and results. Commands have texts of their own.

use std::fmt;

use super::check::Finding;
use super::pending::Pending;

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClass { class } => write!(f, "storage class {class} is not there"),
            Self::NoDefaultClass => f.write_str(
                "it names no storage class, none is the default, and no free volume without one fits",
            ),
            Self::WaitsForPod => f.write_str("it gets one when a pod uses it, and none does"),
            Self::WaitsForNode { pod } => {
                write!(f, "no node was chosen yet for pod {pod}, which uses it")
            }
            Self::NoVolume { class } if class.is_empty() => {
                f.write_str("no free volume without a class fits")
            }
            Self::NoVolume { class } => write!(
                f,
                "nobody makes volumes of class {class}, and none that is free fits"
            ),
            Self::Undecided { provisioner } if provisioner.is_empty() => {
                f.write_str("the cluster has not bound it yet")
            }
            Self::Undecided { provisioner } => write!(f, "{provisioner} has not made one yet"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("the claim is not there"),
            Self::Deleting => f.write_str("the claim is being deleted"),
            Self::Pending { why, event } if event.is_empty() => {
                write!(f, "the claim waits for a volume: {why}")
            }
            Self::Pending { why, event } => {
                write!(f, "the claim waits for a volume: {why} ({event})")
            }
            Self::VolumeGone { volume } => {
                write!(f, "volume {volume}, which the claim names, is not there")
            }
            Self::VolumeOfAnother {
                volume,
                belongs_to: Some(_),
                same_name: true,
            } => write!(
                f,
                "volume {volume} belongs to an earlier claim of this name, which was deleted"
            ),
            Self::VolumeOfAnother {
                volume,
                belongs_to: Some(owner),
                ..
            } => write!(f, "volume {volume} belongs to claim {owner}"),
            Self::VolumeOfAnother { volume, .. } => {
                write!(f, "volume {volume} does not know of the claim")
            }
            Self::VolumePhase { volume, phase } => {
                write!(f, "volume {volume} is {phase}, not Bound")
            }
            Self::VolumeDeleting { volume } => write!(f, "volume {volume} is being deleted"),
            Self::Misfit { volume, how } => {
                write!(f, "volume {volume} is not what the claim asks for: {how}")
            }
            Self::NodeGone { volume, nodes } if nodes.is_empty() => {
                write!(f, "no node of the cluster reaches volume {volume}")
            }
            Self::NodeGone { volume, nodes } => write!(
                f,
                "volume {volume} is on node {}, which the cluster does not have",
                nodes.join(", ")
            ),
            Self::OtherVolume {
                had, place, volume, ..
            } => write!(f, "the claim has volume {volume}, but had {had} ({place})"),
            Self::Smaller { volume, had, has } => {
                write!(f, "volume {volume} has {has}, the one of the backup {had}")
            }
            Self::LeftBehind { volumes } => write!(
                f,
                "earlier claims of this name left volumes {}: `salvor pv rebind` brings one back",
                volumes.join(", ")
            ),
        }
    }
}
