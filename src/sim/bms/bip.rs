//! BACnet/IP to one device and nobody else: the socket under the client of [`super::BacnetWire`].

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bacnet_transport::port::{ReceivedNpdu, TransportPort};
use bacnet_types::MacAddr;
use bacnet_types::error::Error;
use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// Original-Unicast-NPDU behind the version of BVLL (Annex J.2.11).
const UNICAST: [u8; 2] = [0x81, 0x0A];
/// Octets of a BVLL header.
const HEADER: usize = 4;
/// Longest frame: an NPDU of 1,497 octets behind its header.
const MAX_FRAME: usize = 1501;
/// Longest APDU of B/IP (clause 6, table 6-1).
const MAX_APDU: u16 = 1476;
/// Frames that may wait for the client; it has one request at a time, so what is dropped is nothing it asked for.
const QUEUE: usize = 16;
/// A socket that only errs must not make a busy loop.
const AFTER_ERROR: Duration = Duration::from_millis(10);

/// A connected socket: only what that device sends is heard, and a dead one is noticed by its host's word.
pub(super) struct OnePeer {
    peer: SocketAddrV4,
    /// Address and port, as B/IP writes them.
    mac: [u8; 6],
    socket: Arc<UdpSocket>,
    receiver: Option<AbortOnDropHandle<()>>,
}

impl OnePeer {
    /// On a free port; on loopback where the device is there.
    pub(super) async fn open(peer: SocketAddrV4) -> std::io::Result<Self> {
        let ip = if peer.ip().is_loopback() { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
        let socket = UdpSocket::bind((ip, 0)).await?;
        socket.connect(peer).await?;
        let SocketAddr::V4(own) = socket.local_addr()? else { return Err(std::io::ErrorKind::Unsupported.into()) };
        Ok(Self { peer, mac: mac(own), socket: Arc::new(socket), receiver: None })
    }
}

/// A B/IP address (Annex J.1.2).
pub(super) fn mac(address: SocketAddrV4) -> [u8; 6] {
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    [a, b, c, d, high, low]
}

/// The NPDU of a frame that was sent to us.
fn npdu(frame: &[u8]) -> Option<&[u8]> {
    let (header, npdu) = frame.split_first_chunk::<HEADER>()?;
    let [version, function, high, low] = *header;
    let whole = usize::from(u16::from_be_bytes([high, low])) == frame.len();
    (whole && [version, function] == UNICAST).then_some(npdu)
}

impl TransportPort for OnePeer {
    async fn start(&mut self) -> Result<mpsc::Receiver<ReceivedNpdu>, Error> {
        let (heard, receiver) = mpsc::channel(QUEUE);
        let (socket, from) = (Arc::clone(&self.socket), MacAddr::from_slice(&mac(self.peer)));
        let task = tokio::spawn(async move {
            let mut buffer = [0; MAX_FRAME];
            while !heard.is_closed() {
                // An error is the host's word that nobody listens there; it is said once for each frame we sent.
                let Ok(length) = socket.recv(&mut buffer).await else {
                    tokio::time::sleep(AFTER_ERROR).await;
                    continue;
                };
                let Some(npdu) = buffer.get(..length).and_then(npdu) else { continue };
                let npdu = Bytes::copy_from_slice(npdu);
                // Full: as if the network had lost it, and the client asks again.
                let _ = heard.try_send(ReceivedNpdu::unverified(npdu, from.clone(), false, Vec::new(), None));
            }
        });
        self.receiver = Some(AbortOnDropHandle::new(task));
        Ok(receiver)
    }

    async fn stop(&mut self) -> Result<(), Error> {
        self.receiver = None;
        Ok(())
    }

    fn abort(&mut self) {
        self.receiver = None;
    }

    async fn send_unicast(&self, npdu: &[u8], _: &[u8]) -> Result<(), Error> {
        let length = HEADER + npdu.len();
        let declared = u16::try_from(length).ok().filter(|_| length <= MAX_FRAME);
        let declared = declared.ok_or(Error::SendTooLong { length, limit: MAX_FRAME })?;
        let frame = [&UNICAST[..], &declared.to_be_bytes(), npdu].concat();
        self.socket.send(&frame).await?;
        Ok(())
    }

    /// The client of one device has nothing to say to everybody.
    async fn send_broadcast(&self, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn local_mac(&self) -> &[u8] {
        &self.mac
    }

    fn local_receive_apdu_capacity(&self) -> u16 {
        MAX_APDU
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_unicast_frames_are_taken() {
        assert_eq!(npdu(&[0x81, 0x0A, 0, 6, 1, 0]), Some(&[1, 0][..]));
        assert_eq!(npdu(&[0x81, 0x0A, 0, 4]), Some(&[][..]));
        for other in [&[][..], &[0x81, 0x0A, 0], &[0x81, 0x0B, 0, 6, 1, 0], &[0x81, 0x0A, 0, 7, 1, 0]] {
            assert_eq!(npdu(other), None, "{other:?}");
        }
    }

    #[test]
    fn an_address_as_octets() {
        assert_eq!(mac(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 47808)), [127, 0, 0, 1, 0xBA, 0xC0]);
    }
}
