//! `heatgate plan` as a process: what it prints of a site, as text and as JSON, and how it ends.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

/// A configuration with this site beside it.
fn site(dir: &Path, more: &str) -> PathBuf {
    let config = dir.join("gateway.toml");
    std::fs::write(&config, "mapping = \"site.toml\"\nstate_dir = \"state\"\n[site]\nid = \"x\"\n").unwrap();
    let text = format!(
        "use = [\"digital-boiler.toml\"]\naddress_base = 0\nword_order = \"ABCD\"\n\
         [[heater]]\nname = \"rack-a\"\nrated_power = \"30 kW\"\nidle = \"25 %\"\nefficiency = 0.95\n\
         [[zone]]\nname = \"hall\"\nindex = 0\nheaters = [\"rack-a\"]\n{more}"
    );
    std::fs::write(dir.join("site.toml"), text).unwrap();
    config
}

fn plan(config: &Path, json: bool) -> (i32, String, String) {
    let mut command = Command::cargo_bin("heatgate").unwrap();
    command.arg("plan").arg("-c").arg(config);
    if json {
        command.arg("--json");
    }
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Three meters on one line, polled at this rate.
fn three_meters(poll: &str) -> String {
    (1..=3)
        .map(|unit| {
            format!(
                "[[device]]\nname = \"m{unit}\"\nprofile = \"generic-heat-meter\"\npoll = \"{poll}\"\n\
                 link = \"modbus-rtu:///dev/ttyS1?baud=9600&parity=none\"\nunit_id = {unit}\n"
            )
        })
        .collect()
}

#[test]
fn a_line_that_keeps_up_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    let config = site(dir.path(), &three_meters("10s"));
    let (code, text, _) = plan(&config, false);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("Modbus RTU /dev/ttyS1?baud=9600&parity=none&stop=1"), "{text}");
    let request =
        "every 10 s: read FC 4 input 0 to 9 (10), 61.7 ms: m2/power, m2/flow, m2/supply, m2/return, m2/energy";
    assert!(text.contains(request), "{text}");
    assert!(text.contains("every 10 s the line needs 185 ms, 1.8 %"), "{text}");
    assert!(text.contains("answers after 20 ms"), "{text}");

    let (code, json, _) = plan(&config, true);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &report["over"], &report["lines"][0]["over"]), (0, &false.into(), &false.into()));
    assert_eq!(report["lines"][0]["devices"].as_array().unwrap().len(), 3);
    assert_eq!(report["lines"][0]["devices"][1]["requests"][0]["points"][4], "m2/energy");
    assert_eq!(report["assumed"]["serial_answer_ms"], 20.0);
}

#[test]
fn a_line_that_cannot_keep_up_says_so_and_ends_with_2() {
    let dir = tempfile::tempdir().unwrap();
    let config = site(dir.path(), &three_meters("150ms"));
    let (code, text, _) = plan(&config, false);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("TOO MUCH: every 150 ms the line needs 185 ms, 123.3 %"), "{text}");
    let (code, json, _) = plan(&config, true);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &report["over"], &report["lines"][0]["rates"][0]["over"]), (2, &true.into(), &true.into()));
}

#[test]
fn a_pause_is_its_own_devices_and_not_the_lines() {
    let dir = tempfile::tempdir().unwrap();
    let more = three_meters("200ms") + "pause = \"500ms\"\n";
    let (code, text, _) = plan(&site(dir.path(), &more), false);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("m3: unit 3, time-out 1 s, pause 500 ms"), "{text}");
    assert!(text.contains("TOO MUCH: every 200 ms with its pauses it needs 561.7 ms"), "{text}");
    assert!(text.contains("  every 200 ms the line needs 185 ms, 92.5 %"), "{text}");
}

#[test]
fn rates_outputs_bacnet_and_what_the_bms_sees() {
    let dir = tempfile::tempdir().unwrap();
    let more = "[[device]]\nname = \"plc\"\nprofile = \"generic-plc\"\nlink = \"modbus-tcp://10.0.0.9\"\nunit_id = 1\n\
                [[device]]\nname = \"ahu\"\nlink = \"bacnet://device/1201\"\n\
                [[target]]\npoint = \"hall/heat_delivered\"\ndevice = \"plc\"\nholding = 22\ntype = \"f32\"\nrefresh = \"5s\"\n\
                [[point]]\nname = \"plc/slow\"\nunit = \"none\"\nsource = { device = \"plc\", holding = 9, type = \"u16\", poll = \"5m\" }\n\
                [[point]]\nname = \"ahu/a\"\nunit = \"degC\"\nsource = { device = \"ahu\", bacnet = \"analog-input:3\" }\n\
                [[point]]\nname = \"ahu/b\"\nunit = \"degC\"\nsource = { device = \"ahu\", bacnet = \"analog-input:4\", cov = false }\n";
    let (code, text, errors) = plan(&site(dir.path(), more), false);
    assert_eq!(code, 0, "{text}{errors}");
    for line in [
        "every 2 s: read FC 3 holding 0 to 5 (6), 10 ms: plc/running, plc/fault, plc/mode, plc/outdoor, plc/header",
        "every 5 min: read FC 3 holding 9 to 9 (1), 10 ms: plc/slow",
        "every 5 s: write FC 16 holding 22 to 23 (2), 20 ms: hall/heat_delivered",
        "BACnet device 1201 (ahu)",
        "every 10 s: 1 point is read; every third time also 1 subscribed point",
        "at most 1 request (ReadPropertyMultiple",
        "38 BACnet objects",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[test]
fn what_cannot_be_read_or_is_wrong_is_said() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(plan(&dir.path().join("none.toml"), false).0, 1);
    let config = site(dir.path(), "[[device]]\nname = \"m\"\n");
    let (code, text, errors) = plan(&config, false);
    assert_eq!((code, text.as_str()), (2, ""));
    assert!(errors.contains("error[missing-key]"), "{errors}");
    let help = Command::cargo_bin("heatgate").unwrap().args(["plan", "--help"]).output().unwrap();
    assert!(String::from_utf8(help.stdout).unwrap().contains("heatgate plan -c config/gateway.toml"));
}
