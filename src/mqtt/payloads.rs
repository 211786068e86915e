//! Payloads: JSON with SI units in the names. What arrives is checked field by field, so that a refusal names the field
//! and the cause; unknown fields are ignored.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize, Serializer};

use crate::point::{Fault, Text};
use crate::time::Utc;

/// Larger payloads are refused unread.
pub(super) const MAX_PAYLOAD: usize = 16 * 1024;

/// Why a message is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rejection {
    /// Which field; empty for the message itself.
    pub field: &'static str,
    /// What is wrong with it.
    pub cause: Cause,
}

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    Missing,
    NotFinite,
    OutOfRange,
    Malformed,
}

impl Cause {
    /// The fault of the point that should have had its value.
    pub const fn fault(self) -> Fault {
        match self {
            Self::Missing => Fault::Missing,
            Self::NotFinite => Fault::NotFinite,
            Self::OutOfRange => Fault::OutOfRange,
            Self::Malformed => Fault::Malformed,
        }
    }

    pub const fn as_str(self) -> &'static str {
        self.fault().as_str()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "message" } else { self.field };
        write!(f, "{field}: {}", self.cause.as_str())
    }
}

/// A field as it arrived, whatever it is.
#[derive(Debug, Clone, PartialEq, Default)]
enum Field {
    #[default]
    Missing,
    Null,
    Bool(bool),
    Whole(u64),
    Number(f64),
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Field;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<Field, E> {
                Ok(Field::Null)
            }
            fn visit_bool<E>(self, yes: bool) -> Result<Field, E> {
                Ok(Field::Bool(yes))
            }
            fn visit_u64<E>(self, number: u64) -> Result<Field, E> {
                Ok(Field::Whole(number))
            }
            #[expect(clippy::cast_precision_loss, reason = "negative whole numbers are measurements here")]
            fn visit_i64<E>(self, number: i64) -> Result<Field, E> {
                Ok(Field::Number(number as f64))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Field, E> {
                Ok(Field::Number(number))
            }
            fn visit_str<E>(self, text: &str) -> Result<Field, E> {
                Ok(Field::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Field, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl Field {
    /// A finite number. Null is what many encoders make of NaN and infinities, so it is that.
    #[expect(clippy::cast_precision_loss, reason = "no power or temperature needs more than 53 bits")]
    fn number(&self) -> Result<f64, Cause> {
        match self {
            Self::Missing => Err(Cause::Missing),
            Self::Null => Err(Cause::NotFinite),
            Self::Whole(number) => Ok(*number as f64),
            Self::Number(number) if number.is_finite() => Ok(*number),
            Self::Number(_) => Err(Cause::NotFinite),
            Self::Bool(_) | Self::Text(_) | Self::Other => Err(Cause::Malformed),
        }
    }

    /// A finite number that is not negative.
    fn positive(&self) -> Result<f64, Cause> {
        self.number().and_then(|number| if number < 0.0 { Err(Cause::OutOfRange) } else { Ok(number) })
    }

    /// A count; a fraction is cut off (an energy of 1234.56 Wh has passed 1234 Wh).
    fn count(&self) -> Result<u64, Cause> {
        // 2^53: above it a floating-point number is no longer exact.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self {
            Self::Whole(count) if *count <= 1 << 53 => Ok(*count),
            Self::Whole(_) => Err(Cause::OutOfRange),
            other => match other.positive()? {
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked by the guard")]
                number if number <= EXACT => Ok(number as u64),
                _ => Err(Cause::OutOfRange),
            },
        }
    }

    /// A whole number, also one that is written `9.0`.
    fn whole(&self) -> Result<u64, Cause> {
        match self {
            Self::Null => Err(Cause::Malformed),
            Self::Number(number) if number.fract() != 0.0 => Err(Cause::OutOfRange),
            other => other.count(),
        }
    }

    fn text(&self) -> Result<&str, Cause> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Missing => Err(Cause::Missing),
            _ => Err(Cause::Malformed),
        }
    }

    /// What an optional measurement makes of its point: left out is missing, an explicit null is not available.
    fn optional<T>(&self, value: Result<T, Cause>) -> Result<T, Fault> {
        if *self == Self::Null { Err(Fault::Absent) } else { value.map_err(Cause::fault) }
    }
}

/// Names the field in a rejection.
trait Named<T> {
    fn named(self, field: &'static str) -> Result<T, Rejection>;
}

impl<T> Named<T> for Result<T, Cause> {
    fn named(self, field: &'static str) -> Result<T, Rejection> {
        self.map_err(|cause| Rejection { field, cause })
    }
}

/// The fields of an object. What is no JSON because of a number is not finite: 1e999, and the NaN and Infinity that some
/// encoders write.
fn object<'a, T: serde::Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Rejection> {
    let whole = |cause| Rejection { field: "", cause };
    // The derived reader takes arrays for structs, too.
    if payload.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(whole(Cause::Malformed));
    }
    // As a whole: what is skipped as unknown is not looked at.
    let text = std::str::from_utf8(payload).map_err(|_| whole(Cause::Malformed))?;
    serde_json::from_str(text).map_err(|error| {
        let says = |word: &str| payload.windows(word.len()).any(|window| window == word.as_bytes());
        let not_finite = error.to_string().starts_with("number out of range") || says("NaN") || says("Infinity");
        whole(if not_finite { Cause::NotFinite } else { Cause::Malformed })
    })
}

/// Every message says which version of this contract it speaks.
fn version(field: &Field) -> Result<(), Rejection> {
    match field {
        Field::Whole(1) => Ok(()),
        Field::Missing => Err(Cause::Missing).named("v"),
        _ => Err(Cause::Malformed).named("v"),
    }
}

/// What a controller measures; powers in W, temperatures in degrees Celsius, energy in Wh.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Telemetry {
    pub power: f64,
    pub min: f64,
    pub max: f64,
    pub applied: f64,
    /// 1 ready, 2 starting, 3 local, 4 fault, 5 off.
    pub state: u16,
    pub jobs: Result<f64, Fault>,
    pub inlet: Result<f64, Fault>,
    pub outlet: Result<f64, Fault>,
    pub energy: Result<u64, Fault>,
}

impl Telemetry {
    /// From its payload.
    pub fn parse(payload: &[u8]) -> Result<Self, Rejection> {
        #[derive(DeriveDeserialize, Default)]
        #[serde(default)]
        struct Written {
            v: Field,
            at: Field,
            power_w: Field,
            min_w: Field,
            max_w: Field,
            jobs_w: Field,
            inlet_c: Field,
            outlet_c: Field,
            energy_wh: Field,
            state: Field,
            applied_w: Field,
        }
        let written: Written = object(payload)?;
        version(&written.v)?;
        // The time is the controller's own and is not relied on, but who writes it wrongly may be wrong elsewhere, too.
        written.at.text().and_then(|at| Utc::parse(at).ok_or(Cause::Malformed)).named("at")?;
        let state = match written.state.text().named("state")? {
            "ready" => 1,
            "starting" => 2,
            "local" => 3,
            "fault" => 4,
            "off" => 5,
            _ => return Err(Cause::Malformed).named("state"),
        };
        Ok(Self {
            power: written.power_w.positive().named("power_w")?,
            min: written.min_w.positive().named("min_w")?,
            max: written.max_w.positive().named("max_w")?,
            applied: written.applied_w.positive().named("applied_w")?,
            state,
            jobs: written.jobs_w.optional(written.jobs_w.positive()),
            inlet: written.inlet_c.optional(written.inlet_c.number()),
            outlet: written.outlet_c.optional(written.outlet_c.number()),
            energy: written.energy_wh.optional(written.energy_wh.count()),
        })
    }
}

/// A controller's answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ack {
    pub cmd_id: String,
    pub seq: u64,
    /// 1 accepted, 2 clamped, 3 rejected.
    pub result: u16,
    /// What it applies now, W.
    pub applied: f64,
    /// In the controller's words; empty when it gives none.
    pub reason: String,
}

impl Ack {
    /// From its payload. `reason` and `valid_for_s` are for people and may be left out.
    pub fn parse(payload: &[u8]) -> Result<Self, Rejection> {
        #[derive(DeriveDeserialize, Default)]
        #[serde(default)]
        struct Written {
            v: Field,
            cmd_id: Field,
            seq: Field,
            result: Field,
            applied_w: Field,
            reason: Field,
        }
        let written: Written = object(payload)?;
        version(&written.v)?;
        let result = match written.result.text().named("result")? {
            "accepted" => 1,
            "clamped" => 2,
            "rejected" => 3,
            _ => return Err(Cause::Malformed).named("result"),
        };
        Ok(Self {
            cmd_id: written.cmd_id.text().named("cmd_id")?.to_owned(),
            seq: written.seq.whole().named("seq")?,
            result,
            applied: written.applied_w.positive().named("applied_w")?,
            reason: written.reason.text().unwrap_or_default().chars().take(200).collect(),
        })
    }
}

/// A controller comes or goes: whether it is online. Its time is not needed: to be offline must not fail for want of it.
pub(super) fn online(payload: &[u8]) -> Result<bool, Rejection> {
    #[derive(DeriveDeserialize, Default)]
    #[serde(default)]
    struct Written {
        state: Field,
    }
    let written: Written = object(payload)?;
    match written.state.text().named("state")? {
        "online" => Ok(true),
        "offline" => Ok(false),
        _ => Err(Cause::Malformed).named("state"),
    }
}

/// What a `set` wants to write.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wanted {
    Null,
    Bool(bool),
    Number(f64),
}

/// A wish to write a point.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Set {
    pub id: Id,
    pub value: Wanted,
    pub priority: u64,
    /// A limited life was asked for.
    pub ttl: bool,
}

/// What the sender calls its message; it comes back in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(untagged)]
pub(super) enum Id {
    #[default]
    None,
    Number(u64),
    Text(String),
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl Set {
    /// From its payload; a rejection comes with the id, so that it can be answered.
    pub fn parse(payload: &[u8]) -> Result<Self, (Id, Rejection)> {
        #[derive(DeriveDeserialize, Default)]
        #[serde(default)]
        struct Written {
            value: Field,
            priority: Field,
            ttl_s: Field,
            id: Field,
        }
        let written: Written = object(payload).map_err(|rejection| (Id::None, rejection))?;
        let id = match &written.id {
            Field::Missing | Field::Null => Id::None,
            Field::Whole(number) => Id::Number(*number),
            Field::Text(text) if text.len() <= 128 && !text.contains(char::is_control) => Id::Text(text.clone()),
            _ => return Err((Id::None, Rejection { field: "id", cause: Cause::Malformed })),
        };
        let refuse = |field, cause| (id.clone(), Rejection { field, cause });
        let value = match &written.value {
            Field::Null => Wanted::Null,
            Field::Bool(yes) => Wanted::Bool(*yes),
            other => Wanted::Number(other.number().map_err(|cause| refuse("value", cause))?),
        };
        let priority = written.priority.whole().map_err(|cause| refuse("priority", cause))?;
        let ttl = !matches!(written.ttl_s, Field::Missing | Field::Null);
        Ok(Self { id, value, priority, ttl })
    }
}

/// `heaters/{h}/command`.
#[derive(Debug, Serialize)]
pub(super) struct CommandOut<'a> {
    pub v: u8,
    pub cmd_id: &'a str,
    pub boot_id: &'a str,
    pub seq: u64,
    pub issued_at: String,
    pub p_max_w: f64,
    pub ttl_s: f64,
    pub ramp_w_per_s: f64,
    pub fallback_w: f64,
    pub reason: Vec<String>,
}

/// `gateway/status`.
#[derive(Debug, Serialize)]
pub(super) struct StatusOut<'a> {
    pub state: &'static str,
    pub boot_id: &'a str,
    pub version: &'a str,
    /// In the last will it is the time of the connection: the broker cannot stamp it.
    pub at: String,
}

/// A point's value in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum ValueOut {
    Bool(bool),
    Whole(u64),
    Number(f64),
    Text(#[serde(serialize_with = "text")] Text),
}

fn text<S: Serializer>(text: &Text, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text.as_str())
}

/// `points/{key}`.
#[derive(Debug, Serialize)]
pub(super) struct PointOut {
    pub value: Option<ValueOut>,
    pub unit: &'static str,
    pub quality: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    pub at: String,
}

/// `points/{key}/set/result`.
#[derive(Debug, Serialize)]
pub(super) struct SetResultOut<'a> {
    pub id: &'a Id,
    pub result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// JSON text of one of ours; all of them can be written.
pub(super) fn json(payload: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(payload).unwrap_or_default()
}
