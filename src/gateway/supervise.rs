//! Tasks by name: which of them ended, and how; and an end in bounded time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Running tasks.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<String>,
}

/// A task ended that should not have.
#[derive(Debug, thiserror::Error)]
pub enum TaskEnded {
    /// It returned.
    #[error("{0} ended")]
    Returned(String),
    /// It panicked.
    #[error("a task was broken off: {0}")]
    Broken(String),
}

impl Tasks {
    /// Start one.
    pub fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + Send + 'static) {
        let name = name.into();
        self.set.spawn(async move {
            task.await;
            name
        });
    }

    /// Start one on a thread of its own with a runtime of its own: a server whose answers others time. A wake-up there
    /// costs half of what it costs among several workers, and no other task stands before it. Its sockets must be
    /// registered when it runs, not before.
    pub fn spawn_apart(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(name, apart(name, task));
    }

    /// The next that ends; never, when there is none.
    pub async fn ended(&mut self) -> TaskEnded {
        match self.set.join_next().await {
            Some(Ok(name)) => TaskEnded::Returned(name),
            Some(Err(error)) => TaskEnded::Broken(error.to_string()),
            None => std::future::pending().await,
        }
    }

    /// Wait until all have ended; break off what is left after `grace`. True: all ended by themselves.
    pub async fn drain(&mut self, grace: Duration) -> bool {
        let all = async { while self.set.join_next().await.is_some() {} };
        let drained = tokio::time::timeout(grace, all).await.is_ok();
        if !drained {
            self.set.shutdown().await;
        }
        drained
    }
}

/// Run it elsewhere, wait here. When this future is dropped, the other is too.
async fn apart(name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    let (alive, dropped) = oneshot::channel::<()>();
    let (done, result) = oneshot::channel();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = runtime.map(|runtime| {
            catch_unwind(AssertUnwindSafe(|| {
                runtime.block_on(async {
                    tokio::select! {
                        () = task => {}
                        _ = dropped => {}
                    }
                });
            }))
        });
        // Nobody listens when the other side is gone.
        let _ = done.send(ended);
    };
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    let ended = match started {
        Ok(_) => result.await,
        Err(error) => return tracing::error!(%error, name, "no thread can be started"),
    };
    drop(alive);
    match ended {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(panic))) => resume_unwind(panic),
        Ok(Err(error)) => tracing::error!(%error, name, "no runtime can be made"),
        Err(_) => tracing::error!(name, "its thread is gone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_told_with_its_name_and_a_drain_is_bounded() {
        let mut tasks = Tasks::default();
        tasks.spawn("short", async {});
        assert_eq!(tasks.ended().await.to_string(), "short ended");
        tasks.spawn("stuck", std::future::pending());
        assert!(!tasks.drain(Duration::from_millis(10)).await);
        assert!(tasks.drain(Duration::from_millis(10)).await);
    }

    #[tokio::test]
    async fn a_panic_is_told() {
        let mut tasks = Tasks::default();
        tasks.spawn("broken", async { panic!("for the test") });
        assert!(matches!(tasks.ended().await, TaskEnded::Broken(_)));
    }

    #[tokio::test]
    async fn what_runs_apart_ends_panics_and_is_broken_off_like_the_rest() {
        let mut tasks = Tasks::default();
        let (tell, told) = oneshot::channel();
        tasks.spawn_apart("own thread", async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = tell.send(std::thread::current().name().map(str::to_owned));
        });
        assert_eq!(tasks.ended().await.to_string(), "own thread ended");
        assert_eq!(told.await.unwrap().as_deref(), Some("own thread"));

        tasks.spawn_apart("broken", async { panic!("for the test") });
        assert!(matches!(tasks.ended().await, TaskEnded::Broken(_)));

        let (held, dropped) = oneshot::channel::<()>();
        tasks.spawn_apart("stuck", async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        assert!(!tasks.drain(Duration::from_millis(10)).await);
        assert!(dropped.await.is_err(), "the thread drops what it ran");
    }
}
