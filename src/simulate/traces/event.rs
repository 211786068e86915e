//! What happens in a random trace: requests, limits, faults, losses, and clocks that jump.

use crate::plant::ZoneRole;
use crate::sim::noise::Noise;

/// A reading that a device or a controller gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shown {
    /// As the simulated thing is.
    True,
    /// A number, however impossible; also one that never changes again.
    Number(f64),
    /// No communication.
    Gone,
    /// Nothing at all arrives.
    Silent,
}

/// One thing that happens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Event {
    /// The building writes a point of a zone; it repeats what it asks while it lives.
    Write(usize, ZoneRole, f64),
    /// A person overrides (`Some`), or lets go.
    Force(usize, ZoneRole, Option<f64>),
    /// The building's side lives and repeats its writes each minute, or does not.
    Building(usize, bool),
    /// A limit: 0 of the BMS, 1 of load control, 2 remote; `None` is an explicit "none".
    Limit(usize, usize, Option<f64>),
    /// What others draw under the limit, kW.
    Others(Shown),
    /// The contact of the second zone.
    Contact(Shown),
    /// A heater's messages arrive, or not.
    Heard(usize, bool),
    /// It acknowledges, or not.
    Acks(usize, bool),
    /// It refuses what it is told.
    Refuses(usize, bool),
    /// Its broker says that it is there, or gone.
    Online(usize, bool),
    /// The state that it reports.
    State(usize, u16),
    /// The power that it reports, kW.
    Power(usize, Shown),
    /// The most that it reports it can draw, kW.
    Most(usize, Shown),
    /// Its inlet temperature.
    Inlet(usize, Shown),
    /// Share of its full load that there are jobs for.
    Jobs(usize, f64),
    /// Heat at a meter, kW.
    Heat(usize, Shown),
    /// Supply and return temperature at a meter.
    Supply(usize, Shown),
    Return(usize, Shown),
    /// A person re-arms a zone.
    Rearm(usize),
    /// Nothing runs for so many seconds: a machine that slept, a stall.
    Stall(u64),
    /// The clock on the wall jumps by so many seconds.
    Wall(i64),
    /// The gateway starts anew, with what it had saved.
    Restart,
    Nothing,
}

/// A number out of a few.
fn one<T: Copy>(noise: &mut Noise, of: &[T], default: T) -> T {
    let at = (noise.unit() * of.len() as f64) as usize;
    of.get(at).copied().unwrap_or(default)
}

fn yes(noise: &mut Noise, share: f64) -> bool {
    noise.unit() < share
}

fn shown(noise: &mut Noise, low: f64, high: f64) -> Shown {
    match noise.unit() {
        u if u < 0.35 => Shown::True,
        u if u < 0.60 => Shown::Number(noise.between(low, high)),
        u if u < 0.75 => Shown::Number(one(noise, &[f64::NAN, f64::INFINITY, -1e9, 1e9, -7.0, 0.0, -400.0], 0.0)),
        u if u < 0.88 => Shown::Gone,
        _ => Shown::Silent,
    }
}

impl Event {
    /// The next one, for a site of so many zones and heaters.
    pub fn draw(noise: &mut Noise, zones: usize, heaters: usize) -> Self {
        let zone = (noise.unit() * zones as f64) as usize;
        let heater = (noise.unit() * heaters as f64) as usize;
        let n = noise;
        match (n.unit() * 100.0) as u32 {
            0..12 => Self::Write(zone, ZoneRole::HeatRequestPercent, n.between(0.0, 100.0)),
            12..15 => Self::Write(zone, ZoneRole::HeatRequestPower, n.between(0.0, 57.0)),
            15..17 => Self::Write(zone, ZoneRole::SupplyTemperatureSetpoint, n.between(20.0, 55.0)),
            17..20 => Self::Write(zone, ZoneRole::DemandMode, f64::from(one(n, &[1, 2, 2, 3, 4, 5], 2))),
            20..24 => Self::Write(zone, ZoneRole::Enable, f64::from(u8::from(yes(n, 0.8)))),
            // Bad requests: refused at the door, and nothing comes of them.
            24 => {
                let bad = one(n, &[-1.0, -50.0, 100.1, 6553.5, 1e12, f64::NAN, f64::INFINITY], -1.0);
                Self::Write(
                    zone,
                    one(n, &[ZoneRole::HeatRequestPercent, ZoneRole::HeatRequestPower], ZoneRole::Enable),
                    bad,
                )
            }
            25..27 => Self::Write(
                zone,
                ZoneRole::RoomTemperature,
                one(n, &[18.0, 27.0, 29.0, 31.0, 33.0, -3276.8, -500.0, 900.0], 20.0),
            ),
            27 => Self::Write(zone, ZoneRole::OutdoorTemperature, one(n, &[-5.0, 10.0, 18.0, 30.0, -3276.8], 5.0)),
            28 => Self::Write(zone, ZoneRole::BmsHeartbeat, f64::from(one(n, &[1, 2, 3, 4], 1))),
            29 => Self::Write(zone, ZoneRole::BmsTimeout, one(n, &[10.0, 30.0, 60.0, 300.0, 3600.0], 300.0)),
            30 => Self::Write(zone, ZoneRole::FaultReset, 1.0),
            31 => Self::Write(zone, ZoneRole::Season, f64::from(one(n, &[1, 2, 3], 3))),
            32..34 => Self::Building(zone, yes(n, 0.6)),
            34 => Self::Force(zone, ZoneRole::HeatRequestPercent, Some(n.between(0.0, 100.0))),
            35 => Self::Force(zone, ZoneRole::HeatRequestPercent, None),
            36..40 => Self::Limit(
                zone,
                (n.unit() * 3.0) as usize,
                if yes(n, 0.3) { None } else { Some(n.between(0.0, 90.0)) },
            ),
            40..42 => Self::Others(shown(n, 0.0, 40.0)),
            42 => Self::Contact(one(
                n,
                &[Shown::Number(1.0), Shown::Number(0.0), Shown::Number(0.0), Shown::Gone, Shown::Silent],
                Shown::True,
            )),
            43 => Self::Write(zone, ZoneRole::EmergencyStop, f64::from(u8::from(yes(n, 0.4)))),
            44 => Self::Write(zone, ZoneRole::OverTemperatureInput, f64::from(u8::from(yes(n, 0.4)))),
            45..47 => Self::Rearm(zone),
            47..49 => Self::Heard(heater, yes(n, 0.5)),
            49 => Self::Acks(heater, yes(n, 0.6)),
            50 => Self::Refuses(heater, yes(n, 0.4)),
            51 => Self::Online(heater, yes(n, 0.6)),
            52 => Self::State(heater, one(n, &[1, 1, 1, 2, 3, 4, 5, 6], 1)),
            53 => Self::Power(heater, shown(n, 0.0, 25.0)),
            54 => Self::Most(heater, shown(n, 0.0, 25.0)),
            55 => Self::Inlet(heater, shown(n, 20.0, 37.0)),
            56 => Self::Jobs(heater, n.unit()),
            57 => Self::Heat(zone, shown(n, 0.0, 60.0)),
            58 => Self::Supply(zone, shown(n, 40.0, 62.0)),
            59 => Self::Return(zone, shown(n, 20.0, 62.0)),
            60 => Self::Stall(one(n, &[1, 40, 300, 5_000, 1_000_000], 1)),
            61 => Self::Wall(one(n, &[3600, -3600, 315_360_000, -315_360_000, 1], 0)),
            62 => {
                if yes(n, 0.3) {
                    Self::Restart
                } else {
                    Self::Nothing
                }
            }
            _ => Self::Nothing,
        }
    }
}
