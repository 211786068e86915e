//! What the handlers look at.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::api::{Check, Health};
use crate::decision::Decision;
use crate::plant::Plant;
use crate::point::Image;
use crate::telemetry::Metrics;
use crate::time::TimeSource;

/// Everything that the web shows, none of it its own.
#[derive(Clone)]
pub struct WebState {
    /// The site's id.
    pub site: Arc<str>,
    /// The compiled plant.
    pub plant: Arc<Plant>,
    /// The newest image.
    pub image: watch::Receiver<Arc<Image>>,
    /// The newest decision.
    pub decision: watch::Receiver<Arc<Decision>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub time: Arc<dyn TimeSource>,
    /// What must have come up.
    pub ready: Arc<Readiness>,
}

impl WebState {
    /// An image older than this, in site time, means that the engine stands still.
    pub const MAX_IMAGE_AGE: Duration = Duration::from_secs(10);

    /// The engine lives: its image is young.
    pub fn health(&self) -> Health {
        let image = Arc::clone(&self.image.borrow());
        let age = self.time.now().mono.since(image.now.mono);
        let check = Check {
            name: "engine".into(),
            ok: image.seq > 0 && age < Self::MAX_IMAGE_AGE,
            detail: if image.seq == 0 {
                "no image yet".into()
            } else {
                format!("image {} is {:.1} s old", image.seq, age.as_secs_f64())
            },
        };
        Health { ok: check.ok, checks: vec![check] }
    }

    /// Everything has come up: the first image is published, and what [`Readiness`] waits for is there.
    pub fn readiness(&self) -> Health {
        let published = self.image.borrow().seq > 0;
        let detail = if published { "published" } else { "not yet published" };
        let mut checks = vec![Check { name: "image".into(), ok: published, detail: detail.into() }];
        checks.extend(self.ready.checks());
        Health { ok: checks.iter().all(|check| check.ok), checks }
    }
}

/// The parts that must have come up before the gateway is ready; each is reported by whoever brings it up.
#[derive(Debug, Default)]
pub struct Readiness(Mutex<BTreeMap<&'static str, bool>>);

impl Readiness {
    /// Wait for these.
    pub fn of(parts: &[&'static str]) -> Self {
        Self(Mutex::new(parts.iter().map(|part| (*part, false)).collect()))
    }

    /// One has come up, or gone.
    pub fn set(&self, part: &'static str, up: bool) {
        self.lock().insert(part, up);
    }

    fn checks(&self) -> Vec<Check> {
        let check = |(part, up): (&&'static str, &bool)| Check {
            name: (*part).to_owned(),
            ok: *up,
            detail: if *up { "up" } else { "not up" }.to_owned(),
        };
        self.lock().iter().map(check).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, bool>> {
        // A map of flags has no state that a panic could leave half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
