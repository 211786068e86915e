//! Mutated frames at the BACnet device, from the datagram to the engine: B/IP and network layer, APDUs, the parameters of
//! every service, requests in segments, what is restored at a start, and one device that hears a million of them from 64
//! peers. Nothing panics, the device still answers, and its memory stays flat.
//!
//! `cargo bench --bench bacnet_fuzz [-- FRAMES]`, a million at the one device by default and as many over all targets; a
//! fault is a panic with its frame.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::disallowed_methods, clippy::cast_precision_loss)]

use std::time::Instant;

use heatgate::bacnet::fuzz::{self, Dice, Life};

/// Memory may grow by so much after the first tenth.
const GROWTH_KB: u64 = 4096;

fn main() -> std::process::ExitCode {
    let frames = std::env::args().filter_map(|arg| arg.parse::<usize>().ok()).next().unwrap_or(1_000_000);
    let mut dice = Dice::new(135);
    let mut all = 0;

    let began = Instant::now();
    for n in 0..frames / 4 {
        let mut frame = fuzz::SEEDS[n % fuzz::SEEDS.len()].to_vec();
        fuzz::mutate(&mut frame, &mut dice);
        fuzz::bvll(&frame);
        fuzz::npdu(&frame);
        let mut frame = fuzz::SECURE_SEEDS[n % fuzz::SECURE_SEEDS.len()].to_vec();
        fuzz::spoil(&mut frame, &mut dice);
        fuzz::secure(&frame);
        all += 1;
    }
    line("B/IP and network layer", all, began);

    let each = frames / 2 / fuzz::TARGETS.len();
    for (name, target) in fuzz::TARGETS {
        let (seeds, began) = (fuzz::seeds(name), Instant::now());
        for n in 0..each {
            let mut octets = seeds[n % seeds.len()].clone();
            fuzz::spoil(&mut octets, &mut dice);
            target(&octets);
        }
        all += each;
        line(name, each, began);
    }

    let mut life = Life::new(2_026);
    for _ in 0..frames / 10 {
        life.step();
    }
    let (before, began) = (memory_kb(), Instant::now());
    for _ in frames / 10..frames {
        life.step();
    }
    life.answers();
    line("one device, 64 peers", frames - frames / 10, began);
    let after = memory_kb();
    println!("{} frames, no panic, it still answers; RSS {before} kB before, {after} kB after", all + frames);
    std::process::ExitCode::from(u8::from(after.saturating_sub(before) > GROWTH_KB))
}

fn line(what: &str, frames: usize, began: Instant) {
    println!("{what:<34} {frames:>9} frames {:>9.0} /s", frames as f64 / began.elapsed().as_secs_f64());
}

fn memory_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
