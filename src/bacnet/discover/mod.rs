//! Discovery by hand: who is there, what it is, which objects it has with names, units and texts. One request at a time,
//! so that no serial network behind a router drowns.

mod draft;

pub use draft::draft;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::client::{Ask, CallError, Client, Datum, Found, Item, ObjectRef, Target};
use crate::plant::ObjectClass;
use crate::units::Unit;

/// Property identifiers (clause 21).
mod property {
    pub const ACTIVE_TEXT: u32 = 4;
    pub const DESCRIPTION: u32 = 28;
    pub const INACTIVE_TEXT: u32 = 46;
    pub const MAX_APDU: u32 = 62;
    pub const MAX_VALUE: u32 = 65;
    pub const MIN_VALUE: u32 = 69;
    pub const MODEL: u32 = 70;
    pub const STATES: u32 = 74;
    pub const OBJECT_ID: u32 = 75;
    pub const OBJECT_LIST: u32 = 76;
    pub const OBJECT_NAME: u32 = 77;
    pub const SEGMENTATION: u32 = 107;
    pub const STATE_TEXT: u32 = 110;
    pub const UNITS: u32 = 117;
    pub const VENDOR_ID: u32 = 120;
    pub const VENDOR: u32 = 121;
}

/// The device itself, whatever its instance (clause 15.5.2).
const ANY_DEVICE: u32 = 4_194_303;
/// After so many requests in a row that failed the rest of a device is left.
const FAILURES: usize = 3;
/// More objects than any device is expected to have; the rest is left out, and said.
const MOST_OBJECTS: usize = 20_000;

/// What to look for.
#[derive(Debug, Clone)]
pub struct Search {
    /// Device instances.
    pub instances: RangeInclusive<u32>,
    /// Devices at these addresses, instead of asking everybody.
    pub at: Vec<SocketAddr>,
    /// How long to wait for I-Ams, and for each answer.
    pub timeout: Duration,
    /// Between two requests.
    pub pause: Duration,
    /// Read object lists, too.
    pub objects: bool,
}

/// A device that answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundDevice {
    /// Its instance.
    pub instance: u32,
    /// Where it is, when it was asked by address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Object_Name.
    pub name: String,
    /// Vendor_Name.
    pub vendor: String,
    /// Vendor_Identifier.
    pub vendor_id: Option<u64>,
    /// Model_Name.
    pub model: String,
    /// Description.
    pub description: String,
    /// Octets that it takes in one APDU.
    pub max_apdu: u64,
    /// BACnetSegmentation, in words.
    pub segmentation: &'static str,
    /// Its objects, without the Device object.
    pub objects: Vec<FoundObject>,
    /// What could not be had.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// An object of a device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FoundObject {
    /// As mapping files name it.
    pub object: String,
    #[serde(skip)]
    pub(super) id: ObjectRef,
    /// Object_Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Units, where we know them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<&'static str>,
    /// Units, as a number (BACnetEngineeringUnits).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit_code: Option<u64>,
    /// Names of its states, or of inactive and active.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Min_Pres_Value and Max_Pres_Value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<(f64, f64)>,
}

/// Everything that answers.
pub async fn discover(client: &Client, search: &Search) -> Vec<FoundDevice> {
    let mut found = Vec::new();
    for (instance, address) in devices(client, search).await {
        let target = address.map_or(Target::Device(instance), Target::Address);
        let reader = Reader { client, target, search, single: Cell::new(false) };
        found.push(reader.device(instance, address).await);
    }
    found
}

/// Who is there: by instance.
async fn devices(client: &Client, search: &Search) -> BTreeMap<u32, Option<SocketAddr>> {
    let mut found = BTreeMap::new();
    for address in &search.at {
        let reader = Reader { client, target: Target::Address(*address), search, single: Cell::new(false) };
        let any = ObjectRef { kind: 8, instance: ANY_DEVICE };
        let instance = match reader.one(any, property::OBJECT_ID, None).await {
            Ok(Datum::Object(device)) => Some(device.instance),
            // Not every device knows the wildcard.
            _ => who_is_at(client, *address, search.timeout).await,
        };
        if let Some(instance) = instance {
            found.insert(instance, Some(*address));
        }
    }
    if !search.at.is_empty() {
        return found;
    }
    let mut announced = client.announced();
    let all = *search.instances.start() == 0 && *search.instances.end() >= ANY_DEVICE - 1;
    let range = (!all).then(|| (*search.instances.start(), *search.instances.end()));
    if client.who_is(range, None).await.is_err() {
        return found;
    }
    // Twice: a datagram may be lost, and a device busy.
    for _ in 0..2 {
        let hear = async {
            loop {
                match announced.recv().await {
                    Ok(one) if search.instances.contains(&one.device) => drop(found.insert(one.device, None)),
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        };
        let _ = tokio::time::timeout(search.timeout, hear).await;
        let _ = client.who_is(range, None).await;
    }
    found
}

/// The instance of the device at an address.
async fn who_is_at(client: &Client, address: SocketAddr, timeout: Duration) -> Option<u32> {
    let mut announced = client.announced();
    client.who_is(None, Some(address)).await.ok()?;
    let hear = async {
        loop {
            match announced.recv().await {
                Ok(one) if one.from == Some(address) => return Some(one.device),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    };
    tokio::time::timeout(timeout, hear).await.ok().flatten()
}

/// Reads one device.
struct Reader<'a> {
    client: &'a Client,
    target: Target,
    search: &'a Search,
    /// It has no ReadPropertyMultiple.
    single: Cell<bool>,
}

impl Reader<'_> {
    async fn ask(&self, ask: &Ask) -> Result<Vec<Found>, CallError> {
        tokio::time::sleep(self.search.pause).await;
        self.client.ask(self.target, ask, Some((self.search.timeout, 2))).await
    }

    async fn one(&self, object: ObjectRef, property: u32, index: Option<u32>) -> Result<Datum, CallError> {
        match self.ask(&Ask::Read(Item { object, property, index })).await?.pop() {
            Some(Ok(datum)) => Ok(datum),
            Some(Err((class, code))) => Err(CallError::Error { class, code }),
            None => Err(CallError::Malformed),
        }
    }

    async fn text(&self, object: ObjectRef, property: u32) -> String {
        self.one(object, property, None).await.ok().and_then(text).unwrap_or_default()
    }

    async fn device(&self, instance: u32, address: Option<SocketAddr>) -> FoundDevice {
        let device = ObjectRef { kind: 8, instance };
        let number = |found: Result<Datum, CallError>| match found {
            Ok(Datum::Unsigned(number)) => Some(number),
            _ => None,
        };
        let mut this = FoundDevice {
            instance,
            address,
            name: self.text(device, property::OBJECT_NAME).await,
            vendor: self.text(device, property::VENDOR).await,
            vendor_id: number(self.one(device, property::VENDOR_ID, None).await),
            model: self.text(device, property::MODEL).await,
            description: self.text(device, property::DESCRIPTION).await,
            max_apdu: number(self.one(device, property::MAX_APDU, None).await).unwrap_or(50),
            segmentation: match self.one(device, property::SEGMENTATION, None).await {
                Ok(Datum::Enumerated(0)) => "both",
                Ok(Datum::Enumerated(1)) => "transmit",
                Ok(Datum::Enumerated(2)) => "receive",
                _ => "none",
            },
            objects: Vec::new(),
            problems: Vec::new(),
        };
        if self.search.objects {
            match self.list(device).await {
                Ok(list) => self.objects(list, &mut this).await,
                Err(error) => this.problems.push(format!("its object list cannot be read: {error}")),
            }
        }
        this
    }

    /// The object list: whole, in segments where it must be; else element by element.
    async fn list(&self, device: ObjectRef) -> Result<Vec<ObjectRef>, CallError> {
        match self.one(device, property::OBJECT_LIST, None).await {
            Ok(Datum::Other(octets)) => return objects(&octets).ok_or(CallError::Malformed),
            Ok(Datum::Object(only)) => return Ok(vec![only]),
            Ok(_) => return Err(CallError::Malformed),
            Err(CallError::Aborted(_) | CallError::Malformed) => {}
            Err(error) => return Err(error),
        }
        let Datum::Unsigned(count) = self.one(device, property::OBJECT_LIST, Some(0)).await? else {
            return Err(CallError::Malformed);
        };
        let count = usize::try_from(count).unwrap_or(MOST_OBJECTS).min(MOST_OBJECTS);
        let mut list = Vec::new();
        for index in 1..=u32::try_from(count).unwrap_or(0) {
            if let Datum::Object(object) = self.one(device, property::OBJECT_LIST, Some(index)).await? {
                list.push(object);
            }
        }
        Ok(list)
    }

    async fn objects(&self, list: Vec<ObjectRef>, device: &mut FoundDevice) {
        let list: Vec<ObjectRef> = list.into_iter().filter(|object| object.kind != 8).collect();
        // An answer for one object with its texts, generously.
        let mut most = usize::try_from(device.max_apdu / 160).unwrap_or(1).clamp(1, 8);
        let mut rest = &list[..];
        let mut failed = 0;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(most.min(rest.len()));
            let asked: Vec<Vec<Item>> = now.iter().map(|object| items(*object)).collect();
            let flat: Vec<Item> = asked.iter().flatten().copied().collect();
            match self.many(&flat, most).await {
                Ok(found) => {
                    let mut found = found.into_iter();
                    for (object, items) in now.iter().zip(&asked) {
                        let of_object = found.by_ref().take(items.len()).collect();
                        device.objects.push(understood(*object, items, of_object));
                    }
                    (rest, failed) = (later, 0);
                }
                // It says no more than that it is too much.
                Err(CallError::Aborted(_) | CallError::Rejected(_) | CallError::Error { .. }) if most > 1 => most /= 2,
                Err(error) => {
                    device
                        .problems
                        .push(format!("{}: {error}", now.first().map_or_else(String::new, ToString::to_string)));
                    failed += 1;
                    if failed >= FAILURES {
                        return;
                    }
                    rest = later;
                }
            }
        }
    }

    /// With one request, or, for a single object, with one for each item where the device has no ReadPropertyMultiple.
    async fn many(&self, items: &[Item], objects: usize) -> Result<Vec<Found>, CallError> {
        // One that has rejected it is not asked again: some answer nothing more under an id that they have rejected.
        let answer = match self.single.get() {
            true => Err(CallError::Rejected(9)),
            false => self.ask(&Ask::ReadMany(items.to_vec())).await,
        };
        if matches!(answer, Err(CallError::Rejected(_))) {
            self.single.set(true);
        }
        match answer {
            Err(CallError::Silent) => Err(CallError::Silent),
            Err(_) if objects == 1 => {
                let mut all = Vec::new();
                for item in items {
                    all.push(match self.one(item.object, item.property, item.index).await {
                        Ok(datum) => Ok(datum),
                        Err(CallError::Error { class, code }) => Err((class, code)),
                        Err(CallError::Silent) => return Err(CallError::Silent),
                        Err(_) => Err((0, 0)),
                    });
                }
                Ok(all)
            }
            other => other,
        }
    }
}

/// What is read of an object.
fn items(object: ObjectRef) -> Vec<Item> {
    let more: &[u32] = match object.class() {
        ObjectClass::Analog | ObjectClass::Large | ObjectClass::Count => {
            &[property::UNITS, property::MIN_VALUE, property::MAX_VALUE]
        }
        ObjectClass::Binary => &[property::INACTIVE_TEXT, property::ACTIVE_TEXT],
        ObjectClass::MultiState => &[property::STATES, property::STATE_TEXT],
        ObjectClass::Other => &[],
    };
    let all = [property::OBJECT_NAME, property::DESCRIPTION].iter().chain(more);
    all.map(|property| Item { object, property: *property, index: None }).collect()
}

fn understood(id: ObjectRef, items: &[Item], found: Vec<Found>) -> FoundObject {
    let found: BTreeMap<u32, Datum> =
        items.iter().zip(found).filter_map(|(item, found)| Some((item.property, found.ok()?))).collect();
    let said = |property: u32| found.get(&property).cloned().and_then(text).unwrap_or_default();
    let number = |property: u32| match found.get(&property) {
        Some(Datum::Real(number)) => Some(f64::from(*number)),
        Some(Datum::Double(number)) => Some(*number),
        _ => None,
    };
    let unit_code = match found.get(&property::UNITS) {
        Some(Datum::Enumerated(code)) => Some(u64::from(*code)),
        _ => None,
    };
    let texts = match id.class() {
        ObjectClass::Binary => match (said(property::INACTIVE_TEXT), said(property::ACTIVE_TEXT)) {
            (inactive, active) if !inactive.is_empty() && !active.is_empty() => vec![inactive, active],
            _ => Vec::new(),
        },
        ObjectClass::MultiState => {
            let states = match found.get(&property::STATES) {
                Some(Datum::Unsigned(count)) => usize::try_from(*count).unwrap_or(0).min(256),
                _ => 0,
            };
            let mut texts = match found.get(&property::STATE_TEXT) {
                Some(Datum::Other(octets)) => texts(octets),
                Some(Datum::Text(only)) => vec![only.clone()],
                _ => Vec::new(),
            };
            texts.truncate(256);
            for state in texts.len() + 1..=states {
                texts.push(format!("state {state}"));
            }
            texts
        }
        _ => Vec::new(),
    };
    // Devices say "no limit" with the ends of a REAL.
    let bounded = |number: &f64| number.is_finite() && number.abs() < 1e9;
    let range = number(property::MIN_VALUE).filter(bounded).zip(number(property::MAX_VALUE).filter(bounded));
    FoundObject {
        object: id.to_string(),
        id,
        name: said(property::OBJECT_NAME),
        description: said(property::DESCRIPTION),
        unit: unit_code.and_then(|code| u32::try_from(code).ok()).and_then(unit_of).map(Unit::symbol),
        unit_code,
        texts,
        range: range.filter(|(low, high)| low < high),
    }
}

/// Our unit of a BACnetEngineeringUnits, where we have it; 95 is no-units.
fn unit_of(code: u32) -> Option<Unit> {
    Unit::spellings().filter_map(Unit::parse).find(|unit| unit.bacnet() == code)
}

fn text(datum: Datum) -> Option<String> {
    match datum {
        Datum::Text(text) => Some(text.trim().to_owned()),
        _ => None,
    }
}

/// Values that stand one behind the other.
fn several(octets: &[u8]) -> Vec<Datum> {
    let mut all = Vec::new();
    let mut rest = octets;
    while let Some((datum, length)) = super::client::first(rest) {
        all.push(datum);
        rest = rest.get(length..).unwrap_or_default();
        if all.len() >= MOST_OBJECTS {
            break;
        }
    }
    all
}

fn objects(octets: &[u8]) -> Option<Vec<ObjectRef>> {
    several(octets)
        .into_iter()
        .map(|datum| if let Datum::Object(object) = datum { Some(object) } else { None })
        .collect()
}

fn texts(octets: &[u8]) -> Vec<String> {
    several(octets).into_iter().filter_map(text).collect()
}
