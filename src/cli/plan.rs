//! `heatgate plan`: what is read from and written to the devices of a mapping, how long that takes on each line, and
//! whether the lines can keep up. No network.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::load::{environment, examine};
use super::{EXIT_FAILED, EXIT_FOUND, complain};
use crate::bacnet::points_in;
use crate::diagnostic::Severity;
use crate::modbus::budget::{Exchange, Load, ROUND_TRIP, THINK, exchanges, loads};
use crate::modbus::client::spawn_list;
use crate::plant::{Cov, Device, Link, ModbusLine, Plant, Table, WritePlace};

/// What is read from devices and written to them, how long it takes, and whether the lines can keep up with their poll
/// rates. Addresses are protocol addresses, from 0. Without any network.
#[derive(Debug, clap::Args)]
#[command(
    about = "What is read from and written to devices, and whether the lines can keep up",
    after_help = "Example:\n  heatgate plan -c config/gateway.toml\n  heatgate plan --json | jq '.lines[] | select(.over)'\n\nExit: 0 fine, 1 the configuration cannot be read, 2 a line cannot keep up, or something is wrong (see heatgate check)."
)]
pub struct Args {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = "config/gateway.toml")]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Everything, as it is printed.
#[derive(Debug, Serialize)]
struct Report {
    assumed: Assumed,
    lines: Vec<LineReport>,
    bacnet: Vec<BacnetReport>,
    bms: BmsReport,
    /// Some line or device cannot keep up.
    over: bool,
}

#[derive(Debug, Serialize)]
struct Assumed {
    serial_answer_ms: f64,
    tcp_round_trip_ms: f64,
}

#[derive(Debug, Serialize)]
struct LineReport {
    line: String,
    devices: Vec<DeviceReport>,
    rates: Vec<Rate>,
    /// When everything is due at once.
    all_at_once_ms: f64,
    over: bool,
}

#[derive(Debug, Serialize)]
struct DeviceReport {
    name: String,
    unit: u8,
    timeout_ms: f64,
    pause_ms: f64,
    retries: u8,
    requests: Vec<Request>,
    /// With the device's own pauses, which leave the line to others.
    rates: Vec<Rate>,
    over: bool,
}

#[derive(Debug, Serialize)]
struct Request {
    every_ms: f64,
    writes: bool,
    function: u8,
    table: &'static str,
    first: u16,
    count: u16,
    takes_ms: f64,
    points: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Rate {
    every_ms: f64,
    needs_ms: f64,
    /// Percent of the time.
    percent: f64,
    over: bool,
}

#[derive(Debug, Serialize)]
struct BacnetReport {
    name: String,
    device: u32,
    every_ms: f64,
    /// Points that are subscribed where the device can; every third poll reads them, too.
    subscribed: usize,
    polled: usize,
    /// ReadPropertyMultiple requests for all of them at once, with answers of 1476 octets.
    requests: usize,
    outputs: usize,
}

#[derive(Debug, Serialize)]
struct BmsReport {
    coils: usize,
    discrete_inputs: usize,
    input_registers: usize,
    holding_registers: usize,
    bacnet_objects: usize,
    bacnet_services: usize,
}

/// Run it.
pub fn run(args: &Args) -> u8 {
    let examined = examine(Some(&args.config), &environment());
    let Some(plant) = &examined.plant else {
        for finding in examined.findings.iter().filter(|finding| finding.severity == Severity::Error) {
            complain(format_args!("{finding}\n"));
        }
        return if examined.unreadable { EXIT_FAILED } else { EXIT_FOUND };
    };
    let report = Report::of(plant);
    let mut out = io::stdout().lock();
    // A closed pipe is no finding.
    let _ = if args.json { writeln!(out, "{:#}", serde_json::json!(report)) } else { report.print(&mut out) };
    if report.over { EXIT_FOUND } else { 0 }
}

impl Report {
    fn of(plant: &Plant) -> Self {
        let lines: Vec<LineReport> = spawn_list(plant)
            .into_iter()
            .map(|group| {
                let devices: Vec<&Device> = group.devices.iter().filter_map(|id| plant.device(*id)).collect();
                LineReport::of(&group.line, &devices, plant)
            })
            .collect();
        let faces = |table: Table| plant.modbus.faces.iter().filter(|face| face.table == table).count();
        Self {
            assumed: Assumed { serial_answer_ms: ms(THINK), tcp_round_trip_ms: ms(ROUND_TRIP) },
            over: lines.iter().any(|line| line.over),
            lines,
            bacnet: plant.devices.iter().filter_map(BacnetReport::of).collect(),
            bms: BmsReport {
                coils: faces(Table::Coil),
                discrete_inputs: faces(Table::Discrete),
                input_registers: faces(Table::Input),
                holding_registers: faces(Table::Holding),
                bacnet_objects: plant.bacnet.len(),
                bacnet_services: plant.bacnet_services.len(),
            },
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let Assumed { serial_answer_ms, tcp_round_trip_ms } = self.assumed;
        writeln!(
            out,
            "Assumed: a device on a serial line answers after {}; over TCP an answer is there after {}.",
            time(serial_answer_ms),
            time(tcp_round_trip_ms)
        )?;
        writeln!(out, "Addresses are protocol addresses, from 0.\n")?;
        for line in &self.lines {
            line.print(out)?;
        }
        for device in &self.bacnet {
            device.print(out)?;
        }
        if self.lines.is_empty() && self.bacnet.is_empty() {
            writeln!(out, "No device is polled.\n")?;
        }
        let bms = &self.bms;
        writeln!(
            out,
            "The BMS sees {} coils, {} discrete inputs, {} values in input registers, {} in holding registers, {} BACnet objects and {} services.",
            bms.coils,
            bms.discrete_inputs,
            bms.input_registers,
            bms.holding_registers,
            bms.bacnet_objects,
            bms.bacnet_services,
        )
    }
}

impl LineReport {
    fn of(line: &ModbusLine, devices: &[&Device], plant: &Plant) -> Self {
        let reports: Vec<(DeviceReport, Vec<Exchange>)> = devices
            .iter()
            .map(|device| {
                let all = exchanges(device);
                (DeviceReport::of(device, &all, plant), all)
            })
            .collect();
        let work: Vec<(Duration, Duration)> =
            reports.iter().flat_map(|(_, all)| all).map(|one| (one.every, one.takes)).collect();
        let rates = loads(&work);
        let devices: Vec<DeviceReport> = reports.into_iter().map(|(device, _)| device).collect();
        Self {
            line: line.to_string(),
            over: rates.iter().any(Load::is_over) || devices.iter().any(|device| device.over),
            rates: rates.iter().map(Rate::of).collect(),
            all_at_once_ms: ms(work.iter().map(|(_, takes)| *takes).sum()),
            devices,
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.line)?;
        for device in &self.devices {
            device.print(out)?;
        }
        for rate in &self.rates {
            rate.print("the line", out)?;
        }
        let fastest = self.rates.first().map_or(f64::MAX, |rate| rate.every_ms);
        if !self.over && self.all_at_once_ms > fastest {
            writeln!(
                out,
                "  when everything is due at once it takes {}: now and then a poll of {} comes later",
                time(self.all_at_once_ms),
                time(fastest)
            )?;
        }
        writeln!(out)
    }
}

impl DeviceReport {
    fn of(device: &Device, all: &[Exchange], plant: &Plant) -> Self {
        let unit = if let Link::Modbus { unit, .. } = device.link { unit } else { 0 };
        let work: Vec<(Duration, Duration)> = all
            .iter()
            .map(|one| {
                // A write is two exchanges: itself and its read-back.
                let pauses = if is_write(one) { 2 } else { 1 };
                (one.every, one.takes + device.pause * pauses)
            })
            .collect();
        let rates = loads(&work);
        Self {
            name: device.name.clone(),
            unit,
            timeout_ms: ms(device.timeout.get()),
            pause_ms: ms(device.pause),
            retries: device.retries,
            requests: all.iter().map(|one| Request::of(one, plant)).collect(),
            over: rates.iter().any(Load::is_over),
            rates: rates.iter().map(Rate::of).collect(),
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "  {}: unit {}, time-out {}", self.name, self.unit, time(self.timeout_ms))?;
        if self.retries > 0 {
            write!(out, ", {} more tries", self.retries)?;
        }
        if self.pause_ms > 0.0 {
            write!(out, ", pause {}", time(self.pause_ms))?;
        }
        writeln!(out)?;
        if self.requests.is_empty() {
            writeln!(out, "    nothing is read or written")?;
        }
        for request in &self.requests {
            request.print(out)?;
        }
        // The line says the rest; a pause is only this device's.
        for rate in self.rates.iter().filter(|rate| rate.over && self.pause_ms > 0.0) {
            rate.print("with its pauses it", out)?;
        }
        Ok(())
    }
}

const fn is_write(exchange: &Exchange) -> bool {
    matches!(exchange.function, 5 | 6 | 16)
}

impl Request {
    fn of(exchange: &Exchange, plant: &Plant) -> Self {
        let table = match exchange.table {
            Table::Coil => "coil",
            Table::Discrete => "discrete",
            Table::Input => "input",
            Table::Holding => "holding",
        };
        let key = |point: &crate::point::PointId| plant.point(*point).map(|def| def.key.to_string());
        Self {
            every_ms: ms(exchange.every),
            writes: is_write(exchange),
            function: exchange.function,
            table,
            first: exchange.address,
            count: exchange.count,
            takes_ms: ms(exchange.takes),
            points: exchange.points.iter().filter_map(key).collect(),
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let what = if self.writes { "write" } else { "read" };
        let last = u32::from(self.first) + u32::from(self.count).saturating_sub(1);
        writeln!(
            out,
            "    every {}: {what} FC {} {} {} to {last} ({}), {}: {}",
            time(self.every_ms),
            self.function,
            self.table,
            self.first,
            self.count,
            time(self.takes_ms),
            self.points.join(", "),
        )
    }
}

impl Rate {
    fn of(load: &Load) -> Self {
        Self {
            every_ms: ms(load.every),
            needs_ms: ms(load.needs),
            percent: (load.share() * 1000.0).round() / 10.0,
            over: load.is_over(),
        }
    }

    fn print(&self, whose: &str, out: &mut dyn Write) -> io::Result<()> {
        let (every, needs) = (time(self.every_ms), time(self.needs_ms));
        if self.over {
            let help = "poll slower, join registers, raise max_gap or the line's speed";
            writeln!(out, "  TOO MUCH: every {every} {whose} needs {needs}, {} %: {help}", self.percent)
        } else {
            writeln!(out, "  every {every} {whose} needs {needs}, {} %", self.percent)
        }
    }
}

impl BacnetReport {
    fn of(device: &Device) -> Option<Self> {
        let Link::Bacnet { instance, .. } = device.link else { return None };
        let properties: Vec<_> = device.points.iter().filter_map(|point| point.property()).collect();
        let polled = properties.iter().filter(|place| place.cov == Cov::No).count();
        let outputs = device.writes.iter().filter(|write| matches!(write.place, WritePlace::Property { .. })).count();
        Some(Self {
            name: device.name.clone(),
            device: instance,
            every_ms: ms(device.poll),
            subscribed: properties.len() - polled,
            polled,
            requests: properties.len().div_ceil(points_in(1476)),
            outputs,
        })
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "BACnet device {} ({})", self.device, self.name)?;
        writeln!(
            out,
            "  every {}: {} read; every third time also {} (COV where the device can)",
            time(self.every_ms),
            if self.polled == 1 { "1 point is".to_owned() } else { format!("{} points are", self.polled) },
            count(self.subscribed, "subscribed point"),
        )?;
        writeln!(
            out,
            "  at most {} (ReadPropertyMultiple, answers of 1476 octets) for all of them; {} written\n",
            count(self.requests, "request"),
            count(self.outputs, "point"),
        )
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Milliseconds, to a tenth of one.
fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 10.0
}

/// "12.3 ms", "4.56 s", "5 min"
fn time(ms: f64) -> String {
    match ms {
        ms if ms < 1000.0 => format!("{ms} ms"),
        ms if ms < 60_000.0 || ms % 60_000.0 != 0.0 => format!("{} s", (ms / 10.0).round() / 100.0),
        ms => format!("{} min", ms / 60_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (duration, text) in [
            (12_345, "12.3 ms"),
            (1_000_000, "1 s"),
            (4_567_000, "4.57 s"),
            (90_000_000, "90 s"),
            (300_000_000, "5 min"),
        ] {
            assert_eq!(time(ms(Duration::from_micros(duration))), text);
        }
    }
}
