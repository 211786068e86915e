//! What a demonstration is asked to be.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A part that can be left out, so that the reader's own program takes its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The simulated BMS.
    Bms,
    /// All simulated heaters.
    Heaters,
    /// One simulated heater.
    Heater(String),
    /// The simulated heat meter.
    Meter,
    /// The loopback broker.
    Broker,
}

fn part(text: &str) -> Result<Part, String> {
    Ok(match text.trim() {
        "bms" => Part::Bms,
        "heaters" => Part::Heaters,
        "meter" => Part::Meter,
        "broker" => Part::Broker,
        heater if super::HEATERS.contains(&heater) => Part::Heater(heater.to_owned()),
        other => {
            return Err(format!("there is no part {other:?}; parts are bms, heaters, rack-a, rack-b, meter, broker"));
        }
    })
}

/// `90s`, `15m`, `2h`, or seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let help = || format!("{text:?} is not a duration; write 90s, 15m or 2h");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split).ok_or_else(help)?;
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(help()),
    };
    let number: f64 = number.trim().parse().map_err(|_| help())?;
    let total = number * seconds;
    if !(total > 0.0 && total <= 31.0 * 86_400.0) {
        return Err(format!("{text:?} is not between 1ms and 31 days"));
    }
    Ok(Duration::from_secs_f64(total))
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (1.0..=1000.0).contains(&speed) { Ok(speed) } else { Err("the speed must be from 1 to 1000".to_owned()) }
}

/// A whole site on this machine, nothing to install: loopback broker, two simulated heaters with their controllers, a
/// heat meter, a store BMS, the gateway between them, the status page. Ends with a summary.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: heatgate demo --for 60s --speed 60\n         heatgate demo --without bms --speed 60   (your own Modbus master asks)"
)]
pub struct Args {
    /// How long to run, on the wall (90s, 15m, 2h); for ever without it
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub for_: Option<Duration>,
    /// Site time per wall time, 1 to 1000 [default: 60, or 1 with --without]
    #[arg(long, value_parser = speed)]
    pub speed: Option<f64>,
    /// Leave parts out: bms, heaters, rack-a, rack-b, meter, broker
    #[arg(long, value_name = "PARTS", value_delimiter = ',', value_parser = part)]
    pub without: Vec<Part>,
    /// Modbus server's address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1502")]
    pub modbus: SocketAddr,
    /// BACnet server's address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:47808")]
    pub bacnet: SocketAddr,
    /// Broker's address: the loopback broker's, or with --without broker your own one's
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
    pub broker: SocketAddr,
    /// Status page's address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub http: SocketAddr,
    /// Heat meter's address: the simulated one's, or with --without meter your own one's
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1503")]
    pub meter: SocketAddr,
    /// Where state is kept [default: a new temporary directory, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// One JSON object per line instead of text
    #[arg(long)]
    pub json: bool,
}

impl Args {
    /// The parts that are left out.
    pub fn left_out(&self) -> BTreeSet<Part> {
        self.without.iter().cloned().collect()
    }

    /// Whether a heater is left out.
    pub fn without_heater(&self, name: &str) -> bool {
        self.without.contains(&Part::Heaters) || self.without.contains(&Part::Heater(name.to_owned()))
    }

    /// Site time per wall time.
    pub fn speed(&self) -> f64 {
        self.speed.unwrap_or(if self.without.is_empty() { 60.0 } else { 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        assert_eq!(duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for bad in ["", "s", "-1s", "1 parsec", "NaN", "inf", "0", "1e99h", "é"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn parts_are_known() {
        assert_eq!(part("rack-b"), Ok(Part::Heater("rack-b".into())));
        assert!(part("rack-z").unwrap_err().contains("rack-z"));
    }
}
