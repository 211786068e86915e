//! A simulated heater with its controller: obeys caps over MQTT as the contract says, and tells what it draws.

mod logic;
pub mod payload;

use std::sync::Arc;
use std::time::Duration;

use rumqttc::{LastWill, QoS};
use tokio_util::sync::CancellationToken;

pub use logic::{HeaterLogic, HeaterOptions};
use payload::{Command, Status, json};

use super::link::{self, BrokerAddress, Link, LinkEvent, LinkOptions};
use super::wait;
use crate::time::{Mono, TimeSource};
use crate::units::Watts;

/// Site time between two telemetry messages; the contract asks for at least one in 10 s.
const TELEMETRY_EVERY: Duration = Duration::from_secs(5);

/// A simulated heater with its controller.
#[derive(Debug, Clone)]
pub struct HeaterSim {
    /// Site id in the topics.
    pub site: String,
    /// Heater name in the topics.
    pub name: String,
    /// What it is.
    pub options: HeaterOptions,
    /// The broker.
    pub broker: BrokerAddress,
    /// It stands outside of the gateway's clock, as a process of its own: the seconds of its commands are the wall's,
    /// whatever its own speed.
    pub outside: bool,
}

impl HeaterSim {
    /// A heater of 30 kW that idles at a quarter of it and never lacks jobs.
    pub fn new(site: impl Into<String>, name: impl Into<String>, broker: BrokerAddress) -> Self {
        let options = HeaterOptions::rated(Watts::from_kw(30.0));
        Self { site: site.into(), name: name.into(), options, broker, outside: false }
    }

    /// Run until stopped, through any outage of the broker; the lease runs on meanwhile. At the end it says that it is
    /// offline.
    pub async fn run(self, time: Arc<dyn TimeSource>, stop: CancellationToken) {
        let base = format!("heatgate/v1/{}/heaters/{}", self.site, self.name);
        let topic = |leaf: &str| format!("{base}/{leaf}");
        let (status, ack, telemetry) = (topic("status"), topic("ack"), topic("telemetry"));
        let will = {
            let (time, status) = (Arc::clone(&time), status.clone());
            Box::new(move || Some(LastWill::new(&status, state("offline", &*time), QoS::AtLeastOnce, true)))
        };
        let options = LinkOptions {
            broker: self.broker,
            client_id: format!("heatgate-sim-{}-{}", self.site, self.name),
            filters: vec![topic("command")],
            will,
        };
        let mut link = Link::open(options, stop.clone());
        let second = Duration::from_secs(1).div_duration_f64(time.wall(Duration::from_secs(1)));
        let pace = if self.outside { second } else { 1.0 };
        let mut logic = HeaterLogic::new(&self.name, self.options, time.now().mono);
        let mut client = None;
        let mut due = Mono::START;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                event = link.next() => match event {
                    LinkEvent::Up(fresh) => {
                        link::publish(&fresh, &status, true, state("online", &*time));
                        client = Some(fresh);
                        due = Mono::START;
                    }
                    LinkEvent::Down => client = None,
                    LinkEvent::Message { payload, .. } => {
                        let answer = hear(&mut logic, &payload, pace, time.now().mono);
                        if let (Some(answer), Some(client)) = (answer, &client) {
                            link::publish(client, &ack, false, json(&answer));
                        }
                    }
                },
                () = wait::until(&*time, due), if client.is_some() => {
                    let now = time.now();
                    due = now.mono.after(TELEMETRY_EVERY);
                    if let Some(client) = &client {
                        link::publish(client, &telemetry, false, json(&logic.telemetry(now)));
                    }
                }
            }
        }
        if let Some(client) = &client {
            link::publish(client, &status, true, state("offline", &*time));
        }
        link.close(client).await;
    }
}

fn state(state: &'static str, time: &dyn TimeSource) -> Vec<u8> {
    json(&Status { state, at: time.now().utc.to_string() })
}

/// What a message on the command topic is answered with. `pace`: the heater's seconds in one of the command's.
fn hear(logic: &mut HeaterLogic, message: &[u8], pace: f64, now: Mono) -> Option<payload::Ack> {
    match Command::parse(message) {
        Ok(command) => {
            let (ttl_s, ramp_w_per_s) = (command.ttl_s * pace, command.ramp_w_per_s / pace);
            let ack = logic.on_command(&Command { ttl_s, ramp_w_per_s, ..command }, now)?;
            Some(payload::Ack { valid_for_s: ack.valid_for_s / pace, ..ack })
        }
        Err(bad) => {
            tracing::warn!(why = bad.why, "command rejected");
            bad.id.map(|(cmd_id, seq)| logic.reject(cmd_id, seq, bad.why))
        }
    }
}

#[cfg(test)]
mod tests;
