//! The device as a pure machine: an APDU, an image, a verdict or a moment in, effects out. It never waits; it says when
//! it wants to be woken.

use std::sync::Arc;

use bacnet_encoding::apdu::header::{ApduHeader, MaxApdu, MaxSegments};
use bacnet_services::cov::SubscribeCOVRequest;
use bacnet_types::enums::{AbortReason, ConfirmedServiceChoice as Confirmed, RejectReason, UnconfirmedServiceChoice};
use bytes::Bytes;

use super::answer::{self, COMPLEX_ACK_HEAD, Failure, Refused};
use super::calls::{Call, Calls};
use super::cov::{self, Subscriptions, Wish};
use super::discovery;
use super::link::Peer;
use super::objects::{Catalog, View, read_property, read_property_multiple, write_property};
use super::reassembly::{Receiving, Segment, Step};
use super::requester::{Outcome, Purpose, Requester};
use super::segment::{Answer, Progress, Sending};
use super::settings::{MAX_APDU, Settings};
use super::writes::{Known, Ticket, Writes, fingerprint};
use crate::plant::Plant;
use crate::point::Image;
use crate::request::{Refusal, Verdict, Write};
use crate::time::{Mono, Now};

/// Most segmented answers under way; each holds its whole answer.
const SENDING: usize = 64;
/// Most segmented answers to one peer.
const SENDING_PER_PEER: usize = 8;
/// Most segmented requests coming in.
const RECEIVING: usize = 32;
/// Most segmented requests coming in from one peer.
const RECEIVING_PER_PEER: usize = 4;

/// What is to be done in the world.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send an APDU to a peer.
    Send {
        /// To whom.
        peer: Peer,
        /// It is a request that wants an answer.
        expecting_reply: bool,
        /// The APDU.
        apdu: Bytes,
    },
    /// Send an APDU to everybody.
    Broadcast(Bytes),
    /// Ask the engine; the answer comes back with [`Stack::on_verdict`].
    Submit(Ticket, Peer, Write),
    /// A call of the client has ended.
    Ended(u64, Outcome),
    /// Count input that could not be understood.
    Rejected(&'static str),
}

/// An unsegmented confirmed request.
#[derive(Debug, Clone, Copy)]
struct Ask<'d> {
    peer: Peer,
    invoke: u8,
    service: Confirmed,
    /// Octets that the peer takes in one APDU.
    max_apdu: usize,
    /// The peer takes a segmented answer of at most so many segments.
    segments: Option<usize>,
    params: &'d [u8],
}

/// The device.
#[derive(Debug)]
pub(super) struct Stack {
    plant: Arc<Plant>,
    settings: Settings,
    catalog: Catalog,
    subscriptions: Subscriptions,
    sending: Vec<Sending>,
    receiving: Vec<Receiving>,
    writes: Writes,
    requester: Requester,
    calls: Calls,
}

impl Stack {
    /// The device of a plant.
    pub(super) fn new(plant: Arc<Plant>, settings: Settings) -> Self {
        Self {
            catalog: Catalog::new(&plant, &settings),
            plant,
            settings,
            subscriptions: Subscriptions::default(),
            sending: Vec::new(),
            receiving: Vec::new(),
            writes: Writes::default(),
            requester: Requester::default(),
            calls: Calls::default(),
        }
    }

    /// Our I-Am, for the start.
    pub(super) fn hello(&self) -> Option<Effect> {
        discovery::i_am(&self.catalog, &self.settings).map(Effect::Broadcast)
    }

    fn view<'a>(&'a self, image: &'a Image, now: Now) -> View<'a> {
        View {
            plant: &self.plant,
            catalog: &self.catalog,
            settings: &self.settings,
            image,
            subscriptions: &self.subscriptions,
            now,
        }
    }

    /// An APDU from the network; `group` when not only we received it.
    pub(super) fn on_apdu(
        &mut self,
        peer: Peer,
        group: bool,
        apdu: &[u8],
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(&first) = apdu.first() else {
            return effects.push(Effect::Rejected("apdu"));
        };
        match first >> 4 {
            1 => self.unconfirmed(peer, apdu, now, effects),
            // Nothing else may be broadcast (clauses 5.4.5.1, 6.5).
            _ if group => effects.push(Effect::Rejected("broadcast")),
            0 if first & 0x08 != 0 => self.segment(peer, apdu, image, now, effects),
            0 => match ask(peer, apdu) {
                Some(request) => self.request(&request, image, now, effects),
                None => effects.push(Effect::Rejected("apdu")),
            },
            4 => self.segment_ack(&peer, apdu, now, effects),
            // An Abort of the client ends what we send to it or receive from it.
            7 if first & 0x01 == 0 => match apdu.get(1) {
                Some(&invoke) => {
                    self.sending.retain(|sending| !(sending.peer == peer && sending.invoke == invoke));
                    self.receiving.retain(|receiving| !(receiving.peer == peer && receiving.invoke == invoke));
                }
                None => effects.push(Effect::Rejected("apdu")),
            },
            2 | 3 | 5..=7 => match self.requester.on_answer(&peer, apdu) {
                Some((purpose, outcome)) => self.ended(purpose, outcome, image, now, effects),
                None => effects.push(Effect::Rejected("answer")),
            },
            _ => effects.push(Effect::Rejected("apdu")),
        }
    }

    fn unconfirmed(&mut self, peer: Peer, apdu: &[u8], now: Now, effects: &mut Vec<Effect>) {
        let Ok((ApduHeader::UnconfirmedRequest(service), params)) = ApduHeader::decode(apdu) else {
            return effects.push(Effect::Rejected("apdu"));
        };
        let reply = match service {
            UnconfirmedServiceChoice::WHO_IS => discovery::who_is(&self.catalog, &self.settings, params),
            UnconfirmedServiceChoice::WHO_HAS => discovery::who_has(&self.catalog, &self.settings, params),
            UnconfirmedServiceChoice::I_AM => {
                for call in self.calls.on_i_am(peer, params) {
                    self.place_call(call, peer, now, effects);
                }
                return;
            }
            // What we do not execute is discarded (clause 5.4.2).
            _ => return,
        };
        match reply {
            Ok(Some(apdu)) => effects.push(Effect::Send { peer, expecting_reply: false, apdu }),
            Ok(None) => {}
            Err(_) => effects.push(Effect::Rejected("service")),
        }
    }

    /// A segment of a confirmed request.
    fn segment(&mut self, peer: Peer, apdu: &[u8], image: &Image, now: Now, effects: &mut Vec<Effect>) {
        let Some(segment) = Segment::decode(apdu) else {
            return effects.push(Effect::Rejected("apdu"));
        };
        let invoke = segment.invoke;
        let mut reply = |apdu| effects.push(Effect::Send { peer, expecting_reply: false, apdu });
        let known = self.receiving.iter().position(|r| r.peer == peer && r.invoke == invoke);
        // A first segment after others is a request that begins again.
        let step = match known.and_then(|place| self.receiving.get_mut(place)).filter(|_| segment.sequence != 0) {
            Some(receiving) => receiving.on_segment(&segment, now.mono),
            None => {
                self.forget(&peer, invoke);
                let of_peer = self.receiving.iter().filter(|receiving| receiving.peer == peer).count();
                if self.receiving.len() >= RECEIVING || of_peer >= RECEIVING_PER_PEER {
                    return reply(answer::abort(invoke, AbortReason::OUT_OF_RESOURCES));
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
            Step::Acknowledge(ack) => reply(ack),
            Step::Abort(reason) => {
                reply(answer::abort(invoke, reason));
                self.forget(&peer, invoke);
            }
            Step::Complete(ack, whole) => {
                reply(ack);
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

    fn segment_ack(&mut self, peer: &Peer, apdu: &[u8], now: Now, effects: &mut Vec<Effect>) {
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

    /// A whole confirmed request.
    fn request(&mut self, ask: &Ask<'_>, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        let answered = match ask.service {
            Confirmed::READ_PROPERTY => self.read(ask, read_property, image, now, effects),
            Confirmed::READ_PROPERTY_MULTIPLE => self.read(ask, read_property_multiple, image, now, effects),
            Confirmed::WRITE_PROPERTY => self.write(ask, image, now, effects),
            Confirmed::SUBSCRIBE_COV => self.subscribe(ask, image, now, effects),
            _ => Err(Refused::Reject(RejectReason::UNRECOGNIZED_SERVICE)),
        };
        if let Err(refused) = answered {
            let apdu = refused.pdu(ask.invoke, ask.service);
            effects.push(Effect::Send { peer: ask.peer, expecting_reply: false, apdu });
        }
    }

    fn read(
        &mut self,
        ask: &Ask<'_>,
        service: fn(&View<'_>, &[u8], &mut bytes::BytesMut) -> Result<(), Refused>,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let peer = ask.peer;
        let under_way = self.sending.iter().position(|s| s.peer == peer && s.invoke == ask.invoke);
        if let Some(place) = under_way {
            let same = fingerprint(ask.service, ask.params);
            if self.sending.get(place).is_some_and(|sending| sending.fingerprint == same) {
                return Ok(());
            }
            // Another request under the same id: the peer has given up on the first.
            self.sending.swap_remove(place);
        }
        let mut out = answer::complex_ack(ask.invoke, ask.service);
        service(&self.view(image, now), ask.params, &mut out)?;
        if out.len() <= ask.max_apdu {
            effects.push(Effect::Send { peer, expecting_reply: false, apdu: out.freeze() });
            return Ok(());
        }
        let Some(most) = ask.segments else { return Err(Refused::Abort(AbortReason::SEGMENTATION_NOT_SUPPORTED)) };
        if Sending::count(out.len() - COMPLEX_ACK_HEAD, ask.max_apdu) > most {
            return Err(Refused::Abort(AbortReason::BUFFER_OVERFLOW));
        }
        let of_peer = self.sending.iter().filter(|sending| sending.peer == peer).count();
        if self.sending.len() >= SENDING || of_peer >= SENDING_PER_PEER {
            return Err(Refused::Abort(AbortReason::OUT_OF_RESOURCES));
        }
        let answer = Answer {
            peer,
            invoke: ask.invoke,
            fingerprint: fingerprint(ask.service, ask.params),
            service: ask.service,
            payload: out.split_off(COMPLEX_ACK_HEAD).freeze(),
        };
        let mut send = |apdu| effects.push(Effect::Send { peer, expecting_reply: true, apdu });
        self.sending.push(Sending::start(answer, ask.max_apdu, now.mono, &mut send));
        Ok(())
    }

    /// Whether a request that changes something was seen before; then it is dealt with.
    fn repeated(&self, ask: &Ask<'_>, same: u64, now: Now, effects: &mut Vec<Effect>) -> bool {
        match self.writes.known(&ask.peer, ask.invoke, same, now.mono) {
            Known::No => false,
            Known::UnderWay => true,
            Known::Answered(apdu) => {
                effects.push(Effect::Send { peer: ask.peer, expecting_reply: false, apdu });
                true
            }
        }
    }

    fn write(&mut self, ask: &Ask<'_>, image: &Image, now: Now, effects: &mut Vec<Effect>) -> Result<(), Refused> {
        let same = fingerprint(ask.service, ask.params);
        if self.repeated(ask, same, now, effects) {
            return Ok(());
        }
        let write = write_property(&self.view(image, now), ask.params)?;
        if !self.writes.push(ask.peer, ask.invoke, same, write) {
            return Err(Refused::Abort(AbortReason::OUT_OF_RESOURCES));
        }
        self.submit(&ask.peer, effects);
        Ok(())
    }

    /// Hand the peer's next write to the engine.
    fn submit(&mut self, peer: &Peer, effects: &mut Vec<Effect>) {
        if let Some(pending) = self.writes.start(peer) {
            effects.push(Effect::Submit(pending.ticket, pending.peer, pending.write));
        }
    }

    /// The engine has answered a write.
    pub(super) fn on_verdict(&mut self, ticket: Ticket, verdict: &Verdict, now: Now, effects: &mut Vec<Effect>) {
        let Some((pending, same)) = self.writes.finish(ticket) else { return };
        let service = Confirmed::WRITE_PROPERTY;
        let apdu = match verdict {
            Ok(_) => answer::simple_ack(pending.invoke, service),
            Err(refusal) => Refused::Error(failure(refusal)).pdu(pending.invoke, service),
        };
        // A write that found the gateway busy may be repeated and then succeed.
        if !matches!(verdict, Err(Refusal::Busy)) {
            self.writes.remember(pending.peer, pending.invoke, same, apdu.clone(), now.mono);
        }
        effects.push(Effect::Send { peer: pending.peer, expecting_reply: false, apdu });
        self.submit(&pending.peer, effects);
    }

    fn subscribe(&mut self, ask: &Ask<'_>, image: &Image, now: Now, effects: &mut Vec<Effect>) -> Result<(), Refused> {
        let same = fingerprint(ask.service, ask.params);
        if self.repeated(ask, same, now, effects) {
            return Ok(());
        }
        let request = SubscribeCOVRequest::decode(ask.params)?;
        if request.validate().is_err() {
            return Err(Refused::Reject(RejectReason::MISSING_REQUIRED_PARAMETER));
        }
        let place = cov::place(&self.view(image, now), request.monitored_object_identifier)?;
        let process = request.subscriber_process_identifier;
        match request.issue_confirmed_notifications {
            None => self.subscriptions.cancel(&ask.peer, process, place),
            Some(confirmed) => {
                let seconds = request.lifetime.filter(|seconds| *seconds > 0);
                let lifetime = seconds.map(|seconds| std::time::Duration::from_secs(seconds.into()));
                let wish = Wish { peer: ask.peer, process, place, confirmed, lifetime };
                self.subscriptions.subscribe(&wish, now.mono)?;
            }
        }
        let apdu = answer::simple_ack(ask.invoke, ask.service);
        self.writes.remember(ask.peer, ask.invoke, same, apdu.clone(), now.mono);
        effects.push(Effect::Send { peer: ask.peer, expecting_reply: false, apdu });
        // The first notification follows the acknowledgement.
        self.on_image(image, now, effects);
        Ok(())
    }

    /// There is a new image: tell subscribers what moved.
    pub(super) fn on_image(&mut self, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        let due = cov::due(&self.view(image, now));
        for notification in self.subscriptions.tell(due) {
            let peer = notification.peer;
            if notification.confirmed {
                let purpose = Purpose::Notification(notification.serial);
                let service = Confirmed::CONFIRMED_COV_NOTIFICATION;
                match self.requester.ask(peer, service, &notification.params, purpose, now.mono) {
                    Some(apdu) => effects.push(Effect::Send { peer, expecting_reply: true, apdu }),
                    // Its turn comes when another one has been answered.
                    None => self.subscriptions.unsent(notification.serial),
                }
            } else {
                let mut apdu = discovery::unconfirmed(UnconfirmedServiceChoice::UNCONFIRMED_COV_NOTIFICATION);
                apdu.extend_from_slice(&notification.params);
                effects.push(Effect::Send { peer, expecting_reply: false, apdu: apdu.freeze() });
            }
        }
    }

    /// The client asks for something.
    pub(super) fn on_call(&mut self, call: Call, now: Now, effects: &mut Vec<Effect>) {
        match self.calls.route(&call) {
            Some(peer) => self.place_call(call, peer, now, effects),
            None => {
                let number = call.number;
                match self.calls.hold(call, now.mono) {
                    Some(who_is) => effects.push(Effect::Broadcast(who_is)),
                    None => effects.push(Effect::Ended(number, Outcome::Silent)),
                }
            }
        }
    }

    fn place_call(&mut self, call: Call, peer: Peer, now: Now, effects: &mut Vec<Effect>) {
        let purpose = Purpose::Call(call.number);
        match self.requester.ask(peer, call.service, &call.params, purpose, now.mono) {
            Some(apdu) => effects.push(Effect::Send { peer, expecting_reply: true, apdu }),
            None => effects.push(Effect::Ended(call.number, Outcome::Aborted(AbortReason::OUT_OF_RESOURCES.to_raw()))),
        }
    }

    fn ended(&mut self, purpose: Purpose, outcome: Outcome, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        match purpose {
            Purpose::Call(number) => effects.push(Effect::Ended(number, outcome)),
            Purpose::Notification(serial) => {
                self.subscriptions.answered(serial);
                // What changed meanwhile.
                self.on_image(image, now, effects);
            }
        }
    }

    /// When it wants to be woken, if at all.
    pub(super) fn wake(&self) -> Option<Mono> {
        let sending = self.sending.iter().map(|sending| sending.deadline).min();
        let receiving = self.receiving.iter().map(|receiving| receiving.deadline).min();
        [sending, receiving, self.subscriptions.wake(), self.requester.wake(), self.calls.wake()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    pub(super) fn on_time(&mut self, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        self.subscriptions.expire(now.mono);
        self.receiving.retain(|receiving| receiving.deadline > now.mono);
        self.sending.retain_mut(|sending| {
            let peer = sending.peer;
            let mut send = |apdu| effects.push(Effect::Send { peer, expecting_reply: true, apdu });
            sending.deadline > now.mono || sending.on_time(now.mono, &mut send) == Progress::Waiting
        });
        let mut send = |peer, apdu| effects.push(Effect::Send { peer, expecting_reply: true, apdu });
        for (peer, purpose) in self.requester.on_time(now.mono, &mut send) {
            self.calls.unbind(&peer);
            self.ended(purpose, Outcome::Silent, image, now, effects);
        }
        self.calls.on_time(now.mono, effects);
    }
}

/// The head of an unsegmented confirmed request.
fn ask(peer: Peer, apdu: &[u8]) -> Option<Ask<'_>> {
    let Ok((ApduHeader::ConfirmedRequest(header), params)) = ApduHeader::decode(apdu) else { return None };
    let segments = match header.max_segments {
        // Both mean that the peer names no bound; the second counts as 255 in the codec.
        MaxSegments::UNSPECIFIED | MaxSegments::MORE_THAN_64 => usize::MAX,
        named => named.count().map_or(usize::MAX, usize::from),
    };
    Some(Ask {
        peer,
        invoke: header.invoke_id,
        service: header.service_choice,
        max_apdu: usize::from(MaxApdu::octets(header.max_apdu).min(MAX_APDU)),
        segments: header.segmented_response_accepted.then_some(segments),
        params,
    })
}

/// The engine's refusals in the standard's words (clause 15.9.1.3, 18).
const fn failure(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::UnknownPoint => Failure::UNKNOWN_OBJECT,
        Refusal::ReadOnly { .. } | Refusal::BadPriority { .. } | Refusal::NotAllowed { .. } => Failure::WRITE_DENIED,
        Refusal::WrongKind { .. } => Failure::WRONG_TYPE,
        Refusal::OutOfRange { .. } => Failure::OUT_OF_RANGE,
        Refusal::Busy => Failure::BUSY,
        Refusal::ShuttingDown => Failure::GOING_DOWN,
    }
}
