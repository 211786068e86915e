//! The client: one task that owns all state, and one for each connection ([`super::wire`]) that hands its events over.
//!
//! ```text
//!             retry                    CONNACK
//!   Down ──────────────► Connecting ──────────────► Up
//!     ▲                       │                      │
//!     └───────────────────────┴──────────────────────┘  an error, or nothing acknowledged for 10 s
//! ```
//!
//! A connection forgets what waits in it when it ends, and blocks in a stall. So nothing waits in it: messages are given to
//! it only while it is up and within a window ([`super::outbox::WINDOW`], and one command for each heater), and each is
//! tracked to its PUBACK.
//!
//! While the broker is away the gateway goes on. Telemetry ages as always; once a heater's `max_age` has passed since the
//! link was lost its points turn bad, with no communication as the cause.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{
    Connect, Disconnect, LastWill, Packet, Publish, Subscribe, SubscribeFilter, SubscribeReasonCode,
};
use rumqttc::{Event, Outgoing, Request as MqttRequest};
use tokio::sync::{mpsc, watch};
use tokio::time::{Sleep, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::LINK;
use super::inbox::{Arrived, Inbox, Meaning};
use super::intervals::Intervals;
use super::outbox::{Identity, Outbox, WINDOW};
use super::payloads::Id;
use super::readings;
use super::topics::Topics;
use super::window::Window;
use super::wire::{self, Happenings, Opening};
use crate::durable::SavedInterval;
use crate::plant::{HeaterId, Plant, SiteRole};
use crate::point::{PointId, PointKey, Reading, Update, Value};
use crate::ports::{Ports, Requests};
use crate::request::Request;
use crate::time::Mono;

/// What the client must know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The site's name: one topic level.
    pub site: String,
    /// Host name or address of the broker.
    pub host: String,
    /// TCP port of the broker.
    pub port: u16,
    /// Client identifier; unique at the broker, or the two push each other out.
    pub client_id: String,
    /// Login name, where the broker wants one.
    pub username: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Keep-alive on the wall, held to 1 s to 18 h.
    pub keep_alive: Duration,
    /// A number that no other boot had.
    pub boot_id: Arc<str>,
    /// Version of the gateway.
    pub version: String,
    /// Heaters whose controllers are not part of the simulation: they get `ttl_s` and `ramp_w_per_s` in wall time.
    pub outside: BTreeSet<HeaterId>,
}

/// Times on the wall.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    /// A message that is not acknowledged for so long ends the connection.
    pub ack: Duration,
    /// First pause before connecting again; it doubles.
    pub retry_min: Duration,
    /// Longest pause.
    pub retry_max: Duration,
    /// On the way down: how long last commands may still come in after the stop.
    pub settle: Duration,
    /// On the way down: how long acknowledgements are waited for.
    pub farewell: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ack: Duration::from_secs(10),
            retry_min: Duration::from_millis(500),
            retry_max: Duration::from_secs(10),
            settle: Duration::from_millis(250),
            farewell: Duration::from_secs(2),
        }
    }
}

/// A controller's farewell is believed after so many ticks, when the link still stands.
const BELIEVED: u8 = 2;
/// How often ages are looked at.
const TICK: Duration = Duration::from_millis(250);
/// Largest packet taken from the broker. What is too long for a payload is refused one by one: a broker that keeps an
/// oversized message for us must not end every connection.
const MAX_PACKET: usize = 16 * 1024 * 1024;
/// Sets that wait for the engine; further ones are refused as busy.
const MAX_SETS: usize = 16;
/// Filters in one SUBSCRIBE.
const FILTERS_AT_ONCE: usize = 32;

/// Run until the stop: then last commands, `offline`, and a proper goodbye, within about two seconds.
pub async fn run(settings: Settings, plant: Arc<Plant>, ports: Ports) {
    run_with(settings, plant, ports, None, Timing::default()).await;
}

/// [`run`], and publish closed intervals from the store's durable outbox.
pub async fn run_with_intervals(settings: Settings, plant: Arc<Plant>, ports: Ports, intervals: Intervals) {
    run_with(settings, plant, ports, Some(intervals), Timing::default()).await;
}

/// [`run`] with other times.
pub(super) async fn run_with(
    settings: Settings,
    plant: Arc<Plant>,
    ports: Ports,
    intervals: Option<Intervals>,
    timing: Timing,
) {
    match Topics::new(&settings.site) {
        Ok(topics) => Client::new(settings, topics, plant, ports, timing).run(intervals).await,
        Err(error) => {
            tracing::error!(site = ?settings.site, %error, "MQTT stays off");
            ports.metrics.up(LINK, false);
        }
    }
}

/// A connection being made, or made.
struct Connection {
    requests: mpsc::Sender<MqttRequest>,
    events: mpsc::Receiver<Happenings>,
    up: bool,
    _wire: AbortOnDropHandle<()>,
}

enum Link {
    Down(Pin<Box<Sleep>>),
    Open(Connection),
}

/// A set on its way to the engine, and back with the reason of a refusal.
struct SetJob {
    key: PointKey,
    id: Id,
    request: Request,
}
type SetAnswer = (PointKey, Id, Option<String>);

/// How far the way down is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    No,
    /// Last commands may still come.
    Settling,
    /// `offline` is on its way.
    Farewell,
    /// DISCONNECT is on its way.
    Goodbye,
}

struct Client {
    settings: Settings,
    topics: Topics,
    plant: Arc<Plant>,
    ports: Ports,
    timing: Timing,
    identity: Identity,
    inbox: Inbox,
    outbox: Outbox,
    window: Window,
    link: Link,
    /// Readings that the engine has not taken yet: the newest of each point.
    feed: BTreeMap<PointId, Reading>,
    sets: mpsc::Sender<SetJob>,
    answers: mpsc::Receiver<SetAnswer>,
    _setter: AbortOnDropHandle<()>,
    attempts: u32,
    /// There was a connection since the start.
    met: bool,
    down_since: Option<Mono>,
    silent: BTreeSet<HeaterId>,
    /// Controllers that said farewell, not believed yet: ticks left, and what it means.
    gone: BTreeMap<HeaterId, (u8, Vec<Update>)>,
    ending: Ending,
}

impl Client {
    fn new(settings: Settings, topics: Topics, plant: Arc<Plant>, ports: Ports, timing: Timing) -> Self {
        let identity = Identity {
            boot_id: Arc::clone(&settings.boot_id),
            version: settings.version.clone(),
            outside: settings.outside.clone(),
        };
        let (time, metrics) = (Arc::clone(&ports.time), Arc::clone(&ports.metrics));
        let inbox = Inbox::new(&plant, identity.clone(), topics.clone(), Arc::clone(&metrics));
        let outbox = Outbox::new(&plant, identity.clone(), topics.clone(), time, metrics);
        let (sets, jobs) = mpsc::channel(MAX_SETS);
        let (answered, answers) = mpsc::channel(MAX_SETS);
        let setter = AbortOnDropHandle::new(tokio::spawn(carry_out(jobs, ports.requests.clone(), answered)));
        Self {
            inbox,
            outbox,
            identity,
            window: Window::default(),
            link: Link::Down(Box::pin(sleep(Duration::ZERO))),
            feed: BTreeMap::new(),
            sets,
            answers,
            _setter: setter,
            attempts: 0,
            met: false,
            down_since: Some(ports.time.now().mono),
            silent: BTreeSet::new(),
            gone: BTreeMap::new(),
            ending: Ending::No,
            settings,
            topics,
            plant,
            ports,
            timing,
        }
    }

    async fn run(mut self, intervals: Option<Intervals>) {
        let (mut unsent, sent) = intervals.map(|ends| (ends.unsent, ends.sent)).unzip();
        if let Some(unsent) = &mut unsent {
            self.outbox.intervals.renew(Arc::clone(&unsent.borrow_and_update()));
        }
        self.ports.metrics.up(LINK, false);
        self.report_link(false);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let readings = self.ports.readings.clone();
        let stop = self.ports.stop.clone();
        let (mut engine, mut image, mut desired) = (true, true, true);
        self.outbox.show(Arc::clone(&self.ports.image.borrow_and_update()));
        self.outbox.desire(&Arc::clone(&self.ports.desired.borrow_and_update()));
        let mut deadline: Pin<Box<Sleep>> = Box::pin(sleep(Duration::ZERO));
        loop {
            tokio::select! {
                happened = happens(&mut self.link) => match happened {
                    Happened::Retry => self.connect(),
                    Happened::Events(events) => self.on_events(events),
                    Happened::Failed(cause) => self.fail(&cause),
                },
                permit = readings.reserve(), if engine && !self.feed.is_empty() => match permit {
                    Ok(permit) => {
                        let feed = std::mem::take(&mut self.feed);
                        permit.send(feed.into_iter().map(|(point, reading)| Update { point, reading }).collect());
                    }
                    Err(_) => engine = false,
                },
                changed = self.ports.desired.changed(), if desired => match changed {
                    Ok(()) => self.outbox.desire(&Arc::clone(&self.ports.desired.borrow_and_update())),
                    Err(_) => desired = false,
                },
                changed = self.ports.image.changed(), if image && self.ending == Ending::No => match changed {
                    Ok(()) => self.outbox.show(Arc::clone(&self.ports.image.borrow_and_update())),
                    Err(_) => image = false,
                },
                list = renewed(&mut unsent) => self.outbox.intervals.renew(list),
                Some((key, id, refused)) = self.answers.recv() => self.outbox.answer(&key, &id, refused),
                _ = tick.tick() => self.on_tick(),
                () = stop.cancelled(), if self.ending == Ending::No => {
                    self.ending = Ending::Settling;
                    self.outbox.close();
                    deadline = Box::pin(sleep(self.timing.settle));
                }
                () = &mut deadline, if self.ending != Ending::No => match self.ending {
                    Ending::Settling => {
                        self.ending = Ending::Farewell;
                        self.outbox.announce("offline");
                        deadline = Box::pin(sleep(self.timing.farewell.saturating_sub(self.timing.settle)));
                    }
                    Ending::Farewell => {
                        self.say_goodbye();
                        deadline = Box::pin(sleep(self.timing.settle));
                    }
                    Ending::Goodbye | Ending::No => break,
                },
            }
            self.pump();
            if let Some(sent) = &sent {
                self.outbox.intervals.report(sent);
            }
            if self.ending == Ending::Farewell && self.window.is_empty() && self.outbox.commands_idle() {
                self.say_goodbye();
                deadline = Box::pin(sleep(self.timing.settle));
            }
            // Without a connection there is nobody to say goodbye to.
            if self.ending != Ending::No && !matches!(&self.link, Link::Open(connection) if connection.up) {
                break;
            }
        }
        self.ports.metrics.up(LINK, false);
    }

    /// Begin a connection, with a task of its own.
    fn connect(&mut self) {
        let mut connect = Connect::new(&self.settings.client_id);
        connect.keep_alive = u16::try_from(self.settings.keep_alive.as_secs()).unwrap_or(u16::MAX).max(1);
        let will = self.identity.status("offline", self.ports.time.now());
        connect.last_will = Some(LastWill::new(self.topics.status(), will, QoS::AtLeastOnce, true));
        if let Some(username) = &self.settings.username {
            connect.set_login(username, self.settings.password.as_deref().unwrap_or_default());
        }
        // Everything that can ever wait in there at once: the window, a command for each heater, the subscriptions.
        let most = WINDOW + self.plant.heaters.len() + 64;
        let opening = Opening {
            host: self.settings.host.clone(),
            port: self.settings.port,
            connect,
            max_packet: MAX_PACKET,
            // Far more than the window, so that none is met again while it is in use.
            ids: u16::try_from(most * 16).unwrap_or(u16::MAX),
        };
        let (requests, asked) = mpsc::channel(most);
        let (sender, events) = mpsc::channel(64);
        let wire = AbortOnDropHandle::new(tokio::spawn(wire::run(opening, asked, sender)));
        self.link = Link::Open(Connection { requests, events, up: false, _wire: wire });
    }

    /// What a connection says, as long as it is the connection.
    fn on_events(&mut self, events: Vec<Event>) {
        for event in events {
            self.on_event(event);
            if matches!(self.link, Link::Down(_)) {
                break;
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Incoming(Packet::ConnAck(_)) => self.on_connected(),
            Event::Incoming(Packet::Publish(publish)) => self.on_publish(&publish),
            Event::Incoming(Packet::PubAck(ack)) => {
                if let Some(tag) = self.window.acknowledged(ack.pkid) {
                    self.attempts = 0;
                    self.ports.metrics.transaction(LINK);
                    self.outbox.acknowledged(&tag);
                }
            }
            Event::Incoming(Packet::SubAck(ack)) if ack.return_codes.contains(&SubscribeReasonCode::Failure) => {
                self.ports.metrics.failure(LINK, "subscription refused");
                tracing::warn!("the broker refuses a subscription: its access list may not let the gateway read");
            }
            Event::Outgoing(Outgoing::Publish(id)) => self.window.written(id),
            // A packet id that came round to a message that is still unacknowledged.
            Event::Outgoing(Outgoing::AwaitAck(_)) => self.fail("acknowledgements out of order"),
            Event::Outgoing(Outgoing::Disconnect) => self.link = Link::Down(Box::pin(sleep(self.timing.retry_max))),
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }

    fn on_connected(&mut self) {
        let Link::Open(connection) = &mut self.link else { return };
        connection.up = true;
        let filters = self.topics.filters(&self.plant);
        for some in filters.chunks(FILTERS_AT_ONCE) {
            let filters = some.iter().map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
            if connection.requests.try_send(MqttRequest::Subscribe(Subscribe::new_many(filters))).is_err() {
                return self.fail("request queue full");
            }
        }
        tracing::info!(host = %self.settings.host, port = self.settings.port, "broker connected");
        self.ports.metrics.up(LINK, true);
        if std::mem::replace(&mut self.met, true) {
            self.ports.metrics.reconnect(LINK);
        }
        self.down_since = None;
        self.silent.clear();
        self.report_link(true);
        self.outbox.reconnected();
    }

    /// The connection is of no more use: take it down and try again after a pause.
    fn fail(&mut self, cause: &str) {
        let was_up = matches!(&self.link, Link::Open(connection) if connection.up);
        self.outbox.lost(self.window.lost());
        // It was the broker that went: it publishes everybody's will when it is stopped.
        self.gone.clear();
        let pause = pause(self.attempts, self.timing);
        self.link = Link::Down(Box::pin(sleep(pause)));
        if was_up || self.attempts == 0 {
            tracing::warn!(cause, "the broker is away");
        }
        self.attempts = self.attempts.saturating_add(1);
        self.ports.metrics.failure(LINK, if was_up { "connection lost" } else { "cannot connect" });
        self.ports.metrics.up(LINK, false);
        if was_up {
            self.down_since = Some(self.ports.time.now().mono);
            self.report_link(false);
        }
    }

    fn on_tick(&mut self) {
        let ticks = self.window.tick();
        if TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX)) > self.timing.ack {
            self.fail("no acknowledgement");
        }
        if let Some(since) = self.down_since {
            let away = self.ports.time.now().mono.since(since);
            let plant = Arc::clone(&self.plant);
            for heater in &plant.heaters {
                if away > self.patience(heater.id, heater.max_age) && self.silent.insert(heater.id) {
                    self.feed(readings::no_communication(&plant, heater));
                }
            }
        }
        let mut believed = Vec::new();
        self.gone.retain(|_, (left, updates)| {
            *left = left.saturating_sub(1);
            if *left == 0 {
                believed.push(std::mem::take(updates));
            }
            *left > 0
        });
        believed.into_iter().for_each(|updates| self.feed(updates));
        self.outbox.look();
    }

    /// How much site time a heater's telemetry may take; that of an outside controller comes by the wall's clock.
    fn patience(&self, heater: HeaterId, max_age: Duration) -> Duration {
        let wall = self.ports.time.wall(Duration::from_secs(1)).as_secs_f64();
        if wall > 0.0 && self.identity.outside.contains(&heater) { max_age.div_f64(wall) } else { max_age }
    }

    /// Give the connection what it may take.
    fn pump(&mut self) {
        if !matches!(self.ending, Ending::No | Ending::Settling | Ending::Farewell) {
            return;
        }
        let Link::Open(connection) = &mut self.link else { return };
        if !connection.up {
            return;
        }
        while let Some(message) = self.outbox.next(self.window.others()) {
            let mut publish = Publish::new(message.topic, QoS::AtLeastOnce, message.payload);
            publish.retain = message.retain;
            let given = connection.requests.try_send(MqttRequest::Publish(publish));
            self.window.given(message.tag);
            if given.is_err() {
                return self.fail("request queue full");
            }
        }
    }

    fn say_goodbye(&mut self) {
        self.ending = Ending::Goodbye;
        if let Link::Open(connection) = &self.link {
            // A full queue means a dead connection; the broker will publish the will instead.
            let _ = connection.requests.try_send(MqttRequest::Disconnect(Disconnect));
        }
    }

    fn feed(&mut self, updates: Vec<Update>) {
        for Update { point, reading } in updates {
            if self.feed.insert(point, reading).is_some() {
                self.ports.metrics.dropped(LINK, "reading replaced before the engine took it");
            }
        }
    }

    fn report_link(&mut self, up: bool) {
        if let Some(point) = self.plant.site.get(SiteRole::BrokerLink) {
            self.feed(vec![Update { point, reading: Reading::Good(Value::Bool(up)) }]);
        }
    }

    fn on_publish(&mut self, publish: &Publish) {
        self.ports.metrics.transaction(LINK);
        let arrived = Arrived { topic: &publish.topic, payload: &publish.payload, retained: publish.retain };
        match self.inbox.understand(arrived, |heater| self.outbox.sent(heater)) {
            Meaning::Nothing => {}
            Meaning::Readings(updates) => self.feed(updates),
            Meaning::Here(heater, updates) => {
                self.gone.remove(&heater);
                self.feed(updates);
            }
            Meaning::Gone(heater, updates) => {
                self.gone.insert(heater, (BELIEVED, updates));
            }
            Meaning::Refused { key, id, cause } => self.outbox.answer(&key, &id, Some(cause)),
            Meaning::Wish { key, id, request } => {
                if let Err(full) = self.sets.try_send(SetJob { key, id, request }) {
                    let job = full.into_inner();
                    self.outbox.answer(&job.key, &job.id, Some("busy".to_owned()));
                }
            }
        }
    }
}

/// Pause before attempt `attempts + 1`: it doubles from the shortest to the longest.
fn pause(attempts: u32, timing: Timing) -> Duration {
    timing.retry_min.saturating_mul(1u32.checked_shl(attempts.min(16)).unwrap_or(u32::MAX)).min(timing.retry_max)
}

enum Happened {
    Retry,
    Events(Vec<Event>),
    Failed(String),
}

/// What the link does next. Cancel-safe: a sleep and a channel.
async fn happens(link: &mut Link) -> Happened {
    match link {
        Link::Down(retry) => {
            retry.await;
            Happened::Retry
        }
        Link::Open(connection) => match connection.events.recv().await {
            Some(Ok(events)) => Happened::Events(events),
            Some(Err(error)) => Happened::Failed(error.to_string()),
            None => Happened::Failed("the connection has ended".to_owned()),
        },
    }
}

/// The store's list is renewed; never, when there is no store any more.
async fn renewed(unsent: &mut Option<watch::Receiver<Arc<Vec<SavedInterval>>>>) -> Arc<Vec<SavedInterval>> {
    if let Some(list) = unsent {
        if list.changed().await.is_ok() {
            return Arc::clone(&list.borrow_and_update());
        }
        *unsent = None;
    }
    std::future::pending().await
}

/// Ask the engine, one set after the other, so that two writes of one sender stay in order.
async fn carry_out(mut jobs: mpsc::Receiver<SetJob>, requests: Requests, answers: mpsc::Sender<SetAnswer>) {
    while let Some(job) = jobs.recv().await {
        let verdict = requests.submit(job.request).await;
        let refused = verdict.err().map(|refusal| refusal.to_string());
        if answers.send((job.key, job.id, refused)).await.is_err() {
            return;
        }
    }
}
