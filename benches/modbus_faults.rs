//! The Modbus client against a slave that misbehaves, for a long time: not one wrong value may reach a point.
//!
//! `cargo bench --bench modbus_faults [-- FAULTS]` (100,000 by default, a third of them on each kind of line).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "../tests/support/fault_peer.rs"]
mod fault_peer;

use fault_peer::{Outcome, Wire, talk};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Lines that talk beside each other; each begins anew after so many faults, with another seed.
const LINES: u64 = 100;

/// Threads that they are shared out to.
const THREADS: u64 = 2;

/// Client and slave of a line share one thread, so that a busy machine holds up both: what the slave sends after the
/// client's time-out is then never there before the client has seen its time-out.
fn share(wire: Wire, thread: u64, faults: u64) -> Vec<Outcome> {
    Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let mut talks = JoinSet::new();
        for seed in (0..LINES).filter(|line| line % THREADS == thread) {
            talks.spawn(talk(wire, 1_000 + seed, faults / 3 / LINES + 1));
        }
        talks.join_all().await
    })
}

fn main() {
    let faults = std::env::args().filter_map(|arg| arg.parse::<u64>().ok()).next().unwrap_or(100_000);
    let mut wrong = 0;
    println!("{:<12} {:>9} {:>9} {:>9} {:>7}", "line", "faults", "answered", "readings", "wrong");
    for wire in [Wire::Tcp, Wire::RtuOverTcp, Wire::Rtu] {
        let all: Vec<Outcome> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || share(wire, thread, faults))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let sum = |of: fn(&Outcome) -> u64| all.iter().map(of).sum::<u64>();
        wrong += sum(|one| one.wrong);
        println!(
            "{:<12} {:>9} {:>9} {:>9} {:>7}",
            format!("{wire:?}"),
            sum(|one| one.faults),
            sum(|one| one.answered),
            sum(|one| one.good),
            sum(|one| one.wrong)
        );
    }
    assert_eq!(wrong, 0, "a wrong value reached a point");
}
