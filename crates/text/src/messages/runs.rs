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

    /// Files of a machine are back.
    #[must_use]
    pub fn control_plane_put_back(self, member: &str, files: u64, aside: &str) -> String {
        self.say(
            format_args!(
                "{member}: {} put back; what was there is in {aside}",
                count(files, "file", "files")
            ),
            format_args!(
                "{member}: 파일 {files}개를 되돌렸습니다. 전에 있던 것은 {aside}에 있습니다"
            ),
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
