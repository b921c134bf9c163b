//! What the demo tells.

use super::Messages;
use crate::particle::eul;

impl Messages {
    /// First line.
    #[must_use]
    pub fn demo_title(self) -> String {
        self.say(
            format_args!("A cluster is backed up, destroyed and recovered"),
            format_args!("클러스터를 백업하고, 망가뜨리고, 되살립니다"),
        )
    }

    /// Act one.
    #[must_use]
    pub fn demo_cluster(self, objects: usize, namespaces: usize, kinds: usize) -> String {
        self.say(
            format_args!(
                "a cluster in this process: {objects} objects of {kinds} kinds in {namespaces} namespaces"
            ),
            format_args!(
                "이 프로세스 안의 클러스터: 네임스페이스 {namespaces}개, 종류 {kinds}개, 오브젝트 {objects}개"
            ),
        )
    }

    /// What lives on the platform.
    #[must_use]
    pub fn demo_platform(self) -> String {
        self.say(
            format_args!(
                "production and staging applications with MySQL and Redis, Vault, Argo CD, \
                 SigNoz on ClickHouse, RBAC"
            ),
            format_args!(
                "production·staging 애플리케이션과 MySQL·Redis, Vault, Argo CD, ClickHouse 위의 SigNoz, RBAC"
            ),
        )
    }

    /// Act two.
    #[must_use]
    pub fn demo_backed_up(self, objects: u64, size: &str, folder: &str) -> String {
        self.say(
            format_args!("backed up {objects} objects, {size}, to {folder}"),
            format_args!("오브젝트 {objects}개({size})를 {folder}에 백업했습니다"),
        )
    }

    /// Act three.
    #[must_use]
    pub fn demo_destroyed(self, namespace: &str, crd: &str, lost: u64) -> String {
        self.say(
            format_args!(
                "deleted namespace {namespace} and CRD {crd} with its resources: {lost} objects are gone"
            ),
            format_args!(
                "네임스페이스 {namespace} 및 CRD {crd}{} 그 리소스까지 삭제했습니다. 오브젝트 {lost}개가 \
                 사라졌습니다",
                eul(crd)
            ),
        )
    }

    /// Act four, before the list.
    #[must_use]
    pub fn demo_diff(self, missing: u64, changed: u64, own: u64) -> String {
        if own == 0 {
            return self.say(
                format_args!("backup against cluster: {missing} missing, {changed} changed"),
                format_args!("백업과 클러스터 비교: 없음 {missing}, 변경 {changed}"),
            );
        }
        self.say(
            format_args!(
                "backup against cluster: {missing} missing, {changed} changed, and {own} that the cluster makes \
                 by itself"
            ),
            format_args!(
                "백업과 클러스터 비교: 없음 {missing}, 변경 {changed}, 클러스터가 스스로 만드는 것 {own}"
            ),
        )
    }

    /// Act five.
    #[must_use]
    pub fn demo_restored(self, created: u64, unchanged: u64) -> String {
        self.say(
            format_args!("restored: {created} created, {unchanged} unchanged"),
            format_args!("복원: 생성 {created}, 그대로 {unchanged}"),
        )
    }

    /// Act six, good end.
    #[must_use]
    pub fn demo_proven(self, objects: u64) -> String {
        self.say(
            format_args!(
                "compared all {objects} objects with what they were before: nothing differs"
            ),
            format_args!("오브젝트 {objects}개를 모두 처음과 비교했습니다. 다른 것이 없습니다"),
        )
    }

    /// Act six, bad end.
    #[must_use]
    pub fn demo_differs(self, differences: u64) -> String {
        self.say(
            format_args!("{differences} objects differ from what they were before"),
            format_args!("복원 뒤에도 오브젝트 {differences}개가 처음과 다릅니다"),
        )
    }

    /// Above the commands to try.
    #[must_use]
    pub fn demo_next(self) -> String {
        self.say(
            format_args!("Where to look next"),
            format_args!("다음에 볼 것"),
        )
    }

    /// Offers to look into the backup with kubectl.
    #[must_use]
    pub fn demo_browse(self) -> String {
        self.say(
            format_args!("look into the backup with kubectl; this serves it until Ctrl-C:"),
            format_args!("kubectl 로 백업 들여다보기. Ctrl-C 까지 백업을 보여 줍니다:"),
        )
    }

    /// The second half of it.
    #[must_use]
    pub fn demo_second_terminal(self) -> String {
        self.say(
            format_args!("and, in a second terminal:"),
            format_args!("그동안 다른 터미널에서:"),
        )
    }

    /// Offers to do it with a real cluster.
    #[must_use]
    pub fn demo_real(self) -> String {
        self.say(
            format_args!("back up your own cluster, with nothing installed in it:"),
            format_args!("아무것도 설치하지 않고 내 클러스터 백업하기:"),
        )
    }

    /// Total time, last line.
    #[must_use]
    pub fn demo_total(self, took: &str) -> String {
        self.say(
            format_args!("done in {took}"),
            format_args!("{took} 만에 끝났습니다"),
        )
    }

    /// The folder that was used before holds a demo already.
    #[must_use]
    pub fn demo_folder_in_use(self, folder: &str) -> String {
        self.say(
            format_args!("{folder} already holds a demo backup: pass an empty folder with --dir"),
            format_args!("{folder}에 이미 데모 백업이 있습니다. --dir 에 빈 폴더를 지정하세요"),
        )
    }
}
