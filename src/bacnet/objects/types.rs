//! Every object type that the device can have, with every property that an object of it can have.

use bacnet_types::enums::ObjectType;

use super::catalog::Row;
use super::{class, device, load, point, port, trend};
use crate::plant::ObjectKind;

/// One object type.
#[derive(Debug)]
pub(in crate::bacnet) struct Type {
    pub(in crate::bacnet) kind: ObjectType,
    /// The properties, each with what may be written. An object has those of them that its point has a use for.
    pub(in crate::bacnet) rows: Vec<Row>,
}

/// All of them: Protocol_Object_Types_Supported and the PICS are made of this.
pub(in crate::bacnet) fn types() -> Vec<Type> {
    let faces = ObjectKind::TABLE.iter().map(|&(kind, number, _)| Type {
        kind: ObjectType::from_raw(number.into()),
        rows: point::rows(kind, point::Shape::full(kind)),
    });
    let own = [
        Type { kind: ObjectType::DEVICE, rows: device::rows() },
        Type { kind: ObjectType::TREND_LOG, rows: trend::rows() },
        Type { kind: ObjectType::LOAD_CONTROL, rows: load::rows() },
        Type { kind: ObjectType::NETWORK_PORT, rows: port::all_rows() },
        Type { kind: ObjectType::NOTIFICATION_CLASS, rows: class::rows() },
    ];
    let mut all: Vec<Type> = faces.chain(own).collect();
    all.sort_by_key(|one| one.kind.to_raw());
    all
}
