//! What other devices tell us: notifications of what we have subscribed (clauses 13.6, 13.7), and who they are.

use std::net::SocketAddr;

use bacnet_services::cov::COVNotificationRequest;
use bacnet_services::who_is::{DeviceInstanceRange, IAmRequest, WhoIsRequest};
use bacnet_types::enums::UnconfirmedServiceChoice;
use bacnet_types::error::Error;

use super::{Ask, Effect, Stack};
use crate::bacnet::answer::{self, Failure, Refused};
use crate::bacnet::client::datum;
use crate::bacnet::discovery;
use crate::bacnet::link::Peer;
use crate::bacnet::services::Heard;
use crate::plant::ObjectRef;
use crate::point::Image;
use crate::time::{Mono, Now};

/// How long after a Who-Is an I-Am counts as its answer.
const ANSWERS: std::time::Duration = std::time::Duration::from_secs(10);

impl Stack {
    /// ConfirmedCOVNotification.
    pub(in crate::bacnet) fn told_and_asked(
        &mut self,
        ask: &Ask<'_>,
        _: &Image,
        _: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let told = COVNotificationRequest::decode(ask.params)?;
        // The device drops what we do not know.
        if !self.take_told(&told, effects) {
            return Err(Failure::UNKNOWN_SUBSCRIPTION.into());
        }
        let apdu = answer::simple_ack(ask.invoke, ask.service);
        effects.push(Effect::Send { peer: ask.peer, expecting_reply: false, apdu });
        Ok(())
    }

    /// UnconfirmedCOVNotification.
    pub(in crate::bacnet) fn told_only(
        &mut self,
        heard: &Heard<'_>,
        _: &Image,
        _: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        let told = COVNotificationRequest::decode(heard.params)?;
        self.take_told(&told, effects);
        Ok(())
    }

    /// False when it is no subscription of ours.
    fn take_told(&self, told: &COVNotificationRequest, effects: &mut Vec<Effect>) -> bool {
        let device = told.initiating_device_identifier.instance_number();
        if self.subscribed.get(&told.subscriber_process_identifier) != Some(&device) {
            return false;
        }
        let id = told.monitored_object_identifier;
        let Ok(kind) = u16::try_from(id.object_type().to_raw()) else { return false };
        let object = ObjectRef { kind, instance: id.instance_number() };
        let values = told.list_of_values.iter().filter(|value| value.property_array_index.is_none());
        let values = values.filter_map(|value| Some((value.property_identifier.to_raw(), datum(&value.value).ok()?)));
        effects.push(Effect::Told { device, object, values: values.collect() });
        true
    }

    /// Our own Who-Is, for all instances or some, to everybody or to one address.
    pub(in crate::bacnet) fn ask_who_is(
        &mut self,
        range: Option<(u32, u32)>,
        to: Option<SocketAddr>,
        now: Now,
    ) -> Option<Effect> {
        let range = match range {
            Some((low, high)) => Some(DeviceInstanceRange::new(low, high).ok()?),
            None => None,
        };
        self.asked_who_is(now.mono);
        let mut out = discovery::unconfirmed(UnconfirmedServiceChoice::WHO_IS);
        WhoIsRequest { range }.encode(&mut out);
        let apdu = out.freeze();
        Some(match to {
            Some(link) => Effect::Send { peer: Peer::local(link.into()), expecting_reply: false, apdu },
            None => Effect::Broadcast(apdu),
        })
    }

    /// Somebody asks who is there: answers will follow.
    pub(in crate::bacnet) const fn asked_who_is(&mut self, now: Mono) {
        self.last_who_is = Some(now);
    }

    /// An I-Am. Call it before the calls that wait for it are let go.
    pub(super) fn announced(&self, peer: &Peer, announced: &IAmRequest, now: Mono, effects: &mut Vec<Effect>) {
        let device = announced.object_identifier.instance_number();
        let asked_for = self.calls.seeks(device) || self.last_who_is.is_some_and(|at| now.since(at) < ANSWERS);
        effects.push(Effect::Announced { device, asked_for, from: peer.link.ip() });
    }
}
