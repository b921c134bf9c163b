//! What to do next, in Korean. Libraries give advice in English, as constants; here it is looked up.

use super::Messages;
use crate::language::Language;

/// English and Korean. What is not here, because it names something, is said in English.
const ADVICE: &[(&str, &str)] = &[
    (
        "take another snapshot; `salvor etcd snapshot verify` says what is damaged in this one",
        "다른 스냅샷을 쓰세요. 이 스냅샷의 손상된 부분은 `salvor etcd snapshot verify`로 알 수 있습니다",
    ),
    (
        "run `salvor point verify --all` to see which points are damaged, and take another one",
        "손상된 복구 지점을 `salvor point verify --all`로 확인하고 다른 지점을 쓰세요",
    ),
    (
        "`salvor etcd stream` captures changes; a snapshot by itself is a full already",
        "변경은 `salvor etcd stream`이 캡처합니다. 스냅샷 하나는 이미 전체입니다",
    ),
    (
        "give the file with the identity of one of its recipients: --identity FILE",
        "수신자 중 하나의 identity가 든 파일을 주세요: --identity FILE",
    ),
    (
        "look whether its file system is mounted and its URL is right; where another location takes its place \
         on purpose, remove `id` from the configuration and run `salvor backup-location init` again",
        "파일 시스템이 마운트되어 있고 URL이 맞는지 보세요. 일부러 다른 위치로 바꾼 것이라면 설정에서 `id`를 지우고 `salvor \
         backup-location init`을 다시 실행하세요",
    ),
    (
        "name them with `salvor backup-location init --recipient`, or make an identity with --new-identity FILE",
        "`salvor backup-location init --recipient`로 지정하거나 --new-identity FILE로 새로 만드세요",
    ),
    (
        "check --user and its password; a snapshot needs the role root",
        "--user와 비밀번호를 확인하세요. 스냅샷에는 root 역할이 필요합니다",
    ),
    (
        "check --endpoints, --cacert, --cert and --key, and that a member is running",
        "--endpoints, --cacert, --cert, --key와 멤버가 실행 중인지 확인하세요",
    ),
    (
        "list volumes without a claim with `salvor pv released`",
        "`salvor pv released` 로 클레임을 잃은 볼륨을 확인하세요",
    ),
    (
        "pass --create-claim to have it made as the volume is",
        "--create-claim 을 주면 볼륨에 맞게 만듭니다",
    ),
    (
        "delete the claim first if nothing needs it any more",
        "아무도 필요로 하지 않는다면 클레임을 먼저 삭제하세요",
    ),
    (
        "remove spec.claimRef of the volume that should not be kept for it, if that is right",
        "맞다면, 잡혀 있으면 안 되는 볼륨의 spec.claimRef 를 지우세요",
    ),
    (
        "wait until that is over, then look again",
        "끝날 때까지 기다렸다가 다시 보세요",
    ),
    (
        "a claim cannot change its volume: stop its pods, delete it, then repeat the command with --create-claim",
        "클레임은 볼륨을 바꿀 수 없습니다. 파드를 멈추고 삭제한 뒤 --create-claim 으로 다시 실행하세요",
    ),
    (
        "delete the claim and let it be made as the volume is, with --create-claim",
        "클레임을 삭제하고 --create-claim 으로 볼륨에 맞게 만드세요",
    ),
    (
        "look at it and repeat the command",
        "확인한 뒤 명령을 다시 실행하세요",
    ),
    (
        "leave --no-debug-container out, and an ephemeral container reads the files; or back the volume up with \
         the node agent (backup create --default-volumes-to-fs-backup)",
        "--no-debug-container 를 빼면 임시 컨테이너가 파일을 읽습니다. 또는 노드 에이전트로 볼륨을 백업하세요 \
         (backup create --default-volumes-to-fs-backup)",
    ),
    (
        "name an image of Salvor that the node can have with --debug-image; the container that was added ends by \
         itself",
        "노드가 받을 수 있는 Salvor 이미지를 --debug-image 로 지정하세요. 붙인 컨테이너는 스스로 끝납니다",
    ),
    (
        "it needs the verb patch on pods/ephemeralcontainers, and what Pod Security of the namespace asks for; \
         --debug-user sets another user. The node agent needs neither (backup create --default-volumes-to-fs-backup)",
        "pods/ephemeralcontainers 의 patch 권한과, 네임스페이스의 Pod Security 가 요구하는 조건이 필요합니다. 다른 사용자는 \
         --debug-user 로 정합니다. 노드 에이전트에는 둘 다 필요 없습니다 (backup create --default-volumes-to-fs-backup)",
    ),
    (
        "servers before 1.23 have no ephemeral containers unless their feature is switched on: back the volume up \
         with the node agent (backup create --default-volumes-to-fs-backup), or use an image with tar",
        "1.23 이전 서버에는 기능을 켜지 않는 한 임시 컨테이너가 없습니다. 노드 에이전트로 볼륨을 백업하거나 \
         (backup create --default-volumes-to-fs-backup) tar 가 있는 이미지를 쓰세요",
    ),
    (
        "back the volume up with the node agent (backup create --default-volumes-to-fs-backup), or use an image with tar",
        "노드 에이전트로 볼륨을 백업하거나 (backup create --default-volumes-to-fs-backup) tar 가 있는 이미지를 쓰세요",
    ),
    (
        "stop what writes there, back the volume up instead, or pass --allow-changes to take it as it is",
        "쓰는 것을 멈추거나, 볼륨을 백업하거나, 그대로 받으려면 --allow-changes 를 주세요",
    ),
    (
        "repeat the command; nothing of this attempt counts",
        "명령을 다시 실행하세요. 이번 시도의 것은 아무것도 쓰지 않습니다",
    ),
    (
        "create the bucket, or check its name and the endpoint and region of the location",
        "버킷을 만들거나, 버킷 이름과 위치의 엔드포인트, 리전을 확인하세요",
    ),
    (
        "check the credentials and the rights they have on this location",
        "자격 증명과 이 위치에 대한 권한을 확인하세요",
    ),
    (
        "free space or raise the quota, then run the command again",
        "공간을 비우거나 할당량을 늘린 뒤 다시 실행하세요",
    ),
    (
        "the store asks to slow down: run again later or with less parallelism",
        "저장소가 속도를 늦추라고 합니다. 나중에 다시 하거나 동시에 하는 작업을 줄이세요",
    ),
    (
        "check that the store is reachable, then run the command again",
        "저장소에 닿는지 확인한 뒤 다시 실행하세요",
    ),
    (
        "a retention rule protects the object until it expires",
        "보존 규칙이 만료될 때까지 오브젝트를 지킵니다",
    ),
    (
        "the stored bytes are damaged: use another copy",
        "저장된 내용이 손상되었습니다. 다른 사본을 쓰세요",
    ),
    (
        "run `salvor backup verify` to see what is damaged",
        "무엇이 손상되었는지 `salvor backup verify` 로 확인하세요",
    ),
    (
        "take it from another copy or an earlier backup, or take all that can be read with --skip-damaged \
         (restore create, undelete, backup export)",
        "다른 사본이나 이전 백업에서 가져오거나, --skip-damaged 로 읽을 수 있는 것을 모두 가져오세요 \
         (restore create, undelete, backup export)",
    ),
    (
        "this file says what the backup is: bring it back from another copy of the location or an \
         earlier version of the object; the other files of the backup may be sound",
        "이 파일이 백업이 무엇인지 알려 줍니다. 위치의 다른 사본이나 이 오브젝트의 이전 버전에서 되살리세요. 백업의 다른 \
         파일은 온전할 수 있습니다",
    ),
    (
        "the store answered success for a write that is gone or changed: run \
         `salvor backup-location check`",
        "저장소가 성공이라고 답했지만 쓴 것이 없거나 다릅니다. `salvor backup-location check` 를 실행하세요",
    ),
    (
        "wait for the other run, then look with `salvor backup verify`",
        "다른 실행이 끝나기를 기다린 뒤 `salvor backup verify` 로 확인하세요",
    ),
    (
        "choose another name, or go on with an unfinished restore with --resume",
        "다른 이름을 쓰거나, 끝나지 않은 복원은 --resume 으로 이어 가세요",
    ),
    (
        "grant this user the missing permission in the cluster, then repeat the command",
        "클러스터에서 이 사용자에게 없는 권한을 준 뒤 다시 실행하세요",
    ),
    (
        "check --kubeconfig and --context, or set KUBECONFIG",
        "--kubeconfig 와 --context 를 확인하거나 KUBECONFIG 를 설정하세요",
    ),
    (
        "the API server is slow or cannot be reached: check it, then repeat the command",
        "API 서버가 느리거나 닿지 않습니다. 확인한 뒤 다시 실행하세요",
    ),
    (
        "check that the API server can be reached, then repeat the command",
        "API 서버에 닿는지 확인한 뒤 다시 실행하세요",
    ),
    (
        "check the path, and whether what belongs there is mounted; the first backup makes a new folder",
        "경로가 맞는지, 그곳에 마운트되어야 할 것이 마운트되었는지 확인하세요. 새 폴더는 첫 백업이 만듭니다",
    ),
    ("choose a new folder", "새 폴더를 고르세요"),
    (
        "name a backup with --from-backup",
        "--from-backup 으로 백업을 지정하세요",
    ),
    (
        "name another backup with --from-backup",
        "--from-backup 으로 다른 백업을 지정하세요",
    ),
    (
        "for example deployment/web or namespace/production",
        "예: deployment/web, namespace/production",
    ),
    (
        "say which with -n NAMESPACE",
        "어느 것인지 -n NAMESPACE 로 지정하세요",
    ),
];

impl Messages {
    /// What to do next, in the language spoken where it is known in it.
    #[must_use]
    pub fn advice(self, english: &str) -> String {
        let known = || ADVICE.iter().find(|(known, _)| *known == english);
        match (self.language, known()) {
            (Language::Korean, Some((_, korean))) => (*korean).to_owned(),
            _ => english.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_advice_is_there_once() {
        for (at, (english, korean)) in ADVICE.iter().enumerate() {
            assert!(!korean.is_empty());
            assert!(
                ADVICE[..at].iter().all(|(other, _)| other != english),
                "{english}"
            );
        }
    }
}
