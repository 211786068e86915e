//! What `/api/v1` says: types that read back as they were written, for the command line and for other programs.
//!
//! Powers in W, temperatures and other numbers in the unit that stands beside them, times RFC 3339 UTC.

use serde::{Deserialize, Serialize};

use crate::point::Fault;

/// A value of any kind; energies are whole Wh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// Yes or no.
    Bool(bool),
    /// A count, a state, an energy.
    Whole(u64),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(yes) => write!(f, "{yes}"),
            Self::Whole(count) => write!(f, "{count}"),
            Self::Number(number) => write!(f, "{}", (number * 1e6).round() / 1e6),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// One occupied slot of a point's priority array.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slot {
    /// 1 (highest) to 16.
    pub priority: u8,
    /// What was written.
    pub value: Scalar,
    /// By whom.
    pub by: String,
    /// When it was last written.
    pub at: String,
    /// Loaded after a restart and not rewritten since.
    pub restored: bool,
}

/// One point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its name.
    pub key: String,
    /// For people.
    pub description: String,
    /// `bool`, `number`, `unsigned`, `state`, `energy`.
    pub kind: String,
    /// The present value; absent while it is bad.
    pub value: Option<Scalar>,
    /// The last value there was, while it is bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Scalar>,
    /// The name of the state, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Unit of the value.
    pub unit: String,
    /// `good`, `uncertain`, `bad`.
    pub quality: String,
    /// Why it is not good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// When it was taken.
    pub at: String,
    /// How long ago, in site time.
    pub age_s: f64,
    /// Who gives it its value.
    pub source: String,
    /// Writers may command it.
    pub writable: bool,
    /// Lowest and highest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
    /// The priority that rules; absent when nobody commands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Who wrote the ruling slot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What it is when nobody commands it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relinquish_default: Option<Scalar>,
    /// It turns stale this long after the last write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<f64>,
    /// All occupied slots, highest priority first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Slot>,
}

impl Point {
    /// Whoever commands it (or nobody, by its relinquish default) says that there is none: a state, not a fault.
    pub fn is_none(&self) -> bool {
        self.writable && self.cause.as_deref() == Some(Fault::Absent.as_str())
    }
}

/// `/api/v1/points`: the live image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Points {
    /// The site.
    pub site: String,
    /// When the image was taken.
    pub at: String,
    /// Counts images.
    pub image_seq: u64,
    /// All points, in the plant's order.
    pub points: Vec<Point>,
}

/// A latched safety condition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latch {
    /// What latched it.
    pub cause: String,
    /// Since when.
    pub since: String,
}

/// One zone as control sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// `init`, `standby`, `starting`, `heating`, `limited`, `dump`, `failsafe`, `fault`, `safety`, `manual`.
    pub state: String,
    /// Whose request is followed.
    pub source: String,
    /// How it asks.
    pub mode: String,
    /// Heat asked; absent when nobody's request is followed.
    pub request_w: Option<f64>,
    /// Heat that the meter shows; absent while that is bad.
    pub delivered_w: Option<f64>,
    /// Electrical power of its heaters; absent while that is bad.
    pub power_w: Option<f64>,
    /// Sum of the caps as sent.
    pub cap_w: f64,
    /// Least power.
    pub floor_w: f64,
    /// Most power.
    pub ceiling_w: f64,
    /// Rated power of its heaters.
    pub rated_w: f64,
    /// Nominal heat.
    pub nominal_w: f64,
    /// Heat per power, believed.
    pub eta: f64,
    /// Heat that could be asked now.
    pub heat_available_w: f64,
    /// Heat at the floor.
    pub heat_minimum_w: f64,
    /// Heat asked and not delivered.
    pub heat_undelivered_w: f64,
    /// Surplus heat.
    pub dump_w: f64,
    /// Active alarms, in words.
    pub alarms: Vec<String>,
    /// The backup boiler should come.
    pub backup_call: bool,
    /// 0 = none.
    pub fault_code: u16,
    /// Latched safety; re-armed on the spot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latched: Option<Latch>,
    /// Why, in order.
    pub reasons: Vec<String>,
}

/// The newest command of a heater.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Counts per heater and boot.
    pub seq: u64,
    /// The cap.
    pub cap_w: f64,
    /// When it was made.
    pub issued_at: String,
    /// How long ago, in site time.
    pub age_s: f64,
    /// Its lease.
    pub ttl_s: f64,
    /// Where the controller goes when the lease ends.
    pub fallback_w: f64,
    /// Why, in order.
    pub reasons: Vec<String>,
}

/// One heater.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heater {
    /// Its name.
    pub name: String,
    /// The zone that it heats.
    pub zone: String,
    /// Its controller's state in words; absent while that is bad.
    pub state: Option<String>,
    /// Its controller is online; absent when nothing was heard.
    pub online: Option<bool>,
    /// Power drawn; absent while that is bad.
    pub power_w: Option<f64>,
    /// Cap that it applies; absent while that is bad.
    pub applied_w: Option<f64>,
    /// Rated power.
    pub rated_w: f64,
    /// The newest command; absent before the first.
    pub command: Option<Command>,
}

/// `/api/v1/decision`: what control wants, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The site.
    pub site: String,
    /// Now.
    pub at: String,
    /// All zones.
    pub zones: Vec<Zone>,
    /// All heaters.
    pub heaters: Vec<Heater>,
}

/// One link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Where it goes.
    pub to: String,
    /// It works; absent before the first try.
    pub up: Option<bool>,
    /// Why it is not known to work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// `/api/v1/status`: what a person wants to know first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The site.
    pub site: String,
    /// Version of the gateway.
    pub version: String,
    /// Now.
    pub at: String,
    /// Since the start, in site time.
    pub uptime_s: f64,
    /// Everything that a person should look at, gravest first.
    pub alarms: Vec<String>,
    /// All links.
    pub links: Vec<Link>,
}

/// One check of `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What is checked.
    pub name: String,
    /// It is as it should be.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// `/healthz` and `/readyz`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// All checks are as they should be.
    pub ok: bool,
    /// All of them.
    pub checks: Vec<Check>,
}

/// An answer that is not what was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Why.
    pub error: String,
}
