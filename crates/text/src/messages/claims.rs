//! About volumes and claims of a cluster.

use super::{Messages, count};
use crate::particle::{eul, eun, i};

impl Messages {
    /// No volume outlived its claim.
    #[must_use]
    pub fn no_released_volumes(self) -> String {
        self.say(
            format_args!("no volume of this cluster is without its claim"),
            format_args!("이 클러스터에는 클레임을 잃은 볼륨이 없습니다"),
        )
    }

    /// A volume without a claim whose bytes may go at any time.
    #[must_use]
    pub fn not_retained(self, volume: &str, policy: &str) -> String {
        self.say(
            format_args!(
                "volume {volume} has reclaim policy {policy}: its bytes may go at any time"
            ),
            format_args!(
                "볼륨 {volume} 의 회수 정책이 {policy} 입니다. 데이터가 언제든 사라질 수 있습니다"
            ),
        )
    }

    /// What giving a volume to a claim takes.
    #[must_use]
    pub fn rebind_plan(self, volume: &str, claim: &str) -> String {
        let eul = eul(volume);
        self.say(
            format_args!("volume {volume} goes to claim {claim}:"),
            format_args!("볼륨 {volume}{eul} 클레임 {claim} 에 줍니다:"),
        )
    }

    /// A step: the reclaim policy.
    #[must_use]
    pub fn step_keep(self, was: &str) -> String {
        self.say(
            format_args!("set its reclaim policy to Retain, before anything else; it was {was}, and Retain stays"),
            format_args!("무엇보다 먼저 회수 정책을 Retain 으로 바꿉니다. 전에는 {was} 였고, Retain 으로 남습니다"),
        )
    }

    /// A step: the volume is kept for the claim.
    #[must_use]
    pub fn step_reserve(self, claim: &str, was: &str) -> String {
        if was.is_empty() {
            return self.say(
                format_args!("keep it for claim {claim}, so that no other can take it"),
                format_args!("다른 클레임이 가져갈 수 없도록 클레임 {claim} 앞으로 잡아 둡니다"),
            );
        }
        self.say(
            format_args!(
                "keep it for claim {claim} instead of {was}, in one write: it is never free"
            ),
            format_args!(
                "{was} 대신 클레임 {claim} 앞으로 한 번의 쓰기로 잡아 둡니다. 비어 있는 순간이 없습니다"
            ),
        )
    }

    /// A step: the claim is made.
    #[must_use]
    pub fn step_create(self, claim: &str, size: &str) -> String {
        self.say(
            format_args!("create claim {claim} for {size}, with the name of the volume in it"),
            format_args!("볼륨 이름을 넣어 {size} 클레임 {claim} 만들기"),
        )
    }

    /// A step: the claim gets the volume's name.
    #[must_use]
    pub fn step_point(self, claim: &str) -> String {
        self.say(
            format_args!("write the name of the volume into claim {claim}, which waits"),
            format_args!("기다리는 클레임 {claim} 에 볼륨 이름을 씁니다"),
        )
    }

    /// A step: waiting.
    #[must_use]
    pub fn step_wait(self) -> String {
        self.say(
            format_args!("wait until both are bound, and to each other"),
            format_args!("둘이 서로 바인딩될 때까지 기다립니다"),
        )
    }

    /// The commands that follow bring back what was.
    #[must_use]
    pub fn to_undo(self) -> String {
        self.say(
            format_args!("to undo it (the reclaim policy stays Retain):"),
            format_args!("되돌리려면 (회수 정책은 Retain 으로 남습니다):"),
        )
    }

    /// Whoever deletes the bytes may have been faster.
    #[must_use]
    pub fn deletion_may_have_begun(self, policy: &str) -> String {
        self.say(
            format_args!("until now the reclaim policy was {policy}: look whether the bytes are still there before anything writes"),
            format_args!("지금까지 회수 정책이 {policy} 였습니다. 무언가 쓰기 전에 데이터가 남아 있는지 확인하세요"),
        )
    }

    /// A volume has its claim.
    #[must_use]
    pub fn rebound(self, volume: &str, claim: &str) -> String {
        self.say(
            format_args!("claim {claim} is bound to volume {volume}"),
            format_args!("클레임 {claim} 바인딩됨: 볼륨 {volume}"),
        )
    }

    /// What a look at claims found, in one line.
    #[must_use]
    pub fn claims_checked(self, claims: usize, errors: usize, warnings: usize) -> String {
        let english = (
            count(claims as u64, "claim", "claims"),
            count(errors as u64, "error", "errors"),
            count(warnings as u64, "warning", "warnings"),
        );
        self.say(
            format_args!("{} checked: {}, {}", english.0, english.1, english.2),
            format_args!("클레임 {claims}개 확인: 오류 {errors}개, 경고 {warnings}개"),
        )
    }

    /// Nodes were left out of a look at claims.
    #[must_use]
    pub fn nodes_not_seen(self) -> String {
        self.say(
            format_args!(
                "nodes may not be listed: whether volumes can be reached from one was not looked at"
            ),
            format_args!(
                "노드를 볼 권한이 없습니다. 노드에서 볼륨에 닿을 수 있는지는 확인하지 않았습니다"
            ),
        )
    }

    /// A claim is not there.
    #[must_use]
    pub fn claim_missing(self) -> String {
        self.say(
            format_args!("it is not there"),
            format_args!("클레임이 없습니다"),
        )
    }

    /// A claim is being deleted.
    #[must_use]
    pub fn claim_deleting(self) -> String {
        self.say(
            format_args!("it is being deleted"),
            format_args!("삭제되는 중입니다"),
        )
    }

    /// A claim waits; the cluster said this about it.
    #[must_use]
    pub fn claim_waits(self, why: &str, event: &str) -> String {
        if event.is_empty() {
            return self.say(
                format_args!("it waits for its volume: {why}"),
                format_args!("볼륨을 기다립니다: {why}"),
            );
        }
        self.say(
            format_args!("it waits for its volume: {why}; the cluster says: {event}"),
            format_args!("볼륨을 기다립니다: {why}. 클러스터의 말: {event}"),
        )
    }

    /// Why a claim waits: its class.
    #[must_use]
    pub fn no_such_class(self, class: &str) -> String {
        self.say(
            format_args!("there is no storage class {class}"),
            format_args!("스토리지 클래스 {class} 없음"),
        )
    }

    /// Why a claim waits: no class at all.
    #[must_use]
    pub fn no_default_class(self) -> String {
        self.say(
            format_args!("it names no storage class, none is the default one, and no volume without a class fits"),
            format_args!("스토리지 클래스를 적지 않았고, 기본 클래스도 없으며, 클래스 없는 볼륨 중 맞는 것도 없습니다"),
        )
    }

    /// Why a claim waits: no pod.
    #[must_use]
    pub fn waits_for_pod(self) -> String {
        self.say(
            format_args!("it gets one when a pod uses it, and none does"),
            format_args!("파드가 쓸 때 볼륨을 얻는데, 쓰는 파드가 없습니다"),
        )
    }

    /// Why a claim waits: its pod has no node.
    #[must_use]
    pub fn waits_for_node(self, pod: &str) -> String {
        self.say(
            format_args!("no node was chosen yet for pod {pod}, which uses it"),
            format_args!("이 클레임을 쓰는 파드 {pod} 의 노드가 아직 정해지지 않았습니다"),
        )
    }

    /// Why a claim waits: no volume.
    #[must_use]
    pub fn no_volume_fits(self, class: &str) -> String {
        if class.is_empty() {
            return self.say(
                format_args!("no free volume without a class fits"),
                format_args!("클래스 없는 빈 볼륨 중 맞는 것이 없습니다"),
            );
        }
        self.say(
            format_args!("nobody makes volumes of class {class}, and none that is free fits"),
            format_args!(
                "클래스 {class} 의 볼륨을 만드는 곳이 없고, 빈 볼륨 중 맞는 것도 없습니다"
            ),
        )
    }

    /// Why a claim waits: somebody is at work.
    #[must_use]
    pub fn cluster_undecided(self, provisioner: &str) -> String {
        if provisioner.is_empty() {
            return self.say(
                format_args!("the cluster has not bound it yet"),
                format_args!("클러스터가 아직 바인딩하지 않았습니다"),
            );
        }
        self.say(
            format_args!("{provisioner} has not made one yet"),
            format_args!("{provisioner} 쪽에서 아직 만들지 않았습니다"),
        )
    }

    /// A claim's volume is not there.
    #[must_use]
    pub fn volume_gone(self, volume: &str) -> String {
        let i = i(volume);
        self.say(
            format_args!("volume {volume}, which it names, is not there"),
            format_args!("적힌 볼륨 {volume}{i} 없습니다"),
        )
    }

    /// A claim's volume is another's.
    #[must_use]
    pub fn volume_of_another(self, volume: &str, owner: &str, same_name: bool) -> String {
        let eun = eun(volume);
        if owner.is_empty() {
            return self.say(
                format_args!("volume {volume} does not know of it, and is nobody's"),
                format_args!("볼륨 {volume}{eun} 이 클레임을 모르며, 누구의 것도 아닙니다"),
            );
        }
        if same_name {
            return self.say(
                format_args!(
                    "volume {volume} belongs to an earlier claim of its name, which was deleted"
                ),
                format_args!("볼륨 {volume}{eun} 이름이 같은, 삭제된 이전 클레임의 것입니다"),
            );
        }
        self.say(
            format_args!("volume {volume} belongs to claim {owner}"),
            format_args!("볼륨 {volume}{eun} 클레임 {owner} 의 것입니다"),
        )
    }

    /// A claim's volume is not bound.
    #[must_use]
    pub fn volume_phase(self, volume: &str, phase: &str) -> String {
        self.say(
            format_args!("volume {volume} is {phase}, not Bound"),
            format_args!("볼륨 {volume} 의 상태가 Bound 가 아니라 {phase} 입니다"),
        )
    }

    /// A claim's volume is being deleted.
    #[must_use]
    pub fn volume_deleting(self, volume: &str) -> String {
        let i = i(volume);
        self.say(
            format_args!("volume {volume} is being deleted"),
            format_args!("볼륨 {volume}{i} 삭제되는 중입니다"),
        )
    }

    /// A claim and its volume differ.
    #[must_use]
    pub fn volume_differs(self, what: &str, claim: &str, volume: &str) -> String {
        let or_none = |text: &str| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text.to_owned()
            }
        };
        let (claim, volume) = (or_none(claim), or_none(volume));
        self.say(
            format_args!("{what}: the claim has {claim}, its volume {volume}"),
            format_args!("{what}: 클레임은 {claim}, 볼륨은 {volume}"),
        )
    }

    /// No node reaches a volume.
    #[must_use]
    pub fn node_gone(self, volume: &str, nodes: &str) -> String {
        if nodes.is_empty() {
            return self.say(
                format_args!("no node of the cluster reaches volume {volume}"),
                format_args!("볼륨 {volume} 에 닿는 노드가 클러스터에 없습니다"),
            );
        }
        self.say(
            format_args!("volume {volume} is on node {nodes}, which the cluster does not have"),
            format_args!("볼륨 {volume} 의 노드 {nodes} 없음"),
        )
    }

    /// A claim has another volume than it must have.
    #[must_use]
    pub fn other_volume(self, volume: &str, had: &str, place: &str, empty: bool) -> String {
        let (english, korean) = if empty {
            (
                "; the backup has no data of it, so what it has now began empty",
                ". 백업에 그 데이터가 없으므로 지금 것은 빈 채로 시작했습니다",
            )
        } else {
            ("", "")
        };
        self.say(
            format_args!("it has volume {volume}, but had {had} ({place}){english}"),
            format_args!("지금은 볼륨 {volume} 이지만 전에는 {had} ({place}) 였습니다{korean}"),
        )
    }

    /// A claim's volume is smaller than it was.
    #[must_use]
    pub fn smaller_volume(self, volume: &str, had: &str, has: &str) -> String {
        self.say(
            format_args!("volume {volume} has {has}, the one that it had {had}"),
            format_args!("볼륨 {volume} 의 크기는 {has}, 전에 있던 것은 {had} 입니다"),
        )
    }

    /// Volumes that a claim of this name left.
    #[must_use]
    pub fn left_behind(self, volumes: &str, claim: &str) -> String {
        self.say(
            format_args!("earlier claims of its name left {volumes}: bring one back with `salvor pv rebind VOLUME --claim {claim}`"),
            format_args!("이름이 같은 이전 클레임이 남긴 볼륨: {volumes}. `salvor pv rebind VOLUME --claim {claim}` 로 되찾을 수 있습니다"),
        )
    }

    /// Bytes of an archive that came.
    #[must_use]
    pub fn exporting(self) -> String {
        self.say(format_args!("exporting"), format_args!("내보내는 중"))
    }

    /// An archive is whole.
    #[must_use]
    pub fn export_whole(self, from: &str, entries: u64, size: &str) -> String {
        let english = count(entries, "entry", "entries");
        self.say(
            format_args!("{from}: {english}, {size}; tar succeeded and the archive is whole"),
            format_args!("{from}: 항목 {entries}개, {size}. tar 가 성공했고 아카이브가 온전합니다"),
        )
    }

    /// An ephemeral container read the files of an export.
    #[must_use]
    pub fn export_by_reader(self, reader: &str) -> String {
        self.say(
            format_args!(
                "the container has no tar: ephemeral container {reader} read its files, has ended, and is listed in the pod \
                 for as long as that lives"
            ),
            format_args!(
                "컨테이너에 tar 가 없어 임시 컨테이너 {reader} 가 파일을 읽고 끝났습니다. 파드가 있는 동안 목록에는 남습니다"
            ),
        )
    }

    /// A claim has no recovery points.
    #[must_use]
    pub fn no_points(self, claim: &str, location: &str) -> String {
        self.say(
            format_args!("no backup of location `{location}` has claim {claim}"),
            format_args!("위치 `{location}` 의 백업에 클레임 {claim} 없음"),
        )
    }

    /// Backups that could not be looked into.
    #[must_use]
    pub fn points_unread(self, backup: &str, why: &str) -> String {
        self.say(
            format_args!("backup {backup} was left out: {why}"),
            format_args!("백업 {backup} 제외됨: {why}"),
        )
    }

    /// What a recovery point's data is: not readable by us.
    #[must_use]
    pub fn not_restorable_by_us(self, what: &str) -> String {
        self.say(
            format_args!("not restorable by us: {what}"),
            format_args!("여기서 복원 불가: {what}"),
        )
    }
}
