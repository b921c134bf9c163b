//! What is asked of a server in the cluster.

use super::Messages;

/// What was done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectDone {
    /// It is new.
    Created,
    /// Its specification changed.
    Configured,
    /// It is gone.
    Deleted,
    /// It makes no more backups.
    Paused,
    /// It makes backups again.
    Unpaused,
    /// It was as wanted.
    Unchanged,
}

impl Messages {
    /// Nobody works on the kinds of a namespace.
    #[must_use]
    pub fn nobody_serves(self, namespace: &str) -> String {
        self.say(
            format_args!(
                "no server is at work in namespace {namespace}: what is asked for waits until one is"
            ),
            format_args!(
                "네임스페이스 {namespace}에서 동작하는 서버가 없습니다. 서버가 시작될 때까지 요청은 대기합니다"
            ),
        )
    }

    /// The cluster refused to say whether there is a server.
    #[must_use]
    pub fn server_is_not_seen(self, namespace: &str, reason: &str) -> String {
        self.say(
            format_args!(
                "whether a server is at work in namespace {namespace} is not known: {reason}"
            ),
            format_args!("네임스페이스 {namespace}에서 서버가 동작하는지 알 수 없습니다: {reason}"),
        )
    }

    /// A list of objects is empty.
    #[must_use]
    pub fn none_in_namespace(self, namespace: &str) -> String {
        self.say(
            format_args!("none in namespace {namespace}"),
            format_args!("네임스페이스 {namespace}에 없습니다"),
        )
    }

    /// An object that asks for something was created, in the words of Velero's client.
    #[must_use]
    pub fn request_submitted(self, what: &str, name: &str) -> String {
        self.say(
            format_args!("{what} request \"{name}\" submitted successfully."),
            format_args!("{what} 요청 \"{name}\"을(를) 제출했습니다."),
        )
    }

    /// A flag says how this program would do what a server does here.
    #[must_use]
    pub fn only_direct(self, flag: &str) -> String {
        self.say(
            format_args!("{flag} has no effect: the server decides it; --direct works from here"),
            format_args!("{flag} 는 효과가 없습니다. 서버가 정합니다. 여기서 직접 하려면 --direct"),
        )
    }

    /// How to follow what was asked for.
    #[must_use]
    pub fn follow(self, noun: &str, name: &str) -> String {
        self.say(
            format_args!(
                "Run `salvor {noun} describe {name}` or `salvor {noun} logs {name}` for more details."
            ),
            format_args!(
                "자세한 내용은 `salvor {noun} describe {name}` 또는 `salvor {noun} logs {name}`"
            ),
        )
    }

    /// Waiting begins; Ctrl-C ends it, not what is waited for.
    #[must_use]
    pub fn waiting(self, what: &str) -> String {
        self.say(
            format_args!(
                "Waiting for the {what} to complete. You may safely press ctrl-c to stop waiting: it goes on."
            ),
            format_args!(
                "{what} 완료를 기다립니다. Ctrl-C를 눌러도 작업은 계속됩니다."
            ),
        )
    }

    /// What was waited for has ended.
    #[must_use]
    pub fn ended_with_status(self, what: &str, phase: &str) -> String {
        self.say(
            format_args!("{what} completed with status: {phase}."),
            format_args!("{what} 종료 상태: {phase}."),
        )
    }

    /// A deletion was asked for, in the words of Velero's client.
    #[must_use]
    pub fn deletion_submitted(self, name: &str) -> String {
        self.say(
            format_args!(
                "Request to delete backup \"{name}\" submitted successfully.\nThe backup will be fully \
                 deleted after all associated data (disk snapshots, backup files, restores) are removed."
            ),
            format_args!(
                "백업 \"{name}\" 삭제 요청을 제출했습니다.\n관련 데이터(디스크 스냅샷, 백업 파일, 복구 기록)가 모두 제거된 뒤 삭제가 끝납니다."
            ),
        )
    }

    /// What a deletion through the server will remove.
    #[must_use]
    pub fn will_be_deleted(self, what: &str, name: &str) -> String {
        self.say(
            format_args!("{what} {name} will be deleted"),
            format_args!("{what} {name}을(를) 삭제합니다"),
        )
    }

    /// An object was changed: what, which, and how.
    #[must_use]
    pub fn object_done(self, what: &str, name: &str, done: ObjectDone) -> String {
        let (en, ko) = match done {
            ObjectDone::Created => ("created", "생성함"),
            ObjectDone::Configured => ("configured", "설정을 바꿈"),
            ObjectDone::Deleted => ("deleted", "삭제함"),
            ObjectDone::Paused => ("paused", "일시 중지함"),
            ObjectDone::Unpaused => ("unpaused", "다시 시작함"),
            ObjectDone::Unchanged => ("unchanged", "바뀐 것 없음"),
        };
        self.say(
            format_args!("{what} \"{name}\" {en}"),
            format_args!("{what} \"{name}\" {ko}"),
        )
    }
}
