//! Korean particles that depend on whether the word before them ends in a consonant.
//!
//! Names in messages are Latin or digits as often as Hangul, so their *reading* decides: `3` is read 삼
//! and takes 은, `2` is read 이 and takes 는; `l`, `m`, `n`, `r` and the endings of English words that are
//! read with a final consonant take the consonant form.

/// How the reading of a word ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Vowel,
    /// Final ㄹ, which 으로/로 treats like a vowel.
    Rieul,
    Consonant,
}

/// `은` or `는`: topic.
#[must_use]
pub fn eun(word: &str) -> &'static str {
    choose(word, "은", "는")
}

/// `이` or `가`: subject.
#[must_use]
pub fn i(word: &str) -> &'static str {
    choose(word, "이", "가")
}

/// `을` or `를`: object.
#[must_use]
pub fn eul(word: &str) -> &'static str {
    choose(word, "을", "를")
}

/// `과` or `와`: and.
#[must_use]
pub fn gwa(word: &str) -> &'static str {
    choose(word, "과", "와")
}

/// `으로` or `로`: towards, by means of.
#[must_use]
pub fn euro(word: &str) -> &'static str {
    match ending(word) {
        Ending::Consonant => "으로",
        Ending::Vowel | Ending::Rieul => "로",
    }
}

fn choose(word: &str, consonant: &'static str, vowel: &'static str) -> &'static str {
    match ending(word) {
        Ending::Vowel => vowel,
        Ending::Rieul | Ending::Consonant => consonant,
    }
}

/// The last character that is read aloud decides; quotes, brackets and punctuation are not.
fn ending(word: &str) -> Ending {
    let mut letters = word.chars().rev().filter(|c| c.is_alphanumeric());
    let Some(last) = letters.next() else {
        return Ending::Vowel;
    };
    match last {
        // Hangul syllables are laid out as (initial, vowel, final) with 28 finals; final 8 is ㄹ.
        '가'..='힣' => match (last as u32 - '가' as u32) % 28 {
            0 => Ending::Vowel,
            8 => Ending::Rieul,
            _ => Ending::Consonant,
        },
        // 영, 삼, 육 end in a consonant; 일, 칠, 팔 in ㄹ; 이, 사, 오, 구 in a vowel.
        '0' | '3' | '6' => Ending::Consonant,
        '1' | '7' | '8' => Ending::Rieul,
        '2' | '4' | '5' | '9' => Ending::Vowel,
        _ => {
            let before = letters.next().map(|c| c.to_ascii_lowercase());
            latin(last.to_ascii_lowercase(), before)
        }
    }
}

/// How the Korean reading of a Latin word ends, by its last two letters: `pod` 파드 and `test` 테스트 get
/// a vowel, `backup` 백업, `argocd`'s `d` as a letter 디, `staging` 스테이징, `signal` 시그널.
fn latin(last: char, before: Option<char>) -> Ending {
    let after_vowel = before.is_some_and(|c| "aeiou".contains(c));
    match (last, before) {
        ('l', _) => Ending::Rieul,
        // A lone `r` is read 알; at the end of a word it is not pronounced: server 서버.
        ('r', None) => Ending::Rieul,
        ('m' | 'n', _) | ('g', Some('n')) => Ending::Consonant,
        // Stops after a short vowel close the syllable: backup, stack, bucket (버킷).
        ('p' | 'k' | 't' | 'c', Some(_)) if after_vowel => Ending::Consonant,
        ('k', Some('c')) => Ending::Consonant,
        _ => Ending::Vowel,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn particles_follow_the_reading_of_the_word() {
        for (word, expected) in [
            ("백업", "백업은 백업이 백업을 백업과 백업으로"),
            ("복구", "복구는 복구가 복구를 복구와 복구로"),
            ("파일", "파일은 파일이 파일을 파일과 파일로"),
            (
                "nightly-1",
                "nightly-1은 nightly-1이 nightly-1을 nightly-1과 nightly-1로",
            ),
            (
                "nightly-2",
                "nightly-2는 nightly-2가 nightly-2를 nightly-2와 nightly-2로",
            ),
            (
                "nightly-3",
                "nightly-3은 nightly-3이 nightly-3을 nightly-3과 nightly-3으로",
            ),
            (
                "production",
                "production은 production이 production을 production과 production으로",
            ),
            (
                "staging",
                "staging은 staging이 staging을 staging과 staging으로",
            ),
            ("signal", "signal은 signal이 signal을 signal과 signal로"),
            ("server", "server는 server가 server를 server와 server로"),
            (
                "`backup`",
                "`backup`은 `backup`이 `backup`을 `backup`과 `backup`으로",
            ),
            ("", "는 가 를 와 로"),
        ] {
            let actual = format!(
                "{word}{} {word}{} {word}{} {word}{} {word}{}",
                eun(word),
                i(word),
                eul(word),
                gwa(word),
                euro(word)
            );
            assert_eq!(actual, expected);
        }
    }
}
