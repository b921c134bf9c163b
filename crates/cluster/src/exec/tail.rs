//! The end of an output: as many bytes as are kept, and how many came before them.

use std::collections::VecDeque;

/// The last bytes of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    bytes: VecDeque<u8>,
    most: usize,
    dropped: u64,
}

impl Tail {
    /// Keeps the last `most` bytes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            most,
            dropped: 0,
        }
    }

    /// Appends; what has no room is dropped from the front.
    pub fn push(&mut self, data: &[u8]) {
        let kept = &data[data.len().saturating_sub(self.most)..];
        let over = (self.bytes.len() + kept.len()).saturating_sub(self.most);
        self.bytes.drain(..over);
        self.bytes.extend(kept);
        self.dropped += (data.len() - kept.len() + over) as u64;
    }

    /// Bytes that were dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The kept bytes as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let (front, back) = self.bytes.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }

    /// The last `most` characters on one line, for messages.
    #[must_use]
    pub fn line(&self, most: usize) -> String {
        let text = self.text();
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        let count = line.chars().count();
        if count <= most {
            return line;
        }
        let end: String = line.chars().skip(count - most).collect();
        format!("...{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_and_the_rest_counted() {
        let mut tail = Tail::new(4);
        for (data, text, dropped) in [
            ("", "", 0),
            ("ab", "ab", 0),
            ("cd", "abcd", 0),
            ("e", "bcde", 1),
            ("0123456789", "6789", 11),
        ] {
            tail.push(data.as_bytes());
            assert_eq!((tail.text().as_str(), tail.dropped()), (text, dropped));
        }
        assert_eq!(tail.line(2), "...89");
        assert_eq!(Tail::new(0).text(), "");
    }
}
