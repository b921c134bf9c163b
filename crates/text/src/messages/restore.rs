//! About restores.

use super::{Messages, count};
use crate::particle::{eul, eun};

impl Messages {
    /// No restores are there.
    #[must_use]
    pub fn no_restores(self, location: &str) -> String {
        self.say(
            format_args!("no restores in location {location}"),
            format_args!("위치 {location}에 복원 기록이 없습니다"),
        )
    }

    /// What deleting a restore removes.
    #[must_use]
    pub fn restore_will_be_deleted(self, name: &str, location: &str) -> String {
        self.say(
            format_args!(
                "the record of restore {name} in location {location} will be deleted; restored objects stay"
            ),
            format_args!(
                "위치 {location}의 복원 기록 {name}{} 삭제합니다. 복원된 오브젝트는 그대로 둡니다",
                eul(name)
            ),
        )
    }

    /// A restore's record was deleted.
    #[must_use]
    pub fn restore_deleted(self, name: &str) -> String {
        self.say(
            format_args!("restore {name} deleted"),
            format_args!("복원 기록 {name}{} 삭제했습니다", eul(name)),
        )
    }

    /// A restore ended well.
    #[must_use]
    pub fn restore_completed(self, name: &str, counts: &str, took: &str) -> String {
        self.say(
            format_args!("restore {name} completed: {counts}, {took}"),
            format_args!("복원 {name} 완료: {counts}, {took}"),
        )
    }

    /// A restore found everything in place.
    #[must_use]
    pub fn restore_changed_nothing(self, name: &str, took: &str) -> String {
        self.say(
            format_args!("restore {name} completed: nothing had to be changed, {took}"),
            format_args!("복원 {name} 완료: 바꿀 것이 없었습니다, {took}"),
        )
    }

    /// Objects would be deleted and made anew.
    #[must_use]
    pub fn will_be_recreated(self, objects: u64) -> String {
        self.say(
            format_args!(
                "{} will be deleted and created anew:",
                count(objects, "object", "objects")
            ),
            format_args!("오브젝트 {objects}개를 삭제하고 새로 만듭니다:"),
        )
    }

    /// What was to be undeleted is there.
    #[must_use]
    pub fn nothing_to_undelete(self) -> String {
        self.say(
            format_args!("nothing to do: all of it is in the cluster"),
            format_args!("할 일이 없습니다. 모두 클러스터에 있습니다"),
        )
    }

    /// A restore went through, but not for every object.
    #[must_use]
    pub fn restore_partial(self, name: &str, errors: u64, warnings: u64) -> String {
        self.say(
            format_args!(
                "restore {name} is partially failed: {}, {}",
                count(errors, "error", "errors"),
                count(warnings, "warning", "warnings")
            ),
            format_args!("복원 {name} 일부 실패: 오류 {errors}건, 경고 {warnings}건"),
        )
    }

    /// The object of a restore could not be told what came of going on with it.
    #[must_use]
    pub fn restore_object_not_told(self, name: &str) -> String {
        self.say(
            format_args!("the object of restore {name} still says what its first run came to"),
            format_args!("복원 {name} 의 오브젝트에는 아직 첫 실행의 결과가 남아 있음"),
        )
    }

    /// A restore was stopped by its user.
    #[must_use]
    pub fn restore_cancelled(self, name: &str) -> String {
        self.say(
            format_args!("restore {name} was cancelled; go on with: salvor restore create {name} --resume"),
            format_args!(
                "복원 {name}{} 취소되었습니다. 이어서 하려면: salvor restore create {name} --resume",
                eun(name)
            ),
        )
    }

    /// A restore that has not ended and that no run is at work on.
    #[must_use]
    pub fn restore_stopped(self, name: &str) -> String {
        self.say(
            format_args!("restore {name} has stopped before its end; go on with: salvor restore create {name} --resume"),
            format_args!(
                "복원 {name}{} 끝나기 전에 멈췄습니다. 이어서 하려면: salvor restore create {name} --resume",
                eun(name)
            ),
        )
    }

    /// The backup is of another cluster than the one it would be restored into.
    #[must_use]
    pub fn other_cluster(self, backup: &str, source: &str, target: &str) -> String {
        self.say(
            format_args!(
                "backup {backup} was taken from cluster {source}, but the target is cluster {target}: \
                 this is a migration, not a recovery in place"
            ),
            format_args!(
                "백업 {backup}{} 클러스터 {source}에서 만든 것이지만 대상은 클러스터 {target}입니다. \
                 제자리 복구가 아니라 이전(migration)입니다",
                eun(backup)
            ),
        )
    }

    /// Nothing to do, said after a plan.
    #[must_use]
    pub fn dry_run(self) -> String {
        self.say(
            format_args!("dry run: nothing was changed"),
            format_args!("미리 보기입니다. 아무것도 바꾸지 않았습니다"),
        )
    }

    /// What undelete is about to do.
    #[must_use]
    pub fn undelete_preview(self, object: &str, backup: &str) -> String {
        self.say(
            format_args!("{object} comes back from backup {backup} with:"),
            format_args!(
                "{object}{} 백업 {backup}에서 다음과 함께 되살립니다:",
                eul(object)
            ),
        )
    }

    /// A damaged backup is read as far as it can be.
    #[must_use]
    pub fn damaged_is_left_out(self, backup: &str, damage: &str) -> String {
        self.say(
            format_args!("backup {backup} is read without what is damaged in it: {damage}"),
            format_args!("백업 {backup}에서 손상된 부분을 빼고 읽습니다: {damage}"),
        )
    }

    /// The record of a restore cannot stand beside its backup.
    #[must_use]
    pub fn record_goes_elsewhere(
        self,
        location: &str,
        reason: &str,
        folder: &str,
        restore: &str,
    ) -> String {
        self.say(
            format_args!(
                "location {location} cannot be written ({reason}); the record of this restore goes to \
                 {folder}: salvor restore describe {restore} --location {folder}"
            ),
            format_args!(
                "위치 {location}에 쓸 수 없어({reason}) 이 복원의 기록을 {folder}에 남깁니다: \
                 salvor restore describe {restore} --location {folder}"
            ),
        )
    }

    /// Records that stand in the folder of this user.
    #[must_use]
    pub fn records_elsewhere(self, restores: u64, location: &str, folder: &str) -> String {
        self.say(
            format_args!(
                "{} from location {location} could not be recorded there: salvor restore get --location {folder}",
                count(restores, "restore", "restores")
            ),
            format_args!(
                "위치 {location}에 기록하지 못한 복원이 {restores}건 있습니다: salvor restore get --location {folder}"
            ),
        )
    }
}
