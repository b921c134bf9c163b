//! About holds.

use super::Messages;

impl Messages {
    /// A backup is held.
    #[must_use]
    pub fn backup_held(self, name: &str, id: &str) -> String {
        self.say(
            format_args!("backup {name} is held until hold {id} is released"),
            format_args!("백업 {name} 보존됨. 보존 {id}을(를) 해제할 때까지 유지됩니다"),
        )
    }

    /// A hold that will be released after the question.
    #[must_use]
    pub fn hold_will_be_released(self, id: &str, reason: &str, by: &str) -> String {
        self.say(
            format_args!("hold {id} will be released: {reason} (by {by})"),
            format_args!("보존 {id}을(를) 해제합니다: {reason} ({by})"),
        )
    }

    /// A hold no longer counts.
    #[must_use]
    pub fn hold_released(self, id: &str) -> String {
        self.say(
            format_args!("hold {id} released"),
            format_args!("보존 {id} 해제됨"),
        )
    }

    /// Nobody holds a backup.
    #[must_use]
    pub fn not_held(self, name: &str) -> String {
        self.say(
            format_args!("backup {name} is not held"),
            format_args!("백업 {name}에는 보존이 없습니다"),
        )
    }
}
