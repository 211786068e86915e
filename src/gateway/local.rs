//! The local socket: the command line of the same machine talks to a running gateway. File permissions are the login:
//! the socket can be opened by the gateway's user and group only.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::post;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::engine_task::LocalRearm;
use crate::plant::Plant;
use crate::telemetry::Metrics;
use crate::web;

/// The socket, bound.
pub(super) struct LocalSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl LocalSocket {
    /// Bind it. A file left by a gateway that was killed is replaced; one that answers is another gateway's.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        if path.exists() {
            if tokio::net::UnixStream::connect(path).await.is_ok() {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another gateway runs in this state directory"));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
        Ok(Self { listener, path: path.to_owned() })
    }

    /// Serve the status page's routes and the acts that only a person on the spot may do.
    pub async fn run(self, views: Router, acts: Acts, metrics: Arc<Metrics>, stop: CancellationToken) {
        let acts = Router::new().route("/local/rearm/{zone}", post(rearm)).with_state(acts);
        web::server::serve(self.listener, "local", views.merge(acts), metrics, stop).await;
        // The next start replaces it in any case.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// What acts need.
#[derive(Clone)]
pub(super) struct Acts {
    pub plant: Arc<Plant>,
    pub rearm: mpsc::Sender<LocalRearm>,
}

async fn rearm(State(acts): State<Acts>, UrlPath(zone): UrlPath<String>) -> (StatusCode, String) {
    let Some(found) = acts.plant.zones.iter().find(|known| known.name == zone) else {
        let known: Vec<&str> = acts.plant.zones.iter().map(|zone| zone.name.as_str()).collect();
        return (StatusCode::NOT_FOUND, format!("there is no zone {zone:?}; zones are {}\n", known.join(", ")));
    };
    let (reply, answer) = oneshot::channel();
    let act = LocalRearm { zone: found.id, by: "local".to_owned(), reply };
    if acts.rearm.try_send(act).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "busy\n".to_owned());
    }
    match answer.await {
        Ok(Ok(())) => (StatusCode::OK, format!("zone {zone} is re-armed\n")),
        Ok(Err(why)) => (StatusCode::CONFLICT, format!("{why}\n")),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the gateway is going down\n".to_owned()),
    }
}
