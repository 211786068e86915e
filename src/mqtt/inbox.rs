//! What a message that arrives means: readings, a wish to write, or nothing, which is counted and said once per cause.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::LINK;
use super::outbox::Identity;
use super::payloads::{Ack, Id, MAX_PAYLOAD, Rejection, Set, Telemetry, online};
use super::readings;
use super::set;
use super::topics::{Inbound, Topics};
use crate::plant::{Heater, HeaterId, Plant};
use crate::point::{PointKey, Update};
use crate::request::Request;
use crate::telemetry::Metrics;

/// A message as it arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrived<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    /// It was kept by the broker from before the subscription.
    pub retained: bool,
}

/// What it means.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// A controller has come.
    Here(HeaterId, Vec<Update>),
    /// A controller has gone: to be believed when nothing explains it better.
    Gone(HeaterId, Vec<Update>),
    /// Nothing; it was counted.
    Nothing,
    /// News of a heater.
    Readings(Vec<Update>),
    /// A wish to write a point.
    Wish { key: PointKey, id: Id, request: Request },
    /// A wish that is refused here, with the cause.
    Refused { key: PointKey, id: Id, cause: String },
}

/// What must be remembered to understand a message.
pub(super) struct Inbox {
    plant: Arc<Plant>,
    identity: Identity,
    topics: Topics,
    metrics: Arc<Metrics>,
    heaters: BTreeMap<String, HeaterId>,
    /// The highest acknowledged command of each heater.
    acknowledged: BTreeMap<HeaterId, u64>,
    /// What was said of refused messages: heater, kind and cause, all of them from closed lists.
    said: BTreeSet<(Option<HeaterId>, &'static str, Rejection)>,
    strays: BTreeSet<&'static str>,
}

impl Inbox {
    pub fn new(plant: &Arc<Plant>, identity: Identity, topics: Topics, metrics: Arc<Metrics>) -> Self {
        Self {
            heaters: plant.heaters.iter().map(|heater| (heater.name.clone(), heater.id)).collect(),
            plant: Arc::clone(plant),
            identity,
            topics,
            metrics,
            acknowledged: BTreeMap::new(),
            said: BTreeSet::new(),
            strays: BTreeSet::new(),
        }
    }

    /// What a message means; `sent` is the highest command number that was sent to a heater.
    pub fn understand(&mut self, arrived: Arrived<'_>, sent: impl Fn(HeaterId) -> u64) -> Meaning {
        let plant = Arc::clone(&self.plant);
        let topics = self.topics.clone();
        let Some(inbound) = topics.parse(arrived.topic) else { return self.stray("unknown topic", arrived) };
        if arrived.payload.len() > MAX_PAYLOAD {
            return self.stray("payload too long", arrived);
        }
        // What is retained is old: only a status is meant to be.
        if arrived.retained && !matches!(inbound, Inbound::Status(_)) {
            return self.stray("retained", arrived);
        }
        let name = match inbound {
            Inbound::Set(key) => return self.wish(key, arrived),
            Inbound::Ack(name) | Inbound::Telemetry(name) | Inbound::Status(name) => name,
        };
        let Some(heater) = self.heaters.get(name).and_then(|id| plant.heater(*id)) else {
            return self.stray("unknown heater", arrived);
        };
        match inbound {
            Inbound::Telemetry(_) => match Telemetry::parse(arrived.payload) {
                Ok(says) => Meaning::Readings(readings::telemetry(&plant, heater, &says)),
                Err(rejection) => {
                    self.reject(Some(heater), "telemetry", rejection);
                    Meaning::Readings(readings::refused(&plant, heater, rejection.cause))
                }
            },
            Inbound::Status(_) => match online(arrived.payload) {
                Ok(true) => Meaning::Here(heater.id, readings::status(&plant, heater, true)),
                // Kept by the broker since before we came, it is old enough to be believed.
                Ok(false) if arrived.retained => Meaning::Readings(readings::status(&plant, heater, false)),
                Ok(false) => Meaning::Gone(heater.id, readings::status(&plant, heater, false)),
                Err(rejection) => self.reject(Some(heater), "status", rejection),
            },
            _ => match Ack::parse(arrived.payload) {
                Ok(ack) => self.acknowledgement(heater, &ack, sent(heater.id), arrived),
                Err(rejection) => self.reject(Some(heater), "ack", rejection),
            },
        }
    }

    /// Only an acknowledgement of a command that this boot sent, and of none before the last one, is news.
    fn acknowledgement(&mut self, heater: &Heater, ack: &Ack, sent: u64, arrived: Arrived<'_>) -> Meaning {
        let ours = ack.cmd_id == self.identity.cmd_id(&heater.name, ack.seq);
        if !ours || ack.seq == 0 || ack.seq > sent {
            return self.stray("acknowledgement of no command of this boot", arrived);
        }
        if self.acknowledged.get(&heater.id).is_some_and(|newest| *newest > ack.seq) {
            return self.stray("acknowledgement of an older command", arrived);
        }
        if ack.result == 3 {
            tracing::warn!(heater = %heater.name, seq = ack.seq, reason = ?ack.reason, "a command is rejected");
        }
        self.acknowledged.insert(heater.id, ack.seq);
        Meaning::Readings(readings::acknowledged(&self.plant, heater, ack))
    }

    fn wish(&mut self, key: &str, arrived: Arrived<'_>) -> Meaning {
        let Ok(named) = PointKey::new(key) else { return self.stray("unknown topic", arrived) };
        // A point whose last level is `set` looks like a wish when it comes back to us.
        if self.plant.by_key(&format!("{key}/set")).is_some() {
            return self.stray("own message", arrived);
        }
        match Set::parse(arrived.payload) {
            Ok(set) => match set::request(&self.plant, key, &set) {
                Ok(request) => Meaning::Wish { key: named, id: set.id, request },
                Err(refusal) => Meaning::Refused { key: named, id: set.id, cause: refusal.to_string() },
            },
            Err((id, rejection)) => {
                self.reject(None, "set", rejection);
                Meaning::Refused { key: named, id, cause: rejection.to_string() }
            }
        }
    }

    /// Count a message that means nothing here, and say it once.
    fn stray(&mut self, cause: &'static str, arrived: Arrived<'_>) -> Meaning {
        self.metrics.rejected(LINK, cause);
        if self.strays.insert(cause) {
            let topic: String = arrived.topic.chars().take(200).collect();
            tracing::warn!(cause, ?topic, "a message is ignored; further ones for this cause are only counted");
        }
        Meaning::Nothing
    }

    /// Count a broken message, and say it once.
    fn reject(&mut self, heater: Option<&Heater>, kind: &'static str, rejection: Rejection) -> Meaning {
        self.metrics.rejected(LINK, rejection.cause.as_str());
        if self.said.insert((heater.map(|heater| heater.id), kind, rejection)) {
            let heater = heater.map_or("", |heater| heater.name.as_str());
            tracing::warn!(heater, kind, %rejection, "a message is refused; further ones like it are only counted");
        }
        Meaning::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::testing::{ack_json, plant, telemetry_json};
    use crate::plant::HeaterRole;
    use crate::point::{Fault, Reading, Value};
    use proptest::prelude::*;

    fn inbox() -> Inbox {
        let identity = Identity { boot_id: "boot".into(), version: "0".into(), outside: BTreeSet::new() };
        Inbox::new(&Arc::new(plant()), identity, Topics::new("s").unwrap(), Arc::default())
    }

    fn hear(inbox: &mut Inbox, tail: &str, payload: &[u8], retained: bool) -> Meaning {
        let topic = format!("heatgate/v1/s/{tail}");
        inbox.understand(Arrived { topic: &topic, payload, retained }, |_| 3)
    }

    fn reading(meaning: &Meaning, role: HeaterRole) -> Option<Reading> {
        let point = plant().heater(HeaterId(0))?.points.get(role)?;
        let (Meaning::Readings(updates) | Meaning::Here(_, updates) | Meaning::Gone(_, updates)) = meaning else {
            return None;
        };
        updates.iter().find(|update| update.point == point).map(|update| update.reading)
    }

    #[test]
    fn only_acknowledgements_of_this_boots_commands_count_and_none_goes_back() {
        let mut inbox = inbox();
        let mut hear = |boot: &str, seq: u64| {
            let meaning = hear(&mut inbox, "heaters/rack-a/ack", &ack_json(boot, seq, "accepted"), false);
            reading(&meaning, HeaterRole::AckSeq)
        };
        let seq = |seq| Some(Reading::Good(Value::Unsigned(seq)));
        assert_eq!(hear("other", 1), None);
        assert_eq!(hear("boot", 0), None);
        assert_eq!(hear("boot", 4), None, "it was never sent");
        assert_eq!(hear("boot", 2), seq(2));
        assert_eq!(hear("boot", 1), None, "it is late");
        assert_eq!(hear("boot", 2), seq(2), "a repeat does no harm");
        assert_eq!(hear("boot", 3), seq(3));
    }

    #[test]
    fn what_is_retained_is_old_but_for_a_status() {
        let mut inbox = inbox();
        let telemetry = telemetry_json("power_w", "1000");
        assert_eq!(hear(&mut inbox, "heaters/rack-a/telemetry", &telemetry, true), Meaning::Nothing);
        let status = hear(&mut inbox, "heaters/rack-a/status", br#"{"state":"offline"}"#, true);
        assert_eq!(reading(&status, HeaterRole::Power), Some(Reading::Bad(Fault::Offline)));
        assert_eq!(inbox.metrics.rejected_so_far(LINK, "retained"), 1);
    }

    #[test]
    fn a_farewell_is_told_apart_from_what_the_broker_has_kept() {
        let mut inbox = inbox();
        let mut hear = |said: &[u8], retained| hear(&mut inbox, "heaters/rack-a/status", said, retained);
        assert!(matches!(hear(br#"{"state":"offline"}"#, false), Meaning::Gone(..)));
        assert!(matches!(hear(br#"{"state":"offline"}"#, true), Meaning::Readings(_)));
        assert!(matches!(hear(br#"{"state":"online"}"#, false), Meaning::Here(..)));
    }

    #[test]
    fn broken_messages_are_counted_each_and_said_once() {
        let mut inbox = inbox();
        for _ in 0..3 {
            let meaning = hear(&mut inbox, "heaters/rack-a/telemetry", br#"{"v":1}"#, false);
            assert_eq!(reading(&meaning, HeaterRole::Power), Some(Reading::Bad(Fault::Missing)));
        }
        assert_eq!(inbox.metrics.rejected_so_far(LINK, "missing in the message"), 3);
        assert_eq!(inbox.said.len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_bytes_on_any_of_our_topics_are_survived(
            leaf in prop::sample::select(vec!["heaters/rack-a/ack", "heaters/rack-a/telemetry", "heaters/rack-a/status",
                "points/hall/remote_limit/set"]),
            payload in prop::collection::vec(any::<u8>(), 0..200),
            retained in any::<bool>(),
        ) {
            let meaning = hear(&mut inbox(), leaf, &payload, retained);
            let wish = matches!(meaning, Meaning::Wish { .. });
            prop_assert!(!wish);
        }

        #[test]
        fn a_damaged_telemetry_message_never_gives_a_power_that_was_not_said(
            at in 0usize..180, byte in any::<u8>(),
        ) {
            let mut payload = telemetry_json("power_w", "12345");
            if let Some(place) = payload.get_mut(at) {
                *place = byte;
            }
            let meaning = hear(&mut inbox(), "heaters/rack-a/telemetry", &payload, false);
            if let Some(Reading::Good(value)) = reading(&meaning, HeaterRole::Power) {
                // One digit may have become another, or an exponent: it is what the message says, and finite.
                #[derive(serde::Deserialize)]
                struct Said {
                    power_w: f64,
                }
                let said: Said = serde_json::from_slice(&payload).unwrap();
                prop_assert!((value.as_f64() * 1000.0 - said.power_w).abs() <= said.power_w * 1e-12);
            }
        }
    }
}
