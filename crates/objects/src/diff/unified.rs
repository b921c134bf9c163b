//! Unified differences of two texts, three lines of context.

use std::fmt::Write as _;

/// Lines around a change.
const CONTEXT: usize = 3;
/// Most cells of the table of common subsequences; beyond it a changed block is replaced as a whole.
const MOST_CELLS: usize = 4_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Remove,
    Add,
}

/// The unified difference of two texts without file names; empty when they are equal.
#[must_use]
pub fn unified_diff(from: &str, to: &str) -> String {
    let old: Vec<&str> = from.lines().collect();
    let new: Vec<&str> = to.lines().collect();
    let steps = steps(&old, &new);
    let mut out = String::new();
    let mut at = 0;
    while let Some(offset) = steps[at..].iter().position(|step| *step != Step::Keep) {
        let start = (at + offset).saturating_sub(CONTEXT).max(at);
        let end = hunk_end(&steps, at + offset);
        write_hunk(&mut out, &steps, start..end, &old, &new);
        at = end;
    }
    out
}

/// Where the hunk that begins with a change ends: after the context of the last change that is near.
fn hunk_end(steps: &[Step], first_change: usize) -> usize {
    let mut last_change = first_change;
    for (at, step) in steps.iter().enumerate().skip(first_change) {
        if *step != Step::Keep {
            last_change = at;
        } else if at - last_change > 2 * CONTEXT {
            break;
        }
    }
    (last_change + 1 + CONTEXT).min(steps.len())
}

fn write_hunk(
    out: &mut String,
    steps: &[Step],
    range: std::ops::Range<usize>,
    old: &[&str],
    new: &[&str],
) {
    let count = |steps: &[Step], skipped| steps.iter().filter(|step| **step != skipped).count();
    let mut old_at = count(&steps[..range.start], Step::Add);
    let mut new_at = count(&steps[..range.start], Step::Remove);
    let hunk = &steps[range];
    let (old_len, new_len) = (count(hunk, Step::Add), count(hunk, Step::Remove));
    let first = |at: usize, len: usize| if len == 0 { at } else { at + 1 };
    let _ = writeln!(
        out,
        "@@ -{},{old_len} +{},{new_len} @@",
        first(old_at, old_len),
        first(new_at, new_len)
    );
    for step in hunk {
        let (sign, line) = match step {
            Step::Keep => (' ', old[old_at]),
            Step::Remove => ('-', old[old_at]),
            Step::Add => ('+', new[new_at]),
        };
        let _ = writeln!(out, "{sign}{line}");
        old_at += usize::from(*step != Step::Add);
        new_at += usize::from(*step != Step::Remove);
    }
}

fn steps(old: &[&str], new: &[&str]) -> Vec<Step> {
    let same = |(a, b): &(&&str, &&str)| a == b;
    let head = old.iter().zip(new).take_while(same).count();
    let (old_rest, new_rest) = (&old[head..], &new[head..]);
    let tail = (old_rest.iter().rev())
        .zip(new_rest.iter().rev())
        .take_while(same)
        .count();
    let old_mid = &old_rest[..old_rest.len() - tail];
    let new_mid = &new_rest[..new_rest.len() - tail];
    let mut steps = vec![Step::Keep; head];
    if old_mid.len().saturating_mul(new_mid.len()) > MOST_CELLS {
        steps.extend(std::iter::repeat_n(Step::Remove, old_mid.len()));
        steps.extend(std::iter::repeat_n(Step::Add, new_mid.len()));
    } else {
        common_subsequence(old_mid, new_mid, &mut steps);
    }
    steps.extend(std::iter::repeat_n(Step::Keep, tail));
    steps
}

/// Steps along the longest common subsequence.
fn common_subsequence(old: &[&str], new: &[&str], steps: &mut Vec<Step>) {
    let width = new.len() + 1;
    // longest[i * width + j]: common lines of old[i..] and new[j..].
    let mut longest = vec![0u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i * width + j] = if old[i] == new[j] {
                longest[(i + 1) * width + j + 1] + 1
            } else {
                longest[(i + 1) * width + j].max(longest[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            steps.push(Step::Keep);
            i += 1;
            j += 1;
        } else if j == new.len()
            || (i < old.len() && longest[(i + 1) * width + j] >= longest[i * width + j + 1])
        {
            steps.push(Step::Remove);
            i += 1;
        } else {
            steps.push(Step::Add);
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use proptest::prelude::*;

    use super::*;

    fn check(from: &str, to: &str, expected: Expect) {
        expected.assert_eq(&unified_diff(from, to));
    }

    #[test]
    fn hunks_carry_context_and_line_numbers() {
        check("a\n", "a\n", expect![""]);
        check(
            "a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\n",
            "a\nB\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\n",
            expect![[r#"
                @@ -1,5 +1,5 @@
                 a
                -b
                +B
                 c
                 d
                 e
                @@ -10,4 +10,3 @@
                 j
                 k
                 l
                -m
            "#]],
        );
        check(
            "",
            "x\ny\n",
            expect![[r#"
                @@ -0,0 +1,2 @@
                +x
                +y
            "#]],
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// The lines that are not added are the old text, those that are not removed the new one.
        #[test]
        fn steps_rebuild_both_sides(
            old in prop::collection::vec("[abc]", 0..12),
            new in prop::collection::vec("[abc]", 0..12),
        ) {
            let old: Vec<&str> = old.iter().map(String::as_str).collect();
            let new: Vec<&str> = new.iter().map(String::as_str).collect();
            let steps = steps(&old, &new);
            let kept = |skipped| steps.iter().filter(|s| **s != skipped).count();
            prop_assert_eq!(kept(Step::Add), old.len());
            prop_assert_eq!(kept(Step::Remove), new.len());
            let (mut i, mut j) = (0, 0);
            for step in &steps {
                if *step == Step::Keep {
                    prop_assert_eq!(old[i], new[j]);
                }
                i += usize::from(*step != Step::Add);
                j += usize::from(*step != Step::Remove);
            }
        }
    }
}
