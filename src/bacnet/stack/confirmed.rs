//! Confirmed requests, whole: each goes to its row in the table of services; what has none is rejected. Here are
//! WriteProperty, one or many, and SubscribeCOV.

use std::time::Duration;

use bacnet_encoding::apdu::header::{ApduHeader, MaxApdu, MaxSegments};
use bacnet_services::cov::{SubscribeCOVPropertyRequest, SubscribeCOVRequest};
use bacnet_types::enums::{AbortReason, ConfirmedServiceChoice as Confirmed, RejectReason};
use bytes::Bytes;

use super::{Effect, Stack};
use crate::bacnet::answer::{self, COMPLEX_ACK_HEAD, Failure, Refused};
use crate::bacnet::cov::{self, Watch, Wish};
use crate::bacnet::fair;
use crate::bacnet::further::largest;
use crate::bacnet::link::Peer;
use crate::bacnet::objects::{Checked, write_property, write_property_multiple};
use crate::bacnet::segment::{Answer, HEAD, Sending};
use crate::bacnet::services::{self, Execute, Informing};
use crate::bacnet::writes::{Job, Known, Ticket, Todo, fingerprint};
use crate::point::Image;
use crate::request::{Refusal, Verdict};
use crate::time::Now;

/// Most segmented answers under way, two for each of 64 peers; each holds its whole answer.
const SENDING: usize = 128;
/// Most octets of a range in one answer.
const MAX_RANGE: usize = 16_384;
/// Segments that an answer about events fills at most; more events are another request.
const EVENT_SEGMENTS: usize = 16;
/// Most segmented answers to one peer.
const SENDING_PER_PEER: usize = 8;

/// An unsegmented confirmed request.
#[derive(Debug, Clone, Copy)]
pub(in crate::bacnet) struct Ask<'d> {
    pub(in crate::bacnet) peer: Peer,
    pub(in crate::bacnet) invoke: u8,
    pub(in crate::bacnet) service: Confirmed,
    /// Octets that the peer takes in one APDU.
    pub(super) max_apdu: usize,
    /// The peer takes a segmented answer of at most so many segments.
    pub(super) segments: Option<usize>,
    pub(in crate::bacnet) params: &'d [u8],
}

impl Ask<'_> {
    /// What is asked: a request that is repeated has the same.
    fn fingerprint(&self) -> u64 {
        fingerprint(self.service, self.params)
    }

    /// Octets that an answer about events may have.
    pub(in crate::bacnet) fn event_room(&self) -> usize {
        match self.segments {
            None => self.max_apdu,
            Some(segments) => self.max_apdu.saturating_sub(HEAD) * segments.clamp(1, EVENT_SEGMENTS),
        }
    }

    /// Octets that an answer may have: what the peer takes, in segments if it can.
    pub(in crate::bacnet) fn room(&self) -> usize {
        match self.segments {
            None => self.max_apdu.saturating_sub(COMPLEX_ACK_HEAD),
            Some(segments) => segments.saturating_mul(self.max_apdu.saturating_sub(HEAD)).min(MAX_RANGE),
        }
    }
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
        max_apdu: usize::from(MaxApdu::octets(header.max_apdu).min(largest(peer.link))),
        segments: header.segmented_response_accepted.then_some(segments),
        params,
    })
}

impl Stack {
    /// A whole confirmed request.
    pub(super) fn request(&mut self, ask: &Ask<'_>, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        let answered = match services::confirmed(ask.service) {
            Some(Execute::Inform(service)) => self.inform(ask, service, image, now, effects),
            Some(Execute::Once(_)) if self.repeated(ask, now, effects) => Ok(()),
            Some(Execute::Once(execute) | Execute::Each(execute)) => execute(self, ask, image, now, effects),
            None => Err(Refused::Reject(RejectReason::UNRECOGNIZED_SERVICE)),
        };
        if let Err(refused) = answered {
            effects.push(Effect::Rejected(refused.counted()));
            let apdu = refused.pdu(ask.invoke, ask.service);
            effects.push(Effect::Send { peer: ask.peer, expecting_reply: false, apdu });
        }
    }

    /// Answer a request that changes nothing with a ComplexACK, in segments where it must be.
    fn inform(
        &mut self,
        ask: &Ask<'_>,
        service: Informing,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let peer = ask.peer;
        let under_way = self.sending.iter().position(|s| s.peer == peer && s.invoke == ask.invoke);
        if let Some(place) = under_way {
            let same = ask.fingerprint();
            if self.sending.get(place).is_some_and(|sending| sending.fingerprint == same) {
                return Ok(());
            }
            // Another request under the same id: the peer has given up on the first.
            self.sending.swap_remove(place);
        }
        let mut out = answer::complex_ack(ask.invoke, ask.service);
        service(&self.view(image, now), ask, &mut out)?;
        if out.len() <= ask.max_apdu {
            effects.push(Effect::Send { peer, expecting_reply: false, apdu: out.freeze() });
            return Ok(());
        }
        let Some(most) = ask.segments else { return Err(Refused::Abort(AbortReason::SEGMENTATION_NOT_SUPPORTED)) };
        if Sending::count(out.len() - COMPLEX_ACK_HEAD, ask.max_apdu) > most {
            return Err(Refused::Abort(AbortReason::BUFFER_OVERFLOW));
        }
        let of_peer = self.sending.iter().filter(|sending| sending.peer == peer).count();
        if of_peer >= SENDING_PER_PEER {
            return Err(Refused::Abort(AbortReason::OUT_OF_RESOURCES));
        }
        if self.sending.len() >= SENDING {
            let Some(place) = fair::gives_way(&self.sending, of_peer, |one| (one.peer, one.deadline)) else {
                return Err(Refused::Abort(AbortReason::OUT_OF_RESOURCES));
            };
            let gone = self.sending.swap_remove(place);
            let apdu = gone.abort(AbortReason::OUT_OF_RESOURCES);
            effects.push(Effect::Send { peer: gone.peer, expecting_reply: false, apdu });
        }
        let answer = Answer {
            peer,
            invoke: ask.invoke,
            fingerprint: ask.fingerprint(),
            service: ask.service,
            payload: out.split_off(COMPLEX_ACK_HEAD).freeze(),
        };
        let mut send = |apdu| effects.push(Effect::Send { peer, expecting_reply: true, apdu });
        self.sending.push(Sending::start(answer, ask.max_apdu, now.mono, &mut send));
        Ok(())
    }

    /// Whether a request that changes something was seen before; then it is dealt with.
    fn repeated(&self, ask: &Ask<'_>, now: Now, effects: &mut Vec<Effect>) -> bool {
        match self.writes.known(&ask.peer, ask.invoke, ask.fingerprint(), now.mono) {
            Known::No => false,
            Known::UnderWay => true,
            Known::Answered(apdu) => {
                effects.push(Effect::Send { peer: ask.peer, expecting_reply: false, apdu });
                true
            }
        }
    }

    /// Answer a request that is done with a SimpleACK, and once more when it is repeated.
    pub(in crate::bacnet) fn acknowledge(&mut self, ask: &Ask<'_>, now: Now, effects: &mut Vec<Effect>) {
        self.conclude(ask, answer::simple_ack(ask.invoke, ask.service), now, effects);
    }

    fn conclude(&mut self, ask: &Ask<'_>, apdu: Bytes, now: Now, effects: &mut Vec<Effect>) {
        self.writes.remember(ask.peer, ask.invoke, ask.fingerprint(), apdu.clone(), now.mono);
        effects.push(Effect::Send { peer: ask.peer, expecting_reply: false, apdu });
    }

    /// WriteProperty.
    pub(in crate::bacnet) fn write_one(
        &mut self,
        ask: &Ask<'_>,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        match write_property(&self.view(image, now), ask.params)? {
            Checked::Command(write) => {
                let accepted = answer::simple_ack(ask.invoke, ask.service);
                let job = Todo { writes: vec![write], own: Vec::new(), accepted, first: None };
                self.take(ask, job, effects)
            }
            Checked::Own(change) => {
                self.apply(change, effects);
                self.acknowledge(ask, now, effects);
                // A subscriber may have something to be told by now.
                self.on_image(image, now, effects);
                Ok(())
            }
        }
    }

    /// WritePropertyMultiple.
    pub(in crate::bacnet) fn write_many(
        &mut self,
        ask: &Ask<'_>,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let several = write_property_multiple(&self.view(image, now), ask.params)?;
        let answer = match &several.failed {
            None => answer::simple_ack(ask.invoke, ask.service),
            Some((failure, reference)) => answer::multiple_error(ask.invoke, *failure, reference),
        };
        if several.writes.is_empty() {
            several.own.into_iter().for_each(|change| self.apply(change, effects));
            self.conclude(ask, answer, now, effects);
            self.on_image(image, now, effects);
            return Ok(());
        }
        let job = Todo { writes: several.writes, own: several.own, accepted: answer, first: Some(several.first) };
        self.take(ask, job, effects)
    }

    /// Put writes into the queue to the engine.
    fn take(&mut self, ask: &Ask<'_>, todo: Todo, effects: &mut Vec<Effect>) -> Result<(), Refused> {
        let job = Job { peer: ask.peer, invoke: ask.invoke, fingerprint: ask.fingerprint(), todo };
        if !self.writes.push(job) {
            return Err(Refused::Abort(AbortReason::OUT_OF_RESOURCES));
        }
        self.submit(ask.peer, effects);
        Ok(())
    }

    /// Hand the peer's next writes to the engine.
    fn submit(&mut self, peer: Peer, effects: &mut Vec<Effect>) {
        if let Some((ticket, writes)) = self.writes.start(&peer) {
            effects.push(Effect::Submit(ticket, peer.to_string().into(), writes));
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
        if self.own.sheds.on_verdict(ticket, verdict) {
            return;
        }
        let Some(job) = self.writes.finish(ticket) else { return };
        let apdu = match (verdict, &job.todo.first) {
            (Ok(_), _) => {
                job.todo.own.into_iter().for_each(|change| self.apply(change, effects));
                job.todo.accepted
            }
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

    /// SubscribeCOV.
    pub(in crate::bacnet) fn subscribe(
        &mut self,
        ask: &Ask<'_>,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let request = SubscribeCOVRequest::decode(ask.params)?;
        if request.validate().is_err() {
            return Err(Refused::Reject(RejectReason::MISSING_REQUIRED_PARAMETER));
        }
        let place = cov::place(&self.view(image, now), request.monitored_object_identifier)?;
        let wish = Wish {
            peer: ask.peer,
            process: request.subscriber_process_identifier,
            place,
            watch: Watch::Object,
            confirmed: request.issue_confirmed_notifications,
            lifetime: lifetime(request.lifetime),
        };
        self.watch_for(ask, &wish, image, now, effects)
    }

    /// SubscribeCOVProperty.
    pub(in crate::bacnet) fn subscribe_property(
        &mut self,
        ask: &Ask<'_>,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let request = SubscribeCOVPropertyRequest::decode(ask.params)?;
        // A lifetime alone is neither a subscription nor a cancellation (clause 13.15.1.1).
        if request.issue_confirmed_notifications.is_none() && request.lifetime.is_some() {
            return Err(Refused::Reject(RejectReason::MISSING_REQUIRED_PARAMETER));
        }
        let (property, index) = (request.monitored_property_identifier, request.monitored_property_array_index);
        let place = cov::property_place(&self.view(image, now), request.monitored_object_identifier, property, index)?;
        let step = request.cov_increment.map(f64::from);
        if step.is_some_and(|step| !(step.is_finite() && step >= 0.0)) {
            return Err(Failure::BAD_PARAMETER.into());
        }
        let wish = Wish {
            peer: ask.peer,
            process: request.subscriber_process_identifier,
            place,
            watch: Watch::Property { property, index, step },
            confirmed: request.issue_confirmed_notifications,
            lifetime: lifetime(request.lifetime),
        };
        self.watch_for(ask, &wish, image, now, effects)
    }

    /// Begin, renew or cancel a subscription.
    fn watch_for(
        &mut self,
        ask: &Ask<'_>,
        wish: &Wish,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let serial = match wish.confirmed {
            None => {
                self.subscriptions.cancel(wish);
                None
            }
            Some(confirmed) => Some(self.subscriptions.subscribe(wish, confirmed, now.mono)?),
        };
        self.acknowledge(ask, now, effects);
        // The first notification follows the acknowledgement.
        if serial.is_some() {
            self.tell(serial, image, now, effects);
        }
        Ok(())
    }
}

/// 0 and none are for ever.
fn lifetime(seconds: Option<u32>) -> Option<Duration> {
    seconds.filter(|seconds| *seconds > 0).map(|seconds| Duration::from_secs(seconds.into()))
}

/// The engine's refusals in the standard's words (clause 15.9.1.3, 18).
const fn failure(refusal: &Refusal) -> Failure {
    match refusal {
        Refusal::UnknownPoint => Failure::UNKNOWN_OBJECT,
        Refusal::ReadOnly { .. } | Refusal::BadPriority { .. } | Refusal::NotAllowed { .. } => Failure::WRITE_DENIED,
        Refusal::WrongKind { .. } => Failure::WRONG_TYPE,
        Refusal::OutOfRange { .. } => Failure::OUT_OF_RANGE,
        // device, device-busy: nothing was done, and asking again later is right.
        Refusal::Busy | Refusal::Changed { .. } => Failure::BUSY,
        Refusal::ShuttingDown => Failure::GOING_DOWN,
    }
}
