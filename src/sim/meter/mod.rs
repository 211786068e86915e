//! A simulated heat meter: hears what the heaters draw, lets it become heat in the water, and shows that over Modbus TCP.
//!
//! The heat it measures is only as true as what it hears: a heater that is silent for 60 s of site time, or a broker that is
//! away for as long, counts as no power, because what is drawn meanwhile is unknown.

mod logic;
mod registers;
mod slave;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use logic::{MeterLogic, MeterOptions};
pub use registers::Shown;

use super::link::{BrokerAddress, Link, LinkEvent, LinkOptions};
use super::wait;
use crate::time::TimeSource;
use crate::units::Watts;

/// What a simulated meter is made of.
#[derive(Debug, Clone)]
pub struct MeterSim {
    /// Site id in the topics.
    pub site: String,
    /// The meter's name.
    pub name: String,
    /// The meter and its loop.
    pub options: MeterOptions,
    /// The broker.
    pub broker: BrokerAddress,
}

impl MeterSim {
    /// A meter on the loop of all heaters of a site.
    pub fn new(site: impl Into<String>, name: impl Into<String>, broker: BrokerAddress) -> Self {
        Self { site: site.into(), name: name.into(), options: MeterOptions::default(), broker }
    }

    /// Take the address, before anything runs; fails when it is in use.
    pub async fn bind(self, address: impl ToSocketAddrs) -> io::Result<BoundMeter> {
        Ok(BoundMeter { listener: TcpListener::bind(address).await?, meter: self })
    }
}

/// A meter with its address.
#[derive(Debug)]
pub struct BoundMeter {
    listener: TcpListener,
    meter: MeterSim,
}

impl BoundMeter {
    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Measure and serve until stopped, through any outage of the broker.
    pub async fn run(self, time: Arc<dyn TimeSource>, stop: CancellationToken) {
        let Self { listener, meter } = self;
        let prefix = format!("heatgate/v1/{}/heaters/", meter.site);
        let sample = meter.options.sample;
        let mut logic = MeterLogic::new(&meter.name, meter.options, time.now().mono);
        let (shown, registers) = watch::channel(logic.sample(time.now().mono).words());
        let mut link = Link::open(
            LinkOptions {
                broker: meter.broker,
                client_id: format!("heatgate-sim-{}-{}", meter.site, meter.name),
                filters: vec![format!("{prefix}+/telemetry")],
                will: Box::new(|| None),
            },
            stop.clone(),
        );
        let mut slave = std::pin::pin!(slave::serve(listener, registers, stop.clone()));
        let mut client = None;
        let mut due = time.now().mono.after(sample);
        loop {
            tokio::select! {
                // Ends when stopped.
                () = &mut slave => break,
                event = link.next() => match event {
                    LinkEvent::Up(fresh) => client = Some(fresh),
                    LinkEvent::Down => client = None,
                    LinkEvent::Message { topic, payload } => {
                        if let Some((heater, power)) = hear(&prefix, &topic, &payload) {
                            logic.on_power(heater, power, time.now().mono);
                        }
                    }
                },
                () = wait::until(&*time, due) => {
                    let now = time.now().mono;
                    shown.send_replace(logic.sample(now).words());
                    due = due.after(sample).max(now);
                }
            }
        }
        link.close(client).await;
    }
}

/// What a message tells about a heater's power, if anything.
fn hear<'a>(prefix: &str, topic: &'a str, payload: &[u8]) -> Option<(&'a str, Watts)> {
    #[derive(Deserialize)]
    struct Telemetry {
        power_w: f64,
    }
    let heater = topic.strip_prefix(prefix)?.strip_suffix("/telemetry")?;
    let told: Telemetry = serde_json::from_slice(payload).ok()?;
    Some((heater, Watts::new(told.power_w).ok()?))
}

#[cfg(test)]
mod tests;
