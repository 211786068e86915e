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
mod rtu;
mod serial;
pub mod server;
pub mod tls;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
