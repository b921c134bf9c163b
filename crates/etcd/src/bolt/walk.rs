//! Reading a tree in the order of its keys, with every page looked at as a hostile one.

use super::database::Database;
use super::page::{BUCKET, BUCKET_FLAG, Element, HEADER, Header, Page, u64_at};
use super::{Error, Result, damaged};

/// Levels of a tree. Real ones have up to 6.
const DEEPEST: usize = 64;
/// Buckets of a database. etcd has 10.
const MOST_BUCKETS: usize = 1024;
/// Bytes of names and inline pages of all buckets.
const MOST_BUCKET_BYTES: usize = 64 << 20;

/// Pages that a walk has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    /// Branches.
    pub branches: u64,
    /// Leaves, without those inside a bucket.
    pub leaves: u64,
    /// Pages that belong to the one before them.
    pub overflow: u64,
    /// Pages of the freelist.
    pub freelist: u64,
}

impl Pages {
    /// All pages seen.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.branches + self.leaves + self.overflow + self.freelist
    }
}

/// A bucket: its name, and where its entries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The name.
    pub name: Vec<u8>,
    root: Root,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Root {
    Page(u64),
    /// The page inside the element of this page.
    Inline {
        page: u64,
        bytes: Vec<u8>,
    },
}

/// A reading of the database, in which every page is reached at most once.
pub struct Walk<'a> {
    database: &'a Database,
    seen: Vec<u64>,
    pages: Pages,
}

impl<'a> Walk<'a> {
    pub(super) fn new(database: &'a Database) -> Self {
        // A bit for each page; the high water mark is at most the length of the file.
        let words = database.layout().high_water.div_ceil(64) as usize;
        Self {
            database,
            seen: vec![0; words],
            pages: Pages::default(),
        }
    }

    /// The buckets, by name.
    ///
    /// # Errors
    /// The tree of buckets is damaged.
    pub fn buckets(&mut self) -> Result<Vec<Bucket>> {
        let root = self.database.layout().root;
        let mut cursor = Cursor::new(self, &Root::Page(root), BUCKET_FLAG)?;
        let mut buckets = Vec::new();
        let mut bytes = 0;
        while cursor.advance()? {
            let name = cursor.key().to_vec();
            let value = cursor.value();
            let page = cursor.page();
            bytes += name.len() + value.len();
            if buckets.len() == MOST_BUCKETS || bytes > MOST_BUCKET_BYTES {
                return Err(damaged(page, "there are more buckets than etcd has"));
            }
            let root = u64_at(value, 0)
                .filter(|_| value.len() >= BUCKET)
                .ok_or_else(|| damaged(page, "a bucket is shorter than 16 bytes"))?;
            let root = match root {
                0 => Root::Inline {
                    page,
                    bytes: value[BUCKET..].to_vec(),
                },
                root => Root::Page(root),
            };
            buckets.push(Bucket { name, root });
        }
        Ok(buckets)
    }

    /// The entries of a bucket, in order.
    ///
    /// # Errors
    /// Its first page is damaged.
    pub fn cursor(&mut self, bucket: &Bucket) -> Result<Cursor<'_, 'a>> {
        Cursor::new(self, &bucket.root, 0)
    }

    /// Looks at the stored freelist, where there is one.
    ///
    /// # Errors
    /// It is damaged, or another page reaches into it.
    pub fn freelist(&mut self) -> Result<()> {
        if let Some(header) = self.database.freelist()? {
            self.mark(&header)?;
            self.pages.freelist += 1 + u64::from(header.overflow);
        }
        Ok(())
    }

    /// What was seen so far.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages
    }

    fn mark(&mut self, header: &Header) -> Result<()> {
        for id in header.id..=header.id + u64::from(header.overflow) {
            // Below the high water mark, for which there are bits.
            let (word, bit) = ((id / 64) as usize, 1_u64 << (id % 64));
            if self.seen[word] & bit != 0 {
                return Err(damaged(id, "it is reached twice"));
            }
            self.seen[word] |= bit;
        }
        Ok(())
    }

    fn load(&mut self, id: u64, parent: Option<u64>) -> Result<Page> {
        let high_water = self.database.layout().high_water;
        if id < 2 || id >= high_water {
            let what = format!(
                "it points to page {id}, and pages are 2 to {}",
                high_water.saturating_sub(1)
            );
            return Err(damaged(parent.unwrap_or(0), what));
        }
        // Before its overflow is read: a page that is reached again and again costs nothing.
        if self.seen[(id / 64) as usize] & 1 << (id % 64) != 0 {
            return Err(damaged(id, "it is reached twice"));
        }
        let (page, header) = self.database.page(id)?;
        self.mark(&header)?;
        self.pages.overflow += u64::from(header.overflow);
        if page.is_leaf {
            self.pages.leaves += 1;
        } else {
            self.pages.branches += 1;
        }
        Ok(page)
    }
}

/// A page on the way from the root to an entry.
struct Frame {
    page: Page,
    next: usize,
    /// Keys below this page are at least this,
    lower: Option<Vec<u8>>,
    /// and below this.
    upper: Option<Vec<u8>>,
    /// The element after the current one of a branch, read ahead for its key.
    ahead: Option<Element>,
}

/// Goes through the entries of a tree in order.
///
/// After an error it stays at its end.
pub struct Cursor<'w, 'a> {
    walk: &'w mut Walk<'a>,
    stack: Vec<Frame>,
    current: Element,
    last_key: Vec<u8>,
    started: bool,
    /// Flags that every entry has: those of a bucket in the root, none elsewhere.
    flags: u32,
}

impl<'w, 'a> Cursor<'w, 'a> {
    fn new(walk: &'w mut Walk<'a>, root: &Root, flags: u32) -> Result<Self> {
        let page = match root {
            Root::Page(id) => walk.load(*id, None)?,
            Root::Inline { page, bytes } => inline(*page, bytes)?,
        };
        let mut cursor = Self {
            walk,
            stack: Vec::new(),
            current: Element::default(),
            last_key: Vec::new(),
            started: false,
            flags,
        };
        cursor.push(page, None, None)?;
        Ok(cursor)
    }

    /// Goes to the next entry; false at the end.
    ///
    /// # Errors
    /// A page on the way is damaged or cannot be read.
    pub fn advance(&mut self) -> Result<bool> {
        let moved = self.step();
        if moved.is_err() {
            self.stack.clear();
        }
        moved
    }

    /// The key of the entry. Call it after [`Cursor::advance`] said true.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        self.part(self.current.key)
    }

    /// The value of the entry. Call it after [`Cursor::advance`] said true.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        self.part(self.current.value)
    }

    /// The page the entry stands in.
    #[must_use]
    pub fn page(&self) -> u64 {
        self.stack.last().map_or(0, |frame| frame.page.id)
    }

    fn part(&self, range: (usize, usize)) -> &[u8] {
        self.stack
            .last()
            .map_or(&[], |frame| frame.page.slice(range))
    }

    fn step(&mut self) -> Result<bool> {
        loop {
            let Some(frame) = self.stack.last_mut() else {
                return Ok(false);
            };
            if frame.next == frame.page.count {
                self.stack.pop();
                continue;
            }
            if frame.page.is_leaf {
                let index = frame.next;
                self.current = frame.page.element(index)?;
                frame.next += 1;
                self.check_entry(index)?;
                return Ok(true);
            }
            let (child, lower, upper) = frame.descend()?;
            let parent = frame.page.id;
            if self.stack.len() == DEEPEST {
                return Err(damaged(
                    child,
                    format!("it is deeper than {DEEPEST} levels"),
                ));
            }
            let page = self.walk.load(child, Some(parent))?;
            if page.count == 0 {
                return Err(damaged(child, "it is empty"));
            }
            self.push(page, Some(lower), upper)?;
        }
    }

    fn push(
        &mut self,
        mut page: Page,
        lower: Option<Vec<u8>>,
        upper: Option<Vec<u8>>,
    ) -> Result<()> {
        let ahead = if page.is_leaf {
            None
        } else {
            Some(page.element(0)?)
        };
        self.stack.push(Frame {
            page,
            next: 0,
            lower,
            upper,
            ahead,
        });
        Ok(())
    }

    /// An entry is of the kind of its tree, stands behind the one before it, and in the range of its page.
    fn check_entry(&mut self, index: usize) -> Result<()> {
        let Some(frame) = self.stack.last() else {
            return Ok(());
        };
        let bad = |what: &str| Err(damaged(frame.page.id, format!("element {index} {what}")));
        if self.current.flags != self.flags {
            return bad(match self.flags {
                0 => "is a bucket where an entry was expected",
                _ => "is an entry where a bucket was expected",
            });
        }
        let key = frame.page.slice(self.current.key);
        if self.started && key <= self.last_key.as_slice() {
            return bad("is not behind the entry before it");
        }
        let below = frame.lower.as_deref().is_some_and(|lower| key < lower);
        let above = frame.upper.as_deref().is_some_and(|upper| key >= upper);
        if below || above {
            return bad("does not belong below the branch that leads to it");
        }
        self.started = true;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }
}

impl Frame {
    /// The next child of a branch, with the bounds of its keys.
    fn descend(&mut self) -> Result<(u64, Vec<u8>, Option<Vec<u8>>)> {
        let index = self.next;
        let current = match self.ahead.take() {
            Some(element) => element,
            None => self.page.element(index)?,
        };
        let lower = self.page.slice(current.key).to_vec();
        self.next += 1;
        let upper = if self.next < self.page.count {
            let ahead = self.page.element(self.next)?;
            self.ahead = Some(ahead);
            let key = self.page.slice(ahead.key);
            if key <= lower.as_slice() {
                let what = format!("element {} is not behind the one before it", self.next);
                return Err(damaged(self.page.id, what));
            }
            Some(key.to_vec())
        } else {
            self.upper.clone()
        };
        Ok((current.child, lower, upper))
    }
}

/// The leaf inside a bucket.
fn inline(page: u64, bytes: &[u8]) -> Result<Page> {
    let bad = |what: &str| damaged(page, format!("the page inside of a bucket {what}"));
    let header =
        Header::read(bytes).ok_or_else(|| bad(&format!("is shorter than {HEADER} bytes")))?;
    let page = Page::new(page, header, bytes.to_vec()).map_err(|error| match error {
        Error::Damaged { what, .. } => bad(&format!("is damaged: {what}")),
        error => error,
    })?;
    if page.is_leaf {
        Ok(page)
    } else {
        Err(bad("is a branch"))
    }
}
