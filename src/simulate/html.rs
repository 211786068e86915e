//! The report: one HTML file with everything in it, for a browser without a network, and for paper.

use std::fmt::Write as _;

use super::many::Job;
use super::measure::Measures;
use super::plot::{Line, Plot, Style, escape};
use super::run::Moment;

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;color:#1d2329;background:#fff;max-width:1000px;margin:24px auto;\
padding:0 16px}h1{font-size:22px}h2{font-size:17px;margin:28px 0 4px}p{margin:4px 0 10px;color:#444c54}\
table{border-collapse:collapse;font-size:12.5px;margin:10px 0;width:100%}th,td{border-bottom:1px solid #dde1e5;padding:3px 7px;\
text-align:right}th:first-child,td:first-child{text-align:left}th{background:#f4f6f8;vertical-align:bottom}\
td.bad,p.bad{background:#fbe3e1;font-weight:600}svg{display:block;width:100%;height:auto;margin:6px 0}\
svg text{font:11px system-ui,sans-serif;fill:#39424b}svg text.title{font-weight:600}svg text.mark{font-size:10px;fill:#7a5c10;paint-order:stroke;stroke:#fff;stroke-width:3px}\
details{margin:4px 0;font-size:12.5px}@media print{body{max-width:none;margin:0}section{break-inside:avoid}}";

/// A page around a body.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{0}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\
         <body><h1>{0}</h1>{body}</body></html>\n",
        escape(title)
    )
}

/// The plot that only scenarios with a building have.
const ROOM: &str = "Room and weather";

/// What the columns of the table are: heading, value, digits.
type Column = (&'static str, fn(&Measures) -> f64, usize);

const COLUMNS: [Column; 10] = [
    ("RMSE, % of rated power", |m| m.rmse_pct, 3),
    ("oracle's", |m| m.oracle_rmse_pct, 3),
    ("ratio", |m| m.ratio, 2),
    ("energy error, %", |m| m.energy_error_pct, 3),
    ("excess, % of rated power", |m| m.excess_pct, 2),
    ("changes per hour", |m| m.changes_per_hour, 1),
    ("too cold, K h", |m| m.under_kh, 2),
    ("oracle's", |m| m.oracle_under_kh, 2),
    ("too warm, K h", |m| m.over_kh, 2),
    ("oracle's", |m| m.oracle_over_kh, 2),
];

/// The report of a study.
pub fn report(jobs: &[Job], version: &str) -> String {
    let mut body = String::new();
    let runs = jobs.iter().map(|job| job.summary.runs).max().unwrap_or(0);
    let _ = write!(
        body,
        "<p>heatgate {}: the engine against the plant model, beside an oracle that knows the true plant, with the same ramps \
         and no deadband. {}</p>",
        escape(version),
        if runs > 1 {
            format!("Median / 95th percentile of {runs} random plants; violations: the most of any run.")
        } else {
            "Nominal plant.".to_owned()
        }
    );
    table(&mut body, jobs);
    for job in jobs {
        section(&mut body, job);
    }
    page("Heat control, simulated", &body)
}

fn name(job: &Job) -> String {
    job.variant.as_ref().map_or_else(|| job.scenario.clone(), |variant| format!("{}, {variant}", job.scenario))
}

fn table(body: &mut String, jobs: &[Job]) {
    body.push_str("<table><thead><tr><th>scenario</th>");
    for (heading, ..) in COLUMNS {
        let _ = write!(body, "<th>{heading}</th>");
    }
    body.push_str("<th>violations</th></tr></thead><tbody>");
    for job in jobs {
        let _ = write!(body, "<tr><td>{}</td>", escape(&name(job)));
        for (_, get, digits) in COLUMNS {
            let _ = match &job.summary.p95 {
                Some(p95) => {
                    write!(body, "<td>{:.digits$} / {:.digits$}</td>", get(&job.summary.median), get(p95))
                }
                None => write!(body, "<td>{:.digits$}</td>", get(&job.summary.median)),
            };
        }
        let violations = job.summary.worst.violations;
        let class = if violations > 0.0 { " class=\"bad\"" } else { "" };
        let _ = write!(body, "<td{class}>{violations}</td></tr>");
    }
    body.push_str("</tbody></table>");
}

fn section(body: &mut String, job: &Job) {
    let moments = &job.outcome.moments;
    if moments.is_empty() {
        return;
    }
    let _ = write!(body, "<section><h2>{}</h2><p>{}</p>", escape(&name(job)), escape(&job.description));
    // Hours, and days where there are many.
    let (unit, time) = if job.seconds > 14 * 86_400 { (86_400.0, "time, d") } else { (3600.0, "time, h") };
    let line = |name, colour, style, get: &dyn Fn(&Moment) -> f64| Line {
        name,
        colour,
        style,
        points: moments.iter().map(|moment| (moment.t / unit, get(moment))).collect(),
    };
    let marks: Vec<(f64, String)> = job.outcome.events.iter().map(|(t, text)| (t / unit, text.clone())).collect();
    // States of a year are no marks any more.
    let shown = if marks.len() > 60 { Vec::new() } else { marks.clone() };
    let plots = [
        Plot {
            title: "Heat".into(),
            label: "heat, kW",
            time,
            lines: vec![
                line("asked", "#9aa3ab", Style::Dashed, &|m| m.asked),
                line("attainable", "#2f7d4f", Style::Solid, &|m| m.attainable),
                line("oracle", "#8e6bbf", Style::Dashed, &|m| m.oracle),
                line("heat at the meter", "#d1495b", Style::Solid, &|m| m.heat),
            ],
            marks: shown.clone(),
        },
        Plot {
            title: "Electrical power".into(),
            label: "power, kW",
            time,
            lines: vec![
                line("least allowed", "#9aa3ab", Style::Dashed, &|m| m.bounds.0),
                line("most allowed (limits)", "#c0392b", Style::Dashed, &|m| m.bounds.1),
                line("sum of caps", "#e08e2b", Style::Steps, &|m| m.cap),
                line("power", "#2b6cb0", Style::Solid, &|m| m.power),
            ],
            marks: shown,
        },
        Plot {
            title: "Water at the heat meter".into(),
            label: "temperature, degC",
            time,
            lines: vec![
                line("full power up to here", "#c99a2e", Style::Dashed, &|m| m.supply_limit.0),
                line("no power from here", "#c0392b", Style::Dashed, &|m| m.supply_limit.1),
                line("supply", "#d1495b", Style::Solid, &|m| m.supply),
            ],
            marks: Vec::new(),
        },
        Plot {
            title: ROOM.into(),
            label: "temperature, degC",
            time,
            lines: vec![
                line("setpoint", "#9aa3ab", Style::Steps, &|m| m.room.map_or(f64::NAN, |room| room.1)),
                line("room", "#d1495b", Style::Solid, &|m| m.room.map_or(f64::NAN, |room| room.0)),
                line("outdoors", "#2b6cb0", Style::Solid, &|m| m.outdoor),
            ],
            marks: Vec::new(),
        },
        Plot {
            title: "Efficiency".into(),
            label: "heat per power",
            time,
            lines: vec![
                line("true", "#2f7d4f", Style::Dashed, &|m| m.eta.1),
                line("believed", "#d1495b", Style::Solid, &|m| m.eta.0),
            ],
            marks: Vec::new(),
        },
    ];
    let room = moments.iter().any(|moment| moment.room.is_some());
    for plot in plots.iter().filter(|plot| room || plot.title != ROOM) {
        body.push_str(&plot.svg());
    }
    for one in &job.outcome.wrong {
        let _ = write!(body, "<p class=\"bad\">at {:.0} s: {}: {}</p>", one.at_s, one.what, escape(&one.text));
    }
    if !marks.is_empty() {
        let _ = write!(body, "<details><summary>{} events</summary>", marks.len());
        for (t, text) in &marks {
            let _ = write!(body, "{t:.2}: {}<br>", escape(text));
        }
        body.push_str("</details>");
    }
    body.push_str("</section>");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::many::Summary;
    use crate::simulate::run::Outcome;

    fn moment(t: f64) -> Moment {
        Moment {
            t,
            asked: 30.0,
            attainable: 29.0,
            heat: 28.0,
            oracle: 29.0,
            power: 33.0,
            cap: 34.0,
            bounds: (15.0, 58.2),
            room: Some((18.5, 19.0)),
            outdoor: 2.0,
            supply: 40.0,
            supply_limit: (55.0, 60.0),
            eta: (0.9, 0.88),
        }
    }

    fn job(name: &str) -> Job {
        Job {
            worst: None,
            scenario: name.into(),
            variant: None,
            description: "what <it> is".into(),
            summary: Summary { median: Measures::default(), p95: None, worst: Measures::default(), runs: 1 },
            outcome: Outcome {
                moments: (0..100).map(|n| moment(f64::from(n) * 60.0)).collect(),
                events: vec![(1800.0, "limit 30 kW".into())],
                ..Outcome::default()
            },
            seconds: 6000,
        }
    }

    #[test]
    fn the_report_needs_no_network_and_runs_nothing() {
        let page = report(&[job("<script src=\"http://example.org/x.js\">")], "1.2.3");
        let lower = page.to_lowercase();
        assert!(page.contains("&lt;script") && page.contains("1.2.3"), "names are text");
        for part in ["<script", "<link", "<iframe", "<img", "<object", "@import", "url(", " src=", " href=", "onload="]
        {
            assert!(!lower.replace("&lt;script src=", "").contains(part), "{part}");
        }
        // The only address is the name of SVG, which nobody fetches.
        let others = lower.replace("xmlns=\"http://www.w3.org/2000/svg\"", "").replace("http://example.org/x.js", "");
        assert!(!others.contains("http:") && !others.contains("https:") && !others.contains("\"//"));
    }

    #[test]
    fn every_plot_has_its_quantity_unit_time_and_legend() {
        let page = report(&[job("steps")], "1");
        for part in [
            "heat, kW",
            "power, kW",
            "temperature, degC",
            "heat per power",
            "time, h",
            ">asked<",
            ">heat at the meter<",
            ">sum of caps<",
            ">most allowed (limits)<",
            ">supply<",
            ">no power from here<",
            ">room<",
            ">setpoint<",
            ">outdoors<",
            ">limit 30 kW<",
            "1 events",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert_eq!(page.matches("<svg ").count(), 5);
    }
}
