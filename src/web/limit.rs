//! Bounds on what peers may hold: so many connections, each for so long without an answer written to it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::telemetry::Metrics;

/// Connections open at once.
pub(super) const CONNECTIONS: usize = 64;

/// A connection that has been written nothing for this long, on the wall, is closed: idle ones, headers that trickle in,
/// and readers that do not read.
pub(super) const SILENCE: Duration = Duration::from_secs(30);

/// A listener that hands out bounded connections.
pub(super) struct Limited<L> {
    listener: L,
    name: &'static str,
    silence: Duration,
    slots: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl<L> Limited<L> {
    pub fn new(listener: L, name: &'static str, silence: Duration, metrics: Arc<Metrics>) -> Self {
        Self { listener, name, silence, slots: Arc::new(Semaphore::new(CONNECTIONS)), metrics }
    }
}

impl<L: Listener> Listener for Limited<L> {
    type Io = Guarded<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (io, peer) = self.listener.accept().await;
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                self.metrics.dropped(self.name, "too many connections");
                continue;
            };
            let open = Open { name: self.name, slots: Arc::clone(&self.slots), metrics: Arc::clone(&self.metrics) };
            open.tell(0);
            let deadline = Box::pin(tokio::time::sleep(self.silence));
            return (Guarded { io, silence: self.silence, deadline, open, _slot: slot }, peer);
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// Keeps the gauge of open connections true.
struct Open {
    name: &'static str,
    slots: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Open {
    fn tell(&self, closing: usize) {
        let open = CONNECTIONS.saturating_sub(self.slots.available_permits()).saturating_sub(closing);
        self.metrics.clients(self.name, open);
    }
}

/// One connection with its deadline and its slot.
pub(super) struct Guarded<I> {
    io: I,
    silence: Duration,
    deadline: Pin<Box<Sleep>>,
    open: Open,
    _slot: OwnedSemaphorePermit,
}

impl<I> Drop for Guarded<I> {
    fn drop(&mut self) {
        self.open.tell(1);
    }
}

impl<I> Guarded<I> {
    /// Pending, until the deadline.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn wrote(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.wait(context),
            Poll::Ready(result) => {
                self.deadline.set(tokio::time::sleep(self.silence));
                Poll::Ready(result)
            }
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Guarded<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_read(context, buffer) {
            Poll::Pending => self.wait(context),
            // Bytes alone buy no time: a request that trickles in never ends.
            ready => ready,
        }
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Guarded<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.wrote(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, bytes);
        self.wrote(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
