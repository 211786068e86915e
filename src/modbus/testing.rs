//! For tests of this room: a small plant made by hand, ports with nobody behind them, and an engine that does no more
//! than check and store.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::decision::Desired;
use crate::gateway::clock::SystemClock;
use crate::plant::{
    Codec, Commandable, Device, DeviceId, DevicePlace, DevicePoint, Link, ModbusLine, Offline, Plant, PointDef,
    RegisterFace, RegisterPlace, RegisterType, Source, Table,
};
use crate::point::{Image, Kind, PointId, PointKey, PointState, Reading, Value};
use crate::ports::{Batch, Keepsakes, Ports, Requests, Submission};
use crate::request::{Accepted, Action, Refusal, Request};
use crate::telemetry::Metrics;
use crate::time::Now;
use crate::units::Unit;

pub const REQUEST: PointId = PointId(0);
pub const SETPOINT: PointId = PointId(1);
pub const MODE: PointId = PointId(2);
pub const ENABLE: PointId = PointId(3);
pub const LIMIT: PointId = PointId(4);
pub const COUNTER: PointId = PointId(5);
pub const HEAT: PointId = PointId(6);
pub const ENERGY: PointId = PointId(7);
pub const ALARM: PointId = PointId(8);
pub const STRICT: PointId = PointId(9);
pub const SENTINEL: PointId = PointId(10);

pub fn point(id: u32, key: &str, kind: Kind, range: Option<(f64, f64)>, default: Option<Value>) -> PointDef {
    let source = default.map_or(Source::Engine, |relinquish_default| {
        Source::Command(Commandable {
            relinquish_default,
            expires: None,
            persist: false,
            mqtt_set: false,
            momentary: false,
        })
    });
    PointDef {
        id: PointId(id),
        key: PointKey::new(key).unwrap(),
        description: String::new(),
        kind,
        unit: Unit::None,
        range,
        absent: None,
        texts: Vec::new(),
        source,
        deadband: 0.0,
    }
}

pub fn codec(kind: RegisterType, scale: f64) -> Codec {
    Codec { scale, ..Codec::plain(kind) }
}

/// The served half: what each point is and where it stands.
pub fn plant() -> Plant {
    use RegisterType::{F32, S16, U16, U32, U64};
    let number = Value::number;
    let mut points = vec![
        point(0, "a/request", Kind::Number, Some((0.0, 100.0)), number(0.0)),
        point(1, "a/setpoint", Kind::Number, Some((20.0, 55.0)), number(45.0)),
        point(2, "a/mode", Kind::State, Some((1.0, 5.0)), Some(Value::State(2))),
        point(3, "a/enable", Kind::Bool, None, Some(Value::Bool(false))),
        point(4, "a/limit", Kind::Number, Some((0.0, 1000.0)), number(6553.5)),
        point(5, "a/counter", Kind::Unsigned, None, Some(Value::Unsigned(0))),
        point(6, "a/heat", Kind::Number, None, None),
        point(7, "a/energy", Kind::Energy, None, None),
        point(8, "a/alarm", Kind::Bool, None, None),
        point(9, "a/strict", Kind::Number, None, None),
        point(10, "a/sentinel", Kind::Number, None, None),
    ];
    points[4].absent = Some(6553.5);
    let face = |point, table, address, codec, writable| RegisterFace {
        point,
        table,
        address,
        codec,
        writable,
        offline: Offline::Hold,
    };
    let mut faces = vec![
        face(ENABLE, Table::Coil, 0, codec(U16, 1.0), true),
        face(ALARM, Table::Coil, 9, codec(U16, 1.0), false),
        face(ALARM, Table::Discrete, 0, codec(U16, 1.0), false),
        face(HEAT, Table::Input, 10, codec(F32, 1.0), false),
        face(ENERGY, Table::Input, 30, codec(U64, 1.0), false),
        face(ENERGY, Table::Input, 38, codec(U32, 1000.0), false),
        face(STRICT, Table::Input, 50, codec(F32, 1.0), false),
        face(SENTINEL, Table::Input, 52, codec(S16, 0.1), false),
        face(HEAT, Table::Input, 70, codec(U16, 0.1), false),
        face(REQUEST, Table::Holding, 0, codec(U16, 0.1), true),
        face(SETPOINT, Table::Holding, 1, codec(S16, 0.1), true),
        face(MODE, Table::Holding, 2, codec(U16, 1.0), true),
        face(ENABLE, Table::Holding, 3, codec(U16, 1.0), true),
        face(LIMIT, Table::Holding, 4, codec(U16, 0.1), true),
        face(COUNTER, Table::Holding, 6, codec(U32, 1.0), true),
        face(HEAT, Table::Holding, 1010, codec(F32, 1.0), false),
    ];
    for face in &mut faces {
        face.offline = match face.point {
            STRICT => Offline::Exception,
            SENTINEL => Offline::Sentinel,
            _ => Offline::Hold,
        };
    }
    let mut plant = Plant { points, ..Plant::default() };
    plant.modbus.faces = faces;
    plant.modbus.zero_filled = vec![
        (Table::Coil, 0, 15),
        (Table::Discrete, 0, 15),
        (Table::Input, 0, 99),
        (Table::Holding, 0, 99),
        (Table::Holding, 1000, 1099),
    ];
    plant
}

/// A plant with one polled device (id 0) at a port of this machine. Its points are numbers 0.. in this order, then the
/// link's.
pub fn polled(port: u16, reads: &[(Table, u16, RegisterType)]) -> Plant {
    let mut plant = Plant::default();
    add_device(&mut plant, "127.0.0.1", port, 1, reads);
    plant
}

/// Add a device to a plant; the ids of its points, the link's last.
pub fn add_device(
    plant: &mut Plant,
    host: &str,
    port: u16,
    unit: u8,
    reads: &[(Table, u16, RegisterType)],
) -> Vec<PointId> {
    let id = DeviceId(u16::try_from(plant.devices.len()).unwrap());
    let mut ids = Vec::new();
    for _ in 0..=reads.len() {
        let number = u32::try_from(plant.points.len()).unwrap();
        let kind = if ids.len() == reads.len() { Kind::Bool } else { Kind::Number };
        let mut added = point(number, &format!("device{}/p{number}", id.0), kind, None, None);
        added.source = Source::Device(id);
        plant.points.push(added);
        ids.push(PointId(number));
    }
    let points = reads
        .iter()
        .zip(&ids)
        .map(|((table, address, kind), point)| DevicePoint {
            point: *point,
            place: DevicePlace::Register(RegisterPlace::plain(*table, *address, Codec::plain(*kind))),
            poll: None,
        })
        .collect();
    plant.devices.push(Device {
        poll: Duration::from_millis(20),
        points,
        ..Device::new(
            id,
            format!("device{}", id.0),
            Link::Modbus { line: ModbusLine::Tcp { host: host.to_owned(), port }, unit },
            ids[reads.len()],
        )
    });
    ids
}

/// The other ends of the ports.
pub struct Rig {
    pub ports: Ports,
    pub image: watch::Sender<Arc<Image>>,
    pub readings: mpsc::Receiver<Batch>,
    pub submissions: Option<mpsc::Receiver<Submission>>,
    pub log: Arc<Mutex<Vec<Request>>>,
}

impl Rig {
    pub fn new(plant: &Plant) -> Self {
        let (image, images) = watch::channel(Arc::new(Image::empty(plant.points.len(), Now::default())));
        let (_, desired) = watch::channel(Arc::new(Desired::default()));
        let (readings_in, readings) = mpsc::channel(64);
        let (requests, submissions) = Requests::channel(8);
        let ports = Ports {
            image: images,
            desired,
            readings: readings_in,
            requests,
            keepsakes: Keepsakes::default(),
            time: Arc::new(SystemClock::new(1.0).unwrap()),
            metrics: Arc::new(Metrics::new()),
            restart: CancellationToken::new(),
            stop: CancellationToken::new(),
        };
        Self { ports, image, readings, submissions: Some(submissions), log: Arc::default() }
    }

    /// Publish an image in which these points have these readings.
    pub fn show(&self, readings: &[(PointId, Reading)]) {
        self.image.send_modify(|image| {
            let image = Arc::make_mut(image);
            image.seq += 1;
            for (point, reading) in readings {
                let state = image.get_mut(*point).unwrap();
                state.sample.reading = *reading;
                state.last = reading.value().or(state.last);
            }
        });
    }

    /// Answer requests as the real one would: check all, then apply all, publish, reply.
    pub fn engine(&mut self, plant: &Arc<Plant>) {
        let mut submissions = self.submissions.take().unwrap();
        let (plant, image, log) = (Arc::clone(plant), self.image.clone(), Arc::clone(&self.log));
        tokio::spawn(async move {
            while let Some(Submission { request, reply }) = submissions.recv().await {
                let judged = judge(&plant, &image.borrow(), &request);
                let verdict = judged.map(|()| {
                    image.send_modify(|image| {
                        let image = Arc::make_mut(image);
                        image.seq += 1;
                        for write in &request.writes {
                            let state = image.get_mut(write.point).unwrap();
                            if let Some(value) = write.action.value() {
                                state.sample.reading = Reading::Good(value);
                                state.last = Some(value);
                            }
                        }
                    });
                    Accepted { image_seq: image.borrow().seq }
                });
                log.lock().unwrap().push(request);
                let _ = reply.send(verdict);
            }
        });
    }

    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }
}

fn judge(plant: &Plant, image: &Image, request: &Request) -> Result<(), Refusal> {
    for write in &request.writes {
        let def = plant.point(write.point).ok_or(Refusal::UnknownPoint)?;
        let key = || def.key.as_str().to_owned();
        def.commandable().ok_or_else(|| Refusal::ReadOnly { key: key() })?;
        if let Action::Replace { seen, .. } = write.action
            && image.get(write.point).and_then(PointState::shown) != seen
        {
            return Err(Refusal::Changed { key: key() });
        }
        if let Some(value) = write.action.value() {
            if value.kind() != def.kind {
                return Err(Refusal::WrongKind { key: key(), expected: "another kind" });
            }
            if !def.admits(value.as_f64()) {
                let (low, high) = def.range.unwrap_or_default();
                return Err(Refusal::OutOfRange { key: key(), value: value.as_f64(), low, high });
            }
        }
    }
    Ok(())
}

/// A good number.
pub fn good(number: f64) -> Reading {
    Reading::number(number)
}

/// Certificates for tests.
pub mod pki {
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    };

    use crate::modbus::tls::Pem;

    /// Signs certificates.
    pub struct Authority(CertifiedIssuer<'static, KeyPair>);

    impl Authority {
        pub fn new() -> Self {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
        }

        pub fn pem(&self) -> Vec<u8> {
            self.0.pem().into_bytes()
        }

        /// A certificate for 127.0.0.1 in this role, for server and client alike.
        pub fn issue(&self, role: Option<&str>) -> Pem {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            if let Some(role) = role {
                let mut text = vec![0x0C, u8::try_from(role.len()).unwrap()];
                text.extend_from_slice(role.as_bytes());
                let name = [1, 3, 6, 1, 4, 1, 50316, 802, 1];
                params.custom_extensions = vec![CustomExtension::from_oid_content(&name, text)];
            }
            let certificate = params.signed_by(&key, &self.0).unwrap();
            Pem {
                certificate: certificate.pem().into_bytes(),
                key: key.serialize_pem().into_bytes(),
                authorities: self.pem(),
            }
        }
    }
}
