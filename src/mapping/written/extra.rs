//! What a `source` in a device says beyond the place of its number: how often it is read, which bits of it are meant,
//! what its states are called there, and which other registers belong to it.

use std::time::Duration;

use crate::plant::{DevicePlace, RegisterPlace, RegisterType, ScaleRegister, Split, Table as DataTable};
use crate::written::{At, Findings, Item, Place, Read, Table};

/// Those keys of a source.
#[derive(Debug, Default)]
pub struct ExtraWritten {
    pub poll: Option<At<Duration>>,
    bits: Option<At<u64>>,
    states: Option<StatesWritten>,
    scale_register: Option<At<u32>>,
    factors: Option<Pairs<u16, f64>>,
    high: Option<At<u32>>,
    modulus: Option<At<u32>>,
}

/// `states = [[raw, state], ...]`: what stands in a register for each state.
#[derive(Debug)]
pub struct StatesWritten(Pairs<u64, u16>);

impl StatesWritten {
    pub fn read(t: &mut Table<'_>, f: &mut Findings) -> Option<Self> {
        t.opt::<Vec<At<Pair<u64, u16>>>>("states", f).map(|at| Self(pairs(at)))
    }

    /// Where it stands.
    pub const fn place(&self) -> &Place {
        &self.0.place
    }

    /// Raw number and state; a raw number that is there twice is reported.
    pub fn pairs(&self, f: &mut Findings) -> Vec<(u64, u16)> {
        twice(&self.0.value, "a raw number", f);
        self.0.value.iter().map(|pair| pair.value).collect()
    }
}

/// `[[raw, meaning], ...]`
type Pairs<A, B> = At<Vec<At<(A, B)>>>;

/// A counter in two 16-bit halves, unless it says otherwise.
const HALF: u32 = 65_536;

impl ExtraWritten {
    pub fn read(t: &mut Table<'_>, f: &mut Findings) -> Self {
        Self {
            poll: t.opt("poll", f),
            bits: t.opt::<Bits>("bits", f).map(|at| At { value: at.value.0, place: at.place }),
            states: StatesWritten::read(t, f),
            scale_register: t.opt("scale_register", f),
            factors: t.opt::<Vec<At<Pair<u16, f64>>>>("factors", f).map(pairs),
            high: t.opt("high", f),
            modulus: t.opt("modulus", f),
        }
    }

    /// Where one of the keys that only registers have stands.
    fn any(&self) -> Option<(&'static str, &Place)> {
        [
            self.bits.as_ref().map(|at| ("bits", &at.place)),
            self.states.as_ref().map(|at| ("states", &at.0.place)),
            self.scale_register.as_ref().map(|at| ("scale_register", &at.place)),
            self.factors.as_ref().map(|at| ("factors", &at.place)),
            self.high.as_ref().map(|at| ("high", &at.place)),
            self.modulus.as_ref().map(|at| ("modulus", &at.place)),
        ]
        .into_iter()
        .flatten()
        .next()
    }

    /// Put it into the place that it belongs to. `base`: what the file's numbers count from.
    pub fn apply(&self, place: &mut DevicePlace, base: u32, f: &mut Findings) {
        let (Some((key, at)), place) = (self.any(), place) else { return };
        match place {
            DevicePlace::Register(place) if matches!(place.codec.kind, RegisterType::Text(_)) => {
                f.error("place-does-not-fit", at, format!("a text has no `{key}`"), "leave it out");
            }
            DevicePlace::Register(place) if matches!(place.table, DataTable::Input | DataTable::Holding) => {
                self.apply_to_register(place, base, f);
            }
            _ => f.error("place-does-not-fit", at, format!("only registers have `{key}`"), "leave it out"),
        }
    }

    fn apply_to_register(&self, place: &mut RegisterPlace, base: u32, f: &mut Findings) {
        if let Some(at) = &self.bits {
            let widest = u64::MAX >> (64 - 16 * u32::from(place.codec.kind.width()));
            if at.value > widest {
                let message = format!("{} has no such bits", place.codec.kind.as_str());
                f.error("out-of-range", &at.place, message, "bit 0 is the lowest");
            }
            place.codec.mask = Some(at.value);
        }
        if let Some(at) = &self.states {
            place.codec.states = at.pairs(f);
        }
        let number = |at: &At<u32>, f: &mut Findings| {
            let address = at.value.checked_sub(base).and_then(|address| u16::try_from(address).ok());
            if address.is_none() {
                let message = format!("{} with base {base} is no address", at.value);
                f.error("out-of-range", &at.place, message, format!("from {base} to {}", base + 65_535));
            }
            address
        };
        match (&self.scale_register, &self.factors) {
            (Some(at), factors) => {
                let factors = factors.as_ref();
                if let Some(at) = factors {
                    twice(&at.value, "a unit", f);
                }
                place.scale = number(at, f).map(|address| ScaleRegister {
                    address,
                    factors: factors.map_or(Vec::new(), |at| at.value.iter().map(|pair| pair.value).collect()),
                });
            }
            (None, Some(at)) => {
                let help = "scale_register = the register that says which of them holds";
                f.error("missing-key", &at.place, "factors without a register", help);
            }
            (None, None) => {}
        }
        match (&self.high, &self.modulus) {
            (Some(at), modulus) => {
                let modulus = modulus.as_ref().map_or(HALF, |at| at.value);
                place.split = number(at, f).filter(|_| modulus > 0).map(|high| Split { high, modulus });
            }
            (None, Some(at)) => {
                f.error("missing-key", &at.place, "a modulus without the other half", "high = its register");
            }
            (None, None) => {}
        }
        let (first, end) = place.span();
        if end - first > u32::from(MOST) {
            let at = self.high.as_ref().or(self.scale_register.as_ref()).map(|at| &at.place);
            if let Some(at) = at {
                let message = format!("its registers are {} apart", end - first);
                f.error("out-of-range", at, message, "they are read at once, and one read has at most 125");
            }
        }
    }
}

/// Most registers in one read (Modbus Application Protocol V1.1b3, 6.3).
const MOST: u16 = 125;

fn twice<K: PartialEq + Copy, V: Copy>(pairs: &[At<(K, V)>], what: &str, f: &mut Findings) {
    for (number, pair) in pairs.iter().enumerate() {
        if pairs.iter().take(number).any(|before| before.value.0 == pair.value.0) {
            f.error("duplicate-name", &pair.place, format!("{what} is here twice"), "one pair for each");
        }
    }
}

/// `3`, or `"4..6"`: bits next to each other, as a mask.
struct Bits(u64);

impl Read for Bits {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        let text = item.as_whole().map(|bit| bit.to_string()).or_else(|| item.as_text().map(str::to_owned));
        let text = text.unwrap_or_default();
        let (low, high) = text.split_once("..").unwrap_or((&text, &text));
        let bit = |text: &str| text.trim().parse::<u32>().ok().filter(|bit| *bit < 64);
        match (bit(low), bit(high)) {
            (Some(low), Some(high)) if low <= high => Some(Self((u64::MAX >> (63 - (high - low))) << low)),
            _ => {
                item.wrong("a bit or bits", "bits = 3, or bits = \"4..6\"; bit 0 is the lowest", f);
                None
            }
        }
    }
}

/// `[raw, meaning]`
struct Pair<A, B>(A, B);

fn pairs<A: Copy, B: Copy>(at: At<Vec<At<Pair<A, B>>>>) -> Pairs<A, B> {
    let pair = |at: At<Pair<A, B>>| At { value: (at.value.0, at.value.1), place: at.place };
    At { value: at.value.into_iter().map(pair).collect(), place: at.place }
}

impl<A: Read, B: Read> Read for Pair<A, B> {
    fn read(item: &Item<'_>, f: &mut Findings) -> Option<Self> {
        let items = item.items();
        match items.as_slice() {
            [first, second] if item.is_list() => Some(Self(A::read(first, f)?, B::read(second, f)?)),
            _ => {
                item.wrong("a pair", "such as [0, 1]: what stands in the register, and what it means", f);
                None
            }
        }
    }
}
