//! `heatgate discover bacnet`: which BACnet devices there are and what they have, as text, as JSON, or as the draft of a
//! mapping. Works without any configuration, beside no running gateway on the same port.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{EXIT_FAILED, EXIT_FOUND, complain, runtime, say};
use crate::bacnet::{FoundDevice, Node, Search, Settings, discover, draft};
use crate::decision::Desired;
use crate::gateway::clock::SystemClock;
use crate::plant::Plant;
use crate::point::Image;
use crate::ports::{Keepsakes, Ports, Requests};
use crate::telemetry::Metrics;
use crate::time::TimeSource;

/// Look for devices on a network.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// BACnet/IP devices, with their objects
    Bacnet(Bacnet),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples: heatgate discover bacnet --listen 10.0.0.2:47808 --broadcast 10.0.0.255\n          \
                        heatgate discover bacnet --device 1201 --out mappings/draft.toml\n          \
                        heatgate discover bacnet --at 10.0.0.5:47808 --json")]
struct Bacnet {
    /// First device instance to look for
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u32,
    /// Last device instance to look for
    #[arg(long, value_name = "N", default_value_t = 4_194_302)]
    to: u32,
    /// Only this device
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "to"])]
    device: Option<u32>,
    /// A device at this address, instead of asking everybody; may be given several times
    #[arg(long, value_name = "ADDRESS:PORT")]
    at: Vec<SocketAddr>,
    /// Our own address; devices that answer by broadcast are heard on their own port only, 47808
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "0.0.0.0:47808")]
    listen: SocketAddr,
    /// The broadcast address of the subnet
    #[arg(long, value_name = "ADDRESS")]
    broadcast: Option<IpAddr>,
    /// How long to wait for answers, s
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// Devices only, without their objects
    #[arg(long)]
    no_objects: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Write the draft of a mapping; a file that is there is not replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Between two requests: a serial network behind a router carries about 20 a second.
const PAUSE: Duration = Duration::from_millis(5);

/// Look, and say what was found.
pub fn run(args: &Args) -> u8 {
    let What::Bacnet(args) = &args.what;
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(format_args!("heatgate: no runtime: {error}"));
            return EXIT_FAILED;
        }
    };
    match runtime.block_on(look(args)) {
        Ok(devices) => report(args, &devices),
        Err(error) => {
            complain(format_args!(
                "heatgate: BACnet cannot listen on {}: {error}; choose another with --listen",
                args.listen
            ));
            EXIT_FAILED
        }
    }
}

async fn look(args: &Bacnet) -> std::io::Result<Vec<FoundDevice>> {
    let settings = Settings { listen: args.listen, broadcast: args.broadcast, quiet: true, ..Settings::default() };
    let node = Node::bind(settings, Arc::new(Plant::default()))?;
    let client = node.client();
    let time = SystemClock::new(1.0).map_err(|_| std::io::Error::other("no clock"))?;
    let stop = CancellationToken::new();
    // Nobody writes to a device that says nothing of itself, and it reads nothing.
    let (_image, image) = watch::channel(Arc::new(Image::empty(0, time.now())));
    let (_desired, desired) = watch::channel(Arc::new(Desired::default()));
    let (readings, _readings) = mpsc::channel(1);
    let (requests, _requests) = Requests::channel(1);
    let metrics = Arc::new(Metrics::new());
    let (keepsakes, _desk) = Keepsakes::new(BTreeMap::new(), Arc::clone(&metrics));
    let ports = Ports {
        image,
        desired,
        readings,
        requests,
        keepsakes,
        time: Arc::new(time),
        metrics,
        stop: stop.clone(),
        restart: CancellationToken::new(),
    };
    let running = tokio::spawn(node.run(ports));
    let search = Search {
        instances: args.device.map_or(args.from..=args.to, |device| device..=device),
        at: args.at.clone(),
        timeout: Duration::from_secs(args.timeout),
        pause: PAUSE,
        objects: !args.no_objects,
    };
    let found = discover(&client, &search).await;
    stop.cancel();
    let _ = running.await;
    Ok(found)
}

/// 0: something was found; 2: nothing.
fn report(args: &Bacnet, devices: &[FoundDevice]) -> u8 {
    if args.json {
        match serde_json::to_string_pretty(&serde_json::json!({ "devices": devices })) {
            Ok(text) => say(text),
            Err(why) => complain(format_args!("heatgate: {why}")),
        }
    } else {
        devices.iter().for_each(show);
        if devices.is_empty() {
            complain("heatgate: no device answers");
        }
    }
    if let Some(file) = &args.out
        && !devices.is_empty()
        && let Err(error) = write(file, &draft(devices))
    {
        complain(format_args!("heatgate: {} cannot be written: {error}", file.display()));
        return EXIT_FAILED;
    }
    if devices.is_empty() { EXIT_FOUND } else { 0 }
}

/// A mapping that somebody has worked on is never lost.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    std::fs::File::create_new(file)?.write_all(text.as_bytes())
}

fn show(device: &FoundDevice) {
    let place = device.address.map_or_else(String::new, |address| format!(" at {address}"));
    say(format_args!(
        "device {}{place}: {} ({} {}), {} octets, segmentation {}, {} objects",
        device.instance,
        device.name,
        device.vendor,
        device.model,
        device.max_apdu,
        device.segmentation,
        device.objects.len()
    ));
    for object in &device.objects {
        let unit = object.unit.unwrap_or_default();
        let texts = object.texts.join(", ");
        say(format_args!("  {:<28} {}  {unit}{texts}  {}", object.object, object.name, object.description));
    }
    for problem in &device.problems {
        say(format_args!("  ! {problem}"));
    }
}
