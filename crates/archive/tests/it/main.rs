//! Archives written, read, damaged and forged.

mod damage;
mod foreign;
mod handmade;
mod layout;
mod properties;
mod survey;
mod system;
mod written;
