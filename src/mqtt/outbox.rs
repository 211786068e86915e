//! What is to be published, and in which order: commands first, then the gateway's status, answers, events, closed
//! intervals, and the views with what room is left. Pure: the client asks for the next message while the connection can take one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::LINK;
use super::commands::{Commands, Next};
use super::events::Events;
use super::intervals::{IntervalKey, Waiting};
use super::payloads::{CommandOut, Id, SetResultOut, StatusOut, json};
use super::topics::Topics;
use super::views::Views;
use crate::decision::{Command, Desired};
use crate::plant::{HeaterId, Plant};
use crate::point::{Image, PointKey};
use crate::telemetry::Metrics;
use crate::time::{Now, TimeSource};

/// Messages other than commands that may be unacknowledged: a burst of views leaves the way free for a command.
pub(super) const WINDOW: usize = 64;
/// Events that wait; beyond it the oldest is dropped and counted.
const MAX_EVENTS: usize = 256;
/// Answers to sets that wait; beyond it the oldest is dropped and counted.
const MAX_RESULTS: usize = 64;

/// What a published message was, so that its acknowledgement (or its loss) can be told to whom it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tag {
    /// A heater's command.
    Command(HeaterId),
    /// The gateway's own status.
    Status,
    /// An answer to a set.
    Result,
    /// An event: published again after a lost connection, with the same id.
    Event(Vec<u8>),
    /// A closed interval.
    Interval(IntervalKey),
    /// A retained view: all of them are due again after a lost connection.
    View,
}

/// A message to publish at QoS 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    pub tag: Tag,
}

/// Who speaks.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub boot_id: Arc<str>,
    pub version: String,
    /// Heaters whose controllers run on wall time.
    pub outside: BTreeSet<HeaterId>,
}

impl Identity {
    /// The id of a command: an acknowledgement with another one is not of this boot.
    pub fn cmd_id(&self, heater: &str, seq: u64) -> String {
        format!("{}-{heater}-{seq}", self.boot_id)
    }

    /// The gateway's status.
    pub fn status(&self, state: &'static str, now: Now) -> Vec<u8> {
        json(&StatusOut { state, boot_id: &self.boot_id, version: &self.version, at: now.utc.to_string() })
    }
}

/// Everything that waits to be published.
pub(super) struct Outbox {
    plant: Arc<Plant>,
    identity: Identity,
    topics: Topics,
    time: Arc<dyn TimeSource>,
    metrics: Arc<Metrics>,
    image: Arc<Image>,
    commands: Commands,
    status: Option<&'static str>,
    results: VecDeque<(PointKey, Vec<u8>)>,
    events: Events,
    waiting_events: VecDeque<Vec<u8>>,
    /// Closed intervals of the store's outbox.
    pub intervals: Waiting,
    views: Views,
    closing: bool,
}

impl Outbox {
    pub fn new(
        plant: &Arc<Plant>,
        identity: Identity,
        topics: Topics,
        time: Arc<dyn TimeSource>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            commands: Commands::new(plant.heaters.len()),
            events: Events::new(plant, Arc::clone(&identity.boot_id)),
            views: Views::new(plant),
            plant: Arc::clone(plant),
            identity,
            topics,
            time,
            metrics,
            image: Arc::default(),
            status: None,
            results: VecDeque::new(),
            waiting_events: VecDeque::new(),
            intervals: Waiting::default(),
            closing: false,
        }
    }

    /// Control has spoken.
    pub fn desire(&mut self, desired: &Desired) {
        for _ in 0..self.commands.want(desired) {
            self.metrics.dropped(LINK, "command replaced before it was sent");
        }
    }

    /// A new image.
    pub fn show(&mut self, image: Arc<Image>) {
        self.image = image;
        let happened = self.events.look(&self.plant, &self.image);
        for event in happened {
            self.add_event(event);
        }
        self.look();
    }

    /// The gateway goes down: the retained views stay as they are.
    pub const fn close(&mut self) {
        self.closing = true;
    }

    /// Mark what the views have not shown for long.
    pub fn look(&mut self) {
        for _ in 0..self.views.look(&self.plant, &self.image, self.time.now().mono) {
            self.metrics.dropped(LINK, "point changed again before it was shown");
        }
    }

    fn add_event(&mut self, event: Vec<u8>) {
        if self.waiting_events.len() >= MAX_EVENTS {
            self.waiting_events.pop_front();
            self.metrics.dropped(LINK, "event");
        }
        self.waiting_events.push_back(event);
    }

    /// The gateway is online, or goes.
    pub const fn announce(&mut self, state: &'static str) {
        self.status = Some(state);
    }

    /// The answer to a set.
    pub fn answer(&mut self, key: &PointKey, id: &Id, refused: Option<String>) {
        if let Some(cause) = &refused {
            let event = self.events.refused(key.as_str(), &id.to_string(), cause, self.time.now().utc);
            self.add_event(event);
        }
        if self.results.len() >= MAX_RESULTS {
            self.results.pop_front();
            self.metrics.dropped(LINK, "answer to a set");
        }
        let result = if refused.is_none() { "accepted" } else { "refused" };
        self.results.push_back((key.clone(), json(&SetResultOut { id, result, cause: refused })));
    }

    /// A new connection: all that is retained or still in force goes again.
    pub fn reconnected(&mut self) {
        self.commands.reconnected();
        self.views.reconnected();
        self.announce("online");
        self.look();
    }

    /// The broker has it.
    pub fn acknowledged(&mut self, tag: &Tag) {
        match tag {
            Tag::Command(heater) => self.commands.acknowledged(*heater),
            Tag::Interval(key) => self.intervals.acknowledged(key),
            Tag::Status | Tag::Result | Tag::Event(_) | Tag::View => {}
        }
    }

    /// The connection is gone, and with it what was never acknowledged. Commands and views go again by themselves.
    pub fn lost(&mut self, tags: Vec<Tag>) {
        for tag in tags.into_iter().rev() {
            match tag {
                Tag::Event(event) if self.waiting_events.len() < MAX_EVENTS => self.waiting_events.push_front(event),
                Tag::Event(_) => self.metrics.dropped(LINK, "event"),
                Tag::Interval(key) => self.intervals.lost(&key),
                Tag::Result => self.metrics.dropped(LINK, "answer to a set"),
                Tag::Command(_) | Tag::Status | Tag::View => {}
            }
        }
    }

    /// The highest command number that was sent to a heater.
    pub fn sent(&self, heater: HeaterId) -> u64 {
        self.commands.sent(heater)
    }

    /// No command waits or is unacknowledged.
    pub fn commands_idle(&self) -> bool {
        self.commands.idle()
    }

    /// The next message; `others` messages that are not commands are unacknowledged.
    pub fn next(&mut self, others: usize) -> Option<Message> {
        let now = self.time.now();
        loop {
            match self.commands.next(now.mono) {
                Next::Send(heater, left) => {
                    if let Some(message) = self.command(heater, left) {
                        return Some(message);
                    }
                }
                Next::Expired(_) => self.metrics.dropped(LINK, "command expired before it was sent"),
                Next::Nothing => break,
            }
        }
        if others >= WINDOW {
            return None;
        }
        if let Some(state) = self.status.take() {
            let payload = self.identity.status(state, now);
            return Some(Message { topic: self.topics.status(), payload, retain: true, tag: Tag::Status });
        }
        if let Some((key, payload)) = self.results.pop_front() {
            return Some(Message { topic: self.topics.set_result(&key), payload, retain: false, tag: Tag::Result });
        }
        if let Some(payload) = self.waiting_events.pop_front() {
            let tag = Tag::Event(payload.clone());
            return Some(Message { topic: self.topics.events(), payload, retain: false, tag });
        }
        if self.closing {
            return None;
        }
        if let Some((topic, payload, key)) = self.intervals.next(&self.topics) {
            return Some(Message { topic, payload, retain: false, tag: Tag::Interval(key) });
        }
        // Before the first image there is nothing to show.
        if self.image.seq == 0 {
            return None;
        }
        let (topic, payload) = self.views.next(&self.plant, &self.topics, &self.image, now)?;
        Some(Message { topic, payload, retain: true, tag: Tag::View })
    }

    fn command(&self, id: HeaterId, left: std::time::Duration) -> Option<Message> {
        let heater = self.plant.heater(id)?;
        let command = self.commands.wanted(id)?;
        let payload = self.command_payload(&heater.name, command, left);
        Some(Message { topic: self.topics.command(&heater.name), payload, retain: false, tag: Tag::Command(id) })
    }

    fn command_payload(&self, heater: &str, command: &Command, left: std::time::Duration) -> Vec<u8> {
        // An outside controller's second is one on the wall: where site time runs fast it has less of them.
        let outside = self.identity.outside.contains(&command.heater);
        let ttl = if outside { self.time.wall(left) } else { left }.as_secs_f64();
        let faster = if outside && ttl > 0.0 { left.as_secs_f64() / ttl } else { 1.0 };
        let ramp = command.ramp_w_per_s * faster;
        json(&CommandOut {
            v: 1,
            cmd_id: &self.identity.cmd_id(heater, command.seq),
            boot_id: &self.identity.boot_id,
            seq: command.seq,
            issued_at: command.issued.utc.to_string(),
            p_max_w: command.cap.get().max(0.0),
            ttl_s: ttl,
            ramp_w_per_s: if ramp.is_finite() { ramp.max(0.0) } else { 0.0 },
            fallback_w: command.fallback.get().max(0.0),
            reason: command.reasons.iter().map(ToString::to_string).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::testing::{TestClock, command, image_with, now, plant};
    use crate::point::{Reading, Value};
    use std::time::Duration;

    fn outbox(clock: &Arc<TestClock>, outside: &[u16]) -> Outbox {
        let outside = outside.iter().map(|id| HeaterId(*id)).collect();
        let identity = Identity { boot_id: "b".into(), version: "0".into(), outside };
        let topics = Topics::new("s").unwrap();
        Outbox::new(&Arc::new(plant()), identity, topics, Arc::clone(clock) as Arc<_>, Arc::default())
    }

    #[test]
    fn a_command_goes_before_a_burst_of_views_and_through_a_full_window() {
        let mut outbox = outbox(&TestClock::new(1.0), &[]);
        outbox.show(Arc::new(image_with(
            &plant(),
            &[("hall/alarm_bms_lost", Reading::Good(Value::Bool(true)))],
            now(0),
        )));
        outbox.reconnected();
        assert_eq!(outbox.next(0).map(|message| message.tag), Some(Tag::Status));
        assert!(matches!(outbox.next(1).map(|message| message.tag), Some(Tag::Event(_))));
        assert_eq!(outbox.next(2).map(|message| message.tag), Some(Tag::View));
        assert_eq!(outbox.next(WINDOW), None);
        outbox.desire(&Desired { commands: vec![Some(command(0, 1, 0, 12_000.0)), None] });
        let message = outbox.next(WINDOW).unwrap();
        assert_eq!((message.tag, message.retain), (Tag::Command(HeaterId(0)), false));
        assert_eq!(message.topic, "heatgate/v1/s/heaters/rack-a/command");
        let expected = r#"{"v":1,"cmd_id":"b-rack-a-1","boot_id":"b","seq":1,"issued_at":"1970-01-01T00:00:00.000Z","p_max_w":12000.0,"ttl_s":180.0,"ramp_w_per_s":100.0,"fallback_w":7500.0,"reason":["no heat is asked"]}"#;
        assert_eq!(String::from_utf8(message.payload).unwrap(), expected);
    }

    #[test]
    fn on_the_way_down_commands_and_the_status_go_out_and_no_view() {
        let mut outbox = outbox(&TestClock::new(1.0), &[]);
        outbox.show(Arc::new(image_with(&plant(), &[], now(0))));
        outbox.reconnected();
        outbox.close();
        outbox.announce("offline");
        outbox.desire(&Desired { commands: vec![Some(command(0, 1, 0, 1.0)), None] });
        let tags: Vec<Tag> = std::iter::from_fn(|| outbox.next(0)).map(|message| message.tag).collect();
        assert_eq!(tags, [Tag::Command(HeaterId(0)), Tag::Status]);
    }

    #[test]
    fn an_outside_controller_gets_its_lease_in_wall_time() {
        let clock = TestClock::new(60.0);
        let mut outbox = outbox(&clock, &[1]);
        clock.set(Duration::from_secs(60));
        outbox.desire(&Desired { commands: vec![Some(command(0, 1, 0, 1.0)), Some(command(1, 1, 0, 1.0))] });
        let inside: serde_json::Value = serde_json::from_slice(&outbox.next(0).unwrap().payload).unwrap();
        let outside: serde_json::Value = serde_json::from_slice(&outbox.next(0).unwrap().payload).unwrap();
        assert_eq!((inside["ttl_s"].as_f64(), inside["ramp_w_per_s"].as_f64()), (Some(120.0), Some(100.0)));
        assert_eq!((outside["ttl_s"].as_f64(), outside["ramp_w_per_s"].as_f64()), (Some(2.0), Some(6000.0)));
    }

    #[test]
    fn an_unacknowledged_event_goes_again_unchanged_and_in_order() {
        let mut outbox = outbox(&TestClock::new(1.0), &[]);
        let key = PointKey::new("hall/enable").unwrap();
        for cause in ["one", "two"] {
            outbox.answer(&key, &Id::Number(1), Some(cause.into()));
        }
        let sent: Vec<Message> = std::iter::from_fn(|| outbox.next(0)).collect();
        assert_eq!(sent.len(), 4);
        let payloads = |messages: &[Message]| -> Vec<Vec<u8>> {
            let events = messages.iter().filter(|message| matches!(message.tag, Tag::Event(_)));
            events.map(|message| message.payload.clone()).collect()
        };
        let before = payloads(&sent);
        outbox.lost(sent.into_iter().map(|message| message.tag).collect());
        let again: Vec<Message> = std::iter::from_fn(|| outbox.next(0)).collect();
        assert_eq!(payloads(&again), before);
    }
}
