//! What whoever comes from Velero relies on, one case each, against a server that works on a real API server
//! and a folder. The numbers are those under which `docs/compatibility.md` lists them.
//!
//! The cases share one server and run a few at a time, each in namespaces of its own. What needs a kubelet
//! (hooks in containers) or volume data is tested elsewhere.

mod adapted;
mod backup;
mod interop;
mod lifecycle;
mod restore;
mod world;

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures::{FutureExt as _, StreamExt as _};

use self::world::World;
use crate::clusters::{FIRST, Real};

/// Cases at once: more would only wait for the API server.
const AT_ONCE: usize = 4;

/// A case: its number, its name, what it does.
type Case = (u8, &'static str, Body);
type Body = fn(Arc<World>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Lists cases: functions that take a [`World`].
macro_rules! cases {
    ($($number:literal $name:ident,)+) => {
        pub(super) const CASES: &[super::Case] = &[$(
            ($number, stringify!($name), |world| Box::pin(async move { $name(&world).await })),
        )+];
    };
}
use cases;

#[tokio::test(flavor = "multi_thread")]
async fn what_users_of_velero_rely_on_holds() {
    let Some(real) = Real::connect(FIRST).await else {
        return;
    };
    let wanted = std::env::var("SALVOR_E2E_CASE").unwrap_or_default();
    let world = Arc::new(World::begin(real).await);
    let all = [
        interop::CASES,
        backup::CASES,
        restore::CASES,
        adapted::CASES,
        lifecycle::CASES,
    ];
    let cases = all.iter().flat_map(|cases| cases.iter());
    let chosen = cases.filter(|(number, name, _)| {
        wanted.is_empty() || wanted == number.to_string() || name.contains(&wanted)
    });
    let runs = chosen.map(|(number, name, body)| {
        let world = Arc::clone(&world);
        async move {
            let run = AssertUnwindSafe(body(world)).catch_unwind().await;
            eprintln!(
                "{number:2} {name}: {}",
                if run.is_ok() { "ok" } else { "FAILED" }
            );
            run.is_err().then_some(*name)
        }
    });
    let runs: Vec<_> = futures::stream::iter(runs)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let failed: Vec<&str> = runs.iter().copied().flatten().collect();
    world.end().await;
    assert!(!runs.is_empty(), "no case is called `{wanted}`");
    assert_eq!(failed, Vec::<&str>::new());
}
