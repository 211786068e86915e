//! The Modbus server's listeners, from the configuration: files read, zones found, ports taken; and the certificates of
//! other links.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::wire::StartError;
use crate::bacnet;
use crate::config::{Access, BacnetSecure, ClientFiles, Config, Network, Unit, UnitView, Wire};
use crate::modbus::server::{self, Clients, Identity, Rights, Server, Settings, View};
use crate::modbus::tls;
use crate::plant::Plant;
use crate::time::Timeout;

/// All of them, the first one first.
pub(super) fn bind(config: &Config, plant: &Arc<Plant>) -> Result<Vec<Server>, StartError> {
    let modbus = &config.modbus;
    let first = (&Wire::Tcp(modbus.listen), &modbus.access);
    let more = modbus.listeners.iter().map(|listener| (&listener.wire, &listener.access));
    let mut servers = Vec::new();
    for (number, (wire, access)) in std::iter::once(first).chain(more).enumerate() {
        let address = match wire {
            Wire::Tcp(listen) | Wire::RtuOverTcp(listen) | Wire::Tls { listen, .. } => *listen,
            Wire::Rtu { .. } => modbus.listen,
        };
        let name = if number == 0 { server::LINK.to_owned() } else { format!("{}-{}", server::LINK, number + 1) };
        let settings = Settings {
            name,
            units: units(&access.units, modbus.unit_id, plant),
            write_priority: modbus.write_priority,
            clients: clients(access),
            identity: Identity::new(
                &modbus.vendor_name,
                &modbus.product_code,
                env!("CARGO_PKG_VERSION"),
                &modbus.product_name,
                &config.site.name,
            ),
            max_connections: usize::from(modbus.max_connections),
            idle_timeout: Timeout::millis(u64::from(modbus.idle_timeout_s) * 1000),
            ..Settings::on(served(wire)?)
        };
        let server = Server::bind(settings, Arc::clone(plant)).map_err(|source| StartError::Listen {
            what: "the Modbus server",
            address,
            option: if number == 0 { "modbus.listen" } else { "listen of [[modbus.listener]]" },
            source,
        })?;
        servers.push(server);
    }
    Ok(servers)
}

fn served(wire: &Wire) -> Result<server::Wire, StartError> {
    Ok(match wire {
        Wire::Tcp(listen) => server::Wire::Tcp(*listen),
        Wire::RtuOverTcp(listen) => server::Wire::RtuOverTcp(*listen),
        Wire::Rtu { line, echo } => server::Wire::Serial { line: line.clone(), echo: *echo },
        Wire::Tls { listen, certificate, key, authorities, readers, writers } => {
            let tls = with_files([certificate, key, authorities], "[[modbus.listener]]", tls::Server::new)?;
            let mut roles = BTreeMap::new();
            roles.extend(readers.iter().map(|role| (role.clone(), Rights::READ)));
            roles.extend(writers.iter().map(|role| (role.clone(), Rights::ALL)));
            server::Wire::Tls { listen: *listen, tls, roles }
        }
    })
}

/// What the client shows to devices that speak TLS.
pub(super) fn client_tls(config: &Config) -> Result<Option<tls::Client>, StartError> {
    let Some(ClientFiles { certificate, key, authorities }) = &config.modbus.client else { return Ok(None) };
    with_files([certificate, key, authorities], "[modbus.client]", tls::Client::new).map(Some)
}

/// What the BACnet/SC port shows to its hub.
pub(super) fn hub_tls(config: &Config) -> Result<Option<bacnet::Tls>, StartError> {
    let Some(port) = &config.bacnet.secure else { return Ok(None) };
    bacnet_tls(port).map(Some).map_err(|(file, why)| StartError::Certificate { file, why, section: "[bacnet.sc]" })
}

/// The certificates of a BACnet/SC port; which file cannot be used, and why.
pub(crate) fn bacnet_tls(port: &BacnetSecure) -> Result<bacnet::Tls, (PathBuf, String)> {
    let ClientFiles { certificate, key, authorities } = &port.files;
    let contents = |file: &PathBuf| std::fs::read(file).map_err(|error| (file.clone(), error.to_string()));
    let pem =
        bacnet::Pem { certificate: contents(certificate)?, key: contents(key)?, authorities: contents(authorities)? };
    bacnet::Tls::new(&pem, port.hub_named).map_err(|error| {
        let file = match &error {
            bacnet::TlsError::Key(_) => key,
            bacnet::TlsError::Authorities(_) => authorities,
            bacnet::TlsError::Certificate(_) | bacnet::TlsError::Unfit(_) => certificate,
        };
        (file.clone(), error.to_string())
    })
}

/// Read certificate, key and authorities, and make something of them.
fn with_files<T>(
    [certificate, key, authorities]: [&PathBuf; 3],
    section: &'static str,
    make: impl Fn(&tls::Pem) -> Result<T, tls::TlsError>,
) -> Result<T, StartError> {
    let unusable = |file: &PathBuf, why: String| StartError::Certificate { file: file.clone(), why, section };
    let contents = |file: &PathBuf| std::fs::read(file).map_err(|error| unusable(file, error.to_string()));
    let pem =
        tls::Pem { certificate: contents(certificate)?, key: contents(key)?, authorities: contents(authorities)? };
    make(&pem).map_err(|error| {
        let file = match &error {
            tls::TlsError::Key(_) => key,
            tls::TlsError::Authorities(_) => authorities,
            tls::TlsError::Certificate(_) | tls::TlsError::Unfit(_) => certificate,
        };
        unusable(file, error.to_string())
    })
}

fn units(units: &[Unit], unit_id: u8, plant: &Plant) -> Vec<(u8, View)> {
    if units.is_empty() {
        return vec![(unit_id, View::Whole)];
    }
    let view = |unit: &Unit| match &unit.view {
        UnitView::Whole => Some(View::Whole),
        UnitView::Window { first, count } => Some(View::Window { first: *first, count: *count }),
        UnitView::Zone(name) => {
            let zone = plant.zones.iter().find(|zone| zone.name == name.value)?;
            let count = plant.modbus.stride;
            Some(View::Window { first: count.checked_mul(u16::from(zone.index))?, count })
        }
    };
    units.iter().filter_map(|unit| Some((unit.unit, view(unit)?))).collect()
}

fn clients(access: &Access) -> Clients {
    let list = |list: &Option<Vec<Network>>| {
        let network = |network: &Network| server::Network { address: network.address, prefix: network.prefix };
        list.as_ref().map(|list| list.iter().map(network).collect())
    };
    Clients { allowed: list(&access.clients), writers: list(&access.writers) }
}
