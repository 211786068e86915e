//! What the broker remembers: sessions, subscriptions, retained messages. Pure: packets in, packets out, no sockets.
//!
//! Each session has a bounded queue that its own connection empties, so a slow subscriber costs others nothing: what
//! does not fit is dropped and counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rumqttc::mqttbytes::v4::{
    ConnAck, Connect, ConnectReturnCode, Packet, PubAck, PubComp, PubRec, Publish, SubAck, Subscribe,
    SubscribeReasonCode, UnsubAck,
};
use rumqttc::mqttbytes::{Protocol, QoS, valid_filter};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Settings, Stats};

/// Replies that a client may leave unread before it is cut off.
const MAX_REPLIES: usize = 1024;
/// Inbound QoS 2 messages that a client may leave unreleased.
const MAX_UNRELEASED: usize = 256;
/// MQTT 3.1.1, 1.5.3: a string is at most this long.
const MAX_TOPIC: usize = 65_535;

/// One published message, shared by all queues it stands in.
#[derive(Debug)]
struct Message {
    topic: String,
    payload: Bytes,
    qos: QoS,
}

/// A message on its way to one subscriber.
#[derive(Debug, Clone)]
struct Delivery {
    message: Arc<Message>,
    qos: QoS,
    retain: bool,
    dup: bool,
}

/// The connection that a session is served by.
#[derive(Debug, Clone)]
pub(super) struct Link {
    /// Which connection, to tell it from the one that took over.
    pub serial: u64,
    /// Cancelled when another one takes over, or when the session is wiped.
    pub kick: CancellationToken,
    /// Something is to be sent.
    pub wake: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Session {
    persistent: bool,
    link: Option<Link>,
    will: Option<(Message, bool)>,
    filters: BTreeMap<String, QoS>,
    /// Retained topics that a new subscription is still owed, with the granted QoS: bounded by the retained store.
    owed: BTreeMap<String, QoS>,
    replies: VecDeque<Packet>,
    queue: VecDeque<Delivery>,
    /// Sent at QoS 1 and not acknowledged, in the order of sending.
    unacked: VecDeque<(u16, Delivery)>,
    last_id: u16,
    /// Ids of inbound QoS 2 messages that were passed on and not released yet.
    unreleased: BTreeSet<u16>,
}

/// Why a connection is closed without a goodbye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// A packet that only a server sends, a second CONNECT, a wildcard in a topic.
    Protocol,
    /// It leaves too much unread or unreleased.
    TooMuch,
    /// The connection is no longer the session's.
    Replaced,
}

/// Whether the connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Goodbye,
}

/// The whole memory of the broker.
#[derive(Debug)]
pub(super) struct Hub {
    settings: Settings,
    sessions: BTreeMap<String, Session>,
    retained: BTreeMap<String, Arc<Message>>,
    serial: u64,
    pub stats: Stats,
}

impl Hub {
    pub fn new(settings: Settings) -> Self {
        Self { settings, sessions: BTreeMap::new(), retained: BTreeMap::new(), serial: 0, stats: Stats::default() }
    }

    /// A client says CONNECT: its id and connection, with the CONNACK already in its queue, or the code to refuse with.
    pub fn attach(&mut self, connect: &Connect) -> Result<(String, Link), ConnectReturnCode> {
        if connect.protocol != Protocol::V4 {
            return Err(ConnectReturnCode::RefusedProtocolVersion);
        }
        let will = match &connect.last_will {
            Some(will) if !valid_topic(&will.topic) => return Err(ConnectReturnCode::NotAuthorized),
            Some(will) => {
                let message = Message { topic: will.topic.clone(), payload: will.message.clone(), qos: will.qos };
                Some((message, will.retain))
            }
            None => None,
        };
        self.serial += 1;
        let id = match connect.client_id.as_str() {
            // MQTT 3.1.1, 3.1.3.1: an empty id is for clean sessions only, and the server assigns one.
            "" if !connect.clean_session => return Err(ConnectReturnCode::BadClientId),
            "" => format!("auto/{}", self.serial),
            id => id.to_owned(),
        };
        self.close(&id, false);
        if connect.clean_session {
            self.sessions.remove(&id);
        }
        if !self.sessions.contains_key(&id) && !self.make_room() {
            return Err(ConnectReturnCode::ServiceUnavailable);
        }
        let present = self.sessions.contains_key(&id);
        let session = self.sessions.entry(id.clone()).or_default();
        session.persistent = !connect.clean_session;
        session.will = will;
        // What was sent and never acknowledged goes first again, marked as a repeat (4.4).
        for (_, mut delivery) in session.unacked.drain(..).rev() {
            delivery.dup = true;
            session.queue.push_front(delivery);
        }
        session.replies.clear();
        session.replies.push_back(Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, present)));
        let link = Link { serial: self.serial, kick: CancellationToken::new(), wake: Arc::default() };
        session.link = Some(link.clone());
        Ok((id, link))
    }

    /// A place for one more session; the first one that nobody serves gives way when all are taken.
    fn make_room(&mut self) -> bool {
        if self.sessions.len() < self.settings.max_sessions {
            return true;
        }
        let idle = self.sessions.iter().find(|(_, session)| session.link.is_none()).map(|(id, _)| id.clone());
        idle.is_some_and(|id| {
            self.stats.sessions_evicted += 1;
            self.sessions.remove(&id).is_some()
        })
    }

    /// A connection has ended. Without a goodbye its will is published.
    pub fn detach(&mut self, id: &str, serial: u64, goodbye: bool) {
        if self.sessions.get(id).and_then(|session| session.link.as_ref()).is_some_and(|link| link.serial == serial) {
            self.close(id, goodbye);
        }
    }

    fn close(&mut self, id: &str, goodbye: bool) {
        let Some(session) = self.sessions.get_mut(id) else { return };
        if let Some(link) = session.link.take() {
            link.kick.cancel();
        }
        session.owed.clear();
        session.replies.clear();
        let will = session.will.take();
        if session.persistent {
            // QoS 0 is for those who are there.
            session.queue.retain(|delivery| delivery.qos != QoS::AtMostOnce);
        } else {
            self.sessions.remove(id);
        }
        if let (Some((message, retain)), false) = (will, goodbye) {
            self.publish(message, retain);
        }
    }

    /// Forget every session and cut every connection, without wills: what a broker that lost its memory does.
    pub fn wipe(&mut self) {
        for session in std::mem::take(&mut self.sessions).into_values() {
            if let Some(link) = session.link {
                link.kick.cancel();
            }
        }
    }

    /// A packet of a connected client.
    pub fn receive(&mut self, id: &str, serial: u64, packet: Packet) -> Result<Flow, Violation> {
        let current = |session: &&mut Session| session.link.as_ref().is_some_and(|link| link.serial == serial);
        let session = self.sessions.get_mut(id).filter(current).ok_or(Violation::Replaced)?;
        let reply = match packet {
            Packet::Publish(publish) => {
                if !valid_topic(&publish.topic) {
                    return Err(Violation::Protocol);
                }
                let (reply, fresh) = match publish.qos {
                    QoS::AtMostOnce => (None, true),
                    QoS::AtLeastOnce => (Some(Packet::PubAck(PubAck::new(publish.pkid))), true),
                    QoS::ExactlyOnce => {
                        let fresh = session.unreleased.insert(publish.pkid);
                        if session.unreleased.len() > MAX_UNRELEASED {
                            return Err(Violation::TooMuch);
                        }
                        (Some(Packet::PubRec(PubRec::new(publish.pkid))), fresh)
                    }
                };
                if fresh {
                    let message = Message { topic: publish.topic, payload: publish.payload, qos: publish.qos };
                    self.publish(message, publish.retain);
                }
                reply
            }
            Packet::PubRel(release) => {
                session.unreleased.remove(&release.pkid);
                Some(Packet::PubComp(PubComp::new(release.pkid)))
            }
            Packet::PubAck(ack) => {
                session.unacked.retain(|(id, _)| *id != ack.pkid);
                None
            }
            Packet::Subscribe(subscribe) => Some(self.subscribe(id, &subscribe)),
            Packet::Unsubscribe(unsubscribe) => {
                for filter in &unsubscribe.topics {
                    session.filters.remove(filter);
                }
                Some(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)))
            }
            Packet::PingReq => Some(Packet::PingResp),
            Packet::Disconnect => return Ok(Flow::Goodbye),
            // We never send QoS 2, so nobody has a PUBREC or PUBCOMP for us; the rest is a server's to send.
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::PubRec(_)
            | Packet::PubComp(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp => return Err(Violation::Protocol),
        };
        let session = self.sessions.get_mut(id).ok_or(Violation::Replaced)?;
        if let Some(reply) = reply {
            session.replies.push_back(reply);
            if session.replies.len() > MAX_REPLIES {
                return Err(Violation::TooMuch);
            }
        }
        if let Some(link) = &session.link {
            link.wake.notify_one();
        }
        Ok(Flow::Continue)
    }

    fn subscribe(&mut self, id: &str, subscribe: &Subscribe) -> Packet {
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        if let Some(session) = self.sessions.get_mut(id) {
            for filter in &subscribe.filters {
                let known = session.filters.contains_key(&filter.path);
                let full = session.filters.len() >= self.settings.max_filters && !known;
                if full || filter.path.contains('\0') || !valid_filter(&filter.path) {
                    codes.push(SubscribeReasonCode::Failure);
                    continue;
                }
                let qos = lower(filter.qos, QoS::AtLeastOnce);
                session.filters.insert(filter.path.clone(), qos);
                for topic in self.retained.keys().filter(|topic| matches(topic, &filter.path)) {
                    let owed = session.owed.entry(topic.clone()).or_insert(qos);
                    *owed = higher(*owed, qos);
                }
                codes.push(SubscribeReasonCode::Success(qos));
            }
        }
        Packet::SubAck(SubAck::new(subscribe.pkid, codes))
    }

    fn publish(&mut self, message: Message, retain: bool) {
        self.stats.published += 1;
        let message = Arc::new(message);
        if retain {
            if message.payload.is_empty() {
                self.retained.remove(&message.topic);
            } else {
                self.retained.insert(message.topic.clone(), Arc::clone(&message));
            }
        }
        for session in self.sessions.values_mut() {
            let granted = session.filters.iter().filter(|(filter, _)| matches(&message.topic, filter));
            let Some(granted) = granted.map(|(_, qos)| *qos).reduce(higher) else { continue };
            let qos = lower(message.qos, granted);
            let room = match (&session.link, qos) {
                (None, QoS::AtMostOnce) => continue,
                (Some(_), _) => session.queue.len() < self.settings.max_queue,
                (None, _) => session.queue.len() < self.settings.max_offline_queue,
            };
            if room {
                let message = Arc::clone(&message);
                session.queue.push_back(Delivery { message, qos, retain: false, dup: false });
            } else if qos == QoS::AtMostOnce {
                self.stats.dropped_qos0 += 1;
            } else {
                self.stats.dropped_qos1 += 1;
            }
            if let Some(link) = &session.link {
                link.wake.notify_one();
            }
        }
    }

    /// The next packet for a connection; `None`: nothing now, or the connection is no longer the session's.
    pub fn next(&mut self, id: &str, serial: u64) -> Option<Packet> {
        let current = |session: &&mut Session| session.link.as_ref().is_some_and(|link| link.serial == serial);
        let session = self.sessions.get_mut(id).filter(current)?;
        if let Some(reply) = session.replies.pop_front() {
            return Some(reply);
        }
        let open = session.unacked.len() < self.settings.max_unacked;
        let next_is_qos1 = session.queue.front().is_some_and(|delivery| delivery.qos != QoS::AtMostOnce);
        if !open && (next_is_qos1 || !session.owed.is_empty()) {
            return None;
        }
        while let Some((topic, granted)) = session.owed.pop_first() {
            // It may have been deleted since.
            if let Some(message) = self.retained.get(&topic) {
                let qos = lower(message.qos, granted);
                let delivery = Delivery { message: Arc::clone(message), qos, retain: true, dup: false };
                return Some(session.send(delivery));
            }
        }
        let delivery = session.queue.pop_front()?;
        Some(session.send(delivery))
    }

    /// Payload of a retained message.
    pub fn retained(&self, topic: &str) -> Option<Bytes> {
        self.retained.get(topic).map(|message| message.payload.clone())
    }

    /// The figures, with those that are counted on demand.
    pub fn stats(&self) -> Stats {
        Stats {
            clients: self.sessions.values().filter(|session| session.link.is_some()).count(),
            sessions: self.sessions.len(),
            retained: self.retained.len(),
            ..self.stats
        }
    }
}

impl Session {
    fn send(&mut self, delivery: Delivery) -> Packet {
        let mut publish =
            Publish::from_bytes(delivery.message.topic.clone(), delivery.qos, delivery.message.payload.clone());
        publish.retain = delivery.retain;
        publish.dup = delivery.dup;
        if delivery.qos != QoS::AtMostOnce {
            // The window is far below 65,535, so a free id is found.
            loop {
                self.last_id = self.last_id.checked_add(1).unwrap_or(1);
                if self.unacked.iter().all(|(id, _)| *id != self.last_id) {
                    break;
                }
            }
            publish.pkid = self.last_id;
            self.unacked.push_back((self.last_id, delivery));
        }
        Packet::Publish(publish)
    }
}

fn lower(a: QoS, b: QoS) -> QoS {
    if a <= b { a } else { b }
}

fn higher(a: QoS, b: QoS) -> QoS {
    if a >= b { a } else { b }
}

/// MQTT 3.1.1, 4.7: not empty, no wildcard, no null character.
fn valid_topic(topic: &str) -> bool {
    !topic.is_empty() && topic.len() <= MAX_TOPIC && !topic.contains(['+', '#', '\0'])
}

/// Whether a topic is under a filter (4.7.1). The codec crate's own `matches` slices the first byte of the topic, which
/// panics on `é`, and hides topics that begin with `$` even from filters that name them.
fn matches(topic: &str, filter: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for part in filter.split('/') {
        if part == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if part == "+" || part == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn connect(id: &str, clean: bool) -> Connect {
        let mut connect = Connect::new(id);
        connect.clean_session = clean;
        connect
    }

    fn publish(topic: &str, qos: QoS, retain: bool) -> Packet {
        let mut publish = Publish::new(topic, qos, topic.as_bytes());
        publish.retain = retain;
        publish.pkid = 1;
        Packet::Publish(publish)
    }

    fn drain(hub: &mut Hub, id: &str, link: &Link) -> Vec<Packet> {
        std::iter::from_fn(|| hub.next(id, link.serial)).collect()
    }

    #[test]
    fn filters_match_as_the_standard_says() {
        for (topic, filter, yes) in [
            ("a/b", "a/b", true),
            ("a/b", "a/+", true),
            ("a/b/c", "a/+", false),
            ("a", "a/#", true),
            ("a/b/c", "a/#", true),
            ("a/b", "#", true),
            ("/a", "+/a", true),
            ("a", "+/+", false),
            ("$SYS/a", "#", false),
            ("$SYS/a", "+/a", false),
            ("$SYS/a", "$SYS/#", true),
            ("é/x", "+/x", true),
        ] {
            assert_eq!(matches(topic, filter), yes, "{topic} {filter}");
        }
    }

    #[test]
    fn a_slow_client_loses_only_its_own_and_it_is_counted() {
        let mut hub = Hub::new(Settings { max_queue: 10, ..Settings::default() });
        let (slow, slow_link) = hub.attach(&connect("slow", true)).unwrap();
        let (fast, fast_link) = hub.attach(&connect("fast", true)).unwrap();
        for (id, link) in [(&slow, &slow_link), (&fast, &fast_link)] {
            let all = Packet::Subscribe(Subscribe::new("#", QoS::AtMostOnce));
            assert_eq!(hub.receive(id, link.serial, all), Ok(Flow::Continue));
        }
        let mut got = 0;
        for _ in 0..100 {
            hub.receive(&fast, fast_link.serial, publish("t", QoS::AtMostOnce, false)).unwrap();
            got += drain(&mut hub, &fast, &fast_link).iter().filter(|p| matches!(p, Packet::Publish(_))).count();
        }
        assert_eq!(got, 100);
        assert_eq!(hub.stats().dropped_qos0, 90);
    }

    #[test]
    fn every_retained_message_arrives_whatever_the_queue_holds() {
        let mut hub = Hub::new(Settings { max_queue: 4, max_unacked: 4, ..Settings::default() });
        let (id, link) = hub.attach(&connect("a", true)).unwrap();
        for n in 0..1000 {
            hub.receive(&id, link.serial, publish(&format!("r/{n}"), QoS::AtLeastOnce, true)).unwrap();
            drain(&mut hub, &id, &link);
        }
        hub.receive(&id, link.serial, Packet::Subscribe(Subscribe::new("r/+", QoS::AtLeastOnce))).unwrap();
        let mut seen = BTreeSet::new();
        loop {
            let packets = drain(&mut hub, &id, &link);
            if packets.is_empty() {
                break;
            }
            for packet in packets {
                if let Packet::Publish(publish) = packet {
                    assert!(publish.retain);
                    seen.insert(publish.topic);
                    hub.receive(&id, link.serial, Packet::PubAck(PubAck::new(publish.pkid))).unwrap();
                }
            }
        }
        assert_eq!(seen.len(), 1000);
    }

    #[test]
    fn a_persistent_session_keeps_qos_1_within_its_bound_and_repeats_what_was_not_acknowledged() {
        let mut hub = Hub::new(Settings { max_offline_queue: 5, ..Settings::default() });
        let (id, link) = hub.attach(&connect("p", false)).unwrap();
        hub.receive(&id, link.serial, Packet::Subscribe(Subscribe::new("t/#", QoS::AtLeastOnce))).unwrap();
        drain(&mut hub, &id, &link);
        hub.receive(&id, link.serial, publish("t/sent", QoS::AtLeastOnce, false)).unwrap();
        drain(&mut hub, &id, &link);
        hub.detach(&id, link.serial, false);
        let (other, other_link) = hub.attach(&connect("o", true)).unwrap();
        for n in 0..8 {
            hub.receive(&other, other_link.serial, publish(&format!("t/{n}"), QoS::AtLeastOnce, false)).unwrap();
        }
        let (id, link) = hub.attach(&connect("p", false)).unwrap();
        let packets = drain(&mut hub, &id, &link);
        assert_eq!(packets[0], Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, true)));
        let topics: Vec<_> = packets
            .iter()
            .filter_map(|packet| match packet {
                Packet::Publish(publish) => Some((publish.topic.as_str(), publish.dup)),
                _ => None,
            })
            .collect();
        let kept = [("t/sent", true), ("t/0", false), ("t/1", false), ("t/2", false), ("t/3", false), ("t/4", false)];
        assert_eq!(topics, kept);
        assert_eq!(hub.stats().dropped_qos1, 3);
    }

    #[test]
    fn a_clean_session_ends_with_its_connection() {
        let mut hub = Hub::new(Settings::default());
        let (id, link) = hub.attach(&connect("a", true)).unwrap();
        hub.receive(&id, link.serial, Packet::Subscribe(Subscribe::new("t", QoS::AtLeastOnce))).unwrap();
        hub.detach(&id, link.serial, false);
        assert_eq!(hub.stats().sessions, 0);
        let (id, link) = hub.attach(&connect("a", false)).unwrap();
        assert_eq!(hub.receive(&id, link.serial - 1, Packet::PingReq), Err(Violation::Replaced));
        let fresh = ConnAck::new(ConnectReturnCode::Success, false);
        assert_eq!(drain(&mut hub, &id, &link), [Packet::ConnAck(fresh)]);
    }

    #[test]
    fn sessions_are_bounded_and_an_idle_one_gives_way() {
        let mut hub = Hub::new(Settings { max_sessions: 2, ..Settings::default() });
        let (id, link) = hub.attach(&connect("idle", false)).unwrap();
        hub.detach(&id, link.serial, true);
        assert!(hub.attach(&connect("b", true)).is_ok());
        assert!(hub.attach(&connect("c", true)).is_ok());
        assert_eq!(hub.attach(&connect("d", true)).map(drop), Err(ConnectReturnCode::ServiceUnavailable));
        assert_eq!(hub.stats().sessions_evicted, 1);
    }

    #[test]
    fn an_inbound_qos_2_message_is_passed_on_once() {
        let mut hub = Hub::new(Settings::default());
        let (id, link) = hub.attach(&connect("a", true)).unwrap();
        hub.receive(&id, link.serial, Packet::Subscribe(Subscribe::new("t", QoS::ExactlyOnce))).unwrap();
        hub.receive(&id, link.serial, publish("t", QoS::ExactlyOnce, false)).unwrap();
        hub.receive(&id, link.serial, publish("t", QoS::ExactlyOnce, false)).unwrap();
        let packets = drain(&mut hub, &id, &link);
        let received = packets.iter().filter(|packet| matches!(packet, Packet::Publish(_))).count();
        let answered = packets.iter().filter(|packet| matches!(packet, Packet::PubRec(_))).count();
        assert_eq!((received, answered), (1, 2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_topic_and_filter_can_be_compared(topic in ".*", filter in ".*") {
            let _ = matches(&topic, &filter);
            prop_assert!(!valid_topic(&topic) || matches(&topic, &topic));
        }
    }
}
