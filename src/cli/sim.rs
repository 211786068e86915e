//! `heatgate sim`: one simulated part of a site as a process of its own.

use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use tokio_util::sync::CancellationToken;

use super::{EXIT_FAILED, complain, runtime, say, told_to_stop};
use crate::gateway::clock::SystemClock;
use crate::point::Priority;
use crate::sim::BrokerAddress;
use crate::sim::bms::{BacnetWire, BmsSim, BothWires, ModbusWire, Programme};
use crate::sim::heater::HeaterSim;
use crate::sim::meter::MeterSim;
use crate::telemetry;
use crate::time::TimeSource;
use crate::units::Watts;

/// One simulated part of a site as a process of its own, for a demonstration that was started without it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: heatgate demo --without rack-b --speed 60\n         heatgate sim heater rack-b --speed 60"
)]
pub struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// A store BMS that asks for heat and reads what comes: over Modbus, or with --bacnet over both
    #[command(
        after_help = "Example: heatgate sim bms --gateway 127.0.0.1:1502 --speed 60\n         heatgate sim bms --bacnet 127.0.0.1:47808 --speed 60   (asks over BACnet; beats and reads over Modbus)"
    )]
    Bms {
        /// The gateway's Modbus server
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1502")]
        gateway: SocketAddr,
        /// The gateway's BACnet device: asks there instead, takes it back at the end, and compares what both show
        #[arg(long, value_name = "ADDR")]
        bacnet: Option<SocketAddrV4>,
        /// Priority of what is asked over BACnet, 9 to 16
        #[arg(long, default_value_t = 16, requires = "bacnet", value_parser = clap::value_parser!(u8).range(9..=16))]
        priority: u8,
        /// Nominal heat of the zone, kW: what 100 % means
        #[arg(long, default_value_t = 57.0)]
        nominal_kw: f64,
        /// Site time per wall time, 1 to 1000
        #[arg(long, default_value_t = 1.0)]
        speed: f64,
    },
    /// A heater with its controller: obeys caps over MQTT
    #[command(after_help = "Example: heatgate sim heater rack-b --broker 127.0.0.1:1883 --speed 60")]
    Heater {
        /// Its name in the topics
        name: String,
        /// The site's id in the topics
        #[arg(long, default_value = "demo")]
        site: String,
        /// The broker
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
        broker: SocketAddr,
        /// Rated power, kW
        #[arg(long, default_value_t = 30.0)]
        rated_kw: f64,
        /// Site time per wall time, 1 to 1000
        #[arg(long, default_value_t = 1.0)]
        speed: f64,
    },
    /// A heat meter: a Modbus slave that meters the heat of the site's heaters
    #[command(after_help = "Example: heatgate sim meter --listen 127.0.0.1:1503 --speed 60")]
    Meter {
        /// Where it listens
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1503")]
        listen: SocketAddr,
        /// The site's id in the topics
        #[arg(long, default_value = "demo")]
        site: String,
        /// The broker, where it hears what the heaters draw
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:1883")]
        broker: SocketAddr,
        /// Site time per wall time, 1 to 1000
        #[arg(long, default_value_t = 1.0)]
        speed: f64,
    },
}

/// Run it.
pub fn run(args: &Args) -> u8 {
    telemetry::start("heatgate=info", false);
    let outcome = runtime().map_err(|error| error.to_string()).and_then(|runtime| {
        let result = runtime.block_on(simulate(&args.part));
        runtime.shutdown_timeout(Duration::from_secs(2));
        result
    });
    match outcome {
        Ok(()) => 0,
        Err(why) => {
            complain(format_args!("heatgate: {why}"));
            EXIT_FAILED
        }
    }
}

fn clock(speed: f64) -> Result<Arc<dyn TimeSource>, String> {
    SystemClock::new(speed).map(|clock| Arc::new(clock) as Arc<dyn TimeSource>).map_err(|error| error.to_string())
}

fn link(broker: SocketAddr) -> BrokerAddress {
    BrokerAddress::new(broker.ip().to_string(), broker.port())
}

async fn simulate(part: &Part) -> Result<(), String> {
    let stop = CancellationToken::new();
    let ending = stop.clone();
    tokio::spawn(async move {
        told_to_stop().await;
        ending.cancel();
    });
    match part {
        Part::Bms { gateway, bacnet, priority, nominal_kw, speed } => {
            let time = clock(*speed)?;
            let nominal = Watts::from_kw(*nominal_kw);
            let modbus = ModbusWire::new(gateway.ip().to_string(), gateway.port(), 1, 0);
            let bms = match bacnet {
                Some(device) => {
                    say(format_args!("simulated BMS: asks at {device} over BACnet, beats and reads at {gateway}"));
                    let asks = BacnetWire::new(*device, 0).at(Priority::new(*priority).unwrap_or(Priority::LOWEST));
                    BmsSim::new(BothWires::new(asks, modbus), Programme::default(), nominal)
                }
                None => {
                    say(format_args!("simulated BMS: asks at {gateway}"));
                    BmsSim::new(modbus, Programme::default(), nominal)
                }
            };
            bms.run(time, stop).await;
        }
        Part::Heater { name, site, broker, rated_kw, speed } => {
            let time = clock(*speed)?;
            if !(*rated_kw > 0.0 && *rated_kw <= 10_000.0) {
                return Err(format!("--rated-kw is {rated_kw}, and must be above 0 and at most 10000"));
            }
            if crate::point::PointKey::new(name.as_str()).is_err() || name.contains('/') {
                return Err(format!("{name:?} is not a heater's name: a-z, 0-9, '_', '.', '-'"));
            }
            let mut heater = HeaterSim::new(site.as_str(), name.as_str(), link(*broker));
            heater.outside = true;
            heater.options = crate::sim::heater::HeaterOptions::rated(Watts::from_kw(*rated_kw));
            say(format_args!("simulated heater {name} of site {site}: obeys over {broker}"));
            heater.run(time, stop).await;
        }
        Part::Meter { listen, site, broker, speed } => {
            let time = clock(*speed)?;
            let failed = |error| {
                format!("the simulated heat meter cannot listen on {listen}: {error}; choose another with --listen")
            };
            let meter =
                MeterSim::new(site.as_str(), "hall-meter", link(*broker)).bind(*listen).await.map_err(failed)?;
            let at = meter.local_addr().map_err(failed)?;
            say(format_args!("simulated heat meter of site {site}: {at}, unit 1"));
            meter.run(time, stop).await;
        }
    }
    Ok(())
}
