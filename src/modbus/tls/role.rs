//! The role in a certificate: the X.509v3 extension 1.3.6.1.4.1.50316.802.1 of "MODBUS/TCP Security", a UTF8String.
//! A walk over DER (ITU-T X.690) that knows no more than it needs. Pure.

/// 1.3.6.1.4.1.50316.802.1, encoded.
const ROLE: &[u8] = &[0x2B, 6, 1, 4, 1, 0x83, 0x89, 0x0C, 0x86, 0x22, 1];

/// Longest role that is believed, bytes.
const LONGEST: usize = 128;

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0C;
const SEQUENCE: u8 = 0x30;
/// `[3]`, constructed: where the extensions of a certificate are (RFC 5280, 4.1).
const EXTENSIONS: u8 = 0xA3;

/// The role that a certificate in DER names. `None` without one, with an unreadable one, and with two.
pub fn role(certificate: &[u8]) -> Option<&str> {
    let (certificate, _) = expect(SEQUENCE, certificate)?;
    let (mut fields, _) = expect(SEQUENCE, certificate)?;
    let wrapped = loop {
        let (tag, content, rest) = element(fields)?;
        if tag == EXTENSIONS {
            break content;
        }
        fields = rest;
    };
    let (mut extensions, _) = expect(SEQUENCE, wrapped)?;
    let mut found = None;
    while !extensions.is_empty() {
        let (extension, rest) = expect(SEQUENCE, extensions)?;
        extensions = rest;
        let (name, value) = expect(OBJECT_IDENTIFIER, extension)?;
        if name != ROLE {
            continue;
        }
        let value = expect(BOOLEAN, value).map_or(value, |(_, rest)| rest);
        let (value, _) = expect(OCTET_STRING, value)?;
        let (text, rest) = expect(UTF8_STRING, value)?;
        if found.is_some() || !rest.is_empty() || text.len() > LONGEST {
            return None;
        }
        found = Some(std::str::from_utf8(text).ok()?);
    }
    found
}

/// The content of an element of this tag, and what follows it.
fn expect(wanted: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    (tag == wanted).then_some((content, rest))
}

/// Tag, content, and what follows. Tags of one byte and lengths of up to four: what certificates have.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(*first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap();
        let mut out = vec![tag];
        match length {
            0..0x80 => out.push(length.to_be_bytes()[1]),
            _ => out.extend([&[0x82], &length.to_be_bytes()[..]].concat()),
        }
        out.extend_from_slice(content);
        out
    }

    fn extension(name: &[u8], critical: bool, value: &[u8]) -> Vec<u8> {
        let critical = if critical { put(BOOLEAN, &[0xFF]) } else { Vec::new() };
        put(SEQUENCE, &[put(OBJECT_IDENTIFIER, name), critical, put(OCTET_STRING, value)].concat())
    }

    fn certificate(extensions: &[Vec<u8>]) -> Vec<u8> {
        let fields = [put(0xA0, &put(2, &[2])), put(2, &[7]), put(SEQUENCE, &[0; 200])].concat();
        let extensions = put(EXTENSIONS, &put(SEQUENCE, &extensions.concat()));
        put(SEQUENCE, &[put(SEQUENCE, &[fields, extensions].concat()), put(SEQUENCE, &[])].concat())
    }

    #[test]
    fn the_role_is_found_among_other_extensions() {
        let usage = extension(&[0x55, 0x1D, 0x0F], true, &[3, 2, 5, 0xA0]);
        let operator = |critical| extension(ROLE, critical, &put(UTF8_STRING, b"Operator"));
        assert_eq!(role(&certificate(&[usage.clone(), operator(false)])), Some("Operator"));
        assert_eq!(role(&certificate(&[operator(true), usage.clone()])), Some("Operator"));
        assert_eq!(role(&certificate(&[usage])), None);
        assert_eq!(role(&certificate(&[operator(false), operator(false)])), None, "two roles are none");
    }

    #[test]
    fn what_is_no_utf8_string_is_no_role() {
        for value in [&[][..], &[UTF8_STRING, 1, 0xFF], &[0x13, 1, b'a'], &[UTF8_STRING, 5, b'a'], &[0xC; 300]] {
            assert_eq!(role(&certificate(&[extension(ROLE, false, value)])), None, "{value:?}");
        }
        assert_eq!(role(&certificate(&[extension(ROLE, false, &put(UTF8_STRING, &[b'a'; 129]))])), None);
    }

    #[test]
    fn every_cut_of_a_certificate_is_survived() {
        let whole = certificate(&[extension(ROLE, false, &put(UTF8_STRING, b"Operator"))]);
        for end in 0..whole.len() {
            assert_eq!(role(&whole[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..300, byte in any::<u8>()) {
            let _ = role(&bytes);
            let mut whole = certificate(&[extension(ROLE, false, &put(UTF8_STRING, b"Operator"))]);
            let at = at % whole.len();
            whole[at] = byte;
            let _ = role(&whole);
        }
    }
}
