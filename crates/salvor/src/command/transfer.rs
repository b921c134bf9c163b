//! Transfers between locations: who the target is, how far it is, how long it takes, and an end in good order.

use std::pin::pin;
use std::time::{Duration, Instant};

use salvor_location::Location;
use salvor_location::copy::Transfer;
use salvor_location::estimate::Measured;
use salvor_text::ByteCount;
use salvor_text::duration::about;

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
    let mut progress = Progress::begin(what).with_remaining(session.messages);
    let mut look = tokio::time::interval(LOOK);
    let began = Instant::now();
    loop {
        tokio::select! {
            done = &mut work => return done,
            _ = look.tick() => {
                let (sent, kept) = (transfer.sent(), transfer.kept());
                let waiting = transfer.waiting();
                if waiting > 0 {
                    // How long the rest takes is not known then.
                    let text = session.messages.waiting_for_writers(waiting);
                    progress.update(sent + kept, 0, &text);
                    continue;
                }
                progress.update(sent + kept, total, &rate(sent, kept, began.elapsed()));
            }
            () = session.cancel.cancelled(), if !transfer.is_stopped() => transfer.stop(),
        }
    }
}

/// `40 MiB, 12 MiB/s`, from what was sent; a rate that means nothing yet is left out.
fn rate(sent: u64, kept: u64, took: Duration) -> String {
    let mut measured = Measured::default();
    measured.add(sent, took);
    let done = ByteCount(sent + kept);
    match measured.per_second().filter(|_| took >= WARM_UP) {
        Some(rate) => format!("{done}, {}/s", ByteCount(rate as u64)),
        None => done.to_string(),
    }
}

/// How long it will take, for the line that a transfer begins with; empty when that is not known.
pub(crate) fn estimate(total: u64, measured: Option<Measured>, session: &Session) -> String {
    let known = measured.and_then(|rate| Some((rate.per_second()?, rate.time_for(total, None)?)));
    known.map_or_else(String::new, |(per_second, time)| {
        let rate = ByteCount(per_second as u64).to_string();
        session.messages.transfer_estimate(&about(time), &rate)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_shown_when_it_means_something() {
        assert!(!rate(1 << 20, 0, Duration::from_secs(1)).contains("/s"));
        let shown = rate(20 << 20, 10 << 20, Duration::from_secs(10));
        assert_eq!(shown, "30 MiB, 2 MiB/s");
    }
}
