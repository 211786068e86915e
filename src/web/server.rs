//! The server: binds, serves a router in bounds, and stops in bounded time.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::{Listener, ListenerExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::limit::{Limited, SILENCE};
use crate::telemetry::Metrics;

/// How long answers that are under way may take after a stop, on the wall.
const DRAIN: Duration = Duration::from_secs(2);

/// A bound server that does not serve yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    at: SocketAddr,
}

impl Server {
    /// Bind; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { at: listener.local_addr()?, listener })
    }

    /// Where it listens.
    pub const fn local_addr(&self) -> SocketAddr {
        self.at
    }

    /// Serve until `stop` is cancelled.
    pub async fn run(self, router: Router, metrics: Arc<Metrics>, stop: CancellationToken) {
        let listener = self.listener.tap_io(|stream| {
            // Without it an answer waits for the peer's delayed acknowledgement; with an error it is only slower.
            let _ = stream.set_nodelay(true);
        });
        serve(listener, "http", router, metrics, stop).await;
    }
}

/// Serve a router on any listener, a Unix socket for one, with bounded connections, until `stop` is cancelled. `name` labels
/// its metrics.
pub async fn serve<L>(listener: L, name: &'static str, router: Router, metrics: Arc<Metrics>, stop: CancellationToken)
where
    L: Listener,
    L::Addr: Debug,
{
    serve_within(listener, name, router, metrics, stop, SILENCE).await;
}

pub(super) async fn serve_within<L>(
    listener: L,
    name: &'static str,
    router: Router,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    silence: Duration,
) where
    L: Listener,
    L::Addr: Debug,
{
    let limited = Limited::new(listener, name, silence, metrics);
    let serving = axum::serve(limited, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let late = async {
        stop.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        // It has no errors of its own: accepting is tried again.
        _ = serving => {}
        () = late => {}
    }
}
