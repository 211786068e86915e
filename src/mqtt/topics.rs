//! Topics: `heatgate/v1/{site}/...`, built and taken apart.

use std::collections::BTreeSet;

use crate::plant::Plant;
use crate::point::PointKey;

/// Why a text cannot be the site's level in a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a site's name is one topic level: not empty, at most 64 bytes, without '/', '+', '#' and control characters")]
pub struct BadSite;

/// The topics of one site.
#[derive(Debug, Clone)]
pub(super) struct Topics {
    base: String,
}

/// What a message that arrived is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inbound<'a> {
    /// A controller acknowledges: heater.
    Ack(&'a str),
    /// A controller measures: heater.
    Telemetry(&'a str),
    /// A controller comes or goes: heater.
    Status(&'a str),
    /// Somebody wants to write a point: key.
    Set(&'a str),
}

impl Topics {
    /// The topics under a site's name.
    pub fn new(site: &str) -> Result<Self, BadSite> {
        let good =
            (1..=64).contains(&site.len()) && !site.contains(|c: char| matches!(c, '/' | '+' | '#') || c.is_control());
        if good { Ok(Self { base: format!("heatgate/v1/{site}") }) } else { Err(BadSite) }
    }

    pub fn status(&self) -> String {
        format!("{}/gateway/status", self.base)
    }

    pub fn command(&self, heater: &str) -> String {
        format!("{}/heaters/{heater}/command", self.base)
    }

    pub fn demand(&self, zone: &str) -> String {
        format!("{}/zones/{zone}/demand", self.base)
    }

    pub fn point(&self, key: &PointKey) -> String {
        format!("{}/points/{key}", self.base)
    }

    pub fn set_result(&self, key: &PointKey) -> String {
        format!("{}/points/{key}/set/result", self.base)
    }

    pub fn interval(&self, meter: &str) -> String {
        format!("{}/meters/{meter}/interval", self.base)
    }

    pub fn events(&self) -> String {
        format!("{}/events", self.base)
    }

    /// What the gateway subscribes to. A point's key has any number of levels and `#` would bring back all that is
    /// published here, so there is one `set` filter for each depth of key in the plant.
    pub fn filters(&self, plant: &Plant) -> Vec<String> {
        let heaters = ["ack", "telemetry", "status"].map(|last| format!("{}/heaters/+/{last}", self.base));
        let depths: BTreeSet<usize> = plant.points.iter().map(|point| point.key.as_str().split('/').count()).collect();
        let sets = depths.into_iter().map(|depth| format!("{}/points{}/set", self.base, "/+".repeat(depth)));
        heaters.into_iter().chain(sets).collect()
    }

    /// What a topic is about; `None` when it is none of ours.
    pub fn parse<'a>(&self, topic: &'a str) -> Option<Inbound<'a>> {
        let rest = topic.strip_prefix(self.base.as_str())?.strip_prefix('/')?;
        if let Some(rest) = rest.strip_prefix("heaters/") {
            let (heater, last) = rest.split_once('/')?;
            return match last {
                "ack" => Some(Inbound::Ack(heater)),
                "telemetry" => Some(Inbound::Telemetry(heater)),
                "status" => Some(Inbound::Status(heater)),
                _ => None,
            };
        }
        let key = rest.strip_prefix("points/")?.strip_suffix("/set")?;
        Some(Inbound::Set(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn topics_are_those_of_the_contract() {
        let topics = Topics::new("demo").unwrap();
        let key = PointKey::new("hall/state").unwrap();
        assert_eq!(topics.status(), "heatgate/v1/demo/gateway/status");
        assert_eq!(topics.command("rack-a"), "heatgate/v1/demo/heaters/rack-a/command");
        assert_eq!(topics.demand("hall"), "heatgate/v1/demo/zones/hall/demand");
        assert_eq!(topics.point(&key), "heatgate/v1/demo/points/hall/state");
        assert_eq!(topics.set_result(&key), "heatgate/v1/demo/points/hall/state/set/result");
        assert_eq!(topics.events(), "heatgate/v1/demo/events");
    }

    #[test]
    fn only_our_topics_are_understood() {
        let topics = Topics::new("demo").unwrap();
        for (topic, meaning) in [
            ("heatgate/v1/demo/heaters/rack-a/ack", Some(Inbound::Ack("rack-a"))),
            ("heatgate/v1/demo/heaters/rack-a/telemetry", Some(Inbound::Telemetry("rack-a"))),
            ("heatgate/v1/demo/heaters/rack-a/status", Some(Inbound::Status("rack-a"))),
            ("heatgate/v1/demo/points/a/b/c/set", Some(Inbound::Set("a/b/c"))),
            ("heatgate/v1/demo/points/a/set/result", None),
            ("heatgate/v1/demo/points/set", None),
            ("heatgate/v1/demo/heaters/rack-a/command", None),
            ("heatgate/v1/demo/heaters/a/b/telemetry", None),
            ("heatgate/v1/demo/heaters/telemetry", None),
            ("heatgate/v1/demo2/heaters/rack-a/ack", None),
            ("heatgate/v1/demo", None),
            ("", None),
        ] {
            assert_eq!(topics.parse(topic), meaning, "{topic}");
        }
    }

    #[test]
    fn a_site_is_one_topic_level() {
        for bad in ["", "a/b", "+", "#", "a\0", "a\n", &"x".repeat(65)] {
            assert_eq!(Topics::new(bad).map(drop), Err(BadSite), "{bad:?}");
        }
    }

    #[test]
    fn there_is_a_set_filter_for_each_depth_of_key() {
        let plant = crate::mqtt::testing::plant();
        let filters = Topics::new("s").unwrap().filters(&plant);
        assert!(filters.contains(&"heatgate/v1/s/points/+/+/set".to_owned()), "{filters:?}");
        assert_eq!(filters.len(), 4, "{filters:?}");
        assert!(filters.iter().all(|filter| rumqttc::mqttbytes::valid_filter(filter)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn any_topic_can_be_taken_apart(tail in ".*") {
            let topics = Topics::new("demo").unwrap();
            let _ = topics.parse(&tail);
            let _ = topics.parse(&format!("heatgate/v1/demo/{tail}"));
        }
    }
}
