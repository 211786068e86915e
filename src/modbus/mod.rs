//! Modbus both ways: a pure half (frames, PDUs, the served address table, the read plan) and an I/O half (server,
//! client). The wires are those of "MODBUS Application Protocol V1.1b3", "MODBUS Messaging on TCP/IP
//! Implementation Guide V1.0b", "MODBUS over Serial Line V1.02" and "MODBUS/TCP Security".

mod address;
pub mod budget;
pub mod client;
pub mod fuzz;
mod identity;
mod kept;
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
