//! heatgate joins data-center controllers that can cap power (MQTT) and a building's own BMS (Modbus, BACnet): heat
//! demand goes down as power caps, metered heat comes back up. ARCHITECTURE.md is the map; the modules below stand in
//! dependency order, and `tests/architecture.rs` holds them to it.

// vocabulary: pure
pub mod units;
pub mod time;
pub mod point;
pub mod plant;
pub mod request;
pub mod decision;
pub mod diagnostic;
pub mod durable;

// what adapters are given, and what is counted
pub mod telemetry;
pub mod ports;

// files to model: pure over file contents
pub mod written;
pub mod config;
pub mod mapping;

// decisions: pure
pub mod control;
pub mod meter;
pub mod engine;
pub mod trace;

// protocols and durable state: a pure half and an I/O half each
pub mod bacnet;
pub mod modbus;
pub mod mqtt;
pub mod store;
pub mod web;

// shell
pub mod gateway;
pub mod sim;
pub mod simulate;
pub mod cli;
