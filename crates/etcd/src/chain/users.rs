//! Users, roles and passwords of a state.
//!
//! etcd counts their changes apart from its revisions, and no watch tells them; passwords stand in snapshots alone. So a
//! capture that finds them changed begins a chain with a base of its own ([`Reason::Auth`]), and a state behind that which
//! is restored from an older base takes them from there.

use super::recover::Target;
use super::timeline::{Base, Line};
use super::{Chain, Reason};

/// Where the users and roles of a state are, when they are not those of the base it is restored from.
#[derive(Debug)]
pub(super) struct Elsewhere<'t> {
    /// The chain since which they are as they were at the state; the first of the line when nothing changed before.
    pub(super) since: &'t Chain,
    /// Snapshots that have them, what a member gave before what was merged.
    pub(super) bases: Vec<&'t Base>,
}

/// Looks for the users and roles of a state; `None` when the base has them.
pub(super) fn elsewhere<'t>(
    line: &'t Line<'t>,
    base: &Base,
    target: Target,
    revision: u64,
) -> Option<Elsewhere<'t>> {
    let chains = &line.chains;
    let is_own = |chain: &&Chain| {
        let mut bases = chain.bases.iter();
        bases.any(|other| other.point.id == base.point.id)
    };
    let own = chains.iter().position(is_own)?;
    // A revision does not tell what was before a change of users from what is behind it; a time does.
    let is_before = |chain: &&Chain| match target {
        Target::Revision(_) => chain.record.start <= revision + 1,
        Target::Time(time) => chain.record.created <= time,
        Target::Latest => true,
    };
    let at = chains.iter().rposition(is_before).unwrap_or(0);
    let changed = |at: &usize| chains[*at].record.reason == Reason::Auth;
    let since = |at: usize| (0..=at).rev().find(changed).unwrap_or(0);
    let (wanted, own) = (since(at), since(own));
    if wanted == own {
        return None;
    }
    let end = (wanted + 1..chains.len()).find(changed);
    let of_them = &chains[wanted..end.unwrap_or(chains.len())];
    let usable = of_them.iter().filter(|chain| chain.has_base());
    let mut bases: Vec<&Base> = usable.flat_map(|chain| &chain.bases).collect();
    bases.sort_by_key(|base| base.details.merged.is_some());
    Some(Elsewhere {
        since: chains[wanted],
        bases,
    })
}
