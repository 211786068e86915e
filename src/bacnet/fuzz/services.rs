//! Fuzz targets above the network layer: APDUs, the parameters of each service, requests in segments, what is restored
//! at a start, and a long life of a device with 64 peers.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::Dice;
use super::corpus::{self, CONFIRMED, UNCONFIRMED};
use super::device::{Device, wants_answer};
use crate::bacnet::settings::MAX_SEGMENTS;

/// UDP port of the attacker.
const BAD: u16 = 2;
/// Peers in a long life.
const PEERS: usize = 64;

/// An APDU at a fresh device: unicast, and to a group.
pub fn apdu(apdu: &[u8]) {
    let mut device = Device::default();
    let answers = device.hear(BAD, false, apdu);
    assert!(!wants_answer(apdu) || answers == 1, "no answer to {apdu:02x?}");
    assert_eq!(Device::default().hear(BAD, true, apdu), 0, "what was sent to a group is not answered");
    device.answers();
}

/// The parameters of one confirmed service: answered, and answered again.
fn confirmed(choice: u8, params: &[u8]) {
    let mut device = Device::default();
    let request = corpus::request(2, 0x75, 1, choice, params);
    assert_eq!(device.hear(BAD, false, &request), 1, "no answer to {request:02x?}");
    device.hear(BAD, false, &request);
    device.wait(Duration::from_secs(1), 0);
    device.answers();
}

/// The parameters of one unconfirmed service.
fn unconfirmed(choice: u8, params: &[u8]) {
    let mut device = Device::default();
    for group in [false, true] {
        device.hear(BAD, group, &[&[0x10, choice], params].concat());
    }
    device.answers();
}

macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident = $kind:ident($choice:literal),)*) => {
        $($(#[$doc])* pub fn $name(params: &[u8]) { $kind($choice, params); })*

        /// Every target of this file that takes octets, by name.
        pub const TARGETS: &[(&str, fn(&[u8]))] =
            &[("apdu", apdu), ("in_segments", in_segments), ("keepsake", keepsake), $((stringify!($name), $name),)*];
    };
}

targets! {
    /// AcknowledgeAlarm.
    acknowledge_alarm = confirmed(0),
    /// ConfirmedCOVNotification.
    confirmed_cov_notification = confirmed(1),
    /// ConfirmedEventNotification.
    confirmed_event_notification = confirmed(2),
    /// GetAlarmSummary.
    get_alarm_summary = confirmed(3),
    /// GetEnrollmentSummary.
    get_enrollment_summary = confirmed(4),
    /// SubscribeCOV.
    subscribe_cov = confirmed(5),
    /// AtomicReadFile.
    atomic_read_file = confirmed(6),
    /// AddListElement.
    add_list_element = confirmed(8),
    /// RemoveListElement.
    remove_list_element = confirmed(9),
    /// CreateObject.
    create_object = confirmed(10),
    /// DeleteObject.
    delete_object = confirmed(11),
    /// ReadProperty.
    read_property = confirmed(12),
    /// ReadPropertyMultiple.
    read_property_multiple = confirmed(14),
    /// WriteProperty.
    write_property = confirmed(15),
    /// WritePropertyMultiple.
    write_property_multiple = confirmed(16),
    /// DeviceCommunicationControl.
    device_communication_control = confirmed(17),
    /// ConfirmedPrivateTransfer.
    confirmed_private_transfer = confirmed(18),
    /// ConfirmedTextMessage.
    confirmed_text_message = confirmed(19),
    /// ReinitializeDevice.
    reinitialize_device = confirmed(20),
    /// ReadRange.
    read_range = confirmed(26),
    /// SubscribeCOVProperty.
    subscribe_cov_property = confirmed(28),
    /// GetEventInformation.
    get_event_information = confirmed(29),
    /// SubscribeCOVPropertyMultiple.
    subscribe_cov_property_multiple = confirmed(30),
    /// I-Am.
    i_am = unconfirmed(0),
    /// I-Have.
    i_have = unconfirmed(1),
    /// UnconfirmedCOVNotification.
    unconfirmed_cov_notification = unconfirmed(2),
    /// UnconfirmedEventNotification.
    unconfirmed_event_notification = unconfirmed(3),
    /// UnconfirmedPrivateTransfer.
    unconfirmed_private_transfer = unconfirmed(4),
    /// UnconfirmedTextMessage.
    unconfirmed_text_message = unconfirmed(5),
    /// TimeSynchronization.
    time_synchronization = unconfirmed(6),
    /// Who-Has.
    who_has = unconfirmed(7),
    /// Who-Is.
    who_is = unconfirmed(8),
    /// UTCTimeSynchronization.
    utc_time_synchronization = unconfirmed(9),
    /// WriteGroup.
    write_group = unconfirmed(10),
}

/// A confirmed request in segments: its octets are how large they are, the service choice, then the parameters.
pub fn in_segments(octets: &[u8]) {
    let Some((&[size, choice], params)) = octets.split_first_chunk::<2>() else { return };
    let size = usize::from(size).max(1);
    let mut device = Device::default();
    let pieces: Vec<&[u8]> = if params.is_empty() { vec![params] } else { params.chunks(size).collect() };
    for (place, piece) in pieces.iter().enumerate().take(usize::from(MAX_SEGMENTS) + 2) {
        let more = u8::from(place + 1 < pieces.len()) << 2;
        let sequence = u8::try_from(place % 256).unwrap_or(0);
        device.hear(BAD, false, &[&[0x0A | more, 0x75, 1, sequence, 4, choice], *piece].concat());
    }
    device.wait(Duration::from_secs(60), 0);
    device.answers();
}

/// What a device keeps when each confirmed request of the corpus was heard.
fn kept() -> &'static BTreeMap<String, Vec<u8>> {
    static KEPT: OnceLock<Arc<BTreeMap<String, Vec<u8>>>> = OnceLock::new();
    KEPT.get_or_init(|| {
        let mut device = Device::default();
        for (invoke, (choice, params)) in (0..=u8::MAX).cycle().zip(CONFIRMED) {
            device.hear(BAD, false, &corpus::request(2, 0x75, invoke, *choice, params));
            device.answers();
            device.change(usize::from(invoke), u16::from(invoke));
            device.wait(Duration::from_secs(61), 0);
        }
        Arc::new(device.kept().clone())
    })
}

/// A start with what is kept, one of it replaced: its octets are which one, then the value.
pub fn keepsake(octets: &[u8]) {
    let Some((&which, value)) = octets.split_first() else { return };
    let mut kept = kept().clone();
    let place = usize::from(which) % kept.len().max(1);
    if let Some(one) = kept.values_mut().nth(place) {
        *one = value.to_vec();
    }
    let mut device = Device::with(&kept);
    for (choice, params) in [(14, &b"\x0c\x05\0\0\x01\x1e\x09\x08\x1f\x0c\x07\0\0\x01\x1e\x09\x08\x1f"[..]), (29, b"")]
    {
        device.hear(BAD, false, &corpus::request(2, 0x75, 1, choice, params));
    }
    device.wait(Duration::from_secs(3_600), 0);
    device.answers();
}

/// Octets to begin with for a target of this file.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "apdu" => {
            let confirmed = CONFIRMED.iter().map(|(choice, params)| corpus::request(2, 0x75, 1, *choice, params));
            let unconfirmed = UNCONFIRMED.iter().map(|(choice, params)| [&[0x10, *choice], *params].concat());
            confirmed.chain(unconfirmed).chain(corpus::OTHERS.iter().map(|apdu| apdu.to_vec())).collect()
        }
        "in_segments" => CONFIRMED.iter().map(|(choice, params)| [&[9, *choice], *params].concat()).collect(),
        "keepsake" => {
            (0..=u8::MAX).zip(kept().values()).map(|(which, value)| [&[which], &value[..]].concat()).collect()
        }
        _ => CONFIRMED.iter().chain(UNCONFIRMED).map(|(_, params)| params.to_vec()).collect(),
    }
}

/// A device that lives on: 64 peers send it mutants, now and then something well-formed; points move, time passes, the
/// clock is set, and it starts again with what it has kept.
#[derive(Debug)]
pub struct Life {
    device: Device,
    dice: Dice,
    frames: u64,
}

impl Life {
    /// Repeated by its seed.
    pub fn new(seed: u64) -> Self {
        Self { device: Device::default(), dice: Dice::new(seed), frames: 0 }
    }

    /// It answers a well-behaved peer.
    pub fn answers(&mut self) {
        self.device.answers();
    }

    /// One frame more.
    pub fn step(&mut self) {
        let Self { device, dice, .. } = self;
        let mut apdu = corpus::pick(dice);
        if dice.below(8) != 0 {
            corpus::spoil(&mut apdu, dice);
        }
        let port = u16::try_from(dice.below(PEERS)).unwrap_or(0) + BAD;
        device.hear(port, dice.below(16) == 0, &apdu);
        self.frames += 1;
        match dice.below(256) {
            0 => device.wait(Duration::from_secs(1), 0),
            1 => device.wait(Duration::from_secs(20), 0),
            2 => device.wait(Duration::from_millis(10), 86_400_000),
            3 => device.wait(Duration::from_millis(10), -86_400_000),
            4..16 => device.change(dice.below(64), u16::try_from(dice.below(65_536)).unwrap_or(0)),
            _ => device.wait(Duration::from_millis(3), 0),
        }
        if self.frames.is_multiple_of(1_000) {
            device.answers();
        }
        if self.frames.is_multiple_of(50_000) {
            self.device = Device::with(&self.device.kept().clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mutants of every target's seeds; a bench makes many more.
    const MUTANTS: usize = 300;
    const FRAMES: usize = 20_000;

    #[test]
    fn every_target_holds_for_its_seeds_and_their_mutants() {
        for (name, target) in TARGETS {
            let seeds = seeds(name);
            let mut dice = Dice::new(135);
            for seed in &seeds {
                target(seed);
            }
            for _ in 0..MUTANTS {
                let mut octets = seeds[dice.below(seeds.len())].clone();
                corpus::spoil(&mut octets, &mut dice);
                target(&octets);
            }
        }
    }

    #[test]
    fn a_device_lives_through_mutants_of_every_service() {
        let mut life = Life::new(2_026);
        for _ in 0..FRAMES {
            life.step();
        }
        life.device.answers();
    }

    #[test]
    fn the_seeds_are_answered_as_what_they_are() {
        // Something is kept of each that can be written, or mutants of keepsakes would try nothing.
        let owners: Vec<&str> = kept().keys().filter_map(|key| key.split('/').next()).collect();
        for owner in ["own", "load-control", "trend-log"] {
            assert!(owners.contains(&owner), "{owners:?}");
        }
    }
}
