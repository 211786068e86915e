//! Properties of a Trend Log object (clause 12.25).

use bacnet_encoding::primitives::{self, ApplicationValueRef, decode_application_value_ref};
use bacnet_types::enums::{ObjectType, PropertyIdentifier as P};
use bacnet_types::primitives::ObjectIdentifier;

use super::catalog::{Row, may, must};
use super::wire::{reliability, status_flags};
use super::{Cell, View};
use crate::bacnet::answer::Failure;
use crate::bacnet::civil::DateTime;
use crate::bacnet::trend::{Change, Log, Logging};
use crate::plant::{ObjectFace, PointDef, ServiceObject};

/// Shortest Log_Interval, hundredths of a second: there is an image a second.
const SHORTEST_INTERVAL: u32 = 100;

pub(super) fn rows() -> Vec<Row> {
    vec![
        must(P::OBJECT_IDENTIFIER),
        must(P::OBJECT_NAME),
        must(P::OBJECT_TYPE),
        may(P::DESCRIPTION),
        must(P::LOG_ENABLE).writable(),
        may(P::START_TIME).writable(),
        may(P::STOP_TIME).writable(),
        may(P::LOG_DEVICE_OBJECT_PROPERTY),
        may(P::LOG_INTERVAL).writable(),
        may(P::CLIENT_COV_INCREMENT).writable(),
        must(P::STOP_WHEN_FULL).writable(),
        must(P::BUFFER_SIZE),
        must(P::LOG_BUFFER),
        must(P::RECORD_COUNT).writable(),
        must(P::TOTAL_RECORD_COUNT),
        must(P::LOGGING_TYPE).writable(),
        may(P::ALIGN_INTERVALS).writable(),
        may(P::INTERVAL_OFFSET).writable(),
        may(P::TRIGGER).writable(),
        must(P::STATUS_FLAGS),
        may(P::RELIABILITY),
        must(P::EVENT_STATE),
        must(P::PROPERTY_LIST),
    ]
}

/// The log of a service object.
pub(super) fn log<'a>(view: &View<'a>, place: usize) -> Option<&'a Log> {
    Some(&view.own.trends.get(place)?.log)
}

/// What it logs.
fn logged<'a>(view: &View<'a>, place: usize) -> Option<(&'a ObjectFace, &'a PointDef)> {
    let face = view.plant.bacnet.get(view.own.trends.get(place)?.face)?;
    Some((face, view.plant.point(face.point)?))
}

pub(super) fn read(view: &View<'_>, place: usize, property: P, cell: Cell<'_>) -> Result<(), Failure> {
    let log = log(view, place).ok_or(Failure::UNKNOWN_OBJECT)?;
    let options = &log.options;
    match property {
        P::DESCRIPTION => match view.plant.bacnet_services.get(place) {
            Some(ServiceObject::TrendLog { point, .. }) => {
                cell.text(view.plant.point(*point).map_or("", |def| &def.description))
            }
            _ => Err(Failure::UNKNOWN_OBJECT),
        },
        P::LOG_ENABLE => cell.boolean(options.enable),
        P::START_TIME => cell.one(|out| options.start.encode(out)),
        P::STOP_TIME => cell.one(|out| options.stop.encode(out)),
        P::LOG_DEVICE_OBJECT_PROPERTY => {
            let (face, _) = logged(view, place).ok_or(Failure::NO_VALUE)?;
            let kind = ObjectType::from_raw(u32::from(face.kind.code()));
            let object = ObjectIdentifier::new(kind, face.instance).map_err(|_| Failure::NO_VALUE)?;
            // BACnetDeviceObjectPropertyReference without a device: this one.
            cell.one(|out| {
                primitives::encode_ctx_object_id(out, 0, &object);
                primitives::encode_ctx_enumerated(out, 1, P::PRESENT_VALUE.to_raw());
            })
        }
        P::LOG_INTERVAL => cell.unsigned(options.interval.into()),
        P::CLIENT_COV_INCREMENT => cell.one(|out| match options.increment {
            Some(increment) => primitives::encode_app_real(out, increment),
            None => primitives::encode_app_null(out),
        }),
        P::STOP_WHEN_FULL => cell.boolean(options.stop_when_full),
        P::BUFFER_SIZE => cell.unsigned(log.capacity() as u64),
        // Only ReadRange reads it (clause 12.25.14).
        P::LOG_BUFFER => Err(Failure::READ_DENIED),
        P::RECORD_COUNT => cell.unsigned(log.count() as u64),
        P::TOTAL_RECORD_COUNT => cell.unsigned(log.sequence().into()),
        P::LOGGING_TYPE => cell.enumerated(options.logging.code().into()),
        P::ALIGN_INTERVALS => cell.boolean(options.align),
        P::INTERVAL_OFFSET => cell.unsigned(options.offset.into()),
        P::TRIGGER => cell.boolean(log.trigger),
        P::STATUS_FLAGS | P::RELIABILITY => {
            let (face, def) = logged(view, place).ok_or(Failure::NO_VALUE)?;
            let state = view.image.get(face.point);
            if property == P::RELIABILITY {
                cell.enumerated(reliability(def, state))
            } else {
                cell.flags(status_flags(def, state) & 0b0100_0000)
            }
        }
        // normal
        P::EVENT_STATE => cell.enumerated(0),
        _ => Err(Failure::UNKNOWN_PROPERTY),
    }
}

/// A write, checked against the log as it is.
pub(super) fn write(
    view: &View<'_>,
    place: usize,
    property: P,
    index: Option<u32>,
    octets: &[u8],
) -> Result<Change, Failure> {
    let log = log(view, place).ok_or(Failure::UNKNOWN_OBJECT)?;
    if index.is_some() {
        return Err(Failure::NOT_AN_ARRAY);
    }
    match property {
        P::LOG_ENABLE => match boolean(octets)? {
            true if log.is_stopped_full() => Err(Failure::LOG_FULL),
            yes => Ok(Change::Enable(yes)),
        },
        P::START_TIME => DateTime::decode(octets).map(Change::Start),
        P::STOP_TIME => DateTime::decode(octets).map(Change::Stop),
        P::LOG_INTERVAL => match unsigned(octets)? {
            // Nothing to be set: triggers come when they come (clause 12.25.9).
            _ if log.options.logging == Logging::Triggered => Err(Failure::WRITE_DENIED),
            0 => Ok(Change::Interval(0)),
            interval if interval < SHORTEST_INTERVAL => Err(Failure::OUT_OF_RANGE),
            interval => Ok(Change::Interval(interval)),
        },
        P::CLIENT_COV_INCREMENT => match one(octets)? {
            ApplicationValueRef::Null => Ok(Change::Increment(None)),
            ApplicationValueRef::Real(step) if step.is_finite() && step >= 0.0 => Ok(Change::Increment(Some(step))),
            ApplicationValueRef::Real(_) => Err(Failure::OUT_OF_RANGE),
            _ => Err(Failure::WRONG_TYPE),
        },
        P::STOP_WHEN_FULL => boolean(octets).map(Change::StopWhenFull),
        P::RECORD_COUNT => match unsigned(octets)? {
            0 => Ok(Change::Purge),
            _ => Err(Failure::OUT_OF_RANGE),
        },
        P::LOGGING_TYPE => match one(octets)? {
            ApplicationValueRef::Enumerated(code) => {
                Logging::from_code(code).map(Change::Logging).ok_or(Failure::OUT_OF_RANGE)
            }
            _ => Err(Failure::WRONG_TYPE),
        },
        P::ALIGN_INTERVALS => boolean(octets).map(Change::Align),
        P::INTERVAL_OFFSET => unsigned(octets).map(Change::Offset),
        P::TRIGGER => match boolean(octets)? {
            true if log.options.logging != Logging::Triggered => Err(Failure::NOT_TRIGGERED),
            yes => Ok(Change::Trigger(yes)),
        },
        _ => Err(Failure::WRITE_DENIED),
    }
}

/// The one primitive value of a written property.
pub(super) fn one(octets: &[u8]) -> Result<ApplicationValueRef<'_>, Failure> {
    let (value, end) = decode_application_value_ref(octets, 0).map_err(|_| Failure::WRONG_TYPE)?;
    if end == octets.len() { Ok(value) } else { Err(Failure::WRONG_TYPE) }
}

/// A BOOLEAN.
pub(super) fn boolean(octets: &[u8]) -> Result<bool, Failure> {
    match one(octets)? {
        ApplicationValueRef::Boolean(yes) => Ok(yes),
        _ => Err(Failure::WRONG_TYPE),
    }
}

/// An Unsigned of 32 bits.
pub(super) fn unsigned(octets: &[u8]) -> Result<u32, Failure> {
    match one(octets)? {
        ApplicationValueRef::Unsigned(number) => u32::try_from(number).map_err(|_| Failure::OUT_OF_RANGE),
        _ => Err(Failure::WRONG_TYPE),
    }
}
