//! About runs of several steps.

use super::Messages;

impl Messages {
    /// The id of a run.
    #[must_use]
    pub fn member_run_has_id(self, run: &str) -> String {
        self.say(format_args!("run {run}"), format_args!("실행 {run}"))
    }

    /// A step that there was nothing to do for.
    #[must_use]
    pub fn member_run_found(self, step: &str) -> String {
        self.say(
            format_args!("{step}: done already"),
            format_args!("{step}: 이미 되어 있음"),
        )
    }

    /// A step is taken back.
    #[must_use]
    pub fn member_run_undoing(self, step: &str) -> String {
        self.say(
            format_args!("taking back: {step}"),
            format_args!("되돌리는 중: {step}"),
        )
    }

    /// Everything is done.
    #[must_use]
    pub fn member_run_succeeded(self) -> String {
        self.say(
            format_args!("all steps are done and verified"),
            format_args!("모든 단계를 마치고 확인했습니다"),
        )
    }

    /// Everything is taken back.
    #[must_use]
    pub fn member_run_undone(self) -> String {
        self.say(
            format_args!("all steps that had run are taken back"),
            format_args!("실행했던 단계를 모두 되돌렸습니다"),
        )
    }

    /// It was stopped.
    #[must_use]
    pub fn member_run_stopped(self) -> String {
        self.say(
            format_args!("stopped between two steps"),
            format_args!("단계 사이에서 멈췄습니다"),
        )
    }

    /// How to go on.
    #[must_use]
    pub fn member_run_resume(self, run: &str) -> String {
        self.say(
            format_args!("go on with the same command and --run {run}, or take it back with --run {run} --undo"),
            format_args!("같은 명령에 --run {run} 을 더해 이어서 실행하거나, --run {run} --undo 로 되돌리세요"),
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
