//! DeviceCommunicationControl, ReinitializeDevice and the two time synchronizations (clauses 16.1, 16.4, 16.7, 16.8).

use bacnet_services::device_mgmt::{
    DeviceCommunicationControlRequest, ReinitializeDeviceRequest, TimeSynchronizationRequest,
};
use bacnet_types::enums::{ConfirmedServiceChoice as Confirmed, ReinitializedState, RejectReason};
use bacnet_types::error::Error;

use super::{Ask, Effect, Stack};
use crate::bacnet::answer::{Failure, Refused};
use crate::bacnet::civil::DateTime;
use crate::bacnet::cov::Subscriptions;
use crate::bacnet::manage::{Communication, Speech, admit};
use crate::bacnet::restart::Reason;
use crate::bacnet::services::Heard;
use crate::point::Image;
use crate::time::Now;

/// A step of the clock that is worth a line in the log, ms.
const STEP: u64 = 2_000;

impl Stack {
    /// DeviceCommunicationControl.
    pub(in crate::bacnet) fn control_communication(
        &mut self,
        ask: &Ask<'_>,
        image: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let request = DeviceCommunicationControlRequest::decode(ask.params)?;
        admit(self.settings.password.as_ref(), request.password.as_deref())?;
        if !self.communication.control(request.enable_disable, request.time_duration, now.mono) {
            return Err(Refused::Reject(RejectReason::UNDEFINED_ENUMERATION));
        }
        let minutes = request.time_duration.unwrap_or(0);
        tracing::warn!(peer = %ask.peer, asked = %request.enable_disable, minutes, "BACnet communication control");
        self.acknowledge(ask, now, effects);
        self.obey();
        // What subscribers missed.
        self.on_image(image, now, effects);
        Ok(())
    }

    /// ReinitializeDevice. A warm start begins the BACnet side anew: subscriptions, transactions and communication control
    /// are gone, all objects are in service, and the device announces itself; heating, meters, logs and the other protocols
    /// do not notice. A cold start ends the gateway in order, to be started again by whoever watches over it.
    pub(in crate::bacnet) fn reinitialize(
        &mut self,
        ask: &Ask<'_>,
        _: &Image,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let request = ReinitializeDeviceRequest::decode(ask.params)?;
        let state = request.reinitialized_state;
        if state.to_raw() > ReinitializedState::ACTIVATE_CHANGES.to_raw() {
            return Err(Refused::Reject(RejectReason::UNDEFINED_ENUMERATION));
        }
        admit(self.settings.password.as_ref(), request.password.as_deref())?;
        match state {
            ReinitializedState::WARMSTART | ReinitializedState::COLDSTART => {}
            // No backup and restore, no changes that are pending.
            _ => return Err(Failure::NOT_SUPPORTED.into()),
        }
        tracing::warn!(peer = %ask.peer, %state, "BACnet restart asked for");
        self.acknowledge(ask, now, effects);
        if state == ReinitializedState::COLDSTART {
            effects.push(Effect::Restart);
            return Ok(());
        }
        self.subscriptions = Subscriptions::default();
        self.sending.clear();
        self.receiving.clear();
        self.communication = Communication::default();
        self.own.serve();
        self.obey();
        self.own.restart.begin(Reason::Warmstart, self.own.clock.local(now.utc));
        self.hello(now, effects);
        Ok(())
    }

    /// TimeSynchronization, or UTCTimeSynchronization.
    pub(in crate::bacnet) fn synchronize(
        &mut self,
        heard: &Heard<'_>,
        utc: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Error> {
        let request = TimeSynchronizationRequest::decode(heard.params)?;
        let (peer, at) = (heard.peer, DateTime { date: request.date, time: request.time });
        match self.own.synchronize(utc, &at, now.utc) {
            None => effects.push(Effect::Rejected("time")),
            Some(moved) if moved.unsigned_abs() >= STEP => {
                tracing::info!(%peer, moved_ms = moved, "the clock that BACnet shows was set");
            }
            Some(moved) => tracing::debug!(%peer, moved_ms = moved, "the clock that BACnet shows was set"),
        }
        Ok(())
    }

    /// Whether an APDU may be looked at: while communication is disabled only what manages the device is.
    pub(super) fn hears(&self, apdu: &[u8]) -> bool {
        const MANAGEMENT: [u8; 2] =
            [Confirmed::DEVICE_COMMUNICATION_CONTROL.to_raw(), Confirmed::REINITIALIZE_DEVICE.to_raw()];
        self.communication.speech() != Speech::Management
            || matches!(apdu, [kind, _, _, service, ..] if kind & 0xF8 == 0 && MANAGEMENT.contains(service))
    }

    /// Whether the device may send requests and notifications of its own.
    pub(in crate::bacnet) fn may_initiate(&self) -> bool {
        self.communication.speech() == Speech::Free
    }

    /// Requests of our own stop, or may be made again.
    pub(super) fn obey(&mut self) {
        let free = self.may_initiate();
        self.requester.hold(!free);
    }

    /// While nothing may be initiated: take out what would be, whoever made it. I-Am and I-Have stay: they answer.
    pub(super) fn hush(&self, effects: &mut Vec<Effect>) {
        if self.may_initiate() {
            return;
        }
        effects.retain(|effect| match effect {
            Effect::Send { apdu, .. } | Effect::Broadcast(apdu) | Effect::BroadcastOn(_, apdu) => match **apdu {
                [0x10, service, ..] => service <= 1,
                [kind, ..] => kind >> 4 != 0,
                [] => false,
            },
            _ => true,
        });
    }
}
