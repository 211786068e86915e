//! The status page: alarms first, then zones, heaters, links, and all points.

use maud::{DOCTYPE, Markup, html};

use super::api;
use super::view::Scene;

pub(super) const CSS: &str = include_str!("page.css");
pub(super) const JS: &str = include_str!("page.js");

/// The page of one instant.
pub(super) fn render(scene: Scene<'_>) -> Markup {
    let status = scene.status();
    let decision = scene.decision();
    let points = scene.points();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (status.site) " · heatgate" }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/page.css";
                script src="/page.js" defer {}
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                header {
                    h1 { (status.site) }
                    p #live { time datetime=(status.at) { (clock(&status.at)) } " · up " (duration(status.uptime_s)) }
                }
                main #now {
                    (alarms(&status))
                    (zones(&decision))
                    (heaters(&decision))
                    (links(&status))
                    (table(&points))
                }
                footer {
                    p {
                        "heatgate " (status.version) " · read-only: writing over HTTP needs a login, which this version does not have · "
                        a href="/api/v1/points" { "points" } " · " a href="/api/v1/decision" { "decision" } " · "
                        a href="/metrics" { "metrics" }
                    }
                }
            }
        }
    }
}

fn alarms(status: &api::Status) -> Markup {
    html! {
        @if status.alarms.is_empty() {
            p.calm { "No alarms." }
        } @else {
            section.alarms role="alert" aria-label="Alarms" {
                h2 { (status.alarms.len()) @if status.alarms.len() == 1 { " alarm" } @else { " alarms" } }
                ul { @for alarm in &status.alarms { li { (alarm) } } }
            }
        }
    }
}

/// How a state feels: it colours the card.
fn mood(state: &str) -> &'static str {
    match state {
        "heating" | "starting" | "dump" => "warm",
        "limited" | "manual" => "amber",
        "failsafe" | "fault" | "safety" => "red",
        _ => "idle",
    }
}

fn zones(decision: &api::Decision) -> Markup {
    html! {
        section.cards aria-label="Zones" { @for zone in &decision.zones { (card(zone)) } }
    }
}

fn card(zone: &api::Zone) -> Markup {
    html! {
        article class={ "zone " (mood(&zone.state)) } {
            header {
                h2 { (zone.name) }
                span.state { (zone.state) }
            }
            dl.figures {
                div { dt { "asked" } dd { (power(zone.request_w)) } }
                div { dt { "delivered" } dd { (power(zone.delivered_w)) } }
                div { dt { "power cap" } dd { (power(Some(zone.cap_w))) } }
            }
            (bar("heat", zone.delivered_w, zone.request_w, zone.nominal_w))
            (bar("power", zone.power_w, Some(zone.cap_w), zone.rated_w))
            @if !zone.alarms.is_empty() || zone.backup_call || zone.latched.is_some() {
                ul.tags {
                    @if zone.latched.is_some() { li { "latched" } }
                    @for alarm in &zone.alarms { li { (alarm) } }
                    @if zone.backup_call { li { "backup boiler called" } }
                }
            }
            h3 { "Why" }
            @if zone.reasons.is_empty() {
                p.faint { "No decision yet." }
            } @else {
                ol.why { @for reason in &zone.reasons { li { (reason) } } }
            }
            p.faint {
                "Request by " (zone.source) ", mode " (zone.mode) ". Between " (power(Some(zone.floor_w))) " and "
                (power(Some(zone.ceiling_w))) " may run now; efficiency believed " (format!("{:.3}", zone.eta)) "."
            }
        }
    }
}

/// A bar of what is against a full scale, with a mark for what is wanted. Attributes only: the policy allows no inline style.
fn bar(label: &str, is: Option<f64>, wanted: Option<f64>, full: f64) -> Markup {
    let share = |value: f64| if full > 0.0 { (value / full).clamp(0.0, 1.0) * 100.0 } else { 0.0 };
    let title = format!("{label}: {} of {}, wanted {}", power(is), power(Some(full)), power(wanted));
    html! {
        div.gauge {
            span { (label) }
            svg viewBox="0 0 100 4" preserveAspectRatio="none" role="img" aria-label=(title) {
                title { (title) }
                rect.track width="100" height="4" {}
                @if let Some(is) = is { rect.fill width=(format!("{:.1}", share(is))) height="4" {} }
                @if let Some(wanted) = wanted {
                    rect.mark x=(format!("{:.1}", share(wanted).min(99.2))) width="0.8" height="4" {}
                }
            }
            span { (power(is)) }
        }
    }
}

fn heaters(decision: &api::Decision) -> Markup {
    html! {
        section {
            h2 { "Heaters" }
            div.scroll {
                table {
                    thead { tr {
                        th { "heater" } th { "zone" } th { "controller" } th.number { "power" } th.number { "cap sent" }
                        th.number { "cap applied" } th { "last command" }
                    } }
                    tbody { @for heater in &decision.heaters { (heater_row(heater)) } }
                }
            }
        }
    }
}

fn heater_row(heater: &api::Heater) -> Markup {
    let (word, class) = match (heater.online, heater.state.as_deref()) {
        (Some(false), _) => ("offline", "bad"),
        (_, Some(state)) => (state, if matches!(state, "fault" | "4") { "bad" } else { "good" }),
        (_, None) => ("not heard", "bad"),
    };
    html! {
        tr {
            th scope="row" { (heater.name) }
            td { (heater.zone) }
            td { span class={ "dot " (class) } {} (word) }
            td.number { (power(heater.power_w)) }
            td.number { (power(heater.command.as_ref().map(|command| command.cap_w))) }
            td.number { (power(heater.applied_w)) }
            td {
                @match &heater.command {
                    Some(command) => {
                        "no. " (command.seq) ", " (duration(command.age_s)) " ago, lease " (duration(command.ttl_s))
                    }
                    None => "none yet",
                }
            }
        }
    }
}

fn links(status: &api::Status) -> Markup {
    html! {
        section {
            h2 { "Links" }
            ul.links {
                @for link in &status.links {
                    @let (class, word) = match link.up {
                        Some(true) => ("good", "up"),
                        Some(false) => ("bad", "down"),
                        None => ("uncertain", "not tried yet"),
                    };
                    li { span class={ "dot " (class) } {} strong { (link.name) } " " span.faint { (link.to) ", " (word) } }
                }
            }
        }
    }
}

fn table(points: &api::Points) -> Markup {
    html! {
        section {
            h2 { "Points" }
            div.scroll {
                table #points {
                    thead { tr {
                        th { "point" } th.number { "value" } th { "quality" } th.number { "age" } th { "from" }
                    } }
                    tbody { @for point in &points.points { (point_row(point)) } }
                }
            }
        }
    }
}

fn point_row(point: &api::Point) -> Markup {
    html! {
        tr data-key=(point.key) {
            th scope="row" {
                (point.key)
                @if !point.description.is_empty() { br; span.faint { (point.description) } }
            }
            td.number { (shown(point)) }
            td {
                @if point.is_none() {
                    span.dot {} "none"
                } @else {
                    span class={ "dot " (point.quality) } {} (point.quality)
                    @if let Some(cause) = &point.cause { br; span.faint { (cause) } }
                }
            }
            td.number { (duration(point.age_s)) }
            td {
                @match (point.priority, &point.by) {
                    (Some(priority), Some(by)) => { (by) " " span.faint { "at " (priority) } }
                    _ if point.writable => span.faint { "nobody commands it" },
                    _ => (point.source),
                }
            }
        }
    }
}

/// The value with its unit; the last one in brackets while there is none.
fn shown(point: &api::Point) -> Markup {
    let with_unit = |value: &api::Scalar| match (point.kind.as_str(), value) {
        ("energy", api::Scalar::Whole(wh)) => format!("{}.{:03} kWh", wh / 1000, wh % 1000),
        (_, api::Scalar::Bool(yes)) => if *yes { "yes" } else { "no" }.to_owned(),
        (_, api::Scalar::Number(number)) => {
            let digits = if number.abs() >= 1000.0 {
                0
            } else if number.abs() >= 10.0 {
                1
            } else {
                2
            };
            format!("{number:.digits$} {}", point.unit)
        }
        (_, api::Scalar::Whole(count)) => format!("{count} {}", point.unit),
        (_, api::Scalar::Text(text)) => text.clone(),
    };
    html! {
        @match (&point.text, &point.value, &point.last) {
            _ if point.is_none() => span.faint { "none" },
            (Some(text), Some(_), _) => (text),
            (None, Some(value), _) => (with_unit(value)),
            (_, None, Some(last)) => span.faint title="the last value there was" { "(" (with_unit(last)) ")" },
            (_, None, None) => span.faint { "–" },
        }
    }
}

/// In kW, or a dash for what is not known.
fn power(watts: Option<f64>) -> String {
    watts.map_or_else(|| "–".to_owned(), |watts| format!("{:.1} kW", watts / 1000.0))
}

/// In the largest unit that keeps it readable.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.0} h", s / 3_600.0),
        s => format!("{:.0} d", s / 86_400.0),
    }
}

/// `2026-11-22 19:03:07 UTC`.
fn clock(at: &str) -> String {
    match at.split_once('T') {
        Some((day, time)) => format!("{day} {} UTC", time.get(..8).unwrap_or(time)),
        None => at.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(power(Some(52_340.0)), "52.3 kW");
        assert_eq!(power(None), "–");
        for (seconds, text) in [(0.42, "0.4 s"), (75.0, "75 s"), (600.0, "10 min"), (9_000.0, "2 h"), (1e6, "12 d")] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(clock("2026-11-22T19:03:07.123Z"), "2026-11-22 19:03:07 UTC");
    }

    #[test]
    fn bars_stay_within_their_scale() {
        let markup = bar("heat", Some(90.0), Some(1e9), 60.0).into_string();
        assert!(markup.contains("width=\"100.0\"") && markup.contains("x=\"99.2\""), "{markup}");
        assert!(!bar("heat", None, None, 0.0).into_string().contains("fill\""));
    }
}
