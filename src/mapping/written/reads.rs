//! How a Modbus device wants to be read: the same keys at a `[[device]]` and at the head of its profile.

use std::time::Duration;

use super::FileDefaults;
use crate::mapping::faces::base;
use crate::plant::{Device, Table as DataTable};
use crate::written::{At, Findings, Item, Place, Table};

/// Most registers that one read can ask for (Modbus Application Protocol V1.1b3, 6.3).
const MOST_REGISTERS: u16 = 125;

/// The longest time that a device is left alone after an exchange, or the whole line waits for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Most repetitions of one request.
const MOST_RETRIES: u8 = 5;

/// Those keys.
#[derive(Debug, Default)]
pub struct ReadsWritten {
    max_registers: Option<At<u16>>,
    max_gap: Option<At<u16>>,
    align: Option<At<u16>>,
    holes: Option<At<Vec<(DataTable, u16, u16)>>>,
    pause: Option<At<Duration>>,
    retries: Option<At<u8>>,
}

impl ReadsWritten {
    pub fn read(t: &mut Table<'_>, file: FileDefaults, f: &mut Findings) -> Self {
        let this = Self {
            max_registers: t.opt("max_registers", f),
            max_gap: t.opt("max_gap", f),
            align: t.opt("align", f),
            holes: t.item("holes").map(|item| At { value: holes(&item, file, f), place: item.place() }),
            pause: t.opt("pause", f),
            retries: t.opt("retries", f),
        };
        if let Some(at) = this.max_registers.as_ref().filter(|at| !(1..=MOST_REGISTERS).contains(&at.value)) {
            f.error("out-of-range", &at.place, "one read asks for 1 to 125 registers", "at most 125");
        }
        if let Some(at) = this.align.as_ref().filter(|at| ![1, 2, 4].contains(&at.value)) {
            f.error("out-of-range", &at.place, "reads begin at every, every second or every fourth", "1, 2 or 4");
        }
        if let Some(at) = this.pause.as_ref().filter(|at| at.value > LONGEST_PAUSE) {
            f.error("out-of-range", &at.place, "no device needs so long a pause", "at most 10s");
        }
        if let Some(at) = this.retries.as_ref().filter(|at| at.value > MOST_RETRIES) {
            f.error("out-of-range", &at.place, "a request is repeated at most 5 times", "0 to 5");
        }
        this
    }

    /// What a device says, else its profile, else what the device has already.
    pub fn apply(&self, profile: Option<&Self>, device: &mut Device) {
        let nothing = Self::default();
        let profile = profile.unwrap_or(&nothing);
        let or = |own: &Option<At<u16>>, theirs: &Option<At<u16>>, usual| {
            own.as_ref().or(theirs.as_ref()).map_or(usual, |at| at.value)
        };
        device.max_registers = or(&self.max_registers, &profile.max_registers, device.max_registers);
        device.max_gap = or(&self.max_gap, &profile.max_gap, device.max_gap);
        device.align = or(&self.align, &profile.align, device.align).max(1);
        for holes in [&self.holes, &profile.holes].into_iter().flatten() {
            device.holes.extend(&holes.value);
        }
        device.pause = self.pause.as_ref().or(profile.pause.as_ref()).map_or(device.pause, |at| at.value);
        device.retries = self.retries.as_ref().or(profile.retries.as_ref()).map_or(device.retries, |at| at.value);
    }

    /// What was written, for a device that has no registers.
    pub fn places(&self) -> impl Iterator<Item = (&'static str, &Place)> {
        [
            self.max_registers.as_ref().map(|at| ("max_registers", &at.place)),
            self.max_gap.as_ref().map(|at| ("max_gap", &at.place)),
            self.align.as_ref().map(|at| ("align", &at.place)),
            self.holes.as_ref().map(|at| ("holes", &at.place)),
            self.pause.as_ref().map(|at| ("pause", &at.place)),
            self.retries.as_ref().map(|at| ("retries", &at.place)),
        ]
        .into_iter()
        .flatten()
    }
}

/// `[{ holding = [100, 119] }]`: addresses that no read may touch, numbered like the rest of the file.
fn holes(item: &Item<'_>, file: FileDefaults, f: &mut Findings) -> Vec<(DataTable, u16, u16)> {
    let help = "such as holes = [{ holding = [100, 119] }]: first and last address that no read may touch";
    if !item.is_list() {
        item.wrong("a list", help, f);
        return Vec::new();
    }
    item.items().iter().filter_map(|item| hole(item, file, help, f)).collect()
}

fn hole(item: &Item<'_>, file: FileDefaults, help: &str, f: &mut Findings) -> Option<(DataTable, u16, u16)> {
    let mut t = item.table(f)?;
    let own = t.item("base").map(|item| base(&item, f));
    let mut found = None;
    for (table, key) in [
        (DataTable::Coil, "coil"),
        (DataTable::Discrete, "discrete"),
        (DataTable::Input, "input"),
        (DataTable::Holding, "holding"),
    ] {
        if let Some(at) = t.opt::<Vec<At<u32>>>(key, f) {
            found = Some((table, at));
        }
    }
    let Some(base) = own.unwrap_or(file.base) else {
        t.missing("base", "0 or 1 (or address_base at the head of the file)", f);
        return None;
    };
    let place = t.place();
    t.finish(f);
    let Some((table, at)) = found else {
        f.error("missing-key", &place, "a hole names its table", help);
        return None;
    };
    let address = |at: &At<u32>| at.value.checked_sub(base).and_then(|address| u16::try_from(address).ok());
    let ends: Vec<Option<u16>> = at.value.iter().map(address).collect();
    match ends.as_slice() {
        [Some(first), Some(last)] if first <= last => Some((table, *first, *last)),
        _ => {
            f.error("out-of-range", &at.place, "a hole has a first and a last address", help);
            None
        }
    }
}
