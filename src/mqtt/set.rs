//! What a `points/{key}/set` asks for, checked as far as it can be here; the engine judges the rest.

use std::sync::Arc;

use super::payloads::{Set, Wanted};
use crate::plant::Plant;
use crate::point::{Kind, PointKey, Priority, Value};
use crate::request::{Action, Origin, Request, Side, Write};

/// Why a set is refused before the engine sees it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAsked {
    #[error("no such point")]
    UnknownPoint,
    #[error("{0} is read-only")]
    ReadOnly(PointKey),
    #[error("{0} is not open to mqtt")]
    NotAllowed(PointKey),
    #[error("priority {0} is not open to mqtt: 9 to 16")]
    Priority(u64),
    #[error("ttl_s is not supported")]
    Ttl,
    #[error("{0} takes {1}")]
    WrongKind(PointKey, &'static str),
}

const fn takes(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true, false, 1 or 0",
        Kind::Number => "a number",
        Kind::Unsigned | Kind::Energy => "a whole number, 0 or more",
        Kind::State => "the number of a state",
        Kind::Text => "nothing: a text is not written",
    }
}

/// The request for the engine.
pub(super) fn request(plant: &Plant, key: &str, set: &Set) -> Result<Request, NotAsked> {
    let def = plant.by_key(key).ok_or(NotAsked::UnknownPoint)?;
    let commandable = def.commandable().ok_or_else(|| NotAsked::ReadOnly(def.key.clone()))?;
    if !commandable.mqtt_set {
        return Err(NotAsked::NotAllowed(def.key.clone()));
    }
    // A limited life would need a lease on the slot; a slot holds until it is relinquished.
    if set.ttl {
        return Err(NotAsked::Ttl);
    }
    let priority = u8::try_from(set.priority).ok().and_then(Priority::new).filter(|priority| priority.get() >= 9);
    let priority = priority.ok_or(NotAsked::Priority(set.priority))?;
    let value = match set.value {
        Wanted::Null => Some(Action::Relinquish),
        Wanted::Bool(yes) => (def.kind == Kind::Bool).then_some(Action::Set(Value::Bool(yes))),
        Wanted::Number(number) => Value::from_f64(def.kind, number).map(Action::Set),
    };
    let action = value.ok_or_else(|| NotAsked::WrongKind(def.key.clone(), takes(def.kind)))?;
    // The broker does not say who published; the sender's id is all there is.
    let peer: Arc<str> = format!("set {}", set.id).into();
    Ok(Request { origin: Origin { side: Side::Mqtt, peer }, writes: vec![Write { point: def.id, action, priority }] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::testing::plant;

    #[test]
    fn a_set_becomes_a_request_or_is_refused_with_its_cause() {
        let plant = plant();
        let limit = PointKey::new("hall/remote_limit").unwrap();
        let request_power = PointKey::new("hall/heat_request_power").unwrap();
        for (key, payload, expected) in [
            ("hall/remote_limit", r#"{"value":12.5,"priority":10}"#, Ok(Action::Set(Value::number(12.5).unwrap()))),
            ("hall/remote_limit", r#"{"value":null,"priority":16,"ttl_s":null}"#, Ok(Action::Relinquish)),
            ("hall/enable", r#"{"value":true,"priority":9.0}"#, Ok(Action::Set(Value::Bool(true)))),
            ("hall/enable", r#"{"value":1,"priority":9}"#, Ok(Action::Set(Value::Bool(true)))),
            ("hall/remote_limit", r#"{"value":1,"priority":8}"#, Err(NotAsked::Priority(8))),
            ("hall/remote_limit", r#"{"value":1,"priority":17}"#, Err(NotAsked::Priority(17))),
            ("hall/remote_limit", r#"{"value":1,"priority":10,"ttl_s":60}"#, Err(NotAsked::Ttl)),
            ("hall/remote_limit", r#"{"value":true,"priority":10}"#, Err(NotAsked::WrongKind(limit, "a number"))),
            ("hall/heat_request_power", r#"{"value":1,"priority":10}"#, Err(NotAsked::NotAllowed(request_power))),
            ("hall/nothing", r#"{"value":1,"priority":10}"#, Err(NotAsked::UnknownPoint)),
        ] {
            let set = Set::parse(payload.as_bytes()).unwrap();
            let asked = request(&plant, key, &set).map(|request| request.writes[0].action);
            assert_eq!(asked, expected, "{key} {payload}");
        }
    }
}
