//! Velero's wildcard patterns: `*`, `?` and `[abc]`.
//!
//! Namespace patterns refuse what users of other glob dialects might expect to work (`**`, `|`, `()`,
//! `!`, `{}`, `,`), so that a pattern never silently means something else.

use std::fmt;

/// A parsed pattern. A pattern without wildcard characters matches itself only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    text: String,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Literal(char),
    AnyChar,
    AnyRun,
    Class(Vec<(char, char)>),
}

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pattern `{pattern}` is not valid: {reason}")]
pub struct GlobError {
    /// The pattern as given.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// An unclosed or empty `[`, and the unsupported forms `**`, `|`, `(`, `)`, `!`, `{`, `}`, `,`.
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        let refuse = |reason: &str| GlobError {
            pattern: pattern.to_owned(),
            reason: reason.to_owned(),
        };
        if pattern.contains("**") {
            return Err(refuse("`**` is not supported, use `*`"));
        }
        if let Some(c) = pattern.chars().find(|c| "|()!{},".contains(*c)) {
            return Err(refuse(&format!(
                "`{c}` is not supported, use `*`, `?` or `[abc]`"
            )));
        }
        let mut tokens = Vec::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::AnyRun,
                '?' => Token::AnyChar,
                '[' => {
                    let Some((inside, rest)) = chars.as_str().split_once(']') else {
                        return Err(refuse("`[` needs characters and a closing `]`"));
                    };
                    if inside.is_empty() {
                        return Err(refuse("`[` needs characters and a closing `]`"));
                    }
                    chars = rest.chars();
                    let inside: Vec<char> = inside.chars().collect();
                    Token::Class(class_ranges(&inside))
                }
                other => Token::Literal(other),
            });
        }
        Ok(Self {
            text: pattern.to_owned(),
            tokens,
        })
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// True for `*`.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.text == "*"
    }

    /// True when the pattern has no wildcard and so names exactly one thing.
    #[must_use]
    pub fn is_literal(&self) -> bool {
        self.tokens.iter().all(|t| matches!(t, Token::Literal(_)))
    }

    /// True when the whole of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let chars: Vec<char> = text.chars().collect();
        // Greedy match with one point of return: linear in practice, quadratic at worst, so a
        // hostile pattern cannot stall a run.
        let (mut t, mut c) = (0, 0);
        let mut back: Option<(usize, usize)> = None;
        while c < chars.len() {
            match self.tokens.get(t) {
                Some(Token::AnyRun) => {
                    back = Some((t + 1, c));
                    t += 1;
                }
                Some(token) if token.accepts(chars[c]) => {
                    t += 1;
                    c += 1;
                }
                _ => match back {
                    Some((after_star, start)) => {
                        t = after_star;
                        c = start + 1;
                        back = Some((after_star, start + 1));
                    }
                    None => return false,
                },
            }
        }
        self.tokens[t..].iter().all(|token| *token == Token::AnyRun)
    }
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Token::Literal(l) => *l == c,
            Token::AnyChar => true,
            Token::AnyRun => false,
            Token::Class(ranges) => ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)),
        }
    }
}

fn class_ranges(inside: &[char]) -> Vec<(char, char)> {
    let mut ranges = Vec::new();
    let mut i = 0;
    while i < inside.len() {
        if i + 2 < inside.len() && inside[i + 1] == '-' {
            ranges.push((inside[i], inside[i + 2]));
            i += 3;
        } else {
            ranges.push((inside[i], inside[i]));
            i += 1;
        }
    }
    ranges
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_names() {
        for (pattern, yes, no) in [
            ("*", vec!["", "a", "kube-system"], vec![]),
            ("prod", vec!["prod"], vec!["prod1", "xprod", ""]),
            ("prod-*", vec!["prod-", "prod-a-b"], vec!["prod", "xprod-a"]),
            ("*-prod", vec!["a-prod", "-prod-prod"], vec!["a-prod1"]),
            ("app-?", vec!["app-1"], vec!["app-", "app-12"]),
            ("app-[ab]", vec!["app-a", "app-b"], vec!["app-c"]),
            ("v[0-3]x", vec!["v0x", "v3x"], vec!["v4x"]),
            ("*a*b*c", vec!["abc", "xaxbxc", "aabbcc"], vec!["acb", "ab"]),
        ] {
            let glob = Glob::new(pattern).expect(pattern);
            for name in yes {
                assert!(glob.matches(name), "{pattern} should match {name:?}");
            }
            for name in no {
                assert!(!glob.matches(name), "{pattern} should not match {name:?}");
            }
        }
    }

    #[test]
    fn refuses_other_dialects() {
        for pattern in [
            "a**", "a|b", "(a)", "!a", "{a,b}", "a,b", "[", "[]", "a[b", "[a][", "a]b[c",
        ] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn many_stars_do_not_stall() {
        let glob = Glob::new(&"a*".repeat(50)).expect("valid");
        assert!(!glob.matches(&"a".repeat(40)));
        assert!(glob.matches(&"ab".repeat(60)));
    }
}
