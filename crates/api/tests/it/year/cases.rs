//! The schedules, what they keep, and what happens in the year.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use salvor_api::go::GoDuration;
use salvor_api::retention::Policy;

use super::{END, MINUTE, START, seconds};

/// When a schedule runs, told without its expression.
#[derive(Clone, Copy)]
pub(super) enum When {
    /// When the clock on the wall of this zone shows such a minute.
    Shown(&'static str, fn(DateTime) -> bool),
    /// This many minutes after the last time.
    Every(i64),
}

/// What is kept, told without the policy's text.
#[derive(Clone, Copy, Default)]
pub(super) struct Keeps {
    pub(super) last: usize,
    pub(super) hours: usize,
    pub(super) days: usize,
    pub(super) weeks: usize,
    pub(super) months: usize,
    pub(super) years: usize,
    pub(super) within_hours: i64,
    pub(super) zone: &'static str,
    /// Without a policy: hours until expiration.
    pub(super) ttl_hours: Option<i64>,
}

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) cron: &'static str,
    pub(super) when: When,
    /// Minutes that a backup takes.
    pub(super) takes: i64,
    policy: &'static str,
    pub(super) keeps: Keeps,
}

impl Case {
    pub(super) fn policy(&self) -> Option<Policy> {
        (!self.policy.is_empty()).then(|| self.policy.parse().expect(self.policy))
    }

    pub(super) fn ttl(&self) -> GoDuration {
        GoDuration::from_hours(self.keeps.ttl_hours.unwrap_or(0).unsigned_abs())
    }
}

/// Weekdays count from 1, Monday.
fn weekday(at: DateTime) -> i8 {
    at.date().weekday().to_monday_one_offset()
}

fn shows(at: DateTime, hour: i8, minute: i8) -> bool {
    at.hour() == hour && at.minute() == minute
}

pub(super) fn cases() -> Vec<Case> {
    let none = Keeps {
        zone: "UTC",
        ..Keeps::default()
    };
    vec![
        Case {
            name: "nightly",
            cron: "0 2 * * *",
            when: When::Shown("UTC", |at| shows(at, 2, 0)),
            takes: 20,
            policy: "last=3,daily=7,weekly=4,monthly=6",
            keeps: Keeps {
                last: 3,
                days: 7,
                weeks: 4,
                months: 6,
                ..none
            },
        },
        Case {
            name: "hourly-and-slow",
            cron: "@hourly",
            when: When::Shown("UTC", |at| at.minute() == 0),
            // The next two runs come while it works.
            takes: 150,
            policy: "hourly=24,daily=7",
            keeps: Keeps {
                hours: 24,
                days: 7,
                ..none
            },
        },
        Case {
            name: "berlin",
            // Skipped on the last Sunday of March, twice on that of October.
            cron: "CRON_TZ=Europe/Berlin 30 2 * * *",
            when: When::Shown("Europe/Berlin", |at| shows(at, 2, 30)),
            takes: 20,
            policy: "daily=14,zone=Europe/Berlin",
            keeps: Keeps {
                days: 14,
                zone: "Europe/Berlin",
                ..none
            },
        },
        Case {
            name: "new-york",
            cron: "CRON_TZ=America/New_York 0 1,13 * * Mon-Fri",
            when: When::Shown("America/New_York", |at| {
                weekday(at) <= 5 && (shows(at, 1, 0) || shows(at, 13, 0))
            }),
            takes: 35,
            policy: "weekly=8,within=3d,zone=America/New_York",
            keeps: Keeps {
                weeks: 8,
                within_hours: 72,
                zone: "America/New_York",
                ..none
            },
        },
        Case {
            name: "every-seven-hours",
            cron: "@every 7h",
            when: When::Every(7 * 60),
            takes: 15,
            policy: "",
            keeps: Keeps {
                ttl_hours: Some(72),
                ..none
            },
        },
        Case {
            name: "monthly",
            cron: "@monthly",
            when: When::Shown("UTC", |at| at.day() == 1 && shows(at, 0, 0)),
            takes: 50,
            policy: "monthly=5,yearly=1",
            keeps: Keeps {
                months: 5,
                years: 1,
                ..none
            },
        },
        Case {
            name: "office-hours",
            cron: "CRON_TZ=Asia/Seoul */15 8-17 * * 1-5",
            when: When::Shown("Asia/Seoul", |at| {
                weekday(at) <= 5 && (8..=17).contains(&at.hour()) && at.minute() % 15 == 0
            }),
            takes: 10,
            policy: "last=100,hourly=10,zone=Asia/Seoul",
            keeps: Keeps {
                last: 100,
                hours: 10,
                zone: "Asia/Seoul",
                ..none
            },
        },
        Case {
            name: "cairo",
            // Midnight of one Friday in April does not exist there.
            cron: "TZ=Africa/Cairo 0 0 ? * Fri",
            when: When::Shown("Africa/Cairo", |at| weekday(at) == 5 && shows(at, 0, 0)),
            takes: 20,
            policy: "weekly=5,zone=Africa/Cairo",
            keeps: Keeps {
                weeks: 5,
                zone: "Africa/Cairo",
                ..none
            },
        },
        Case {
            name: "either-day",
            // Both days are restricted, so either will do.
            cron: "0 12 */10 * Mon",
            when: When::Shown("UTC", |at| {
                (weekday(at) == 1 || [1, 11, 21, 31].contains(&at.day())) && shows(at, 12, 0)
            }),
            takes: 20,
            policy: "",
            keeps: Keeps {
                ttl_hours: Some(720),
                ..none
            },
        },
        Case {
            name: "lord-howe",
            // The clock there moves by half an hour: from 2:00 to 2:30, and from 2:00 back to 1:30.
            cron: "CRON_TZ=Australia/Lord_Howe 45 1 * * *",
            when: When::Shown("Australia/Lord_Howe", |at| shows(at, 1, 45)),
            takes: 20,
            policy: "daily=3,weekly=3,failed=3d,zone=Australia/Lord_Howe",
            keeps: Keeps {
                days: 3,
                weeks: 3,
                zone: "Australia/Lord_Howe",
                ..none
            },
        },
    ]
}

/// Something that happens at a minute of true time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The server is killed.
    Down,
    /// It starts.
    Up,
    /// Its clock is set.
    Clock {
        /// By how many seconds it is ahead from now on.
        ahead: i64,
    },
    Pause(usize),
    Resume {
        number: usize,
        skip: bool,
    },
    /// Retention looks at the location.
    Collect,
}

/// What happens, in order.
pub(super) fn events() -> Vec<(i64, Event)> {
    let mut events = Vec::new();
    for (from, to) in [
        ("2026-01-10T01:30:00Z", "2026-01-10T05:00:00Z"),
        // Over the change of Berlin's clock.
        ("2026-03-29T00:00:00Z", "2026-03-29T04:00:00Z"),
        ("2026-07-01T09:00:00Z", "2026-07-04T11:20:00Z"),
        ("2026-10-25T00:15:00Z", "2026-10-25T00:45:00Z"),
    ] {
        events.push((seconds(from), Event::Down));
        events.push((seconds(to), Event::Up));
    }
    // A restart in the very minute of a run, every ninth day.
    let mut at = seconds("2026-01-05T02:00:00Z");
    while at < seconds(END) {
        events.push((at, Event::Down));
        events.push((at + MINUTE, Event::Up));
        at += 9 * 24 * 60 * MINUTE + 30 * MINUTE;
    }
    for (from, to, ahead) in [
        ("2026-05-05T06:00:00Z", "2026-05-06T07:00:00Z", 180),
        ("2026-08-10T05:00:00Z", "2026-08-11T13:00:00Z", -45),
        ("2026-09-20T05:00:00Z", "2026-09-20T23:00:00Z", 5),
        ("2026-11-02T05:00:00Z", "2026-11-03T13:00:00Z", 3 * 24 * 60),
        (
            "2026-12-01T05:00:00Z",
            "2026-12-01T13:00:00Z",
            -400 * 24 * 60,
        ),
    ] {
        let ahead = ahead * MINUTE;
        events.push((seconds(from), Event::Clock { ahead }));
        events.push((seconds(to), Event::Clock { ahead: 0 }));
    }
    for (number, from, to, skip) in [
        (3, "2026-06-01T00:00:00Z", "2026-06-20T10:10:00Z", false),
        (0, "2026-09-01T00:00:00Z", "2026-09-10T10:10:00Z", true),
    ] {
        events.push((seconds(from), Event::Pause(number)));
        events.push((seconds(to), Event::Resume { number, skip }));
    }
    let noon = seconds(START) + 12 * 60 * MINUTE;
    let days = (noon..seconds(END)).step_by(24 * 60 * 60);
    events.extend(days.map(|at| (at, Event::Collect)));
    // Stable: what stands first here happens first.
    events.sort_by_key(|(at, _)| *at);
    events
}

pub(super) fn zone(name: &str) -> TimeZone {
    match name {
        "UTC" => TimeZone::UTC,
        name => TimeZone::get(name).expect("the machine has time zones"),
    }
}
