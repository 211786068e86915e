//! Intrinsic reporting (clause 13): objects detect events, classes say who is told, the outbox tells them, and clients
//! acknowledge and ask. What is to survive a restart leaves as keepsakes.

mod class;
mod detect;
mod outbox;
mod services;
mod source;

#[cfg(test)]
mod tests;

pub(super) use class::{Class, checked, destinations};
pub(super) use detect::{Rule, State, Three};
pub(super) use outbox::{Post, SERVICE, To};
pub(super) use services::{acknowledge, alarm_summary, bits, enrollment_summary, event_information, stamps};
pub(super) use source::{Setting, Source};

use std::collections::BTreeMap;
use std::time::Duration;

use bacnet_encoding::constructed::encode_event_notification;
use bacnet_services::alarm_event::EventNotificationRequest;
use bacnet_types::constructed::BACnetDestination;
use bacnet_types::enums::{EventState, EventType, NotifyType, UnconfirmedServiceChoice};
use bacnet_types::primitives::{BACnetTimeStamp, ObjectIdentifier};
use bytes::{Bytes, BytesMut};

use super::objects::{Body, Catalog, Entry, Wire, present, reliability, status_flags};
use crate::durable::Keepsake;
use crate::plant::{ObjectFace, Plant, PointDef, ServiceObject};
use crate::point::{Fault, Image, PointState, Reading};
use crate::time::Mono;
use detect::Seen;
use outbox::Outbox;
use source::{Made, Stamp};

/// How long after a start a point may still be without its first reading before that is a fault: else every restart
/// would tell of it.
const FIRST_READING: Duration = Duration::from_secs(60);
/// Transitions of one object in one look: out of a fault, into normal, into an alarm.
const MOST_STEPS: usize = 4;
/// Whose keepsakes these are.
pub(super) const OWNER: &str = "alarm";

/// A checked write to what belongs here.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Of a reporting object, by the place of its face in the plant.
    Source(usize, Setting),
    /// Priority of a class, by the class's place: the elements that are written.
    Priority(usize, Three<Option<u8>>),
    /// Ack_Required.
    AckRequired(usize, [bool; 3]),
    /// Recipient_List.
    Recipients(usize, Vec<BACnetDestination>),
}

/// What to do after something happened here.
#[derive(Debug, Default)]
pub(super) struct After {
    /// To remember.
    pub(super) keep: Vec<Keepsake>,
    /// Notifications that had to go for newer ones, or found no room.
    pub(super) dropped: usize,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    sources: Vec<Source>,
    /// By the place of the face in the plant.
    by_face: foldhash::HashMap<usize, usize>,
    /// By their places among the plant's service objects.
    classes: BTreeMap<usize, Class>,
    pub(super) outbox: Outbox,
    /// The first moment.
    started: Option<Mono>,
}

impl Alarms {
    /// Of a plant. An object whose class is not there tells nobody, and is acknowledged by nobody.
    pub(super) fn new(plant: &Plant, catalog: &Catalog) -> Self {
        let mut alarms = Self::default();
        for (place, service) in plant.bacnet_services.iter().enumerate() {
            if let ServiceObject::NotificationClass { instance, defaults, .. } = service {
                alarms.classes.insert(place, Class::new(*instance, *defaults));
            }
        }
        for (place, entry) in catalog.entries().iter().enumerate() {
            let Body::Face(number) = entry.body else { continue };
            let Some(face) = plant.bacnet.get(number) else { continue };
            if let Some(alarm) = &face.alarm {
                alarms.by_face.insert(number, alarms.sources.len());
                alarms.sources.push(Source::new(place, entry.id, face.kind, alarm));
            }
        }
        alarms
    }

    /// A class, by its place.
    pub(super) fn class_at(&self, place: usize) -> Option<&Class> {
        self.classes.get(&place)
    }

    /// A class, by its instance.
    pub(super) fn class(&self, instance: u32) -> Option<&Class> {
        self.classes.values().find(|class| class.instance == instance)
    }

    /// The reporting half of an object, by the place of its face in the plant.
    pub(super) fn source(&self, face: usize) -> Option<&Source> {
        // Many plants have none.
        if self.by_face.is_empty() { None } else { self.sources.get(*self.by_face.get(&face)?) }
    }

    fn source_mut(&mut self, face: usize) -> Option<&mut Source> {
        self.sources.get_mut(*self.by_face.get(&face)?)
    }

    /// What an earlier life remembered, without the owner in its key; false when it is nobody's.
    pub(super) fn restore(&mut self, key: &str, value: &[u8]) -> bool {
        let Some((what, which)) = key.split_once('/') else { return false };
        if what == "class" {
            let class = self.classes.values_mut().find(|class| class.instance.to_string() == which);
            return class.map(|class| class.restore(value)).is_some();
        }
        let Some(source) = self.sources.iter_mut().find(|source| name(source.id) == which) else { return false };
        match what {
            "state" => source.restore(value),
            "set" => source.restore_settings(value),
            _ => return false,
        }
        true
    }

    /// Tell somebody of something that is no event.
    pub(super) fn announce(
        &mut self,
        to: To,
        service: UnconfirmedServiceChoice,
        object: ObjectIdentifier,
        params: Bytes,
        now: Mono,
    ) -> bool {
        self.outbox.put(to, object, service, false, params, now)
    }

    /// Do a checked write.
    pub(super) fn apply(&mut self, change: Change, after: &mut After) {
        match change {
            Change::Source(face, setting) => {
                if let Some(source) = self.source_mut(face) {
                    source.set(setting);
                    after.keep("set", &name(source.id), source.keep_settings());
                }
            }
            Change::Priority(place, priority) => self.change(place, after, |class| class.set_priority(priority)),
            Change::AckRequired(place, required) => {
                self.change(place, after, |class| class.set_ack_required(required));
            }
            Change::Recipients(place, recipients) => {
                self.change(place, after, |class| class.set_recipients(recipients));
                let lists = || self.classes.values().flat_map(Class::recipients);
                self.outbox.only(|to| lists().any(|named| To::of(&named.recipient).as_ref() == Some(to)));
            }
        }
    }

    fn change(&mut self, place: usize, after: &mut After, change: impl FnOnce(&mut Class)) {
        if let Some(class) = self.classes.get_mut(&place) {
            change(class);
            after.keep("class", &class.instance.to_string(), class.keep());
        }
    }

    /// Look at the image: make every transition that is due, and put what is to be told into the outbox.
    /// Times of day are those of the device's clock.
    pub(super) fn look(&mut self, plant: &Plant, catalog: &Catalog, image: &Image, local: Stamp, now: Mono) -> After {
        let mut after = After::default();
        let started = *self.started.get_or_insert(now);
        let Some(device) = catalog.device() else { return after };
        for source in &mut self.sources {
            let Some(entry) = catalog.entries().get(source.place) else { continue };
            let Some(shown) = Object::of(plant, image, entry) else { continue };
            let first = shown.reading() == Reading::Bad(Fault::NeverRead);
            if first && now.since(started) < FIRST_READING {
                continue;
            }
            let value = present(shown.def, shown.face, shown.state);
            let reliability = reliability(shown.def, shown.state);
            let number = match value {
                Wire::Enumerated(state) => Some(f64::from(state)),
                other => other.number().filter(|number| !number.is_nan()),
            };
            let seen = Seen { value: number, reliability };
            let class = self.classes.values().find(|class| class.instance == source.settings.class);
            // Whom nobody hears nobody acknowledges.
            let required = class.map_or(Three([false; 3]), |class| class.ack_required);
            let mut changed = false;
            for _ in 0..MOST_STEPS {
                let Some(made) = source.step(seen, &required, |state| text(&shown, state), local, now) else { break };
                changed = true;
                let which = made.to.transition();
                let Some(class) = class.filter(|_| *source.settings.enabled.of(which)) else { continue };
                let flags = flags(&shown, made.to);
                let notice = Notice {
                    notify: if source.settings.event { NotifyType::EVENT } else { NotifyType::ALARM },
                    event_type: source.event_type(made.from, made.to),
                    text: source.memory.texts.get(which as usize).cloned().unwrap_or_default(),
                    made,
                    values: Some(source.values(made, value, reliability, flags)),
                };
                after.dropped += notice.post(&mut self.outbox, device, source.id, class, local, now);
            }
            if changed {
                after.keep("state", &name(source.id), source.memory.keep());
            }
        }
        after
    }

    /// When it wants to look again, or to send again where it may.
    pub(super) fn wake(&self, may_send: bool) -> Option<Mono> {
        let outbox = self.outbox.wake().filter(|_| may_send);
        self.sources.iter().filter_map(Source::wake).chain(outbox).min()
    }

    /// What can be sent now.
    pub(super) fn posts(&mut self, now: Mono) -> Vec<Post> {
        self.outbox.pump(now)
    }
}

impl After {
    fn keep(&mut self, what: &str, which: &str, value: Vec<u8>) {
        self.keep.push(Keepsake { key: format!("{OWNER}/{what}/{which}"), value: Some(value) });
    }
}

/// An object's name among keepsakes: number of its type and instance.
fn name(id: ObjectIdentifier) -> String {
    format!("{}:{}", id.object_type().to_raw(), id.instance_number())
}

/// A face with what stands behind it.
struct Object<'a> {
    face: &'a ObjectFace,
    def: &'a PointDef,
    state: Option<&'a PointState>,
}

impl<'a> Object<'a> {
    fn of(plant: &'a Plant, image: &'a Image, entry: &Entry) -> Option<Self> {
        let Body::Face(place) = entry.body else { return None };
        let face = plant.bacnet.get(place)?;
        Some(Self { face, def: plant.point(face.point)?, state: image.get(face.point) })
    }

    fn reading(&self) -> Reading {
        self.state.map_or(Reading::Bad(Fault::NeverRead), PointState::reading)
    }
}

/// Status_Flags in an event state, as in [`status_flags`].
fn flags(shown: &Object<'_>, state: State) -> u8 {
    status_flags(shown.def, shown.state) | in_alarm(state)
}

/// The in-alarm bit of Status_Flags (clause 12.2.7).
pub(super) const fn in_alarm(state: State) -> u8 {
    if matches!(state, State::Normal) { 0 } else { 0b1000_0000 }
}

/// What an operator reads.
fn text(shown: &Object<'_>, state: State) -> String {
    let about = if shown.def.description.is_empty() { &shown.face.name } else { &shown.def.description };
    let word = |active: bool, other: &'static str| {
        shown.def.texts.get(usize::from(active)).map_or(other.to_owned(), Clone::clone)
    };
    let value = present(shown.def, shown.face, shown.state);
    let how = match (state, value) {
        (State::Normal, Wire::Enumerated(value)) => word(value != 0, "normal"),
        (State::Normal, _) => "normal".to_owned(),
        (State::Fault, _) => match shown.reading() {
            Reading::Bad(fault) => fault.to_string(),
            Reading::Uncertain(_, doubt) => doubt.as_str().to_owned(),
            Reading::Good(_) => "fault".to_owned(),
        },
        (State::Offnormal, value) => word(value != Wire::Enumerated(0), "alarm"),
        (State::HighLimit, _) => "above the high limit".to_owned(),
        (State::LowLimit, _) => "below the low limit".to_owned(),
    };
    format!("{about}: {how}")
}

/// One notification before it is addressed.
struct Notice {
    notify: NotifyType,
    event_type: EventType,
    text: String,
    made: Made,
    values: Option<bacnet_services::alarm_event::NotificationParameters>,
}

impl Notice {
    /// Put it in for everybody whom the class names now; how many notifications were lost for it.
    fn post(
        self,
        outbox: &mut Outbox,
        device: ObjectIdentifier,
        object: ObjectIdentifier,
        class: &Class,
        local: Stamp,
        now: Mono,
    ) -> usize {
        let which = self.made.to.transition();
        let mut request = EventNotificationRequest {
            process_identifier: 0,
            initiating_device_identifier: device,
            event_object_identifier: object,
            timestamp: BACnetTimeStamp::DateTime { date: local.0, time: local.1 },
            notification_class: class.instance,
            priority: *class.priority.of(which),
            event_type: self.event_type,
            message_text: Some(self.text),
            notify_type: self.notify,
            ack_required: *class.ack_required.of(which),
            from_state: EventState::from_raw(self.made.from.raw().into()),
            to_state: EventState::from_raw(self.made.to.raw().into()),
            event_values: self.values,
        };
        let mut lost = 0;
        for destination in class.meant(which, local) {
            let Some(to) = To::of(&destination.recipient) else { continue };
            if to == To::Device(device.instance_number()) {
                continue;
            }
            request.process_identifier = destination.process_identifier;
            let mut params = BytesMut::with_capacity(160);
            if encode_event_notification(&request, &mut params).is_err() {
                lost += 1;
                continue;
            }
            let confirmed = destination.issue_confirmed_notifications;
            lost += usize::from(!outbox.push(to, object, confirmed, params.freeze(), now));
        }
        lost
    }
}
