//! The simulated site: plant model, heaters, meter, BMS, and a loopback broker. For the demo and the tests.
//!
//! A simulated part talks only over sockets (MQTT, Modbus), so it is the same part in the gateway's process, in one of its
//! own, or replaced by the real thing. It is written from the published contract alone and shares no code with the
//! gateway's adapters: each is the other's witness.

pub mod noise;
pub mod plant;

pub mod bms;
pub mod broker;
pub mod heater;
pub mod meter;

mod link;
mod wait;
#[cfg(test)]
mod testing;

pub use link::BrokerAddress;
