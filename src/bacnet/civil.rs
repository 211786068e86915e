//! Civil time as the protocol writes it: BACnetDateTime both ways. The device lives in UTC, and says so.

use bacnet_encoding::primitives::{self, ApplicationValueRef, decode_application_value_ref};
use bacnet_types::primitives::{Date, Time};
use bytes::BytesMut;

use super::answer::Failure;
use crate::time::Utc;

/// "Unspecified" in any octet of a date or a time.
const ANY: u8 = 255;

/// BACnetDateTime as it was written: octets may be unspecified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DateTime {
    pub(super) date: Date,
    pub(super) time: Time,
}

impl DateTime {
    /// Unspecified as a whole.
    pub(super) const ANY: Self = Self {
        date: Date { year: ANY, month: ANY, day: ANY, day_of_week: ANY },
        time: Time { hour: ANY, minute: ANY, second: ANY, hundredths: ANY },
    };

    /// Of an instant; unspecified where the protocol's calendar ends.
    pub(super) fn of(at: Utc) -> Self {
        let Ok(stamp) = jiff::Timestamp::from_millisecond(at.millis()) else { return Self::ANY };
        let civil = jiff::tz::Offset::UTC.to_datetime(stamp);
        let small = |number: i8| u8::try_from(number).unwrap_or(ANY);
        let date = Date {
            year: u8::try_from(i32::from(civil.year()) - 1900).unwrap_or(ANY),
            month: small(civil.month()),
            day: small(civil.day()),
            day_of_week: small(civil.weekday().to_monday_one_offset()),
        };
        let time = Time {
            hour: small(civil.hour()),
            minute: small(civil.minute()),
            second: small(civil.second()),
            hundredths: u8::try_from(civil.subsec_nanosecond() / 10_000_000).unwrap_or(0),
        };
        Self { date, time }
    }

    /// The instant; `None` where an octet that is needed for it is unspecified or names no day. The day of the week says
    /// nothing new, and unspecified hundredths are none.
    pub(super) fn instant(&self) -> Option<Utc> {
        let known = |octet: u8| (octet != ANY).then(|| i8::try_from(octet).ok()).flatten();
        if self.date.year == ANY {
            return None;
        }
        let hundredths = if self.time.hundredths == ANY { 0 } else { known(self.time.hundredths)? };
        let civil = jiff::civil::DateTime::new(
            1900 + i16::from(self.date.year),
            known(self.date.month)?,
            known(self.date.day)?,
            known(self.time.hour)?,
            known(self.time.minute)?,
            known(self.time.second)?,
            i32::from(hundredths) * 10_000_000,
        )
        .ok()?;
        let stamp = jiff::tz::Offset::UTC.to_timestamp(civil).ok()?;
        Some(Utc::from_millis(stamp.as_millisecond()))
    }

    /// Whether nothing of it is specified.
    pub(super) fn is_any(&self) -> bool {
        *self == Self::ANY
    }

    /// Append both parts, application-tagged.
    pub(super) fn encode(&self, out: &mut BytesMut) {
        primitives::encode_app_date(out, &self.date);
        primitives::encode_app_time(out, &self.time);
    }

    /// From the octets of a written property.
    pub(super) fn decode(octets: &[u8]) -> Result<Self, Failure> {
        let next = |from: usize| decode_application_value_ref(octets, from).map_err(|_| Failure::WRONG_TYPE);
        let (ApplicationValueRef::Date(date), middle) = next(0)? else { return Err(Failure::WRONG_TYPE) };
        let (ApplicationValueRef::Time(time), end) = next(middle)? else { return Err(Failure::WRONG_TYPE) };
        if end == octets.len() { Ok(Self { date, time }) } else { Err(Failure::WRONG_TYPE) }
    }

    /// The eight octets, for what is kept.
    pub(super) const fn octets(&self) -> [u8; 8] {
        let (Date { year, month, day, day_of_week }, Time { hour, minute, second, hundredths }) =
            (self.date, self.time);
        [year, month, day, day_of_week, hour, minute, second, hundredths]
    }

    /// From the eight octets that were kept.
    pub(super) const fn from_octets(
        [year, month, day, day_of_week, hour, minute, second, hundredths]: [u8; 8],
    ) -> Self {
        Self { date: Date { year, month, day, day_of_week }, time: Time { hour, minute, second, hundredths } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_round_trip_to_hundredths_and_what_is_unspecified_is_none() {
        let at = Utc::from_millis(1_764_000_000_120);
        let civil = DateTime::of(at);
        assert_eq!(civil.octets(), [125, 11, 24, 1, 16, 0, 0, 12]);
        assert_eq!(civil.instant(), Some(at));
        assert_eq!(DateTime::from_octets(civil.octets()), civil);
        let mut out = BytesMut::new();
        civil.encode(&mut out);
        assert_eq!(DateTime::decode(&out), Ok(civil));
        assert_eq!(DateTime::decode(&out[..6]), Err(Failure::WRONG_TYPE));
        assert_eq!(DateTime::ANY.instant(), None);
        for (place, octet) in [(0, 255), (1, 13), (1, 255), (2, 32), (2, 31), (4, 24), (6, 255)] {
            let mut octets = civil.octets();
            octets[place] = octet;
            assert_eq!(DateTime::from_octets(octets).instant(), None, "{octets:?}");
        }
        for (place, octet) in [(3, 255), (3, 5), (7, 255)] {
            let mut octets = civil.octets();
            octets[place] = octet;
            assert!(DateTime::from_octets(octets).instant().is_some(), "{octets:?}");
        }
    }
}
