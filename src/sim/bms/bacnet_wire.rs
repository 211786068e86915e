//! BACnet/IP: the gateway's objects of a zone, commanded at a head-end's priority and read in one request.

use std::net::{Ipv4Addr, SocketAddrV4};

use bacnet_client::client::BACnetClient;
use bacnet_encoding::primitives;
use bacnet_services::rpm::ReadAccessResult;
use bacnet_types::constructed::{PropertyReference, ReadAccessSpecification};
use bacnet_types::enums::{AbortReason, ObjectType, PropertyIdentifier};
use bacnet_types::error::{Error, RemoteError};
use bacnet_types::primitives::{ObjectIdentifier, PropertyValue};
use bytes::BytesMut;

use super::bip::{self, OnePeer};
use super::programme::Ask;
use super::view::BoilerView;
use super::wire::{BmsWire, WireFault, WireFuture};
use crate::point::Priority;
use crate::units::{Celsius, Energy, Watts};

/// Wall time to an answer, ms, and how often it is asked again: 3 s in all, as over Modbus.
const APDU_TIMEOUT_MS: u64 = 1000;
const APDU_RETRIES: u8 = 2;

/// An object of zone 0; those of zone k have an instance 100 k higher.
type Object = (ObjectType, u32);

const HEAT_REQUEST_PERCENT: Object = (ObjectType::ANALOG_VALUE, 1);
const ROOM_TEMPERATURE: Object = (ObjectType::ANALOG_VALUE, 6);
const OUTDOOR_TEMPERATURE: Object = (ObjectType::ANALOG_VALUE, 7);
const DEMAND_MODE: Object = (ObjectType::MULTI_STATE_VALUE, 1);
const ENABLE: Object = (ObjectType::BINARY_VALUE, 1);
const HEARTBEAT: Object = (ObjectType::POSITIVE_INTEGER_VALUE, 1);
const STATE: Object = (ObjectType::MULTI_STATE_VALUE, 10);
const REQUEST_SOURCE: Object = (ObjectType::MULTI_STATE_VALUE, 11);
const FAULT_CODE: Object = (ObjectType::POSITIVE_INTEGER_VALUE, 10);
const GATEWAY_HEARTBEAT: Object = (ObjectType::POSITIVE_INTEGER_VALUE, 11);
const HEAT_AVAILABLE: Object = (ObjectType::ANALOG_INPUT, 10);
const HEAT_DELIVERED: Object = (ObjectType::ANALOG_INPUT, 12);
const ELECTRICAL_POWER: Object = (ObjectType::ANALOG_INPUT, 13);
const POWER_COMMAND: Object = (ObjectType::ANALOG_INPUT, 14);
const SUPPLY: Object = (ObjectType::ANALOG_INPUT, 15);
const RETURN: Object = (ObjectType::ANALOG_INPUT, 16);
const HEAT_ENERGY: Object = (ObjectType::LARGE_ANALOG_VALUE, 1);
const ELECTRICAL_ENERGY: Object = (ObjectType::LARGE_ANALOG_VALUE, 2);
/// The first of seven alarms.
const ALARM: Object = (ObjectType::BINARY_INPUT, 1);
const ALARMS: u32 = 7;

const READ: [Object; 12] = [
    STATE,
    REQUEST_SOURCE,
    FAULT_CODE,
    GATEWAY_HEARTBEAT,
    HEAT_AVAILABLE,
    HEAT_DELIVERED,
    ELECTRICAL_POWER,
    POWER_COMMAND,
    SUPPLY,
    RETURN,
    HEAT_ENERGY,
    ELECTRICAL_ENERGY,
];

/// Demand mode "percent"; a binary value that is active.
const MODE_PERCENT: u64 = 2;
const ACTIVE: u32 = 1;

/// BACnet/IP, the gateway as device.
pub struct BacnetWire {
    device: SocketAddrV4,
    /// Added to every instance.
    base: u32,
    priority: Priority,
    client: Option<BACnetClient<OnePeer>>,
    /// What holds a slot of ours, in the order of writing.
    written: Vec<ObjectIdentifier>,
}

impl BacnetWire {
    /// To zone `zone` (0 to 9; a larger one is taken as 9) of the device at an address (0.0.0.0 is this machine), at
    /// priority 16.
    pub fn new(device: SocketAddrV4, zone: u8) -> Self {
        let ip = if device.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *device.ip() };
        Self {
            device: SocketAddrV4::new(ip, device.port()),
            base: 100 * u32::from(zone.min(9)),
            priority: Priority::LOWEST,
            client: None,
            written: Vec::new(),
        }
    }

    /// At another priority; 9 at the highest, because those above are for people and for safety.
    #[must_use]
    pub fn at(mut self, priority: Priority) -> Self {
        let held = if priority > Priority::OPERATOR { Some(priority) } else { Priority::new(9) };
        self.priority = held.unwrap_or(Priority::LOWEST);
        self
    }

    fn object(&self, (kind, instance): Object) -> Result<ObjectIdentifier, WireFault> {
        ObjectIdentifier::new(kind, self.base + instance).map_err(|error| fault(&error))
    }

    fn client(&self) -> Result<&BACnetClient<OnePeer>, WireFault> {
        self.client.as_ref().ok_or_else(|| WireFault::Lost("BACnet: not connected".to_owned()))
    }

    async fn write(&mut self, object: Object, value: &PropertyValue) -> Result<(), WireFault> {
        let object = self.object(object)?;
        // Before the answer: a write whose answer is lost may stand all the same.
        if !self.written.contains(&object) {
            self.written.push(object);
        }
        self.put(object, value).await
    }

    async fn put(&self, object: ObjectIdentifier, value: &PropertyValue) -> Result<(), WireFault> {
        let mut octets = BytesMut::new();
        primitives::encode_property_value(&mut octets, value).map_err(|error| fault(&error))?;
        let property = PropertyIdentifier::PRESENT_VALUE;
        let priority = Some(self.priority.get());
        let to = bip::mac(self.device);
        self.client()?
            .write_property(&to, object, property, None, octets.to_vec(), priority)
            .await
            .map_err(|error| fault(&error))
    }

    async fn get(&self) -> Result<BoilerView, WireFault> {
        let alarms = (0..ALARMS).map(|place| (ALARM.0, ALARM.1 + place));
        let specs: Result<Vec<_>, WireFault> = READ
            .into_iter()
            .chain(alarms)
            .map(|object| {
                let property =
                    |property_identifier| PropertyReference { property_identifier, property_array_index: None };
                Ok(ReadAccessSpecification {
                    object_identifier: self.object(object)?,
                    list_of_property_references: vec![
                        property(PropertyIdentifier::PRESENT_VALUE),
                        property(PropertyIdentifier::STATUS_FLAGS),
                    ],
                })
            })
            .collect();
        let answer = self.client()?.read_property_multiple(&bip::mac(self.device), specs?).await;
        let results = answer.map_err(|error| fault(&error))?.list_of_read_access_results;
        view(&results, self.base).map_err(|missing| WireFault::Refused(format!("BACnet: {missing}")))
    }
}

impl BmsWire for BacnetWire {
    fn connect(&mut self) -> WireFuture<'_, ()> {
        Box::pin(async {
            self.client = None;
            let lost = |why: String| WireFault::Lost(format!("BACnet: {why}"));
            let port = OnePeer::open(self.device).await.map_err(|error| lost(error.to_string()))?;
            let client = BACnetClient::generic_builder()
                .transport(port)
                .apdu_timeout_ms(APDU_TIMEOUT_MS)
                .apdu_retries(APDU_RETRIES)
                .build()
                .await
                .map_err(|error| lost(error.to_string()))?;
            self.client = Some(client);
            // UDP connects to nobody: an answer is the connection, be it a refusal.
            match self.get().await {
                Ok(_) | Err(WireFault::Refused(_)) => Ok(()),
                Err(lost) => Err(lost),
            }
        })
    }

    fn ask(&mut self, ask: Ask) -> WireFuture<'_, ()> {
        Box::pin(async move {
            // The heat first, so that enabling it never asks for an older one.
            self.write(HEAT_REQUEST_PERCENT, &real(ask.heat.get())).await?;
            self.write(DEMAND_MODE, &PropertyValue::Unsigned(MODE_PERCENT)).await?;
            self.write(ENABLE, &PropertyValue::Enumerated(ACTIVE)).await?;
            for (object, celsius) in [(ROOM_TEMPERATURE, ask.room), (OUTDOOR_TEMPERATURE, ask.outdoor)] {
                if let Some(celsius) = celsius {
                    self.write(object, &real(celsius.get())).await?;
                }
            }
            Ok(())
        })
    }

    fn beat(&mut self, count: u16) -> WireFuture<'_, ()> {
        Box::pin(async move { self.write(HEARTBEAT, &PropertyValue::Unsigned(count.into())).await })
    }

    fn read(&mut self) -> WireFuture<'_, BoilerView> {
        Box::pin(async { self.get().await })
    }

    /// Relinquish what was written, the newest first: it is disabled before its heat goes.
    fn leave(&mut self) -> WireFuture<'_, ()> {
        Box::pin(async {
            while let Some(object) = self.written.last().copied() {
                match self.put(object, &PropertyValue::Null).await {
                    // One that refuses must not keep the others.
                    Ok(()) | Err(WireFault::Refused(_)) => drop(self.written.pop()),
                    Err(lost) => return Err(lost),
                }
            }
            Ok(())
        })
    }
}

/// What the client says: an answer that is a refusal or cannot be read, or no answer. Silence it calls an abort, by itself.
fn fault(error: &Error) -> WireFault {
    let why = format!("BACnet: {error}");
    match error {
        Error::Remote(RemoteError::Abort { reason: AbortReason::TSM_TIMEOUT }) => {
            WireFault::Lost("BACnet: no answer in time".to_owned())
        }
        Error::Remote(_) | Error::Structured { .. } | Error::Decoding(_) | Error::BufferTooShort { .. } => {
            WireFault::Refused(why)
        }
        _ => WireFault::Lost(why),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "percents and degrees, as REAL")]
fn real(number: f64) -> PropertyValue {
    PropertyValue::Real(number as f32)
}

/// What the answer says of the zone; else what is missing in it.
fn view(results: &[ReadAccessResult], base: u32) -> Result<BoilerView, String> {
    let number = |object| number(results, base, object);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let word = |object| Ok::<_, String>(number(object)?.unwrap_or_default() as u16);
    let kw = |object| Ok::<_, String>(number(object)?.and_then(|kw| Watts::new(kw * 1000.0).ok()));
    let celsius = |object| Ok::<_, String>(number(object)?.and_then(|celsius| Celsius::new(celsius).ok()));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; a Double counts single Wh"
    )]
    let energy = |object| {
        let kwh = number(object)?.filter(|kwh| kwh.is_finite() && *kwh >= 0.0);
        Ok::<_, String>(kwh.map(|kwh| Energy::from_wh((kwh * 1000.0).round() as u64)))
    };
    let mut quality = 0;
    for place in 0..ALARMS {
        if number((ALARM.0, ALARM.1 + place))? == Some(1.0) {
            quality |= 1 << place;
        }
    }
    Ok(BoilerView {
        state: word(STATE)?,
        fault_code: word(FAULT_CODE)?,
        gateway_heartbeat: word(GATEWAY_HEARTBEAT)?,
        request_source: word(REQUEST_SOURCE)?,
        quality,
        heat_available: kw(HEAT_AVAILABLE)?,
        heat_delivered: kw(HEAT_DELIVERED)?,
        electrical_power: kw(ELECTRICAL_POWER)?,
        power_command: kw(POWER_COMMAND)?,
        supply: celsius(SUPPLY)?,
        back: celsius(RETURN)?,
        heat_energy: energy(HEAT_ENERGY)?,
        electrical_energy: energy(ELECTRICAL_ENERGY)?,
    })
}

/// Present_Value of an object; none while its Status_Flags say fault.
fn number(results: &[ReadAccessResult], base: u32, (kind, instance): Object) -> Result<Option<f64>, String> {
    let id = ObjectIdentifier::new(kind, base + instance).map_err(|error| error.to_string())?;
    let result = results.iter().find(|result| result.object_identifier == id);
    let property = |wanted: PropertyIdentifier| {
        let found =
            result.and_then(|result| result.list_of_results.iter().find(|one| one.property_identifier == wanted));
        let found = found.ok_or_else(|| format!("{id} {wanted} is not in the answer"))?;
        if let Some((class, code)) = found.error {
            return Err(format!("{id} {wanted}: {}", RemoteError::Error { class, code }));
        }
        let octets = found.property_value.as_deref().unwrap_or_default();
        let decoded = primitives::decode_application_value(octets, 0);
        decoded.map(|(value, _)| value).map_err(|error| format!("{id} {wanted}: {error}"))
    };
    // in-alarm, fault, overridden, out-of-service, from the highest bit (clause 21)
    let fault = match property(PropertyIdentifier::STATUS_FLAGS)? {
        PropertyValue::BitString { data, .. } => data.first().is_some_and(|flags| flags & 0b0100_0000 != 0),
        _ => return Err(format!("{id}: Status_Flags are no flags")),
    };
    #[expect(clippy::cast_precision_loss, reason = "states and counts")]
    let value = match property(PropertyIdentifier::PRESENT_VALUE)? {
        PropertyValue::Real(value) => f64::from(value),
        PropertyValue::Double(value) => value,
        PropertyValue::Unsigned(value) => value as f64,
        PropertyValue::Enumerated(value) => f64::from(value),
        _ => return Err(format!("{id}: Present_Value is no number")),
    };
    Ok((!fault).then_some(value))
}

#[cfg(test)]
mod tests {
    use bacnet_services::rpm::ReadResultElement;
    use bacnet_types::enums::{ErrorClass, ErrorCode};

    use super::*;

    fn element(property_identifier: PropertyIdentifier, octets: &[u8]) -> ReadResultElement {
        let property_value = Some(octets.to_vec());
        ReadResultElement { property_identifier, property_array_index: None, property_value, error: None }
    }

    /// An answer in which every object of zone 2 shows its number; AI 16 is at fault.
    fn answer() -> Vec<ReadAccessResult> {
        let alarms = (0..ALARMS).map(|place| (ALARM.0, ALARM.1 + place));
        let result = |(kind, instance): Object| {
            let value = match kind {
                ObjectType::ANALOG_INPUT => PropertyValue::Real(instance as f32 + 0.5),
                ObjectType::LARGE_ANALOG_VALUE => PropertyValue::Double(f64::from(instance) + 0.001),
                ObjectType::BINARY_INPUT => PropertyValue::Enumerated(instance % 2),
                _ => PropertyValue::Unsigned(instance.into()),
            };
            let mut octets = BytesMut::new();
            primitives::encode_property_value(&mut octets, &value).unwrap();
            let flags = if (kind, instance) == RETURN { 0b0100_0000 } else { 0 };
            ReadAccessResult {
                object_identifier: ObjectIdentifier::new(kind, 200 + instance).unwrap(),
                list_of_results: vec![
                    element(PropertyIdentifier::PRESENT_VALUE, &octets),
                    element(PropertyIdentifier::STATUS_FLAGS, &[0x82, 4, flags]),
                ],
            }
        };
        READ.into_iter().chain(alarms).map(result).collect()
    }

    #[test]
    fn a_worked_example() {
        let view = view(&answer(), 200).unwrap();
        assert_eq!((view.state, view.request_source, view.fault_code, view.gateway_heartbeat), (10, 11, 10, 11));
        assert_eq!(view.quality, 0b101_0101);
        assert_eq!(view.heat_delivered, Some(Watts::from_kw(12.5)));
        assert_eq!((view.supply, view.back), (Some(Celsius::of(15.5)), None), "a fault is no temperature");
        assert_eq!(view.heat_energy, Some(Energy::from_wh(1001)));
    }

    #[test]
    fn what_is_missing_wrong_or_an_error_is_named() {
        let whole = answer();
        assert!(view(&whole, 0).unwrap_err().contains("not in the answer"), "another zone");
        let mut short = whole.clone();
        short.pop();
        assert!(view(&short, 200).unwrap_err().contains("207"));
        let mut wrong = whole.clone();
        wrong[0].list_of_results[0] = element(PropertyIdentifier::PRESENT_VALUE, &[0x72, 0, b'x']);
        assert!(view(&wrong, 200).unwrap_err().contains("no number"));
        let mut broken = whole.clone();
        broken[0].list_of_results[0] = element(PropertyIdentifier::PRESENT_VALUE, &[0x44, 1]);
        assert!(view(&broken, 200).is_err());
        let mut error = whole;
        error[5].list_of_results[0].property_value = None;
        error[5].list_of_results[0].error = Some((ErrorClass::OBJECT, ErrorCode::UNKNOWN_OBJECT));
        assert!(view(&error, 200).unwrap_err().contains("unknown-object"), "{:?}", view(&error, 200));
    }

    #[test]
    fn silence_is_a_loss_and_any_answer_is_none() {
        assert!(matches!(fault(&Error::abort(AbortReason::TSM_TIMEOUT)), WireFault::Lost(_)));
        assert!(matches!(fault(&Error::Transport(std::io::ErrorKind::ConnectionRefused.into())), WireFault::Lost(_)));
        assert!(matches!(fault(&Error::abort(AbortReason::OUT_OF_RESOURCES)), WireFault::Refused(_)));
        let busy = RemoteError::Error { class: ErrorClass::DEVICE, code: ErrorCode::DEVICE_BUSY };
        assert!(matches!(fault(&busy.into()), WireFault::Refused(_)));
    }

    #[test]
    fn the_priorities_of_people_are_left_to_them() {
        let wire = || BacnetWire::new(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 47808), 0);
        assert_eq!(wire().device, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 47808));
        assert_eq!(wire().priority.get(), 16);
        let at = |priority| wire().at(Priority::new(priority).unwrap()).priority.get();
        assert_eq!([1, 8, 9, 14, 16].map(at), [9, 9, 9, 14, 16]);
    }
}
