//! About backups.

use super::{Messages, count};
use crate::particle::{eul, eun, i};

impl Messages {
    /// A backup ended well.
    #[must_use]
    pub fn backup_completed(self, name: &str, objects: u64, size: &str, took: &str) -> String {
        let objects_en = count(objects, "object", "objects");
        self.say(
            format_args!("backup {name} completed: {objects_en}, {size}, {took}"),
            format_args!("백업 {name} 완료: 오브젝트 {objects}개, {size}, {took}"),
        )
    }

    /// A backup exists, but something is missing in it.
    #[must_use]
    pub fn backup_partial(self, name: &str, errors: u64, warnings: u64) -> String {
        self.say(
            format_args!(
                "backup {name} is partially failed: {}, {}",
                count(errors, "error", "errors"),
                count(warnings, "warning", "warnings")
            ),
            format_args!("백업 {name} 일부 실패: 오류 {errors}건, 경고 {warnings}건"),
        )
    }

    /// A backup or restore has warnings that can be read with a command.
    #[must_use]
    pub fn has_warnings(self, warnings: u64, command: &str) -> String {
        self.say(
            format_args!(
                "{}; see them with: {command}",
                count(warnings, "warning", "warnings")
            ),
            format_args!("경고 {warnings}건이 있습니다. 보려면: {command}"),
        )
    }

    /// The node agents of the cluster cannot reach the location of a backup that is made from here.
    #[must_use]
    pub fn agents_lack_location(self, url: &str, namespace: &str) -> String {
        self.say(
            format_args!(
                "no files of volumes are copied: the node agents in namespace {namespace} know no location {url}; create \
                 it there with `salvor backup-location create`"
            ),
            format_args!(
                "볼륨의 파일을 복사하지 않습니다: 네임스페이스 {namespace}의 노드 에이전트가 위치 {url}을(를) 모릅니다. \
                 `salvor backup-location create`로 그곳에 만드십시오"
            ),
        )
    }

    /// Where to read more.
    #[must_use]
    pub fn see(self, command: &str) -> String {
        self.say(
            format_args!("see: {command}"),
            format_args!("자세히 보려면: {command}"),
        )
    }

    /// The index beside an archive is of no use; the archive was read as a whole.
    #[must_use]
    pub fn index_unusable(self, name: &str, reason: &str) -> String {
        self.say(
            format_args!(
                "the index of backup {name} cannot be used ({reason}); its whole archive was read"
            ),
            format_args!("백업 {name}의 색인을 쓸 수 없어({reason}) 아카이브 전체를 읽었습니다"),
        )
    }

    /// Something is odd about an archive.
    #[must_use]
    pub fn archive_is_odd(self, name: &str, oddity: &str) -> String {
        self.say(
            format_args!("backup {name}: {oddity}"),
            format_args!("백업 {name}: {oddity}"),
        )
    }

    /// A lost object of a damaged backup.
    #[must_use]
    pub fn not_exported(self, object: &str) -> String {
        self.say(
            format_args!("not written: {object}"),
            format_args!("쓰지 못했습니다: {object}"),
        )
    }

    /// Objects were written as YAML.
    #[must_use]
    pub fn exported(self, objects: u64, folder: &str) -> String {
        self.say(
            format_args!(
                "{} written to {folder}, readable by you only: Secrets are among them in the clear",
                count(objects, "object", "objects")
            ),
            format_args!(
                "오브젝트 {objects}개를 {folder}에 저장했습니다. Secret 도 그대로 들어 있으므로 본인만 읽을 수 있습니다"
            ),
        )
    }

    /// No backups are there.
    #[must_use]
    pub fn no_backups(self, location: &str) -> String {
        self.say(
            format_args!("no backups in location {location}"),
            format_args!("위치 {location}에 백업이 없습니다"),
        )
    }

    /// A backup without digests was read to its end.
    #[must_use]
    pub fn backup_read(self, name: &str, objects: u64) -> String {
        self.say(
            format_args!(
                "backup {name} can be read to its end: {objects} objects; without digests nothing more can be said"
            ),
            format_args!(
                "백업 {name}{} 끝까지 읽을 수 있습니다. 오브젝트 {objects}개이며, 다이제스트가 없어 더는 확인할 수 없습니다",
                eun(name)
            ),
        )
    }

    /// A backup that does not hold all it should.
    #[must_use]
    pub fn backup_is_incomplete(self, name: &str, phase: &str) -> String {
        self.say(
            format_args!("backup {name} is {phase}: what it lacks is not compared"),
            format_args!("백업 {name}의 상태가 {phase}입니다. 빠진 것은 비교하지 않습니다"),
        )
    }

    /// What deleting a backup removes.
    #[must_use]
    pub fn backup_will_be_deleted(self, name: &str, location: &str, size: &str) -> String {
        self.say(
            format_args!("backup {name} of location {location} ({size}) will be deleted for good"),
            format_args!("위치 {location}의 백업 {name}({size})을 영구히 삭제합니다"),
        )
    }

    /// What goes with a backup that is deleted.
    #[must_use]
    pub fn restores_will_go_too(self, names: &str) -> String {
        self.say(
            format_args!(
                "the records of restores made from it go too: {names}; restored objects stay"
            ),
            format_args!(
                "이 백업으로 한 복원의 기록도 함께 삭제합니다: {names}. 복원된 오브젝트는 그대로 둡니다"
            ),
        )
    }

    /// Copies of a backup that is deleted, which have a life of their own.
    #[must_use]
    pub fn copies_will_stay(self, locations: &str) -> String {
        self.say(
            format_args!("its copies stay and can be restored from: {locations}"),
            format_args!("사본은 그대로 남아 복원에 쓸 수 있습니다: {locations}"),
        )
    }

    /// Snapshots of the storage that a deleted backup leaves there.
    #[must_use]
    pub fn snapshots_stay(self, handles: &str, reason: &str) -> String {
        self.say(
            format_args!("snapshots stay in the storage, and no backup here names them any more: {handles}: {reason}"),
            format_args!("스냅샷이 스토리지에 남고 여기에는 그것을 가리키는 백업이 더는 없습니다: {handles}: {reason}"),
        )
    }

    /// Why snapshots stay: a copy names them.
    #[must_use]
    pub fn snapshots_of_copy(self, location: &str) -> String {
        self.say(
            format_args!("the copy in location {location} needs them"),
            format_args!("위치 {location}의 사본에 필요합니다"),
        )
    }

    /// Why snapshots stay: their cluster is another one.
    #[must_use]
    pub fn snapshots_of_another_cluster(self) -> String {
        self.say(
            format_args!("another cluster took them; delete them there"),
            format_args!("다른 클러스터가 만들었으니 그곳에서 지우세요"),
        )
    }

    /// Why snapshots stay: nobody is there who could delete them.
    #[must_use]
    pub fn no_snapshots_served(self) -> String {
        self.say(
            format_args!(
                "the cluster serves no VolumeSnapshots; delete them by the storage's own means"
            ),
            format_args!("클러스터가 VolumeSnapshot 을 제공하지 않으니 스토리지에서 직접 지우세요"),
        )
    }

    /// Why snapshots stay: no cluster answers.
    #[must_use]
    pub fn no_cluster(self) -> String {
        self.say(
            format_args!("no cluster answers through which their driver could be asked; delete them by the storage's own means"),
            format_args!("드라이버에 요청할 클러스터가 응답하지 않으니 스토리지에서 직접 지우세요"),
        )
    }

    /// Snapshots of the storage stay when a backup is deleted without a server.
    #[must_use]
    pub fn snapshots_will_stay(self, ids: &str) -> String {
        self.say(
            format_args!(
                "its snapshots stay in the storage, as only a server knows whether another backup needs them: {ids}"
            ),
            format_args!(
                "스냅샷은 스토리지에 남습니다. 다른 백업에 필요한지는 서버만 알 수 있습니다: {ids}"
            ),
        )
    }

    /// The delete item actions of the cluster are not asked.
    #[must_use]
    pub fn delete_actions_unknown(self, namespace: &str, reason: &str) -> String {
        self.say(
            format_args!(
                "delete item actions that the cluster may define in namespace `{namespace}` are not asked: {reason}"
            ),
            format_args!(
                "클러스터가 네임스페이스 `{namespace}`에 정의했을 수 있는 삭제 아이템 액션에는 묻지 않습니다: {reason}"
            ),
        )
    }

    /// A backup was deleted.
    #[must_use]
    pub fn backup_deleted(self, name: &str) -> String {
        self.say(
            format_args!("backup {name} deleted"),
            format_args!("백업 {name}{} 삭제했습니다", eul(name)),
        )
    }

    /// Every stored byte is as it was written.
    #[must_use]
    pub fn backup_verified(self, name: &str, files: u64, size: &str) -> String {
        self.say(
            format_args!(
                "backup {name} is intact: {}, {size} read and compared with their digests",
                count(files, "file", "files")
            ),
            format_args!(
                "백업 {name}{} 온전합니다. 파일 {files}개, {size}를 읽어 다이제스트와 비교했습니다",
                eun(name)
            ),
        )
    }

    /// Verification found damage.
    #[must_use]
    pub fn backup_damaged(self, name: &str, findings: u64) -> String {
        self.say(
            format_args!(
                "backup {name} is damaged: {}",
                count(findings, "finding", "findings")
            ),
            format_args!("백업 {name}{} 손상되었습니다. 발견 {findings}건", i(name)),
        )
    }

    /// A file was written for the user.
    #[must_use]
    pub fn written_to(self, what: &str, path: &str, size: &str) -> String {
        self.say(
            format_args!("{what} written to {path} ({size})"),
            format_args!("{what}{} {path}에 저장했습니다({size})", eul(what)),
        )
    }

    /// Nothing differs.
    #[must_use]
    pub fn no_differences(self, same: u64) -> String {
        self.say(
            format_args!(
                "no differences: {} compared",
                count(same, "object", "objects")
            ),
            format_args!("차이 없음: 오브젝트 {same}개를 비교했습니다"),
        )
    }

    /// An object refers to one that the backup does not have.
    #[must_use]
    pub fn reference_missing(self, object: &str, needs: &str) -> String {
        self.say(
            format_args!("{object} refers to {needs}, which is not in the backup"),
            format_args!(
                "{object}{} 백업에 없는 {needs}{} 가리킵니다",
                eun(object),
                eul(needs)
            ),
        )
    }

    /// A backup is being served.
    #[must_use]
    pub fn browsing(self, name: &str) -> String {
        self.say(
            format_args!(
                "backup {name} is served read-only over the Kubernetes API; Ctrl-C ends it"
            ),
            format_args!(
                "백업 {name}{} 읽기 전용 Kubernetes API 로 제공합니다. 끝내려면 Ctrl-C 를 누르세요",
                eul(name)
            ),
        )
    }

    /// What to type next.
    #[must_use]
    pub fn try_this(self) -> String {
        self.say(
            format_args!("in another terminal:"),
            format_args!("다른 터미널에서:"),
        )
    }
}
