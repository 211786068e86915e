//! BACnet interoperability building blocks (Annex K) and device profiles (Annex L): each is a set of services, and what
//! has them all is claimed.

use bacnet_types::enums::ObjectType;

use super::super::services::Known;

/// What a building block asks for.
#[derive(Debug, Clone, Copy)]
enum Need {
    /// Execute a service, by its bit.
    Executes(u8),
    /// Initiate a service, by its bit.
    Initiates(u8),
    /// Have an object type.
    Has(ObjectType),
}

use Need::{Executes, Has, Initiates};

/// Name, title and needs (clause K.1 to K.6, 135-2016).
#[rustfmt::skip]
const BLOCKS: &[(&str, &str, &[Need])] = &[
    ("DS-RP-A", "ReadProperty, client", &[Initiates(12)]),
    ("DS-RP-B", "ReadProperty, server", &[Executes(12)]),
    ("DS-RPM-A", "ReadPropertyMultiple, client", &[Initiates(14)]),
    ("DS-RPM-B", "ReadPropertyMultiple, server", &[Executes(14)]),
    ("DS-WP-A", "WriteProperty, client", &[Initiates(15)]),
    ("DS-WP-B", "WriteProperty, server", &[Executes(15)]),
    ("DS-WPM-A", "WritePropertyMultiple, client", &[Initiates(16)]),
    ("DS-WPM-B", "WritePropertyMultiple, server", &[Executes(16)]),
    ("DS-COV-A", "Change of value, client", &[Initiates(5), Executes(1), Executes(28)]),
    ("DS-COV-B", "Change of value, server", &[Executes(5), Initiates(1), Initiates(28)]),
    ("DS-COVP-A", "Change of value of a property, client", &[Initiates(38), Executes(1), Executes(28)]),
    ("DS-COVP-B", "Change of value of a property, server", &[Executes(38), Initiates(1), Initiates(28)]),
    ("AE-N-A", "Alarm and event notification, client", &[Executes(2), Executes(29)]),
    ("AE-N-I-B", "Alarm and event notification, internal", &[Initiates(2), Initiates(29)]),
    ("AE-ACK-B", "Alarm acknowledgement, server", &[Executes(0)]),
    ("AE-ASUM-B", "Alarm summary, server", &[Executes(3)]),
    ("AE-ESUM-B", "Enrollment summary, server", &[Executes(4)]),
    ("AE-INFO-B", "Event information, server", &[Executes(39)]),
    ("T-VMT-I-B", "Trending, viewing and modifying, internal", &[Executes(35), Has(ObjectType::TREND_LOG)]),
    ("DM-DDB-A", "Dynamic device binding, client", &[Initiates(34), Executes(26)]),
    ("DM-DDB-B", "Dynamic device binding, server", &[Executes(34), Initiates(26)]),
    ("DM-DOB-A", "Dynamic object binding, client", &[Initiates(33), Executes(27)]),
    ("DM-DOB-B", "Dynamic object binding, server", &[Executes(33), Initiates(27)]),
    ("DM-DCC-B", "Device communication control, server", &[Executes(17)]),
    ("DM-TS-B", "Time synchronization, server", &[Executes(32)]),
    ("DM-UTC-B", "UTC time synchronization, server", &[Executes(36)]),
    ("DM-RD-B", "Reinitialize device, server", &[Executes(20)]),
    ("DM-R-B", "Restart, server", &[Initiates(28), Has(ObjectType::DEVICE)]),
    ("DM-LM-B", "List manipulation, server", &[Executes(8), Executes(9)]),
    ("GW-EO-B", "Gateway, embedded objects", &[Executes(12), Executes(34), Initiates(26), Has(ObjectType::DEVICE)]),
];

/// Profiles and the blocks that they ask for (Annex L). A gateway's data are those of equipment that is no BACnet device.
const PROFILES: &[(&str, &str, &[&str])] = &[
    ("B-GW", "BACnet Gateway", &["DS-RP-B", "DS-WP-B", "DM-DDB-B", "DM-DOB-B", "GW-EO-B"]),
    (
        "B-ASC",
        "BACnet Application Specific Controller",
        &["DS-RP-B", "DS-RPM-B", "DS-WP-B", "DM-DDB-B", "DM-DOB-B", "DM-DCC-B"],
    ),
    ("B-SA", "BACnet Smart Actuator", &["DS-RP-B", "DS-WP-B", "DM-DDB-B", "DM-DOB-B"]),
    ("B-SS", "BACnet Smart Sensor", &["DS-RP-B", "DM-DDB-B", "DM-DOB-B"]),
];

/// The blocks that these services and object types make up: name and title.
pub(super) fn blocks(services: &[Known], types: &[ObjectType]) -> Vec<(&'static str, &'static str)> {
    let service = |bit: u8| services.iter().find(|service| service.bit == bit);
    let met = |need: &Need| match *need {
        Executes(bit) => service(bit).is_some_and(|service| service.executed),
        Initiates(bit) => service(bit).is_some_and(|service| service.initiated),
        Has(kind) => types.contains(&kind),
    };
    BLOCKS.iter().filter(|(_, _, needs)| needs.iter().all(met)).map(|(name, title, _)| (*name, *title)).collect()
}

/// The profiles that these blocks make up: name and title.
pub(super) fn profiles(blocks: &[(&str, &str)]) -> Vec<(&'static str, &'static str)> {
    let has = |wanted: &&str| blocks.iter().any(|(name, _)| name == wanted);
    PROFILES.iter().filter(|(_, _, needs)| needs.iter().all(has)).map(|(name, title, _)| (*name, *title)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(bit: u8, executed: bool, initiated: bool) -> Known {
        Known { bit, name: "", executed, initiated }
    }

    #[test]
    fn a_block_needs_all_its_services_in_the_right_direction() {
        let names = |services: &[Known], types: &[ObjectType]| {
            blocks(services, types).into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[known(12, true, false)], &[]), ["DS-RP-B"]);
        assert_eq!(names(&[known(12, false, true)], &[]), ["DS-RP-A"]);
        assert_eq!(names(&[known(5, true, false), known(1, false, true)], &[]), Vec::<&str>::new());
        assert_eq!(names(&[known(35, true, false)], &[]), Vec::<&str>::new());
        assert_eq!(names(&[known(35, true, false)], &[ObjectType::TREND_LOG]), ["T-VMT-I-B"]);
        assert_eq!(profiles(&[("DS-RP-B", ""), ("DM-DDB-B", ""), ("DM-DOB-B", "")]).len(), 1);
        for (name, _, needs) in PROFILES {
            assert!(needs.iter().all(|need| BLOCKS.iter().any(|block| block.0 == *need)), "{name}");
        }
    }
}
