//! Who answers: FC 43 / MEI 14, Read Device Identification (Application Protocol V1.1b3, 6.21). Pure.

use super::pdu::Exception;

/// Basic objects by number: VendorName, ProductCode, MajorMinorRevision.
const OBJECTS: [&str; 3] = [env!("CARGO_PKG_NAME"), "gateway", env!("CARGO_PKG_VERSION")];

/// Conformity: basic identification, by stream and object by object.
const BASIC: u8 = 0x81;

/// Append the reply from the function code on. `code` is 1 to 3 for a stream from object `first` (regular and extended
/// get what there is: the basic ones) and 4 for one object.
pub(super) fn identify(code: u8, first: u8, out: &mut Vec<u8>) -> Result<(), Exception> {
    let wanted = match code {
        // A stream from an object that is not there begins anew.
        1..=3 if usize::from(first) < OBJECTS.len() => first..=u8::MAX,
        1..=3 => 0..=u8::MAX,
        4 if usize::from(first) < OBJECTS.len() => first..=first,
        4 => return Err(Exception::Address),
        _ => return Err(Exception::Value),
    };
    let objects = || (0u8..).zip(OBJECTS).filter(|(id, _)| wanted.contains(id));
    let count = u8::try_from(objects().count()).map_err(|_| Exception::Failure)?;
    // No more follows: all of them together are far shorter than a PDU.
    out.extend_from_slice(&[43, 14, code, BASIC, 0, 0, count]);
    for (id, text) in objects() {
        let length = u8::try_from(text.len()).map_err(|_| Exception::Failure)?;
        out.extend_from_slice(&[id, length]);
        out.extend_from_slice(text.as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_or_one_object() {
        let of = |code, first| {
            let mut out = Vec::new();
            identify(code, first, &mut out).map(|()| out)
        };
        let version = env!("CARGO_PKG_VERSION");
        let all = of(1, 0).unwrap();
        assert_eq!(all[..7], [43, 14, 1, 0x81, 0, 0, 3]);
        assert_eq!(all[7..17], *b"\x00\x08heatgate");
        assert!(all.ends_with(version.as_bytes()));
        assert_eq!(of(1, 9).unwrap(), all, "a stream from nowhere begins anew");
        assert_eq!(of(3, 0).unwrap()[2..], [&[3], &all[3..]].concat());
        assert_eq!(of(2, 1).unwrap()[6], 2);
        assert_eq!(of(4, 0).unwrap(), [&[43, 14, 4, 0x81, 0, 0, 1], &b"\x00\x08heatgate"[..]].concat());
        assert_eq!(of(4, 3), Err(Exception::Address));
        assert_eq!(of(0, 0), Err(Exception::Value));
        assert_eq!(of(5, 0), Err(Exception::Value));
    }
}
