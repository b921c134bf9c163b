//! Transfers between locations: who the target is, how far it is, how long it takes, and an end in good order.

use std::pin::pin;
use std::time::{Duration, Instant};

use salvor_location::Location;
use salvor_location::copy::Transfer;
use salvor_location::copy::rate::Rate;
use salvor_text::ByteCount;
use salvor_text::duration::elapsed;

use crate::exit::Failure;
use crate::output::progress::Progress;
use crate::session::{Session, is_url};

/// Time between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(250);
/// A rate that was measured for less than this says nothing.
const WARM_UP: Duration = Duration::from_secs(2);

/// The location that a name, URL or path means: of the server's, where one is asked and a name is given.
pub(crate) async fn location(text: &str, session: &Session) -> Result<Location, Failure> {
    match session.served().await? {
        Some(served) if !is_url(text) => served.open(text).await,
        _ => session.location_called(text),
    }
}

/// Waits for the end of a transfer of about `total` bytes, showing how far it is. Ctrl-C stops it between two
/// pieces; what is complete stays.
pub(crate) async fn follow<T>(
    what: &str,
    total: u64,
    transfer: &Transfer,
    session: &Session,
    work: impl Future<Output = T>,
) -> T {
    let mut work = pin!(work);
    let mut progress = Progress::begin(what);
    let mut look = tokio::time::interval(LOOK);
    let began = Instant::now();
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = look.tick() => {
                let (sent, kept) = (transfer.sent(), transfer.kept());
                progress.update(sent + kept, total, &rate(sent, kept, total, began.elapsed()));
            }
            () = session.cancel.cancelled(), if !transfer.is_stopped() => transfer.stop(),
        }
    }
}

/// `12 MiB/s, 3m left`, from what was sent; what is not known is left out.
fn rate(sent: u64, kept: u64, total: u64, took: Duration) -> String {
    let measured = Rate::new(sent, took);
    let Some(per_second) = measured.per_second().filter(|_| took >= WARM_UP) else {
        return String::new();
    };
    let rest = total.saturating_sub(sent + kept);
    match measured.time_for(rest) {
        Some(left) if rest > 0 => format!("{}/s, {} left", ByteCount(per_second), elapsed(left)),
        _ => format!("{}/s", ByteCount(per_second)),
    }
}

/// How long it will take, for the line that a transfer begins with; empty when that is not known.
pub(crate) fn estimate(total: u64, measured: Option<Rate>, session: &Session) -> String {
    let known = measured.and_then(|rate| Some((rate.per_second()?, rate.time_for(total)?)));
    known.map_or_else(String::new, |(per_second, time)| {
        let rate = ByteCount(per_second).to_string();
        session.messages.transfer_estimate(&elapsed(time), &rate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_when_it_means_something() {
        let secs = Duration::from_secs;
        assert_eq!(rate(1 << 20, 0, 4 << 20, secs(1)), "");
        let shown = rate(20 << 20, 10 << 20, 50 << 20, secs(10));
        assert!(shown.contains("/s, ") && shown.contains("10"), "{shown}");
        assert!(!rate(20 << 20, 0, 20 << 20, secs(10)).contains("left"));
    }
}
