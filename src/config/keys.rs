//! The gateway's settings: every key with its shape and default, in one table.

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// A text or a list of texts; in the environment with commas between them.
    Texts,
    /// Yes or no.
    Flag,
    /// A whole number, both ends included.
    Whole(i64, i64),
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its table, with dots where it stands in another one; empty at the top of the file.
    pub section: &'static str,
    /// Its name in there.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// What it is when nobody says; `None`: there is none, and `Config` says what then.
    pub default: Option<&'static str>,
}

impl Key {
    /// `mqtt.url`
    pub fn path(&self) -> String {
        if self.section.is_empty() { self.name.to_owned() } else { format!("{}.{}", self.section, self.name) }
    }

    /// `HEATGATE__MQTT__URL`
    pub fn variable(&self) -> String {
        format!("{PREFIX}{SEPARATOR}{}", self.path().replace('.', SEPARATOR).to_uppercase())
    }
}

/// What environment variables start with.
pub const PREFIX: &str = "HEATGATE";
/// What stands between their parts.
pub const SEPARATOR: &str = "__";

/// The tables of the file; one inside another follows it.
pub const SECTIONS: &[&str] = &[
    "site",
    "mqtt",
    "modbus",
    "modbus.client",
    "bacnet",
    "bacnet.foreign",
    "bacnet.bbmd",
    "bacnet.sc",
    "bacnet.mstp",
    "http",
    "control",
    "trace",
    "log",
];

const fn key(section: &'static str, name: &'static str, shape: Shape, default: Option<&'static str>) -> Key {
    Key { section, name, shape, default }
}

/// Every setting.
pub const KEYS: &[Key] = &[
    key("", "state_dir", Shape::Text, Some("/var/lib/heatgate")),
    key("", "mapping", Shape::Text, None),
    key("site", "id", Shape::Text, None),
    key("site", "name", Shape::Text, None),
    key("mqtt", "url", Shape::Text, Some("mqtt://127.0.0.1:1883")),
    key("mqtt", "client_id", Shape::Text, None),
    key("mqtt", "username", Shape::Text, None),
    key("mqtt", "password_file", Shape::Text, None),
    key("mqtt", "keep_alive_s", Shape::Whole(5, 3600), Some("30")),
    key("modbus", "listen", Shape::Text, Some("0.0.0.0:502")),
    key("modbus", "unit_id", Shape::Whole(0, 255), Some("1")),
    // Slots 1 to 8 are people's and safety's.
    key("modbus", "write_priority", Shape::Whole(9, 16), Some("15")),
    key("modbus", "max_connections", Shape::Whole(1, 1000), Some("32")),
    key("modbus", "idle_timeout_s", Shape::Whole(10, 86_400), Some("300")),
    key("modbus", "vendor_name", Shape::Text, Some("heatgate")),
    key("modbus", "product_code", Shape::Text, Some("gateway")),
    key("modbus", "product_name", Shape::Text, Some("Gateway between heating computers and the building")),
    key("modbus.client", "certificate", Shape::Text, None),
    key("modbus.client", "key", Shape::Text, None),
    key("modbus.client", "authorities", Shape::Text, None),
    key("bacnet", "enabled", Shape::Flag, Some("false")),
    key("bacnet", "listen", Shape::Texts, Some("0.0.0.0:47808")),
    key("bacnet", "broadcast", Shape::Text, None),
    key("bacnet", "network", Shape::Whole(0, 65_534), Some("0")),
    key("bacnet", "instance", Shape::Whole(0, 4_194_302), None),
    key("bacnet", "vendor_id", Shape::Whole(0, 65_535), Some("65535")),
    key("bacnet", "vendor_name", Shape::Text, Some("heatgate")),
    key("bacnet", "model", Shape::Text, Some("heatgate")),
    key("bacnet", "name", Shape::Text, None),
    key("bacnet", "location", Shape::Text, Some("")),
    key("bacnet", "description", Shape::Text, Some("Gateway between heating computers and the building")),
    key("bacnet", "password_file", Shape::Text, None),
    key("bacnet.foreign", "bbmd", Shape::Text, None),
    key("bacnet.foreign", "ttl_s", Shape::Whole(5, 65_535), Some("300")),
    key("bacnet.bbmd", "enabled", Shape::Flag, Some("false")),
    key("bacnet.bbmd", "peers", Shape::Texts, None),
    key("bacnet.bbmd", "foreign_devices", Shape::Flag, Some("true")),
    key("bacnet.bbmd", "writable", Shape::Flag, Some("false")),
    key("bacnet.sc", "hub", Shape::Text, None),
    key("bacnet.sc", "failover", Shape::Text, None),
    key("bacnet.sc", "certificate", Shape::Text, None),
    key("bacnet.sc", "key", Shape::Text, None),
    key("bacnet.sc", "authorities", Shape::Text, None),
    key("bacnet.sc", "hub_named", Shape::Flag, Some("false")),
    // Ranges of the properties of clause 12.56 in 135-2020.
    key("bacnet.sc", "min_reconnect_s", Shape::Whole(2, 300), Some("10")),
    key("bacnet.sc", "max_reconnect_s", Shape::Whole(2, 600), Some("600")),
    key("bacnet.sc", "connect_wait_s", Shape::Whole(5, 300), Some("10")),
    key("bacnet.sc", "heartbeat_s", Shape::Whole(3, 290), Some("60")),
    key("bacnet.mstp", "path", Shape::Text, None),
    key("bacnet.mstp", "mac", Shape::Whole(0, 127), None),
    key("bacnet.mstp", "baud", Shape::Whole(9600, 115_200), Some("38400")),
    key("bacnet.mstp", "max_master", Shape::Whole(1, 127), Some("127")),
    key("bacnet.mstp", "max_info_frames", Shape::Whole(1, 255), Some("1")),
    key("bacnet.mstp", "echo", Shape::Flag, Some("false")),
    key("http", "listen", Shape::Text, Some("127.0.0.1:8080")),
    key("control", "observe", Shape::Flag, Some("false")),
    key("trace", "enabled", Shape::Flag, Some("true")),
    key("trace", "max_mb", Shape::Whole(1, 100_000), Some("64")),
    key("trace", "files", Shape::Whole(2, 1000), Some("8")),
    key("log", "filter", Shape::Text, Some("info")),
    key("log", "json", Shape::Flag, Some("false")),
];
