//! Restore of a backup: a plan that is a value, then its application.
//!
//! [`plan()`] reads the backup and the target and changes nothing; the [`RestorePlan`] that it returns can be
//! printed, stored and compared. [`apply()`] carries it out, object by object, and can be killed and resumed.
//!
//! Invariants:
//! - deciding is pure: [`transform`](transform::transform()), [`skip`], [`version`], [`existing`] and
//!   [`fits`] are functions on values;
//! - what was planned is what is done: an object whose transformation has another digest at apply is
//!   stopped, one that changed in the target since the plan is a recorded conflict;
//! - nothing is left out silently: every object of the backup is in the plan with its action and reason,
//!   or counted as not selected;
//! - no body outlives its turn: a plan holds names and digests.
//!
//! Not here: how data of volumes is moved ([`salvor_volume::DataMover`]). Start with [`plan`](mod@plan), then [`transform`].

pub mod apply;
pub(crate) mod body;
pub mod closure;
pub(crate) mod endpoints;
pub mod error;
pub mod existing;
pub mod fits;
pub mod item_action;
pub mod mapping;
pub mod modifiers;
pub mod normalise;
pub mod order;
pub mod plan;
pub(crate) mod planner;
pub mod request;
pub mod rules;
pub mod selection;
pub mod settings;
pub mod skip;
pub mod source;
pub mod status;
pub mod strip;
pub mod target;
pub mod transform;
pub mod version;
pub mod volume_data;

pub use apply::{Observer, Places, Progress, RestoreOutcome, apply, resume, resume_in};
pub use closure::{Closure, closure};
pub use error::RestoreError;
pub use plan::RestorePlan;
pub use planner::plan;
pub use request::{RestoreOptions, RestoreRequest};
pub use source::Source;

/// A restore may run in a task of its own: this does not compile when its futures are not `Send`.
#[cfg(test)]
fn _futures_can_be_spawned(
    request: &RestoreRequest,
    location: &salvor_location::Location,
    plan_made: RestorePlan,
    run: &salvor_location::RunId,
    name: &salvor_api::name::RestoreName,
    cancel: &tokio_util::sync::CancellationToken,
) {
    fn is_send<T: Send>(_: &T) {}
    is_send(&plan(request, cancel));
    let observer = Observer::none();
    is_send(&apply(request, location, plan_made, run, &observer, cancel));
    let options = RestoreOptions::default();
    is_send(&resume(
        &request.cluster,
        location,
        name,
        options,
        run,
        &observer,
        cancel,
    ));
}
