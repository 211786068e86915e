//! What a demonstration prints: addresses, a line a minute, a summary; as text or as JSON lines.

use serde_json::json;

use super::account::{Account, Look};
use super::site::Running;
use crate::cli::say;
use crate::units::Watts;

/// The form of the output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub json: bool,
}

fn kw(power: Option<Watts>) -> String {
    power.map_or_else(|| "    - kW".to_owned(), |power| format!("{:5.1} kW", power.kw()))
}

fn rounded(number: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (number * scale).round() / scale
}

impl Report {
    /// Where everything is.
    pub fn addresses(self, site: &Running) {
        let at = site.gateway.addresses();
        if self.json {
            say(json!({
                "event": "addresses",
                "site": site.site_id,
                "modbus": at.modbus.to_string(),
                "bacnet": at.bacnet.map(|address| address.to_string()),
                "bacnet_device": at.bacnet.map(|_| site.bacnet_device),
                "broker": site.broker.to_string(),
                "http": at.http.to_string(),
                "meter": site.meter.to_string(),
                "local": at.local.display().to_string(),
                "speed": site.speed,
            }));
            return;
        }
        let outside = |out: bool| if out { "  (yours)" } else { "" };
        say(format_args!("heatgate demo: site {}, {} times as fast as the wall", site.site_id, site.speed));
        say(format_args!("  Modbus server   {}   unit 1", at.modbus));
        if let Some(address) = at.bacnet {
            say(format_args!("  BACnet device   {address}   instance {}", site.bacnet_device));
        }
        say(format_args!("  MQTT broker     {}{}", site.broker, outside(site.broker_outside)));
        say(format_args!("  heat meter      {}   unit 1{}", site.meter, outside(site.meter_outside)));
        say(format_args!("  status page     http://{}/", at.http));
        say("  time    asked      cap        drawn      delivered  state");
    }

    /// One simulated minute.
    pub fn minute(self, minute: u64, look: &Look) {
        if self.json {
            say(json!({
                "event": "minute",
                "minute": minute,
                "asked_kw": rounded(look.asked.kw(), 3),
                "cap_kw": rounded(look.cap.kw(), 3),
                "drawn_kw": look.drawn.map(|power| rounded(power.kw(), 3)),
                "delivered_kw": look.delivered.map(|power| rounded(power.kw(), 3)),
                "zones": look.zones.iter().map(|(name, state, alarms)| json!({
                    "zone": name, "state": state, "alarms": alarms,
                })).collect::<Vec<_>>(),
            }));
            return;
        }
        let states: Vec<String> = look
            .zones
            .iter()
            .map(|(name, state, alarms)| match alarms.as_slice() {
                [] => format!("{name} {state}"),
                alarms => format!("{name} {state}, {}", alarms.join(", ")),
            })
            .collect();
        say(format_args!(
            "  {:02}:{:02}  {}   {}   {}   {}   {}",
            minute / 60,
            minute % 60,
            kw(Some(look.asked)),
            kw(Some(look.cap)),
            kw(look.drawn),
            kw(look.delivered),
            states.join("; ")
        ));
    }

    /// The end.
    pub fn summary(self, account: &Account, commands: u64, believed: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a demonstration's energy")]
        let delivered = account.billed_wh.map_or(account.delivered_wh, |wh| wh as f64);
        let error = account.energy_error_pct();
        if self.json {
            say(json!({
                "event": "summary",
                "asked_kwh": rounded(account.asked_wh / 1000.0, 3),
                "due_kwh": rounded(account.due_wh / 1000.0, 3),
                "delivered_kwh": rounded(delivered / 1000.0, 3),
                "billed_wh": account.billed_wh,
                "electrical_kwh": rounded(account.drawn_wh / 1000.0, 3),
                "energy_error_pct": error.map(|error| rounded(error, 2)),
                "commands": commands,
                "efficiency_believed": believed,
                "efficiency_measured": account.efficiency().map(|eta| rounded(eta, 3)),
            }));
            return;
        }
        say("summary");
        say(format_args!("  heat asked       {:8.2} kWh", account.asked_wh / 1000.0));
        let billed =
            if account.billed_wh.is_some() { "by the meter's total" } else { "by the meter's power; no total yet" };
        let on_its_way = "could have reached the meter by now (the water takes 60 s + 240 s)";
        say(format_args!("  of which due     {:8.2} kWh   {on_its_way}", account.due_wh / 1000.0));
        say(format_args!("  heat delivered   {:8.2} kWh   {billed}", delivered / 1000.0));
        match error {
            Some(error) => say(format_args!("  energy error     {error:+8.2} %     delivered against due")),
            None => say("  energy error            -       nothing was asked"),
        }
        say(format_args!("  electricity      {:8.2} kWh", account.drawn_wh / 1000.0));
        if let Some(eta) = account.efficiency() {
            say(format_args!("  efficiency       {eta:8.3}       metered; control has learned {believed:.3}"));
        }
        say(format_args!("  commands sent    {commands:8}"));
    }
}
