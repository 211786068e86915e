//! Energy that can be billed: counters with rollover, reset and replacement, the ledger, intervals. Pure.
//!
//! ```text
//! raw register ──► Register (what a step means) ──► Total (what may be published) ──► Sum (a zone's)
//!                                                     └──► Intervals (closed quarters of an hour)
//! ```
//!
//! Why a total never decreases (invariant 6), whatever is killed when:
//! - A total is shown only up to the ceiling of the last *durable* checkpoint (`SavedCounter::ceiling_wh`), which reserves a
//!   few minutes of full power ahead.
//! - A device's register is its own memory: after a restart, flow = saved flow + (register - saved register), whichever
//!   checkpoint was the last durable one; the total is that, or what that checkpoint had shown if it was more.
//! - An estimate has no such memory, and a replaced register has lost it. Such a total stands at the ceiling after a
//!   restart, and waits there until the flow has caught up: nothing is billed twice.
//! - A register that drops, or jumps further than the plant can heat, is doubted first and believed after three
//!   samples that agree; nobody bills the jump.
//!
//! The limits of the promise: a device replaced between the last durable checkpoint and a kill, by one whose register
//! stands a plausible step above the saved one, is taken for the same device. And where the disk takes no checkpoint for
//! five minutes, register totals go on without it (estimates wait); should the device then be replaced across a kill, the
//! total goes on from the last durable ceiling.

mod event;
mod interval;
mod ledger;
mod register;
mod sum;
mod total;

#[cfg(test)]
mod tests;

pub use event::LedgerEvent;
pub use ledger::Ledger;
