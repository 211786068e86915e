//! Keepsakes: what an adapter remembers over a restart, key by key. To keep never waits: what is newest of each key
//! waits on the shelf until the disk takes it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::sync::watch;

use crate::durable::Keepsake;
use crate::telemetry::Metrics;

/// Longest key, octets.
const KEY: usize = 200;
/// Longest value, octets.
const VALUE: usize = 64 * 1024;
/// Most keys of all adapters together.
const KEYS: usize = 4096;
/// Most octets of keys and values of all adapters together.
const OCTETS: usize = 16 * 1024 * 1024;

/// What waits for the disk, and how much there is in all.
#[derive(Debug, Default)]
struct Shelf {
    /// Octets of each key that is remembered, be it durable already or not.
    held: HashMap<String, usize>,
    octets: usize,
    waiting: BTreeMap<String, Option<Vec<u8>>>,
}

impl Shelf {
    fn keep(&mut self, key: String, value: Vec<u8>) -> bool {
        let size = key.len() + value.len();
        let before = self.held.get(&key).copied();
        let octets = self.octets - before.unwrap_or(0) + size;
        // The second bound holds what was forgotten while the disk takes nothing.
        let one_more = before.is_none() && self.held.len() >= KEYS
            || self.waiting.len() >= 2 * KEYS && !self.waiting.contains_key(&key);
        if key.len() > KEY || value.len() > VALUE || octets > OCTETS || one_more {
            return false;
        }
        self.octets = octets;
        self.held.insert(key.clone(), size);
        self.waiting.insert(key, Some(value));
        true
    }

    fn forget(&mut self, key: String) -> bool {
        let Some(size) = self.held.remove(&key) else { return false };
        self.octets -= size;
        self.waiting.insert(key, None);
        true
    }
}

/// An adapter's end: what was restored at the start, and the way to keep more. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Keepsakes {
    prefix: Arc<str>,
    restored: Arc<BTreeMap<String, Vec<u8>>>,
    shelf: watch::Sender<Shelf>,
    metrics: Arc<Metrics>,
}

/// Nothing is restored, and nobody carries anything to a disk.
impl Default for Keepsakes {
    fn default() -> Self {
        Self::new(BTreeMap::new(), Arc::new(Metrics::new())).0
    }
}

impl Keepsakes {
    /// Both ends over what an earlier life of the process kept.
    pub fn new(restored: BTreeMap<String, Vec<u8>>, metrics: Arc<Metrics>) -> (Self, KeepsakeDesk) {
        let held: HashMap<String, usize> =
            restored.iter().map(|(key, value)| (key.clone(), key.len() + value.len())).collect();
        let octets = held.values().sum();
        let (shelf, changes) = watch::channel(Shelf { held, octets, waiting: BTreeMap::new() });
        let desk = KeepsakeDesk { shelf: shelf.clone(), changes };
        (Self { prefix: "".into(), restored: Arc::new(restored), shelf, metrics }, desk)
    }

    /// Those of one owner: keys without `owner/` before them, in both directions.
    #[must_use]
    pub fn under(&self, owner: &str) -> Self {
        Self { prefix: format!("{}{owner}/", self.prefix).into(), ..self.clone() }
    }

    /// What was kept when the process started, by key; what was kept since is not in it.
    pub fn restored(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let from = std::ops::Bound::Included(&*self.prefix);
        self.restored
            .range::<str, _>((from, std::ops::Bound::Unbounded))
            .map_while(|(key, value)| Some((key.strip_prefix(&*self.prefix)?, value.as_slice())))
    }

    /// Remember. It replaces what was there under the key. False, and counted, when there is no room (4,096 keys and
    /// 16 MiB of all adapters, 200 octets a key, 64 KiB a value): then the key keeps what it had.
    pub fn keep(&self, key: &str, value: Vec<u8>) -> bool {
        let key = format!("{}{key}", self.prefix);
        let kept = self.shelf.send_if_modified(|shelf| shelf.keep(key, value));
        if !kept {
            let owner = self.prefix.split('/').next().unwrap_or_default();
            self.metrics.dropped(owner, "keepsake without room");
        }
        kept
    }

    /// Remember it no longer.
    pub fn forget(&self, key: &str) {
        let key = format!("{}{key}", self.prefix);
        self.shelf.send_if_modified(|shelf| shelf.forget(key));
    }
}

/// The other end: takes what waits to the disk.
#[derive(Debug)]
pub struct KeepsakeDesk {
    shelf: watch::Sender<Shelf>,
    changes: watch::Receiver<Shelf>,
}

impl KeepsakeDesk {
    /// Until something new waits.
    pub async fn changed(&mut self) {
        // It fails only when there is no sender, and here is one.
        let _ = self.changes.changed().await;
    }

    /// Everything that waits.
    pub fn take(&mut self) -> Vec<Keepsake> {
        self.changes.mark_unchanged();
        let mut taken = BTreeMap::new();
        self.shelf.send_if_modified(|shelf| {
            taken = std::mem::take(&mut shelf.waiting);
            false
        });
        taken.into_iter().map(|(key, value)| Keepsake { key, value }).collect()
    }

    /// What could not be written waits again, unless there is something newer of it.
    pub fn put_back(&mut self, keepsakes: Vec<Keepsake>) {
        self.shelf.send_if_modified(|shelf| {
            for Keepsake { key, value } in keepsakes {
                shelf.waiting.entry(key).or_insert(value);
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both() -> (Keepsakes, KeepsakeDesk, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::new());
        let old = [("bacnet/a", 1), ("bacnet/b", 2), ("bacnets/c", 3), ("mqtt/a", 4)];
        let restored = old.map(|(key, value)| (key.to_owned(), vec![value])).into();
        let (keepsakes, desk) = Keepsakes::new(restored, metrics.clone());
        (keepsakes.under("bacnet"), desk, metrics)
    }

    fn some(key: &str, value: &[u8]) -> Keepsake {
        Keepsake { key: key.into(), value: Some(value.to_vec()) }
    }

    #[test]
    fn each_owner_sees_its_own() {
        let (bacnet, _, _) = both();
        assert_eq!(bacnet.restored().collect::<Vec<_>>(), [("a", &[1][..]), ("b", &[2][..])]);
        assert_eq!(bacnet.under("x").restored().count(), 0);
    }

    #[tokio::test]
    async fn the_newest_of_each_key_waits_and_what_failed_does_not_replace_it() {
        let (bacnet, mut desk, _) = both();
        assert!(bacnet.keep("a", vec![7]));
        assert!(bacnet.keep("a", vec![8]));
        bacnet.forget("b");
        bacnet.forget("never");
        desk.changed().await;
        let taken = desk.take();
        assert_eq!(taken, [some("bacnet/a", &[8]), Keepsake { key: "bacnet/b".into(), value: None }]);
        assert!(bacnet.keep("a", vec![9]));
        desk.put_back(taken);
        desk.changed().await;
        let taken = desk.take();
        assert_eq!(taken, [some("bacnet/a", &[9]), Keepsake { key: "bacnet/b".into(), value: None }]);
        assert!(desk.take().is_empty());
    }

    #[test]
    fn it_is_bounded_and_what_is_refused_is_counted() {
        let (bacnet, mut desk, metrics) = both();
        assert!(!bacnet.keep(&"k".repeat(KEY), vec![]));
        assert!(!bacnet.keep("a", vec![0; VALUE + 1]));
        let kept = (0..10_000).filter(|n| bacnet.keep(&format!("n{n}"), vec![0; 10])).count();
        assert_eq!(kept, KEYS - 4);
        assert!(bacnet.keep("n1", vec![1]), "one that is there is replaced");
        let refused = metrics.render().lines().find(|line| line.contains("keepsake without room")).map(str::to_owned);
        assert!(refused.unwrap().ends_with(&format!(" {}", 2 + 10_000 - kept)));
        // Nothing is carried away, and the keys change for ever.
        for n in 0..100_000 {
            bacnet.forget(&format!("n{n}"));
            bacnet.keep(&format!("n{}", n + 10_000), vec![0; 10]);
        }
        assert!(desk.take().len() <= 3 * KEYS);
        let large = (0..1000).filter(|n| bacnet.keep(&format!("l{n}"), vec![0; VALUE])).count();
        assert!((1..OCTETS / VALUE).contains(&large), "{large}");
    }
}
