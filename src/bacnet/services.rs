//! Which services the device executes and which it initiates: the dispatcher runs by these two tables, and
//! Protocol_Services_Supported and the PICS are made of them.
//!
//! A service is named by its bit in BACnetServicesSupported (clause 21), which is one number for confirmed and
//! unconfirmed ones alike.

use bacnet_types::enums::{ConfirmedServiceChoice as C, UnconfirmedServiceChoice as U};
use bacnet_types::error::Error;
use bytes::BytesMut;

use super::alarm;
use super::answer::Refused;
use super::link::Peer;
use super::objects::{View, read_property, read_property_multiple, read_range};
use super::stack::{Ask, Effect, Stack};
use crate::point::Image;
use crate::time::Now;

/// What answers a confirmed request that changes nothing.
pub(super) type Informing = fn(&View<'_>, &Ask<'_>, &mut BytesMut) -> Result<(), Refused>;
/// What executes a confirmed request that changes something: it answers through the effects, or is turned down.
pub(super) type Change = fn(&mut Stack, &Ask<'_>, &Image, Now, &mut Vec<Effect>) -> Result<(), Refused>;

/// How a confirmed request is executed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Execute {
    /// It changes nothing: the parameters of its acknowledgement are appended.
    Inform(Informing),
    /// Once, however often it is sent: a repeated one has the same answer.
    Once(Change),
    /// As often as it is sent.
    Each(Change),
}
/// How an unconfirmed request is executed; what cannot be understood is counted and answered by nothing.
pub(super) type Take = fn(&mut Stack, &Heard<'_>, &Image, Now, &mut Vec<Effect>) -> Result<(), Error>;

/// An unconfirmed request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard<'d> {
    pub(super) peer: Peer,
    pub(super) params: &'d [u8],
}

/// One service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service<Choice, Do> {
    pub(super) choice: Choice,
    /// Its bit in BACnetServicesSupported.
    pub(super) bit: u8,
    pub(super) name: &'static str,
    /// How it is executed, if it is.
    pub(super) execute: Option<Do>,
    /// We send it, too.
    pub(super) initiated: bool,
}

impl<Choice: Copy, Do: Copy> Service<Choice, Do> {
    const fn executed(choice: Choice, bit: u8, name: &'static str, execute: Do) -> Self {
        Self { choice, bit, name, execute: Some(execute), initiated: false }
    }

    const fn sent(choice: Choice, bit: u8, name: &'static str) -> Self {
        Self { choice, bit, name, execute: None, initiated: true }
    }

    const fn and_sent(self) -> Self {
        Self { initiated: true, ..self }
    }
}

/// Confirmed services. It is searched from the top: what is asked most stands first.
pub(super) static CONFIRMED: &[Service<C, Execute>] = &[
    inform(C::READ_PROPERTY, 12, "ReadProperty", |view, ask, out| read_property(view, ask.params, out)).and_sent(),
    inform(C::READ_PROPERTY_MULTIPLE, 14, "ReadPropertyMultiple", |view, ask, out| {
        read_property_multiple(view, ask.params, out)
    })
    .and_sent(),
    once(C::WRITE_PROPERTY, 15, "WriteProperty", Stack::write_one).and_sent(),
    once(C::WRITE_PROPERTY_MULTIPLE, 16, "WritePropertyMultiple", Stack::write_many),
    once(C::SUBSCRIBE_COV, 5, "SubscribeCOV", Stack::subscribe).and_sent(),
    inform(C::READ_RANGE, 35, "ReadRange", |view, ask, out| read_range(view, ask.params, ask.room(), out)),
    once(C::SUBSCRIBE_COV_PROPERTY, 38, "SubscribeCOVProperty", Stack::subscribe_property).and_sent(),
    each(C::DEVICE_COMMUNICATION_CONTROL, 17, "DeviceCommunicationControl", Stack::control_communication),
    once(C::REINITIALIZE_DEVICE, 20, "ReinitializeDevice", Stack::reinitialize),
    once(C::ACKNOWLEDGE_ALARM, 0, "AcknowledgeAlarm", Stack::acknowledge_alarm),
    inform(C::GET_EVENT_INFORMATION, 39, "GetEventInformation", |view, ask, out| {
        alarm::event_information(view.alarms, view.catalog, ask.params, ask.event_room(), out)
    }),
    inform(C::GET_ALARM_SUMMARY, 3, "GetAlarmSummary", |view, ask, out| {
        alarm::alarm_summary(view.alarms, ask.params, out)
    }),
    inform(C::GET_ENROLLMENT_SUMMARY, 4, "GetEnrollmentSummary", |view, ask, out| {
        alarm::enrollment_summary(view.alarms, ask.params, out)
    }),
    once(C::ADD_LIST_ELEMENT, 8, "AddListElement", Stack::change_list),
    once(C::REMOVE_LIST_ELEMENT, 9, "RemoveListElement", Stack::change_list),
    Service::sent(C::CONFIRMED_EVENT_NOTIFICATION, 2, "ConfirmedEventNotification"),
    each(C::CONFIRMED_COV_NOTIFICATION, 1, "ConfirmedCOVNotification", Stack::told_and_asked).and_sent(),
];

const fn inform(choice: C, bit: u8, name: &'static str, execute: Informing) -> Service<C, Execute> {
    Service::executed(choice, bit, name, Execute::Inform(execute))
}

const fn once(choice: C, bit: u8, name: &'static str, execute: Change) -> Service<C, Execute> {
    Service::executed(choice, bit, name, Execute::Once(execute))
}

const fn each(choice: C, bit: u8, name: &'static str, execute: Change) -> Service<C, Execute> {
    Service::executed(choice, bit, name, Execute::Each(execute))
}

/// Unconfirmed services.
pub(super) static UNCONFIRMED: &[Service<U, Take>] = &[
    Service::executed(U::WHO_IS, 34, "Who-Is", Stack::who_is as Take).and_sent(),
    Service::executed(U::I_AM, 26, "I-Am", Stack::i_am as Take).and_sent(),
    Service::executed(U::WHO_HAS, 33, "Who-Has", Stack::who_has as Take),
    Service::executed(U::TIME_SYNCHRONIZATION, 32, "TimeSynchronization", |stack, heard, _, now, effects| {
        stack.synchronize(heard, false, now, effects)
    }),
    Service::executed(U::UTC_TIME_SYNCHRONIZATION, 36, "UTCTimeSynchronization", |stack, heard, _, now, effects| {
        stack.synchronize(heard, true, now, effects)
    }),
    Service::sent(U::I_HAVE, 27, "I-Have"),
    Service::sent(U::UNCONFIRMED_EVENT_NOTIFICATION, 29, "UnconfirmedEventNotification"),
    Service::executed(U::UNCONFIRMED_COV_NOTIFICATION, 28, "UnconfirmedCOVNotification", Stack::told_only as Take)
        .and_sent(),
];

/// How a confirmed service is executed.
pub(super) fn confirmed(choice: C) -> Option<Execute> {
    CONFIRMED.iter().find(|service| service.choice == choice)?.execute
}

/// How an unconfirmed service is executed.
pub(super) fn unconfirmed(choice: U) -> Option<Take> {
    UNCONFIRMED.iter().find(|service| service.choice == choice)?.execute
}

/// What is known of one service, whichever kind it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) bit: u8,
    pub(super) name: &'static str,
    pub(super) executed: bool,
    pub(super) initiated: bool,
}

/// All services, by their bits.
pub(super) fn all() -> Vec<Known> {
    fn known<Choice, Do>(service: &Service<Choice, Do>) -> Known {
        let Service { bit, name, initiated, .. } = *service;
        Known { bit, name, executed: service.execute.is_some(), initiated }
    }
    let mut all: Vec<Known> = CONFIRMED.iter().map(known).chain(UNCONFIRMED.iter().map(known)).collect();
    all.sort_by_key(|service| service.bit);
    all
}

/// The bits of those that are executed.
pub(super) fn executed() -> impl Iterator<Item = u32> {
    let confirmed = CONFIRMED.iter().filter(|service| service.execute.is_some()).map(|service| service.bit);
    let unconfirmed = UNCONFIRMED.iter().filter(|service| service.execute.is_some()).map(|service| service.bit);
    confirmed.chain(unconfirmed).map(u32::from)
}
