//! The entries of a directory, one by one.
//!
//! Most directories are read whole. The description of one with a million entries has 330 MB; it is kept as it is
//! stored, compressed, and read twice: once to see that it is what its id says, once to take the entries out.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use salvor_seal::Hasher;

use crate::error::{Error, Result};
use crate::format::node::Node;
use crate::format::tree::{Tree, parse_node};
use crate::id::BlobId;
use crate::index::LONGEST_BLOB;

/// Longest description of one entry: four million pieces of one file.
const LONGEST_ENTRY: usize = 288 << 20;

/// Entries in ascending order of their names. After an error there are no more.
pub struct Entries(Inner);

enum Inner {
    Whole(VecDeque<Node>),
    Large(Box<Large>),
    Ended,
}

struct Large {
    reader: Box<dyn BufRead + Send>,
    id: BlobId,
    /// Of the repository, for messages.
    place: String,
    /// Name of the entry before.
    last: Option<Vec<u8>>,
    json: Vec<u8>,
    began: bool,
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Inner::Whole(_) => "Entries(whole)",
            Inner::Large(_) => "Entries(large)",
            Inner::Ended => "Entries(ended)",
        })
    }
}

impl Entries {
    /// Those of a tree that is in memory.
    #[must_use]
    pub fn whole(tree: Tree) -> Self {
        Self(Inner::Whole(tree.nodes.into()))
    }

    /// Those of a tree whose plaintext is read as it is wanted. An error says what is wrong.
    pub(crate) fn large(
        plain: Vec<u8>,
        is_compressed: bool,
        id: &BlobId,
        place: String,
    ) -> Result<Self, String> {
        let unreadable = |e: io::Error| format!("does not decompress: {e}");
        let first = decoded(Cursor::new(plain.as_slice()), is_compressed).map_err(unreadable)?;
        // A hostile piece must not be decompressed without end.
        let mut first = first.take(u64::from(LONGEST_BLOB) + 1);
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 128 << 10];
        loop {
            match first.read(&mut buffer).map_err(unreadable)? {
                0 => break,
                length => hasher.update(&buffer[..length]),
            }
        }
        drop(first);
        if BlobId::from(hasher.finish()) != *id {
            return Err("is another than its id says".to_owned());
        }
        let reader = decoded(Cursor::new(plain), is_compressed).map_err(unreadable)?;
        Ok(Self(Inner::Large(Box::new(Large {
            reader,
            id: *id,
            place,
            last: None,
            json: Vec::new(),
            began: false,
        }))))
    }
}

fn decoded<'r>(
    plain: impl BufRead + Send + 'r,
    is_compressed: bool,
) -> io::Result<Box<dyn BufRead + Send + 'r>> {
    if !is_compressed {
        return Ok(Box::new(plain));
    }
    let decoder = zstd::stream::read::Decoder::with_buffer(plain)?;
    Ok(Box::new(BufReader::with_capacity(128 << 10, decoder)))
}

impl Iterator for Entries {
    type Item = Result<Node>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = match &mut self.0 {
            Inner::Whole(nodes) => return nodes.pop_front().map(Ok),
            Inner::Large(large) => large.next().transpose().map(|next| {
                next.map_err(|what| Error::Damaged {
                    file: format!("tree {}", large.id),
                    place: large.place.clone(),
                    what,
                })
            }),
            Inner::Ended => None,
        };
        if !matches!(next, Some(Ok(_))) {
            self.0 = Inner::Ended;
        }
        next
    }
}

impl Large {
    fn next(&mut self) -> Result<Option<Node>, String> {
        if !std::mem::replace(&mut self.began, true) && !self.begin()? {
            return Ok(None);
        }
        loop {
            match self.byte()? {
                b',' | b' ' | b'\n' | b'\r' | b'\t' => {}
                b']' => return Ok(None),
                b'{' => break,
                other => return Err(strange(other)),
            }
        }
        self.object()?;
        let node = parse_node(&self.json)?;
        if let Some(last) = self.last.replace(node.name.clone())
            && last >= node.name
        {
            return Err(format!(
                "its entries are not in order: {:?} stands before {:?}",
                String::from_utf8_lossy(&last),
                String::from_utf8_lossy(&node.name)
            ));
        }
        Ok(Some(node))
    }

    /// `{"nodes":[`; false for `{"nodes":null`.
    fn begin(&mut self) -> Result<bool, String> {
        for wanted in b"{\"nodes\":" {
            let found = self.solid()?;
            if found != *wanted {
                return Err(strange(found));
            }
        }
        match self.solid()? {
            b'[' => Ok(true),
            b'n' => Ok(false),
            other => Err(strange(other)),
        }
    }

    /// The next byte that is no space.
    fn solid(&mut self) -> Result<u8, String> {
        loop {
            let byte = self.byte()?;
            if !byte.is_ascii_whitespace() {
                return Ok(byte);
            }
        }
    }

    fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        self.reader
            .read_exact(&mut byte)
            .map_err(|e| format!("it ends too early: {e}"))?;
        Ok(byte[0])
    }

    /// Takes an object whose first byte was read, up to its last one.
    fn object(&mut self) -> Result<(), String> {
        self.json.clear();
        self.json.push(b'{');
        let (mut depth, mut in_text, mut escaped) = (1_usize, false, false);
        loop {
            let buffer = self
                .reader
                .fill_buf()
                .map_err(|e| format!("it ends too early: {e}"))?;
            if buffer.is_empty() {
                return Err("it ends within an entry".to_owned());
            }
            let end = buffer.iter().position(|byte| {
                if escaped {
                    escaped = false;
                } else if in_text {
                    match byte {
                        b'\\' => escaped = true,
                        b'"' => in_text = false,
                        _ => {}
                    }
                } else {
                    match byte {
                        b'"' => in_text = true,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth -= 1,
                        _ => {}
                    }
                }
                depth == 0
            });
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.json.extend_from_slice(&buffer[..used]);
            self.reader.consume(used);
            if end.is_some() {
                return Ok(());
            }
            if self.json.len() > LONGEST_ENTRY {
                return Err("it has an entry that is longer than any can be".to_owned());
            }
        }
    }
}

fn strange(byte: u8) -> String {
    format!("it is no tree: {:?} stands where it cannot", byte as char)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::node::NodeKind;
    use crate::format::tree::TreeWriter;

    fn json(count: u32) -> Vec<u8> {
        let mut tree = TreeWriter::default();
        for i in 0..count {
            let name = format!("{i:05} \"}}]\\ \u{1}").into_bytes();
            let mut node = Node::new(NodeKind::File, name);
            node.content = vec![BlobId::of(&i.to_le_bytes())];
            let mut json = Vec::new();
            node.write_json(&mut json);
            tree.add(&json);
        }
        tree.finish()
    }

    fn large(json: &[u8], compress: bool) -> Result<Entries, String> {
        let id = BlobId::of(json);
        let plain = if compress {
            zstd::bulk::compress(json, 1).map_err(|e| e.to_string())?
        } else {
            json.to_vec()
        };
        Entries::large(plain, compress, &id, "memory".to_owned())
    }

    #[test]
    fn one_by_one_is_as_at_once() {
        for count in [0, 1, 5000] {
            let json = json(count);
            let wanted = Tree::parse(&json).expect("its own tree").nodes;
            for compress in [false, true] {
                let found: Result<Vec<Node>> = large(&json, compress).expect("whole").collect();
                assert_eq!(found.expect("whole"), wanted);
            }
            let whole = Entries::whole(Tree { nodes: wanted });
            assert_eq!(whole.count(), count as usize);
        }
        let null = large(b"{\"nodes\":null}\n", false).expect("whole");
        assert_eq!(null.count(), 0);
    }

    #[test]
    fn what_is_no_tree_is_an_error_and_the_end() {
        let good = json(3);
        let text = String::from_utf8_lossy(&good).into_owned();
        for bad in [
            String::new(),
            "[]".to_owned(),
            text[..text.len() - 20].to_owned(),
            text[..text.len() - 2].replace(']', ""),
            text.replace("00001", "00000"),
            text.replace("\"file\"", "\"wormhole\""),
            text.replacen("{\"name\"", "7{\"name\"", 1),
            text.replace("00002", ".").replace("00001", ".."),
        ] {
            let mut entries = large(bad.as_bytes(), true).expect("its id is right");
            let errors = entries.by_ref().filter(Result::is_err).count();
            assert_eq!(errors, 1, "{bad}");
            assert!(entries.next().is_none());
        }
        let id = BlobId::of(b"another");
        assert!(Entries::large(good, false, &id, String::new()).is_err());
        assert!(Entries::large(b"no zstd".to_vec(), true, &id, String::new()).is_err());
    }
}
