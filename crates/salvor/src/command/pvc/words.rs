//! What a look at claims found, in words.

use salvor_text::Messages;
use salvor_volume::claims::check::Finding;
use salvor_volume::claims::fits::Misfit;
use salvor_volume::claims::pending::Pending;

/// A finding about the claim `name`.
pub(super) fn finding(finding: &Finding, name: &str, messages: Messages) -> String {
    match finding {
        Finding::Missing => messages.claim_missing(),
        Finding::Deleting => messages.claim_deleting(),
        Finding::Pending { why, event } => messages.claim_waits(&pending(why, messages), event),
        Finding::VolumeGone { volume } => messages.volume_gone(volume),
        Finding::VolumeOfAnother {
            volume,
            belongs_to,
            same_name,
        } => {
            let owner = belongs_to
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            messages.volume_of_another(volume, &owner, *same_name)
        }
        Finding::VolumePhase { volume, phase } => messages.volume_phase(volume, phase),
        Finding::VolumeDeleting { volume } => messages.volume_deleting(volume),
        Finding::Misfit { how, .. } => misfit(how, messages),
        Finding::NodeGone { volume, nodes } => messages.node_gone(volume, &nodes.join(", ")),
        Finding::OtherVolume {
            had,
            place,
            volume,
            empty,
        } => messages.other_volume(volume, had, &place.to_string(), *empty),
        Finding::Smaller { volume, had, has } => messages.smaller_volume(volume, had, has),
        Finding::LeftBehind { volumes } => messages.left_behind(&volumes.join(", "), name),
    }
}

fn pending(why: &Pending, messages: Messages) -> String {
    match why {
        Pending::NoClass { class } => messages.no_such_class(class),
        Pending::NoDefaultClass => messages.no_default_class(),
        Pending::WaitsForPod => messages.waits_for_pod(),
        Pending::WaitsForNode { pod } => messages.waits_for_node(pod),
        Pending::NoVolume { class } => messages.no_volume_fits(class),
        Pending::Undecided { provisioner } => messages.cluster_undecided(provisioner),
    }
}

/// The fields have the names that they have in objects.
fn misfit(how: &Misfit, messages: Messages) -> String {
    match how {
        Misfit::Class { claim, volume } => {
            messages.volume_differs("storageClassName", claim, volume)
        }
        Misfit::AccessModes { claim, volume } => {
            messages.volume_differs("accessModes", &claim.join(","), &volume.join(","))
        }
        Misfit::Size { claim, volume } => messages.volume_differs("storage", claim, volume),
        Misfit::Mode { claim, volume } => messages.volume_differs("volumeMode", claim, volume),
        Misfit::Selector { claim } => messages.volume_differs("selector", claim, ""),
        Misfit::Attributes { claim, volume } => {
            messages.volume_differs("volumeAttributesClassName", claim, volume)
        }
    }
}
