//! A WebSocket over TLS to a hub: how it is dialled (Annex AB.7), and what goes over it. Nothing here waits for ever.

use std::time::Duration;

use bacnet_transport::sc::WebSocketPort;
use bacnet_types::error::Error;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{Hub, PATIENCE, Tls};

/// The subprotocol of a hub (Annex AB.7.1).
const SUBPROTOCOL: &str = "hub.bsc.bacnet.org";
/// Longest message that is read, octets: a BVLC-SC length has 16 bits.
const LONGEST: usize = 1 << 16;

/// Why a hub could not be dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the hub {0} cannot be reached: {1}")]
    Reach(Hub, std::io::Error),
    #[error("no TLS with the hub {0}: {1}")]
    Tls(Hub, std::io::Error),
    #[error("{0} is no BACnet/SC hub: {1}")]
    Upgrade(Hub, String),
    #[error("the hub {0} does not answer")]
    Silent(Hub),
}

impl DialError {
    /// In metrics.
    pub(super) const fn cause(&self) -> &'static str {
        match self {
            Self::Reach(..) => "connect",
            Self::Tls(..) => "tls",
            Self::Upgrade(..) => "websocket",
            Self::Silent(_) => "silent",
        }
    }
}

/// An open WebSocket.
#[derive(Debug)]
pub(super) struct Socket {
    write: Mutex<SplitSink<WebSocketStream<TlsStream<TcpStream>>, Message>>,
    read: Mutex<SplitStream<WebSocketStream<TlsStream<TcpStream>>>>,
}

/// Open one to a hub, within a time.
pub(super) async fn dial(hub: &Hub, tls: &Tls, within: Duration) -> Result<Socket, DialError> {
    tokio::time::timeout(within, open(hub, tls)).await.map_err(|_| DialError::Silent(hub.clone()))?
}

async fn open(hub: &Hub, tls: &Tls) -> Result<Socket, DialError> {
    let reach = |error| DialError::Reach(hub.clone(), error);
    let upgrade = |why: String| DialError::Upgrade(hub.clone(), why);
    let stream = TcpStream::connect((hub.host(), hub.port())).await.map_err(reach)?;
    stream.set_nodelay(true).map_err(reach)?;
    let name = ServerName::try_from(hub.host().to_owned());
    let name = name.map_err(|_| reach(std::io::Error::other("no name of a host")))?;
    let connector = TlsConnector::from(tls.0.clone());
    let stream = connector.connect(name, stream).await.map_err(|error| DialError::Tls(hub.clone(), error))?;
    let mut request = hub.uri().into_client_request().map_err(|error| upgrade(error.to_string()))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let limits = WebSocketConfig::default()
        .read_buffer_size(8192)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * LONGEST)
        .max_message_size(Some(LONGEST))
        .max_frame_size(Some(LONGEST));
    let opened = tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await;
    let (socket, response) = opened.map_err(|error| upgrade(error.to_string()))?;
    if response.headers().get(SEC_WEBSOCKET_PROTOCOL).is_none_or(|chosen| chosen != SUBPROTOCOL) {
        return Err(upgrade(format!("it does not speak {SUBPROTOCOL}")));
    }
    let (write, read) = socket.split();
    Ok(Socket { write: Mutex::new(write), read: Mutex::new(read) })
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Transport(std::io::Error::new(std::io::ErrorKind::ConnectionAborted, error.to_string()))
}

impl WebSocketPort for Socket {
    /// Within a time: a hub that takes nothing any more must not stop the upkeep of the connection.
    async fn send(&self, data: &[u8]) -> Result<(), Error> {
        let message = Message::Binary(data.to_vec().into());
        let send = async { self.write.lock().await.send(message).await };
        match tokio::time::timeout(PATIENCE, send).await {
            Ok(sent) => sent.map_err(failed),
            Err(_) => Err(failed("the hub takes nothing")),
        }
    }

    async fn recv(&self) -> Result<Vec<u8>, Error> {
        let mut read = self.read.lock().await;
        loop {
            return match read.next().await {
                Some(Ok(Message::Binary(data))) => Ok(data.to_vec()),
                // Answered below us.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                // Nothing else is a frame of BACnet/SC (Annex AB.7.5.3).
                Some(Ok(Message::Text(_))) => Err(failed("the hub sent text")),
                Some(Ok(Message::Close(_))) | None => Err(failed("the hub has closed the connection")),
                Some(Err(error)) => Err(failed(error)),
            };
        }
    }
}
