//! Confirmed requests, whole: ReadProperty and WriteProperty, one or many, and SubscribeCOV; the rest is rejected.

use bacnet_encoding::apdu::header::{ApduHeader, MaxApdu, MaxSegments};
use bacnet_services::cov::SubscribeCOVRequest;
use bacnet_types::constructed::BACnetObjectPropertyReference as Reference;
use bacnet_types::enums::{AbortReason, ConfirmedServiceChoice as Confirmed, RejectReason};
use bytes::Bytes;

use super::{Effect, Stack};
use crate::bacnet::answer::{self, COMPLEX_ACK_HEAD, Failure, Refused};
use crate::bacnet::cov::{self, Wish};
use crate::bacnet::link::Peer;
use crate::bacnet::objects::{View, read_property, read_property_multiple, write_property, write_property_multiple};
use crate::bacnet::segment::{Answer, Sending};
use crate::bacnet::settings::MAX_APDU;
use crate::bacnet::writes::{Job, Known, Ticket, fingerprint};
use crate::point::Image;
use crate::request::{Refusal, Verdict, Write};
use crate::time::Now;

/// Most segmented answers under way; each holds its whole answer.
const SENDING: usize = 64;
/// Most segmented answers to one peer.
const SENDING_PER_PEER: usize = 8;
/// An unsegmented confirmed request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'d> {
    peer: Peer,
    invoke: u8,
    service: Confirmed,
    /// Octets that the peer takes in one APDU.
    max_apdu: usize,
    /// The peer takes a segmented answer of at most so many segments.
    segments: Option<usize>,
    params: &'d [u8],
}

/// The head of an unsegmented confirmed request.
pub(super) fn ask(peer: Peer, apdu: &[u8]) -> Option<Ask<'_>> {
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

impl Stack {
    /// A whole confirmed request.
    pub(super) fn request(&mut self, ask: &Ask<'_>, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        let answered = match ask.service {
            Confirmed::READ_PROPERTY => self.read(ask, read_property, image, now, effects),
            Confirmed::READ_PROPERTY_MULTIPLE => self.read(ask, read_property_multiple, image, now, effects),
            Confirmed::WRITE_PROPERTY => self.write(ask, image, now, effects),
            Confirmed::WRITE_PROPERTY_MULTIPLE => self.write_multiple(ask, image, now, effects),
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
        let accepted = answer::simple_ack(ask.invoke, ask.service);
        self.take(ask, same, vec![write], accepted, None, effects)
    }

    fn write_multiple(
        &mut self,
        ask: &Ask<'_>,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let same = fingerprint(ask.service, ask.params);
        if self.repeated(ask, same, now, effects) {
            return Ok(());
        }
        let several = write_property_multiple(&self.view(image, now), ask.params)?;
        let answer = match &several.failed {
            None => answer::simple_ack(ask.invoke, ask.service),
            Some((failure, reference)) => answer::multiple_error(ask.invoke, *failure, reference),
        };
        if several.writes.is_empty() {
            effects.push(Effect::Send { peer: ask.peer, expecting_reply: false, apdu: answer });
            return Ok(());
        }
        self.take(ask, same, several.writes, answer, Some(several.first), effects)
    }

    /// Put writes into the queue to the engine.
    fn take(
        &mut self,
        ask: &Ask<'_>,
        fingerprint: u64,
        writes: Vec<Write>,
        accepted: Bytes,
        first: Option<Reference>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let job = Job { peer: ask.peer, invoke: ask.invoke, fingerprint, writes, accepted, first };
        if !self.writes.push(job) {
            return Err(Refused::Abort(AbortReason::OUT_OF_RESOURCES));
        }
        self.submit(ask.peer, effects);
        Ok(())
    }

    /// Hand the peer's next writes to the engine.
    fn submit(&mut self, peer: Peer, effects: &mut Vec<Effect>) {
        if let Some((ticket, writes)) = self.writes.start(&peer) {
            effects.push(Effect::Submit(ticket, peer, writes));
        }
    }

    /// The engine has answered.
    pub(in crate::bacnet) fn on_verdict(
        &mut self,
        ticket: Ticket,
        verdict: &Verdict,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let Some(job) = self.writes.finish(ticket) else { return };
        let apdu = match (verdict, &job.first) {
            (Ok(_), _) => job.accepted,
            (Err(refusal), None) => Refused::Error(failure(refusal)).pdu(job.invoke, Confirmed::WRITE_PROPERTY),
            // Nothing of it was done, so the first one failed.
            (Err(refusal), Some(first)) => answer::multiple_error(job.invoke, failure(refusal), first),
        };
        // A write that found the gateway busy may be repeated and then succeed.
        if !matches!(verdict, Err(Refusal::Busy)) {
            self.writes.remember(job.peer, job.invoke, job.fingerprint, apdu.clone(), now.mono);
        }
        effects.push(Effect::Send { peer: job.peer, expecting_reply: false, apdu });
        self.submit(job.peer, effects);
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
}

/// The engine's refusals in the standard's words (clause 15.9.1.3, 18).
const fn failure(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::UnknownPoint => Failure::UNKNOWN_OBJECT,
        Refusal::ReadOnly { .. } | Refusal::BadPriority { .. } | Refusal::NotAllowed { .. } => Failure::WRITE_DENIED,
        Refusal::WrongKind { .. } => Failure::WRONG_TYPE,
        Refusal::OutOfRange { .. } => Failure::OUT_OF_RANGE,
        // device, device-busy: nothing was done, and asking again later is right.
        Refusal::Busy => Failure::BUSY,
        Refusal::ShuttingDown => Failure::GOING_DOWN,
    }
}
