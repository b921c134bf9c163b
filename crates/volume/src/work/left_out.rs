//! What a copy leaves out by its nature: sockets, which only the process that listens can make.

use std::io;

use salvor_repository::chunk::ChunkerKind;
use salvor_repository::source::{Content, Source, Step};
use salvor_repository::{Node, NodeKind};

/// Entries that are named; all are counted.
const NAMED: usize = 5;

/// A source that notes the sockets in it.
pub(super) struct Watched<S> {
    source: S,
    /// Names of the directories that are open.
    path: Vec<String>,
    pub(super) sockets: u64,
    pub(super) named: Vec<String>,
}

impl<S> Watched<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            path: Vec::new(),
            sockets: 0,
            named: Vec::new(),
        }
    }

    fn see(&mut self, step: &Step) {
        match step {
            Step::Enter(node) => self.path.push(name(node)),
            Step::Leave => drop(self.path.pop()),
            Step::Leaf(node) if node.kind == NodeKind::Socket => {
                self.sockets += 1;
                if self.named.len() < NAMED {
                    let parts = self.path.iter().cloned().chain([name(node)]);
                    self.named.push(parts.collect::<Vec<_>>().join("/"));
                }
            }
            Step::Leaf(_) | Step::Failed(_) | Step::End => {}
        }
    }
}

fn name(node: &Node) -> String {
    String::from_utf8_lossy(&node.name).into_owned()
}

impl<S: Source> Source for Watched<S> {
    fn next(&mut self) -> io::Result<Step> {
        let step = self.source.next()?;
        self.see(&step);
        Ok(step)
    }

    fn open(&mut self) -> io::Result<Box<dyn Content + '_>> {
        self.source.open()
    }

    fn root(&self) -> io::Result<Option<Node>> {
        self.source.root()
    }

    fn keeps_inodes(&self) -> bool {
        self.source.keeps_inodes()
    }

    fn chunker(&self) -> ChunkerKind {
        self.source.chunker()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use salvor_repository::source::tree::{TreeOptions, TreeSource};

    use super::*;

    #[test]
    fn sockets_are_counted_and_the_first_are_named_by_their_places() {
        let volume = tempfile::tempdir().expect("a folder");
        let run = volume.path().join("run");
        std::fs::create_dir(&run).expect("made");
        std::fs::write(volume.path().join("file"), "x").expect("written");
        for number in 0..7 {
            UnixListener::bind(run.join(format!("s{number}"))).expect("bound");
        }
        UnixListener::bind(volume.path().join("z")).expect("bound");
        let source = TreeSource::open(volume.path(), TreeOptions::default()).expect("opened");
        let mut watched = Watched::new(source);
        while !matches!(watched.next().expect("read"), Step::End) {}
        assert_eq!(watched.sockets, 8);
        assert_eq!(
            watched.named,
            ["run/s0", "run/s1", "run/s2", "run/s3", "run/s4"]
        );
    }
}
