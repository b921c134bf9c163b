//! About repositories and file trees.

use super::{Messages, count};

impl Messages {
    /// A repository exists now.
    #[must_use]
    pub fn repository_made(self, place: &str, id: &str) -> String {
        self.say(
            format_args!("repository {id} created at {place}"),
            format_args!("저장소 {id} 생성됨: {place}"),
        )
    }

    /// Without the password nothing comes back.
    #[must_use]
    pub fn keep_the_password(self) -> String {
        self.say(
            format_args!("keep the password where it survives what you protect against: without it nothing can be restored"),
            format_args!("비밀번호를 대비하려는 재해에서도 살아남을 곳에 두세요. 비밀번호가 없으면 아무것도 복원할 수 없습니다"),
        )
    }

    /// Asks for a password.
    #[must_use]
    pub fn type_the_password(self) -> String {
        self.say(
            format_args!("Password of the repository (not shown): "),
            format_args!("저장소 비밀번호 (화면에 표시되지 않음): "),
        )
    }

    /// Asks for a new password once more.
    #[must_use]
    pub fn type_the_password_again(self) -> String {
        self.say(
            format_args!("The same password again: "),
            format_args!("같은 비밀번호를 한 번 더: "),
        )
    }

    /// Before the password of a domain is printed.
    #[must_use]
    pub fn password_will_be_shown(self, domain: &str) -> String {
        self.say(
            format_args!("the password of domain {domain} will be shown; whoever has it can read everything in its repository"),
            format_args!("도메인 {domain}의 비밀번호를 표시합니다. 이 비밀번호가 있으면 해당 저장소의 모든 내용을 읽을 수 있습니다"),
        )
    }

    /// A new key was written.
    #[must_use]
    pub fn key_file_written(self, path: &str) -> String {
        self.say(
            format_args!("key written to {path}"),
            format_args!("키를 {path}에 저장했습니다"),
        )
    }

    /// A password was added.
    #[must_use]
    pub fn key_added(self, key: &str) -> String {
        self.say(
            format_args!("key {key} added"),
            format_args!("키 {key} 추가됨"),
        )
    }

    /// Before a rotation.
    #[must_use]
    pub fn old_password_will_go(self, place: &str) -> String {
        self.say(
            format_args!("the password that opens {place} now will open it no more"),
            format_args!("지금 {place} 을(를) 여는 비밀번호로는 더 이상 열 수 없게 됩니다"),
        )
    }

    /// A new password took the place of an old one.
    #[must_use]
    pub fn key_rotated(self, key: &str, removed: usize) -> String {
        let english = count(removed as u64, "slot", "slots");
        self.say(
            format_args!("key {key} opens the repository; {english} of the old password removed"),
            format_args!(
                "키 {key} (으)로 저장소를 엽니다. 이전 비밀번호의 슬롯 {removed}개 제거됨"
            ),
        )
    }

    /// The old password still opens the repository.
    #[must_use]
    pub fn key_kept(self, key: &str) -> String {
        self.say(
            format_args!("the store lets nobody remove key {key} before its retention is over; until then the old password opens the repository, too: rotate again afterwards"),
            format_args!("보존 기간이 끝나기 전에는 저장소가 키 {key} 의 제거를 허용하지 않아, 그때까지는 이전 비밀번호로도 저장소가 열립니다. 그 뒤에 다시 교체하세요"),
        )
    }

    /// A password was removed.
    #[must_use]
    pub fn key_removed(self, key: &str) -> String {
        self.say(
            format_args!("key {key} removed"),
            format_args!("키 {key} 제거됨"),
        )
    }

    /// What is being done.
    #[must_use]
    pub fn checking_repository(self) -> String {
        self.say(
            format_args!("checking the repository"),
            format_args!("저장소 검사 중"),
        )
    }

    /// Nothing is damaged, as far as was looked.
    #[must_use]
    pub fn repository_whole(
        self,
        snapshots: usize,
        packs: usize,
        blobs: usize,
        read: &str,
    ) -> String {
        self.say(
            format_args!("no damage: {snapshots} snapshots, {packs} packs with {blobs} blobs, {read} of data read"),
            format_args!("손상 없음: 스냅샷 {snapshots}개, 블롭 {blobs}개가 든 팩 {packs}개, 읽은 데이터 {read}"),
        )
    }

    /// Something is damaged.
    #[must_use]
    pub fn repository_damaged(self, snapshots: &str) -> String {
        let known = if snapshots.is_empty() { "-" } else { snapshots };
        self.say(
            format_args!(
                "the repository is damaged; snapshots that are hit, as far as was looked: {known}"
            ),
            format_args!("저장소가 손상되었습니다. 지금까지 확인된, 영향을 받는 스냅샷: {known}"),
        )
    }

    /// What to do about a damaged repository.
    #[must_use]
    pub fn repository_damaged_advice(self) -> String {
        self.say(
            format_args!("with a copy of it, `salvor repo repair --from LOCATION` brings what is damaged; without, `salvor repo repair --read-data` keeps what is whole, and the next backup stores anew what its source still has"),
            format_args!("사본이 있으면 `salvor repo repair --from LOCATION` 이 손상된 것을 가져옵니다. 없으면 `salvor repo repair --read-data` 가 온전한 것을 지키고, 다음 백업이 원본에 남아 있는 것을 다시 저장합니다"),
        )
    }

    /// Snapshots that only the copy has.
    #[must_use]
    pub fn snapshots_absent(self, count: usize, some: &str) -> String {
        self.say(
            format_args!("the copy has {count} snapshots that are not here ({some}): if they were not forgotten on purpose, `salvor backup-location mirror` from the copy to here brings them"),
            format_args!("사본에는 있고 여기에는 없는 스냅샷 {count}개({some}). 일부러 지운 것이 아니면 사본에서 이곳으로 `salvor backup-location mirror` 를 실행해 가져오세요"),
        )
    }

    /// A snapshot that will be removed after the question.
    #[must_use]
    pub fn snapshot_will_go(self, id: &str, time: &str, paths: &str) -> String {
        self.say(
            format_args!("snapshot {id} of {time} will be removed: {paths}"),
            format_args!("스냅샷 {id}({time})을(를) 제거합니다: {paths}"),
        )
    }

    /// Snapshots are gone.
    #[must_use]
    pub fn snapshots_forgotten(self, removed: usize) -> String {
        let english = count(removed as u64, "snapshot", "snapshots");
        self.say(
            format_args!("{english} removed; `salvor repo prune` gives their space back"),
            format_args!("스냅샷 {removed}개 제거됨. 공간은 `salvor repo prune` 이 돌려줍니다"),
        )
    }

    /// What a sweep removed.
    #[must_use]
    pub fn repository_swept(self, packs: usize, bytes: &str, waiting: usize) -> String {
        let english = count(packs as u64, "pack", "packs");
        self.say(
            format_args!("removed {english} ({bytes}) that nothing needs; {waiting} wait for their grace period or the retention of the store"),
            format_args!("아무도 쓰지 않는 팩 {packs}개({bytes}) 제거됨. {waiting}개는 유예 기간이나 저장소의 보존 기간을 기다립니다"),
        )
    }

    /// On a store with a default retention: what is needed is kept for longer.
    #[must_use]
    pub fn retention_extended(self, files: usize) -> String {
        let english = count(files as u64, "file", "files");
        self.say(
            format_args!(
                "{english} that snapshots need: the store keeps them for its whole retention again"
            ),
            format_args!("스냅샷에 필요한 파일 {files}개를 저장소가 보존 기간만큼 다시 지킵니다"),
        )
    }

    /// The store would not do that.
    #[must_use]
    pub fn retention_not_extended(self, why: &str) -> String {
        self.say(
            format_args!("the retention of what snapshots need could not be extended, and what is older than the bucket's default retention can be removed by whoever may write there ({why}): give the location the right s3:PutObjectRetention"),
            format_args!("스냅샷에 필요한 것의 보존 기간을 늘리지 못했습니다. 버킷의 기본 보존 기간보다 오래된 것은 그곳에 쓸 수 있는 누구나 지울 수 있습니다({why}). 위치에 s3:PutObjectRetention 권한을 주세요"),
        )
    }

    /// What a mark found.
    #[must_use]
    pub fn repository_marked(self, packs: usize, bytes: &str, days: u32) -> String {
        let english = count(packs as u64, "pack", "packs");
        self.say(
            format_args!("marked {english} ({bytes}); a prune in {days} days or later removes what nothing needs then"),
            format_args!("팩 {packs}개({bytes}) 표시됨. {days}일 뒤부터의 prune 이 그때도 쓰이지 않는 것을 제거합니다"),
        )
    }

    /// Locks are gone.
    #[must_use]
    pub fn locks_removed(self, removed: usize) -> String {
        let english = count(removed as u64, "lock", "locks");
        self.say(
            format_args!("{english} removed"),
            format_args!("잠금 {removed}개 제거됨"),
        )
    }

    /// A lock that may be somebody's.
    #[must_use]
    pub fn lock_left(self, holder: &str) -> String {
        self.say(
            format_args!("left: the lock of {holder}; it ends by itself half an hour after its last refresh, --remove-all removes it now"),
            format_args!("남김: {holder} 의 잠금. 마지막 갱신 30분 뒤 저절로 끝나며, --remove-all 은 지금 제거합니다"),
        )
    }

    /// What to do after something was lost.
    #[must_use]
    pub fn back_up_again(self, lost: usize) -> String {
        self.say(
            format_args!("{lost} damaged pieces are out of the index: back the source up again now; content that is still the same is stored again, and heals earlier snapshots, too"),
            format_args!("손상된 조각 {lost}개를 색인에서 뺐습니다. 지금 원본을 다시 백업하세요. 그대로 남아 있는 내용은 다시 저장되어 예전 스냅샷도 되살립니다"),
        )
    }

    /// A pack whose header cannot be read.
    #[must_use]
    pub fn pack_unreadable(self, pack: &str) -> String {
        self.say(
            format_args!("pack {pack} cannot be read; what is in it is lost unless another copy has it"),
            format_args!("팩 {pack}을(를) 읽을 수 없습니다. 다른 사본에 없으면 그 안의 데이터는 잃은 것입니다"),
        )
    }

    /// A file of the repository that cannot be read, without which the work went on.
    #[must_use]
    pub fn left_out_of_repository(self, file: &str, why: &str) -> String {
        self.say(
            format_args!("{file} of the repository cannot be read and was passed over: {why}; see `salvor repo check`, and mend it with `salvor repo repair`"),
            format_args!("저장소의 {file}을(를) 읽을 수 없어 건너뛰었습니다: {why}. `salvor repo check` 로 확인하고 `salvor repo repair` 로 고치세요"),
        )
    }

    /// The newest snapshots are known to lack data; with `older`, one before them is taken.
    #[must_use]
    pub fn latest_lacks_data(self, older: bool) -> String {
        match older {
            true => self.say(
                format_args!("newer snapshots lack data and are passed over; `salvor repo check --depth data` looks again"),
                format_args!("더 새로운 스냅샷에는 빠진 데이터가 있어 건너뛰었습니다. `salvor repo check --depth data` 로 다시 확인하세요"),
            ),
            false => self.say(
                format_args!("every snapshot lacks data, also the one that is taken; `salvor repo check --depth data` looks again"),
                format_args!("선택한 스냅샷을 포함해 모든 스냅샷에 빠진 데이터가 있습니다. `salvor repo check --depth data` 로 다시 확인하세요"),
            ),
        }
    }

    /// What opens a repository came from a copy.
    #[must_use]
    pub fn head_brought(self, files: &str) -> String {
        self.say(
            format_args!("brought from the copy, without which nothing opens: {files}"),
            format_args!("없으면 저장소를 열 수 없어 사본에서 가져온 파일: {files}"),
        )
    }

    /// A key slot that cannot be read.
    #[must_use]
    pub fn key_unreadable(self, key: &str, why: &str) -> String {
        self.say(
            format_args!("key {key} cannot be read: {why}; its password opens nothing any more, `salvor repo key remove {key}` removes it"),
            format_args!("키 {key}을(를) 읽을 수 없습니다: {why}. 그 비밀번호로는 더 이상 열리지 않으며, `salvor repo key remove {key}` 로 제거합니다"),
        )
    }

    /// A file in the folder of snapshots that cannot be read.
    #[must_use]
    pub fn snapshot_unreadable(self, id: &str, why: &str) -> String {
        self.say(
            format_args!("snapshot {id} cannot be read: {why}; `salvor repo repair --from LOCATION` brings it from a copy, `salvor repo repair --set-aside-snapshots` gives it up, and nothing is pruned until then"),
            format_args!("스냅샷 {id}을(를) 읽을 수 없습니다: {why}. `salvor repo repair --from 위치` 는 사본에서 되찾고, `salvor repo repair --set-aside-snapshots` 는 포기합니다. 그때까지는 아무것도 prune 하지 않습니다"),
        )
    }

    /// A snapshot that cannot be read and will be removed after the question.
    #[must_use]
    pub fn damaged_snapshot_will_go(self, id: &str) -> String {
        self.say(
            format_args!("snapshot {id}, which cannot be read, will be removed"),
            format_args!("읽을 수 없는 스냅샷 {id}을(를) 제거합니다"),
        )
    }

    /// Snapshots that could not be read were given up.
    #[must_use]
    pub fn snapshots_set_aside(self, moved: usize) -> String {
        let english = count(moved as u64, "snapshot", "snapshots");
        self.say(
            format_args!(
                "{english} that could not be read moved to salvor/set-aside in the repository"
            ),
            format_args!("읽을 수 없는 스냅샷 {moved}개를 저장소의 salvor/set-aside 로 옮겼습니다"),
        )
    }

    /// Snapshots came from a copy.
    #[must_use]
    pub fn snapshots_brought(self, brought: usize) -> String {
        let english = count(brought as u64, "snapshot", "snapshots");
        self.say(
            format_args!("{english} brought from the copy"),
            format_args!("사본에서 스냅샷 {brought}개를 가져왔습니다"),
        )
    }

    /// Damaged packs are out of the index.
    #[must_use]
    pub fn packs_taken_out(self, packs: usize, saved: &str) -> String {
        let english = count(packs as u64, "damaged pack", "damaged packs");
        self.say(
            format_args!("{english} taken out of the index, after {saved} that were whole were copied; `salvor repo prune` removes the files later"),
            format_args!("온전한 {saved} 를 옮긴 뒤 손상된 팩 {packs}개를 색인에서 뺐습니다. 파일은 나중에 `salvor repo prune` 이 제거합니다"),
        )
    }

    /// What a repair of the index did.
    #[must_use]
    pub fn index_repaired(self, added: usize, dropped: usize, unreadable: usize) -> String {
        self.say(
            format_args!("index made again: {added} packs added, {dropped} missing packs dropped, {unreadable} unreadable index files removed"),
            format_args!("색인을 다시 만들었습니다: 팩 {added}개 추가, 없는 팩 {dropped}개 제외, 읽을 수 없는 색인 파일 {unreadable}개 제거"),
        )
    }

    /// What is being done.
    #[must_use]
    pub fn backing_up_files(self) -> String {
        self.say(
            format_args!("backing up files"),
            format_args!("파일 백업 중"),
        )
    }

    /// What is being done.
    #[must_use]
    pub fn restoring_files(self) -> String {
        self.say(
            format_args!("restoring files"),
            format_args!("파일 복원 중"),
        )
    }

    /// An entry that is missing from a snapshot.
    #[must_use]
    pub fn not_backed_up(self, path: &str, why: &str) -> String {
        self.say(
            format_args!("not backed up: {path}: {why}"),
            format_args!("백업되지 않음: {path}: {why}"),
        )
    }

    /// A file that was written to while it was read.
    #[must_use]
    pub fn changed_while_read(self, path: &str, why: &str) -> String {
        self.say(
            format_args!(
                "changed while it was read, so what is stored may mix two states: {path}: {why}"
            ),
            format_args!("읽는 동안 바뀌어 두 상태가 섞였을 수 있음: {path}: {why}"),
        )
    }

    /// An entry that is not as it was.
    #[must_use]
    pub fn not_restored(self, path: &str, why: &str) -> String {
        self.say(
            format_args!("not restored: {path}: {why}"),
            format_args!("복원되지 않음: {path}: {why}"),
        )
    }

    /// A snapshot was written.
    #[must_use]
    pub fn snapshot_written(self, id: &str, files: u64, size: &str, added: &str) -> String {
        let english = count(files, "file", "files");
        self.say(
            format_args!("snapshot {id}: {english}, {size}; {added} stored"),
            format_args!("스냅샷 {id}: 파일 {files}개, {size}. 저장한 양 {added}"),
        )
    }

    /// How many entries are missing.
    #[must_use]
    pub fn entries_missing(self, missing: u64) -> String {
        let english = count(missing, "entry is", "entries are");
        self.say(
            format_args!("{english} missing or not as they were"),
            format_args!("{missing}개 항목이 없거나 원래와 다릅니다"),
        )
    }

    /// What a restore in place does, before the question.
    #[must_use]
    pub fn will_be_overwritten(self, target: &str, snapshot: &str) -> String {
        self.say(
            format_args!("files in {target} will be brought to the state of snapshot {snapshot}"),
            format_args!("{target} 의 파일을 스냅샷 {snapshot} 의 상태로 되돌립니다"),
        )
    }

    /// What a restore in place removes, before the question: some by name, and how many more.
    #[must_use]
    pub fn will_be_removed(self, entries: usize, some: &str, more: usize) -> String {
        let english = count(entries as u64, "entry", "entries");
        let (and, others) = match more {
            0 => (String::new(), String::new()),
            more => (format!(" and {more} more"), format!(" 외 {more}개")),
        };
        self.say(
            format_args!("{english} that the snapshot does not have will be removed: {some}{and}"),
            format_args!("스냅샷에 없는 항목 {entries}개를 제거합니다: {some}{others}"),
        )
    }

    /// A directory that goes with what is below it: how many entries, or too many to be counted.
    #[must_use]
    pub fn with_what_is_below(self, path: &str, below: Option<u64>) -> String {
        match below {
            Some(below) => {
                let english = count(below, "entry", "entries");
                self.say(
                    format_args!("{path} (with {english} in it)"),
                    format_args!("{path} (안의 항목 {below}개 포함)"),
                )
            }
            None => self.say(
                format_args!("{path} (with everything in it)"),
                format_args!("{path} (안의 모든 항목 포함)"),
            ),
        }
    }

    /// Something extra that stays because it is on another file system.
    #[must_use]
    pub fn not_removed(self, path: &str) -> String {
        self.say(
            format_args!("not removed: {path}: it is on another file system than the target"),
            format_args!("제거하지 않음: {path}: 대상과 다른 파일 시스템에 있습니다"),
        )
    }

    /// A snapshot from which entries are missing, before it is restored.
    #[must_use]
    pub fn snapshot_lacks(self, missing: u64) -> String {
        let english = count(missing, "entry", "entries");
        self.say(
            format_args!("{english} could not be read when this snapshot was made and will not come back from it"),
            format_args!("이 스냅샷을 만들 때 {missing}개 항목을 읽지 못했으며, 그 항목은 이 스냅샷에서 되돌아오지 않습니다"),
        )
    }

    /// A restore ended.
    #[must_use]
    pub fn files_restored(self, files: u64, directories: u64, bytes: &str, target: &str) -> String {
        let english = count(files, "file", "files");
        let folders = count(directories, "directory", "directories");
        self.say(
            format_args!("{english} and {folders} restored into {target}; {bytes} written"),
            format_args!(
                "{target} 에 파일 {files}개와 디렉터리 {directories}개 복원됨. 쓴 양 {bytes}"
            ),
        )
    }

    /// Sockets are not restored.
    #[must_use]
    pub fn sockets_left_out(self, sockets: u64) -> String {
        let english = count(sockets, "socket", "sockets");
        self.say(
            format_args!("{english} left out: only the program that listens can make them"),
            format_args!("소켓 {sockets}개는 제외됨. 듣는 프로그램만 만들 수 있습니다"),
        )
    }
}
