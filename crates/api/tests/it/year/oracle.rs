//! The same rules in another form: every minute is looked at, sets are made by grouping.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, ToSpan, Zoned};
use salvor_api::retention::Point;
use salvor_api::velero::BackupPhase;

use super::cases::{Case, Event, Keeps, When, cases, events, zone};
use super::{END, MINUTE, START, seconds};

/// How far a recorded time may lie ahead and be believed.
const TOLERANCE: i64 = 600;

/// One schedule as the oracle sees it. Times are the server's, but for `busy_until`.
struct Lane {
    case: Case,
    /// Minutes at which it runs, over all times that the server's clock ever shows.
    minutes: Vec<i64>,
    last_run: Option<i64>,
    last_skip: Option<i64>,
    skip: bool,
    paused: bool,
    busy_until: i64,
}

impl Lane {
    /// The first time after `last` at which it runs.
    fn next(&self, last: i64) -> i64 {
        match self.case.when {
            When::Every(minutes) => last + minutes * MINUTE,
            When::Shown(..) => {
                let behind = self.minutes.partition_point(|minute| *minute <= last);
                self.minutes.get(behind).copied().unwrap_or(i64::MAX)
            }
        }
    }

    fn is_due(&self, clock: i64) -> bool {
        let created = seconds(START) - 3600;
        let believed = |time: &i64| *time <= clock + TOLERANCE;
        let run = match self.last_run {
            Some(run) => Some(run).filter(believed),
            None => Some(created),
        };
        match run.max(self.last_skip.filter(believed)) {
            Some(last) => self.next(last) <= clock,
            None => true,
        }
    }
}

/// All runs of the year: schedule, and the server's time.
pub(super) fn runs() -> Vec<(usize, i64)> {
    let mut lanes: Vec<Lane> = cases().into_iter().map(lane).collect();
    let events = events();
    let mut upcoming = events.iter().peekable();
    let (mut up, mut ahead) = (true, 0);
    let mut runs = Vec::new();
    for now in (seconds(START)..seconds(END)).step_by(60) {
        while let Some((_, event)) = upcoming.next_if(|(at, _)| *at <= now) {
            match *event {
                Event::Down => {
                    up = false;
                    for lane in &mut lanes {
                        lane.busy_until = now;
                    }
                }
                Event::Up => up = true,
                Event::Clock { ahead: set } => ahead = set,
                Event::Pause(number) => lanes[number].paused = true,
                Event::Resume { number, skip } => {
                    lanes[number].paused = false;
                    lanes[number].skip = skip;
                }
                Event::Collect => {}
            }
        }
        let clock = now + ahead;
        for (number, lane) in lanes.iter_mut().enumerate().filter(|_| up) {
            if lane.paused {
                continue;
            }
            if std::mem::take(&mut lane.skip) {
                lane.last_skip = Some(clock);
            }
            if lane.is_due(clock) && now >= lane.busy_until {
                runs.push((number, clock));
                lane.last_run = Some(clock);
                lane.busy_until = now + lane.case.takes * MINUTE;
            }
        }
    }
    runs
}

fn lane(case: Case) -> Lane {
    let minutes = match case.when {
        When::Every(_) => Vec::new(),
        When::Shown(name, shows) => {
            let zone = zone(name);
            // The clock is once set back by 400 days in December, and once ahead by three.
            let span = seconds(START) - 80 * 86_400..seconds(END) + 10 * 86_400;
            span.step_by(60)
                .filter(|at| {
                    let at = Timestamp::from_second(*at).expect("a time of our days");
                    shows(zone.to_datetime(at))
                })
                .collect()
        }
    };
    Lane {
        case,
        minutes,
        last_run: None,
        last_skip: None,
        skip: false,
        paused: false,
        busy_until: 0,
    }
}

/// Names of what stays.
pub(super) fn kept<'a>(keeps: &Keeps, points: &'a [Point], now: i64) -> BTreeSet<&'a str> {
    let at = |point: &Point| point.taken.timestamp().as_second();
    let (future, past): (Vec<&Point>, Vec<&Point>) =
        points.iter().partition(|point| at(point) > now + TOLERANCE);
    let of = |phase: BackupPhase| -> Vec<&Point> {
        let mut found: Vec<&Point> = past.iter().copied().filter(|p| p.phase == phase).collect();
        found.sort_by_key(|point| at(point));
        found
    };
    let complete = of(BackupPhase::Completed);
    let partial = of(BackupPhase::PartiallyFailed);
    let mut stays: Vec<&Point> = points.iter().filter(|p| !p.holds.is_empty()).collect();
    stays.extend(future);
    stays.extend(complete.last());
    stays.extend(complete.iter().rev().find(|point| point.verified));
    if keeps.ttl_hours.is_some() {
        let alive = |point: &&Point| {
            point
                .expiration
                .expect("it has one")
                .timestamp()
                .as_second()
                > now
        };
        stays.extend(points.iter().filter(alive));
        return stays.into_iter().map(|point| point.name.as_str()).collect();
    }
    stays.extend(complete.iter().rev().take(keeps.last));
    let newest = complete.last().map_or(i64::MIN, |point| at(point));
    let newer = partial.iter().rev().filter(|point| at(point) > newest);
    stays.extend(newer.take(keeps.last.max(1)));
    let zone = zone(keeps.zone);
    let shown = |point: &Point| point.taken.timestamp().to_zoned(zone.clone());
    for (count, key) in periods(keeps) {
        let by_period = |points: &[&'a Point]| -> BTreeMap<i64, &'a Point> {
            points
                .iter()
                .map(|point| (key(&shown(point)), *point))
                .collect()
        };
        let all = by_period(&complete);
        let counted: BTreeMap<i64, &Point> = all.into_iter().rev().take(count).collect();
        let oldest = match counted.len() == count {
            true => counted
                .values()
                .map(|point| at(point))
                .min()
                .unwrap_or(i64::MAX),
            false => i64::MIN,
        };
        let gaps = by_period(&partial)
            .into_iter()
            .filter(|(period, point)| !counted.contains_key(period) && at(point) > oldest);
        let gaps: Vec<&Point> = gaps.map(|(_, point)| point).collect();
        stays.extend(counted.into_values());
        stays.extend(gaps.into_iter().rev().take(count));
    }
    let younger = |point: &Point, hours: i64| now - at(point) < hours * 3600;
    for point in &past {
        let usable = matches!(
            point.phase,
            BackupPhase::Completed | BackupPhase::PartiallyFailed
        );
        let failed_hours = if keeps.zone == "Australia/Lord_Howe" {
            72
        } else {
            168
        };
        if usable && younger(point, keeps.within_hours) || !usable && younger(point, failed_hours) {
            stays.push(point);
        }
    }
    stays.into_iter().map(|point| point.name.as_str()).collect()
}

/// The number of the period that a time is in; it grows with time.
type PeriodOf = fn(&Zoned) -> i64;

/// How many of which periods.
fn periods(keeps: &Keeps) -> [(usize, PeriodOf); 5] {
    fn days(at: jiff::civil::Date) -> i64 {
        let epoch = jiff::civil::date(1970, 1, 1);
        i64::from(epoch.until(at).expect("days of our time").get_days())
    }
    [
        (keeps.hours, |at| {
            at.timestamp().as_second().div_euclid(3600)
        }),
        (keeps.days, |at| days(at.date())),
        (keeps.weeks, |at| {
            let monday = i32::from(at.weekday().to_monday_zero_offset()).days();
            days(at.date().checked_sub(monday).expect("days of our time"))
        }),
        (keeps.months, |at| {
            i64::from(at.year()) * 12 + i64::from(at.month())
        }),
        (keeps.years, |at| i64::from(at.year())),
    ]
}
