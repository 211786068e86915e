//! A serial line, as configuration and mapping write it: device file, speed, parity, stop bits. Always eight data bits.

use std::fmt;
use std::time::Duration;

/// Parity of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parity {
    /// No parity bit.
    None,
    /// Even: what "MODBUS over Serial Line V1.02", 2.5.1, asks for.
    Even,
    /// Odd.
    Odd,
}

impl Parity {
    /// Spellings in mapping and configuration files.
    pub const TABLE: &'static [(Self, &'static str)] =
        &[(Self::None, "none"), (Self::Even, "even"), (Self::Odd, "odd")];

    /// From the spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::TABLE.iter().find(|row| row.1 == text).map(|row| row.0)
    }

    /// The spelling.
    pub fn as_str(self) -> &'static str {
        Self::TABLE.iter().find(|row| row.0 == self).map_or("", |row| row.1)
    }
}

/// One serial line.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SerialLine {
    /// Its device file, such as /dev/ttyS1; better a name under /dev/serial/by-id.
    pub path: String,
    /// Bits per second, 300 to 1,000,000.
    pub baud: u32,
    /// Parity.
    pub parity: Parity,
    /// Stop bits, 1 or 2.
    pub stop_bits: u8,
}

impl SerialLine {
    /// 19200 baud, even parity, one stop bit: the default of "MODBUS over Serial Line V1.02", 2.5.1.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), baud: 19_200, parity: Parity::Even, stop_bits: 1 }
    }

    /// From `/dev/ttyS1?baud=9600&parity=none&stop=2`; what is left out is the default. The error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (path, options) = text.split_once('?').unwrap_or((text, ""));
        if !path.starts_with('/') || path.ends_with('/') {
            return Err(format!("`{path}` is no device file, such as /dev/ttyS1"));
        }
        let mut line = Self::new(path);
        for option in options.split('&').filter(|option| !option.is_empty()) {
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            match key {
                "baud" => {
                    line.baud = value
                        .parse()
                        .ok()
                        .filter(|baud| (300..=1_000_000).contains(baud))
                        .ok_or_else(|| format!("baud `{value}` is not 300 to 1000000"))?;
                }
                "parity" => {
                    line.parity =
                        Parity::parse(value).ok_or_else(|| format!("parity `{value}` is not none, even or odd"))?;
                }
                "stop" => {
                    line.stop_bits = value
                        .parse()
                        .ok()
                        .filter(|stop| (1..=2).contains(stop))
                        .ok_or_else(|| format!("stop `{value}` is not 1 or 2"))?;
                }
                _ => return Err(format!("`{key}` is none of baud, parity, stop")),
            }
        }
        Ok(line)
    }

    /// Bits of one character on the wire: start, eight of data, parity, stop.
    pub const fn character_bits(&self) -> u32 {
        let parity = if matches!(self.parity, Parity::None) { 0 } else { 1 };
        1 + 8 + parity + self.stop_bits as u32
    }

    /// How long so many bytes take on the wire.
    pub fn takes(&self, bytes: usize) -> Duration {
        let bits = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(u64::from(self.character_bits()));
        Duration::from_micros(bits.saturating_mul(1_000_000) / u64::from(self.baud.max(1)))
    }

    /// T3.5, the silence that separates frames: 3.5 characters, and 1.75 ms above 19200 baud ("MODBUS over Serial Line
    /// V1.02", 2.5.1.1).
    pub fn silence(&self) -> Duration {
        if self.baud > 19_200 {
            return Duration::from_micros(1750);
        }
        let micros = u64::from(self.character_bits()) * 3_500_000 / u64::from(self.baud.max(1));
        Duration::from_micros(micros)
    }
}

impl fmt::Display for SerialLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}?baud={}&parity={}&stop={}", self.path, self.baud, self.parity.as_str(), self.stop_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_left_out_is_the_default() {
        assert_eq!(SerialLine::parse("/dev/ttyS1"), Ok(SerialLine::new("/dev/ttyS1")));
        let line = SerialLine { baud: 9600, parity: Parity::None, stop_bits: 2, ..SerialLine::new("/dev/ttyUSB0") };
        assert_eq!(SerialLine::parse("/dev/ttyUSB0?baud=9600&parity=none&stop=2"), Ok(line.clone()));
        assert_eq!(SerialLine::parse(&line.to_string()), Ok(line));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("ttyS1", "ttyS1"),
            ("/dev/", "/dev/"),
            ("", "device file"),
            ("/dev/ttyS1?baud=0", "baud"),
            ("/dev/ttyS1?baud=fast", "fast"),
            ("/dev/ttyS1?parity=mark", "mark"),
            ("/dev/ttyS1?stop=3", "stop"),
            ("/dev/ttyS1?speed=9600", "speed"),
        ] {
            assert!(SerialLine::parse(text).unwrap_err().contains(word), "{text}");
        }
    }

    #[test]
    fn the_silence_is_three_and_a_half_characters_and_never_under_1750_us() {
        let line = |baud| SerialLine { baud, ..SerialLine::new("/dev/x") };
        assert_eq!(line(9600).silence(), Duration::from_micros(4010));
        assert_eq!(line(19_200).silence(), Duration::from_micros(2005));
        assert_eq!(line(38_400).silence(), Duration::from_micros(1750));
        assert_eq!(line(115_200).silence(), Duration::from_micros(1750));
        assert_eq!(line(9600).takes(256), Duration::from_micros(293_333));
    }
}
