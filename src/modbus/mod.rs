//! Modbus both ways: a pure half (frames, PDUs, the served address table, the read plan) and an I/O half (server,
//! client). Modbus TCP only; the wire is that of "MODBUS Application Protocol V1.1b3" and "MODBUS Messaging on TCP/IP
//! Implementation Guide V1.0b".

mod address;
pub mod client;
mod identity;
mod mbap;
mod pdu;
pub mod plan;
mod readings;
mod reply;
#[allow(dead_code, reason = "framing stands before the two that use it")]
mod rtu;
#[allow(dead_code, reason = "as above")]
mod serial;
pub mod server;
#[allow(dead_code, reason = "as above")]
pub mod tls;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
