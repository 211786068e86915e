//! What an answer says of a device's points. Pure.

use super::plan::Read;
use crate::plant::{Device, Plant, PointDef};
use crate::point::{Fault, Reading, Value};
use crate::ports::{Batch, Update};

/// The content of an answer, as long as was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Of FC 3 and 4.
    Registers(Vec<u16>),
    /// Of FC 1 and 2.
    Bits(Vec<bool>),
}

/// A reading for each point of a read.
pub(super) fn readings(plant: &Plant, device: &Device, read: &Read, content: &Content) -> Batch {
    let of = |index: &usize| {
        let point = device.points.get(*index)?;
        let def = plant.point(point.point)?;
        let place = point.register()?;
        let value = match content {
            Content::Registers(words) => place.decode(read.address, words, def.kind),
            Content::Bits(bits) => place
                .address
                .checked_sub(read.address)
                .and_then(|offset| bits.get(usize::from(offset)))
                .and_then(|bit| Value::from_f64(def.kind, f64::from(u8::from(*bit))))
                .ok_or(Fault::Malformed),
        };
        Some(Update { point: point.point, reading: value.map_or_else(Reading::Bad, |value| judge(def, value)) })
    };
    read.points.iter().filter_map(of).collect()
}

/// The same fault for each point of a read.
pub(super) fn refused(device: &Device, read: &Read, fault: Fault) -> Batch {
    let points = read.points.iter().filter_map(|index| device.points.get(*index));
    points.map(|point| Update { point: point.point, reading: Reading::Bad(fault) }).collect()
}

/// The same fault for every point of a device, and its link down.
pub(super) fn lost(device: &Device, fault: Fault) -> Batch {
    let points = device.points.iter().map(|point| Update { point: point.point, reading: Reading::Bad(fault) });
    points.chain([link(device, false)]).collect()
}

/// The state of a device's link.
pub(super) const fn link(device: &Device, up: bool) -> Update {
    Update { point: device.link_point, reading: Reading::Good(Value::Bool(up)) }
}

/// A value against what its point may hold.
fn judge(def: &PointDef, value: Value) -> Reading {
    let number = value.as_f64();
    if def.absent == Some(number) {
        Reading::Bad(Fault::Absent)
    } else if def.admits(number) {
        Reading::Good(value)
    } else {
        Reading::Bad(Fault::OutOfRange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modbus::plan;
    use crate::modbus::testing::{good, polled};
    use crate::plant::RegisterType::{F32, S16, U16};
    use crate::plant::{DevicePlace, Table};
    use crate::point::Kind;

    #[test]
    fn every_way_a_register_can_be_no_value() {
        let values = [F32, U16, S16, U16, U16].iter().zip([0, 2, 3, 4, 5]).map(|(kind, at)| (Table::Input, at, *kind));
        let mut plant = polled(1, &values.collect::<Vec<_>>());
        let DevicePlace::Register(place) = &mut plant.devices[0].points[1].place else { panic!() };
        place.codec.sentinels = vec![0xFFFF];
        plant.points[2].range = Some((0.0, 90.0));
        plant.points[3].absent = Some(500.0);
        plant.points[4].kind = Kind::Bool;
        let device = &plant.devices[0];
        let read = &plan::plan(device, |_| true)[0];
        let of = |words: &[u16]| -> Vec<Reading> {
            readings(&plant, device, read, &Content::Registers(words.to_vec())).iter().map(|u| u.reading).collect()
        };
        assert_eq!(
            of(&[0x4251, 0x0000, 7, 90, 7, 1]),
            [good(52.25), good(7.0), good(90.0), good(7.0), Reading::Good(Value::Bool(true))]
        );
        assert_eq!(
            of(&[0x7FC0, 0, 0xFFFF, 91, 500, 2]),
            [
                Reading::Bad(Fault::NotFinite),
                Reading::Bad(Fault::Absent),
                Reading::Bad(Fault::OutOfRange),
                Reading::Bad(Fault::Absent),
                Reading::Bad(Fault::OutOfRange)
            ]
        );
        assert!(of(&[1]).iter().all(|reading| *reading == Reading::Bad(Fault::Malformed)), "too short");
    }

    #[test]
    fn bits_are_values_of_their_kind() {
        let mut plant = polled(1, &[(Table::Coil, 8, U16), (Table::Coil, 9, U16)]);
        plant.points[0].kind = Kind::Bool;
        let device = &plant.devices[0];
        let batch = readings(&plant, device, &plan::plan(device, |_| true)[0], &Content::Bits(vec![true, false]));
        assert_eq!(batch[0].reading, Reading::Good(Value::Bool(true)));
        assert_eq!(batch[1].reading, good(0.0));
    }
}
