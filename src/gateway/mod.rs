//! The shell: clock, wiring, supervision, shutdown. The only room that reads a clock.

pub mod clock;
