//! Elastic columns: text with tabs becomes text that lines up, as Go's `tabwriter` lays it out.
//!
//! A cell is text that ends in a tab. Consecutive lines that have a cell in the same column form a block
//! and share its width; what follows the last tab of a line belongs to no column. Velero's tables use a
//! minimum of 6 cells and a padding of 3, its describe output no minimum and a padding of 2.

use std::fmt::{self, Write};

use crate::width::width;

/// How columns are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Narrowest column, padding included, in cells.
    pub min_width: usize,
    /// Spaces after the widest cell of a column.
    pub padding: usize,
}

impl Layout {
    /// Layout of tables.
    pub const TABLE: Self = Self {
        min_width: 6,
        padding: 3,
    };
    /// Layout of `Key:  value` lists.
    pub const DESCRIBE: Self = Self {
        min_width: 0,
        padding: 2,
    };
}

/// Replaces the tabs of `text` by spaces so that columns line up.
#[must_use]
pub fn align(text: &str, layout: Layout) -> String {
    let ends_with_newline = text.ends_with('\n');
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<Vec<&str>> = body.split('\n').map(|l| l.split('\t').collect()).collect();
    let mut out = String::with_capacity(text.len() * 2);
    let mut widths = Vec::new();
    block(&lines, layout, &mut widths, &mut out);
    if !ends_with_newline {
        out.pop();
    }
    out
}

/// Writes lines whose first `widths.len()` columns are decided.
fn block(lines: &[Vec<&str>], layout: Layout, widths: &mut Vec<usize>, out: &mut String) {
    let column = widths.len();
    let has_cell = |line: &Vec<&str>| column + 1 < line.len();
    let mut rest = lines;
    while !rest.is_empty() {
        let plain = rest.iter().take_while(|line| !has_cell(line)).count();
        let (without, tail) = rest.split_at(plain);
        write_lines(without, widths, out);
        let (with, tail) = tail.split_at(tail.iter().take_while(|line| has_cell(line)).count());
        if !with.is_empty() {
            let widest = with
                .iter()
                .filter_map(|line| line.get(column))
                .map(|cell| width(cell) + layout.padding)
                .max()
                .unwrap_or(0);
            widths.push(widest.max(layout.min_width));
            block(with, layout, widths, out);
            widths.pop();
        }
        rest = tail;
    }
}

fn write_lines(lines: &[Vec<&str>], widths: &[usize], out: &mut String) {
    for line in lines {
        let mut text = String::new();
        for (at, cell) in line.iter().enumerate() {
            text.push_str(cell);
            if let Some(cells) = widths.get(at) {
                text.extend(std::iter::repeat_n(' ', cells.saturating_sub(width(cell))));
            }
        }
        out.push_str(&text);
        out.push('\n');
    }
}

/// A table: upper-case headers and rows of cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    text: String,
}

impl Table {
    /// A table with these headers.
    #[must_use]
    pub fn new<S: AsRef<str>>(headers: &[S]) -> Self {
        let mut table = Self::default();
        table.row(headers);
        table
    }

    /// Adds a row. Tabs and line ends in a cell become spaces.
    pub fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        for (at, cell) in cells.iter().enumerate() {
            if at > 0 {
                self.text.push('\t');
            }
            self.text
                .push_str(&cell.as_ref().replace(['\t', '\n', '\r'], " "));
        }
        self.text.push('\n');
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&align(&self.text, Layout::TABLE))
    }
}

/// Writes `Key:  value` lists in the layout of Velero's `describe`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribeWriter {
    text: String,
}

impl DescribeWriter {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `Key:  value`.
    pub fn field(&mut self, key: &str, value: impl fmt::Display) {
        self.line(format_args!("{key}:\t{value}"));
    }

    /// `  Key:  value`, `depth` levels deep.
    pub fn nested(&mut self, depth: usize, key: &str, value: impl fmt::Display) {
        self.line(format_args!("{}{key}:\t{value}", "\t".repeat(depth)));
    }

    /// A line as it is; a tab ends a cell.
    pub fn line(&mut self, line: impl fmt::Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// An empty line between groups.
    pub fn blank(&mut self) {
        self.text.push('\n');
    }

    /// `Key:  a=1` with one entry per line, `<none>` when empty.
    pub fn map<'a>(
        &mut self,
        key: &str,
        entries: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) {
        let mut first = true;
        for (name, value) in entries {
            let key = if first {
                format!("{key}:")
            } else {
                String::new()
            };
            self.line(format_args!(
                "{key}\t{name}={}",
                value.replace('\n', "\n\t")
            ));
            first = false;
        }
        if first {
            self.field(key, "<none>");
        }
    }

    /// `Key:  text` with one entry per line, `depth` levels deep, `<none>` when empty.
    pub fn list<S: AsRef<str>>(&mut self, depth: usize, key: &str, entries: &[S]) {
        let indent = "\t".repeat(depth);
        for (at, entry) in entries.iter().enumerate() {
            let key = if at == 0 {
                format!("{key}:")
            } else {
                String::new()
            };
            let entry = entry.as_ref().replace(['\t', '\n'], " ");
            self.line(format_args!("{indent}{key}\t{entry}"));
        }
        if entries.is_empty() {
            self.nested(depth, key, "<none>");
        }
    }

    /// The finished text.
    #[must_use]
    pub fn finish(self) -> String {
        align(&self.text, Layout::DESCRIBE)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn columns_of_a_table_line_up_by_cells() {
        let mut table = Table::new(&["NAME", "STATUS", "SELECTOR"]);
        table.row(&["nightly", "Completed", "<none>"]);
        table.row(&["백업-한글", "Failed", "a=b"]);
        expect![[r#"
            NAME        STATUS      SELECTOR
            nightly     Completed   <none>
            백업-한글   Failed      a=b
        "#]]
        .assert_eq(&table.to_string());
    }

    #[test]
    fn groups_of_a_description_line_up_on_their_own() {
        let mut d = DescribeWriter::new();
        d.field("Name", "nightly");
        d.map(
            "Labels",
            &std::collections::BTreeMap::from([
                ("a".to_owned(), "1".to_owned()),
                ("b".to_owned(), "2".to_owned()),
            ]),
        );
        d.blank();
        d.line("Namespaces:");
        d.nested(1, "Included", "*");
        d.nested(1, "Excluded from it", "<none>");
        d.blank();
        d.line("Warnings:");
        d.list(1, "Velero", &["one", "two"]);
        d.list::<&str>(1, "Cluster", &[]);
        expect![[r#"
            Name:    nightly
            Labels:  a=1
                     b=2

            Namespaces:
              Included:          *
              Excluded from it:  <none>

            Warnings:
              Velero:   one
                        two
              Cluster:  <none>
        "#]]
        .assert_eq(&d.finish());
    }

    #[test]
    fn text_without_tabs_is_left_alone() {
        for text in ["", "\n", "a", "a\n\nb\n"] {
            assert_eq!(align(text, Layout::TABLE), text, "{text:?}");
        }
    }
}
