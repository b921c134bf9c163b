//! About archived backups.

use super::Messages;
use crate::particle::eul;

impl Messages {
    /// A backup was moved to a storage class that is read at once.
    #[must_use]
    pub fn backup_archived(self, name: &str, class: &str) -> String {
        self.say(
            format_args!(
                "backup {name} is in storage class {class}; it is read from there at once"
            ),
            format_args!(
                "백업 {name}: 스토리지 클래스 {class}로 옮김. 거기서 바로 읽을 수 있습니다"
            ),
        )
    }

    /// A backup was moved to a storage class that must be thawed.
    #[must_use]
    pub fn backup_archived_cold(self, name: &str, class: &str, wait: &str) -> String {
        self.say(
            format_args!(
                "backup {name} is in storage class {class}: before it is restored, thaw it with `salvor backup thaw \
                 {name}`, which takes about {wait}"
            ),
            format_args!(
                "백업 {name}: 스토리지 클래스 {class}로 옮김. 복원하려면 먼저 `salvor backup thaw {name}` 로 \
                 해동하세요. 약 {wait} 걸립니다"
            ),
        )
    }

    /// Nothing has to be thawed.
    #[must_use]
    pub fn backup_readable(self, name: &str) -> String {
        self.say(
            format_args!("backup {name} can be read now"),
            format_args!("백업 {name}{} 지금 읽을 수 있습니다", eul(name)),
        )
    }

    /// It was thawed.
    #[must_use]
    pub fn backup_readable_until(self, name: &str, until: &str) -> String {
        self.say(
            format_args!("backup {name} is thawed and can be read until {until}"),
            format_args!("백업 {name} 해동됨. {until} 까지 읽을 수 있습니다"),
        )
    }

    /// It is being thawed.
    #[must_use]
    pub fn backup_thawing(self, name: &str, wait: &str) -> String {
        self.say(
            format_args!(
                "backup {name} is being thawed, which takes about {wait}; ask again with the same command"
            ),
            format_args!("백업 {name} 해동 중. 약 {wait} 걸립니다. 같은 명령으로 다시 확인하세요"),
        )
    }
}
