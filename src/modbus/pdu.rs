//! Requests of masters: bytes of a PDU to a call, checked for form and for the limits of each function. Pure.

use crate::plant::Table;

/// Why a request is not carried out (Application Protocol V1.1b3, 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exception {
    /// 01: a function that is not served.
    Function = 0x01,
    /// 02: an address that is not there, is read-only, or is half of a value.
    Address = 0x02,
    /// 03: a malformed request, or a value that its point refuses.
    Value = 0x03,
    /// 04: it failed inside.
    Failure = 0x04,
    /// 0x0A: what stands behind the address was never reached.
    Path = 0x0A,
    /// 06: try again later.
    Busy = 0x06,
    /// 0x0B: what stands behind the address does not answer.
    Target = 0x0B,
}

/// Values to be written to consecutive registers, big-endian as on the wire; an even number of bytes.
pub(super) type Words<'a> = &'a [u8];

/// One well-formed request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    /// FC 1, 2: 1 to 2000 bits.
    ReadBits { table: Table, address: u16, count: u16 },
    /// FC 3, 4: 1 to 125 registers.
    ReadRegisters { table: Table, address: u16, count: u16 },
    /// FC 5 and 15: 1 to 1968 coils, packed from the lowest bit.
    WriteCoils { address: u16, count: u16, bits: &'a [u8] },
    /// FC 6 and 16: 1 to 123 registers.
    WriteRegisters { address: u16, words: Words<'a> },
    /// FC 22: result = (current AND and) OR (or AND NOT and).
    Mask { address: u16, and: u16, or: u16 },
    /// FC 23: write 1 to 121 registers, then read 1 to 125.
    ReadWrite { read: u16, count: u16, write: u16, words: Words<'a> },
    /// FC 43, MEI 14: which objects, from which on.
    Identify { code: u8, first: u8 },
}

const ON: &[u8] = &[1];
const OFF: &[u8] = &[0];

/// What a PDU asks. Unknown functions are `Function`, everything malformed is `Value`.
pub(super) fn parse(pdu: &[u8]) -> Result<Call<'_>, Exception> {
    let (function, body) = pdu.split_first().ok_or(Exception::Value)?;
    match *function {
        1 => read(body, 2000).map(|(address, count)| Call::ReadBits { table: Table::Coil, address, count }),
        2 => read(body, 2000).map(|(address, count)| Call::ReadBits { table: Table::Discrete, address, count }),
        3 => read(body, 125).map(|(address, count)| Call::ReadRegisters { table: Table::Holding, address, count }),
        4 => read(body, 125).map(|(address, count)| Call::ReadRegisters { table: Table::Input, address, count }),
        5 => match *body {
            [a, b, 0xFF, 0x00] => Ok(Call::WriteCoils { address: word(a, b), count: 1, bits: ON }),
            [a, b, 0x00, 0x00] => Ok(Call::WriteCoils { address: word(a, b), count: 1, bits: OFF }),
            _ => Err(Exception::Value),
        },
        6 => match body {
            [a, b, words @ ..] if words.len() == 2 => Ok(Call::WriteRegisters { address: word(*a, *b), words }),
            _ => Err(Exception::Value),
        },
        15 => match body {
            [a, b, c, d, bytes, bits @ ..] => {
                let count = word(*c, *d);
                let fits = (1..=1968).contains(&count)
                    && usize::from(*bytes) == usize::from(count).div_ceil(8)
                    && bits.len() == usize::from(*bytes);
                fits.then_some(Call::WriteCoils { address: word(*a, *b), count, bits }).ok_or(Exception::Value)
            }
            _ => Err(Exception::Value),
        },
        16 => match body {
            [a, b, c, d, bytes, words @ ..] => {
                holds(word(*c, *d), 123, *bytes, words)?;
                Ok(Call::WriteRegisters { address: word(*a, *b), words })
            }
            _ => Err(Exception::Value),
        },
        22 => match *body {
            [a, b, c, d, e, f] => Ok(Call::Mask { address: word(a, b), and: word(c, d), or: word(e, f) }),
            _ => Err(Exception::Value),
        },
        23 => match body {
            [ra, rb, rc, rd, a, b, c, d, bytes, words @ ..] => {
                let (read, count) = read(&[*ra, *rb, *rc, *rd], 125)?;
                holds(word(*c, *d), 121, *bytes, words)?;
                Ok(Call::ReadWrite { read, count, write: word(*a, *b), words })
            }
            _ => Err(Exception::Value),
        },
        43 => match *body {
            [14, code, first] => Ok(Call::Identify { code, first }),
            [14, ..] | [] => Err(Exception::Value),
            _ => Err(Exception::Function),
        },
        _ => Err(Exception::Function),
    }
}

const fn word(hi: u8, lo: u8) -> u16 {
    u16::from_be_bytes([hi, lo])
}

/// Address and count of a read.
fn read(body: &[u8], most: u16) -> Result<(u16, u16), Exception> {
    match *body {
        [a, b, c, d] if (1..=most).contains(&word(c, d)) => Ok((word(a, b), word(c, d))),
        _ => Err(Exception::Value),
    }
}

/// Whether count, byte count and bytes of a write agree.
fn holds(count: u16, most: u16, bytes: u8, words: Words<'_>) -> Result<(), Exception> {
    let agree = (1..=most).contains(&count)
        && usize::from(bytes) == 2 * usize::from(count)
        && words.len() == usize::from(bytes);
    agree.then_some(()).ok_or(Exception::Value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_function_is_read() {
        let table = |table, address, count| Ok(Call::ReadRegisters { table, address, count });
        assert_eq!(parse(&[3, 1, 2, 0, 125]), table(Table::Holding, 0x102, 125));
        assert_eq!(parse(&[4, 0, 0, 0, 1]), table(Table::Input, 0, 1));
        assert_eq!(parse(&[1, 0, 0, 7, 0xD0]), Ok(Call::ReadBits { table: Table::Coil, address: 0, count: 2000 }));
        assert_eq!(parse(&[2, 0, 9, 0, 1]), Ok(Call::ReadBits { table: Table::Discrete, address: 9, count: 1 }));
        assert_eq!(parse(&[5, 0, 1, 0xFF, 0]), Ok(Call::WriteCoils { address: 1, count: 1, bits: &[1] }));
        assert_eq!(parse(&[5, 0, 1, 0, 0]), Ok(Call::WriteCoils { address: 1, count: 1, bits: &[0] }));
        assert_eq!(parse(&[6, 0, 1, 2, 3]), Ok(Call::WriteRegisters { address: 1, words: &[2, 3] }));
        assert_eq!(
            parse(&[15, 0, 2, 0, 10, 2, 0xCD, 1]),
            Ok(Call::WriteCoils { address: 2, count: 10, bits: &[0xCD, 1] })
        );
        assert_eq!(
            parse(&[16, 0, 1, 0, 2, 4, 0, 10, 1, 2]),
            Ok(Call::WriteRegisters { address: 1, words: &[0, 10, 1, 2] })
        );
        assert_eq!(parse(&[22, 0, 4, 0, 0xF2, 0, 0x25]), Ok(Call::Mask { address: 4, and: 0xF2, or: 0x25 }));
        assert_eq!(
            parse(&[23, 0, 3, 0, 6, 0, 14, 0, 1, 2, 0, 0xFF]),
            Ok(Call::ReadWrite { read: 3, count: 6, write: 14, words: &[0, 0xFF] })
        );
        assert_eq!(parse(&[43, 14, 1, 0]), Ok(Call::Identify { code: 1, first: 0 }));
    }

    #[test]
    fn quantities_and_byte_counts_are_held_to_the_limits() {
        let bad: &[&[u8]] = &[
            &[],
            &[3],
            &[3, 0, 0, 0],
            &[3, 0, 0, 0, 0],
            &[3, 0, 0, 0, 126],
            &[3, 0, 0, 0, 1, 0],
            &[1, 0, 0, 7, 0xD1],
            &[5, 0, 0, 0xFF, 1],
            &[5, 0, 0, 1, 0],
            &[6, 0, 0, 1],
            &[15, 0, 0, 0, 0, 0],
            &[15, 0, 0, 0, 9, 1, 0xFF],
            &[15, 0, 0, 0, 9, 2, 0xFF],
            &[15, 0, 0, 7, 0xB1, 247],
            &[16, 0, 0, 0, 0, 0],
            &[16, 0, 0, 0, 1, 1, 0],
            &[16, 0, 0, 0, 1, 2, 0],
            &[16, 0, 0, 0, 1, 2, 0, 1, 2],
            &[16, 0, 0, 0, 1, 4, 0, 1, 2, 3],
            &[22, 0, 0, 0, 0, 0],
            &[23, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0],
            &[23, 0, 0, 0, 1, 0, 0, 0, 0, 0],
            &[23, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0],
            &[43],
            &[43, 14, 1],
            &[43, 14, 1, 0, 0],
        ];
        for pdu in bad {
            assert_eq!(parse(pdu), Err(Exception::Value), "{pdu:?}");
        }
        let mut most = vec![16, 0, 0, 0, 123, 246];
        most.extend([0; 246]);
        assert!(parse(&most).is_ok());
        let mut over = vec![16, 0, 0, 0, 124, 248];
        over.extend([0; 248]);
        assert_eq!(parse(&over), Err(Exception::Value));
        for unknown in [0u8, 7, 8, 11, 17, 20, 24, 43, 44, 0x80, 0x83, 255] {
            assert_eq!(parse(&[unknown, 0, 0, 0, 1]), Err(Exception::Function), "{unknown}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_bytes_are_a_call_or_an_exception(function in 0u8..50, body in prop::collection::vec(any::<u8>(), 0..253)) {
            let mut pdu = vec![function];
            pdu.extend(&body);
            if let Ok(Call::WriteRegisters { words, .. } | Call::ReadWrite { words, .. }) = parse(&pdu) {
                prop_assert!(words.len() % 2 == 0 && !words.is_empty() && words.len() <= 246);
            }
        }
    }
}
