//! One client's connection: reads and writes side by side, so that neither a stuck reader nor a stuck writer blocks the
//! other; everything it knows is in the hub.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rumqttc::mqttbytes::v4::{Codec, ConnAck, Packet};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::codec::{Decoder, Encoder};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::hub::{Flow, Hub, Link};

/// How long a client may take to say CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a write may be stuck before the client is cut off.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Packets are gathered up to this many bytes before they are written.
const WRITE_CHUNK: usize = 16 * 1024;

/// What all connections share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub hub: Arc<Mutex<Hub>>,
    pub stalled: watch::Sender<bool>,
}

impl Shared {
    /// The hub's methods do not panic halfway through a change, so a poisoned lock is still in order.
    pub fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn unstalled(&self) {
        // The sender is ours, so it cannot be gone.
        let _ = self.stalled.subscribe().wait_for(|stalled| !stalled).await;
    }
}

/// Why reading or writing has ended without a goodbye.
struct Closed;

struct Reader<R> {
    socket: R,
    codec: Codec,
    buffer: bytes::BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// The next packet; `Closed` at the end of the stream and on bytes that are no MQTT.
    async fn next(&mut self, shared: &Shared) -> Result<Packet, Closed> {
        loop {
            let decoded = match self.buffer.first() {
                // Checked before its length is believed: text would make us wait for the rest of a "packet".
                Some(first) if !valid_first_byte(*first) => None,
                _ => self.codec.decode(&mut self.buffer).ok(),
            };
            match decoded {
                Some(Some(packet)) => return Ok(packet),
                Some(None) => {}
                None => {
                    shared.hub().stats.garbage += 1;
                    return Err(Closed);
                }
            }
            match self.socket.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Closed),
                Ok(_) => {}
            }
        }
    }
}

/// MQTT 3.1.1, 2.2.2: the flags of every packet type but PUBLISH are fixed. The codec does not look at them.
const fn valid_first_byte(byte: u8) -> bool {
    match byte >> 4 {
        0 | 15 => false,
        3 => true,
        6 | 8 | 10 => byte & 0x0f == 2,
        _ => byte & 0x0f == 0,
    }
}

/// Serve one client until it leaves, breaks the protocol, falls silent, is replaced, or the broker stops.
pub(super) async fn serve(stream: TcpStream, shared: Shared, settings: Settings, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let (socket, mut writer) = stream.into_split();
    let codec = Codec { max_incoming_size: settings.max_packet, max_outgoing_size: usize::MAX };
    let mut reader = Reader { socket, codec: codec.clone(), buffer: bytes::BytesMut::with_capacity(4096) };
    let first = tokio::select! {
        first = tokio::time::timeout(CONNECT_TIMEOUT, reader.next(&shared)) => first,
        () = stop.cancelled() => return,
    };
    let Ok(Ok(Packet::Connect(connect))) = first else { return };
    tokio::select! {
        () = shared.unstalled() => {}
        () = stop.cancelled() => return,
    }
    let attached = shared.hub().attach(&connect);
    let (id, link) = match attached {
        Ok(attached) => attached,
        Err(code) => {
            let mut bytes = bytes::BytesMut::new();
            if Packet::ConnAck(ConnAck::new(code, false)).write(&mut bytes, usize::MAX).is_ok() {
                let _ = tokio::time::timeout(WRITE_TIMEOUT, writer.write_all(&bytes)).await;
            }
            return;
        }
    };
    // MQTT 3.1.1, 3.1.2.10: silent for one and a half times the keep-alive is gone; 0 is never.
    let patience = (connect.keep_alive > 0).then(|| Duration::from_secs(u64::from(connect.keep_alive)) * 3 / 2);
    let goodbye = tokio::select! {
        flow = read(reader, &shared, &id, &link, patience) => flow == Ok(Flow::Goodbye),
        () = write(writer, codec, &shared, &id, &link) => false,
        () = link.kick.cancelled() => false,
        () = stop.cancelled() => true,
    };
    shared.hub().detach(&id, link.serial, goodbye);
}

async fn read<R: AsyncRead + Unpin>(
    mut reader: Reader<R>,
    shared: &Shared,
    id: &str,
    link: &Link,
    patience: Option<Duration>,
) -> Result<Flow, ()> {
    loop {
        let packet = match patience {
            Some(patience) => tokio::time::timeout(patience, reader.next(shared)).await.map_err(drop)?,
            None => reader.next(shared).await,
        };
        let packet = packet.map_err(drop)?;
        shared.unstalled().await;
        let outcome = shared.hub().receive(id, link.serial, packet);
        match outcome {
            Ok(Flow::Continue) => {}
            Ok(Flow::Goodbye) => return Ok(Flow::Goodbye),
            Err(violation) => {
                tracing::debug!(client = ?id, ?violation, "connection closed");
                return Err(());
            }
        }
    }
}

async fn write<W: AsyncWrite + Unpin>(mut writer: W, mut codec: Codec, shared: &Shared, id: &str, link: &Link) {
    let mut buffer = bytes::BytesMut::new();
    loop {
        shared.unstalled().await;
        while buffer.len() < WRITE_CHUNK {
            let Some(packet) = shared.hub().next(id, link.serial) else { break };
            if codec.encode(packet, &mut buffer).is_err() {
                return;
            }
        }
        if buffer.is_empty() {
            link.wake.notified().await;
            continue;
        }
        match tokio::time::timeout(WRITE_TIMEOUT, writer.write_all(&buffer)).await {
            Ok(Ok(())) => buffer.clear(),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
