//! Nodes: entries of a directory, as they stand in a tree.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use serde::Deserialize;

use super::names;
use crate::id::BlobId;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket; a restore leaves it out, since only its owner can make it.
    Socket,
    /// Something of another system.
    Irregular,
}

/// The format's words.
const KINDS: [(NodeKind, &str, u32); 8] = [
    (NodeKind::File, "file", 0),
    (NodeKind::Dir, "dir", 1 << 31),
    (NodeKind::Symlink, "symlink", 1 << 27),
    (NodeKind::BlockDevice, "dev", 1 << 26),
    (NodeKind::CharDevice, "chardev", 1 << 26 | 1 << 21),
    (NodeKind::Fifo, "fifo", 1 << 25),
    (NodeKind::Socket, "socket", 1 << 24),
    (NodeKind::Irregular, "irregular", 1 << 19),
];

impl NodeKind {
    /// The format's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        KINDS[self as usize].1
    }

    /// The type bits of Go's `os.FileMode`.
    fn mode_bits(self) -> u32 {
        KINDS[self as usize].2
    }
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// Its name, with the namespace.
    pub name: String,
    /// Its value.
    pub value: Vec<u8>,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// One component of a path; any bytes.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits, with set-uid, set-gid and sticky as in Unix (`0o7777`).
    pub mode: u32,
    /// When its content changed.
    pub mtime: Timestamp,
    /// When it was read.
    pub atime: Timestamp,
    /// When it or what is known of it changed.
    pub ctime: Timestamp,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Owner's name where it is known.
    pub user: String,
    /// Group's name where it is known.
    pub group: String,
    /// Inode, by which hard links are recognised.
    pub inode: u64,
    /// File system.
    pub device_id: u64,
    /// Bytes of a file.
    pub size: u64,
    /// Hard links.
    pub links: u64,
    /// Target of a symbolic link; any bytes.
    pub link_target: Vec<u8>,
    /// Extended attributes, ACLs among them, by name.
    pub xattrs: Vec<Xattr>,
    /// Device number of a device.
    pub device: u64,
    /// The pieces of a file, in order.
    pub content: Vec<BlobId>,
    /// The tree of a directory.
    pub subtree: Option<BlobId>,
}

impl Node {
    /// A node of which only kind and name are known.
    #[must_use]
    pub fn new(kind: NodeKind, name: Vec<u8>) -> Self {
        Self {
            name,
            kind,
            mode: 0,
            mtime: Timestamp::UNIX_EPOCH,
            atime: Timestamp::UNIX_EPOCH,
            ctime: Timestamp::UNIX_EPOCH,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            inode: 0,
            device_id: 0,
            size: 0,
            links: 0,
            link_target: Vec::new(),
            xattrs: Vec::new(),
            device: 0,
            content: Vec::new(),
            subtree: None,
        }
    }

    /// Whether an unchanged file on disk looks like this one: same size, time and kind; with `strict` also
    /// the same change time and inode (not so on copies of a volume, where both are new).
    #[must_use]
    pub fn looks_like(&self, other: &Self, strict: bool) -> bool {
        self.kind == other.kind
            && self.size == other.size
            && self.mtime == other.mtime
            && (!strict || (self.ctime == other.ctime && self.inode == other.inode))
    }

    /// Appends the node's JSON, with fields in the format's order.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"name\":");
        write_string(out, &names::quote(&self.name));
        number_or_word(out, "type", &format_args!("\"{}\"", self.kind.word()));
        let mode = go_mode(self.kind, self.mode);
        if mode != 0 {
            number_or_word(out, "mode", &mode);
        }
        for (field, time) in [
            ("mtime", self.mtime),
            ("atime", self.atime),
            ("ctime", self.ctime),
        ] {
            number_or_word(out, field, &format_args!("\"{time}\""));
        }
        number_or_word(out, "uid", &self.uid);
        number_or_word(out, "gid", &self.gid);
        for (field, text) in [("user", &self.user), ("group", &self.group)] {
            if !text.is_empty() {
                write_field(out, field, text);
            }
        }
        let numbers = [
            ("inode", self.inode),
            ("device_id", self.device_id),
            ("size", self.size),
            ("links", self.links),
        ];
        for (field, value) in numbers {
            if value != 0 {
                number_or_word(out, field, &value);
            }
        }
        self.write_link_target(out);
        self.write_xattrs(out);
        if self.device != 0 {
            number_or_word(out, "device", &self.device);
        }
        self.write_content(out);
        if let Some(subtree) = &self.subtree {
            number_or_word(out, "subtree", &format_args!("\"{subtree}\""));
        }
        out.push(b'}');
    }

    fn write_link_target(&self, out: &mut Vec<u8>) {
        if self.link_target.is_empty() {
            return;
        }
        write_field(
            out,
            "linktarget",
            &String::from_utf8_lossy(&self.link_target),
        );
        if std::str::from_utf8(&self.link_target).is_err() {
            write_field(out, "linktarget_raw", &BASE64.encode(&self.link_target));
        }
    }

    fn write_xattrs(&self, out: &mut Vec<u8>) {
        if self.xattrs.is_empty() {
            return;
        }
        out.extend_from_slice(b",\"extended_attributes\":");
        for (i, xattr) in self.xattrs.iter().enumerate() {
            out.extend_from_slice(if i == 0 {
                b"[{\"name\":"
            } else {
                b",{\"name\":"
            });
            write_string(out, &xattr.name);
            write_field(out, "value", &BASE64.encode(&xattr.value));
            out.push(b'}');
        }
        out.push(b']');
    }

    fn write_content(&self, out: &mut Vec<u8>) {
        if self.kind != NodeKind::File {
            out.extend_from_slice(b",\"content\":null");
            return;
        }
        out.extend_from_slice(b",\"content\":[");
        for (i, id) in self.content.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            put(out, &format_args!("\"{id}\""));
        }
        out.push(b']');
    }
}

/// Writing into memory does not fail.
fn put(out: &mut Vec<u8>, what: &dyn std::fmt::Display) {
    write!(out, "{what}").expect("a vector takes everything");
}

fn number_or_word(out: &mut Vec<u8>, field: &str, value: &dyn std::fmt::Display) {
    put(out, &format_args!(",\"{field}\":{value}"));
}

fn write_field(out: &mut Vec<u8>, field: &str, text: &str) {
    put(out, &format_args!(",\"{field}\":"));
    write_string(out, text);
}

/// A JSON string as Go writes it: `<`, `>` and `&` escaped, too, so that equal directories give equal trees
/// whoever wrote them.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                put(out, &format_args!("\\u{:04x}", c as u32));
            }
            c if (c as u32) < 0x20 => put(out, &format_args!("\\u{:04x}", c as u32)),
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// Go's `os.FileMode` of a kind and Unix permission bits.
fn go_mode(kind: NodeKind, unix: u32) -> u32 {
    let mut mode = kind.mode_bits() | unix & 0o777;
    for (unix_bit, go_bit) in SPECIAL {
        if unix & unix_bit != 0 {
            mode |= go_bit;
        }
    }
    mode
}

/// Unix permission bits of Go's `os.FileMode`.
fn unix_mode(go: u32) -> u32 {
    SPECIAL
        .iter()
        .filter(|(_, go_bit)| go & go_bit != 0)
        .fold(go & 0o777, |mode, (unix_bit, _)| mode | unix_bit)
}

/// Set-uid, set-gid and sticky in Unix and in Go.
const SPECIAL: [(u32, u32); 3] = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];

/// The JSON of a node.
#[derive(Deserialize)]
pub(super) struct NodeText {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    mode: u32,
    mtime: Option<Timestamp>,
    atime: Option<Timestamp>,
    ctime: Option<Timestamp>,
    #[serde(default)]
    uid: u32,
    #[serde(default)]
    gid: u32,
    #[serde(default)]
    user: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    inode: u64,
    #[serde(default)]
    device_id: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    links: u64,
    #[serde(default)]
    linktarget: String,
    linktarget_raw: Option<String>,
    extended_attributes: Option<Vec<XattrText>>,
    #[serde(default)]
    device: u64,
    content: Option<Vec<BlobId>>,
    subtree: Option<BlobId>,
}

#[derive(Deserialize)]
struct XattrText {
    name: String,
    value: Option<String>,
}

impl NodeText {
    /// The node; an error says what is wrong with it.
    pub(super) fn node(self) -> Result<Node, String> {
        let name = names::unquote(&self.name)
            .filter(|name| names::is_component(name))
            .ok_or_else(|| format!("it has an entry with the impossible name {:?}", self.name))?;
        let kind = KINDS
            .iter()
            .find(|(_, word, _)| *word == self.kind)
            .ok_or_else(|| format!("{:?} in it has the unknown type {:?}", self.name, self.kind))?
            .0;
        if kind == NodeKind::Dir && self.subtree.is_none() {
            return Err(format!("the directory {:?} in it has no tree", self.name));
        }
        let bad = || format!("{:?} in it has attributes that are not base64", self.name);
        let link_target = match self.linktarget_raw {
            Some(raw) => BASE64.decode(raw).map_err(|_| bad())?,
            None => self.linktarget.into_bytes(),
        };
        let mut xattrs = Vec::new();
        for text in self.extended_attributes.unwrap_or_default() {
            let value = BASE64
                .decode(text.value.unwrap_or_default())
                .map_err(|_| bad())?;
            xattrs.push(Xattr {
                name: text.name,
                value,
            });
        }
        Ok(Node {
            name,
            kind,
            mode: unix_mode(self.mode),
            mtime: self.mtime.unwrap_or(Timestamp::UNIX_EPOCH),
            atime: self.atime.unwrap_or(Timestamp::UNIX_EPOCH),
            ctime: self.ctime.unwrap_or(Timestamp::UNIX_EPOCH),
            uid: self.uid,
            gid: self.gid,
            user: self.user,
            group: self.group,
            inode: self.inode,
            device_id: self.device_id,
            size: self.size,
            links: self.links,
            link_target,
            xattrs,
            device: self.device,
            content: self.content.unwrap_or_default(),
            subtree: self.subtree,
        })
    }
}
