//! The profiles that are shipped: each is used by a site here, with all that its comments tell an integrator to write.

use super::*;
use crate::plant::MeterRole;

/// A site, and what is built in.
struct One(String);

impl Files for One {
    fn read(&self, name: &str) -> Result<String, String> {
        if name == "site.toml" { Ok(self.0.clone()) } else { BuiltinFiles.read(name) }
    }
}

/// The least site with this device, and more lines.
fn site(profile: &str, meter: bool, more: &str) -> Compiled {
    let meter = if meter { "meter = \"d\"\n" } else { "" };
    // The comments of two profiles name their device by what it is.
    let device = match profile {
        "generic-plc" => "plc",
        "remeha-boiler" => "boiler",
        _ => "d",
    };
    let text = format!(
        "use = [\"digital-boiler.toml\"]\naddress_base = 0\nword_order = \"ABCD\"\n\
         [[heater]]\nname = \"rack-a\"\nrated_power = \"30 kW\"\nidle = \"25 %\"\nefficiency = 0.95\n\
         [[zone]]\nname = \"hall\"\nindex = 0\nheaters = [\"rack-a\"]\n{meter}\
         [[device]]\nname = \"{device}\"\nprofile = \"{profile}\"\nlink = \"modbus-rtu:///dev/ttyS1?baud=9600\"\nunit_id = 1\n\
         {more}"
    );
    compile("site.toml", &One(text))
}

fn shipped() -> impl Iterator<Item = (&'static str, &'static str)> {
    let name = |name: &'static str| name.strip_prefix("profiles/")?.strip_suffix(".toml");
    BUILTIN.iter().filter_map(move |(file, text)| Some((name(file)?, *text)))
}

/// What was found, but for the warning that a float of Wh loses digits: some meters have nothing else.
fn codes(compiled: &Compiled) -> Vec<&'static str> {
    compiled.findings.iter().map(|finding| finding.code).filter(|code| *code != "float-energy").collect()
}

fn findings(compiled: &Compiled) -> String {
    compiled.findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// What a profile's comments tell an integrator to write: lines after `#   > `.
fn told(text: &str) -> String {
    text.lines().filter_map(|line| line.strip_prefix("#   >")).fold(String::new(), |all, line| all + line + "\n")
}

#[test]
fn every_worked_example_of_every_shipped_profile_is_evaluated_and_right() {
    assert_eq!(shipped().count(), 9);
    for (name, text) in shipped() {
        let compiled = site(name, false, "");
        assert!(codes(&compiled).is_empty() && compiled.plant.is_some(), "{name}: {}", findings(&compiled));
        let (examples, points) = (text.matches("[[example]]").count(), text.matches("\n[[point]]").count());
        assert_eq!(compiled.examples, examples, "{name}");
        for point in text.split("\n[[point]]").skip(1) {
            let key = point.split('"').nth(1).unwrap();
            let told = text.contains(&format!("[[example]]\npoint = \"{key}\""));
            assert!(told || points > 6, "{name} shows no registers of {key}");
        }
        assert!(text.contains("value = \"absent\"") || name == "generic-heat-meter", "{name}");
        for word in ["Source: ", "Not verified on a device by anybody yet"] {
            assert!(text.contains(word) || name == "generic-heat-meter", "{name} has no \"{word}\"");
        }
    }
}

#[test]
fn a_wrong_example_in_a_shipped_profile_would_be_found() {
    for (name, text) in shipped() {
        let one = text.replacen("value = ", "value = 1e7 # ", 1);
        struct Two(String, String, String);
        impl Files for Two {
            fn read(&self, name: &str) -> Result<String, String> {
                match name {
                    _ if name == self.1 => Ok(self.2.clone()),
                    "site.toml" => Ok(self.0.clone()),
                    _ => BuiltinFiles.read(name),
                }
            }
        }
        let site = format!(
            "use = [\"digital-boiler.toml\"]\n[[heater]]\nname = \"a\"\nrated_power = \"30 kW\"\nidle = \"25 %\"\n\
             efficiency = 0.95\n[[zone]]\nname = \"hall\"\nindex = 0\nheaters = [\"a\"]\n\
             [[device]]\nname = \"d\"\nprofile = \"{name}\"\nlink = \"modbus-tcp://h\"\nunit_id = 1\n"
        );
        let compiled = compile("site.toml", &Two(site, format!("profiles/{name}.toml"), one));
        assert_eq!(codes(&compiled), ["example-fails"], "{name}: {}", findings(&compiled));
    }
}

#[test]
fn heat_meters_meter_a_zone() {
    for name in ["generic-heat-meter", "diehl-sharky-775", "kamstrup-multical-403", "kamstrup-multical-603"] {
        let plant = site(name, true, "").plant.unwrap();
        let meter = &plant.meters[0];
        for role in [MeterRole::Power, MeterRole::EnergyCounter, MeterRole::Supply, MeterRole::Return, MeterRole::Flow]
        {
            assert!(meter.points.get(role).is_some(), "{name} has no {}", role.as_str());
        }
        assert_ne!(meter.modulus_wh, u64::MAX);
    }
}

#[test]
fn a_profile_without_a_counter_is_completed_at_the_device_or_refused() {
    let energy = "[[device.point]]\nname = \"energy\"\nrole = \"energy_counter\"\nunit = \"Wh\"\n\
                  rollover = \"10000000 kWh\"\nsource = { holding = 60, type = \"f32\", unit = \"kWh\" }\n";
    let refused = site("eastron-sdm72", true, "");
    assert!(refused.plant.is_none() && findings(&refused).contains("`energy_counter`"), "{}", findings(&refused));
    for name in ["kamstrup-multical-403", "kamstrup-multical-603"] {
        let completed = site(name, true, energy);
        let plant = completed.plant.as_ref().unwrap_or_else(|| panic!("{}", findings(&completed)));
        assert_eq!(plant.meters[0].modulus_wh, 10_000_000_000);
        assert!(plant.by_key("d/energy").is_some());
    }
    // A point of the device takes the place of the profile's.
    let other = energy.replace("holding = 60", "holding = 99");
    let plant = site("diehl-sharky-775", true, &other).plant.unwrap();
    let addresses = |plant: &Plant| -> Vec<u16> {
        plant.devices[0].points.iter().filter_map(|point| Some(point.register()?.address)).collect()
    };
    assert!(addresses(&plant).contains(&99) && !addresses(&plant).contains(&8));
}

#[test]
fn what_the_comments_tell_to_write_compiles() {
    for (name, writes) in [("generic-plc", 6), ("remeha-boiler", 3)] {
        let (_, text) = shipped().find(|file| file.0 == name).unwrap();
        let compiled = site(name, false, &told(text));
        let plant = compiled.plant.as_ref().unwrap_or_else(|| panic!("{name}: {}", findings(&compiled)));
        assert!(compiled.findings.is_empty(), "{name}: {}", findings(&compiled));
        assert_eq!(plant.devices[0].writes.len(), writes, "{name}");
    }
    for name in ["kamstrup-multical-403", "kamstrup-multical-603"] {
        let (_, text) = shipped().find(|file| file.0 == name).unwrap();
        let compiled = site(name, true, &told(text));
        assert!(codes(&compiled).is_empty() && compiled.plant.is_some(), "{name}: {}", findings(&compiled));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_not_replaced_by_the_built_in_one() {
    struct Locked;
    impl Files for Locked {
        fn read(&self, name: &str) -> Result<String, String> {
            if name == "site.toml" {
                Ok(builtin("demo.toml").unwrap_or_default().to_owned())
            } else {
                Err("denied".to_owned())
            }
        }
        fn is_there(&self, name: &str) -> bool {
            name.starts_with("profiles/")
        }
    }
    let compiled = compile("site.toml", &Locked);
    assert!(compiled.plant.is_none());
    assert!(findings(&compiled).contains("error[unreadable]: profiles/generic-heat-meter.toml cannot be read: denied"));
}
