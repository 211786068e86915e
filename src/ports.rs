//! The channels between the shell and the adapters: what an adapter is given, and nothing else.

mod keepsakes;

pub use keepsakes::{KeepsakeDesk, Keepsakes};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::decision::Desired;
use crate::point::Image;
pub use crate::point::Update;
use crate::request::{Refusal, Request, Verdict};
use crate::telemetry::Metrics;
use crate::time::TimeSource;

/// The readings of one transaction: folded together, seen together.
pub type Batch = Vec<Update>;

/// A request on its way to the engine, with the way back.
#[derive(Debug)]
pub struct Submission {
    /// What is asked.
    pub request: Request,
    /// Where the verdict goes.
    pub reply: oneshot::Sender<Verdict>,
}

/// The door for requests: bounded, answered or refused as busy.
#[derive(Debug, Clone)]
pub struct Requests(mpsc::Sender<Submission>);

impl Requests {
    /// How long a request may wait for its verdict, on the wall.
    pub const DEADLINE: Duration = Duration::from_secs(2);

    /// The door and the engine's end of it.
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<Submission>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }

    /// Ask; a full queue and a missed deadline are `Busy`, a stopped engine is `ShuttingDown`.
    pub async fn submit(&self, request: Request) -> Verdict {
        let (reply, verdict) = oneshot::channel();
        self.0.try_send(Submission { request, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => Refusal::ShuttingDown,
        })?;
        match tokio::time::timeout(Self::DEADLINE, verdict).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(_)) => Err(Refusal::ShuttingDown),
            Err(_) => Err(Refusal::Busy),
        }
    }
}

/// Everything an adapter is given.
#[derive(Clone)]
pub struct Ports {
    /// The newest image.
    pub image: watch::Receiver<Arc<Image>>,
    /// What control wants.
    pub desired: watch::Receiver<Arc<Desired>>,
    /// New readings go here; bounded, so a slow engine slows the poller, not the memory.
    pub readings: mpsc::Sender<Batch>,
    /// Wishes to write go here.
    pub requests: Requests,
    /// What the adapter remembers over a restart.
    pub keepsakes: Keepsakes,
    /// The time.
    pub time: Arc<dyn TimeSource>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Cancel it to ask the shell for an orderly end, to be started again.
    pub restart: CancellationToken,
    /// Cancelled when the gateway goes down.
    pub stop: CancellationToken,
}
