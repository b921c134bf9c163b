//! About snapshots of etcd.

use super::{Messages, count};

impl Messages {
    /// The file is no snapshot but a copied database.
    #[must_use]
    pub fn etcd_no_digest(self) -> String {
        self.say(
            format_args!("the file has no digest at its end: nothing says that it is whole"),
            format_args!("파일 끝에 다이제스트가 없어 온전한지 확인할 수 없습니다"),
        )
    }

    /// Which revisions a snapshot can show.
    #[must_use]
    pub fn etcd_reach(self, shown: u64, from: u64, to: u64) -> String {
        self.say(
            format_args!("revision {shown}; revisions {from} to {to} can be shown"),
            format_args!("리비전 {shown}. 볼 수 있는 리비전은 {from}~{to}입니다"),
        )
    }

    /// Some values are encrypted at rest.
    #[must_use]
    pub fn etcd_encrypted(self, providers: &str) -> String {
        self.say(
            format_args!(
                "some values are encrypted at rest ({providers}): keep the encryption configuration or the KMS key, without which nobody reads them"
            ),
            format_args!(
                "일부 값은 저장 시 암호화되어 있습니다({providers}). 암호화 설정 파일이나 KMS 키가 없으면 아무도 읽을 수 없으므로 따로 보관하세요"
            ),
        )
    }

    /// An object is shown in part, or raw.
    #[must_use]
    pub fn etcd_not_whole(self, name: &str, problem: &str) -> String {
        self.say(
            format_args!("{name} is not shown whole: {problem}"),
            format_args!("{name}: 전체를 표시하지 못했습니다: {problem}"),
        )
    }

    /// More objects that cannot be read.
    #[must_use]
    pub fn etcd_more_unreadable(self, more: u64) -> String {
        self.say(
            format_args!(
                "and {} that cannot be read",
                count(more, "more object", "more objects")
            ),
            format_args!("그 밖에 읽을 수 없는 객체 {more}개"),
        )
    }

    /// An object may have been there before.
    #[must_use]
    pub fn etcd_look_back(self, command: &str) -> String {
        self.say(
            format_args!("whether it was there before: {command}"),
            format_args!("이전에 있었는지 확인하려면: {command}"),
        )
    }

    /// Findings that are not listed.
    #[must_use]
    pub fn etcd_more_findings(self, more: u64) -> String {
        self.say(
            format_args!("and {}", count(more, "more finding", "more findings")),
            format_args!("외 {more}건"),
        )
    }

    /// A folder that an earlier restore left.
    #[must_use]
    pub fn etcd_leftover(self, folder: &str) -> String {
        self.say(
            format_args!(
                "{folder} was left by a restore that did not end: look at it and remove it"
            ),
            format_args!(
                "{folder}: 끝나지 않은 복원이 남긴 폴더입니다. 내용을 확인한 뒤 삭제하세요"
            ),
        )
    }

    /// A data directory was made.
    #[must_use]
    pub fn etcd_restored(self, folder: &str, member: &str, cluster: &str, revision: u64) -> String {
        self.say(
            format_args!(
                "restored to {folder}: member {member} of cluster {cluster}, revision {revision}"
            ),
            format_args!(
                "{folder}에 복원했습니다: 멤버 {member}, 클러스터 {cluster}, 리비전 {revision}"
            ),
        )
    }

    /// The revision was raised.
    #[must_use]
    pub fn etcd_raised(self, revision: u64) -> String {
        self.say(
            format_args!("revision raised to {revision}, and everything before it marked as compacted: clients that cache by revision begin anew"),
            format_args!("리비전을 {revision}(으)로 올리고 그 이전은 압축된 것으로 표시했습니다. 리비전으로 캐시하는 클라이언트는 처음부터 다시 읽습니다"),
        )
    }

    /// Alarms that were not taken over.
    #[must_use]
    pub fn etcd_alarms_left_out(self, alarms: u64) -> String {
        self.say(
            format_args!(
                "{} of the old members left out",
                count(alarms, "alarm", "alarms")
            ),
            format_args!("이전 멤버의 경보 {alarms}건은 가져오지 않았습니다"),
        )
    }

    /// What was there before.
    #[must_use]
    pub fn etcd_kept(self, folder: &str) -> String {
        self.say(
            format_args!("what was there is kept as {folder}"),
            format_args!("이전 내용은 {folder}에 보관했습니다"),
        )
    }

    /// A snapshot was saved.
    #[must_use]
    pub fn etcd_saved(self, file: &str, endpoint: &str) -> String {
        self.say(
            format_args!("snapshot of {endpoint} verified and saved to {file}"),
            format_args!("{endpoint}의 스냅샷을 검증하고 {file}에 저장했습니다"),
        )
    }

    /// How a full is opened without Salvor.
    #[must_use]
    pub fn etcd_without_us(self, object: &str) -> String {
        let line = format!("age -d -i AGE-KEY {object} | zstd -d > snapshot.db");
        self.say(
            format_args!(
                "without Salvor: {line}, then etcdutl snapshot restore snapshot.db --data-dir DIR (guide: docs/guides/etcd.md)"
            ),
            format_args!(
                "Salvor 없이 열기: {line} 다음에 etcdutl snapshot restore snapshot.db --data-dir DIR (안내서: docs/guides/ko/etcd.md)"
            ),
        )
    }

    /// A snapshot became a recovery point.
    #[must_use]
    pub fn etcd_saved_point(
        self,
        endpoint: &str,
        point: &str,
        location: &str,
        object: &str,
    ) -> String {
        self.say(
            format_args!(
                "snapshot of {endpoint} verified and committed as point {point} in location {location} ({object})"
            ),
            format_args!(
                "{endpoint}의 스냅샷을 검증하고 위치 {location}에 복구 지점 {point}(으)로 저장했습니다 ({object})"
            ),
        )
    }

    /// The object of a point was compared and not opened.
    #[must_use]
    pub fn etcd_not_opened(self) -> String {
        self.say(
            format_args!(
                "the object has the length and SHA-256 of its record; it was not opened: that takes --identity"
            ),
            format_args!(
                "객체의 길이와 SHA-256이 기록과 같습니다. 내용을 열어 보려면 --identity가 필요합니다"
            ),
        )
    }

    /// An encrypted point cannot be restored without an identity.
    #[must_use]
    pub fn etcd_identity_needed(self) -> String {
        self.say(
            format_args!("the point is encrypted to the recipients of its location: name the file with the identity of one with --identity"),
            format_args!("복구 지점이 위치의 수신자에게 암호화되어 있습니다. 수신자의 신원 파일을 --identity로 지정하세요"),
        )
    }

    /// Fetching was stopped.
    #[must_use]
    pub fn etcd_fetch_stopped(self) -> String {
        self.say(
            format_args!("stopped while the snapshot was fetched; nothing was written"),
            format_args!("스냅샷을 가져오는 중에 중단했습니다. 아무것도 쓰지 않았습니다"),
        )
    }

    /// Another capture has the place.
    #[must_use]
    pub fn etcd_standby(self, why: &str) -> String {
        self.say(
            format_args!("on standby: {why}"),
            format_args!("대기 중: {why}"),
        )
    }

    /// A chain of captured changes begins.
    #[must_use]
    pub fn etcd_chain_begun(self, chain: &str, reason: &str, start: u64) -> String {
        self.say(
            format_args!(
                "chain {chain} begins ({reason}): changes are captured from revision {start} on"
            ),
            format_args!(
                "체인 {chain}을(를) 시작합니다({reason}): 리비전 {start}부터 변경을 캡처합니다"
            ),
        )
    }

    /// A chain is gone on with.
    #[must_use]
    pub fn etcd_chain_resumed(self, chain: &str, next: u64) -> String {
        self.say(
            format_args!("chain {chain} goes on with revision {next}"),
            format_args!("체인 {chain}을(를) 리비전 {next}부터 이어 갑니다"),
        )
    }

    /// The base of a chain is committed.
    #[must_use]
    pub fn etcd_base(self, point: &str, revision: u64) -> String {
        self.say(
            format_args!("base {point} committed at revision {revision}"),
            format_args!("기준 스냅샷 {point}을(를) 리비전 {revision}에서 저장했습니다"),
        )
    }

    /// A capture failed and tries again.
    #[must_use]
    pub fn etcd_trouble(self, why: &str) -> String {
        self.say(
            format_args!("trying again: {why}"),
            format_args!("다시 시도합니다: {why}"),
        )
    }

    /// A capture was stopped.
    #[must_use]
    pub fn etcd_stream_stopped(self, revision: u64, changes: u64, lag: f64) -> String {
        self.say(
            format_args!("stopped: captured up to revision {revision}, {} in this run, written after at most {lag:.2} s",
                count(changes, "change", "changes")),
            format_args!("중단했습니다: 리비전 {revision}까지 캡처, 이번 실행에서 변경 {changes}건, 기록까지 최대 {lag:.2}초"),
        )
    }

    /// What a restore is made of.
    #[must_use]
    pub fn etcd_found(self, revision: u64, base: &str, segments: u64, at: &str) -> String {
        self.say(
            format_args!("revision {revision} is restored from base {base} and {} (last mark: {at})",
                count(segments, "segment", "segments")),
            format_args!("기준 스냅샷 {base}와(과) 세그먼트 {segments}개로 리비전 {revision}을(를) 복원합니다(마지막 시각 표시: {at})"),
        )
    }

    /// A chain became a full.
    #[must_use]
    pub fn etcd_compacted(
        self,
        point: &str,
        revision: u64,
        base: &str,
        segments: u64,
        size: &str,
    ) -> String {
        self.say(
            format_args!("point {point} is a full of revision {revision} ({size}), merged from base {base} and {}",
                count(segments, "segment", "segments")),
            format_args!("복구 지점 {point}: 리비전 {revision}의 전체 스냅샷({size}), 기준 스냅샷 {base}와(과) 세그먼트 {segments}개를 병합했습니다"),
        )
    }

    /// What a merged full can be compared with.
    #[must_use]
    pub fn etcd_hash_kv(self, hash: u32, revision: u64, compacted: u64) -> String {
        self.say(
            format_args!("its HashKV at revision {revision}, compacted at {compacted}, is {hash}"),
            format_args!("리비전 {revision}, 압축 리비전 {compacted}에서의 HashKV: {hash}"),
        )
    }

    /// A merge was stopped.
    #[must_use]
    pub fn etcd_compact_stopped(self) -> String {
        self.say(
            format_args!("stopped before the new point was committed; nothing of it counts"),
            format_args!("새 복구 지점을 저장하기 전에 중단했습니다. 아무것도 반영되지 않았습니다"),
        )
    }

    /// What is stored, against full snapshots alone.
    #[must_use]
    pub fn etcd_savings(self, cluster: &str, stored: &str, hourly: &str) -> String {
        self.say(
            format_args!(
                "{cluster}: {stored} stored; a full snapshot every hour instead would be {hourly}"
            ),
            format_args!(
                "{cluster}: 저장된 크기 {stored}, 매시간 전체 스냅샷만 저장했다면 {hourly}"
            ),
        )
    }

    /// Garbage went.
    #[must_use]
    pub fn garbage_removed(self, objects: u64, size: &str) -> String {
        self.say(
            format_args!(
                "removed now: {}, {size}",
                count(objects, "object", "objects")
            ),
            format_args!("지금 제거함: 객체 {objects}개, {size}"),
        )
    }

    /// Garbage that the store keeps.
    #[must_use]
    pub fn garbage_locked(self, objects: u64) -> String {
        self.say(
            format_args!(
                "{} stay until their object lock is over",
                count(objects, "object", "objects")
            ),
            format_args!("객체 {objects}개는 객체 잠금이 끝날 때까지 남습니다"),
        )
    }

    /// Garbage that waits.
    #[must_use]
    pub fn garbage_waits(self, objects: u64, until: &str) -> String {
        self.say(
            format_args!(
                "noted: {}, the first to be removed by a run after {until}",
                count(objects, "object", "objects")
            ),
            format_args!("표시해 둠: 객체 {objects}개, {until} 이후의 실행이 제거를 시작합니다"),
        )
    }

    /// A point is what was written.
    #[must_use]
    pub fn point_sound(self, id: &str, size: &str) -> String {
        self.say(
            format_args!("point {id} is sound: {size} read and equal to its record"),
            format_args!("복구 지점 {id} 이상 없음: {size}을(를) 읽었고 기록과 같습니다"),
        )
    }

    /// A point is damaged.
    #[must_use]
    pub fn point_damaged(self, id: &str, why: &str) -> String {
        self.say(
            format_args!("point {id} is damaged: {why}"),
            format_args!("복구 지점 {id} 손상됨: {why}"),
        )
    }

    /// A point is held.
    #[must_use]
    pub fn point_held(self, id: &str, hold: &str) -> String {
        self.say(
            format_args!("point {id} is held until hold {hold} is released"),
            format_args!("복구 지점 {id}을(를) 보존합니다. 보존 {hold}을(를) 해제하면 풀립니다"),
        )
    }

    /// Captured changes have a gap.
    #[must_use]
    pub fn etcd_gap(self, cluster: &str, after: u64, until: u64) -> String {
        self.say(
            format_args!(
                "{cluster}: revisions {} to {} cannot be reached",
                after + 1,
                until.saturating_sub(1)
            ),
            format_args!(
                "{cluster}: 리비전 {}부터 {}까지는 복원할 수 없습니다",
                after + 1,
                until.saturating_sub(1)
            ),
        )
    }

    /// A new history begins.
    #[must_use]
    pub fn etcd_break(self, cluster: &str, ends: u64, start: u64, reason: &str) -> String {
        self.say(
            format_args!("{cluster}: one history ends at revision {ends}, the next one begins at {start} ({reason})"),
            format_args!("{cluster}: 한 이력이 리비전 {ends}에서 끝나고 다음 이력이 {start}에서 시작합니다({reason})"),
        )
    }

    /// When the next snapshot is taken.
    #[must_use]
    pub fn etcd_next_snapshot(self, at: &str) -> String {
        self.say(
            format_args!("next snapshot: {at}"),
            format_args!("다음 스냅샷: {at}"),
        )
    }

    /// A scheduled snapshot failed and is tried again.
    #[must_use]
    pub fn etcd_snapshot_again(self, tries: u32) -> String {
        self.say(
            format_args!(
                "tried again in a minute ({} left)",
                count(tries.into(), "try", "tries")
            ),
            format_args!("1분 뒤 다시 시도합니다(남은 횟수 {tries})"),
        )
    }

    /// Where files of `etcd install` belong.
    #[must_use]
    pub fn etcd_install_next(self, place: &str) -> String {
        self.say(
            format_args!("nothing was started; the files belong to {place}"),
            format_args!("아직 아무것도 시작하지 않았습니다. 파일을 둘 곳과 다음 명령: {place}"),
        )
    }

    /// Which members a restored directory is for.
    #[must_use]
    pub fn etcd_release_needed(self, release: &str) -> String {
        self.say(
            format_args!(
                "the data is that of etcd {release}: start members of this release or a later one"
            ),
            format_args!("데이터가 etcd {release}의 것입니다. 이 버전 이상의 멤버를 시작하세요"),
        )
    }
}
