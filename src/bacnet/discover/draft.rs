//! What was found, as a mapping to begin with: it checks as it is, and asks for what only people know.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{FoundDevice, FoundObject};
use crate::plant::ObjectClass;

/// The head: a site needs a zone and a heater, and nobody on the network knows them.
const HEAD: &str = r#"# A draft by `heatgate discover bacnet`. Every object of every device is here: keep what you need.
# Heater and zone are placeholders: write your own.

use = ["digital-boiler.toml"]
address_base = 0
word_order = "ABCD"

[[heater]]
name = "rack-a"
rated_power = "30 kW"
idle = "25 %"
efficiency = 0.95

[[zone]]
name = "hall"
index = 0
heaters = ["rack-a"]
"#;

/// First segments that are taken.
const TAKEN: [&str; 3] = ["rack-a", "hall", "gateway"];

/// The mapping's text.
pub fn draft(devices: &[FoundDevice]) -> String {
    let mut out = HEAD.to_owned();
    let mut names: BTreeSet<String> = TAKEN.iter().map(|name| (*name).to_owned()).collect();
    for device in devices {
        let wanted = if device.name.is_empty() { format!("device-{}", device.instance) } else { device.name.clone() };
        let name = unique(&slug(&wanted, 40), &mut names);
        let link = match device.address {
            Some(address) => format!("bacnet://{address}/{}", device.instance),
            None => format!("bacnet://device/{}", device.instance),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "\n# {} {}, {} octets, segmentation {}\n[[device]]\nname = \"{name}\"\nlink = \"{link}\"\npoll = \"10s\"",
            comment(&device.vendor),
            comment(&device.model),
            device.max_apdu,
            device.segmentation,
        );
        let mut keys = BTreeSet::from(["link".to_owned()]);
        for object in &device.objects {
            let _ = write!(out, "{}", point(object, &name, &mut keys));
        }
    }
    out
}

fn point(object: &FoundObject, device: &str, keys: &mut BTreeSet<String>) -> String {
    let mut out = String::new();
    let (kind, scaled) = match object.id.class() {
        ObjectClass::Analog | ObjectClass::Large => ("number", true),
        ObjectClass::Binary => ("bool", false),
        ObjectClass::MultiState if !object.texts.is_empty() => ("state", false),
        // integer-value may be negative
        ObjectClass::Count if object.id.kind == 45 => ("number", true),
        ObjectClass::Count | ObjectClass::MultiState => ("unsigned", false),
        ObjectClass::Other => {
            let _ = writeln!(out, "\n# {}: {}", object.object, comment(&object.name));
            return out;
        }
    };
    let wanted = if object.name.is_empty() { &object.object } else { &object.name };
    let name = unique(&slug(wanted, 70), keys);
    let _ = writeln!(out, "\n[[point]]\nname = \"{device}/{name}\"");
    let about = if object.description.is_empty() { &object.name } else { &object.description };
    if !about.is_empty() {
        let _ = writeln!(out, "description = {}", quoted(about));
    }
    let _ = writeln!(out, "kind = \"{kind}\"");
    if scaled {
        match (object.unit, object.unit_code) {
            (Some(unit), _) if !unit.is_empty() => drop(writeln!(out, "unit = \"{unit}\"")),
            (None, Some(code)) => drop(writeln!(out, "unit = \"none\"  # BACnet unit {code}")),
            _ => drop(writeln!(out, "unit = \"none\"")),
        }
        if let Some((low, high)) = object.range {
            let _ = writeln!(out, "# range = [{low:?}, {high:?}]");
        }
    }
    if matches!(kind, "state" | "bool") && !object.texts.is_empty() {
        let texts: Vec<String> = object.texts.iter().map(|text| quoted(text)).collect();
        let _ = writeln!(out, "texts = [{}]", texts.join(", "));
    }
    let _ = writeln!(out, "source = {{ device = \"{device}\", bacnet = \"{}\" }}", object.object);
    if object.id.writable() {
        let _ = writeln!(out, "# target = {{ device = \"{device}\", bacnet = \"{}\", priority = 14 }}", object.object);
    }
    out
}

/// One segment of a key: a-z, 0-9, '_', '.', '-'.
fn slug(text: &str, most: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.') {
            out.push(c);
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
        if out.len() >= most {
            break;
        }
    }
    let trimmed = out.trim_end_matches('-');
    if trimmed.is_empty() { "unnamed".to_owned() } else { trimmed.to_owned() }
}

fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let free = (1..).map(|n| if n == 1 { name.to_owned() } else { format!("{name}-{n}") });
    let name = free.take(100_000).find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What a device says of itself, in one line.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bacnet::ObjectRef;
    use crate::mapping::{Files, compile};

    fn object(kind: u16, instance: u32, name: &str) -> FoundObject {
        let id = ObjectRef { kind, instance };
        FoundObject {
            object: id.to_string(),
            id,
            name: name.to_owned(),
            description: "Say \"hello\"\nto \\ everybody".to_owned(),
            unit: Some("degC"),
            unit_code: Some(62),
            texts: Vec::new(),
            range: Some((-40.0, 1e-3)),
        }
    }

    fn device(instance: u32, name: &str, objects: Vec<FoundObject>) -> FoundDevice {
        FoundDevice {
            instance,
            address: None,
            name: name.to_owned(),
            vendor: "A\nB".to_owned(),
            vendor_id: Some(7),
            model: String::new(),
            description: String::new(),
            max_apdu: 480,
            segmentation: "both",
            objects,
            problems: Vec::new(),
        }
    }

    struct One(String);

    impl Files for One {
        fn read(&self, name: &str) -> Result<String, String> {
            if name == "site.toml" { Ok(self.0.clone()) } else { Err("no such file".to_owned()) }
        }
    }

    #[test]
    fn whatever_devices_call_their_objects_the_draft_checks() {
        let mut odd: Vec<FoundObject> =
            [0, 1, 2, 3, 5, 8, 10, 12, 13, 14, 17, 19, 20, 23, 24, 45, 46, 48, 54, 130, 1023]
                .into_iter()
                .flat_map(|kind| [object(kind, 1, "Temperature Süd"), object(kind, 2, "")])
                .collect();
        odd.push(object(0, 3, "link"));
        odd.push(object(0, 4, &"long ".repeat(60)));
        odd.push(FoundObject { unit: None, unit_code: Some(640), ..object(0, 5, "§§§") });
        odd.push(FoundObject { texts: vec!["a\"b".into(), "c".into(), "d".into()], ..object(13, 6, "mode") });
        odd.push(FoundObject { texts: vec!["off".into(), "on".into()], ..object(3, 7, "pump") });
        let devices = [device(1, "hall", odd), device(2, "hall", Vec::new()), device(3, "", vec![object(0, 1, "x")])];
        let text = draft(&devices);
        let compiled = compile("site.toml", &One(text.clone()));
        assert!(compiled.plant.is_some() && compiled.findings.is_empty(), "{:?}\n{text}", compiled.findings);
        let plant = compiled.plant.unwrap();
        assert_eq!(plant.devices.len(), 3);
        assert!(plant.by_key("hall-2/temperature-s-d").is_some());
    }
}
