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
    assert_eq!(demo.bacnet.port.listen.to_string(), "127.0.0.1:47808");
    assert_eq!(demo.bacnet.port.broadcast.to_string(), "127.255.255.255");
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
        let mut parts = key.section.split('.').filter(|part| !part.is_empty());
        let section = parts.try_fold(&table, |table, part| table.get(part)?.as_table());
        let value = section.and_then(|section| section.get(key.name));
        let value = value.unwrap_or_else(|| panic!("{} is not in config/gateway.toml", key.path()));
        let header = format!("[{}]", key.section);
        let mut lines = text.lines().skip_while(|line| !key.section.is_empty() && *line != header).skip(1);
        let commented = lines
            .by_ref()
            .take_while(|line| !line.starts_with('['))
            .any(|line| line.starts_with(&format!("# {} = ", key.name)));
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

/// What is found in these lines of `[bacnet]`, or else what they mean.
fn bacnet(lines: &str) -> Result<(Bacnet, String), String> {
    let text = format!("mapping = \"m\"\n[site]\nid = \"x\"\n[bacnet]\nenabled = true\ninstance = 5\n{lines}\n");
    let loaded = load(Some(&file(&text)), &[]);
    loaded.map(|(config, findings)| (config.bacnet, shown(&findings))).map_err(|findings| shown(&findings))
}

#[test]
fn a_prefix_length_says_the_subnet() {
    let (config, findings) = bacnet(r#"listen = "10.20.3.5/22""#).unwrap();
    let subnet = (config.port.broadcast.to_string(), config.port.mask.unwrap().to_string());
    assert_eq!(config.port.listen.to_string(), "10.20.3.5:47808");
    assert_eq!(subnet, ("10.20.3.255".to_owned(), "255.255.252.0".to_owned()));
    assert_eq!((findings.as_str(), config.more.len(), config.role), ("", 0, BacnetRole::Device));

    let (config, findings) = bacnet(r#"listen = ["10.20.0.5/24", "10.30.0.5/25:47809"]"#).unwrap();
    assert_eq!(findings, "");
    assert_eq!(config.more[0].listen.to_string(), "10.30.0.5:47809");
    assert_eq!(config.more[0].broadcast.to_string(), "10.30.0.127");

    // One address alone hears nothing that is broadcast: it works, and somebody will wonder.
    let (config, findings) = bacnet(r#"listen = "10.20.0.5:47808""#).unwrap();
    assert!(config.port.broadcast.is_broadcast());
    assert!(findings.contains("gateway.toml:7:10: warning[odd-broadcast]"), "{findings}");
    assert!(findings.contains("10.20.0.5/24:47808"), "{findings}");
    for fine in [
        "",
        r#"listen = "0.0.0.0:47808""#,
        "listen = \"10.20.0.5:47808\"\nbroadcast = \"10.20.0.255\"",
        r#"listen = "127.0.0.1:0""#,
    ] {
        assert_eq!(bacnet(fine).unwrap().1, "", "{fine}");
    }
    let (_, findings) = bacnet("listen = \"10.20.0.5/24\"\nbroadcast = \"10.20.1.255\"").unwrap();
    assert!(findings.contains("10.20.1.255 is not the broadcast address of 10.20.0.5/24"), "{findings}");
    for (bad, why) in [
        (r#"listen = "nowhere""#, "no address and port"),
        (r#"listen = "10.0.0.1/33""#, "no address and port"),
        (r#"listen = "10.0.0.1/7""#, "no address and port"),
        (r#"listen = "10.0.0.1:65536""#, "no address and port"),
        (r#"listen = "[::1]:47808""#, "BACnet/IP is IPv4"),
        ("listen = []", "no address to listen on"),
        (r#"listen = ["0.0.0.0", "10.0.0.1/24"]"#, "one interface"),
        (r#"listen = ["10.0.0.1", "10.0.1.1/24"]"#, "one interface"),
        (r#"listen = ["10.0.0.1/24", "10.0.0.1/24"]"#, "there twice"),
        (r#"listen = ["10.0.0.1/24", 5]"#, "takes a text"),
    ] {
        let found = bacnet(bad).unwrap_err();
        assert!(found.contains(why), "{bad}\n{found}");
    }
}

#[test]
fn a_device_is_a_foreign_one_or_a_broadcast_manager_and_not_both() {
    let (config, _) = bacnet("[bacnet.foreign]\nbbmd = \"10.0.0.5\"").unwrap();
    assert_eq!(config.role, BacnetRole::Foreign { bbmd: "10.0.0.5:47808".parse().unwrap(), ttl_s: 300 });
    let manager = |more: &str| {
        let text = format!("listen = \"10.0.1.1/24\"\n[bacnet.bbmd]\nenabled = true\n{more}");
        bacnet(&text).map(|(config, _)| config.role)
    };
    let expected = BacnetRole::Manager {
        peers: vec![
            ("10.0.2.1:47808".parse().unwrap(), "255.255.255.255".parse().unwrap()),
            ("10.0.3.1:47809".parse().unwrap(), "255.255.255.0".parse().unwrap()),
        ],
        foreign_devices: true,
        writable: false,
    };
    assert_eq!(manager(r#"peers = ["10.0.2.1", "10.0.3.1/24:47809"]"#), Ok(expected));
    assert_eq!(
        manager("foreign_devices = false\nwritable = true"),
        Ok(BacnetRole::Manager { peers: Vec::new(), foreign_devices: false, writable: true })
    );
    let many: Vec<String> = (1..=64).map(|n| format!("\"10.0.2.{n}\"")).collect();
    for (found, why) in [
        (manager("peers = [\"10.0.2.1\", \"10.0.2.1/24\"]"), "there twice"),
        (manager("peers = [\"255.255.255.255\"]"), "no address of one device"),
        (manager("peers = [\"10.0.2.1:0\"]"), "no address of one device"),
        (manager(&format!("peers = [{}]", many.join(","))), "more than 63"),
        (manager("peer = []"), "unknown-key"),
        (manager("[bacnet.foreign]\nbbmd = \"10.0.0.5\""), "no foreign device"),
        (bacnet("[bacnet.bbmd]\nenabled = true").map(|(config, _)| config.role), "listens on one address"),
        (bacnet("[bacnet.foreign]\nbbmd = \"somewhere\"").map(|(config, _)| config.role), "no address of one"),
        (bacnet("[bacnet.foreign]\nttl_s = 4").map(|(config, _)| config.role), "from 5 to 65535"),
        (
            bacnet("listen = \"10.0.0.5/24\"\n[bacnet.foreign]\nbbmd = \"10.0.0.5\"").map(|(config, _)| config.role),
            "this gateway itself",
        ),
    ] {
        let found = found.unwrap_err();
        assert!(found.contains(why), "{why}\n{found}");
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

#[test]
fn the_client_shows_a_certificate_or_nothing() {
    let load = |more: &str| {
        let text = format!("mapping = \"m.toml\"\n[site]\nid = \"x\"\n{more}");
        load(Some(&SourceFile::new("gateway.toml", text)), &[])
            .map(|(config, _)| config.modbus.client)
            .map_err(|findings| findings.iter().map(|finding| finding.to_string()).collect::<String>())
    };
    assert_eq!(load(""), Ok(None));
    let files =
        |authorities: &str| load(&format!("[modbus.client]\ncertificate = \"a.pem\"\nkey = \"a.key\"\n{authorities}"));
    let expected = ClientFiles { certificate: "a.pem".into(), key: "a.key".into(), authorities: "ca.pem".into() };
    assert_eq!(files("authorities = \"ca.pem\""), Ok(Some(expected)));
    assert!(files("").unwrap_err().contains("`modbus.client.authorities` is needed"));
    assert!(files("authority = \"ca.pem\"").unwrap_err().contains("did you mean `authorities`?"));
}

#[test]
fn a_hub_and_a_line_are_whole_or_not_there() {
    const FILES: &str = "certificate = \"a.pem\"\nkey = \"a.key\"\nauthorities = \"ca.pem\"";
    let (none, _) = bacnet("").unwrap();
    assert_eq!((none.secure, none.serial), (None, None));
    let hub = |more: &str| bacnet(&format!("[bacnet.sc]\n{more}"));
    for uri in ["wss://hub", "wss://hub.example:4443/bacnet", "wss://[fe80::1]:1", "wss://10.0.0.5:50050"] {
        let (found, findings) = hub(&format!("hub = \"{uri}\"\n{FILES}")).unwrap();
        let port = found.secure.unwrap();
        assert_eq!((port.hub.as_str(), port.reconnect_s, findings.as_str()), (uri, (10, 600), ""));
        assert!(crate::bacnet::Hub::new(uri).is_some(), "{uri}");
    }
    for (more, what) in [
        ("hub = \"ws://hub\"".to_owned(), "no URI of a BACnet/SC hub"),
        ("hub = \"wss://\"".to_owned(), "no URI of a BACnet/SC hub"),
        ("hub = \"wss://me@hub\"".to_owned(), "no URI of a BACnet/SC hub"),
        ("hub = \"wss://hub:0\"".to_owned(), "no URI of a BACnet/SC hub"),
        ("hub = \"wss://[hub]\"".to_owned(), "no URI of a BACnet/SC hub"),
        ("hub = \"wss://hub\"\ncertificate = \"a.pem\"".to_owned(), "`bacnet.sc.key` is needed"),
        (format!("hub = \"wss://hub\"\nfailover = \"hub2\"\n{FILES}"), "`hub2` is no URI"),
        (format!("hub = \"wss://hub\"\nfailover = \"wss://hub\"\n{FILES}"), "the hub itself"),
        ("failover = \"wss://hub\"".to_owned(), "without `bacnet.sc.hub`"),
        (
            format!("hub = \"wss://hub\"\nmin_reconnect_s = 60\nmax_reconnect_s = 20\n{FILES}"),
            "more than max_reconnect_s",
        ),
        ("heartbeat_s = 1".to_owned(), "from 3 to 290"),
    ] {
        let found = hub(&more).unwrap_err();
        assert!(found.contains(what) && found.contains("gateway.toml:"), "{more}: {found}");
    }
    let line = |more: &str| bacnet(&format!("[bacnet.mstp]\npath = \"/dev/ttyUSB0\"\n{more}"));
    let (found, _) = line("mac = 12").unwrap();
    let port = found.serial.unwrap();
    assert_eq!((port.mac, port.baud, port.max_master, port.max_info_frames, port.echo), (12, 38_400, 127, 1, false));
    for (more, what) in [
        ("", "`bacnet.mstp.mac` is needed"),
        ("mac = 12\nmax_master = 11", "above max_master"),
        ("mac = 12\nbaud = 12345", "no speed of MS/TP"),
        ("mac = 128", "from 0 to 127"),
    ] {
        let found = line(more).unwrap_err();
        assert!(found.contains(what), "{more}: {found}");
    }
}
