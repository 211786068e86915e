//! The gateway's own settings: this box, its broker, its listeners. What it controls stands in the mapping.
//!
//! Layers: built-in defaults, the file, then environment variables such as `HEATGATE__MQTT__URL`. Pure over contents.

mod bacnet;
mod keys;
mod layers;
mod listener;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::diagnostic::{Diagnostic, SourceFile};
use crate::point::{PointKey, Priority};
use crate::written::{Findings, did_you_mean};
use layers::Layers;
pub use listener::{Access, Listener, Network, Unit, UnitView, Wire};

pub use bacnet::{Bacnet, BacnetPort, BacnetRole, BacnetSecure, BacnetSerial};

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which site this is.
    pub site: Site,
    /// Where durable state is kept. As written: relative to the configuration file.
    pub state_dir: PathBuf,
    /// The site's mapping. As written: relative to the configuration file.
    pub mapping: PathBuf,
    /// The broker.
    pub mqtt: Mqtt,
    /// The Modbus TCP server.
    pub modbus: Modbus,
    /// The BACnet/IP device.
    pub bacnet: Bacnet,
    /// The status page.
    pub http: Http,
    /// Control.
    pub control: Control,
    /// Recording.
    pub trace: Trace,
    /// Logging.
    pub log: Log,
}

/// Which site this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// One level of every topic: a-z, 0-9, '_', '.', '-'.
    pub id: String,
    /// For people.
    pub name: String,
}

/// The broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mqtt {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Unique at the broker.
    pub client_id: String,
    /// Login, if any.
    pub username: Option<String>,
    /// A file with the password alone. As written: relative to the configuration file.
    pub password_file: Option<PathBuf>,
    /// Seconds, 5 to 3600.
    pub keep_alive_s: u16,
}

/// The Modbus TCP server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modbus {
    /// Address and port.
    pub listen: SocketAddr,
    /// The unit that answers.
    pub unit_id: u8,
    /// Slot of Modbus writes, 9 to 16.
    pub write_priority: Priority,
    /// Connections at once.
    pub max_connections: u16,
    /// Seconds after which a silent connection is closed.
    pub idle_timeout_s: u32,
    /// VendorName of the device identification.
    pub vendor_name: String,
    /// ProductCode of the device identification.
    pub product_code: String,
    /// ProductName of the device identification.
    pub product_name: String,
    /// Units and clients of the first listener.
    pub access: Access,
    /// More listeners.
    pub listeners: Vec<Listener>,
    /// What we show to devices that speak TLS.
    pub client: Option<ClientFiles>,
}

/// What the Modbus client shows to devices that speak TLS, and whom it believes: PEM files. As written: relative to the
/// configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFiles {
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of the devices' certificates.
    pub authorities: PathBuf,
}

/// The status page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// A loopback address and a port.
    pub listen: SocketAddr,
}

/// Control.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// Everything works and nothing is commanded or written.
    pub observe: bool,
}

/// Recording what goes into control, for replay and tuning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Whether it is recorded.
    pub enabled: bool,
    /// Most that is kept, all files together, MB.
    pub max_mb: u32,
    /// In how many files.
    pub files: u16,
}

/// Logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// What is logged, as `tracing` filter directives.
    pub filter: String,
    /// One JSON object a line.
    pub json: bool,
}

/// The settings of the demonstration.
pub fn builtin_demo() -> Arc<SourceFile> {
    SourceFile::new("built-in config/demo.toml", include_str!("../../config/demo.toml"))
}

/// Load the settings; with the warnings, or else everything that is wrong.
pub fn load(
    file: Option<&Arc<SourceFile>>,
    env: &[(String, String)],
) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut findings = Findings::default();
    let layers = Layers::new(file, env, &mut findings);
    let config = Checker { layers, f: &mut findings }.config();
    match config {
        Some(config) if !findings.any_error() => Ok((config, findings.sorted())),
        _ => Err(findings.sorted()),
    }
}

/// The mapping that the settings name, although they cannot be used.
pub fn mapping_of(file: &Arc<SourceFile>, env: &[(String, String)]) -> Option<String> {
    Layers::new(Some(file), env, &mut Findings::default()).text("mapping").filter(|name| !name.is_empty())
}

/// Zones that units of the Modbus server should show, and the mapping has not.
pub fn unknown_zones(config: &Config, zones: &[&str]) -> Vec<Diagnostic> {
    let lists = config.modbus.listeners.iter().map(|listener| &listener.access);
    let units = std::iter::once(&config.modbus.access).chain(lists).flat_map(|access| &access.units);
    let mut findings = Findings::default();
    for unit in units {
        if let UnitView::Zone(zone) = &unit.view
            && !zones.contains(&zone.value.as_str())
        {
            let help = did_you_mean(&zone.value, zones.iter().copied());
            findings.error("unknown-name", &zone.place, format!("the mapping has no zone `{}`", zone.value), help);
        }
    }
    findings.sorted()
}

/// Takes settings out of their layers and checks what they mean.
struct Checker<'a> {
    layers: Layers,
    f: &'a mut Findings,
}

impl Checker<'_> {
    /// All settings; `None` when some of them cannot be had. Everything is looked at in any case.
    fn config(&mut self) -> Option<Config> {
        let site = self.site();
        let id = site.as_ref().map(|site| site.id.clone()).unwrap_or_default();
        let mapping =
            self.needed("mapping", "the site's mapping file, such as mapping = \"../mappings/example-site.toml\"");
        let mqtt = self.mqtt(&id);
        let modbus = self.modbus();
        let bacnet = self.bacnet(&id);
        let http = self.http();
        if let (Some(modbus), Some(http)) = (&modbus, &http)
            && modbus.listen == http.listen
            // Two ports that the system picks are not the same port.
            && modbus.listen.port() != 0
        {
            self.wrong("duplicate-name", "http.listen", "modbus.listen is the same", "choose another port");
        }
        Some(Config {
            site: site?,
            state_dir: self.needed("state_dir", "a directory that the gateway may write")?.into(),
            mapping: mapping?.into(),
            mqtt: mqtt?,
            modbus: modbus?,
            bacnet: bacnet?,
            http: http?,
            control: Control { observe: self.layers.flag("control.observe") },
            trace: Trace {
                enabled: self.layers.flag("trace.enabled"),
                max_mb: self.layers.whole("trace.max_mb")?,
                files: self.layers.whole("trace.files")?,
            },
            log: Log { filter: self.layers.text("log.filter")?, json: self.layers.flag("log.json") },
        })
    }

    fn wrong(&mut self, code: &'static str, path: &str, message: &str, help: &str) {
        self.layers.wrong(code, path, message, help, self.f);
    }

    fn needed(&mut self, path: &str, help: &str) -> Option<String> {
        let text = self.layers.text(path).filter(|text| !text.is_empty());
        if text.is_none() {
            self.wrong("missing-key", path, &format!("`{path}` is needed"), help);
        }
        text
    }

    fn site(&mut self) -> Option<Site> {
        let id = self.needed("site.id", "one level of every topic, such as id = \"store-17\"")?;
        if PointKey::new(id.as_str()).is_err() || id.contains('/') || id.len() > 64 {
            let message = format!("`{id}` cannot be a level of a topic");
            self.wrong("bad-name", "site.id", &message, "a-z, 0-9, '_', '.', '-', at most 64");
        }
        let name = self.layers.text("site.name").unwrap_or_else(|| id.clone());
        Some(Site { id, name })
    }

    fn mqtt(&mut self, site: &str) -> Option<Mqtt> {
        let url = self.needed("mqtt.url", "such as \"mqtt://127.0.0.1:1883\"");
        let broker = url.and_then(|url| self.broker(&url));
        let username = self.layers.text("mqtt.username");
        let password_file = self.layers.text("mqtt.password_file").map(PathBuf::from);
        if password_file.is_some() && username.is_none() {
            let message = "a password needs a user";
            self.wrong("missing-key", "mqtt.password_file", message, "write mqtt.username, too");
        }
        let client_id = self.layers.text("mqtt.client_id").unwrap_or_else(|| format!("heatgate-{site}"));
        if client_id.is_empty() {
            self.wrong("bad-name", "mqtt.client_id", "it is empty", "leave it out for heatgate- and the site's id");
        }
        let (host, port) = broker?;
        Some(Mqtt {
            host,
            port,
            client_id,
            username,
            password_file,
            keep_alive_s: self.layers.whole("mqtt.keep_alive_s")?,
        })
    }

    fn broker(&mut self, url: &str) -> Option<(String, u16)> {
        const PATH: &str = "mqtt.url";
        const HELP: &str = "write it like \"mqtt://127.0.0.1:1883\"";
        let Some((scheme, rest)) = url.split_once("://") else {
            self.wrong("bad-link", PATH, &format!("`{url}` is no URL"), HELP);
            return None;
        };
        match scheme {
            "mqtt" | "tcp" => {}
            "mqtts" | "ssl" | "ws" | "wss" => {
                let message = format!("{scheme}:// is not supported by this version");
                self.wrong(
                    "not-supported",
                    PATH,
                    &message,
                    "reach the broker over mqtt:// in a network that you trust",
                );
                return None;
            }
            _ => {
                self.wrong("bad-link", PATH, &format!("`{scheme}` is no scheme of MQTT"), HELP);
                return None;
            }
        }
        if rest.contains('@') {
            let help = "mqtt.username and mqtt.password_file: no secret stands in this file";
            self.wrong("bad-link", PATH, "a login does not belong into the URL", help);
            return None;
        }
        let rest = rest.trim_end_matches('/');
        // An IPv6 address stands in brackets.
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().ok().filter(|port| *port > 0)),
            _ => (rest, Some(1883)),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let odd = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#');
        match port {
            Some(port) if !host.is_empty() && !host.contains(odd) => Some((host.to_owned(), port)),
            _ => {
                self.wrong("bad-link", PATH, &format!("`{url}` has no host and port"), HELP);
                None
            }
        }
    }

    fn address(&mut self, path: &str, example: &str) -> Option<SocketAddr> {
        let text = self.needed(path, example)?;
        let address = text.parse().ok();
        if address.is_none() {
            let help = format!("write it like \"{example}\"");
            self.wrong("bad-address", path, &format!("`{text}` is no address and port"), &help);
        }
        address
    }

    fn modbus(&mut self) -> Option<Modbus> {
        let listen = self.address("modbus.listen", "0.0.0.0:502")?;
        let client = self.modbus_client();
        Some(Modbus {
            listen,
            unit_id: self.layers.whole("modbus.unit_id")?,
            write_priority: Priority::new(self.layers.whole("modbus.write_priority")?)?,
            max_connections: self.layers.whole("modbus.max_connections")?,
            idle_timeout_s: self.layers.whole("modbus.idle_timeout_s")?,
            vendor_name: self.layers.text("modbus.vendor_name")?,
            product_code: self.layers.text("modbus.product_code")?,
            product_name: self.layers.text("modbus.product_name")?,
            access: std::mem::take(&mut self.layers.access),
            listeners: std::mem::take(&mut self.layers.listeners),
            client,
        })
    }

    fn modbus_client(&mut self) -> Option<ClientFiles> {
        const PATHS: [&str; 3] = ["modbus.client.certificate", "modbus.client.key", "modbus.client.authorities"];
        let files = PATHS.map(|path| self.layers.text(path).filter(|file| !file.is_empty()).map(PathBuf::from));
        if files.iter().any(Option::is_some) {
            for (path, _) in PATHS.iter().zip(&files).filter(|(_, file)| file.is_none()) {
                let help = "devices ask for a certificate, and we ask for theirs: certificate, key and authorities";
                self.wrong("missing-key", path, &format!("`{path}` is needed"), help);
            }
        }
        let [certificate, key, authorities] = files;
        Some(ClientFiles { certificate: certificate?, key: key?, authorities: authorities? })
    }

    fn http(&mut self) -> Option<Http> {
        let listen = self.address("http.listen", "127.0.0.1:8080")?;
        if !listen.ip().is_loopback() {
            let help = "listen on 127.0.0.1, behind a reverse proxy with TLS and a login";
            self.wrong(
                "not-supported",
                "http.listen",
                "off loopback it needs TLS and a login, which this version has not",
                help,
            );
        }
        Some(Http { listen })
    }
}
