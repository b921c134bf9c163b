//! About copies, mirrors, repairs and plain files.

use super::{Messages, count};
use crate::particle::{eul, eun, i};

impl Messages {
    /// A backup was copied.
    #[must_use]
    pub fn backup_copied(self, name: &str, location: &str, size: &str, took: &str) -> String {
        self.say(
            format_args!("backup {name} copied to {location}: {size}, {took}"),
            format_args!(
                "백업 {name}{} {location}에 복사했습니다: {size}, {took}",
                eul(name)
            ),
        )
    }

    /// A backup was there already.
    #[must_use]
    pub fn copy_is_there(self, name: &str, location: &str) -> String {
        self.say(
            format_args!("backup {name} is in {location} already; nothing was sent"),
            format_args!(
                "백업 {name}{} 이미 {location}에 있습니다. 보낸 것이 없습니다",
                eun(name)
            ),
        )
    }

    /// A backup could not be copied.
    #[must_use]
    pub fn copy_failed(self, name: &str, location: &str, reason: &str) -> String {
        self.say(
            format_args!("backup {name} was not copied to {location}: {reason}"),
            format_args!(
                "백업 {name}{} {location}에 복사하지 못했습니다: {reason}",
                eul(name)
            ),
        )
    }

    /// One loss takes both.
    #[must_use]
    pub fn copy_is_near(self, location: &str, what: &str) -> String {
        self.say(
            format_args!(
                "the copy in {location} shares {what} with the original: one loss takes both"
            ),
            format_args!(
                "{location}의 사본은 원본과 {what}{} 함께 씁니다. 하나를 잃으면 둘 다 잃습니다",
                eul(what)
            ),
        )
    }

    /// The rule of copies is not met.
    #[must_use]
    pub fn copy_rule_not_met(self, name: &str, rule: &str, there: usize, asked: usize) -> String {
        self.say(
            format_args!("backup {name} has {there} of {asked} copies; its rule is `{rule}`"),
            format_args!(
                "백업 {name}의 사본은 {asked}개 중 {there}개입니다. 규칙은 `{rule}`입니다"
            ),
        )
    }

    /// Nobody asked for copies and none is known.
    #[must_use]
    pub fn no_copies(self, name: &str) -> String {
        self.say(
            format_args!("backup {name} has no copies that are known here, and none was asked for"),
            format_args!("백업 {name}의 사본은 알려진 것도 요청된 것도 없습니다"),
        )
    }

    /// What a mirror is about to do.
    #[must_use]
    pub fn mirror_begins(self, steps: u64, size: &str, estimate: &str) -> String {
        self.say(
            format_args!(
                "{} to bring over, {size}{estimate}",
                count(steps, "backup or restore", "backups and restores")
            ),
            format_args!("옮길 백업과 복원 기록 {steps}개, {size}{estimate}"),
        )
    }

    /// How long a transfer takes, as part of a sentence.
    #[must_use]
    pub fn transfer_estimate(self, time: &str, rate: &str) -> String {
        self.say(
            format_args!("; about {time} at {rate}/s"),
            format_args!(", 약 {time} 예상(초당 {rate})"),
        )
    }

    /// Folders that no mirror takes along.
    #[must_use]
    pub fn mirror_leaves_folders(self, folders: &str) -> String {
        self.say(
            format_args!("not part of the mirror: {folders}; volume data in it must be copied by the tool that wrote it"),
            format_args!("미러에 포함되지 않습니다: {folders}. 그 안의 볼륨 데이터는 만든 도구로 복사해야 합니다"),
        )
    }

    /// A backup or restore that a mirror leaves out.
    #[must_use]
    pub fn mirror_leaves(self, name: &str, reason: &str) -> String {
        self.say(
            format_args!("{name} is left out: {reason}"),
            format_args!("{name}{} 제외합니다: {reason}", eul(name)),
        )
    }

    /// Backups that a mirror removes.
    #[must_use]
    pub fn mirror_removes(self, names: &str, location: &str) -> String {
        self.say(
            format_args!("gone at the source, and removed from {location}: {names}"),
            format_args!("원본에 없어 {location}에서 삭제할 백업: {names}"),
        )
    }

    /// Others are writing what a mirror would write.
    #[must_use]
    pub fn waiting_for_writers(self, backups: u64) -> String {
        self.say(
            format_args!(
                "waiting: another run writes {}, or died less than three minutes ago",
                count(backups, "backup", "backups")
            ),
            format_args!(
                "대기 중: 다른 실행이 백업 {backups}개를 쓰고 있거나, 중단된 지 3분이 지나지 않았습니다"
            ),
        )
    }

    /// A mirror is done.
    #[must_use]
    pub fn mirror_done(self, done: u64, size: &str, took: &str) -> String {
        self.say(
            format_args!(
                "mirror done: {} brought over, {size}, {took}",
                count(done, "backup or restore", "backups and restores")
            ),
            format_args!("미러 완료: 백업과 복원 기록 {done}개, {size}, {took}"),
        )
    }

    /// Nothing was to be done.
    #[must_use]
    pub fn mirror_is_current(self) -> String {
        self.say(
            format_args!("everything is there already"),
            format_args!("모두 이미 있습니다"),
        )
    }

    /// A file of a backup was replaced.
    #[must_use]
    pub fn file_repaired(self, file: &str, was: &str, from: &str) -> String {
        self.say(
            format_args!("{file}: replaced by the copy in {from} ({was})"),
            format_args!("{file}: {from}의 사본으로 바꾸었습니다({was})"),
        )
    }

    /// A file of a backup could not be replaced.
    #[must_use]
    pub fn file_lost(self, file: &str, was: &str, tried: &str) -> String {
        self.say(
            format_args!("{file}: lost ({was}); tried: {tried}"),
            format_args!("{file}: 복구하지 못했습니다({was}). 시도: {tried}"),
        )
    }

    /// A backup is whole.
    #[must_use]
    pub fn backup_whole(self, name: &str, sound: u64, replaced: u64) -> String {
        self.say(
            format_args!(
                "backup {name} is whole: {} right, {replaced} replaced",
                count(sound, "file", "files")
            ),
            format_args!(
                "백업 {name}{} 온전합니다. 맞는 파일 {sound}개, 바꾼 파일 {replaced}개",
                eun(name)
            ),
        )
    }

    /// A backup stays damaged.
    #[must_use]
    pub fn backup_not_whole(self, name: &str, lost: u64) -> String {
        self.say(
            format_args!(
                "backup {name} is still damaged: {} could not be replaced",
                count(lost, "file", "files")
            ),
            format_args!(
                "백업 {name}{} 아직 손상되어 있습니다. 바꾸지 못한 파일 {lost}개",
                i(name)
            ),
        )
    }

    /// What a folder holds.
    #[must_use]
    pub fn folder_has(self, files: u64, size: &str) -> String {
        self.say(
            format_args!("{}, {size}", count(files, "file", "files")),
            format_args!("파일 {files}개, {size}"),
        )
    }

    /// A folder was brought into a location.
    #[must_use]
    pub fn folder_mirrored(self, tree: &str, files: u64, size: &str, sent: &str) -> String {
        self.say(
            format_args!(
                "folder kept as {tree}: {}, {size}; {sent} sent",
                count(files, "file", "files")
            ),
            format_args!(
                "폴더를 {tree}{} 보관했습니다: 파일 {files}개, {size}. 보낸 양 {sent}",
                "(으)로"
            ),
        )
    }

    /// Files that could not be taken.
    #[must_use]
    pub fn files_missing(self, missing: u64) -> String {
        self.say(
            format_args!("{} could not be taken", count(missing, "entry", "entries")),
            format_args!("담지 못한 항목 {missing}개"),
        )
    }

    /// Files were written back.
    #[must_use]
    pub fn files_written(self, files: u64, size: &str, folder: &str) -> String {
        self.say(
            format_args!(
                "{}, {size}, written to {folder}",
                count(files, "file", "files")
            ),
            format_args!("파일 {files}개, {size}{} {folder}에 썼습니다", eul(size)),
        )
    }

    /// Files of a tree were read and compared.
    #[must_use]
    pub fn tree_verified(self, tree: &str, files: u64, size: &str) -> String {
        self.say(
            format_args!(
                "{tree} is intact: {}, {size} read and compared with their digests",
                count(files, "file", "files")
            ),
            format_args!(
                "{tree}{} 온전합니다. 파일 {files}개, {size}를 읽어 다이제스트와 비교했습니다",
                eun(tree)
            ),
        )
    }

    /// A tree goes, with all its generations.
    #[must_use]
    pub fn tree_will_go(self, tree: &str, generations: u64) -> String {
        self.say(
            format_args!(
                "{tree} goes with {}",
                count(generations, "generation", "generations")
            ),
            format_args!("{tree}{} 세대 {generations}개와 함께 삭제합니다", eul(tree)),
        )
    }

    /// A tree is gone.
    #[must_use]
    pub fn tree_deleted(self, tree: &str) -> String {
        self.say(
            format_args!("{tree} deleted"),
            format_args!("{tree}{} 삭제했습니다", eul(tree)),
        )
    }

    /// What a verification found could not be written down.
    #[must_use]
    pub fn verdict_not_recorded(self, name: &str, reason: &str) -> String {
        self.say(
            format_args!(
                "what was found about backup {name} is not written down in the location: {reason}"
            ),
            format_args!("백업 {name}의 검증 결과를 위치에 기록하지 못했습니다: {reason}"),
        )
    }

    /// A backup that failed its verification is passed over.
    #[must_use]
    pub fn damaged_is_passed_over(self, name: &str) -> String {
        self.say(
            format_args!("backup {name} is passed over: its last verification found damage (repair it with `salvor backup repair {name}`, or name it)"),
            format_args!("백업 {name}{} 건너뜁니다. 마지막 검증에서 손상이 발견되었습니다(`salvor backup repair {name}`{} 복구하거나 이름을 직접 지정하십시오)", eul(name), "로"),
        )
    }
}
