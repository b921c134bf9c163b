//! About runs of several steps.

use super::{Messages, count};

impl Messages {
    /// A run begins, or is gone on with.
    #[must_use]
    pub fn run_begins(self, run: &str, target: &str) -> String {
        self.say(
            format_args!("run {run} on {target}"),
            format_args!("실행 {run}, 대상 {target}"),
        )
    }

    /// A step is applied from now on.
    #[must_use]
    pub fn run_step(self, step: &str, title: &str) -> String {
        self.say(
            format_args!("{step}: {title}"),
            format_args!("{step} 시작: {title}"),
        )
    }

    /// A step is done.
    #[must_use]
    pub fn run_step_done(self, step: &str, output: &str) -> String {
        self.say(
            format_args!("{step}: done {output}"),
            format_args!("{step} 완료 {output}"),
        )
    }

    /// Nothing was to be done for a step.
    #[must_use]
    pub fn run_step_found(self, step: &str) -> String {
        self.say(
            format_args!("{step}: nothing to do"),
            format_args!("{step}: 할 일이 없습니다"),
        )
    }

    /// A step is taken back.
    #[must_use]
    pub fn run_step_undone(self, step: &str) -> String {
        self.say(
            format_args!("{step}: taken back"),
            format_args!("{step}: 되돌렸습니다"),
        )
    }

    /// All steps are done.
    #[must_use]
    pub fn run_succeeded(self, run: &str, target: &str) -> String {
        self.say(
            format_args!("run {run} is done: {target} is recovered"),
            format_args!("실행 {run} 완료: {target}을(를) 복구했습니다"),
        )
    }

    /// All is taken back.
    #[must_use]
    pub fn run_undone(self, run: &str) -> String {
        self.say(
            format_args!("run {run} is undone"),
            format_args!("실행 {run}을(를) 되돌렸습니다"),
        )
    }

    /// What cannot be taken back.
    #[must_use]
    pub fn run_remains(self, step: &str, why: &str) -> String {
        self.say(
            format_args!("{step} could not be taken back: {why}"),
            format_args!("{step}은(는) 되돌릴 수 없습니다: {why}"),
        )
    }

    /// A point of a control plane.
    #[must_use]
    pub fn control_plane_saved(self, id: &str, location: &str, machines: u64) -> String {
        self.say(
            format_args!(
                "the files of {} are point {id} of {location}",
                count(machines, "machine", "machines")
            ),
            format_args!(
                "머신 {machines}대의 파일을 {location}의 복구 지점 {id}(으)로 저장했습니다"
            ),
        )
    }

    /// The kubeconfig's cluster is not that of the description.
    #[must_use]
    pub fn control_plane_of_another(self, other: &str, own: &str) -> String {
        self.say(
            format_args!("kubeadm-config and the API server's version are not in the point: the API server of the kubeconfig is of cluster {other}, and the description of {own}"),
            format_args!("kubeadm-config와 API 서버 버전은 복구 지점에 넣지 않았습니다. kubeconfig의 API 서버는 클러스터 {other}, 기술 파일은 {own}입니다"),
        )
    }

    /// Nothing in the location decrypts what was saved.
    #[must_use]
    pub fn etcd_keys_not_kept(self, location: &str) -> String {
        self.say(
            format_args!("the snapshot has values that are encrypted at rest, and location {location} has no point of the control plane with their keys: keep it with `salvor control-plane backup`"),
            format_args!("스냅샷에 저장 시 암호화된 값이 있지만 위치 {location}에 그 키가 든 컨트롤 플레인 복구 지점이 없습니다. `salvor control-plane backup`으로 보관하세요"),
        )
    }

    /// How a run is gone on with, or undone.
    #[must_use]
    pub fn run_resume(self, command: &str, run: &str) -> String {
        self.say(
            format_args!("go on with `salvor {command} --run {run}`, or take it back with `salvor {command} --run {run} --undo`"),
            format_args!("계속하려면 `salvor {command} --run {run}`, 되돌리려면 `salvor {command} --run {run} --undo`"),
        )
    }

    /// How a run that goes backwards is gone on with.
    #[must_use]
    pub fn run_undo_on(self, command: &str) -> String {
        self.say(
            format_args!("it goes backwards only: `{command}`"),
            format_args!("되돌리기만 계속할 수 있습니다: `{command}`"),
        )
    }

    /// A run is gone on with as it was begun.
    #[must_use]
    pub fn run_has_its_plane(self) -> String {
        self.say(
            format_args!("--run goes on with the machines that the run was begun with: leave out --plane and --host"),
            format_args!("--run은 시작할 때의 머신으로 계속합니다. --plane과 --host를 빼세요"),
        )
    }

    /// There are no runs.
    #[must_use]
    pub fn runs_none(self, place: &str) -> String {
        self.say(
            format_args!("no runs in {place}"),
            format_args!("{place}에 실행 기록이 없습니다"),
        )
    }

    /// What machines were found to have is taken for the description of the control plane.
    #[must_use]
    pub fn control_plane_detected(self, description: &str) -> String {
        self.say(
            format_args!("no --plane is given; this is what the machines have, and what is gone on with:\n{description}"),
            format_args!("--plane이 없으므로 머신에서 찾은 다음 구성으로 진행합니다:\n{description}"),
        )
    }

    /// A machine has no control plane.
    #[must_use]
    pub fn control_plane_not_found(self, looked: &str) -> String {
        self.say(
            format_args!("there is neither etcd nor an API server; looked at {looked}"),
            format_args!("etcd도 API 서버도 없습니다. 찾아본 곳: {looked}"),
        )
    }

    /// What to do where there is none.
    #[must_use]
    pub fn control_plane_elsewhere(self) -> String {
        self.say(
            format_args!("name the machines of the control plane with --host, or describe them in a file (docs/guides/control-plane.md)"),
            format_args!("컨트롤 플레인 머신을 --host로 지정하거나 파일로 기술하세요(docs/guides/ko/control-plane.md)"),
        )
    }

    /// Which member a cluster is made of.
    #[must_use]
    pub fn etcd_survivor(self, name: &str, index: u64, term: u64) -> String {
        self.say(
            format_args!(
                "member {name} knows most: its log ends with entry {index} of term {term}"
            ),
            format_args!(
                "멤버 {name}의 기록이 가장 깁니다. 마지막 항목은 {index}, 임기는 {term}입니다"
            ),
        )
    }
}
