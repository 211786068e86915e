//! What a start says of itself (clauses 12.11.46 to 12.11.48, 19.3): why and when the device began, and who is told of it,
//! by an UnconfirmedCOVNotification of the Device object that nobody subscribed.

use bacnet_encoding::constructed::{decode_recipient, encode_recipient};
use bacnet_encoding::primitives::{encode_app_enumerated, encode_timestamp_choice};
use bacnet_services::cov::COVNotificationRequest;
use bacnet_types::constructed::{BACnetAddress, BACnetPropertyValue, BACnetRecipient};
use bacnet_types::enums::PropertyIdentifier as P;
use bacnet_types::primitives::{BACnetTimeStamp, ObjectIdentifier};
use bytes::{Bytes, BytesMut};

use super::alarm::To;
use super::answer::Failure;
use super::civil::DateTime;

/// Most recipients.
const RECIPIENTS: usize = 64;

/// BACnetRestartReason (clause 21), as far as we know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reason {
    /// Killed, crashed or without power; or nothing is remembered.
    #[default]
    Unknown,
    /// It ended in order, whoever asked for it.
    Coldstart,
    /// The BACnet side alone began anew.
    Warmstart,
}

/// The last start.
#[derive(Debug)]
pub(super) struct Restart {
    reason: Reason,
    at: DateTime,
    recipients: Vec<BACnetRecipient>,
    /// The recipients have not been told of it.
    untold: bool,
}

impl Default for Restart {
    fn default() -> Self {
        // By default everybody on the link is told.
        let everybody = BACnetAddress { network_number: 0, mac_address: [].as_slice().into() };
        Self {
            reason: Reason::Unknown,
            at: DateTime::ANY,
            recipients: vec![BACnetRecipient::Address(everybody)],
            untold: false,
        }
    }
}

impl Restart {
    /// The process, or the BACnet side alone, begins.
    pub(super) fn begin(&mut self, reason: Reason, at: DateTime) {
        (self.reason, self.at, self.untold) = (reason, at, true);
    }

    /// Last_Restart_Reason.
    pub(super) const fn reason(&self) -> u32 {
        match self.reason {
            Reason::Unknown => 0,
            Reason::Coldstart => 1,
            Reason::Warmstart => 2,
        }
    }

    /// Append Time_Of_Device_Restart, in the time that the device showed then.
    pub(super) fn put_time(&self, out: &mut BytesMut) {
        // Refused is only a sequence number beyond 16 bits, and this is none.
        let _ = encode_timestamp_choice(out, &BACnetTimeStamp::DateTime { date: self.at.date, time: self.at.time });
    }

    /// Restart_Notification_Recipients.
    pub(super) fn recipients(&self) -> &[BACnetRecipient] {
        &self.recipients
    }

    /// Append them.
    pub(super) fn put_recipients(&self, out: &mut BytesMut) {
        for recipient in &self.recipients {
            // Refused only for a MAC that is too long, and those were decoded.
            let _ = encode_recipient(out, recipient);
        }
    }

    /// Write them; they were [`checked`].
    pub(super) fn set_recipients(&mut self, recipients: Vec<BACnetRecipient>) {
        self.recipients = recipients;
    }

    /// Whom to tell, and what, when that was not done yet.
    pub(super) fn news(&mut self, device: ObjectIdentifier) -> Option<(Vec<To>, Bytes)> {
        if !std::mem::take(&mut self.untold) {
            return None;
        }
        let value = |property, put: &dyn Fn(&mut BytesMut)| {
            let mut out = BytesMut::new();
            put(&mut out);
            BACnetPropertyValue {
                property_identifier: property,
                property_array_index: None,
                value: out.to_vec(),
                priority: None,
            }
        };
        let request = COVNotificationRequest {
            subscriber_process_identifier: 0,
            initiating_device_identifier: device,
            monitored_object_identifier: device,
            time_remaining: 0,
            list_of_values: vec![
                // operational
                value(P::SYSTEM_STATUS, &|out| encode_app_enumerated(out, 0)),
                value(P::TIME_OF_DEVICE_RESTART, &|out| self.put_time(out)),
                value(P::LAST_RESTART_REASON, &|out| encode_app_enumerated(out, self.reason())),
            ],
        };
        let mut params = BytesMut::new();
        request.encode(&mut params);
        let itself = To::Device(device.instance_number());
        let to = self.recipients.iter().filter_map(To::of).filter(|to| *to != itself);
        Some((to.collect(), params.freeze()))
    }
}

/// Recipients from the wire: well formed.
pub(super) fn recipients(octets: &[u8]) -> Result<Vec<BACnetRecipient>, Failure> {
    let (mut list, mut at) = (Vec::new(), 0);
    while at < octets.len() {
        let (recipient, end) = decode_recipient(octets, at).map_err(|_| Failure::WRONG_TYPE)?;
        list.push(recipient);
        at = end;
    }
    Ok(list)
}

/// A list that may be written: each can be reached, none is there twice, and there is room.
pub(super) fn checked(wanted: Vec<BACnetRecipient>) -> Result<Vec<BACnetRecipient>, Failure> {
    let mut list: Vec<BACnetRecipient> = Vec::new();
    for recipient in wanted {
        if To::of(&recipient).is_none() {
            return Err(Failure::OUT_OF_RANGE);
        }
        if list.contains(&recipient) {
            continue;
        }
        if list.len() >= RECIPIENTS {
            return Err(Failure::NO_SPACE_TO_WRITE);
        }
        list.push(recipient);
    }
    Ok(list)
}
