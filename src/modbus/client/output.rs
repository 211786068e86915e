//! What is written to a device: which of its outputs are due, and how they stand in registers. Pure.

use std::time::Duration;

use tokio_modbus::{Request, Response};

use super::pdu;
use crate::plant::{Device, DeviceWrite, Plant, RegisterPlace, Table, WritePlace};
use crate::point::{Image, Reading, Value};
use crate::time::Mono;

/// What a place shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    /// A coil.
    Bit(bool),
    /// Registers.
    Words(Vec<u16>),
}

/// One output of a device, and what is known of it.
#[derive(Debug)]
pub(super) struct Output<'a> {
    write: &'a DeviceWrite,
    place: &'a RegisterPlace,
    /// What was written last, and when; `None`: nothing since the device came back.
    last: Option<(Value, Mono)>,
    /// When it was tried and did not succeed.
    refused: Option<Mono>,
    /// The device has no FC 6.
    multiple_only: bool,
}

/// The outputs of a device that stand in its registers.
pub(super) fn outputs(device: &Device) -> Vec<Output<'_>> {
    let mut outputs = Vec::new();
    for write in &device.writes {
        if let WritePlace::Register(place) = &write.place {
            outputs.push(Output { write, place, last: None, refused: None, multiple_only: false });
        }
    }
    outputs
}

impl<'a> Output<'a> {
    /// Which point it mirrors.
    pub(super) const fn write(&self) -> &'a DeviceWrite {
        self.write
    }

    /// The device was away: whatever it holds now, it is not known.
    pub(super) const fn forget(&mut self) {
        self.last = None;
        self.refused = None;
    }

    /// What has to be written now: a good value that changed by more than the deadband, was never written or was
    /// written long ago. A value that is not good is not written; when it is good again it is written at once.
    pub(super) fn due(&mut self, image: &Image, now: Mono) -> Option<Value> {
        let reading = image.get(self.write.point).map(|state| state.sample.reading);
        let Some(Reading::Good(value)) = reading else {
            self.last = None;
            return None;
        };
        // What the device refused is tried again as often as it is refreshed, not at every image.
        if self.refused.is_some_and(|at| now.since(at) < self.write.refresh) {
            return None;
        }
        let due = self.last.is_none_or(|(written, at)| {
            now.since(at) >= self.write.refresh || changed(written, value, self.write.deadband)
        });
        due.then_some(value)
    }

    /// How long until it is refreshed, when nothing changes.
    pub(super) fn sleeps(&self, now: Mono) -> Duration {
        let since = self.refused.or(self.last.map(|(_, at)| at));
        since.map_or(self.write.refresh, |at| self.write.refresh.saturating_sub(now.since(at)))
    }

    /// It stands in the device, read back.
    pub(super) const fn written(&mut self, value: Value, now: Mono) {
        self.last = Some((value, now));
        self.refused = None;
    }

    /// The device did not take it. True: it was not known to refuse.
    pub(super) const fn refused(&mut self, now: Mono) -> bool {
        let first = self.refused.is_none();
        self.refused = Some(now);
        self.last = None;
        first
    }

    /// From now on by FC 16; false: it was tried already, or makes no difference.
    pub(super) fn use_multiple(&mut self) -> bool {
        let helps = !self.multiple_only && self.place.table == Table::Holding && self.place.width() == 1;
        self.multiple_only |= helps;
        helps
    }

    /// How a value stands in the device; `None` where it cannot.
    pub(super) fn raw(&self, plant: &Plant, value: Value) -> Option<Raw> {
        let def = plant.point(self.write.point)?;
        Some(match self.place.table {
            Table::Coil => Raw::Bit(value.as_f64() != 0.0),
            Table::Holding if def.kind == value.kind() => {
                Raw::Words(self.place.codec.encode(value).ok()?.as_slice().to_vec())
            }
            Table::Holding | Table::Discrete | Table::Input => return None,
        })
    }

    /// The request that writes it.
    pub(super) fn request(&self, raw: &Raw) -> Request<'static> {
        match raw {
            Raw::Bit(on) => Request::WriteSingleCoil(self.place.address, *on),
            Raw::Words(words) => pdu::write_registers(self.place.address, words, !self.multiple_only),
        }
    }

    /// The request that reads it back.
    pub(super) const fn read_back(&self) -> Request<'static> {
        match self.place.table {
            Table::Coil => Request::ReadCoils(self.place.address, 1),
            _ => Request::ReadHoldingRegisters(self.place.address, self.place.width()),
        }
    }
}

/// Whether the response holds exactly this.
pub(super) fn holds(raw: &Raw, response: &Response) -> bool {
    match (raw, response) {
        (Raw::Bit(on), Response::ReadCoils(bits)) => bits.first() == Some(on),
        (Raw::Words(words), Response::ReadHoldingRegisters(read)) => words == read,
        _ => false,
    }
}

fn changed(written: Value, value: Value, deadband: f64) -> bool {
    written != value && !((written.as_f64() - value.as_f64()).abs() <= deadband && deadband > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::testing::*;
    use crate::plant::RegisterType::U16;
    use crate::point::{Fault, PointId};

    fn setpoint(table: Table) -> Plant {
        let mut plant = plant();
        add_device(&mut plant, "127.0.0.1", 1, 1, &[]);
        plant.devices[0].writes.push(DeviceWrite {
            point: SETPOINT,
            place: WritePlace::Register(RegisterPlace::plain(table, 20, codec(U16, 0.1))),
            deadband: 0.5,
            refresh: Duration::from_secs(60),
        });
        plant
    }

    fn image(plant: &Plant, point: PointId, reading: Reading) -> Image {
        let mut image = Image::empty(plant.points.len(), crate::time::Now::default());
        image.get_mut(point).unwrap().sample.reading = reading;
        image
    }

    const fn at(seconds: u64) -> Mono {
        Mono::from_start(Duration::from_secs(seconds))
    }

    #[test]
    fn written_once_then_on_a_change_and_to_refresh() {
        let plant = setpoint(Table::Holding);
        let mut outputs = outputs(&plant.devices[0]);
        let output = &mut outputs[0];
        let of = |n| image(&plant, SETPOINT, good(n));
        let value = |n| Value::number(n).unwrap();
        assert_eq!(output.due(&of(45.0), at(0)), Some(value(45.0)));
        output.written(value(45.0), at(0));
        assert_eq!(output.due(&of(45.4), at(1)), None, "within the deadband");
        assert_eq!(output.due(&of(45.6), at(1)), Some(value(45.6)));
        assert_eq!(output.sleeps(at(20)), Duration::from_secs(40));
        assert_eq!(output.due(&of(45.0), at(60)), Some(value(45.0)), "refreshed");
        output.written(value(45.0), at(60));
        let bad = image(&plant, SETPOINT, Reading::Bad(Fault::NoCommunication));
        assert_eq!(output.due(&bad, at(200)), None, "what is bad is not written");
        assert_eq!(output.due(&of(45.0), at(201)), Some(value(45.0)), "and written when it is good again");
        output.written(value(45.0), at(201));
        output.forget();
        assert_eq!(output.due(&of(45.0), at(202)), Some(value(45.0)), "the device was away");
        assert!(output.refused(at(202)));
        assert_eq!(output.due(&of(50.0), at(203)), None, "no hammering");
        assert_eq!(output.due(&of(50.0), at(262)), Some(value(50.0)));
        assert!(!output.refused(at(262)), "told once");
    }

    #[test]
    fn how_it_stands_in_the_device() {
        let plant = setpoint(Table::Holding);
        let mut outputs = outputs(&plant.devices[0]);
        let output = &mut outputs[0];
        let raw = output.raw(&plant, Value::number(45.2).unwrap()).unwrap();
        assert_eq!(output.request(&raw), Request::WriteSingleRegister(20, 452));
        assert!(output.use_multiple());
        assert!(!output.use_multiple(), "once");
        assert_eq!(output.request(&raw), Request::WriteMultipleRegisters(20, vec![452].into()));
        assert!(holds(&raw, &Response::ReadHoldingRegisters(vec![452])));
        assert!(!holds(&raw, &Response::ReadHoldingRegisters(vec![451])));
        assert_eq!(output.raw(&plant, Value::number(7000.0).unwrap()), None, "it does not fit the register");
        assert_eq!(output.raw(&plant, Value::Bool(true)), None, "another kind");
    }
}
