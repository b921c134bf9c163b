//! Which snapshots lead to a state, the best one first.

use super::recover::Target;
use super::timeline::{Base, Line, Timeline};

/// A snapshot, and the line that leads on from it, if one does.
pub(super) type Candidate<'t> = (Option<&'t Line<'t>>, &'t Base);

/// The snapshots that may lead to a state, the best one first. Where that one is damaged, the next one may do.
pub(super) fn candidates<'t>(
    lines: &'t [Line<'t>],
    timeline: &'t Timeline,
    target: Target,
) -> Vec<Candidate<'t>> {
    let mut all: Vec<Candidate<'_>> = Vec::new();
    for line in lines {
        all.extend(line.bases().into_iter().map(|base| (Some(line), base)));
    }
    all.extend(timeline.alone.iter().map(|base| (None, base)));
    match target {
        Target::Revision(revision) => of_revision(all, revision),
        Target::Time(time) => {
            all.retain(|(_, base)| base.point.created <= time);
            of_one_line(all)
        }
        Target::Latest => of_one_line(all),
    }
}

/// The newest history first, and in it the shortest way; then those that are newer and hold it all the same.
fn of_revision(all: Vec<Candidate<'_>>, revision: u64) -> Vec<Candidate<'_>> {
    let leads = |(line, base): &&Candidate<'_>| {
        let from = base.details.revision;
        let reach = line.map_or(from, |line| line.reach(from));
        from <= revision && reach >= revision
    };
    let holds = |(_, base): &&Candidate<'_>| {
        base.details.revision > revision && base.details.compacted <= revision
    };
    let mut chosen: Vec<Candidate<'_>> = all.iter().filter(leads).copied().collect();
    chosen.sort_by_key(|(_, base)| (base.details.revision, base.point.created));
    chosen.reverse();
    let mut newer: Vec<Candidate<'_>> = all.iter().filter(holds).copied().collect();
    newer.sort_by_key(|(_, base)| base.details.revision);
    chosen.extend(newer);
    chosen
}

/// The newest one with its line before those without, and behind it those of the same line: another line has another
/// end.
fn of_one_line(mut all: Vec<Candidate<'_>>) -> Vec<Candidate<'_>> {
    all.sort_by_key(|(line, base)| (line.is_some(), base.point.created));
    all.reverse();
    let Some((Some(line), _)) = all.first().copied() else {
        all.truncate(1);
        return all;
    };
    let same = |other: &Option<&Line<'_>>| other.is_some_and(|other| std::ptr::eq(other, line));
    all.retain(|(other, _)| same(other));
    all
}
