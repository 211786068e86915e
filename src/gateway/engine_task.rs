//! The engine's task: feeds it events with the time, and carries out its effects in their order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::recorder::Recording;
use crate::control::RearmRefusal;
use crate::decision::{Decision, Desired};
use crate::durable::Checkpoint;
use crate::engine::{Effects, Engine, Event, Notice};
use crate::plant::ZoneId;
use crate::point::Image;
use crate::ports::{Batch, Submission};
use crate::request::Refusal;
use crate::store::StoreWriter;
use crate::telemetry::Metrics;
use crate::time::TimeSource;

/// A person's act on the spot, over the local socket.
#[derive(Debug)]
pub struct LocalRearm {
    /// Which zone.
    pub zone: ZoneId,
    /// By whom.
    pub by: String,
    /// The answer.
    pub reply: oneshot::Sender<Result<(), RearmRefusal>>,
}

/// The engine's ends of all channels.
pub struct EngineTask {
    /// The engine.
    pub engine: Engine,
    /// Readings from the adapters.
    pub readings: mpsc::Receiver<Batch>,
    /// Requests from all sides.
    pub requests: mpsc::Receiver<Submission>,
    /// Re-arming.
    pub rearm: mpsc::Receiver<LocalRearm>,
    /// Where images go.
    pub image: watch::Sender<Arc<Image>>,
    /// Where the desired state goes.
    pub desired: watch::Sender<Arc<Desired>>,
    /// Where decisions go, for views.
    pub decision: watch::Sender<Arc<Decision>>,
    /// The disk.
    pub store: StoreWriter,
    /// Where everything is recorded, if it is.
    pub recording: Option<Recording>,
    /// The time.
    pub time: Arc<dyn TimeSource>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Cancelled to release what was commanded; the task goes on answering.
    pub release: CancellationToken,
    /// Cancelled by the task once the release is published.
    pub released: CancellationToken,
    /// Cancelled when adapters are gone: last checkpoint, end.
    pub stop: CancellationToken,
}

/// Site time between ticks.
const TICK: Duration = Duration::from_secs(1);
/// Wall time between checkpoints when nothing urgent changed.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Wall time between checkpoints when something did.
const SAVE_SOON: Duration = Duration::from_millis(200);

impl EngineTask {
    /// Run until `stop`.
    pub async fn run(mut self, first: Effects) {
        let mut waiting: HashMap<u64, oneshot::Sender<crate::request::Verdict>> = HashMap::new();
        let mut rearming: HashMap<u64, oneshot::Sender<Result<(), RearmRefusal>>> = HashMap::new();
        let mut token = 0u64;
        let mut tick = tokio::time::interval(self.time.wall(TICK).max(Duration::from_millis(1)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut save = tokio::time::interval(SAVE_SOON);
        save.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (saves, mut saved) = Saver::start(self.store.clone());
        let mut saving = false;
        let mut save_soon = true;
        let mut since_save = Duration::ZERO;
        let mut released = false;
        let mut requests_open = true;
        save_soon |= self.carry_out(first, &mut waiting, &mut rearming);
        loop {
            let event = tokio::select! {
                () = self.stop.cancelled() => break,
                () = self.release.cancelled(), if !released => {
                    released = true;
                    Event::Shutdown
                }
                Some(result) = saved.recv() => {
                    saving = false;
                    match result {
                        Ok(seq) => Event::Durable { seq },
                        // Tried again at the ordinary pace: a full disk must not be asked five times a second.
                        Err(()) => Event::StoreFailed,
                    }
                }
                submission = self.requests.recv(), if requests_open => {
                    let Some(submission) = submission else { requests_open = false; continue };
                    // Its deadline passed and it was refused as busy: it must not be done after all.
                    if submission.reply.is_closed() {
                        continue;
                    }
                    token += 1;
                    waiting.insert(token, submission.reply);
                    Event::Request { request: submission.request, token }
                }
                Some(rearm) = self.rearm.recv() => {
                    token += 1;
                    rearming.insert(token, rearm.reply);
                    Event::Rearm { zone: rearm.zone, by: rearm.by, token }
                }
                _ = tick.tick() => Event::Tick,
                Some(batch) = self.readings.recv() => Event::Readings(batch),
                _ = save.tick() => {
                    since_save += SAVE_SOON;
                    self.metrics.durability_age(self.engine.durability_age(self.time.now()).as_secs_f64());
                    if !saving && (save_soon || since_save >= SAVE_EVERY) {
                        saving = saves.try_send(self.engine.checkpoint()).is_ok();
                        save_soon = false;
                        since_save = Duration::ZERO;
                    }
                    continue;
                }
            };
            let (now, copy) = (self.time.now(), self.recording.as_ref().map(|_| event.clone()));
            let effects = self.engine.on(event, now);
            if let (Some(recording), Some(event)) = (&self.recording, copy) {
                recording.note(event, now, effects.decision.clone());
            }
            save_soon |= self.carry_out(effects, &mut waiting, &mut rearming);
            if released {
                self.released.cancel();
            }
        }
        if self.store.save(self.engine.last_checkpoint()).await.is_err() {
            tracing::error!("the last checkpoint could not be written; the one before it stands");
        }
    }

    /// Image first, then the decision, then the answers: who reads after a write sees it. True: save soon.
    fn carry_out(
        &self,
        effects: Effects,
        waiting: &mut HashMap<u64, oneshot::Sender<crate::request::Verdict>>,
        rearming: &mut HashMap<u64, oneshot::Sender<Result<(), RearmRefusal>>>,
    ) -> bool {
        if let Some(image) = effects.image {
            self.metrics.image();
            self.image.send_replace(image);
        }
        if let Some(decision) = effects.decision {
            self.desired.send_if_modified(|desired| {
                if **desired == *decision.desired {
                    return false;
                }
                let newer =
                    decision.desired.commands.iter().zip(desired.commands.iter().chain(std::iter::repeat(&None)));
                let made =
                    newer.filter(|(new, old)| new.as_ref().map(|c| c.seq) != old.as_ref().map(|c| c.seq)).count();
                self.metrics.commands(made as u64);
                *desired = Arc::clone(&decision.desired);
                true
            });
            self.decision.send_replace(decision);
        }
        for (token, verdict) in effects.verdicts {
            // A peer that went away does not wait for its verdict.
            let _ = waiting.remove(&token).map(|reply| reply.send(verdict));
        }
        for (token, answer) in effects.rearmed {
            let _ = rearming.remove(&token).map(|reply| reply.send(answer));
        }
        for notice in effects.notices {
            self.tell(&notice);
        }
        effects.save_soon
    }

    fn tell(&self, notice: &Notice) {
        match notice {
            Notice::Ledger(event) => tracing::warn!(?event, "meter"),
            Notice::Refused { origin, why } => {
                self.metrics.refused(origin.split(' ').next().unwrap_or_default(), cause(why));
                tracing::info!(%origin, %why, "write refused");
            }
            Notice::Rearmed { zone, by } => tracing::warn!(%zone, %by, "safety re-armed"),
            Notice::IntervalsDropped { count } => {
                for _ in 0..*count {
                    self.metrics.dropped("store", "closed interval that no disk took");
                }
                tracing::error!(count, "closed intervals were dropped: the disk has taken none for too long");
            }
            Notice::SlotLeftOut { key } => {
                tracing::warn!(%key, "a saved slot does not fit the mapping any more and was left out");
            }
        }
    }
}

/// A word for a metric's label.
const fn cause(why: &Refusal) -> &'static str {
    match why {
        Refusal::UnknownPoint => "unknown point",
        Refusal::ReadOnly { .. } => "read-only",
        Refusal::WrongKind { .. } => "wrong kind",
        Refusal::OutOfRange { .. } => "out of range",
        Refusal::BadPriority { .. } => "priority",
        Refusal::NotAllowed { .. } => "not allowed",
        Refusal::Changed { .. } => "changed meanwhile",
        Refusal::Busy => "busy",
        Refusal::ShuttingDown => "shutting down",
    }
}

/// Writes one checkpoint at a time, so that a slow disk holds nothing but its own age.
struct Saver;

impl Saver {
    fn start(store: StoreWriter) -> (mpsc::Sender<Checkpoint>, mpsc::Receiver<Result<u64, ()>>) {
        let (saves, mut work) = mpsc::channel::<Checkpoint>(1);
        let (done, saved) = mpsc::channel(1);
        let mut failing = false;
        tokio::spawn(async move {
            while let Some(checkpoint) = work.recv().await {
                let saved = store.save(checkpoint).await;
                // Said once at each change: the log may be on the same full disk.
                match (&saved, failing) {
                    (Err(error), false) => tracing::error!(%error, "the state cannot be written; it is tried again"),
                    (Ok(_), true) => tracing::info!("the state is written again"),
                    _ => {}
                }
                failing = saved.is_err();
                let result = saved.map_err(drop);
                if done.send(result).await.is_err() {
                    break;
                }
            }
        });
        (saves, saved)
    }
}
