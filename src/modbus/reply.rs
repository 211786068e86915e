//! One PDU against one image: answered at once, or writes for the engine and what to reply once it agreed. Pure.

use crate::plant::Table;
use crate::point::{Image, PointState, Priority};
use crate::request::{Action, Refusal, Write};

use super::address::AddressSpace;
use super::identity::Identity;
use super::pdu::{Call, Exception, parse};

/// What a request comes to.
#[derive(Debug)]
pub(super) enum Step {
    /// The reply is appended.
    Answered,
    /// The engine must agree first; nothing is appended.
    Ask {
        /// All writes of the PDU; they stand or fall together.
        writes: Vec<Write>,
        /// What is replied when they stand.
        then: Then,
    },
}

/// The reply to a write that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The first bytes of the request, this many.
    Echo(usize),
    /// Holding registers, from an image that shows the write (FC 23).
    Read { address: u16, count: u16 },
}

/// Answer a PDU from an image as far as that goes.
pub(super) fn begin(
    space: &AddressSpace,
    identity: &Identity,
    image: &Image,
    pdu: &[u8],
    priority: Priority,
    out: &mut Vec<u8>,
) -> Step {
    let start = out.len();
    match attempt(space, identity, image, pdu, priority, out) {
        Ok(step) => step,
        Err(exception) => {
            out.truncate(start);
            refuse(pdu, exception, out);
            Step::Answered
        }
    }
}

/// Append the reply to a write that was carried out; `image` shows it.
pub(super) fn finish(space: &AddressSpace, image: &Image, pdu: &[u8], then: Then, out: &mut Vec<u8>) {
    let start = out.len();
    match then {
        Then::Echo(length) => out.extend_from_slice(pdu.get(..length).unwrap_or_default()),
        Then::Read { address, count } => {
            if let Err(exception) = registers(space, image, pdu, (Table::Holding, address, count), out) {
                out.truncate(start);
                refuse(pdu, exception, out);
            }
        }
    }
}

/// Append an exception reply.
pub(super) fn refuse(pdu: &[u8], exception: Exception, out: &mut Vec<u8>) {
    let function = pdu.first().copied().unwrap_or(0);
    out.extend_from_slice(&[function | 0x80, exception as u8]);
}

/// The engine's refusal in Modbus's words. A priority that is not open to Modbus is a fault of our configuration, not
/// of the request: 04.
pub(super) const fn exception(refusal: &Refusal) -> Exception {
    match refusal {
        Refusal::UnknownPoint | Refusal::ReadOnly { .. } | Refusal::NotAllowed { .. } => Exception::Address,
        Refusal::WrongKind { .. } | Refusal::OutOfRange { .. } => Exception::Value,
        Refusal::BadPriority { .. } => Exception::Failure,
        Refusal::Changed { .. } | Refusal::Busy | Refusal::ShuttingDown => Exception::Busy,
    }
}

fn attempt(
    space: &AddressSpace,
    identity: &Identity,
    image: &Image,
    pdu: &[u8],
    priority: Priority,
    out: &mut Vec<u8>,
) -> Result<Step, Exception> {
    match parse(pdu)? {
        Call::ReadBits { table, address, count } => {
            let bytes = u8::try_from(count.div_ceil(8)).map_err(|_| Exception::Value)?;
            out.extend(pdu.first());
            out.push(bytes);
            space.bits(image, table, address, count, out)?;
            Ok(Step::Answered)
        }
        Call::ReadRegisters { table, address, count } => {
            registers(space, image, pdu, (table, address, count), out)?;
            Ok(Step::Answered)
        }
        Call::WriteCoils { address, count, bits } => {
            Ok(Step::Ask { writes: space.write_coils(address, count, bits, priority)?, then: Then::Echo(5) })
        }
        Call::WriteRegisters { address, words } => {
            Ok(Step::Ask { writes: space.write_registers(address, words, priority)?, then: Then::Echo(5) })
        }
        Call::Mask { address, and, or } => {
            let start = out.len();
            space.registers(image, Table::Holding, address, 1, out)?;
            let current = match out.get(start..) {
                Some([hi, lo]) => u16::from_be_bytes([*hi, *lo]),
                _ => return Err(Exception::Failure),
            };
            out.truncate(start);
            let masked = (current & and) | (or & !and);
            let mut writes = space.write_registers(address, &masked.to_be_bytes(), priority)?;
            // What was masked must still stand there when the engine writes.
            for write in &mut writes {
                let seen = image.get(write.point).and_then(PointState::shown);
                if let Action::Set(value) = write.action {
                    write.action = Action::Replace { seen, value };
                }
            }
            Ok(Step::Ask { writes, then: Then::Echo(7) })
        }
        Call::ReadWrite { read, count, write, words } => {
            let writes = space.write_registers(write, words, priority)?;
            // A read that must fail shall fail before anything is written.
            let start = out.len();
            space.registers(image, Table::Holding, read, count, out)?;
            out.truncate(start);
            Ok(Step::Ask { writes, then: Then::Read { address: read, count } })
        }
        Call::Identify { code, first } => identity.answer(code, first, out).map(|()| Step::Answered),
    }
}

/// Append function code, byte count and registers.
fn registers(
    space: &AddressSpace,
    image: &Image,
    pdu: &[u8],
    (table, address, count): (Table, u16, u16),
    out: &mut Vec<u8>,
) -> Result<(), Exception> {
    let bytes = u8::try_from(2 * count).map_err(|_| Exception::Value)?;
    out.extend(pdu.first());
    out.push(bytes);
    space.registers(image, table, address, count, out)
}
