//! FC 08 on serial lines: the loop-back test and the counters of "MODBUS Application Protocol V1.1b3", 6.8. Pure.

use crate::modbus::pdu::Exception;

/// Counters of one serial port; they wrap around, and start at 0 with the gateway.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// 0B: frames seen on the line, to anybody.
    pub bus_messages: u16,
    /// 0C: frames with a wrong CRC, and noise.
    pub bus_errors: u16,
    /// 0D: exceptions replied.
    pub exceptions: u16,
    /// 0E: requests to this slave, broadcasts included.
    pub messages: u16,
    /// 0F: requests without a reply, as broadcasts.
    pub no_response: u16,
    /// 11: exception 06 replied.
    pub busy: u16,
}

impl Counters {
    /// Note what was replied.
    pub fn replied(&mut self, reply: &[u8]) {
        if let [function, code, ..] = *reply
            && function >= 0x80
        {
            self.exceptions = self.exceptions.wrapping_add(1);
            if code == Exception::Busy as u8 {
                self.busy = self.busy.wrapping_add(1);
            }
        }
    }

    /// Append the reply to a PDU of function 08. Sub-functions that are not served are exception 01, as the state
    /// diagram of 6.8.2 says.
    pub fn answer(&mut self, pdu: &[u8], out: &mut Vec<u8>) -> Result<(), Exception> {
        let Some([hi, lo, data @ ..]) = pdu.get(1..) else { return Err(Exception::Value) };
        let sub = u16::from_be_bytes([*hi, *lo]);
        let count = match sub {
            0x00 => {
                if data.is_empty() || data.len() % 2 != 0 {
                    return Err(Exception::Value);
                }
                out.extend_from_slice(pdu);
                return Ok(());
            }
            0x0A => {
                *self = Self::default();
                0
            }
            0x0B => self.bus_messages,
            0x0C => self.bus_errors,
            0x0D => self.exceptions,
            0x0E => self.messages,
            0x0F => self.no_response,
            // No negative acknowledgements and no overruns are known here.
            0x10 | 0x12 => 0,
            0x11 => self.busy,
            _ => return Err(Exception::Function),
        };
        if data != [0, 0] {
            return Err(Exception::Value);
        }
        out.extend_from_slice(&[8, *hi, *lo]);
        out.extend_from_slice(&count.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(counters: &mut Counters, pdu: &[u8]) -> Result<Vec<u8>, Exception> {
        let mut out = Vec::new();
        counters.answer(pdu, &mut out).map(|()| out)
    }

    #[test]
    fn a_loop_back_is_the_request() {
        let counters = &mut Counters::default();
        for pdu in [&[8, 0, 0, 0xA5, 0x37][..], &[8, 0, 0, 1, 2, 3, 4]] {
            assert_eq!(ask(counters, pdu), Ok(pdu.to_vec()));
        }
        for pdu in [&[8][..], &[8, 0], &[8, 0, 0], &[8, 0, 0, 1], &[8, 0, 0x0B, 0, 1], &[8, 0, 0x0B]] {
            assert_eq!(ask(counters, pdu), Err(Exception::Value), "{pdu:?}");
        }
        for sub in [1, 2, 3, 4, 0x13, 0x15] {
            assert_eq!(ask(counters, &[8, 0, sub, 0, 0]), Err(Exception::Function), "{sub}");
        }
    }

    #[test]
    fn counters_count_and_are_cleared() {
        let counters = &mut Counters { bus_messages: 0x0102, bus_errors: 3, messages: 7, ..Counters::default() };
        counters.replied(&[0x83, 2]);
        counters.replied(&[0x86, 6]);
        counters.replied(&[3, 2, 0, 0]);
        for (sub, want) in [(0x0B, 0x0102u16), (0x0C, 3), (0x0D, 2), (0x0E, 7), (0x0F, 0), (0x10, 0), (0x11, 1)] {
            let [hi, lo] = want.to_be_bytes();
            assert_eq!(ask(counters, &[8, 0, sub, 0, 0]), Ok(vec![8, 0, sub, hi, lo]), "{sub:#x}");
        }
        assert_eq!(ask(counters, &[8, 0, 0x0A, 0, 0]), Ok(vec![8, 0, 0x0A, 0, 0]));
        assert_eq!(ask(counters, &[8, 0, 0x0B, 0, 0]), Ok(vec![8, 0, 0x0B, 0, 0]));
    }
}
