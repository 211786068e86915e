//! The Modbus client against a slave that delays, drops, mixes up and garbles its answers: not one wrong value.

#[path = "support/fault_peer.rs"]
mod fault_peer;

use fault_peer::{Outcome, Wire, talk};
use tokio::task::JoinSet;

/// Faults in all; `cargo bench --bench modbus_faults` makes more.
const FAULTS: u64 = 2_000;

/// Lines that talk beside each other.
const LINES: u64 = 20;

async fn on(wire: Wire) -> Outcome {
    let mut talks = JoinSet::new();
    for seed in 0..LINES {
        talks.spawn(talk(wire, seed, FAULTS / 3 / LINES + 1));
    }
    let mut all = Outcome::default();
    for one in talks.join_all().await {
        all.faults += one.faults;
        all.answered += one.answered;
        all.good += one.good;
        all.wrong += one.wrong;
    }
    println!("{wire:?}: {all:?}");
    all
}

fn judge(outcome: Outcome) {
    assert_eq!(outcome.wrong, 0, "{outcome:?}");
    assert!(outcome.faults >= FAULTS / 3, "{outcome:?}");
    // What is right is taken; on lines of RTU frames some answers only prove that no older one is on its way.
    assert!(outcome.good * 2 >= outcome.answered, "{outcome:?}");
}

#[tokio::test]
async fn over_tcp() {
    judge(on(Wire::Tcp).await);
}

#[tokio::test]
async fn over_a_serial_server() {
    judge(on(Wire::RtuOverTcp).await);
}

#[tokio::test]
async fn over_a_serial_line() {
    judge(on(Wire::Rtu).await);
}
