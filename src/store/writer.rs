//! The writer: one thread owns the connection. Checkpoints and keepsakes that wait are committed together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{StoreError, Unsent, outbox, rows};
use crate::decision::SafetyLatch;
use crate::durable::{Checkpoint, Keepsake, SavedEfficiency, SavedInterval, SavedRuntime, SavedSlot};

/// Jobs that may wait; whoever sends waits with them.
const QUEUE: usize = 16;

/// Intervals of failed checkpoints that are kept for the next one: 100 counters for a day and a half. Beyond it the
/// oldest are dropped, and counted.
const KEPT: usize = 16_384;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Save(Box<Checkpoint>, Reply<u64>),
    Keep(Vec<Keepsake>, Reply<()>),
    Unsent(Reply<Unsent>),
    Sent(Vec<(String, u64)>, Reply<()>),
    Stop,
    #[cfg(test)]
    Limit(u32, Reply<()>),
}

/// The way to write; cheap to clone.
#[derive(Debug, Clone)]
pub struct StoreWriter {
    jobs: mpsc::Sender<Job>,
    dropped: Arc<AtomicU64>,
}

impl StoreWriter {
    /// Write a checkpoint, all or none; its `seq` when it is durable. On an error nothing was written, its intervals are
    /// kept for the next checkpoint, and everything else of it is expected there anew.
    pub async fn save(&self, checkpoint: Checkpoint) -> Result<u64, StoreError> {
        self.ask(|reply| Job::Save(Box::new(checkpoint), reply)).await
    }

    /// Write keepsakes, all or none, in this order. On an error nothing was written.
    pub async fn keep(&self, keepsakes: Vec<Keepsake>) -> Result<(), StoreError> {
        self.ask(|reply| Job::Keep(keepsakes, reply)).await
    }

    /// The oldest intervals that wait to be sent.
    pub async fn unsent(&self) -> Result<Unsent, StoreError> {
        self.ask(Job::Unsent).await
    }

    /// These intervals, by counter and seq, have arrived.
    pub async fn sent(&self, which: Vec<(String, u64)>) -> Result<(), StoreError> {
        self.ask(|reply| Job::Sent(which, reply)).await
    }

    /// Intervals that were lost because the disk took nothing for too long.
    pub fn dropped_intervals(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    async fn ask<T>(&self, job: impl FnOnce(Reply<T>) -> Job) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// End the thread after what is queued.
    pub(super) fn stop(&self) {
        // From a thread that may block; inside a runtime the queue is short enough to poll.
        let mut job = Job::Stop;
        while let Err(mpsc::error::TrySendError::Full(back)) = self.jobs.try_send(job) {
            job = back;
            std::thread::yield_now();
        }
    }

    #[cfg(test)]
    pub(super) async fn limit(&self, pages: u32) {
        self.ask(|reply| Job::Limit(pages, reply)).await.unwrap();
    }
}

/// Start the thread.
pub(super) fn start(connection: Connection) -> std::io::Result<(StoreWriter, JoinHandle<()>)> {
    let (jobs, receiver) = mpsc::channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let mut thread = Thread {
        connection,
        late: VecDeque::new(),
        dropped: dropped.clone(),
        latches: None,
        slots: None,
        efficiencies: None,
        runtimes: None,
    };
    let handle = std::thread::Builder::new().name("store".into()).spawn(move || thread.run(receiver))?;
    Ok((StoreWriter { jobs, dropped }, handle))
}

/// Jobs that share one transaction.
#[derive(Default)]
struct Group {
    saves: Vec<(Checkpoint, Reply<u64>)>,
    keeps: Vec<(Vec<Keepsake>, Reply<()>)>,
}

impl Group {
    /// Take a job in; one that does not belong comes back.
    fn take(&mut self, job: Job) -> Option<Job> {
        match job {
            Job::Save(checkpoint, reply) => self.saves.push((*checkpoint, reply)),
            Job::Keep(keepsakes, reply) => self.keeps.push((keepsakes, reply)),
            other => return Some(other),
        }
        None
    }
}

struct Thread {
    connection: Connection,
    /// Intervals of checkpoints that failed.
    late: VecDeque<SavedInterval>,
    dropped: Arc<AtomicU64>,
    /// What is on disk; written only when it changes.
    latches: Option<Vec<(String, SafetyLatch)>>,
    slots: Option<Vec<SavedSlot>>,
    efficiencies: Option<Vec<SavedEfficiency>>,
    runtimes: Option<Vec<SavedRuntime>>,
}

impl Thread {
    fn run(&mut self, mut jobs: mpsc::Receiver<Job>) {
        let mut next = None;
        while let Some(job) = next.take().or_else(|| jobs.blocking_recv()) {
            match job {
                job @ (Job::Save(..) | Job::Keep(..)) => {
                    let mut group = Group::default();
                    next = group.take(job);
                    // What waits behind it goes into the same transaction.
                    while next.is_none() {
                        let Ok(job) = jobs.try_recv() else { break };
                        next = group.take(job);
                    }
                    self.write(group);
                }
                // Nobody waits for an answer that cannot be delivered.
                Job::Unsent(reply) => drop(reply.send(outbox::unsent(&self.connection).map_err(StoreError::from))),
                Job::Sent(which, reply) => {
                    let done =
                        outbox::sent(&mut self.connection, &which).map_err(|error| StoreError::from_write(&error));
                    drop(reply.send(done));
                }
                Job::Stop => return,
                #[cfg(test)]
                Job::Limit(pages, reply) => {
                    let pragma = format!("PRAGMA max_page_count = {pages}");
                    let set = self.connection.query_row(&pragma, [], |_| Ok(())).map_err(StoreError::from);
                    drop(reply.send(set));
                }
            }
        }
    }

    fn write(&mut self, mut group: Group) {
        for (checkpoint, _) in &mut group.saves {
            self.late.extend(checkpoint.intervals.drain(..));
        }
        let Group { saves, keeps } = group;
        let newest = saves.last().map(|(checkpoint, _)| checkpoint);
        let mut written = self.commit(newest, &keeps);
        let kept = written.as_ref().map(drop).map_err(StoreError::from_write);
        if written.is_err() && newest.is_some() && !keeps.is_empty() {
            // The ledger must not fail for what others want to remember.
            written = self.commit(newest, &[]);
        }
        for (_, reply) in keeps {
            // Nobody waits for an answer that cannot be delivered.
            drop(reply.send(match &kept {
                Ok(()) => Ok(()),
                Err(StoreError::Full(why)) => Err(StoreError::Full(why.clone())),
                Err(why) => Err(StoreError::Write(why.to_string())),
            }));
        }
        match written {
            Ok(()) => {
                if let Some(newest) = newest {
                    self.late.clear();
                    self.latches = Some(newest.latches.clone());
                    self.slots = Some(newest.slots.clone());
                    self.efficiencies = Some(newest.efficiencies.clone());
                    self.runtimes = Some(newest.runtimes.clone());
                }
                for (checkpoint, reply) in saves {
                    drop(reply.send(Ok(checkpoint.seq)));
                }
            }
            Err(error) => {
                while self.late.len() > KEPT {
                    self.late.pop_front();
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
                tracing::debug!(%error, intervals = self.late.len(), "the state could not be written");
                for (_, reply) in saves {
                    drop(reply.send(Err(StoreError::from_write(&error))));
                }
            }
        }
    }

    fn commit(
        &mut self,
        checkpoint: Option<&Checkpoint>,
        keeps: &[(Vec<Keepsake>, Reply<()>)],
    ) -> rusqlite::Result<()> {
        let transaction = self.connection.transaction()?;
        if let Some(checkpoint) = checkpoint {
            rows::write_intervals(&transaction, self.late.iter())?;
            rows::write_counters(&transaction, &checkpoint.counters)?;
            if self.latches.as_ref() != Some(&checkpoint.latches) {
                rows::write_latches(&transaction, &checkpoint.latches)?;
            }
            if self.slots.as_ref() != Some(&checkpoint.slots) {
                rows::write_slots(&transaction, &checkpoint.slots)?;
            }
            if self.efficiencies.as_ref() != Some(&checkpoint.efficiencies) {
                rows::write_efficiencies(&transaction, &checkpoint.efficiencies)?;
            }
            if self.runtimes.as_ref() != Some(&checkpoint.runtimes) {
                rows::write_runtimes(&transaction, &checkpoint.runtimes)?;
            }
        }
        rows::write_keepsakes(&transaction, keeps.iter().flat_map(|(keepsakes, _)| keepsakes))?;
        transaction.commit()
    }
}
