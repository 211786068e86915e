//! Talks to a running gateway over its local socket: one request, one answer.

use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// How long a gateway may take to answer, on the wall.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    /// Nobody listens.
    #[error("no gateway answers at {}: {source}; is it running, and is --state-dir its state directory?", .path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// It did not answer as it should.
    #[error("the gateway did not answer: {0}")]
    Broken(String),
    /// It answered with a refusal.
    #[error("{0}")]
    Refused(String),
}

/// One request to the gateway of a state directory; the body of the answer.
pub(super) fn ask(state_dir: &Path, method: Method, path: &str) -> Result<Vec<u8>, LocalError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| LocalError::Broken(error.to_string()))?;
    let asked = async {
        tokio::time::timeout(DEADLINE, exchange(state_dir, method, path))
            .await
            .map_err(|_| LocalError::Broken("no answer within 5 s".to_owned()))?
    };
    runtime.block_on(asked)
}

async fn exchange(state_dir: &Path, method: Method, path: &str) -> Result<Vec<u8>, LocalError> {
    let socket = state_dir.join("heatgate.sock");
    let stream =
        UnixStream::connect(&socket).await.map_err(|source| LocalError::NotRunning { path: socket.clone(), source })?;
    let broken = |error: &dyn std::fmt::Display| LocalError::Broken(error.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| broken(&error))?.to_bytes();
    if status == StatusCode::OK {
        Ok(body.to_vec())
    } else {
        Err(LocalError::Refused(String::from_utf8_lossy(&body).trim().to_owned()))
    }
}
