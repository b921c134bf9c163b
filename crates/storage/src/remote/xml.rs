//! The little XML that stores answer with, as a tree. Hostile input ends in an error, never in a deep recursion or
//! an entity that grows.

/// Deepest nesting that is read; S3's answers have five levels.
const DEEPEST: usize = 16;
/// Most elements that are read: a thousand lifecycle rules are the most that S3 takes.
const MOST: usize = 100_000;

/// An element of an answer in XML: its name without a prefix, its text and its children.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name, without a prefix.
    pub name: String,
    /// The text in it, without that of its children.
    pub text: String,
    /// The elements in it, in their order.
    pub children: Vec<Element>,
}

impl Element {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut open: Vec<Self> = vec![Self::default()];
        let mut rest = text;
        let mut seen = 0;
        while let Some((before, tail)) = rest.split_once('<') {
            let here = open.last_mut().ok_or("an end without a beginning")?;
            here.text.push_str(&unescape(before));
            let (tag, tail) = match tail.strip_prefix("!--") {
                Some(comment) => ("!", comment.split_once("-->").ok_or("an open comment")?.1),
                None => tail.split_once('>').ok_or("an open tag")?,
            };
            rest = tail;
            match tag.as_bytes().first() {
                Some(b'?' | b'!') => {}
                Some(b'/') => close(&mut open, tag[1..].trim())?,
                _ => {
                    seen += 1;
                    if open.len() > DEEPEST || seen > MOST {
                        return Err("too many elements");
                    }
                    let name = tag.trim_end_matches('/').split_whitespace().next();
                    let name = local(name.ok_or("a tag without a name")?);
                    open.push(Self {
                        name: name.to_owned(),
                        ..Self::default()
                    });
                    if tag.ends_with('/') {
                        close(&mut open, name)?;
                    }
                }
            }
        }
        let mut roots = match open.as_mut_slice() {
            [document] => std::mem::take(&mut document.children),
            _ => return Err("an element that does not end"),
        };
        match roots.pop() {
            Some(root) if roots.is_empty() => Ok(root),
            _ => Err("not one root"),
        }
    }

    /// The first child of a name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// All children of a name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of the first child of a name, trimmed.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<&str> {
        Some(self.child(name)?.text.trim())
    }

    /// The same as a number.
    #[must_use]
    pub fn number_of(&self, name: &str) -> Option<u64> {
        self.text_of(name)?.parse().ok()
    }
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

fn close(open: &mut Vec<Element>, name: &str) -> Result<(), &'static str> {
    let ended = open.pop().ok_or("an end without a beginning")?;
    if ended.name != local(name) {
        return Err("an end of another element");
    }
    let parent = open.last_mut().ok_or("an end without a beginning")?;
    parent.children.push(ended);
    Ok(())
}

fn unescape(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    // The ampersand last, so that nothing is read twice.
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_becomes_a_tree() {
        let root = Element::parse(
            "<?xml version=\"1.0\"?>\n<!-- x > y --><a:Root xmlns=\"u\"><R><P>x &amp;lt; y</P><E/></R>\
             <R><P> 7 </P></R></a:Root>",
        );
        let root = root.expect("well-formed");
        assert_eq!(root.name, "Root");
        let texts: Vec<_> = root.all("R").map(|r| r.text_of("P")).collect();
        assert_eq!(texts, [Some("x &lt; y"), Some("7")]);
        assert_eq!(root.children[1].number_of("P"), Some(7));
        assert!(root.children[0].child("E").is_some());
    }

    #[test]
    fn what_is_no_document_is_refused() {
        let deep = "<a>".repeat(1000);
        let wide = format!("<a>{}</a>", "<b/>".repeat(200_000));
        for text in [
            "", "x", "<a>", "</a>", "<a></b>", "<a/><b/>", "<a", "<>", "< >", "<!--", &deep, &wide,
        ] {
            assert!(Element::parse(text).is_err(), "{text:.20}");
        }
    }
}
