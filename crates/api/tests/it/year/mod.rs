//! Ten schedules for a year, with restarts, clocks that jump and change, and retention every noon.
//!
//! The product is asked only when it said that something would happen, as a controller asks it. The
//! oracle looks at every minute of the year and knows the rules in another form; runs must be the same to
//! the second, and what retention leaves must be the same set every day.

mod cases;
mod oracle;

use std::collections::BTreeSet;

use jiff::Timestamp;
use salvor_api::go::Time;
use salvor_api::labels;
use salvor_api::retention::{Action, Guard, Point, RetentionPlan, Scope, Series, Stop, expiration};
use salvor_api::schedule::{Decision, Server, backup_from, decide};
use salvor_api::velero::{Backup, BackupPhase, Schedule};

use cases::{Case, Event, cases, events};

/// Seconds.
const MINUTE: i64 = 60;
const START: &str = "2026-01-01T00:00:00Z";
const END: &str = "2027-01-01T00:00:00Z";

fn seconds(text: &str) -> i64 {
    let at: Timestamp = text.parse().expect(text);
    at.as_second()
}

fn time(seconds: i64) -> Time {
    Time::new(Timestamp::from_second(seconds).expect("a time of our days"))
}

/// A number that looks random and belongs to one run.
fn luck(case: usize, taken: i64) -> u64 {
    let mixed = (taken as u64 / 60 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (case as u64) << 17;
    (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33
}

/// How a run ends when nothing stops it.
fn end_of(case: usize, taken: i64) -> BackupPhase {
    match luck(case, taken) % 17 {
        0 => BackupPhase::Failed,
        1 | 2 => BackupPhase::PartiallyFailed,
        _ => BackupPhase::Completed,
    }
}

/// One schedule and what came of it.
struct Lane {
    case: Case,
    schedule: Schedule,
    /// The backup that runs, and the true time at which it ends.
    running: Option<(Backup, i64)>,
    points: Vec<Point>,
}

/// The world as it is: the true time, and what the server's clock makes of it.
struct World {
    lanes: Vec<Lane>,
    up: bool,
    /// How far the server's clock is ahead.
    ahead: i64,
    runs: Vec<(usize, i64)>,
    removed: usize,
    /// Plans that were refused because the clocks differed.
    refused: usize,
    /// Plans that took so much that somebody had to confirm them.
    confirmed: usize,
}

impl World {
    fn new() -> Self {
        let lanes = cases().into_iter().map(|case| {
            let mut schedule = Schedule::named("velero", case.name);
            schedule.metadata.creation_timestamp = Some(time(seconds(START) - 3600));
            schedule.spec.schedule = case.cron.to_owned();
            Lane {
                case,
                schedule,
                running: None,
                points: Vec::new(),
            }
        });
        Self {
            lanes: lanes.collect(),
            up: true,
            ahead: 0,
            runs: Vec::new(),
            removed: 0,
            refused: 0,
            confirmed: 0,
        }
    }

    /// Goes through the year from one thing that happens to the next.
    fn live(&mut self) {
        let events = events();
        let mut upcoming = events.iter().peekable();
        let mut now = seconds(START);
        while now < seconds(END) {
            self.finish(now);
            while let Some((_, event)) = upcoming.next_if(|(at, _)| *at <= now) {
                self.happen(event, now);
            }
            let wake = if self.up { self.look(now) } else { None };
            let next = upcoming.peek().map(|(at, _)| *at);
            let ends = self
                .lanes
                .iter()
                .filter_map(|lane| Some(lane.running.as_ref()?.1));
            let next = ends.chain(next).chain(wake).min().unwrap_or(i64::MAX);
            assert!(next > now, "time stands still at {}", time(now));
            now = next;
        }
    }

    fn finish(&mut self, now: i64) {
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if let Some((backup, _)) = lane.running.take_if(|(_, end)| *end <= now) {
                lane.put(number, backup, None);
            }
        }
    }

    fn happen(&mut self, event: &Event, now: i64) {
        match *event {
            Event::Down => {
                self.up = false;
                // What runs is lost; the next start of the server says so.
                for (number, lane) in self.lanes.iter_mut().enumerate() {
                    if let Some((backup, _)) = lane.running.take() {
                        lane.put(number, backup, Some(BackupPhase::Failed));
                    }
                }
            }
            Event::Up => self.up = true,
            Event::Clock { ahead } => self.ahead = ahead,
            Event::Pause(number) => self.lanes[number].schedule.spec.paused = true,
            Event::Resume { number, skip } => {
                let spec = &mut self.lanes[number].schedule.spec;
                spec.paused = false;
                spec.skip_immediately = Some(skip);
            }
            Event::Collect if self.up => self.collect(now),
            Event::Collect => {}
        }
    }

    /// Does what the decisions say; returns the true time at which to look again.
    fn look(&mut self, now: i64) -> Option<i64> {
        let clock = time(now + self.ahead);
        let server = Server::default();
        let mut wake = None;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            loop {
                let backups = lane.running.iter().map(|(backup, _)| backup);
                match decide(&lane.schedule, backups, clock, &server) {
                    Decision::Refuse { errors } => panic!("{}: {errors:?}", lane.case.cron),
                    Decision::Rest | Decision::HoldBack { .. } => break,
                    Decision::Skip => {
                        lane.schedule.spec.skip_immediately = Some(false);
                        lane.schedule.status.last_skipped = Some(clock);
                    }
                    Decision::Wait { until } => {
                        let until = until.map(|until| until.timestamp().as_second() - self.ahead);
                        wake = wake.into_iter().chain(until).min();
                        break;
                    }
                    Decision::Run { name, .. } => {
                        let mut backup = backup_from(&lane.schedule, clock);
                        assert_eq!(backup.metadata.name, name);
                        assert!(lane.running.is_none(), "two backups of one schedule");
                        backup.status.phase = BackupPhase::InProgress;
                        backup.status.start_timestamp = Some(clock);
                        lane.running = Some((backup, now + lane.case.takes * MINUTE));
                        lane.schedule.status.last_backup = Some(clock);
                        self.runs.push((number, now + self.ahead));
                    }
                }
            }
        }
        wake
    }

    /// Plans and carries out retention, after comparing the plan with the oracle's.
    fn collect(&mut self, now: i64) {
        let clock = now + self.ahead;
        let scope = Scope {
            location: "default".to_owned(),
            now: time(clock),
            store_clock: Some(time(now)),
            guard: Guard::default(),
        };
        let series = |lane: &Lane| Series {
            name: lane.case.name.to_owned(),
            policy: lane.case.policy(),
            protected: true,
            foreign: false,
            points: lane.points.clone(),
        };
        let plan = RetentionPlan::new(&scope, self.lanes.iter().map(series).collect());
        for lane in &self.lanes {
            let found = plan
                .series
                .iter()
                .find(|series| series.name == lane.case.name)
                .expect("every series is planned");
            let kept = found
                .decisions
                .iter()
                .filter(|decision| decision.action == Action::Keep);
            let kept: BTreeSet<&str> = kept.map(|decision| decision.name.as_str()).collect();
            let wanted = oracle::kept(&lane.case.keeps, &lane.points, clock);
            assert_eq!(kept, wanted, "{} at {}", lane.case.name, time(now));
        }
        let mut allowed = plan.to_remove(None);
        if let Err(Stop::Share { .. }) = allowed {
            self.confirmed += 1;
            allowed = plan.to_remove(Some(&plan.digest()));
        }
        match allowed {
            Ok(names) => {
                self.removed += names.len();
                for lane in &mut self.lanes {
                    lane.points
                        .retain(|point| !names.contains(&point.name.as_str()));
                }
            }
            Err(Stop::Clock { .. }) => {
                assert!(self.ahead.abs() > 600);
                self.refused += 1;
            }
            Err(stop) => panic!("{stop}\n{plan}"),
        }
    }
}

impl Lane {
    /// The backup has ended: its archive is in the location.
    fn put(&mut self, number: usize, backup: Backup, phase: Option<BackupPhase>) {
        assert_eq!(
            backup.metadata.labels[labels::SCHEDULE_NAME],
            self.case.name
        );
        let taken = backup.status.start_timestamp.expect("it was begun");
        let at = taken.timestamp().as_second();
        let luck = luck(number, at);
        self.points.push(Point {
            name: backup.metadata.name,
            taken,
            phase: phase.unwrap_or_else(|| end_of(number, at)),
            expiration: expiration(self.case.policy().as_ref(), taken, self.case.ttl()),
            verified: luck.is_multiple_of(5),
            damaged: false,
            holds: luck
                .is_multiple_of(89)
                .then(|| "audit".to_owned())
                .into_iter()
                .collect(),
            archived: None,
            used_by: String::new(),
        });
    }
}

#[test]
fn a_year_has_exactly_the_runs_and_the_backups_that_the_rules_give() {
    let mut world = World::new();
    world.live();
    let mut wanted = oracle::runs();
    let mut found = world.runs;
    // Lanes that run in the same minute have no order between them.
    wanted.sort_by_key(|(number, at)| (*number, *at));
    found.sort_by_key(|(number, at)| (*number, *at));
    let odd = found
        .iter()
        .zip(&wanted)
        .find(|(found, wanted)| found != wanted);
    let told = odd.map(|((a, at), (b, by))| format!("{a} {} is not {b} {}", time(*at), time(*by)));
    assert_eq!(told, None);
    assert_eq!(found.len(), wanted.len());

    // The year was no quiet one.
    let of = |number: usize| found.iter().filter(|(lane, _)| *lane == number).count();
    assert!(
        (0..10).all(|number| of(number) > 9),
        "a schedule hardly ran"
    );
    assert!(found.len() > 10_000, "only {} runs", found.len());
    assert!(world.removed > 8_000, "only {} were removed", world.removed);
    assert!(world.refused > 1, "clocks never stopped a plan");
    let confirmed = world.confirmed;
    assert!(
        (1..10).contains(&confirmed),
        "{confirmed} plans were confirmed"
    );
    let held = world.lanes.iter().flat_map(|lane| &lane.points);
    assert!(held.filter(|point| !point.holds.is_empty()).count() > 50);
}
