//! The device as a pure machine: an APDU, an image, a verdict or a moment in, effects out. It never waits; it says when
//! it wants to be woken.

mod alarms;
mod confirmed;
mod manage;
mod segments;
mod told;

pub(in crate::bacnet) use confirmed::Ask;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bacnet_encoding::apdu::header::ApduHeader;
use bacnet_npdu::{GLOBAL_NETWORK, NetworkMessageType};
use bacnet_services::who_is::IAmRequest;
use bacnet_types::enums::{AbortReason, ConfirmedServiceChoice as Confirmed, UnconfirmedServiceChoice};
use bacnet_types::error::Error;
use bytes::Bytes;

use super::alarm::{self, Alarms};
use super::calls::{Call, Calls};
use super::client::{self, Datum};
use super::cov::{self, Serial, Subscriptions};
use super::discovery;
use super::fair::Calm;
use super::further::PortState;
use super::link::{Peer, Station};
use super::manage::Communication;
use super::network::{Message, Networks, Said};
use super::objects::{Catalog, View};
use super::own::Own;
use super::reassembly::Receiving;
use super::requester::{Answered, Outcome, Purpose, Requester};
use super::segment::{Progress, Sending};
use super::services::{self, Heard};
use super::settings::Settings;
use super::writes::{Ticket, Writes};
use crate::durable::Keepsake;
use crate::plant::{ObjectRef, Plant};
use crate::point::Image;
use crate::request::Write;
use crate::time::{Mono, Now};

/// What is to be done in the world.
#[derive(Debug)]
pub(in crate::bacnet) enum Effect {
    /// Send an APDU to a peer.
    Send {
        /// To whom.
        peer: Peer,
        /// It is a request that wants an answer.
        expecting_reply: bool,
        /// The APDU.
        apdu: Bytes,
    },
    /// Send an APDU to everybody on our link.
    Broadcast(Bytes),
    /// Send an APDU to everybody on another network, or on all of them (65535).
    BroadcastOn(u16, Bytes),
    /// Send a message of the network layer to everybody on our link.
    Network(Message),
    /// Ask the engine; the answer comes back with [`Stack::on_verdict`].
    Submit(Ticket, Arc<str>, Vec<Write>),
    /// Remember over a restart; it comes back with [`Stack::restore`].
    Keep(Keepsake),
    /// End the gateway in order; whoever watches over it starts it again.
    Restart,
    /// A call of the client has ended.
    Ended(u64, Outcome),
    /// Count what a full queue dropped.
    Dropped(&'static str),
    /// A device tells what we have subscribed.
    Told {
        /// Its instance.
        device: u32,
        /// Which of its objects.
        object: ObjectRef,
        /// Properties and their values.
        values: Vec<(u32, Datum)>,
    },
    /// A device says that it is there.
    Announced {
        /// Its instance.
        device: u32,
        /// Somebody has asked who is there.
        asked_for: bool,
        /// Its B/IP address, or its router's; `None` on another link.
        from: Option<SocketAddr>,
    },
    /// Count input that could not be understood.
    Rejected(&'static str),
}

impl Effect {
    /// Send an APDU to everybody, behind every router, too (clause 6.3.2).
    pub(in crate::bacnet) const fn everywhere(apdu: Bytes) -> Self {
        Self::BroadcastOn(GLOBAL_NETWORK, apdu)
    }
}

/// The device.
#[derive(Debug)]
pub(in crate::bacnet) struct Stack {
    plant: Arc<Plant>,
    settings: Settings,
    catalog: Catalog,
    subscriptions: Subscriptions,
    own: Own,
    communication: Communication,
    alarms: Alarms,
    sending: Vec<Sending>,
    receiving: Vec<Receiving>,
    writes: Writes,
    requester: Requester,
    calls: Calls,
    networks: Networks,
    lines: Vec<PortState>,
    calm: Calm,
    /// Devices that we subscribe at, by our subscriber process identifier.
    subscribed: HashMap<u32, u32>,
    last_who_is: Option<Mono>,
}

impl Stack {
    /// The device of a plant.
    pub(in crate::bacnet) fn new(plant: Arc<Plant>, settings: Settings) -> Self {
        let catalog = Catalog::new(&plant, &settings);
        Self {
            own: Own::new(&plant),
            alarms: Alarms::new(&plant, &catalog),
            catalog,
            subscribed: client::listed(&plant).map(|(process, instance, _)| (process, instance)).collect(),
            last_who_is: None,
            plant,
            networks: Networks::new(settings.network),
            lines: PortState::initial(&settings),
            settings,
            subscriptions: Subscriptions::default(),
            communication: Communication::default(),
            sending: Vec::new(),
            receiving: Vec::new(),
            writes: Writes::default(),
            calm: Calm::default(),
            requester: Requester::default(),
            calls: Calls::default(),
        }
    }

    /// What an earlier life of the process remembered, before anything else: the part of the key before the first `/` says
    /// whose it is.
    pub(in crate::bacnet) fn restore(&mut self, key: &str, value: &[u8]) {
        let taken = match key.split_once('/') {
            Some((alarm::OWNER, key)) => self.alarms.restore(key, value),
            _ => self.own.restore(key, value, &self.catalog),
        };
        if !taken {
            // What this version or this mapping does not have is left alone: the next may.
            tracing::debug!(key, "a keepsake of nobody");
        }
    }

    /// Everything was restored: go on where the earlier life ended.
    pub(in crate::bacnet) fn revive(&mut self, image: &Image) {
        self.own.revive(image);
    }

    /// The process ends: what must be remembered.
    pub(in crate::bacnet) fn farewell(&mut self, now: Now, effects: &mut Vec<Effect>) {
        effects.extend(self.own.keep(true, now.mono).into_iter().map(Effect::Keep));
    }

    /// What serves over points looks at the image, and asks for what it needs.
    fn serve_own(&mut self, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        self.own.on_image(&self.plant, image);
        for wish in self.own.sheds.wishes(&self.plant, image) {
            let ticket = self.writes.ticket();
            self.own.sheds.asked(&wish, ticket);
            let origin = format!("load control {}", wish.instance);
            effects.push(Effect::Submit(ticket, origin.into(), vec![wish.write]));
        }
        effects.extend(self.own.keep(false, now.mono).into_iter().map(Effect::Keep));
    }

    /// For tests of device management.
    #[cfg(test)]
    pub(in crate::bacnet) fn set_password(&mut self, password: Option<super::settings::Password>) {
        self.settings.password = password;
    }

    /// The objects.
    #[cfg(test)]
    pub(in crate::bacnet) const fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The process begins, and everything that was remembered has been restored.
    pub(in crate::bacnet) fn begin(&mut self, now: Now) {
        self.own.revise(self.catalog.fingerprint);
        self.own.begin(now);
    }

    /// The network hears us: our I-Am, and what a start is told with.
    pub(in crate::bacnet) fn hello(&mut self, now: Now, effects: &mut Vec<Effect>) {
        effects.extend(discovery::i_am(&self.catalog, &self.settings).map(Effect::everywhere));
        let Some(device) = self.catalog.device() else { return };
        let Some((recipients, params)) = self.own.restart.news(device) else { return };
        let service = UnconfirmedServiceChoice::UNCONFIRMED_COV_NOTIFICATION;
        for to in recipients {
            if !self.alarms.announce(to, service, device, params.clone(), now.mono) {
                effects.push(Effect::Dropped("restart notification"));
            }
        }
        self.post(now, effects);
    }

    /// What the ports show of themselves has changed.
    pub(in crate::bacnet) fn on_lines(&mut self, lines: Vec<PortState>) {
        self.lines = lines;
    }

    /// A message of the network layer, from a router or device on our link.
    pub(in crate::bacnet) fn on_message(
        &mut self,
        link: Station,
        kind: NetworkMessageType,
        data: &[u8],
        effects: &mut Vec<Effect>,
    ) {
        match self.networks.on_message(link, kind, data) {
            Said::Nothing => {}
            Said::Answer(message) => effects.push(Effect::Network(message)),
            Said::Refused { network, reason } => tracing::debug!(%link, network, reason, "BACnet message not routed"),
            Said::Conflict(said) => {
                tracing::warn!(%link, said, "the BACnet network is said to have another number than the configured one");
                effects.push(Effect::Rejected("network number"));
            }
            Said::Malformed => effects.push(Effect::Rejected("npdu")),
        }
    }

    /// The peer at a BACnetAddress: network 0 is our own, an empty `mac` everybody in another one. `None`: its router is
    /// not known, and has been asked for; try again later.
    #[allow(dead_code, reason = "what first has an address of another network to reach calls it")]
    pub(in crate::bacnet) fn locate(
        &mut self,
        network: u16,
        mac: &[u8],
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Option<Peer> {
        let peer = self.networks.peer(network, mac);
        if peer.is_none() {
            effects.extend(self.networks.ask(network, now.mono).map(Effect::Network));
        }
        peer
    }

    fn view<'a>(&'a self, image: &'a Image, now: Now) -> View<'a> {
        View {
            plant: &self.plant,
            catalog: &self.catalog,
            settings: &self.settings,
            image,
            subscriptions: &self.subscriptions,
            own: &self.own,
            lines: &self.lines,
            network: self.networks.number(),
            alarms: &self.alarms,
            now,
        }
    }

    /// An APDU from the network; `group` when not only we received it.
    pub(in crate::bacnet) fn on_apdu(
        &mut self,
        peer: Peer,
        group: bool,
        apdu: &[u8],
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.hear(peer, group, apdu, image, now, effects);
        self.hush(effects);
    }

    fn hear(&mut self, peer: Peer, group: bool, apdu: &[u8], image: &Image, now: Now, effects: &mut Vec<Effect>) {
        let Some(&first) = apdu.first() else {
            return effects.push(Effect::Rejected("apdu"));
        };
        if !self.hears(apdu) {
            return;
        }
        self.subscriptions.heard(&peer);
        self.alarms.outbox.heard(&peer);
        match first >> 4 {
            1 => self.unconfirmed(peer, apdu, image, now, effects),
            // Nothing else may be broadcast (clauses 5.4.5.1, 6.5).
            _ if group => effects.push(Effect::Rejected("broadcast")),
            0 if first & 0x08 != 0 => self.segment(peer, apdu, image, now, effects),
            0 => match confirmed::ask(peer, apdu) {
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
            2 | 3 | 5..=7 => {
                let mut send = |apdu| effects.push(Effect::Send { peer, expecting_reply: false, apdu });
                match self.requester.on_answer(&peer, apdu, now.mono, &mut send) {
                    Answered::Ended(purpose, outcome) => self.ended(purpose, outcome, image, now, effects),
                    Answered::Part => {}
                    Answered::Nobody => effects.push(Effect::Rejected("answer")),
                }
            }
            _ => effects.push(Effect::Rejected("apdu")),
        }
    }

    fn unconfirmed(&mut self, peer: Peer, apdu: &[u8], image: &Image, now: Now, effects: &mut Vec<Effect>) {
        let Ok((ApduHeader::UnconfirmedRequest(service), params)) = ApduHeader::decode(apdu) else {
            return effects.push(Effect::Rejected("apdu"));
        };
        // What we do not execute is discarded (clause 5.4.2).
        let Some(execute) = services::unconfirmed(service) else { return };
        if execute(self, &Heard { peer, params }, image, now, effects).is_err() {
            effects.push(Effect::Rejected("service"));
        }
    }

    /// Who-Is.
    pub(in crate::bacnet) fn who_is(
        &mut self,
        heard: &Heard<'_>,
        _: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        self.asked_who_is(now.mono);
        let reply = discovery::who_is(&self.catalog, &self.settings, heard.params)?;
        self.announce(heard.peer, reply, now, effects);
        Ok(())
    }

    /// I-Am or I-Have for one peer, within what a storm may draw.
    fn announce(&mut self, peer: Peer, reply: Option<Bytes>, now: Now, effects: &mut Vec<Effect>) {
        let Some(apdu) = reply else { return };
        effects.push(if self.calm.admit(peer, now.mono) {
            Effect::Send { peer, expecting_reply: false, apdu }
        } else {
            Effect::Dropped("announcement")
        });
    }

    /// Who-Has.
    pub(in crate::bacnet) fn who_has(
        &mut self,
        heard: &Heard<'_>,
        _: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        let reply = discovery::who_has(&self.catalog, &self.settings, heard.params)?;
        self.announce(heard.peer, reply, now, effects);
        Ok(())
    }

    /// I-Am.
    pub(in crate::bacnet) fn i_am(
        &mut self,
        heard: &Heard<'_>,
        _: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        let announced = IAmRequest::decode(heard.params)?;
        self.announced(&heard.peer, &announced, now.mono, effects);
        let device = announced.object_identifier.instance_number();
        if self.alarms.outbox.found(device, heard.peer, now.mono) {
            self.post(now, effects);
        }
        for call in self.calls.on_i_am(heard.peer, heard.params) {
            self.place_call(call, heard.peer, now, effects);
        }
        Ok(())
    }

    /// There is a new image: make the transitions that are due, and tell subscribers what moved.
    pub(in crate::bacnet) fn on_image(&mut self, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        self.serve_own(image, now, effects);
        self.watch(image, now, effects);
        self.tell(None, image, now, effects);
    }

    /// Tell subscribers what moved: one of them, or all.
    pub(in crate::bacnet) fn tell(&mut self, only: Option<Serial>, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        if !self.may_initiate() {
            return self.hush(effects);
        }
        let due = cov::due(&self.view(image, now), only);
        for notification in self.subscriptions.tell(due, now.mono) {
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
    pub(in crate::bacnet) fn on_call(&mut self, call: Call, now: Now, effects: &mut Vec<Effect>) {
        match self.calls.route(&call) {
            Some(peer) => self.place_call(call, peer, now, effects),
            None => {
                let number = call.number;
                match self.calls.hold(call, now.mono) {
                    Some(who_is) => effects.push(Effect::everywhere(who_is)),
                    None => effects.push(Effect::Ended(number, Outcome::Silent)),
                }
            }
        }
        self.hush(effects);
    }

    fn place_call(&mut self, call: Call, peer: Peer, now: Now, effects: &mut Vec<Effect>) {
        let purpose = Purpose::Call(call.number);
        match self.requester.ask_with(peer, call.service, &call.params, purpose, call.patience, now.mono) {
            Some(apdu) => effects.push(Effect::Send { peer, expecting_reply: true, apdu }),
            None => effects.push(Effect::Ended(call.number, Outcome::Aborted(AbortReason::OUT_OF_RESOURCES.to_raw()))),
        }
    }

    fn ended(&mut self, purpose: Purpose, outcome: Outcome, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        match purpose {
            Purpose::Call(number) => effects.push(Effect::Ended(number, outcome)),
            Purpose::Event(serial) => self.told(serial, &outcome, now, effects),
            Purpose::Notification(serial) => {
                self.subscriptions.answered(serial);
                // What changed meanwhile.
                self.on_image(image, now, effects);
            }
        }
    }

    /// When it wants to be woken, if at all.
    pub(in crate::bacnet) fn wake(&self) -> Option<Mono> {
        let sending = self.sending.iter().map(|sending| sending.deadline).min();
        let receiving = self.receiving.iter().map(|receiving| receiving.deadline).min();
        let speech = self.communication.wake();
        let alarms = self.alarms.wake(self.may_initiate());
        [sending, receiving, speech, alarms, self.subscriptions.wake(), self.requester.wake(), self.calls.wake()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    pub(in crate::bacnet) fn on_time(&mut self, image: &Image, now: Now, effects: &mut Vec<Effect>) {
        self.subscriptions.expire(now.mono);
        self.receiving.retain(|receiving| receiving.deadline > now.mono);
        self.sending.retain_mut(|sending| {
            let peer = sending.peer;
            let mut send = |apdu| effects.push(Effect::Send { peer, expecting_reply: true, apdu });
            sending.deadline > now.mono || sending.on_time(now.mono, &mut send) == Progress::Waiting
        });
        let mut send = |peer, apdu| effects.push(Effect::Send { peer, expecting_reply: true, apdu });
        let silent = self.requester.on_time(now.mono, &mut send);
        let freed = !silent.is_empty();
        // Every silence is known before the room that it leaves is used again.
        for (peer, purpose) in silent {
            self.calls.unbind(&peer);
            match purpose {
                Purpose::Call(number) => effects.push(Effect::Ended(number, Outcome::Silent)),
                Purpose::Notification(serial) => self.subscriptions.unanswered(serial, now.mono),
                Purpose::Event(serial) => {
                    // It stays in its queue.
                    self.alarms.outbox.ended(serial, &Outcome::Silent, now.mono);
                }
            }
        }
        self.calls.on_time(now.mono, effects);
        let allowed = self.communication.expire(now.mono);
        if allowed {
            tracing::info!("BACnet communication control has run out");
            self.obey();
        }
        let alarm = self.alarms.wake(self.may_initiate()).is_some_and(|wake| wake <= now.mono);
        if self.subscriptions.rested(now.mono) || allowed || freed || alarm {
            self.on_image(image, now, effects);
        }
        self.hush(effects);
    }
}
