//! Tasks by name: which of them ended, and how; and an end in bounded time.

use std::time::Duration;

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
}
