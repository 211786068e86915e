//! What control wants: the whole desired state with its reasons, and what it says of each zone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::plant::{HeaterId, ZoneId};
use crate::time::Now;
use crate::units::{Celsius, Watts};

/// One cap for one heater, as sent: with sequence, lease and reasons. Acknowledged, or it did not happen.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Which heater.
    pub heater: HeaterId,
    /// Counts per heater and boot, from 1; a refresh of the same cap has a new one.
    pub seq: u64,
    /// When control made it.
    pub issued: Now,
    /// The cap. Always a number: 0 W is a cap, and "none" is the heater's rated power.
    pub cap: Watts,
    /// How long the controller may obey without hearing again, from receipt.
    pub ttl: Duration,
    /// How fast the controller may move towards it, W/s; 0 = as fast as it can.
    pub ramp_w_per_s: f64,
    /// Where the controller goes by itself when the lease ends.
    pub fallback: Watts,
    /// Why, in order.
    pub reasons: Vec<Reason>,
}

/// The whole desired state: the newest command of each heater (none before the first). Latest wins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Desired {
    /// In the order of the plant's heaters.
    pub commands: Vec<Option<Command>>,
}

/// The zone's state as the BMS sees it (input register 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ZoneState {
    /// After boot, until a good request arrives.
    Init = 1,
    /// Enabled is not asked, or the request is off.
    Standby = 2,
    /// Ramping up.
    Starting = 3,
    /// Delivering what is asked.
    Heating = 4,
    /// A ceiling or a shortage holds the heat below the request.
    Limited = 5,
    /// Surplus heat is dumped.
    Dump = 6,
    /// Fallback caps: nobody asks.
    Failsafe = 7,
    /// Something is broken that needs a person.
    Fault = 8,
    /// Latched by an emergency stop or over-temperature.
    Safety = 9,
    /// A person commands it.
    Manual = 10,
}

impl ZoneState {
    /// Its number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Standby => "standby",
            Self::Starting => "starting",
            Self::Heating => "heating",
            Self::Limited => "limited",
            Self::Dump => "dump",
            Self::Failsafe => "failsafe",
            Self::Fault => "fault",
            Self::Safety => "safety",
            Self::Manual => "manual",
        }
    }
}

/// Whose request is being followed (input register 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum RequestSource {
    /// Nobody's.
    None = 1,
    /// The BMS's.
    Bms = 2,
    /// The last one of a lost BMS.
    Hold = 3,
    /// The fallback policy's.
    Fallback = 4,
    /// A person's.
    Manual = 5,
    /// Safety's.
    Safety = 6,
}

impl RequestSource {
    /// Its number on the wire.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bms => "bms",
            Self::Hold => "hold",
            Self::Fallback => "fallback",
            Self::Manual => "manual",
            Self::Safety => "safety",
        }
    }
}

/// How a zone asks (holding register 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum DemandMode {
    /// No heat.
    Off = 1,
    /// Percent of nominal heat.
    Percent = 2,
    /// Heat in kW.
    Power = 3,
    /// A supply temperature.
    Temperature = 4,
    /// Call for heat: nominal.
    Call = 5,
}

impl DemandMode {
    /// From its number on the wire.
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Off,
            2 => Self::Percent,
            3 => Self::Power,
            4 => Self::Temperature,
            5 => Self::Call,
            _ => return None,
        })
    }

    /// In lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Percent => "percent",
            Self::Power => "power",
            Self::Temperature => "temperature",
            Self::Call => "call",
        }
    }
}

/// The alarms of a zone; the number is the bit of the quality register and the discrete input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Alarm {
    /// The BMS gave no sign of life within its timeout.
    BmsLost = 0,
    /// A heater's controller is lost.
    ControllerLost = 1,
    /// The zone's heat meter is lost.
    MeterLost = 2,
    /// An over-temperature input, or a temperature above its maximum.
    OverTemperature = 3,
    /// Heat asked is not delivered.
    Undelivered = 4,
    /// A heater draws more than its cap.
    NotFollowing = 5,
    /// An emergency stop input.
    EmergencyStop = 6,
}

impl Alarm {
    /// All of them, in bit order.
    pub const ALL: [Self; 7] = [
        Self::BmsLost,
        Self::ControllerLost,
        Self::MeterLost,
        Self::OverTemperature,
        Self::Undelivered,
        Self::NotFollowing,
        Self::EmergencyStop,
    ];

    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BmsLost => "bms lost",
            Self::ControllerLost => "controller lost",
            Self::MeterLost => "meter lost",
            Self::OverTemperature => "over-temperature",
            Self::Undelivered => "heat undelivered",
            Self::NotFollowing => "heater not following its cap",
            Self::EmergencyStop => "emergency stop",
        }
    }
}

/// A set of alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Alarms(u16);

impl Alarms {
    /// Add or remove one.
    pub const fn set(&mut self, alarm: Alarm, on: bool) {
        let bit = 1 << (alarm as u8);
        if on { self.0 |= bit } else { self.0 &= !bit }
    }

    /// Whether one is active.
    pub const fn has(self, alarm: Alarm) -> bool {
        self.0 & (1 << (alarm as u8)) != 0
    }

    /// Bit n = alarm n.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The active ones.
    pub fn iter(self) -> impl Iterator<Item = Alarm> {
        Alarm::ALL.into_iter().filter(move |alarm| self.has(*alarm))
    }
}

/// A ceiling on power, and where it comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ceiling {
    /// The rated power of the zone's heaters that can be used.
    Rated,
    /// The electrical limit (0.97 of the lowest limit, less what others draw).
    Electrical {
        /// The limit.
        limit: Watts,
    },
    /// An electrical limit that expired stays in force.
    ExpiredLimit {
        /// The limit.
        limit: Watts,
    },
    /// This zone's part of an electrical limit that it shares with other zones.
    SharedLimit {
        /// The whole limit.
        limit: Watts,
    },
    /// The supply temperature.
    SupplyTemperature {
        /// Measured.
        at: Celsius,
    },
    /// The room temperature.
    RoomTemperature {
        /// Measured.
        at: Celsius,
    },
    /// A rack's inlet temperature.
    InletTemperature {
        /// Measured.
        at: Celsius,
    },
}

/// Why fallback caps are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailSafe {
    /// After boot, nobody has asked yet.
    Boot,
    /// The BMS is lost and its policy has ended.
    BmsLost,
    /// The request cannot be read.
    NoRequest,
}

/// Why heat that is asked does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shortfall {
    /// The heaters draw less than their caps allow.
    NoJobs,
    /// A ceiling, or something missing that forbids a raise.
    Ceiling,
    /// A heater takes no part: its controller is lost, or it is out by its own state.
    LostLink,
    /// Stopped, or on fallback caps.
    Failsafe,
    /// Power is drawn as asked, and gives less heat than believed.
    Efficiency,
}

impl Shortfall {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::NoJobs, Self::Ceiling, Self::LostLink, Self::Failsafe, Self::Efficiency];

    /// In lower case, for labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoJobs => "no_jobs",
            Self::Ceiling => "ceiling",
            Self::LostLink => "lost_link",
            Self::Failsafe => "failsafe",
            Self::Efficiency => "efficiency",
        }
    }
}

/// One reason in a decision, in the order in which they applied.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// What the zone asks, and how.
    Request {
        /// By which mode.
        mode: DemandMode,
        /// The heat asked.
        heat: Watts,
        /// Whose request it is.
        source: RequestSource,
    },
    /// Not enabled, or asked to be off.
    Off,
    /// Power sets out for the heat that the building will ask next.
    Ahead {
        /// The heat.
        heat: Watts,
        /// When it will be asked, from now.
        within: std::time::Duration,
    },
    /// What the building said that it will ask is not followed: why.
    ForecastIgnored(&'static str),
    /// Heat to electrical power by the efficiency believed.
    FeedForward {
        /// Efficiency.
        eta: f64,
        /// Power that gives the heat.
        power: Watts,
    },
    /// Nothing was ever learned of the efficiency, so it is the mapping's: why.
    EfficiencyBelieved(&'static str),
    /// The efficiency stays as it was learned: why.
    EfficiencyHeld(&'static str),
    /// A trembling request is followed slowly.
    Smoothed {
        /// Power that it asks for.
        from: Watts,
        /// Power that is gone for.
        to: Watts,
    },
    /// What ramps and deadbands withheld, or gave too much, is made up for.
    Repaid {
        /// Power added.
        by: Watts,
    },
    /// A ceiling took power away.
    Ceiling {
        /// Which.
        by: Ceiling,
        /// To this.
        to: Watts,
        /// Without it.
        from: Watts,
    },
    /// A floor added power.
    Floor {
        /// To this.
        to: Watts,
    },
    /// Sold compute is held to this: in summer its heat must be asked for or given away, and none while the boiler runs.
    SoldComputeHeld {
        /// Power that may run.
        to: Watts,
        /// Without it.
        from: Watts,
    },
    /// The ceiling is below the floor and wins.
    CeilingBelowFloor {
        /// Ceiling.
        ceiling: Watts,
        /// Floor.
        floor: Watts,
    },
    /// The ramp is on its way.
    Ramp {
        /// Where it is.
        at: Watts,
        /// Where it goes.
        to: Watts,
    },
    /// Fallback caps.
    FailSafe(FailSafe),
    /// Latched safety, by this alarm.
    Safety(Alarm),
    /// The policy for a lost BMS, in words of the mapping.
    LossPolicy(&'static str),
    /// A heater takes no part: why.
    HeaterOut {
        /// Which.
        heater: HeaterId,
        /// Why.
        why: &'static str,
    },
    /// This heater's share of the zone's power.
    Share {
        /// Its share.
        of: Watts,
        /// Of this total.
        total: Watts,
    },
    /// An electrical limit expired or can no longer be read: its last value stays in force until it is written again.
    LimitKept {
        /// The limit.
        limit: Watts,
    },
    /// Power is not raised while this is so, in words.
    NotRaised(&'static str),
    /// The gateway only observes: nothing is sent.
    Observing,
    /// The gateway is going down and releases what it commanded.
    Released,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request { mode, heat, source } => {
                write!(f, "{} asks {:.1} kW of heat ({})", source.as_str(), heat.kw(), mode.as_str())
            }
            Self::Off => f.write_str("no heat is asked"),
            Self::Ahead { heat, within } => {
                write!(f, "going for {:.1} kW of heat, which will be asked in {} s", heat.kw(), within.as_secs())
            }
            Self::ForecastIgnored(why) => write!(f, "the forecast is not followed: {why}"),
            Self::FeedForward { eta, power } => write!(f, "at efficiency {eta:.3} that is {:.1} kW", power.kw()),
            Self::EfficiencyBelieved(why) => write!(f, "the efficiency is the mapping's: {why}"),
            Self::EfficiencyHeld(why) => write!(f, "the efficiency stays as it was learned: {why}"),
            Self::Smoothed { from, to } => {
                write!(f, "the request trembles: {:.1} kW on the way to {:.1} kW", to.kw(), from.kw())
            }
            Self::Repaid { by } => write!(f, "{:+.1} kW for what ramps and small differences withheld", by.kw()),
            Self::Ceiling { by, to, from } => {
                match by {
                    Ceiling::Rated => f.write_str("rated power")?,
                    Ceiling::Electrical { limit } => write!(f, "electrical limit {:.1} kW", limit.kw())?,
                    Ceiling::ExpiredLimit { limit } => {
                        write!(f, "electrical limit {:.1} kW, expired and kept in force", limit.kw())?;
                    }
                    Ceiling::SharedLimit { limit } => {
                        write!(f, "its part of the shared electrical limit {:.1} kW", limit.kw())?;
                    }
                    Ceiling::SupplyTemperature { at } => write!(f, "supply temperature {:.1} degC", at.get())?,
                    Ceiling::RoomTemperature { at } => write!(f, "room temperature {:.1} degC", at.get())?,
                    Ceiling::InletTemperature { at } => write!(f, "rack inlet temperature {:.1} degC", at.get())?,
                }
                write!(f, " holds it to {:.1} kW instead of {:.1} kW", to.kw(), from.kw())
            }
            Self::Floor { to } => write!(f, "the floor raises it to {:.1} kW", to.kw()),
            Self::SoldComputeHeld { to, from } => {
                write!(
                    f,
                    "sold compute is held to {:.1} kW instead of {:.1} kW: nobody wants its heat",
                    to.kw(),
                    from.kw()
                )
            }
            Self::CeilingBelowFloor { ceiling, floor } => {
                write!(f, "the ceiling {:.1} kW beats the floor {:.1} kW", ceiling.kw(), floor.kw())
            }
            Self::Ramp { at, to } => write!(f, "ramping, {:.1} kW on the way to {:.1} kW", at.kw(), to.kw()),
            Self::FailSafe(why) => {
                f.write_str("fail-safe: ")?;
                f.write_str(match why {
                    FailSafe::Boot => "no fresh request since the start",
                    FailSafe::BmsLost => "the BMS is lost and its policy has ended",
                    FailSafe::NoRequest => "there is no usable request",
                })
            }
            Self::Safety(alarm) => write!(f, "safety, latched by {}", alarm.as_str()),
            Self::LossPolicy(step) => write!(f, "the BMS is lost: {step}"),
            Self::HeaterOut { heater, why } => write!(f, "heater {} takes no part: {why}", heater.0),
            Self::Share { of, total } => write!(f, "share {:.1} kW of {:.1} kW", of.kw(), total.kw()),
            Self::LimitKept { limit } => {
                write!(f, "the electrical limit {:.1} kW is no longer confirmed and stays in force", limit.kw())
            }
            Self::NotRaised(why) => write!(f, "power is not raised: {why}"),
            Self::Observing => f.write_str("observing only"),
            Self::Released => f.write_str("released: the gateway is going down"),
        }
    }
}

/// What control says of one zone at one tick; the engine shows it as points.
#[derive(Debug, Clone, PartialEq)]
pub struct ZoneDecision {
    /// Which zone.
    pub zone: ZoneId,
    /// Its state.
    pub state: ZoneState,
    /// Whose request is followed.
    pub source: RequestSource,
    /// How it asks.
    pub mode: DemandMode,
    /// Heat asked now; `None` when nobody's request is followed.
    pub request: Option<Watts>,
    /// Sum of the caps as sent.
    pub cap: Watts,
    /// Lowest power that the zone's heaters can be held to.
    pub floor: Watts,
    /// Highest power allowed now.
    pub ceiling: Watts,
    /// Efficiency believed.
    pub eta: f64,
    /// Heat that could be asked now (ceiling times efficiency).
    pub heat_available: Watts,
    /// Heat that comes at the floor.
    pub heat_minimum: Watts,
    /// Heat asked and not delivered.
    pub heat_undelivered: Watts,
    /// Heat that was due and did not come since the start, Wh, in the order of [`Shortfall::ALL`].
    pub unmet_wh: [f64; Shortfall::ALL.len()],
    /// Surplus heat at the floor.
    pub dump: Watts,
    /// Active alarms.
    pub alarms: Alarms,
    /// The backup boiler should come.
    pub backup_call: bool,
    /// 0 = none; otherwise 1 + the number of the gravest alarm.
    pub fault_code: u16,
    /// Why, in order.
    pub reasons: Vec<Reason>,
}

/// A latched safety condition of a zone. It survives a restart and is re-armed by a person on the spot.
#[derive(Debug, Clone, PartialEq)]
pub struct SafetyLatch {
    /// Which alarm latched it.
    pub cause: Alarm,
    /// Since when.
    pub since: crate::time::Utc,
}

/// The outcome of one control step.
#[must_use = "a decision that nobody carries out is a fault"]
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// One per zone, in the plant's order.
    pub zones: Vec<ZoneDecision>,
    /// What the controllers shall do.
    pub desired: Arc<Desired>,
    /// Latched safety per zone, in the plant's order.
    pub latches: Vec<Option<SafetyLatch>>,
}
