//! About the bundle of `debug`.

use super::{Messages, count};

impl Messages {
    /// The bundle is there.
    #[must_use]
    pub fn debug_written(self, path: &str, files: u64, size: &str) -> String {
        let files_en = count(files, "file", "files");
        self.say(
            format_args!(
                "{path}: {files_en}, {size}. Secrets were taken out; look through it before you send it"
            ),
            format_args!("{path}: 파일 {files}개, {size}. 비밀은 지웠습니다. 보내기 전에 훑어보세요"),
        )
    }

    /// Something could not be had.
    #[must_use]
    pub fn debug_missing(self, what: &str) -> String {
        self.say(
            format_args!("not in the bundle: {what}"),
            format_args!("담지 못함: {what}"),
        )
    }
}
