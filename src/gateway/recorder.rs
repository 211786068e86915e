//! The recorder: what went into the engine and what it decided, as a trace in the state directory. On its own task, behind
//! a bounded queue: the engine never waits for it, and a full disk stops nothing but the recording.
//!
//! A trace is a run of segments, `<start>-<boot>-<number>.trace`. Of the running gateway's own segments the first half of
//! the allowance stays, so that it can be replayed from its start; the rest rotates, for looking and tuning.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::decision::Decision;
use crate::engine::Event;
use crate::telemetry::Metrics;
use crate::time::Now;
use crate::trace::{Encoder, Header, digest};

/// Entries that may wait; more are lost, which ends the segment.
const QUEUE: usize = 4096;
/// Text that is written at once, bytes: a flash page is not written for every line.
const BATCH: usize = 64 * 1024;
/// And at the latest after this, on the wall.
const FLUSH: Duration = Duration::from_secs(10);
/// After a failure it is tried again after so many flushes.
const RETRY: u32 = 6;
/// The files' ending.
pub const ENDING: &str = "trace";

/// How much is kept.
#[derive(Debug, Clone)]
pub(super) struct Allowance {
    pub dir: PathBuf,
    pub segment_bytes: u64,
    pub segments: usize,
}

struct Entry {
    event: Event,
    now: Now,
    decision: Option<Arc<Decision>>,
}

/// The engine's end.
pub(super) struct Recording {
    entries: mpsc::Sender<Entry>,
    lost: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
}

impl Recording {
    /// Note an event and what was decided; what can move no decision is left out. Never waits.
    pub fn note(&self, event: Event, now: Now, decision: Option<Arc<Decision>>) {
        if decision.is_none() && !Encoder::matters(&event) {
            return;
        }
        if self.entries.try_send(Entry { event, now, decision }).is_err() {
            self.metrics.dropped("trace", "queue full");
            self.lost.store(true, Ordering::Relaxed);
        }
    }
}

/// Writes what the engine notes.
pub(super) struct Recorder {
    allowance: Allowance,
    header: Arc<Header>,
    encoder: Encoder,
    buffer: String,
    file: Option<File>,
    written: u64,
    lost: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    entries: mpsc::Receiver<Entry>,
    /// Flushes until the disk is tried again; 0: it works.
    paused: u32,
}

impl Recorder {
    /// A recorder that begins with the decision of the start, and the engine's end of it.
    pub fn new(allowance: Allowance, header: Header, first: &Decision, metrics: Arc<Metrics>) -> (Self, Recording) {
        let (sender, entries) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        let encoder = Encoder::new(header.start());
        let mut buffer = header.line();
        encoder.decided(&digest(first), &mut buffer);
        let recording = Recording { entries: sender, lost: Arc::clone(&lost), metrics: Arc::clone(&metrics) };
        let header = Arc::new(header);
        let recorder =
            Self { allowance, header, encoder, buffer, file: None, written: 0, lost, metrics, entries, paused: 0 };
        (recorder, recording)
    }

    /// Record until the engine has ended.
    pub async fn run(mut self) {
        let mut flush = tokio::time::interval(FLUSH);
        flush.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                entry = self.entries.recv() => {
                    let Some(entry) = entry else { break };
                    self.take(&entry);
                    if self.buffer.len() >= BATCH {
                        self = self.flushed().await;
                    }
                }
                _ = flush.tick() => {
                    self.paused = self.paused.saturating_sub(1);
                    self = self.flushed().await;
                }
            }
        }
        drop(self.flushed().await);
    }

    fn take(&mut self, entry: &Entry) {
        if self.lost.swap(false, Ordering::Relaxed) && !self.header.gap {
            // What comes after a hole cannot be replayed: it is another segment, and says so.
            self.buffer.clear();
            self.next(true);
        }
        if self.paused > 0 {
            self.metrics.dropped("trace", "disk");
            return;
        }
        if self.written + self.buffer.len() as u64 > self.allowance.segment_bytes && !self.buffer.is_empty() {
            // The rest of this segment goes with the next flush; the new one begins in the same buffer's wake.
            let rest = std::mem::take(&mut self.buffer);
            if let Err(error) = self.write(&rest) {
                self.fail(&error);
                return;
            }
            self.next(false);
        }
        self.encoder.event(&entry.event, entry.now, &mut self.buffer);
        if let Some(decision) = &entry.decision {
            self.encoder.decided(&digest(decision), &mut self.buffer);
        }
    }

    /// Begin another segment.
    fn next(&mut self, gap: bool) {
        Arc::make_mut(&mut self.header).advance(self.encoder.at(), gap);
        self.header.write_line(&mut self.buffer);
        (self.file, self.written) = (None, 0);
    }

    /// Write what there is, away from the runtime's own threads.
    async fn flushed(self) -> Self {
        if self.buffer.is_empty() || self.paused > 0 {
            return self;
        }
        let (mut this, text) = {
            let mut this = self;
            let text = std::mem::take(&mut this.buffer);
            (this, text)
        };
        let (allowance, header, file) = (this.allowance.clone(), Arc::clone(&this.header), this.file.take());
        let written = tokio::task::spawn_blocking(move || {
            let mut file = match file {
                Some(file) => file,
                None => open(&allowance, &header)?,
            };
            file.write_all(text.as_bytes()).map(|()| (file, text.len() as u64))
        });
        match written.await {
            Ok(Ok((file, bytes))) => {
                this.written += bytes;
                this.file = Some(file);
            }
            Ok(Err(error)) => this.fail(&error),
            Err(_) => this.fail(&io::Error::other("the writer ended")),
        }
        this
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open(&self.allowance, &self.header)?,
        };
        file.write_all(text.as_bytes())
    }

    /// The disk takes nothing: forget what waits, and begin another segment later.
    fn fail(&mut self, error: &io::Error) {
        tracing::warn!(%error, dir = %self.allowance.dir.display(), "the trace cannot be written; recording pauses");
        self.metrics.dropped("trace", "disk");
        self.buffer.clear();
        self.next(true);
        self.paused = RETRY;
    }
}

/// A new segment's file, with room made for it.
fn open(allowance: &Allowance, header: &Header) -> io::Result<File> {
    fs::create_dir_all(&allowance.dir)?;
    make_room(allowance, header);
    let name = format!("{}-{:04}.{ENDING}", stem(header), header.segment);
    fs::OpenOptions::new().create(true).append(true).open(allowance.dir.join(name))
}

/// What the segments of one boot are called: sorted by name they are sorted by time.
fn stem(header: &Header) -> String {
    let start: String = header.began().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{start}-{}", header.boot)
}

/// Remove the oldest of earlier boots, then of this one those behind the first half.
fn make_room(allowance: &Allowance, header: &Header) {
    let stem = stem(header);
    let mut segments = list(&allowance.dir);
    while segments.len() >= allowance.segments.max(2) {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let own = |path: &PathBuf| name(path).starts_with(&stem);
        let kept = allowance.segments / 2;
        let victim = match segments.iter().position(|path| !own(path)) {
            Some(other) => other,
            None => kept.min(segments.len() - 1),
        };
        // One that cannot be removed is not tried again.
        let _ = fs::remove_file(segments.remove(victim));
    }
}

/// All segments of a directory, in order.
pub fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == ENDING)).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control;
    use crate::engine::{Engine, Restored, Settings};
    use crate::mapping::{BuiltinFiles, builtin, compile};
    use crate::time::{Mono, Utc};
    use crate::trace::replay;

    fn at(ms: u64) -> Now {
        Now { mono: Mono::from_start(Duration::from_millis(ms)), utc: Utc::from_millis(1_768_176_000_000 + ms as i64) }
    }

    fn files() -> Vec<(String, String)> {
        ["demo.toml", "digital-boiler.toml", "profiles/generic-heat-meter.toml"]
            .map(|name| (name.to_owned(), builtin(name).unwrap().to_owned()))
            .to_vec()
    }

    /// Ten minutes of ticks through an engine, recorded into `dir`.
    async fn record(dir: &Path, segment_bytes: u64, segments: usize, minutes: u64) -> Arc<Metrics> {
        let plant = Arc::new(compile("demo.toml", &BuiltinFiles).plant.unwrap());
        let settings = Settings { control: control::Settings::default(), liveness: 1.0 };
        let header = Header::new(("demo", "b0"), &files(), &plant, &settings, &Restored::default(), at(0));
        let (mut engine, first) = Engine::new(plant, settings, Restored::default(), at(0));
        let allowance = Allowance { dir: dir.to_path_buf(), segment_bytes, segments };
        let metrics = Arc::new(Metrics::new());
        let (recorder, recording) = Recorder::new(allowance, header, &first.decision.unwrap(), Arc::clone(&metrics));
        let task = tokio::spawn(recorder.run());
        for second in 1..minutes * 60 {
            let now = at(second * 1000 + second % 7);
            let effects = engine.on(Event::Tick, now);
            recording.note(Event::Tick, now, effects.decision);
            if second % 60 == 0 {
                // The recorder keeps up with a gateway; here it is given the chance to.
                tokio::task::yield_now().await;
            }
        }
        drop(recording);
        task.await.unwrap();
        metrics
    }

    fn read(dir: &Path) -> Vec<String> {
        list(dir).iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }

    #[tokio::test]
    async fn what_is_recorded_replays_identically_over_all_its_segments() {
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), 20_000, 100, 30).await;
        let segments = read(dir.path());
        assert!(segments.len() > 1, "{}", segments.len());
        let found = replay(&segments).unwrap();
        assert_eq!((found.difference.clone(), found.gap, found.cut_off, found.other_plant), (None, None, false, false));
        assert!(found.decisions > 150, "{}: the start, and one each 10 s or so", found.decisions);
    }

    #[tokio::test]
    async fn a_changed_decision_is_found() {
        let dir = tempfile::tempdir().unwrap();
        record(dir.path(), 1 << 20, 4, 5).await;
        let mut text = read(dir.path()).remove(0);
        let place = text.rfind("\nd ").unwrap() + 3;
        text.replace_range(place..place + 2, if &text[place..place + 2] == "00" { "01" } else { "00" });
        let found = replay(&[text]).unwrap().difference.unwrap();
        assert_eq!(found.recorded.unwrap().cap_w, found.replayed.unwrap().cap_w);
        assert!(found.event.starts_with("t "));
    }

    #[tokio::test]
    async fn the_oldest_go_and_the_beginning_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("20200101T000000000Z-a0-0000.trace"), "old").unwrap();
        record(dir.path(), 13_000, 6, 120).await;
        let names: Vec<String> =
            list(dir.path()).iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
        assert_eq!(names.len(), 6, "{names:?}");
        for (name, number) in names.iter().zip(["0000", "0001", "0002"]) {
            assert!(name.ends_with(&format!("-b0-{number}.trace")), "{names:?}");
        }
        let found = replay(&read(dir.path())).unwrap();
        assert_eq!((found.gap, found.difference), (Some(3), None));
    }

    #[tokio::test]
    async fn a_disk_that_takes_nothing_pauses_the_recording_and_counts() {
        let dir = tempfile::tempdir().unwrap();
        // A file stands where the directory should be.
        let blocked = dir.path().join("trace");
        fs::write(&blocked, "").unwrap();
        let metrics = record(&blocked, 1 << 20, 4, 10).await;
        assert!(metrics.render().contains("trace"), "{}", metrics.render());
    }
}
