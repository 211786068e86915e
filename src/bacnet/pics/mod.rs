//! The protocol implementation conformance statement (Annex A): what the dispatcher's tables say, for people and as JSON.

mod bibbs;
mod markdown;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::objects::{Access, types};
use super::services;
use super::settings::{MAX_APDU, MAX_SEGMENTS, PROTOCOL_REVISION, Settings, WINDOW};

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PicsService {
    /// Its name in clause 13 to 16.
    pub name: &'static str,
    /// Its bit in BACnetServicesSupported.
    pub bit: u8,
    /// We send it.
    pub initiates: bool,
    /// We answer it.
    pub executes: bool,
}

/// One object type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PicsObject {
    /// Its name, such as `analog-input`.
    pub name: String,
    /// BACnetObjectType.
    pub number: u32,
    /// Properties that every object of the type has.
    pub required: Vec<String>,
    /// Properties that an object of the type has where its point has a use for them.
    pub optional: Vec<String>,
    /// Those of them that can be written.
    pub writable: Vec<String>,
    /// Those that can be commanded, in objects whose point takes commands.
    pub commandable: Vec<String>,
}

/// A name with its title.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PicsTerm {
    /// Such as `DS-RP-B`.
    pub name: &'static str,
    /// In words.
    pub title: &'static str,
}

/// The statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pics {
    /// Vendor_Name.
    pub vendor_name: String,
    /// Vendor_Identifier.
    pub vendor_id: u16,
    /// Model_Name.
    pub model: String,
    /// Application_Software_Version and Firmware_Revision.
    pub version: String,
    /// Description.
    pub description: String,
    /// Protocol_Revision, of Protocol_Version 1.
    pub protocol_revision: u32,
    /// Device profiles (Annex L).
    pub profiles: Vec<PicsTerm>,
    /// Interoperability building blocks (Annex K).
    pub bibbs: Vec<PicsTerm>,
    /// Services.
    pub services: Vec<PicsService>,
    /// Largest APDU, octets.
    pub max_apdu: u16,
    /// Segments of one request that are taken.
    pub max_segments: u8,
    /// Window of segments, both ways.
    pub window: u8,
    /// Object types. None of them can be created or deleted over BACnet.
    pub objects: Vec<PicsObject>,
    /// Data links.
    pub data_links: &'static [&'static str],
    /// Networking options.
    pub networking: &'static [&'static str],
    /// Character sets.
    pub character_sets: &'static [&'static str],
    /// What else a reader must know.
    pub remarks: &'static [&'static str],
}

/// Data links (clause 9, Annex J, Annex AB).
const DATA_LINKS: &[&str] = &[
    "BACnet/IP (Annex J)",
    "BACnet/SC (Annex AB of 135-2020), node: hub connector with failover hub; neither hub function nor direct connections; where configured",
    "MS/TP master (clause 9), baud rates 9600, 19200, 38400, 57600, 76800, 115200; NPDUs of up to 501 octets; where configured",
];
/// Networking options (clause 6, Annex J).
const NETWORKING: &[&str] = &[
    "Peers behind routers are answered through their router (SNET, SADR)",
    "Registration as a foreign device, renewed (Annex J.5), where configured",
    "BACnet/IP broadcast management device (BBMD): one and two hops, registrations by foreign devices, where configured",
    "Several BACnet/IP ports in one network, and a BACnet/SC and an MS/TP port beside them; no routing between networks",
];
/// Character sets that are sent; names are UTF-8 (clause 20.2.9).
const CHARACTER_SETS: &[&str] = &["ISO 10646 (UTF-8)"];
const REMARKS: &[&str] = &[
    "Static device binding: not needed, devices are found by Who-Is.",
    "Out_Of_Service is writable, and then Present_Value and Reliability, of objects that take no commands, report no alarms and \
     show no energy; control and the other protocols go on with the value as it is.",
    "Objects are those of the mapping: they are neither created nor deleted over BACnet.",
];

impl Pics {
    /// Of a device with these settings.
    pub fn new(settings: &Settings) -> Self {
        let services = services::all();
        let types = types();
        let kinds: Vec<_> = types.iter().map(|one| one.kind).collect();
        let blocks = bibbs::blocks(&services, &kinds);
        let term = |(name, title)| PicsTerm { name, title };
        let objects = types.iter().map(|one| {
            let names = |wanted: &dyn Fn(&super::objects::Row) -> bool| {
                one.rows.iter().filter(|row| wanted(row)).map(|row| title_case(&row.property.to_string())).collect()
            };
            PicsObject {
                name: one.kind.to_string().to_lowercase().replace('_', "-"),
                number: one.kind.to_raw(),
                required: names(&|row| row.required),
                optional: names(&|row| !row.required),
                writable: names(&|row| matches!(row.access, Access::Write | Access::Service)),
                commandable: names(&|row| row.access == Access::Command),
            }
        });
        Self {
            vendor_name: settings.vendor_name.clone(),
            vendor_id: settings.vendor_id,
            model: settings.model.clone(),
            version: settings.version.clone(),
            description: settings.description.clone(),
            protocol_revision: PROTOCOL_REVISION,
            profiles: bibbs::profiles(&blocks).into_iter().map(term).collect(),
            bibbs: blocks.iter().copied().map(term).collect(),
            services: services
                .iter()
                .map(|service| PicsService {
                    name: service.name,
                    bit: service.bit,
                    initiates: service.initiated,
                    executes: service.executed,
                })
                .collect(),
            max_apdu: MAX_APDU,
            max_segments: MAX_SEGMENTS,
            window: WINDOW,
            objects: objects.collect(),
            data_links: DATA_LINKS,
            networking: NETWORKING,
            character_sets: CHARACTER_SETS,
            remarks: REMARKS,
        }
    }
}

/// `PRESENT_VALUE` as the standard writes it: `Present_Value`.
fn title_case(name: &str) -> String {
    name.split('_')
        .map(|word| match word {
            "COV" | "APDU" | "IP" | "UDP" | "DNS" | "UTC" | "MAC" | "BBMD" | "FD" | "UUID" => word.to_owned(),
            "BACNET" => "BACnet".to_owned(),
            word => {
                let (head, tail) = word.split_at_checked(1).unwrap_or((word, ""));
                format!("{head}{}", tail.to_lowercase())
            }
        })
        .collect::<Vec<_>>()
        .join("_")
}
