//! What leaves a location for recipients: round trips, damage, and the program `age`.

mod age;
mod program;
