//! A small plant, an engine that does what it is told, and a clock: for this room's tests and its benchmark.

#![allow(dead_code, reason = "each of them uses a part of it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::decision::Desired;
use crate::plant::{
    AlarmFace, ClassDefaults, Commandable, Condition, ObjectFace, ObjectKind, Plant, PointDef, ServiceObject,
    ShedLevel, Source,
};
use crate::point::{Image, Kind, PointId, PointKey, PriorityArray, Reading, Sample, Slot, Value};
use crate::ports::{Keepsakes, Ports, Requests, Submission};
use crate::request::{Accepted, Action, Refusal, Request, Verdict};
use crate::telemetry::Metrics;
use crate::time::{Mono, Now, TimeSource, Utc};
use crate::units::Unit;

/// %, commandable, 0 to 100: analog-value 1.
pub(crate) const PERCENT: PointId = PointId(0);
/// State 1 to 5, commandable: multi-state-value 1.
pub(crate) const MODE: PointId = PointId(1);
/// Bool, commandable: binary-value 1.
pub(crate) const ENABLE: PointId = PointId(2);
/// W, commandable, 0 to 100000 or none: analog-value 4 in kW.
pub(crate) const LIMIT: PointId = PointId(3);
/// Count, commandable: positive-integer-value 1.
pub(crate) const HEARTBEAT: PointId = PointId(4);
/// W: analog-input 12 in kW.
pub(crate) const DELIVERED: PointId = PointId(5);
/// Energy: accumulator 1 and large-analog-value 1 in kWh.
pub(crate) const ENERGY: PointId = PointId(6);
/// Bool: binary-input 1.
pub(crate) const ALARM: PointId = PointId(7);
/// State: multi-state-value 10, read-only.
pub(crate) const STATE: PointId = PointId(8);

/// What the limit is when there is none, W.
pub(crate) const NO_LIMIT: f64 = 6_553_500.0;

fn command(default: Value) -> Source {
    Source::Command(Commandable {
        relinquish_default: default,
        expires: None,
        persist: false,
        mqtt_set: false,
        momentary: false,
    })
}

/// The plant, with `extra` analog inputs more.
pub(crate) fn plant(extra: u32) -> Plant {
    let mut plant = Plant::default();
    let mut point = |key: &str, kind, unit, range, source, texts: &[&str]| {
        let id = PointId(u32::try_from(plant.points.len()).unwrap());
        plant.points.push(PointDef {
            id,
            key: PointKey::new(key).unwrap(),
            description: format!("Point {key}"),
            kind,
            unit,
            range,
            absent: None,
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
            source,
            deadband: 0.0,
        });
        id
    };
    let number = |n| Value::number(n).unwrap();
    let modes = ["off", "percent", "power", "temperature", "call"];
    point("hall/percent", Kind::Number, Unit::Percent, Some((0.0, 100.0)), command(number(0.0)), &[]);
    point("hall/mode", Kind::State, Unit::None, Some((1.0, 5.0)), command(Value::State(2)), &modes);
    point("hall/enable", Kind::Bool, Unit::None, None, command(Value::Bool(false)), &["off", "on"]);
    point("hall/limit", Kind::Number, Unit::Watt, Some((0.0, 1e5)), command(number(NO_LIMIT)), &[]);
    point("hall/heartbeat", Kind::Unsigned, Unit::None, Some((0.0, 65_535.0)), command(Value::Unsigned(0)), &[]);
    point("hall/delivered", Kind::Number, Unit::Watt, None, Source::Engine, &[]);
    point("hall/energy", Kind::Energy, Unit::WattHour, None, Source::Engine, &[]);
    point("hall/alarm", Kind::Bool, Unit::None, None, Source::Engine, &["normal", "alarm"]);
    point("hall/state", Kind::State, Unit::None, Some((1.0, 3.0)), Source::Engine, &["init", "standby", "heating"]);
    let more: Vec<PointId> = (0..extra)
        .map(|n| point(&format!("extra/{n}"), Kind::Number, Unit::Celsius, None, Source::Engine, &[]))
        .collect();
    plant.points[LIMIT.index()].absent = Some(NO_LIMIT);
    let mut face = |point, kind, instance, unit, cov_increment| {
        plant.bacnet.push(ObjectFace {
            point,
            kind,
            instance,
            name: format!("{} {instance}", ObjectKind::as_str(kind)),
            description: String::new(),
            unit,
            cov_increment,
            alarm: (point == ALARM).then_some(AlarmFace {
                class: 1,
                condition: Condition::State(true),
                delay: Duration::ZERO,
                delay_normal: Duration::ZERO,
                event: false,
            }),
        });
    };
    face(PERCENT, ObjectKind::AnalogValue, 1, Unit::Percent, 1.0);
    face(MODE, ObjectKind::MultiStateValue, 1, Unit::None, 0.0);
    face(ENABLE, ObjectKind::BinaryValue, 1, Unit::None, 0.0);
    face(LIMIT, ObjectKind::AnalogValue, 4, Unit::Kilowatt, 1.0);
    face(HEARTBEAT, ObjectKind::PositiveIntegerValue, 1, Unit::None, 1.0);
    face(DELIVERED, ObjectKind::AnalogInput, 12, Unit::Kilowatt, 0.5);
    face(ENERGY, ObjectKind::Accumulator, 1, Unit::KilowattHour, 0.0);
    face(ENERGY, ObjectKind::LargeAnalogValue, 1, Unit::KilowattHour, 1.0);
    face(ALARM, ObjectKind::BinaryInput, 1, Unit::None, 0.0);
    face(STATE, ObjectKind::MultiStateValue, 10, Unit::None, 0.0);
    for (n, id) in (100..).zip(more) {
        face(id, ObjectKind::AnalogInput, n, Unit::Celsius, 0.1);
    }
    plant.bacnet_services.push(ServiceObject::NotificationClass {
        instance: 1,
        name: PointKey::new("hall/notifications").unwrap(),
        defaults: ClassDefaults::default(),
    });
    plant
}

/// A trend log of 100 records over what is delivered, and a load control over the limit, for plants that want them.
pub(crate) fn services() -> Vec<ServiceObject> {
    let name = |text| PointKey::new(text).unwrap();
    let level = |number, percent| ShedLevel { number, percent, text: format!("at most {percent} %") };
    vec![
        ServiceObject::TrendLog { instance: 1, point: DELIVERED, name: name("hall/trend"), records: 100 },
        ServiceObject::LoadControl {
            instance: 1,
            name: name("hall/load_control"),
            point: LIMIT,
            levels: vec![level(1, 75.0), level(2, 50.0), level(3, 0.0)],
        },
    ]
}

/// An image in which every command shows its default and nothing else was read.
pub(crate) fn image(plant: &Plant) -> Image {
    let mut image = Image::empty(plant.points.len(), Now::default());
    for def in &plant.points {
        if let (Some(command), Some(state)) = (def.commandable(), image.get_mut(def.id)) {
            state.sample.reading = Reading::Good(command.relinquish_default);
            state.slots = Some(Arc::new(PriorityArray::default()));
        }
    }
    image.seq = 1;
    image
}

/// A new reading in an image.
pub(crate) fn read(image: &mut Image, point: PointId, reading: Reading) {
    image.seq += 1;
    let seq = image.seq;
    let state = image.get_mut(point).unwrap();
    state.sample = Sample { reading, at: Now::default() };
    state.last = reading.value().or(state.last);
    state.changed = seq;
}

/// What the engine does with a request, without asking whether it should.
pub(crate) fn apply(plant: &Plant, image: &mut Image, request: &Request) -> Verdict {
    for write in &request.writes {
        let def = plant.point(write.point).ok_or(Refusal::UnknownPoint)?;
        let command = def.commandable().ok_or(Refusal::ReadOnly { key: def.key.to_string() })?;
        let mut slots = image.get(write.point).unwrap().slots.as_deref().cloned().unwrap_or_default();
        match write.action {
            Action::Set(value) | Action::Replace { value, .. } => slots.set(
                write.priority,
                Slot { value, at: Now::default(), by: request.origin.to_string().into(), restored: false },
            ),
            Action::Relinquish => drop(slots.relinquish(write.priority)),
        }
        let value = slots.ruling().map_or(command.relinquish_default, |(_, slot)| slot.value);
        read(image, write.point, Reading::Good(value));
        image.get_mut(write.point).unwrap().slots = Some(Arc::new(slots));
    }
    Ok(Accepted { image_seq: image.seq })
}

/// The wall.
#[derive(Debug)]
pub(crate) struct Wall(Instant);

impl Wall {
    #[expect(clippy::disallowed_methods, reason = "somebody must be the clock of a socket test")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl TimeSource for Wall {
    fn now(&self) -> Now {
        Now { mono: Mono::from_start(self.0.elapsed()), utc: Utc::from_millis(1_764_000_000_123) }
    }

    fn wall(&self, site: Duration) -> Duration {
        site
    }
}

/// The world of a node: what it is given, and the other ends.
pub(crate) struct World {
    pub(crate) plant: Arc<Plant>,
    pub(crate) ports: Ports,
    pub(crate) image: watch::Sender<Arc<Image>>,
    pub(crate) requests: mpsc::Receiver<Submission>,
}

impl World {
    pub(crate) fn new(extra: u32) -> Self {
        let plant = Arc::new(plant(extra));
        let (image, image_out) = watch::channel(Arc::new(image(&plant)));
        let (requests, requests_in) = Requests::channel(16);
        let ports = Ports {
            image: image_out,
            desired: watch::channel(Arc::new(Desired::default())).1,
            readings: mpsc::channel(1).0,
            requests,
            keepsakes: Keepsakes::default(),
            time: Arc::new(Wall::start()),
            metrics: Arc::new(Metrics::new()),
            restart: CancellationToken::new(),
            stop: CancellationToken::new(),
        };
        Self { plant, ports, image, requests: requests_in }
    }

    /// Change the image and publish it.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut Image)) {
        self.image.send_modify(|image| change(Arc::make_mut(image)));
    }

    /// An engine that accepts everything, until the node is gone.
    pub(crate) async fn engine(mut self) {
        while let Some(submission) = self.requests.recv().await {
            let mut next = Image::clone(&self.image.borrow());
            let verdict = apply(&self.plant, &mut next, &submission.request);
            self.image.send_replace(Arc::new(next));
            let _ = submission.reply.send(verdict);
        }
    }
}
