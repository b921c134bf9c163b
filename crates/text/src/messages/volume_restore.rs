//! About claims that are brought back to a recovery point.

use super::{Messages, count};
use crate::particle::{eul, i};

impl Messages {
    /// No backup has a point that can be brought back.
    #[must_use]
    pub fn no_point_to_restore(self, claim: &str, location: &str) -> String {
        self.say(
            format_args!("no backup of location `{location}` has files of claim {claim}"),
            format_args!("위치 `{location}` 의 어떤 백업에도 클레임 {claim} 의 파일 없음"),
        )
    }

    /// Nobody could bring data into a claim.
    #[must_use]
    pub fn no_agents_for_claim(self, namespace: &str, location: &str) -> String {
        let eul = eul(location);
        self.say(
            format_args!(
                "no node agents in namespace `{namespace}` that know location `{location}`: nobody can bring data into a claim"
            ),
            format_args!(
                "네임스페이스 `{namespace}` 에 위치 `{location}`{eul} 아는 노드 에이전트가 없어 클레임에 데이터를 넣을 수 없음"
            ),
        )
    }

    /// A claim that stands is not overwritten without a word.
    #[must_use]
    pub fn claim_has_data(self, claim: &str) -> String {
        let i = i(claim);
        self.say(
            format_args!("claim {claim} is there already"),
            format_args!("클레임 {claim}{i} 이미 있음"),
        )
    }

    /// The point, before the question.
    #[must_use]
    pub fn point_chosen(self, backup: &str, time: &str, size: &str, unread: u64) -> String {
        let lacks = match unread {
            0 => String::new(),
            unread => self.say(
                format_args!("; it lacks what could not be read ({unread})"),
                format_args!(". 읽지 못한 {unread}개 항목이 빠져 있음"),
            ),
        };
        self.say(
            format_args!("point {backup} of {time}, {size}{lacks}"),
            format_args!("복구 지점 {backup} ({time}, {size}){lacks}"),
        )
    }

    /// A claim is new.
    #[must_use]
    pub fn claim_is_made(self, claim: &str) -> String {
        let i = i(claim);
        self.say(
            format_args!("claim {claim} is made and filled"),
            format_args!("클레임 {claim}{i} 만들어지고 채워집니다"),
        )
    }

    /// What a claim holds is overwritten.
    #[must_use]
    pub fn claim_is_overwritten(self, claim: &str, delete_extra: bool) -> String {
        match delete_extra {
            true => self.say(
                format_args!(
                    "what claim {claim} holds is brought to the state of the point; what the point does not have is removed"
                ),
                format_args!(
                    "클레임 {claim} 의 내용을 복구 지점의 상태로 되돌리고, 지점에 없는 것은 제거합니다"
                ),
            ),
            false => self.say(
                format_args!(
                    "what claim {claim} holds is brought to the state of the point; what the point does not have stays"
                ),
                format_args!(
                    "클레임 {claim} 의 내용을 복구 지점의 상태로 되돌리고, 지점에 없는 것은 그대로 둡니다"
                ),
            ),
        }
    }

    /// Some paths of a claim are overwritten.
    #[must_use]
    pub fn paths_are_overwritten(self, claim: &str, paths: &str, delete_extra: bool) -> String {
        let eul = eul(paths);
        match delete_extra {
            true => self.say(
                format_args!(
                    "in claim {claim} only {paths} come back; what the point does not have there is removed"
                ),
                format_args!(
                    "클레임 {claim} 에서 {paths}{eul} 되돌리고, 그 안에서 지점에 없는 것은 제거합니다"
                ),
            ),
            false => self.say(
                format_args!("in claim {claim} only {paths} come back"),
                format_args!("클레임 {claim} 에서 {paths}{eul} 되돌립니다"),
            ),
        }
    }

    /// A workload will be scaled to nothing and back.
    #[must_use]
    pub fn workload_is_stopped(self, workload: &str, replicas: u64) -> String {
        let english = count(replicas, "replica", "replicas");
        self.say(
            format_args!("{workload} is stopped meanwhile and gets its {english} back"),
            format_args!("그동안 {workload} 중지. 끝나면 복제본 {replicas}개로 되돌립니다"),
        )
    }

    /// Pods that end.
    #[must_use]
    pub fn pods_end(self, pods: usize, some: &str, grace: u64) -> String {
        let english = count(pods as u64, "pod ends", "pods end");
        self.say(
            format_args!("{english} within {grace} s: {some}"),
            format_args!("파드 {pods}개가 {grace}초 안에 끝납니다: {some}"),
        )
    }

    /// How long an application stands still; `None` when that is not known.
    #[must_use]
    pub fn standstill_time(self, time: Option<&str>) -> String {
        match time {
            Some(time) => self.say(
                format_args!("the standstill takes at most about {time}, at the rate of its backup; less where files are as they were"),
                format_args!("중지 시간은 백업 때의 속도로 길어야 약 {time}. 그대로인 파일이 있으면 더 짧음"),
            ),
            None => self.say(
                format_args!("how long the standstill takes is not known"),
                format_args!("중지 시간은 알 수 없음"),
            ),
        }
    }

    /// Another command has the claim.
    #[must_use]
    pub fn claim_is_busy(self, holder: &str) -> String {
        self.say(
            format_args!(
                "the claim is or was being restored by {holder}; waiting whether it is still at it"
            ),
            format_args!(
                "{holder} 의 복원이 이 클레임을 쓰고 있거나 쓰고 있었음. 아직 진행 중인지 기다립니다"
            ),
        )
    }

    /// A workload is being stopped.
    #[must_use]
    pub fn workload_stops(self, workload: &str) -> String {
        self.say(
            format_args!("stopping {workload}"),
            format_args!("{workload} 중지 중"),
        )
    }

    /// A workload is being started.
    #[must_use]
    pub fn workload_starts(self, workload: &str, replicas: u64) -> String {
        let english = count(replicas, "replica", "replicas");
        self.say(
            format_args!("starting {workload} with {english}"),
            format_args!("{workload} 시작 중. 복제본 {replicas}개"),
        )
    }

    /// Workloads that are not started on data that may be of two times, with the commands that start them.
    #[must_use]
    pub fn workloads_left_stopped(self, workloads: &str, commands: &str) -> String {
        self.say(
            format_args!(
                "NOT started again: {workloads}. The volume may hold files of two times. Bring it back whole (the same \
                 command again, or another point), or start it on what is there:\n  {commands}"
            ),
            format_args!(
                "다시 시작하지 않음: {workloads}. 볼륨에 두 시점의 파일이 섞여 있을 수 있습니다. 온전히 되돌리거나(같은 명령을 다시 \
                 실행하거나 다른 지점으로), 지금 있는 그대로 시작하세요:\n  {commands}"
            ),
        )
    }

    /// How far the copies of a backup are.
    #[must_use]
    pub fn volumes_copied(self, done: u64, all: u64, bytes: &str) -> String {
        self.say(
            format_args!("{done}/{all} volumes, {bytes}"),
            format_args!("볼륨 {done}/{all}, {bytes}"),
        )
    }

    /// A claim is back.
    #[must_use]
    pub fn claim_restored(self, claim: &str, point: &str, entries: u64, written: &str) -> String {
        let (english, eul) = (count(entries, "entry", "entries"), eul(claim));
        self.say(
            format_args!("claim {claim} is as in {point}: {english}, {written} written"),
            format_args!(
                "클레임 {claim}{eul} {point} 의 상태로 복원함. 항목 {entries}개, 쓴 양 {written}"
            ),
        )
    }

    /// A claim is back but for some entries, which warnings name.
    #[must_use]
    pub fn claim_restored_in_part(self, claim: &str, point: &str, written: &str) -> String {
        self.say(
            format_args!(
                "claim {claim} is NOT as in {point}: what the warnings name is missing or as it was before; {written} written"
            ),
            format_args!(
                "클레임 {claim}의 상태가 {point}와 다릅니다. 경고에 나온 항목이 없거나 이전 그대로임. 쓴 양 {written}"
            ),
        )
    }
}
