//! About how long something will take.

use super::{Messages, count};

impl Messages {
    /// How long a transfer will take, by what earlier runs got through.
    #[must_use]
    pub fn estimated(self, time: &str, amount: &str, rate: &str, runs: u64) -> String {
        let runs_en = count(runs, "earlier run", "earlier runs");
        self.say(
            format_args!(
                "estimated time: about {time} for {amount} (measured on {runs_en}: {rate})"
            ),
            format_args!("예상 시간: {amount}에 약 {time} (이전 실행 {runs}건에서 측정: {rate})"),
        )
    }

    /// The same where only a limit says how fast it can be.
    #[must_use]
    pub fn estimated_by_limit(self, time: &str, amount: &str, rate: &str) -> String {
        self.say(
            format_args!("estimated time: at least {time} for {amount} (limited to {rate})"),
            format_args!("예상 시간: {amount}에 최소 {time} ({rate}로 제한됨)"),
        )
    }

    /// How fast earlier runs were is known, how much there is to do is not.
    #[must_use]
    pub fn estimate_without_size(self, rate: &str, runs: u64) -> String {
        let runs_en = count(runs, "earlier run", "earlier runs");
        self.say(
            format_args!(
                "estimated time: unknown, as no earlier run was of the same selection ({runs_en} made {rate})"
            ),
            format_args!(
                "예상 시간: 알 수 없음. 같은 대상을 고른 이전 실행이 없습니다(이전 실행 {runs}건은 {rate})"
            ),
        )
    }

    /// Nothing was measured.
    #[must_use]
    pub fn estimate_unknown(self) -> String {
        self.say(
            format_args!("estimated time: unknown, as nothing was measured here yet"),
            format_args!("예상 시간: 알 수 없음. 아직 측정된 것이 없습니다"),
        )
    }

    /// How long something that runs still takes.
    #[must_use]
    pub fn left(self, time: &str) -> String {
        self.say(
            format_args!("about {time} left"),
            format_args!("약 {time} 남음"),
        )
    }

    /// A number of objects.
    #[must_use]
    pub fn objects(self, number: u64) -> String {
        self.say(
            format_args!("{}", count(number, "object", "objects")),
            format_args!("오브젝트 {number}개"),
        )
    }
}
