//! What a heater's controller hears and says over MQTT, version 1.

use serde::{Deserialize, Serialize};

/// A cap from the gateway.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Command {
    /// Version, 1.
    pub v: u32,
    /// Echoed in the acknowledgement.
    pub cmd_id: String,
    /// Which boot of the gateway speaks.
    pub boot_id: String,
    /// Rises within one boot.
    pub seq: u64,
    /// The cap, W.
    pub p_max_w: f64,
    /// How long it holds, s, from receipt.
    pub ttl_s: f64,
    /// How fast to move towards it, W/s; 0 = as fast as possible.
    pub ramp_w_per_s: f64,
    /// Where to go when it ends, W.
    pub fallback_w: f64,
}

/// Why a message is not a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadCommand {
    /// Its identity, as far as it can be read: then it is answered.
    pub id: Option<(String, u64)>,
    /// What is wrong.
    pub why: String,
}

/// Longest lease taken, s: a command must not hold for ever by a slip of a digit.
const LONGEST_TTL: f64 = 86_400.0;

impl Command {
    /// Read and check a message.
    pub fn parse(payload: &[u8]) -> Result<Self, BadCommand> {
        #[derive(Deserialize)]
        struct Id {
            cmd_id: String,
            seq: u64,
        }
        let bad = |why: String| {
            let id = serde_json::from_slice::<Id>(payload).ok().map(|id| (id.cmd_id, id.seq));
            BadCommand { id, why }
        };
        let command: Self = serde_json::from_slice(payload).map_err(|error| bad(error.to_string()))?;
        let finite = [command.p_max_w, command.ttl_s, command.ramp_w_per_s, command.fallback_w];
        if command.v != 1 {
            Err(bad(format!("version {} is not 1", command.v)))
        } else if !finite.into_iter().all(f64::is_finite) {
            Err(bad("a number is not finite".to_owned()))
        } else if !(command.ttl_s > 0.0 && command.ttl_s <= LONGEST_TTL) {
            Err(bad(format!("ttl_s {} is outside 0 to {LONGEST_TTL}", command.ttl_s)))
        } else if command.ramp_w_per_s < 0.0 {
            Err(bad(format!("ramp_w_per_s {} is negative", command.ramp_w_per_s)))
        } else {
            Ok(command)
        }
    }
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Obeyed as it is.
    Accepted,
    /// Obeyed as far as the heater's range allows.
    Clamped,
    /// Not obeyed.
    Rejected,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ack {
    /// Version, 1.
    pub v: u32,
    /// The command's.
    pub cmd_id: String,
    /// The command's.
    pub seq: u64,
    /// What became of it.
    pub result: Outcome,
    /// The cap that is obeyed from now on, W.
    pub applied_w: f64,
    /// Why it was clamped or rejected; empty when accepted.
    pub reason: String,
    /// How long it holds, s, from receipt; 0 when rejected.
    pub valid_for_s: f64,
}

/// What a heater tells about itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Telemetry {
    /// Version, 1.
    pub v: u32,
    /// Civil time, RFC 3339.
    pub at: String,
    /// Measured electrical power, W.
    pub power_w: f64,
    /// Least power it can be capped to, W.
    pub min_w: f64,
    /// Most power it can draw, W.
    pub max_w: f64,
    /// What the jobs at hand would draw without a cap, W.
    pub jobs_w: f64,
    /// Air into the racks, degC.
    pub inlet_c: f64,
    /// Water out of the racks, degC.
    pub outlet_c: f64,
    /// Energy counter, Wh.
    pub energy_wh: u64,
    /// Always ready: a simulated heater has no local mode and no fault.
    pub state: &'static str,
    /// The cap in force, on its ramp, W.
    pub applied_w: f64,
    /// The command that is obeyed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// The retained state of the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `online` or `offline`.
    pub state: &'static str,
    /// Since when, RFC 3339; in a will, when the connection was made.
    pub at: String,
}

/// As JSON. These types hold only what JSON can hold; an empty payload would be rejected by the reader.
pub(super) fn json(message: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"v":1,"cmd_id":"c","boot_id":"b","seq":4,"issued_at":"2026-01-01T00:00:00Z","p_max_w":20000,
        "ttl_s":180,"ramp_w_per_s":0,"fallback_w":7500.0,"reason":["because"],"new":{"field":1}}"#;

    #[test]
    fn unknown_fields_are_ignored_and_integers_are_numbers() {
        let command = Command::parse(GOOD.as_bytes()).unwrap();
        assert_eq!((command.seq, command.p_max_w, command.ttl_s), (4, 20_000.0, 180.0));
    }

    #[test]
    fn a_bad_command_with_an_identity_can_be_answered() {
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("20000", "null"),
            ("20000", "1e999"),
            ("\"ttl_s\":180", "\"ttl_s\":0"),
            ("\"ttl_s\":180", "\"ttl_s\":1e9"),
            ("\"fallback_w\":7500.0,", ""),
            ("\"ramp_w_per_s\":0", "\"ramp_w_per_s\":-1"),
        ] {
            let bad = Command::parse(GOOD.replace(from, to).as_bytes()).unwrap_err();
            assert_eq!(bad.id, Some(("c".to_owned(), 4)), "{from} -> {to}");
            assert!(!bad.why.is_empty());
        }
    }

    #[test]
    fn noise_is_not_a_command() {
        for noise in [&b""[..], b"{", b"\xff\xfe", b"[]", b"42", b"{\"seq\":-1,\"cmd_id\":7}"] {
            assert_eq!(Command::parse(noise).unwrap_err().id, None);
        }
    }

    #[test]
    fn the_words_on_the_wire_are_the_contract_s() {
        let ack = Ack {
            v: 1,
            cmd_id: "c".into(),
            seq: 4,
            result: Outcome::Clamped,
            applied_w: 7500.0,
            reason: "why".into(),
            valid_for_s: 180.0,
        };
        assert_eq!(
            String::from_utf8(json(&ack)).unwrap(),
            r#"{"v":1,"cmd_id":"c","seq":4,"result":"clamped","applied_w":7500.0,"reason":"why","valid_for_s":180.0}"#
        );
    }
}
