//! Parameters of the services that we ask for (clauses 13.14, 13.15, 15.5, 15.7, 15.9), and what their answers hold.

use bacnet_encoding::primitives::{
    ApplicationValueRef, decode_application_value, decode_application_value_ref, encode_ctx_object_id,
    encode_ctx_unsigned, encode_property_value,
};
use bacnet_encoding::tags::{encode_closing_tag, encode_opening_tag};
use bacnet_services::cov::{SubscribeCOVPropertyRequest, SubscribeCOVRequest};
use bacnet_services::read_property::{ReadPropertyAckRef, ReadPropertyRequest};
use bacnet_services::rpm::ReadPropertyMultipleACK;
use bacnet_services::write_property::WritePropertyRequest;
use bacnet_types::enums::{ConfirmedServiceChoice, ObjectType, PropertyIdentifier};
use bacnet_types::primitives::{ObjectIdentifier, PropertyValue};
use bytes::{Bytes, BytesMut};

use super::{CallError, Datum, ObjectRef};

/// One property of an object, or one element of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Item {
    /// Of which object.
    pub object: ObjectRef,
    /// BACnetPropertyIdentifier.
    pub property: u32,
    /// Element; 0: how many there are.
    pub index: Option<u32>,
}

/// What was found where something was asked for: a value, or the error's class and code.
pub type Found = Result<Datum, (u32, u32)>;

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub enum Ask {
    /// ReadProperty.
    Read(Item),
    /// ReadPropertyMultiple; items of one object stand together.
    ReadMany(Vec<Item>),
    /// WriteProperty.
    Write {
        /// What.
        item: Item,
        /// Null relinquishes.
        value: Datum,
        /// 1 to 16 where it is commandable.
        priority: Option<u8>,
    },
    /// SubscribeCOV, or SubscribeCOVProperty where it names one.
    Subscribe {
        /// Subscriber process identifier.
        process: u32,
        /// Of which object.
        object: ObjectRef,
        /// Notifications are acknowledged.
        confirmed: bool,
        /// s
        lifetime: u32,
        /// Property and increment, for SubscribeCOVProperty.
        property: Option<(u32, Option<f32>)>,
    },
    /// The end of a subscription.
    Cancel {
        /// Subscriber process identifier.
        process: u32,
        /// Of which object.
        object: ObjectRef,
        /// Which property, when it was subscribed by SubscribeCOVProperty.
        property: Option<u32>,
    },
}

impl Ask {
    /// Its service.
    pub(super) const fn service(&self) -> ConfirmedServiceChoice {
        match self {
            Self::Read(_) => ConfirmedServiceChoice::READ_PROPERTY,
            Self::ReadMany(_) => ConfirmedServiceChoice::READ_PROPERTY_MULTIPLE,
            Self::Write { .. } => ConfirmedServiceChoice::WRITE_PROPERTY,
            Self::Subscribe { property: None, .. } | Self::Cancel { property: None, .. } => {
                ConfirmedServiceChoice::SUBSCRIBE_COV
            }
            Self::Subscribe { property: Some(_), .. } | Self::Cancel { property: Some(_), .. } => {
                ConfirmedServiceChoice::SUBSCRIBE_COV_PROPERTY
            }
        }
    }

    /// Its parameters; `Invalid` when they cannot be put on the wire.
    pub(super) fn params(&self) -> Result<Bytes, CallError> {
        let mut out = BytesMut::new();
        match self {
            Self::Read(item) => ReadPropertyRequest {
                object_identifier: identifier(item.object)?,
                property_identifier: PropertyIdentifier::from_raw(item.property),
                property_array_index: item.index,
            }
            .encode(&mut out),
            Self::ReadMany(items) => {
                let mut open = None;
                for item in items {
                    if open != Some(item.object) {
                        if open.is_some() {
                            encode_closing_tag(&mut out, 1);
                        }
                        encode_ctx_object_id(&mut out, 0, &identifier(item.object)?);
                        encode_opening_tag(&mut out, 1);
                        open = Some(item.object);
                    }
                    encode_ctx_unsigned(&mut out, 0, item.property.into());
                    if let Some(index) = item.index {
                        encode_ctx_unsigned(&mut out, 1, index.into());
                    }
                }
                if open.is_some() {
                    encode_closing_tag(&mut out, 1);
                }
            }
            Self::Write { item, value, priority } => WritePropertyRequest {
                object_identifier: identifier(item.object)?,
                property_identifier: PropertyIdentifier::from_raw(item.property),
                property_array_index: item.index,
                property_value: octets(value)?,
                priority: *priority,
            }
            .encode(&mut out)
            .map_err(|_| CallError::Invalid)?,
            Self::Subscribe { process, object, confirmed, lifetime, property: None } => SubscribeCOVRequest {
                subscriber_process_identifier: *process,
                monitored_object_identifier: identifier(*object)?,
                issue_confirmed_notifications: Some(*confirmed),
                lifetime: Some(*lifetime),
            }
            .encode(&mut out)
            .map_err(|_| CallError::Invalid)?,
            Self::Subscribe { process, object, confirmed, lifetime, property: Some((property, increment)) } => {
                SubscribeCOVPropertyRequest {
                    subscriber_process_identifier: *process,
                    monitored_object_identifier: identifier(*object)?,
                    issue_confirmed_notifications: Some(*confirmed),
                    lifetime: Some(*lifetime),
                    monitored_property_identifier: PropertyIdentifier::from_raw(*property),
                    monitored_property_array_index: None,
                    cov_increment: *increment,
                }
                .encode(&mut out)
                .map_err(|_| CallError::Invalid)?;
            }
            Self::Cancel { process, object, property: None } => SubscribeCOVRequest {
                subscriber_process_identifier: *process,
                monitored_object_identifier: identifier(*object)?,
                issue_confirmed_notifications: None,
                lifetime: None,
            }
            .encode(&mut out)
            .map_err(|_| CallError::Invalid)?,
            Self::Cancel { process, object, property: Some(property) } => SubscribeCOVPropertyRequest {
                subscriber_process_identifier: *process,
                monitored_object_identifier: identifier(*object)?,
                issue_confirmed_notifications: None,
                lifetime: None,
                monitored_property_identifier: PropertyIdentifier::from_raw(*property),
                monitored_property_array_index: None,
                cov_increment: None,
            }
            .encode(&mut out)
            .map_err(|_| CallError::Invalid)?,
        }
        Ok(out.freeze())
    }

    /// What an acknowledgement says: of a read one for each item, in their order; of the rest nothing.
    pub(super) fn answer(&self, params: &[u8]) -> Result<Vec<Found>, CallError> {
        match self {
            Self::Read(item) => {
                let ack = ReadPropertyAckRef::decode(params).map_err(|_| CallError::Malformed)?;
                // The wildcard Device instance is answered with the real one.
                let same = ack.object_identifier.object_type().to_raw() == u32::from(item.object.kind)
                    && ack.property_identifier.to_raw() == item.property
                    && ack.property_array_index == item.index;
                if same { Ok(vec![Ok(datum(ack.property_value)?)]) } else { Err(CallError::Malformed) }
            }
            Self::ReadMany(items) => {
                let ack = ReadPropertyMultipleACK::decode(params).map_err(|_| CallError::Malformed)?;
                let results = ack.list_of_read_access_results.into_iter().flat_map(|object| {
                    let id = object.object_identifier;
                    object.list_of_results.into_iter().map(move |result| (id, result))
                });
                let mut found = Vec::with_capacity(items.len());
                for (id, result) in results {
                    let item = items.get(found.len()).ok_or(CallError::Malformed)?;
                    let same = id.object_type().to_raw() == u32::from(item.object.kind)
                        && result.property_identifier.to_raw() == item.property
                        && result.property_array_index == item.index;
                    if !same {
                        return Err(CallError::Malformed);
                    }
                    found.push(match (result.property_value, result.error) {
                        (Some(value), _) => Ok(datum(&value)?),
                        (None, Some((class, code))) => Err((class.to_raw().into(), code.to_raw().into())),
                        (None, None) => return Err(CallError::Malformed),
                    });
                }
                if found.len() == items.len() { Ok(found) } else { Err(CallError::Malformed) }
            }
            Self::Write { .. } | Self::Subscribe { .. } | Self::Cancel { .. } => Ok(Vec::new()),
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

/// A property's value, as it was encoded.
pub(in crate::bacnet) fn datum(octets: &[u8]) -> Result<Datum, CallError> {
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

/// The first of several values, and how many octets it takes.
pub(in crate::bacnet) fn first(octets: &[u8]) -> Option<(Datum, usize)> {
    let (_, end) = decode_application_value_ref(octets, 0).ok()?;
    Some((datum(octets.get(..end)?).ok()?, end))
}

/// The bits of a BIT STRING, the first one first.
pub(in crate::bacnet) fn bits(datum: &Datum) -> Option<Vec<bool>> {
    let Datum::Other(octets) = datum else { return None };
    let Ok((PropertyValue::BitString { unused_bits, data }, end)) = decode_application_value(octets, 0) else {
        return None;
    };
    let length = (data.len() * 8).checked_sub(usize::from(unused_bits))?;
    let bit = |place: usize| data.get(place / 8).is_some_and(|octet| octet & (0x80 >> (place % 8)) != 0);
    (end == octets.len()).then(|| (0..length).map(bit).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: ObjectRef = ObjectRef { kind: 0, instance: 3 };

    #[test]
    fn items_of_one_object_stand_under_it_and_answers_in_their_order() {
        let item = |instance, property| Item { object: ObjectRef { kind: 0, instance }, property, index: None };
        let ask = Ask::ReadMany(vec![item(1, 85), item(1, 111), item(2, 85)]);
        let params = ask.params().unwrap();
        #[rustfmt::skip]
        let expected = [
            0x0C, 0, 0, 0, 1, 0x1E, 0x09, 85, 0x09, 111, 0x1F,
            0x0C, 0, 0, 0, 2, 0x1E, 0x09, 85, 0x1F,
        ];
        assert_eq!(params[..], expected);
        #[rustfmt::skip]
        let answer = [
            0x0C, 0, 0, 0, 1, 0x1E,
            0x29, 85, 0x4E, 0x44, 0x41, 0xAC, 0, 0, 0x4F,
            0x29, 111, 0x4E, 0x82, 0x04, 0x40, 0x4F, 0x1F,
            0x0C, 0, 0, 0, 2, 0x1E, 0x29, 85, 0x5E, 0x91, 1, 0x91, 31, 0x5F, 0x1F,
        ];
        let found = ask.answer(&answer).unwrap();
        assert_eq!(found[0], Ok(Datum::Real(21.5)));
        assert_eq!(bits(found[1].as_ref().unwrap()).unwrap(), [false, true, false, false]);
        assert_eq!(found[2], Err((1, 31)));
        // one missing, another object, cut short
        assert_eq!(ask.answer(&answer[..23]), Err(CallError::Malformed));
        let other = Ask::ReadMany(vec![item(1, 85), item(1, 103), item(2, 85)]);
        assert_eq!(other.answer(&answer), Err(CallError::Malformed));
        for end in 0..answer.len() {
            assert!(ask.answer(&answer[..end]).is_err());
        }
    }

    #[test]
    fn what_cannot_be_put_on_the_wire_is_invalid() {
        let item = Item { object: OBJECT, property: 85, index: None };
        let write = |value, priority| Ask::Write { item, value, priority }.params();
        assert!(write(Datum::Real(1.0), Some(14)).is_ok());
        assert_eq!(write(Datum::Null, Some(17)), Err(CallError::Invalid));
        let object = ObjectRef { kind: 2000, instance: 1 };
        assert_eq!(Ask::Read(Item { object, property: 85, index: None }).params(), Err(CallError::Invalid));
    }
}
