//! Requests and responses as bytes, for lines whose frames are ours. Pure. The words are the vendor's; over TCP its own
//! codec writes and reads them.

use std::borrow::Cow;

use tokio_modbus::{Request, Response};

use super::line::Answer;

/// Append a request; its function code. `None`: not one of those that the client makes, or longer than a PDU.
pub(super) fn write(request: &Request<'_>, out: &mut Vec<u8>) -> Option<u8> {
    let mut head = |function: u8, a: u16, b: u16| {
        out.push(function);
        out.extend_from_slice(&a.to_be_bytes());
        out.extend_from_slice(&b.to_be_bytes());
        function
    };
    Some(match request {
        Request::ReadCoils(address, count) => head(1, *address, *count),
        Request::ReadDiscreteInputs(address, count) => head(2, *address, *count),
        Request::ReadHoldingRegisters(address, count) => head(3, *address, *count),
        Request::ReadInputRegisters(address, count) => head(4, *address, *count),
        Request::WriteSingleCoil(address, on) => head(5, *address, if *on { 0xFF00 } else { 0 }),
        Request::WriteSingleRegister(address, word) => head(6, *address, *word),
        Request::WriteMultipleRegisters(address, words) => {
            // At most 123 (Application Protocol V1.1b3, 6.12).
            let count = u8::try_from(words.len()).ok().filter(|count| (1..=123).contains(count))?;
            let function = head(16, *address, count.into());
            out.push(count * 2);
            words.iter().for_each(|word| out.extend_from_slice(&word.to_be_bytes()));
            function
        }
        _ => return None,
    })
}

/// What a request makes of a reply's PDU: the response, or the exception code; `None`: it is no answer to it.
pub(super) fn answer(request: &Request<'_>, pdu: &[u8]) -> Option<Answer> {
    let (function, rest) = pdu.split_first()?;
    if let (0x81.., [code]) = (*function, rest) {
        return Some(Err(*code));
    }
    let response = match (request, function) {
        (Request::ReadCoils(_, count), 1) => Response::ReadCoils(bits(rest, *count)?),
        (Request::ReadDiscreteInputs(_, count), 2) => Response::ReadDiscreteInputs(bits(rest, *count)?),
        (Request::ReadHoldingRegisters(_, count), 3) => Response::ReadHoldingRegisters(words(rest, *count)?),
        (Request::ReadInputRegisters(_, count), 4) => Response::ReadInputRegisters(words(rest, *count)?),
        (Request::WriteSingleCoil(..) | Request::WriteSingleRegister(..), 5 | 6) => {
            // Both are echoed whole.
            let mut asked = Vec::with_capacity(5);
            write(request, &mut asked)?;
            if asked != pdu {
                return None;
            }
            obeyed(request)?
        }
        (Request::WriteMultipleRegisters(address, words), 16) => {
            let count = u16::try_from(words.len()).ok()?;
            let [a, b] = address.to_be_bytes();
            let [c, d] = count.to_be_bytes();
            if rest != [a, b, c, d] {
                return None;
            }
            obeyed(request)?
        }
        _ => return None,
    };
    Some(Ok(response))
}

/// Whether a response is one to this request: as many values as were asked for (bits come in whole bytes), or the echo
/// of what was written.
pub(super) fn fits(request: &Request<'_>, response: &Response) -> bool {
    match (request, response) {
        (Request::ReadCoils(_, count), Response::ReadCoils(bits))
        | (Request::ReadDiscreteInputs(_, count), Response::ReadDiscreteInputs(bits)) => {
            bits.len() == usize::from(*count).next_multiple_of(8)
        }
        (Request::ReadHoldingRegisters(_, count), Response::ReadHoldingRegisters(words))
        | (Request::ReadInputRegisters(_, count), Response::ReadInputRegisters(words)) => {
            words.len() == usize::from(*count)
        }
        (request, response) => obeyed(request).is_some_and(|obeyed| obeyed == *response),
    }
}

/// The response to a write that was carried out.
pub(super) fn obeyed(request: &Request<'_>) -> Option<Response> {
    Some(match request {
        Request::WriteSingleCoil(address, on) => Response::WriteSingleCoil(*address, *on),
        Request::WriteSingleRegister(address, word) => Response::WriteSingleRegister(*address, *word),
        Request::WriteMultipleRegisters(address, words) => {
            Response::WriteMultipleRegisters(*address, u16::try_from(words.len()).ok()?)
        }
        _ => return None,
    })
}

/// A write of one or more registers: one by FC 6, which every device has, more by FC 16.
pub(super) fn write_registers(address: u16, words: &[u16], single: bool) -> Request<'static> {
    match words {
        [word] if single => Request::WriteSingleRegister(address, *word),
        words => Request::WriteMultipleRegisters(address, Cow::Owned(words.to_vec())),
    }
}

/// So many registers, and nothing else.
fn words(rest: &[u8], count: u16) -> Option<Vec<u16>> {
    let (length, bytes) = rest.split_first()?;
    let whole = usize::from(*length) == bytes.len() && bytes.len() == 2 * usize::from(count);
    let word = |pair: &[u8]| Some(u16::from_be_bytes(pair.try_into().ok()?));
    if whole { bytes.chunks_exact(2).map(word).collect() } else { None }
}

/// The bits of whole bytes: as many as there are, as the vendor's codec has them.
fn bits(rest: &[u8], count: u16) -> Option<Vec<bool>> {
    let (length, bytes) = rest.split_first()?;
    let whole = usize::from(*length) == bytes.len() && bytes.len() == usize::from(count).div_ceil(8);
    whole.then(|| bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(request: &Request<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        write(request, &mut out).unwrap();
        out
    }

    #[test]
    fn requests_as_the_standard_prints_them() {
        // Application Protocol V1.1b3, the examples of 6.3, 6.5, 6.6 and 6.12.
        assert_eq!(bytes(&Request::ReadHoldingRegisters(0x6B, 3)), [3, 0, 0x6B, 0, 3]);
        assert_eq!(bytes(&Request::WriteSingleCoil(0xAC, true)), [5, 0, 0xAC, 0xFF, 0]);
        assert_eq!(bytes(&write_registers(1, &[3], true)), [6, 0, 1, 0, 3]);
        assert_eq!(bytes(&write_registers(1, &[3], false)), [16, 0, 1, 0, 1, 2, 0, 3]);
        assert_eq!(bytes(&write_registers(1, &[10, 258], true)), [16, 0, 1, 0, 2, 4, 0, 10, 1, 2]);
        assert_eq!(write(&write_registers(0, &[0; 124], true), &mut Vec::new()), None);
        assert_eq!(write(&Request::ReportServerId, &mut Vec::new()), None);
    }

    #[test]
    fn an_answer_has_the_length_that_was_asked_for_or_is_none() {
        let request = Request::ReadInputRegisters(8, 2);
        assert_eq!(answer(&request, &[4, 4, 0, 1, 0, 2]), Some(Ok(Response::ReadInputRegisters(vec![1, 2]))));
        for other in [&[4, 2, 0, 1][..], &[4, 4, 0, 1, 0], &[3, 4, 0, 1, 0, 2], &[4, 6, 0, 1, 0, 2, 0, 3], &[4], &[]] {
            assert_eq!(answer(&request, other), None, "{other:?}");
        }
        assert_eq!(answer(&request, &[0x84, 2]), Some(Err(2)));
        let coils = Request::ReadCoils(0, 9);
        assert_eq!(answer(&coils, &[1, 1, 0xFF]), None);
        let Some(Ok(Response::ReadCoils(bits))) = answer(&coils, &[1, 2, 0x01, 0x01]) else { panic!() };
        assert_eq!((bits.len(), bits[0], bits[1], bits[8]), (16, true, false, true));
    }

    #[test]
    fn a_write_is_answered_by_its_echo_alone() {
        let one = write_registers(7, &[0x1234], true);
        assert_eq!(answer(&one, &[6, 0, 7, 0x12, 0x34]), Some(Ok(Response::WriteSingleRegister(7, 0x1234))));
        assert_eq!(answer(&one, &[6, 0, 7, 0x12, 0x35]), None);
        let two = write_registers(7, &[1, 2], true);
        assert_eq!(answer(&two, &[16, 0, 7, 0, 2]), Some(Ok(Response::WriteMultipleRegisters(7, 2))));
        assert_eq!(answer(&two, &[16, 0, 7, 0, 3]), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn nothing_that_comes_back_panics(pdu in prop::collection::vec(any::<u8>(), 0..260), count in any::<u16>()) {
            for request in [
                Request::ReadCoils(0, count), Request::ReadDiscreteInputs(0, count), Request::ReadInputRegisters(0, count),
                Request::ReadHoldingRegisters(0, count), Request::WriteSingleCoil(0, true),
                write_registers(0, &[count], true), write_registers(0, &[count; 9], true),
            ] {
                let _ = answer(&request, &pdu);
            }
        }
    }
}
