//! What a fuzzer drives: the pure halves as plain functions over bytes, each holding what must be true of any bytes; and
//! a seeded source of mutated frames for whoever has no fuzzer at hand (`benches/modbus_fuzz.rs`, the test below).

use std::sync::OnceLock;

use super::address::AddressSpace;
use super::identity::Identity;
use super::mbap::{self, Frame};
use super::reply::{self, Step};
use super::rtu::{self, Reader};
use crate::mapping::{BuiltinFiles, compile};
use crate::point::{Image, Priority};
use crate::time::Now;

/// Requests that are well-formed, as PDUs.
pub const SEEDS: &[&[u8]] = &[
    &[1, 0, 0, 0, 2],
    &[2, 0, 0, 0, 11],
    &[3, 0, 0, 0, 100],
    &[4, 0, 0, 0, 100],
    &[3, 0x03, 0xE8, 0, 50],
    &[5, 0, 0, 0xFF, 0],
    &[6, 0, 0, 1, 0xF4],
    &[8, 0, 0, 0xA5, 0x37],
    &[15, 0, 0, 0, 2, 1, 3],
    &[16, 0, 0, 0, 2, 4, 1, 0x90, 0, 100],
    &[22, 0, 8, 0xFF, 0, 0, 0x55],
    &[23, 0, 0, 0, 5, 0, 2, 0, 2, 4, 1, 0x4D, 0, 111],
    &[43, 14, 1, 0],
    &[0x83, 2],
    &[3, 4, 0, 1, 0, 2],
];

/// Any bytes as Modbus TCP.
pub fn mbap(bytes: &[u8]) {
    let mut rest = bytes;
    while let Frame::Whole { pdu: whole, size, .. } = mbap::first(rest) {
        assert!((8..=mbap::LONGEST).contains(&size) && whole.len() + 7 == size, "a frame of {size}");
        pdu(whole);
        rest = rest.get(size..).unwrap_or_default();
    }
}

/// Any bytes as Modbus RTU, for a slave and for a master, in the midst of traffic and after silence.
pub fn rtu(bytes: &[u8]) {
    let (unit, function) = (bytes.first().copied().unwrap_or(1), bytes.get(1).copied().unwrap_or(3) & 0x7F);
    for reader in [Reader::Slave, Reader::Master { unit, function }] {
        for silent in [false, true] {
            let mut rest = bytes;
            loop {
                let found = rtu::first(rest, reader, silent);
                rest = rest.get(found.skip..).unwrap_or_default();
                let Some(frame) = found.frame else { break };
                assert!((4..=rtu::LONGEST).contains(&frame.size), "a frame of {}", frame.size);
                if reader == Reader::Slave {
                    pdu(frame.pdu);
                }
                rest = rest.get(frame.size..).unwrap_or_default();
            }
            assert!(if silent { rest.is_empty() } else { rest.len() < rtu::LONGEST }, "{} bytes are kept", rest.len());
        }
    }
}

/// Any bytes as a request to the demonstration's site.
pub fn pdu(bytes: &[u8]) {
    static SITE: OnceLock<(AddressSpace, Image)> = OnceLock::new();
    let (space, image) = SITE.get_or_init(|| {
        let plant = compile("demo.toml", &BuiltinFiles).plant.unwrap_or_default();
        (AddressSpace::new(&plant), Image::empty(plant.points.len(), Now::default()))
    });
    let bytes = bytes.get(..253).unwrap_or(bytes);
    let mut out = Vec::with_capacity(256);
    if let Step::Ask { writes, then } =
        reply::begin(space, &Identity::default(), image, bytes, Priority::PROGRAM, &mut out)
    {
        assert!(out.is_empty() && !writes.is_empty(), "a write of nothing");
        reply::finish(space, image, bytes, then, &mut out);
    }
    let function = bytes.first().copied().unwrap_or(0);
    assert!((2..=253).contains(&out.len()), "a reply of {}", out.len());
    assert!(out.first().is_some_and(|first| first & 0x7F == function & 0x7F), "a reply to another function");
}

/// A source of chance that a seed repeats (xorshift64*).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap_or(0) % end.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }

    /// Change bytes in one to eight ways: flip, set, cut, insert, remove, append.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..[1, 1, 1, 2, 3, 8].get(self.below(6)).copied().unwrap_or(1) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 => {
                    let bit = self.below(8);
                    bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
                }
                1 => {
                    let value = self.byte();
                    bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
                }
                2 => bytes.truncate(at.max(1)),
                3 => bytes.insert(at.min(bytes.len()), self.byte()),
                4 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {
                    for _ in 0..self.below(40) {
                        bytes.push(self.byte());
                    }
                }
            }
        }
    }

    /// A request as Modbus TCP, mutated; its length is made to fit nine times of ten, so that more than the header is
    /// looked at.
    pub fn tcp(&mut self, out: &mut Vec<u8>) {
        let mut bytes = SEEDS.get(self.below(SEEDS.len())).copied().unwrap_or_default().to_vec();
        self.mutate(&mut bytes);
        bytes.truncate(253);
        let mut frame = Vec::with_capacity(260);
        let start = mbap::open(&mut frame, 7, 1);
        frame.append(&mut bytes);
        mbap::close(&mut frame, start);
        if self.below(10) == 0 {
            self.mutate(&mut frame);
        }
        out.append(&mut frame);
    }

    /// A request as Modbus RTU, mutated; its CRC is made to fit three times of four.
    pub fn rtu(&mut self, out: &mut Vec<u8>) {
        let mut bytes = SEEDS.get(self.below(SEEDS.len())).copied().unwrap_or_default().to_vec();
        let crc_fits = self.below(4) != 0;
        if crc_fits {
            self.mutate(&mut bytes);
        }
        bytes.truncate(253);
        let mut frame = Vec::with_capacity(256);
        let start = rtu::open(&mut frame, [0, 1, 9].get(self.below(3)).copied().unwrap_or(1));
        frame.append(&mut bytes);
        rtu::close(&mut frame, start);
        if !crc_fits {
            self.mutate(&mut frame);
        }
        out.append(&mut frame);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seeded_corpus_finds_nothing() {
        let mut dice = Dice::new(20_261);
        for _ in 0..5000 {
            let (mut tcp, mut line) = (Vec::new(), Vec::new());
            for _ in 0..=dice.below(3) {
                dice.tcp(&mut tcp);
                dice.rtu(&mut line);
            }
            mbap(&tcp);
            rtu(&line);
            pdu(&line);
        }
    }

    #[test]
    fn every_seed_is_answered() {
        for seed in SEEDS {
            pdu(seed);
        }
        pdu(&[]);
    }
}
