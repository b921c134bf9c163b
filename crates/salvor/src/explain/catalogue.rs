//! Every code with what it means in a sentence, and its page of `docs/runbooks`, which is compiled in: who needs it may
//! have no network.

use super::Kind;

/// A code and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) code: &'static str,
    pub(crate) english: &'static str,
    pub(crate) korean: &'static str,
    /// The runbook page, Markdown in English.
    pub(crate) page: &'static str,
}

macro_rules! entry {
    ($kind:ident, $code:literal, $page:literal, $english:literal, $korean:literal) => {
        Entry {
            kind: Kind::$kind,
            code: $code,
            english: $english,
            korean: $korean,
            page: include_str!(concat!("../../../../docs/runbooks/", $page, ".md")),
        }
    };
}

/// In the order in which they are listed. A test holds them against the exit codes, the alert rules and the pages.
pub(crate) const ENTRIES: &[Entry] = &[
    entry!(
        Error,
        "store-denied",
        "errors/store-denied",
        "The store refused: credentials are missing, wrong or expired, or lack a right.",
        "저장소가 거부했습니다. 자격 증명이 없거나 틀렸거나 만료되었거나 권한이 부족합니다."
    ),
    entry!(
        Error,
        "store-missing",
        "errors/store-missing",
        "The bucket or container, or an object that should be there, is not there.",
        "버킷(컨테이너)이나 있어야 할 오브젝트가 없습니다."
    ),
    entry!(
        Error,
        "store-full",
        "errors/store-full",
        "There is no room in the store, or a quota is used up.",
        "저장소에 공간이 없거나 할당량을 다 썼습니다."
    ),
    entry!(
        Error,
        "store-unreachable",
        "errors/store-unreachable",
        "The store does not answer, answers with server errors, or asks to slow down.",
        "저장소가 응답하지 않거나 서버 오류를 내거나 속도를 줄이라고 합니다."
    ),
    entry!(
        Error,
        "store-locked",
        "errors/store-locked",
        "An object is under a retention rule (object lock, immutable blob) and cannot be deleted or replaced yet.",
        "오브젝트가 보존 규칙(오브젝트 잠금) 아래 있어 아직 지우거나 바꿀 수 없습니다."
    ),
    entry!(
        Error,
        "store-frozen",
        "errors/store-frozen",
        "The backup lies in a storage class that must be thawed before it is read.",
        "백업이 먼저 해동해야 읽을 수 있는 스토리지 클래스에 있습니다."
    ),
    entry!(
        Error,
        "store-failed",
        "errors/store-failed",
        "The store cannot do what was asked, or answered something that is not understood.",
        "저장소가 요청을 수행할 수 없거나 이해할 수 없는 답을 했습니다."
    ),
    entry!(
        Error,
        "location-busy",
        "errors/location-busy",
        "Another run has the name: it is writing, restoring or deleting it, or died a moment ago.",
        "다른 실행이 그 이름을 쓰고 있거나 조금 전에 죽었습니다."
    ),
    entry!(
        Error,
        "location-read-only",
        "errors/location-read-only",
        "The location refuses writes.",
        "위치가 쓰기를 거부합니다(읽기 전용)."
    ),
    entry!(
        Error,
        "newer-format",
        "errors/newer-format",
        "The location holds a record of a newer release than this one.",
        "위치에 이 버전보다 새로운 버전이 쓴 기록이 있습니다."
    ),
    entry!(
        Error,
        "backup-held",
        "errors/backup-held",
        "Somebody holds the backup: nothing deletes it until it is released.",
        "누군가 백업을 보존하고 있습니다. 해제할 때까지 지워지지 않습니다."
    ),
    entry!(
        Error,
        "name-taken",
        "errors/name-taken",
        "There is a backup or restore of this name already.",
        "같은 이름의 백업이나 복원이 이미 있습니다."
    ),
    entry!(
        Error,
        "not-there",
        "errors/not-there",
        "There is no backup or restore of this name here.",
        "여기에 그런 이름의 백업이나 복원이 없습니다."
    ),
    entry!(
        Error,
        "stored-data-wrong",
        "errors/stored-data-wrong",
        "What is stored is not, or may not be, what was written.",
        "저장된 것이 기록한 것과 다르거나 다를 수 있습니다."
    ),
    entry!(
        Error,
        "cluster-forbidden",
        "errors/cluster-forbidden",
        "The cluster refused: this user or service account lacks a right.",
        "클러스터가 거부했습니다. 이 사용자나 서비스 계정에 권한이 없습니다."
    ),
    entry!(
        Error,
        "cluster-unreachable",
        "errors/cluster-unreachable",
        "The API server cannot be reached or does not answer in time.",
        "API 서버에 닿을 수 없거나 제때 답하지 않습니다."
    ),
    entry!(
        Error,
        "cluster-config",
        "errors/cluster-config",
        "The kubeconfig or the context cannot be used.",
        "kubeconfig 또는 컨텍스트를 쓸 수 없습니다."
    ),
    entry!(
        Error,
        "cluster-missing",
        "errors/cluster-missing",
        "The cluster does not have the object, namespace or kind that was asked for.",
        "클러스터에 요청한 오브젝트, 네임스페이스 또는 종류가 없습니다."
    ),
    entry!(
        Error,
        "cluster-refused",
        "errors/cluster-refused",
        "The API server or a webhook refused an object.",
        "API 서버나 웹훅이 오브젝트를 거부했습니다."
    ),
    entry!(
        Error,
        "no-room-here",
        "errors/no-room-here",
        "A disk of this machine is full.",
        "이 장비의 디스크가 가득 찼습니다."
    ),
    entry!(Exit, "exit-0", "exits/exit-0", "Done.", "완료."),
    entry!(
        Exit,
        "exit-1",
        "exits/exit-1",
        "There are differences or findings.",
        "차이나 발견 사항이 있습니다."
    ),
    entry!(
        Exit,
        "exit-2",
        "exits/exit-2",
        "Wrong usage: a flag, a file or a specification cannot be used.",
        "잘못된 사용: 플래그, 파일 또는 명세를 쓸 수 없습니다."
    ),
    entry!(
        Exit,
        "exit-3",
        "exits/exit-3",
        "Something that was named is not there.",
        "지정한 것이 없습니다."
    ),
    entry!(
        Exit,
        "exit-4",
        "exits/exit-4",
        "Refused: a confirmation, a right or a rule is missing, or another run is at work.",
        "거부됨: 확인, 권한 또는 규칙이 없거나 다른 실행이 작업 중입니다."
    ),
    entry!(
        Exit,
        "exit-5",
        "exits/exit-5",
        "Partial: something is missing in the result.",
        "일부만 됨: 결과에 빠진 것이 있습니다."
    ),
    entry!(
        Exit,
        "exit-6",
        "exits/exit-6",
        "Time ran out.",
        "시간 초과."
    ),
    entry!(
        Exit,
        "exit-7",
        "exits/exit-7",
        "Verification failed: stored data is not, or may not be, what was written.",
        "검증 실패: 저장된 데이터가 기록한 것과 다르거나 다를 수 있습니다."
    ),
    entry!(
        Exit,
        "exit-69",
        "exits/exit-69",
        "A cluster or a store cannot be reached.",
        "클러스터나 저장소에 닿을 수 없습니다."
    ),
    entry!(
        Exit,
        "exit-70",
        "exits/exit-70",
        "This program failed, or what it runs on did.",
        "이 프로그램이나 그 바탕이 실패했습니다."
    ),
    entry!(
        Exit,
        "exit-73",
        "exits/exit-73",
        "There is no room for what had to be written.",
        "기록할 공간이 없습니다."
    ),
    entry!(
        Exit,
        "exit-130",
        "exits/exit-130",
        "Stopped by Ctrl-C or SIGTERM.",
        "Ctrl-C 또는 SIGTERM 으로 중지됨."
    ),
    entry!(
        Alert,
        "SalvorApiServerBusy",
        "SalvorApiServerBusy",
        "The API server throttles the server's requests, fails, or does not answer.",
        "API 서버가 서버의 요청을 제한하거나 실패하거나 답하지 않습니다."
    ),
    entry!(
        Alert,
        "SalvorBackupFailed",
        "SalvorBackupFailed",
        "A backup ended as `Failed` or `FailedValidation`.",
        "백업이 실패했습니다. 저장된 것은 없습니다."
    ),
    entry!(
        Alert,
        "SalvorBackupPartiallyFailed",
        "SalvorBackupPartiallyFailed",
        "A backup is in the store and can be restored, but something that was asked for is not in it.",
        "백업은 복원할 수 있지만 요청한 것 일부가 빠졌습니다."
    ),
    entry!(
        Alert,
        "SalvorDeletionFailed",
        "SalvorDeletionFailed",
        "A backup could not be deleted.",
        "백업을 지우지 못했습니다."
    ),
    entry!(
        Alert,
        "SalvorHooksFailed",
        "SalvorHooksFailed",
        "A command that an application's pod should have run before or after a backup, or after a restore, failed, was not found or took too long.",
        "백업이나 복원 전후에 애플리케이션이 실행해야 할 명령이 실패했습니다."
    ),
    entry!(
        Alert,
        "SalvorLocationUnavailable",
        "SalvorLocationUnavailable",
        "A BackupStorageLocation cannot be used.",
        "백업 저장 위치를 쓸 수 없습니다."
    ),
    entry!(
        Alert,
        "SalvorNoLeader",
        "SalvorNoLeader",
        "No server leads, or none can be scraped.",
        "이끄는 서버가 없거나 메트릭을 수집할 수 없습니다."
    ),
    entry!(
        Alert,
        "SalvorPermissionMissing",
        "SalvorPermissionMissing",
        "The API server answers requests of the server with 403: the role that it was installed with does not allow what it is asked to do.",
        "서버에 필요한 권한이 없습니다."
    ),
    entry!(
        Alert,
        "SalvorQueueStuck",
        "SalvorQueueStuck",
        "Backups or restores wait, and none is worked on for a quarter of an hour.",
        "기다리는 작업이 있는데 아무것도 진행되지 않습니다."
    ),
    entry!(
        Alert,
        "SalvorRestoreFailed",
        "SalvorRestoreFailed",
        "A restore was refused, failed, or ended with errors.",
        "복원이 거부되었거나 실패했거나 오류로 끝났습니다."
    ),
    entry!(
        Alert,
        "SalvorRestoreInterrupted",
        "SalvorRestoreInterrupted",
        "A restore was interrupted six times or more in half an hour.",
        "복원이 거듭 중단되고 있습니다."
    ),
    entry!(
        Alert,
        "SalvorRetentionStopped",
        "SalvorRetentionStopped",
        "The collection of expired backups, or of those that a policy does not keep, would delete more than the guard lets through.",
        "한꺼번에 너무 많은 백업이 지워질 뻔하여 수집이 멈췄습니다."
    ),
    entry!(
        Alert,
        "SalvorScheduleInvalid",
        "SalvorScheduleInvalid",
        "A Schedule is not valid.",
        "스케줄이 올바르지 않아 아무것도 실행하지 않습니다."
    ),
    entry!(
        Alert,
        "SalvorSchedulePaused",
        "SalvorSchedulePaused",
        "`spec.paused` of a Schedule has been true for a day.",
        "스케줄이 하루 동안 멈춰 있습니다."
    ),
    entry!(
        Alert,
        "SalvorScheduleWithoutBackup",
        "SalvorScheduleWithoutBackup",
        "Two times of a schedule or more have passed since its newest complete backup (or since the schedule was made).",
        "스케줄의 두 번 이상의 실행 동안 완전한 백업이 없습니다."
    ),
    entry!(
        Alert,
        "SalvorSyncStopped",
        "SalvorSyncStopped",
        "Many backups are gone from a location at once: deleted by somebody, by a lifecycle rule, or the bucket or prefix is another one.",
        "위치에서 백업이 한꺼번에 사라져 동기화가 멈췄습니다."
    ),
    entry!(
        Alert,
        "SalvorCopyMissing",
        "SalvorCopyMissing",
        "A backup ended six hours ago or longer, and a copy that it asks for (`salvor.dev/copy-to`) is not in its location.",
        "백업의 사본이 있어야 할 위치에 없습니다."
    ),
    entry!(
        Alert,
        "SalvorRepositoryDamaged",
        "SalvorRepositoryDamaged",
        "A check found snapshots of volume data that lack something.",
        "검사에서 데이터가 빠진 볼륨 스냅샷을 찾았습니다."
    ),
    entry!(
        Alert,
        "SalvorRepositoryUnusable",
        "SalvorRepositoryUnusable",
        "A repository of volume data has not been usable for half an hour, or was not maintained for two days.",
        "볼륨 데이터 저장소를 30분 동안 쓸 수 없거나 이틀 동안 관리하지 못했습니다."
    ),
    entry!(
        Alert,
        "SalvorCertificateExpires",
        "SalvorCertificateExpires",
        "The certificate that the server shows ends within a week; it is renewed long before when all is well.",
        "서버의 인증서가 일주일 안에 만료됩니다. 정상이라면 훨씬 전에 갱신됩니다."
    ),
];
