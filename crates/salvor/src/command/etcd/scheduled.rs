//! `etcd snapshot save --schedule`: a process that takes snapshots for as long as it runs.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use salvor_api::schedule::Cron;

use super::save;
use crate::args::etcd::SaveArgs;
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// How often a snapshot that failed is tried again.
const AGAIN: u32 = 3;
/// Between two tries.
const PAUSE: Duration = Duration::from_secs(60);
/// Between two looks at the clock on the wall, which may be set while nobody looks.
const LOOK: Duration = Duration::from_secs(20);
/// A clock that is set back by more was wrong before; one that is set back by less brings no second snapshot.
const SET_BACK: SignedDuration = SignedDuration::from_hours(1);

/// The time from which the next one counts: that of the last snapshot, or of the start.
fn since(last: Timestamp, now: Timestamp) -> Timestamp {
    match last.duration_since(now) > SET_BACK {
        true => now,
        false => last,
    }
}

/// Takes snapshots until it is stopped. One that fails is told, tried again, and left for the next time. Times that
/// passed meanwhile bring one snapshot, not one each.
pub(super) async fn run(args: &SaveArgs, cron: &Cron, session: &Session) -> Result<Exit, Failure> {
    let zone = TimeZone::system();
    let (mut last, mut told) = (Timestamp::now(), None);
    loop {
        let now = Timestamp::now();
        last = since(last, now);
        let Some(next) = cron.next(last, &zone) else {
            let text = format!("`{cron}` has no time in the years to come");
            return Err(Failure::usage(text));
        };
        if next <= now {
            last = now;
            if !taken(args, session).await {
                return Ok(Exit::Done);
            }
            continue;
        }
        if told != Some(next) {
            told = Some(next);
            let said = next.strftime("%FT%TZ").to_string();
            let said = session.messages.etcd_next_snapshot(&said);
            session.printer.note(&said);
        }
        let left = Duration::try_from(next.duration_since(now)).unwrap_or_default();
        if !waited(left.min(LOOK), session).await {
            return Ok(Exit::Done);
        }
    }
}

/// One snapshot; false when it was asked to stop.
async fn taken(args: &SaveArgs, session: &Session) -> bool {
    for left in (0..=AGAIN).rev() {
        match save::run(args, session).await {
            Ok(_) => return true,
            Err(failure) if failure.exit == Exit::Cancelled => return false,
            Err(failure) => session.printer.failure(&failure),
        }
        if left == 0 {
            break;
        }
        session
            .printer
            .note(&session.messages.etcd_snapshot_again(left));
        if !waited(PAUSE, session).await {
            return false;
        }
    }
    true
}

/// Waits; false when it was asked to stop.
async fn waited(time: Duration, session: &Session) -> bool {
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        () = session.cancel.cancelled() => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_neither_stalls_the_schedule_nor_doubles_a_snapshot() {
        let cron: Cron = "0 2 * * *".parse().expect("a schedule");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let taken = at("2026-11-22T02:00:01Z");
        for (now, next) in [
            // It goes on.
            ("2026-11-22T12:00:00Z", "2026-11-23T02:00:00Z"),
            // Set back a little: not once more today.
            ("2026-11-22T01:30:00Z", "2026-11-23T02:00:00Z"),
            // It was years ahead: not in years.
            ("2020-01-01T12:00:00Z", "2020-01-02T02:00:00Z"),
            // It was years behind: now, and once.
            ("2030-01-01T12:00:00Z", "2026-11-23T02:00:00Z"),
        ] {
            let found = cron.next(since(taken, at(now)), &TimeZone::UTC);
            assert_eq!(found, Some(at(next)), "at {now}");
        }
    }
}
