//! Alarms in the device: what looks at the image and the time, and the requests about events and lists.

use bacnet_types::enums::ConfirmedServiceChoice as Confirmed;

use super::{Effect, Stack};
use crate::bacnet::alarm::{self, After, Post};
use crate::bacnet::answer::{self, Refused};
use crate::bacnet::calls;
use crate::bacnet::discovery;
use crate::bacnet::objects::change_list;
use crate::bacnet::own::Change;
use crate::bacnet::requester::{Outcome, Purpose};
use crate::bacnet::stack::Ask;
use crate::point::Image;
use crate::time::Now;

impl Stack {
    /// Make the transitions that are due, and send what can be sent.
    pub(super) fn watch(&mut self, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        let local = self.own.clock.local(now.utc);
        let after = self.alarms.look(&self.plant, &self.catalog, image, (local.date, local.time), now.mono);
        self.settle(after, effects);
        self.post(now, effects);
    }

    /// What is to be remembered, and what was lost.
    pub(super) fn settle(&mut self, after: After, effects: &mut Vec<Effect>) {
        effects.extend(after.keep.into_iter().map(Effect::Keep));
        effects.extend((0..after.dropped).map(|_| Effect::Dropped("event notification")));
    }

    /// Send notifications as far as they can be.
    pub(super) fn post(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !self.may_initiate() {
            return;
        }
        for post in self.alarms.posts(now.mono) {
            let tell = |service, params: &[u8]| {
                let mut apdu = discovery::unconfirmed(service);
                apdu.extend_from_slice(params);
                apdu.freeze()
            };
            match post {
                Post::Find(device) => effects.extend(calls::who_is(device).map(Effect::everywhere)),
                Post::Tell(peer, service, params) => {
                    effects.push(Effect::Send { peer, expecting_reply: false, apdu: tell(service, &params) });
                }
                Post::Shout(None, service, params) => effects.push(Effect::Broadcast(tell(service, &params))),
                Post::Shout(Some(network), service, params) => {
                    effects.push(Effect::BroadcastOn(network, tell(service, &params)));
                }
                Post::Ask(peer, serial, params) => {
                    let purpose = Purpose::Event(serial);
                    match self.requester.ask(peer, alarm::SERVICE, &params, purpose, now.mono) {
                        Some(apdu) => effects.push(Effect::Send { peer, expecting_reply: true, apdu }),
                        None => self.alarms.outbox.refused(serial, now.mono),
                    }
                }
            }
        }
    }

    /// A confirmed notification was answered, or was not.
    pub(super) fn told(&mut self, serial: u64, outcome: &Outcome, now: Now, effects: &mut Vec<Effect>) {
        if !self.alarms.outbox.ended(serial, outcome, now.mono) {
            effects.push(Effect::Dropped("event notification"));
        }
        self.post(now, effects);
    }

    /// Do a checked write to what is the device's own.
    pub(super) fn apply(&mut self, change: Change, effects: &mut Vec<Effect>) {
        match change {
            Change::Alarm(change) => {
                let mut after = After::default();
                self.alarms.apply(change, &mut after);
                self.settle(after, effects);
            }
            other => self.own.apply(other),
        }
    }

    /// AcknowledgeAlarm.
    pub(in crate::bacnet) fn acknowledge_alarm(
        &mut self,
        ask: &Ask<'_>,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let mut after = After::default();
        let local = self.own.clock.local(now.utc);
        let at = ((local.date, local.time), now.mono);
        alarm::acknowledge(&mut self.alarms, &self.catalog, ask.params, at, &mut after)?;
        self.settle(after, effects);
        self.acknowledge(ask, now, effects);
        self.on_image(image, now, effects);
        Ok(())
    }

    /// AddListElement and RemoveListElement.
    pub(in crate::bacnet) fn change_list(
        &mut self,
        ask: &Ask<'_>,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let add = ask.service == Confirmed::ADD_LIST_ELEMENT;
        match change_list(&self.view(image, now), ask.params, add)? {
            Ok(change) => {
                self.apply(change, effects);
                self.acknowledge(ask, now, effects);
                self.post(now, effects);
            }
            Err((failure, element)) => {
                let apdu = answer::change_list_error(ask.invoke, ask.service, failure, element);
                effects.push(Effect::Send { peer: ask.peer, expecting_reply: false, apdu });
            }
        }
        Ok(())
    }
}
