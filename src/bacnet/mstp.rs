//! MS/TP over a serial line (clause 9): a master node among others. Token, polls and frames are the family's; here is
//! how a line is opened, when again, and how an answer leaves in the turn of its request.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bacnet_npdu::Npdu;
use bacnet_transport::mstp::{Echo, MstpConfig, MstpTransport, SerialPort};
use bacnet_transport::mstp_serial::{SerialConfig, TokioSerialPort};
use bacnet_transport::port::{ReceivedNpdu, TransportPort};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::further::{Event, Outgoing, PortState};
use super::link::Station;
use super::settings::Serial;
use crate::telemetry::Metrics;

/// Its name in metrics.
pub(super) const LINK: &str = "bacnet-mstp";
/// Largest APDU on the line, octets: what a frame of 501 octets holds behind the longest network header (clause 6.1).
pub(super) const MAX_APDU: u16 = 480;
/// How long to rest before a line that could not be opened, or broke, is opened again.
const REST: Duration = Duration::from_secs(5);

/// What the port shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) port: Serial,
    pub(super) open: bool,
}

impl State {
    pub(super) fn initial(port: &Serial) -> Self {
        Self { port: port.clone(), open: false }
    }
}

/// Of each station the request that it waits at the line for, by its invoke identifier: the answer goes there.
type Turns = HashMap<u8, (u8, oneshot::Sender<Bytes>)>;

/// Be a master until `outgoing` is closed.
pub(super) async fn run(
    port: Serial,
    mut outgoing: mpsc::Receiver<Outgoing>,
    events: mpsc::Sender<Event>,
    metrics: Arc<Metrics>,
) {
    let (mut told, mut before) = (false, false);
    loop {
        match open(&port).await {
            Ok((transport, npdus)) => {
                tracing::info!(path = %port.path.display(), mac = port.mac, "MS/TP line open");
                metrics.up(LINK, true);
                if std::mem::replace(&mut before, true) {
                    metrics.reconnect(LINK);
                }
                show(&port, true, &events).await;
                let over = serve(transport, npdus, &mut outgoing, &events, &metrics).await;
                metrics.up(LINK, false);
                if over {
                    return;
                }
                tracing::warn!(path = %port.path.display(), "the MS/TP line is lost");
                metrics.failure(LINK, "lost");
                show(&port, false, &events).await;
                told = false;
            }
            Err(error) => {
                metrics.up(LINK, false);
                metrics.failure(LINK, "open");
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(path = %port.path.display(), %error, "the MS/TP line cannot be opened");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            () = refuse(&mut outgoing, &metrics) => return,
        }
    }
}

/// What is to be sent while there is no line goes nowhere; until nothing comes any more.
async fn refuse(outgoing: &mut mpsc::Receiver<Outgoing>, metrics: &Metrics) {
    while let Some(one) = outgoing.recv().await {
        if one.to.is_some() {
            metrics.failure(LINK, "send");
        }
    }
}

async fn show(port: &Serial, open: bool, events: &mpsc::Sender<Event>) {
    let state = PortState::Serial(State { port: port.clone(), open });
    // The node's end is seen by who sends.
    let _ = events.send(Event::State { state, fresh: open }).await;
}

type Opened = (MstpTransport<TokioSerialPort>, mpsc::Receiver<ReceivedNpdu>);

async fn open(port: &Serial) -> Result<Opened, bacnet_types::error::Error> {
    let line = SerialConfig { port_name: port.path.to_string_lossy().into_owned(), baud_rate: port.baud };
    let echo = if port.echo { Echo::full() } else { Echo::None };
    let line = TokioSerialPort::open(&line)?.with_echo(echo);
    let mut transport = MstpTransport::new(line, config(port));
    let npdus = transport.start().await?;
    Ok((transport, npdus))
}

fn config(port: &Serial) -> MstpConfig {
    MstpConfig {
        this_station: port.mac,
        max_master: port.max_master,
        max_info_frames: port.max_info_frames,
        baud_rate: port.baud,
        ..MstpConfig::default()
    }
}

/// Carry NPDUs until the line is lost (false), or nothing more is to be sent (true).
async fn serve<S: SerialPort>(
    mut transport: MstpTransport<S>,
    mut npdus: mpsc::Receiver<ReceivedNpdu>,
    outgoing: &mut mpsc::Receiver<Outgoing>,
    events: &mpsc::Sender<Event>,
    metrics: &Metrics,
) -> bool {
    let mut turns = Turns::new();
    let (diagnostics, mut dropped) = (transport.diagnostics(), 0);
    let over = loop {
        tokio::select! {
            npdu = npdus.recv() => match npdu {
                Some(npdu) => {
                    // What found no room on the way here.
                    let all = diagnostics.snapshot().ingress_full;
                    (dropped..all).for_each(|_| metrics.dropped(LINK, "npdu"));
                    dropped = all;
                    take(npdu, &mut turns, events).await;
                }
                None => break false,
            },
            one = outgoing.recv() => match one {
                Some(one) => send(&transport, &mut turns, one, metrics).await,
                None => break true,
            },
        }
    };
    // It only ends the task that has the line.
    let _ = transport.stop().await;
    over
}

async fn take(received: ReceivedNpdu, turns: &mut Turns, events: &mpsc::Sender<Event>) {
    let &[mac] = received.source_mac.as_slice() else { return };
    // The station waits at the line for some 250 ms (clause 9.5.3); an answer that is later leaves with the token.
    if let (Some(turn), Some(invoke)) = (received.reply_tx, invoke(&received.npdu, true)) {
        turns.insert(mac, (invoke, turn));
    }
    let event = Event::Npdu { from: Station::Serial(mac), group: received.link_layer_group, npdu: received.npdu };
    // The node's end is seen by who sends.
    let _ = events.send(event).await;
}

async fn send<S: SerialPort>(transport: &MstpTransport<S>, turns: &mut Turns, one: Outgoing, metrics: &Metrics) {
    let Outgoing { to, mut npdu } = one;
    let sent = match to {
        Some(Station::Serial(mac)) => {
            if let Some(invoke) = invoke(&npdu, false)
                && turns.get(&mac).is_some_and(|(asked, _)| *asked == invoke)
                && let Some((_, turn)) = turns.remove(&mac)
            {
                match turn.send(npdu) {
                    Ok(()) => return metrics.transaction(LINK),
                    Err(late) => npdu = late,
                }
            }
            transport.send_unicast(&npdu, &[mac]).await
        }
        None => transport.send_broadcast(&npdu).await,
        Some(Station::Ip(_) | Station::Secure(_)) => return,
    };
    match sent {
        Ok(()) => metrics.transaction(LINK),
        Err(error) => {
            tracing::debug!(%error, "MS/TP frame not sent");
            metrics.failure(LINK, "send");
        }
    }
}

/// The invoke identifier of a confirmed request on our own network, or of an answer to one.
fn invoke(npdu: &[u8], request: bool) -> Option<u8> {
    let npdu = Npdu::decode(npdu).ok()?;
    let own = npdu.source.is_none() && npdu.destination.is_none() && npdu.message_type.is_none();
    let kind = npdu.payload.first()? >> 4;
    match (request, kind) {
        (true, 0) => npdu.payload.get(2),
        (false, 2..=7) => npdu.payload.get(1),
        _ => None,
    }
    .filter(|_| own)
    .copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bacnet_transport::mstp::LoopbackSerial;

    /// The bound of every wait.
    const SOON: Duration = Duration::from_secs(30);
    const READ: &[u8] = &[1, 4, 0x02, 0x03, 7, 12, 0x0C, 0x02, 0, 0xB7, 0x99, 0x19, 77];

    fn port(mac: u8) -> Serial {
        let path = "/nowhere/tty".into();
        Serial { path, mac, baud: 115_200, max_master: 3, max_info_frames: 2, echo: false }
    }

    async fn next<T>(from: &mut mpsc::Receiver<T>) -> T {
        tokio::time::timeout(SOON, from.recv()).await.expect("the line is silent").expect("it has ended")
    }

    #[tokio::test]
    async fn requests_are_answered_in_their_turn_and_broadcasts_cross_the_line() {
        let (here, there) = LoopbackSerial::pair();
        let mut ours = MstpTransport::new(here, config(&port(1)));
        let npdus = ours.start().await.unwrap();
        let (sender, mut outgoing) = mpsc::channel(8);
        let (events, mut heard) = mpsc::channel(8);
        let metrics = Arc::new(Metrics::new());
        let counters = metrics.clone();
        let at_work = tokio::spawn(async move { serve(ours, npdus, &mut outgoing, &events, &counters).await });
        let mut bms = MstpTransport::new(there, config(&port(2)));
        let mut answers = bms.start().await.unwrap();

        bms.send_broadcast(&[1, 0, 0x10, 8]).await.unwrap();
        let Event::Npdu { from, group: true, npdu } = next(&mut heard).await else { panic!() };
        assert_eq!((from, &npdu[..]), (Station::Serial(2), &[1, 0, 0x10, 8][..]));
        sender.send(Outgoing { to: None, npdu: Bytes::from_static(&[1, 0, 0x10, 0]) }).await.unwrap();
        let i_am = next(&mut answers).await;
        assert_eq!(
            (&i_am.source_mac[..], &i_am.npdu[..], i_am.link_layer_group),
            (&[1][..], &[1, 0, 0x10, 0][..], true)
        );
        // Two requests: the second one is answered though the first never was.
        for invoke in [7, 8] {
            let mut read = READ.to_vec();
            read[4] = invoke;
            bms.send_unicast(&read, &[1]).await.unwrap();
            let Event::Npdu { from, group: false, npdu } = next(&mut heard).await else { panic!() };
            assert_eq!((from, &npdu[..]), (Station::Serial(2), &read[..]));
        }
        let answer = Bytes::from_static(&[1, 0, 0x50, 8, 12, 0x91, 1, 0x91, 31]);
        sender.send(Outgoing { to: Some(Station::Serial(2)), npdu: answer.clone() }).await.unwrap();
        assert_eq!(next(&mut answers).await.npdu, answer);
        drop(sender);
        assert!(tokio::time::timeout(SOON, at_work).await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn a_line_that_is_not_there_is_counted_and_the_node_may_end() {
        let (sender, outgoing) = mpsc::channel(8);
        let (events, _heard) = mpsc::channel(8);
        let metrics = Arc::new(Metrics::new());
        let at_work = tokio::spawn(run(port(1), outgoing, events, metrics.clone()));
        for to in [None, Some(Station::Serial(2))] {
            sender.send(Outgoing { to, npdu: Bytes::from_static(&[1, 0, 0x10, 8]) }).await.unwrap();
        }
        drop(sender);
        tokio::time::timeout(SOON, at_work).await.unwrap().unwrap();
        let shown = metrics.render();
        for cause in ["open", "send"] {
            assert!(shown.contains(&format!("link=\"bacnet-mstp\",cause=\"{cause}\"}} 1")), "{shown}");
        }
    }

    #[test]
    fn an_answer_is_known_by_the_request_that_it_is_for() {
        // ReadProperty, its ComplexACK, Who-Is, cut short, behind a router
        assert_eq!(invoke(&[1, 4, 0x02, 0x05, 7, 12], true), Some(7));
        assert_eq!(invoke(&[1, 0, 0x30, 7, 12], false), Some(7));
        assert_eq!(invoke(&[1, 4, 0x02, 0x05, 7, 12], false), None);
        assert_eq!(invoke(&[1, 0, 0x10, 8], true), None);
        assert_eq!(invoke(&[1, 4, 0x02], true), None);
        assert_eq!(invoke(&[1, 0x0C, 0, 5, 1, 9, 0x02, 0x05, 7, 12], true), None);
    }
}
