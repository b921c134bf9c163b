//! What every command says.

use super::Messages;

impl Messages {
    /// Label of an error.
    #[must_use]
    pub fn error(self) -> String {
        self.say(format_args!("error"), format_args!("오류"))
    }

    /// Label of a warning.
    #[must_use]
    pub fn warning(self) -> String {
        self.say(format_args!("warning"), format_args!("경고"))
    }

    /// Label of what to do next.
    #[must_use]
    pub fn hint(self) -> String {
        self.say(format_args!("hint"), format_args!("도움말"))
    }

    /// Label of a remark.
    #[must_use]
    pub fn note(self) -> String {
        self.say(format_args!("note"), format_args!("참고"))
    }

    /// Asked before something irreversible, on a terminal.
    #[must_use]
    pub fn type_name_to_confirm(self, name: &str) -> String {
        self.say(
            format_args!("Type {name} to go on: "),
            format_args!("계속하려면 {name} 이름을 입력하세요: "),
        )
    }

    /// The answer was not the name.
    #[must_use]
    pub fn not_confirmed(self) -> String {
        self.say(
            format_args!("not confirmed; nothing was changed"),
            format_args!("확인되지 않아 아무것도 바꾸지 않았습니다"),
        )
    }

    /// Confirmation is needed and nobody can be asked.
    #[must_use]
    pub fn confirmation_needed(self) -> String {
        self.say(
            format_args!("this needs a confirmation, and standard input is not a terminal"),
            format_args!("확인이 필요하지만 표준 입력이 터미널이 아닙니다"),
        )
    }

    /// What to do about it.
    #[must_use]
    pub fn pass_yes(self) -> String {
        self.say(
            format_args!("read what is listed above, then repeat the command with --yes"),
            format_args!("위 목록을 확인한 뒤 --yes 를 붙여 다시 실행하세요"),
        )
    }

    /// Ctrl-C was pressed once.
    #[must_use]
    pub fn stopping(self) -> String {
        self.say(
            format_args!("stopping after what is in progress; press Ctrl-C again to stop at once"),
            format_args!(
                "진행 중인 작업까지만 마치고 멈춥니다. 바로 멈추려면 Ctrl-C 를 다시 누르세요"
            ),
        )
    }

    /// A flag is about a way to treat volumes that is not there.
    #[must_use]
    pub fn flag_has_no_effect(self, flag: &str) -> String {
        self.say(
            format_args!("{flag} has no effect in this version"),
            format_args!("{flag} 는 이 버전에서 효과가 없습니다"),
        )
    }

    /// End of a shortened list.
    #[must_use]
    pub fn and_more(self, more: usize) -> String {
        self.say(
            format_args!("... and {more} more"),
            format_args!("... 외 {more}개"),
        )
    }

    /// The command ended because of Ctrl-C.
    #[must_use]
    pub fn cancelled(self) -> String {
        self.say(
            format_args!("cancelled before it was done"),
            format_args!("끝나기 전에 취소되었습니다"),
        )
    }
}
