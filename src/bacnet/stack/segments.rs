//! Segments of both directions: requests that come in so, and acknowledgements of answers that go out so.

use bacnet_types::enums::AbortReason;

use super::confirmed::ask;
use super::{Effect, Stack};
use crate::bacnet::answer;
use crate::bacnet::fair;
use crate::bacnet::link::Peer;
use crate::bacnet::reassembly::{Receiving, Segment, Step};
use crate::bacnet::segment::Progress;
use crate::point::Image;
use crate::time::Now;

/// Most segmented requests coming in: two for each of 64 peers, so that there is always one that gives way.
const RECEIVING: usize = 128;
/// Most segmented requests coming in from one peer.
const RECEIVING_PER_PEER: usize = 4;

impl Stack {
    /// A segment of a confirmed request.
    pub(super) fn segment(&mut self, peer: Peer, apdu: &[u8], image: &Image, now: Now, effects: &mut Vec<Effect>) {
        let Some(segment) = Segment::decode(apdu) else {
            return effects.push(Effect::Rejected("apdu"));
        };
        let invoke = segment.invoke;
        let mut reply = |peer, apdu| effects.push(Effect::Send { peer, expecting_reply: false, apdu });
        let known = self.receiving.iter().position(|r| r.peer == peer && r.invoke == invoke);
        // A first segment after others is a request that begins again.
        let step = match known.and_then(|place| self.receiving.get_mut(place)).filter(|_| segment.sequence != 0) {
            Some(receiving) => receiving.on_segment(&segment, now.mono),
            None => {
                self.forget(&peer, invoke);
                let of_peer = self.receiving.iter().filter(|receiving| receiving.peer == peer).count();
                let full = self.receiving.len() >= RECEIVING;
                let other = || fair::gives_way(&self.receiving, of_peer, |one| (one.peer, one.deadline));
                match other().filter(|_| full) {
                    _ if of_peer >= RECEIVING_PER_PEER => {
                        return reply(peer, answer::abort(invoke, AbortReason::OUT_OF_RESOURCES));
                    }
                    Some(place) => {
                        let gone = self.receiving.swap_remove(place);
                        let apdu = answer::abort(gone.invoke, AbortReason::OUT_OF_RESOURCES);
                        reply(gone.peer, apdu);
                    }
                    None if full => return reply(peer, answer::abort(invoke, AbortReason::OUT_OF_RESOURCES)),
                    None => {}
                }
                match Receiving::start(peer, &segment, now.mono) {
                    Ok((receiving, step)) => {
                        self.receiving.push(receiving);
                        step
                    }
                    Err(reason) => Step::Abort(reason),
                }
            }
        };
        match step {
            Step::Wait => {}
            Step::Acknowledge(ack) => reply(peer, ack),
            Step::Abort(reason) => {
                reply(peer, answer::abort(invoke, reason));
                self.forget(&peer, invoke);
            }
            Step::Complete(ack, whole) => {
                reply(peer, ack);
                self.forget(&peer, invoke);
                match ask(peer, &whole) {
                    Some(request) => self.request(&request, image, now, effects),
                    None => effects.push(Effect::Rejected("apdu")),
                }
            }
        }
    }

    fn forget(&mut self, peer: &Peer, invoke: u8) {
        self.receiving.retain(|receiving| !(receiving.peer == *peer && receiving.invoke == invoke));
    }

    pub(super) fn segment_ack(&mut self, peer: &Peer, apdu: &[u8], now: Now, effects: &mut Vec<Effect>) {
        let Some(&[kind, invoke, sequence, window]) = apdu.first_chunk::<4>() else {
            return effects.push(Effect::Rejected("apdu"));
        };
        // From a server it would acknowledge a segmented request of ours, and we send none.
        let found = self.sending.iter().position(|sending| sending.peer == *peer && sending.invoke == invoke);
        let Some(place) = found.filter(|_| kind & 0x01 == 0) else {
            return effects.push(Effect::Rejected("answer"));
        };
        let Some(sending) = self.sending.get_mut(place) else { return };
        let mut send = |apdu| effects.push(Effect::Send { peer: *peer, expecting_reply: true, apdu });
        match sending.on_ack(kind & 0x02 != 0, sequence, window, now.mono, &mut send) {
            Progress::Waiting => {}
            Progress::Done => {
                self.sending.swap_remove(place);
            }
            Progress::Abort(reason) => {
                send(sending.abort(reason));
                self.sending.swap_remove(place);
            }
        }
    }
}
