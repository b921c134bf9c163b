//! Trees: directories, as JSON, entries strictly ascending by the bytes of their names.

use serde::Deserialize;

use super::node::{Node, NodeText};

/// A directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Its entries, strictly ascending by name.
    pub nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct TreeText {
    nodes: Option<Vec<NodeText>>,
}

impl Tree {
    /// Reads a tree's JSON.
    ///
    /// # Errors
    /// What is wrong with it: no JSON, impossible names, entries out of order.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let text: TreeText =
            serde_json::from_slice(json).map_err(|e| format!("it is no tree: {e}"))?;
        let nodes = text
            .nodes
            .unwrap_or_default()
            .into_iter()
            .map(NodeText::node)
            .collect::<Result<Vec<Node>, String>>()?;
        if let Some(pair) = nodes.windows(2).find(|pair| pair[0].name >= pair[1].name) {
            return Err(format!(
                "its entries are not in order: {:?} stands before {:?}",
                String::from_utf8_lossy(&pair[0].name),
                String::from_utf8_lossy(&pair[1].name)
            ));
        }
        Ok(Self { nodes })
    }

    /// The entry of this name.
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<&Node> {
        self.nodes
            .binary_search_by(|node| node.name.as_slice().cmp(name))
            .ok()
            .map(|i| &self.nodes[i])
    }
}

/// Reads the JSON of one entry.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_node(json: &[u8]) -> Result<Node, String> {
    serde_json::from_slice::<NodeText>(json)
        .map_err(|e| format!("it is no tree: {e}"))?
        .node()
}

/// Writes a tree from the JSON of its nodes.
#[derive(Debug, Default)]
pub(crate) struct TreeWriter {
    json: Vec<u8>,
}

impl TreeWriter {
    /// Takes the next node's JSON; the caller keeps them in order.
    pub(crate) fn add(&mut self, node: &[u8]) {
        self.json.extend_from_slice(if self.json.is_empty() {
            b"{\"nodes\":["
        } else {
            b","
        });
        self.json.extend_from_slice(node);
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.json.len()
    }

    /// The beginning of the tree's JSON, up to the last entry.
    pub(crate) fn so_far(self) -> Vec<u8> {
        self.json
    }

    /// The tree's JSON.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.json.is_empty() {
            self.json.extend_from_slice(b"{\"nodes\":[");
        }
        self.json.extend_from_slice(b"]}\n");
        self.json
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::{NodeKind, Xattr};
    use super::*;
    use crate::id::BlobId;

    fn written(nodes: &[Node]) -> Vec<u8> {
        let mut writer = TreeWriter::default();
        for node in nodes {
            let mut json = Vec::new();
            node.write_json(&mut json);
            writer.add(&json);
        }
        writer.finish()
    }

    #[test]
    fn every_kind_of_entry_reads_back() {
        let kinds = [
            NodeKind::File,
            NodeKind::Dir,
            NodeKind::Symlink,
            NodeKind::BlockDevice,
            NodeKind::CharDevice,
            NodeKind::Fifo,
            NodeKind::Socket,
            NodeKind::Irregular,
        ];
        let nodes: Vec<Node> = kinds
            .into_iter()
            .enumerate()
            .map(|(i, kind)| {
                let mut node =
                    Node::new(kind, vec![b'a' + i as u8, 0xff, b'"', b'\\', b'<', b'\n']);
                node.mode = 0o7654;
                node.mtime = "2026-11-21T10:00:00.123456789Z".parse().expect("a time");
                node.atime = "1901-01-01T00:00:00.5Z".parse().expect("a time");
                (node.uid, node.gid, node.inode, node.links) = (1, 2, 3, 4);
                (node.device_id, node.size, node.device) = (5, 6, 7);
                node.user = "한글 & <b>".to_owned();
                node.link_target = b"../\xfe".to_vec();
                node.xattrs = vec![Xattr {
                    name: "user.a".to_owned(),
                    value: vec![0, 255],
                }];
                if kind == NodeKind::File {
                    node.content = vec![BlobId::of(b"1"), BlobId::of(b"2")];
                }
                if kind == NodeKind::Dir {
                    node.subtree = Some(BlobId::of(b"t"));
                }
                node
            })
            .collect();
        let json = written(&nodes);
        assert_eq!(Tree::parse(&json).expect("its own tree").nodes, nodes);
        assert_eq!(Tree::parse(&written(&[])), Ok(Tree::default()));
    }

    #[test]
    fn hostile_trees_are_refused() {
        let entry = |name: &str, kind: &str| format!(r#"{{"name":{name:?},"type":"{kind}"}}"#);
        for bad in [
            String::new(),
            "[]".to_owned(),
            format!(r#"{{"nodes":[{}]}}"#, entry("..", "file")),
            format!(r#"{{"nodes":[{}]}}"#, entry("/etc/passwd", "file")),
            format!(r#"{{"nodes":[{}]}}"#, entry("a\\x2fb", "file")),
            format!(r#"{{"nodes":[{}]}}"#, entry("a", "wormhole")),
            format!(r#"{{"nodes":[{}]}}"#, entry("a", "dir")),
            format!(
                r#"{{"nodes":[{},{}]}}"#,
                entry("b", "file"),
                entry("a", "file")
            ),
            format!(
                r#"{{"nodes":[{},{}]}}"#,
                entry("a", "file"),
                entry("a", "symlink")
            ),
        ] {
            assert!(Tree::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Tree::parse(format!(r#"{{"nodes":{deep}}}"#).as_bytes()).is_err());
    }
}
