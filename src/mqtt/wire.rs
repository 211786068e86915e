//! One connection to the broker: rumqttc's state of the protocol and its codec, over a socket of our own, so that all that
//! is due at once goes out in one write, and a burst's acknowledgements come in with one read. (rumqttc's own event loop
//! makes a system call for each message: half of what a large site's views cost.)
//!
//! It has a task of its own and ends at its first error.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet, PingReq};
use rumqttc::{Event, MqttState, Request, StateError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, sleep, timeout};

/// For the connection, and for each write.
const PATIENCE: Duration = Duration::from_secs(5);
/// So many messages in one write.
const AT_ONCE: usize = 64;
/// From so many unacknowledged messages on, acknowledgements are left to gather.
const BURST: u16 = 8;
/// For so long.
const GATHER: Duration = Duration::from_millis(1);
/// What the buffers keep when a large packet has gone through.
const BUFFER: usize = 16 * 1024;

/// Why a connection ended, or was not made.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The socket.
    #[error("I/O: {0}")]
    Socket(#[from] io::Error),
    /// Nothing answers, or nothing is taken.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Patience,
    /// The broker closed it.
    #[error("the broker closed the connection")]
    Closed,
    /// The broker's answer to CONNECT.
    #[error("the broker refuses the connection: {0:?}")]
    Refused(ConnectReturnCode),
    /// The first packet is another one.
    #[error("the broker does not answer CONNECT")]
    NoAnswer,
    /// What came is no MQTT.
    #[error("{0}")]
    Packet(#[from] mqttbytes::Error),
    /// What came does not fit what was sent.
    #[error("{0}")]
    State(#[from] StateError),
}

/// Where the broker is, and how to present oneself.
#[derive(Debug)]
pub(super) struct Opening {
    pub host: String,
    pub port: u16,
    pub connect: Connect,
    /// Largest packet in either direction.
    pub max_packet: usize,
    /// Packet ids come round after this many; far more than are ever unacknowledged.
    pub ids: u16,
}

/// What happened, in order; an error is the last.
pub(super) type Happenings = Result<Vec<Event>, WireError>;

/// Connect, and carry requests and events until the first error, or until the other side of a channel is gone.
pub(super) async fn run(opening: Opening, requests: mpsc::Receiver<Request>, events: mpsc::Sender<Happenings>) {
    if let Err(error) = carry(opening, requests, &events).await {
        // Nobody listens any more: then nobody has to know.
        let _ = events.send(Err(error)).await;
    }
}

async fn carry(
    opening: Opening,
    mut requests: mpsc::Receiver<Request>,
    events: &mpsc::Sender<Happenings>,
) -> Result<(), WireError> {
    let keep_alive = Duration::from_secs(opening.connect.keep_alive.into());
    let mut wire = Wire {
        state: MqttState::new(opening.ids, false),
        arrived: BytesMut::with_capacity(BUFFER),
        leaving: BytesMut::with_capacity(BUFFER),
        max_packet: opening.max_packet,
    };
    let mut stream = timeout(PATIENCE, wire.open(&opening)).await.map_err(|_| WireError::Patience)??;
    let mut ping = tokio::time::interval(keep_alive.max(Duration::from_secs(1)));
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping.reset();
    let mut asked = Vec::with_capacity(AT_ONCE);
    let mut gather = std::pin::pin!(sleep(Duration::ZERO));
    let mut gathering = false;
    loop {
        let happened: Vec<Event> = wire.state.events.drain(..).collect();
        if !happened.is_empty() && events.send(Ok(happened)).await.is_err() {
            return Ok(());
        }
        tokio::select! {
            read = stream.read_buf(&mut wire.arrived), if !gathering => {
                if read? == 0 {
                    return Err(WireError::Closed);
                }
                wire.take()?;
                if wire.state.inflight() >= BURST {
                    gather.set(sleep(GATHER));
                    gathering = true;
                }
            }
            () = &mut gather, if gathering => gathering = false,
            // A packet id that came round to a message without its acknowledgement: nothing more until the client knows.
            count = requests.recv_many(&mut asked, AT_ONCE), if wire.state.collision.is_none() => {
                if count == 0 {
                    return Ok(());
                }
                for request in asked.drain(..) {
                    wire.give(request)?;
                }
            }
            _ = ping.tick() => wire.give(Request::PingReq(PingReq))?,
        }
        wire.flush(&mut stream).await?;
    }
}

/// The protocol's state, and the bytes on both sides of it.
struct Wire {
    state: MqttState,
    arrived: BytesMut,
    leaving: BytesMut,
    max_packet: usize,
}

impl Wire {
    /// Connect, and be let in.
    async fn open(&mut self, opening: &Opening) -> Result<TcpStream, WireError> {
        let mut stream = TcpStream::connect((opening.host.as_str(), opening.port)).await?;
        // A command waits for no segment to fill up: 40 ms less from command to acknowledgement.
        stream.set_nodelay(true)?;
        Packet::Connect(opening.connect.clone()).write(&mut self.leaving, self.max_packet)?;
        self.flush(&mut stream).await?;
        loop {
            match Packet::read(&mut self.arrived, self.max_packet) {
                Ok(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success => {
                    self.state.events.push_back(Event::Incoming(Packet::ConnAck(ack)));
                    // What came with it.
                    self.take()?;
                    self.flush(&mut stream).await?;
                    return Ok(stream);
                }
                Ok(Packet::ConnAck(ack)) => return Err(WireError::Refused(ack.code)),
                Ok(_) => return Err(WireError::NoAnswer),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {
                    if stream.read_buf(&mut self.arrived).await? == 0 {
                        return Err(WireError::Closed);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Understand all packets that are there.
    fn take(&mut self) -> Result<(), WireError> {
        loop {
            match Packet::read(&mut self.arrived, self.max_packet) {
                Ok(packet) => {
                    if let Some(answer) = self.state.handle_incoming_packet(packet)? {
                        answer.write(&mut self.leaving, self.max_packet)?;
                    }
                }
                Err(mqttbytes::Error::InsufficientBytes(missing)) => {
                    self.arrived.reserve(missing.max(BUFFER));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// One more packet for the next write.
    fn give(&mut self, request: Request) -> Result<(), WireError> {
        if let Some(packet) = self.state.handle_outgoing_packet(request)? {
            packet.write(&mut self.leaving, self.max_packet)?;
        }
        Ok(())
    }

    async fn flush(&mut self, stream: &mut TcpStream) -> Result<(), WireError> {
        if !self.leaving.is_empty() {
            timeout(PATIENCE, stream.write_all(&self.leaving)).await.map_err(|_| WireError::Patience)??;
            self.leaving.clear();
            if self.leaving.capacity() > 4 * BUFFER {
                self.leaving = BytesMut::with_capacity(BUFFER);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rumqttc::Outgoing;
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::{ConnAck, PubAck, Publish};
    use tokio::net::TcpListener;

    const MAX: usize = 1_000;

    /// A connection to a listener, and the listener's side of it, with CONNECT already read.
    async fn pair(requests: mpsc::Receiver<Request>) -> (mpsc::Receiver<Happenings>, TcpStream, BytesMut) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let opening =
            Opening { host: "127.0.0.1".into(), port, connect: Connect::new("c"), max_packet: MAX, ids: 1_000 };
        let (sender, events) = mpsc::channel(64);
        tokio::spawn(run(opening, requests, sender));
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut arrived = BytesMut::new();
        assert!(matches!(packet(&mut stream, &mut arrived).await, Some(Packet::Connect(_))));
        (events, stream, arrived)
    }

    async fn packet(stream: &mut TcpStream, arrived: &mut BytesMut) -> Option<Packet> {
        loop {
            match Packet::read(arrived, MAX) {
                Ok(packet) => return Some(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {
                    if stream.read_buf(arrived).await.unwrap() == 0 {
                        return None;
                    }
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn say(stream: &mut TcpStream, packets: impl IntoIterator<Item = Packet>) {
        let mut bytes = BytesMut::new();
        for packet in packets {
            packet.write(&mut bytes, MAX).unwrap();
        }
        stream.write_all(&bytes).await.unwrap();
    }

    fn welcome() -> Packet {
        Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false))
    }

    async fn next(events: &mut mpsc::Receiver<Happenings>) -> Happenings {
        timeout(Duration::from_secs(30), events.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_burst_goes_out_in_order_and_its_acknowledgements_come_in() {
        let (requests, asked) = mpsc::channel(64);
        for n in 0..40 {
            requests.try_send(Request::Publish(Publish::new(format!("t/{n}"), QoS::AtLeastOnce, "x"))).unwrap();
        }
        let (mut events, mut stream, mut arrived) = pair(asked).await;
        say(&mut stream, [welcome()]).await;
        for n in 0..40 {
            match packet(&mut stream, &mut arrived).await {
                Some(Packet::Publish(publish)) => assert_eq!((publish.topic, publish.pkid), (format!("t/{n}"), n + 1)),
                other => panic!("{other:?}"),
            }
        }
        say(&mut stream, (1..=40).map(|id| Packet::PubAck(PubAck::new(id)))).await;
        let mut seen = Vec::new();
        while seen.len() < 81 {
            seen.extend(next(&mut events).await.unwrap());
        }
        let expected = std::iter::once(Event::Incoming(welcome()))
            .chain((1..=40).map(|id| Event::Outgoing(Outgoing::Publish(id))))
            .chain((1..=40).map(|id| Event::Incoming(Packet::PubAck(PubAck::new(id)))));
        assert_eq!(seen, expected.collect::<Vec<_>>());
        // What is published to us is acknowledged, and a closed connection is the end.
        let mut publish = Publish::new("t/in", QoS::AtLeastOnce, "y");
        publish.pkid = 7;
        say(&mut stream, [Packet::Publish(publish.clone())]).await;
        assert_eq!(packet(&mut stream, &mut arrived).await, Some(Packet::PubAck(PubAck::new(7))));
        assert_eq!(next(&mut events).await.unwrap().first(), Some(&Event::Incoming(Packet::Publish(publish))));
        drop(stream);
        assert!(matches!(next(&mut events).await, Err(WireError::Closed | WireError::Socket(_))));
        assert!(events.recv().await.is_none());
    }

    #[tokio::test]
    async fn what_is_no_welcome_and_what_is_no_mqtt_end_it() {
        let bad = Packet::ConnAck(ConnAck::new(ConnectReturnCode::NotAuthorized, false));
        for (said, wanted) in [(vec![bad], "refuses"), (vec![Packet::PingResp], "does not answer CONNECT")] {
            let (_requests, asked) = mpsc::channel(1);
            let (mut events, mut stream, _) = pair(asked).await;
            say(&mut stream, said).await;
            let error = next(&mut events).await.unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        for junk in [&[0x00, 0x00][..], &[0xF0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], &[0x40, 0x02, 0x00, 0x09]] {
            let (_requests, asked) = mpsc::channel(1);
            let (mut events, mut stream, _) = pair(asked).await;
            say(&mut stream, [welcome()]).await;
            stream.write_all(junk).await.unwrap();
            // Whether the welcome is told before it depends on how much comes at once.
            while let Ok(happened) = next(&mut events).await {
                assert_eq!(happened.first(), Some(&Event::Incoming(welcome())));
            }
        }
    }

    #[tokio::test]
    async fn a_goodbye_is_written_before_it_is_told_and_a_client_that_is_gone_ends_it() {
        let (requests, asked) = mpsc::channel(4);
        let (mut events, mut stream, mut arrived) = pair(asked).await;
        say(&mut stream, [welcome()]).await;
        next(&mut events).await.unwrap();
        requests.send(Request::Disconnect(rumqttc::mqttbytes::v4::Disconnect)).await.unwrap();
        assert_eq!(packet(&mut stream, &mut arrived).await, Some(Packet::Disconnect));
        assert_eq!(next(&mut events).await.unwrap(), [Event::Outgoing(Outgoing::Disconnect)]);
        drop(requests);
        assert!(events.recv().await.is_none());
        assert_eq!(packet(&mut stream, &mut arrived).await, None);
    }
}
