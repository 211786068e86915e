//! The door to requests of our own: read or write one property of one device. They leave from the server's port, and
//! the node's task makes them.

use std::net::SocketAddr;

use bacnet_encoding::primitives::{
    ApplicationValueRef, decode_application_value, decode_application_value_ref, encode_property_value,
};
use bacnet_services::read_property::{ReadPropertyAckRef, ReadPropertyRequest};
use bacnet_services::write_property::WritePropertyRequest;
use bacnet_types::enums::{ConfirmedServiceChoice, ObjectType, PropertyIdentifier};
use bacnet_types::primitives::{ObjectIdentifier, PropertyValue};
use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

use super::requester::Outcome;

/// Most calls that wait for the node's task.
const QUEUE: usize = 64;

/// A device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// By its Device instance: found by Who-Is, its address remembered until it does not answer.
    Device(u32),
    /// By its B/IP address.
    Address(SocketAddr),
}

/// An object of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// BACnetObjectType, 0 to 1023.
    pub kind: u16,
    /// Instance, 0 to 4194303.
    pub instance: u32,
}

/// A primitive value of a property.
#[derive(Debug, Clone, PartialEq)]
pub enum Datum {
    /// NULL; written: relinquish.
    Null,
    /// BOOLEAN.
    Bool(bool),
    /// Unsigned.
    Unsigned(u64),
    /// INTEGER.
    Signed(i32),
    /// REAL.
    Real(f32),
    /// Double.
    Double(f64),
    /// ENUMERATED.
    Enumerated(u32),
    /// CharacterString.
    Text(String),
    /// BACnetObjectIdentifier.
    Object(ObjectRef),
    /// Everything else, several values included: as it was encoded.
    Other(Vec<u8>),
}

/// Why a call has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The device answered with an Error: its class and code (clause 18).
    #[error("the device answered: error class {class}, code {code}")]
    Error {
        /// Class.
        class: u32,
        /// Code.
        code: u32,
    },
    /// The device rejected the request: its reason.
    #[error("rejected by the device, reason {0}")]
    Rejected(u8),
    /// The device aborted the transaction, or we had no room for it: the reason.
    #[error("aborted, reason {0}")]
    Aborted(u8),
    /// No answer to four requests, or to four Who-Is.
    #[error("no answer")]
    Silent,
    /// The answer is not what was asked for.
    #[error("malformed answer")]
    Malformed,
    /// What was asked cannot be put on the wire: an identifier or a priority out of range.
    #[error("not a valid request")]
    Invalid,
    /// Too many calls wait.
    #[error("too many calls wait")]
    Busy,
    /// The node is not running any more.
    #[error("the BACnet node is not running")]
    Closed,
}

/// A call on its way to the node's task.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) target: Target,
    pub(super) service: ConfirmedServiceChoice,
    pub(super) params: Bytes,
    pub(super) reply: oneshot::Sender<Outcome>,
}

/// Reads and writes properties of other devices; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client(mpsc::Sender<Asked>);

impl Client {
    pub(super) fn channel() -> (Self, mpsc::Receiver<Asked>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Read a property, or one element of it (`index` 0: how many there are).
    pub async fn read(
        &self,
        target: Target,
        object: ObjectRef,
        property: u32,
        index: Option<u32>,
    ) -> Result<Datum, CallError> {
        let request = ReadPropertyRequest {
            object_identifier: identifier(object)?,
            property_identifier: PropertyIdentifier::from_raw(property),
            property_array_index: index,
        };
        let mut params = BytesMut::new();
        request.encode(&mut params);
        let answer = self.call(target, ConfirmedServiceChoice::READ_PROPERTY, params.freeze()).await?;
        let ack = ReadPropertyAckRef::decode(&answer).map_err(|_| CallError::Malformed)?;
        // The wildcard Device instance is answered with the real one.
        let same = ack.object_identifier.object_type() == request.object_identifier.object_type()
            && ack.property_identifier == request.property_identifier
            && ack.property_array_index == request.property_array_index;
        if same { datum(ack.property_value) } else { Err(CallError::Malformed) }
    }

    /// Write a property; `priority` 1 to 16 where it is commandable.
    pub async fn write(
        &self,
        target: Target,
        object: ObjectRef,
        property: u32,
        value: &Datum,
        priority: Option<u8>,
    ) -> Result<(), CallError> {
        let request = WritePropertyRequest {
            object_identifier: identifier(object)?,
            property_identifier: PropertyIdentifier::from_raw(property),
            property_array_index: None,
            property_value: octets(value)?,
            priority,
        };
        let mut params = BytesMut::new();
        request.encode(&mut params).map_err(|_| CallError::Invalid)?;
        self.call(target, ConfirmedServiceChoice::WRITE_PROPERTY, params.freeze()).await.map(drop)
    }

    async fn call(&self, target: Target, service: ConfirmedServiceChoice, params: Bytes) -> Result<Bytes, CallError> {
        let (reply, outcome) = oneshot::channel();
        self.0.try_send(Asked { target, service, params, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => CallError::Busy,
            mpsc::error::TrySendError::Closed(_) => CallError::Closed,
        })?;
        match outcome.await.map_err(|_| CallError::Closed)? {
            Outcome::Done(params) => Ok(params),
            Outcome::Error(class, code) => Err(CallError::Error { class, code }),
            Outcome::Rejected(reason) => Err(CallError::Rejected(reason)),
            Outcome::Aborted(reason) => Err(CallError::Aborted(reason)),
            Outcome::Silent => Err(CallError::Silent),
        }
    }
}

fn identifier(object: ObjectRef) -> Result<ObjectIdentifier, CallError> {
    ObjectIdentifier::new(ObjectType::from_raw(object.kind.into()), object.instance).map_err(|_| CallError::Invalid)
}

fn octets(value: &Datum) -> Result<Vec<u8>, CallError> {
    let value = match value {
        Datum::Null => PropertyValue::Null,
        Datum::Bool(value) => PropertyValue::Boolean(*value),
        Datum::Unsigned(value) => PropertyValue::Unsigned(*value),
        Datum::Signed(value) => PropertyValue::Signed(*value),
        Datum::Real(value) => PropertyValue::Real(*value),
        Datum::Double(value) => PropertyValue::Double(*value),
        Datum::Enumerated(value) => PropertyValue::Enumerated(*value),
        Datum::Text(value) => PropertyValue::CharacterString(value.clone()),
        Datum::Object(object) => PropertyValue::ObjectIdentifier(identifier(*object)?),
        Datum::Other(octets) => return Ok(octets.clone()),
    };
    let mut out = BytesMut::new();
    encode_property_value(&mut out, &value).map_err(|_| CallError::Invalid)?;
    Ok(out.to_vec())
}

fn datum(octets: &[u8]) -> Result<Datum, CallError> {
    let other = || Datum::Other(octets.to_vec());
    let (value, end) = match decode_application_value_ref(octets, 0) {
        Ok(one) => one,
        // A list may be empty, and a constructed value begins with a context tag.
        Err(_) => return Ok(other()),
    };
    if end != octets.len() {
        return Ok(other());
    }
    Ok(match value {
        ApplicationValueRef::Null => Datum::Null,
        ApplicationValueRef::Boolean(value) => Datum::Bool(value),
        ApplicationValueRef::Unsigned(value) => Datum::Unsigned(value),
        ApplicationValueRef::Signed(value) => Datum::Signed(value),
        ApplicationValueRef::Real(value) => Datum::Real(value),
        ApplicationValueRef::Double(value) => Datum::Double(value),
        ApplicationValueRef::Enumerated(value) => Datum::Enumerated(value),
        ApplicationValueRef::CharacterString(_) => match decode_application_value(octets, 0) {
            Ok((PropertyValue::CharacterString(text), _)) => Datum::Text(text),
            _ => other(),
        },
        ApplicationValueRef::ObjectIdentifier(id) => Datum::Object(ObjectRef {
            kind: u16::try_from(id.object_type().to_raw()).map_err(|_| CallError::Malformed)?,
            instance: id.instance_number(),
        }),
        _ => other(),
    })
}
