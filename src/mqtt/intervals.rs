//! Closed intervals on their way to the broker: each at least once, with the same id on a repeat, and none is forgotten
//! before the broker has it.
//!
//! The durable outbox is the store's; the shell joins the two ends of [`Intervals`] with it, so that neither room knows
//! the other. What is lost on the way (a connection, this process) is still in the outbox and goes again.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::payloads::json;
use super::topics::Topics;
use crate::durable::SavedInterval;
use crate::point::PointKey;

/// Counter and sequence number: what the store knows an interval by.
pub type IntervalKey = (String, u64);

/// The client's ends of the channels to the store.
#[derive(Debug)]
pub struct Intervals {
    /// The oldest intervals that are not marked as sent, oldest first; renewed when some were marked or closed.
    pub unsent: watch::Receiver<Arc<Vec<SavedInterval>>>,
    /// What the broker has acknowledged, to be marked as sent. While it is full, acknowledgements are kept here.
    pub sent: mpsc::Sender<Vec<IntervalKey>>,
}

/// `meters/{m}/interval`.
#[derive(Debug, Serialize)]
struct IntervalOut<'a> {
    meter: &'a str,
    seq: u64,
    start: String,
    end: String,
    energy_wh: u64,
    total_wh: u64,
    estimated: bool,
    estimated_wh: u64,
    quality: &'a str,
    id: String,
}

/// What is to be sent, what is on its way, and what has arrived. Bounded by the list that the store gives out.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    unsent: Arc<Vec<SavedInterval>>,
    on_the_way: BTreeSet<IntervalKey>,
    /// Acknowledged, and perhaps still in the list, which is older than the acknowledgement.
    done: BTreeSet<IntervalKey>,
    arrived: Vec<IntervalKey>,
}

impl Waiting {
    /// The store's list is renewed.
    pub fn renew(&mut self, unsent: Arc<Vec<SavedInterval>>) {
        self.unsent = unsent;
        let unsent = &self.unsent;
        let arrived = &self.arrived;
        self.done.retain(|key| {
            arrived.contains(key) || unsent.iter().any(|interval| (&interval.name, interval.seq) == (&key.0, key.1))
        });
    }

    /// The next one: topic, payload, and its key.
    pub fn next(&mut self, topics: &Topics) -> Option<(String, Vec<u8>, IntervalKey)> {
        for interval in self.unsent.iter() {
            let key = (interval.name.clone(), interval.seq);
            // A name that is no topic cannot be published; the store's file is not our mapping's.
            if self.on_the_way.contains(&key) || self.done.contains(&key) || PointKey::new(&interval.name).is_err() {
                continue;
            }
            self.on_the_way.insert(key.clone());
            let meter = interval.name.split_once('/').map_or(interval.name.as_str(), |(_, name)| name);
            let payload = json(&IntervalOut {
                meter,
                seq: interval.seq,
                start: interval.start.to_string(),
                end: interval.end.to_string(),
                energy_wh: interval.energy_wh,
                total_wh: interval.total_wh,
                estimated: interval.estimated_wh > 0,
                estimated_wh: interval.estimated_wh,
                quality: &interval.quality,
                // The start tells it from one of the same number before a loss of state.
                id: format!("{}-{}-{}", interval.name, interval.seq, interval.start.millis()),
            });
            return Some((topics.interval(meter), payload, key));
        }
        None
    }

    /// The broker has it.
    pub fn acknowledged(&mut self, key: &IntervalKey) {
        if self.on_the_way.remove(key) {
            self.done.insert(key.clone());
            self.arrived.push(key.clone());
        }
    }

    /// Its connection is gone; it goes again.
    pub fn lost(&mut self, key: &IntervalKey) {
        self.on_the_way.remove(key);
    }

    /// Tell the store what has arrived, when it can take it.
    pub fn report(&mut self, sent: &mpsc::Sender<Vec<IntervalKey>>) {
        if self.arrived.is_empty() {
            return;
        }
        if let Ok(permit) = sent.try_reserve() {
            permit.send(std::mem::take(&mut self.arrived));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::testing::interval;

    #[test]
    fn each_goes_until_it_is_acknowledged_and_no_longer() {
        let topics = Topics::new("s").unwrap();
        let (sent, mut marked) = mpsc::channel(1);
        let mut waiting = Waiting::default();
        waiting.renew(Arc::new(vec![interval(1), interval(2), interval(3)]));
        let seqs = |waiting: &mut Waiting| -> Vec<u64> {
            std::iter::from_fn(|| waiting.next(&topics)).map(|(_, _, key)| key.1).collect()
        };
        assert_eq!(seqs(&mut waiting), [1, 2, 3]);
        assert!(seqs(&mut waiting).is_empty());
        let key = |seq| ("meter/hall-meter".to_owned(), seq);
        waiting.acknowledged(&key(1));
        waiting.lost(&key(2));
        waiting.lost(&key(3));
        // A list from before the acknowledgement does not bring it back.
        waiting.renew(Arc::new(vec![interval(1), interval(2), interval(3)]));
        assert_eq!(seqs(&mut waiting), [2, 3]);
        waiting.report(&sent);
        waiting.acknowledged(&key(2));
        waiting.report(&sent);
        assert_eq!(marked.try_recv(), Ok(vec![key(1)]));
        waiting.report(&sent);
        assert_eq!(marked.try_recv(), Ok(vec![key(2)]), "kept while the store was busy");
        waiting.renew(Arc::new(vec![interval(3)]));
        assert!(waiting.done.is_empty());
    }

    #[test]
    fn an_interval_is_published_as_the_contract_says() {
        let mut waiting = Waiting::default();
        let mut odd = interval(9);
        odd.name = "meter/a+b".to_owned();
        waiting.renew(Arc::new(vec![odd, interval(7)]));
        let (topic, payload, _) = waiting.next(&Topics::new("s").unwrap()).unwrap();
        assert_eq!(topic, "heatgate/v1/s/meters/hall-meter/interval");
        let expected = r#"{"meter":"hall-meter","seq":7,"start":"1970-01-01T01:45:00.000Z","end":"1970-01-01T02:00:00.000Z","energy_wh":1500,"total_wh":10500,"estimated":false,"estimated_wh":0,"quality":"good","id":"meter/hall-meter-7-6300000"}"#;
        assert_eq!(String::from_utf8(payload).unwrap(), expected);
    }
}
