//! The device's own clock (clauses 12.11.36 to 12.11.39, 16.7, 16.8): the time of the site, moved by what a time master
//! said. It is shown over BACnet and stamps what is told there; meters, control and records keep the site's own time.

use super::civil::DateTime;
use crate::time::Utc;

/// UTC_Offset: minutes, to both sides.
pub(super) const OFFSET_LIMIT: i32 = 1440;

/// No two clocks of the protocol's calendar (1900 to 2154) are farther apart, ms.
const CORRECTION_LIMIT: u64 = 255 * 366 * 86_400_000;

/// How the device's time differs from the site's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Clock {
    /// Device's UTC less the site's, ms.
    correction: i64,
    /// UTC_Offset: what is subtracted from UTC to get local time, minutes; positive in the west.
    pub(super) offset: i32,
}

impl Clock {
    /// Local_Date and Local_Time; unspecified where the calendar ends.
    pub(super) fn local(&self, site: Utc) -> DateTime {
        DateTime::of(self.device(site))
    }

    /// The device's local time as an instant: what its civil times are counted in.
    pub(super) const fn device(&self, site: Utc) -> Utc {
        Utc::from_millis(site.millis().saturating_add(self.correction).saturating_sub(self.west()))
    }

    /// For what is kept.
    pub(super) fn octets(self) -> [u8; 12] {
        let mut octets = [0; 12];
        let (correction, offset) = octets.split_at_mut(8);
        correction.copy_from_slice(&self.correction.to_be_bytes());
        offset.copy_from_slice(&self.offset.to_be_bytes());
        octets
    }

    /// From what was kept; `None` where no clock can have been there.
    pub(super) fn from_octets(octets: [u8; 12]) -> Option<Self> {
        let (correction, offset) = octets.split_first_chunk()?;
        let clock =
            Self { correction: i64::from_be_bytes(*correction), offset: i32::from_be_bytes(offset.try_into().ok()?) };
        (clock.offset.abs() <= OFFSET_LIMIT && clock.correction.unsigned_abs() <= CORRECTION_LIMIT).then_some(clock)
    }

    const fn west(&self) -> i64 {
        self.offset as i64 * 60_000
    }

    /// TimeSynchronization: the local time is this. By how many ms the clock moved; `None` when it is no date and time.
    pub(super) fn set_local(&mut self, at: &DateTime, site: Utc) -> Option<i64> {
        self.set(at.instant()?.millis().saturating_add(self.west()), site)
    }

    /// UTCTimeSynchronization: UTC is this.
    pub(super) fn set_utc(&mut self, at: &DateTime, site: Utc) -> Option<i64> {
        self.set(at.instant()?.millis(), site)
    }

    fn set(&mut self, utc: i64, site: Utc) -> Option<i64> {
        let correction = utc.checked_sub(site.millis())?;
        let moved = correction.saturating_sub(self.correction);
        self.correction = correction;
        Some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Monday 24 November 2025, 16:00:00.12 UTC
    const SITE: Utc = Utc::from_millis(1_764_000_000_123);

    fn at(day: u8, hour: u8, minute: u8) -> DateTime {
        DateTime::from_octets([125, 11, day, 255, hour, minute, 0, 0])
    }

    #[test]
    fn a_time_master_moves_the_device_and_its_offset_makes_utc_local() {
        let mut clock = Clock::default();
        assert_eq!(clock.local(SITE).octets(), [125, 11, 24, 1, 16, 0, 0, 12]);
        // an hour east of Greenwich: local is UTC + 60 min
        clock.offset = -60;
        assert_eq!(clock.local(SITE).time.hour, 17);
        assert_eq!(clock.set_utc(&at(24, 16, 30), SITE), Some(1_800_000 - 123));
        assert_eq!(clock.local(SITE).octets(), [125, 11, 24, 1, 17, 30, 0, 0]);
        assert_eq!(clock.set_local(&at(24, 17, 0), SITE), Some(-1_800_000));
        assert_eq!(clock.local(SITE).octets(), [125, 11, 24, 1, 17, 0, 0, 0]);
        clock.set_local(&at(30, 23, 59), SITE);
        assert_eq!(clock.local(SITE).octets(), [125, 11, 30, 7, 23, 59, 0, 0]);
        assert_eq!(Clock::from_octets(clock.octets()), Some(clock));
    }

    #[test]
    fn no_date_and_time_moves_nothing() {
        let mut clock = Clock::default();
        for odd in
            [at(255, 0, 0), at(31, 0, 0), at(0, 0, 0), at(24, 24, 0), at(24, 255, 0), at(24, 0, 60), DateTime::ANY]
        {
            assert_eq!(clock.set_utc(&odd, SITE), None, "{odd:?}");
            assert_eq!(clock.set_local(&odd, SITE), None, "{odd:?}");
        }
        assert_eq!(clock, Clock::default());
    }
}
