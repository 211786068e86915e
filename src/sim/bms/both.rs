//! A BMS on both protocols, as a store has it: the head-end asks over BACnet, a controller beside the boiler counts its
//! heartbeat and reads over Modbus.
//!
//! Not everything over both: the two write into one priority array, Modbus at 15 and a BACnet head-end at 16, so that of
//! one value written twice the Modbus one would rule and the other would never be seen. Readings are taken over both and
//! compared: they show one image.

use super::programme::Ask;
use super::view::BoilerView;
use super::wire::{BmsWire, WireFault, WireFuture};
use crate::units::Watts;

/// How readings over two protocols compare.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Compared {
    /// They showed the same.
    pub agreed: u64,
    /// They did not.
    pub differed: u64,
    /// Nothing to compare, or it changed too fast for a judgement.
    pub unsettled: u64,
    /// The last difference.
    pub difference: Option<String>,
}

/// Gateway seconds between two readings, up to which what lies between them can be judged by them.
const CLOSE: u16 = 2;
/// Equal heat: both are an f32 of one number.
const EQUAL: Watts = Watts::of(0.5);

/// Two wires to one zone.
pub struct BothWires {
    asks: Box<dyn BmsWire>,
    beats: Box<dyn BmsWire>,
    compared: Compared,
}

impl BothWires {
    /// One that asks through the first and beats through the second; it reads through both.
    pub fn new(asks: impl BmsWire + 'static, beats: impl BmsWire + 'static) -> Self {
        Self { asks: Box::new(asks), beats: Box::new(beats), compared: Compared::default() }
    }

    fn note(&mut self, verdict: Result<bool, String>) {
        match verdict {
            Ok(true) => self.compared.agreed += 1,
            Ok(false) => self.compared.unsettled += 1,
            Err(difference) => {
                tracing::warn!(difference, "the gateway shows two things");
                self.compared.differed += 1;
                self.compared.difference = Some(difference);
            }
        }
    }
}

/// Whether a reading agrees with the one before it or the one after it; `Ok(false)` where that cannot be said.
fn judge(before: &BoilerView, between: &BoilerView, after: &BoilerView) -> Result<bool, String> {
    if after.gateway_heartbeat.wrapping_sub(before.gateway_heartbeat) > CLOSE {
        return Ok(false);
    }
    if let (Some(low), Some(total), Some(high)) = (before.heat_energy, between.heat_energy, after.heat_energy)
        && !(low..=high).contains(&total)
    {
        return Err(format!("heat energy {} Wh, not {} to {} Wh", total.wh(), low.wh(), high.wh()));
    }
    let (Some(first), Some(heat), Some(last)) = (before.heat_delivered, between.heat_delivered, after.heat_delivered)
    else {
        return Ok(false);
    };
    let equal = |one: Watts, other: Watts| (one - other).abs() <= EQUAL;
    if equal(heat, first) || equal(heat, last) {
        Ok(true)
    } else if equal(first, last) {
        Err(format!("heat delivered {:.3} kW, not {:.3} kW", heat.kw(), first.kw()))
    } else {
        Ok(false)
    }
}

impl BmsWire for BothWires {
    fn connect(&mut self) -> WireFuture<'_, ()> {
        Box::pin(async {
            self.asks.connect().await?;
            self.beats.connect().await
        })
    }

    fn ask(&mut self, ask: Ask) -> WireFuture<'_, ()> {
        self.asks.ask(ask)
    }

    fn beat(&mut self, count: u16) -> WireFuture<'_, ()> {
        self.beats.beat(count)
    }

    fn read(&mut self) -> WireFuture<'_, BoilerView> {
        Box::pin(async {
            let before = self.beats.read().await?;
            let between = self.asks.read().await?;
            let after = self.beats.read().await?;
            self.note(judge(&before, &between, &after));
            Ok(after)
        })
    }

    fn leave(&mut self) -> WireFuture<'_, ()> {
        Box::pin(async {
            let asked: Result<(), WireFault> = self.asks.leave().await;
            self.beats.leave().await.and(asked)
        })
    }

    fn compared(&self) -> Option<&Compared> {
        Some(&self.compared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Energy;

    fn view(heartbeat: u16, kw: f64, wh: u64) -> BoilerView {
        BoilerView {
            gateway_heartbeat: heartbeat,
            heat_delivered: Some(Watts::from_kw(kw)),
            heat_energy: Some(Energy::from_wh(wh)),
            ..BoilerView::default()
        }
    }

    #[test]
    fn it_agrees_with_one_of_its_neighbours() {
        assert_eq!(judge(&view(5, 20.0, 7), &view(5, 20.0, 7), &view(5, 20.0, 7)), Ok(true));
        assert_eq!(judge(&view(5, 20.0, 7), &view(6, 21.0, 8), &view(6, 21.0, 8)), Ok(true));
        assert_eq!(judge(&view(0xFFFF, 20.0, 7), &view(0xFFFF, 20.0, 7), &view(0, 21.0, 8)), Ok(true));
    }

    #[test]
    fn a_difference_between_equal_neighbours_is_one() {
        assert!(judge(&view(5, 20.0, 7), &view(5, 20.1, 7), &view(5, 20.0, 7)).unwrap_err().contains("20.100"));
        for total in [6, 9] {
            assert!(judge(&view(5, 20.0, 7), &view(5, 20.0, total), &view(5, 20.0, 8)).is_err());
        }
    }

    #[test]
    fn nothing_is_said_of_fast_changes_late_readings_and_faults() {
        assert_eq!(judge(&view(5, 20.0, 7), &view(6, 20.5, 7), &view(7, 21.0, 7)), Ok(false));
        assert_eq!(judge(&view(5, 20.0, 7), &view(8, 30.0, 9), &view(9, 20.0, 7)), Ok(false));
        let fault = BoilerView { gateway_heartbeat: 5, ..BoilerView::default() };
        assert_eq!(judge(&view(5, 20.0, 7), &fault, &view(5, 20.0, 7)), Ok(false));
    }
}
