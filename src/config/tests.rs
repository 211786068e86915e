use super::keys::{KEYS, SECTIONS};
use super::*;

fn shown(findings: &[Diagnostic]) -> String {
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

fn file(text: &str) -> Arc<SourceFile> {
    SourceFile::new("gateway.toml", text)
}

fn env(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_shipped_configuration_loads() {
    let reference = SourceFile::new("gateway.toml", include_str!("../../config/gateway.toml"));
    let (config, findings) = load(Some(&reference), &[]).map_err(|f| shown(&f)).unwrap();
    assert!(findings.is_empty(), "{}", shown(&findings));
    assert_eq!(config.site.id, "store-17");

    let (demo, findings) = load(Some(&builtin_demo()), &[]).map_err(|f| shown(&f)).unwrap();
    assert!(findings.is_empty(), "{}", shown(&findings));
    assert_eq!((demo.mqtt.host.as_str(), demo.mqtt.port), ("127.0.0.1", 1883));
    assert_eq!(demo.modbus.listen.to_string(), "127.0.0.1:1502");
    assert_eq!(demo.modbus.unit_id, 1);
    assert_eq!(demo.bacnet.listen.to_string(), "127.0.0.1:47808");
    assert_eq!(demo.bacnet.broadcast.to_string(), "127.255.255.255");
    assert_eq!(demo.bacnet.instance, 47001);
    assert_eq!(demo.http.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(demo.site.id, "demo");
}

/// The reference shows every key: once its comments are taken off, it says what the defaults say.
#[test]
fn the_reference_shows_every_key_with_its_default() {
    let text = include_str!("../../config/gateway.toml");
    let uncommented: String = text
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line).to_owned() + "\n")
        .collect();
    let table: toml::Table = uncommented.parse().unwrap();
    for key in KEYS {
        let section = if key.section.is_empty() { Some(&table) } else { table[key.section].as_table() };
        let value = section.and_then(|section| section.get(key.name));
        let value = value.unwrap_or_else(|| panic!("{} is not in config/gateway.toml", key.path()));
        let commented = text.lines().any(|line| line.starts_with(&format!("# {} = ", key.name)));
        if let (Some(default), true) = (key.default, commented) {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            assert_eq!(shown, default, "{}", key.path());
        }
        assert!(key.section.is_empty() || SECTIONS.contains(&key.section), "{}", key.path());
    }
    let (config, _) = load(Some(&file(&uncommented)), &[]).map_err(|f| shown(&f)).unwrap();
    assert_eq!(config.mqtt.username.as_deref(), Some("heatgate"));
}

/// What the reference keeps behind a plain `#` loads, too: lists and listeners.
#[test]
fn the_listeners_of_the_reference_load() {
    let text = include_str!("../../config/gateway.toml");
    let example = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
    let uncommented: String =
        text.lines().map(|line| example(line).unwrap_or_else(|| line.to_owned()) + "\n").collect();
    let (config, findings) = load(Some(&file(&uncommented)), &[]).map_err(|f| shown(&f)).unwrap();
    assert!(findings.is_empty(), "{}", shown(&findings));
    assert!(unknown_zones(&config, &["office", "hall"]).is_empty());
    let unknown = shown(&unknown_zones(&config, &["office", "halle"]));
    assert!(unknown.contains("no zone `hall`") && unknown.contains("gateway.toml:"), "{unknown}");
    let modbus = config.modbus;
    assert_eq!(modbus.access.units.len(), 3);
    assert!(matches!(&modbus.access.units[1].view, UnitView::Zone(zone) if zone.value == "hall"));
    assert_eq!(modbus.access.units[2].view, UnitView::Window { first: 100, count: 100 });
    assert_eq!(modbus.access.writers, Some(vec![Network { address: [10, 20, 0, 5].into(), prefix: 32 }]));
    let [Wire::Rtu { line, echo: false }, Wire::RtuOverTcp(_), Wire::Tls { readers, writers, .. }, Wire::Tcp(_)] =
        &modbus.listeners.iter().map(|listener| listener.wire.clone()).collect::<Vec<_>>()[..]
    else {
        panic!("{:?}", modbus.listeners);
    };
    assert_eq!(line.baud, 19_200);
    assert_eq!((readers.as_slice(), writers.as_slice()), (&["Viewer".to_owned()][..], &["Operator".to_owned()][..]));
}

#[test]
fn what_is_wrong_with_a_listener_is_found_at_its_line() {
    let head = "mapping = \"m.toml\"\n[site]\nid = \"a\"\n[modbus]\nlisten = \"0.0.0.0:502\"\n";
    for (rest, line, words) in [
        ("clients = [\"10.20.0.0/33\"]", 6, "10.20.0.0/33"),
        ("writers = [\"everybody\"]", 6, "everybody"),
        ("units = [{ unit = 1 }, { unit = 1 }]", 6, "unit 1"),
        ("units = [{ zone = \"hall\" }]", 6, "unit"),
        ("units = [{ unit = 300 }]", 6, "300"),
        ("units = [{ unit = 3, first = 100 }]", 6, "not clear"),
        ("units = [{ unit = 3, first = 65535, count = 2 }]", 6, "no such block"),
        ("[[modbus.listener]]\nlisten = \"0.0.0.0:1\"", 6, "kind"),
        ("[[modbus.listener]]\nkind = \"udp\"", 7, "udp"),
        ("[[modbus.listener]]\nkind = \"tcp\"", 6, "listen"),
        ("[[modbus.listener]]\nkind = \"tcp\"\nlisten = \"here\"", 8, "here"),
        ("[[modbus.listener]]\nkind = \"tcp\"\nlisten = \"0.0.0.0:1\"\nport = \"/dev/x\"", 9, "port"),
        ("[[modbus.listener]]\nkind = \"rtu\"\nport = \"COM1\"", 8, "COM1"),
        ("[[modbus.listener]]\nkind = \"rtu\"\nport = \"/dev/x\"\nbaud = 3", 9, "3"),
        ("[[modbus.listener]]\nkind = \"rtu\"\nport = \"/dev/x\"\nparity = \"mark\"", 9, "mark"),
        ("[[modbus.listener]]\nkind = \"rtu\"\nport = \"/dev/x\"\nunits = [{ unit = 0 }]", 6, "0 is no unit"),
        ("[[modbus.listener]]\nkind = \"rtu\"\nport = \"/dev/x\"\nclients = []", 6, "serial"),
        ("[[modbus.listener]]\nkind = \"tls\"\nlisten = \"0.0.0.0:802\"\nroles = {}", 6, "certificate"),
    ] {
        let findings = load(Some(&file(&format!("{head}{rest}\n"))), &[]).unwrap_err();
        let text = shown(&findings);
        assert!(text.contains(words) && text.contains(&format!("gateway.toml:{line}:")), "{rest}: {text}");
    }
}

#[test]
fn defaults_then_file_then_environment() {
    let text = "mapping = \"m.toml\"\n[site]\nid = \"x\"\n[modbus]\nunit_id = 7\n";
    let (config, _) = load(Some(&file(text)), &[]).unwrap();
    assert_eq!((config.modbus.unit_id, config.modbus.max_connections), (7, 32));
    assert_eq!((config.mqtt.client_id.as_str(), config.site.name.as_str()), ("heatgate-x", "x"));
    assert_eq!(config.modbus.write_priority, Priority::PROGRAM);
    assert!(!config.bacnet.enabled);

    let over = env(&[
        ("HEATGATE__MODBUS__UNIT_ID", "9"),
        ("HEATGATE__MQTT__URL", "mqtt://broker.example"),
        ("HEATGATE__CONTROL__OBSERVE", "true"),
        ("HEATGATE__STATE_DIR", "/tmp/x"),
        ("HEATGATE__SITE__NAME", "17"),
        ("HOME", "/root"),
    ]);
    let (config, _) = load(Some(&file(text)), &over).map_err(|f| shown(&f)).unwrap();
    assert_eq!(config.modbus.unit_id, 9);
    assert_eq!((config.mqtt.host.as_str(), config.mqtt.port), ("broker.example", 1883));
    assert!(config.control.observe);
    assert_eq!(config.state_dir.to_str(), Some("/tmp/x"));
    assert_eq!(config.site.name, "17");
}

#[test]
fn the_environment_alone_is_enough() {
    let all = env(&[("HEATGATE__SITE__ID", "x"), ("HEATGATE__MAPPING", "m.toml")]);
    assert!(load(None, &all).is_ok());
    let findings = load(None, &[]).unwrap_err();
    let codes: Vec<_> = findings.iter().map(|f| f.code).collect();
    assert_eq!(codes, ["missing-key", "missing-key"]);
}

#[test]
fn listeners_share_no_port_unless_the_system_picks_it() {
    let with = |modbus, http| {
        load(
            None,
            &env(&[
                ("HEATGATE__SITE__ID", "x"),
                ("HEATGATE__MAPPING", "m.toml"),
                ("HEATGATE__MODBUS__LISTEN", modbus),
                ("HEATGATE__HTTP__LISTEN", http),
            ]),
        )
        .map(|_| ())
        .map_err(|findings| findings.iter().map(|finding| finding.code).collect::<Vec<_>>())
    };
    assert_eq!(with("127.0.0.1:8080", "127.0.0.1:8080"), Err(vec!["duplicate-name"]));
    assert_eq!(with("127.0.0.1:0", "127.0.0.1:0"), Ok(()));
}

#[test]
fn all_mistakes_at_once_with_their_places() {
    let text = r#"mapping = 5
stat_dir = "/x"
[site]
id = "Store 17"
[mqtt]
url = "mqtts://broker:8883"
keep_alive_s = 1
password_file = "p"
[modbus]
listen = "nowhere"
write_priority = 8
[bacnet]
enabled = true
listen = "[::1]:47808"
broadcast = "10.0.0.255:47808"
[http]
listen = "0.0.0.0:8080"
[logs]
json = 1
"#;
    let variables = env(&[("HEATGATE__MODBUS__UNITID", "1"), ("HEATGATE__LOG__JSON", "yes")]);
    let found = shown(&load(Some(&file(text)), &variables).unwrap_err());
    for expected in [
        "gateway.toml:1:11: error[wrong-type]: `mapping` takes a text, this is a whole number",
        "gateway.toml:2:1: error[unknown-key]: the file has no key `stat_dir`",
        "help: did you mean `state_dir`?",
        "gateway.toml:4:6: error[bad-name]: `Store 17` cannot be a level of a topic",
        "gateway.toml:6:7: error[not-supported]: mqtts:// is not supported by this version",
        "gateway.toml:7:16: error[out-of-range]: `keep_alive_s` takes a whole number from 5 to 3600",
        "gateway.toml:8:17: error[missing-key]: a password needs a user",
        "gateway.toml:10:10: error[bad-address]: `nowhere` is no address and port",
        "gateway.toml:11:18: error[out-of-range]: `write_priority` takes a whole number from 9 to 16",
        "error[missing-key]: `bacnet.instance` is needed",
        "gateway.toml:14:10: error[not-supported]: BACnet/IP is IPv4",
        "gateway.toml:15:13: error[bad-address]: `10.0.0.255:47808` is no IPv4 address",
        "gateway.toml:17:10: error[not-supported]: off loopback it needs TLS and a login",
        "gateway.toml:18:2: error[unknown-key]: the file has no key `logs`",
        "error[unknown-key]: the environment's HEATGATE__MODBUS__UNITID is no setting",
        "help: did you mean `HEATGATE__MODBUS__UNIT_ID`?",
        "error[wrong-type]: HEATGATE__LOG__JSON takes true or false, not `yes`",
    ] {
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
}

#[test]
fn brokers() {
    let broker = |url: &str| {
        let variables = env(&[("HEATGATE__SITE__ID", "x"), ("HEATGATE__MAPPING", "m"), ("HEATGATE__MQTT__URL", url)]);
        load(None, &variables).ok().map(|(config, _)| (config.mqtt.host, config.mqtt.port))
    };
    assert_eq!(broker("mqtt://10.0.0.1:1884"), Some(("10.0.0.1".to_owned(), 1884)));
    assert_eq!(broker("mqtt://broker/"), Some(("broker".to_owned(), 1883)));
    assert_eq!(broker("mqtt://[::1]:1883"), Some(("::1".to_owned(), 1883)));
    assert_eq!(broker("mqtt://[::1]"), Some(("::1".to_owned(), 1883)));
    for bad in ["", "broker:1883", "mqtt://", "mqtt://h:0", "mqtt://h:x", "mqtt://u:p@h", "http://h", "mqtt://a b"] {
        assert_eq!(broker(bad), None, "{bad}");
    }
}
