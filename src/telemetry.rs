//! Names of metrics and the set-up of tracing, in one place.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Labels of everything that is counted per link.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LinkLabels {
    link: String,
}

/// Labels of everything that is counted per link and cause.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabels {
    link: String,
    cause: &'static str,
}

/// The gateway's counters and gauges. A link's name is a device's, or `modbus-server`, `bacnet-server`,
/// `bacnet-foreign` (registration as a foreign device), `bacnet-sc` (the hub), `bacnet-mstp`, `mqtt`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    up: Family<LinkLabels, Gauge>,
    transactions: Family<LinkLabels, Counter>,
    rejected: Family<CauseLabels, Counter>,
    dropped: Family<CauseLabels, Counter>,
    failures: Family<CauseLabels, Counter>,
    reconnects: Family<LinkLabels, Counter>,
    clients: Family<LinkLabels, Gauge>,
    images: Counter,
    commands: Counter,
    refused: Family<CauseLabels, Counter>,
    durability_age: Gauge<f64, AtomicU64>,
}

/// Counts what one link does, without looking its name up.
#[derive(Debug, Clone)]
pub struct LinkCounter {
    transactions: Counter,
}

impl LinkCounter {
    /// One request was answered or made.
    pub fn transaction(&self) {
        self.transactions.inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All of them at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("heatgate");
        macro_rules! metric {
            ($name:literal, $help:literal) => {{
                let metric = Default::default();
                registry.register($name, $help, Clone::clone(&metric));
                metric
            }};
        }
        let up: Family<LinkLabels, Gauge> = metric!("link_up", "1 while the link works");
        let transactions: Family<LinkLabels, Counter> = metric!("transactions", "requests answered or made, by link");
        let rejected: Family<CauseLabels, Counter> =
            metric!("frames_rejected", "input that is not of its protocol, by cause");
        let dropped: Family<CauseLabels, Counter> =
            metric!("dropped", "what a full queue dropped or coalesced, by cause");
        let failures: Family<CauseLabels, Counter> = metric!("failures", "transactions that failed, by cause");
        let reconnects: Family<LinkLabels, Counter> = metric!("reconnects", "connections made again");
        let clients: Family<LinkLabels, Gauge> = metric!("clients", "connections now open to a server");
        let images: Counter = metric!("images", "process images published");
        let commands: Counter = metric!("commands", "commands made for heaters");
        let refused: Family<CauseLabels, Counter> =
            metric!("requests_refused", "requests refused by the engine, by cause");
        let durability_age: Gauge<f64, AtomicU64> =
            metric!("durability_age_seconds", "time since the ledger was last made durable");
        Self {
            registry,
            up,
            transactions,
            rejected,
            dropped,
            failures,
            reconnects,
            clients,
            images,
            commands,
            refused,
            durability_age,
        }
    }

    fn of(link: &str) -> LinkLabels {
        LinkLabels { link: link.to_owned() }
    }

    fn cause(link: &str, cause: &'static str) -> CauseLabels {
        CauseLabels { link: link.to_owned(), cause }
    }

    /// The link works, or not.
    pub fn up(&self, link: &str, up: bool) {
        self.up.get_or_create(&Self::of(link)).set(i64::from(up));
    }

    /// The counter of one link, looked up once: for paths that count thousands a second.
    pub fn link(&self, link: &str) -> LinkCounter {
        LinkCounter { transactions: self.transactions.get_or_create_owned(&Self::of(link)) }
    }

    /// One request was answered or made.
    pub fn transaction(&self, link: &str) {
        self.transactions.get_or_create(&Self::of(link)).inc();
    }

    /// Input that is not of its protocol.
    pub fn rejected(&self, link: &str, cause: &'static str) {
        self.rejected.get_or_create(&Self::cause(link, cause)).inc();
    }

    /// How much input of a link was rejected for a cause so far.
    pub fn rejected_so_far(&self, link: &str, cause: &'static str) -> u64 {
        self.rejected.get_or_create(&Self::cause(link, cause)).get()
    }

    /// Something a full queue dropped or coalesced.
    pub fn dropped(&self, link: &str, cause: &'static str) {
        self.dropped.get_or_create(&Self::cause(link, cause)).inc();
    }

    /// A transaction that failed.
    pub fn failure(&self, link: &str, cause: &'static str) {
        self.failures.get_or_create(&Self::cause(link, cause)).inc();
    }

    /// A connection made again.
    pub fn reconnect(&self, link: &str) {
        self.reconnects.get_or_create(&Self::of(link)).inc();
    }

    /// Connections now open to a server.
    pub fn clients(&self, link: &str, open: usize) {
        self.clients.get_or_create(&Self::of(link)).set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// An image was published.
    pub fn image(&self) {
        self.images.inc();
    }

    /// Commands were made.
    pub fn commands(&self, made: u64) {
        self.commands.inc_by(made);
    }

    /// How many commands were made so far.
    pub fn commands_so_far(&self) -> u64 {
        self.commands.get()
    }

    /// The engine refused a request.
    pub fn refused(&self, side: &str, cause: &'static str) {
        self.refused.get_or_create(&Self::cause(side, cause)).inc();
    }

    /// Time since the ledger was last made durable.
    pub fn durability_age(&self, seconds: f64) {
        self.durability_age.set(seconds);
    }

    /// The exposition text of `/metrics` (OpenMetrics).
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail; an empty page would be seen by the scraper.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Start tracing on standard error. `filter` as in `RUST_LOG`; JSON lines when `json`.
pub fn start(filter: &str, json: bool) {
    let filter =
        tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // A second start in one process (tests) keeps the first.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_rendered_with_their_labels() {
        let metrics = Metrics::new();
        metrics.rejected("modbus-server", "short pdu");
        metrics.up("mqtt", true);
        metrics.link("mqtt").transaction();
        metrics.transaction("mqtt");
        let text = metrics.render();
        assert!(
            text.contains("heatgate_frames_rejected_total{link=\"modbus-server\",cause=\"short pdu\"} 1"),
            "{text}"
        );
        assert!(text.contains("heatgate_link_up{link=\"mqtt\"} 1"), "{text}");
        assert!(text.contains("heatgate_transactions_total{link=\"mqtt\"} 2"), "{text}");
    }
}
