//! Lists and pages of a memory store.
//!
//! Pages of one list show one moment: a page after the first undoes, over the present objects, what the
//! history says has happened since. Nothing is kept for a list that its client never finishes.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;

use super::state::{Place, State};
use crate::continuation::Token;
use crate::entry::Entry;
use crate::status::Failure;
use crate::store::{ListQuery, Listing};

/// Answers a list.
pub(crate) fn list(state: &State, query: &ListQuery) -> Result<Listing, Failure> {
    let token = match query.continue_token.as_str() {
        "" => None,
        text => Some(Token::decode(text)?),
    };
    if let Some(wanted) = query
        .not_older_than
        .filter(|wanted| *wanted > state.revision)
    {
        return Err(too_large(wanted, state.revision));
    }
    let wanted = token
        .as_ref()
        .map(|token| token.rv)
        .or(query.exact_revision);
    let revision = wanted.unwrap_or(state.revision);
    if revision > state.revision {
        return Err(too_large(revision, state.revision));
    }
    let undone = undo(state, query, revision)?;
    let after = token.map(|token| token.after);
    let mut matching = merged(state, query, &undone, after.as_ref())
        .filter(|entry| query.selection.matches(entry));

    let mut page = Vec::new();
    let mut next = None;
    let mut remaining = None;
    match query.limit {
        None => page.extend(matching),
        Some(limit) => {
            page.extend(matching.by_ref().take(limit));
            if matching.next().is_some()
                && let Some(last) = page.last()
            {
                let after = (last.meta.namespace.clone(), last.meta.name.clone());
                next = Some(
                    Token {
                        rv: revision,
                        after,
                    }
                    .encode(),
                );
                remaining = query
                    .selection
                    .is_everything()
                    .then(|| 1 + matching.count());
            }
        }
    }
    Ok(Listing {
        revision,
        continue_token: next,
        remaining,
        entries: futures::stream::iter(page.into_iter().map(Ok)).boxed(),
    })
}

fn too_large(wanted: u64, current: u64) -> Failure {
    Failure::new(
        504,
        "Timeout",
        format!("Timeout: Too large resource version: {wanted}, current: {current}"),
    )
    .cause("ResourceVersionTooLarge", "Too large resource version", "")
    .retry_after(1)
}

/// What differs between a revision and now: the objects as they were; `None` for those that were not.
fn undo(
    state: &State,
    query: &ListQuery,
    revision: u64,
) -> Result<BTreeMap<Place, Option<Arc<Entry>>>, Failure> {
    let mut undone = BTreeMap::new();
    if revision == state.revision {
        return Ok(undone);
    }
    let changes = state.history.after(revision).ok_or_else(|| {
        Failure::expired(
            "The provided continue parameter is too old to display a consistent list result. \
             You must start a new list without the continue parameter.",
        )
    })?;
    // Newest first: the oldest change has the last word.
    for change in changes
        .rev()
        .filter(|change| change.resource == query.resource.name)
    {
        let place = (
            change.entry.meta.namespace.clone(),
            change.entry.meta.name.clone(),
        );
        undone.insert(place, change.before.clone());
    }
    Ok(undone)
}

fn merged<'a>(
    state: &'a State,
    query: &'a ListQuery,
    undone: &'a BTreeMap<Place, Option<Arc<Entry>>>,
    after: Option<&Place>,
) -> Box<dyn Iterator<Item = Arc<Entry>> + 'a> {
    use std::ops::Bound;
    let low = match (after, &query.namespace) {
        (Some(after), _) => Bound::Excluded(after.clone()),
        (None, Some(namespace)) => Bound::Included((namespace.clone(), String::new())),
        (None, None) => Bound::Unbounded,
    };
    let inside = move |place: &Place| {
        query
            .namespace
            .as_ref()
            .is_none_or(|namespace| place.0 == *namespace)
    };
    let Some(present) = state.of_resource(&query.resource.name) else {
        let all = undone.range((low, Bound::Unbounded));
        let all = all.filter(move |(place, _)| inside(place));
        return Box::new(all.filter_map(|(_, entry)| entry.clone()));
    };
    let present = present
        .range((low.clone(), Bound::Unbounded))
        .take_while(move |(place, _)| inside(place));
    if undone.is_empty() {
        return Box::new(present.map(|(_, entry)| Arc::clone(entry)));
    }
    let mut present = present.peekable();
    let mut past = undone
        .range((low, Bound::Unbounded))
        .filter(move |(place, _)| inside(place))
        .peekable();
    Box::new(std::iter::from_fn(move || {
        loop {
            let take_past = match (present.peek(), past.peek()) {
                (None, None) => return None,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some((now, _)), Some((then, _))) => then <= now,
            };
            if !take_past {
                return present.next().map(|(_, entry)| Arc::clone(entry));
            }
            if let Some((place, entry)) = past.next() {
                if present.peek().is_some_and(|(now, _)| *now == place) {
                    present.next();
                }
                if let Some(entry) = entry {
                    return Some(Arc::clone(entry));
                }
            }
        }
    }))
}
