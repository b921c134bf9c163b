//! Volumes of a backup: what was met, what is to be done with each, and what became of it.
//!
//! ```text
//! pods, claims, volumes that are taken -> notes -> case -> decide -> copy | snapshot | skip -> record
//! ```
//!
//! - [`decide`] is the decision, pure;
//! - this module keeps what it looks at, while claims, volumes and pods come in any order;
//! - [`act`] carries it out, [`look`] asks the cluster for what the backup itself does not take;
//! - every volume that was met ends up in a record, with a reason where its data is not in the backup.

mod act;
pub(crate) mod decide;
mod group;
mod look;
mod native;
mod policy;
mod reach;
mod snapshot;
mod taken;
mod tell;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use salvor_api::resource::ObjectKey;
use salvor_api::resource_policy::ResourcePolicies;
use salvor_archive::files::{
    BackupVolumeInfo, CsiSnapshotInfo, PvInfo, SalvorVolume, SalvorVolumes, VolumeMethod,
    VolumeOutcome,
};
use salvor_volume::Placement;

use self::decide::{Case, Choice, Kind, Reach, Wishes};
pub(super) use self::native::Native;
use self::policy::{Decision, Judge};
pub(super) use self::snapshot::Snapshotting;
pub(crate) use self::taken::Keeps;
use super::item::labels_of;
use super::references::{Claim, Content, Pod, Volume};

/// What an upstream Velero is told of volumes whose data only we can read.
const HELD: &str = "Salvor holds this volume's data: restore it with salvor";

/// A namespace and a name in it.
type Name = (String, String);

/// One volume, however many pods mount it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The volume of a claim.
    Claim(Name),
    /// A volume that only this pod has, by its name there.
    OfPod(Name, String),
    /// A persistent volume without a claim in the backup.
    Volume(String),
}

/// A pod, as far as its volumes go.
#[derive(Clone, Debug, Default)]
struct PodNote {
    uid: String,
    node: String,
    running: bool,
    ended: bool,
    /// Where it may run; only kept when it does not.
    placement: Placement,
    mounts: Vec<Mount>,
}

/// One volume of a pod.
#[derive(Clone, Debug)]
struct Mount {
    volume: String,
    content: Content,
    /// An annotation of the pod names it.
    named: bool,
    /// An annotation of the pod excludes it.
    excluded: bool,
    /// What the policies say of one that has no claim.
    policy: Option<Decision>,
}

#[derive(Clone, Debug, Default)]
struct ClaimNote {
    uid: String,
    volume: String,
    phase: String,
    block: bool,
    kept_out: bool,
    /// Claims of its namespace with the same value are snapshotted together; empty for one by itself.
    group: String,
    /// It is in the backup.
    taken: bool,
}

/// The volumes that the collected claims, volumes and pods tell of.
#[derive(Debug, Default)]
pub(crate) struct Volumes {
    wishes: Wishes,
    judge: Judge,
    by_volume: BTreeMap<String, BackupVolumeInfo>,
    /// Volumes that are none of a CSI driver.
    not_of_csi: BTreeSet<String>,
    claims: BTreeMap<Name, ClaimNote>,
    pods: BTreeMap<Name, PodNote>,
    /// Pods that mount a claim.
    mounted_by: BTreeMap<Name, BTreeSet<Name>>,
    /// Volumes that somebody deals with, or has dealt with.
    begun: BTreeSet<Place>,
    /// Claims whose copy was begun once more, as their pod went away in the middle.
    tried_again: BTreeSet<Place>,
    /// Volumes by namespace that are worth a word all together.
    summed: BTreeMap<String, usize>,
    records: Vec<SalvorVolume>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Claim((namespace, name)) => write!(f, "claim {namespace}/{name}"),
            Self::OfPod((namespace, pod), volume) => {
                write!(f, "volume `{volume}` of pod {namespace}/{pod}")
            }
            Self::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

impl Mount {
    fn place(&self, pod: &Name) -> Place {
        match &self.content {
            Content::Claim(claim) => Place::Claim((pod.0.clone(), claim.clone())),
            Content::HostPath | Content::OfPod | Content::Objects => {
                Place::OfPod(pod.clone(), self.volume.clone())
            }
        }
    }
}

impl PodNote {
    fn read(pod: &Pod, body: &[u8], judge: &Judge) -> Self {
        let list = |key: &str| -> Vec<&str> {
            let text = pod.annotation(key).unwrap_or_default();
            text.split(',').map(str::trim).collect()
        };
        let named = list("backup.velero.io/backup-volumes");
        let excluded = list("backup.velero.io/backup-volumes-excludes");
        let mounts: Vec<Mount> = pod
            .volumes()
            .iter()
            .map(|volume| (volume, volume.content(&pod.metadata.name)))
            .filter(|(_, content)| match content {
                Content::Objects => false,
                Content::Claim(name) => !name.is_empty(),
                Content::HostPath | Content::OfPod => true,
            })
            .map(|(volume, content)| Mount {
                named: named.contains(&&*volume.name),
                excluded: excluded.contains(&&*volume.name),
                policy: match content {
                    // What becomes of a claim's volume is decided when both are known.
                    Content::Claim(_) => None,
                    _ => judge.of_pod_volume(body, &volume.name),
                },
                volume: volume.name.clone(),
                content,
            })
            .collect();
        let running = pod.phase() == "Running";
        let placement = match running || mounts.is_empty() {
            true => Placement::default(),
            false => placement(pod),
        };
        Self {
            uid: pod.metadata.uid.clone(),
            node: pod.spec.node_name.clone().unwrap_or_default(),
            running,
            ended: matches!(pod.phase(), "Succeeded" | "Failed"),
            placement,
            mounts,
        }
    }
}

fn placement(pod: &Pod) -> Placement {
    let spec = &pod.spec;
    let affinity = spec.affinity.as_ref();
    Placement {
        node_selector: spec.node_selector.clone(),
        node_affinity: affinity.map_or_else(Default::default, |a| a.node_affinity.clone()),
        tolerations: spec.tolerations.clone(),
    }
}

impl ClaimNote {
    fn read(claim: &Claim) -> Self {
        Self {
            uid: claim.metadata.uid.clone(),
            volume: claim.volume().unwrap_or_default().to_owned(),
            phase: claim.status.phase.clone().unwrap_or_default(),
            block: claim.spec.volume_mode.as_deref() == Some("Block"),
            kept_out: claim.is_kept_out(),
            group: String::new(),
            taken: false,
        }
    }

    fn kind(&self) -> Kind {
        match (self.phase.as_str(), self.volume.as_str()) {
            _ if self.kept_out => Kind::KeptOut,
            ("Lost", _) => Kind::Lost,
            (_, "") => Kind::Pending,
            _ if self.block => Kind::Block,
            _ => Kind::Files,
        }
    }
}

impl Volumes {
    pub(crate) fn new(wishes: Wishes, policies: ResourcePolicies) -> Self {
        Self {
            judge: Judge::new(policies),
            wishes,
            ..Self::default()
        }
    }

    /// True when files of volumes may be copied because the backup itself asks for it.
    pub(crate) fn may_copy(&self) -> bool {
        self.wishes.agent && (self.wishes.files_by_default || self.judge.may_copy())
    }

    /// Notes a collected claim.
    pub(crate) fn claim(&mut self, key: &ObjectKey, claim: &Claim, body: &[u8]) {
        let name = self.see_claim(key, claim, body);
        self.claims.entry(name).and_modify(|note| note.taken = true);
        let Some(volume) = claim.volume() else { return };
        let info = self.by_volume.entry(volume.to_owned()).or_default();
        info.pv_name = volume.to_owned();
        info.pvc_name.clone_from(&key.name);
        info.pvc_namespace = key.namespace.clone().unwrap_or_default();
    }

    /// Notes a claim, collected or not.
    fn see_claim(&mut self, key: &ObjectKey, claim: &Claim, body: &[u8]) -> Name {
        self.judge.claim(key, body);
        let name = (key.namespace.clone().unwrap_or_default(), key.name.clone());
        let mut note = ClaimNote::read(claim);
        if let Some(labels) = labels_of(body) {
            note.group = labels
                .get(&self.wishes.group_label)
                .cloned()
                .unwrap_or_default();
        }
        self.claims.insert(name.clone(), note);
        name
    }

    /// Notes a collected volume.
    pub(crate) fn volume(&mut self, key: &ObjectKey, volume: &Volume, body: &[u8]) {
        self.judge.volume(&key.name, body);
        if volume.spec.csi.is_none() {
            self.not_of_csi.insert(key.name.clone());
        }
        let info = self.by_volume.entry(key.name.clone()).or_default();
        info.pv_name.clone_from(&key.name);
        if let Some(claim) = &volume.spec.claim_ref
            && info.pvc_name.is_empty()
        {
            info.pvc_name.clone_from(&claim.name);
            info.pvc_namespace.clone_from(&claim.namespace);
        }
        info.pv_info = Some(PvInfo {
            reclaim_policy: volume
                .spec
                .persistent_volume_reclaim_policy
                .clone()
                .unwrap_or_default(),
            labels: volume.metadata.labels.clone().unwrap_or_default(),
        });
    }

    /// Whether the volume of a claim is one of a CSI driver; `None` when it was not looked at.
    fn is_of_csi_driver(&self, claim: &Name) -> Option<bool> {
        let volume = &self.claims.get(claim)?.volume;
        if self.not_of_csi.contains(volume) {
            return Some(false);
        }
        self.by_volume
            .get(volume)?
            .pv_info
            .is_some()
            .then_some(true)
    }

    /// Whether the backup may take snapshots at all.
    fn may_snapshot(&self) -> bool {
        self.wishes.snapshots != decide::Snapshots::Declined || self.judge.may_snapshot()
    }

    /// The claims whose snapshot may come to stay in the storage, so that their bodies wait for its name.
    pub(crate) fn may_keep_snapshots(&self) -> Keeps {
        match (self.may_snapshot(), self.wishes.moves) {
            (false, _) => Keeps::None,
            (true, true) => Keeps::OfBlocks,
            (true, false) => Keeps::All,
        }
    }

    /// Notes a pod and the volumes that it mounts.
    pub(crate) fn pod(&mut self, pod: &Pod, body: &[u8]) {
        let note = PodNote::read(pod, body, &self.judge);
        if note.mounts.is_empty() {
            return;
        }
        let name = (pod.metadata.namespace.clone(), pod.metadata.name.clone());
        for mount in &note.mounts {
            if let Place::Claim(claim) = mount.place(&name) {
                let pods = self.mounted_by.entry(claim).or_default();
                pods.insert(name.clone());
            }
        }
        self.pods.insert(name, note);
    }

    /// What is done with a volume, given the pods of the backup that mount it, or just one of them.
    fn choose(&self, place: &Place, through: Option<&Name>) -> Choice {
        decide::decide(&self.case(place, through), &self.wishes)
    }

    fn case(&self, place: &Place, through: Option<&Name>) -> Case {
        let mounts = self.mounts(place, through);
        let reach = if mounts.iter().any(|(_, pod, _)| pod.running) {
            Reach::Pod
        } else if !mounts.is_empty() && mounts.iter().all(|(_, pod, _)| pod.ended) {
            Reach::Ended
        } else {
            Reach::Unmounted
        };
        let named = mounts.iter().find(|(_, _, mount)| mount.named);
        let mut claim_left = false;
        let (kind, policy) = match place {
            Place::Claim(name) => {
                let note = self.claims.get(name);
                let volume = note.map_or("", |note| note.volume.as_str());
                let kind = note.map_or(Kind::Absent, ClaimNote::kind);
                claim_left = note.is_some_and(|note| !note.taken);
                (kind, self.judge.of_volume(volume, name))
            }
            Place::OfPod(..) => {
                let mount = mounts.first().map(|(_, _, mount)| *mount);
                let host = mount.is_some_and(|mount| mount.content == Content::HostPath);
                let kind = if host { Kind::HostPath } else { Kind::OfPod };
                (kind, mount.and_then(|mount| mount.policy.clone()))
            }
            Place::Volume(name) => {
                let policy = self.judge.of_volume(name, &self.claim_of(name));
                (Kind::Unclaimed, policy)
            }
        };
        Case {
            kind,
            reach,
            policy,
            named_by: named.map(|((namespace, pod), _, _)| format!("{namespace}/{pod}")),
            excluded: !mounts.is_empty() && mounts.iter().all(|(_, _, mount)| mount.excluded),
            claim_left,
        }
    }

    /// The mounts of a volume: all, or those of one pod.
    fn mounts(&self, place: &Place, through: Option<&Name>) -> Vec<(&Name, &PodNote, &Mount)> {
        let pods: Vec<&Name> = match (place, through) {
            (_, Some(pod)) => vec![pod],
            (Place::Claim(claim), None) => {
                self.mounted_by.get(claim).into_iter().flatten().collect()
            }
            (Place::OfPod(pod, _), None) => vec![pod],
            (Place::Volume(_), None) => Vec::new(),
        };
        let pods = pods
            .into_iter()
            .filter_map(|pod| self.pods.get_key_value(pod));
        pods.flat_map(|(name, pod)| pod.mounts.iter().map(move |mount| (name, pod, mount)))
            .filter(|(name, _, mount)| mount.place(name) == *place)
            .collect()
    }

    /// The claim that a persistent volume is bound to; empty names when there is none.
    fn claim_of(&self, volume: &str) -> Name {
        self.by_volume
            .get(volume)
            .map_or_else(Name::default, |info| {
                (info.pvc_namespace.clone(), info.pvc_name.clone())
            })
    }

    /// True when it was nobody's yet: it is the caller's then.
    fn begin(&mut self, place: &Place) -> bool {
        self.begun.insert(place.clone())
    }

    /// Gives a volume back that could not be dealt with this way.
    fn give_back(&mut self, place: &Place) {
        self.begun.remove(place);
    }

    /// The volumes that nobody deals with yet.
    fn left(&self) -> Vec<Place> {
        let claims = self.claims.keys().chain(self.mounted_by.keys());
        let mut places: BTreeSet<Place> = claims.cloned().map(Place::Claim).collect();
        for (name, pod) in &self.pods {
            places.extend(pod.mounts.iter().map(|mount| mount.place(name)));
        }
        let claimed: BTreeSet<&str> = self.claims.values().map(|c| c.volume.as_str()).collect();
        let unclaimed = self
            .by_volume
            .keys()
            .filter(|name| !claimed.contains(name.as_str()));
        places.extend(unclaimed.cloned().map(Place::Volume));
        places.retain(|place| !self.begun.contains(place));
        places.into_iter().collect()
    }

    /// A record of a volume, with what is known of where it is.
    fn record_of(&self, place: &Place) -> SalvorVolume {
        let mut record = SalvorVolume::default();
        match place {
            Place::Claim(name) => {
                (record.namespace, record.claim) = name.clone();
                let note = self.claims.get(name);
                record.persistent_volume = note.map(|n| n.volume.clone()).unwrap_or_default();
            }
            Place::OfPod((namespace, pod), volume) => {
                record.namespace.clone_from(namespace);
                record.pod.clone_from(pod);
                record.pod_volume.clone_from(volume);
            }
            Place::Volume(volume) => {
                (record.namespace, record.claim) = self.claim_of(volume);
                record.persistent_volume.clone_from(volume);
            }
        }
        record
    }

    /// True when a persistent volume's object is in the backup.
    fn holds_object(&self, volume: &str) -> bool {
        let info = self.by_volume.get(volume);
        info.is_some_and(|info| info.pv_info.is_some())
    }

    fn keep(&mut self, record: SalvorVolume) {
        self.records.push(record);
    }

    /// The two files of volumes: Velero's, and ours.
    pub(crate) fn finish(self) -> (Vec<BackupVolumeInfo>, SalvorVolumes) {
        let mut by_volume = self.by_volume;
        for record in &self.records {
            let volume = record.persistent_volume.as_str();
            // Volumes that are not in the backup are told of when it has their data.
            if record.outcome == VolumeOutcome::Protected && !volume.is_empty() {
                by_volume.entry(volume.to_owned()).or_default();
            }
            if let Some(info) = by_volume.get_mut(volume) {
                tell_velero(info, record);
            }
        }
        let infos = by_volume.into_values().collect();
        (infos, SalvorVolumes::new(self.records))
    }
}

/// Writes into Velero's file what its restore has to know of a volume.
fn tell_velero(info: &mut BackupVolumeInfo, record: &SalvorVolume) {
    info.pv_name.clone_from(&record.persistent_volume);
    if info.pvc_name.is_empty() {
        info.pvc_name.clone_from(&record.claim);
        info.pvc_namespace.clone_from(&record.namespace);
    }
    match (record.outcome, record.method) {
        (VolumeOutcome::Protected, Some(VolumeMethod::Files | VolumeMethod::CsiMoved)) => {
            info.skipped = true;
            HELD.clone_into(&mut info.skipped_reason);
        }
        (VolumeOutcome::Protected, Some(VolumeMethod::CsiSnapshot)) => tell_of_csi(info, record),
        (VolumeOutcome::Protected, Some(VolumeMethod::NativeSnapshot)) => {
            tell::native_info(info, record);
        }
        // Whoever takes a snapshot that Velero can restore fills this in itself.
        (VolumeOutcome::Protected, _) => {}
        (VolumeOutcome::Skipped | VolumeOutcome::Failed, _) => {
            info.skipped = true;
            info.skipped_reason.clone_from(&record.reason);
        }
    }
}

fn tell_of_csi(info: &mut BackupVolumeInfo, record: &SalvorVolume) {
    let csi = record.csi.clone().unwrap_or_default();
    info.backup_method = "CSISnapshot".to_owned();
    info.preserve_local_snapshot = true;
    info.result = "succeeded".to_owned();
    info.start_timestamp = record.started;
    info.completion_timestamp = record.ended;
    info.csi_snapshot_info = Some(CsiSnapshotInfo {
        snapshot_handle: csi.handle,
        size: i64::try_from(csi.restore_size).unwrap_or(i64::MAX),
        driver: csi.driver,
        vsc_name: csi.content,
        operation_id: String::new(),
        ready_to_use: Some(true),
        volume_group_snapshot_handle: csi.group,
    });
}
