//! Who answers: FC 43 / MEI 14, Read Device Identification (Application Protocol V1.1b3, 6.21). Pure.

use super::pdu::Exception;

/// Conformity: regular identification, by stream and object by object.
const REGULAR: u8 = 0x82;

/// Most bytes of objects in one reply: a PDU of 253 and a head of 7.
const ROOM: usize = 246;

/// Most bytes of one text, so that it fits into a reply.
const TEXT: usize = ROOM - 2;

/// What the server says of itself: objects by number, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    objects: Vec<(u8, String)>,
}

impl Identity {
    /// VendorName, ProductCode, MajorMinorRevision, ProductName, and the site as UserApplicationName. Empty ones of the
    /// last two are left out; long ones are cut to what fits into a reply.
    pub fn new(vendor: &str, product: &str, revision: &str, name: &str, site: &str) -> Self {
        let basic = [(0, vendor), (1, product), (2, revision)];
        let regular = [(4, name), (6, site)].into_iter().filter(|(_, text)| !text.is_empty());
        let cut = |text: &str| text.get(..text.floor_char_boundary(TEXT)).unwrap_or_default().to_owned();
        Self { objects: basic.into_iter().chain(regular).map(|(id, text)| (id, cut(text))).collect() }
    }

    /// Append the reply from the function code on. `code` is 1 to 3 for a stream of basic, regular or all objects from
    /// `first` on, and 4 for one object. What does not fit is announced, and asked for by its number.
    pub(super) fn answer(&self, code: u8, first: u8, out: &mut Vec<u8>) -> Result<(), Exception> {
        let last = match code {
            1 => 2,
            2 => 0x7F,
            3 => u8::MAX,
            4 => first,
            _ => return Err(Exception::Value),
        };
        let known = self.objects.iter().any(|(id, _)| *id == first);
        let wanted = match (known, code) {
            (false, 4) => return Err(Exception::Address),
            // A stream from an object that is not there begins anew.
            (false, _) => 0..=last,
            (true, _) => first..=last,
        };
        let head = out.len();
        out.extend_from_slice(&[43, 14, code, REGULAR, 0, 0, 0]);
        let (mut count, mut more) = (0u8, None);
        let body = out.len();
        for (id, text) in self.objects.iter().filter(|(id, _)| wanted.contains(id)) {
            let length = u8::try_from(text.len()).map_err(|_| Exception::Failure)?;
            if out.len() - body + 2 + text.len() > ROOM {
                more = Some(*id);
                break;
            }
            out.extend_from_slice(&[*id, length]);
            out.extend_from_slice(text.as_bytes());
            count += 1;
        }
        if let Some([.., follows, next, number]) = out.get_mut(head..body) {
            *number = count;
            if let Some(id) = more {
                (*follows, *next) = (0xFF, id);
            }
        }
        Ok(())
    }
}

impl Default for Identity {
    fn default() -> Self {
        let name = env!("CARGO_PKG_NAME");
        Self::new(name, "gateway", env!("CARGO_PKG_VERSION"), "", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(identity: &Identity, code: u8, first: u8) -> Result<Vec<u8>, Exception> {
        let mut out = Vec::new();
        identity.answer(code, first, &mut out).map(|()| out)
    }

    #[test]
    fn a_stream_or_one_object() {
        let identity = Identity::new("heatgate", "gateway", "1.2.3", "Gateway", "Store 17");
        let basic = of(&identity, 1, 0).unwrap();
        assert_eq!(basic, [&[43, 14, 1, 0x82, 0, 0, 3], &b"\x00\x08heatgate\x01\x07gateway\x02\x051.2.3"[..]].concat());
        assert_eq!(of(&identity, 1, 9).unwrap(), basic, "a stream from nowhere begins anew");
        let regular = of(&identity, 2, 0).unwrap();
        assert_eq!(regular[6], 5);
        assert!(regular.ends_with(b"\x04\x07Gateway\x06\x08Store 17"));
        assert_eq!(of(&identity, 2, 4).unwrap()[6], 2);
        assert_eq!(of(&identity, 3, 0).unwrap()[6], 5);
        assert_eq!(of(&identity, 4, 6).unwrap(), [&[43, 14, 4, 0x82, 0, 0, 1], &b"\x06\x08Store 17"[..]].concat());
        assert_eq!(of(&identity, 4, 3), Err(Exception::Address));
        assert_eq!(of(&identity, 0, 0), Err(Exception::Value));
        assert_eq!(of(&identity, 5, 0), Err(Exception::Value));
    }

    #[test]
    fn what_does_not_fit_follows() {
        let long = "\u{e4}".repeat(200);
        let identity = Identity::new(&long, "gateway", &long, "", &long);
        let mut next = 0;
        let mut seen = Vec::new();
        loop {
            let reply = of(&identity, 3, next).unwrap();
            assert!(reply.len() <= 253);
            seen.push((reply[6], reply[4], reply[5]));
            if reply[4] == 0 {
                break;
            }
            next = reply[5];
        }
        assert_eq!(seen, [(1, 0xFF, 1), (1, 0xFF, 2), (1, 0xFF, 6), (1, 0, 0)]);
    }
}
