//! Events: alarms that start and end, modes that change, writes that were refused here.

use std::sync::Arc;

use serde::Serialize;

use super::payloads::json;
use super::views::state;
use crate::decision::ZoneState;
use crate::plant::{Plant, ZoneRole};
use crate::point::{Image, Value};
use crate::time::Utc;

const ALARMS: [ZoneRole; 8] = [
    ZoneRole::AlarmBmsLost,
    ZoneRole::AlarmControllerLost,
    ZoneRole::AlarmMeterLost,
    ZoneRole::AlarmOverTemperature,
    ZoneRole::AlarmUndelivered,
    ZoneRole::AlarmNotFollowing,
    ZoneRole::AlarmEmergencyStop,
    ZoneRole::BackupCall,
];

/// `events`: what happened.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum What<'a> {
    /// `alarm` without its `alarm_`, `state` is `start` or `end`.
    Alarm {
        zone: &'a str,
        alarm: &'static str,
        state: &'static str,
    },
    Mode {
        zone: &'a str,
        from: &'static str,
        to: &'static str,
    },
    RefusedWrite {
        point: &'a str,
        by: &'a str,
        cause: &'a str,
    },
}

#[derive(Debug, Serialize)]
struct EventOut<'a> {
    id: String,
    #[serde(flatten)]
    what: What<'a>,
    at: String,
}

/// What is needed to tell a change: what was seen last.
#[derive(Debug)]
pub(super) struct Events {
    boot_id: Arc<str>,
    count: u64,
    zones: Vec<Zone>,
}

#[derive(Debug, Clone, Default)]
struct Zone {
    alarms: [bool; ALARMS.len()],
    state: Option<ZoneState>,
}

impl Events {
    pub fn new(plant: &Plant, boot_id: Arc<str>) -> Self {
        Self { boot_id, count: 0, zones: vec![Zone::default(); plant.zones.len()] }
    }

    fn event(&mut self, what: What<'_>, at: Utc) -> Vec<u8> {
        self.count += 1;
        json(&EventOut { id: format!("{}-e{}", self.boot_id, self.count), what, at: at.to_string() })
    }

    /// What has changed since the image before. An alarm that is on in the first image starts with it; a point without a
    /// value changes nothing.
    pub fn look(&mut self, plant: &Plant, image: &Image) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        let at = image.now.utc;
        for (index, zone) in plant.zones.iter().enumerate() {
            let value = |role| zone.points.get(role).and_then(|point| image.reading(point).value());
            let mut seen = self.zones.get(index).cloned().unwrap_or_default();
            for (role, was) in ALARMS.into_iter().zip(&mut seen.alarms) {
                let Some(is) = value(role).map(Value::as_bool).filter(|is| is != was) else { continue };
                *was = is;
                let alarm = role.as_str().trim_start_matches("alarm_");
                let state = if is { "start" } else { "end" };
                events.push(self.event(What::Alarm { zone: &zone.name, alarm, state }, at));
            }
            let now = value(ZoneRole::State).and_then(Value::as_u64).and_then(|code| state(u16::try_from(code).ok()?));
            if let Some(now) = now
                && let Some(from) = seen.state.replace(now).filter(|from| *from != now)
            {
                let what = What::Mode { zone: &zone.name, from: from.as_str(), to: now.as_str() };
                events.push(self.event(what, at));
            }
            if let Some(place) = self.zones.get_mut(index) {
                *place = seen;
            }
        }
        events
    }

    /// A write over MQTT was refused.
    pub fn refused(&mut self, point: &str, by: &str, cause: &str, at: Utc) -> Vec<u8> {
        self.event(What::RefusedWrite { point, by, cause }, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::testing::{image_with, now, plant};
    use crate::point::{Fault, Reading};

    #[test]
    fn alarms_start_and_end_once_each_with_their_own_id() {
        let plant = plant();
        let mut events = Events::new(&plant, "b".into());
        let mut look = |alarm: Reading, mode: u16| {
            let readings = [("hall/alarm_bms_lost", alarm), ("hall/state", Reading::Good(Value::State(mode)))];
            let found = events.look(&plant, &image_with(&plant, &readings, now(1)));
            found.into_iter().map(|event| String::from_utf8(event).unwrap()).collect::<Vec<_>>()
        };
        let (on, off) = (Reading::Good(Value::Bool(true)), Reading::Good(Value::Bool(false)));
        assert!(look(off, 4).is_empty());
        let start = r#"{"id":"b-e1","kind":"alarm","zone":"hall","alarm":"bms_lost","state":"start","at":"1970-01-01T00:00:01.000Z"}"#;
        assert_eq!(look(on, 4), [start]);
        assert!(look(on, 4).is_empty());
        assert!(look(Reading::Bad(Fault::NeverRead), 4).is_empty());
        let end = r#"{"id":"b-e2","kind":"alarm","zone":"hall","alarm":"bms_lost","state":"end","at":"1970-01-01T00:00:01.000Z"}"#;
        let mode = r#"{"id":"b-e3","kind":"mode","zone":"hall","from":"heating","to":"failsafe","at":"1970-01-01T00:00:01.000Z"}"#;
        assert_eq!(look(off, 7), [end, mode]);
    }
}
