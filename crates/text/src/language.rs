//! Which language people are spoken to in.

use std::fmt;
use std::str::FromStr;

/// A language of the catalogue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    /// English, the default.
    #[default]
    English,
    /// Korean.
    Korean,
}

impl Language {
    /// The language that the environment asks for: the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that
    /// is set and not empty decides, as POSIX says. Anything but Korean is English.
    #[must_use]
    pub fn from_locale<'a>(variables: impl IntoIterator<Item = Option<&'a str>>) -> Self {
        let locale = variables
            .into_iter()
            .flatten()
            .find(|value| !value.is_empty())
            .unwrap_or_default();
        match locale.split(['_', '.', '-', '@']).next() {
            Some("ko") => Self::Korean,
            _ => Self::English,
        }
    }

    /// The two-letter code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Korean => "ko",
        }
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "en" => Ok(Self::English),
            "ko" => Ok(Self::Korean),
            other => Err(format!(
                "`{other}` is not a language of this program: en or ko"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_variable_that_is_set_decides() {
        for (variables, expected) in [
            ([None, None, Some("ko_KR.UTF-8")], Language::Korean),
            (
                [Some("C.UTF-8"), None, Some("ko_KR.UTF-8")],
                Language::English,
            ),
            ([Some(""), Some("ko"), Some("en_US")], Language::Korean),
            ([None, None, Some("kok_IN")], Language::English),
            ([None, None, None], Language::English),
        ] {
            assert_eq!(Language::from_locale(variables), expected, "{variables:?}");
        }
        assert_eq!("ko".parse(), Ok(Language::Korean));
        assert!("kr".parse::<Language>().is_err());
    }
}
