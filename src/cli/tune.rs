//! `heatgate tune`: from a recorded day, what a zone's efficiency, delay and lag are.

use std::path::PathBuf;

use super::{EXIT_FAILED, EXIT_FOUND, complain, replay, say};
use crate::simulate::{Fit, Line, NoFit, Plot, Style, escape, fit, page};
use crate::trace::{Series, series};

/// Efficiency, delay and lag of each zone, from what a trace recorded of its power and heat.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: heatgate tune /var/lib/heatgate/trace --html tune.html\n\nExit: 0 fine, 1 the trace cannot be read, 2 of no zone anything can be told."
)]
pub struct Args {
    /// A trace: its first file (those that follow it are taken, too), or a directory (the newest run in it)
    trace: PathBuf,
    /// Write a report with plots: one file for a browser, without a network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Run it.
pub fn run(args: &Args) -> u8 {
    let zones = replay::segments(&args.trace).and_then(|texts| series(&texts).map_err(|why| why.to_string()));
    let zones = match zones {
        Ok(zones) => zones,
        Err(why) => {
            complain(format_args!("heatgate: {}: {why}", args.trace.display()));
            return EXIT_FAILED;
        }
    };
    let fits: Vec<(&Series, Result<Fit, NoFit>)> =
        zones.iter().map(|zone| (zone, fit(&zone.power, &zone.heat))).collect();
    if let Some(path) = &args.html
        && let Err(why) = std::fs::write(path, report(&fits))
    {
        complain(format_args!("heatgate: {} cannot be written: {why}", path.display()));
        return EXIT_FAILED;
    }
    if args.json {
        let rows = fits.iter().map(|(zone, fit)| match fit {
            Ok(fit) => serde_json::json!({
                "zone": zone.zone, "eta": fit.eta, "theta_s": fit.theta, "tau_s": fit.tau,
                "rmse_kw": fit.rmse_kw, "r2": fit.r2, "samples": fit.samples,
            }),
            Err(why) => serde_json::json!({ "zone": zone.zone, "why_not": why.to_string() }),
        });
        say(serde_json::json!({ "zones": rows.collect::<Vec<_>>() }));
    } else {
        for (zone, fit) in &fits {
            say(text(zone, fit));
        }
    }
    if fits.iter().any(|(_, fit)| fit.is_ok()) { 0 } else { EXIT_FOUND }
}

fn text(zone: &Series, fit: &Result<Fit, NoFit>) -> String {
    match fit {
        Err(why) => format!("zone {}: {why}", zone.zone),
        Ok(fit) => format!(
            "zone {}: efficiency {:.3}, delay {:.0} s, lag {:.0} s; {:.1} % of the heat's movement explained, {:.2} kW left \
             ({} readings)\n{}{}",
            zone.zone,
            fit.eta,
            fit.theta,
            fit.tau,
            fit.r2 * 100.0,
            fit.rmse_kw,
            fit.samples,
            lines(zone, fit),
            doubt(fit),
        ),
    }
}

/// What the mapping could say.
fn lines(zone: &Series, fit: &Fit) -> String {
    let believed: f64 = zone.heaters.iter().map(|(_, kw, eta)| kw * eta).sum::<f64>()
        / zone.heaters.iter().map(|heater| heater.1).sum::<f64>().max(1e-9);
    let mut out = String::from("the mapping could say:\n");
    for (name, _, eta) in &zone.heaters {
        // The meter sees all heaters together: each keeps its place among them.
        let suggested = (eta * fit.eta / believed.max(1e-9)).clamp(0.3, 1.02);
        out.push_str(&format!("  [[heater]] name = \"{name}\"\n  efficiency = {suggested:.3}    # was {eta}\n"));
    }
    out.push_str(&format!(
        "  # the controller's model has a delay of 60 s and a lag of 240 s; here they are {:.0} s and {:.0} s",
        fit.theta, fit.tau
    ));
    out
}

fn doubt(fit: &Fit) -> String {
    if fit.r2 < 0.9 {
        "\nwith less than 90 % explained, look at the plot before you believe it (--html)".to_owned()
    } else {
        String::new()
    }
}

fn report(fits: &[(&Series, Result<Fit, NoFit>)]) -> String {
    let mut body = String::new();
    for (zone, fit) in fits {
        let words = escape(&text(zone, fit)).replace('\n', "<br>");
        body.push_str(&format!("<section><h2>Zone {}</h2><p>{words}</p>", escape(&zone.zone)));
        let hours = |points: &[(f64, f64)]| points.iter().map(|(t, v)| (t / 3600.0, *v)).collect();
        let mut lines =
            vec![Line { name: "heat, measured", colour: "#9aa3ab", style: Style::Dots, points: hours(&zone.heat) }];
        if let Ok(fit) = fit {
            let points = hours(&fit.modelled);
            lines.push(Line { name: "heat, of the model", colour: "#d1495b", style: Style::Solid, points });
        }
        let power = Line { name: "power", colour: "#2b6cb0", style: Style::Steps, points: hours(&zone.power) };
        for (title, label, lines) in [("Heat", "heat, kW", lines), ("Electrical power", "power, kW", vec![power])] {
            body.push_str(&Plot { title: title.into(), label, time: "time, h", lines, marks: Vec::new() }.svg());
        }
        body.push_str("</section>");
    }
    page("What a recorded day tells", &body)
}
